#include <halftone/predictor.h>
#include <halftone/version.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "infer/runtime.h"
#include "qmodel/qmodel.h"
#include "train/run.h"

const char *ht_version(void)
{
    return HALFTONE_VERSION;
}

struct ht_predictor {
    struct ht_qmodel *model;
    struct ht_runtime *runtime;
    struct ht_context *own; /* of ht_predictor_run */
};

struct ht_context {
    const struct ht_qmodel *model;
    struct ht_pool *pool; /* NULL: the calling thread only */
    struct ht_runner *runner;
};

void ht_context_destroy(struct ht_context *c)
{
    if (!c)
        return;
    ht_runner_destroy(c->runner);
    ht_pool_destroy(c->pool);
    ht_free(c);
}

enum ht_status ht_context_create(struct ht_context **ret, const struct ht_predictor *p,
                                 size_t max_batch, unsigned threads, struct ht_error *err)
{
    if (max_batch == 0)
        return ht_fail(err, HT_ERR_CONFIG, "max_batch must be at least 1");
    struct ht_context *c = ht_calloc(1, sizeof *c);
    if (!c)
        return ht_fail_memory(err);
    c->model = p->model;
    enum ht_status status = HT_OK;
    if (threads != 1)
        status = ht_pool_create(&c->pool, threads, err);
    if (status == HT_OK)
        status = ht_runner_create(&c->runner, p->runtime, max_batch, c->pool, err);
    if (status == HT_OK)
        *ret = c;
    else
        ht_context_destroy(c);
    return status;
}

void ht_context_run(struct ht_context *c, const float *rows, size_t n, float *outputs)
{
    const struct ht_qmodel *m = c->model;
    ht_runner_run_raw(c->runner, rows, n, outputs);
    for (size_t i = 0; m->target_mean && i < n * m->outputs; i++)
        outputs[i] = outputs[i] * m->target_std[i % m->outputs] + m->target_mean[i % m->outputs];
}

void ht_predictor_close(struct ht_predictor *p)
{
    if (!p)
        return;
    ht_context_destroy(p->own);
    ht_runtime_destroy(p->runtime);
    ht_qmodel_destroy(p->model);
    ht_free(p);
}

enum ht_status ht_predictor_open(struct ht_predictor **ret, const char *path, size_t max_batch,
                                 struct ht_error *err)
{
    struct ht_kernels kernels;
    struct ht_predictor *p = ht_calloc(1, sizeof *p);
    if (!p)
        return ht_fail_memory(err);
    enum ht_status status = ht_run_kernels(&kernels, err);
    if (status == HT_OK)
        status = ht_qmodel_load(&p->model, path, err);
    if (status == HT_OK)
        status = ht_runtime_create(&p->runtime, p->model, &kernels, err);
    if (status == HT_OK)
        status = ht_context_create(&p->own, p, max_batch, 1, err);
    if (status == HT_OK)
        *ret = p;
    else
        ht_predictor_close(p);
    return status;
}

size_t ht_predictor_features(const struct ht_predictor *p)
{
    return p->model->input.features;
}

size_t ht_predictor_outputs(const struct ht_predictor *p)
{
    return p->model->outputs;
}

size_t ht_predictor_classes(const struct ht_predictor *p)
{
    return p->model->n_classes;
}

const char *ht_predictor_class_name(const struct ht_predictor *p, size_t class_index)
{
    return class_index < p->model->n_classes ? p->model->classes[class_index] : NULL;
}

const char *ht_predictor_name(const struct ht_predictor *p)
{
    return p->model->name;
}

const char *ht_predictor_task(const struct ht_predictor *p)
{
    return p->model->task;
}

const char *ht_predictor_mode(const struct ht_predictor *p)
{
    return ht_qmodel_mode(p->model);
}

size_t ht_predictor_layers(const struct ht_predictor *p)
{
    return p->model->n_layers;
}

enum ht_status ht_predictor_layer(const struct ht_predictor *p, size_t index, struct ht_layer *ret)
{
    if (index >= p->model->n_layers)
        return HT_ERR_CONFIG;
    const struct ht_qlayer *l = &p->model->layers[index];
    const bool real = ht_qlayer_input_kind(p->model, index) == HT_QOUTPUT_REAL;
    memset(ret, 0, sizeof *ret);
    snprintf(ret->name, sizeof ret->name, "%s", l->name);
    snprintf(ret->activation, sizeof ret->activation, "%s", l->activation);
    ret->inputs = l->in;
    ret->outputs = l->out;
    ret->weight_bits = l->weights.grid.bits;
    ret->input_bits = real ? 32 : ht_qlayer_input_quant(p->model, index)->grid.bits;
    return HT_OK;
}

void ht_predictor_run(struct ht_predictor *p, const float *rows, size_t n, float *outputs)
{
    ht_context_run(p->own, rows, n, outputs);
}

size_t ht_predictor_class(const struct ht_predictor *p, const float *outputs)
{
    return ht_qmodel_class(p->model, outputs);
}
