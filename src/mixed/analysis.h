/* What a table of widths is filled from: the float network of train.from, quantized after training
 * as train.epochs 0 does, on the experiment's data. */
#ifndef HT_MIXED_ANALYSIS_H
#define HT_MIXED_ANALYSIS_H

#include "data/dataset.h"
#include "kernels/kernels.h"
#include "mixed/table.h"
#include "train/evaluate.h"
#include "train/objective.h"

#define HT_MIXED_CALIBRATION 16 /* batches, where the experiment names none */

struct ht_mixed_analysis {
    const struct ht_experiment *e;
    const struct ht_dataset *d;
    struct ht_objective objective;
    struct ht_kernels kernels;
    uint32_t *order;                      /* [training samples] */
    char checkpoint[HT_PATH_LENGTH + 64]; /* empty: none, a network that is not trained */
    /* NULL, or told after each network. */
    void (*event)(void *user, size_t done, size_t of);
    void *user;
};

/* e and d are borrowed. HT_ERR_CONFIG without train.from if a trained network is needed,
 * HT_ERR_DATA without a validation part. */
enum ht_status ht_mixed_analysis_init(struct ht_mixed_analysis *a, const struct ht_experiment *e,
                                      const struct ht_dataset *d, bool needs_trained,
                                      struct ht_error *err);
void ht_mixed_analysis_finish(struct ht_mixed_analysis *a);

/* The network with these widths, calibrated; choice NULL: with the experiment's. *ret is owned. */
enum ht_status ht_mixed_quantize(const struct ht_mixed_analysis *a, const struct ht_mixed_table *t,
                                 const size_t *choice, struct ht_model **ret, struct ht_error *err);
/* Its loss and score over the validation part. */
enum ht_status ht_mixed_evaluate(const struct ht_mixed_analysis *a, struct ht_model *model,
                                 enum ht_form form, struct ht_evaluation *ret,
                                 struct ht_error *err);

/* Both of the network with these widths. */
enum ht_status ht_mixed_score(const struct ht_mixed_analysis *a, const struct ht_mixed_table *t,
                              const size_t *choice, struct ht_evaluation *ret,
                              struct ht_error *err);

/* Every method needs them: bytes[] of all layers, as they are stored. */
enum ht_status ht_mixed_measure_bytes(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                                      struct ht_error *err);

/* One slot after the other at each width: its sensitivity is how much the loss then rises. */
enum ht_status ht_mixed_measure(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                                struct ht_error *err);

/* HAWQ-V2 (Dong et al. 2020, arXiv 1911.03852, eq. 2.11): Omega = Tr(H) / n * ||Q(W) - W||^2 for
 * each layer's weights, H the Hessian of the float network's loss by them, its trace from `samples`
 * random directions. HT_ERR_CONFIG when the table has slots of activations. */
enum ht_status ht_mixed_hessian(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                                size_t samples, struct ht_error *err);

#endif
