#include "kernels/arm/layout.h"

#include <arm_neon.h>
#include <string.h>

#include "kernels/bundles.h"

/* What the packing needs of a grid: the layout, and the index (or byte) of each code. */
struct plan {
    struct ht_arm_layout layout;
    uint8_t index[256];
};

static int storage_bits(int bits)
{
    return bits > 4 ? 8 : bits > 2 ? 4 : bits;
}

/* Are the levels of all codes different and equally spaced? */
static bool equally_spaced(const struct ht_kernel_weights *w, int lo, int hi)
{
    const int count = 1 << w->bits, step = (hi - lo) / (count - 1);
    uint8_t seen[256] = {0};
    if (step < 1 || lo + step * (count - 1) != hi)
        return false;
    for (int code = 0; code < count; code++) {
        const int distance = w->level[code] - lo;
        if (distance % step || seen[distance / step]++)
            return false;
    }
    return true;
}

static void plan_indices(struct plan *p, const struct ht_kernel_weights *w)
{
    struct ht_arm_layout *l = &p->layout;
    for (int code = 0; code < 1 << w->bits; code++) {
        const int byte = w->level[code] - l->shift;
        if (l->bits == 8)
            p->index[code] = (uint8_t)byte;
        else
            p->index[code] = (uint8_t)(l->uniform ? (w->level[code] - l->lo) / l->step : code);
        if (l->bits < 8) {
            l->table[p->index[code]] = (int8_t)byte;
            l->has_minimum |= byte == -128;
        }
    }
}

static void plan_init(struct plan *p, const struct ht_kernel_weights *w)
{
    int lo = w->level[0], hi = lo;
    for (int code = 1; code < 1 << w->bits; code++) {
        lo = w->level[code] < lo ? w->level[code] : lo;
        hi = w->level[code] > hi ? w->level[code] : hi;
    }
    memset(p, 0, sizeof *p);
    p->layout.reference = hi - lo > 255;
    p->layout.bits = storage_bits(w->bits);
    p->layout.binary = w->a_binary && w->bits == 1 && lo == -1 && hi == 1 && !w->zero_point &&
                       w->k <= HT_ARM_BINARY_MAX_K;
    if (p->layout.reference || p->layout.binary)
        return;
    p->layout.shift = lo >= -128 && hi <= 127 ? 0 : hi - 127;
    p->layout.has_coefficients = w->zero_point || p->layout.shift;
    p->layout.uniform = p->layout.bits < 8 && equally_spaced(w, lo, hi);
    if (p->layout.uniform) {
        p->layout.lo = lo;
        p->layout.step = (hi - lo) / ((1 << w->bits) - 1);
    }
    plan_indices(p, w);
}

static size_t binary_blocks(size_t k)
{
    return (k + 127) / 128;
}

static size_t line_bytes(const struct ht_arm_layout *layout, size_t padded, size_t k)
{
    return padded / (HT_ARM_OUTPUTS * ht_arm_planes(layout)) * ((k + 3) / 4) * HT_ARM_LINE;
}

static size_t sum_bytes(const struct ht_arm_layout *layout, size_t padded)
{
    return padded * sizeof(int32_t) * (layout->has_coefficients ? 2 : 1);
}

size_t ht_arm_packed_size(const struct ht_kernel_weights *w)
{
    struct plan p;
    plan_init(&p, w);
    if (p.layout.reference) {
        struct ht_kernels c;
        ht_kernels_install_c(&c);
        return sizeof p.layout + c.packed_size(w);
    }
    const size_t padded = ht_arm_padded(&p.layout, w->n);
    if (p.layout.binary)
        return sizeof p.layout + padded * binary_blocks(w->k) * 16;
    return sizeof p.layout + sum_bytes(&p.layout, padded) + line_bytes(&p.layout, padded, w->k);
}

static unsigned code_at(const struct ht_kernel_weights *w, size_t i)
{
    const size_t bit = i * (size_t)w->bits, shift = bit % 8;
    unsigned pair = w->codes[bit / 8];
    if (shift + (size_t)w->bits > 8)
        pair |= (unsigned)w->codes[bit / 8 + 1] << 8;
    return pair >> shift & ((1u << w->bits) - 1);
}

/* The first byte of an output's groups. */
static size_t output_offset(const struct ht_arm_layout *layout, size_t n, size_t k)
{
    const size_t strip = n / (HT_ARM_OUTPUTS * ht_arm_planes(layout));
    return strip * ((k + 3) / 4) * HT_ARM_LINE + n % HT_ARM_OUTPUTS * 4;
}

/* One output: its bytes are or-ed into the lines. Returns the sum of its bytes' values. */
static int32_t pack_output(struct plan *p, const struct ht_kernel_weights *w, size_t n,
                           uint8_t *lines)
{
    struct ht_arm_layout *l = &p->layout;
    const size_t plane = n / HT_ARM_OUTPUTS % ht_arm_planes(l);
    uint8_t *at = lines + output_offset(l, n, w->k);
    int64_t sum = 0;
    for (size_t k = 0; k < w->k; k++) {
        const unsigned code = code_at(w, n * w->k + k);
        at[k / 4 * HT_ARM_LINE + k % 4] |= (uint8_t)(p->index[code] << plane * (size_t)l->bits);
        sum += w->level[code] - l->shift;
        l->has_minimum |= w->level[code] - l->shift == -128;
    }
    return (int32_t)(uint32_t)sum; /* modulo 2^32, as the kernels add */
}

static void pack_binary(const struct ht_kernel_weights *w, size_t padded, uint8_t *bits)
{
    const size_t blocks = binary_blocks(w->k);
    memset(bits, 0, padded * blocks * 16);
    for (size_t n = 0; n < w->n; n++) {
        uint8_t *at = bits + (n / 4 * blocks * 4 + n % 4) * 16;
        for (size_t k = 0; k < w->k; k++)
            if (w->level[code_at(w, n * w->k + k)] < 0)
                at[k / 128 * 64 + k % 128 / 8] |= (uint8_t)(1u << k % 8);
    }
}

static void pack_lines(struct plan *p, const struct ht_kernel_weights *w, uint8_t *bytes)
{
    const size_t padded = ht_arm_padded(&p->layout, w->n);
    const size_t sums = sum_bytes(&p->layout, padded);
    const size_t n_bytes = line_bytes(&p->layout, padded, w->k);
    uint8_t *lines = bytes + sums;
    memset(bytes, 0, sums + n_bytes);
    for (size_t n = 0; n < w->n; n++) {
        const int32_t sum = pack_output(p, w, n, lines);
        const int32_t coefficient = p->layout.shift - (w->zero_point ? w->zero_point[n] : 0);
        memcpy(bytes + n * sizeof sum, &sum, sizeof sum);
        if (p->layout.has_coefficients)
            memcpy(bytes + (padded + n) * sizeof sum, &coefficient, sizeof coefficient);
    }
    for (size_t i = 0; p->layout.uniform && i < n_bytes; i++)
        lines[i] ^= 0x80;
}

void ht_arm_pack(const struct ht_kernel_weights *w, void *packed)
{
    struct plan p;
    uint8_t *bytes = packed;
    plan_init(&p, w);
    if (p.layout.reference) {
        struct ht_kernels c;
        ht_kernels_install_c(&c);
        c.pack(w, bytes + sizeof p.layout);
    } else if (p.layout.binary) {
        pack_binary(w, ht_arm_padded(&p.layout, w->n), bytes + sizeof p.layout);
    } else {
        pack_lines(&p, w, bytes + sizeof p.layout);
    }
    memcpy(bytes, &p.layout, sizeof p.layout); /* last: packing finds has_minimum */
}

/* --- packing levels --- */

static int32x4_t add_bytes(int32x4_t sum, int8x16_t bytes)
{
    return vpadalq_s16(sum, vpaddlq_s8(bytes));
}

/* Four neighbouring outputs: 4 x 4 words transposed at a time. */
static void pack_four(const int8_t *levels, size_t k, uint8_t *to, int32_t *sums)
{
    int32x4_t sum[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
    for (size_t i = 0; i < k; i += 16) {
        int8x16_t row[4];
        for (size_t r = 0; r < 4; r++) {
            int8_t rest[16] = {0};
            const int8_t *from = levels + r * k + i;
            if (k - i < 16)
                from = memcpy(rest, from, k - i);
            row[r] = vld1q_s8(from);
            sum[r] = add_bytes(sum[r], row[r]);
        }
        const int32x4_t r0 = vreinterpretq_s32_s8(row[0]), r1 = vreinterpretq_s32_s8(row[1]);
        const int32x4_t r2 = vreinterpretq_s32_s8(row[2]), r3 = vreinterpretq_s32_s8(row[3]);
        const int64x2_t a = vreinterpretq_s64_s32(vzip1q_s32(r0, r1));
        const int64x2_t b = vreinterpretq_s64_s32(vzip1q_s32(r2, r3));
        const int64x2_t c = vreinterpretq_s64_s32(vzip2q_s32(r0, r1));
        const int64x2_t d = vreinterpretq_s64_s32(vzip2q_s32(r2, r3));
        const int64x2_t group[4] = {vzip1q_s64(a, b), vzip2q_s64(a, b), vzip1q_s64(c, d),
                                    vzip2q_s64(c, d)};
        for (size_t g = 0; g < 4 && i + 4 * g < k; g++)
            vst1q_u8(to + (i / 4 + g) * HT_ARM_LINE, vreinterpretq_u8_s64(group[g]));
    }
    for (size_t r = 0; r < 4; r++)
        sums[r] = vaddvq_s32(sum[r]);
}

/* Less than four outputs, or none: the rest of their groups is zero. */
static void pack_rest(const int8_t *levels, size_t rows, size_t k, uint8_t *to, int32_t *sums)
{
    for (size_t i = 0; i < k; i += 4)
        memset(to + i / 4 * HT_ARM_LINE, 0, 16);
    for (size_t r = 0; r < rows; r++) {
        sums[r] = 0;
        for (size_t i = 0; i < k; i++) {
            to[i / 4 * HT_ARM_LINE + r * 4 + i % 4] = (uint8_t)levels[r * k + i];
            sums[r] += levels[r * k + i];
        }
    }
}

void ht_arm_pack_levels(const struct ht_kernel_weights *w, size_t row, size_t rows,
                        const int8_t *levels, void *packed, int32_t *sums)
{
    const struct ht_arm_layout layout = {.bits = 8};
    const size_t padded = ht_arm_padded(&layout, w->n), end = row + rows;
    const size_t padded_end = end == w->n ? padded : end;
    uint8_t *packed_sums = (uint8_t *)packed + sizeof layout;
    uint8_t *lines = packed_sums + padded * sizeof(int32_t);
    if (row == 0)
        memcpy(packed, &layout, sizeof layout);
    for (size_t n = row; n < padded_end; n += 4) {
        uint8_t *to = lines + output_offset(&layout, n, w->k);
        const int8_t *from = n < end ? levels + (n - row) * w->k : NULL;
        if (n + 4 <= end)
            pack_four(from, w->k, to, sums + (n - row));
        else
            pack_rest(from, n < end ? end - n : 0, w->k, to, n < end ? sums + (n - row) : NULL);
    }
    memcpy(packed_sums + row * sizeof *sums, sums, rows * sizeof *sums);
    memset(packed_sums + end * sizeof *sums, 0, (padded_end - end) * sizeof *sums);
}
