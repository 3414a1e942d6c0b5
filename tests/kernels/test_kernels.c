/* Every bundle of kernels against a naive implementation (the C reference) and against the C
 * reference by memcmp (all others), with canaries around what they write. */
#include "support.h"

#include <float.h>
#include <math.h>

#include "base/rng.h"
#include "kernels/kernels.h"
#include "quant/grid.h"

#define CANARY 0xA5
#define GUARD  64

/* Bytes with a guard on both sides; the end is exact, so that a sanitizer sees one byte too many.
 */
struct guarded {
    uint8_t *block, *data;
    size_t size;
};

static struct guarded guarded_new(size_t size)
{
    struct guarded g = {malloc(size + 2 * GUARD), NULL, size};
    cr_assert_not_null(g.block);
    memset(g.block, CANARY, size + 2 * GUARD);
    g.data = g.block + GUARD;
    return g;
}

static void guarded_finish(struct guarded *g, const char *where)
{
    for (size_t i = 0; i < GUARD; i++) {
        cr_assert_eq(g->block[i], CANARY, "%s: wrote %zu before its output", where, GUARD - i);
        cr_assert_eq(g->data[g->size + i], CANARY, "%s: wrote %zu past its output", where, i);
    }
    free(g->block);
}

/* --- random numbers: a counter that walks --- */
static uint64_t draws;

static uint64_t below(uint64_t n)
{
    return ht_rng_below(11, HT_RNG_TEST, draws++, n);
}

static int between(int lo, int hi)
{
    return lo + (int)below((uint64_t)(hi - lo + 1));
}

enum fill { FILL_MINIMUM, FILL_MAXIMUM, FILL_EXTREMES, FILL_UNIFORM, N_FILLS };

static int pick(enum fill fill, int lo, int hi)
{
    if (fill == FILL_EXTREMES)
        return below(2) ? lo : hi;
    return fill == FILL_MINIMUM ? lo : fill == FILL_MAXIMUM ? hi : between(lo, hi);
}

/* --- one case: what a dense layer gets --- */
struct problem {
    size_t m, n, k;
    struct ht_grid grid;
    bool a_signed;
    uint8_t *a; /* [m, k] */
    int *w;     /* [n, k] levels, for the naive product */
    uint8_t *codes;
    int16_t *level;
    int32_t *init, *zero_point;
    float *multiplier;
    struct ht_kernel_weights weights;
};

/* Bit by bit, on purpose: nothing in common with the code under test. */
static void put_bits(uint8_t *bytes, size_t first, int count, unsigned value)
{
    for (int b = 0; b < count; b++)
        if (value >> b & 1)
            bytes[(first + (size_t)b) / 8] |= (uint8_t)(1u << (first + (size_t)b) % 8);
}

static void fill_weights(struct problem *p, enum fill fill)
{
    const struct ht_grid *g = &p->grid;
    p->w = calloc(p->n * p->k, sizeof *p->w);
    p->codes = calloc((p->n * p->k * (size_t)g->bits + 7) / 8, 1);
    for (size_t i = 0; i < p->n * p->k; i++) {
        const int index = pick(fill, 0, g->n_levels - 1);
        p->w[i] = g->step == 0 ? g->level[index] : g->lo + g->step * index;
        unsigned code = (unsigned)index; /* affine, binary, zero_free, tables */
        if (g->step == 1 && g->lo < 0)
            code = (unsigned)(p->w[i] < 0 ? p->w[i] + (1 << g->bits) : p->w[i]);
        put_bits(p->codes, i * (size_t)g->bits, g->bits, code);
    }
    p->level = calloc(256, sizeof *p->level);
    for (unsigned c = 0; c < 1u << g->bits; c++) {
        const int wrapped = (int)c >= 1 << (g->bits - 1) ? (int)c - (1 << g->bits) : (int)c;
        p->level[c] = (int16_t)(g->step == 0   ? g->level[c]
                                : g->step == 2 ? g->lo + 2 * (int)c
                                : g->lo < 0    ? wrapped
                                               : (int)c);
    }
}

static struct problem make_problem(const char *grid, int bits, size_t m, size_t n, size_t k,
                                   bool a_signed, enum fill fill_a, enum fill fill_w)
{
    struct problem p = {.m = m, .n = n, .k = k, .a_signed = a_signed};
    cr_assert_eq(ht_grid_init(&p.grid, grid, bits, NULL), HT_OK);
    p.a = malloc(m * k);
    /* Often where it makes a difference, sometimes where it makes none. */
    const bool a_binary = a_signed && below(bits == 1 ? 2 : 8) == 0;
    for (size_t i = 0; i < m * k; i++)
        p.a[i] = (uint8_t)(a_binary   ? 2 * pick(fill_a, 0, 1) - 1
                           : a_signed ? pick(fill_a, -128, 127)
                                      : pick(fill_a, 0, 255));
    fill_weights(&p, fill_w);
    p.init = malloc(n * sizeof *p.init);
    p.multiplier = malloc(n * sizeof *p.multiplier);
    if (p.grid.has_zero_point)
        p.zero_point = malloc(n * sizeof *p.zero_point);
    for (size_t i = 0; i < n; i++) {
        p.init[i] = pick(fill_a, -1000000, 1000000);
        p.multiplier[i] = ldexpf(1.0f + (float)below(1u << 23) * 0x1p-23f, -between(4, 20));
        if (p.zero_point)
            p.zero_point[i] =
                pick(fill_w == FILL_UNIFORM ? FILL_UNIFORM : FILL_EXTREMES, 0, p.grid.hi);
    }
    p.weights = (struct ht_kernel_weights){n, k, bits, p.codes, p.level, p.zero_point, a_binary};
    return p;
}

static void problem_finish(struct problem *p)
{
    free(p->a);
    free(p->w);
    free(p->codes);
    free(p->level);
    free(p->init);
    free(p->zero_point);
    free(p->multiplier);
}

static int64_t naive_acc(const struct problem *p, size_t row, size_t column)
{
    int64_t acc = p->init[column];
    const int64_t z = p->zero_point ? p->zero_point[column] : 0;
    for (size_t k = 0; k < p->k; k++) {
        const uint8_t byte = p->a[row * p->k + k];
        const int64_t a = p->a_signed && byte > 127 ? (int64_t)byte - 256 : byte;
        acc += a * (p->w[column * p->k + k] - z);
    }
    return acc;
}

/* The definition, by exact comparison with the midpoints: the nearest level; a midpoint goes to the
 * even one, or to the lower one when levels are odd. */
static int naive_level(float u, const struct ht_kernel_quantizer *q)
{
    const int step = q->rounding == HT_KERNEL_NEAREST_ODD ? 2 : 1;
    int best = q->lo;
    for (int level = q->lo + step; level <= q->hi; level += step) {
        const float from =
            q->rounding == HT_KERNEL_FLOOR ? (float)level : (float)level - 0.5f * (float)step;
        const bool take_tie = q->rounding == HT_KERNEL_FLOOR || (step == 1 && level % 2 == 0);
        if (u > from || (u == from && take_tie))
            best = level;
    }
    return best + q->zero_point;
}

static void run_dense(const struct ht_kernels *kernels, const struct problem *p, int32_t *acc,
                      float *real, void *levels, const struct ht_kernel_quantizer *q)
{
    struct guarded packed = guarded_new(kernels->packed_size(&p->weights));
    kernels->pack(&p->weights, packed.data);
    const struct ht_kernel_dense d = {
        .m = p->m,
        .a = p->a,
        .a_signed = p->a_signed,
        .weights = &p->weights,
        .packed = packed.data,
        .init = p->init,
        .multiplier = p->multiplier,
        .acc = acc,
        .real = real,
        .levels = levels,
        .quantizer = q,
    };
    kernels->dense(&d);
    guarded_finish(&packed, "pack");
}

static const struct ht_kernel_quantizer quantizers[] = {
    {0, 255, 0, HT_KERNEL_NEAREST_EVEN},
    {-128, 127, 0, HT_KERNEL_NEAREST_EVEN},
    {-100, 155, 100, HT_KERNEL_NEAREST_EVEN},
    {0, 91, 164, HT_KERNEL_NEAREST_EVEN},
    {-3, 4, 3, HT_KERNEL_FLOOR},
    {-15, 15, 0, HT_KERNEL_NEAREST_ODD},
    {-1, 1, 0, HT_KERNEL_NEAREST_ODD},
    {-7, 7, 0, HT_KERNEL_FLOOR},
};
#define N_QUANTIZERS (sizeof quantizers / sizeof quantizers[0])

static void check_reference(const struct ht_kernels *c, const struct problem *p,
                            const struct ht_kernel_quantizer *q)
{
    const size_t count = p->m * p->n;
    struct guarded acc = guarded_new(count * sizeof(int32_t));
    struct guarded real = guarded_new(count * sizeof(float)), levels = guarded_new(count);
    run_dense(c, p, (int32_t *)acc.data, NULL, NULL, NULL);
    run_dense(c, p, NULL, (float *)real.data, NULL, NULL);
    run_dense(c, p, NULL, NULL, levels.data, q);
    for (size_t i = 0; i < count; i++) {
        const int64_t expected = naive_acc(p, i / p->n, i % p->n);
        int32_t got;
        float u;
        memcpy(&got, acc.data + i * sizeof got, sizeof got);
        cr_assert_eq(got, expected, "%s %d m%zu n%zu k%zu [%zu]: %d, not %lld", p->grid.name,
                     p->grid.bits, p->m, p->n, p->k, i, got, (long long)expected);
        /* Both roundings spelled out: the double product of two floats is exact. */
        const float exact = (float)((double)(float)expected * (double)p->multiplier[i % p->n]);
        memcpy(&u, real.data + i * sizeof u, sizeof u);
        cr_assert_eq(memcmp(&u, &exact, sizeof u), 0, "%g, not %g", (double)u, (double)exact);
        const uint8_t level = (uint8_t)naive_level(exact, q);
        cr_assert_eq(levels.data[i], level, "u %.9g: %d, not %d", (double)exact, levels.data[i],
                     level);
    }
    guarded_finish(&acc, "acc");
    guarded_finish(&real, "real");
    guarded_finish(&levels, "levels");
}

/* All others against kernels[0], the C reference, which runs once. */
static void check_same(const struct ht_kernels *kernels, size_t n_kernels, const struct problem *p,
                       const struct ht_kernel_quantizer *q)
{
    const size_t count = p->m * p->n;
    for (int output = 0; output < 3; output++) {
        struct guarded expected = guarded_new(count * 4);
        for (size_t i = 0; i < n_kernels; i++) {
            struct guarded got = i ? guarded_new(count * 4) : expected;
            run_dense(&kernels[i], p, output == 0 ? (int32_t *)got.data : NULL,
                      output == 1 ? (float *)got.data : NULL, output == 2 ? got.data : NULL, q);
            if (!i)
                continue;
            cr_assert_eq(memcmp(expected.data, got.data, count * 4), 0,
                         "%s differs from c: %s %d, %zu %zu %zu", kernels[i].isa, p->grid.name,
                         p->grid.bits, p->m, p->n, p->k);
            guarded_finish(&got, kernels[i].isa);
        }
        guarded_finish(&expected, "c");
    }
}

/* All bundles that this CPU has, the C reference first; at most one for each bit of the mask. Asked
 * once: under a hypervisor each question to the CPU takes long. */
static struct ht_kernels bundles[33];
static size_t n_bundles;

static size_t all_kernels(struct ht_kernels ret[33])
{
    if (!n_bundles) {
        unsigned mask = HT_ISA_C;
        ht_kernels_init(&bundles[0], HT_ISA_C);
        n_bundles = 1;
        for (unsigned bit = 1; bit < 32; bit++) {
            mask |= 1u << bit;
            ht_kernels_init(&bundles[n_bundles], mask);
            if (strcmp(bundles[n_bundles].isa, bundles[n_bundles - 1].isa) != 0)
                n_bundles++;
        }
    }
    memcpy(ret, bundles, sizeof bundles);
    return n_bundles;
}

static void check_problem(const char *grid, int bits, size_t m, size_t n, size_t k, bool a_signed,
                          enum fill fill_a, enum fill fill_w)
{
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    struct problem p = make_problem(grid, bits, m, n, k, a_signed, fill_a, fill_w);
    const struct ht_kernel_quantizer *q = &quantizers[below(N_QUANTIZERS)];
    check_reference(&kernels[0], &p, q);
    check_same(kernels, count, &p, q);
    problem_finish(&p);
}

/* Without the naive product, which takes long. */
static void check_bundles(const char *grid, int bits, size_t m, size_t n, size_t k, bool a_signed,
                          enum fill fill_a, enum fill fill_w)
{
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    struct problem p = make_problem(grid, bits, m, n, k, a_signed, fill_a, fill_w);
    check_same(kernels, count, &p, &quantizers[below(N_QUANTIZERS)]);
    problem_finish(&p);
}

static const size_t sizes[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65};
#define N_SIZES (sizeof sizes / sizeof sizes[0])

/* Every grid and width x sign x fills of activations and weights, at several odd shapes each. */
Test(kernels, dense_equals_the_naive_product)
{
    size_t n_names;
    const char *const *names = ht_grid_names(&n_names);
    for (size_t name = 0; name < n_names; name++) {
        for (int bits = 1; bits <= 8; bits++) {
            struct ht_grid g;
            if (ht_grid_init(&g, names[name], bits, NULL))
                continue;
            for (int c = 0; c < 2 * N_FILLS * N_FILLS * 2; c++)
                check_problem(names[name], bits, sizes[below(N_SIZES)], sizes[below(N_SIZES)],
                              sizes[below(N_SIZES)], c & 1, (enum fill)(c / 2 % N_FILLS),
                              (enum fill)(c / 2 / N_FILLS % N_FILLS));
        }
    }
}

/* Every small shape once, so that no tail is left to chance. */
Test(kernels, dense_in_every_shape)
{
    static const struct {
        const char *name;
        int bits;
    } grids[] = {{"narrow", 8}, {"full", 4}, {"narrow", 2}, {"binary", 1}, {"affine", 3}};
    for (size_t i = 0; i < N_SIZES * N_SIZES * N_SIZES; i++) {
        const size_t m = sizes[i % N_SIZES], n = sizes[i / N_SIZES % N_SIZES];
        const size_t k = sizes[i / N_SIZES / N_SIZES];
        if (m * n * k > 20000)
            continue;
        const size_t g = below(5);
        check_problem(grids[g].name, grids[g].bits, m, n, k, below(2), FILL_EXTREMES,
                      FILL_EXTREMES);
    }
}

/* Around the borders of every tile, line and block; a grid, a width and a sign drawn for each. */
Test(kernels, dense_around_the_borders_of_tiles)
{
    static const size_t ns[] = {15, 16, 17, 31, 33, 63, 64, 65, 100};
    static const size_t ks[] = {1,  2,  3,  4,   5,   6,   7,   8,   9,
                                63, 64, 65, 127, 128, 129, 511, 513, 784};
    size_t n_names;
    const char *const *names = ht_grid_names(&n_names);
    for (size_t m = 1; m <= 14; m++)
        for (size_t n = 0; n < sizeof ns / sizeof ns[0]; n++)
            for (size_t k = 0; k < sizeof ks / sizeof ks[0]; k++) {
                const char *name = names[below(n_names)];
                struct ht_grid g;
                int bits = between(1, 8);
                while (ht_grid_init(&g, name, bits, NULL))
                    bits = between(1, 8);
                check_bundles(name, bits, m, ns[n], ks[k], below(2), (enum fill)below(N_FILLS),
                              (enum fill)below(N_FILLS));
            }
}

/* More rows than share unpacked weights, with more inputs than are unpacked at once. */
Test(kernels, dense_of_many_rows)
{
    static const size_t ms[] = {95, 96, 97, 107, 193, 7};
    static const size_t ks[] = {1025, 1030, 1600, 801, 799, 4301};
    static const struct {
        const char *name;
        int bits;
    } grids[] = {{"narrow", 8}, {"affine", 8}, {"full", 4}, {"affine", 2}, {"binary", 1}};
    for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++)
        for (size_t g = 0; g < 5; g++)
            for (int sign = 0; sign < 2; sign++)
                check_bundles(grids[g].name, grids[g].bits, ms[i], 35, ks[i], sign, FILL_EXTREMES,
                              FILL_EXTREMES);
}

/* Levels that no grid has: the contract is level[code], whatever it holds. */
Test(kernels, dense_of_any_levels)
{
    static const struct {
        int lo, hi;
        bool spaced;
    } kinds[] = {{-128, 127, false}, {0, 255, false}, {-3, 200, false}, {-1000, 1000, false},
                 {7, 7, false},      {-90, 0, true},  {100, 0, true},   {-128, 0, true}};
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    for (int bits = 1; bits <= 8; bits++)
        for (int c = 0; c < 8 * 8; c++) {
            const int kind = c % 8, step = 1 + c / 8;
            const size_t m = (size_t)between(1, 30), n = (size_t)between(1, 70);
            struct problem p =
                make_problem(bits == 1 ? "binary" : "affine", bits, m, n, (size_t)between(1, 90),
                             below(2), FILL_EXTREMES, FILL_UNIFORM);
            for (int code = 0; code < 1 << bits; code++)
                p.level[code] =
                    (int16_t)(kinds[kind].spaced ? kinds[kind].lo + code * step
                                                 : between(kinds[kind].lo, kinds[kind].hi));
            for (size_t i = 0; i < p.n * p.k; i++) /* of a grid whose level tells the code */
                p.w[i] = p.level[bits == 1 ? (p.w[i] + 1) / 2 : p.w[i]];
            check_reference(&kernels[0], &p, &quantizers[c % (int)N_QUANTIZERS]);
            check_same(kernels, count, &p, &quantizers[c % (int)N_QUANTIZERS]);
            problem_finish(&p);
        }
}

/* Weights and activations of one bit, the levels in either order, around the borders of words,
 * lines and blocks of rows, up to more inputs than are packed as bits. */
Test(kernels, signs_of_all_fills)
{
    static const size_t ms[] = {1, 2, 3, 5, 13, 40, 137, 300}, ns[] = {1, 10, 31, 32, 33, 70, 300};
    static const size_t ks[] = {1,   31,  32,  33,  63,   64,   65,   95,    127,  128,
                                129, 255, 256, 784, 1024, 1025, 4100, 65536, 65537};
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    for (size_t c = 0; c < 190; c++) {
        const size_t m = ms[below(8)], n = ns[below(7)], k = ks[c % 19];
        if (m * n * k > 800000)
            continue;
        struct problem p;
        do { /* until they are binary on both sides */
            p = make_problem("binary", 1, m, n, k, true, (enum fill)below(N_FILLS),
                             (enum fill)below(N_FILLS));
            if (!p.weights.a_binary)
                problem_finish(&p);
        } while (!p.weights.a_binary);
        if (below(2)) {
            p.level[0] = 1;
            p.level[1] = -1;
            for (size_t i = 0; i < n * k; i++)
                p.w[i] = -p.w[i];
        }
        if (m * n * k < 200000)
            check_reference(&kernels[0], &p, &quantizers[below(N_QUANTIZERS)]);
        check_same(kernels, count, &p, &quantizers[below(N_QUANTIZERS)]);
        problem_finish(&p);
    }
}

/* Longer than any block, up to the contract's K <= 65,793 for u8 x s8 at the extremes. */
Test(kernels, dense_of_long_rows)
{
    static const size_t lengths[] = {255, 256, 257, 511, 513, 784, 4097, 65793};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (int fill = 0; fill < N_FILLS; fill++) {
            check_problem("narrow", 8, 2, 1, lengths[i], false, (enum fill)fill, FILL_MAXIMUM);
            check_problem("narrow", 8, 1, 2, lengths[i], true, FILL_MINIMUM, (enum fill)fill);
            check_problem("full", 3, 1, 3, lengths[i], true, (enum fill)fill, FILL_EXTREMES);
        }
}

/* Sums on the way may wrap around where the result fits: a bundle may not saturate. */
Test(kernels, dense_wraps_on_the_way)
{
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    for (size_t m = 1; m <= 7; m += 3) {
        struct problem p = make_problem("narrow", 8, m, 3, 65792, true, FILL_MAXIMUM, FILL_MAXIMUM);
        for (size_t n = 0; n < p.n; n++)
            p.init[n] = -1100000000;
        check_reference(&kernels[0], &p, &quantizers[1]);
        check_same(kernels, count, &p, &quantizers[1]);
        problem_finish(&p);
    }
}

/* A layer whose accumulators are chosen exactly: one input of level 1, one weight of level 0. */
static void levels_of(const struct ht_kernels *kernels, const int32_t *acc, const float *multiplier,
                      size_t n, const struct ht_kernel_quantizer *q, uint8_t *levels)
{
    uint8_t a = 1, *codes = calloc(n, 1);
    int16_t level[256] = {0};
    const struct ht_kernel_weights w = {n, 1, 8, codes, level, NULL, false};
    void *packed = malloc(kernels->packed_size(&w));
    kernels->pack(&w, packed);
    const struct ht_kernel_dense d = {.m = 1,
                                      .a = &a,
                                      .weights = &w,
                                      .packed = packed,
                                      .init = acc,
                                      .multiplier = multiplier,
                                      .levels = levels,
                                      .quantizer = q};
    kernels->dense(&d);
    free(packed);
    free(codes);
}

/* Written out by hand from docs/numerics.md: accumulator x 2^-1 (or 1) -> level. */
static const struct {
    struct ht_kernel_quantizer q;
    int32_t acc;
    float multiplier;
    int level;
} edges[] = {
    /* ties go to even, of both signs */
    {{-128, 127, 0, HT_KERNEL_NEAREST_EVEN}, 1, 0.5f, 0},
    {{-128, 127, 0, HT_KERNEL_NEAREST_EVEN}, 3, 0.5f, 2},
    {{-128, 127, 0, HT_KERNEL_NEAREST_EVEN}, 5, 0.5f, 2},
    {{-128, 127, 0, HT_KERNEL_NEAREST_EVEN}, -1, 0.5f, 0},
    {{-128, 127, 0, HT_KERNEL_NEAREST_EVEN}, -3, 0.5f, -2},
    {{-128, 127, 0, HT_KERNEL_NEAREST_EVEN}, -5, 0.5f, -2},
    /* the zero point is added after rounding: 0.5 -> 0 -> 1, not 1.5 -> 2 */
    {{-1, 254, 1, HT_KERNEL_NEAREST_EVEN}, 1, 0.5f, 1},
    {{-3, 12, 3, HT_KERNEL_NEAREST_EVEN}, -1, 0.5f, 3},
    {{-3, 12, 3, HT_KERNEL_NEAREST_EVEN}, 1, 0.5f, 3},
    /* saturation, also far outside int32 */
    {{-128, 127, 0, HT_KERNEL_NEAREST_EVEN}, INT32_MAX, 1e30f, 127},
    {{-128, 127, 0, HT_KERNEL_NEAREST_EVEN}, INT32_MIN, 1e30f, -128},
    {{0, 255, 0, HT_KERNEL_NEAREST_EVEN}, 511, 0.5f, 255},
    {{0, 255, 0, HT_KERNEL_NEAREST_EVEN}, -1, 1.0f, 0},
    {{0, 100, 50, HT_KERNEL_NEAREST_EVEN}, -7, 1.0f, 50},
    {{0, 100, 50, HT_KERNEL_NEAREST_EVEN}, 101, 1.0f, 150},
    /* fl32(acc): 2^24 + 1 is a tie between 2^24 and 2^24 + 2, 2^24 + 3 rounds to 2^24 + 4 */
    {{-128, 127, 0, HT_KERNEL_NEAREST_EVEN}, 16777217, 0x1p-20f, 16},
    {{-128, 127, 0, HT_KERNEL_FLOOR}, 16777219, 0x1p-18f, 64},
    /* fl32(product): the exact product, 2.5 + 2^-23, would round to 3; the float product is 2.5 */
    {{-128, 127, 0, HT_KERNEL_NEAREST_EVEN}, 16777215, 0x1.400002p-23f, 2},
    /* floor, of both signs */
    {{-8, 7, 0, HT_KERNEL_FLOOR}, -1, 0.5f, -1},
    {{-8, 7, 0, HT_KERNEL_FLOOR}, 3, 0.5f, 1},
    {{-8, 7, 0, HT_KERNEL_FLOOR}, -4, 0.5f, -2},
    {{-8, 7, 0, HT_KERNEL_FLOOR}, -100, 1.0f, -8},
    /* zero_free: the midpoints -2, 0, 2 go to the lower level */
    {{-3, 3, 0, HT_KERNEL_NEAREST_ODD}, 0, 1.0f, -1},
    {{-3, 3, 0, HT_KERNEL_NEAREST_ODD}, 2, 1.0f, 1},
    {{-3, 3, 0, HT_KERNEL_NEAREST_ODD}, -2, 1.0f, -3},
    {{-3, 3, 0, HT_KERNEL_NEAREST_ODD}, 1, 0.5f, 1},
    {{-3, 3, 0, HT_KERNEL_NEAREST_ODD}, 5, 0.5f, 3},
    {{-3, 3, 0, HT_KERNEL_NEAREST_ODD}, 99, 1.0f, 3},
    {{-3, 3, 0, HT_KERNEL_NEAREST_ODD}, -99, 1.0f, -3},
    {{-1, 1, 0, HT_KERNEL_NEAREST_ODD}, 0, 1.0f, -1},
    {{-1, 1, 0, HT_KERNEL_NEAREST_ODD}, 1, 0x1p-20f, 1},
};
#define N_EDGES (sizeof edges / sizeof edges[0])

Test(kernels, requantization_at_its_edges)
{
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    for (size_t i = 0; i < count; i++)
        for (size_t e = 0; e < N_EDGES; e++)
            for (size_t n = 1; n <= 70; n += 23) { /* vector bodies and tails */
                int32_t acc[70];
                float multiplier[70];
                uint8_t levels[70];
                for (size_t c = 0; c < n; c++) {
                    acc[c] = edges[e].acc;
                    multiplier[c] = edges[e].multiplier;
                }
                levels_of(&kernels[i], acc, multiplier, n, &edges[e].q, levels);
                for (size_t c = 0; c < n; c++)
                    cr_assert_eq(levels[c], (uint8_t)edges[e].level, "%s: edge %zu: %d, not %d",
                                 kernels[i].isa, e, levels[c], edges[e].level);
            }
}

Test(kernels, quantize_equals_the_definition)
{
    static const float scales[] = {1.0f, 0.5f, 0.1f, 1.0f / 255, 0.0173f, 3.0f, 1e-30f};
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    float x[257];
    for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++)
        for (size_t j = 0; j < N_QUANTIZERS; j++) {
            const struct ht_kernel_quantizer *q = &quantizers[j];
            for (size_t i = 0; i < 257; i++) /* exact halves, their neighbours, far values */
                x[i] = scales[s] * 0.5f * (float)between(2 * q->lo - 5, 2 * q->hi + 5);
            x[0] = 1e30f;
            x[1] = -1e30f;
            x[2] = -0.0f;
            x[3] = INFINITY;
            x[4] = -INFINITY;
            for (size_t i = 5; i < 100; i++)
                x[i] = x[i] == 0 ? FLT_MIN : nextafterf(x[i], below(2) ? INFINITY : -INFINITY);
            for (size_t k = 0; k < count; k++) {
                struct guarded levels = guarded_new(257);
                kernels[k].quantize(x, 257, scales[s], q, levels.data);
                for (size_t i = 0; i < 257; i++) {
                    /* a correctly rounded float quotient: double has over twice the bits */
                    const float u = (float)((double)x[i] / (double)scales[s]);
                    cr_assert_eq(levels.data[i], (uint8_t)naive_level(u, q), "%s %g / %g",
                                 kernels[k].isa, (double)x[i], (double)scales[s]);
                }
                guarded_finish(&levels, "quantize");
            }
        }
}

/* Any number: random bits, so also subnormal ones, infinities and NaN. */
static float any_float(void)
{
    const uint32_t bits = (uint32_t)below(1ull << 32);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* On or beside a midpoint (or a level) times the scale: where a product with the reciprocal and the
 * division differ. Some are just anything. */
static float edge(float scale, const struct ht_kernel_quantizer *q)
{
    if (below(16) == 0)
        return any_float();
    float x = scale * (0.5f * (float)between(2 * q->lo - 3, 2 * q->hi + 3));
    for (int steps = between(-3, 3); steps != 0; steps += steps < 0 ? 1 : -1)
        x = nextafterf(x, steps < 0 ? -INFINITY : INFINITY);
    return below(8) ? x : scale * (float)between(q->lo * 1000, q->hi * 1000) / 1000.0f;
}

static void check_quantize(const struct ht_kernels *c, const struct ht_kernels *other,
                           const float *x, size_t n, float scale,
                           const struct ht_kernel_quantizer *q)
{
    uint8_t expected[1000];
    struct guarded levels = guarded_new(n);
    c->quantize(x, n, scale, q, expected);
    other->quantize(x, n, scale, q, levels.data);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(levels.data[i], expected[i], "%s: %a / %a = %a: %d, not %d", other->isa,
                     (double)x[i], (double)scale, (double)(x[i] / scale), levels.data[i],
                     expected[i]);
    guarded_finish(&levels, other->isa);
}

Test(kernels, quantize_of_edges_at_every_scale)
{
    static const float special[] = {0x1p-149f, 0x1p-130f, 0x1p-128f, 0x1.000002p-128f,
                                    0x1p-127f, FLT_MIN,   0x1p126f,  0x1.000002p126f,
                                    0x1p127f,  FLT_MAX,   INFINITY,  NAN,
                                    0.0f,      -0.0f,     -1.0f,     0x1p-30f};
    enum { N_SPECIAL = sizeof special / sizeof special[0] };
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    float x[1000];
    for (size_t c = 0; c < 3000; c++) {
        const struct ht_kernel_quantizer *q = &quantizers[below(below(3) ? 4 : N_QUANTIZERS)];
        const size_t n = c % 3 ? (size_t)between(1, 300) : 1000;
        float scale = ldexpf(1.0f + (float)below(1u << 23) * 0x1p-23f, between(-30, 4));
        if (c % 5 == 0)
            scale = special[below(N_SPECIAL)];
        else if (c % 5 == 1)
            scale = any_float();
        /* Many blocks with one hard number each, and blocks full of them. */
        const uint64_t every = below(2) ? 1 : 60;
        for (size_t i = 0; i < n; i++)
            x[i] = below(every) ? 0.3f * scale : edge(scale, q);
        for (size_t k = 1; k < count; k++)
            check_quantize(&kernels[0], &kernels[k], x, n, scale, q);
    }
}

/* FBGEMM's example: a product with the reciprocal gives another level than the division. */
Test(kernels, quantize_divides)
{
    struct ht_kernels k;
    ht_kernels_init(&k, HT_ISA_ALL);
    const struct ht_kernel_quantizer q = {0, 255, 0, HT_KERNEL_NEAREST_EVEN};
    int differ = 0;
    for (int i = 0; i < 200000 && !differ; i++) {
        const float scale = 0.001f + (float)ht_rng_uniform(5, HT_RNG_TEST, (uint64_t)i);
        const float x = scale * ((float)between(0, 254) + 0.5f);
        const volatile float reciprocal = 1.0f / scale;
        uint8_t level;
        k.quantize(&x, 1, scale, &q, &level);
        cr_assert_eq(level, naive_level((float)((double)x / (double)scale), &q));
        differ = level != naive_level(x * reciprocal, &q);
    }
    cr_assert(differ, "no input told a division from a reciprocal: the test tests nothing");
}

Test(kernels, quantize_of_nan_is_a_level)
{
    struct ht_kernels k;
    ht_kernels_init(&k, HT_ISA_ALL);
    for (size_t j = 0; j < N_QUANTIZERS; j++) {
        const float x = NAN;
        uint8_t level;
        k.quantize(&x, 1, 1.0f, &quantizers[j], &level);
        cr_assert_eq(level, (uint8_t)(quantizers[j].lo + quantizers[j].zero_point));
    }
}

/* The table ends where the levels end, so that a sanitizer sees a read outside of it. */
static void check_lookup(const struct ht_kernels *k, bool sign, int lo, int hi, size_t n)
{
    int16_t *table = malloc((size_t)(hi - lo + 1) * sizeof *table);
    uint8_t *in = malloc(n);
    struct guarded out = guarded_new(n);
    for (int i = 0; i <= hi - lo; i++)
        table[i] = (int16_t)between(-128, 255);
    for (size_t i = 0; i < n; i++)
        in[i] = (uint8_t)between(lo, hi);
    k->lookup(in, sign, n, lo, table, out.data);
    for (size_t i = 0; i < n; i++) {
        const int level = sign && in[i] > 127 ? in[i] - 256 : in[i];
        cr_assert_eq(out.data[i], (uint8_t)table[level - lo], "%s %d..%d [%zu]", k->isa, lo, hi, i);
    }
    guarded_finish(&out, "lookup");
    free(table);
    free(in);
}

Test(kernels, lookup)
{
    static const size_t counts[] = {1, 38, 75, 299, 1023, 1024, 1025, 1151, 5000};
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    for (size_t k = 0; k < count; k++)
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            check_lookup(&kernels[k], true, -8, 7, counts[i]);
            check_lookup(&kernels[k], true, -128, 127, counts[i]);
            check_lookup(&kernels[k], true, -1, 100, counts[i]);
            check_lookup(&kernels[k], false, 0, 255, counts[i]);
            check_lookup(&kernels[k], false, 0, 1, counts[i]);
            check_lookup(&kernels[k], false, 17, 200, counts[i]);
        }
}

Test(kernels, packing_is_a_function_of_the_weights)
{
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    struct problem p = make_problem("narrow", 3, 1, 17, 33, false, FILL_UNIFORM, FILL_UNIFORM);
    for (size_t i = 0; i < count; i++) {
        const size_t size = kernels[i].packed_size(&p.weights);
        uint8_t *a = malloc(size), *b = malloc(size);
        memset(a, 0, size);
        memset(b, 0xff, size); /* no byte may be left as it was */
        kernels[i].pack(&p.weights, a);
        kernels[i].pack(&p.weights, b);
        cr_assert_eq(memcmp(a, b, size), 0, "%s", kernels[i].isa);
        free(a);
        free(b);
    }
    problem_finish(&p);
}

/* Packs rows in parts of `part` outputs, the last part first, over bytes that are not zero. */
static void check_pack_levels(const struct ht_kernels *k, const struct ht_kernel_weights *w,
                              size_t part)
{
    const int8_t *levels = (const int8_t *)w->codes;
    const size_t size = k->packed_size(w), parts = (w->n + part - 1) / part;
    struct guarded expected = guarded_new(size), packed = guarded_new(size);
    struct guarded sums = guarded_new(w->n * sizeof(int32_t));
    const struct ht_kernel_weights shape = {w->n, w->k, 8, NULL, w->level, NULL, false};
    k->pack(w, expected.data);
    for (size_t i = parts; i-- > 0;) {
        const size_t row = i * part, rows = w->n - row < part ? w->n - row : part;
        k->pack_levels(&shape, row, rows, levels + row * w->k, packed.data,
                       (int32_t *)sums.data + row);
    }
    cr_assert_eq(memcmp(packed.data, expected.data, size), 0, "%s: n%zu k%zu in parts of %zu",
                 k->isa, w->n, w->k, part);
    for (size_t n = 0; n < w->n; n++) {
        int32_t sum = 0;
        for (size_t i = 0; i < w->k; i++)
            sum += levels[n * w->k + i];
        cr_assert_eq(((int32_t *)sums.data)[n], sum, "%s: n%zu k%zu", k->isa, n, w->k);
    }
    guarded_finish(&expected, "pack");
    guarded_finish(&packed, "pack_levels");
    guarded_finish(&sums, "sums");
}

Test(kernels, pack_levels_makes_the_bytes_of_pack)
{
    static const size_t ns[] = {1, 7, 8, 10, 16, 17, 128, 129, 256, 300};
    static const size_t ks[] = {1, 3, 4, 15, 16, 17, 31, 64, 100, 257, 784};
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    for (size_t i = 0; i < sizeof ns / sizeof ns[0]; i++)
        for (size_t j = 0; j < sizeof ks / sizeof ks[0]; j++) {
            int16_t level[256];
            uint8_t *codes = malloc(ns[i] * ks[j]); /* exact, for the sanitizer */
            const struct ht_kernel_weights w = {ns[i], ks[j], 8, codes, level, NULL, false};
            for (int c = 0; c < 256; c++)
                level[c] = (int8_t)c;
            for (size_t c = 0; c < ns[i] * ks[j]; c++)
                codes[c] = (uint8_t)pick((enum fill)(j % N_FILLS), -127, 127);
            for (size_t k = 0; k < count; k++) {
                check_pack_levels(&kernels[k], &w, ns[i]);
                check_pack_levels(&kernels[k], &w, HT_KERNEL_COLUMN_STEP);
                check_pack_levels(&kernels[k], &w, (size_t)2 * HT_KERNEL_COLUMN_STEP);
            }
            free(codes);
        }
}

static void set_output(struct ht_kernel_dense *d, int output, void *to)
{
    d->acc = output == 0 ? to : NULL;
    d->real = output == 1 ? to : NULL;
    d->levels = output == 2 ? to : NULL;
}

/* Ranges of outputs, computed one after the other in any order, are the whole. Before each, all
 * bytes are a canary: no range may write into another. */
static void check_columns(const struct ht_kernels *k, const struct problem *p, int output)
{
    static const struct ht_kernel_quantizer q = {-128, 127, 0, HT_KERNEL_NEAREST_EVEN};
    const size_t width = output == 2 ? 1 : 4, size = p->m * p->n * width;
    struct guarded packed = guarded_new(k->packed_size(&p->weights));
    struct guarded whole = guarded_new(size), part = guarded_new(size);
    struct ht_kernel_dense d = {.m = p->m,
                                .a = p->a,
                                .a_signed = p->a_signed,
                                .weights = &p->weights,
                                .packed = packed.data,
                                .init = p->init,
                                .multiplier = p->multiplier,
                                .quantizer = &q};
    k->pack(&p->weights, packed.data);
    set_output(&d, output, whole.data);
    k->dense(&d);
    const size_t step = HT_KERNEL_COLUMN_STEP;
    for (size_t column = 0; column < p->n;) {
        const size_t steps = 1 + (size_t)below(2), left = p->n - column;
        const bool to_the_end = left <= steps * step;
        const size_t columns = to_the_end ? left : steps * step;
        d.column = column;
        d.columns = to_the_end && below(2) ? 0 : columns; /* 0: all from here on */
        set_output(&d, output, part.data);
        memset(part.data, CANARY, size);
        k->dense(&d);
        for (size_t i = 0; i < size; i++) {
            const size_t n = i / width % p->n;
            const bool asked = n >= column && n < column + columns;
            cr_assert_eq(part.data[i], asked ? whole.data[i] : CANARY,
                         "%s: %s %d m%zu n%zu k%zu, outputs %zu.. %zu: %zu", k->isa, p->grid.name,
                         p->grid.bits, p->m, p->n, p->k, column, columns, n);
        }
        column += columns;
    }
    guarded_finish(&packed, "pack");
    guarded_finish(&whole, k->isa);
    guarded_finish(&part, k->isa);
}

Test(kernels, ranges_of_outputs_are_the_whole)
{
    static const size_t ns[] = {100, 128, 129, 255, 256, 300, 500}, ms[] = {1, 3, 7, 30};
    static const struct {
        const char *name;
        int bits;
    } grids[] = {{"narrow", 8}, {"affine", 8}, {"full", 4},
                 {"affine", 2}, {"binary", 1}, {"affine", 3}};
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    for (size_t g = 0; g < 6; g++)
        for (size_t i = 0; i < sizeof ns / sizeof ns[0]; i++)
            for (size_t j = 0; j < sizeof ms / sizeof ms[0]; j++) {
                struct problem p =
                    make_problem(grids[g].name, grids[g].bits, ms[j], ns[i], (size_t)between(1, 70),
                                 below(2), FILL_UNIFORM, FILL_UNIFORM);
                for (size_t k = 0; k < count; k++)
                    check_columns(&kernels[k], &p, (int)below(3));
                problem_finish(&p);
            }
}

/* Activations and weights of -1 and +1: bundles may count signs. All differ, none differs, random;
 * whichever code stands for -1; ranges too. */
Test(kernels, dense_of_signs)
{
    static const size_t ks[] = {1,   7,   8,   63,   64,   65,   127,   128,
                                129, 255, 784, 3967, 3968, 3969, 65536, 65537};
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    for (size_t c = 0; c < sizeof ks / sizeof ks[0] * 9; c++) {
        const size_t k = ks[c / 9], m = 1 + c % 3, n = (size_t)between(1, k > 300 ? 5 : 300);
        const enum fill fill = c / 3 % 3 == 0 ? FILL_UNIFORM : FILL_MAXIMUM;
        struct problem p = make_problem("binary", 1, m, n, k, true, fill, fill);
        for (size_t i = 0; i < m * k; i++)
            p.a[i] = (int8_t)p.a[i] < 0 || c / 3 % 3 == 1 ? 0xff : 1;
        if (below(2)) {
            p.level[0] = 1;
            p.level[1] = -1;
        }
        for (size_t i = 0; i < n * k; i++)
            p.w[i] *= p.level[1];
        p.weights.a_binary = true;
        check_reference(&kernels[0], &p, &quantizers[1]);
        check_same(kernels, count, &p, &quantizers[1]);
        for (size_t i = 1; i < count; i++)
            check_columns(&kernels[i], &p, (int)below(3));
        problem_finish(&p);
    }
}

Test(kernels, isa_mask)
{
    unsigned mask = 99;
    cr_assert_not(ht_kernels_isa_mask("sse17", &mask));
    cr_assert_eq(mask, 99u);
    cr_assert(ht_kernels_isa_mask(NULL, &mask));
    cr_assert_eq(mask, HT_ISA_ALL);
    cr_assert(ht_kernels_isa_mask("c", &mask));
    cr_assert_eq(mask, (unsigned)HT_ISA_C);
    struct ht_kernels k;
    ht_kernels_init(&k, mask);
    cr_assert_str_eq(k.isa, "c");
    ht_kernels_init(&k, 0);
    cr_assert_str_eq(k.isa, "c", "the reference is always there");
}
