/* A dense layer, generic in the vectors (zmm.h, ymm.h). Included once by each bundle.
 *
 * With u = a, or a + 128 for signed activations (one bit flipped), and the bytes b = level - shift:
 *
 *     acc = init - 128 [a signed] sum_k b  +  sum_k u b  +  (shift - zero_point) sum_k a
 *
 * all modulo 2^32. Many rows: tiles of TILE_ROWS x 2 lines on bytes, which planes are unpacked to
 * once for MAX_ROWS rows. Few rows: straight from the planes. */
#ifndef HT_KERNELS_X86_DENSE_H
#define HT_KERNELS_X86_DENSE_H

#include "kernels/bundles.h"
#include "kernels/x86/layout.h"
#include "kernels/x86/stream.h"

#define TILE_COLUMNS ((size_t)2 * LANES)
#define LINE         ((size_t)4 * LANES) /* bytes */
#define TILE_UNROLL  8                   /* few scalar instructions between the products */
#define MAX_ROWS     96   /* that share unpacked weights; their sums are on the stack */
#define BLOCK_K      800  /* of unpacked weights and of copied activations: L1 holds a block */
#define VECTOR_K     4096 /* the same when there are few rows */
#define FEW_ROWS     2    /* rows that are faster one by one; more where weights need unpacking */
#define FEW_UNPACKED 5

/* A layer, with what its packing says. */
struct layer {
    const struct ht_kernel_dense *d;
    struct ht_x86_layout layout;
    size_t n, k, k4, planes;
    size_t column, end; /* of the outputs that are asked for */
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

static bool needs_copy(const struct layer *l)
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

/* --- from accumulators to what is asked for --- */

/* init - 128 [a signed] sum_k b, of one line of outputs. */
HT_INLINE vint starting_sum(const struct layer *l, size_t column)
{
    vint start = v_load_first(l->d->init + column, l->n - column);
    if (l->d->a_signed) {
        const vint sum = v_load(l->sums + column * sizeof(int32_t));
        start = v_sub(start, v_mul(sum, v_splat(128)));
    }
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

/* --- many rows --- */

HT_INLINE void tile_step(size_t rows, const uint8_t *const *third, size_t stride, size_t offset,
                         const uint8_t *b0, const uint8_t *b1, vint (*sum)[2])
{
    const vint w0 = v_load(b0), w1 = v_load(b1);
    HT_UNROLL
    for (size_t i = 0; i < rows; i++) {
        const vint u = v_splat4(third[i / 3] + i % 3 * stride + offset);
        sum[i][0] = v_dot(sum[i][0], u, w0);
        sum[i][1] = v_dot(sum[i][1], u, w1);
    }
}

HT_INLINE void tile_advance(size_t rows, const uint8_t **third, size_t k4)
{
    HT_UNROLL
    for (size_t i = 0; i < rows; i += 3)
        third[i / 3] += 4 * k4;
}

/* acc[row][2 lines] = start[row][2 lines] + u b. One tile, all accumulators in registers. */
HT_INLINE void tile(size_t rows, const uint8_t *a, size_t stride, const uint8_t *b0,
                    const uint8_t *b1, size_t k4, const int32_t *start, size_t start_stride,
                    int32_t *acc)
{
    vint sum[TILE_ROWS][2];
    const uint8_t *third[TILE_ROWS / 3 + 1]; /* every third row: x86 addresses base + 2 * index */
    HT_UNROLL
    for (size_t i = 0; i < rows; i += 3)
        third[i / 3] = a + i * stride;
    HT_UNROLL
    for (size_t i = 0; i < rows; i++) {
        sum[i][0] = v_load(start + i * start_stride);
        sum[i][1] = v_load(start + i * start_stride + LANES);
    }
    size_t k = 0;
    for (; k + TILE_UNROLL <= k4; k += TILE_UNROLL) {
        HT_UNROLL
        for (size_t j = 0; j < TILE_UNROLL; j++) {
            tile_step(rows, third, stride, 4 * j, b0 + j * LINE, b1 + j * LINE, sum);
        }
        tile_advance(rows, third, TILE_UNROLL);
        b0 += TILE_UNROLL * LINE;
        b1 += TILE_UNROLL * LINE;
    }
    for (; k < k4; k++) {
        tile_step(rows, third, stride, 0, b0, b1, sum);
        tile_advance(rows, third, 1);
        b0 += LINE;
        b1 += LINE;
    }
    HT_UNROLL
    for (size_t i = 0; i < rows; i++) {
        v_store(acc + i * TILE_COLUMNS, sum[i][0]);
        v_store(acc + i * TILE_COLUMNS + LANES, sum[i][1]);
    }
}

_Static_assert(HT_KERNEL_COLUMN_STEP % TILE_COLUMNS == 0 &&
                   HT_KERNEL_COLUMN_STEP % (8 * LANES) == 0,
               "threads share no strip");

typedef void (*tile_function)(const uint8_t *a, size_t stride, const uint8_t *b0, const uint8_t *b1,
                              size_t k4, const int32_t *start, size_t start_stride, int32_t *acc);

#define TILE(rows)                                                                                 \
    static void tile_##rows(const uint8_t *a, size_t stride, const uint8_t *b0, const uint8_t *b1, \
                            size_t k4, const int32_t *start, size_t start_stride, int32_t *acc)    \
    {                                                                                              \
        tile(rows, a, stride, b0, b1, k4, start, start_stride, acc);                               \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
#if TILE_ROWS > 4
TILE(5)
TILE(6)
#endif
#if TILE_ROWS > 6
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
#endif
#undef TILE

static const tile_function tiles[TILE_ROWS + 1] = {
    NULL,   tile_1, tile_2, tile_3,  tile_4,
#if TILE_ROWS > 4
    tile_5, tile_6,
#endif
#if TILE_ROWS > 6
    tile_7, tile_8, tile_9, tile_10, tile_11, tile_12,
#endif
};

struct unpacking {
    vint shift[2], table[2], mask;
};

/* Two neighbouring planes to lines of bytes: index, then the byte of its level. */
HT_INLINE void unpack_lines(const struct unpacking *u, bool first_plane, const uint8_t *lines,
                            size_t k4, uint8_t *to0, uint8_t *to1)
{
    const struct unpacking c = *u;
    for (size_t i = 0; i < k4 * LINE; i += LINE) {
        const vint line = v_load(lines + i);
        const vint low = first_plane ? line : v_shift_right(line, c.shift[0]);
        const vint high = v_shift_right(line, c.shift[1]);
        v_store(to0 + i, v_lookup16(c.table[0], v_and(low, c.mask)));
        v_store(to1 + i, v_lookup16(c.table[1], v_and(high, c.mask)));
    }
}

static void unpack_planes(const struct layer *l, const uint8_t *lines, size_t plane, size_t k4,
                          uint8_t *to0, uint8_t *to1)
{
    const int bits = l->layout.bits;
    struct unpacking u = {.mask = v_splat_byte((1 << bits) - 1)};
    for (size_t p = 0; p < 2; p++) {
        const bool flipped = l->layout.uniform && plane + p + 1 == l->planes;
        int8_t table[16]; /* as the plane's bits stand in the line */
        for (int i = 0; i < 16; i++)
            table[i] = l->layout.table[flipped ? i ^ 1 << (bits - 1) : i];
        u.table[p] = v_table16(table);
        u.shift[p] = v_splat(bits * (int)(plane + p));
    }
    if (plane == 0)
        unpack_lines(&u, true, lines, k4, to0, to1);
    else
        unpack_lines(&u, false, lines, k4, to0, to1);
}

struct block {
    size_t column, row, rows;
    size_t k, count; /* inputs k..k + count of these rows */
    bool first, last;
    const uint8_t *b[2]; /* lines of bytes */
    const int32_t *start;
};

/* The weights of a block: as they lie, or unpacked to the buffers. A tile's 2 lines of outputs are
 * 2 strips of one plane, or 2 planes of one strip. */
static void block_weights(const struct layer *l, struct block *b,
                          uint8_t (*buffer)[BLOCK_K / 4 * LINE])
{
    const size_t line = b->column / LANES;
    const uint8_t *lines = l->lines + (line / l->planes * l->k4 + b->k / 4) * LINE;
    if (l->planes == 1) {
        b->b[0] = lines;
        b->b[1] = b->column + LANES < l->n ? lines + l->k4 * LINE : lines;
        return;
    }
    unpack_planes(l, lines, line % l->planes, (b->count + 3) / 4, buffer[0], buffer[1]);
    b->b[0] = buffer[0];
    b->b[1] = buffer[1];
}

/* sums += (shift - zero_point) sum_k a. */
static void add_zero_points(const struct layer *l, size_t column, size_t row, size_t rows,
                            int32_t (*sums)[TILE_COLUMNS])
{
    const vint coefficient = v_load(l->coefficients + column * sizeof(int32_t));
    const size_t half = column / LANES % 2 * LANES;
    for (size_t i = 0; i < rows; i++) {
        const uint8_t *a = (const uint8_t *)l->d->a + (row + i) * l->k;
        const vint sum = v_splat((int32_t)row_sum(a, l->k, l->d->a_signed));
        v_store(&sums[i][half], v_add(v_load(&sums[i][half]), v_mul(coefficient, sum)));
    }
}

static void put_tile(const struct layer *l, size_t column, size_t row, size_t rows,
                     int32_t (*sums)[TILE_COLUMNS])
{
    for (size_t half = 0; half < 2 && column < l->n; half++, column += LANES) {
        if (l->layout.has_coefficients)
            add_zero_points(l, column, row, rows, sums);
        put(l, column, row, rows, &sums[0][half * LANES], TILE_COLUMNS);
    }
}

/* Tiles as even as possible, so that none is too low to hide latency. Each is put where it belongs
 * at once: the stores drain while the next one is computed. */
static void block_tiles(const struct layer *l, const struct block *b, int32_t (*sums)[TILE_COLUMNS])
{
    uint8_t copy[TILE_ROWS * BLOCK_K];
    const uint8_t *a = (const uint8_t *)l->d->a + b->row * l->k + b->k;
    const bool copies = needs_copy(l), alone = b->first && b->last;
    size_t left = (b->rows + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t i = 0; i < b->rows; left--) {
        const size_t rows = (b->rows - i + left - 1) / left;
        const uint8_t *from = a + i * l->k;
        int32_t(*acc)[TILE_COLUMNS] = alone ? sums : sums + i;
        for (size_t r = 0; r < rows && copies; r++)
            copy_activations(copy + r * BLOCK_K, from + r * l->k, b->count, l->d->a_signed);
        tiles[rows](copies ? copy : from, copies ? BLOCK_K : l->k, b->b[0], b->b[1],
                    (b->count + 3) / 4, b->first ? b->start : acc[0], b->first ? 0 : TILE_COLUMNS,
                    acc[0]);
        if (b->last)
            put_tile(l, b->column, b->row + i, rows, acc);
        i += rows;
    }
}

/* 2 lines of outputs of some rows, at most MAX_ROWS when there are several blocks of inputs. */
static void dense_block(const struct layer *l, size_t column, size_t row, size_t rows,
                        size_t inputs, const int32_t *start)
{
    int32_t sums[MAX_ROWS][TILE_COLUMNS];
    uint8_t buffer[2][BLOCK_K / 4 * LINE];
    struct block b = {.column = column, .row = row, .rows = rows, .first = true, .start = start};
    for (; b.k < l->k; b.k += inputs) {
        b.last = l->k - b.k <= inputs;
        b.count = b.last ? l->k - b.k : inputs;
        block_weights(l, &b, buffer);
        block_tiles(l, &b, sums);
        b.first = false;
    }
}

/* Inputs in a block: all of them, or as many as buffers hold, evenly. */
static size_t block_inputs(const struct layer *l)
{
    if (l->planes == 1 && !needs_copy(l))
        return l->k;
    const size_t blocks = (l->k + BLOCK_K - 1) / BLOCK_K;
    return (l->k4 + blocks - 1) / blocks * 4;
}

static void dense_many(const struct layer *l)
{
    const size_t inputs = block_inputs(l), most = inputs >= l->k ? l->d->m : MAX_ROWS;
    for (size_t column = l->column; column < l->end; column += TILE_COLUMNS) {
        int32_t start[TILE_COLUMNS] = {0};
        v_store(start, starting_sum(l, column));
        if (column + LANES < l->n)
            v_store(start + LANES, starting_sum(l, column + LANES));
        for (size_t row = 0; row < l->d->m; row += most) {
            const size_t left = l->d->m - row;
            dense_block(l, column, row, left < most ? left : most, inputs, start);
        }
    }
}

/* --- few rows --- */

/* Some strips of one row, as many as give about 8 sums. */
HT_INLINE void group_products(const struct layer *l, int bits, bool uniform, size_t strips,
                              size_t unroll, const uint8_t *lines, const uint8_t *u, size_t k4,
                              vint *out)
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
                *to_sum = v_dot(*to_sum, a, b);                                                    \
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
        v_store(&out[i], v_add(v_load(&out[i]), product));
    }
}

typedef void (*group_function)(const struct layer *l, const uint8_t *lines, const uint8_t *u,
                               size_t k4, vint *out);

#define GROUP(name, bits, uniform, strips, unroll)                                                 \
    static void name(const struct layer *l, const uint8_t *lines, const uint8_t *u, size_t k4,     \
                     vint *out)                                                                    \
    {                                                                                              \
        group_products(l, bits, uniform, strips, unroll, lines, u, k4, out);                       \
    }
GROUP(group_8x4, 8, false, 4, 2)
GROUP(group_8x1, 8, false, 1, 8)
GROUP(group_4x2, 4, true, 2, 2)
GROUP(group_4x1, 4, true, 1, 4)
GROUP(group_2, 2, true, 1, 2)
GROUP(group_1, 1, true, 1, 1)
GROUP(group_table_4, 4, false, 1, 4)
GROUP(group_table_2, 2, false, 1, 2)
GROUP(group_table_1, 1, false, 1, 1)
#undef GROUP

/* How to go through the strips: `strips` at a time, then one by one. */
struct walk {
    int bits;
    bool uniform;
    size_t strips;
    group_function several, one;
};

static const struct walk walks[] = {
    {8, false, 4, group_8x4, group_8x1},
    {4, true, 2, group_4x2, group_4x1},
    {2, true, 1, group_2, group_2},
    {1, true, 1, group_1, group_1},
    {4, false, 1, group_table_4, group_table_4},
    {2, false, 1, group_table_2, group_table_2},
    {1, false, 1, group_table_1, group_table_1},
};

static const struct walk *find_walk(const struct layer *l)
{
    const struct walk *w = walks;
    while (w->bits != l->layout.bits || w->uniform != (l->layout.uniform != 0))
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

static void put_group(const struct layer *l, size_t row, size_t column, const vint *products,
                      size_t count, uint32_t a_sum)
{
    const uint32_t u_sum = a_sum + (l->d->a_signed ? 128 * (uint32_t)l->k : 0);
    for (size_t i = 0; i < count && column < l->n; i++, column += LANES) {
        vint product = v_load(&products[i]);
        if (l->layout.uniform)
            product = level_products(l, i % l->planes, product, u_sum);
        vint acc = v_add(starting_sum(l, column), product);
        if (l->layout.has_coefficients) {
            const vint coefficient = v_load(l->coefficients + column * sizeof(int32_t));
            acc = v_add(acc, v_mul(coefficient, v_splat((int32_t)a_sum)));
        }
        int32_t sums[LANES];
        v_store(sums, acc);
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
        return;
    }
    if (d->m > (l.planes > 1 ? FEW_UNPACKED : FEW_ROWS)) {
        dense_many(&l);
        return;
    }
    for (size_t row = 0; row < d->m; row++)
        dense_row(&l, row);
}

static size_t packed_size(const struct ht_kernel_weights *w)
{
    return ht_x86_packed_size(w, LANES);
}

static void pack(const struct ht_kernel_weights *w, void *packed)
{
    ht_x86_pack(w, LANES, packed);
}

#endif
