#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "data/rows.h"
#include "infer/runtime.h"
#include "train/run.h"

#define BATCH          256
#define MAX_SHOWN      16 /* outputs that get a column for people */
#define FIXED_COLUMNS  4
#define MAX_OUTPUT_KEY 32

/* Columns: file, row, class and its name, then one for each output. */
struct columns {
    struct ht_column *columns;
    char (*keys)[MAX_OUTPUT_KEY];
    size_t n;
};

static enum ht_status make_columns(struct columns *c, const struct ht_qmodel *m, bool classes,
                                   struct ht_error *err)
{
    static const struct ht_column fixed[FIXED_COLUMNS] = {
        {.key = "file", .kind = HT_COLUMN_TEXT},
        {.key = "row", .kind = HT_COLUMN_INTEGER},
        {.key = "class", .kind = HT_COLUMN_INTEGER},
        {.key = "name", .kind = HT_COLUMN_TEXT},
    };
    c->n = FIXED_COLUMNS + m->outputs;
    c->columns = ht_calloc(c->n, sizeof *c->columns);
    c->keys = ht_calloc(m->outputs, sizeof *c->keys);
    if (!c->columns || !c->keys)
        return ht_fail_memory(err);
    memcpy(c->columns, fixed, sizeof fixed);
    for (size_t i = 2; i < FIXED_COLUMNS && !classes; i++)
        c->columns[i].flags = HT_COLUMN_MACHINE_ONLY;
    for (size_t j = 0; j < m->outputs; j++) {
        struct ht_column *column = &c->columns[FIXED_COLUMNS + j];
        snprintf(c->keys[j], MAX_OUTPUT_KEY, "output_%zu", j);
        column->key = c->keys[j];
        column->kind = HT_COLUMN_REAL;
        column->digits = 3;
        column->flags = m->outputs > MAX_SHOWN ? HT_COLUMN_MACHINE_ONLY : 0;
    }
    return HT_OK;
}

static void add_row(struct ht_table *t, const struct columns *c, const struct ht_qmodel *m,
                    bool classes, const char *file, size_t row, const float *y)
{
    ht_table_add_row(t);
    ht_table_set_text(t, "file", file);
    ht_table_set_integer(t, "row", (int64_t)row + 1);
    if (classes) {
        size_t class = ht_qmodel_class(m, y);
        ht_table_set_integer(t, "class", (int64_t) class);
        if (class < m->n_classes)
            ht_table_set_text(t, "name", m->classes[class]);
    }
    for (size_t j = 0; j < m->outputs; j++) {
        double v = (double)y[j];
        if (m->target_mean) /* back to the unit of the targets */
            v = v * (double)m->target_std[j] + (double)m->target_mean[j];
        ht_table_set_real(t, c->keys[j], v);
    }
}

static enum ht_status predict_file(struct ht_table *t, const struct columns *c,
                                   const struct ht_qmodel *m, struct ht_runner *runner,
                                   bool classes, const char *path, struct ht_error *err)
{
    float *rows, *y = ht_calloc(BATCH * m->outputs, sizeof *y);
    size_t n;
    if (!y)
        return ht_fail_memory(err);
    enum ht_status status = ht_rows_read(&rows, &n, path, m->input.features, err);
    if (status == HT_OK) {
        for (size_t at = 0; at < n; at += BATCH) {
            size_t count = n - at < BATCH ? n - at : BATCH;
            ht_runner_run_raw(runner, rows + at * m->input.features, count, y);
            for (size_t i = 0; i < count; i++)
                add_row(t, c, m, classes, path, at + i, y + i * m->outputs);
        }
        ht_free(rows);
    }
    ht_free(y);
    return status;
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_qmodel *m = NULL;
    struct ht_runtime *runtime = NULL;
    struct ht_runner *runner = NULL;
    struct ht_pool *pool = NULL;
    struct ht_table *t = NULL;
    struct ht_kernels kernels;
    struct columns c = {0};
    bool classes = false;
    char path[HT_PATH_LENGTH + 64];
    ht_cli_model_path(cli->args[0], path);
    enum ht_status status = ht_run_kernels(&kernels, err);
    if (status == HT_OK)
        status = ht_cli_pool(&pool, err);
    if (status == HT_OK)
        status = ht_qmodel_load(&m, path, err);
    if (status == HT_OK) {
        classes = strcmp(m->task, "classification") == 0;
        status = make_columns(&c, m, classes, err);
    }
    if (status == HT_OK)
        status = ht_runtime_create(&runtime, m, &kernels, err);
    if (status == HT_OK)
        status = ht_runner_create(&runner, runtime, BATCH, pool, err);
    if (status == HT_OK)
        status = ht_table_create(&t, c.columns, c.n, err);
    for (int i = 1; i < cli->n_args && status == HT_OK; i++)
        status = predict_file(t, &c, m, runner, classes, cli->args[i], err);
    if (status == HT_OK)
        status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    ht_runner_destroy(runner);
    ht_runtime_destroy(runtime);
    ht_pool_destroy(pool);
    ht_qmodel_destroy(m);
    ht_free(c.columns);
    ht_free(c.keys);
    return status;
}

const struct ht_command ht_command_predict = {
    .name = "predict",
    .arguments = "MODEL INPUT...",
    .summary = "classes and outputs for rows of your own files",
    .details = "INPUT: CSV (a column a feature, header or not), IDX or HDF5; values as in the\n"
               "training data: the model brings its own standardization. .gz is fine.",
    .min_args = 2,
    .max_args = -1,
    .run = run,
};
