#include "quant/round.h"

#include "base/vectorized.h"

/* One loop per kind, so that each vectorizes. */
#define ROUND_LOOP(round, value)                                                                   \
    for (size_t i = 0; i < n; i++)                                                                 \
    level[i] = round(ht_clamp(value, r->lo, r->hi))

HT_VECTORIZED void ht_round_row(const struct ht_rounder *r, const ht_real *u, size_t n,
                                ht_real *level)
{
    if (r->kind == HT_ROUNDER_EVEN)
        ROUND_LOOP(ht_round_even, u[i]);
    else if (r->kind == HT_ROUNDER_FLOOR)
        ROUND_LOOP(ht_round_floor, u[i]);
    else
        ROUND_LOOP(ht_round_odd, u[i]);
}

HT_VECTORIZED void ht_quantize_row(const struct ht_rounder *r, const ht_real *x, ht_real scale,
                                   size_t n, ht_real *level)
{
    if (r->kind == HT_ROUNDER_EVEN)
        ROUND_LOOP(ht_round_even, x[i] / scale);
    else if (r->kind == HT_ROUNDER_FLOOR)
        ROUND_LOOP(ht_round_floor, x[i] / scale);
    else
        ROUND_LOOP(ht_round_odd, x[i] / scale);
}
