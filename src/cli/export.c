#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "io/file.h"
#include "train/session.h"

enum { TO, OUT };

static const struct ht_column columns[] = {
    {.key = "file", .kind = HT_COLUMN_TEXT},
    {.key = "format", .kind = HT_COLUMN_TEXT},
    {.key = "split", .kind = HT_COLUMN_TEXT},
    {.key = "samples", .kind = HT_COLUMN_INTEGER},
    {.key = "outputs_compared", .title = "outputs\ncompared", .kind = HT_COLUMN_INTEGER},
    {.key = "mismatched_outputs", .title = "outputs\nthat differ", .kind = HT_COLUMN_INTEGER},
    {.key = "fake_quant_accuracy", .title = "score\nfake-quant", .kind = HT_COLUMN_PERCENT,
     .digits = 2},
    {.key = "integer_accuracy", .title = "\ninteger", .kind = HT_COLUMN_PERCENT, .digits = 2},
    {.key = "model_bytes", .title = "size", .kind = HT_COLUMN_BYTES},
};

static enum ht_status print_result(const struct ht_cli *cli, const char *path, const char *split,
                                   const struct ht_parity *p, size_t bytes, struct ht_error *err)
{
    struct ht_table *t;
    enum ht_status status = ht_table_create(&t, columns, sizeof columns / sizeof *columns, err);
    if (status != HT_OK)
        return status;
    ht_table_add_row(t);
    ht_table_set_text(t, "file", path);
    ht_table_set_text(t, "format", "hdf5");
    ht_table_set_text(t, "split", split);
    ht_table_set_integer(t, "samples", (int64_t)p->samples);
    ht_table_set_integer(t, "outputs_compared", (int64_t)p->outputs_compared);
    ht_table_set_integer(t, "mismatched_outputs", (int64_t)p->mismatched_outputs);
    ht_table_set_real(t, "fake_quant_accuracy", p->fake_quant_score);
    ht_table_set_real(t, "integer_accuracy", p->integer_score);
    ht_table_set_integer(t, "model_bytes", (int64_t)bytes);
    status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    return status;
}

/* Saves, reads the file back, and holds it against the fake-quant network over a whole split. */
static enum ht_status export_hdf5(const struct ht_cli *cli, struct ht_session *s, const char *path,
                                  struct ht_error *err)
{
    static const char *const splits[] = {"train", "validation", "test"};
    struct ht_qmodel *lowered = NULL, *loaded = NULL;
    struct ht_network network = {0};
    struct ht_kernels kernels;
    struct ht_parity parity = {0};
    struct ht_evaluation validation = {.score = NAN};
    const enum ht_split split = ht_evaluation_split(s->dataset);
    enum ht_status status = ht_run_kernels(&kernels, err);
    if (status == HT_OK)
        status = ht_network_init(&network, s->model, &s->objective, 256, true, false, err);
    if (status == HT_OK && s->dataset->count[HT_VALIDATION])
        ht_evaluate(&validation, &network, &s->objective, s->dataset, HT_VALIDATION);
    if (status == HT_OK)
        status = ht_run_lower(&lowered, s->experiment, s->model, &s->objective, s->dataset,
                              validation.score, err);
    if (status == HT_OK)
        status = ht_qmodel_save(lowered, path, err);
    if (status == HT_OK)
        status = ht_qmodel_load(&loaded, path, err);
    if (status == HT_OK)
        status = ht_evaluate_parity(&parity, &network, loaded, &s->objective, &kernels, s->dataset,
                                    split, err);
    if (status == HT_OK)
        status = print_result(cli, path, splits[split], &parity, ht_qmodel_bytes(loaded), err);
    if (status == HT_OK && parity.mismatched_outputs)
        status = ht_fail(err, HT_ERR_THRESHOLD,
                         "%zu of %zu outputs differ between fake-quant and integer path, first at "
                         "sample %zu",
                         parity.mismatched_outputs, parity.outputs_compared, parity.first_mismatch);
    ht_network_finish(&network);
    ht_qmodel_destroy(lowered);
    ht_qmodel_destroy(loaded);
    return status;
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    static const char *const formats[] = {"hdf5", "onnx", "c", "safetensors"};
    const char *to = cli->values[TO] ? cli->values[TO] : "hdf5";
    char path[HT_PATH_LENGTH];
    struct ht_session session;
    size_t format = 0;
    while (format < 4 && strcmp(formats[format], to) != 0)
        format++;
    if (format == 4) {
        const char *near = ht_nearest_name(to, formats, 4);
        return ht_fail(err, HT_ERR_CONFIG,
                       "--to: unknown format '%s'%s%s%s; there are hdf5, onnx, c, safetensors", to,
                       near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    }
    if (format != 0)
        return ht_fail(err, HT_ERR_CONFIG, "export --to %s is not built yet", to);
    enum ht_status status = ht_session_from_checkpoint(&session, cli->args[0], err);
    if (status != HT_OK)
        return status;
    if (cli->values[OUT])
        snprintf(path, sizeof path, "%s", cli->values[OUT]);
    else
        snprintf(path, sizeof path, "%s.h5", session.experiment->name);
    status = export_hdf5(cli, &session, path, err);
    ht_session_finish(&session);
    return status;
}

const struct ht_command ht_command_export = {
    .name = "export",
    .arguments = "RUN_OR_CHECKPOINT --to hdf5|onnx|c|safetensors [--out PATH]",
    .summary = "write the integer model of a run or checkpoint, and check it",
    .details = "The file is read back and run over the whole test part beside the fake-quant\n"
               "network: one output that differs in one bit is exit code 7.",
    .options = {[TO] = {"to", 't', "FORMAT",
                        "hdf5 (default); onnx, c and safetensors are not built yet"},
                [OUT] = {"out", 0, "PATH", "the file to write (default: NAME.h5 here)"}},
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
