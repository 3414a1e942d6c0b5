/* Real activations times packed weights: tiles of rows and outputs, for the 16 lanes of real_ymm.h
 * or real_zmm.h. The order of sums is that of the C reference, and no product is fused with an
 * addition: the same bits. */
#ifndef HT_KERNELS_X86_REAL_H
#define HT_KERNELS_X86_REAL_H

#include <string.h>

#include "kernels/x86/real_layout.h"

#define REAL_BLOCK 512 /* inputs */
#define REAL_MOST  8   /* outputs of a tile */

/* --- vector v of a group of weights --- */

HT_INLINE real16 weights_half(const uint8_t *p, int v, real_table table)
{
    return real16_of_half(p);
}

HT_INLINE real16 weights_int16(const uint8_t *p, int v, real_table table)
{
    return real16_of_int16(p);
}

HT_INLINE real16 weights_int8(const uint8_t *p, int v, real_table table)
{
    return real16_of_int8(_mm_loadu_si128((const __m128i *)(const void *)p));
}

HT_INLINE real16 weights_nibble(const uint8_t *p, int v, real_table table)
{
    return real16_lookup(p, 4 * v, table);
}

HT_INLINE real16 weights_pair(const uint8_t *p, int v, real_table table)
{
    return real16_lookup(p, 2 * v, table);
}

/* Lanes 0..7 and 8..15 are added already; then 4, 2 and 1 apart. */
HT_INLINE float sum8(__m256 a)
{
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* --- tiles --- */

struct real_tile {
    const struct ht_kernel_real *d;
    real_table table;
    const uint8_t *weights;     /* of the tile's first output */
    size_t row_bytes, row, out; /* bytes of an output's weights; the tile's first row and output */
};

/* How weights become floats: all of it is known when this is compiled. */
struct real_form {
    size_t vectors, bytes; /* of a group */
    real16 (*load)(const uint8_t *p, int v, real_table table);
};

HT_INLINE void add_group(real16 acc[REAL_ROWS][REAL_MOST], const struct real_tile *t, size_t rows,
                         size_t outs, const uint8_t *weights, const float *x, size_t stride,
                         struct real_form f)
{
    HT_UNROLL
    for (size_t v = 0; v < f.vectors; v++) {
        real16 w[REAL_MOST];
        HT_UNROLL
        for (size_t j = 0; j < outs; j++)
            w[j] = f.load(weights + j * t->row_bytes, (int)v, t->table);
        HT_UNROLL
        for (size_t i = 0; i < rows; i++) {
            const real16 a = real16_load(x + i * stride + v * HT_REAL_LANES);
            HT_UNROLL
            for (size_t j = 0; j < outs; j++)
                acc[i][j] = real16_add_product(acc[i][j], a, w[j]);
        }
    }
}

/* One block of inputs from k on, added to sum[rows][outs]. What is left of a last group goes
 * through a buffer that is filled up with zeros. */
HT_INLINE void add_block(float sum[REAL_ROWS][REAL_MOST], const struct real_tile *t, size_t rows,
                         size_t outs, size_t k, struct real_form f)
{
    const size_t codes = f.vectors * HT_REAL_LANES, all = t->d->weights->k;
    const size_t count = all - k < REAL_BLOCK ? all - k : REAL_BLOCK;
    const size_t groups = count / codes, left = count % codes;
    const float *x = t->d->x + t->row * all + k;
    const uint8_t *weights = t->weights + k / codes * f.bytes;
    real16 acc[REAL_ROWS][REAL_MOST];
    HT_UNROLL
    for (size_t i = 0; i < rows; i++)
        HT_UNROLL
    for (size_t j = 0; j < outs; j++)
        acc[i][j] = real16_zero();
    for (size_t g = 0; g < groups; g++)
        add_group(acc, t, rows, outs, weights + g * f.bytes, x + g * codes, all, f);
    if (left) {
        float last[REAL_ROWS][4 * HT_REAL_LANES] = {{0}};
        for (size_t i = 0; i < rows; i++)
            memcpy(last[i], x + i * all + groups * codes, left * sizeof(float));
        add_group(acc, t, rows, outs, weights + groups * f.bytes, last[0], 4 * HT_REAL_LANES, f);
    }
    HT_UNROLL
    for (size_t i = 0; i < rows; i++)
        HT_UNROLL
    for (size_t j = 0; j < outs; j++)
        sum[i][j] += sum8(real16_fold(acc[i][j]));
}

HT_INLINE void real_tile(const struct real_tile *t, size_t rows, size_t outs, struct real_form f)
{
    const size_t n = t->d->weights->n;
    float sum[REAL_ROWS][REAL_MOST] = {{0}};
    for (size_t k = 0; k < t->d->weights->k; k += REAL_BLOCK)
        add_block(sum, t, rows, outs, k, f);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < outs; j++)
            t->d->sum[(t->row + i) * n + t->out + j] = sum[i][j];
}

/* All outputs of `rows` rows, `outs` at a time. */
HT_INLINE void real_rows(struct real_tile t, size_t rows, size_t outs, struct real_form f)
{
    const size_t end = t.d->columns ? t.d->column + t.d->columns : t.d->weights->n;
    t.weights += t.d->column * t.row_bytes;
    for (t.out = t.d->column; t.out + outs <= end; t.out += outs, t.weights += outs * t.row_bytes)
        real_tile(&t, rows, outs, f);
    for (; t.out < end; t.out++, t.weights += t.row_bytes)
        real_tile(&t, rows, 1, f);
}

#define DEFINE_REAL(container, vectors, bytes)                                                     \
    static void real_##container(const struct ht_kernel_real *d)                                   \
    {                                                                                              \
        const struct real_form f = {vectors, bytes, weights_##container};                          \
        const uint8_t *packed = d->packed;                                                         \
        struct real_tile t = {                                                                     \
            d, real_table_of(packed), packed + HT_REAL_TABLE, ht_x86_real_row(d->weights), 0, 0};  \
        for (; t.row + REAL_ROWS <= d->m; t.row += REAL_ROWS)                                      \
            real_rows(t, REAL_ROWS, REAL_OUTS, f);                                                 \
        for (; t.row < d->m; t.row++)                                                              \
            real_rows(t, 1, REAL_ONES, f);                                                         \
    }

DEFINE_REAL(half, 1, 32)
DEFINE_REAL(int16, 1, 32)
DEFINE_REAL(int8, 1, 16)
DEFINE_REAL(nibble, 2, 16)
DEFINE_REAL(pair, 4, 16)

static void real(const struct ht_kernel_real *d)
{
    static void (*const containers[])(const struct ht_kernel_real *d) = {
        [HT_REAL_HALF] = real_half,
        [HT_REAL_INT16] = real_int16,
        [HT_REAL_INT8] = real_int8,
        [HT_REAL_NIBBLE] = real_nibble,
        [HT_REAL_PAIR] = real_pair};
    containers[ht_x86_real_container(d->weights)](d);
}

static void install_real(struct ht_kernels *k)
{
    k->packed_real_size = ht_x86_packed_real_size;
    k->pack_real = ht_x86_pack_real;
    k->real = real;
}

#endif
