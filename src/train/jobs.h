/* Training runs as processes, a few at a time. */
#ifndef HT_TRAIN_JOBS_H
#define HT_TRAIN_JOBS_H

#include "train/compare.h"

struct ht_job {
    struct ht_experiment experiment;
    struct ht_run_result result;
    bool done;
    int64_t step, steps; /* optimizer steps done; of the whole job: set by the caller */
};

/* Runs all jobs[n]; the first failure stops the others (they keep their checkpoints) and is
 * returned. A stop signal goes on to the children. */
enum ht_status ht_jobs_run(struct ht_job *jobs, size_t n, const struct ht_compare_options *options,
                           struct ht_error *err);

#endif
