#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "cli/bench.h"
#include "cli/bench_task.h"
#include "train/run.h"

static const struct ht_column columns[] = {
    {.key = "isa", .kind = HT_COLUMN_TEXT},
    {.key = "layers", .kind = HT_COLUMN_TEXT},
    {.key = "bits", .kind = HT_COLUMN_INTEGER},
    {.key = "batch", .kind = HT_COLUMN_INTEGER},
    {.key = "threads", .kind = HT_COLUMN_INTEGER},
    {.key = "us_per_step", .title = "us per step", .kind = HT_COLUMN_REAL, .digits = 0},
    {.key = "samples_per_s", .title = "samples/s", .kind = HT_COLUMN_REAL, .digits = 0},
    {.key = "gmac_per_s", .title = "GMAC/s", .kind = HT_COLUMN_REAL, .digits = 1},
    {.key = "speed_to_float", .title = "speed,\nfloat = 1", .kind = HT_COLUMN_REAL, .digits = 2},
    {.key = "speed_to_float_low", .title = "lower\nquartile", .kind = HT_COLUMN_REAL, .digits = 2},
    {.key = "speed_to_float_high", .title = "upper\nquartile", .kind = HT_COLUMN_REAL, .digits = 2},
    {.key = "rounds", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
};

#define MAX_ROUNDS     1000
#define DEFAULT_ROUNDS "9"
#define ROUND_SECONDS  0.06

/* Trainings that alternate: the first one is float on one thread, the others are compared with it.
 * 512 and 2048 are there to see the multiplications a second grow or not. */
#define MAX_WIDTHS     4
#define MAX_CONTENDERS (2 * MAX_WIDTHS)
static const struct {
    size_t hidden, batch;
    int bits[MAX_WIDTHS]; /* up to a 0 */
    bool threads;         /* also on all threads */
} groups[] = {
    {64, 64, {32, 8, 4, 2}, false},   {64, 256, {32, 8, 4, 2}, false},
    {256, 64, {32, 8, 4, 2}, false},  {256, 256, {32, 8, 4, 2}, false},
    {512, 256, {32, 8}, false},       {1024, 64, {32, 8, 4, 2}, false},
    {1024, 256, {32, 8, 4, 2}, true}, {2048, 256, {32, 8}, false},
};
#define N_GROUPS (sizeof groups / sizeof *groups)

struct contender {
    struct ht_bench_task task;
    struct ht_bench_training training;
    size_t steps;                                  /* of one round */
    double seconds[MAX_ROUNDS], ratio[MAX_ROUNDS]; /* of a step; to float's in the same round */
};

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* share: 0.5 for the median. Sorts. */
static double quantile(double *values, size_t n, double share)
{
    qsort(values, n, sizeof *values, ascending);
    return values[(size_t)(share * (double)(n - 1) + 0.5)];
}

static enum ht_status time_steps(struct contender *c, size_t steps, double *seconds,
                                 struct ht_error *err)
{
    enum ht_status status = HT_OK;
    const double started = ht_cli_now();
    for (size_t i = 0; i < steps && status == HT_OK; i++)
        status = ht_trainer_step(c->training.trainer, err);
    *seconds = (ht_cli_now() - started) / (double)steps;
    return status;
}

/* The first step makes the network; the second one tells how many fill a round. */
static enum ht_status prepare(struct contender *c, const struct ht_dataset *d, struct ht_error *err)
{
    double seconds = 0;
    enum ht_status status = ht_bench_training_init(&c->training, &c->task, d, err);
    for (int i = 0; i < 2 && status == HT_OK; i++)
        status = time_steps(c, 1, &seconds, err);
    c->steps = seconds < ROUND_SECONDS ? (size_t)(ROUND_SECONDS / seconds) : 1;
    return status;
}

static void add_row(struct ht_table *t, struct contender *c, size_t rounds, const char *isa)
{
    char layers[64];
    const size_t h = c->task.hidden;
    const double seconds = quantile(c->seconds, rounds, 0.5);
    snprintf(layers, sizeof layers, "%d-%zu-%zu-%zu-%d", HT_BENCH_FEATURES, h, h, h,
             HT_BENCH_CLASSES);
    ht_table_add_row(t);
    ht_table_set_text(t, "isa", isa);
    ht_table_set_text(t, "layers", layers);
    ht_table_set_integer(t, "bits", c->task.bits);
    ht_table_set_integer(t, "batch", (int64_t)c->task.batch);
    ht_table_set_integer(t, "threads", c->task.threads);
    ht_table_set_real(t, "us_per_step", 1e6 * seconds);
    ht_table_set_real(t, "samples_per_s", (double)c->task.batch / seconds);
    ht_table_set_real(t, "gmac_per_s", ht_bench_step_products(&c->task) / seconds * 1e-9);
    ht_table_set_real(t, "speed_to_float", quantile(c->ratio, rounds, 0.5));
    ht_table_set_real(t, "speed_to_float_low", quantile(c->ratio, rounds, 0.25));
    ht_table_set_real(t, "speed_to_float_high", quantile(c->ratio, rounds, 0.75));
    ht_table_set_integer(t, "rounds", (int64_t)rounds);
}

static enum ht_status alternate(const struct ht_cli *cli, struct contender *c, size_t n,
                                size_t rounds, struct ht_error *err)
{
    enum ht_status status = HT_OK;
    for (size_t r = 0; r < rounds && status == HT_OK; r++)
        for (size_t i = 0; i < n && status == HT_OK; i++) {
            status = time_steps(&c[i], c[i].steps, &c[i].seconds[r], err);
            c[i].ratio[r] = c[0].seconds[r] / c[i].seconds[r];
            if (status == HT_OK)
                status = ht_bench_stopped(cli, err);
        }
    return status;
}

static enum ht_status measure_group(const struct ht_cli *cli, struct ht_table *t, size_t group,
                                    const struct ht_dataset *d, size_t rounds, const char *isa,
                                    struct ht_error *err)
{
    size_t n = 0;
    unsigned threads = 1;
    struct contender *c = ht_calloc(MAX_CONTENDERS, sizeof *c);
    enum ht_status status = c ? ht_run_threads(&threads, err) : ht_fail_memory(err);
    const bool twice = groups[group].threads && threads > 1;
    for (size_t i = 0; i < (twice ? MAX_CONTENDERS : MAX_WIDTHS) && status == HT_OK; i++) {
        const int bits = groups[group].bits[i % MAX_WIDTHS];
        if (bits == 0)
            continue;
        c[n].task = (struct ht_bench_task){.hidden = groups[group].hidden,
                                           .batch = groups[group].batch,
                                           .bits = bits,
                                           .threads = i < MAX_WIDTHS ? 1 : threads};
        status = prepare(&c[n++], d, err);
    }
    if (status == HT_OK)
        status = alternate(cli, c, n, rounds, err);
    for (size_t i = 0; i < n && status == HT_OK; i++)
        add_row(t, &c[i], rounds, isa);
    for (size_t i = 0; i < n; i++)
        ht_bench_training_finish(&c[i].training);
    ht_free(c);
    return status;
}

enum ht_status ht_bench_run_train(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_kernels kernels;
    struct ht_dataset *d = NULL;
    struct ht_table *t = NULL;
    long rounds;
    const char *given =
        cli->values[HT_BENCH_ROUNDS] ? cli->values[HT_BENCH_ROUNDS] : DEFAULT_ROUNDS;
    enum ht_status status = ht_cli_integer(given, "--rounds", 1, MAX_ROUNDS, &rounds, err);
    if (status == HT_OK)
        status = ht_run_kernels(&kernels, err);
    if (status == HT_OK)
        status = ht_bench_dataset(&d, err);
    if (status == HT_OK)
        status = ht_table_create(&t, columns, sizeof columns / sizeof *columns, err);
    for (size_t i = 0; i < N_GROUPS && status == HT_OK; i++)
        status = measure_group(cli, t, i, d, (size_t)rounds, kernels.isa, err);
    if (status == HT_OK)
        status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    ht_dataset_destroy(d);
    return status;
}
