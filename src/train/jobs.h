/* Training runs as processes, a few at a time. */
#ifndef HT_TRAIN_JOBS_H
#define HT_TRAIN_JOBS_H

#include "train/compare.h"
#include "train/links.h"

struct ht_job {
    struct ht_experiment experiment;
    struct ht_run_result result;
    bool done;
    bool lost;                  /* done without a result: it diverged, or needs one that did */
    size_t needs[HT_MAX_LINKS]; /* [n_needs] jobs that must be done before it starts */
    size_t n_needs;
    int64_t step, steps; /* optimizer steps done; of the whole job: set by the caller */
};

/* Runs all jobs[n], whose needs make no circle. A training that diverges is lost, with those that
 * need it; the others go on. Any other failure stops them (they keep their checkpoints) and is
 * returned. A stop signal goes on to the children. */
enum ht_status ht_jobs_run(struct ht_job *jobs, size_t n, const struct ht_compare_options *options,
                           struct ht_error *err);

#endif
