/* Time of one inference at batch 1, on the calling thread. */
#ifndef HT_TRAIN_LATENCY_H
#define HT_TRAIN_LATENCY_H

#include "infer/runtime.h"
#include "train/network.h"

/* Median over rounds, in microseconds. */
enum ht_status ht_latency_integer(double *us, const struct ht_qmodel *model,
                                  const struct ht_kernels *kernels, struct ht_error *err);
/* The float32 network by BLAS; parameters are random, which does not matter for time. */
enum ht_status ht_latency_float(double *us, const struct ht_experiment *e,
                                const struct ht_dataset *d, struct ht_error *err);

#endif
