#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "train/session.h"

enum { DATA, SPLIT };

static const struct ht_column columns[] = {
    {.key = "name", .title = "model", .kind = HT_COLUMN_TEXT},
    {.key = "data", .kind = HT_COLUMN_TEXT},
    {.key = "split", .kind = HT_COLUMN_TEXT},
    {.key = "samples", .kind = HT_COLUMN_INTEGER},
    {.key = "score_name", .title = "score", .kind = HT_COLUMN_TEXT},
    {.key = "score", .title = "integer path", .kind = HT_COLUMN_PERCENT, .digits = 2},
    {.key = "reconstruction_error",
     .title = "squared error",
     .kind = HT_COLUMN_REAL,
     .digits = 4,
     .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "anomaly_auc",
     .title = "anomaly AUC",
     .kind = HT_COLUMN_REAL,
     .digits = 4,
     .flags = HT_COLUMN_MACHINE_ONLY},
};

#define N_COLUMNS (sizeof columns / sizeof *columns)

static enum ht_status print_result(const struct ht_cli *cli, const struct ht_qmodel *model,
                                   const struct ht_session *s, const char *split,
                                   const struct ht_evaluation *v, struct ht_error *err)
{
    struct ht_table *t;
    struct ht_column *shown = ht_cli_score_columns(columns, N_COLUMNS, s->objective.score);
    if (!shown)
        return ht_fail_memory(err);
    const bool reconstructs = s->objective.task == HT_AUTOENCODER;
    if (reconstructs)
        ht_cli_show_column(shown, N_COLUMNS, "reconstruction_error");
    if (isfinite(v->auc))
        ht_cli_show_column(shown, N_COLUMNS, "anomaly_auc");
    enum ht_status status = ht_table_create(&t, shown, N_COLUMNS, err);
    if (status != HT_OK) {
        ht_free(shown);
        return status;
    }
    ht_table_add_row(t);
    ht_table_set_text(t, "name", model->name);
    ht_table_set_text(t, "data", s->dataset->name);
    ht_table_set_text(t, "split", split);
    ht_table_set_integer(t, "samples", (int64_t)v->n);
    ht_table_set_text(t, "score_name", s->objective.score);
    ht_table_set_real(t, "score", v->score);
    if (reconstructs)
        ht_table_set_real(t, "reconstruction_error", v->error);
    ht_table_set_real(t, "anomaly_auc", v->auc);
    status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    ht_free(shown);
    return status;
}

static enum ht_status find_split(const char *name, const struct ht_dataset *d, int *ret,
                                 struct ht_error *err)
{
    for (*ret = 0; *ret < HT_N_SPLITS; ++*ret)
        if (strcmp(name, ht_split_name((enum ht_split) * ret)) == 0)
            return d->count[*ret] ? HT_OK
                                  : ht_fail(err, HT_ERR_DATA, "%s has no %s part", d->name, name);
    return ht_fail(err, HT_ERR_CONFIG, "--split: expected train, validation or test, not '%s'",
                   name);
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_qmodel *model;
    struct ht_pool *pool = NULL;
    struct ht_session session;
    struct ht_kernels kernels;
    struct ht_evaluation v;
    int split = HT_TEST;
    char path[HT_PATH_LENGTH + 64];
    ht_cli_model_path(cli->args[0], path);
    enum ht_status status = ht_run_kernels(&kernels, err);
    if (status == HT_OK)
        status = ht_cli_pool(&pool, err);
    if (status == HT_OK)
        status = ht_qmodel_load(&model, path, err);
    if (status != HT_OK) {
        ht_pool_destroy(pool);
        return status;
    }
    status = ht_session_from_model(&session, model, path, cli->values[DATA], err);
    if (status == HT_OK && session.other_data && !cli->values[DATA])
        ht_cli_say(cli, "note: the files of %s are not those that the model was trained on",
                   session.dataset->name);
    if (status == HT_OK) {
        status = find_split(cli->values[SPLIT] ? cli->values[SPLIT] : "test", session.dataset,
                            &split, err);
        if (status == HT_OK)
            status = ht_evaluate_integer(&v, model, &session.objective, &kernels, pool,
                                         session.dataset, (enum ht_split)split, err);
        if (status == HT_OK)
            status =
                print_result(cli, model, &session, ht_split_name((enum ht_split)split), &v, err);
        ht_session_finish(&session);
    }
    ht_qmodel_destroy(model);
    ht_pool_destroy(pool);
    return status;
}

const struct ht_command ht_command_eval = {
    .name = "eval",
    .arguments = "MODEL [--data NAME] [--split test]",
    .summary = "score an exported model on its data, by the integer path",
    .options = {[DATA] = {"data", 0, "NAME",
                          "another dataset than the model was trained on (name or descriptor)"},
                [SPLIT] = {"split", 0, "PART", "train, validation or test (default: test)"}},
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
