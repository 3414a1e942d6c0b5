#include "train/teacher.h"

#include <string.h>

#include "base/alloc.h"
#include "train/session.h"

struct ht_teacher {
    struct ht_session session;
    struct ht_network network;
};

static enum ht_status check_fit(const struct ht_session *s, const struct ht_experiment *e,
                                const struct ht_dataset *d, const struct ht_objective *objective,
                                struct ht_error *err)
{
    const struct ht_experiment *own = s->experiment;
    if (s->dataset->features != d->features || s->objective.outputs != objective->outputs)
        return ht_fail(err, HT_ERR_CONFIG,
                       "a network from %zu to %zu values cannot teach one from %zu to %zu",
                       s->dataset->features, s->objective.outputs, d->features, objective->outputs);
    if (s->objective.task != objective->task)
        return ht_fail(err, HT_ERR_CONFIG, "it was trained for %s, this is %s",
                       s->objective.task_name, objective->task_name);
    if (strcmp(own->data.pixels, e->data.pixels) != 0 ||
        own->data.standardize != e->data.standardize)
        return ht_fail(err, HT_ERR_CONFIG,
                       "it takes its inputs with data.pixels %s and data.standardize %s, here they "
                       "are %s and %s",
                       own->data.pixels, own->data.standardize ? "true" : "false", e->data.pixels,
                       e->data.standardize ? "true" : "false");
    return HT_OK;
}

enum ht_status ht_teacher_create(struct ht_teacher **ret, const struct ht_experiment *e,
                                 const struct ht_dataset *d, const struct ht_objective *objective,
                                 struct ht_error *err)
{
    struct ht_teacher *t = ht_calloc(1, sizeof *t);
    if (!t)
        return ht_fail_memory(err);
    struct ht_session *s = &t->session;
    enum ht_status status = ht_session_from_checkpoint(s, e->train.teacher, err);
    if (status == HT_OK)
        status = check_fit(s, e, d, objective, err);
    if (status == HT_OK) {
        const bool quantized = s->model->quantized && !s->float_stage;
        status = ht_network_init(&t->network, s->model, &s->objective, (size_t)e->train.batch,
                                 quantized ? HT_FORM_QUANTIZED : HT_FORM_FLOAT, false, NULL, err);
    }
    ht_dataset_destroy(s->dataset); /* it is the student's */
    s->dataset = NULL;
    if (status == HT_OK) {
        *ret = t;
        return status;
    }
    ht_teacher_destroy(t);
    return e->train.at.line < 1 ? ht_error_prefix(err, status, "train.teacher")
                                : ht_error_prefix(err, status, "%s:%d:%d: error: train.teacher",
                                                  e->path, e->train.at.line, e->train.at.column);
}

void ht_teacher_outputs(struct ht_teacher *t, const ht_real *x, size_t count, ht_real *y)
{
    const struct ht_run run = {.mode = HT_MODE_EVAL};
    struct ht_network *n = &t->network;
    ht_graph_set_batch(n->graph, count);
    memcpy(n->x->value, x, count * n->x->cols * sizeof *x);
    ht_graph_forward(n->graph, &run);
    memcpy(y, n->y->value, count * n->y->cols * sizeof *y);
}

void ht_teacher_destroy(struct ht_teacher *t)
{
    if (!t)
        return;
    ht_network_finish(&t->network);
    ht_session_finish(&t->session);
    ht_free(t);
}
