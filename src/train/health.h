/* What goes wrong in a quantized training without an error: scales that are stuck, values that are
 * clipped, codes that nobody uses, a network that has collapsed. Looked for once an epoch, on the
 * weights and one evaluation batch; docs/methods.md has the thresholds. */
#ifndef HT_TRAIN_HEALTH_H
#define HT_TRAIN_HEALTH_H

#include "train/network.h"

#define HT_MAX_WARNINGS 32

struct ht_warning {
    char check[24];    /* "unused_codes": a row of the table in health.c */
    char where[96];    /* "fc1 weights", or "network" */
    char message[320]; /* of the first epoch that had it: what was found, and what to do */
    double value;      /* the figure, of the last one */
    int64_t first_epoch, last_epoch; /* 1-based; 0 without training */
};

/* What it remembers; zero-initialize. */
struct ht_health {
    struct ht_warning warnings[HT_MAX_WARNINGS]; /* each check and place once; more are left out */
    size_t n_warnings;
    double best; /* score of all epochs so far, in both forms, and when; valid if best_epoch > 0 */
    int64_t best_epoch;
};

struct ht_health_input {
    struct ht_model *model;
    struct ht_network *network; /* for evaluation, in the form that was trained */
    const struct ht_objective *objective;
    const struct ht_dataset *data;
    bool quantized;
    bool learns;   /* the learning rate is still large enough to move a scale */
    int64_t epoch; /* that has just ended */
    double score;  /* of the validation part; NAN without */
};

/* Adds what is found to h->warnings; those of this epoch have it as last_epoch. Notes the scales
 * as they are for the next epoch. */
enum ht_status ht_health_check(struct ht_health *h, const struct ht_health_input *in,
                               struct ht_error *err);

/* The same from what an earlier process has noted of an epoch (metrics.jsonl). */
void ht_health_recall_score(struct ht_health *h, int64_t epoch, double score);
void ht_health_recall(struct ht_health *h, const struct ht_warning *w);

#endif
