/* result.json of a run. */
#ifndef HT_TRAIN_RESULT_H
#define HT_TRAIN_RESULT_H

#include "train/run.h"

enum ht_status ht_run_result_write(const struct ht_run_result *r, struct ht_error *err);

#endif
