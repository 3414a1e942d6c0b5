#include "quant/dynamic.h"

#include "base/vectorized.h"
#include "quant/quantizer.h"

/* NaN counts for nothing, the other values as far as they matter. */
HT_VECTORIZED static void ends(const ht_real *x, size_t n, ht_real *min, ht_real *max)
{
    ht_real low[HT_ORDERED_LANES] = {0}, high[HT_ORDERED_LANES] = {0};
    size_t i = 0;
    for (; i + HT_ORDERED_LANES <= n; i += HT_ORDERED_LANES)
        for (size_t j = 0; j < HT_ORDERED_LANES; j++) {
            low[j] = x[i + j] < low[j] ? x[i + j] : low[j];
            high[j] = x[i + j] > high[j] ? x[i + j] : high[j];
        }
    for (size_t j = 0; i < n; i++, j++) {
        low[j] = x[i] < low[j] ? x[i] : low[j];
        high[j] = x[i] > high[j] ? x[i] : high[j];
    }
    *min = *max = 0;
    for (size_t j = 0; j < HT_ORDERED_LANES; j++) {
        *min = low[j] < *min ? low[j] : *min;
        *max = high[j] > *max ? high[j] : *max;
    }
    *min = *min < -HT_DYNAMIC_MAX ? -HT_DYNAMIC_MAX : *min;
    *max = *max > HT_DYNAMIC_MAX ? HT_DYNAMIC_MAX : *max;
}

struct ht_row_scale ht_row_scale(const struct ht_grid *g, const ht_real *x, size_t n)
{
    struct ht_row_scale r = {0, 0};
    ht_real min, max;
    ends(x, n, &min, &max);
    if (g->has_zero_point)
        r.scale = (max - min) / (ht_real)(g->hi - g->lo);
    else
        r.scale = (max > -min ? max : -min) / (ht_real)g->hi;
    if (r.scale < HT_MIN_SCALE)
        r.scale = HT_MIN_SCALE;
    else if (g->has_zero_point) /* between lo and hi, as min <= 0 <= max */
        r.zero_point = (int)ht_round_even((ht_real)g->lo - min / r.scale);
    return r;
}

struct ht_row_scale ht_row_levels(const struct ht_grid *g, enum ht_rounding rounding,
                                  const ht_real *x, size_t n, ht_real *level)
{
    const struct ht_row_scale s = ht_row_scale(g, x, n);
    struct ht_rounder r;
    r.lo = (ht_real)(g->lo - s.zero_point);
    r.hi = (ht_real)(g->hi - s.zero_point);
    r.kind = rounding == HT_ROUND_FLOOR ? HT_ROUNDER_FLOOR : HT_ROUNDER_EVEN;
    r.n_thresholds = 0;
    ht_quantize_row(&r, x, s.scale, n, level);
    return s;
}

HT_VECTORIZED static void outputs(const ht_real *sum, size_t n, ht_real row_scale,
                                  const ht_real *scale, const ht_real *offset, ht_real *y)
{
    for (size_t j = 0; j < n; j++)
        y[j] = sum[j] * (row_scale * scale[j]) + offset[j];
}

void ht_real_outputs(const ht_real *sum, size_t n, ht_real row_scale, const ht_real *scale,
                     const ht_real *offset, ht_real *y)
{
    outputs(sum, n, row_scale, scale, offset, y);
}
