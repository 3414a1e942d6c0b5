/* What the other kernel tests leave out: ranges of outputs, levels packed in parts, and products of
 * signs. Every bundle against the C reference by memcmp, with canaries. */
#include "support.h"

#include "base/rng.h"
#include "kernels/kernels.h"

#define CANARY 0xA5
#define GUARD  64

static uint64_t draws;

static uint64_t below(uint64_t n)
{
    return ht_rng_below(12, HT_RNG_TEST, draws++, n);
}

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

static void guarded_finish(struct guarded *g)
{
    for (size_t i = 0; i < GUARD; i++)
        cr_assert(g->block[i] == CANARY && g->data[g->size + i] == CANARY, "wrote outside");
    free(g->block);
}

static size_t all_kernels(struct ht_kernels ret[33])
{
    size_t count = 1;
    unsigned mask = HT_ISA_C;
    ht_kernels_init(&ret[0], HT_ISA_C);
    for (unsigned bit = 1; bit < 32; bit++) {
        mask |= 1u << bit;
        ht_kernels_init(&ret[count], mask);
        count += strcmp(ret[count].isa, ret[count - 1].isa) != 0;
    }
    return count;
}

struct layer {
    struct ht_kernel_weights weights;
    size_t m;
    uint8_t *a, *codes;
    int16_t level[256];
    int32_t *init, *zero_point;
    float *multiplier;
};

static uint8_t *random_bytes(size_t n)
{
    uint8_t *bytes = malloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)below(256);
    return bytes;
}

/* Levels are the codes as two's complement, or -1 and +1 for one bit. */
static struct layer make_layer(size_t m, size_t n, size_t k, int bits, bool a_binary, bool affine)
{
    struct layer l = {.m = m, .a = random_bytes(m * k)};
    l.codes = random_bytes((n * k * (size_t)bits + 7) / 8);
    for (int code = 0; code < 1 << bits; code++)
        l.level[code] = (int16_t)(code - (code >= 1 << (bits - 1) ? 1 << bits : 0));
    if (bits == 1) {
        l.level[0] = -1;
        l.level[1] = 1;
    }
    for (size_t i = 0; a_binary && i < m * k; i++)
        l.a[i] = l.a[i] & 1 ? 1 : 0xff;
    l.init = malloc(n * sizeof *l.init);
    l.multiplier = malloc(n * sizeof *l.multiplier);
    l.zero_point = affine ? malloc(n * sizeof *l.zero_point) : NULL;
    for (size_t i = 0; i < n; i++) {
        l.init[i] = (int32_t)below(100000) - 50000;
        l.multiplier[i] = 0.001f * (float)(1 + below(100));
        if (affine)
            l.zero_point[i] = (int32_t)below(1u << bits);
    }
    l.weights = (struct ht_kernel_weights){n, k, bits, l.codes, NULL, l.zero_point, a_binary};
    return l;
}

static void layer_finish(struct layer *l)
{
    free(l->a);
    free(l->codes);
    free(l->init);
    free(l->zero_point);
    free(l->multiplier);
}

/* Output number 0, 1, 2: acc, real, levels. */
static void run(const struct ht_kernels *k, struct layer *l, const void *packed, bool a_signed,
                int output, size_t column, size_t columns, void *to)
{
    static const struct ht_kernel_quantizer q = {-100, 100, 3, HT_KERNEL_NEAREST_EVEN};
    l->weights.level = l->level;
    const struct ht_kernel_dense d = {
        .m = l->m,
        .a = l->a,
        .a_signed = a_signed,
        .weights = &l->weights,
        .packed = packed,
        .column = column,
        .columns = columns,
        .init = l->init,
        .multiplier = l->multiplier,
        .acc = output == 0 ? to : NULL,
        .real = output == 1 ? to : NULL,
        .levels = output == 2 ? to : NULL,
        .quantizer = &q,
    };
    k->dense(&d);
}

/* All outputs by the C reference; then all, and range after range, by each other bundle. What lies
 * outside of a range must stay as it was. */
static void check_layer(struct layer *l, bool a_signed)
{
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels), n = l->weights.n;
    l->weights.level = l->level;
    for (size_t i = 0; i < count; i++) {
        struct guarded c_packed = guarded_new(kernels[0].packed_size(&l->weights));
        struct guarded packed = guarded_new(kernels[i].packed_size(&l->weights));
        kernels[0].pack(&l->weights, c_packed.data);
        kernels[i].pack(&l->weights, packed.data);
        for (int output = 0; output < 3; output++) {
            const size_t size = output == 2 ? 1 : 4;
            struct guarded want = guarded_new(l->m * n * size), got = guarded_new(l->m * n * size);
            run(&kernels[0], l, c_packed.data, a_signed, output, 0, 0, want.data);
            run(&kernels[i], l, packed.data, a_signed, output, 0, 0, got.data);
            cr_assert_eq(memcmp(want.data, got.data, want.size), 0, "%s %d bits m %zu n %zu k %zu",
                         kernels[i].isa, l->weights.bits, l->m, n, l->weights.k);
            memset(got.data, CANARY, got.size);
            for (size_t column = 0; column < n;) {
                const size_t left = n - column;
                size_t columns = (1 + below(2)) * HT_KERNEL_COLUMN_STEP;
                columns = columns > left ? left : columns;
                run(&kernels[i], l, packed.data, a_signed, output, column, columns, got.data);
                for (size_t row = 0; row < l->m; row++) {
                    const uint8_t *at = got.data + row * n * size;
                    for (size_t b = (column + columns) * size; b < n * size; b++)
                        cr_assert_eq(at[b], CANARY, "%s wrote after its range", kernels[i].isa);
                }
                column += columns;
            }
            cr_assert_eq(memcmp(want.data, got.data, want.size), 0, "%s %d bits m %zu n %zu k %zu",
                         kernels[i].isa, l->weights.bits, l->m, n, l->weights.k);
            guarded_finish(&want);
            guarded_finish(&got);
        }
        guarded_finish(&packed);
        guarded_finish(&c_packed);
    }
}

Test(members, ranges_of_outputs)
{
    static const size_t ns[] = {1, 127, 128, 129, 255, 256, 300, 400};
    for (size_t i = 0; i < 8; i++)
        for (int bits = 1; bits <= 8; bits++)
            for (size_t m = 1; m <= 7; m += 3) {
                struct layer l = make_layer(m, ns[i], 1 + below(70), bits, false, below(2));
                check_layer(&l, below(2));
                layer_finish(&l);
            }
}

Test(members, products_of_signs)
{
    static const size_t ks[] = {1,   7,   8,    63,   64,   127,   128,   129,
                                255, 784, 3967, 3968, 3969, 65535, 65536, 65537};
    for (size_t i = 0; i < 16; i++)
        for (size_t m = 1; m <= 3; m++)
            for (int fill = 0; fill < 3; fill++) { /* random, all differ, none differs */
                struct layer l =
                    make_layer(m, ks[i] > 4000 ? 5 : 1 + below(300), ks[i], 1, true, false);
                if (fill) {
                    memset(l.a, 1, m * ks[i]);
                    memset(l.codes, fill == 1 ? 0 : 0xff, (l.weights.n * ks[i] + 7) / 8);
                }
                if (below(2)) { /* the other order of levels */
                    l.level[0] = 1;
                    l.level[1] = -1;
                }
                check_layer(&l, true);
                layer_finish(&l);
            }
}

/* Packed in parts and in any order, it has the bytes of what pack makes. */
Test(members, levels_packed_in_parts)
{
    static const size_t ns[] = {1, 3, 4, 17, 127, 128, 130, 256, 390};
    static const size_t ks[] = {1, 3, 4, 5, 15, 16, 17, 33, 100, 784};
    struct ht_kernels kernels[33];
    const size_t count = all_kernels(kernels);
    for (size_t i = 0; i < 9; i++)
        for (size_t j = 0; j < 10; j++) {
            const size_t n = ns[i], k = ks[j];
            struct layer l = make_layer(1, n, k, 8, false, false);
            l.weights.level = l.level;
            for (size_t b = 0; b < n * k; b++)
                l.codes[b] = l.codes[b] == 0x80 ? 0x81 : l.codes[b];
            struct ht_kernel_weights no_codes = l.weights;
            no_codes.codes = NULL;
            for (size_t x = 0; x < count; x++) {
                const size_t size = kernels[x].packed_size(&l.weights);
                struct guarded want = guarded_new(size), got = guarded_new(size);
                struct guarded sums = guarded_new(n * sizeof(int32_t));
                kernels[x].pack(&l.weights, want.data);
                for (size_t end = n; end;) {
                    const size_t row = (end - 1) / HT_KERNEL_COLUMN_STEP * HT_KERNEL_COLUMN_STEP;
                    kernels[x].pack_levels(&no_codes, row, end - row,
                                           (const int8_t *)l.codes + row * k, got.data,
                                           (int32_t *)(void *)sums.data + row);
                    end = row;
                }
                cr_assert_eq(memcmp(want.data, got.data, size), 0, "%s n %zu k %zu", kernels[x].isa,
                             n, k);
                for (size_t row = 0; row < n; row++) {
                    int32_t sum = 0;
                    for (size_t b = 0; b < k; b++)
                        sum += (int8_t)l.codes[row * k + b];
                    cr_assert_eq(sum, ((int32_t *)(void *)sums.data)[row], "%s", kernels[x].isa);
                }
                guarded_finish(&want);
                guarded_finish(&got);
                guarded_finish(&sums);
            }
            layer_finish(&l);
        }
}
