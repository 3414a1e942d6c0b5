/* The float arithmetic of layers whose input has no scale of its own: dynamic, weight-only and
 * float16 (docs/numerics.md, 11). Training's graph and the engine both call it, so that their bits
 * are equal. */
#ifndef HT_QUANT_DYNAMIC_H
#define HT_QUANT_DYNAMIC_H

#include <stddef.h>

#include "quant/grid.h"
#include "tensor/real.h"

/* Magnitudes of a row that count for its scale, at most: with it, every product of a row's scale
 * and a weight's is a normal number. */
#define HT_DYNAMIC_MAX ((ht_real)18446744073709551616.0) /* 2^64 */

/* How one row is quantized. */
struct ht_row_scale {
    ht_real scale;
    int zero_point; /* on grids that have one */
};

/* From the row x[n] itself: grids full, narrow, affine. */
struct ht_row_scale ht_row_scale(const struct ht_grid *g, const ht_real *x, size_t n);
/* The same, and level[n] - zero point of the row, as forward has it. In place allowed. */
struct ht_row_scale ht_row_levels(const struct ht_grid *g, enum ht_rounding rounding,
                                  const ht_real *x, size_t n, ht_real *level);

/* y[n] = fl(sum * fl(row_scale * scale)) + offset; y may be sum. row_scale 1: of real inputs. */
void ht_real_outputs(const ht_real *sum, size_t n, ht_real row_scale, const ht_real *scale,
                     const ht_real *offset, ht_real *y);

/* Products of real numbers are summed in one order everywhere: 16 lanes over HT_ORDERED_BLOCK
 * inputs, then the lanes, then the blocks. No product is fused with an addition. */
#define HT_ORDERED_LANES 16
#define HT_ORDERED_BLOCK 512

/* y[m, n] (rows ldy apart) = x[m, k] . w[n, k]^T */
void ht_ordered_products(const ht_real *x, size_t m, const ht_real *w, size_t n, size_t k,
                         ht_real *y, size_t ldy);

#endif
