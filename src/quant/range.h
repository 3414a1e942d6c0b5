/* Ranges: how the scale (and zero point) of a quantizer is found from what it sees. */
#ifndef HT_QUANT_RANGE_H
#define HT_QUANT_RANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/real.h"

/* What one tensor, or one channel of it, looks like. */
struct ht_range_stats {
    ht_real min, max, mean_abs;
};

struct ht_quantizer;

struct ht_range {
    const char *name;
    bool learned; /* the scale is a parameter; observe only initializes it */
    /* Folds the stats of a batch (activations) or of the weights as they are into the quantizer's
     * state for one channel, and sets scale and zero_point. */
    void (*observe)(struct ht_quantizer *q, size_t channel, const struct ht_range_stats *stats);
    /* Not NULL, in its place: a range that looks at the weights x[n] themselves. */
    void (*observe_values)(struct ht_quantizer *q, size_t channel, const ht_real *x, size_t n,
                           const struct ht_range_stats *stats);
};

/* The only range a grid goes with; NULL: any of those without observe_values. */
const char *ht_range_of_grid(const char *grid);

/* NULL for an unknown name. */
const struct ht_range *ht_range_find(const char *name);
const struct ht_range *ht_range_at(size_t index); /* NULL after the last */

/* Stats of x[n], n >= 1. */
struct ht_range_stats ht_range_measure(const ht_real *x, size_t n);
/* As if measured over both; n and other_n elements. */
void ht_range_merge(struct ht_range_stats *stats, size_t n, const struct ht_range_stats *other,
                    size_t other_n);

#endif
