/* The files of a run: checkpoints, and its speed. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/file.h"
#include "train/metrics.h"
#include "train/trainer_internal.h"

void ht_trainer_file(const struct ht_trainer *t, const char *name, char path[HT_PATH_LENGTH + 64])
{
    snprintf(path, HT_PATH_LENGTH + 64, "%s/checkpoints/%s.h5", t->run_dir, name);
}

enum ht_status ht_trainer_save_as(const struct ht_trainer *t, const char *name,
                                  struct ht_error *err)
{
    char path[HT_PATH_LENGTH + 64];
    ht_trainer_file(t, name, path);
    return ht_checkpoint_save(path, t->model, t->optimizer, &t->state, ht_text_str(&t->resolved),
                              t->environment, err);
}

/* Time spent so far goes beside the checkpoint, not into it: equal runs make equal checkpoints.
 * Only figures for people, so a failure to write them stops nothing. */
static void speed_file(const struct ht_trainer *t, char path[HT_PATH_LENGTH + 64])
{
    snprintf(path, HT_PATH_LENGTH + 64, "%s/timing.json", t->run_dir);
}

static void save_speed(const struct ht_trainer *t)
{
    char path[HT_PATH_LENGTH + 64];
    speed_file(t, path);
    FILE *f = fopen(path, "w");
    if (!f)
        return;
    fprintf(f, "{\"train_seconds\": %.17g, \"samples\": %.17g}\n", t->seconds, t->samples);
    fclose(f);
}

static void load_speed(struct ht_trainer *t)
{
    char path[HT_PATH_LENGTH + 64];
    double seconds, samples;
    speed_file(t, path);
    FILE *f = fopen(path, "r");
    if (!f)
        return;
    if (fscanf(f, "{\"train_seconds\": %lf, \"samples\": %lf", &seconds, &samples) == 2) {
        t->seconds = seconds;
        t->samples = samples;
    }
    fclose(f);
}

/* The newest stays under its name until the rename that replaces it; a second name keeps it as the
 * one before. So at any moment at least one whole checkpoint is there. */
enum ht_status ht_trainer_save_last(struct ht_trainer *t, struct ht_error *err)
{
    char last[HT_PATH_LENGTH + 64], previous[HT_PATH_LENGTH + 64];
    ht_trainer_file(t, "last", last);
    ht_trainer_file(t, "previous", previous);
    if (ht_file_exists(last)) {
        unlink(previous);
        /* Some file systems have no links; there the newest is away until it is written. */
        if (link(last, previous) != 0 && errno != EEXIST && rename(last, previous) != 0)
            return ht_fail_errno(err, "cannot keep the previous checkpoint", previous);
    }
    enum ht_status status = ht_trainer_save_as(t, "last", err);
    t->saved = t->saved || status == HT_OK;
    save_speed(t);
    return status;
}

static void say_passed_over(const struct ht_train_hooks *hooks, const char *path,
                            const struct ht_error *why)
{
    char text[sizeof why->msg + HT_PATH_LENGTH + 128];
    if (!hooks || !hooks->say)
        return;
    snprintf(text, sizeof text, "%s\ngoing on from the checkpoint before it: %s", why->msg, path);
    hooks->say(hooks->user, text);
}

static enum ht_status resume_from(struct ht_trainer *t, const char *path, struct ht_error *err)
{
    char *experiment = NULL;
    struct ht_progress_state at = {0};
    enum ht_status status = ht_checkpoint_progress(path, &at, err);
    const size_t stage = ht_checkpoint_stage(t->e, &at);
    if (status == HT_OK && stage != t->stage)
        status = ht_trainer_enter_stage(t, stage, err);
    if (status == HT_OK)
        status = ht_checkpoint_load(path, t->model, t->optimizer, &t->state, &experiment, err);
    const char *resolved = ht_text_str(&t->resolved);
    if (status == HT_OK && strncmp(experiment, resolved, strcspn(resolved, "\n")) != 0)
        status = ht_fail(err, HT_ERR_DATA,
                         "%s was made from other data than those of %s here; start anew without "
                         "--resume",
                         path, t->e->data.name);
    else if (status == HT_OK && strcmp(experiment, resolved) != 0)
        status = ht_fail(err, HT_ERR_CONFIG,
                         "%s was made by another experiment than this one: compare with the run's "
                         "config.yaml, or start anew without --resume",
                         path);
    ht_free(experiment);
    return status;
}

enum ht_status ht_trainer_resume(struct ht_trainer *t, const struct ht_train_hooks *hooks,
                                 bool *found, struct ht_error *err)
{
    static const char *const names[] = {"last", "previous"};
    char path[HT_PATH_LENGTH + 64];
    struct ht_error first = {0};
    enum ht_status status = HT_OK;
    *found = false;
    /* Only damage is a reason to try the older one. */
    for (int i = 0; i < 2 && !*found && (status == HT_OK || status == HT_ERR_MODEL); i++) {
        struct ht_error e = {0};
        ht_trainer_file(t, names[i], path);
        if (!ht_file_exists(path))
            continue;
        status = resume_from(t, path, &e);
        *found = t->saved = status == HT_OK;
        if (*found && first.msg[0])
            say_passed_over(hooks, path, &first);
        if (status != HT_OK && (!first.msg[0] || status != HT_ERR_MODEL))
            first = e;
    }
    if (*found) {
        load_speed(t);
        status = ht_metrics_truncate(t->run_dir, t->state.epoch, err);
        if (status == HT_OK)
            status = ht_metrics_recall(t->run_dir, t->objective.score, &t->health, err);
        return status;
    }
    if (status != HT_OK && err)
        *err = first;
    return status == HT_OK ? HT_OK : first.code;
}

enum ht_status ht_trainer_restore_best(struct ht_trainer *t, struct ht_error *err)
{
    char path[HT_PATH_LENGTH + 64];
    struct ht_progress_state ignored;
    if (!t->state.has_best)
        return HT_OK;
    ht_trainer_file(t, "best", path);
    return ht_checkpoint_load(path, t->model, t->optimizer, &ignored, NULL, err);
}
