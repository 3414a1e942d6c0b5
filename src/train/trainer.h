/* One training run: the loop, validation, checkpoints, stop and resume. */
#ifndef HT_TRAIN_TRAINER_H
#define HT_TRAIN_TRAINER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/experiment.h"
#include "data/dataset.h"
#include "layers/model.h"
#include "train/checkpoint.h"
#include "train/health.h"
#include "train/objective.h"

/* What the caller hears while a run goes on. */
struct ht_train_event {
    int64_t epoch, epochs; /* 1-based; the epoch under way or just finished */
    int64_t step, steps;   /* done, of the whole run: iterations of AdaRound and optimizer steps */
    bool rounding;         /* AdaRound is under way: no epoch and no loss yet */
    double train_loss;     /* mean over the epoch so far */
    bool epoch_end;        /* the fields below are valid */
    bool quantized;        /* this epoch trained the quantized network, or its soft form */
    int weight_bits, activation_bits; /* of this epoch: quant.progressive changes them; 32: float */
    double learning_rate, validation_loss, validation_score, gradient_norm;
    double flip_rate, frozen; /* layers/oscillation.h; NAN when nothing is tracked */
    bool improved;
    double seconds; /* of the epoch, with validation */
    /* All so far; those of this epoch have it as last_epoch, new ones as first_epoch, too. */
    const struct ht_warning *warnings; /* [n_warnings] */
    size_t n_warnings;
};

struct ht_train_hooks {
    void (*event)(void *user, const struct ht_train_event *event); /* NULL allowed */
    void *user;
    /* Polled after each step: a signal's number stops the run with HT_ERR_INTERRUPTED, after a
     * checkpoint was written. NULL allowed. */
    const volatile sig_atomic_t *stop;
    /* A line for people, e.g. that a damaged checkpoint was passed over. NULL allowed. */
    void (*say)(void *user, const char *text);
};

struct ht_trainer;

/* experiment, dataset, run_dir and environment are borrowed until destroy. */
enum ht_status ht_trainer_create(struct ht_trainer **ret, const struct ht_experiment *experiment,
                                 const struct ht_dataset *dataset, const char *run_dir,
                                 const char *environment, struct ht_error *err);
void ht_trainer_destroy(struct ht_trainer *t);

/* Before a training that is not resumed: takes the parameters of train.from, if given. */
enum ht_status ht_trainer_start(struct ht_trainer *t, struct ht_error *err);

/* Goes on from run_dir's last checkpoint, or if that is damaged from the one before (which is told
 * by hooks->say); *found is false when there is none. */
enum ht_status ht_trainer_resume(struct ht_trainer *t, const struct ht_train_hooks *hooks,
                                 bool *found, struct ht_error *err);

/* Trains to the end. HT_ERR_DIVERGED, HT_ERR_INTERRUPTED, HT_ERR_STOPPED (run.max_minutes) leave a
 * checkpoint behind; HT_ERR_IO when one cannot be written. */
enum ht_status ht_trainer_run(struct ht_trainer *t, const struct ht_train_hooks *hooks,
                              struct ht_error *err);

/* One optimizer step on the next batch of a new trainer, from the first batch again after the last
 * one; no validation and no files. For measurements. */
enum ht_status ht_trainer_step(struct ht_trainer *t, struct ht_error *err);

/* Takes the parameters of the best checkpoint. */
enum ht_status ht_trainer_restore_best(struct ht_trainer *t, struct ht_error *err);

struct ht_model *ht_trainer_model(const struct ht_trainer *t);
const struct ht_objective *ht_trainer_objective(const struct ht_trainer *t);
const struct ht_progress_state *ht_trainer_state(const struct ht_trainer *t);
/* What was found wrong; borrowed. */
const struct ht_health *ht_trainer_health(const struct ht_trainer *t);
/* A network for evaluation in the form that was trained last. */
struct ht_network *ht_trainer_evaluation(const struct ht_trainer *t);
/* Seconds and samples of training steps alone in this process (no validation, no checkpoints), and
 * the seconds of AdaRound. */
void ht_trainer_speed(const struct ht_trainer *t, double *seconds, double *samples);

#endif
