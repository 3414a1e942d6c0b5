/* Variants x seeds, side by side: what each bit width costs. */
#ifndef HT_TRAIN_COMPARE_H
#define HT_TRAIN_COMPARE_H

#include "config/config.h"
#include "train/run.h"

struct ht_compare_options {
    const int *bits; /* [n_bits] one variant a width, 32 = float32; NULL: the file's variants, or
                        32, 8, 4, 2 when it has none */
    size_t n_bits;
    int seeds;   /* e.seed, e.seed + 1, ...; >= 1 */
    int jobs;    /* trainings at a time, each its own process; >= 1 */
    bool resume; /* keep finished jobs of the same experiment, go on with the others */
    const volatile sig_atomic_t *stop; /* as in struct ht_train_hooks */
    void (*event)(void *user, int64_t steps_done, int64_t steps, int jobs_done, int jobs,
                  const char *finished, const struct ht_run_result *result); /* NULL allowed;
                  finished and result: of a job that just ended, else NULL */
    void (*lost)(void *user, const char *why); /* of a job that diverged; NULL allowed */
    void *user;
};

struct ht_stat {
    double mean, std; /* std: n - 1 in the denominator; NAN for n < 2 */
    size_t n;
};

struct ht_compare_row {
    char name[HT_NAME_LENGTH];
    char score_name[16], split[16];
    int weight_bits, activation_bits;
    int seeds;                                   /* that were not lost */
    struct ht_stat float_score;                  /* of the float32 network, same seeds */
    struct ht_stat fake_quant_score;             /* n = 0 for float32 */
    struct ht_stat integer_score;                /* n = 0 for float32 */
    struct ht_stat reconstruction_error;         /* autoencoder; else n = 0 */
    struct ht_stat float_auc, integer_auc;       /* n = 0 without data.anomaly_classes; as above */
    double difference;                           /* mean over seeds of integer - float score */
    double difference_error;                     /* standard error of that mean; NAN for n < 2 */
    size_t outputs_compared, mismatched_outputs; /* summed over seeds */
    size_t model_bytes, float_bytes;
    int accumulator_bits, product_bits;  /* the widest over layers and seeds; 0: float32 */
    double latency_us;                   /* batch 1, one thread: median */
    double train_seconds, samples_per_s; /* means over seeds */
    size_t warnings;                     /* summed over seeds */
    char run_dir[HT_PATH_LENGTH];        /* of the first seed */
};

/* What is wrong with the variants of the file among themselves: folders, links. */
enum ht_status ht_compare_check(const struct ht_config *config, struct ht_error *err);

/* *rows: [n], owned (ht_free). HT_ERR_THRESHOLD if outputs differ, HT_ERR_DIVERGED if trainings
 * were lost; rows are valid then, over the seeds that are left. A float32 baseline is trained also
 * when no variant is one; it then has no row of its own. */
enum ht_status ht_compare(struct ht_compare_row **rows, size_t *n, const struct ht_config *config,
                          const struct ht_compare_options *options, struct ht_error *err);

#endif
