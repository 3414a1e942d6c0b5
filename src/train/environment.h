/* Where and with what a run was made. */
#ifndef HT_TRAIN_ENVIRONMENT_H
#define HT_TRAIN_ENVIRONMENT_H

#include "base/text.h"
#include "config/experiment.h"
#include "data/dataset.h"

/* JSON: version, compiler, CPU, its vector extensions, kernels, BLAS core and version, seed, data
 * and its hash. experiment_file: its absolute path, or NULL to leave it out (checkpoints do: their
 * bytes must not depend on where a project lies). */
void ht_environment_print(const struct ht_experiment *e, const struct ht_dataset *d,
                          const char *experiment_file, struct ht_text *out);

/* Absolute path of the experiment's file; empty when it does not fit. */
void ht_environment_experiment_file(const struct ht_experiment *e, char path[HT_PATH_LENGTH]);

#endif
