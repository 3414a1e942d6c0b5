#include "train/checkpoint.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "config/config.h"
#include "io/container.h"
#include "io/file.h"

/* Fields of the progress state as attributes of the root group. */
static const struct {
    const char *name;
    size_t offset;
    bool real;
} fields[] = {
#define FIELD(name, real)                                                                          \
    {                                                                                              \
#name, offsetof(struct ht_progress_state, name), real                                      \
    }
    FIELD(epoch, false),     FIELD(batch, false),    FIELD(step, false),
    FIELD(loss_sum, true),   FIELD(has_best, false), FIELD(best_epoch, false),
    FIELD(best_score, true), FIELD(best_loss, true), FIELD(patience, false),
#undef FIELD
};
#define N_FIELDS (sizeof fields / sizeof *fields)

static void span_path(char path[192], const char *group, const struct ht_span *s)
{
    snprintf(path, 192, "/%s/%s", group, s->name);
}

static void put_params(struct ht_container_writer *w, const char *group, const struct ht_params *p,
                       const float *value)
{
    char path[192];
    for (size_t i = 0; i < p->n_spans; i++) {
        const struct ht_span *s = &p->spans[i];
        const size_t shape[2] = {s->rows, s->cols};
        span_path(path, group, s);
        ht_container_put(w, path, HT_F32, value + s->offset, 2, shape);
    }
}

enum ht_status ht_checkpoint_save(const char *path, const struct ht_model *model,
                                  const struct ht_optimizer *optimizer,
                                  const struct ht_progress_state *state, const char *experiment,
                                  const char *environment, struct ht_error *err)
{
    struct ht_container_writer *w;
    enum ht_status status = ht_container_create(&w, "checkpoint", HT_CHECKPOINT_VERSION, err);
    if (status != HT_OK)
        return status;
    ht_container_put_text(w, "/experiment", experiment);
    ht_container_put_text(w, "/environment", environment);
    put_params(w, "parameters", &model->params, model->params.value);
    if (model->state.n)
        put_params(w, "state", &model->state, model->state.value);
    for (int i = 0; i < optimizer->n_slots; i++) {
        char group[64];
        snprintf(group, sizeof group, "optimizer/%s", optimizer->slot_names[i]);
        put_params(w, group, &model->params, optimizer->slots[i]);
    }
    ht_container_attr_i64(w, "/", "optimizer_step", (int64_t)optimizer->step);
    for (size_t i = 0; i < N_FIELDS; i++) {
        const char *field = (const char *)state + fields[i].offset;
        if (fields[i].real)
            ht_container_attr_f64(w, "/", fields[i].name, *(const double *)(const void *)field);
        else
            ht_container_attr_i64(w, "/", fields[i].name, *(const int64_t *)(const void *)field);
    }
    return ht_container_finish(w, path, err);
}

static enum ht_status get_span(struct ht_container_reader *r, const char *group,
                               const struct ht_span *s, float *value, const char *file,
                               struct ht_error *err)
{
    char path[192];
    enum ht_container_type type;
    int rank;
    size_t shape[4];
    span_path(path, group, s);
    enum ht_status status = ht_container_info(r, path, &type, &rank, shape, err);
    if (status != HT_OK)
        return status;
    if (rank != 2 || shape[0] != s->rows || shape[1] != s->cols || type != HT_F32)
        return ht_fail(err, HT_ERR_MODEL, "%s: %s is %s, expected float32 %zux%zu", file, path,
                       rank ? "of another shape" : "missing", s->rows, s->cols);
    status = ht_container_get(r, path, HT_F32, value + s->offset, s->n, err);
    for (size_t i = 0; status == HT_OK && i < s->n; i++)
        if (!isfinite(value[s->offset + i]))
            return ht_fail(err, HT_ERR_MODEL, "%s: %s holds a value that is not finite", file,
                           path);
    return status;
}

static enum ht_status get_params(struct ht_container_reader *r, const char *group,
                                 const struct ht_params *p, float *value, const char *file,
                                 struct ht_error *err)
{
    enum ht_status status = HT_OK;
    for (size_t i = 0; i < p->n_spans && status == HT_OK; i++)
        status = get_span(r, group, &p->spans[i], value, file, err);
    return status;
}

static enum ht_status get_state(struct ht_container_reader *r, struct ht_progress_state *state,
                                struct ht_error *err)
{
    enum ht_status status = HT_OK;
    for (size_t i = 0; i < N_FIELDS && status == HT_OK; i++) {
        char *field = (char *)state + fields[i].offset;
        if (fields[i].real)
            status =
                ht_container_get_attr_f64(r, "/", fields[i].name, (double *)(void *)field, err);
        else
            status =
                ht_container_get_attr_i64(r, "/", fields[i].name, (int64_t *)(void *)field, err);
    }
    return status;
}

enum ht_status ht_checkpoint_load(const char *path, struct ht_model *model,
                                  struct ht_optimizer *optimizer, struct ht_progress_state *state,
                                  char **experiment, struct ht_error *err)
{
    struct ht_container_reader *r;
    int64_t step = 0;
    enum ht_status status = ht_container_open(&r, path, "checkpoint", HT_CHECKPOINT_VERSION, err);
    if (status != HT_OK)
        return status;
    model->params.version++;
    status = get_params(r, "parameters", &model->params, model->params.value, path, err);
    if (status == HT_OK)
        status = get_params(r, "state", &model->state, model->state.value, path, err);
    for (int i = 0; status == HT_OK && i < optimizer->n_slots; i++) {
        char group[64];
        snprintf(group, sizeof group, "optimizer/%s", optimizer->slot_names[i]);
        status = get_params(r, group, &model->params, optimizer->slots[i], path, err);
    }
    if (status == HT_OK)
        status = ht_container_get_attr_i64(r, "/", "optimizer_step", &step, err);
    if (status == HT_OK && step < 0)
        status = ht_fail(err, HT_ERR_MODEL, "%s: optimizer_step is negative", path);
    optimizer->step = (uint64_t)step;
    if (status == HT_OK)
        status = get_state(r, state, err);
    if (status == HT_OK && (state->epoch < 0 || state->batch < 0 || state->step < 0))
        status = ht_fail(err, HT_ERR_MODEL, "%s: epoch, batch or step is negative", path);
    if (status == HT_OK && experiment)
        status = ht_container_get_text(r, "/experiment", experiment, err);
    ht_container_close(r);
    return status;
}

enum ht_status ht_checkpoint_find(const char *path, char found[HT_PATH_LENGTH + 64],
                                  struct ht_error *err)
{
    static const char *const names[] = {"best", "last", "previous"};
    struct stat s;
    if (stat(path, &s) != 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: %s", path, strerror(errno));
    snprintf(found, HT_PATH_LENGTH + 64, "%s", path);
    if (!S_ISDIR(s.st_mode))
        return HT_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(found, HT_PATH_LENGTH + 64, "%s/checkpoints/%s.h5", path, names[i]);
        if (ht_file_exists(found))
            return HT_OK;
    }
    return ht_fail(err, HT_ERR_MODEL, "%s: no checkpoint in this folder", path);
}

enum ht_status ht_checkpoint_experiment(const char *path, char **ret, struct ht_error *err)
{
    struct ht_container_reader *r;
    enum ht_status status = ht_container_open(&r, path, "checkpoint", HT_CHECKPOINT_VERSION, err);
    if (status != HT_OK)
        return status;
    status = ht_container_get_text(r, "/experiment", ret, err);
    ht_container_close(r);
    return status;
}

enum ht_status ht_checkpoint_progress(const char *path, struct ht_progress_state *state,
                                      struct ht_error *err)
{
    struct ht_container_reader *r;
    enum ht_status status = ht_container_open(&r, path, "checkpoint", HT_CHECKPOINT_VERSION, err);
    if (status != HT_OK)
        return status;
    status = get_state(r, state, err);
    ht_container_close(r);
    return status;
}

size_t ht_checkpoint_stage(const struct ht_experiment *e, const struct ht_progress_state *state)
{
    const int64_t finished = state->batch > 0 ? state->epoch : state->epoch - 1;
    return ht_experiment_stage_at(e, finished > 0 ? finished : 0);
}

/* Spans of quantizers carry two dots: "dense1.weight.scale". */
static bool of_quantizer(const struct ht_span *s)
{
    const char *dot = strchr(s->name, '.');
    return dot && strchr(dot + 1, '.');
}

static enum ht_status start_from(struct ht_container_reader *r, const char *group,
                                 struct ht_params *p, bool with_quantizers, const char *file,
                                 struct ht_error *err)
{
    char path[192];
    enum ht_container_type type;
    int rank;
    size_t shape[4];
    enum ht_status status = HT_OK;
    for (size_t i = 0; i < p->n_spans && status == HT_OK; i++) {
        const struct ht_span *s = &p->spans[i];
        if (of_quantizer(s)) {
            span_path(path, group, s);
            if (!with_quantizers || ht_container_info(r, path, &type, &rank, shape, NULL) ||
                rank != 2 || shape[0] != s->rows || shape[1] != s->cols)
                continue;
        }
        status = get_span(r, group, s, p->value, file, err);
    }
    return status;
}

enum ht_status ht_checkpoint_load_parameters(const char *path, struct ht_model *model,
                                             bool with_quantizers, struct ht_error *err)
{
    struct ht_container_reader *r;
    enum ht_status status = ht_container_open(&r, path, "checkpoint", HT_CHECKPOINT_VERSION, err);
    if (status != HT_OK)
        return status;
    status = start_from(r, "parameters", &model->params, with_quantizers, path, err);
    if (status == HT_OK)
        status = start_from(r, "state", &model->state, with_quantizers, path, err);
    model->params.version++;
    ht_container_close(r);
    return status;
}
