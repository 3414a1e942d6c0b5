/* Named spans in flat arrays: parameters (with gradients) and state (without).
 * An optimizer walks the flat arrays, a checkpoint writes the named spans, a graph's leaves point
 * into them. */
#ifndef HT_TENSOR_PARAMS_H
#define HT_TENSOR_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tensor/real.h"

enum ht_span_flag {
    HT_SPAN_DECAY = 1, /* weight decay applies: weights, never biases, BN or scales */
    /* Adam's steps are shares of the value: for scales. Adam divides a gradient by its own size, so
     * that a plain step would be the same for a scale of 0.001 and one of 0.1, and LSQ's gradient
     * scale (its sec. 2.2) would have no effect. */
    HT_SPAN_RELATIVE = 2,
};

struct ht_span {
    char name[96];     /* "dense1.weight" */
    size_t rows, cols; /* a vector is [1, n] */
    size_t offset, n;  /* n = rows * cols, in elements of the flat arrays */
    unsigned flags;
    ht_real initial; /* value after ht_params_allocate */
    ht_real minimum; /* kept >= this after each optimizer step when minimum > 0: scales, gamma */
};

/* Declare all spans, then allocate once; pointers into the arrays are stable afterwards. */
struct ht_params {
    struct ht_span *spans;
    size_t n_spans;
    ht_real *value; /* [n] */
    ht_real *grad;  /* [n], NULL for state */
    size_t n;
    /* Raised by each optimizer step and each load from a file: what was derived from the values
     * before is stale then. */
    uint64_t version;
};

/* Returns the span's index, or -1 when memory ran out (ht_params_allocate then fails too). */
int ht_params_declare(struct ht_params *p, const char *name, size_t rows, size_t cols,
                      unsigned flags, ht_real initial, ht_real minimum);
enum ht_status ht_params_allocate(struct ht_params *p, bool with_grad, struct ht_error *err);
const struct ht_span *ht_params_find(const struct ht_params *p, const char *name);
void ht_params_finish(struct ht_params *p);

#endif
