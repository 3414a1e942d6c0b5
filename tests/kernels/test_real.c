/* Kernels of real activations against naive sums in the order of docs/numerics.md, section 11: the
 * same bits in every instruction set, for every width, shape and division. */
#include "support.h"

#include "base/rng.h"
#include "kernels/kernels.h"

#define MOST_K 1100
#define MOST_N 300
#define MOST_M 9

static uint64_t draws;

static uint64_t below(uint64_t n)
{
    return ht_rng_below(21, HT_RNG_TEST, draws++, n);
}

struct problem {
    size_t m, n, k;
    int16_t level[256];
    int32_t *zero_point;
    uint8_t *codes;
    float *x, *w; /* [m, k], [n, k] */
    struct ht_kernel_weights weights;
};

/* float16, read by its definition. */
static float half(unsigned bits)
{
    const int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 1023);
    double v = exponent ? 1 + fraction / 1024.0 : fraction / 1024.0;
    for (int e = exponent ? exponent : 1; e < 15; e++)
        v /= 2;
    for (int e = 15; e < exponent; e++)
        v *= 2;
    return (float)(bits & 0x8000 ? -v : v);
}

static struct problem make(int bits, bool zero_points, size_t m, size_t n, size_t k)
{
    struct problem p = {.m = m, .n = n, .k = k};
    const size_t bytes = (n * k * (size_t)bits + 7) / 8;
    p.codes = calloc(bytes, 1);
    p.x = malloc(m * k * sizeof *p.x);
    p.w = malloc(n * k * sizeof *p.w);
    p.zero_point = zero_points ? malloc(n * sizeof *p.zero_point) : NULL;
    for (size_t j = 0; zero_points && j < n; j++)
        p.zero_point[j] = (int32_t)below(256);
    for (int code = 0; code < 256; code++)
        p.level[code] = (int16_t)(zero_points ? code : (int)below(255) - 127);
    for (size_t i = 0; i < m * k; i++) /* magnitudes that round, some zeros of both signs */
        p.x[i] = below(9) ? ((float)below(1 << 24) - 8388608.0f) / (float)(1 << below(26))
                          : (below(2) ? 0.0f : -0.0f);
    for (size_t i = 0; i < n * k; i++) {
        unsigned code = (unsigned)below(1u << bits);
        if (bits == 16 && (code & 0x7c00) == 0x7c00)
            code &= 0x83ff; /* no infinity: a subnormal number */
        for (int b = 0; b < bits; b++) {
            const size_t bit = i * (size_t)bits + (size_t)b;
            p.codes[bit / 8] |= (uint8_t)((code >> b & 1) << bit % 8);
        }
        p.w[i] = bits == 16 ? half(code)
                            : (float)(p.level[code] - (zero_points ? p.zero_point[i / k] : 0));
    }
    return p;
}

static void unmake(struct problem *p)
{
    free(p->codes);
    free(p->x);
    free(p->w);
    free(p->zero_point);
}

static float naive(const float *x, const float *w, size_t k)
{
    float total = 0;
    for (size_t at = 0; at < k; at += 512) {
        float lane[16] = {0};
        for (size_t i = at; i < k && i < at + 512; i++) {
            const float product = x[i] * w[i];
            lane[i % 16] = lane[i % 16] + product;
        }
        for (int width = 8; width > 0; width /= 2)
            for (int j = 0; j < width; j++)
                lane[j] = lane[j] + lane[j + width];
        total = total + lane[0];
    }
    return total;
}

/* Whole, and in parts of outputs. */
static void check(const struct ht_kernels *k, struct problem *p, int bits)
{
    const size_t steps[] = {0, HT_KERNEL_COLUMN_STEP};
    p->weights = (struct ht_kernel_weights){.n = p->n,
                                            .k = p->k,
                                            .bits = bits,
                                            .codes = p->codes,
                                            .level = p->level,
                                            .zero_point = p->zero_point};
    const size_t bytes = k->packed_real_size(&p->weights);
    void *packed = malloc(bytes); /* exact: a sanitizer sees one byte too many */
    float *sum = malloc(p->m * p->n * sizeof *sum);
    k->pack_real(&p->weights, packed);
    for (int s = 0; s < 2; s++) {
        memset(sum, 0xaa, p->m * p->n * sizeof *sum);
        for (size_t at = 0; at < p->n; at += steps[s] ? steps[s] : p->n) {
            struct ht_kernel_real d = {p->m, p->x, &p->weights, packed, at, steps[s], sum};
            if (d.columns > p->n - at)
                d.columns = p->n - at;
            k->real(&d);
        }
        for (size_t i = 0; i < p->m * p->n; i++) {
            const float expected = naive(p->x + i / p->n * p->k, p->w + i % p->n * p->k, p->k);
            cr_assert_eq(memcmp(&expected, &sum[i], sizeof expected), 0,
                         "%s, %d bits%s, %zu x %zu x %zu, output %zu: %.9g, not %.9g", k->isa, bits,
                         p->zero_point ? " with zero points" : "", p->m, p->n, p->k, i,
                         (double)sum[i], (double)expected);
        }
    }
    free(packed);
    free(sum);
}

Test(real, naive_sums_on_every_instruction_set)
{
    static const char *const isas[] = {"c", "avx2", "avx512vnni", NULL};
    static const int widths[] = {1, 2, 3, 4, 5, 6, 7, 8, 16};
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        unsigned mask;
        struct ht_kernels k;
        if (!ht_kernels_isa_mask(isas[i], &mask))
            continue; /* of another architecture */
        ht_kernels_init(&k, mask);
        for (size_t b = 0; b < 9; b++)
            for (int kind = 0; kind < 12; kind++) {
                const bool large = kind == 11;
                const size_t m = 1 + (size_t)below(MOST_M),
                             n = 1 + (size_t)below(large ? MOST_N : 12);
                const size_t length = kind % 4 == 0   ? 1 + (size_t)below(80)
                                      : kind % 4 == 1 ? 504 + (size_t)below(20)
                                                      : 1 + (size_t)below(large ? 70 : MOST_K);
                struct problem p = make(widths[b], widths[b] < 16 && kind % 3 == 2, m, n, length);
                check(&k, &p, widths[b]);
                unmake(&p);
            }
    }
}
