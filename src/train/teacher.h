/* A trained network whose outputs another one learns to give: knowledge distillation (Hinton et al.
 * 2015, arXiv 1503.02531). */
#ifndef HT_TRAIN_TEACHER_H
#define HT_TRAIN_TEACHER_H

#include "train/network.h"
#include "train/objective.h"

struct ht_teacher;

/* Loads the network of e->train.teacher, a run folder or a checkpoint; for batches of up to
 * e->train.batch rows of d. HT_ERR_CONFIG with the place in the experiment when its inputs or
 * outputs are not those of this experiment. */
enum ht_status ht_teacher_create(struct ht_teacher **ret, const struct ht_experiment *e,
                                 const struct ht_dataset *d, const struct ht_objective *objective,
                                 struct ht_error *err);
/* y[count, outputs] of x[count, features]; what it gives when it is used, without dropout and such.
 */
void ht_teacher_outputs(struct ht_teacher *t, const ht_real *x, size_t count, ht_real *y);
void ht_teacher_destroy(struct ht_teacher *t);

#endif
