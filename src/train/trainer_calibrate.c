/* What happens to a network before its first quantized step. */
#include <math.h>
#include <time.h>

#include "train/calibration.h"
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
    enum ht_status status = ht_calibrate(t->model, t->e, t->d, t->order, &options, err);
    if (t->e->quant.adaround) /* it trains; the rest is one pass */
        t->seconds += ht_trainer_now() - started;
    if (status == HT_ERR_INTERRUPTED) {
        ht_fail(err, status, "stopped by signal %d while it learned to round; go on with --resume",
                (int)*hooks->stop);
        if (err)
            err->signal = (int)*hooks->stop;
    }
    return status;
}
