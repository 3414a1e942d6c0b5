/* Runs an integer model on the kernels. A runtime is the model made ready, once, and is never
 * changed after that: any number of threads may use it. A runner is what one caller needs: buffers,
 * and threads for its calls; one thread at a time may use it. */
#ifndef HT_INFER_RUNTIME_H
#define HT_INFER_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "qmodel/qmodel.h"

struct ht_runtime;
struct ht_runner;

/* Checks the model and packs its weights for the kernels. `model` is borrowed until destroy;
 * kernels is copied. */
enum ht_status ht_runtime_create(struct ht_runtime **ret, const struct ht_qmodel *model,
                                 const struct ht_kernels *kernels, struct ht_error *err);
/* NULL allowed. All its runners are gone. */
void ht_runtime_destroy(struct ht_runtime *r);

/* Rows that go through the network together, at most. */
#define HT_RUNNER_ROWS 128

/* Allocates all buffers; run allocates nothing. `runtime` and `pool` are borrowed until destroy.
 * max_batch >= 1: the rows that are divided among the threads at a time. pool NULL: no threads. A
 * pool may serve several runners. Outputs do not depend on max_batch or threads, to the bit. */
enum ht_status ht_runner_create(struct ht_runner **ret, const struct ht_runtime *runtime,
                                size_t max_batch, struct ht_pool *pool, struct ht_error *err);
void ht_runner_destroy(struct ht_runner *r); /* NULL allowed */

/* x[n, features]: network input after the input transform (float). y[n, outputs]: real outputs
 * (logits; for a model with output codes scale * (level - zero_point)). Any n. */
void ht_runner_run(struct ht_runner *r, const float *x, size_t n, float *y);

/* The same from levels of the input quantizer, e.g. image bytes as they are. Only for models whose
 * input is codes. */
void ht_runner_run_levels(struct ht_runner *r, const void *levels, size_t n, float *y);

/* The same from raw user values: ht_qmodel_transform_input is applied. */
void ht_runner_run_raw(struct ht_runner *r, const float *raw, size_t n, float *y);

/* Levels of layer `index`'s output in the last run, of n <= HT_RUNNER_ROWS, n <= max_batch rows
 * without threads: [n, out] (borrowed until the next run); NULL for a real output. For tests and
 * debugging. Of dynamic outputs the levels of their rows' own scales. */
const void *ht_runner_layer_levels(const struct ht_runner *r, size_t index);

#endif
