/* From an experiment's names and numbers to objects. */
#ifndef HT_TRAIN_SETUP_H
#define HT_TRAIN_SETUP_H

#include "config/experiment.h"
#include "data/dataset.h"
#include "layers/model.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "train/objective.h"

/* Loads and splits the experiment's dataset. */
enum ht_status ht_setup_dataset(struct ht_dataset **ret, const struct ht_experiment *e,
                                struct ht_error *err);

/* The model for these inputs, parameters initialized from the seed; without quantizers when
 * the experiment is float32. */
enum ht_status ht_setup_model(struct ht_model **ret, const struct ht_experiment *e, size_t inputs,
                              struct ht_error *err);

/* Fixes the range of the network's input from the training part. */
enum ht_status ht_setup_input_range(struct ht_model *model, const struct ht_dataset *d,
                                    struct ht_error *err);

/* False: a float32 experiment. */
bool ht_experiment_quantized(const struct ht_experiment *e);

/* Iterations of AdaRound, over all layers, before the first optimizer step. */
int64_t ht_experiment_rounding_steps(const struct ht_experiment *e);

/* The optimizer over params (borrowed) and the learning rate over time. */
enum ht_status ht_setup_optimizer(struct ht_optimizer **ret, struct ht_schedule *schedule,
                                  const struct ht_experiment *e, struct ht_params *params,
                                  struct ht_error *err);

#endif
