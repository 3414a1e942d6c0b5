/* Train an experiment, export its integer model, from a program.
 *
 *     struct ht_training_options options = {.resume = 0};
 *     struct ht_training_result result;
 *     struct ht_error error;
 *     if (ht_train("experiment.yaml", &options, &result, &error) != HT_OK)
 *         fprintf(stderr, "%s\n", error.msg);
 *
 * One training at a time per process: libhdf5, which writes the files, is not safe for threads. */
#ifndef HALFTONE_TRAIN_H
#define HALFTONE_TRAIN_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include <halftone/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ht_training_progress {
    int64_t epoch, epochs; /* 1-based */
    int64_t step, steps;   /* done, of the whole run: with iterations of AdaRound */
    double train_loss;     /* mean over the epoch so far */
    int epoch_end;         /* not 0: the two below are valid (NaN without validation data) */
    double validation_loss, validation_score;
};

/* Zero-initialize; every field may stay so. */
struct ht_training_options {
    const char *const *overrides; /* [n_overrides] "key=value", as on the command line */
    size_t n_overrides;
    int resume;                        /* not 0: go on from the run's last checkpoint */
    const volatile sig_atomic_t *stop; /* polled each step; not 0 (a signal's number): save and
                                          return HT_ERR_INTERRUPTED */
    void (*progress)(void *user, const struct ht_training_progress *progress);
    void *user;
};

struct ht_training_result {
    char run_dir[1024];    /* the folder with everything */
    char model_path[1088]; /* the integer model; empty for a float32 experiment */
    char score_name[16];   /* "accuracy", or "r2" */
    char split[16];        /* the part of the data that the scores are of: "test" */
    double score;          /* of the trained (fake-quant or float32) network */
    double integer_score;  /* of the integer model, NaN for float32 */
    size_t outputs_compared, mismatched_outputs; /* fake-quant against integer path, bit for bit */
    size_t model_bytes, float_bytes;             /* of the weights, biases and scales */
    double train_seconds;
};

/* Trains, exports and checks the experiment in a YAML file. *result is valid on HT_OK, and on
 * HT_ERR_THRESHOLD (outputs differ). Config errors: err->msg holds the first one with
 * file:line:column. */
enum ht_status ht_train(const char *experiment_path, const struct ht_training_options *options,
                        struct ht_training_result *result, struct ht_error *err);

/* The same from text; `name` stands for the file in messages, and its folder is where relative
 * paths of dataset descriptors start. */
enum ht_status ht_train_text(const char *name, const char *yaml, size_t length,
                             const struct ht_training_options *options,
                             struct ht_training_result *result, struct ht_error *err);

struct ht_export_result {
    size_t outputs_compared, mismatched_outputs;
    size_t model_bytes;
    double fake_quant_score, integer_score; /* of `split` */
    char split[16];
};

/* Writes the integer model of a run folder or checkpoint to `path` and holds it against the
 * fake-quant network over the test data. format: "hdf5" (read back for that), "onnx" (also of
 * float32 networks: integer_score is NaN then), "qonnx", "safetensors" or "c" (path is a folder);
 * HT_ERR_CONFIG for others.
 * HT_ERR_THRESHOLD when outputs differ; *result is valid then too. */
enum ht_status ht_export(const char *run_or_checkpoint, const char *format, const char *path,
                         struct ht_export_result *result, struct ht_error *err);

#ifdef __cplusplus
}
#endif
#endif
