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

#define FEW_ROWS          2 /* rows that are faster one by one; more where weights need unpacking */
#define FEW_UNPACKED      5
#define CONVERTED         ((size_t)51200)   /* bytes of converted activations, on the stack */
#define CONVERTED_WEIGHTS ((size_t)1 << 20) /* that may be read again for each block of rows */

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

static void dense_rows(const struct layer *l)
{
    if (l->d->m > (l->planes > 1 ? FEW_UNPACKED : FEW_ROWS)) {
        dense_many(l);
        return;
    }
    for (size_t row = 0; row < l->d->m; row++)
        dense_row(l, row);
}

/* Rows from `row` on, with activations that were converted to whole groups. */
static void dense_converted(const struct layer *all, size_t row, size_t rows, const uint8_t *a)
{
    struct ht_kernel_dense d = *all->d;
    struct layer l = *all;
    d.m = rows;
    d.a = a;
    d.a_signed = false;
    d.acc = d.acc ? d.acc + row * l.n : NULL;
    d.real = d.real ? d.real + row * l.n : NULL;
    d.levels = d.levels ? (uint8_t *)d.levels + row * l.n : NULL;
    l.d = &d;
    l.k = 4 * l.k4;
    dense_rows(&l);
}

/* Converts as many rows as there is room for, once for all outputs. */
static void convert_rows(const struct layer *l)
{
    uint8_t converted[CONVERTED];
    const struct ht_kernel_dense *d = l->d;
    const size_t k = d->weights->k, stride = 4 * l->k4, most = CONVERTED / stride;
    size_t blocks = (d->m + most - 1) / most, row = 0;
    for (; row < d->m; blocks--) {
        const size_t rows = (d->m - row + blocks - 1) / blocks;
        for (size_t i = 0; i < rows; i++) {
            const uint8_t *a = (const uint8_t *)d->a + (row + i) * k;
            if (l->layout.binary)
                pack_signs(a, k, converted + i * stride);
            else
                copy_activations(converted + i * stride, a, k, d->a_signed);
        }
        dense_converted(l, row, rows, converted);
        row += rows;
    }
}

/* Does converting pay? Else dense_rows copies what it needs, when it needs it. */
static bool converts(const struct layer *l)
{
    const size_t stride = 4 * l->k4, weights = l->n / l->planes * stride;
    if (l->layout.binary)
        return true;
    return needs_copy(l) && l->d->m > FEW_UNPACKED && CONVERTED / stride >= TILE_ROWS &&
           (l->d->m <= CONVERTED / stride || weights <= CONVERTED_WEIGHTS);
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
    } else if (converts(&l)) {
        convert_rows(&l);
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
