/* A grid: the ordered table of integer levels a quantized tensor may take (docs/numerics.md, 1).
 * value = scale * (level - zero_point). Files, kernels and exports know grids, never quantizers. */
#ifndef HT_QUANT_GRID_H
#define HT_QUANT_GRID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define HT_GRID_NAME  16
#define HT_GRID_TABLE 32 /* levels of a grid that is a table, at most */

enum ht_rounding { HT_ROUND_NEAREST_EVEN, HT_ROUND_FLOOR };

struct ht_grid {
    char name[HT_GRID_NAME]; /* of ht_grid_names */
    int bits;                /* 1..8, of a stored code; 16: ht_grid_is_float16 */
    int lo, hi;              /* smallest and largest level */
    int step;                /* distance of neighbouring levels: 1, or 2 for binary and zero_free;
                                0: levels are a table, of weights only */
    int n_levels;            /* (hi - lo) / step + 1 <= 256, or of the table */
    bool has_zero_point;     /* affine: zero_point in [lo, hi] chosen by the range; else 0 */
    bool learned;            /* codebook: each tensor has levels of its own */
    /* Step 0: ascending, within +-127; what is left over repeats the last. */
    int8_t level[HT_GRID_TABLE];
};

/* HT_ERR_CONFIG for an unknown name or a width the grid does not have. A codebook starts with
 * levels that are evenly spaced over +-127. */
enum ht_status ht_grid_init(struct ht_grid *ret, const char *name, int bits, struct ht_error *err);

/* Gives a codebook its levels: n of them, ascending, within +-127, at most 1 << bits. False, and
 * nothing changed, for others. */
bool ht_grid_set_levels(struct ht_grid *g, const int *level, int n);

/* A code is the `bits` wide pattern that is stored: two's complement level for full and narrow, the
 * level itself for affine, the index of the level for all others. A code that is not valid gives a
 * level too (of a table: the last), so that a table of all codes needs no holes. */
int ht_grid_level(const struct ht_grid *g, unsigned code);
unsigned ht_grid_code(const struct ht_grid *g, int level);
/* False for patterns that stand for no level (narrow: the most negative one). */
bool ht_grid_code_valid(const struct ht_grid *g, unsigned code);
bool ht_grid_has_level(const struct ht_grid *g, int level);

/* The largest whole number that times any level is within +-127; 0 for grids with zero points. */
int ht_grid_max_group_scale(const struct ht_grid *g);

/* Are levels kept as int8, not uint8? All tables are, whatever their levels. */
static inline bool ht_grid_is_signed(const struct ht_grid *g)
{
    return g->lo < 0 || g->step == 0;
}

/* No grid of levels: IEEE half precision numbers, of weights only (quant/half.h). A stored code is
 * the number's bits. */
#define HT_GRID_FLOAT16 "float16"
static inline bool ht_grid_is_float16(const struct ht_grid *g)
{
    return g->bits == 16;
}

/* Names of all grids, without HT_GRID_FLOAT16; static. */
const char *const *ht_grid_names(size_t *n);

#endif
