#include <math.h>
#include <stdio.h>

#include "cli/check.h"
#include "base/alloc.h"
#include "cli/cli.h"
#include "report/human.h"
#include "train/links.h"
#include "train/run.h"

enum { RESUME, DRY_RUN };

struct view {
    struct ht_progress progress;
    char moved[HT_PATH_LENGTH]; /* where the earlier run went; emptied when said */
};

static void say_moved(struct view *v)
{
    char text[HT_PATH_LENGTH + 64];
    if (!v->moved[0])
        return;
    snprintf(text, sizeof text, "the earlier run of this name was moved to %s", v->moved);
    ht_progress_say(&v->progress, text);
    v->moved[0] = '\0';
}

/* Each once, when it is found first. */
static void say_warnings(struct view *v, const struct ht_train_event *e)
{
    char text[sizeof e->warnings->message + 16];
    for (size_t i = 0; i < e->n_warnings; i++)
        if (e->warnings[i].first_epoch == e->epoch) {
            snprintf(text, sizeof text, "warning: %s", e->warnings[i].message);
            ht_progress_say(&v->progress, text);
        }
}

static void on_event(void *user, const struct ht_train_event *e)
{
    struct view *v = user;
    char text[160];
    say_moved(v);
    if (e->rounding) {
        ht_progress_update(&v->progress, ht_cli_now(), (uint64_t)e->step, (uint64_t)e->steps,
                           "learning to round");
        return;
    }
    ht_progress_epoch(&v->progress, (unsigned)e->epoch, (unsigned)e->epochs);
    if (!e->epoch_end) {
        snprintf(text, sizeof text, "loss %.4f", e->train_loss);
        ht_progress_update(&v->progress, ht_cli_now(), (uint64_t)e->step, (uint64_t)e->steps, text);
        return;
    }
    int n = snprintf(text, sizeof text, "loss %.4f", e->train_loss);
    if (isfinite(e->validation_score))
        snprintf(text + n, sizeof text - (size_t)n, ", validation loss %.4f, score %.4f%s",
                 e->validation_loss, e->validation_score, e->improved ? " (best)" : "");
    ht_progress_milestone(&v->progress, ht_cli_now(), (uint64_t)e->step, (uint64_t)e->steps, text);
    say_warnings(v, e);
}

static void say(void *user, const char *text)
{
    ht_progress_say(&((struct view *)user)->progress, text);
}

static const struct ht_column columns[] = {
    {.key = "name", .title = "run", .kind = HT_COLUMN_TEXT},
    {.key = "weight_bits", .title = "weight\nbits", .kind = HT_COLUMN_INTEGER},
    {.key = "activation_bits", .title = "activation\nbits", .kind = HT_COLUMN_INTEGER},
    {.key = "score_name", .title = "score", .kind = HT_COLUMN_TEXT},
    {.key = "split", .title = "of", .kind = HT_COLUMN_TEXT},
    {.key = "score", .title = "trained", .kind = HT_COLUMN_PERCENT, .digits = 2},
    {.key = "integer_score", .title = "integer", .kind = HT_COLUMN_PERCENT, .digits = 2},
    {.key = "reconstruction_error",
     .title = "squared\nerror",
     .kind = HT_COLUMN_REAL,
     .digits = 4,
     .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "anomaly_auc",
     .title = "anomaly\nAUC",
     .kind = HT_COLUMN_REAL,
     .digits = 4,
     .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "mismatched_outputs", .title = "outputs\nthat differ", .kind = HT_COLUMN_INTEGER},
    {.key = "outputs_compared", .title = "outputs\ncompared", .kind = HT_COLUMN_INTEGER},
    {.key = "model_bytes", .title = "size", .kind = HT_COLUMN_BYTES},
    {.key = "best_epoch", .title = "best\nepoch", .kind = HT_COLUMN_INTEGER},
    {.key = "validation_score", .kind = HT_COLUMN_PERCENT, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "seed", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "epochs", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "float_bytes", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "train_seconds", .title = "training\ntime", .kind = HT_COLUMN_SECONDS},
    {.key = "samples_per_s", .title = "samples\nper second", .kind = HT_COLUMN_REAL},
    {.key = "accumulator_bits", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "product_bits", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "warnings", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "run_dir", .kind = HT_COLUMN_TEXT, .flags = HT_COLUMN_MACHINE_ONLY},
};

#define N_COLUMNS (sizeof columns / sizeof *columns)

static enum ht_status print_result(const struct ht_cli *cli, const struct ht_run_result *r,
                                   struct ht_error *err)
{
    struct ht_table *t;
    struct ht_column *shown = ht_cli_score_columns(columns, N_COLUMNS, r->score_name);
    if (!shown)
        return ht_fail_memory(err);
    if (isfinite(r->reconstruction_error))
        ht_cli_show_column(shown, N_COLUMNS, "reconstruction_error");
    if (isfinite(r->anomaly_auc))
        ht_cli_show_column(shown, N_COLUMNS, "anomaly_auc");
    enum ht_status status = ht_table_create(&t, shown, N_COLUMNS, err);
    if (status != HT_OK) {
        ht_free(shown);
        return status;
    }
    ht_table_add_row(t);
    ht_table_set_text(t, "name", r->name);
    ht_table_set_integer(t, "weight_bits", r->weight_bits);
    ht_table_set_integer(t, "activation_bits", r->activation_bits);
    ht_table_set_text(t, "score_name", r->score_name);
    ht_table_set_text(t, "split", r->split);
    ht_table_set_real(t, "score", r->score);
    ht_table_set_real(t, "reconstruction_error", r->reconstruction_error);
    ht_table_set_real(t, "anomaly_auc", r->anomaly_auc);
    if (r->outputs_compared) {
        ht_table_set_real(t, "integer_score", r->integer_score);
        ht_table_set_integer(t, "mismatched_outputs", (int64_t)r->mismatched_outputs);
        ht_table_set_integer(t, "outputs_compared", (int64_t)r->outputs_compared);
    }
    ht_table_set_integer(t, "model_bytes", (int64_t)r->model_bytes);
    ht_table_set_integer(t, "best_epoch", r->best_epoch);
    ht_table_set_real(t, "validation_score", r->validation_score);
    ht_table_set_integer(t, "seed", (int64_t)r->seed);
    ht_table_set_integer(t, "epochs", r->epochs);
    ht_table_set_integer(t, "float_bytes", (int64_t)r->float_bytes);
    ht_table_set_real(t, "train_seconds", r->train_seconds);
    ht_table_set_real(t, "samples_per_s", r->samples_per_s);
    if (r->accumulator_bits) {
        ht_table_set_integer(t, "accumulator_bits", r->accumulator_bits);
        ht_table_set_integer(t, "product_bits", r->product_bits);
    }
    ht_table_set_integer(t, "warnings", (int64_t)r->n_warnings);
    ht_table_set_text(t, "run_dir", r->run_dir);
    status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    ht_free(shown);
    return status;
}

/* The ones that the last epoch still had, by name; their messages came when they began, unless
 * there was no training. */
static void say_remaining(const struct ht_cli *cli, const struct ht_run_result *r)
{
    char names[1024];
    size_t n = 0, standing = 0;
    for (size_t i = 0; i < r->n_warnings; i++) {
        const struct ht_warning *w = &r->warnings[i];
        if (r->epochs == 0)
            ht_cli_say(cli, "warning: %s", w->message);
        if (w->last_epoch != r->epochs)
            continue;
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s (%s)", standing++ ? ", " : "",
                              w->check, w->where);
        n = n < sizeof names ? n : sizeof names - 1;
    }
    if (r->n_warnings)
        ht_cli_say(cli, "warnings: %zu, at the end %zu%s%s (result.json has them all)",
                   r->n_warnings, standing, standing ? ": " : "", standing ? names : "");
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_config *config;
    struct ht_run_result result;
    struct view view = {.moved = ""};
    enum ht_status status = ht_cli_config(cli, &config, err);
    if (status != HT_OK)
        return status;
    const struct ht_experiment *e = ht_config_experiment(config);
    if (cli->values[DRY_RUN]) {
        status = ht_links_refuse(e, err);
        if (status == HT_OK)
            status = ht_cli_print_plan(cli, e, err);
        if (status == HT_ERR_CONFIG)
            ht_cli_show_place(config, err);
        ht_config_destroy(config);
        return status;
    }
    struct ht_train_hooks hooks = {on_event, &view, cli->stop, say};
    ht_progress_begin(&view.progress, stderr, cli->quiet, e->name, ht_cli_now());
    status = ht_run_train(&result, e, cli->values[RESUME] != NULL, &hooks, view.moved, err);
    say_moved(&view); /* it failed before the first step */
    ht_progress_end(&view.progress, ht_cli_now(), NULL);
    if (status == HT_OK || status == HT_ERR_THRESHOLD) {
        enum ht_status printed = print_result(cli, &result, status == HT_OK ? err : NULL);
        if (status == HT_OK)
            status = printed;
        ht_cli_say(cli, "run folder: %s%s%s", result.run_dir,
                   result.model_path[0] ? "\ninteger model: " : "", result.model_path);
        say_remaining(cli, &result);
    }
    if (status == HT_ERR_CONFIG)
        ht_cli_show_place(config, err);
    ht_config_destroy(config);
    return status;
}

const struct ht_command ht_command_train = {
    .name = "train",
    .arguments = "EXPERIMENT.yaml [key=value ...]",
    .summary = "train one network, export and check its integer model",
    .details =
        "The run goes to RUN.DIR/NAME (runs/NAME); an earlier run there is moved to NAME.1,\n"
        "never overwritten. Ctrl-C saves within a step; --resume goes on bit for bit.",
    .options = {[RESUME] = {"resume", 0, NULL, "go on from the run's last checkpoint"},
                [DRY_RUN] = {"dry-run", 'n', NULL, "say what would be trained, and stop"}},
    .min_args = 1,
    .max_args = -1,
    .stops_softly = true,
    .run = run,
};
