#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "report/human.h"
#include "train/compare.h"

enum { BITS, SEEDS, JOBS, RESUME };

static const struct ht_column columns[] = {
    {.key = "name", .title = "variant", .kind = HT_COLUMN_TEXT},
    {.key = "weight_bits", .title = "bits\nw", .kind = HT_COLUMN_INTEGER},
    {.key = "activation_bits", .title = "\na", .kind = HT_COLUMN_INTEGER},
    {.key = "seeds",
     .title = "\nseeds",
     .kind = HT_COLUMN_INTEGER,
     .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "score_name", .kind = HT_COLUMN_TEXT, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "split", .kind = HT_COLUMN_TEXT, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "float_accuracy",
     .title = "accuracy\nfloat32",
     .kind = HT_COLUMN_STAT_PERCENT,
     .digits = 2},
    {.key = "fake_quant_accuracy",
     .title = "\nfake-quant",
     .kind = HT_COLUMN_STAT_PERCENT,
     .digits = 2},
    {.key = "integer_accuracy", .title = "\ninteger", .kind = HT_COLUMN_STAT_PERCENT, .digits = 2},
    {.key = "difference",
     .title = "integer -\nfloat32",
     .kind = HT_COLUMN_TEXT,
     .align = HT_ALIGN_RIGHT,
     .flags = HT_COLUMN_HUMAN_ONLY},
    {.key = "accuracy_difference", .kind = HT_COLUMN_REAL, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "accuracy_difference_error", .kind = HT_COLUMN_REAL, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "reconstruction_error",
     .title = "squared\nerror",
     .kind = HT_COLUMN_STAT,
     .digits = 4,
     .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "float_anomaly_auc",
     .title = "anomaly AUC\nfloat32",
     .kind = HT_COLUMN_STAT,
     .digits = 4,
     .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "integer_anomaly_auc",
     .title = "\ninteger",
     .kind = HT_COLUMN_STAT,
     .digits = 4,
     .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "mismatched_outputs", .title = "outputs\ndiffer", .kind = HT_COLUMN_INTEGER},
    {.key = "outputs_compared", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "model_bytes", .title = "\nsize", .kind = HT_COLUMN_BYTES},
    {.key = "float_bytes", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "smaller",
     .title = "\nsmaller",
     .kind = HT_COLUMN_TEXT,
     .align = HT_ALIGN_RIGHT,
     .flags = HT_COLUMN_HUMAN_ONLY},
    {.key = "latency_us_batch1",
     .title = "latency\nbatch 1",
     .kind = HT_COLUMN_SECONDS,
     .unit = 1e-6},
    {.key = "train_seconds", .title = "\ntraining", .kind = HT_COLUMN_SECONDS},
    {.key = "samples_per_s", .kind = HT_COLUMN_REAL, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "accumulator_bits", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "product_bits", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "warnings", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "run_dir", .kind = HT_COLUMN_TEXT, .flags = HT_COLUMN_MACHINE_ONLY},
};

static void set_stat(struct ht_table *t, const char *key, const struct ht_stat *s)
{
    ht_table_set_stat(t, key, s->mean, s->std, s->n);
}

/* "-0.42 ± 0.10": points of accuracy, and the standard error of that mean. */
static void set_difference(struct ht_table *t, const struct ht_compare_row *r)
{
    char text[64];
    const bool accuracy = strcmp(r->score_name, "accuracy") == 0;
    const double unit = accuracy ? 100 : 1; /* points, or r2 itself */
    const int digits = accuracy ? 2 : 4;
    ht_table_set_real(t, "accuracy_difference", r->difference);
    ht_table_set_real(t, "accuracy_difference_error", r->difference_error);
    if (!isfinite(r->difference))
        return;
    if (isfinite(r->difference_error))
        snprintf(text, sizeof text, "%+.*f ± %.*f", digits, unit * r->difference, digits,
                 unit * r->difference_error);
    else
        snprintf(text, sizeof text, "%+.*f", digits, unit * r->difference);
    ht_table_set_text(t, "difference", text);
}

static void add_row(struct ht_table *t, const struct ht_compare_row *r)
{
    char smaller[32];
    snprintf(smaller, sizeof smaller, "%.1fx", (double)r->float_bytes / (double)r->model_bytes);
    const bool trained = r->seeds > 0; /* else there is nothing to tell of it */
    ht_table_add_row(t);
    ht_table_set_text(t, "name", r->name);
    ht_table_set_integer(t, "weight_bits", r->weight_bits);
    ht_table_set_integer(t, "activation_bits", r->activation_bits);
    ht_table_set_integer(t, "seeds", r->seeds);
    ht_table_set_text(t, "score_name", r->score_name);
    ht_table_set_text(t, "split", r->split);
    set_stat(t, "float_accuracy", &r->float_score);
    set_stat(t, "fake_quant_accuracy", &r->fake_quant_score);
    set_stat(t, "integer_accuracy", &r->integer_score);
    set_stat(t, "reconstruction_error", &r->reconstruction_error);
    set_stat(t, "float_anomaly_auc", &r->float_auc);
    set_stat(t, "integer_anomaly_auc", &r->integer_auc);
    set_difference(t, r);
    ht_table_set_integer(t, "float_bytes", (int64_t)r->float_bytes);
    if (trained) {
        ht_table_set_integer(t, "mismatched_outputs", (int64_t)r->mismatched_outputs);
        ht_table_set_integer(t, "outputs_compared", (int64_t)r->outputs_compared);
        ht_table_set_integer(t, "model_bytes", (int64_t)r->model_bytes);
        ht_table_set_text(t, "smaller", smaller);
        ht_table_set_real(t, "latency_us_batch1", r->latency_us);
        ht_table_set_real(t, "train_seconds", r->train_seconds);
        ht_table_set_real(t, "samples_per_s", r->samples_per_s);
    }
    if (r->accumulator_bits) {
        ht_table_set_integer(t, "accumulator_bits", r->accumulator_bits);
        ht_table_set_integer(t, "product_bits", r->product_bits);
    }
    ht_table_set_integer(t, "warnings", (int64_t)r->warnings);
    ht_table_set_text(t, "run_dir", r->run_dir);
}

#define N_COLUMNS (sizeof columns / sizeof *columns)

static enum ht_status print_rows(const struct ht_cli *cli, const struct ht_compare_row *rows,
                                 size_t n, struct ht_error *err)
{
    struct ht_table *t;
    struct ht_column *shown =
        ht_cli_score_columns(columns, N_COLUMNS, n ? rows[0].score_name : "accuracy");
    if (!shown)
        return ht_fail_memory(err);
    if (n && rows[0].reconstruction_error.n)
        ht_cli_show_column(shown, N_COLUMNS, "reconstruction_error");
    if (n && rows[0].float_auc.n) {
        ht_cli_show_column(shown, N_COLUMNS, "float_anomaly_auc");
        ht_cli_show_column(shown, N_COLUMNS, "integer_anomaly_auc");
    }
    enum ht_status status = ht_table_create(&t, shown, N_COLUMNS, err);
    if (status != HT_OK) {
        ht_free(shown);
        return status;
    }
    for (size_t i = 0; i < n; i++)
        add_row(t, &rows[i]);
    status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    ht_free(shown);
    return status;
}

static void on_event(void *user, int64_t steps_done, int64_t steps, int jobs_done, int jobs,
                     const char *finished, const struct ht_run_result *result)
{
    struct ht_progress *p = user;
    char text[160];
    snprintf(text, sizeof text, "%d of %d trained", jobs_done, jobs);
    if (!finished) {
        ht_progress_update(p, ht_cli_now(), (uint64_t)steps_done, (uint64_t)steps, text);
        return;
    }
    snprintf(text, sizeof text, "%s: %s %.2f%% on %s, %s", finished, result->score_name,
             100 * (isfinite(result->integer_score) ? result->integer_score : result->score),
             result->split, ht_human_seconds(result->train_seconds).s);
    ht_progress_say(p, text);
    for (size_t i = 0; i < result->n_warnings; i++) {
        char warning[sizeof result->warnings->message + 2 * HT_NAME_LENGTH];
        snprintf(warning, sizeof warning, "%s: warning: %s", finished, result->warnings[i].message);
        ht_progress_say(p, warning);
    }
}

static void on_lost(void *user, const char *why)
{
    ht_progress_say(user, why);
}

static enum ht_status parse(const struct ht_cli *cli, struct ht_compare_options *o, int *bits,
                            struct ht_error *err)
{
    long seeds = 1, jobs = 1;
    enum ht_status status = HT_OK;
    if (cli->values[BITS]) {
        o->bits = bits;
        status = ht_cli_widths(cli->values[BITS], "--bits", 32, bits, &o->n_bits, err);
    }
    if (status == HT_OK && cli->values[SEEDS])
        status = ht_cli_integer(cli->values[SEEDS], "--seeds", 1, 1000, &seeds, err);
    if (status == HT_OK && cli->values[JOBS])
        status = ht_cli_integer(cli->values[JOBS], "--jobs", 1, 256, &jobs, err);
    o->seeds = (int)seeds;
    o->jobs = (int)jobs;
    o->resume = cli->values[RESUME] != NULL;
    o->stop = cli->stop;
    return status;
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_config *config;
    struct ht_compare_options options = {0};
    struct ht_compare_row *rows = NULL;
    struct ht_progress progress;
    int bits[HT_CLI_MAX_WIDTHS];
    size_t n = 0;
    enum ht_status status = parse(cli, &options, bits, err);
    if (status == HT_OK)
        status = ht_cli_config(cli, &config, err);
    if (status != HT_OK)
        return status;
    const struct ht_experiment *e = ht_config_experiment(config);
    ht_progress_begin(&progress, stderr, cli->quiet, e->name, ht_cli_now());
    options.event = on_event;
    options.lost = on_lost;
    options.user = &progress;
    status = ht_compare(&rows, &n, config, &options, err);
    ht_progress_end(&progress, ht_cli_now(), NULL);
    if (rows) {
        enum ht_status printed = print_rows(cli, rows, n, status == HT_OK ? err : NULL);
        if (status == HT_OK)
            status = printed;
        ht_cli_say(cli, "runs and models: %s/%s/", e->run.dir, e->name);
    }
    ht_free(rows);
    if (status == HT_ERR_CONFIG)
        ht_cli_show_place(config, err);
    ht_config_destroy(config);
    return status;
}

const struct ht_command ht_command_compare = {
    .name = "compare",
    .arguments = "EXPERIMENT.yaml [key=value ...]",
    .summary = "train variants x seeds and show what each bit width costs",
    .details =
        "Without --bits the variants of the file are compared, or 32, 8, 4 and 2 bits if it has\n"
        "none. Accuracy is of the test part: mean ± standard deviation over the seeds; the\n"
        "difference to float32 has the standard error of its mean. Latency is one sample on one\n"
        "thread, measured after all training.",
    .options = {[BITS] = {"bits", 'b', "32,8,4,2", "weight widths to compare; 32 is float32"},
                [SEEDS] = {"seeds", 's', "N", "seeds per variant: seed, seed + 1, ... (default 1)"},
                [JOBS] = {"jobs", 'j', "N", "trainings at a time (default 1)"},
                [RESUME] = {"resume", 0, NULL,
                            "keep finished runs of this experiment, go on with the others"}},
    .min_args = 1,
    .max_args = -1,
    .stops_softly = true,
    .run = run,
};
