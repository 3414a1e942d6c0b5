/* What an experiment asks for between a float network and its first quantized step. */
#ifndef HT_TRAIN_CALIBRATION_H
#define HT_TRAIN_CALIBRATION_H

#include "base/pool.h"
#include "config/experiment.h"
#include "data/dataset.h"
#include "layers/model.h"

/* Learning to round takes its time: who works on it, and who may stop it. */
struct ht_calibrate_hooks {
    struct ht_pool *pool;                    /* NULL: one thread */
    bool (*go_on)(void *user, int64_t done); /* NULL, or as that of struct ht_adaround */
    void *user;
};

/* quant.equalize, calibration_batches, adaround and bias_correction, on the first batches of
 * `order` [training samples], an order of ht_dataset_shuffle. HT_ERR_INTERRUPTED when go_on said
 * stop. */
enum ht_status ht_calibrate(struct ht_model *model, const struct ht_experiment *e,
                            const struct ht_dataset *d, const uint32_t *order,
                            const struct ht_calibrate_hooks *hooks, struct ht_error *err);

/* quant.reestimate_batchnorm, on the first batches of `order`. */
enum ht_status ht_reestimate_batchnorm(struct ht_model *model, const struct ht_experiment *e,
                                       const struct ht_dataset *d, const uint32_t *order,
                                       struct ht_error *err);

#endif
