/* What the files of the trainer share. */
#ifndef HT_TRAIN_TRAINER_INTERNAL_H
#define HT_TRAIN_TRAINER_INTERNAL_H

#include "base/text.h"
#include "config/config.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "train/network.h"
#include "train/trainer.h"

struct ht_trainer {
    const struct ht_experiment *e;
    const struct ht_dataset *d;
    const char *run_dir;
    const char *environment;
    struct ht_text resolved; /* the experiment as YAML */
    size_t stage; /* of quant.progressive, and the experiment with its widths, owned; of the stage
                     are model, optimizer, schedule and networks */
    struct ht_experiment *stage_experiment;
    struct ht_objective objective;
    struct ht_model *model;
    struct ht_optimizer *optimizer;
    struct ht_schedule schedule;
    struct ht_kernels kernels;
    struct ht_pool *pool; /* NULL: one thread */
    /* Made when first needed; none evaluates softly. */
    struct ht_network train[HT_N_FORMS], evaluation[HT_N_FORMS];
    uint32_t *order; /* [training samples] of the epoch */
    struct ht_progress_state state;
    double seconds, samples; /* of training steps, also before a resume */
    double gradient_norm;
    struct ht_health health;
    bool saved; /* last.h5 is of this run */
};

int64_t ht_trainer_batches(const struct ht_trainer *t); /* of an epoch */

/* A model for the widths of this stage, with the network of the stage before if there was one; its
 * quantizers find their ranges anew. On failure nothing has changed. */
enum ht_status ht_trainer_enter_stage(struct ht_trainer *t, size_t stage, struct ht_error *err);
void ht_trainer_leave_stage(struct ht_trainer *t);

/* Seconds of a monotonic clock. */
double ht_trainer_now(void);

/* Tells the caller; fills in what is the same for all events. */
void ht_trainer_report(const struct ht_trainer *t, const struct ht_train_hooks *hooks,
                       struct ht_train_event *event);

/* Equalization, ranges, AdaRound, biases: what the experiment asks for before the first quantized
 * step of a stage, on the batches of its epoch. HT_ERR_INTERRUPTED by a stop during AdaRound. */
enum ht_status ht_trainer_calibrate(struct ht_trainer *t, const struct ht_train_hooks *hooks,
                                    struct ht_error *err);

/* At the beginning of an epoch: what follows from the curvature of the loss (train/curvature.h). */
enum ht_status ht_trainer_adapt(struct ht_trainer *t, struct ht_error *err);

/* The path of checkpoints/`name`.h5 in the run's folder. */
void ht_trainer_file(const struct ht_trainer *t, const char *name, char path[HT_PATH_LENGTH + 64]);

/* Writes checkpoints/`name`.h5. */
enum ht_status ht_trainer_save_as(const struct ht_trainer *t, const char *name,
                                  struct ht_error *err);
/* Writes last.h5; the one before becomes previous.h5. */
enum ht_status ht_trainer_save_last(struct ht_trainer *t, struct ht_error *err);

#endif
