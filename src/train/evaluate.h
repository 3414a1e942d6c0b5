/* Scores of a network over a split: by the graph (float or fake-quant) and by the integer engine,
 * and whether the two give the same bits. */
#ifndef HT_TRAIN_EVALUATE_H
#define HT_TRAIN_EVALUATE_H

#include "infer/runtime.h"
#include "train/network.h"

struct ht_evaluation {
    double loss, score;
    size_t n;
};

/* network: of the form wanted, for training or not; runs in eval mode. */
void ht_evaluate(struct ht_evaluation *ret, struct ht_network *network,
                 const struct ht_objective *objective, const struct ht_dataset *d,
                 enum ht_split split);

/* The integer path alone; loss is not computed (0). pool: NULL = the calling thread. */
enum ht_status ht_evaluate_integer(struct ht_evaluation *ret, const struct ht_qmodel *model,
                                   const struct ht_objective *objective,
                                   const struct ht_kernels *kernels, struct ht_pool *pool,
                                   const struct ht_dataset *d, enum ht_split split,
                                   struct ht_error *err);

struct ht_parity {
    double fake_quant_score, integer_score;
    size_t samples, outputs_compared, mismatched_outputs; /* outputs = samples x network outputs */
    size_t first_mismatch;                                /* sample number; valid if any */
};

/* Both paths over the split, outputs compared bit for bit. network: quantized. */
enum ht_status ht_evaluate_parity(struct ht_parity *ret, struct ht_network *network,
                                  const struct ht_qmodel *model,
                                  const struct ht_objective *objective,
                                  const struct ht_kernels *kernels, const struct ht_dataset *d,
                                  enum ht_split split, struct ht_error *err);

/* The test part, or where there is none validation, or training. */
enum ht_split ht_evaluation_split(const struct ht_dataset *d);
const char *ht_split_name(enum ht_split split); /* static: "train", "validation", "test" */

#endif
