#include "autograd/op.h"
#include "layers/model.h"
#include "quant/real_dense.h"

static ht_real *state(const struct ht_model *m, int span)
{
    return m->state.value + m->state.spans[span].offset;
}

static const ht_real *value(const struct ht_model *m, int span)
{
    return m->params.value + m->params.spans[span].offset;
}

static struct ht_node *weights(struct ht_model *m, struct ht_graph *g, struct ht_block *b)
{
    struct ht_node *w = ht_graph_param(g, &m->params, b->weight_span);
    return ht_grid_is_float16(&b->weights.grid) ? ht_round_half(g, w)
                                                : ht_fake_quant(g, w, &b->weights, &m->params);
}

static double product_bound(const struct ht_model *m, const struct ht_block *b)
{
    const struct ht_quantizer *input = b == m->blocks ? &m->input : &b[-1].output;
    if (b->input_kind == HT_TENSOR_REAL)
        return 0;
    return (double)ht_quantizer_bound(input) * (double)ht_quantizer_bound(&b->weights);
}

struct ht_node *ht_real_block(struct ht_model *m, struct ht_graph *g, struct ht_block *b,
                              struct ht_node *x)
{
    struct ht_real_dense spec = {.has_bias = b->bias, .product_bound = product_bound(m, b)};
    if (b->batchnorm) {
        spec.gamma = value(m, b->gamma_span);
        spec.beta = value(m, b->beta_span);
        spec.running_mean = state(m, b->mean_span);
        spec.running_var = state(m, b->var_span);
        spec.epsilon = (ht_real)b->epsilon;
    }
    struct ht_node *bias = b->bias ? ht_graph_param(g, &m->params, b->bias_span) : NULL;
    x = ht_real_dense(g, &spec, x, weights(m, g, b), bias);
    if (!b->batchnorm)
        return x;
    const struct ht_attr_batchnorm attr = {(ht_real)b->momentum, (ht_real)b->epsilon,
                                           state(m, b->mean_span), state(m, b->var_span), true};
    struct ht_node *in[3] = {x, ht_graph_param(g, &m->params, b->gamma_span),
                             ht_graph_param(g, &m->params, b->beta_span)};
    return ht_graph_add(g, &ht_op_batchnorm, &attr, 3, in);
}
