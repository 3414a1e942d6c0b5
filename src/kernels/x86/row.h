/* Dense layers of one or few rows: straight from the packed lines. */
#ifndef HT_KERNELS_X86_ROW_H
#define HT_KERNELS_X86_ROW_H

#include "kernels/x86/layer.h"

#define VECTOR_K 4096 /* of copied activations */

/* Some strips of one row, as many as give about 8 sums. */
HT_INLINE void group_products(const struct layer *l, int bits, bool uniform, bool binary,
                              size_t strips, size_t unroll, const uint8_t *lines, const uint8_t *u,
                              size_t k4, vint *out)
{
    const size_t planes = 8 / (size_t)bits, strip = l->k4 * LINE;
    const vint table = v_table16(l->layout.table), low = v_splat_byte((1 << bits) - 1);
    vint sum[16], mask[8], shift[8];
    HT_UNROLL
    for (size_t p = 0; p < planes; p++) {
        mask[p] = v_splat_byte((1 << (bits * ((int)p + 1) - 1) << 1) - 1);
        shift[p] = v_splat(bits * (int)p);
    }
    HT_UNROLL
    for (size_t i = 0; i < strips * planes * unroll; i++)
        sum[i] = v_splat(0);
    size_t k = 0;
#define STEP(at, to)                                                                               \
    do {                                                                                           \
        const vint a = v_splat4(u + 4 * (at));                                                     \
        HT_UNROLL                                                                                  \
        for (size_t s = 0; s < strips; s++) {                                                      \
            vint line = v_load(lines + s * strip + (at)*LINE);                                     \
            v_keep(&line);                                                                         \
            HT_UNROLL                                                                              \
            for (size_t p = 0; p < planes; p++) {                                                  \
                vint b = line;                                                                     \
                if (!uniform && bits < 8)                                                          \
                    b = v_lookup16(table, v_and(v_shift_right(line, shift[p]), low));              \
                else if (p + 1 < planes)                                                           \
                    b = v_and(line, mask[p]);                                                      \
                vint *const to_sum = &sum[((to)*strips + s) * planes + p];                         \
                const bool small = uniform && p + 1 < planes && bits * ((int)p + 1) <= 6;          \
                *to_sum = add_product(binary ? COUNT : small ? DOT_SMALL : DOT, *to_sum, a, b);    \
                v_keep(to_sum);                                                                    \
            }                                                                                      \
        }                                                                                          \
    } while (0)
    for (; k + unroll <= k4; k += unroll) {
        HT_UNROLL
        for (size_t j = 0; j < unroll; j++)
            STEP(k + j, j);
    }
    for (; k < k4; k++)
        STEP(k, 0);
#undef STEP
    HT_UNROLL
    for (size_t i = 0; i < strips * planes; i++) {
        HT_UNROLL
        for (size_t j = 1; j < unroll; j++)
            sum[i] = v_add(sum[i], sum[j * strips * planes + i]);
    }
    HT_UNROLL
    for (size_t i = 0; i < strips * planes; i++) {
        vint product = sum[i];
        if (uniform && i % planes)
            product = v_shift_right_signed(v_sub(product, sum[i - 1]), shift[i % planes]);
        if (binary)
            product = v_sub(v_splat(0), v_add(product, product));
        v_store(&out[i], v_add(v_load(&out[i]), product));
    }
}

typedef void (*group_function)(const struct layer *l, const uint8_t *lines, const uint8_t *u,
                               size_t k4, vint *out);

#define GROUP(name, bits, uniform, binary, strips, unroll)                                         \
    static void name(const struct layer *l, const uint8_t *lines, const uint8_t *u, size_t k4,     \
                     vint *out)                                                                    \
    {                                                                                              \
        group_products(l, bits, uniform, binary, strips, unroll, lines, u, k4, out);               \
    }
GROUP(group_8x4, 8, false, false, 4, 2)
GROUP(group_8x1, 8, false, false, 1, 8)
GROUP(group_4x2, 4, true, false, 2, 2)
GROUP(group_4x1, 4, true, false, 1, 4)
GROUP(group_2, 2, true, false, 1, 2)
GROUP(group_1, 1, true, false, 1, 1)
GROUP(group_table_4, 4, false, false, 1, 4)
GROUP(group_table_2, 2, false, false, 1, 2)
GROUP(group_table_1, 1, false, false, 1, 1)
GROUP(group_bits_4, 8, false, true, 4, 2)
GROUP(group_bits_1, 8, false, true, 1, 8)
#undef GROUP

/* How to go through the strips: `strips` at a time, then one by one. */
struct walk {
    int bits;
    bool uniform, binary;
    size_t strips;
    group_function several, one;
};

static const struct walk walks[] = {
    {8, false, true, 4, group_bits_4, group_bits_1},
    {8, false, false, 4, group_8x4, group_8x1},
    {4, true, false, 2, group_4x2, group_4x1},
    {2, true, false, 1, group_2, group_2},
    {1, true, false, 1, group_1, group_1},
    {4, false, false, 1, group_table_4, group_table_4},
    {2, false, false, 1, group_table_2, group_table_2},
    {1, false, false, 1, group_table_1, group_table_1},
};

static const struct walk *find_walk(const struct layer *l)
{
    const struct walk *w = walks;
    while (w->bits != l->layout.bits || w->uniform != (l->layout.uniform != 0) ||
           w->binary != (l->layout.binary != 0))
        w++;
    return w;
}

/* sum_k u b from the product with the indices: b = lo - shift + step * index, and the index of the
 * highest plane comes lower by half its range. */
HT_INLINE vint level_products(const struct layer *l, size_t plane, vint product, uint32_t u_sum)
{
    const struct ht_x86_layout *layout = &l->layout;
    int32_t offset = layout->lo - layout->shift;
    if (plane + 1 == l->planes)
        offset += layout->step << (layout->bits - 1);
    product = v_mul(product, v_splat(layout->step));
    return v_add(product, v_splat((int32_t)((uint32_t)offset * u_sum)));
}

/* One line of outputs from its product. */
HT_INLINE vint group_sum(const struct layer *l, size_t column, size_t plane, vint product,
                         uint32_t a_sum)
{
    const uint32_t u_sum = a_sum + (l->flipped ? 128 * (uint32_t)l->k : 0);
    if (l->layout.uniform)
        product = level_products(l, plane, product, u_sum);
    product = v_add(starting_sum(l, column), product);
    if (l->layout.has_coefficients) {
        const vint coefficient = v_load(l->coefficients + column * sizeof(int32_t));
        product = v_add(product, v_mul(coefficient, v_splat((int32_t)a_sum)));
    }
    return product;
}

static void put_group(const struct layer *l, size_t row, size_t column, const vint *products,
                      size_t count, uint32_t a_sum)
{
    const size_t at = row * l->n;
    size_t i = 0;
    for (; i + 4 <= count && can_pack(l, column, 4); i += 4) {
        const struct packer p = make_packer(l->d->quantizer);
        vint sums[4];
        vfloat multipliers[4];
        for (size_t j = 0; j < 4; j++, column += LANES) {
            sums[j] = group_sum(l, column, (i + j) % l->planes, v_load(&products[i + j]), a_sum);
            multipliers[j] = v_floats(v_load(l->d->multiplier + column));
        }
        v_store((uint8_t *)l->d->levels + at + column - 4 * LANES,
                pack_sums(&p, false, sums, multipliers));
    }
    for (; i < count && column < l->n; i++, column += LANES) {
        int32_t sums[LANES];
        v_store(sums, group_sum(l, column, i % l->planes, v_load(&products[i]), a_sum));
        put(l, column, row, 1, sums, 0);
    }
}

static void dense_row(const struct layer *l, size_t row)
{
    const struct walk *walk = find_walk(l);
    const uint8_t *a = (const uint8_t *)l->d->a + row * l->k;
    const bool copies = needs_copy(l), copy_once = copies && l->k <= VECTOR_K;
    const bool sums = l->layout.uniform || l->layout.has_coefficients;
    const uint32_t a_sum = sums ? row_sum(a, l->k, l->d->a_signed) : 0;
    const size_t strip_columns = LANES * l->planes;
    uint8_t copy[VECTOR_K];
    if (copy_once)
        copy_activations(copy, a, l->k, l->d->a_signed);
    for (size_t column = l->column; column < l->end;) {
        vint products[8];
        const bool several = (l->end - column + strip_columns - 1) / strip_columns >= walk->strips;
        const size_t strips = several ? walk->strips : 1;
        const uint8_t *lines = l->lines + column / strip_columns * l->k4 * LINE;
        memset(products, 0, sizeof products);
        for (size_t k = 0; k < l->k; k += VECTOR_K) {
            const size_t count = l->k - k < VECTOR_K ? l->k - k : VECTOR_K;
            if (copies && !copy_once)
                copy_activations(copy, a + k, count, l->d->a_signed);
            (several ? walk->several : walk->one)(l, lines + k / 4 * LINE, copies ? copy : a + k,
                                                  (count + 3) / 4, products);
        }
        put_group(l, row, column, products, strips * l->planes, a_sum);
        column += strips * strip_columns;
    }
}

#endif
