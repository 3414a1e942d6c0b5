#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "cli/bench.h"
#include "infer/runtime.h"
#include "qmodel/qmodel.h"
#include "quant/half.h"
#include "train/run.h"

static const struct ht_column columns[] = {
    {.key = "isa", .kind = HT_COLUMN_TEXT},
    {.key = "layers", .kind = HT_COLUMN_TEXT},
    {.key = "mode", .kind = HT_COLUMN_TEXT},
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
/* What layers take (of dynamic ones 8 bits), and bits of the weights. Those that are not integer
 * come with --modes. */
static const struct {
    enum ht_qoutput_kind kind;
    int bits;
} forms[] = {{HT_QOUTPUT_CODES, 8}, {HT_QOUTPUT_CODES, 4},   {HT_QOUTPUT_CODES, 2},
             {HT_QOUTPUT_CODES, 1}, {HT_QOUTPUT_DYNAMIC, 8}, {HT_QOUTPUT_DYNAMIC, 4},
             {HT_QOUTPUT_REAL, 8},  {HT_QOUTPUT_REAL, 4},    {HT_QOUTPUT_REAL, 2},
             {HT_QOUTPUT_REAL, 16}};
#define N_FORMS   (sizeof forms / sizeof *forms)
#define N_INTEGER ((size_t)4)
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

/* Random codes, or float16 numbers within +-0.1. */
static void fill_codes(struct ht_qlayer *l, size_t index)
{
    const struct ht_grid *g = &l->weights.grid;
    const uint64_t stream = HT_RNG_STREAM(HT_RNG_INIT, index);
    for (size_t i = 0; i < l->in * l->out; i++) {
        const bool half = ht_grid_is_float16(g);
        const int level = (int)ht_rng_below(1, stream, i, half ? 256 : (uint64_t)g->n_levels);
        ht_pack_code(l->weights.packed, i, g->bits,
                     half ? ht_half_of_float((float)(level - 128) / 1280)
                          : ht_grid_code(g, g->lo + g->step * level));
    }
}

/* Scales that keep the levels of the next layer busy. */
static enum ht_status fill_layer(struct ht_qlayer *l, size_t index, enum ht_qoutput_kind kind,
                                 int bits, size_t in, size_t out, struct ht_error *err)
{
    snprintf(l->name, sizeof l->name, "dense%zu", index + 1);
    snprintf(l->activation, sizeof l->activation, "%s", index + 1 < N_LAYERS ? "relu" : "none");
    l->in = in;
    l->out = out;
    l->output = index + 1 < N_LAYERS ? kind : HT_QOUTPUT_REAL;
    l->quant = bytes_quantizer(kind == HT_QOUTPUT_CODES ? 1.0f / 64 : 1);
    const char *grid = bits == 16 ? HT_GRID_FLOAT16 : (bits == 1 ? "binary" : "narrow");
    const enum ht_status status = ht_grid_init(&l->weights.grid, grid, bits, err);
    if (status != HT_OK)
        return status;
    const struct ht_grid *g = &l->weights.grid;
    l->weights.channels = out;
    l->weights.packed = ht_calloc(ht_packed_size(in * out, bits), 1);
    l->weights.scale = ht_calloc(out, sizeof *l->weights.scale);
    if (kind == HT_QOUTPUT_CODES)
        l->bias = ht_calloc(out, sizeof *l->bias);
    else
        l->real_bias = ht_calloc(out, sizeof *l->real_bias);
    if (!l->weights.packed || !l->weights.scale || (!l->bias && !l->real_bias))
        return ht_fail_memory(err);
    fill_codes(l, index);
    for (size_t n = 0; n < out; n++) {
        const int bias = (int)ht_rng_below(2, HT_RNG_STREAM(HT_RNG_INIT, index), n, 2000) - 1000;
        l->weights.scale[n] = bits == 16 ? 1 : 0.1f / (float)g->hi;
        if (l->bias)
            l->bias[n] = bias;
        else
            l->real_bias[n] = (float)bias / 1000;
    }
    return HT_OK;
}

static enum ht_status random_model(struct ht_qmodel **ret, const size_t *widths,
                                   enum ht_qoutput_kind kind, int bits, struct ht_error *err)
{
    struct ht_qmodel *m = ht_qmodel_create(N_LAYERS);
    if (!m)
        return ht_fail_memory(err);
    snprintf(m->name, sizeof m->name, "random");
    snprintf(m->task, sizeof m->task, "classification");
    snprintf(m->loss, sizeof m->loss, "cross_entropy");
    snprintf(m->score_name, sizeof m->score_name, "accuracy");
    memset(m->data_hash, '0', sizeof m->data_hash - 1);
    m->input.features = widths[0];
    m->input.kind = kind;
    m->input.quant = bytes_quantizer(kind == HT_QOUTPUT_CODES ? 1.0f / 255 : 1);
    m->input.pixel_range = 255;
    m->outputs = widths[N_LAYERS];
    enum ht_status status = HT_OK;
    for (size_t i = 0; i < N_LAYERS && status == HT_OK; i++)
        status = fill_layer(&m->layers[i], i, kind, bits, widths[i], widths[i + 1], err);
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
    ht_table_set_text(t, "mode", ht_qmodel_mode(m));
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
    const size_t n = cli->values[HT_BENCH_MODES] ? N_FORMS : N_INTEGER;
    for (size_t i = 0; i < 2 * n; i++) {
        struct ht_qmodel *m = NULL;
        if (status == HT_OK && !*cli->stop)
            status = random_model(&m, networks[i / n], forms[i % n].kind, forms[i % n].bits, err);
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
