#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "export/export.h"
#include "io/container.h"
#include "train/export.h"

enum { TO, OUT, INPUT, PREFIX };

static const struct ht_column columns[] = {
    {.key = "file", .kind = HT_COLUMN_TEXT},
    {.key = "format", .kind = HT_COLUMN_TEXT},
    {.key = "agreement", .title = "outputs\nagree", .kind = HT_COLUMN_TEXT},
    {.key = "split", .kind = HT_COLUMN_TEXT},
    {.key = "samples", .kind = HT_COLUMN_INTEGER},
    {.key = "outputs_compared", .title = "outputs\ncompared", .kind = HT_COLUMN_INTEGER},
    {.key = "mismatched_outputs", .title = "outputs\nthat differ", .kind = HT_COLUMN_INTEGER},
    {.key = "fake_quant_accuracy",
     .title = "score\nfake-quant",
     .kind = HT_COLUMN_PERCENT,
     .digits = 2},
    {.key = "integer_accuracy", .title = "\ninteger", .kind = HT_COLUMN_PERCENT, .digits = 2},
    {.key = "model_bytes", .title = "size", .kind = HT_COLUMN_BYTES},
    {.key = "flash_bytes", .kind = HT_COLUMN_BYTES, .flags = HT_COLUMN_MACHINE_ONLY}, /* of c */
    {.key = "ram_bytes", .kind = HT_COLUMN_BYTES, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "multiplies", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
};

/* Code for microcontrollers, layer by layer: talk, beside the line about the export. */
static const struct ht_column cost_columns[] = {
    {.key = "layer", .kind = HT_COLUMN_TEXT},
    {.key = "inputs", .kind = HT_COLUMN_INTEGER},
    {.key = "outputs", .kind = HT_COLUMN_INTEGER},
    {.key = "bits", .kind = HT_COLUMN_INTEGER},
    {.key = "float_flash", .title = "flash\nfloat32", .kind = HT_COLUMN_BYTES},
    {.key = "flash", .title = "\nhere", .kind = HT_COLUMN_BYTES},
    {.key = "float_ram", .title = "RAM\nfloat32", .kind = HT_COLUMN_BYTES},
    {.key = "ram", .title = "\nhere", .kind = HT_COLUMN_BYTES},
    {.key = "float_multiplies", .title = "multiplications\nfloat32", .kind = HT_COLUMN_INTEGER},
    {.key = "multiplies", .title = "\nhere", .kind = HT_COLUMN_INTEGER},
};

static void add_cost(struct ht_table *t, const struct ht_qlayer *l,
                     const struct ht_export_cost *cost)
{
    ht_table_add_row(t);
    ht_table_set_text(t, "layer", l ? l->name : "all");
    if (l) {
        ht_table_set_integer(t, "inputs", (int64_t)l->in);
        ht_table_set_integer(t, "outputs", (int64_t)l->out);
        ht_table_set_integer(t, "bits", l->weights.grid.bits);
    }
    ht_table_set_integer(t, "float_flash", (int64_t)cost->float_flash);
    ht_table_set_integer(t, "flash", (int64_t)cost->flash);
    ht_table_set_integer(t, "float_ram", (int64_t)cost->float_ram);
    ht_table_set_integer(t, "ram", (int64_t)cost->ram);
    ht_table_set_integer(t, "float_multiplies", (int64_t)cost->float_multiplies);
    ht_table_set_integer(t, "multiplies", (int64_t)cost->multiplies);
}

/* *all: of the whole network. */
static enum ht_status report_costs(const struct ht_cli *cli, const struct ht_qmodel *m,
                                   struct ht_export_cost *all, struct ht_error *err)
{
    struct ht_table *t = NULL;
    struct ht_export_cost *cost = ht_calloc(m->n_layers + 1, sizeof *cost);
    enum ht_status status = cost ? ht_export_costs(m, cost, err) : ht_fail_memory(err);
    if (status == HT_OK)
        status = ht_table_create(&t, cost_columns, sizeof cost_columns / sizeof *cost_columns, err);
    for (size_t i = 0; status == HT_OK && i <= m->n_layers; i++)
        add_cost(t, i < m->n_layers ? &m->layers[i] : NULL, &cost[i]);
    if (status == HT_OK && !cli->quiet)
        status = ht_table_write(t, HT_OUTPUT_TABLE, stderr, err);
    if (status == HT_OK)
        *all = cost[m->n_layers];
    ht_table_destroy(t);
    ht_free(cost);
    return status;
}

/* What the options say. */
struct choice {
    const struct ht_export_format *format;
    struct ht_export_options options;
    char path[HT_PATH_LENGTH];
    const char *agreement; /* of those who run the file */
};

static enum ht_status print_report(const struct ht_cli *cli, const struct choice *c,
                                   const struct ht_export_report *r,
                                   const struct ht_export_cost *cost, struct ht_error *err)
{
    struct ht_table *t;
    enum ht_status status = ht_table_create(&t, columns, sizeof columns / sizeof *columns, err);
    if (status != HT_OK)
        return status;
    ht_table_add_row(t);
    ht_table_set_text(t, "file", c->path);
    ht_table_set_text(t, "format", c->format->name);
    ht_table_set_text(t, "agreement", r->parity.mismatched_outputs ? "no" : c->agreement);
    ht_table_set_text(t, "split", r->split);
    ht_table_set_integer(t, "samples", (int64_t)r->parity.samples);
    ht_table_set_integer(t, "outputs_compared", (int64_t)r->parity.outputs_compared);
    ht_table_set_integer(t, "mismatched_outputs", (int64_t)r->parity.mismatched_outputs);
    ht_table_set_real(t, "fake_quant_accuracy", r->parity.fake_quant_score);
    if (isfinite(r->parity.integer_score)) /* not of a float32 network */
        ht_table_set_real(t, "integer_accuracy", r->parity.integer_score);
    ht_table_set_integer(t, "model_bytes", (int64_t)r->model_bytes);
    if (cost->flash) {
        ht_table_set_integer(t, "flash_bytes", (int64_t)cost->flash);
        ht_table_set_integer(t, "ram_bytes", (int64_t)cost->ram);
        ht_table_set_integer(t, "multiplies", (int64_t)cost->multiplies);
    }
    status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    return status;
}

static bool is_checkpoint(const char *path)
{
    struct ht_container_reader *r;
    if (ht_container_open(&r, path, "checkpoint", 1u << 30, NULL) != HT_OK)
        return false;
    ht_container_close(r);
    return true;
}

static enum ht_status choose(struct choice *c, const struct ht_cli *cli, struct ht_error *err)
{
    enum ht_status status =
        ht_export_format_find(&c->format, cli->values[TO] ? cli->values[TO] : "hdf5", err);
    if (status == HT_OK && cli->values[INPUT])
        status = ht_export_input_find(&c->options.input, cli->values[INPUT], err);
    if (status == HT_OK && cli->values[INPUT] && (!c->format->write || c->format->code))
        status = ht_fail(err, HT_ERR_CONFIG, "--input: format %s takes both", c->format->name);
    if (status == HT_OK && cli->values[PREFIX] && !c->format->code)
        status = ht_fail(err, HT_ERR_CONFIG, "--prefix: format %s has no names of functions",
                         c->format->name);
    c->options.prefix = cli->values[PREFIX];
    return status;
}

/* Where it goes to; checkpoints are not overwritten. */
static enum ht_status choose_path(struct choice *c, const char *out, const char *name,
                                  struct ht_error *err)
{
    if (out)
        snprintf(c->path, sizeof c->path, "%s", out);
    else
        snprintf(c->path, sizeof c->path, "%s%s", name, c->format->suffix);
    if (out && strlen(out) >= sizeof c->path)
        return ht_fail(err, HT_ERR_CONFIG, "--out: the path is too long");
    if (is_checkpoint(c->path))
        return ht_fail(err, HT_ERR_CONFIG, "--out: %s is a checkpoint; it is not overwritten",
                       c->path);
    return HT_OK;
}

/* *cost: of code, else nothing. */
static enum ht_status write_export(struct ht_export_report *report, struct ht_export_cost *cost,
                                   struct ht_session *session, struct choice *c,
                                   const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_qmodel *m = NULL;
    c->agreement = "bit for bit";
    if (!c->format->write)
        return ht_export_session(report, session, c->path, err);
    enum ht_status status = ht_export_check_source(c->format, session->model, err);
    if (status == HT_OK)
        status = ht_export_lowered(&m, report, session, err);
    if (status == HT_OK) {
        c->options.split = report->split;
        c->options.score = report->parity.fake_quant_score;
        c->agreement = ht_export_agreement(c->format, m, session->model);
        status = ht_export_write(c->format, m, session->model, &c->options, c->path, err);
    }
    if (status == HT_OK && c->format->code)
        status = report_costs(cli, m, cost, err);
    ht_qmodel_destroy(m);
    return status;
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct choice c = {0};
    struct ht_session session;
    struct ht_export_report report;
    struct ht_export_cost cost = {0};
    enum ht_status status = choose(&c, cli, err);
    if (status == HT_OK)
        status = ht_session_from_checkpoint(&session, cli->args[0], err);
    if (status != HT_OK)
        return status;
    status = choose_path(&c, cli->values[OUT], session.experiment->name, err);
    if (status == HT_OK)
        status = write_export(&report, &cost, &session, &c, cli, err);
    if (status == HT_OK || status == HT_ERR_THRESHOLD) {
        enum ht_status printed =
            print_report(cli, &c, &report, &cost, status == HT_OK ? err : NULL);
        if (status == HT_OK)
            status = printed;
    }
    ht_session_finish(&session);
    return status;
}

const struct ht_command ht_command_export = {
    .name = "export",
    .arguments = "RUN_OR_CHECKPOINT --to hdf5|onnx|qonnx|c|safetensors [--out PATH]",
    .summary = "write the integer model of a run or checkpoint, and check it",
    .details =
        "The integer model is run over the whole test part beside the fake-quant network: one\n"
        "output that differs in one bit is exit code 7. Of hdf5 that is the file, read back; "
        "other\n"
        "formats are written when the model has passed. A float32 network can go to onnx and\n"
        "safetensors. c writes NAME.h and NAME.c into a folder, NAME being the prefix.",
    .options = {[TO] = {"to", 't', "FORMAT", "hdf5 (default), onnx, qonnx, safetensors, c"},
                [OUT] = {"out", 0, "PATH",
                         "the file to write (default: NAME.h5, NAME.onnx, ...); of c the folder "
                         "(NAME-c)"},
                [INPUT] = {"input", 0, "KIND",
                           "of onnx and qonnx: float (default), or u8: image bytes as they are"},
                [PREFIX] = {"prefix", 0, "NAME",
                            "of c: what names of files and functions begin with (default: net)"}},
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
