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

/* What a range sees of a batch (activations) or of the weights as they are: x[n] and its stats. */
struct ht_range_sample {
    struct ht_range_stats stats;
    const ht_real *x;
    size_t n;
};

struct ht_quantizer;

struct ht_range {
    const char *name;
    bool learned; /* the scale is a parameter; observe only initializes it */
    /* The scale of weights is a function of the weights, so eval mode measures it, too. */
    bool current;
    bool of_values;   /* reads x, not only its stats */
    bool histogram;   /* of activations: keeps one between batches (quant/clip.h) */
    const char *grid; /* the only grid it goes with; NULL: any that has no range of its own */
    bool dynamic;     /* each row finds its own (quant/dynamic.h): no state, nothing observed */
    /* Folds the sample into the quantizer's state for one channel, and sets scale and zero_point.
     * Allocates nothing; may be called for several channels at once. */
    void (*observe)(struct ht_quantizer *q, size_t channel, const struct ht_range_sample *sample);
};

/* The only range a grid goes with; NULL: any of those without a grid of their own. */
const char *ht_range_of_grid(const char *grid);

/* NULL for an unknown name. */
const struct ht_range *ht_range_find(const char *name);
const struct ht_range *ht_range_at(size_t index); /* NULL after the last */

/* Stats of x[n], n >= 1. */
struct ht_range_stats ht_range_measure(const ht_real *x, size_t n);
/* As if measured over both; n and other_n elements. */
void ht_range_merge(struct ht_range_stats *stats, size_t n, const struct ht_range_stats *other,
                    size_t other_n);

/* Scale and zero point of a channel from these ends (docs/numerics.md, 7), whatever the range. */
void ht_range_set(struct ht_quantizer *q, size_t channel, const struct ht_range_stats *stats);

#endif
