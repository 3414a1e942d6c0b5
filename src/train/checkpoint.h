/* Training checkpoints: everything a run needs to go on bit for bit. */
#ifndef HT_TRAIN_CHECKPOINT_H
#define HT_TRAIN_CHECKPOINT_H

#include <stdint.h>

#include "base/error.h"
#include "config/experiment.h"
#include "layers/model.h"
#include "optim/optimizer.h"

#define HT_CHECKPOINT_VERSION 1u

/* Where a run stands, beside its tensors. Part of the checkpoint. */
struct ht_progress_state {
    int64_t epoch;      /* epochs finished */
    int64_t batch;      /* batches done of the epoch that is under way */
    int64_t step;       /* optimizer steps done */
    double loss_sum;    /* over the samples of the epoch so far */
    int64_t has_best;   /* best_* are valid */
    int64_t best_epoch; /* 1-based */
    double best_score, best_loss;
    int64_t patience; /* epochs since the best */
};

/* experiment: resolved YAML; environment: JSON text; both for people and for checks on resume. */
enum ht_status ht_checkpoint_save(const char *path, const struct ht_model *model,
                                  const struct ht_optimizer *optimizer,
                                  const struct ht_progress_state *state, const char *experiment,
                                  const char *environment, struct ht_error *err);

/* Into a model and optimizer of the same experiment. *experiment (NULL allowed): owned copy of the
 * text. HT_ERR_MODEL when the file is damaged or of another network. On failure model and
 * optimizer may hold part of the file. */
enum ht_status ht_checkpoint_load(const char *path, struct ht_model *model,
                                  struct ht_optimizer *optimizer, struct ht_progress_state *state,
                                  char **experiment, struct ht_error *err);

/* The checkpoint that a path means: the file itself, or the best, else last, else previous one of a
 * run folder. HT_ERR_MODEL when there is none. */
enum ht_status ht_checkpoint_find(const char *path, char found[HT_PATH_LENGTH + 64],
                                  struct ht_error *err);

/* Only the resolved experiment of a checkpoint; *ret owned. */
enum ht_status ht_checkpoint_experiment(const char *path, char **ret, struct ht_error *err);

/* Only where it stands. */
enum ht_status ht_checkpoint_progress(const char *path, struct ht_progress_state *state,
                                      struct ht_error *err);

/* The stage of quant.progressive whose network a checkpoint at this place holds. */
size_t ht_checkpoint_stage(const struct ht_experiment *e, const struct ht_progress_state *state);

/* Parameters and state by name, as a start for another training: every float tensor of the network
 * (weight, bias, gamma...) must be there and fit; quantizer spans are taken only if with_quantizers
 * and present in equal shape. */
enum ht_status ht_checkpoint_load_parameters(const char *path, struct ht_model *model,
                                             bool with_quantizers, struct ht_error *err);

#endif
