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
    else if (r->kind == HT_ROUNDER_ZERO)
        ROUND_LOOP(ht_round_zero, u[i]);
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
    else if (r->kind == HT_ROUNDER_ZERO)
        ROUND_LOOP(ht_round_zero, x[i] / scale);
    else
        ROUND_LOOP(ht_round_odd, x[i] / scale);
}

/* --- tables --- */

#define BLOCK ((size_t)256) /* in L1 through all thresholds */

struct ht_rounder ht_rounder_of_table(const struct ht_grid *g)
{
    struct ht_rounder r = {.lo = (ht_real)g->lo,
                           .hi = (ht_real)g->hi,
                           .kind = HT_ROUNDER_TABLE,
                           .n_thresholds = g->n_levels - 1};
    for (int i = 0; i < r.n_thresholds; i++) {
        r.threshold[i] = (ht_real)(g->level[i] + g->level[i + 1]) / 2;
        r.rise[i] = (ht_real)(g->level[i + 1] - g->level[i]);
    }
    return r;
}

/* Of at most BLOCK elements; level may be u. */
HT_VECTORIZED static void round_to_table(const struct ht_rounder *r, const ht_real *u, size_t n,
                                         ht_real *level)
{
    ht_real sum[BLOCK];
    for (size_t i = 0; i < n; i++)
        sum[i] = r->lo;
    for (int k = 0; k < r->n_thresholds; k++) {
        const ht_real threshold = r->threshold[k], rise = r->rise[k];
        for (size_t i = 0; i < n; i++)
            sum[i] += u[i] > threshold ? rise : 0;
    }
    for (size_t i = 0; i < n; i++)
        level[i] = sum[i];
}

HT_VECTORIZED static void divide(const ht_real *x, ht_real scale, size_t n, ht_real *u)
{
    for (size_t i = 0; i < n; i++)
        u[i] = x[i] / scale;
}

HT_VECTORIZED static void to_bytes(const ht_real *level, size_t n, int8_t *bytes)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (int8_t)level[i];
}

static size_t block_at(size_t at, size_t n)
{
    return n - at < BLOCK ? n - at : BLOCK;
}

void ht_quantize_row_to_bytes(const struct ht_rounder *r, const ht_real *x, ht_real scale, size_t n,
                              int8_t *level)
{
    ht_real block[BLOCK];
    for (size_t at = 0; at < n; at += BLOCK) {
        divide(x + at, scale, block_at(at, n), block);
        round_to_table(r, block, block_at(at, n), block);
        to_bytes(block, block_at(at, n), level + at);
    }
}

/* --- all grids --- */

void ht_round_row(const struct ht_rounder *r, const ht_real *u, size_t n, ht_real *level)
{
    if (r->kind != HT_ROUNDER_TABLE) {
        round_units(r, u, n, level);
        return;
    }
    for (size_t at = 0; at < n; at += BLOCK)
        round_to_table(r, u + at, block_at(at, n), level + at);
}

void ht_quantize_row(const struct ht_rounder *r, const ht_real *x, ht_real scale, size_t n,
                     ht_real *level)
{
    if (r->kind != HT_ROUNDER_TABLE) {
        divide_and_round(r, x, scale, n, level);
        return;
    }
    divide(x, scale, n, level);
    ht_round_row(r, level, n, level);
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
