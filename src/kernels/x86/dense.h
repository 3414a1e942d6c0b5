/* A dense layer, generic in the vectors (zmm.h, ymm.h). Included once by each bundle.
 *
 * With u = a, or a + 128 for signed activations (one bit flipped), and the bytes b = level - shift:
 *
 *     acc = init - 128 [a signed] sum_k b  +  sum_k u b  +  (shift - zero_point) sum_k a
 *
 * all modulo 2^32. Many rows: tile.h. Few rows: row.h. Where all levels are -1 or +1,
 *
 *     acc = init + k - 2 * (number of signs that differ). */
#ifndef HT_KERNELS_X86_DENSE_H
#define HT_KERNELS_X86_DENSE_H

#include "kernels/x86/row.h"
#include "kernels/x86/tile.h"

#define FEW_ROWS     2 /* rows that are faster one by one; more where weights need unpacking */
#define FEW_UNPACKED 5
#define BINARY_BYTES ((size_t)16384) /* of signs of activations; at least two rows */

static void dense_rows(const struct layer *l)
{
    if (l->d->m > (l->planes > 1 ? FEW_UNPACKED : FEW_ROWS)) {
        dense_many(l);
        return;
    }
    for (size_t row = 0; row < l->d->m; row++)
        dense_row(l, row);
}

/* --- binary weights and activations --- */

/* The signs of k levels, and zeros up to a multiple of 32. */
static void pack_signs(const uint8_t *a, size_t k, uint8_t *to)
{
    size_t i = 0;
    for (; i + LINE <= k; i += LINE)
        v_store_signs(to + i / 8, v_load(a + i));
    if (i < k) {
        uint8_t last[LINE] = {0}, signs[LINE / 8];
        memcpy(last, a + i, k - i);
        v_store_signs(signs, v_load(last));
        memcpy(to + i / 8, signs, (k - i + 31) / 32 * 4);
    }
}

/* As many rows at a time as there is room for their signs: a product of signs is the number of
 * inputs less twice the number of signs that differ. */
static void dense_binary(const struct layer *all)
{
    uint8_t signs[BINARY_BYTES];
    const size_t most = BINARY_BYTES / all->k, m = all->d->m, n = all->n;
    for (size_t row = 0; row < m; row += most) {
        struct ht_kernel_dense d = *all->d;
        struct layer l = *all;
        d.m = m - row < most ? m - row : most;
        for (size_t i = 0; i < d.m; i++)
            pack_signs((const uint8_t *)all->d->a + (row + i) * d.weights->k, d.weights->k,
                       signs + i * l.k);
        d.a = signs;
        d.a_signed = false;
        d.acc = d.acc ? d.acc + row * n : NULL;
        d.real = d.real ? d.real + row * n : NULL;
        d.levels = d.levels ? (uint8_t *)d.levels + row * n : NULL;
        l.d = &d;
        dense_rows(&l);
    }
}

/* --- the bundle's members --- */

static void dense(const struct ht_kernel_dense *d)
{
    struct layer l;
    layer_init(&l, d);
    if (l.layout.reference) {
        struct ht_kernels c;
        struct ht_kernel_dense plain = *d;
        plain.packed = (const uint8_t *)d->packed + sizeof l.layout;
        ht_kernels_install_c(&c);
        c.dense(&plain);
    } else if (l.layout.binary) {
        dense_binary(&l);
    } else {
        dense_rows(&l);
    }
}

static size_t packed_size(const struct ht_kernel_weights *w)
{
    return ht_x86_packed_size(w, LANES, true);
}

static void pack(const struct ht_kernel_weights *w, void *packed)
{
    ht_x86_pack(w, LANES, true, packed);
}

#endif
