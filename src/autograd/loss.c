#include "autograd/loss.h"

enum ht_status ht_infer_loss(struct ht_node *n, size_t target_cols, struct ht_error *err)
{
    HT_OP_REQUIRE(n, err, n->n_in == 2, "takes a prediction and a target");
    const struct ht_node *y = n->in[0], *t = n->in[1];
    HT_OP_REQUIRE(n, err, y->n_scale == 0 && t->n_scale == 0,
                  "takes real values, not quantized ones");
    HT_OP_REQUIRE(n, err, y->rows == t->rows && y->batched == t->batched,
                  "prediction and target differ in rows");
    if (t->cols != target_cols)
        return ht_fail(err, HT_ERR_CONFIG, "%s: the target has %zu columns, not %zu", n->op->name,
                       t->cols, target_cols);
    HT_OP_REQUIRE(n, err, !t->needs_grad, "the target cannot be trained");
    n->rows = n->cols = 1;
    n->batched = false;
    return HT_OK;
}
