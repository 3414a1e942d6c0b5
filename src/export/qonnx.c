/* QONNX (Pappalardo et al. 2022, arXiv 2206.07527): real weights and values, each through a node
 * Quant that says how it is quantized. Runtimes compute it in real numbers, so a sum that lies on
 * the border of two levels may fall to either side; docs/onnx.md says more. */
#include "export/onnx.h"
#include "export/onnx_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define DOMAIN "qonnx.custom_op.general"

/* --- the two kinds of nodes --- */

struct quant {
    const char *scale, *zero_point; /* names */
    int bits;
    bool is_signed, narrow, floor;
};

static const char *add_quant(struct ht_onnx *o, const char *x, const struct quant *q,
                             const char *output)
{
    const char *bits = ht_onnx_float(o, ht_onnx_text(o, "%s.bits", output), (float)q->bits);
    const char *y = ht_onnx_node(o, "Quant", HT_ONNX_IN(x, q->scale, q->zero_point, bits), output);
    ht_onnx_set_domain(o, DOMAIN);
    ht_onnx_set_int(o, "signed", q->is_signed);
    ht_onnx_set_int(o, "narrow", q->narrow);
    ht_onnx_set_text(o, "rounding_mode", q->floor ? "FLOOR" : "ROUND");
    return y;
}

static const char *add_bipolar(struct ht_onnx *o, const char *x, const char *scale,
                               const char *output)
{
    const char *y = ht_onnx_node(o, "BipolarQuant", HT_ONNX_IN(x, scale), output);
    ht_onnx_set_domain(o, DOMAIN);
    return y;
}

static bool is_binary(const struct ht_grid *g)
{
    return g->step == 2 && g->n_levels == 2;
}

/* --- values --- */

static const char *quantize(struct ht_onnx *o, const char *x, const struct ht_qactivation *q,
                            const char *output)
{
    const struct quant quant = {
        .scale = ht_onnx_float(o, ht_onnx_text(o, "%s.scale", output), q->scale),
        .bits = q->grid.bits,
        .is_signed = q->is_signed,
        .narrow = q->grid.lo == -q->grid.hi,
        .floor = q->rounding == HT_ROUND_FLOOR,
    };
    if (is_binary(&q->grid))
        return add_bipolar(o, x, quant.scale, output);
    struct quant with_zero = quant;
    with_zero.zero_point =
        ht_onnx_float(o, ht_onnx_text(o, "%s.zero_point", output), (float)q->zero_point);
    return add_quant(o, x, &with_zero, output);
}

/* --- weights: [in, out] in real numbers, as MatMul takes them --- */

/* The narrow range that holds all levels of a grid that is not one itself. */
static int bits_around(const struct ht_grid *g)
{
    const int most = abs(g->lo) > abs(g->hi) ? abs(g->lo) : abs(g->hi);
    int bits = 2;
    while ((1 << (bits - 1)) - 1 < most)
        bits++;
    return bits;
}

static const char *real_weights(struct ht_onnx *o, const struct ht_qlayer *l)
{
    const struct ht_qweights *w = &l->weights;
    const size_t n = l->in * l->out;
    float *real = ht_onnx_memory(o, n, sizeof *real);
    for (size_t i = 0; real && i < n; i++) {
        const size_t row = i / l->in, c = w->channels == 1 ? 0 : row;
        const int level = ht_qlayer_weight(l, row, i % l->in);
        real[i % l->in * l->out + row] =
            w->scale[c] * (float)(level - (w->zero_point ? w->zero_point[c] : 0));
    }
    return ht_onnx_float_matrix(o, ht_onnx_text(o, "%s.weight", l->name), l->in, l->out, real);
}

static const char *zero_points(struct ht_onnx *o, const struct ht_qlayer *l)
{
    const struct ht_qweights *w = &l->weights;
    const char *name = ht_onnx_text(o, "%s.weight_zero_point", l->name);
    float *zero = ht_onnx_memory(o, w->channels, sizeof *zero);
    if (!w->zero_point || !zero)
        return ht_onnx_float(o, name, 0);
    for (size_t n = 0; n < w->channels; n++)
        zero[n] = (float)w->zero_point[n];
    return ht_onnx_floats(o, name, zero, w->channels, w->channels > 1);
}

static const char *weights(struct ht_onnx *o, const struct ht_qlayer *l)
{
    const struct ht_qweights *w = &l->weights;
    const struct ht_grid grid = ht_onnx_weight_grid(l), *g = &grid;
    const char *output = ht_onnx_text(o, "%s/weight", l->name);
    const char *real = real_weights(o, l);
    const char *scale = ht_onnx_floats(o, ht_onnx_text(o, "%s.weight_scale", l->name), w->scale,
                                       w->channels, w->channels > 1);
    if (is_binary(g))
        return add_bipolar(o, real, scale, output);
    const bool uniform = g->step == 1;
    const struct quant quant = {
        .scale = scale,
        .zero_point = zero_points(o, l),
        .bits = uniform ? g->bits : bits_around(g),
        .is_signed = ht_grid_is_signed(g),
        .narrow = !uniform || g->lo == -g->hi,
    };
    return add_quant(o, real, &quant, output);
}

static const char *real_bias(struct ht_onnx *o, const struct ht_qmodel *m, size_t index)
{
    const struct ht_qlayer *l = &m->layers[index];
    const float input_scale = ht_qlayer_input_quant(m, index)->scale;
    float *bias = ht_onnx_memory(o, l->out, sizeof *bias);
    for (size_t n = 0; bias && n < l->out; n++)
        bias[n] =
            (float)l->bias[n] * (input_scale * l->weights.scale[l->weights.channels == 1 ? 0 : n]);
    const char *name = ht_onnx_text(o, "%s.bias", l->name);
    return bias ? ht_onnx_floats(o, name, bias, l->out, 1) : name;
}

/* --- layers --- */

static const char *activate(struct ht_onnx *o, const struct ht_qlayer *l, const char *x)
{
    const char *output = ht_onnx_text(o, "%s/%s", l->name, l->activation);
    if (l->has_table)
        x = quantize(o, x, &l->quant, ht_onnx_text(o, "%s/before_%s", l->name, l->activation));
    return ht_onnx_activation(o, l->name, l->activation, 0, x, output);
}

static const char *add_layer(struct ht_onnx *o, const struct ht_qmodel *m, size_t index,
                             const char *x)
{
    const struct ht_qlayer *l = &m->layers[index];
    const bool last = index + 1 == m->n_layers, real = l->output == HT_QOUTPUT_REAL;
    x = ht_onnx_node(o, "MatMul", HT_ONNX_IN(x, weights(o, l)),
                     ht_onnx_text(o, "%s/products", l->name));
    ht_onnx_set_doc(o, ht_onnx_layer_text(o, l));
    x = ht_onnx_node(o, "Add", HT_ONNX_IN(x, real_bias(o, m, index)),
                     real ? "output" : ht_onnx_text(o, "%s/sums", l->name));
    if (real)
        return x;
    return quantize(o, activate(o, l, x), ht_qlayer_output_quant(l),
                    last ? "output" : ht_onnx_text(o, "%s/quantized", l->name));
}

/* --- what it cannot express --- */

static bool has_quant(const struct ht_qactivation *q)
{
    return q->grid.step == 1 || is_binary(&q->grid);
}

static enum ht_status check(const struct ht_qmodel *m, struct ht_error *err)
{
    for (size_t i = 0; i <= m->n_layers; i++) {
        const struct ht_qlayer *l = i ? &m->layers[i - 1] : NULL;
        const struct ht_qactivation *q = l ? ht_qlayer_output_quant(l) : &m->input.quant;
        if (l && l->output == HT_QOUTPUT_REAL)
            continue;
        if (!has_quant(q) || (l && l->has_table && !has_quant(&l->quant)))
            return ht_fail(err, HT_ERR_CONFIG,
                           "%s: QONNX has no Quant for activations on grid %s with %d bits",
                           l ? l->name : "input", q->grid.name, q->grid.bits);
        if (l && l->has_table && !ht_onnx_has_activation(l->activation, false))
            return ht_fail(err, HT_ERR_CONFIG,
                           "%s: the model holds the table of %s, not its formula, which QONNX "
                           "would need",
                           l->name, l->activation);
    }
    return HT_OK;
}

enum ht_agreement ht_qonnx_agreement(const struct ht_export_source *source)
{
    return HT_AGREEMENT_BORDERS;
}

enum ht_status ht_export_qonnx(const struct ht_export_source *source,
                               const struct ht_export_options *options, const char *path,
                               struct ht_error *err)
{
    const struct ht_qmodel *m = source->model;
    struct ht_onnx o = {0};
    enum ht_status status = ht_qmodel_require_integer(m, "qonnx", err);
    if (status == HT_OK)
        status = ht_onnx_check_input(m, options->input, err);
    if (status == HT_OK)
        status = check(m, err);
    if (status != HT_OK)
        return status;
    ht_onnx_init(&o);
    const char *x = ht_onnx_transform(&o, &m->input, options->input,
                                      ht_onnx_raw_input(&o, &m->input, options->input));
    x = quantize(&o, x, &m->input.quant, "input/quantized");
    for (size_t i = 0; i < m->n_layers; i++)
        x = add_layer(&o, m, i, x);
    ht_onnx_finish_outputs(&o, m);
    ht_onnx_describe(&o, source, options);
    status = ht_onnx_write(&o, path, err);
    ht_onnx_finish(&o);
    return status;
}
