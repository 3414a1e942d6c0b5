/* What the loss ops share: (prediction [B, n], target) -> the mean, a scalar. */
#ifndef HT_AUTOGRAD_LOSS_H
#define HT_AUTOGRAD_LOSS_H

#include "autograd/op.h"

/* Shapes of a loss: target has as many rows as the prediction, and target_cols columns. */
enum ht_status ht_infer_loss(struct ht_node *n, size_t target_cols, struct ht_error *err);

/* The class number of a row of targets [B, 1]. One that is out of range, or not a number, gives
 * `classes`: such a row makes the loss NaN instead of reading out of bounds. */
static inline size_t ht_target_class(const struct ht_node *targets, size_t row, size_t classes)
{
    const ht_real t = targets->value[row];
    return t >= 0 && t < (ht_real)classes ? (size_t)t : classes;
}

#endif
