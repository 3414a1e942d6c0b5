/* What an experiment asks for between a float network and its first quantized step. */
#ifndef HT_TRAIN_CALIBRATION_H
#define HT_TRAIN_CALIBRATION_H

#include "config/experiment.h"
#include "data/dataset.h"
#include "layers/model.h"

/* quant.equalize, calibration_batches and bias_correction, on the first batches of `order`
 * [training samples], an order of ht_dataset_shuffle. */
enum ht_status ht_calibrate(struct ht_model *model, const struct ht_experiment *e,
                            const struct ht_dataset *d, const uint32_t *order,
                            struct ht_error *err);

#endif
