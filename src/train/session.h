/* A trained network from a file, with the data it belongs to: what export, eval and predict start
 * from. */
#ifndef HT_TRAIN_SESSION_H
#define HT_TRAIN_SESSION_H

#include "config/config.h"
#include "train/run.h"

struct ht_session {
    struct ht_config *config;
    const struct ht_experiment *experiment; /* borrowed from config */
    struct ht_dataset *dataset;
    struct ht_objective objective;
    struct ht_model *model; /* NULL when opened from an integer model */
    bool other_data;        /* from_model: not the files that the model was trained on */
    int stage_bits;   /* the checkpoint is of a wider stage of quant.progressive; 0: of the last */
    bool float_stage; /* the checkpoint is of an epoch before quant.start_epoch */
};

/* path: a run folder (its best checkpoint, else its last) or a checkpoint. */
enum ht_status ht_session_from_checkpoint(struct ht_session *s, const char *path,
                                          struct ht_error *err);
/* The experiment that the integer model in the file `path` was trained from, on its own data or on
 * another dataset (data NULL or a name). */
enum ht_status ht_session_from_model(struct ht_session *s, const struct ht_qmodel *model,
                                     const char *path, const char *data, struct ht_error *err);
void ht_session_finish(struct ht_session *s);

#endif
