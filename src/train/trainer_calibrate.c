/* What happens to a network before its first quantized step. */
#include <math.h>
#include <time.h>

#include "base/alloc.h"
#include "layers/calibrate.h"
#include "train/trainer_internal.h"

double ht_trainer_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t load_calibration(void *user, size_t index, ht_real *x)
{
    const struct ht_trainer *t = user;
    const size_t batch = (size_t)t->e->train.batch, at = index * batch;
    const size_t left = t->d->count[HT_TRAIN] - at, count = left < batch ? left : batch;
    ht_dataset_features(t->d, t->order + at, count, NULL, 0, 0, x);
    return count;
}

struct rounding {
    const struct ht_trainer *t;
    const struct ht_train_hooks *hooks;
};

static bool rounding_goes_on(void *user, int64_t done)
{
    const struct rounding *r = user;
    struct ht_train_event event = {.rounding = true, .step = done, .train_loss = NAN};
    ht_trainer_report(r->t, r->hooks, &event);
    return !(r->hooks && r->hooks->stop && *r->hooks->stop);
}

/* There is no checkpoint of a half rounded network: --resume begins anew. */
static enum ht_status round_weights(struct ht_trainer *t, const struct ht_calibration_data *data,
                                    const struct ht_train_hooks *hooks, struct ht_error *err)
{
    struct rounding r = {t, hooks};
    const struct ht_adaround options = {t->e->quant.adaround_iterations, t->e->seed, t->pool,
                                        rounding_goes_on, &r};
    const double started = ht_trainer_now();
    enum ht_status status = ht_model_adaround(t->model, data, &options, err);
    t->seconds += ht_trainer_now() - started;
    if (status == HT_ERR_INTERRUPTED) {
        ht_fail(err, status, "stopped by signal %d while it learned to round; go on with --resume",
                (int)*hooks->stop);
        if (err)
            err->signal = (int)*hooks->stop;
    }
    return status;
}

enum ht_status ht_trainer_calibrate(struct ht_trainer *t, const struct ht_train_hooks *hooks,
                                    struct ht_error *err)
{
    const struct ht_experiment *e = t->e;
    const int64_t batch = e->train.batch, wanted = e->quant.calibration_batches;
    const int64_t all = ((int64_t)t->d->count[HT_TRAIN] + batch - 1) / batch;
    const struct ht_calibration_data data = {(size_t)(wanted < all ? wanted : all),
                                             (size_t)e->train.batch, load_calibration, t};
    double *sums = NULL; /* of the float network */
    size_t neurons = 0;
    enum ht_status status = e->quant.equalize ? ht_model_equalize(t->model, err) : HT_OK;
    for (size_t i = 0; i < t->model->n_blocks; i++)
        neurons += t->model->blocks[i].out;
    if (status == HT_OK && e->quant.bias_correction) {
        sums = ht_calloc(neurons, sizeof *sums);
        status = sums ? ht_model_mean_sums(t->model, &data, sums, err) : ht_fail_memory(err);
    }
    if (status == HT_OK && wanted > 0)
        status = ht_model_calibrate(t->model, &data, err);
    if (status == HT_OK && e->quant.adaround)
        status = round_weights(t, &data, hooks, err);
    if (status == HT_OK && e->quant.bias_correction)
        status = ht_model_correct_biases(t->model, &data, sums, err);
    ht_free(sums);
    return status;
}
