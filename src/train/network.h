/* A planned graph over a model, with the buffers a batch goes through. */
#ifndef HT_TRAIN_NETWORK_H
#define HT_TRAIN_NETWORK_H

#include "autograd/graph.h"
#include "kernels/kernels.h"
#include "layers/model.h"
#include "train/objective.h"

struct ht_network {
    struct ht_graph *graph;
    struct ht_node *x, *target, *y, *loss; /* borrowed from graph */
    struct ht_node *teacher; /* its outputs, in training with objective->teacher; else NULL */
};

/* training: with gradients. kernels: quantized layers go through them; NULL: through float
 * products. The bits are the same. model, objective and kernels must outlive it. */
enum ht_status ht_network_init(struct ht_network *n, struct ht_model *model,
                               const struct ht_objective *objective, size_t max_batch,
                               enum ht_form form, bool training, const struct ht_kernels *kernels,
                               struct ht_error *err);
/* What training should use: `kernels`, or NULL for the C reference, which is slower than float
 * products. */
const struct ht_kernels *ht_network_training_kernels(const struct ht_kernels *kernels);
void ht_network_finish(struct ht_network *n);

/* Fills x and target with samples[count] and sets the batch size. augment NULL = none. */
void ht_network_load(struct ht_network *n, const struct ht_objective *objective,
                     const struct ht_dataset *d, const uint32_t *samples, size_t count,
                     const struct ht_augment *augment, uint64_t seed, uint64_t epoch);

#endif
