/* What happens to a network before its first quantized step, and between its epochs. */
#include <math.h>
#include <time.h>

#include "train/calibration.h"
#include "train/curvature.h"
#include "train/trainer_internal.h"

double ht_trainer_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
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
enum ht_status ht_trainer_calibrate(struct ht_trainer *t, const struct ht_train_hooks *hooks,
                                    struct ht_error *err)
{
    struct rounding r = {t, hooks};
    const struct ht_calibrate_hooks options = {t->pool, rounding_goes_on, &r};
    const double started = ht_trainer_now();
    enum ht_status status =
        ht_calibrate(t->model, t->stage_experiment, t->d, t->order, &options, err);
    if (t->stage_experiment->quant.adaround) /* it trains; the rest is one pass */
        t->seconds += ht_trainer_now() - started;
    if (status == HT_ERR_INTERRUPTED) {
        ht_fail(err, status, "stopped by signal %d while it learned to round; go on with --resume",
                (int)*hooks->stop);
        if (err)
            err->signal = (int)*hooks->stop;
    }
    return status;
}

#define CURVATURE_BATCHES ((size_t)3) /* as Lee et al. have it */

static void load_batch(void *user, size_t index, struct ht_network *network)
{
    const struct ht_trainer *t = user;
    const size_t batch = (size_t)t->e->train.batch, at = index * batch;
    const size_t left = t->d->count[HT_TRAIN] - at, count = left < batch ? left : batch;
    ht_network_load(network, &t->objective, t->d, t->order + at, count, NULL, 0, 0);
}

enum ht_status ht_trainer_adapt(struct ht_trainer *t, struct ht_error *err)
{
    const int64_t epochs = t->state.epoch - t->e->quant.start_epoch;
    const size_t batch = (size_t)t->e->train.batch,
                 all = (t->d->count[HT_TRAIN] + batch - 1) / batch;
    const struct ht_curvature_data data = {all < CURVATURE_BATCHES ? all : CURVATURE_BATCHES,
                                           load_batch, t};
    const struct ht_run run = {
        .seed = t->e->seed, .step = (uint64_t)t->state.step, .pool = t->pool};
    struct ht_network *network = &t->train[HT_FORM_FLOAT];
    enum ht_status status = HT_OK;
    if (t->state.batch > 0 || !ht_curvature_due(t->model, epochs))
        return HT_OK;
    if (!network->graph)
        status = ht_network_init(network, t->model, &t->objective, batch, HT_FORM_FLOAT, true, NULL,
                                 err);
    return status == HT_OK ? ht_curvature_adapt(t->model, network, epochs, &data, run, err)
                           : status;
}
