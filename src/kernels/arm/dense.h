/* A dense layer for ARM, generic in the dot product (neon.c, dotprod.c). Included once by each.
 *
 * Products are of signed bytes. With u = a, or a - 128 for unsigned activations (one bit flipped),
 * and the bytes b = level - shift:
 *
 *     acc = init + 128 [a unsigned] sum_k b  +  sum_k u b  +  (shift - zero_point) sum_k a
 *
 * all modulo 2^32. Many rows: tiles of 4 rows x 16 outputs on bytes, which planes are unpacked to
 * once for MAX_ROWS rows. Few rows: straight from the planes. */
#ifndef HT_KERNELS_ARM_DENSE_H
#define HT_KERNELS_ARM_DENSE_H

#include "kernels/arm/layout.h"
#include "kernels/arm/stream.h"
#include "kernels/bundles.h"

#define OUTPUTS   HT_ARM_OUTPUTS
#define LINE      HT_ARM_LINE
#define TILE_ROWS 4
#define MAX_ROWS  128   /* that share unpacked weights; their sums are on the stack */
#define BLOCK_K   1024  /* of unpacked weights: L1 holds a block */
#define VECTOR_K  32768 /* inputs whose products with whole lines fit int32 */
#define FEW_ROWS  3     /* rows that are faster one by one where weights need unpacking */

/* A layer, with what its packing says. */
struct layer {
    const struct ht_kernel_dense *d;
    struct ht_arm_layout layout;
    size_t n, k, k4, planes;
    size_t first, end; /* outputs to compute */
    uint8x16_t flip;   /* of activations to signed */
    const uint8_t *sums, *coefficients, *lines;
};

static void layer_init(struct layer *l, const struct ht_kernel_dense *d)
{
    const uint8_t *packed = d->packed;
    memcpy(&l->layout, packed, sizeof l->layout);
    l->d = d;
    l->n = d->weights->n;
    l->k = d->weights->k;
    l->k4 = (l->k + 3) / 4;
    l->first = d->column;
    l->end = d->columns ? d->column + d->columns : l->n;
    l->flip = vdupq_n_u8(d->a_signed ? 0 : 0x80);
    l->lines = packed + sizeof l->layout;
    if (l->layout.reference || l->layout.binary)
        return;
    l->planes = ht_arm_planes(&l->layout);
    const size_t padded = ht_arm_padded(&l->layout, l->n) * sizeof(int32_t);
    l->sums = l->lines;
    l->coefficients = l->sums + padded;
    l->lines = l->coefficients + (l->layout.has_coefficients ? padded : 0);
}

/* --- activations --- */

HT_INLINE int8x16_t load_16(const uint8_t *a, uint8x16_t flip)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a), flip));
}

/* The last k % 16 of k inputs, then zeros. */
HT_INLINE int8x16_t load_rest(const uint8_t *a, size_t k, uint8x16_t flip)
{
    static const uint8_t window[32] = {0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,
                                       11,  12,  13,  14,  15,  255, 255, 255, 255, 255, 255,
                                       255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    const size_t rest = k % 16;
    uint8_t buffer[16] = {0};
    if (!rest)
        return vdupq_n_s8(0);
    if (k < 16)
        memcpy(buffer + 16 - rest, a, rest);
    const uint8x16_t last = veorq_u8(vld1q_u8(k < 16 ? buffer : a + k - 16), flip);
    return vreinterpretq_s8_u8(vqtbl1q_u8(last, vld1q_u8(window + 16 - rest)));
}

/* sum_k u of a row, modulo 2^32. */
static int32_t row_sum(const struct layer *l, size_t row)
{
    const uint8_t *a = (const uint8_t *)l->d->a + row * l->k;
    int32x4_t sum = vpaddlq_s16(vpaddlq_s8(load_rest(a, l->k, l->flip)));
    for (size_t i = 0; i + 16 <= l->k; i += 16)
        sum = vpadalq_s16(sum, vpaddlq_s8(load_16(a + i, l->flip)));
    return vaddvq_s32(sum);
}

/* --- from accumulators to what is asked for --- */

/* At most 16 numbers of 4 bytes, zeros after them. */
HT_INLINE void load_columns(void *to, const void *from, size_t count)
{
    memset(to, 0, OUTPUTS * 4);
    memcpy(to, from, (count < OUTPUTS ? count : OUTPUTS) * 4);
}

HT_INLINE int32x4_t load_int32(const uint8_t *p)
{
    return vreinterpretq_s32_u8(vld1q_u8(p));
}

/* init + 128 [a unsigned] sum_k b, of one line of outputs. */
static void starting_sums(const struct layer *l, size_t column, int32_t start[OUTPUTS])
{
    load_columns(start, l->d->init + column, l->end - column);
    for (size_t i = 0; i < OUTPUTS && !l->d->a_signed; i += 4) {
        const int32x4_t sum = load_int32(l->sums + (column + i) * sizeof(int32_t));
        vst1q_s32(start + i, vaddq_s32(vld1q_s32(start + i), vshlq_n_s32(sum, 7)));
    }
}

/* One line of outputs of some rows from sums[row * stride]; `count` of them exist. */
HT_INLINE void put_reals(const struct layer *l, size_t column, size_t row, size_t rows,
                         size_t count, const int32_t *sums, size_t stride)
{
    float multiplier[OUTPUTS];
    load_columns(multiplier, l->d->multiplier + column, count);
    for (size_t i = 0; i < rows; i++) {
        float *to = l->d->real + (row + i) * l->n + column, real[OUTPUTS];
        HT_UNROLL
        for (size_t j = 0; j < OUTPUTS; j += 4) {
            const float32x4_t acc = vcvtq_f32_s32(vld1q_s32(sums + i * stride + j));
            vst1q_f32(count < OUTPUTS ? real + j : to + j,
                      vmulq_f32(acc, vld1q_f32(multiplier + j)));
        }
        if (count < OUTPUTS)
            memcpy(to, real, count * sizeof *to);
    }
}

HT_INLINE void put_levels(const struct layer *l, size_t column, size_t row, size_t rows,
                          size_t count, const int32_t *sums, size_t stride,
                          enum ht_kernel_rounding rounding)
{
    const struct rounder r = make_rounder(l->d->quantizer);
    float multiplier[OUTPUTS];
    load_columns(multiplier, l->d->multiplier + column, count);
    for (size_t i = 0; i < rows; i++) {
        uint8_t *to = (uint8_t *)l->d->levels + (row + i) * l->n + column, bytes[OUTPUTS];
        int32x4_t level[4];
        HT_UNROLL
        for (size_t j = 0; j < 4; j++) {
            const float32x4_t acc = vcvtq_f32_s32(vld1q_s32(sums + i * stride + 4 * j));
            const float32x4_t u = vmulq_f32(acc, vld1q_f32(multiplier + 4 * j));
            level[j] = round_to_level(u, &r, rounding);
        }
        vst1q_u8(count < OUTPUTS ? bytes : to,
                 lowest_bytes(level[0], level[1], level[2], level[3]));
        if (count < OUTPUTS)
            memcpy(to, bytes, count);
    }
}

static void put(const struct layer *l, size_t column, size_t row, size_t rows, const int32_t *sums,
                size_t stride)
{
    const size_t count = l->end - column < OUTPUTS ? l->end - column : OUTPUTS;
    if (l->d->acc)
        for (size_t i = 0; i < rows; i++)
            memcpy(l->d->acc + (row + i) * l->n + column, sums + i * stride, count * sizeof *sums);
    else if (l->d->real)
        put_reals(l, column, row, rows, count, sums, stride);
    else if (l->d->quantizer->rounding == HT_KERNEL_NEAREST_EVEN)
        put_levels(l, column, row, rows, count, sums, stride, HT_KERNEL_NEAREST_EVEN);
    else if (l->d->quantizer->rounding == HT_KERNEL_FLOOR)
        put_levels(l, column, row, rows, count, sums, stride, HT_KERNEL_FLOOR);
    else
        put_levels(l, column, row, rows, count, sums, stride, HT_KERNEL_NEAREST_ODD);
}

/* sums += (shift - zero_point) sum_k a, of one row. */
static void add_zero_points(const struct layer *l, size_t column, int32_t u_sum,
                            int32_t sums[OUTPUTS])
{
    const uint32_t a_sum = (uint32_t)u_sum + (l->d->a_signed ? 0 : 128 * (uint32_t)l->k);
    for (size_t i = 0; i < OUTPUTS; i += 4) {
        const int32x4_t coefficient = load_int32(l->coefficients + (column + i) * sizeof(int32_t));
        vst1q_s32(sums + i,
                  vmlaq_s32(vld1q_s32(sums + i), coefficient, vdupq_n_s32((int32_t)a_sum)));
    }
}

/* --- many rows --- */

/* acc[row][..] = start[row][..] + u b, of the registers of a line that are TILE_REGISTERS from b.
 * All accumulators are in registers; one row has two sets, to hide latency. */
HT_INLINE void tile(size_t rows, bool has_minimum, const uint8_t *a, size_t stride, uint8x16_t flip,
                    size_t count, const uint8_t *lines, const int32_t *start, size_t start_stride,
                    int32_t *acc)
{
    const size_t sets = rows == 1 ? 2 : 1;
    const int8_t *b = (const int8_t *)lines;
    vsum sum[TILE_ROWS][TILE_REGISTERS];
    int8x16_t u[TILE_ROWS];
    HT_UNROLL
    for (size_t i = 0; i < rows * sets; i++) {
        HT_UNROLL
        for (size_t v = 0; v < TILE_REGISTERS; v++)
            sum[i][v] = sum_zero();
    }
    size_t k = 0;
    for (; k + 16 <= count; k += 16, b += 4 * LINE) {
        HT_UNROLL
        for (size_t i = 0; i < rows; i++)
            u[i] = load_16(a + i * stride + k, flip);
        HT_UNROLL
        for (size_t g = 0; g < 4; g += 2) {
            HT_UNROLL
            for (size_t v = 0; v < TILE_REGISTERS; v++) {
                const int8x16_t w0 = vld1q_s8(b + g * LINE + v * 16);
                const int8x16_t w1 = vld1q_s8(b + (g + 1) * LINE + v * 16);
                vsum *to[TILE_ROWS];
                HT_UNROLL
                for (size_t i = 0; i < rows; i++)
                    to[i] = &sum[sets == 2 ? g / 2 : i][v];
                dot_rows(rows, to, w0, w1, u, g, has_minimum);
            }
        }
    }
    if (k < count) {
        HT_UNROLL
        for (size_t i = 0; i < rows; i++)
            u[i] = load_rest(a + i * stride, count, flip);
    }
    for (; k < count; k += 4, b += LINE) {
        HT_UNROLL
        for (size_t i = 0; i < rows; i++) {
            HT_UNROLL
            for (size_t v = 0; v < TILE_REGISTERS; v++)
                sum[i][v] = dot_4(sum[i][v], vld1q_s8(b + v * 16), u[i], 0);
            u[i] = vextq_s8(u[i], u[i], 4);
        }
    }
    HT_UNROLL
    for (size_t i = 0; i < rows; i++) {
        HT_UNROLL
        for (size_t v = 0; v < TILE_REGISTERS; v++) {
            const vsum all = sets == 2 ? sum_add(sum[0][v], sum[1][v]) : sum[i][v];
            vst1q_s32(acc + i * OUTPUTS + 4 * v,
                      vaddq_s32(vld1q_s32(start + i * start_stride + 4 * v), sum_finish(all)));
        }
    }
}

typedef void (*tile_function)(const uint8_t *a, size_t stride, uint8x16_t flip, size_t count,
                              const uint8_t *lines, const int32_t *start, size_t start_stride,
                              int32_t *acc);

#define TILE(name, rows, has_minimum)                                                              \
    static void name(const uint8_t *a, size_t stride, uint8x16_t flip, size_t count,               \
                     const uint8_t *lines, const int32_t *start, size_t start_stride,              \
                     int32_t *acc)                                                                 \
    {                                                                                              \
        tile(rows, has_minimum, a, stride, flip, count, lines, start, start_stride, acc);          \
    }
TILE(tile_1, 1, false)
TILE(tile_2, 2, false)
TILE(tile_3, 3, false)
TILE(tile_4, 4, false)
TILE(tile_minimum_1, 1, true)
TILE(tile_minimum_2, 2, true)
TILE(tile_minimum_3, 3, true)
TILE(tile_minimum_4, 4, true)
#undef TILE

static const tile_function tiles[2][TILE_ROWS + 1] = {
    {NULL, tile_1, tile_2, tile_3, tile_4},
    {NULL, tile_minimum_1, tile_minimum_2, tile_minimum_3, tile_minimum_4},
};

/* One plane to lines of bytes: index, then the byte of its level. */
static void unpack_plane(const struct layer *l, const uint8_t *lines, size_t plane, size_t k4,
                         uint8_t *to)
{
    const int bits = l->layout.bits;
    const int flip = l->layout.uniform && plane + 1 == l->planes ? 1 << (bits - 1) : 0;
    uint8_t bytes[16]; /* as the plane's bits stand in the line */
    for (int i = 0; i < 16; i++)
        bytes[i] = (uint8_t)l->layout.table[i ^ flip];
    const uint8x16_t table = vld1q_u8(bytes), mask = vdupq_n_u8((uint8_t)((1 << bits) - 1));
    const int8x16_t shift = vdupq_n_s8((int8_t)(-bits * (int)plane));
    for (size_t i = 0; i < k4 * LINE; i += 16) {
        const uint8x16_t index = vandq_u8(vshlq_u8(vld1q_u8(lines + i), shift), mask);
        vst1q_u8(to + i, vqtbl1q_u8(table, index));
    }
}

struct block {
    size_t column, row, rows;
    size_t k, count; /* inputs k..k + count of these rows */
    bool first, last;
    const uint8_t *lines; /* of bytes */
    const int32_t *start, *u_sums;
};

/* Tiles as even as possible; each is put where it belongs at once. */
static void block_tiles(const struct layer *l, const struct block *b, int32_t (*sums)[OUTPUTS])
{
    const uint8_t *a = (const uint8_t *)l->d->a + b->row * l->k + b->k;
    size_t left = (b->rows + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t i = 0; i < b->rows; left--) {
        const size_t rows = (b->rows - i + left - 1) / left;
        const int32_t *start = b->first ? b->start : sums[i];
        for (size_t v = 0; v < 4; v += TILE_REGISTERS)
            tiles[l->layout.has_minimum][rows](a + i * l->k, l->k, l->flip, b->count,
                                               b->lines + 16 * v, start + 4 * v,
                                               b->first ? 0 : OUTPUTS, sums[i] + 4 * v);
        for (size_t r = i; b->last && l->layout.has_coefficients && r < i + rows; r++)
            add_zero_points(l, b->column, b->u_sums[r], sums[r]);
        if (b->last)
            put(l, b->column, b->row + i, rows, sums[i], OUTPUTS);
        i += rows;
    }
}

/* One line of outputs of at most MAX_ROWS rows. */
static void dense_block(const struct layer *l, size_t column, size_t row, size_t rows,
                        const int32_t *u_sums)
{
    const size_t line = column / OUTPUTS, inputs = l->planes == 1 ? l->k : BLOCK_K;
    const uint8_t *lines = l->lines + line / l->planes * l->k4 * LINE;
    int32_t sums[MAX_ROWS][OUTPUTS], start[OUTPUTS];
    uint8_t buffer[BLOCK_K / 4 * LINE];
    struct block b = {.column = column, .row = row, .rows = rows, .first = true};
    starting_sums(l, column, start);
    b.start = start;
    b.u_sums = u_sums;
    for (; b.k < l->k; b.k += inputs) {
        b.last = l->k - b.k <= inputs;
        b.count = b.last ? l->k - b.k : inputs;
        b.lines = lines + b.k / 4 * LINE;
        if (l->planes > 1) {
            unpack_plane(l, b.lines, line % l->planes, (b.count + 3) / 4, buffer);
            b.lines = buffer;
        }
        block_tiles(l, &b, sums);
        b.first = false;
    }
}

static void dense_many(const struct layer *l)
{
    for (size_t row = 0; row < l->d->m; row += MAX_ROWS) {
        const size_t rows = l->d->m - row < MAX_ROWS ? l->d->m - row : MAX_ROWS;
        int32_t u_sums[MAX_ROWS];
        for (size_t i = 0; i < rows && l->layout.has_coefficients; i++)
            u_sums[i] = row_sum(l, row + i);
        for (size_t column = l->first; column < l->end; column += OUTPUTS)
            dense_block(l, column, row, rows, u_sums);
    }
}

/* --- few rows --- */

/* products[planes][16] += a strip's products with its planes' indices (uniform) or levels, of one
 * row. As many registers of a line at a time as give 8 sums. */
HT_INLINE void strip_products(const struct layer *l, int bits, bool uniform, const uint8_t *lines,
                              const uint8_t *a, size_t count, int32_t (*products)[OUTPUTS])
{
    const size_t planes = 8 / (size_t)bits, registers = 8 / planes > 4 ? 4 : 8 / planes;
    const uint8x16_t table = vreinterpretq_u8_s8(vld1q_s8(l->layout.table));
    const uint8x16_t low = vdupq_n_u8((uint8_t)((1 << bits) - 1)), flip = l->flip;
    uint8x16_t mask[8];
    int8x16_t shift[8];
    HT_UNROLL
    for (size_t p = 0; p < planes; p++) {
        mask[p] = vdupq_n_u8((uint8_t)((1 << bits * ((int)p + 1)) - 1));
        shift[p] = vdupq_n_s8((int8_t)(-bits * (int)p));
    }
#define STEP(at, u, lane)                                                                          \
    do {                                                                                           \
        HT_UNROLL                                                                                  \
        for (size_t v = 0; v < registers; v++) {                                                   \
            const uint8x16_t line = vld1q_u8((at) + v * 16);                                       \
            HT_UNROLL                                                                              \
            for (size_t p = 0; p < planes; p++) {                                                  \
                uint8x16_t b = line;                                                               \
                if (!uniform)                                                                      \
                    b = vqtbl1q_u8(table, vandq_u8(vshlq_u8(line, shift[p]), low));                \
                else if (p + 1 < planes)                                                           \
                    b = vandq_u8(line, mask[p]);                                                   \
                vsum *const to = &sum[v * planes + p];                                             \
                *to = dot_4(*to, vreinterpretq_s8_u8(b), u, lane);                                 \
            }                                                                                      \
        }                                                                                          \
    } while (0)
    for (size_t first = 0; first < 4; first += registers) {
        const uint8_t *at = lines + first * 16;
        vsum sum[8];
        HT_UNROLL
        for (size_t i = 0; i < 8; i++)
            sum[i] = sum_zero();
        size_t k = 0;
        for (; k + 16 <= count; k += 16, at += 4 * LINE) {
            const int8x16_t u = load_16(a + k, flip);
            HT_UNROLL
            for (size_t g = 0; g < 4; g++)
                STEP(at + g * LINE, u, g);
        }
        int8x16_t u = load_rest(a, count, flip);
        for (; k < count; k += 4, at += LINE) {
            STEP(at, u, 0);
            u = vextq_s8(u, u, 4);
        }
        HT_UNROLL
        for (size_t v = 0; v < registers; v++) {
            int32x4_t below = vdupq_n_s32(0);
            HT_UNROLL
            for (size_t p = 0; p < planes; p++) {
                int32_t *to = &products[p][(first + v) * 4];
                const int32x4_t whole = sum_finish(sum[v * planes + p]);
                int32x4_t product = whole;
                if (uniform)
                    product = vshlq_s32(vsubq_s32(whole, below), vdupq_n_s32(-bits * (int)p));
                below = whole;
                vst1q_s32(to, vaddq_s32(vld1q_s32(to), product));
            }
        }
    }
#undef STEP
}

typedef void (*strip_function)(const struct layer *l, const uint8_t *lines, const uint8_t *a,
                               size_t count, int32_t (*products)[OUTPUTS]);

#define STRIP(name, bits, uniform)                                                                 \
    static void name(const struct layer *l, const uint8_t *lines, const uint8_t *a, size_t count,  \
                     int32_t(*products)[OUTPUTS])                                                  \
    {                                                                                              \
        strip_products(l, bits, uniform, lines, a, count, products);                               \
    }
STRIP(strip_4, 4, true)
STRIP(strip_2, 2, true)
STRIP(strip_1, 1, true)
STRIP(strip_table_4, 4, false)
STRIP(strip_table_2, 2, false)
STRIP(strip_table_1, 1, false)
#undef STRIP

/* [uniform][bits / 2] */
static const strip_function strip_functions[2][3] = {
    {strip_table_1, strip_table_2, strip_table_4},
    {strip_1, strip_2, strip_4},
};

/* sum_k u b from the product with the indices: b = lo - shift + step * index, and the index of the
 * highest plane comes lower by half its range. */
static void level_products(const struct layer *l, size_t plane, int32_t u_sum,
                           int32_t products[OUTPUTS])
{
    const struct ht_arm_layout *layout = &l->layout;
    int32_t offset = layout->lo - layout->shift;
    if (plane + 1 == l->planes)
        offset += layout->step << (layout->bits - 1);
    const int32x4_t step = vdupq_n_s32(layout->step);
    const int32x4_t add = vdupq_n_s32((int32_t)((uint32_t)offset * (uint32_t)u_sum));
    for (size_t i = 0; i < OUTPUTS; i += 4)
        vst1q_s32(products + i, vmlaq_s32(add, vld1q_s32(products + i), step));
}

static void put_strip(const struct layer *l, size_t row, size_t column, int32_t u_sum,
                      int32_t (*products)[OUTPUTS])
{
    for (size_t p = 0; p < l->planes && column < l->end; p++, column += OUTPUTS) {
        int32_t sums[OUTPUTS];
        if (l->layout.uniform)
            level_products(l, p, u_sum, products[p]);
        starting_sums(l, column, sums);
        for (size_t i = 0; i < OUTPUTS; i += 4)
            vst1q_s32(sums + i, vaddq_s32(vld1q_s32(sums + i), vld1q_s32(products[p] + i)));
        if (l->layout.has_coefficients)
            add_zero_points(l, column, u_sum, sums);
        put(l, column, row, 1, sums, 0);
    }
}

static void dense_row(const struct layer *l, size_t row)
{
    const strip_function strip = strip_functions[l->layout.uniform][l->layout.bits / 2];
    const size_t columns = OUTPUTS * l->planes;
    const uint8_t *a = (const uint8_t *)l->d->a + row * l->k;
    const int32_t u_sum = row_sum(l, row);
    for (size_t column = l->first; column < l->end; column += columns) {
        const uint8_t *lines = l->lines + column / columns * l->k4 * LINE;
        int32_t products[8][OUTPUTS] = {{0}};
        for (size_t k = 0; k < l->k; k += VECTOR_K)
            strip(l, lines + k / 4 * LINE, a + k, l->k - k < VECTOR_K ? l->k - k : VECTOR_K,
                  products);
        put_strip(l, row, column, u_sum, products);
    }
}

#include "kernels/arm/binary.h"

/* --- the bundle's members --- */

static void dense(const struct ht_kernel_dense *d)
{
    struct layer l;
    layer_init(&l, d);
    if (l.layout.reference) {
        struct ht_kernels c;
        struct ht_kernel_dense plain = *d;
        plain.packed = l.lines;
        ht_kernels_install_c(&c);
        c.dense(&plain);
    } else if (l.layout.binary) {
        dense_binary(&l);
    } else if (l.planes > 1 && d->m <= FEW_ROWS) {
        for (size_t row = 0; row < d->m; row++)
            dense_row(&l, row);
    } else {
        dense_many(&l);
    }
}

static uint64_t peak(uint64_t rounds);

static void install(struct ht_kernels *k, const char *isa)
{
    k->isa = isa;
    k->packed_size = ht_arm_packed_size;
    k->pack = ht_arm_pack;
    k->pack_levels = ht_arm_pack_levels;
    k->dense = dense;
    k->quantize = quantize;
    k->lookup = lookup;
    k->peak = peak;
}

#define PEAK_SUMS 16 /* independent, more than latency x throughput */
/* No sum can be merged with another, and no product be kept. */
#define PEAK_HIDE(sum, w) __asm__ volatile("" : "+w"(sum), "+w"(w))

#endif
