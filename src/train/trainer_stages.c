/* Stages of a training: what happens before the steps of one, and after its epochs, to the network
 * as a whole. */
#include "base/alloc.h"
#include "layers/accumulators.h"
#include "layers/calibrate.h"
#include "train/setup.h"
#include "train/trainer_internal.h"

/* --- widths that shrink: quant.progressive --- */

void ht_trainer_leave_stage(struct ht_trainer *t)
{
    for (int form = 0; form < HT_N_FORMS; form++) {
        ht_network_finish(&t->train[form]);
        ht_network_finish(&t->evaluation[form]);
    }
    ht_optimizer_destroy(t->optimizer);
    ht_model_destroy(t->model);
    t->optimizer = NULL;
    t->model = NULL;
}

enum ht_status ht_trainer_enter_stage(struct ht_trainer *t, size_t stage, struct ht_error *err)
{
    struct ht_experiment *e = ht_calloc(1, sizeof *e);
    struct ht_model *model = NULL;
    struct ht_optimizer *optimizer = NULL;
    struct ht_schedule schedule;
    if (!e)
        return ht_fail_memory(err);
    enum ht_status status = ht_experiment_stage(e, t->e, stage, err);
    if (status == HT_OK)
        status = ht_setup_model(&model, e, t->d->features, err);
    if (status == HT_OK && model->quantized)
        status = ht_setup_input_range(model, t->d, err);
    if (status == HT_OK)
        status = ht_setup_optimizer(&optimizer, &schedule, e, &model->params, err);
    if (status != HT_OK) {
        ht_model_destroy(model);
        ht_free(e);
        return status;
    }
    if (t->model)
        ht_model_copy_network(model, t->model);
    ht_trainer_leave_stage(t);
    ht_free(t->stage_experiment);
    schedule.epochs =
        ht_experiment_stage_start(t->e, stage + 1) - ht_experiment_stage_start(t->e, stage);
    t->stage = stage;
    t->stage_experiment = e;
    t->model = model;
    t->optimizer = optimizer;
    t->schedule = schedule;
    return HT_OK;
}

/* --- batches of the training part --- */

static size_t load_calibration(void *user, size_t index, ht_real *x)
{
    const struct ht_trainer *t = user;
    const size_t batch = (size_t)t->e->train.batch, at = index * batch;
    const size_t left = t->d->count[HT_TRAIN] - at, count = left < batch ? left : batch;
    ht_dataset_features(t->d, t->order + at, count, NULL, 0, 0, x);
    return count;
}

/* Of the epoch's order: at most all of them. */
static struct ht_calibration_data first_batches(const struct ht_trainer *t, int64_t wanted)
{
    const int64_t all = ht_trainer_batches(t);
    return (struct ht_calibration_data){(size_t)(wanted < all ? wanted : all),
                                        (size_t)t->e->train.batch, load_calibration, (void *)t};
}

enum ht_status ht_trainer_reestimate(struct ht_trainer *t, struct ht_error *err)
{
    const struct ht_calibration_data data = first_batches(t, t->e->quant.reestimate_batchnorm);
    return data.batches ? ht_model_reestimate_batchnorm(t->model, &data, err) : HT_OK;
}

enum ht_status ht_trainer_calibrate(struct ht_trainer *t, struct ht_error *err)
{
    const struct ht_experiment *e = t->e;
    const struct ht_calibration_data data = first_batches(t, e->quant.calibration_batches);
    const bool first = t->stage == 0;
    enum ht_status status = first && e->quant.equalize ? ht_model_equalize(t->model, err) : HT_OK;
    if (status == HT_OK && ht_model_fits_accumulators(t->model))
        status = ht_model_fit_accumulators(t->model, err);
    if (status == HT_OK && data.batches > 0)
        status = ht_model_calibrate(t->model, &data, err);
    if (status == HT_OK && first && e->quant.bias_correction)
        status = ht_model_correct_biases(t->model, &data, err);
    return status;
}
