/* The quantized network in operators whose results do not depend on who runs them: every float32
 * operation is either exact, on whole numbers, or one rounded operation of docs/numerics.md. Only
 * products of real numbers are summed in the runtime's own order. */
#include "export/onnx_parts.h"

#include <math.h>
#include <string.h>

#define ONE "one" /* the scale of whole numbers */

/* How levels are stored. */
struct target {
    const struct ht_qactivation *quant;
    int origin; /* what is stored is level - origin */
    int type;
};

/* Inside the network: counted from the grid's lowest, so that all are uint8 (ONNX Runtime shifts
 * int8 by 128 otherwise, and sums get larger) and can be places in a table. */
static struct target inside(const struct ht_qactivation *q)
{
    return (struct target){q, q->grid.lo, HT_ONNX_UINT8};
}

/* The levels themselves, as they leave the network. */
static struct target outside(const struct ht_qactivation *q)
{
    return (struct target){q, 0, q->is_signed ? HT_ONNX_INT8 : HT_ONNX_UINT8};
}

/* Does the type saturate where the clamp is? */
static bool saturates(const struct target *t)
{
    const int least = t->type == HT_ONNX_INT8 ? -128 : 0;
    return t->quant->lo - t->origin == least && t->quant->hi - t->origin == least + 255;
}

/* value / scale to levels: docs/numerics.md, section 2. `layer` begins the names. */
static const char *quantize(struct ht_onnx *o, const char *layer, const char *value, float scale,
                            const struct target *t, const char *output)
{
    const struct ht_qactivation *q = t->quant;
    const bool odd = q->grid.step == 2, down = !odd && q->rounding == HT_ROUND_FLOOR;
    const char *unit = ONE;
    if (scale != 1 && saturates(t) && !odd && !down)
        unit = ht_onnx_float(o, ht_onnx_text(o, "%s.scale", layer), scale);
    else if (scale != 1)
        value = ht_onnx_node(
            o, "Div",
            HT_ONNX_IN(value, ht_onnx_float(o, ht_onnx_text(o, "%s.scale", layer), scale)),
            ht_onnx_text(o, "%s/steps", layer));
    if (!saturates(t))
        value = ht_onnx_node(o, "Clip",
                             HT_ONNX_IN(value,
                                        ht_onnx_float(o, ht_onnx_text(o, "%s.lowest", layer),
                                                      (float)(q->lo - q->zero_point)),
                                        ht_onnx_float(o, ht_onnx_text(o, "%s.highest", layer),
                                                      (float)(q->hi - q->zero_point))),
                             ht_onnx_text(o, "%s/clipped", layer));
    if (down)
        value = ht_onnx_node(o, "Floor", HT_ONNX_IN(value), ht_onnx_text(o, "%s/floor", layer));
    if (odd) { /* 2 * ceil(u / 2) - 1 */
        const char *two = ht_onnx_float(o, ht_onnx_text(o, "%s.two", layer), 2);
        value = ht_onnx_node(o, "Div", HT_ONNX_IN(value, two), ht_onnx_text(o, "%s/half", layer));
        value = ht_onnx_node(o, "Ceil", HT_ONNX_IN(value), ht_onnx_text(o, "%s/up", layer));
        value = ht_onnx_node(o, "Mul", HT_ONNX_IN(value, two), ht_onnx_text(o, "%s/even", layer));
        value = ht_onnx_node(o, "Sub", HT_ONNX_IN(value, ONE), ht_onnx_text(o, "%s/odd", layer));
    }
    const char *zero = ht_onnx_integer(o, ht_onnx_text(o, "%s.zero_point", layer), t->type,
                                       q->zero_point - t->origin);
    return ht_onnx_node(o, "QuantizeLinear", HT_ONNX_IN(value, unit, zero), output);
}

/* Are the bytes of images, as they are, the levels? */
static bool bytes_are_levels(const struct ht_qinput *in)
{
    const struct ht_qactivation *q = &in->quant;
    if (in->pixel_range != 255 || in->mean || q->is_signed || q->grid.step != 1)
        return false;
    for (int byte = 0; byte < 256; byte++) {
        const float u = (float)byte / 255.0f / q->scale;
        const float level = q->rounding == HT_ROUND_FLOOR ? floorf(u) : rintf(u);
        if (level + (float)q->zero_point != (float)byte || byte < q->lo || byte > q->hi)
            return false;
    }
    return true;
}

static const char *input_levels(struct ht_onnx *o, const struct ht_qinput *in,
                                enum ht_export_input kind)
{
    const struct target t = inside(&in->quant);
    const char *raw = ht_onnx_raw_input(o, in, kind);
    if (kind == HT_EXPORT_U8 && bytes_are_levels(in))
        return raw;
    return quantize(o, "input", ht_onnx_transform(o, in, kind, raw), in->quant.scale, &t,
                    "input/levels");
}

/* A DequantizeLinear with scale 1. n > 1: a zero point for each of n outputs. */
static const char *whole_numbers(struct ht_onnx *o, const char *value, const char *zero, size_t n,
                                 const char *output)
{
    const char *one = ONE;
    if (n > 1) {
        float *ones = ht_onnx_memory(o, n, sizeof *ones);
        for (size_t i = 0; ones && i < n; i++)
            ones[i] = 1;
        if (ones)
            one = ht_onnx_floats(o, ht_onnx_text(o, "%s.ones", output), ones, n, 1);
    }
    const char *name = ht_onnx_node(o, "DequantizeLinear", HT_ONNX_IN(value, one, zero), output);
    if (n > 1)
        ht_onnx_set_int(o, "axis", 0);
    return name;
}

/* acc of docs/numerics.md, section 3, as float32: Gemm of whole numbers, exact in float32, which
 * ONNX Runtime runs as the integer kernel QGemm. */
static const char *sums_by_gemm(struct ht_onnx *o, const struct ht_qlayer *l,
                                const struct ht_onnx_weights *w, const char *levels,
                                const char *zero, const char *bias)
{
    const char *name = l->name;
    const size_t zeros = l->weights.zero_point ? l->weights.channels : 1;
    const char *weight_zero = ht_onnx_weight_zero_point(o, l, w);
    const char *bias_zero =
        ht_onnx_integer(o, ht_onnx_text(o, "%s.bias_zero_point", name), HT_ONNX_INT32, 0);
    levels = whole_numbers(o, levels, zero, 1, ht_onnx_text(o, "%s/inputs", name));
    const char *weights =
        whole_numbers(o, w->value, weight_zero, zeros, ht_onnx_text(o, "%s/weights", name));
    bias = whole_numbers(o, bias, bias_zero, 1, ht_onnx_text(o, "%s/bias", name));
    const char *sums = ht_onnx_node(o, "Gemm", HT_ONNX_IN(levels, weights, bias),
                                    ht_onnx_text(o, "%s/sums", name));
    ht_onnx_set_int(o, "transB", 1);
    ht_onnx_set_doc(o, ht_onnx_layer_text(o, l));
    return sums;
}

const char *ht_onnx_integer_products(struct ht_onnx *o, const struct ht_qlayer *l,
                                     const struct ht_onnx_weights *w, const char *levels,
                                     const char *input_zero)
{
    const char *columns =
        ht_onnx_node(o, "Transpose", HT_ONNX_IN(w->value), ht_onnx_text(o, "%s/columns", l->name));
    const char *products =
        ht_onnx_node(o, "MatMulInteger",
                     HT_ONNX_IN(levels, columns, input_zero, ht_onnx_weight_zero_point(o, l, w)),
                     ht_onnx_text(o, "%s/products", l->name));
    ht_onnx_set_doc(o, ht_onnx_layer_text(o, l));
    return products;
}

/* The same where float32 is too narrow: an integer product. */
static const char *sums_by_matmul(struct ht_onnx *o, const struct ht_qlayer *l,
                                  const struct ht_onnx_weights *w, const char *levels,
                                  const char *zero, const char *bias)
{
    const char *name = l->name;
    const char *sums = ht_onnx_integer_products(o, l, w, levels, zero);
    sums = ht_onnx_node(o, "Add", HT_ONNX_IN(sums, bias), ht_onnx_text(o, "%s/sums", name));
    sums = ht_onnx_node(o, "Cast", HT_ONNX_IN(sums), ht_onnx_text(o, "%s/float_sums", name));
    ht_onnx_set_int(o, "to", HT_ONNX_FLOAT);
    return sums;
}

static const char *sums(struct ht_onnx *o, const struct ht_qmodel *m, size_t index,
                        const char *levels)
{
    const struct ht_qlayer *l = &m->layers[index];
    const struct ht_qactivation *input = ht_qlayer_input_quant(m, index);
    const struct ht_onnx_weights w = ht_onnx_weights(o, m, index);
    const char *zero = ht_onnx_integer(o, ht_onnx_text(o, "%s.input_zero_point", l->name),
                                       HT_ONNX_UINT8, input->zero_point - input->grid.lo);
    const char *bias =
        ht_onnx_integers(o, ht_onnx_text(o, "%s.bias", l->name), HT_ONNX_INT32, l->bias, l->out, 1);
    return (w.in_float ? sums_by_gemm : sums_by_matmul)(o, l, &w, levels, zero, bias);
}

/* Level by level through the table of an activation. */
static const char *look_up(struct ht_onnx *o, const struct ht_qlayer *l, const char *scaled,
                           const struct target *to, const char *output)
{
    const int n = l->quant.grid.hi - l->quant.grid.lo + 1;
    const struct target t = inside(&l->quant);
    int32_t table[256] = {0};
    for (int i = 0; i < n; i += l->quant.grid.step)
        table[i] = l->table[i] - to->origin;
    const char *values = ht_onnx_integers(o, ht_onnx_text(o, "%s.%s", l->name, l->activation),
                                          to->type, table, (size_t)n, 1);
    const char *entry = quantize(o, l->name, scaled, 1, &t, ht_onnx_text(o, "%s/entry", l->name));
    const char *index =
        ht_onnx_node(o, "Cast", HT_ONNX_IN(entry), ht_onnx_text(o, "%s/index", l->name));
    ht_onnx_set_int(o, "to", HT_ONNX_INT32);
    return ht_onnx_node(o, "Gather", HT_ONNX_IN(values, index), output);
}

/* acc * multiplier. */
static const char *scaled_sums(struct ht_onnx *o, const struct ht_qmodel *m, size_t index,
                               const char *levels, const char *output)
{
    const struct ht_qlayer *l = &m->layers[index];
    const size_t channels = l->weights.channels;
    const char *acc = sums(o, m, index, levels);
    const char *multiplier = ht_onnx_floats(o, ht_onnx_text(o, "%s.multiplier", l->name),
                                            l->multiplier, channels, channels > 1);
    return ht_onnx_node(o, "Mul", HT_ONNX_IN(acc, multiplier), output);
}

/* From levels to levels. */
static const char *add_integer_layer(struct ht_onnx *o, const struct ht_qmodel *m, size_t index,
                                     const char *levels)
{
    const struct ht_qlayer *l = &m->layers[index];
    const bool last = index + 1 == m->n_layers;
    const struct ht_qactivation *q = ht_qlayer_output_quant(l);
    const struct target t = last ? outside(q) : inside(q);
    const char *output = last ? "codes" : ht_onnx_text(o, "%s/levels", l->name);
    const char *scaled = scaled_sums(o, m, index, levels, ht_onnx_text(o, "%s/scaled", l->name));
    return l->has_table ? look_up(o, l, scaled, &t, output)
                        : quantize(o, l->name, scaled, 1, &t, output);
}

/* A layer with real values in it, up to its activation. */
static const char *real_values(struct ht_onnx *o, const struct ht_qmodel *m, size_t index,
                               const struct ht_onnx_value *in)
{
    const struct ht_qlayer *l = &m->layers[index];
    const bool last = index + 1 == m->n_layers && l->output == HT_QOUTPUT_REAL;
    const char *output = last ? "output" : ht_onnx_text(o, "%s/values", l->name), *x = NULL;
    switch (ht_qlayer_input_kind(m, index)) {
    case HT_QOUTPUT_CODES:
        x = scaled_sums(o, m, index, in->name, output);
        break;
    case HT_QOUTPUT_DYNAMIC:
        x = ht_onnx_dynamic_outputs(o, m, index, in, output);
        break;
    case HT_QOUTPUT_REAL:
        x = ht_onnx_real_outputs(o, l, in->name, output);
        break;
    }
    return ht_onnx_activation(o, l->name, l->activation, (double)l->slope, x,
                              ht_onnx_text(o, "%s/%s", l->name, l->activation));
}

static struct ht_onnx_value add_real_layer(struct ht_onnx *o, const struct ht_qmodel *m,
                                           size_t index, const struct ht_onnx_value *in)
{
    const struct ht_qlayer *l = &m->layers[index];
    const bool last = index + 1 == m->n_layers;
    const struct target t = last ? outside(&l->quant) : inside(&l->quant);
    const char *x = real_values(o, m, index, in), *name = ht_onnx_text(o, "%s/out", l->name);
    if (l->output == HT_QOUTPUT_DYNAMIC)
        return ht_onnx_quantize_rows(o, name, &l->quant, x);
    if (l->output == HT_QOUTPUT_CODES)
        x = quantize(o, name, x, l->quant.scale, &t,
                     last ? "codes" : ht_onnx_text(o, "%s/levels", l->name));
    return (struct ht_onnx_value){.name = x};
}

static struct ht_onnx_value add_input(struct ht_onnx *o, const struct ht_qinput *in,
                                      enum ht_export_input kind)
{
    if (in->kind == HT_QOUTPUT_CODES)
        return (struct ht_onnx_value){.name = input_levels(o, in, kind)};
    const char *x = ht_onnx_transform(o, in, kind, ht_onnx_raw_input(o, in, kind));
    if (in->kind == HT_QOUTPUT_DYNAMIC)
        return ht_onnx_quantize_rows(o, "input/rows", &in->quant, x);
    return (struct ht_onnx_value){.name = x};
}

static void add_output(struct ht_onnx *o, const struct ht_qlayer *last, const char *codes)
{
    const struct ht_qactivation *q = ht_qlayer_output_quant(last);
    const int type = outside(q).type;
    ht_onnx_node(o, "DequantizeLinear",
                 HT_ONNX_IN(codes, ht_onnx_float(o, "output.scale", q->scale),
                            ht_onnx_integer(o, "output.zero_point", type, q->zero_point)),
                 "output");
}

/* Does any node need a scale of 1? */
static bool has_levels(const struct ht_qmodel *m)
{
    bool any = m->input.kind == HT_QOUTPUT_CODES;
    for (size_t i = 0; i < m->n_layers; i++)
        any |= m->layers[i].output == HT_QOUTPUT_CODES;
    return any;
}

void ht_onnx_integer_network(struct ht_onnx *o, const struct ht_qmodel *m,
                             enum ht_export_input input)
{
    const struct ht_qlayer *last = &m->layers[m->n_layers - 1];
    ht_onnx_need_versions(o, m);
    if (has_levels(m))
        ht_onnx_float(o, ONE, 1);
    struct ht_onnx_value x = add_input(o, &m->input, input);
    for (size_t i = 0; i < m->n_layers; i++)
        if (ht_qlayer_is_real(m, i))
            x = add_real_layer(o, m, i, &x);
        else
            x.name = add_integer_layer(o, m, i, x.name);
    if (last->output == HT_QOUTPUT_CODES)
        add_output(o, last, x.name);
    ht_onnx_finish_outputs(o, m);
    if (last->output == HT_QOUTPUT_CODES)
        ht_onnx_add_output(o, "codes", outside(ht_qlayer_output_quant(last)).type, m->outputs,
                           "levels of the output: output = scale * (code - zero point)");
}
