/* How the weights of a layer are stored: as few bits as ONNX has for them, and what makes of these
 * the bytes that integer products take. */
#include "export/onnx_parts.h"

#include <stdlib.h>
#include <string.h>

/* x86 processors without VNNI add two products of uint8 and int8 in int16, and saturate: there
 * ONNX Runtime is exact only while a pair fits. Products of two uint8 are exact everywhere. */
#define MAX_PAIR 32767

/* Whole numbers up to here are exact in float32. */
#define MAX_FLOAT_WHOLE (1 << 24)

/* What the bytes of products look like. */
struct bytes {
    int type, shift;
};

static int larger(int a, int b)
{
    return a > b ? a : b;
}

struct ht_grid ht_onnx_weight_grid(const struct ht_qlayer *l)
{
    struct ht_grid bytes = l->weights.grid;
    if (l->weights.group)
        ht_grid_init(&bytes, "narrow", 8, NULL);
    return bytes;
}

static int stored_width(const struct ht_grid *g)
{
    return g->bits <= 2 ? 2 : g->bits <= 4 ? 4 : 8;
}

void ht_onnx_need_versions(struct ht_onnx *o, const struct ht_qmodel *m)
{
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct ht_qweights *w = &m->layers[i].weights;
        if (stored_width(&w->grid) < 8)
            ht_onnx_need_type(o, stored_width(&w->grid) == 2 ? HT_ONNX_INT2 : HT_ONNX_INT4);
        if (w->group && ht_qlayer_input_kind(m, i) == HT_QOUTPUT_REAL)
            ht_onnx_need(o, 21, 10); /* blocks of DequantizeLinear */
    }
}

static struct bytes choose_bytes(const struct ht_grid *g, const struct ht_qactivation *input)
{
    const int pair = 2 * (input->hi - input->grid.lo) * larger(abs(g->lo), abs(g->hi));
    if (g->hi > 127)
        return (struct bytes){HT_ONNX_UINT8, 0};
    if (pair > MAX_PAIR)
        return (struct bytes){HT_ONNX_UINT8, g->lo < 0 ? 128 : 0};
    return (struct bytes){HT_ONNX_INT8, 0};
}

/* The narrow type that holds the levels themselves; 0 if there is none of that width. */
static int narrow_type(const struct ht_grid *g, int width)
{
    const int half = 1 << (width - 1);
    if (g->lo >= -half && g->hi < half)
        return width == 2 ? HT_ONNX_INT2 : HT_ONNX_INT4;
    if (g->lo >= 0 && g->hi < 2 * half)
        return width == 2 ? HT_ONNX_UINT2 : HT_ONNX_UINT4;
    return 0;
}

/* value[code] of every weight, `width` bits each, packed as ONNX does: least significant bits
 * first. */
static const uint8_t *pack(struct ht_onnx *o, const struct ht_qlayer *l, int width,
                           const int32_t *value)
{
    const struct ht_qweights *w = &l->weights;
    const unsigned mask = (1u << width) - 1;
    const size_t n = l->in * l->out;
    uint8_t *packed = ht_onnx_memory(o, ht_packed_size(n, width), 1);
    for (size_t i = 0; packed && i < n; i++)
        ht_pack_code(packed, i, width,
                     (unsigned)value[ht_unpack_code(w->packed, i, w->grid.bits)] & mask);
    return packed;
}

static const char *put(struct ht_onnx *o, const struct ht_qlayer *l, int type, int width,
                       const int32_t *value)
{
    return ht_onnx_matrix(o, ht_onnx_text(o, "%s.weight", l->name), type, l->out, l->in,
                          pack(o, l, width, value), ht_packed_size(l->in * l->out, width));
}

static const char *cast(struct ht_onnx *o, const char *value, int type, const char *output)
{
    value = ht_onnx_node(o, "Cast", HT_ONNX_IN(value), output);
    ht_onnx_set_int(o, "to", type);
    return value;
}

/* One byte for each weight. */
static const char *whole_bytes(struct ht_onnx *o, const struct ht_qlayer *l, struct bytes bytes)
{
    uint8_t *value = ht_onnx_memory(o, l->out, l->in);
    for (size_t n = 0; value && n < l->out; n++)
        for (size_t k = 0; k < l->in; k++)
            value[n * l->in + k] = (uint8_t)(ht_qlayer_weight(l, n, k) + bytes.shift);
    return ht_onnx_matrix(o, ht_onnx_text(o, "%s.weight", l->name), bytes.type, l->out, l->in,
                          value, l->in * l->out);
}

/* Levels of the grid, + shift, of the given type: from the narrow type that holds them, or from
 * codes that are looked up in a table. */
static const char *narrow_levels(struct ht_onnx *o, const struct ht_qlayer *l, int width, int type,
                                 int shift, const char *output)
{
    const struct ht_grid *g = &l->weights.grid;
    const size_t codes = (size_t)1 << g->bits;
    const int narrow = shift ? 0 : narrow_type(g, width);
    int32_t value[256];
    for (unsigned code = 0; code < codes; code++)
        value[code] = ht_grid_level(g, code) + shift;
    if (narrow)
        return cast(o, put(o, l, narrow, width, value), type, output);
    const char *table =
        ht_onnx_integers(o, ht_onnx_text(o, "%s.weight_levels", l->name), type, value, codes, 1);
    for (unsigned code = 0; code < codes; code++)
        value[code] = (int32_t)code;
    const char *index = cast(o, put(o, l, width == 2 ? HT_ONNX_UINT2 : HT_ONNX_UINT4, width, value),
                             HT_ONNX_INT32, ht_onnx_text(o, "%s/weight_codes", l->name));
    return ht_onnx_node(o, "Gather", HT_ONNX_IN(table, index), output);
}

/* Levels times the scale of their group. */
static const char *grouped(struct ht_onnx *o, const struct ht_qlayer *l, int width,
                           struct bytes bytes, const char *output)
{
    const struct ht_qweights *w = &l->weights;
    const char *name = l->name;
    int32_t *group = ht_onnx_memory(o, l->in, sizeof *group);
    for (size_t k = 0; group && k < l->in; k++)
        group[k] = (int32_t)(k / w->group);
    if (!group)
        return output;
    const char *scales =
        ht_onnx_matrix(o, ht_onnx_text(o, "%s.group_scale", name), HT_ONNX_UINT8, l->out,
                       ht_qlayer_groups(l), w->group_scale, l->out * ht_qlayer_groups(l));
    scales = cast(o, scales, HT_ONNX_INT32, ht_onnx_text(o, "%s/group_scale", name));
    scales = ht_onnx_node(o, "Gather",
                          HT_ONNX_IN(scales, ht_onnx_integers(o, ht_onnx_text(o, "%s.group", name),
                                                              HT_ONNX_INT32, group, l->in, 1)),
                          ht_onnx_text(o, "%s/scale_of_each", name));
    ht_onnx_set_int(o, "axis", 1);
    const char *value =
        narrow_levels(o, l, width, HT_ONNX_INT32, 0, ht_onnx_text(o, "%s/weight_levels", name));
    value = ht_onnx_node(o, "Mul", HT_ONNX_IN(value, scales),
                         ht_onnx_text(o, "%s/scaled_levels", name));
    if (bytes.shift)
        value = ht_onnx_node(
            o, "Add",
            HT_ONNX_IN(value, ht_onnx_integer(o, ht_onnx_text(o, "%s.weight_shift", name),
                                              HT_ONNX_INT32, bytes.shift)),
            ht_onnx_text(o, "%s/shifted_levels", name));
    return cast(o, value, bytes.type, output);
}

static const char *store(struct ht_onnx *o, const struct ht_qlayer *l, struct bytes bytes)
{
    const struct ht_qweights *w = &l->weights;
    const int width = stored_width(&w->grid);
    const char *output = ht_onnx_text(o, "%s/weight", l->name);
    if (width == 8)
        return whole_bytes(o, l, bytes);
    return w->group ? grouped(o, l, width, bytes, output)
                    : narrow_levels(o, l, width, bytes.type, bytes.shift, output);
}

/* Of every neuron: |bias| + sum |a - z_a| |w - z_w|, the largest that any partial sum can be. */
static bool fits_float(const struct ht_qlayer *l, const struct ht_qactivation *input)
{
    const struct ht_qweights *w = &l->weights;
    const int64_t reach =
        larger(abs(input->lo - input->zero_point), abs(input->hi - input->zero_point));
    for (size_t n = 0; n < l->out; n++) {
        const int z = w->zero_point ? w->zero_point[w->channels == 1 ? 0 : n] : 0;
        int64_t sum = 0;
        for (size_t k = 0; k < l->in; k++)
            sum += abs(ht_qlayer_weight(l, n, k) - z);
        if (llabs((long long)l->bias[n]) + reach * sum > MAX_FLOAT_WHOLE)
            return false;
    }
    return true;
}

static int real_type(const struct ht_grid *g)
{
    return g->hi > 127 ? HT_ONNX_UINT8 : HT_ONNX_INT8;
}

/* The levels of the grid, without the scales of groups. */
static const char *real_levels(struct ht_onnx *o, const struct ht_qlayer *l, const char *output)
{
    const struct ht_grid *g = &l->weights.grid;
    const int width = stored_width(g);
    int32_t level[256];
    if (width < 8)
        return narrow_levels(o, l, width, real_type(g), 0, output);
    for (unsigned code = 0; code < 1u << g->bits; code++)
        level[code] = ht_grid_level(g, code);
    return put(o, l, real_type(g), width, level);
}

static const char *block_scales(struct ht_onnx *o, const struct ht_qlayer *l, const char *name)
{
    const struct ht_qweights *w = &l->weights;
    const size_t groups = ht_qlayer_groups(l);
    float *scale = ht_onnx_memory(o, l->out * groups, sizeof *scale);
    for (size_t i = 0; scale && i < l->out * groups; i++)
        scale[i] = w->scale[w->channels == 1 ? 0 : i / groups] * (float)w->group_scale[i];
    return ht_onnx_float_matrix(o, name, l->out, groups, scale);
}

/* Numbers, times a scale that batch normalization may have given them. */
static const char *half_weights(struct ht_onnx *o, const struct ht_qlayer *l,
                                const char *scale_name, const char *output)
{
    const struct ht_qweights *w = &l->weights;
    const char *half = ht_onnx_matrix(o, ht_onnx_text(o, "%s.weight", l->name), HT_ONNX_FLOAT16,
                                      l->out, l->in, w->packed, 2 * l->out * l->in);
    half = cast(o, half, HT_ONNX_FLOAT, ht_onnx_text(o, "%s/weight", l->name));
    const char *scale = ht_onnx_float_matrix(o, scale_name, w->channels, 1, w->scale);
    return ht_onnx_node(o, "Mul", HT_ONNX_IN(half, scale), output);
}

const char *ht_onnx_real_weights(struct ht_onnx *o, const struct ht_qlayer *l)
{
    const struct ht_qweights *w = &l->weights;
    const char *output = ht_onnx_text(o, "%s/real_weight", l->name);
    const char *scale_name = ht_onnx_text(o, "%s.weight_scale", l->name);
    if (ht_grid_is_float16(&w->grid))
        return half_weights(o, l, scale_name, output);
    const struct ht_onnx_weights levels = {
        .value = real_levels(o, l, ht_onnx_text(o, "%s/weight", l->name)),
        .type = real_type(&w->grid),
    };
    const char *scale = w->group
                            ? block_scales(o, l, scale_name)
                            : ht_onnx_floats(o, scale_name, w->scale, w->channels, w->channels > 1);
    const char *zero = w->zero_point ? ht_onnx_weight_zero_point(o, l, &levels) : NULL;
    ht_onnx_node(o, "DequantizeLinear", HT_ONNX_IN(levels.value, scale, zero), output);
    if (w->group || w->channels > 1)
        ht_onnx_set_int(o, "axis", w->group != 0);
    if (w->group)
        ht_onnx_set_int(o, "block_size", (int64_t)w->group);
    return output;
}

const char *ht_onnx_weight_zero_point(struct ht_onnx *o, const struct ht_qlayer *l,
                                      const struct ht_onnx_weights *w)
{
    const char *name = ht_onnx_text(o, "%s.weight_zero_point", l->name);
    const int32_t *z = l->weights.zero_point;
    const size_t n = z ? l->weights.channels : 1;
    int32_t *zero = ht_onnx_memory(o, n, sizeof *zero);
    for (size_t i = 0; zero && i < n; i++)
        zero[i] = w->shift + (z ? z[i] : 0);
    if (!zero)
        return name;
    return ht_onnx_integers(o, name, w->type, zero, n, n > 1);
}

struct ht_onnx_weights ht_onnx_weights(struct ht_onnx *o, const struct ht_qmodel *m, size_t layer)
{
    const struct ht_qlayer *l = &m->layers[layer];
    const struct ht_qactivation *input = ht_qlayer_input_quant(m, layer);
    const struct ht_grid grid = ht_onnx_weight_grid(l);
    const struct bytes bytes = choose_bytes(&grid, input);
    return (struct ht_onnx_weights){
        .value = store(o, l, bytes),
        .type = bytes.type,
        .shift = bytes.shift,
        .in_float = ht_qlayer_input_kind(m, layer) == HT_QOUTPUT_CODES && fits_float(l, input),
    };
}
