#include "mixed/analysis.h"

#include <string.h>

#include "base/alloc.h"
#include "qmodel/lower.h"
#include "tensor/blas.h"
#include "train/calibration.h"
#include "train/checkpoint.h"
#include "train/run.h"
#include "train/setup.h"

#define BATCH 256

enum ht_status ht_mixed_analysis_init(struct ht_mixed_analysis *a, const struct ht_experiment *e,
                                      const struct ht_dataset *d, bool needs_trained,
                                      struct ht_error *err)
{
    memset(a, 0, sizeof *a);
    ht_blas_init();
    a->e = e;
    a->d = d;
    if (!e->train.from[0] && needs_trained)
        return ht_fail(err, HT_ERR_CONFIG,
                       "train.from must say which trained network to look at: a run folder or a "
                       "checkpoint, such as train.from=runs/%s",
                       e->name);
    if (d->count[HT_VALIDATION] == 0)
        return ht_fail(err, HT_ERR_DATA,
                       "widths are compared on the validation part, and there is none: "
                       "data.validation is 0");
    enum ht_status status = HT_OK;
    if (e->train.from[0])
        status = ht_checkpoint_find(e->train.from, a->checkpoint, err);
    if (status != HT_OK)
        return ht_error_prefix(err, status, "train.from");
    status = ht_run_kernels(&a->kernels, err);
    if (status == HT_OK)
        status = ht_objective_init(&a->objective, e, d, err);
    if (status != HT_OK)
        return status;
    a->order = ht_calloc(d->count[HT_TRAIN], sizeof *a->order);
    if (!a->order)
        return ht_fail_memory(err);
    ht_dataset_shuffle(d, e->seed, 0, a->order);
    return HT_OK;
}

void ht_mixed_analysis_finish(struct ht_mixed_analysis *a)
{
    ht_free(a->order);
    a->order = NULL;
}

static enum ht_status prepare(const struct ht_mixed_analysis *a, const struct ht_experiment *e,
                              struct ht_model **ret, struct ht_error *err)
{
    struct ht_model *m = NULL;
    enum ht_status status = ht_setup_model(&m, e, a->d->features, err);
    if (status == HT_OK)
        status = ht_setup_input_range(m, a->d, err);
    if (status == HT_OK && a->checkpoint[0]) {
        status = ht_checkpoint_load_parameters(a->checkpoint, m, false, err);
        if (status != HT_OK)
            ht_error_prefix(err, status, "train.from");
    }
    if (status == HT_OK)
        status = ht_calibrate(m, e, a->d, a->order, &(struct ht_calibrate_hooks){0}, err);
    if (status == HT_OK)
        *ret = m;
    else
        ht_model_destroy(m);
    return status;
}

enum ht_status ht_mixed_quantize(const struct ht_mixed_analysis *a, const struct ht_mixed_table *t,
                                 const size_t *choice, struct ht_model **ret, struct ht_error *err)
{
    struct ht_experiment *e = ht_calloc(1, sizeof *e);
    if (!e)
        return ht_fail_memory(err);
    *e = *a->e;
    enum ht_status status = choice ? ht_mixed_apply(t, choice, e, err) : HT_OK;
    if (e->quant.calibration_batches == 0)
        e->quant.calibration_batches = HT_MIXED_CALIBRATION;
    if (status == HT_OK)
        status = prepare(a, e, ret, err);
    ht_free(e);
    return status;
}

enum ht_status ht_mixed_evaluate(const struct ht_mixed_analysis *a, struct ht_model *model,
                                 enum ht_form form, struct ht_evaluation *ret, struct ht_error *err)
{
    struct ht_network n;
    enum ht_status status = ht_network_init(&n, model, &a->objective, BATCH, form, false,
                                            ht_network_training_kernels(&a->kernels), err);
    if (status != HT_OK)
        return status;
    status = ht_evaluate(ret, &n, &a->objective, a->d, HT_VALIDATION, err);
    ht_network_finish(&n);
    return status;
}

enum ht_status ht_mixed_score(const struct ht_mixed_analysis *a, const struct ht_mixed_table *t,
                              const size_t *choice, struct ht_evaluation *ret, struct ht_error *err)
{
    struct ht_model *m;
    enum ht_status status = ht_mixed_quantize(a, t, choice, &m, err);
    if (status != HT_OK)
        return status;
    status = ht_mixed_evaluate(a, m, HT_FORM_QUANTIZED, ret, err);
    ht_model_destroy(m);
    return status;
}

/* All slots at one width, lowered: what a layer's weights take does not depend on other slots. */
static enum ht_status bytes_at_width(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                                     size_t width, size_t *choice, struct ht_error *err)
{
    struct ht_model *m = NULL;
    struct ht_qmodel *q = NULL;
    for (size_t i = 0; i < t->n_slots; i++)
        choice[i] = width;
    enum ht_status status = ht_mixed_quantize(a, t, choice, &m, err);
    if (status == HT_OK)
        status = ht_qmodel_lower(&q, m, err);
    for (size_t i = 0; status == HT_OK && i < t->n_layers; i++)
        t->layers[i].bytes[width] = t->layers[i].fixed_bytes = ht_qlayer_bytes(&q->layers[i]);
    ht_qmodel_destroy(q);
    ht_model_destroy(m);
    return status;
}

enum ht_status ht_mixed_measure_bytes(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                                      struct ht_error *err)
{
    size_t *choice = ht_calloc(t->n_slots, sizeof *choice);
    enum ht_status status = choice ? HT_OK : ht_fail_memory(err);
    for (size_t w = 0; status == HT_OK && w < t->n_widths; w++)
        status = bytes_at_width(a, t, w, choice, err);
    ht_free(choice);
    return status;
}

static enum ht_status measure_float(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                                    struct ht_error *err)
{
    struct ht_model *m;
    struct ht_evaluation v;
    enum ht_status status = ht_setup_model(&m, a->e, a->d->features, err);
    if (status != HT_OK)
        return status;
    status = ht_checkpoint_load_parameters(a->checkpoint, m, false, err);
    if (status == HT_OK)
        status = ht_mixed_evaluate(a, m, HT_FORM_FLOAT, &v, err);
    if (status == HT_OK) {
        t->float_loss = v.loss;
        t->float_score = v.score;
    }
    ht_model_destroy(m);
    return status;
}

static void report(const struct ht_mixed_analysis *a, size_t done, size_t of)
{
    if (a->event)
        a->event(a->user, done, of);
}

enum ht_status ht_mixed_measure(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                                struct ht_error *err)
{
    const size_t of = 2 + t->n_slots * (t->n_widths - 1);
    size_t done = 1, *choice = ht_calloc(t->n_slots, sizeof *choice);
    struct ht_evaluation widest = {0}, v;
    enum ht_status status = choice ? measure_float(a, t, err) : ht_fail_memory(err);
    report(a, done, of);
    if (status == HT_OK)
        status = ht_mixed_score(a, t, choice, &widest, err);
    t->widest_loss = widest.loss;
    t->widest_score = widest.score;
    for (size_t i = 0; status == HT_OK && i < t->n_slots; i++)
        for (size_t w = 0; status == HT_OK && w < t->n_widths; w++) {
            struct ht_mixed_cell *cell = ht_mixed_cell(t, i, w);
            choice[i] = w;
            v = widest;
            if (w > 0) {
                report(a, ++done, of);
                status = ht_mixed_score(a, t, choice, &v, err);
            }
            cell->loss = v.loss;
            cell->score = v.score;
            cell->sensitivity = v.loss - widest.loss;
            choice[i] = 0;
        }
    ht_free(choice);
    return status;
}
