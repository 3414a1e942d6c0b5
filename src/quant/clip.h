/* Where to clip a tensor: the ends of its range, found from its values. Zero is always inside. */
#ifndef HT_QUANT_CLIP_H
#define HT_QUANT_CLIP_H

#include <stdbool.h>
#include <stddef.h>

#include "quant/grid.h"
#include "tensor/real.h"

/* lo <= 0 <= hi. Of a grid that is symmetric only hi counts, and lo is -hi. */
struct ht_clip {
    ht_real lo, hi;
};

/* The percentile of |x| if symmetric, else those of both tails: each loses 100 - percentile. Linear
 * between two neighbours, as numpy.percentile does. x[n], n >= 1. */
struct ht_clip ht_clip_percentile(const ht_real *x, size_t n, double percentile, bool symmetric);

/* The clip with the least expected squared error on this grid, by the recursion of OCTAV. */
struct ht_clip ht_clip_octav(const ht_real *x, size_t n, const struct ht_grid *grid);

/* --- histograms of both signs: [0] the width of a bin, then positive and negative bins --- */

#define HT_HISTOGRAM_BINS ((size_t)2048) /* of each sign */
#define HT_HISTOGRAM_SIZE (1 + 2 * HT_HISTOGRAM_BINS)

/* bins += share * (those of x - bins), each in shares of all values. If x goes beyond the last bin
 * the width doubles until it does not: bins merge in pairs. max_abs: of x. */
void ht_histogram_add(ht_real *h, const ht_real *x, size_t n, ht_real max_abs, ht_real share);

/* The same as above, from a histogram. */
struct ht_clip ht_histogram_percentile(const ht_real *h, double percentile, bool symmetric);
/* The clip of least Kullback-Leibler divergence. */
struct ht_clip ht_histogram_kl(const ht_real *h, const struct ht_grid *grid);
/* Up to the outermost bins that are not empty. */
struct ht_clip ht_histogram_ends(const ht_real *h, bool symmetric);

#endif
