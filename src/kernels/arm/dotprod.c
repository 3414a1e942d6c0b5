/* ARMv8.2 with FEAT_DotProd (Cortex-A55, A75, Neoverse N1, Apple A11 and later): sdot. */
#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/inline.h"

#define TILE_REGISTERS 4 /* of 4 outputs: 4 rows x 4 accumulators */

typedef int32x4_t vsum; /* of 4 outputs */

HT_INLINE vsum sum_zero(void)
{
    return vdupq_n_s32(0);
}

HT_INLINE vsum sum_add(vsum a, vsum b)
{
    return vaddq_s32(a, b);
}

HT_INLINE int32x4_t sum_finish(vsum a)
{
    return a;
}

/* Each output: + its 4 weights x the 4 activations `lane` of a. */
HT_INLINE vsum dot_4(vsum sum, int8x16_t w, int8x16_t a, size_t lane)
{
    return lane == 0   ? vdotq_laneq_s32(sum, w, a, 0)
           : lane == 1 ? vdotq_laneq_s32(sum, w, a, 1)
           : lane == 2 ? vdotq_laneq_s32(sum, w, a, 2)
                       : vdotq_laneq_s32(sum, w, a, 3);
}

/* The same for two groups, `lane` and the next one, and some rows: sum[row] += w u[row]. */
HT_INLINE void dot_rows(size_t rows, vsum *const *sum, int8x16_t w0, int8x16_t w1,
                        const int8x16_t *u, size_t lane, bool has_minimum)
{
    HT_UNROLL
    for (size_t i = 0; i < rows; i++)
        *sum[i] = dot_4(*sum[i], w0, u[i], lane);
    HT_UNROLL
    for (size_t i = 0; i < rows; i++)
        *sum[i] = dot_4(*sum[i], w1, u[i], lane + 1);
}

#include "kernels/arm/dense.h"

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
            sum[i] = vdotq_s32(sum[i], w, a);
            PEAK_HIDE(sum[i], w);
        }
    }
    return rounds * PEAK_SUMS * 16;
}

void ht_kernels_install_dotprod(struct ht_kernels *k)
{
    install(k, "dotprod");
}
