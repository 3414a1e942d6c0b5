/* Elementwise work of the ARM bundles: float to level, quantize, lookup. */
#ifndef HT_KERNELS_ARM_STREAM_H
#define HT_KERNELS_ARM_STREAM_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/inline.h"

/* A quantizer in registers. */
struct rounder {
    float32x4_t lo, hi;
    int32x4_t zero_point;
};

HT_INLINE struct rounder make_rounder(const struct ht_kernel_quantizer *q)
{
    return (struct rounder){vdupq_n_f32((float)q->lo), vdupq_n_f32((float)q->hi),
                            vdupq_n_s32(q->zero_point)};
}

/* ht_round_to_level (kernels/round.h) of each lane. */
HT_INLINE int32x4_t round_to_level(float32x4_t u, const struct rounder *r,
                                   enum ht_kernel_rounding rounding)
{
    u = vminq_f32(vmaxnmq_f32(u, r->lo), r->hi); /* lo where u is NaN */
    int32x4_t level;
    if (rounding == HT_KERNEL_FLOOR) {
        level = vcvtmq_s32_f32(u);
    } else if (rounding == HT_KERNEL_NEAREST_ODD) { /* 2 * ceil(u / 2) - 1 */
        level = vcvtpq_s32_f32(vmulq_f32(u, vdupq_n_f32(0.5f)));
        level = vsubq_s32(vaddq_s32(level, level), vdupq_n_s32(1));
    } else {
        level = vcvtnq_s32_f32(u);
    }
    return vaddq_s32(level, r->zero_point);
}

/* The lowest bytes of 16 lanes. */
HT_INLINE uint8x16_t lowest_bytes(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d)
{
    const int16x8_t ab = vuzp1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
    const int16x8_t cd = vuzp1q_s16(vreinterpretq_s16_s32(c), vreinterpretq_s16_s32(d));
    return vuzp1q_u8(vreinterpretq_u8_s16(ab), vreinterpretq_u8_s16(cd));
}

HT_INLINE uint8x16_t quantize_16(const float *x, float32x4_t scale, const struct rounder *r,
                                 enum ht_kernel_rounding rounding)
{
    int32x4_t level[4];
    HT_UNROLL
    for (size_t i = 0; i < 4; i++)
        level[i] = round_to_level(vdivq_f32(vld1q_f32(x + 4 * i), scale), r, rounding);
    return lowest_bytes(level[0], level[1], level[2], level[3]);
}

HT_INLINE void quantize_all(const float *x, size_t n, float scale,
                            const struct ht_kernel_quantizer *q, enum ht_kernel_rounding rounding,
                            uint8_t *levels)
{
    const struct rounder r = make_rounder(q);
    const float32x4_t divisor = vdupq_n_f32(scale);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        vst1q_u8(levels + i, quantize_16(x + i, divisor, &r, rounding));
    if (i < n) {
        float rest[16] = {0};
        uint8_t bytes[16];
        memcpy(rest, x + i, (n - i) * sizeof *x);
        vst1q_u8(bytes, quantize_16(rest, divisor, &r, rounding));
        memcpy(levels + i, bytes, n - i);
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

#define LOOKUP_MIN ((size_t)512) /* below it takes longer to make the bytes of the table */

/* table[level - lo] as bytes, by the byte of the level; only what `in` asks for: how long the table
 * is, nobody says. */
static void byte_table(const uint8_t *in, bool in_signed, size_t n, int lo, const int16_t *table,
                       uint8_t bytes[256])
{
    const unsigned flip = in_signed ? 0x80 : 0; /* so that bytes are in the order of levels */
    uint8_t least = 255, most = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t order = (uint8_t)(in[i] ^ flip);
        least = order < least ? order : least;
        most = order > most ? order : most;
    }
    memset(bytes, 0, 256);
    for (unsigned order = least; order <= most; order++)
        bytes[order ^ flip] = (uint8_t)table[(int)order - (int)flip - lo];
}

static void lookup(const void *in, bool in_signed, size_t n, int lo, const int16_t *table,
                   void *out)
{
    const uint8_t *from = in;
    uint8_t *to = out;
    size_t i = 0;
    if (n >= LOOKUP_MIN) {
        uint8_t bytes[256];
        byte_table(from, in_signed, n, lo, table, bytes);
        const uint8x16x4_t t0 = vld1q_u8_x4(bytes), t1 = vld1q_u8_x4(bytes + 64);
        const uint8x16x4_t t2 = vld1q_u8_x4(bytes + 128), t3 = vld1q_u8_x4(bytes + 192);
        const uint8x16_t next = vdupq_n_u8(64);
        for (; i + 16 <= n; i += 16) { /* an index out of range leaves the byte as it is */
            uint8x16_t index = vld1q_u8(from + i);
            uint8x16_t bytes16 = vqtbl4q_u8(t0, index);
            bytes16 = vqtbx4q_u8(bytes16, t1, index = vsubq_u8(index, next));
            bytes16 = vqtbx4q_u8(bytes16, t2, index = vsubq_u8(index, next));
            bytes16 = vqtbx4q_u8(bytes16, t3, vsubq_u8(index, next));
            vst1q_u8(to + i, bytes16);
        }
    }
    for (; i < n; i++) {
        const int level = in_signed ? (int8_t)from[i] : from[i];
        to[i] = (uint8_t)table[level - lo];
    }
}

#endif
