#include "train/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/text.h"
#include "config/config.h"
#include "io/file.h"
#include "layers/oscillation.h"
#include "qmodel/lower.h"
#include "train/environment.h"
#include "train/export.h"
#include "train/links.h"
#include "train/metrics.h"
#include "train/result.h"
#include "train/setup.h"

void ht_run_folder(const struct ht_experiment *e, char path[HT_PATH_LENGTH])
{
    int n = snprintf(path, HT_PATH_LENGTH, "%s/%s", e->run.dir, e->name);
    if (n >= HT_PATH_LENGTH) /* check_folder refuses it */
        path[HT_PATH_LENGTH - 1] = '\0';
}

/* A path that does not fit would be cut, and the run would go elsewhere. */
static enum ht_status check_folder(const struct ht_experiment *e, struct ht_error *err)
{
    if (strlen(e->run.dir) + 1 + strlen(e->name) < HT_PATH_LENGTH)
        return HT_OK;
    return ht_fail(err, HT_ERR_CONFIG, "run.dir is too long: %.100s...", e->run.dir);
}

enum ht_status ht_run_kernels(struct ht_kernels *ret, struct ht_error *err)
{
    unsigned mask = HT_ISA_ALL;
    const char *name = getenv("HALFTONE_ISA");
    if (name && !ht_kernels_isa_mask(name, &mask))
        return ht_fail(err, HT_ERR_CONFIG, "HALFTONE_ISA: unknown instruction set '%s'", name);
    ht_kernels_init(ret, mask);
    return HT_OK;
}

enum ht_status ht_run_threads(unsigned *ret, struct ht_error *err)
{
    unsigned wanted;
    const char *value = getenv("HALFTONE_THREADS");
    if (!ht_pool_threads_wanted(value, &wanted))
        return ht_fail(err, HT_ERR_CONFIG,
                       "HALFTONE_THREADS: expected a whole number from 1 to %d, not '%s'",
                       HT_POOL_MAX_THREADS, value);
    *ret = wanted ? wanted : ht_pool_cpus();
    return HT_OK;
}

/* --- the folder --- */

static enum ht_status move_aside(const char *folder, char moved[HT_PATH_LENGTH],
                                 struct ht_error *err)
{
    char config[HT_PATH_LENGTH + 64], target[HT_PATH_LENGTH + 64];
    snprintf(config, sizeof config, "%s/config.yaml", folder);
    if (!ht_file_exists(config))
        return HT_OK;
    for (int i = 1; i < 100000; i++) {
        snprintf(target, sizeof target, "%s.%d", folder, i);
        if (ht_file_exists(target))
            continue;
        if (rename(folder, target) != 0)
            return ht_fail_errno(err, "cannot move the earlier run aside:", folder);
        if (moved)
            snprintf(moved, HT_PATH_LENGTH, "%.1023s", target);
        return HT_OK;
    }
    return ht_fail(err, HT_ERR_IO, "%s: too many earlier runs", folder);
}

static enum ht_status write_text(const char *folder, const char *name, const struct ht_text *text,
                                 struct ht_error *err)
{
    char path[HT_PATH_LENGTH + 64];
    if (text->failed)
        return ht_fail_memory(err);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return ht_file_write_atomic(path, ht_text_str(text), text->len, err);
}

/* One process at a time in a run's folder. The lock is a file beside it, as the folder itself may
 * be moved aside; it goes away with the lock (or with the process that holds it). */
struct lock {
    int fd; /* -1: not held */
    char path[HT_PATH_LENGTH + 64];
};

static enum ht_status take_lock(struct lock *l, const struct ht_experiment *e, struct ht_error *err)
{
    enum ht_status status = ht_make_directories(e->run.dir, err);
    if (status != HT_OK)
        return status;
    snprintf(l->path, sizeof l->path, "%s/.%s.lock", e->run.dir, e->name);
    l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (l->fd < 0)
        return ht_fail_errno(err, "cannot make", l->path);
    if (flock(l->fd, LOCK_EX | LOCK_NB) == 0)
        return HT_OK;
    if (errno == EWOULDBLOCK)
        status = ht_fail(err, HT_ERR_IO, "%s/%s is in use by another halftone process", e->run.dir,
                         e->name);
    else
        status = ht_fail_errno(err, "cannot lock", l->path);
    close(l->fd);
    l->fd = -1;
    return status;
}

static void release_lock(struct lock *l)
{
    if (l->fd < 0)
        return;
    unlink(l->path);
    close(l->fd);
}

/* A temporary name (io/file.c) of one of the files that a run writes. */
static bool is_leftover(const char *name)
{
    static const char *const files[] = {"best.h5",    "config.yaml",   "environment.json",
                                        "last.h5",    "metrics.jsonl", "model.h5",
                                        "result.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t n = strlen(files[i]);
        if (strncmp(name, files[i], n) == 0 && strncmp(name + n, ".tmp-", 5) == 0)
            return true;
    }
    return false;
}

/* A kill in the middle of a save leaves a temporary file that nobody else would remove. */
static void remove_leftovers(const char *folder)
{
    char path[2 * HT_PATH_LENGTH];
    DIR *d = opendir(folder);
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));) {
        if (!is_leftover(entry->d_name))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    closedir(d);
}

static enum ht_status prepare_folder(const struct ht_experiment *e, const struct ht_dataset *d,
                                     const char *folder, bool resume, char moved[HT_PATH_LENGTH],
                                     struct ht_error *err)
{
    char checkpoints[HT_PATH_LENGTH + 64], file[HT_PATH_LENGTH];
    struct ht_text config = {0}, environment = {0};
    enum ht_status status = resume ? HT_OK : move_aside(folder, moved, err);
    snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", folder);
    if (status == HT_OK)
        status = ht_make_directories(checkpoints, err);
    ht_experiment_print(e, &config);
    if (status == HT_OK) {
        remove_leftovers(folder);
        remove_leftovers(checkpoints);
    }
    ht_environment_experiment_file(e, file);
    ht_environment_print(e, d, file, &environment);
    if (status == HT_OK)
        status = write_text(folder, "config.yaml", &config, err);
    if (status == HT_OK)
        status = write_text(folder, "environment.json", &environment, err);
    ht_text_finish(&config);
    ht_text_finish(&environment);
    return status;
}

/* --- from a trained model to files and figures --- */

static float *copy_floats(const float *p, size_t n)
{
    float *q = ht_calloc(n, sizeof *q);
    if (q)
        memcpy(q, p, n * sizeof *q);
    return q;
}

static enum ht_status describe_data(struct ht_qmodel *m, const struct ht_dataset *d,
                                    const struct ht_objective *o, struct ht_error *err)
{
    bool ok = true;
    if (d->mean) {
        m->input.mean = copy_floats(d->mean, d->features);
        m->input.std = copy_floats(d->std, d->features);
        ok = m->input.mean && m->input.std;
    }
    if (d->target_mean && o->task == HT_REGRESSION) {
        m->target_mean = copy_floats(d->target_mean, m->outputs);
        m->target_std = copy_floats(d->target_std, m->outputs);
        ok = ok && m->target_mean && m->target_std;
    }
    if (o->task == HT_CLASSIFICATION && d->classes) {
        m->classes = ht_calloc(d->n_classes, sizeof *m->classes);
        ok = ok && m->classes;
        if (m->classes) {
            memcpy(m->classes, d->classes, d->n_classes * sizeof *m->classes);
            m->n_classes = d->n_classes;
        }
    }
    if (d->bytes)
        m->input.pixel_range = d->symmetric_pixels ? -1 : 255;
    m->input.image_rows = d->image_rows;
    m->input.image_columns = d->image_columns;
    memcpy(m->data_hash, d->hash, sizeof m->data_hash);
    return ok ? HT_OK : ht_fail_memory(err);
}

/* What quant.accumulator_bits promises, of the codes that ship. */
static enum ht_status check_accumulators(const struct ht_qmodel *m, int bits, struct ht_error *err)
{
    for (size_t i = 0; bits < 32 && i < m->n_layers; i++) {
        const struct ht_accumulators a = ht_qlayer_accumulators(m, i);
        if (a.product_bits > bits)
            return ht_fail(err, HT_ERR_INTERNAL,
                           "%s: sums of products need %d bits, over quant.accumulator_bits %d",
                           m->layers[i].name, a.product_bits, bits);
    }
    return HT_OK;
}

enum ht_status ht_run_describe(struct ht_qmodel *m, const struct ht_experiment *e,
                               const struct ht_objective *objective, const struct ht_dataset *d,
                               double validation_score, struct ht_error *err)
{
    struct ht_text text = {0};
    enum ht_status status = HT_OK;
    snprintf(m->name, sizeof m->name, "%s", e->name);
    snprintf(m->task, sizeof m->task, "%s", objective->task_name);
    snprintf(m->loss, sizeof m->loss, "%s", objective->loss);
    snprintf(m->score_name, sizeof m->score_name, "%s", objective->score);
    m->validation_score = isfinite(validation_score) ? validation_score : 0;
    ht_experiment_print_training(e, &text);
    m->experiment = ht_strdup(ht_text_str(&text));
    if (text.failed || !m->experiment)
        status = ht_fail_memory(err);
    if (status == HT_OK)
        status = describe_data(m, d, objective, err);
    ht_text_finish(&text);
    return status;
}

enum ht_status ht_run_lower(struct ht_qmodel **ret, const struct ht_experiment *e,
                            const struct ht_model *model, const struct ht_objective *objective,
                            const struct ht_dataset *d, double validation_score,
                            struct ht_error *err)
{
    struct ht_qmodel *m;
    enum ht_status status = ht_qmodel_lower(&m, model, err);
    if (status != HT_OK)
        return status;
    status = ht_run_describe(m, e, objective, d, validation_score, err);
    if (status == HT_OK)
        status = ht_qmodel_check(m, err);
    if (status == HT_OK)
        status = check_accumulators(m, e->quant.accumulator_bits, err);
    if (status == HT_OK)
        *ret = m;
    else
        ht_qmodel_destroy(m);
    return status;
}

static void keep_detection(struct ht_run_result *r, const struct ht_objective *o, double error,
                           double auc)
{
    r->reconstruction_error = o->task == HT_AUTOENCODER ? error : (double)NAN;
    r->anomaly_auc = auc;
}

/* *err is that of HT_ERR_THRESHOLD when outputs differ: a result like others, to be written first.
 */
static enum ht_status export_model(struct ht_run_result *r, const struct ht_experiment *e,
                                   const struct ht_trainer *t, const struct ht_dataset *d,
                                   struct ht_error *err)
{
    struct ht_export_report report;
    snprintf(r->model_path, sizeof r->model_path, "%s/model.h5", r->run_dir);
    enum ht_status status =
        ht_export_model(&report, e, ht_trainer_model(t), ht_trainer_objective(t),
                        ht_trainer_evaluation(t), d, r->validation_score, r->model_path, err);
    if (status == HT_OK || status == HT_ERR_THRESHOLD) {
        r->score = report.parity.fake_quant_score;
        r->integer_score = report.parity.integer_score;
        keep_detection(r, ht_trainer_objective(t), report.parity.integer_error,
                       report.parity.integer_auc);
        r->outputs_compared = report.parity.outputs_compared;
        r->mismatched_outputs = report.parity.mismatched_outputs;
        r->model_bytes = report.model_bytes;
        r->accumulator_bits = report.accumulator_bits;
        r->product_bits = report.product_bits;
    }
    return status;
}

static size_t float_bytes(const struct ht_model *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_blocks; i++)
        n += m->blocks[i].out * (m->blocks[i].in + (m->blocks[i].bias || m->blocks[i].batchnorm));
    return n * sizeof(float);
}

static enum ht_status finish_run(struct ht_run_result *r, const struct ht_experiment *e,
                                 struct ht_trainer *t, const struct ht_dataset *d,
                                 struct ht_error *err)
{
    const struct ht_progress_state *s = ht_trainer_state(t);
    const enum ht_split split = ht_evaluation_split(d);
    double samples;
    snprintf(r->split, sizeof r->split, "%s", ht_split_name(split));
    snprintf(r->score_name, sizeof r->score_name, "%s", ht_trainer_objective(t)->score);
    r->validation_score = d->count[HT_VALIDATION] ? s->best_score : (double)NAN;
    r->best_epoch = s->best_epoch;
    r->epochs = s->epoch;
    r->float_bytes = r->model_bytes = float_bytes(ht_trainer_model(t));
    r->integer_score = (double)NAN;
    const struct ht_oscillation oscillation = ht_oscillation_last(ht_trainer_model(t));
    r->flip_rate = oscillation.flip_rate;
    r->frozen = oscillation.frozen;
    r->n_warnings = ht_trainer_health(t)->n_warnings;
    memcpy(r->warnings, ht_trainer_health(t)->warnings, sizeof r->warnings);
    ht_trainer_speed(t, &r->train_seconds, &samples);
    r->samples_per_s = r->train_seconds > 0 ? samples / r->train_seconds : 0;
    enum ht_status status = ht_trainer_restore_best(t, err);
    if (status != HT_OK)
        return status;
    /* Quantization that never started (start_epoch too late) leaves a float network. */
    if (ht_experiment_quantized(e) && (s->epoch > e->quant.start_epoch || e->train.epochs == 0)) {
        status = export_model(r, e, t, d, err);
    } else {
        struct ht_evaluation v;
        status = ht_evaluate(&v, ht_trainer_evaluation(t), ht_trainer_objective(t), d, split, err);
        if (status != HT_OK)
            return status;
        r->score = v.score;
        keep_detection(r, ht_trainer_objective(t), v.error, v.auc);
        r->weight_bits = r->activation_bits = 32;
    }
    if (status == HT_OK || status == HT_ERR_THRESHOLD) {
        enum ht_status written = ht_run_result_write(r, status == HT_OK ? err : NULL);
        if (status == HT_OK)
            status = written;
    }
    return status;
}

enum ht_status ht_run_train(struct ht_run_result *ret, const struct ht_experiment *e, bool resume,
                            const struct ht_train_hooks *hooks, char moved[HT_PATH_LENGTH],
                            struct ht_error *err)
{
    struct ht_dataset *d = NULL;
    struct ht_trainer *t = NULL;
    struct ht_text environment = {0};
    struct ht_kernels kernels;
    struct lock lock = {.fd = -1};
    bool found = false;
    if (moved)
        moved[0] = '\0';
    memset(ret, 0, sizeof *ret);
    memcpy(ret->name, e->name, sizeof ret->name);
    ret->seed = e->seed;
    ret->weight_bits = ht_experiment_quantized(e) ? e->quant.weights.bits : 32;
    ret->activation_bits = ht_experiment_quantized(e) ? e->quant.activations.bits : 32;
    ht_run_folder(e, ret->run_dir);
    enum ht_status status = ht_run_kernels(&kernels, err); /* told now, not after the training */
    if (status == HT_OK)
        status = ht_links_refuse(e, err);
    if (status == HT_OK)
        status = check_folder(e, err);
    if (status == HT_OK)
        status = ht_setup_dataset(&d, e, err);
    if (status == HT_OK)
        ht_environment_print(e, d, NULL, &environment);
    if (status == HT_OK)
        status = ht_trainer_create(&t, e, d, ret->run_dir, ht_text_str(&environment), err);
    if (status == HT_OK)
        status = take_lock(&lock, e, err);
    /* All that can refuse comes before the folder is touched. */
    if (status == HT_OK && resume)
        status = ht_trainer_resume(t, hooks, &found, err);
    if (status == HT_OK && !found)
        status = ht_trainer_start(t, err);
    if (status == HT_OK)
        status = prepare_folder(e, d, ret->run_dir, resume, moved, err);
    if (status == HT_OK && !found)
        status = ht_metrics_truncate(ret->run_dir, 0, err);
    if (status == HT_OK)
        status = ht_trainer_run(t, hooks, err);
    if (status == HT_OK)
        status = finish_run(ret, e, t, d, err);
    release_lock(&lock);
    ht_trainer_destroy(t);
    ht_dataset_destroy(d);
    ht_text_finish(&environment);
    return status;
}
