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

/* codes or levels, `width` bits each, packed as ONNX does: least significant bits first. */
static const uint8_t *pack(struct ht_onnx *o, const struct ht_qlayer *l, int width, bool levels,
                           int shift)
{
    const struct ht_qweights *w = &l->weights;
    const size_t n = l->in * l->out;
    const unsigned mask = (1u << width) - 1;
    uint8_t *packed = ht_onnx_memory(o, ht_packed_size(n, width), 1);
    for (size_t i = 0; packed && i < n; i++) {
        const unsigned code = ht_unpack_code(w->packed, i, w->grid.bits);
        const int level = ht_qlayer_weight(l, i / l->in, i % l->in);
        ht_pack_code(packed, i, width, (levels ? (unsigned)(level + shift) : code) & mask);
    }
    return packed;
}

/* Codes that are looked up in the table of levels. */
static const char *gather(struct ht_onnx *o, const struct ht_qlayer *l, int width,
                          struct bytes bytes)
{
    const struct ht_grid *g = &l->weights.grid;
    int32_t level[256];
    for (unsigned code = 0; code < 1u << g->bits; code++)
        level[code] = ht_grid_level(g, code) + bytes.shift;
    const char *codes = ht_onnx_matrix(
        o, ht_onnx_text(o, "%s.weight", l->name), width == 2 ? HT_ONNX_UINT2 : HT_ONNX_UINT4,
        l->out, l->in, pack(o, l, width, false, 0), ht_packed_size(l->in * l->out, width));
    const char *table = ht_onnx_integers(o, ht_onnx_text(o, "%s.weight_levels", l->name),
                                         bytes.type, level, (size_t)1 << g->bits, 1);
    const char *index =
        ht_onnx_node(o, "Cast", HT_ONNX_IN(codes), ht_onnx_text(o, "%s/weight_codes", l->name));
    ht_onnx_set_int(o, "to", HT_ONNX_INT32);
    return ht_onnx_node(o, "Gather", HT_ONNX_IN(table, index),
                        ht_onnx_text(o, "%s/weight_levels", l->name));
}

static const char *store(struct ht_onnx *o, const struct ht_qlayer *l, struct bytes bytes)
{
    const struct ht_grid grid = ht_onnx_weight_grid(l);
    const int width = grid.bits <= 2 ? 2 : grid.bits <= 4 ? 4 : 8;
    const size_t size = ht_packed_size(l->in * l->out, width);
    const char *name = ht_onnx_text(o, "%s.weight", l->name);
    if (width == 8)
        return ht_onnx_matrix(o, name, bytes.type, l->out, l->in, pack(o, l, 8, true, bytes.shift),
                              size);
    const int type = narrow_type(&grid, width);
    if (!type)
        return gather(o, l, width, bytes);
    const char *value =
        ht_onnx_matrix(o, name, type, l->out, l->in, pack(o, l, width, true, 0), size);
    value = ht_onnx_node(o, "Cast", HT_ONNX_IN(value), ht_onnx_text(o, "%s/weight", l->name));
    ht_onnx_set_int(o, "to", bytes.type);
    return value;
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
        .in_float = fits_float(l, input),
    };
}
