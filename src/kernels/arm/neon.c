/* NEON as every aarch64 has it: products of bytes to 16 bits, pairs of them to 32. */
#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/inline.h"

#define TILE_REGISTERS 2 /* of 4 outputs: 4 rows x 2 x 2 accumulators */

/* Sums of 4 outputs: two of each, {0, 0, 1, 1} and {2, 2, 3, 3}. */
typedef int32x4x2_t vsum;

HT_INLINE vsum sum_zero(void)
{
    return (vsum){{vdupq_n_s32(0), vdupq_n_s32(0)}};
}

HT_INLINE vsum sum_add(vsum a, vsum b)
{
    return (vsum){{vaddq_s32(a.val[0], b.val[0]), vaddq_s32(a.val[1], b.val[1])}};
}

HT_INLINE int32x4_t sum_finish(vsum a)
{
    return vpaddq_s32(a.val[0], a.val[1]);
}

/* The 4 bytes `lane` of a, in all lanes. */
HT_INLINE int8x16_t word(int8x16_t a, size_t lane)
{
    const int32x4_t words = vreinterpretq_s32_s8(a);
    return vreinterpretq_s8_s32(lane == 0   ? vdupq_laneq_s32(words, 0)
                                : lane == 1 ? vdupq_laneq_s32(words, 1)
                                : lane == 2 ? vdupq_laneq_s32(words, 2)
                                            : vdupq_laneq_s32(words, 3));
}

/* Each output: + its 4 weights x the 4 activations `lane` of a. */
HT_INLINE vsum dot_4(vsum sum, int8x16_t w, int8x16_t a, size_t lane)
{
    const int8x16_t x = word(a, lane);
    sum.val[0] = vpadalq_s16(sum.val[0], vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    sum.val[1] = vpadalq_s16(sum.val[1], vmull_high_s8(w, x));
    return sum;
}

/* The same for two groups, `lane` and the next one, and some rows: sum[row] += w u[row]. The sum of
 * two products fits 16 bits as long as no weight is -128 (has_minimum). */
HT_INLINE void dot_rows(size_t rows, vsum *const *sum, int8x16_t w0, int8x16_t w1,
                        const int8x16_t *u, size_t lane, bool has_minimum)
{
    HT_UNROLL
    for (size_t i = 0; i < rows; i++) {
        if (has_minimum) {
            *sum[i] = dot_4(dot_4(*sum[i], w0, u[i], lane), w1, u[i], lane + 1);
            continue;
        }
        const int8x16_t u0 = word(u[i], lane), u1 = word(u[i], lane + 1);
        int16x8_t low = vmull_s8(vget_low_s8(w0), vget_low_s8(u0));
        int16x8_t high = vmull_high_s8(w0, u0);
        low = vmlal_s8(low, vget_low_s8(w1), vget_low_s8(u1));
        high = vmlal_high_s8(high, w1, u1);
        sum[i]->val[0] = vpadalq_s16(sum[i]->val[0], low);
        sum[i]->val[1] = vpadalq_s16(sum[i]->val[1], high);
    }
}

#include "kernels/arm/dense.h"

/* smull, smlal, sadalp: 16 products. */
static uint64_t peak(uint64_t rounds)
{
    int32x4_t sum[PEAK_SUMS];
    int8x16_t a = vdupq_n_s8(3), w = vdupq_n_s8(1);
    HT_UNROLL
    for (int i = 0; i < PEAK_SUMS; i++)
        sum[i] = vdupq_n_s32(i);
    for (uint64_t r = 0; r < rounds; r++) {
        HT_UNROLL
        for (int i = 0; i < PEAK_SUMS; i++) {
            int16x8_t p = vmull_s8(vget_low_s8(w), vget_low_s8(a));
            p = vmlal_high_s8(p, w, a);
            sum[i] = vpadalq_s16(sum[i], p);
            PEAK_HIDE(sum[i], w);
        }
    }
    return rounds * PEAK_SUMS * 16;
}

void ht_kernels_install_neon(struct ht_kernels *k)
{
    install(k, "neon");
}
