#include "qmodel/qmodel.h"

#include <string.h>

#include "base/alloc.h"

const struct ht_qactivation *ht_qlayer_output_quant(const struct ht_qlayer *layer)
{
    return layer->has_table ? &layer->table_quant : &layer->quant;
}

const struct ht_qactivation *ht_qlayer_input_quant(const struct ht_qmodel *m, size_t layer)
{
    return layer == 0 ? &m->input.quant : ht_qlayer_output_quant(&m->layers[layer - 1]);
}

size_t ht_qlayer_groups(const struct ht_qlayer *layer)
{
    const size_t group = layer->weights.group;
    return group ? layer->in / group + (layer->in % group != 0) : 0;
}

int ht_qlayer_weight(const struct ht_qlayer *layer, size_t output, size_t input)
{
    const struct ht_qweights *w = &layer->weights;
    const size_t i = output * layer->in + input;
    const int level = ht_grid_level(&w->grid, ht_unpack_code(w->packed, i, w->grid.bits));
    if (!w->group)
        return level;
    return level * w->group_scale[output * ht_qlayer_groups(layer) + input / w->group];
}

size_t ht_qlayer_weight_bytes(const struct ht_qlayer *layer)
{
    return ht_packed_size(layer->out * layer->in, layer->weights.grid.bits) +
           layer->out * ht_qlayer_groups(layer);
}

enum ht_qoutput_kind ht_qlayer_input_kind(const struct ht_qmodel *m, size_t layer)
{
    return layer == 0 ? m->input.kind : m->layers[layer - 1].output;
}

bool ht_qlayer_is_real(const struct ht_qmodel *m, size_t layer)
{
    return ht_qlayer_input_kind(m, layer) != HT_QOUTPUT_CODES ||
           m->layers[layer].output != HT_QOUTPUT_CODES;
}

static const char *layer_mode(const struct ht_qmodel *m, size_t layer)
{
    static const char *const names[] = {[HT_QOUTPUT_CODES] = "integer",
                                        [HT_QOUTPUT_REAL] = "weight-only",
                                        [HT_QOUTPUT_DYNAMIC] = "dynamic"};
    if (ht_grid_is_float16(&m->layers[layer].weights.grid))
        return "float16";
    return names[ht_qlayer_input_kind(m, layer)];
}

const char *ht_qmodel_mode(const struct ht_qmodel *m)
{
    const char *mode = layer_mode(m, 0);
    for (size_t i = 1; i < m->n_layers; i++)
        if (layer_mode(m, i) != mode)
            return "mixed";
    return mode;
}

enum ht_status ht_qmodel_require_integer(const struct ht_qmodel *m, const char *format,
                                         struct ht_error *err)
{
    const char *mode = ht_qmodel_mode(m);
    if (strcmp(mode, "integer") == 0)
        return HT_OK;
    return ht_fail(err, HT_ERR_CONFIG,
                   "%s cannot hold a model of mode %s: only integer ones, whose activations have "
                   "scales that are known",
                   format, mode);
}

struct ht_qmodel *ht_qmodel_create(size_t n_layers)
{
    struct ht_qmodel *m = ht_calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->layers = ht_calloc(n_layers, sizeof *m->layers);
    if (!m->layers) {
        ht_free(m);
        return NULL;
    }
    m->n_layers = n_layers;
    return m;
}

void ht_qmodel_destroy(struct ht_qmodel *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_layers; i++) {
        struct ht_qlayer *l = &m->layers[i];
        ht_free(l->weights.packed);
        ht_free(l->weights.scale);
        ht_free(l->weights.zero_point);
        ht_free(l->weights.group_scale);
        ht_free(l->bias);
        ht_free(l->multiplier);
        ht_free(l->real_bias);
    }
    ht_free(m->layers);
    ht_free(m->input.mean);
    ht_free(m->input.std);
    ht_free(m->classes);
    ht_free(m->target_mean);
    ht_free(m->target_std);
    ht_free(m->experiment);
    ht_free(m);
}

enum ht_status ht_qmodel_derive(struct ht_qmodel *m, struct ht_error *err)
{
    for (size_t i = 0; i < m->n_layers; i++) {
        struct ht_qlayer *l = &m->layers[i];
        const float input_scale = ht_qlayer_input_quant(m, i)->scale;
        if (ht_qlayer_input_kind(m, i) != HT_QOUTPUT_CODES)
            continue;
        if (!l->multiplier)
            l->multiplier = ht_calloc(l->out, sizeof *l->multiplier);
        if (!l->multiplier)
            return ht_fail_memory(err);
        for (size_t n = 0; n < l->out; n++) {
            const float product = input_scale * l->weights.scale[l->weights.channels == 1 ? 0 : n];
            l->multiplier[n] = l->output == HT_QOUTPUT_CODES ? product / l->quant.scale : product;
        }
    }
    return HT_OK;
}

/* One operation a loop, so that compilers vectorize it: it is as long as a small network. */
static void transform_row(const struct ht_qinput *in, const float *raw, float *x)
{
    const size_t n = in->features;
    if (in->pixel_range == 255)
        for (size_t i = 0; i < n; i++)
            x[i] = raw[i] / 255.0f;
    else if (in->pixel_range == -1)
        for (size_t i = 0; i < n; i++)
            x[i] = raw[i] / 127.5f - 1.0f;
    else
        memmove(x, raw, n * sizeof *x);
    for (size_t i = 0; in->mean && i < n; i++)
        x[i] = (x[i] - in->mean[i]) / in->std[i];
}

void ht_qmodel_transform_input(const struct ht_qmodel *m, const float *raw, size_t n, float *x)
{
    for (size_t i = 0; i < n; i++)
        transform_row(&m->input, raw + i * m->input.features, x + i * m->input.features);
}

size_t ht_qmodel_class(const struct ht_qmodel *m, const float *y)
{
    size_t best = 0;
    if (m->outputs == 1)
        return y[0] > 0;
    for (size_t i = 1; i < m->outputs; i++)
        if (y[i] > y[best])
            best = i;
    return best;
}

size_t ht_qlayer_bytes(const struct ht_qlayer *l)
{
    size_t bytes = ht_qlayer_weight_bytes(l);
    bytes += l->weights.channels * sizeof(float) + l->out * sizeof(int32_t);
    if (l->weights.zero_point)
        bytes += l->weights.channels * sizeof(int32_t);
    if (l->weights.grid.learned)
        bytes += (size_t)1 << l->weights.grid.bits;
    return bytes;
}

size_t ht_qmodel_bytes(const struct ht_qmodel *m)
{
    size_t bytes = 0;
    for (size_t i = 0; i < m->n_layers; i++)
        bytes += ht_qlayer_bytes(&m->layers[i]);
    return bytes;
}

size_t ht_qmodel_float_bytes(const struct ht_qmodel *m)
{
    size_t bytes = 0;
    for (size_t i = 0; i < m->n_layers; i++)
        bytes += (m->layers[i].in + 1) * m->layers[i].out * sizeof(float);
    return bytes;
}

void ht_pack_code(uint8_t *packed, size_t i, int bits, unsigned code)
{
    const size_t bit = i * (size_t)bits;
    const unsigned pair = code << bit % 8;
    packed[bit / 8] |= (uint8_t)pair;
    if (pair > 0xff)
        packed[bit / 8 + 1] |= (uint8_t)(pair >> 8);
}

unsigned ht_unpack_code(const uint8_t *packed, size_t i, int bits)
{
    const size_t bit = i * (size_t)bits;
    unsigned pair = packed[bit / 8];
    if (bit % 8 + (size_t)bits > 8)
        pair |= (unsigned)packed[bit / 8 + 1] << 8;
    return pair >> bit % 8 & ((1u << bits) - 1);
}

size_t ht_packed_size(size_t n, int bits)
{
    const size_t b = (size_t)bits;
    return n / 8 * b + (n % 8 * b + 7) / 8; /* ceil(n * bits / 8) without overflow */
}
