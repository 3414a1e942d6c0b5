#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/inspect.h"
#include "import/tensors.h"
#include "io/container.h"
#include "io/file.h"
#include "report/human.h"
#include "train/checkpoint.h"

/* --- checkpoints: every tensor in them --- */

static const struct ht_column tensor_columns[] = {
    {.key = "tensor", .kind = HT_COLUMN_TEXT},
    {.key = "shape", .kind = HT_COLUMN_TEXT, .align = HT_ALIGN_RIGHT},
    {.key = "min", .kind = HT_COLUMN_REAL, .digits = 5},
    {.key = "mean", .kind = HT_COLUMN_REAL, .digits = 5},
    {.key = "max", .kind = HT_COLUMN_REAL, .digits = 5},
    {.key = "bytes", .kind = HT_COLUMN_BYTES},
};

struct walk {
    struct ht_container_reader *reader;
    struct ht_table *table;
    char folder[512];
    struct ht_error *err;
};

static enum ht_status add_tensor(struct walk *w, const char *path)
{
    enum ht_container_type type;
    size_t shape[4], n = 1;
    int rank;
    char text[64];
    enum ht_status status = ht_container_info(w->reader, path, &type, &rank, shape, w->err);
    if (status != HT_OK || type != HT_F32 || rank == 0)
        return status;
    for (int i = 0; i < rank; i++)
        n *= shape[i]; /* the container bounds the product */
    float *x = ht_calloc(n, sizeof *x);
    if (!x)
        return ht_fail_memory(w->err);
    status = ht_container_get(w->reader, path, HT_F32, x, n, w->err);
    if (status == HT_OK) {
        double lo = (double)x[0], hi = lo, sum = 0;
        for (size_t i = 0; i < n; i++) {
            lo = (double)x[i] < lo ? (double)x[i] : lo;
            hi = (double)x[i] > hi ? (double)x[i] : hi;
            sum += (double)x[i];
        }
        if (rank == 2 && shape[0] > 1)
            snprintf(text, sizeof text, "%zux%zu", shape[0], shape[1]);
        else
            snprintf(text, sizeof text, "%zu", n);
        ht_table_add_row(w->table);
        ht_table_set_text(w->table, "tensor", path + 1);
        ht_table_set_text(w->table, "shape", text);
        ht_table_set_real(w->table, "min", lo);
        ht_table_set_real(w->table, "mean", sum / (double)n);
        ht_table_set_real(w->table, "max", hi);
        ht_table_set_integer(w->table, "bytes", (int64_t)(n * sizeof *x));
    }
    ht_free(x);
    return status;
}

static enum ht_status visit(void *user, const char *name, int is_group)
{
    struct walk *w = user;
    size_t length = strlen(w->folder);
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", w->folder, name);
    if (!is_group)
        return add_tensor(w, path);
    snprintf(w->folder, sizeof w->folder, "%.511s", path);
    enum ht_status status = ht_container_list(w->reader, path, visit, w, w->err);
    w->folder[length] = '\0';
    return status;
}

static enum ht_status inspect_checkpoint(const struct ht_cli *cli, struct ht_container_reader *r,
                                         struct ht_error *err)
{
    struct walk w = {r, NULL, "", err};
    int64_t epoch = 0, step = 0;
    enum ht_status status = ht_table_create(&w.table, tensor_columns,
                                            sizeof tensor_columns / sizeof *tensor_columns, err);
    if (status == HT_OK)
        status = ht_container_list(r, "/", visit, &w, err);
    if (status == HT_OK)
        status = ht_container_get_attr_i64(r, "/", "epoch", &epoch, err);
    if (status == HT_OK)
        status = ht_container_get_attr_i64(r, "/", "step", &step, err);
    if (status == HT_OK)
        status = ht_table_write(w.table, cli->format, stdout, err);
    if (status == HT_OK)
        ht_cli_say(cli, "checkpoint after %lld epochs, step %lld", (long long)epoch,
                   (long long)step);
    ht_table_destroy(w.table);
    return status;
}

/* --- files of other programs, and what export writes for them --- */

static const struct ht_column foreign_columns[] = {
    {.key = "tensor", .kind = HT_COLUMN_TEXT},
    {.key = "type", .kind = HT_COLUMN_TEXT},
    {.key = "shape", .kind = HT_COLUMN_TEXT, .align = HT_ALIGN_RIGHT},
    {.key = "bits", .kind = HT_COLUMN_INTEGER},
    {.key = "grid", .kind = HT_COLUMN_TEXT},
    {.key = "min", .kind = HT_COLUMN_REAL, .digits = 5},
    {.key = "max", .kind = HT_COLUMN_REAL, .digits = 5},
    {.key = "bytes", .kind = HT_COLUMN_BYTES},
};

static enum ht_status add_foreign(struct ht_table *table, const struct ht_import_file *f,
                                  const struct ht_import_tensor *t, struct ht_error *err)
{
    char shape[96];
    ht_import_print_shape(t, shape);
    ht_table_add_row(table);
    ht_table_set_text(table, "tensor", t->name);
    ht_table_set_text(table, "type", t->type);
    ht_table_set_text(table, "shape", shape);
    ht_table_set_integer(table, "bytes", (int64_t)t->bytes);
    if (t->bits)
        ht_table_set_integer(table, "bits", t->bits);
    ht_table_set_text(table, "grid", t->grid[0] ? t->grid : NULL);
    if (t->number == HT_IMPORT_NONE || t->n == 0)
        return HT_OK;
    float *x = ht_calloc(t->n, sizeof *x);
    if (!x)
        return ht_fail_memory(err);
    if (ht_import_values(f, t, x, NULL) == HT_OK) { /* else not finite: no range to show */
        double lo = (double)x[0], hi = lo;
        for (size_t i = 0; i < t->n; i++) {
            lo = (double)x[i] < lo ? (double)x[i] : lo;
            hi = (double)x[i] > hi ? (double)x[i] : hi;
        }
        ht_table_set_real(table, "min", lo);
        ht_table_set_real(table, "max", hi);
    }
    ht_free(x);
    return HT_OK;
}

static enum ht_status inspect_foreign(const struct ht_cli *cli, const char *path,
                                      struct ht_error *err)
{
    struct ht_import_file *f;
    struct ht_table *t = NULL;
    uint64_t bytes = 0;
    enum ht_status status = ht_import_list(&f, path, err);
    if (status != HT_OK)
        return status;
    status =
        ht_table_create(&t, foreign_columns, sizeof foreign_columns / sizeof *foreign_columns, err);
    for (size_t i = 0; status == HT_OK && i < f->n_tensors; i++) {
        status = add_foreign(t, f, &f->tensors[i], err);
        bytes += f->tensors[i].bytes;
    }
    if (status == HT_OK)
        status = ht_table_write(t, cli->format, stdout, err);
    if (status == HT_OK)
        ht_cli_say(cli, "%s: %zu tensors, %s of data", ht_import_format_of(path)->name,
                   f->n_tensors, ht_human_bytes(bytes).s);
    ht_table_destroy(t);
    ht_import_destroy(f);
    return status;
}

/* A run folder stands for its model, or without one for its checkpoint. */
static enum ht_status find_file(const char *argument, char path[HT_PATH_LENGTH + 64],
                                struct ht_error *err)
{
    ht_cli_model_path(argument, path);
    if (strcmp(argument, path) != 0 && !ht_file_exists(path))
        return ht_checkpoint_find(argument, path, err);
    return HT_OK;
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_container_reader *r;
    char path[HT_PATH_LENGTH + 64];
    enum ht_status status = find_file(cli->args[0], path, err);
    if (status == HT_OK && ht_import_format_of(path))
        return inspect_foreign(cli, path, err);
    if (status == HT_OK)
        status = ht_container_open(&r, path, NULL, 1u << 30, err);
    if (status != HT_OK)
        return status;
    if (strcmp(ht_container_kind(r), "model") == 0)
        status = ht_cli_inspect_model(cli, path, err);
    else
        status = inspect_checkpoint(cli, r, err);
    ht_container_close(r);
    return status;
}

const struct ht_command ht_command_inspect = {
    .name = "inspect",
    .arguments = "FILE",
    .summary = "show what is in a file: layers, bits, scales, codes, sizes; tensors",
    .details = "FILE: a model or checkpoint, a run folder, safetensors, or ONNX (its tensors).",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
