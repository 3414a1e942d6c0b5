/* Run an exported integer model from a program.
 *
 * A predictor is a model file, loaded and made ready. It never changes after ht_predictor_open, so
 * any number of threads may share it: it holds the weights, once. A context is what one caller
 * needs beside it: buffers, and threads for its calls if it asks for them. Each thread makes its
 * own:
 *
 *     struct ht_context *c;
 *     if (ht_context_create(&c, predictor, 64, 1, &error) != HT_OK)
 *         fprintf(stderr, "%s\n", error.msg);
 *     ht_context_run(c, rows, n, outputs);
 *
 * For one thread there is ht_predictor_run, by a context that the predictor brings along. Outputs
 * are equal to the bit, whatever the thread, its context or the number of rows. */
#ifndef HALFTONE_PREDICTOR_H
#define HALFTONE_PREDICTOR_H

#include <stddef.h>

#include <halftone/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ht_predictor;
struct ht_context;

/* Loads and checks a model file. max_batch: of the context of ht_predictor_run, see
 * ht_context_create. HT_ERR_MODEL for a damaged or unsupported file. *ret is owned by the caller.
 * Threads: uses libhdf5; one call at a time per process, and no training or export beside it. */
enum ht_status ht_predictor_open(struct ht_predictor **ret, const char *path, size_t max_batch,
                                 struct ht_error *err);
/* NULL allowed. Threads: once, after all contexts are destroyed and all calls have returned. */
void ht_predictor_close(struct ht_predictor *p);

/* Threads: any number, at any time, these and ht_predictor_class. */
size_t ht_predictor_features(const struct ht_predictor *p);
size_t ht_predictor_outputs(const struct ht_predictor *p);
size_t ht_predictor_classes(const struct ht_predictor *p); /* 0: not a classifier, or unnamed */
/* Borrowed until close; NULL when out of range. */
const char *ht_predictor_class_name(const struct ht_predictor *p, size_t class_index);

/* Borrowed until close: the experiment's name; "classification", "regression" or "autoencoder";
 * "integer", "dynamic", "weight-only", "float16" or "mixed". */
const char *ht_predictor_name(const struct ht_predictor *p);
const char *ht_predictor_task(const struct ht_predictor *p);
const char *ht_predictor_mode(const struct ht_predictor *p);

struct ht_layer {
    char name[64], activation[16];
    size_t inputs, outputs;
    int weight_bits, input_bits; /* input_bits: of what the layer takes; 32: float32 */
};
size_t ht_predictor_layers(const struct ht_predictor *p);
/* HT_ERR_CONFIG when index is not below the number of layers. */
enum ht_status ht_predictor_layer(const struct ht_predictor *p, size_t index, struct ht_layer *ret);

/* The class that one row of outputs stands for: the largest, the first at a tie; with one output 1
 * when it is > 0, else 0. */
size_t ht_predictor_class(const struct ht_predictor *p, const float *outputs);

/* rows[n, features]: raw values as in the training data (image bytes as 0..255); the model's own
 * standardization is applied. outputs[n, outputs]: logits, or values in the unit of the targets.
 * Any n; more than max_batch rows go in several batches. Allocates nothing.
 * Threads: one at a time per predictor; others may run contexts meanwhile. */
void ht_predictor_run(struct ht_predictor *p, const float *rows, size_t n, float *outputs);

/* Makes the buffers to run up to max_batch rows at a time. threads: that one call may use, the
 * calling one included: 1 starts none, 0 means as many as this process may use, 64 is the most;
 * they belong to this context, and wait when it does not run. Small batches of small networks do
 * not use them. HT_ERR_CONFIG for other values. p is borrowed until destroy, *ret is owned by the
 * caller. Threads: any number, at any time. */
enum ht_status ht_context_create(struct ht_context **ret, const struct ht_predictor *p,
                                 size_t max_batch, unsigned threads, struct ht_error *err);
/* NULL allowed. Threads: any, when no call uses this context. */
void ht_context_destroy(struct ht_context *c);

/* What ht_predictor_run does. Allocates nothing, takes no lock that another context takes.
 * Threads: one at a time per context; any number of contexts at the same time. */
void ht_context_run(struct ht_context *c, const float *rows, size_t n, float *outputs);

#ifdef __cplusplus
}
#endif
#endif
