#include "cli/check.h"

#include <stdio.h>
#include <string.h>

#include "data/dataset.h"
#include "qmodel/qmodel.h"
#include "report/human.h"
#include "train/compare.h"
#include "train/network.h"
#include "train/run.h"
#include "train/setup.h"

static const struct ht_column columns[] = {
    {.key = "layer", .kind = HT_COLUMN_TEXT},
    {.key = "shape", .kind = HT_COLUMN_TEXT, .align = HT_ALIGN_RIGHT},
    {.key = "then", .kind = HT_COLUMN_TEXT},
    {.key = "parameters", .kind = HT_COLUMN_INTEGER},
    {.key = "weight_bits", .title = "weight\nbits", .kind = HT_COLUMN_INTEGER},
    {.key = "weight_grid", .title = "\ngrid", .kind = HT_COLUMN_TEXT},
    {.key = "weight_range", .title = "\nrange", .kind = HT_COLUMN_TEXT},
    {.key = "weight_estimator", .kind = HT_COLUMN_TEXT, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "output_bits", .title = "output\nbits", .kind = HT_COLUMN_INTEGER},
    {.key = "output_grid", .title = "\ngrid", .kind = HT_COLUMN_TEXT},
    {.key = "output_range", .title = "\nrange", .kind = HT_COLUMN_TEXT},
    {.key = "weight_bytes", .title = "\nbytes", .kind = HT_COLUMN_BYTES},
};

struct totals {
    size_t parameters, weights, bytes; /* bytes: of the weights, packed */
};

static void add_block(struct ht_table *t, const struct ht_model *m, size_t i, struct totals *totals)
{
    const struct ht_block *b = &m->blocks[i];
    char shape[64], then[96];
    size_t n = b->out * b->in, extra = b->out * (b->batchnorm ? 2 : b->bias);
    size_t bytes = n * sizeof(float);
    snprintf(shape, sizeof shape, "%zu -> %zu", b->in, b->out);
    snprintf(then, sizeof then, "%s%s%s%s",
             b->batchnorm ? "batchnorm"
             : b->bias    ? "bias"
                          : "",
             b->activation->op ? (b->batchnorm || b->bias ? " " : "") : "",
             b->activation->op ? b->activation->name : "", b->dropout > 0 ? " dropout" : "");
    ht_table_add_row(t);
    ht_table_set_text(t, "layer", b->name);
    ht_table_set_text(t, "shape", shape);
    ht_table_set_text(t, "then", then);
    ht_table_set_integer(t, "parameters", (int64_t)(n + extra));
    ht_table_set_integer(t, "weight_bits", m->quantized ? b->weights.grid.bits : 32);
    ht_table_set_integer(t, "output_bits",
                         b->output_kind == HT_TENSOR_REAL ? 32 : b->output.grid.bits);
    if (m->quantized) {
        bytes = ht_packed_size(n, b->weights.grid.bits);
        ht_table_set_text(t, "weight_grid", b->weights.grid.name);
    }
    if (m->quantized && b->weights.range) { /* float16 has none */
        ht_table_set_text(t, "weight_range", b->weights.range->name);
        ht_table_set_text(t, "weight_estimator", b->weights.estimator->name);
    }
    if (b->output_kind != HT_TENSOR_REAL) {
        ht_table_set_text(t, "output_grid", b->output.grid.name);
        ht_table_set_text(t, "output_range", b->output.range->name);
    }
    ht_table_set_integer(t, "weight_bytes", (int64_t)bytes);
    totals->parameters += n + extra;
    totals->weights += n;
    totals->bytes += bytes;
}

static enum ht_status print_model(const struct ht_cli *cli, const struct ht_model *m,
                                  struct totals *totals, struct ht_error *err)
{
    struct ht_table *t;
    enum ht_status status = ht_table_create(&t, columns, sizeof columns / sizeof *columns, err);
    if (status != HT_OK)
        return status;
    for (size_t i = 0; i < m->n_blocks; i++)
        add_block(t, m, i, totals);
    status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    return status;
}

/* Bytes of both graphs, parameters, gradients and optimizer. */
static enum ht_status measure_memory(const struct ht_experiment *e, struct ht_model *m,
                                     const struct ht_objective *o, size_t *bytes,
                                     struct ht_error *err)
{
    struct ht_network train = {0}, evaluation = {0};
    struct ht_kernels kernels;
    const enum ht_form form = m->quantized ? HT_FORM_QUANTIZED : HT_FORM_FLOAT;
    enum ht_status status = ht_run_kernels(&kernels, err);
    if (status == HT_OK)
        status = ht_network_init(&train, m, o, (size_t)e->train.batch, form, true,
                                 ht_network_training_kernels(&kernels), err);
    if (status == HT_OK)
        status = ht_network_init(&evaluation, m, o, 256, form, false, NULL, err);
    if (status == HT_OK)
        *bytes = ht_graph_bytes(train.graph) + ht_graph_bytes(evaluation.graph) +
                 (4 * m->params.n + m->state.n) * sizeof(float);
    ht_network_finish(&train);
    ht_network_finish(&evaluation);
    return status;
}

static void say_totals(const struct ht_cli *cli, const struct ht_experiment *e,
                       const struct ht_dataset *d, const struct ht_objective *o,
                       const struct totals *totals, size_t bytes)
{
    const size_t batch = (size_t)e->train.batch;
    ht_cli_say(cli, "%s parameters; the weights among them take %s (float32: %s)",
               ht_human_count((int64_t)totals->parameters).s, ht_human_bytes(totals->bytes).s,
               ht_human_bytes(sizeof(float) * totals->weights).s);
    ht_cli_say(cli, "%s: %s training, %s validation, %s test samples of %zu features; %s by %s",
               d->name, ht_human_count((int64_t)d->count[HT_TRAIN]).s,
               ht_human_count((int64_t)d->count[HT_VALIDATION]).s,
               ht_human_count((int64_t)d->count[HT_TEST]).s, d->features, o->task_name, o->loss);
    ht_cli_say(cli, "%d epochs of %zu steps, batch %d; memory: %s for training, %s of data",
               e->train.epochs, (d->count[HT_TRAIN] + batch - 1) / batch, e->train.batch,
               ht_human_bytes(bytes).s, ht_human_bytes(ht_dataset_bytes(d)).s);
    if (e->quant.start_epoch > 0 && ht_experiment_quantized(e))
        ht_cli_say(cli, "float32 until epoch %d, quantized from there", e->quant.start_epoch);
    for (size_t i = 0; i + 1 < ht_experiment_stages(e); i++)
        ht_cli_say(cli, "%d bits at least until epoch %d", e->quant.progressive[i],
                   ht_experiment_stage_start(e, i + 1));
}

enum ht_status ht_cli_print_plan(const struct ht_cli *cli, const struct ht_experiment *e,
                                 struct ht_error *err)
{
    struct ht_dataset *d = NULL;
    struct ht_model *m = NULL;
    struct ht_objective o;
    struct totals totals = {0, 0, 0};
    size_t bytes = 0;
    enum ht_status status = ht_setup_dataset(&d, e, err);
    if (status == HT_OK)
        status = ht_objective_init(&o, e, d, err);
    if (status == HT_OK)
        status = ht_setup_model(&m, e, d->features, err);
    if (status == HT_OK)
        status = measure_memory(e, m, &o, &bytes, err);
    if (status == HT_OK)
        status = print_model(cli, m, &totals, err);
    if (status == HT_OK)
        say_totals(cli, e, d, &o, &totals, bytes);
    ht_model_destroy(m);
    ht_dataset_destroy(d);
    return status;
}

/* The file and all its variants are checked by loading; then its base experiment is shown. */
static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_config *config;
    enum ht_status status = ht_cli_config(cli, &config, err);
    if (status != HT_OK)
        return status;
    const struct ht_experiment *e = ht_config_experiment(config);
    status = ht_cli_print_plan(cli, e, err);
    if (status == HT_OK && e->n_variants)
        status = ht_compare_check(config, err);
    if (status == HT_OK && e->n_variants)
        ht_cli_say(cli, "%zu variants for compare", e->n_variants);
    if (status == HT_OK)
        ht_cli_say(cli, "%s is valid", e->path);
    if (status == HT_ERR_CONFIG)
        ht_cli_show_place(config, err);
    ht_config_destroy(config);
    return status;
}

const struct ht_command ht_command_check = {
    .name = "check",
    .arguments = "EXPERIMENT.yaml [key=value ...]",
    .summary = "validate an experiment; show layers, shapes, bits and memory",
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
