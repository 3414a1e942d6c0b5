/* Elementwise work of a bundle, generic in the vectors: float to level, quantize, lookup, and the
 * loop that measures the machine's peak. Included once by each bundle, after its vectors. */
#ifndef HT_KERNELS_X86_STREAM_H
#define HT_KERNELS_X86_STREAM_H

#include "kernels/kernels.h"

/* A quantizer in registers. */
struct rounder {
    vfloat lo, hi;
    vint zero_point;
};

HT_INLINE struct rounder make_rounder(const struct ht_kernel_quantizer *q)
{
    return (struct rounder){v_splat_float((float)q->lo), v_splat_float((float)q->hi),
                            v_splat(q->zero_point)};
}

/* ht_round_to_level (kernels/round.h) of each lane. */
HT_INLINE vint round_to_level(vfloat u, const struct rounder *r, enum ht_kernel_rounding rounding)
{
    u = v_min(v_max(u, r->lo), r->hi); /* lo where u is NaN */
    if (rounding == HT_KERNEL_FLOOR)
        u = v_floor(u);
    vint level;
    if (rounding == HT_KERNEL_NEAREST_ODD) { /* 2 * ceil(u / 2) - 1 */
        level = v_to_int(v_ceil(v_product(u, v_splat_float(0.5f))));
        level = v_sub(v_add(level, level), v_splat(1));
    } else {
        level = v_to_int(u);
    }
    return v_add(level, r->zero_point);
}

HT_INLINE void quantize_all(const float *x, size_t n, float scale,
                            const struct ht_kernel_quantizer *q, enum ht_kernel_rounding rounding,
                            uint8_t *levels)
{
    const struct rounder r = make_rounder(q);
    const vfloat divisor = v_splat_float(scale);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vfloat u = v_quotient(v_floats(v_load(x + i)), divisor);
        v_store_bytes(levels + i, round_to_level(u, &r, rounding), LANES);
    }
    if (i < n) {
        const vfloat u = v_quotient(v_floats(v_load_first(x + i, n - i)), divisor);
        v_store_bytes(levels + i, round_to_level(u, &r, rounding), n - i);
    }
}

static void quantize(const float *x, size_t n, float scale, const struct ht_kernel_quantizer *q,
                     void *levels)
{
    if (q->rounding == HT_KERNEL_FLOOR)
        quantize_all(x, n, scale, q, HT_KERNEL_FLOOR, levels);
    else if (q->rounding == HT_KERNEL_NEAREST_ODD)
        quantize_all(x, n, scale, q, HT_KERNEL_NEAREST_ODD, levels);
    else
        quantize_all(x, n, scale, q, HT_KERNEL_NEAREST_EVEN, levels);
}

#define PEAK_SUMS 12 /* independent, more than latency x throughput */

static uint64_t peak(uint64_t rounds)
{
    vint sum[PEAK_SUMS], a = v_splat_byte(3), w = v_splat_byte(1);
    HT_UNROLL
    for (int i = 0; i < PEAK_SUMS; i++)
        sum[i] = v_splat(i);
    v_hide(&a);
    v_hide(&w);
    for (uint64_t r = 0; r < rounds; r++) {
        HT_UNROLL
        for (int i = 0; i < PEAK_SUMS; i++) {
            sum[i] = PEAK_DOT(sum[i], a, w);
            v_hide(&sum[i]); /* no sum can be merged with another */
        }
    }
    return rounds * PEAK_SUMS * PEAK_MACS;
}

#endif
