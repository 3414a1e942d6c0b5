/* Weights as float16 holds them; gradients go straight through. */
#include "autograd/op.h"
#include "quant/half.h"
#include "quant/real_dense.h"

struct ht_node *ht_round_half(struct ht_graph *g, struct ht_node *x)
{
    return ht_graph_add(g, &ht_op_round_half, NULL, 1, &x);
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    n->residual_size = n->in[0]->rows * n->in[0]->cols;
    return ht_infer_like_input(n, err);
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const ht_real *x = n->in[0]->value;
    const size_t size = n->rows * n->cols;
    for (size_t i = 0; i < size && run->mode == HT_MODE_SURROGATE; i++)
        n->value[i] = x[i] + n->residual[i];
    for (size_t i = 0; i < size && run->mode != HT_MODE_SURROGATE; i++)
        n->value[i] = (ht_real)ht_half_to_float(ht_half_of_float((float)x[i]));
    for (size_t i = 0; n->residual && i < size && run->mode != HT_MODE_SURROGATE; i++)
        n->residual[i] = n->value[i] - x[i];
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    for (size_t i = 0; i < n->rows * n->cols; i++)
        ht_grad_put(n, 0, i, n->grad[i]);
}

const struct ht_op ht_op_round_half = {"round_half", 0, 0, infer, forward, backward};
