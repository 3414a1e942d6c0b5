/* The C reference for real activations: it defines the order of sums (docs/numerics.md, 11). */
#include <string.h>

#include "kernels/bundles.h"
#include "kernels/half.h"

#define LANES   16
#define BLOCK_K 512
#define BLOCK_M 32

/* The codes as they are, and one zero byte: unpack reads two bytes for a code. */
static size_t packed_real_size(const struct ht_kernel_weights *w)
{
    return (w->n * w->k * (size_t)w->bits + 7) / 8 + 1;
}

static void pack_real(const struct ht_kernel_weights *w, void *packed)
{
    const size_t size = packed_real_size(w);
    memcpy(packed, w->codes, size - 1);
    ((uint8_t *)packed)[size - 1] = 0;
}

/* value[i] = level - zero_point of `count` codes from `first` on, or what they are as float16. */
static void unpack(const struct ht_kernel_weights *w, const uint8_t *packed, size_t first,
                   size_t count, int zero_point, float *value)
{
    const unsigned mask = (1u << w->bits) - 1;
    size_t bit = first * (size_t)w->bits;
    for (size_t i = 0; i < count; i++, bit += (size_t)w->bits) {
        const unsigned pair = packed[bit / 8] | (unsigned)packed[bit / 8 + 1] << 8;
        const unsigned code = pair >> (bit % 8) & mask;
        value[i] = w->bits == 16 ? ht_kernel_half(code) : (float)(w->level[code] - zero_point);
    }
}

/* Lanes first, then halves of what is left. `count` is a multiple of LANES. */
static float block_sum(const float *x, const float *w, size_t count)
{
    float lane[LANES] = {0};
    for (size_t k = 0; k < count; k += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += x[k + j] * w[k + j];
    for (size_t width = LANES / 2; width > 0; width /= 2)
        for (size_t j = 0; j < width; j++)
            lane[j] += lane[j + width];
    return lane[0];
}

/* Output `column` of `rows` <= BLOCK_M rows from `row` on. */
static void real_column(const struct ht_kernel_real *d, size_t row, size_t rows, size_t column)
{
    const struct ht_kernel_weights *w = d->weights;
    const int zero_point = w->zero_point ? w->zero_point[column] : 0;
    float sum[BLOCK_M] = {0}, value[BLOCK_K], x[BLOCK_K];
    for (size_t k = 0; k < w->k; k += BLOCK_K) {
        const size_t count = w->k - k < BLOCK_K ? w->k - k : BLOCK_K;
        const size_t filled = (count + LANES - 1) / LANES * LANES; /* up with zeros */
        unpack(w, d->packed, column * w->k + k, count, zero_point, value);
        memset(value + count, 0, (filled - count) * sizeof *value);
        memset(x + count, 0, (filled - count) * sizeof *x);
        for (size_t i = 0; i < rows; i++) {
            memcpy(x, d->x + (row + i) * w->k + k, count * sizeof *x);
            sum[i] += block_sum(x, value, filled);
        }
    }
    for (size_t i = 0; i < rows; i++)
        d->sum[(row + i) * w->n + column] = sum[i];
}

static void real(const struct ht_kernel_real *d)
{
    const size_t end = d->columns ? d->column + d->columns : d->weights->n;
    for (size_t row = 0; row < d->m; row += BLOCK_M) {
        const size_t rows = d->m - row < BLOCK_M ? d->m - row : BLOCK_M;
        for (size_t column = d->column; column < end; column++)
            real_column(d, row, rows, column);
    }
}

void ht_kernels_install_real_c(struct ht_kernels *k)
{
    k->packed_real_size = packed_real_size;
    k->pack_real = pack_real;
    k->real = real;
}
