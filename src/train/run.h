/* A whole run: data, training, export, checks, and the folder that keeps it all.
 *
 *   config.yaml       the resolved experiment
 *   environment.json  machine, compiler, libraries, data hash
 *   metrics.jsonl     one line an epoch
 *   checkpoints/      last.h5, previous.h5, best.h5
 *   model.h5          the integer model of the best checkpoint (quantized experiments)
 *   result.json       struct ht_run_result
 */
#ifndef HT_TRAIN_RUN_H
#define HT_TRAIN_RUN_H

#include "train/evaluate.h"
#include "train/trainer.h"

struct ht_run_result {
    char name[HT_NAME_LENGTH];
    char run_dir[HT_PATH_LENGTH];
    char model_path[HT_PATH_LENGTH + 64]; /* empty for a float32 run */
    char score_name[16];
    char split[16]; /* the part that score and parity are of: test, ... */
    uint64_t seed;
    int weight_bits, activation_bits; /* 32 = float */
    double score;                     /* of the float or fake-quant network */
    double integer_score;             /* NAN for float32 */
    double validation_score;          /* of the best epoch; NAN without validation */
    int64_t best_epoch, epochs;
    size_t outputs_compared, mismatched_outputs;
    size_t model_bytes, float_bytes;    /* weights, biases, scales; the same in float32 */
    int accumulator_bits, product_bits; /* of the widest layer, with bias and without; 0: float32 */
    double train_seconds, samples_per_s;
    double reconstruction_error; /* autoencoder: mean squared error of what ships (integer, or
                                    float32 path) on the split's normal samples; else NAN */
    double anomaly_auc;          /* of the same; NAN without data.anomaly_classes */
    double flip_rate, frozen;    /* of the last epoch; NAN when quant.track_flips is off */
    size_t n_warnings;
    struct ht_warning warnings[HT_MAX_WARNINGS];
};

/* The run's folder: run.dir/name. */
void ht_run_folder(const struct ht_experiment *e, char path[HT_PATH_LENGTH]);

/* Trains, exports, checks. Without resume an earlier run in the folder is moved aside to
 * NAME.1, NAME.2...; *moved (NULL allowed) says where, empty if nothing was there.
 * HT_ERR_THRESHOLD when the integer path differs anywhere (the result is still written). */
enum ht_status ht_run_train(struct ht_run_result *ret, const struct ht_experiment *e, bool resume,
                            const struct ht_train_hooks *hooks, char moved[HT_PATH_LENGTH],
                            struct ht_error *err);

enum ht_status ht_run_result_read(struct ht_run_result *ret, const char *run_dir,
                                  struct ht_error *err);

/* The integer model of a trained model with everything a user of the file needs: names, classes,
 * input transform, provenance. */
enum ht_status ht_run_lower(struct ht_qmodel **ret, const struct ht_experiment *e,
                            const struct ht_model *model, const struct ht_objective *objective,
                            const struct ht_dataset *d, double validation_score,
                            struct ht_error *err);

/* That alone, for a model made otherwise: outputs and input.features are set. */
enum ht_status ht_run_describe(struct ht_qmodel *m, const struct ht_experiment *e,
                               const struct ht_objective *objective, const struct ht_dataset *d,
                               double validation_score, struct ht_error *err);

/* Kernels as HALFTONE_ISA allows; HT_ERR_CONFIG for an unknown name. */
enum ht_status ht_run_kernels(struct ht_kernels *ret, struct ht_error *err);
/* Threads that this process may use: HALFTONE_THREADS, else its CPUs. HT_ERR_CONFIG for a bad
 * value.
 */
enum ht_status ht_run_threads(unsigned *ret, struct ht_error *err);

#endif
