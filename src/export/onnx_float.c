/* A float32 network, as training evaluates it: the sums in the runtime's own order, so equal to
 * training but for rounding. Float activations serve QONNX, too. */
#include "export/onnx_parts.h"

#include <string.h>

/* --- activations --- */

static const char *constant(struct ht_onnx *o, const char *layer, const char *what, float value)
{
    return ht_onnx_float(o, ht_onnx_text(o, "%s.%s", layer, what), value);
}

static const char *add_relu6(struct ht_onnx *o, const char *layer, double slope, const char *x,
                             const char *output)
{
    return ht_onnx_node(
        o, "Clip", HT_ONNX_IN(x, constant(o, layer, "lowest", 0), constant(o, layer, "highest", 6)),
        output);
}

static const char *add_leaky_relu(struct ht_onnx *o, const char *layer, double slope, const char *x,
                                  const char *output)
{
    output = ht_onnx_node(o, "LeakyRelu", HT_ONNX_IN(x), output);
    ht_onnx_set_float(o, "alpha", (float)slope);
    return output;
}

/* x * (1 + erf(x * sqrt(1/2))) / 2; the operator Gelu is younger than opset 13. */
static const char *add_gelu(struct ht_onnx *o, const char *layer, double slope, const char *x,
                            const char *output)
{
    const char *y =
        ht_onnx_node(o, "Mul", HT_ONNX_IN(x, constant(o, layer, "sqrt_half", 0.70710678f)),
                     ht_onnx_text(o, "%s/normal", layer));
    y = ht_onnx_node(o, "Erf", HT_ONNX_IN(y), ht_onnx_text(o, "%s/erf", layer));
    y = ht_onnx_node(o, "Add", HT_ONNX_IN(y, constant(o, layer, "one", 1)),
                     ht_onnx_text(o, "%s/erf_plus_1", layer));
    y = ht_onnx_node(o, "Mul", HT_ONNX_IN(y, constant(o, layer, "half", 0.5f)),
                     ht_onnx_text(o, "%s/share", layer));
    return ht_onnx_node(o, "Mul", HT_ONNX_IN(x, y), output);
}

static const struct activation {
    const char *name, *op; /* op: a node without attributes; NULL: `add` makes it */
    const char *(*add)(struct ht_onnx *o, const char *layer, double slope, const char *x,
                       const char *output);
    bool needs_slope;
} activations[] = {
    {"relu", "Relu", NULL, false},       {"relu6", NULL, add_relu6, false},
    {"tanh", "Tanh", NULL, false},       {"leaky_relu", NULL, add_leaky_relu, true},
    {"sigmoid", "Sigmoid", NULL, false}, {"gelu", NULL, add_gelu, false},
};

static const struct activation *find_activation(const char *name)
{
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (strcmp(activations[i].name, name) == 0)
            return &activations[i];
    return NULL;
}

bool ht_onnx_has_activation(const char *name, bool slope_known)
{
    const struct activation *a = find_activation(name);
    return strcmp(name, "none") == 0 || (a && (slope_known || !a->needs_slope));
}

const char *ht_onnx_activation(struct ht_onnx *o, const char *layer, const char *name, double slope,
                               const char *x, const char *output)
{
    const struct activation *a = find_activation(name);
    if (!a) /* none */
        return x;
    return a->add ? a->add(o, layer, slope, x, output)
                  : ht_onnx_node(o, a->op, HT_ONNX_IN(x), output);
}

/* --- blocks --- */

static const char *vector(struct ht_onnx *o, const struct ht_block *b, const struct ht_params *p,
                          int span, const char *what)
{
    return ht_onnx_floats(o, ht_onnx_text(o, "%s.%s", b->name, what),
                          p->value + p->spans[span].offset, b->out, 1);
}

static const char *add_gemm(struct ht_onnx *o, const struct ht_model *m, const struct ht_block *b,
                            const char *x, const char *output)
{
    const struct ht_params *p = &m->params;
    const float *weights = p->value + p->spans[b->weight_span].offset;
    const char *w =
        ht_onnx_float_matrix(o, ht_onnx_text(o, "%s.weight", b->name), b->out, b->in, weights);
    if (b->bias)
        x = ht_onnx_node(o, "Gemm", HT_ONNX_IN(x, w, vector(o, b, p, b->bias_span, "bias")),
                         output);
    else
        x = ht_onnx_node(o, "Gemm", HT_ONNX_IN(x, w), output);
    ht_onnx_set_int(o, "transB", 1);
    return x;
}

static const char *add_batchnorm(struct ht_onnx *o, const struct ht_model *m,
                                 const struct ht_block *b, const char *x, const char *output)
{
    const struct ht_params *p = &m->params, *s = &m->state;
    x = ht_onnx_node(o, "BatchNormalization",
                     HT_ONNX_IN(x, vector(o, b, p, b->gamma_span, "gamma"),
                                vector(o, b, p, b->beta_span, "beta"),
                                vector(o, b, s, b->mean_span, "mean"),
                                vector(o, b, s, b->var_span, "variance")),
                     output);
    ht_onnx_set_float(o, "epsilon", (float)b->epsilon);
    return x;
}

static const char *add_block(struct ht_onnx *o, const struct ht_model *m, size_t index,
                             const char *x)
{
    const struct ht_block *b = &m->blocks[index];
    const bool active = strcmp(b->activation->name, "none") != 0;
    const char *output = index + 1 == m->n_blocks ? "output" : ht_onnx_text(o, "%s/out", b->name);
    x = add_gemm(o, m, b, x, b->batchnorm || active ? ht_onnx_text(o, "%s/sums", b->name) : output);
    if (b->batchnorm)
        x = add_batchnorm(o, m, b, x, active ? ht_onnx_text(o, "%s/normalized", b->name) : output);
    return ht_onnx_activation(o, b->name, b->activation->name, b->slope, x, output);
}

void ht_onnx_float_network(struct ht_onnx *o, const struct ht_qmodel *m,
                           const struct ht_model *network, enum ht_export_input input)
{
    const char *x = ht_onnx_transform(o, &m->input, input, ht_onnx_raw_input(o, &m->input, input));
    for (size_t i = 0; i < network->n_blocks; i++)
        x = add_block(o, network, i, x);
    ht_onnx_finish_outputs(o, m);
}
