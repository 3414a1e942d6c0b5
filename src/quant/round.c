#include "quant/round.h"

#include "base/rng.h"
#include "base/vectorized.h"

/* One loop per kind, so that each vectorizes. */
#define ROUND_LOOP(round, value)                                                                   \
    for (size_t i = 0; i < n; i++)                                                                 \
    level[i] = round(ht_clamp(value, r->lo, r->hi))

HT_VECTORIZED static void round_units(const struct ht_rounder *r, const ht_real *u, size_t n,
                                      ht_real *level)
{
    if (r->kind == HT_ROUNDER_EVEN)
        ROUND_LOOP(ht_round_even, u[i]);
    else if (r->kind == HT_ROUNDER_FLOOR)
        ROUND_LOOP(ht_round_floor, u[i]);
    else
        ROUND_LOOP(ht_round_odd, u[i]);
}

HT_VECTORIZED static void divide_and_round(const struct ht_rounder *r, const ht_real *x,
                                           ht_real scale, size_t n, ht_real *level)
{
    if (r->kind == HT_ROUNDER_EVEN)
        ROUND_LOOP(ht_round_even, x[i] / scale);
    else if (r->kind == HT_ROUNDER_FLOOR)
        ROUND_LOOP(ht_round_floor, x[i] / scale);
    else
        ROUND_LOOP(ht_round_odd, x[i] / scale);
}

void ht_round_row(const struct ht_rounder *r, const ht_real *u, size_t n, ht_real *level)
{
    round_units(r, u, n, level);
}

void ht_quantize_row(const struct ht_rounder *r, const ht_real *x, ht_real scale, size_t n,
                     ht_real *level)
{
    divide_and_round(r, x, scale, n, level);
}

/* Up with the chance of the distance from the level below, in steps of the grid. floor(u) + (draw <
 * rest) never passes hi, as floor(u + draw) could by float rounding. */
static ht_real by_chance(const struct ht_rounder *r, ht_real u, uint32_t draw)
{
    const ht_real uniform = (ht_real)(draw >> 8) * (ht_real)(1.0 / 16777216.0);
    u = ht_clamp(u, r->lo, r->hi);
    if (r->kind == HT_ROUNDER_ODD)
        u = (u - 1) / 2;
    const ht_real below = ht_round_floor(u), up = uniform < u - below ? 1 : 0;
    return r->kind == HT_ROUNDER_ODD ? 2 * (below + up) + 1 : below + up;
}

void ht_round_row_by_chance(const struct ht_rounder *r, struct ht_noise noise, const ht_real *u,
                            size_t n, ht_real *level)
{
    struct ht_rng_block draws = {{0}};
    for (size_t i = 0; i < n; i++) { /* four draws in a block */
        const size_t at = noise.first + i;
        if (i == 0 || at % 4 == 0)
            draws = ht_rng_block(noise.seed, noise.stream, noise.step << 32 | at / 4);
        level[i] = by_chance(r, u[i], draws.v[at % 4]);
    }
}
