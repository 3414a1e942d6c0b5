#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "io/container.h"
#include "train/export.h"

enum { TO, OUT };

static const struct ht_column columns[] = {
    {.key = "file", .kind = HT_COLUMN_TEXT},
    {.key = "format", .kind = HT_COLUMN_TEXT},
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
};

static enum ht_status print_report(const struct ht_cli *cli, const char *path,
                                   const struct ht_export_report *r, struct ht_error *err)
{
    struct ht_table *t;
    enum ht_status status = ht_table_create(&t, columns, sizeof columns / sizeof *columns, err);
    if (status != HT_OK)
        return status;
    ht_table_add_row(t);
    ht_table_set_text(t, "file", path);
    ht_table_set_text(t, "format", "hdf5");
    ht_table_set_text(t, "split", r->split);
    ht_table_set_integer(t, "samples", (int64_t)r->parity.samples);
    ht_table_set_integer(t, "outputs_compared", (int64_t)r->parity.outputs_compared);
    ht_table_set_integer(t, "mismatched_outputs", (int64_t)r->parity.mismatched_outputs);
    ht_table_set_real(t, "fake_quant_accuracy", r->parity.fake_quant_score);
    ht_table_set_real(t, "integer_accuracy", r->parity.integer_score);
    ht_table_set_integer(t, "model_bytes", (int64_t)r->model_bytes);
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

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    char path[HT_PATH_LENGTH];
    struct ht_session session;
    struct ht_export_report report;
    enum ht_status status = ht_export_check_format(cli->values[TO] ? cli->values[TO] : "hdf5", err);
    if (status == HT_OK)
        status = ht_session_from_checkpoint(&session, cli->args[0], err);
    if (status != HT_OK)
        return status;
    if (cli->values[OUT])
        snprintf(path, sizeof path, "%s", cli->values[OUT]);
    else
        snprintf(path, sizeof path, "%s.h5", session.experiment->name);
    if (cli->values[OUT] && strlen(cli->values[OUT]) >= sizeof path)
        status = ht_fail(err, HT_ERR_CONFIG, "--out: the path is too long");
    else if (is_checkpoint(path))
        status =
            ht_fail(err, HT_ERR_CONFIG, "--out: %s is a checkpoint; it is not overwritten", path);
    if (status == HT_OK)
        status = ht_export_session(&report, &session, path, err);
    if (status == HT_OK || status == HT_ERR_THRESHOLD) {
        enum ht_status printed = print_report(cli, path, &report, status == HT_OK ? err : NULL);
        if (status == HT_OK)
            status = printed;
    }
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
