/* From a trained model to the integer model. */
#ifndef HT_QMODEL_LOWER_H
#define HT_QMODEL_LOWER_H

#include "layers/model.h"
#include "qmodel/qmodel.h"

/* Codes, folded scales and biases, tables; checked. What the layers do not know (name, task,
 * classes, input transform, provenance) is left empty for the caller. HT_ERR_MODEL when the model
 * cannot be run in int32; HT_ERR_INTERNAL before the first training step has set all ranges. Ranges
 * of weights that belong to the weights as they are (min_max) are measured, as a forward does. */
enum ht_status ht_qmodel_lower(struct ht_qmodel **ret, const struct ht_model *model,
                               struct ht_error *err);

#endif
