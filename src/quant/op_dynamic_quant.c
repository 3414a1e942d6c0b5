/* Activations with a scale for each row, found from the row itself: value = round(clamp(x / scale))
 * (docs/numerics.md, 11). The scale counts as a constant, and the gradient goes straight through
 * (estimators ste and clipped_ste alike): the range covers every value of the row. */
#include "autograd/op.h"
#include "quant/dynamic.h"
#include "quant/real_dense.h"

struct attr {
    const struct ht_quantizer *quantizer;
};

static const struct ht_quantizer *quantizer_of(const struct ht_node *n)
{
    return ((const struct attr *)n->attr)->quantizer;
}

struct ht_node *ht_dynamic_quant(struct ht_graph *g, struct ht_node *x,
                                 const struct ht_quantizer *q)
{
    const struct attr attr = {q};
    return ht_graph_add(g, &ht_op_dynamic_quant, &attr, 1, &x);
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    const enum ht_status status = ht_infer_like_input(n, err);
    HT_OP_REQUIRE(n, err, quantizer_of(n)->range->dynamic, "needs range dynamic");
    n->n_scale = n->rows;
    n->residual_size = n->rows * n->cols;
    return status;
}

/* The surrogate keeps the scales of the last TRAIN run. */
static void forward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_quantizer *q = quantizer_of(n);
    for (size_t row = 0; row < n->rows && run->mode != HT_MODE_SURROGATE; row++)
        n->scale[row] = ht_row_levels(&q->grid, q->rounding, n->in[0]->value + row * n->cols,
                                      n->cols, n->value + row * n->cols)
                            .scale;
    for (size_t i = 0; n->residual && i < n->rows * n->cols; i++) {
        const ht_real u = n->in[0]->value[i] / n->scale[i / n->cols];
        if (run->mode == HT_MODE_SURROGATE)
            n->value[i] = u + n->residual[i];
        else
            n->residual[i] = n->value[i] - u;
    }
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    for (size_t i = 0; i < n->rows * n->cols; i++)
        ht_grad_put(n, 0, i, n->grad[i]);
}

const struct ht_op ht_op_dynamic_quant = {
    "dynamic_quant", sizeof(struct attr), 0, infer, forward, backward,
};
