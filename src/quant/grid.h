/* A grid: the ordered table of integer levels a quantized tensor may take (docs/numerics.md, 1).
 * value = scale * (level - zero_point). Files, kernels and exports know grids, never quantizers. */
#ifndef HT_QUANT_GRID_H
#define HT_QUANT_GRID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define HT_GRID_NAME 16

enum ht_rounding { HT_ROUND_NEAREST_EVEN, HT_ROUND_FLOOR };

struct ht_grid {
    char name[HT_GRID_NAME]; /* full narrow affine binary zero_free */
    int bits;                /* 1..8, of a stored code */
    int lo, hi;              /* smallest and largest level */
    int step;                /* distance of neighbouring levels: 1, or 2 for binary and zero_free */
    int n_levels;            /* (hi - lo) / step + 1 <= 256 */
    bool has_zero_point;     /* affine: zero_point in [lo, hi] chosen by the range; else 0 */
};

/* HT_ERR_CONFIG for an unknown name or a width the grid does not have. */
enum ht_status ht_grid_init(struct ht_grid *ret, const char *name, int bits, struct ht_error *err);

/* A code is the `bits` wide pattern that is stored: two's complement level for full and narrow, the
 * level itself for affine, the index of the level for binary and zero_free. */
int ht_grid_level(const struct ht_grid *g, unsigned code);
unsigned ht_grid_code(const struct ht_grid *g, int level);
/* False for patterns that stand for no level (narrow: the most negative one). */
bool ht_grid_code_valid(const struct ht_grid *g, unsigned code);

/* Names of all grids; static. */
const char *const *ht_grid_names(size_t *n);

#endif
