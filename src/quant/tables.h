/* Grids that find their own scale: ternary and codebook. Private to src/quant. */
#ifndef HT_QUANT_TABLES_H
#define HT_QUANT_TABLES_H

#include "quant/quantizer.h"

/* Their ranges, as range.h has them. */
void ht_twn_observe(struct ht_quantizer *q, size_t channel, const struct ht_range_sample *sample);
void ht_codebook_observe(struct ht_quantizer *q, size_t channel,
                         const struct ht_range_sample *sample);

/* The scale that lets the largest centroid be level 127. */
ht_real ht_codebook_scale(const struct ht_quantizer *q);
/* Levels, and which centroid each stands for, from the centroids and q->effective. */
void ht_codebook_refresh(struct ht_quantizer *q);

/* Adds dy[n] of a row to sums[1 << bits], each to the centroid its level stands for. */
void ht_codebook_add(const struct ht_quantizer *q, const ht_real *level, const ht_real *dy,
                     size_t n, ht_real *sums);
void ht_codebook_add_bytes(const struct ht_quantizer *q, const int8_t *level, const ht_real *dy,
                           size_t n, ht_real *sums);

#endif
