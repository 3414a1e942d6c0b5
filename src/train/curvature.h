/* EWGS: the strength of its gradient scaling from the Hessian of the loss (Lee et al. 2021,
 * arXiv 2104.00903, sec. 3.3). */
#ifndef HT_TRAIN_CURVATURE_H
#define HT_TRAIN_CURVATURE_H

#include "train/network.h"

struct ht_curvature_data {
    size_t n_batches;
    /* Fills x and target of the network with batch `index` and sets its size. */
    void (*load)(void *user, size_t index, struct ht_network *network);
    void *user;
};

/* Is there a layer that is due after this many quantized epochs? */
bool ht_curvature_due(const struct ht_model *m, int64_t epochs);

/* Sets delta of the layers that are due: (Tr(H) / N) / (3 sigma(g)), at least 0, H and g of the N
 * quantized weights as shares of their range; sigma is a mean over the batches. network: the float
 * form, for training; activations are real in it, as rounding has no second derivative. Parameters
 * are as before afterwards; gradients are not. */
enum ht_status ht_curvature_adapt(struct ht_model *m, struct ht_network *network, int64_t epochs,
                                  const struct ht_curvature_data *data, struct ht_run run,
                                  struct ht_error *err);

#endif
