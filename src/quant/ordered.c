/* Training's own code for sums of real products in the one order that all machines keep; the
 * engine's is in src/kernels, and parity tests hold the two together. */
#include <string.h>

#include "base/vectorized.h"
#include "quant/dynamic.h"

#define LANES HT_ORDERED_LANES

/* One block: lanes, then halves of what is left. */
static inline ht_real block_sum(const ht_real *x, const ht_real *w, size_t n)
{
    ht_real lane[LANES] = {0};
    size_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += x[k + j] * w[k + j];
    if (k < n) { /* the last lanes are filled up with zeros */
        ht_real a[LANES] = {0}, b[LANES] = {0};
        memcpy(a, x + k, (n - k) * sizeof *a);
        memcpy(b, w + k, (n - k) * sizeof *b);
        for (size_t j = 0; j < LANES; j++)
            lane[j] += a[j] * b[j];
    }
    for (size_t width = LANES / 2; width > 0; width /= 2)
        for (size_t j = 0; j < width; j++)
            lane[j] += lane[j + width];
    return lane[0];
}

/* A block of a row of weights is used for all rows while it is in the cache. */
HT_VECTORIZED static void products(const ht_real *x, size_t m, const ht_real *w, size_t n, size_t k,
                                   ht_real *y, size_t ldy)
{
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < m; i++)
            y[i * ldy + j] = 0;
    for (size_t at = 0; at < k; at += HT_ORDERED_BLOCK) {
        const size_t count = k - at < HT_ORDERED_BLOCK ? k - at : HT_ORDERED_BLOCK;
        for (size_t j = 0; j < n; j++)
            for (size_t i = 0; i < m; i++)
                y[i * ldy + j] += block_sum(x + i * k + at, w + j * k + at, count);
    }
}

void ht_ordered_products(const ht_real *x, size_t m, const ht_real *w, size_t n, size_t k,
                         ht_real *y, size_t ldy)
{
    products(x, m, w, n, k, y, ldy);
}
