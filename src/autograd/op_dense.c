/* y[B, out] = x[B, in] . w[out, in]^T */
#include "autograd/op.h"
#include "tensor/blas.h"

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    const struct ht_node *x = n->in[0], *w = n->in[1];
    HT_OP_REQUIRE(n, err, n->n_in == 2, "takes x and w");
    HT_OP_REQUIRE(n, err, x->n_scale == 0 && w->n_scale == 0,
                  "takes real values, not quantized ones");
    HT_OP_REQUIRE(n, err, x->cols == w->cols, "x is [B, in] and w [out, in]: they do not fit");
    HT_OP_REQUIRE(n, err, !w->batched, "w cannot be a batch");
    n->rows = x->rows;
    n->cols = w->rows;
    n->batched = x->batched;
    return HT_OK;
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_node *x = n->in[0], *w = n->in[1];
    ht_gemm(false, true, n->rows, n->cols, x->cols, 1, x->value, x->cols, w->value, w->cols, 0,
            n->value, n->cols);
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    struct ht_node *x = n->in[0], *w = n->in[1];
    if (x->needs_grad) /* dx = dy . w */
        ht_gemm(false, false, n->rows, x->cols, n->cols, 1, n->grad, n->cols, w->value, w->cols,
                ht_grad_beta(n, 0), x->grad, x->cols);
    if (w->needs_grad) /* dw = dy^T . x */
        ht_gemm(true, false, n->cols, x->cols, n->rows, 1, n->grad, n->cols, x->value, x->cols,
                ht_grad_beta(n, 1), w->grad, w->cols);
}

const struct ht_op ht_op_dense = {"dense", 0, HT_OP_USES_INPUTS, infer, forward, backward};
