/* y[B, n] = x[B, n] + b[1, n] */
#include "autograd/op.h"

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    HT_OP_REQUIRE(n, err, n->n_in == 2, "takes x and b");
    const struct ht_node *x = n->in[0], *b = n->in[1];
    HT_OP_REQUIRE(n, err, b->n_scale == 0, "takes real values, not quantized ones");
    HT_OP_REQUIRE(n, err, b->rows == 1 && b->cols == x->cols, "b must be [1, columns of x]");
    return ht_infer_like_input(n, err);
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const ht_real *bias = n->in[1]->value;
    for (size_t b = 0; b < n->rows; b++) {
        const ht_real *x = n->in[0]->value + b * n->cols;
        ht_real *y = n->value + b * n->cols;
        for (size_t j = 0; j < n->cols; j++)
            y[j] = x[j] + bias[j];
    }
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    struct ht_node *x = n->in[0], *bias = n->in[1];
    if (x->needs_grad)
        for (size_t i = 0; i < n->rows * n->cols; i++)
            ht_grad_put(n, 0, i, n->grad[i]);
    if (!bias->needs_grad)
        return;
    for (size_t j = 0; j < n->cols; j++)
        ht_grad_put(n, 1, j, n->grad[j]);
    for (size_t b = 1; b < n->rows; b++) {
        const ht_real *dy = n->grad + b * n->cols;
        for (size_t j = 0; j < n->cols; j++)
            bias->grad[j] += dy[j];
    }
}

const struct ht_op ht_op_bias = {"bias", 0, 0, infer, forward, backward};
