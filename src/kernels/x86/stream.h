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

/* NEAREST_EVEN without divisions, where that is certain to give the same levels.
 *
 * Let e = 2^-24, v = x / s the real number, u = fl(v) what the contract rounds, r = fl(1 / s), and
 * low, high = fl(x r -+ NEAR), with or without rounding the product. Let |v| < 257. Then each of
 * u, r, the product and the sums is off by at most e of itself, so that
 *
 *     low <= v - NEAR + 3.01 * 257 e,   |u - v| <= 257 e,   hence low < u, and u < high:
 *
 * NEAR = 2^-14 * 1.25 = 1280 e is more than 4.01 * 257 e. Rounding is monotone: if low and high
 * round to the same integer, so does u. If not, which is rare, the block is divided.
 *
 * Bounds. x is held to fl(hi s), which makes a v beyond hi to one that differs from hi by less
 * than 3 e hi, and both round to hi. Where v <= -257, all of u, low, high are less than lo, or the
 * least integer stands for them, and the integer is raised to lo. NaN stays NaN until it is the
 * least integer. Scales within 2^+-100 keep all of this away from overflow; what is lost where
 * numbers are subnormal is less than 2^-40 of a level. */
#define NEAR   0x1.4p-14f
#define STEADY 4 /* vectors at a time */

static bool can_multiply(float scale, const struct ht_kernel_quantizer *q)
{
    return q->rounding == HT_KERNEL_NEAREST_EVEN && scale >= 0x1p-100f && scale <= 0x1p100f &&
           q->lo >= -256 && q->hi <= 256 && q->hi - q->lo <= 255;
}

/* As many as are whole blocks; returns how many. */
static size_t quantize_by_product(const float *x, size_t n, float scale,
                                  const struct ht_kernel_quantizer *q, uint8_t *levels)
{
    const vfloat factor = v_splat_float(1.0f / scale), most = v_splat_float((float)q->hi * scale);
    const vfloat below = v_splat_float(-NEAR), above = v_splat_float(NEAR);
    const vint least = v_splat16(q->lo), first = v_splat_byte(q->lo + q->zero_point);
    size_t i = 0;
    for (; i + STEADY * LANES <= n; i += STEADY * LANES) {
        vint level[STEADY], doubtful = v_splat(0);
        HT_UNROLL
        for (size_t j = 0; j < STEADY; j++) {
            const vfloat held = v_min(most, v_floats(v_load(x + i + j * LANES)));
            level[j] = v_to_int(v_roughly(held, factor, below));
            const vint high = v_to_int(v_roughly(held, factor, above));
            doubtful = v_or_difference(doubtful, level[j], high);
        }
        if (v_any(doubtful))
            quantize_all(x + i, STEADY * LANES, scale, q, HT_KERNEL_NEAREST_EVEN, levels + i);
        else
            v_store(levels + i, v_add_bytes(v_pack_bytes(level, &least), first));
    }
    return i;
}

static void quantize(const float *x, size_t n, float scale, const struct ht_kernel_quantizer *q,
                     void *levels)
{
    uint8_t *to = levels;
    size_t done = 0;
    if (can_multiply(scale, q))
        done = quantize_by_product(x, n, scale, q, to);
    if (q->rounding == HT_KERNEL_FLOOR)
        quantize_all(x, n, scale, q, HT_KERNEL_FLOOR, to);
    else if (q->rounding == HT_KERNEL_NEAREST_ODD)
        quantize_all(x, n, scale, q, HT_KERNEL_NEAREST_ODD, to);
    else
        quantize_all(x + done, n - done, scale, q, HT_KERNEL_NEAREST_EVEN, to + done);
}

#define LOOKUP_MIN ((size_t)1024) /* below it takes longer to make the bytes of the table */

/* table[level - lo] as bytes, by the byte of the level; only what `in` asks for: how long the table
 * is, nobody says. */
static void byte_table(const uint8_t *in, bool in_signed, size_t n, int lo, const int16_t *table,
                       uint8_t bytes[256])
{
    const unsigned flip = in_signed ? 0x80 : 0; /* so that bytes are in the order of levels */
    unsigned least = 255, most = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned order = in[i] ^ flip;
        least = order < least ? order : least;
        most = order > most ? order : most;
    }
    memset(bytes, 0, 256);
    for (unsigned order = least; order <= most; order++)
        bytes[order ^ flip] = (uint8_t)table[(int)order - (int)flip - lo];
}

/* One line through 16 tables of 16 bytes: in each step all but the indices 0x70..0x7f miss. */
HT_INLINE vint lookup_line(vint in, const uint8_t bytes[256])
{
    const vint bias = v_splat_byte(0x70), next = v_splat_byte(16);
    vint out = v_splat(0);
    HT_UNROLL
    for (int i = 0; i < 16; i++) {
        out = v_or(out, v_lookup16(v_table16(bytes + 16 * i), v_add_saturated(in, bias)));
        in = v_sub_bytes(in, next);
    }
    return out;
}

static void lookup(const void *in, bool in_signed, size_t n, int lo, const int16_t *table,
                   void *out)
{
    const size_t line = (size_t)4 * LANES;
    const uint8_t *from = in;
    uint8_t *to = out;
    size_t i = 0;
    if (n >= LOOKUP_MIN) {
        uint8_t bytes[256];
        byte_table(from, in_signed, n, lo, table, bytes);
        for (; i + line <= n; i += line)
            v_store(to + i, lookup_line(v_load(from + i), bytes));
    }
    for (; i < n; i++) {
        const int level = in_signed ? (int8_t)from[i] : from[i];
        to[i] = (uint8_t)table[level - lo];
    }
}

#ifdef PEAK_DOT
#define PEAK_SUMS 12 /* independent, more than latency x throughput */

static uint64_t peak(uint64_t rounds)
{
    vint sum[PEAK_SUMS], a = v_splat_byte(3), w = v_splat_byte(1);
    HT_UNROLL
    for (int i = 0; i < PEAK_SUMS; i++)
        sum[i] = v_splat(i);
    v_hide(&a);
    for (uint64_t r = 0; r < rounds; r++) {
        HT_UNROLL
        for (int i = 0; i < PEAK_SUMS; i++) {
            sum[i] = PEAK_DOT(sum[i], a, w);
            v_hide(&sum[i]); /* no sum can be merged with another, */
            v_hide(&w);      /* and no product be kept */
        }
    }
    return rounds * PEAK_SUMS * PEAK_MACS;
}
#endif

#endif
