#include "train/trainer_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "config/config.h"
#include "io/file.h"
#include "layers/oscillation.h"
#include "tensor/blas.h"
#include "train/calibration.h"
#include "train/evaluate.h"
#include "train/metrics.h"
#include "train/run.h"
#include "train/setup.h"
#include "train/teacher.h"

#define EVALUATION_BATCH 256

int64_t ht_trainer_batches(const struct ht_trainer *t)
{
    int64_t batch = t->e->train.batch;
    return ((int64_t)t->d->count[HT_TRAIN] + batch - 1) / batch;
}

/* The epoch (0-based) from which on rounding is hard. */
static int64_t first_hard_epoch(const struct ht_trainer *t)
{
    const bool soft = ht_model_is_soft(t->model);
    return soft ? t->e->train.epochs - t->e->quant.hard_epochs : t->e->quant.start_epoch;
}

/* The form that epoch (0-based) trains. */
static enum ht_form form_of_epoch(const struct ht_trainer *t, int64_t epoch)
{
    if (!ht_experiment_quantized(t->e) || epoch < t->e->quant.start_epoch)
        return HT_FORM_FLOAT;
    return epoch < first_hard_epoch(t) ? HT_FORM_SOFT : HT_FORM_QUANTIZED;
}

/* A network that is trained softly is scored as it would ship. */
static enum ht_form form_of_scores(const struct ht_trainer *t, int64_t epoch)
{
    const enum ht_form form = form_of_epoch(t, epoch);
    return form == HT_FORM_SOFT ? HT_FORM_QUANTIZED : form;
}

static int64_t last_epoch(const struct ht_trainer *t)
{
    return t->state.epoch > 0 ? t->state.epoch - 1 : 0;
}

/* Multiplications in a step from which on threads win more than it costs to wake them: between h =
 * 256 and 1024 of `halftone bench train`. */
#define LARGE_STEP 2e8

static double products_of_step(const struct ht_trainer *t)
{
    double weights = 0;
    for (size_t i = 0; i < t->model->n_blocks; i++)
        weights += (double)t->model->blocks[i].in * (double)t->model->blocks[i].out;
    return 3 * weights * (double)t->e->train.batch;
}

static enum ht_status make_pool(struct ht_trainer *t, struct ht_error *err)
{
    unsigned threads;
    const unsigned wanted = (unsigned)t->e->run.threads;
    enum ht_status status = ht_run_threads(&threads, err);
    if (status == HT_OK && wanted > 1 && !ht_blas_thread_safe())
        return ht_fail(err, HT_ERR_CONFIG,
                       "run.threads %d: the OpenBLAS of this system is built for one thread and "
                       "would give wrong results on several; install another one (Debian: "
                       "libopenblas0-pthread), or use run.threads=1",
                       t->e->run.threads);
    if (wanted > 0)
        threads = getenv("HALFTONE_THREADS") && threads < wanted ? threads : wanted;
    else if (products_of_step(t) < LARGE_STEP || !ht_blas_thread_safe())
        threads = 1;
    return status == HT_OK && threads > 1 ? ht_pool_create(&t->pool, threads, err) : status;
}

/* Evaluation goes through float products: what is compared with the integer engine has nothing in
 * common with it. */
static enum ht_status need_networks(struct ht_trainer *t, int64_t epoch, struct ht_error *err)
{
    const enum ht_form form = form_of_epoch(t, epoch), scored = form_of_scores(t, epoch);
    enum ht_status status = HT_OK;
    if (!t->train[form].graph)
        status =
            ht_network_init(&t->train[form], t->model, &t->objective, (size_t)t->e->train.batch,
                            form, true, ht_network_training_kernels(&t->kernels), err);
    if (status == HT_OK && !t->evaluation[scored].graph)
        status = ht_network_init(&t->evaluation[scored], t->model, &t->objective, EVALUATION_BATCH,
                                 scored, false, NULL, err);
    return status;
}

/* --- has it diverged? --- */

/* x - x is 0 for every number and NaN for the rest; no early exit, so that it vectorizes. */
static bool all_finite(const ht_real *x, size_t n)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= !(x[i] - x[i] == 0);
    return !bad;
}

/* step: the one that went wrong, from 1. */
static enum ht_status diverged(const struct ht_trainer *t, const char *what, int64_t step,
                               struct ht_error *err)
{
    char path[HT_PATH_LENGTH + 64];
    ht_trainer_file(t, "last", path);
    const bool saved = t->saved && ht_file_exists(path);
    return ht_fail(err, HT_ERR_DIVERGED,
                   "training diverged: %s is not finite in epoch %lld, step %lld; try a smaller "
                   "train.learning_rate, train.warmup or train.clip_norm\n%s%s",
                   what, (long long)t->state.epoch + 1, (long long)step,
                   saved ? "the last good checkpoint: " : "there is no checkpoint yet",
                   saved ? path : "");
}

/* Infinite weights and statistics can hide behind a clamp while the loss stays finite. */
static enum ht_status check_state(const struct ht_trainer *t, struct ht_error *err)
{
    if (!all_finite(t->model->state.value, t->model->state.n))
        return diverged(t, "a batchnorm statistic or range", t->state.step, err);
    return HT_OK;
}

/* Before a save. A second moment can overflow, too; a checkpoint of that could not be loaded, so
 * the good one before must stay. */
static enum ht_status check_finite(const struct ht_trainer *t, struct ht_error *err)
{
    for (int i = 0; i < t->optimizer->n_slots; i++)
        if (!all_finite(t->optimizer->slots[i], t->model->params.n))
            return diverged(t, "the optimizer's state", t->state.step, err);
    if (!all_finite(t->model->params.value, t->model->params.n))
        return diverged(t, "a parameter", t->state.step, err);
    return check_state(t, err);
}

/* --- creation --- */

enum ht_status ht_trainer_start(struct ht_trainer *t, struct ht_error *err)
{
    char path[HT_PATH_LENGTH + 64];
    if (!t->e->train.from[0])
        return HT_OK;
    enum ht_status status = ht_checkpoint_find(t->e->train.from, path, err);
    if (status == HT_OK)
        status = ht_checkpoint_load_parameters(path, t->model, false, err);
    return status == HT_OK ? HT_OK : ht_error_prefix(err, status, "train.from");
}

enum ht_status ht_trainer_create(struct ht_trainer **ret, const struct ht_experiment *experiment,
                                 const struct ht_dataset *dataset, const char *run_dir,
                                 const char *environment, struct ht_error *err)
{
    ht_blas_init();
    struct ht_trainer *t = ht_calloc(1, sizeof *t);
    if (!t)
        return ht_fail_memory(err);
    t->e = experiment;
    t->d = dataset;
    t->run_dir = run_dir;
    t->environment = environment;
    /* Part of what must be equal on resume: a comment to YAML, a difference to strcmp. */
    ht_text_printf(&t->resolved, "# data: sha256 %s\n", dataset->hash);
    ht_experiment_print_training(experiment, &t->resolved);
    t->order = ht_calloc(dataset->count[HT_TRAIN], sizeof *t->order);
    enum ht_status status = ht_run_kernels(&t->kernels, err);
    if (status == HT_OK && (!t->order || t->resolved.failed))
        status = ht_fail_memory(err);
    if (status == HT_OK)
        status = ht_objective_init(&t->objective, experiment, dataset, err);
    if (status == HT_OK && experiment->train.teacher[0])
        status = ht_teacher_create(&t->objective.teacher, experiment, dataset, &t->objective, err);
    /* All stages, so that what is wrong with one is told now; the first is left. */
    for (size_t n = ht_experiment_stages(experiment); status == HT_OK && n > 0; n--)
        status = ht_trainer_enter_stage(t, n - 1, err);
    if (status == HT_OK)
        status = make_pool(t, err);
    if (status == HT_OK)
        *ret = t;
    else
        ht_trainer_destroy(t);
    return status;
}

void ht_trainer_destroy(struct ht_trainer *t)
{
    if (!t)
        return;
    ht_trainer_leave_stage(t);
    ht_teacher_destroy(t->objective.teacher);
    ht_pool_destroy(t->pool);
    ht_free(t->stage_experiment);
    ht_text_finish(&t->resolved);
    ht_free(t->order);
    ht_free(t);
}

/* --- the loop --- */

_Static_assert(HT_READY_ROWS == HT_OPTIMIZER_ROWS, "what backward tells is what a step takes");

static void update_rows(void *user, const struct ht_node *param, size_t row, size_t rows)
{
    ht_optimizer_update_rows(user, (size_t)param->span, row, rows);
}

/* From the first soft step to the last one. */
static void set_annealing(const struct ht_trainer *t, struct ht_run *run)
{
    const double first = (double)t->e->quant.start_epoch, last = (double)first_hard_epoch(t);
    if (form_of_epoch(t, t->state.epoch) != HT_FORM_SOFT)
        return;
    run->soft_epochs = (double)t->state.step / (double)ht_trainer_batches(t) - first;
    run->soft_share = fmin(run->soft_epochs / (last - first), 1);
}

static bool freezes_batchnorm(const struct ht_trainer *t, int64_t epoch)
{
    const struct ht_experiment *e = t->e;
    return ht_experiment_quantized(e) &&
           epoch >= e->train.epochs - e->quant.freeze_batchnorm_epochs;
}

static struct ht_run training_run(const struct ht_trainer *t)
{
    const struct ht_experiment *e = t->e;
    struct ht_run run = {.mode = HT_MODE_TRAIN,
                         .seed = e->seed,
                         .step = (uint64_t)t->state.step,
                         .pool = t->pool,
                         .user = t->optimizer};
    run.freeze_batchnorm = freezes_batchnorm(t, t->state.epoch);
    set_annealing(t, &run);
    if (e->train.clip_norm == 0) /* else all gradients come before the first change */
        run.gradient_ready = update_rows;
    return run;
}

/* Of dampening: from 0 to its full strength along half a cosine, over the quantized epochs (Nagel
 * et al. 2022). */
static double dampening(const struct ht_trainer *t)
{
    const double steps = (double)ht_trainer_batches(t);
    const double first = (double)t->e->quant.start_epoch * steps;
    const double last = (double)t->e->train.epochs * steps;
    const double done = ((double)t->state.step - first) / (last - first);
    return t->e->quant.dampening * (1 - cos(3.14159265358979323846 * done)) / 2;
}

static bool tracks_flips(const struct ht_trainer *t, int64_t epoch)
{
    return t->model->flips_span >= 0 && form_of_epoch(t, epoch) == HT_FORM_QUANTIZED;
}

/* Each stage has a schedule of its own. */
static double rate_at(const struct ht_trainer *t, double epoch)
{
    return ht_schedule_rate(&t->schedule, epoch - ht_experiment_stage_start(t->e, t->stage));
}

static double learning_rate(const struct ht_trainer *t)
{
    const double batches = (double)ht_trainer_batches(t);
    return rate_at(t, (double)t->state.epoch + (double)t->state.batch / batches);
}

static struct ht_optimizer_result
backward_and_step(struct ht_trainer *t, struct ht_network *network, const struct ht_run *run)
{
    if (run->gradient_ready)
        ht_optimizer_begin(t->optimizer, learning_rate(t),
                           t->state.batch + 1 == ht_trainer_batches(t));
    ht_graph_backward(network->graph, run);
    if (run->gradient_ready)
        return ht_optimizer_end(t->optimizer, t->pool);
    return ht_optimizer_step(t->optimizer, learning_rate(t), t->e->train.clip_norm, t->pool);
}

static enum ht_status train_batch(struct ht_trainer *t, struct ht_network *network,
                                  struct ht_error *err)
{
    const struct ht_experiment *e = t->e;
    const size_t n = t->d->count[HT_TRAIN], at = (size_t)t->state.batch * (size_t)e->train.batch;
    const size_t count = n - at < (size_t)e->train.batch ? n - at : (size_t)e->train.batch;
    const struct ht_augment augment = {e->data.augment.shift, e->data.augment.rotation};
    const bool augmented = augment.shift != 0 || augment.rotation != 0;
    const struct ht_run run = training_run(t);
    ht_network_load(network, &t->objective, t->d, t->order + at, count, augmented ? &augment : NULL,
                    e->seed, (uint64_t)t->state.epoch);
    if (e->quant.dampening > 0)
        ht_model_set_dampening(t->model, dampening(t));
    ht_graph_forward(network->graph, &run);
    const double loss = (double)network->loss->value[0];
    if (!isfinite(loss))
        return diverged(t, "the loss", t->state.step + 1, err);
    const struct ht_optimizer_result result = backward_and_step(t, network, &run);
    t->gradient_norm = result.gradient_norm;
    if (!isfinite(t->gradient_norm))
        return diverged(t, "the gradient", t->state.step + 1, err);
    if (form_of_epoch(t, t->state.epoch) == HT_FORM_SOFT)
        ht_model_after_step(t->model, &run);
    if (tracks_flips(t, t->state.epoch))
        ht_oscillation_update(t->model, e->quant.freeze_threshold, e->quant.freeze_momentum,
                              t->pool);
    t->state.loss_sum += loss * (double)count;
    t->state.batch++;
    t->state.step++;
    t->samples += (double)count;
    return result.finite ? check_state(t, err) : diverged(t, "a parameter", t->state.step, err);
}

enum ht_status ht_trainer_step(struct ht_trainer *t, struct ht_error *err)
{
    enum ht_status status = need_networks(t, t->state.epoch, err);
    if (status != HT_OK)
        return status;
    if (t->state.step == 0)
        ht_dataset_shuffle(t->d, t->e->seed, 0, t->order);
    status = train_batch(t, &t->train[form_of_epoch(t, t->state.epoch)], err);
    t->state.batch %= ht_trainer_batches(t);
    return status;
}

void ht_trainer_report(const struct ht_trainer *t, const struct ht_train_hooks *hooks,
                       struct ht_train_event *event)
{
    if (!hooks || !hooks->event)
        return;
    const int64_t rounding = ht_experiment_rounding_steps(t->e);
    event->epochs = t->e->train.epochs;
    if (!event->rounding)
        event->step = rounding + t->state.step;
    event->steps = rounding + t->e->train.epochs * ht_trainer_batches(t);
    hooks->event(hooks->user, event);
}

/* Before a quantized network is scored; frozen statistics stay what training uses. */
static enum ht_status reestimate(struct ht_trainer *t, int64_t epoch, struct ht_error *err)
{
    if (form_of_scores(t, epoch) != HT_FORM_QUANTIZED || t->e->quant.reestimate_batchnorm == 0 ||
        (t->e->train.epochs > 0 && freezes_batchnorm(t, epoch)))
        return HT_OK;
    return ht_reestimate_batchnorm(t->model, t->e, t->d, t->order, err);
}

/* Of the network as it is, after the epoch that has just been counted. */
static enum ht_status check_health(struct ht_trainer *t, enum ht_form form, double score,
                                   struct ht_error *err)
{
    const double started = t->state.epoch > 0 ? (double)(t->state.epoch - 1) : 0;
    const struct ht_health_input in = {.model = t->model,
                                       .network = &t->evaluation[form],
                                       .objective = &t->objective,
                                       .data = t->d,
                                       .quantized = form == HT_FORM_QUANTIZED,
                                       .learns =
                                           rate_at(t, started) > 1e-3 * t->schedule.learning_rate,
                                       .epoch = t->state.epoch,
                                       .score = score};
    return ht_health_check(&t->health, &in, err);
}

/* After the last batch: validate, keep the best, write the line of metrics and the checkpoint. */
static enum ht_status end_epoch(struct ht_trainer *t, struct ht_train_event *event,
                                struct ht_error *err)
{
    struct ht_progress_state *s = &t->state;
    const enum ht_form scored = form_of_scores(t, s->epoch);
    const bool validates = t->d->count[HT_VALIDATION] > 0;
    const double batches = (double)ht_trainer_batches(t);
    const double last_step = (double)s->epoch + (batches - 1) / batches;
    struct ht_evaluation v = {0};
    enum ht_status status = reestimate(t, s->epoch, err);
    if (status == HT_OK && validates)
        status = ht_evaluate(&v, &t->evaluation[scored], &t->objective, t->d, HT_VALIDATION, err);
    if (status == HT_OK && validates && !isfinite(v.loss))
        return diverged(t, "the validation loss", t->state.step, err);
    if (status == HT_OK)
        status = check_finite(t, err);
    if (status != HT_OK)
        return status;
    /* Scores of a network of another form, or of a wider stage, do not compete. */
    if (s->epoch > 0 && (form_of_epoch(t, s->epoch) != form_of_epoch(t, s->epoch - 1) ||
                         ht_experiment_stage_at(t->e, s->epoch - 1) != t->stage))
        s->has_best = 0;
    event->improved = !s->has_best || !validates || v.score > s->best_score ||
                      (v.score == s->best_score && v.loss < s->best_loss);
    event->epoch_end = true;
    event->quantized = scored == HT_FORM_QUANTIZED;
    event->weight_bits = event->quantized ? t->stage_experiment->quant.weights.bits : 32;
    event->activation_bits = event->quantized ? t->stage_experiment->quant.activations.bits : 32;
    event->validation_loss = validates ? v.loss : NAN;
    event->validation_score = validates ? v.score : NAN;
    event->train_loss = s->loss_sum / (double)t->d->count[HT_TRAIN];
    event->learning_rate = rate_at(t, last_step);
    event->gradient_norm = t->gradient_norm;
    if (tracks_flips(t, s->epoch))
        ht_oscillation_end_epoch(t->model, ht_trainer_batches(t));
    const struct ht_oscillation oscillation = ht_oscillation_last(t->model);
    event->flip_rate = oscillation.flip_rate;
    event->frozen = oscillation.frozen;
    s->epoch++;
    s->batch = 0;
    s->loss_sum = 0;
    s->patience = event->improved ? 0 : s->patience + 1;
    if (event->improved) {
        s->has_best = 1;
        s->best_epoch = s->epoch;
        s->best_score = v.score;
        s->best_loss = v.loss;
    }
    if (form_of_epoch(t, s->epoch - 1) == scored) /* not yet what ships while it is soft */
        status = check_health(t, scored, event->validation_score, err);
    event->warnings = t->health.warnings;
    event->n_warnings = t->health.n_warnings;
    if (status == HT_OK)
        status = ht_metrics_append(t->run_dir, t->objective.score, s, event, err);
    if (status == HT_OK && event->improved)
        status = ht_trainer_save_as(t, "best", err);
    return status == HT_OK ? ht_trainer_save_last(t, err) : status;
}

struct clock {
    double started, saved; /* of the process; of the last checkpoint */
};

/* After each step: stop, time is up, or a checkpoint is due. */
static enum ht_status poll_stops(struct ht_trainer *t, const struct ht_train_hooks *hooks,
                                 struct clock *clock, struct ht_error *err)
{
    const struct ht_experiment *e = t->e;
    const int signal_number = hooks && hooks->stop ? (int)*hooks->stop : 0;
    const double time = ht_trainer_now();
    const bool time_is_up =
        e->run.max_minutes > 0 && time - clock->started > 60 * e->run.max_minutes;
    const bool due =
        e->run.checkpoint_minutes > 0 && time - clock->saved > 60 * e->run.checkpoint_minutes;
    if (!signal_number && !time_is_up && !due)
        return HT_OK;
    enum ht_status status = check_finite(t, err);
    if (status == HT_OK)
        status = ht_trainer_save_last(t, err);
    clock->saved = time;
    if (status != HT_OK)
        return status;
    if (signal_number) {
        status = ht_fail(err, HT_ERR_INTERRUPTED,
                         "stopped by signal %d after step %lld; go on with --resume", signal_number,
                         (long long)t->state.step);
        if (err)
            err->signal = signal_number;
    } else if (time_is_up) {
        status = ht_fail(err, HT_ERR_STOPPED,
                         "stopped after run.max_minutes at step %lld; go on with --resume",
                         (long long)t->state.step);
    }
    return status;
}

/* The first quantized epoch of the stage. */
static int64_t first_of_stage(const struct ht_trainer *t)
{
    return t->stage == 0 ? t->e->quant.start_epoch : ht_experiment_stage_start(t->e, t->stage);
}

static enum ht_status train_epoch(struct ht_trainer *t, const struct ht_train_hooks *hooks,
                                  struct clock *clock, struct ht_error *err)
{
    const enum ht_form form = form_of_epoch(t, t->state.epoch);
    const double started = ht_trainer_now();
    struct ht_train_event event = {.epoch = t->state.epoch + 1};
    const size_t stage = ht_experiment_stage_at(t->e, t->state.epoch);
    enum ht_status status = stage == t->stage ? HT_OK : ht_trainer_enter_stage(t, stage, err);
    if (status == HT_OK)
        status = need_networks(t, t->state.epoch, err);
    if (status != HT_OK)
        return status;
    ht_dataset_shuffle(t->d, t->e->seed, (uint64_t)t->state.epoch, t->order);
    if (form != HT_FORM_FLOAT && t->state.epoch == first_of_stage(t) && t->state.batch == 0)
        status = ht_trainer_calibrate(t, hooks, err);
    if (status == HT_OK)
        status = ht_trainer_adapt(t, err);
    if (status != HT_OK)
        return status;
    double before = ht_trainer_now();
    while (t->state.batch < ht_trainer_batches(t)) {
        status = train_batch(t, &t->train[form], err);
        if (status != HT_OK)
            return status;
        event.train_loss = t->state.loss_sum / (double)(t->state.batch * t->e->train.batch);
        double after = ht_trainer_now();
        t->seconds += after - before;
        ht_trainer_report(t, hooks, &event);
        if (t->state.batch < ht_trainer_batches(t))
            status = poll_stops(t, hooks, clock, err);
        if (status != HT_OK)
            return status;
        before = ht_trainer_now();
    }
    status = end_epoch(t, &event, err);
    if (status != HT_OK)
        return status;
    clock->saved = ht_trainer_now();
    event.seconds = clock->saved - started;
    ht_trainer_report(t, hooks, &event);
    return poll_stops(t, hooks, clock, err);
}

static bool finished(const struct ht_trainer *t)
{
    const int patience = t->e->train.early_stopping;
    const int last_stage = ht_experiment_stage_start(t->e, ht_experiment_stages(t->e) - 1);
    const bool started = !ht_experiment_quantized(t->e) ||
                         (t->state.epoch > first_hard_epoch(t) && t->state.epoch > last_stage);
    return t->state.epoch >= t->e->train.epochs ||
           (patience > 0 && started && t->state.patience >= patience);
}

/* train.epochs 0: the network of train.from, calibrated if it is to be quantized. The result stands
 * where that of the best epoch would. */
static enum ht_status take_as_it_is(struct ht_trainer *t, const struct ht_train_hooks *hooks,
                                    struct ht_error *err)
{
    struct ht_progress_state *s = &t->state;
    struct ht_evaluation v = {0};
    const enum ht_form form = form_of_epoch(t, 0);
    enum ht_status status = need_networks(t, 0, err);
    if (status == HT_OK && s->has_best) /* resumed: it was done */
        return check_health(t, form, s->best_score, err);
    if (status != HT_OK)
        return status;
    ht_dataset_shuffle(t->d, t->e->seed, 0, t->order);
    if (form == HT_FORM_QUANTIZED)
        status = ht_trainer_calibrate(t, hooks, err);
    if (status == HT_OK)
        status = reestimate(t, 0, err);
    if (status == HT_OK && t->d->count[HT_VALIDATION] > 0)
        status = ht_evaluate(&v, &t->evaluation[form], &t->objective, t->d, HT_VALIDATION, err);
    if (status == HT_OK)
        status = check_finite(t, err);
    if (status == HT_OK)
        status = check_health(t, form, t->d->count[HT_VALIDATION] ? v.score : (double)NAN, err);
    s->has_best = 1;
    s->best_score = v.score;
    s->best_loss = v.loss;
    if (status == HT_OK)
        status = ht_trainer_save_as(t, "best", err);
    return status == HT_OK ? ht_trainer_save_last(t, err) : status;
}

enum ht_status ht_trainer_run(struct ht_trainer *t, const struct ht_train_hooks *hooks,
                              struct ht_error *err)
{
    struct clock clock = {ht_trainer_now(), ht_trainer_now()};
    enum ht_status status = t->e->train.epochs == 0 ? take_as_it_is(t, hooks, err) : HT_OK;
    while (status == HT_OK && !finished(t))
        status = train_epoch(t, hooks, &clock, err);
    if (status == HT_OK) /* a resumed run that was complete has none yet */
        status = need_networks(t, last_epoch(t), err);
    return status;
}

struct ht_model *ht_trainer_model(const struct ht_trainer *t)
{
    return t->model;
}

const struct ht_objective *ht_trainer_objective(const struct ht_trainer *t)
{
    return &t->objective;
}

const struct ht_progress_state *ht_trainer_state(const struct ht_trainer *t)
{
    return &t->state;
}

const struct ht_health *ht_trainer_health(const struct ht_trainer *t)
{
    return &t->health;
}

struct ht_network *ht_trainer_evaluation(const struct ht_trainer *t)
{
    return (struct ht_network *)&t->evaluation[form_of_scores(t, last_epoch(t))];
}

void ht_trainer_speed(const struct ht_trainer *t, double *seconds, double *samples)
{
    *seconds = t->seconds;
    *samples = t->samples;
}
