/* From whole numbers and a scale to real values. */
#include "autograd/op.h"
#include "quant/quantizer.h"

struct ht_node *ht_dequantize(struct ht_graph *g, struct ht_node *x)
{
    return ht_graph_add(g, &ht_op_dequantize, NULL, 1, &x);
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    HT_OP_REQUIRE(n, err, n->in[0]->n_scale > 0, "takes a quantized tensor");
    n->rows = n->in[0]->rows;
    n->cols = n->in[0]->cols;
    n->batched = n->in[0]->batched;
    return HT_OK;
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_node *x = n->in[0];
    for (size_t row = 0; row < n->rows; row++) {
        const ht_real scale = x->scale[x->n_scale == 1 ? 0 : row];
        for (size_t i = row * n->cols; i < (row + 1) * n->cols; i++)
            n->value[i] = x->value[i] * scale;
    }
}

/* Gradients of quantized tensors are those of their real values. */
static void backward(struct ht_node *n, const struct ht_run *run)
{
    for (size_t i = 0; i < n->rows * n->cols; i++)
        ht_grad_put(n, 0, i, n->grad[i]);
}

const struct ht_op ht_op_dequantize = {"dequantize", 0, 0, infer, forward, backward};
