#include "train/export.h"

#include <math.h>
#include <string.h>

#include "base/text.h"

enum ht_status ht_export_check_format(const char *format, struct ht_error *err)
{
    static const char *const formats[] = {"hdf5", "onnx", "c", "safetensors"};
    const size_t n = sizeof formats / sizeof *formats;
    if (strcmp(format, formats[0]) == 0)
        return HT_OK;
    for (size_t i = 1; i < n; i++)
        if (strcmp(format, formats[i]) == 0)
            return ht_fail(err, HT_ERR_CONFIG, "export to %s is not built yet", format);
    const char *near = ht_nearest_name(format, formats, n);
    return ht_fail(err, HT_ERR_CONFIG,
                   "unknown export format '%s'%s%s%s; there are hdf5, onnx, c, safetensors", format,
                   near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
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
    const enum ht_split split = ht_evaluation_split(d);
    memset(ret, 0, sizeof *ret);
    ret->split = ht_split_name(split);
    enum ht_status status = ht_run_kernels(&kernels, err);
    if (status == HT_OK)
        status = ht_run_lower(&lowered, e, model, objective, d, validation_score, err);
    if (status == HT_OK)
        status = ht_qmodel_save(lowered, path, err);
    /* What is checked is the file that ships, read back. */
    if (status == HT_OK)
        status = ht_qmodel_load(&loaded, path, err);
    if (status == HT_OK)
        status =
            ht_evaluate_parity(&ret->parity, network, loaded, objective, &kernels, d, split, err);
    if (status == HT_OK) {
        ret->model_bytes = ht_qmodel_bytes(loaded);
        measure_accumulators(ret, loaded);
        if (ret->parity.mismatched_outputs)
            status = ht_fail(err, HT_ERR_THRESHOLD,
                             "%zu of %zu outputs differ between fake-quant and integer path, first "
                             "at sample %zu",
                             ret->parity.mismatched_outputs, ret->parity.outputs_compared,
                             ret->parity.first_mismatch);
    }
    ht_qmodel_destroy(lowered);
    ht_qmodel_destroy(loaded);
    return status;
}

enum ht_status ht_export_session(struct ht_export_report *ret, struct ht_session *s,
                                 const char *path, struct ht_error *err)
{
    struct ht_network network = {0};
    struct ht_evaluation validation = {.score = NAN};
    if (!s->model->quantized)
        return ht_fail(err, HT_ERR_CONFIG, "%s is a float32 network: it has no integer form",
                       s->experiment->name);
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
    enum ht_status status = ht_network_init(&network, s->model, &s->objective, 256,
                                            HT_FORM_QUANTIZED, false, NULL, err);
    if (status == HT_OK && s->dataset->count[HT_VALIDATION])
        ht_evaluate(&validation, &network, &s->objective, s->dataset, HT_VALIDATION);
    if (status == HT_OK)
        status = ht_export_model(ret, s->experiment, s->model, &s->objective, &network, s->dataset,
                                 validation.score, path, err);
    ht_network_finish(&network);
    return status;
}
