/* What tile.h and row.h share: a layer in its packing, activations as bytes, and the way from
 * accumulators to what is asked for. Generic in the vectors, included once by each bundle. */
#ifndef HT_KERNELS_X86_LAYER_H
#define HT_KERNELS_X86_LAYER_H

#include "kernels/bundles.h"
#include "kernels/x86/layout.h"
#include "kernels/x86/stream.h"

#define LINE ((size_t)4 * LANES) /* bytes */

/* How activations and a line are multiplied. */
enum product {
    DOT,
    DOT_SMALL, /* weights within +-64 */
    COUNT      /* signs that differ */
};

HT_INLINE vint add_product(enum product product, vint sum, vint a, vint w)
{
    return product == COUNT       ? v_count(sum, a, w)
           : product == DOT_SMALL ? v_dot_small(sum, a, w)
                                  : v_dot(sum, a, w);
}

/* A layer, with what its packing says. */
struct layer {
    const struct ht_kernel_dense *d;
    struct ht_x86_layout layout;
    size_t n, k, k4, planes;
    size_t column, end; /* of the outputs that are asked for */
    bool flipped;       /* products are with u = a + 128 */
    const uint8_t *sums, *coefficients, *lines;
};

static void layer_init(struct layer *l, const struct ht_kernel_dense *d)
{
    const uint8_t *packed = d->packed;
    memcpy(&l->layout, packed, sizeof l->layout);
    l->d = d;
    l->n = d->weights->n;
    l->k = d->weights->k;
    l->k4 = ht_x86_groups(&l->layout, l->k);
    if (l->layout.binary)
        l->k = 4 * l->k4; /* bytes of a row, all there */
    l->flipped = d->a_signed && !l->layout.binary;
    l->column = d->column;
    l->end = d->columns ? d->column + d->columns : l->n;
    if (l->layout.reference)
        return;
    l->planes = ht_x86_planes(&l->layout);
    const size_t padded = ht_x86_padded(&l->layout, l->n, LANES) * sizeof(int32_t);
    l->sums = packed + sizeof l->layout;
    l->coefficients = l->sums + padded;
    l->lines = l->coefficients + (l->layout.has_coefficients ? padded : 0);
}

/* --- activations --- */

/* `count` bytes of a row as u, and zeros up to a multiple of 4. */
static void copy_activations(uint8_t *to, const uint8_t *a, size_t count, bool a_signed)
{
    const vint flip = v_splat_byte(a_signed ? 0x80 : 0);
    size_t i = 0;
    for (; i + LINE <= count; i += LINE)
        v_store(to + i, v_xor(v_load(a + i), flip));
    const size_t words = (count - i) / 4;
    if (words) /* whole words first, by mask */
        v_store_first(to + i, v_xor(v_load_first(a + i, words), flip), words);
    i += 4 * words;
    for (; i < count; i++)
        to[i] = a[i] ^ (a_signed ? 0x80 : 0);
    for (; i % 4; i++)
        to[i] = 0;
}

HT_INLINE bool needs_copy(const struct layer *l)
{
    return l->d->a_signed || l->k % 4;
}

/* sum_k a of a row, modulo 2^32. */
static uint32_t row_sum(const uint8_t *a, size_t k, bool a_signed)
{
    const vint flip = v_splat_byte(a_signed ? 0x80 : 0), ones = v_splat_byte(1);
    vint sum = v_splat(0);
    size_t i = 0;
    for (; i + LINE <= k; i += LINE)
        sum = v_dot(sum, v_xor(v_load(a + i), flip), ones);
    uint32_t total = (uint32_t)v_sum(sum) - (a_signed ? 128 * (uint32_t)i : 0);
    for (; i < k; i++)
        total += a_signed ? (uint32_t)(int8_t)a[i] : a[i];
    return total;
}

/* sum_k a of the layer's row, which may be converted already. */
static uint32_t layer_row_sum(const struct layer *l, size_t row)
{
    const struct ht_kernel_dense *d = l->d;
    const uint32_t sum = row_sum((const uint8_t *)d->a + row * l->k, l->k, d->a_signed);
    return l->flipped && !d->a_signed ? sum - 128 * (uint32_t)d->weights->k : sum;
}

/* --- from accumulators to what is asked for --- */

/* init - 128 [a signed] sum_k b, or in binary init + k, of one line of outputs. */
HT_INLINE vint starting_sum(const struct layer *l, size_t column)
{
    vint start = v_load_first(l->d->init + column, l->n - column);
    if (l->flipped) {
        const vint sum = v_load(l->sums + column * sizeof(int32_t));
        start = v_sub(start, v_mul(sum, v_splat(128)));
    }
    if (l->layout.binary)
        start = v_add(start, v_splat((int32_t)l->d->weights->k));
    return start;
}

/* One line of outputs of some rows from sums[row * stride]; how many of them exist: n - column. */
HT_INLINE void put_sums(const struct layer *l, size_t column, size_t row, size_t rows,
                        const int32_t *sums, size_t stride)
{
    const size_t n = l->n, count = n - column;
    int32_t *to = l->d->acc + row * n + column;
    for (size_t i = 0; i < rows; i++)
        v_store_first(to + i * n, v_load(sums + i * stride), count);
}

HT_INLINE void put_reals(const struct layer *l, size_t column, size_t row, size_t rows,
                         const int32_t *sums, size_t stride)
{
    const size_t n = l->n, count = n - column;
    const vfloat multiplier = v_floats(v_load_first(l->d->multiplier + column, count));
    float *to = l->d->real + row * n + column;
    for (size_t i = 0; i < rows; i++) {
        const vfloat u = v_product(v_to_float(v_load(sums + i * stride)), multiplier);
        v_store_first(to + i * n, v_bits(u), count);
    }
}

HT_INLINE void put_levels(const struct layer *l, size_t column, size_t row, size_t rows,
                          const int32_t *sums, size_t stride, enum ht_kernel_rounding rounding)
{
    const size_t n = l->n, count = n - column;
    const struct rounder r = make_rounder(l->d->quantizer);
    const vfloat multiplier = v_floats(v_load_first(l->d->multiplier + column, count));
    uint8_t *to = (uint8_t *)l->d->levels + row * n + column;
    for (size_t i = 0; i < rows; i++) {
        const vfloat u = v_product(v_to_float(v_load(sums + i * stride)), multiplier);
        v_store_bytes(to + i * n, round_to_level(u, &r, rounding), count);
    }
}

/* Levels of 4 vectors of outputs at a time, clamped as bytes after rounding, which is the same
 * where no product can leave int32: where all multipliers are less than 1. */
struct packer {
    vint least, range, first;
    bool plain; /* the levels are 0..255 */
};

static bool can_pack(const struct layer *l, size_t column, size_t lines)
{
    const struct ht_kernel_quantizer *q = l->d->quantizer;
    if (!l->d->levels || q->rounding != HT_KERNEL_NEAREST_EVEN || column + lines * LANES > l->n)
        return false;
    bool small = true;
    for (size_t i = 0; i < lines; i++)
        small = small && v_all_below_1(v_floats(v_load(l->d->multiplier + column + i * LANES)));
    return small;
}

HT_INLINE struct packer make_packer(const struct ht_kernel_quantizer *q)
{
    return (struct packer){v_splat16(q->lo), v_splat_byte(q->hi - q->lo),
                           v_splat_byte(q->lo + q->zero_point),
                           q->lo == 0 && q->hi == 255 && q->zero_point == 0};
}

HT_INLINE vint pack_sums(const struct packer *p, bool plain, const vint sums[4],
                         const vfloat multipliers[4])
{
    vint level[4];
    HT_UNROLL
    for (size_t i = 0; i < 4; i++)
        level[i] = v_to_int(v_product(v_to_float(sums[i]), multipliers[i]));
    if (plain)
        return v_pack_bytes(level, NULL);
    return v_add_bytes(v_min_bytes(v_pack_bytes(level, &p->least), p->range), p->first);
}

static void put(const struct layer *l, size_t column, size_t row, size_t rows, const int32_t *sums,
                size_t stride)
{
    if (l->d->acc)
        put_sums(l, column, row, rows, sums, stride);
    else if (l->d->real)
        put_reals(l, column, row, rows, sums, stride);
    else if (l->d->quantizer->rounding == HT_KERNEL_NEAREST_EVEN)
        put_levels(l, column, row, rows, sums, stride, HT_KERNEL_NEAREST_EVEN);
    else if (l->d->quantizer->rounding == HT_KERNEL_FLOOR)
        put_levels(l, column, row, rows, sums, stride, HT_KERNEL_FLOOR);
    else
        put_levels(l, column, row, rows, sums, stride, HT_KERNEL_NEAREST_ODD);
}

#endif
