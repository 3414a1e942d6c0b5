/* y = (1 - share) * a + share * b, of equal shapes */
#include "autograd/op.h"

static ht_real share_of(const struct ht_node *n)
{
    return ((const struct ht_attr_blend *)n->attr)->share;
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    HT_OP_REQUIRE(n, err, n->n_in == 2, "takes two inputs");
    const struct ht_node *a = n->in[0], *b = n->in[1];
    HT_OP_REQUIRE(n, err, a->n_scale == 0 && b->n_scale == 0,
                  "takes real values, not quantized ones");
    HT_OP_REQUIRE(n, err, a->rows == b->rows && a->cols == b->cols && a->batched == b->batched,
                  "inputs differ in shape");
    HT_OP_REQUIRE(n, err, share_of(n) >= 0 && share_of(n) <= 1, "share must be in [0, 1]");
    n->rows = a->rows;
    n->cols = a->cols;
    n->batched = a->batched;
    return HT_OK;
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const ht_real share = share_of(n), *a = n->in[0]->value, *b = n->in[1]->value;
    for (size_t i = 0; i < n->rows * n->cols; i++)
        n->value[i] = (1 - share) * a[i] + share * b[i];
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    const ht_real share = share_of(n);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; n->in[k]->needs_grad && i < n->rows * n->cols; i++)
            ht_grad_put(n, k, i, (k ? share : 1 - share) * n->grad[i]);
}

const struct ht_op ht_op_blend = {
    "blend", sizeof(struct ht_attr_blend), 0, infer, forward, backward,
};
