/* Where and with what a run was made. */
#ifndef HT_TRAIN_ENVIRONMENT_H
#define HT_TRAIN_ENVIRONMENT_H

#include "base/text.h"
#include "config/experiment.h"
#include "data/dataset.h"

/* JSON: version, compiler, CPU, its vector extensions, kernels, BLAS core and version, seed, data and its hash. */
void ht_environment_print(const struct ht_experiment *e, const struct ht_dataset *d,
                          struct ht_text *out);

#endif
