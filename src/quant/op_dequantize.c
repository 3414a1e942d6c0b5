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
    const size_t n_scale = n->in[0]->n_scale, length = n->rows * n->cols / n_scale;
    for (size_t c = 0; c < n_scale; c++)
        for (size_t i = c * length; i < (c + 1) * length; i++)
            n->value[i] = n->in[0]->value[i] * n->in[0]->scale[c];
}

/* Gradients of quantized tensors are those of their real values. */
static void backward(struct ht_node *n, const struct ht_run *run)
{
    for (size_t i = 0; i < n->rows * n->cols; i++)
        ht_grad_put(n, 0, i, n->grad[i]);
}

const struct ht_op ht_op_dequantize = {"dequantize", 0, 0, infer, forward, backward};
