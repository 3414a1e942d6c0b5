/* The normative rounding of training's forward (docs/numerics.md, 2 and 4): clamp in float, then
 * round. The integer kernels have their own, in src/kernels/round.h; parity tests hold the two
 * together. */
#ifndef HT_QUANT_ROUND_H
#define HT_QUANT_ROUND_H

#include "quant/grid.h"
#include "tensor/real.h"

/* Nearest integer, ties to even, for |u| < 2^22: every clamped level. Written as an addition
 * because it vectorizes on every machine; exact, as round-to-nearest is the mode the program runs
 * in. */
static inline ht_real ht_round_even(ht_real u)
{
    return (u + HT_REAL_ROUND_MAGIC) - HT_REAL_ROUND_MAGIC;
}

static inline ht_real ht_round_floor(ht_real u)
{
    ht_real r = ht_round_even(u);
    return r > u ? r - 1 : r;
}

static inline ht_real ht_round_zero(ht_real u)
{
    return u < 0 ? -ht_round_floor(-u) : ht_round_floor(u);
}

/* Nearest odd integer, a midpoint (even integer) to the lower one: 2 * ceil(u / 2) - 1. */
static inline ht_real ht_round_odd(ht_real u)
{
    ht_real half = u / 2;
    ht_real r = ht_round_even(half);
    return 2 * (r < half ? r + 1 : r) - 1;
}

static inline ht_real ht_clamp(ht_real u, ht_real lo, ht_real hi)
{
    u = u < lo ? lo : u;
    return u > hi ? hi : u;
}

/* How a quantizer rounds; lo and hi are relative to the zero point. */
struct ht_rounder {
    ht_real lo, hi;
    enum {
        HT_ROUNDER_EVEN,
        HT_ROUNDER_FLOOR,
        HT_ROUNDER_ODD,
        HT_ROUNDER_ZERO, /* toward zero: in training and lowering of weights only */
        HT_ROUNDER_TABLE
    } kind;
    /* TABLE: lo + the sum of rise[i] over all i with u > threshold[i]. As thresholds are midpoints
     * of neighbouring levels, multiples of 0.5, this is the nearest level and the lower of two that
     * are equally near. Whole numbers: exact. */
    int n_thresholds;
    ht_real threshold[HT_GRID_TABLE - 1], rise[HT_GRID_TABLE - 1];
};

/* For a grid that is a table, zero point 0; its midpoints are the thresholds. */
struct ht_rounder ht_rounder_of_table(const struct ht_grid *g);

/* level[n] = round(clamp(u[n])), in place allowed. */
void ht_round_row(const struct ht_rounder *r, const ht_real *u, size_t n, ht_real *level);

/* level[n] = round(clamp(x[n] / scale)). */
void ht_quantize_row(const struct ht_rounder *r, const ht_real *x, ht_real scale, size_t n,
                     ht_real *level);

/* Where the random numbers of some elements come from: element i draws for itself, whatever else is
 * drawn. */
struct ht_noise {
    uint64_t seed, stream, step;
    size_t first; /* place of element 0 */
};

/* level[n]: clamp(u[n]) to one of the two levels around it, the nearer the likelier, so that the
 * mean is clamp(u[n]) (Gupta et al. 2015, arXiv 1502.02551, sec. 3). In place allowed. */
void ht_round_row_by_chance(const struct ht_rounder *r, struct ht_noise noise, const ht_real *u,
                            size_t n, ht_real *level);

/* ht_quantize_row to bytes: grids that are tables only. */
void ht_quantize_row_to_bytes(const struct ht_rounder *r, const ht_real *x, ht_real scale, size_t n,
                              int8_t *level);

static inline ht_real ht_round_one(const struct ht_rounder *r, ht_real u)
{
    ht_round_row(r, &u, 1, &u);
    return u;
}

#endif
