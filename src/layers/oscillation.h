/* Weights that jump between two levels (Nagel et al. 2022, arXiv 2203.11086): counted, and frozen
 * where they do it often. What it keeps are spans of the model's state, so that a resumed training
 * goes on with them. */
#ifndef HT_LAYERS_OSCILLATION_H
#define HT_LAYERS_OSCILLATION_H

#include "base/pool.h"
#include "layers/model.h"

/* After each optimizer step of a model that was created with track_flips: takes the new levels and
 * freezes weights by algorithm 1. threshold 0: none. A frozen weight is put on its level here, so
 * forward, files and kernels know nothing of it. */
void ht_oscillation_update(struct ht_model *m, double threshold, double momentum,
                           struct ht_pool *pool);

struct ht_oscillation {
    double flip_rate; /* levels that changed, for each weight and step */
    double frozen;    /* share of the weights */
};
/* Of the steps since the last call; begins to count anew, and keeps the result for _last. */
void ht_oscillation_end_epoch(struct ht_model *m, int64_t steps);
/* What the last _end_epoch found; NAN when nothing is tracked. */
struct ht_oscillation ht_oscillation_last(const struct ht_model *m);

#endif
