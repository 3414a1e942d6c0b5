/* A dense layer of -1 and +1 on both sides: bits that differ are counted. Included by dense.h. */
#ifndef HT_KERNELS_ARM_BINARY_H
#define HT_KERNELS_ARM_BINARY_H

#define COUNT_STEPS ((size_t)31) /* of at most 8 in each byte */

/* The signs of 128 activations. */
HT_INLINE uint8x16_t signs_128(const int8_t *a)
{
    const uint8x16_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t t[8];
    HT_UNROLL
    for (size_t i = 0; i < 8; i++)
        t[i] = vandq_u8(vreinterpretq_u8_s8(vshrq_n_s8(vld1q_s8(a + 16 * i), 7)), bit);
    const uint8x16_t t01 = vpaddq_u8(t[0], t[1]), t23 = vpaddq_u8(t[2], t[3]);
    const uint8x16_t t45 = vpaddq_u8(t[4], t[5]), t67 = vpaddq_u8(t[6], t[7]);
    return vpaddq_u8(vpaddq_u8(t01, t23), vpaddq_u8(t45, t67));
}

static void signs(const int8_t *a, size_t k, uint8_t *bits)
{
    size_t i = 0;
    for (; i + 128 <= k; i += 128)
        vst1q_u8(bits + i / 8, signs_128(a + i));
    if (i < k) {
        int8_t rest[128] = {0};
        memcpy(rest, a + i, k - i);
        vst1q_u8(bits + i / 8, signs_128(rest));
    }
}

/* How many bits differ, of 4 outputs. */
HT_INLINE uint32x4_t count_differences(const uint8_t *a, const uint8_t *w, size_t blocks)
{
    uint32x4_t sum[4] = {vdupq_n_u32(0), vdupq_n_u32(0), vdupq_n_u32(0), vdupq_n_u32(0)};
    for (size_t i = 0; i < blocks;) {
        uint8x16_t count[4] = {vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)};
        const size_t stop = blocks - i < COUNT_STEPS ? blocks : i + COUNT_STEPS;
        for (; i < stop; i++) {
            const uint8x16_t x = vld1q_u8(a + i * 16);
            HT_UNROLL
            for (size_t n = 0; n < 4; n++) {
                const uint8x16_t differ = veorq_u8(x, vld1q_u8(w + i * 64 + n * 16));
                count[n] = vaddq_u8(count[n], vcntq_u8(differ));
            }
        }
        HT_UNROLL
        for (size_t n = 0; n < 4; n++)
            sum[n] = vpadalq_u16(sum[n], vpaddlq_u8(count[n]));
    }
    return vpaddq_u32(vpaddq_u32(sum[0], sum[1]), vpaddq_u32(sum[2], sum[3]));
}

/* init + k - 2 x differences. */
static void dense_binary(const struct layer *l)
{
    const size_t blocks = (l->k + 127) / 128;
    uint8_t bits[HT_ARM_BINARY_MAX_K / 8];
    for (size_t row = 0; row < l->d->m; row++) {
        signs((const int8_t *)l->d->a + row * l->k, l->k, bits);
        for (size_t column = l->first; column < l->end; column += OUTPUTS) {
            int32_t sums[OUTPUTS];
            load_columns(sums, l->d->init + column, l->end - column);
            for (size_t i = 0; i < OUTPUTS; i += 4) {
                const uint8_t *w = l->lines + (column + i) * blocks * 16;
                const int32x4_t differ = vreinterpretq_s32_u32(count_differences(bits, w, blocks));
                const int32x4_t init = vaddq_s32(vld1q_s32(sums + i), vdupq_n_s32((int)l->k));
                vst1q_s32(sums + i, vsubq_s32(init, vaddq_s32(differ, differ)));
            }
            put(l, column, row, 1, sums, 0);
        }
    }
}

#endif
