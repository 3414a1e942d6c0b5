/* Runs an integer model on the kernels. */
#ifndef HT_INFER_RUNTIME_H
#define HT_INFER_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/kernels.h"
#include "qmodel/qmodel.h"

struct ht_runtime;

/* Packs the weights for the kernels and allocates all buffers; run allocates nothing. `model` is
 * borrowed until destroy; kernels is copied. max_batch >= 1. */
enum ht_status ht_runtime_create(struct ht_runtime **ret, const struct ht_qmodel *model,
                                 const struct ht_kernels *kernels, size_t max_batch,
                                 struct ht_error *err);
void ht_runtime_destroy(struct ht_runtime *r);

/* x[n, features]: network input after the input transform (float). y[n, outputs]: real outputs
 * (logits; for a model with output codes scale * (level - zero_point)). Any n; goes in batches. */
void ht_runtime_run(struct ht_runtime *r, const float *x, size_t n, float *y);

/* The same from levels of the input quantizer, e.g. image bytes as they are. */
void ht_runtime_run_levels(struct ht_runtime *r, const void *levels, size_t n, float *y);

/* Levels of layer `index`'s output of the last batch that was run, [rows, out] (borrowed until the
 * next run); NULL for a real output. For tests and debugging. */
const void *ht_runtime_layer_levels(const struct ht_runtime *r, size_t index);

#endif
