/* Weights for narrow accumulators (quant/a2q.h). */
#ifndef HT_LAYERS_ACCUMULATORS_H
#define HT_LAYERS_ACCUMULATORS_H

#include "layers/model.h"

/* Whether some weights have estimator a2q. */
bool ht_model_fits_accumulators(const struct ht_model *m);

/* Before the first quantized step: projects float weights onto what their accumulators allow, and
 * sets scales and norms. */
enum ht_status ht_model_fit_accumulators(struct ht_model *m, struct ht_error *err);

#endif
