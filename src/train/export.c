#include "train/export.h"

#include <math.h>
#include <string.h>

/* The report of a model, and HT_ERR_THRESHOLD when it differs from the network. */
static enum ht_status compare(struct ht_export_report *ret, struct ht_network *network,
                              const struct ht_qmodel *m, const struct ht_objective *objective,
                              const struct ht_kernels *kernels, const struct ht_dataset *d,
                              struct ht_error *err)
{
    const enum ht_split split = ht_evaluation_split(d);
    ret->split = ht_split_name(split);
    const enum ht_status status =
        ht_evaluate_parity(&ret->parity, network, m, objective, kernels, d, split, err);
    if (status != HT_OK)
        return status;
    ret->model_bytes = ht_qmodel_bytes(m);
    if (ret->parity.mismatched_outputs == 0)
        return HT_OK;
    return ht_fail(err, HT_ERR_THRESHOLD,
                   "%zu of %zu outputs differ between fake-quant and integer path, first "
                   "at sample %zu",
                   ret->parity.mismatched_outputs, ret->parity.outputs_compared,
                   ret->parity.first_mismatch);
}

static void measure_accumulators(struct ht_export_report *r, const struct ht_qmodel *m)
{
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct ht_accumulators a = ht_qlayer_accumulators(m, i);
        r->accumulator_bits = a.bits > r->accumulator_bits ? a.bits : r->accumulator_bits;
        r->product_bits = a.product_bits > r->product_bits ? a.product_bits : r->product_bits;
    }
}

enum ht_status ht_export_model(struct ht_export_report *ret, const struct ht_experiment *e,
                               const struct ht_model *model, const struct ht_objective *objective,
                               struct ht_network *network, const struct ht_dataset *d,
                               double validation_score, const char *path, struct ht_error *err)
{
    struct ht_qmodel *lowered = NULL, *loaded = NULL;
    struct ht_kernels kernels;
    memset(ret, 0, sizeof *ret);
    enum ht_status status = ht_run_kernels(&kernels, err);
    if (status == HT_OK)
        status = ht_run_lower(&lowered, e, model, objective, d, validation_score, err);
    if (status == HT_OK)
        status = ht_qmodel_save(lowered, path, err);
    /* What is checked is the file that ships, read back. */
    if (status == HT_OK)
        status = ht_qmodel_load(&loaded, path, err);
    if (status == HT_OK)
        status = compare(ret, network, loaded, objective, &kernels, d, err);
    if (loaded && (status == HT_OK || status == HT_ERR_THRESHOLD))
        measure_accumulators(ret, loaded);
    ht_qmodel_destroy(lowered);
    ht_qmodel_destroy(loaded);
    return status;
}

/* The network of a session, and its score on the validation part. */
static enum ht_status prepare(struct ht_network *network, struct ht_evaluation *validation,
                              struct ht_session *s, struct ht_error *err)
{
    if (s->float_stage)
        return ht_fail(
            err, HT_ERR_CONFIG,
            "%s: this checkpoint is of the float32 stage, quantization starts after epoch "
            "%d (quant.start_epoch); train on with --resume",
            s->experiment->name, s->experiment->quant.start_epoch);
    if (s->stage_bits)
        return ht_fail(err, HT_ERR_CONFIG,
                       "%s: this checkpoint is of the stage of %d bits (quant.progressive), not of "
                       "the experiment's own widths; train on with --resume",
                       s->experiment->name, s->stage_bits);
    const enum ht_form form = s->model->quantized ? HT_FORM_QUANTIZED : HT_FORM_FLOAT;
    enum ht_status status =
        ht_network_init(network, s->model, &s->objective, 256, form, false, NULL, err);
    validation->score = NAN;
    if (status == HT_OK && s->dataset->count[HT_VALIDATION])
        status = ht_evaluate(validation, network, &s->objective, s->dataset, HT_VALIDATION, err);
    return status;
}

enum ht_status ht_export_session(struct ht_export_report *ret, struct ht_session *s,
                                 const char *path, struct ht_error *err)
{
    struct ht_network network = {0};
    struct ht_evaluation validation;
    if (!s->model->quantized)
        return ht_fail(err, HT_ERR_CONFIG,
                       "%s is a float32 network: it has no integer form (it can go to onnx or "
                       "safetensors)",
                       s->experiment->name);
    enum ht_status status = prepare(&network, &validation, s, err);
    if (status == HT_OK)
        status = ht_export_model(ret, s->experiment, s->model, &s->objective, &network, s->dataset,
                                 validation.score, path, err);
    ht_network_finish(&network);
    return status;
}

/* A model without layers, that says what goes with a float32 network. */
static enum ht_status describe_float(struct ht_qmodel **ret, struct ht_export_report *report,
                                     struct ht_session *s, struct ht_network *network,
                                     double validation_score, struct ht_error *err)
{
    struct ht_evaluation test;
    const enum ht_split split = ht_evaluation_split(s->dataset);
    struct ht_qmodel *m = ht_qmodel_create(0);
    if (!m)
        return ht_fail_memory(err);
    m->input.features = s->model->inputs;
    m->outputs = s->model->outputs;
    enum ht_status status =
        ht_run_describe(m, s->experiment, &s->objective, s->dataset, validation_score, err);
    if (status == HT_OK)
        status = ht_evaluate(&test, network, &s->objective, s->dataset, split, err);
    if (status != HT_OK) {
        ht_qmodel_destroy(m);
        return status;
    }
    report->split = ht_split_name(split);
    report->parity.samples = test.n;
    report->parity.fake_quant_score = test.score;
    report->parity.integer_score = NAN;
    report->model_bytes = s->model->params.n * sizeof(float);
    *ret = m;
    return HT_OK;
}

enum ht_status ht_export_lowered(struct ht_qmodel **ret, struct ht_export_report *report,
                                 struct ht_session *s, struct ht_error *err)
{
    struct ht_network network = {0};
    struct ht_evaluation validation;
    struct ht_kernels kernels;
    struct ht_qmodel *m = NULL;
    memset(report, 0, sizeof *report);
    enum ht_status status = ht_run_kernels(&kernels, err);
    if (status == HT_OK)
        status = prepare(&network, &validation, s, err);
    if (status == HT_OK && !s->model->quantized)
        status = describe_float(&m, report, s, &network, validation.score, err);
    else if (status == HT_OK)
        status = ht_run_lower(&m, s->experiment, s->model, &s->objective, s->dataset,
                              validation.score, err);
    if (status == HT_OK && s->model->quantized)
        status = compare(report, &network, m, &s->objective, &kernels, s->dataset, err);
    if (status == HT_OK)
        *ret = m;
    else
        ht_qmodel_destroy(m);
    ht_network_finish(&network);
    return status;
}
