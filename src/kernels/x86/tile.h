/* Dense layers of many rows: tiles of TILE_ROWS x 2 lines on bytes, which planes are unpacked to
 * once for MAX_ROWS rows. */
#ifndef HT_KERNELS_X86_TILE_H
#define HT_KERNELS_X86_TILE_H

#include "kernels/x86/layer.h"
#include "kernels/x86/unpack.h"

#define TILE_COLUMNS ((size_t)2 * LANES)
#define TILE_UNROLL  8   /* few scalar instructions between the products */
#define MAX_ROWS     96  /* that share unpacked weights; their sums are on the stack */
#define BLOCK_K      800 /* of unpacked weights and of copied activations: L1 holds a block */

HT_INLINE void tile_step(enum product product, size_t lines, size_t rows,
                         const uint8_t *const *third, size_t stride, size_t offset,
                         const uint8_t *b0, const uint8_t *b1, vint (*sum)[2])
{
    const vint w0 = v_load(b0), w1 = lines > 1 ? v_load(b1) : w0;
    HT_UNROLL
    for (size_t i = 0; i < rows; i++) {
        const vint u = v_splat4(third[i / 3] + i % 3 * stride + offset);
        sum[i][0] = add_product(product, sum[i][0], u, w0);
        if (lines > 1)
            sum[i][1] = add_product(product, sum[i][1], u, w1);
    }
}

HT_INLINE void tile_advance(size_t rows, const uint8_t **third, size_t k4)
{
    HT_UNROLL
    for (size_t i = 0; i < rows; i += 3)
        third[i / 3] += 4 * k4;
}

/* acc[row][2 lines] = start[row][2 lines] + u b, or in binary start - 2 * (bits that differ). One
 * tile, all accumulators in registers. */
HT_INLINE void tile(enum product product, size_t lines, size_t rows, const uint8_t *a,
                    size_t stride, const uint8_t *b0, const uint8_t *b1, size_t k4,
                    const int32_t *start, size_t start_stride, int32_t *acc)
{
    vint sum[TILE_ROWS][2];
    const uint8_t *third[TILE_ROWS / 3 + 1]; /* every third row: x86 addresses base + 2 * index */
    HT_UNROLL
    for (size_t i = 0; i < rows; i += 3)
        third[i / 3] = a + i * stride;
    HT_UNROLL
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < lines; j++)
            sum[i][j] =
                product == COUNT ? v_splat(0) : v_load(start + i * start_stride + j * LANES);
    }
    size_t k = 0;
    for (; k + TILE_UNROLL <= k4; k += TILE_UNROLL) {
        HT_UNROLL
        for (size_t j = 0; j < TILE_UNROLL; j++) {
            tile_step(product, lines, rows, third, stride, 4 * j, b0 + j * LINE, b1 + j * LINE,
                      sum);
        }
        tile_advance(rows, third, TILE_UNROLL);
        b0 += TILE_UNROLL * LINE;
        b1 += TILE_UNROLL * LINE;
    }
    for (; k < k4; k++) {
        tile_step(product, lines, rows, third, stride, 0, b0, b1, sum);
        tile_advance(rows, third, 1);
        b0 += LINE;
        b1 += LINE;
    }
    HT_UNROLL
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < lines; j++) {
            if (product == COUNT)
                sum[i][j] = v_sub(v_load(start + i * start_stride + j * LANES),
                                  v_add(sum[i][j], sum[i][j]));
            v_store(acc + i * TILE_COLUMNS + j * LANES, sum[i][j]);
        }
    }
}

_Static_assert(HT_KERNEL_COLUMN_STEP % TILE_COLUMNS == 0 &&
                   HT_KERNEL_COLUMN_STEP % (8 * LANES) == 0,
               "threads share no strip");

typedef void (*tile_function)(const uint8_t *a, size_t stride, const uint8_t *b0, const uint8_t *b1,
                              size_t k4, const int32_t *start, size_t start_stride, int32_t *acc);

#define TILE(name, product, lines, rows)                                                           \
    static void name(const uint8_t *a, size_t stride, const uint8_t *b0, const uint8_t *b1,        \
                     size_t k4, const int32_t *start, size_t start_stride, int32_t *acc)           \
    {                                                                                              \
        tile(product, lines, rows, a, stride, b0, b1, k4, start, start_stride, acc);               \
    }
TILE(tile_1, DOT, 2, 1)
TILE(tile_2, DOT, 2, 2)
TILE(tile_3, DOT, 2, 3)
TILE(tile_4, DOT, 2, 4)
TILE(line_1, DOT, 1, 1)
TILE(line_2, DOT, 1, 2)
TILE(line_3, DOT, 1, 3)
TILE(line_4, DOT, 1, 4)
TILE(bits_1, COUNT, 2, 1)
TILE(bits_2, COUNT, 2, 2)
TILE(bits_3, COUNT, 2, 3)
TILE(bits_4, COUNT, 2, 4)
#if TILE_ROWS > 4
TILE(tile_5, DOT, 2, 5)
TILE(tile_6, DOT, 2, 6)
TILE(line_5, DOT, 1, 5)
TILE(line_6, DOT, 1, 6)
#endif
#if TILE_ROWS > 6
TILE(tile_7, DOT, 2, 7)
TILE(tile_8, DOT, 2, 8)
TILE(tile_9, DOT, 2, 9)
TILE(tile_10, DOT, 2, 10)
TILE(tile_11, DOT, 2, 11)
TILE(tile_12, DOT, 2, 12)
TILE(line_7, DOT, 1, 7)
TILE(line_8, DOT, 1, 8)
TILE(line_9, DOT, 1, 9)
TILE(line_10, DOT, 1, 10)
TILE(line_11, DOT, 1, 11)
TILE(line_12, DOT, 1, 12)
#endif
#if BINARY_ROWS > 4
TILE(bits_5, COUNT, 2, 5)
TILE(bits_6, COUNT, 2, 6)
TILE(bits_7, COUNT, 2, 7)
TILE(bits_8, COUNT, 2, 8)
TILE(bits_9, COUNT, 2, 9)
TILE(bits_10, COUNT, 2, 10)
TILE(bits_11, COUNT, 2, 11)
TILE(bits_12, COUNT, 2, 12)
#endif
#ifdef SMALL_IS_FASTER
TILE(small_1, DOT_SMALL, 2, 1)
TILE(small_2, DOT_SMALL, 2, 2)
TILE(small_3, DOT_SMALL, 2, 3)
TILE(small_4, DOT_SMALL, 2, 4)
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

/* Where the second line does not exist. */
static const tile_function line_tiles[TILE_ROWS + 1] = {
    NULL,   line_1, line_2, line_3,  line_4,
#if TILE_ROWS > 4
    line_5, line_6,
#endif
#if TILE_ROWS > 6
    line_7, line_8, line_9, line_10, line_11, line_12,
#endif
};

#ifdef SMALL_IS_FASTER
static const tile_function small_tiles[TILE_ROWS + 1] = {NULL, small_1, small_2, small_3, small_4};
#endif

static const tile_function binary_tiles[BINARY_ROWS + 1] = {
    NULL,   bits_1, bits_2, bits_3, bits_4,
#if BINARY_ROWS > 4
    bits_5, bits_6, bits_7, bits_8, bits_9, bits_10, bits_11, bits_12,
#endif
};

/* Which tiles, and of how many rows at most. */
static const tile_function *choose_tiles(const struct layer *l, size_t column, size_t *highest)
{
    *highest = l->layout.binary ? BINARY_ROWS : TILE_ROWS;
    if (l->layout.binary)
        return binary_tiles;
#ifdef SMALL_IS_FASTER
    bool small = l->planes > 1;
    for (int i = 0; i < 16; i++)
        small = small && l->layout.table[i] >= -64 && l->layout.table[i] <= 64;
    if (small)
        return small_tiles;
#endif
    return column + LANES < l->n ? tiles : line_tiles;
}

struct block {
    size_t column, row, rows;
    size_t k, count; /* inputs k..k + count of these rows */
    bool first, last;
    bool packs;          /* levels, by pack_tile */
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

/* sums += (shift - zero_point) sum_k a. Coefficients are padded to whole lines. */
static void add_zero_points(const struct layer *l, size_t column, size_t row, size_t rows,
                            int32_t (*sums)[TILE_COLUMNS])
{
    const size_t lines = column + LANES < l->n ? 2 : 1;
    const uint8_t *coefficients = l->coefficients + column * sizeof(int32_t);
    for (size_t i = 0; i < rows; i++) {
        const vint sum = v_splat((int32_t)layer_row_sum(l, row + i));
        for (size_t j = 0; j < lines; j++) {
            int32_t *at = sums[i] + j * LANES;
            v_store(at, v_add(v_load(at), v_mul(v_load(coefficients + j * LINE), sum)));
        }
    }
}

/* Levels of two whole lines, two rows at a time. */
HT_INLINE void pack_tile(const struct layer *l, bool plain, const struct packer *p, size_t column,
                         size_t row, size_t rows, int32_t (*sums)[TILE_COLUMNS])
{
    const vfloat m0 = v_floats(v_load(l->d->multiplier + column));
    const vfloat m1 = v_floats(v_load(l->d->multiplier + column + LANES));
    const vfloat multipliers[4] = {m0, m1, m0, m1};
    uint8_t *to = (uint8_t *)l->d->levels + row * l->n + column;
    for (size_t i = 0; i < rows; i += 2, to += 2 * l->n) {
        const size_t other = i + 1 < rows; /* of an odd number, the last one twice */
        const vint both[4] = {v_load(sums[i]), v_load(sums[i] + LANES), v_load(sums[i + other]),
                              v_load(sums[i + other] + LANES)};
        v_store_halves(to, to + other * l->n, pack_sums(p, plain, both, multipliers));
    }
}

static void put_tile(const struct layer *l, bool packs, size_t column, size_t row, size_t rows,
                     int32_t (*sums)[TILE_COLUMNS])
{
    if (l->layout.has_coefficients)
        add_zero_points(l, column, row, rows, sums);
    if (packs) {
        const struct packer p = make_packer(l->d->quantizer);
        if (p.plain)
            pack_tile(l, true, &p, column, row, rows, sums);
        else
            pack_tile(l, false, &p, column, row, rows, sums);
        return;
    }
    for (size_t half = 0; half < 2 && column < l->n; half++, column += LANES)
        put(l, column, row, rows, &sums[0][half * LANES], TILE_COLUMNS);
}

/* Tiles as even as possible, so that none is too low to hide latency. Each is put where it belongs
 * at once: the stores drain while the next one is computed. */
static void block_tiles(const struct layer *l, const struct block *b, int32_t (*sums)[TILE_COLUMNS])
{
    uint8_t copy[TILE_ROWS * BLOCK_K];
    const uint8_t *a = (const uint8_t *)l->d->a + b->row * l->k + b->k;
    const bool copies = needs_copy(l), alone = b->first && b->last;
    size_t highest;
    const tile_function *functions = choose_tiles(l, b->column, &highest);
    size_t left = (b->rows + highest - 1) / highest;
    for (size_t i = 0; i < b->rows; left--) {
        const size_t rows = (b->rows - i + left - 1) / left;
        const uint8_t *from = a + i * l->k;
        int32_t(*acc)[TILE_COLUMNS] = alone ? sums : sums + i;
        for (size_t r = 0; r < rows && copies; r++)
            copy_activations(copy + r * BLOCK_K, from + r * l->k, b->count, l->d->a_signed);
        functions[rows](copies ? copy : from, copies ? BLOCK_K : l->k, b->b[0], b->b[1],
                        (b->count + 3) / 4, b->first ? b->start : acc[0],
                        b->first ? 0 : TILE_COLUMNS, acc[0]);
        if (b->last)
            put_tile(l, b->packs, b->column, b->row + i, rows, acc);
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
    b.packs = can_pack(l, column, 2);
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

#endif
