/* Run an exported integer model from a program. */
#ifndef HALFTONE_PREDICTOR_H
#define HALFTONE_PREDICTOR_H

#include <stddef.h>

#include <halftone/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ht_predictor;

/* Loads and checks a model file and prepares it for up to max_batch rows at a time (more rows go
 * in several batches). HT_ERR_MODEL for a damaged or unsupported file. *ret is owned by the caller.
 * One thread at a time may use a predictor; opening and closing touch libhdf5: one at a time per
 * process. */
enum ht_status ht_predictor_open(struct ht_predictor **ret, const char *path, size_t max_batch,
                                 struct ht_error *err);
void ht_predictor_close(struct ht_predictor *p); /* NULL allowed */

size_t ht_predictor_features(const struct ht_predictor *p);
size_t ht_predictor_outputs(const struct ht_predictor *p);
size_t ht_predictor_classes(const struct ht_predictor *p); /* 0: not a classifier, or unnamed */
/* Borrowed until close; NULL when out of range. */
const char *ht_predictor_class_name(const struct ht_predictor *p, size_t class_index);

/* rows[n, features]: raw values as in the training data (image bytes as 0..255); the model's own
 * standardization is applied. outputs[n, outputs]: logits, or values in the unit of the targets.
 * Allocates nothing. */
void ht_predictor_run(struct ht_predictor *p, const float *rows, size_t n, float *outputs);

/* The class that one row of outputs stands for: the largest, the first at a tie; with one output 1
 * when it is > 0, else 0. */
size_t ht_predictor_class(const struct ht_predictor *p, const float *outputs);

#ifdef __cplusplus
}
#endif
#endif
