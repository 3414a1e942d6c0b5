#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "cli/bench.h"

static const struct ht_column columns[] = {
    {.key = "isa", .kind = HT_COLUMN_TEXT},
    {.key = "bits", .kind = HT_COLUMN_INTEGER},
    {.key = "m", .kind = HT_COLUMN_INTEGER},
    {.key = "n", .kind = HT_COLUMN_INTEGER},
    {.key = "k", .kind = HT_COLUMN_INTEGER},
    {.key = "output", .kind = HT_COLUMN_TEXT}, /* acc: int32 sums, levels: requantized bytes */
    {.key = "gmac_per_s", .title = "GMAC/s", .kind = HT_COLUMN_REAL, .digits = 1},
    {.key = "peak_gmac_per_s", .kind = HT_COLUMN_REAL, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "peak_fraction", .title = "of peak", .kind = HT_COLUMN_PERCENT, .digits = 1},
    {.key = "checked", .kind = HT_COLUMN_BOOL},
};

static const size_t rows[] = {1, 64, 256};
static const size_t shapes[][2] = {{256, 784}, {256, 256}, {1024, 1024}}; /* n, k */
static const int widths[] = {8, 4, 2, 1};

enum output { OUTPUT_ACC, OUTPUT_LEVELS, N_OUTPUTS };
static const char *const output_names[N_OUTPUTS] = {"acc", "levels"};

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

static enum ht_status problem_init(struct problem *p, size_t m, size_t n, size_t k, int bits,
                                   struct ht_error *err)
{
    memset(p, 0, sizeof *p);
    p->m = m;
    p->a = ht_calloc(m * k, 1);
    p->codes = ht_calloc(n * k * (size_t)bits / 8, 1);
    p->init = ht_calloc(n, sizeof *p->init);
    p->multiplier = ht_calloc(n, sizeof *p->multiplier);
    p->weights = (struct ht_kernel_weights){n, k, bits, p->codes, p->level, NULL, false};
    if (!p->a || !p->codes || !p->init || !p->multiplier)
        return ht_fail_memory(err);
    fill_problem(p);
    return reference_outputs(p, err);
}

static void add_row(struct ht_table *t, const struct problem *p, const struct ht_kernels *kernels,
                    enum output output, const struct ht_bench_time *time, bool same)
{
    const double products = (double)p->m * (double)p->weights.n * (double)p->weights.k;
    ht_table_add_row(t);
    ht_table_set_text(t, "isa", kernels->isa);
    ht_table_set_integer(t, "bits", p->weights.bits);
    ht_table_set_integer(t, "m", (int64_t)p->m);
    ht_table_set_integer(t, "n", (int64_t)p->weights.n);
    ht_table_set_integer(t, "k", (int64_t)p->weights.k);
    ht_table_set_text(t, "output", output_names[output]);
    ht_table_set_real(t, "gmac_per_s", products / time->seconds * 1e-9);
    if (kernels->peak) {
        ht_table_set_real(t, "peak_gmac_per_s", time->peak_per_s * 1e-9);
        ht_table_set_real(t, "peak_fraction", time->peak_fraction);
        ht_table_set_bool(t, "checked", same);
    }
}

/* One bundle on one problem, all outputs. *differ counts wrong ones. */
static enum ht_status measure(const struct ht_cli *cli, struct ht_table *t, struct problem *p,
                              const struct ht_kernels *kernels, int *differ, struct ht_error *err)
{
    void *packed = ht_calloc(kernels->packed_size(&p->weights), 1);
    void *to = ht_calloc(output_bytes(p, OUTPUT_ACC), 1);
    if (packed && to)
        kernels->pack(&p->weights, packed);
    for (int i = 0; packed && to && i < N_OUTPUTS; i++) {
        struct attempt a = make_attempt(p, kernels, packed, (enum output)i, to);
        const double products = (double)p->m * (double)p->weights.n * (double)p->weights.k;
        const struct ht_bench_time time = ht_bench_measure(call_dense, &a, products, kernels, cli);
        const bool same = memcmp(to, p->expected[i], output_bytes(p, (enum output)i)) == 0;
        *differ += !same;
        add_row(t, p, kernels, (enum output)i, &time, same);
    }
    const enum ht_status status = packed && to ? HT_OK : ht_fail_memory(err);
    ht_free(packed);
    ht_free(to);
    return status;
}

#define N_PROBLEMS                                                                                 \
    (sizeof rows / sizeof *rows * (sizeof shapes / sizeof *shapes) *                               \
     (sizeof widths / sizeof *widths))

static enum ht_status measure_all(const struct ht_cli *cli, struct ht_table *t, int *differ,
                                  struct ht_error *err)
{
    struct ht_kernels kernels[HT_BENCH_MAX_KERNELS];
    size_t n;
    enum ht_status status = ht_bench_kernels(kernels, &n, err);
    for (size_t i = 0; i < N_PROBLEMS && status == HT_OK && !*cli->stop; i++) {
        struct problem p;
        const size_t bits = i % 4, shape = i / 4 % 3, m = i / 12;
        status = problem_init(&p, rows[m], shapes[shape][0], shapes[shape][1], widths[bits], err);
        for (size_t k = n; status == HT_OK && k-- > 0;) /* the fastest first */
            status = measure(cli, t, &p, &kernels[k], differ, err);
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
