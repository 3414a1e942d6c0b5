#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "cli/bench.h"

static const struct ht_column columns[] = {
    {.key = "isa", .kind = HT_COLUMN_TEXT},
    {.key = "bits", .kind = HT_COLUMN_INTEGER},   /* of weights */
    {.key = "a_bits", .kind = HT_COLUMN_INTEGER}, /* of activations: 8, or 1: -1 and +1 */
    {.key = "m", .kind = HT_COLUMN_INTEGER},
    {.key = "n", .kind = HT_COLUMN_INTEGER},
    {.key = "k", .kind = HT_COLUMN_INTEGER},
    {.key = "output", .kind = HT_COLUMN_TEXT}, /* acc: int32 sums, levels: requantized bytes */
    {.key = "gmac_per_s", .title = "GMAC/s", .kind = HT_COLUMN_REAL, .digits = 1},
    {.key = "peak_gmac_per_s", .kind = HT_COLUMN_REAL, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "peak_fraction", .title = "of peak", .kind = HT_COLUMN_PERCENT, .digits = 1},
    /* Against the row of 8 bits with the same isa, m, n, k and output. */
    {.key = "times_8_bits", .title = "x 8 bits", .kind = HT_COLUMN_REAL, .digits = 2},
    /* One row of activations reads each weight once: bytes of packed weights a second against a
     * loop that only reads them, for weights beyond the inner caches. */
    {.key = "read_fraction", .title = "of reading", .kind = HT_COLUMN_PERCENT, .digits = 1},
    {.key = "checked", .kind = HT_COLUMN_BOOL},
};

static const struct shape {
    size_t m, n, k;
} shapes[] = {
    {1, 256, 784},   {1, 256, 256},   {1, 1024, 1024},   {1, 4096, 4096}, {1, 8192, 16384},
    {64, 256, 784},  {64, 256, 256},  {64, 1024, 1024},  {64, 784, 784},  {64, 1024, 256},
    {256, 256, 784}, {256, 256, 256}, {256, 1024, 1024},
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

/* 8 bits first: the base of ratios. */
static const struct width {
    int bits, a_bits;
} widths[] = {{8, 8}, {4, 8}, {2, 8}, {1, 8}, {1, 1}};
#define N_WIDTHS (sizeof widths / sizeof *widths)

enum output { OUTPUT_ACC, OUTPUT_LEVELS, N_OUTPUTS };
static const char *const output_names[N_OUTPUTS] = {"acc", "levels"};

#define READ_MIN ((size_t)4 << 20) /* bytes: plain C reads inner caches slower than vectors do */

/* GMAC/s of 8 bits, by bundle and output: rates[kernels - first][output]. */
typedef double base_rates[HT_BENCH_MAX_KERNELS][N_OUTPUTS];

/* A layer with random weights and activations, and what the reference makes of it. */
struct problem {
    size_t m;
    uint8_t *a, *codes;
    int16_t level[256];
    int32_t *init;
    float *multiplier;
    struct ht_kernel_weights weights;
    void *expected[N_OUTPUTS];
};

/* One bundle at work on it. */
struct attempt {
    const struct ht_kernels *kernels;
    struct ht_kernel_dense dense;
};

static const struct ht_kernel_quantizer quantizer = {0, 255, 0, HT_KERNEL_NEAREST_EVEN};

static void call_dense(void *user)
{
    const struct attempt *a = user;
    a->kernels->dense(&a->dense);
}

/* Memory that is only read, 8 words of each line. */
struct reading {
    const uint64_t *words;
    size_t n;
    uint64_t sum;
};

static void call_read(void *user)
{
    struct reading *r = user;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i + 8 <= r->n; i += 8)
        for (size_t j = 0; j < 8; j++)
            sum[j] += r->words[i + j];
    for (size_t j = 0; j < 8; j++)
        r->sum += sum[j];
}

static size_t output_bytes(const struct problem *p, enum output output)
{
    return p->m * p->weights.n * (output == OUTPUT_ACC ? sizeof(int32_t) : 1);
}

static struct attempt make_attempt(const struct problem *p, const struct ht_kernels *kernels,
                                   const void *packed, enum output output, void *to)
{
    struct attempt a = {kernels,
                        {.m = p->m,
                         .a = p->a,
                         .a_signed = p->weights.a_binary,
                         .weights = &p->weights,
                         .packed = packed,
                         .init = p->init,
                         .multiplier = p->multiplier}};
    if (output == OUTPUT_ACC) {
        a.dense.acc = to;
    } else {
        a.dense.levels = to;
        a.dense.quantizer = &quantizer;
    }
    return a;
}

static void problem_finish(struct problem *p)
{
    ht_free(p->a);
    ht_free(p->codes);
    ht_free(p->init);
    ht_free(p->multiplier);
    for (int i = 0; i < N_OUTPUTS; i++)
        ht_free(p->expected[i]);
}

static void fill_random(uint8_t *to, size_t n, uint64_t stream)
{
    for (size_t i = 0; i < n; i += 16) {
        const struct ht_rng_block r = ht_rng_block(1, stream, i);
        memcpy(to + i, r.v, n - i < 16 ? n - i : 16);
    }
}

/* The levels of grid full, and binary at one bit; sums spread over the range of the quantizer. */
static void fill_problem(struct problem *p)
{
    const int bits = p->weights.bits, count = 1 << bits;
    for (int code = 0; code < count; code++)
        p->level[code] = (int16_t)(bits == 1          ? 2 * code - 1
                                   : code < count / 2 ? code
                                                      : code - count);
    fill_random(p->a, p->m * p->weights.k, 1);
    for (size_t i = 0; p->weights.a_binary && i < p->m * p->weights.k; i++)
        p->a[i] = p->a[i] % 2 ? 1 : 0xff; /* -1 */
    fill_random(p->codes, p->weights.n * p->weights.k * (size_t)bits / 8, 2);
    for (size_t n = 0; n < p->weights.n; n++) {
        p->init[n] = (int32_t)n * 100;
        p->multiplier[n] = 1.0f / (float)(50 * count) / (float)(n + 1);
    }
}

static enum ht_status reference_outputs(struct problem *p, struct ht_error *err)
{
    struct ht_kernels c;
    ht_kernels_init(&c, HT_ISA_C);
    void *packed = ht_calloc(c.packed_size(&p->weights), 1);
    bool made = packed != NULL;
    for (int i = 0; i < N_OUTPUTS; i++) {
        p->expected[i] = ht_calloc(output_bytes(p, (enum output)i), 1);
        made = made && p->expected[i];
    }
    if (made) {
        c.pack(&p->weights, packed);
        for (int i = 0; i < N_OUTPUTS; i++) {
            struct attempt a = make_attempt(p, &c, packed, (enum output)i, p->expected[i]);
            call_dense(&a);
        }
    }
    ht_free(packed);
    return made ? HT_OK : ht_fail_memory(err);
}

static enum ht_status problem_init(struct problem *p, const struct shape *shape,
                                   const struct width *width, struct ht_error *err)
{
    const size_t m = shape->m, n = shape->n, k = shape->k;
    const int bits = width->bits;
    memset(p, 0, sizeof *p);
    p->m = m;
    p->a = ht_calloc(m * k, 1);
    p->codes = ht_calloc(n * k * (size_t)bits / 8, 1);
    p->init = ht_calloc(n, sizeof *p->init);
    p->multiplier = ht_calloc(n, sizeof *p->multiplier);
    p->weights =
        (struct ht_kernel_weights){n, k, bits, p->codes, p->level, NULL, width->a_bits == 1};
    if (!p->a || !p->codes || !p->init || !p->multiplier)
        return ht_fail_memory(err);
    fill_problem(p);
    return reference_outputs(p, err);
}

static double products_of(const struct problem *p)
{
    return (double)p->m * (double)p->weights.n * (double)p->weights.k;
}

/* rate: of the kernels' 8 bits; set when this is it. */
static void add_row(struct ht_table *t, const struct problem *p, const struct ht_kernels *kernels,
                    enum output output, const struct ht_bench_time *time, double *rate)
{
    const double gmac_per_s = products_of(p) / time->seconds * 1e-9;
    if (p->weights.bits == 8)
        *rate = gmac_per_s;
    ht_table_add_row(t);
    ht_table_set_text(t, "isa", kernels->isa);
    ht_table_set_integer(t, "bits", p->weights.bits);
    ht_table_set_integer(t, "a_bits", p->weights.a_binary ? 1 : 8);
    ht_table_set_integer(t, "m", (int64_t)p->m);
    ht_table_set_integer(t, "n", (int64_t)p->weights.n);
    ht_table_set_integer(t, "k", (int64_t)p->weights.k);
    ht_table_set_text(t, "output", output_names[output]);
    ht_table_set_real(t, "gmac_per_s", gmac_per_s);
    ht_table_set_real(t, "times_8_bits", gmac_per_s / *rate);
    if (kernels->peak) {
        ht_table_set_real(t, "peak_gmac_per_s", time->peak_per_s * 1e-9);
        ht_table_set_real(t, "peak_fraction", time->peak_fraction);
    }
}

/* Seconds to read the packed weights and nothing else. */
static double seconds_to_read(const void *packed, size_t size, const struct ht_kernels *kernels,
                              const struct ht_cli *cli)
{
    struct reading r = {packed, size / sizeof(uint64_t), 0};
    struct ht_kernels no_peak = *kernels;
    no_peak.peak = NULL;
    return ht_bench_measure(call_read, &r, 0, &no_peak, cli).seconds;
}

/* One bundle on one problem, all outputs. *differ counts wrong ones. */
static enum ht_status measure(const struct ht_cli *cli, struct ht_table *t, struct problem *p,
                              const struct ht_kernels *kernels, double *rates, int *differ,
                              struct ht_error *err)
{
    const size_t size = kernels->packed_size(&p->weights);
    void *packed = ht_calloc(size, 1);
    void *to = ht_calloc(output_bytes(p, OUTPUT_ACC), 1);
    if (packed && to)
        kernels->pack(&p->weights, packed);
    for (int i = 0; packed && to && i < N_OUTPUTS; i++) {
        struct attempt a = make_attempt(p, kernels, packed, (enum output)i, to);
        const struct ht_bench_time time =
            ht_bench_measure(call_dense, &a, products_of(p), kernels, cli);
        add_row(t, p, kernels, (enum output)i, &time, &rates[i]);
        if (!kernels->peak)
            continue; /* the reference itself */
        const bool same = memcmp(to, p->expected[i], output_bytes(p, (enum output)i)) == 0;
        *differ += !same;
        ht_table_set_bool(t, "checked", same);
        if (p->m == 1 && size >= READ_MIN)
            ht_table_set_real(t, "read_fraction",
                              seconds_to_read(packed, size, kernels, cli) / time.seconds);
    }
    const enum ht_status status = packed && to ? HT_OK : ht_fail_memory(err);
    ht_free(packed);
    ht_free(to);
    return status;
}

static enum ht_status measure_all(const struct ht_cli *cli, struct ht_table *t, int *differ,
                                  struct ht_error *err)
{
    struct ht_kernels kernels[HT_BENCH_MAX_KERNELS];
    base_rates rates;
    size_t n;
    enum ht_status status = ht_bench_kernels(kernels, &n, err);
    for (size_t i = 0; i < N_SHAPES * N_WIDTHS && status == HT_OK && !*cli->stop; i++) {
        struct problem p;
        status = problem_init(&p, &shapes[i / N_WIDTHS], &widths[i % N_WIDTHS], err);
        for (size_t k = n; status == HT_OK && k-- > 0;) /* the fastest first */
            status = measure(cli, t, &p, &kernels[k], rates[k], differ, err);
        problem_finish(&p);
    }
    return status;
}

enum ht_status ht_bench_run_kernels(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_table *t;
    int differ = 0;
    enum ht_status status = ht_table_create(&t, columns, sizeof columns / sizeof *columns, err);
    if (status != HT_OK)
        return status;
    status = measure_all(cli, t, &differ, err);
    if (status == HT_OK)
        status = ht_bench_stopped(cli, err);
    if (status == HT_OK)
        status = ht_table_write(t, cli->format, stdout, err);
    if (status == HT_OK && differ)
        status = ht_fail(err, HT_ERR_THRESHOLD, "%d results differ from the C reference", differ);
    ht_table_destroy(t);
    return status;
}
