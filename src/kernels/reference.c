/* The C reference: plain loops for every width, grid and shape. It defines what the other kernels
 * compute, and serves where there is no other. */
#include <string.h>

#include "kernels/bundles.h"
#include "kernels/round.h"

/* Weights unpacked at a time, and rows of activations that share them; both on the stack. */
#define BLOCK_K 256
#define BLOCK_M 32

/* The codes as they are, and one zero byte: unpack reads two bytes for a code. */
static size_t packed_size(const struct ht_kernel_weights *w)
{
    return (w->n * w->k * (size_t)w->bits + 7) / 8 + 1;
}

static void pack(const struct ht_kernel_weights *w, void *packed)
{
    const size_t size = packed_size(w);
    uint8_t *bytes = packed;
    memcpy(bytes, w->codes, size - 1);
    bytes[size - 1] = 0;
}

/* Codes of 8 bits are the levels' bytes. */
static void pack_levels(const struct ht_kernel_weights *w, size_t row, size_t rows,
                        const int8_t *levels, void *packed, int32_t *sums)
{
    uint8_t *bytes = packed;
    memcpy(bytes + row * w->k, levels, rows * w->k);
    if (row + rows == w->n)
        bytes[w->n * w->k] = 0;
    for (size_t i = 0; i < rows; i++) {
        sums[i] = 0;
        for (size_t k = 0; k < w->k; k++)
            sums[i] += levels[i * w->k + k];
    }
}

/* value[i] = level - zero_point of the `count` codes from `first`; fits: both are within +-255. */
static void unpack(const struct ht_kernel_weights *w, const uint8_t *packed, size_t first,
                   size_t count, int zero_point, int16_t *value)
{
    const unsigned mask = (1u << w->bits) - 1;
    size_t bit = first * (size_t)w->bits;
    for (size_t i = 0; i < count; i++, bit += (size_t)w->bits) {
        const unsigned pair = packed[bit / 8] | (unsigned)packed[bit / 8 + 1] << 8;
        value[i] = (int16_t)(w->level[pair >> (bit % 8) & mask] - zero_point);
    }
}

/* At most BLOCK_K products of at most 255 * 510 each: no overflow. */
static int32_t dot_u8(const uint8_t *a, const int16_t *w, size_t count)
{
    int32_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (int16_t)a[i] * w[i];
    return sum;
}

static int32_t dot_s8(const int8_t *a, const int16_t *w, size_t count)
{
    int32_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (int16_t)a[i] * w[i];
    return sum;
}

/* Modulo 2^32, defined for any input; the model's bound says that the sum itself fits. */
static int32_t to_int32(uint32_t x)
{
    return x <= INT32_MAX ? (int32_t)x : -(int32_t)(UINT32_MAX - x) - 1;
}

static void store(const struct ht_kernel_dense *d, size_t row, size_t column, int32_t acc)
{
    const size_t i = row * d->weights->n + column;
    if (d->acc) {
        d->acc[i] = acc;
        return;
    }
    const float u = ht_scale_accumulator(acc, d->multiplier[column]);
    if (d->real)
        d->real[i] = u;
    else /* one byte, uint8 or int8: the same bits */
        ((uint8_t *)d->levels)[i] = (uint8_t)ht_round_to_level(u, d->quantizer);
}

/* Output `column` of `rows` <= BLOCK_M rows from `row` on. */
static void dense_column(const struct ht_kernel_dense *d, size_t row, size_t rows, size_t column)
{
    const struct ht_kernel_weights *w = d->weights;
    const int zero_point = w->zero_point ? w->zero_point[column] : 0;
    uint32_t acc[BLOCK_M];
    int16_t value[BLOCK_K];
    for (size_t i = 0; i < rows; i++)
        acc[i] = (uint32_t)d->init[column];
    for (size_t k = 0; k < w->k; k += BLOCK_K) {
        const size_t count = w->k - k < BLOCK_K ? w->k - k : BLOCK_K;
        unpack(w, d->packed, column * w->k + k, count, zero_point, value);
        for (size_t i = 0; i < rows; i++) {
            const uint8_t *a = (const uint8_t *)d->a + (row + i) * w->k + k;
            acc[i] += (uint32_t)(d->a_signed ? dot_s8((const int8_t *)a, value, count)
                                             : dot_u8(a, value, count));
        }
    }
    for (size_t i = 0; i < rows; i++)
        store(d, row + i, column, to_int32(acc[i]));
}

static void dense(const struct ht_kernel_dense *d)
{
    const size_t end = d->columns ? d->column + d->columns : d->weights->n;
    for (size_t row = 0; row < d->m; row += BLOCK_M) {
        const size_t rows = d->m - row < BLOCK_M ? d->m - row : BLOCK_M;
        for (size_t column = d->column; column < end; column++)
            dense_column(d, row, rows, column);
    }
}

static void quantize(const float *x, size_t n, float scale, const struct ht_kernel_quantizer *q,
                     void *levels)
{
    uint8_t *out = levels;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)ht_round_to_level(x[i] / scale, q);
}

static void lookup(const void *in, bool in_signed, size_t n, int lo, const int16_t *table,
                   void *out)
{
    const uint8_t *bytes = in;
    uint8_t *to = out;
    for (size_t i = 0; i < n; i++) {
        const int level = in_signed ? ((const int8_t *)in)[i] : bytes[i];
        to[i] = (uint8_t)table[level - lo];
    }
}

void ht_kernels_install_c(struct ht_kernels *k)
{
    *k = (struct ht_kernels){
        .isa = "c",
        .packed_size = packed_size,
        .pack = pack,
        .pack_levels = pack_levels,
        .dense = dense,
        .quantize = quantize,
        .lookup = lookup,
    };
    ht_kernels_install_real_c(k);
}
