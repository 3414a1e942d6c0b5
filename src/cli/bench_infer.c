#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "cli/bench.h"
#include "infer/runtime.h"
#include "qmodel/qmodel.h"
#include "train/run.h"

static const struct ht_column columns[] = {
    {.key = "isa", .kind = HT_COLUMN_TEXT},
    {.key = "layers", .kind = HT_COLUMN_TEXT},
    {.key = "bits", .kind = HT_COLUMN_INTEGER},
    {.key = "batch", .kind = HT_COLUMN_INTEGER},
    {.key = "threads", .kind = HT_COLUMN_INTEGER},
    {.key = "us_per_batch", .title = "us per batch", .kind = HT_COLUMN_REAL, .digits = 2},
    {.key = "samples_per_s", .title = "samples/s", .kind = HT_COLUMN_REAL, .digits = 0},
    {.key = "gmac_per_s", .title = "GMAC/s", .kind = HT_COLUMN_REAL, .digits = 1},
    {.key = "peak_fraction", .title = "of peak", .kind = HT_COLUMN_PERCENT, .digits = 1},
};

#define N_LAYERS 4
static const size_t networks[][N_LAYERS + 1] = {{784, 256, 256, 256, 10},
                                                {784, 1024, 1024, 1024, 10}};
static const int widths[] = {8, 4, 2, 1};
static const size_t batches[] = {1, 64, 256};
#define MAX_BATCH 256

static struct ht_qactivation bytes_quantizer(float scale)
{
    struct ht_qactivation q = {.scale = scale};
    ht_grid_init(&q.grid, "affine", 8, NULL);
    q.lo = q.grid.lo;
    q.hi = q.grid.hi;
    return q;
}

/* Random codes and bias; scales that keep the levels of the next layer busy. */
static enum ht_status fill_layer(struct ht_qlayer *l, size_t index, int bits, size_t in, size_t out,
                                 struct ht_error *err)
{
    snprintf(l->name, sizeof l->name, "dense%zu", index + 1);
    snprintf(l->activation, sizeof l->activation, "%s", index + 1 < N_LAYERS ? "relu" : "none");
    l->in = in;
    l->out = out;
    l->output = index + 1 < N_LAYERS ? HT_QOUTPUT_CODES : HT_QOUTPUT_REAL;
    l->quant = bytes_quantizer(1.0f / 64);
    const enum ht_status status =
        ht_grid_init(&l->weights.grid, bits == 1 ? "binary" : "narrow", bits, err);
    if (status != HT_OK)
        return status;
    const struct ht_grid *g = &l->weights.grid;
    l->weights.channels = out;
    l->weights.packed = ht_calloc(ht_packed_size(in * out, bits), 1);
    l->weights.scale = ht_calloc(out, sizeof *l->weights.scale);
    l->bias = ht_calloc(out, sizeof *l->bias);
    if (!l->weights.packed || !l->weights.scale || !l->bias)
        return ht_fail_memory(err);
    const uint64_t stream = HT_RNG_STREAM(HT_RNG_INIT, index);
    for (size_t i = 0; i < in * out; i++) {
        const int level = (int)ht_rng_below(1, stream, i, (uint64_t)g->n_levels);
        ht_pack_code(l->weights.packed, i, bits, ht_grid_code(g, g->lo + g->step * level));
    }
    for (size_t n = 0; n < out; n++) {
        l->weights.scale[n] = 0.1f / (float)g->hi;
        l->bias[n] = (int32_t)ht_rng_below(2, stream, n, 2000) - 1000;
    }
    return HT_OK;
}

static enum ht_status random_model(struct ht_qmodel **ret, const size_t *widths_of, int bits,
                                   struct ht_error *err)
{
    struct ht_qmodel *m = ht_qmodel_create(N_LAYERS);
    if (!m)
        return ht_fail_memory(err);
    snprintf(m->name, sizeof m->name, "random");
    snprintf(m->task, sizeof m->task, "classification");
    snprintf(m->loss, sizeof m->loss, "cross_entropy");
    snprintf(m->score_name, sizeof m->score_name, "accuracy");
    memset(m->data_hash, '0', sizeof m->data_hash - 1);
    m->input.features = widths_of[0];
    m->input.quant = bytes_quantizer(1.0f / 255);
    m->input.pixel_range = 255;
    m->outputs = widths_of[N_LAYERS];
    enum ht_status status = HT_OK;
    for (size_t i = 0; i < N_LAYERS && status == HT_OK; i++)
        status = fill_layer(&m->layers[i], i, bits, widths_of[i], widths_of[i + 1], err);
    if (status == HT_OK)
        status = ht_qmodel_derive(m, err);
    if (status == HT_OK)
        *ret = m;
    else
        ht_qmodel_destroy(m);
    return status;
}

struct inference {
    struct ht_runner *runner;
    size_t batch;
    float *x, *y;
};

static void infer(void *user)
{
    const struct inference *i = user;
    ht_runner_run(i->runner, i->x, i->batch, i->y);
}

static void add_row(struct ht_table *t, const struct ht_qmodel *m, const struct ht_kernels *kernels,
                    size_t batch, unsigned threads, double products,
                    const struct ht_bench_time *time)
{
    char layers[64];
    int at = snprintf(layers, sizeof layers, "%zu", m->input.features);
    for (size_t i = 0; i < m->n_layers; i++)
        at += snprintf(layers + at, sizeof layers - (size_t)at, "-%zu", m->layers[i].out);
    ht_table_add_row(t);
    ht_table_set_text(t, "isa", kernels->isa);
    ht_table_set_text(t, "layers", layers);
    ht_table_set_integer(t, "bits", m->layers[0].weights.grid.bits);
    ht_table_set_integer(t, "batch", (int64_t)batch);
    ht_table_set_integer(t, "threads", (int64_t)threads);
    ht_table_set_real(t, "us_per_batch", 1e6 * time->seconds);
    ht_table_set_real(t, "samples_per_s", (double)batch / time->seconds);
    ht_table_set_real(t, "gmac_per_s", products / time->seconds * 1e-9);
    if (kernels->peak)
        ht_table_set_real(t, "peak_fraction", time->peak_fraction);
}

/* All batches with the threads of pool. peak_fraction is of one thread's peak for each of them. */
static enum ht_status measure_batches(const struct ht_cli *cli, struct ht_table *t,
                                      struct inference *run, const struct ht_qmodel *m,
                                      const struct ht_runtime *runtime,
                                      const struct ht_kernels *kernels, struct ht_pool *pool,
                                      struct ht_error *err)
{
    const unsigned threads = ht_pool_threads(pool);
    double products = 0;
    for (size_t i = 0; i < m->n_layers; i++)
        products += (double)m->layers[i].in * (double)m->layers[i].out;
    enum ht_status status = ht_runner_create(&run->runner, runtime, MAX_BATCH, pool, err);
    if (status != HT_OK)
        return status;
    for (size_t i = 0; i < sizeof batches / sizeof *batches && !*cli->stop; i++) {
        run->batch = batches[i];
        const double work = products * (double)run->batch;
        const struct ht_bench_time time =
            ht_bench_measure(infer, run, work / threads, kernels, cli);
        add_row(t, m, kernels, run->batch, threads, work, &time);
    }
    ht_runner_destroy(run->runner);
    return HT_OK;
}

static enum ht_status measure_model(const struct ht_cli *cli, struct ht_table *t,
                                    const struct ht_qmodel *m, const struct ht_kernels *kernels,
                                    struct ht_pool *pool, struct ht_error *err)
{
    const size_t features = m->input.features;
    struct ht_runtime *runtime = NULL;
    struct inference run = {NULL, 0, ht_calloc(MAX_BATCH * features, sizeof(float)),
                            ht_calloc(MAX_BATCH * m->outputs, sizeof(float))};
    enum ht_status status = run.x && run.y ? HT_OK : ht_fail_memory(err);
    for (size_t i = 0; status == HT_OK && i < MAX_BATCH * features; i++)
        run.x[i] = (float)ht_rng_below(3, HT_RNG_INIT, i, 256) / 255.0f;
    if (status == HT_OK)
        status = ht_runtime_create(&runtime, m, kernels, err);
    if (status == HT_OK)
        status = measure_batches(cli, t, &run, m, runtime, kernels, NULL, err);
    if (status == HT_OK && ht_pool_threads(pool) > 1)
        status = measure_batches(cli, t, &run, m, runtime, kernels, pool, err);
    ht_runtime_destroy(runtime);
    ht_free(run.x);
    ht_free(run.y);
    return status;
}

enum ht_status ht_bench_run_infer(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_kernels kernels;
    struct ht_pool *pool = NULL;
    struct ht_table *t = NULL;
    enum ht_status status = ht_run_kernels(&kernels, err);
    if (status == HT_OK)
        status = ht_cli_pool(&pool, err);
    if (status == HT_OK)
        status = ht_table_create(&t, columns, sizeof columns / sizeof *columns, err);
    for (size_t i = 0; i < 2 * sizeof widths / sizeof *widths; i++) {
        struct ht_qmodel *m = NULL;
        if (status == HT_OK && !*cli->stop)
            status = random_model(&m, networks[i / 4], widths[i % 4], err);
        if (status == HT_OK && m)
            status = measure_model(cli, t, m, &kernels, pool, err);
        ht_qmodel_destroy(m);
    }
    if (status == HT_OK)
        status = ht_bench_stopped(cli, err);
    if (status == HT_OK)
        status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    ht_pool_destroy(pool);
    return status;
}
