#include "cli/bits.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "io/file.h"
#include "mixed/analysis.h"
#include "mixed/learned.h"
#include "report/human.h"
#include "train/environment.h"
#include "train/setup.h"

enum { METHOD, WHAT, WIDTHS, BYTES, BOPS, ORDER, SAMPLES, PENALTY, OUT };

/* What the options ask for. */
struct request {
    enum { MEASURED, HESSIAN, LEARNED } method;
    bool weights, activations;
    int widths[HT_CLI_MAX_WIDTHS];
    size_t n_widths;
    bool chooses, orders;
    enum ht_mixed_unit unit; /* of the budget, or of the order's costs */
    long budget, samples;
    double penalty;
};

static enum ht_status pick(const char *text, const char *option, const char *const *names, size_t n,
                           int *ret, struct ht_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], text) == 0) {
            *ret = (int)i;
            return HT_OK;
        }
    const char *near = ht_nearest_name(text, names, n);
    return ht_fail(err, HT_ERR_CONFIG, "%s: unknown '%s'%s%s%s; --help lists them", option, text,
                   near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

static enum ht_status parse_unit(const struct ht_cli *cli, struct request *r, struct ht_error *err)
{
    static const char *const units[] = {"bytes", "bops"};
    int unit = 0;
    enum ht_status status = HT_OK;
    r->chooses = cli->values[BYTES] || cli->values[BOPS];
    r->orders = cli->values[ORDER] != NULL;
    if ((cli->values[BYTES] != NULL) + (cli->values[BOPS] != NULL) + r->orders > 1)
        return ht_fail(err, HT_ERR_CONFIG,
                       "--budget-bytes, --budget-bops and --order exclude each other");
    if (r->orders)
        status = pick(cli->values[ORDER], "--order", units, 2, &unit, err);
    else if (cli->values[BYTES])
        status = ht_cli_integer(cli->values[BYTES], "--budget-bytes", 1, 1L << 52, &r->budget, err);
    else if (cli->values[BOPS])
        status = ht_cli_integer(cli->values[BOPS], "--budget-bops", 1, 1L << 52, &r->budget, err);
    const bool penalty_of_bops = r->method == LEARNED && !r->chooses && r->activations;
    r->unit = cli->values[BOPS] || unit == 1 || penalty_of_bops ? HT_MIXED_BOPS : HT_MIXED_BYTES;
    if (status == HT_OK && r->orders && r->method == LEARNED)
        return ht_fail(err, HT_ERR_CONFIG, "--order is for --method measured and hessian");
    if (status == HT_OK && (r->chooses || r->orders) && r->activations && r->unit == HT_MIXED_BYTES)
        return ht_fail(err, HT_ERR_CONFIG,
                       "activations take no bytes of a model: with --what %s the unit is bops",
                       cli->values[WHAT]);
    return status;
}

/* Numbers that only one method takes. */
static enum ht_status parse_numbers(const struct ht_cli *cli, struct request *r,
                                    struct ht_error *err)
{
    const char *penalty = cli->values[PENALTY];
    char *end;
    enum ht_status status = HT_OK;
    r->samples = 64;
    r->penalty = cli->values[BYTES] || cli->values[BOPS] ? 10 : 0.1;
    if (cli->values[SAMPLES] && r->method != HESSIAN)
        return ht_fail(err, HT_ERR_CONFIG, "--samples is for --method hessian");
    if (penalty && r->method != LEARNED)
        return ht_fail(err, HT_ERR_CONFIG, "--penalty is for --method learned");
    if (cli->values[SAMPLES])
        status = ht_cli_integer(cli->values[SAMPLES], "--samples", 1, 1000000, &r->samples, err);
    if (penalty) {
        r->penalty = strtod(penalty, &end);
        if (end == penalty || *end || !(r->penalty >= 0) || !(r->penalty <= 1e9))
            return ht_fail(err, HT_ERR_CONFIG,
                           "--penalty: expected a number from 0 to 1e9, not '%s'", penalty);
    }
    return status;
}

static enum ht_status parse(const struct ht_cli *cli, struct request *r, struct ht_error *err)
{
    static const char *const methods[] = {"measured", "hessian", "learned"};
    static const char *const parts[] = {"weights", "activations", "both"};
    int method = 0, part = 0;
    enum ht_status status = HT_OK;
    memset(r, 0, sizeof *r);
    if (cli->values[METHOD])
        status = pick(cli->values[METHOD], "--method", methods, 3, &method, err);
    if (status == HT_OK && cli->values[WHAT])
        status = pick(cli->values[WHAT], "--what", parts, 3, &part, err);
    r->method = method == 2 ? LEARNED : method == 1 ? HESSIAN : MEASURED;
    r->weights = part != 1;
    r->activations = part != 0;
    const char *widths = r->method == LEARNED ? "8,7,6,5,4,3,2" : "8,4,3,2";
    if (status == HT_OK)
        status = ht_cli_widths(cli->values[WIDTHS] ? cli->values[WIDTHS] : widths, "--widths", 8,
                               r->widths, &r->n_widths, err);
    if (status == HT_OK)
        status = parse_numbers(cli, r, err);
    return status == HT_OK ? parse_unit(cli, r, err) : status;
}

/* --- the experiment that is printed --- */

/* A descriptor's path is relative to the experiment's file; the printed one may lie elsewhere. */
static void settle_descriptor(struct ht_experiment *e, const char *out)
{
    const size_t n = strlen(e->data.name);
    char file[HT_PATH_LENGTH], path[2 * HT_PATH_LENGTH];
    const bool elsewhere = strchr(e->path, '/') || (out && strchr(out, '/'));
    if (!elsewhere || e->data.name[0] == '/' || n < 5 || strcmp(e->data.name + n - 5, ".yaml") != 0)
        return;
    ht_environment_experiment_file(e, file);
    const char *slash = strrchr(file, '/');
    if (slash && snprintf(path, sizeof path, "%.*s/%s", (int)(slash - file), file, e->data.name) <
                     HT_PATH_LENGTH)
        memcpy(e->data.name, path, sizeof e->data.name);
}

/* What is behind a choice. */
struct outcome {
    double *learned;        /* [n_slots] the real widths, or NULL */
    struct ht_evaluation v; /* of the network that learned them; else of the calibrated one */
};

static void describe(const struct ht_mixed_analysis *a, const struct ht_mixed_table *t,
                     const size_t *choice, const struct outcome *o, char *line, size_t size)
{
    snprintf(line, size, "%s bytes, %s bit operations; %s: validation loss %.4f, %s %.4f",
             ht_human_count((int64_t)ht_mixed_bytes(t, choice)).s,
             ht_human_count((int64_t)ht_mixed_bops(t, choice)).s,
             o->learned ? "while learning" : "calibrated", o->v.loss, a->objective.score,
             o->v.score);
}

static enum ht_status print_experiment(const struct ht_cli *cli, const struct ht_mixed_table *t,
                                       const size_t *choice, const struct ht_experiment *base,
                                       const struct outcome *o, const char *line,
                                       struct ht_error *err)
{
    struct ht_text text = {0};
    struct ht_experiment *e = ht_calloc(1, sizeof *e);
    const char *out = cli->values[OUT];
    enum ht_status status = e ? HT_OK : ht_fail_memory(err);
    if (status == HT_OK) {
        *e = *base;
        status = ht_mixed_apply(t, choice, e, err);
    }
    if (status == HT_OK) {
        settle_descriptor(e, out);
        ht_text_printf(&text, "# Widths by halftone bits: %s\n", line);
        status = ht_cli_bits_choice(cli, t, choice, o->learned, &text, err);
        ht_experiment_print(e, &text);
    }
    if (status == HT_OK && text.failed)
        status = ht_fail_memory(err);
    if (status == HT_OK && out)
        status = ht_file_write_atomic(out, ht_text_str(&text), text.len, err);
    else if (status == HT_OK)
        fputs(ht_text_str(&text), stdout);
    ht_text_finish(&text);
    ht_free(e);
    return status;
}

/* Without --out the experiment is what goes to stdout, but for programs that ask for rows. */
static enum ht_status print_choice(const struct ht_cli *cli, const struct ht_mixed_analysis *a,
                                   const struct ht_mixed_table *t, const size_t *choice,
                                   const struct outcome *o, struct ht_error *err)
{
    char line[256];
    const bool rows = cli->format != HT_OUTPUT_TABLE;
    enum ht_status status = HT_OK;
    describe(a, t, choice, o, line, sizeof line);
    ht_cli_say(cli, "chosen: %s", line);
    if (cli->values[OUT] || !rows)
        status = print_experiment(cli, t, choice, a->e, o, line, err);
    if (status == HT_OK && (cli->values[OUT] || rows))
        status = ht_cli_bits_choice(cli, t, choice, o->learned, NULL, err);
    return status;
}

/* --- */

struct view {
    struct ht_progress progress;
    unsigned epochs;
};

static void on_event(void *user, size_t done, size_t of)
{
    ht_progress_update(&((struct view *)user)->progress, ht_cli_now(), done, of, NULL);
}

static void on_epoch(void *user, int epoch, double train_loss, double cost)
{
    struct view *v = user;
    char text[120];
    snprintf(text, sizeof text, "loss %.4f, costs %.1f%% of the widest", train_loss, 100 * cost);
    ht_progress_epoch(&v->progress, (unsigned)epoch, v->epochs);
    ht_progress_milestone(&v->progress, ht_cli_now(), (uint64_t)epoch, v->epochs, text);
}

static void say_uniform(const struct ht_cli *cli, const struct ht_mixed_table *t, size_t *choice)
{
    if (isfinite(t->float_loss))
        ht_cli_say(cli, "validation loss %.4f, score %.4f in float32; %.4f, %.4f at %d bits",
                   t->float_loss, t->float_score, t->widest_loss, t->widest_score, t->widths[0]);
    for (size_t w = 0; w < t->n_widths; w++) {
        for (size_t i = 0; i < t->n_slots; i++)
            choice[i] = w;
        ht_cli_say(cli, "all at %d bits: %s bytes, %s bit operations", t->widths[w],
                   ht_human_count((int64_t)ht_mixed_bytes(t, choice)).s,
                   ht_human_count((int64_t)ht_mixed_bops(t, choice)).s);
    }
}

static enum ht_status fill(const struct request *r, const struct ht_mixed_analysis *a,
                           struct ht_mixed_table *t, struct outcome *o, struct ht_error *err)
{
    enum ht_status status = ht_mixed_measure_bytes(a, t, err);
    if (status != HT_OK)
        return status;
    if (r->method == MEASURED)
        return ht_mixed_measure(a, t, err);
    if (r->method == HESSIAN)
        return ht_mixed_hessian(a, t, (size_t)r->samples, err);
    const struct ht_mixed_learning learning = {.unit = r->unit,
                                               .penalty = r->penalty,
                                               .budget = (uint64_t)r->budget,
                                               .epoch = on_epoch,
                                               .user = a->user};
    o->learned = ht_calloc(t->n_slots, sizeof *o->learned);
    return o->learned ? ht_mixed_learn(a, t, &learning, o->learned, &o->v, err)
                      : ht_fail_memory(err);
}

static enum ht_status choose(const struct ht_cli *cli, const struct request *r,
                             const struct ht_mixed_analysis *a, const struct ht_mixed_table *t,
                             struct outcome *o, size_t *choice, struct ht_error *err)
{
    enum ht_status status = HT_OK;
    if (r->chooses)
        status = ht_mixed_choose(t, r->unit, (uint64_t)r->budget, choice, err);
    else
        ht_mixed_nearest(t, o->learned, choice);
    if (status == HT_OK && !o->learned)
        status = ht_mixed_score(a, t, choice, &o->v, err);
    return status == HT_OK ? print_choice(cli, a, t, choice, o, err) : status;
}

static enum ht_status show(const struct ht_cli *cli, const struct request *r,
                           const struct ht_mixed_analysis *a, const struct ht_mixed_table *t,
                           struct outcome *o, struct ht_error *err)
{
    struct ht_mixed_step *steps = NULL;
    size_t n, *choice = ht_calloc(t->n_slots, sizeof *choice);
    enum ht_status status = choice ? HT_OK : ht_fail_memory(err);
    if (status == HT_OK)
        say_uniform(cli, t, choice);
    if (status == HT_OK && (r->chooses || o->learned)) {
        status = choose(cli, r, a, t, o, choice, err);
    } else if (status == HT_OK && r->orders) {
        status = ht_mixed_order(t, r->unit, &steps, &n, err);
        if (status == HT_OK)
            status = ht_cli_bits_steps(cli, t, steps, n, err);
    } else if (status == HT_OK) {
        status = ht_cli_bits_cells(cli, t, a->objective.score, err);
    }
    ht_free(steps);
    ht_free(choice);
    return status;
}

static enum ht_status analyse(const struct ht_cli *cli, const struct request *r,
                              const struct ht_experiment *e, struct ht_error *err)
{
    struct ht_dataset *d = NULL;
    struct ht_mixed_table *t = NULL;
    struct ht_mixed_analysis a = {0};
    struct view view = {.epochs = (unsigned)e->train.epochs};
    struct outcome o = {0};
    enum ht_status status = ht_setup_dataset(&d, e, err);
    if (status == HT_OK)
        status = ht_mixed_table_create(&t, e, d->features, r->widths, r->n_widths, r->weights,
                                       r->activations, err);
    if (status == HT_OK)
        status = ht_mixed_analysis_init(&a, e, d, r->method != LEARNED, err);
    if (status == HT_OK) {
        a.event = on_event;
        a.user = &view;
        ht_progress_begin(&view.progress, stderr, cli->quiet, e->name, ht_cli_now());
        status = fill(r, &a, t, &o, err);
        ht_progress_end(&view.progress, ht_cli_now(), NULL);
    }
    if (status == HT_OK)
        status = show(cli, r, &a, t, &o, err);
    ht_free(o.learned);
    ht_mixed_analysis_finish(&a);
    ht_mixed_table_destroy(t);
    ht_dataset_destroy(d);
    return status;
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_config *config;
    struct request r;
    enum ht_status status = parse(cli, &r, err);
    if (status == HT_OK)
        status = ht_cli_config(cli, &config, err);
    if (status != HT_OK)
        return status;
    const struct ht_experiment *e = ht_config_experiment(config);
    if (cli->values[OUT] && strcmp(cli->values[OUT], e->path) == 0)
        status = ht_fail(err, HT_ERR_CONFIG, "--out: %s is the experiment itself", e->path);
    else
        status = analyse(cli, &r, e, err);
    if (status == HT_ERR_CONFIG)
        ht_cli_show_place(config, err);
    ht_config_destroy(config);
    return status;
}

const struct ht_command ht_command_bits = {
    .name = "bits",
    .arguments = "EXPERIMENT.yaml [train.from=RUN_OR_CHECKPOINT] [key=value ...]",
    .summary = "show what each width of each layer costs, and choose widths under a budget",
    .details =
        "Looks at the trained network of train.from: one layer at a time gets each width, after\n"
        "calibration, while the others have the widest. With a budget, and by method learned,\n"
        "prints the experiment with the widths that were found (quant.layers), ready to train;\n"
        "with --out, the widths as a table. docs/methods.md says more.",
    .options =
        {[METHOD] = {"method", 'm', "NAME",
                     "measured: increase of the validation loss (default); hessian: HAWQ-V2; "
                     "learned: by gradient, in a training"},
         [WHAT] = {"what", 'w', "PART", "weights (default), activations or both"},
         [WIDTHS] = {"widths", 'b', "8,4,3,2", "the widths to try"},
         [BYTES] = {"budget-bytes", 0, "N", "choose: bytes of weights, scales and biases"},
         [BOPS] = {"budget-bops", 0, "N",
                   "choose: bit operations, MACs x bits of weights x bits of inputs"},
         [ORDER] = {"order", 0, "UNIT",
                    "what to widen first, by gain for bytes or bops; from its end: what to "
                    "narrow first"},
         [SAMPLES] = {"samples", 0, "N", "hessian: random directions a layer (default 64)"},
         [PENALTY] = {"penalty", 0, "BETA",
                      "learned: strength of what widths cost (default 0.1; with a budget 10)"},
         [OUT] = {"out", 0, "FILE", "the experiment goes there"}},
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
