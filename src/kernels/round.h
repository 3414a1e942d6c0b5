/* The normative scalar arithmetic from float to level (docs/numerics.md, sections 2 and 4). Every
 * other implementation is compared with this one. */
#ifndef HT_KERNELS_ROUND_H
#define HT_KERNELS_ROUND_H

#include <math.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* clamp(round(u), lo, hi) + zero_point. Clamped first, so that the conversion to an integer is
 * always in range; with whole bounds (odd ones for NEAREST_ODD) the order changes no result. NaN
 * has no level; it becomes lo, the same on every machine. */
static inline int32_t ht_round_to_level(float u, const struct ht_kernel_quantizer *q)
{
    const float lo = (float)q->lo, hi = (float)q->hi;
    if (!(u > lo))
        u = lo;
    if (u > hi)
        u = hi;
    if (q->rounding == HT_KERNEL_FLOOR)
        u = floorf(u);
    else if (q->rounding == HT_KERNEL_NEAREST_ODD)
        u = 2.0f * ceilf(u * 0.5f) - 1.0f;
    else
        u = rintf(u); /* half to even in the default rounding mode */
    return (int32_t)u + q->zero_point;
}

/* F32-RNE, the accumulator's side: fl32(fl32(acc) * multiplier), one product of two floats. */
static inline float ht_scale_accumulator(int32_t acc, float multiplier)
{
    const float a = (float)acc;
    return a * multiplier;
}

#endif
