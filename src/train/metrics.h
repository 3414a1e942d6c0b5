/* metrics.jsonl of a run: one line an epoch, no clock times, so that a resumed run writes the same.
 */
#ifndef HT_TRAIN_METRICS_H
#define HT_TRAIN_METRICS_H

#include "train/trainer.h"

enum ht_status ht_metrics_append(const char *run_dir, const char *score_name,
                                 const struct ht_progress_state *state,
                                 const struct ht_train_event *event, struct ht_error *err);

/* Keeps the first `epochs` lines: what the checkpoint that is resumed from knows of. */
enum ht_status ht_metrics_truncate(const char *run_dir, int64_t epochs, struct ht_error *err);

/* What the lines say of scores and warnings, for a run that goes on after them. */
enum ht_status ht_metrics_recall(const char *run_dir, const char *score_name,
                                 struct ht_health *health, struct ht_error *err);

#endif
