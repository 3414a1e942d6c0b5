#include "train/calibration.h"

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

enum ht_status ht_calibrate(struct ht_model *model, const struct ht_experiment *e,
                            const struct ht_dataset *d, const uint32_t *order, struct ht_error *err)
{
    struct batches b = {d, order, (size_t)e->train.batch};
    const size_t all = (d->count[HT_TRAIN] + b.batch - 1) / b.batch;
    const size_t wanted = (size_t)e->quant.calibration_batches;
    const struct ht_calibration_data data = {wanted < all ? wanted : all, b.batch, load, &b};
    enum ht_status status = e->quant.equalize ? ht_model_equalize(model, err) : HT_OK;
    if (status == HT_OK && wanted > 0)
        status = ht_model_calibrate(model, &data, err);
    if (status == HT_OK && e->quant.bias_correction)
        status = ht_model_correct_biases(model, &data, err);
    return status;
}
