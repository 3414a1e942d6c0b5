#include <halftone/predictor.h>

#include "base/alloc.h"
#include "infer/runtime.h"
#include "qmodel/qmodel.h"
#include "train/run.h"

struct ht_predictor {
    struct ht_qmodel *model;
    struct ht_runtime *runtime;
    size_t max_batch;
    float *x; /* [max_batch, features] */
};

void ht_predictor_close(struct ht_predictor *p)
{
    if (!p)
        return;
    ht_runtime_destroy(p->runtime);
    ht_qmodel_destroy(p->model);
    ht_free(p->x);
    ht_free(p);
}

enum ht_status ht_predictor_open(struct ht_predictor **ret, const char *path, size_t max_batch,
                                 struct ht_error *err)
{
    struct ht_kernels kernels;
    size_t elements;
    if (max_batch == 0)
        return ht_fail(err, HT_ERR_CONFIG, "max_batch must be at least 1");
    struct ht_predictor *p = ht_calloc(1, sizeof *p);
    if (!p)
        return ht_fail_memory(err);
    p->max_batch = max_batch;
    enum ht_status status = ht_run_kernels(&kernels, err);
    if (status == HT_OK)
        status = ht_qmodel_load(&p->model, path, err);
    if (status == HT_OK)
        status = ht_runtime_create(&p->runtime, p->model, &kernels, max_batch, err);
    if (status == HT_OK) {
        if (ht_mul_size(max_batch, p->model->input.features, &elements))
            p->x = ht_calloc(elements, sizeof *p->x);
        if (!p->x)
            status = ht_fail_memory(err);
    }
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

void ht_predictor_run(struct ht_predictor *p, const float *rows, size_t n, float *outputs)
{
    const struct ht_qmodel *m = p->model;
    for (size_t at = 0; at < n; at += p->max_batch) {
        size_t count = n - at < p->max_batch ? n - at : p->max_batch;
        float *y = outputs + at * m->outputs;
        ht_qmodel_transform_input(m, rows + at * m->input.features, count, p->x);
        ht_runtime_run(p->runtime, p->x, count, y);
        for (size_t i = 0; m->target_mean && i < count * m->outputs; i++)
            y[i] = y[i] * m->target_std[i % m->outputs] + m->target_mean[i % m->outputs];
    }
}

size_t ht_predictor_class(const struct ht_predictor *p, const float *outputs)
{
    return ht_qmodel_class(p->model, outputs);
}
