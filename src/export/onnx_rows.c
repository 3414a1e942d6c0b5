/* Layers whose inputs have no scale of their own (docs/numerics.md, section 11): rows that find
 * theirs, in one rounded float32 operation after the other, and products of real numbers. */
#include "export/onnx_parts.h"

#include "quant/dynamic.h"
#include "quant/quantizer.h"

/* name = NODE(a, b), all of them beginning with a layer's name. */
static const char *node2(struct ht_onnx *o, const char *op, const char *a, const char *b,
                         const char *layer, const char *what)
{
    return ht_onnx_node(o, op, HT_ONNX_IN(a, b), ht_onnx_text(o, "%s/%s", layer, what));
}

static const char *node1(struct ht_onnx *o, const char *op, const char *a, const char *layer,
                         const char *what)
{
    return ht_onnx_node(o, op, HT_ONNX_IN(a), ht_onnx_text(o, "%s/%s", layer, what));
}

static const char *constant(struct ht_onnx *o, const char *layer, const char *what, float value)
{
    return ht_onnx_float(o, ht_onnx_text(o, "%s.%s", layer, what), value);
}

static const char *cast(struct ht_onnx *o, const char *x, int type, const char *output)
{
    x = ht_onnx_node(o, "Cast", HT_ONNX_IN(x), output);
    ht_onnx_set_int(o, "to", type);
    return x;
}

/* The largest or smallest of each row, and 0, as far as they count: [batch, 1]. */
static const char *row_end(struct ht_onnx *o, const char *op, const char *x, const char *layer,
                           const char *what, const char *lowest, const char *highest)
{
    const char *output = ht_onnx_text(o, "%s/%s_of_row", layer, what);
    if (o->opset < 18) { /* the place of the axis was an attribute then */
        x = ht_onnx_node(o, op, HT_ONNX_IN(x), output);
        ht_onnx_set_int_list(o, "axes", 1);
    } else {
        const char *axis = ht_onnx_place(o, ht_onnx_text(o, "%s.%s_axis", layer, what), 1);
        x = ht_onnx_node(o, op, HT_ONNX_IN(x, axis), output);
    }
    return ht_onnx_node(o, "Clip", HT_ONNX_IN(x, lowest, highest),
                        ht_onnx_text(o, "%s/%s", layer, what));
}

struct row_scale {
    const char *scale, *zero_point; /* float32; zero_point counted from the grid's lowest */
};

static struct row_scale symmetric_scale(struct ht_onnx *o, const char *layer,
                                        const struct ht_grid *g, const char *x, const char *least)
{
    const char *most =
        row_end(o, "ReduceMax", node1(o, "Abs", x, layer, "magnitudes"), layer, "largest",
                constant(o, layer, "zero", 0), constant(o, layer, "most", HT_DYNAMIC_MAX));
    const char *scale =
        node2(o, "Div", most, constant(o, layer, "reach", (float)g->hi), layer, "step");
    return (struct row_scale){node2(o, "Max", scale, least, layer, "row_scale"),
                              constant(o, layer, "middle", (float)-g->lo)};
}

static struct row_scale affine_scale(struct ht_onnx *o, const char *layer, const struct ht_grid *g,
                                     const char *x, const char *least)
{
    const char *zero = constant(o, layer, "zero", 0);
    const char *min = row_end(o, "ReduceMin", x, layer, "smallest",
                              constant(o, layer, "least", -HT_DYNAMIC_MAX), zero);
    const char *max = row_end(o, "ReduceMax", x, layer, "largest", zero,
                              constant(o, layer, "most", HT_DYNAMIC_MAX));
    const char *step = node2(o, "Div", node2(o, "Sub", max, min, layer, "range"),
                             constant(o, layer, "reach", (float)(g->hi - g->lo)), layer, "step");
    const char *scale = node2(o, "Max", step, least, layer, "row_scale");
    const char *steps = node2(o, "Div", min, scale, layer, "steps_below");
    const char *z = node1(o, "Round", node1(o, "Neg", steps, layer, "steps_up"), layer, "rounded");
    return (struct row_scale){
        scale, ht_onnx_node(o, "Where",
                            HT_ONNX_IN(node2(o, "Less", step, least, layer, "is_flat"), zero, z),
                            ht_onnx_text(o, "%s/float_zero_point", layer))};
}

struct ht_onnx_value ht_onnx_quantize_rows(struct ht_onnx *o, const char *layer,
                                           const struct ht_qactivation *q, const char *x)
{
    const struct ht_grid *g = &q->grid;
    const char *least = constant(o, layer, "least_scale", (float)HT_MIN_SCALE);
    const struct row_scale r =
        (g->has_zero_point ? affine_scale : symmetric_scale)(o, layer, g, x, least);
    const char *u = node2(o, "Div", x, r.scale, layer, "steps");
    u = node1(o, q->rounding == HT_ROUND_FLOOR ? "Floor" : "Round", u, layer, "whole");
    u = node2(o, "Add", u, r.zero_point, layer, "from_lowest");
    u = ht_onnx_node(o, "Clip",
                     HT_ONNX_IN(u, constant(o, layer, "lowest", 0),
                                constant(o, layer, "highest", (float)(g->hi - g->lo))),
                     ht_onnx_text(o, "%s/clipped", layer));
    struct ht_onnx_value v = {
        .name = cast(o, u, HT_ONNX_UINT8, ht_onnx_text(o, "%s/levels", layer)), .scale = r.scale};
    if (g->has_zero_point)
        v.zero_point =
            cast(o, r.zero_point, HT_ONNX_INT32, ht_onnx_text(o, "%s/zero_point", layer));
    return v;
}

/* What the zero points of rows contribute to the products: zero point * sum of the weights, int32.
 */
static const char *zero_products(struct ht_onnx *o, const struct ht_qmodel *m, size_t index,
                                 const char *zero_point)
{
    const struct ht_qlayer *l = &m->layers[index];
    const int factor = zero_point ? 1 : -ht_qlayer_input_quant(m, index)->grid.lo;
    const char *name = ht_onnx_text(o, zero_point ? "%s.weight_sum" : "%s.zero_products", l->name);
    int32_t *sum = ht_onnx_memory(o, l->out, sizeof *sum);
    for (size_t n = 0; sum && n < l->out; n++) {
        const int32_t *z = l->weights.zero_point;
        for (size_t k = 0; k < l->in; k++)
            sum[n] += ht_qlayer_weight(l, n, k) - (z ? z[l->weights.channels == 1 ? 0 : n] : 0);
        sum[n] *= factor;
    }
    if (sum)
        ht_onnx_integers(o, name, HT_ONNX_INT32, sum, l->out, 1);
    return zero_point ? node2(o, "Mul", zero_point, name, l->name, "zero_products") : name;
}

static const char *vector(struct ht_onnx *o, const struct ht_qlayer *l, const char *what,
                          const float *values, size_t n)
{
    return ht_onnx_floats(o, ht_onnx_text(o, "%s.%s", l->name, what), values, n, n > 1);
}

const char *ht_onnx_dynamic_outputs(struct ht_onnx *o, const struct ht_qmodel *m, size_t index,
                                    const struct ht_onnx_value *in, const char *output)
{
    const struct ht_qlayer *l = &m->layers[index];
    const char *name = l->name;
    const struct ht_onnx_weights w = ht_onnx_weights(o, m, index);
    const char *sums = ht_onnx_integer_products(
        o, l, &w, in->name,
        ht_onnx_integer(o, ht_onnx_text(o, "%s.input_zero_point", name), HT_ONNX_UINT8, 0));
    /* Also where it is the same for all rows: it keeps ONNX Runtime from fusing what comes before
     * and after it into an operator that rounds otherwise. */
    sums = node2(o, "Sub", sums, zero_products(o, m, index, in->zero_point), name, "sums");
    sums = cast(o, sums, HT_ONNX_FLOAT, ht_onnx_text(o, "%s/float_sums", name));
    const char *scale = vector(o, l, "weight_scale", l->weights.scale, l->weights.channels);
    scale = node2(o, "Mul", in->scale, scale, name, "scale");
    sums = node2(o, "Mul", sums, scale, name, "scaled");
    return ht_onnx_node(o, "Add", HT_ONNX_IN(sums, vector(o, l, "bias", l->real_bias, l->out)),
                        output);
}

const char *ht_onnx_real_outputs(struct ht_onnx *o, const struct ht_qlayer *l, const char *x,
                                 const char *output)
{
    const char *bias =
        ht_onnx_floats(o, ht_onnx_text(o, "%s.bias", l->name), l->real_bias, l->out, 1);
    x = ht_onnx_node(o, "Gemm", HT_ONNX_IN(x, ht_onnx_real_weights(o, l), bias), output);
    ht_onnx_set_int(o, "transB", 1);
    ht_onnx_set_doc(o, ht_onnx_layer_text(o, l));
    return x;
}
