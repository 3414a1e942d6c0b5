#include "train/calibration.h"

#include "base/alloc.h"
#include "layers/accumulators.h"
#include "layers/calibrate.h"

struct batches {
    const struct ht_dataset *d;
    const uint32_t *order;
    size_t batch;
};

static size_t load(void *user, size_t index, ht_real *x)
{
    const struct batches *b = user;
    const size_t at = index * b->batch, left = b->d->count[HT_TRAIN] - at;
    const size_t count = left < b->batch ? left : b->batch;
    ht_dataset_features(b->d, b->order + at, count, NULL, 0, 0, x);
    return count;
}

static enum ht_status round_and_correct(struct ht_model *model, const struct ht_experiment *e,
                                        const struct ht_calibration_data *data, const double *sums,
                                        const struct ht_calibrate_hooks *hooks,
                                        struct ht_error *err)
{
    const struct ht_adaround options = {e->quant.adaround_iterations, e->seed, hooks->pool,
                                        hooks->go_on, hooks->user};
    enum ht_status status = HT_OK;
    if (e->quant.adaround)
        status = ht_model_adaround(model, data, &options, err);
    if (status == HT_OK && e->quant.bias_correction)
        status = ht_model_correct_biases(model, data, sums, err);
    return status;
}

/* Of the order: at most all of them. */
static struct ht_calibration_data first_batches(struct batches *b, int wanted)
{
    const size_t all = (b->d->count[HT_TRAIN] + b->batch - 1) / b->batch;
    return (struct ht_calibration_data){(size_t)wanted < all ? (size_t)wanted : all, b->batch, load,
                                        b};
}

enum ht_status ht_reestimate_batchnorm(struct ht_model *model, const struct ht_experiment *e,
                                       const struct ht_dataset *d, const uint32_t *order,
                                       struct ht_error *err)
{
    struct batches b = {d, order, (size_t)e->train.batch};
    const struct ht_calibration_data data = first_batches(&b, e->quant.reestimate_batchnorm);
    return ht_model_reestimate_batchnorm(model, &data, err);
}

enum ht_status ht_calibrate(struct ht_model *model, const struct ht_experiment *e,
                            const struct ht_dataset *d, const uint32_t *order,
                            const struct ht_calibrate_hooks *hooks, struct ht_error *err)
{
    struct batches b = {d, order, (size_t)e->train.batch};
    const struct ht_calibration_data data = first_batches(&b, e->quant.calibration_batches);
    double *sums = NULL; /* of the float network */
    size_t neurons = 0;
    enum ht_status status = e->quant.equalize ? ht_model_equalize(model, err) : HT_OK;
    for (size_t i = 0; i < model->n_blocks; i++)
        neurons += model->blocks[i].out;
    if (status == HT_OK && e->quant.bias_correction) {
        sums = ht_calloc(neurons, sizeof *sums);
        status = sums ? ht_model_mean_sums(model, &data, sums, err) : ht_fail_memory(err);
    }
    if (status == HT_OK && ht_model_fits_accumulators(model))
        status = ht_model_fit_accumulators(model, err);
    if (status == HT_OK && data.batches > 0)
        status = ht_model_calibrate(model, &data, err);
    if (status == HT_OK)
        status = round_and_correct(model, e, &data, sums, hooks, err);
    ht_free(sums);
    return status;
}
