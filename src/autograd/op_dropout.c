/* Inverted dropout (Srivastava et al. 2014): y = mask * x / (1 - rate); nothing in eval mode.
 * A quantized input stays whole: its value is masked and the factor goes into the scale. */
#include "autograd/op.h"
#include "base/rng.h"

static const struct ht_attr_dropout *attr_of(const struct ht_node *n)
{
    return n->attr;
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    const struct ht_node *x = n->in[0];
    HT_OP_REQUIRE(n, err, attr_of(n)->rate >= 0 && attr_of(n)->rate < 1, "rate must be in [0, 1)");
    HT_OP_REQUIRE(n, err, x->n_scale <= 1, "takes real values or a quantized tensor of one scale");
    n->rows = x->rows;
    n->cols = x->cols;
    n->batched = x->batched;
    n->n_scale = x->n_scale;
    n->saved_size = n->rows * n->cols;
    n->signed_levels = x->signed_levels;
    return HT_OK;
}

/* mask[size] = 0 where dropped, else 1. Four numbers from each block of the generator; the counter
 * is the step and the block's place in the tensor. */
static void fill_mask(const struct ht_attr_dropout *a, const struct ht_run *run, size_t size,
                      ht_real *mask)
{
    const uint64_t stream = HT_RNG_STREAM(HT_RNG_DROPOUT, a->stream);
    const uint32_t threshold = (uint32_t)((double)a->rate * 4294967296.0);
    size_t i = 0;
    for (; i + 4 <= size; i += 4) {
        struct ht_rng_block r = ht_rng_block(run->seed, stream, run->step << 32 | i / 4);
        for (size_t k = 0; k < 4; k++)
            mask[i + k] = (ht_real)(r.v[k] >= threshold);
    }
    if (i < size) {
        struct ht_rng_block r = ht_rng_block(run->seed, stream, run->step << 32 | i / 4);
        for (size_t k = 0; i + k < size; k++)
            mask[i + k] = (ht_real)(r.v[k] >= threshold);
    }
}

static void drop_bytes(struct ht_node *n, const ht_real *mask)
{
    const uint8_t *x = ht_node_levels(n->in[0]);
    uint8_t *y = ht_node_levels(n);
    const uint8_t zero = (uint8_t)n->in[0]->zero_point;
    n->zero_point = n->in[0]->zero_point;
    for (size_t i = 0; i < n->rows * n->cols; i++)
        y[i] = !mask || mask[i] > 0 ? x[i] : zero;
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const bool quantized = n->n_scale == 1;
    const size_t size = n->rows * n->cols;
    const ht_real *x = n->in[0]->value;
    if (run->mode == HT_MODE_EVAL) {
        if (n->as_bytes)
            drop_bytes(n, NULL);
        for (size_t i = 0; !n->as_bytes && i < size; i++)
            n->value[i] = x[i];
        if (quantized)
            n->scale[0] = n->in[0]->scale[0];
        return;
    }
    const ht_real keep = 1 - attr_of(n)->rate, factor = quantized ? 1 : 1 / keep;
    ht_real *mask = n->saved;
    fill_mask(attr_of(n), run, size, mask);
    if (n->as_bytes)
        drop_bytes(n, mask);
    for (size_t i = 0; !n->as_bytes && i < size; i++)
        n->value[i] = mask[i] > 0 ? x[i] * factor : 0;
    if (quantized)
        n->scale[0] = n->in[0]->scale[0] / keep;
}

/* Gradients of quantized tensors are those of their real values: the same for both kinds. */
static void backward(struct ht_node *n, const struct ht_run *run)
{
    const ht_real factor = 1 / (1 - attr_of(n)->rate);
    const ht_real *mask = n->saved;
    for (size_t i = 0; i < n->rows * n->cols; i++)
        ht_grad_put(n, 0, i, mask[i] * n->grad[i] * factor);
}

const struct ht_op ht_op_dropout = {
    "dropout", sizeof(struct ht_attr_dropout), HT_OP_KEEPS_BYTES, infer, forward, backward,
};
