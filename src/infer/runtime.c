#include "infer/layers.h"

#include "base/alloc.h"

struct ht_kernel_quantizer ht_runtime_quantizer(const struct ht_qactivation *q)
{
    enum ht_kernel_rounding rounding = HT_KERNEL_NEAREST_EVEN;
    if (q->grid.step == 2)
        rounding = HT_KERNEL_NEAREST_ODD;
    else if (q->rounding == HT_ROUND_FLOOR)
        rounding = HT_KERNEL_FLOOR;
    return (struct ht_kernel_quantizer){q->lo - q->zero_point, q->hi - q->zero_point, q->zero_point,
                                        rounding};
}

static size_t channel(const struct ht_qweights *w, size_t n)
{
    return w->channels == 1 ? 0 : n;
}

/* The sums fit: ht_qmodel_check has seen them. Those of dynamic inputs start from 0. */
static void fill_init(const struct ht_qmodel *m, size_t index, struct ht_runtime_layer *layer)
{
    const struct ht_qlayer *l = &m->layers[index];
    const int64_t z_a = ht_qlayer_input_quant(m, index)->zero_point;
    for (size_t n = 0; n < l->out; n++) {
        int64_t sum = 0;
        for (size_t k = 0; k < l->in; k++) {
            const size_t i = n * l->in + k;
            sum += layer->level[ht_unpack_code(layer->weights.codes, i, layer->weights.bits)];
        }
        if (layer->zero_point)
            sum -= (int64_t)l->in * layer->zero_point[n];
        if (layer->weight_sum)
            layer->weight_sum[n] = (int32_t)sum;
        else
            layer->init[n] = (int32_t)(l->bias[n] - z_a * sum);
    }
}

static bool spread_zero_points(const struct ht_qlayer *l, struct ht_runtime_layer *layer)
{
    if (!l->weights.zero_point)
        return true;
    layer->zero_point = ht_calloc(l->out, sizeof *layer->zero_point);
    for (size_t n = 0; layer->zero_point && n < l->out; n++)
        layer->zero_point[n] = l->weights.zero_point[channel(&l->weights, n)];
    return layer->zero_point;
}

/* Kernels see weights with groups as weights of 8 bits: levels[out, in], to be freed after packing.
 */
static uint8_t *expand_groups(const struct ht_qlayer *l, struct ht_runtime_layer *layer)
{
    uint8_t *levels = ht_calloc(l->out * l->in, 1);
    for (size_t n = 0; levels && n < l->out; n++)
        for (size_t k = 0; k < l->in; k++)
            levels[n * l->in + k] = (uint8_t)ht_qlayer_weight(l, n, k);
    for (int code = 0; code < 256; code++)
        layer->level[code] = (int16_t)(int8_t)code;
    layer->weights.bits = 8;
    layer->weights.codes = levels;
    return levels;
}

static bool spread_scales(const struct ht_qlayer *l, struct ht_runtime_layer *layer)
{
    if (layer->input == HT_QOUTPUT_CODES)
        return true;
    layer->scale = ht_calloc(l->out, sizeof *layer->scale);
    for (size_t n = 0; layer->scale && n < l->out; n++)
        layer->scale[n] = l->weights.scale[channel(&l->weights, n)];
    return layer->scale;
}

/* Weights for real inputs. */
static bool pack_real(struct ht_runtime *r, struct ht_runtime_layer *layer)
{
    layer->bytes = r->kernels.packed_real_size(&layer->weights);
    layer->packed = ht_calloc(layer->bytes, 1);
    if (!layer->packed)
        return false;
    r->kernels.pack_real(&layer->weights, layer->packed);
    layer->real = (struct ht_kernel_real){.weights = &layer->weights, .packed = layer->packed};
    return true;
}

/* Weights for levels of a known scale, and for dynamic ones. */
static bool pack_integer(struct ht_runtime *r, size_t index)
{
    const struct ht_qlayer *l = &r->model->layers[index];
    struct ht_runtime_layer *layer = &r->layers[index];
    layer->bytes = r->kernels.packed_size(&layer->weights);
    layer->packed = ht_calloc(layer->bytes, 1);
    layer->init = ht_calloc(l->out, sizeof *layer->init);
    if (layer->input == HT_QOUTPUT_DYNAMIC)
        layer->weight_sum = ht_calloc(l->out, sizeof *layer->weight_sum);
    if (!layer->packed || !layer->init ||
        (layer->input == HT_QOUTPUT_DYNAMIC && !layer->weight_sum))
        return false;
    r->kernels.pack(&layer->weights, layer->packed);
    fill_init(r->model, index, layer);
    layer->dense = (struct ht_kernel_dense){
        .a_signed = ht_qlayer_input_quant(r->model, index)->is_signed,
        .weights = &layer->weights,
        .packed = layer->packed,
        .init = layer->init,
        .multiplier = l->multiplier,
    };
    return true;
}

/* Once they are packed, codes are not read again. */
static bool pack(struct ht_runtime *r, size_t index)
{
    const struct ht_qlayer *l = &r->model->layers[index];
    struct ht_runtime_layer *layer = &r->layers[index];
    uint8_t *levels = l->weights.group ? expand_groups(l, layer) : NULL;
    bool made = layer->weights.codes;
    if (made)
        made = layer->input == HT_QOUTPUT_REAL ? pack_real(r, layer) : pack_integer(r, index);
    ht_free(levels);
    layer->weights.codes = NULL;
    return made;
}

static bool create_layer(struct ht_runtime *r, size_t index)
{
    const struct ht_qlayer *l = &r->model->layers[index];
    const struct ht_qactivation *input = ht_qlayer_input_quant(r->model, index);
    struct ht_runtime_layer *layer = &r->layers[index];
    const int bits = l->weights.grid.bits;
    layer->input = ht_qlayer_input_kind(r->model, index);
    for (unsigned code = 0; bits <= 8 && code < 1u << bits; code++)
        layer->level[code] = (int16_t)ht_grid_level(&l->weights.grid, code);
    if (!spread_zero_points(l, layer) || !spread_scales(l, layer))
        return false;
    layer->weights = (struct ht_kernel_weights){
        .n = l->out,
        .k = l->in,
        .bits = bits,
        .codes = l->weights.packed,
        .level = layer->level,
        .zero_point = layer->zero_point,
        .a_binary = input->grid.step == 2 && input->grid.lo == -1 && input->grid.hi == 1,
    };
    if (!pack(r, index))
        return false;
    if (ht_qlayer_is_real(r->model, index))
        layer->activation = ht_activation_find(l->activation);
    if (l->output == HT_QOUTPUT_CODES) {
        layer->quantizer = ht_runtime_quantizer(&l->quant);
        layer->dense.quantizer = &layer->quantizer;
    }
    r->products += (double)l->in * (double)l->out;
    return true;
}

enum ht_status ht_runtime_create(struct ht_runtime **ret, const struct ht_qmodel *model,
                                 const struct ht_kernels *kernels, struct ht_error *err)
{
    const enum ht_status status = ht_qmodel_check(model, err);
    if (status)
        return status;
    struct ht_runtime *r = ht_calloc(1, sizeof *r);
    if (!r)
        return ht_fail_memory(err);
    r->model = model;
    r->kernels = *kernels;
    r->input_quantizer = ht_runtime_quantizer(&model->input.quant);
    r->layers = ht_calloc(model->n_layers, sizeof *r->layers);
    bool made = r->layers;
    for (size_t i = 0; made && i < model->n_layers; i++)
        made = create_layer(r, i);
    if (!made) {
        ht_runtime_destroy(r);
        return ht_fail_memory(err);
    }
    *ret = r;
    return HT_OK;
}

void ht_runtime_destroy(struct ht_runtime *r)
{
    if (!r)
        return;
    for (size_t i = 0; r->layers && i < r->model->n_layers; i++) {
        ht_free(r->layers[i].zero_point);
        ht_free(r->layers[i].packed);
        ht_free(r->layers[i].init);
        ht_free(r->layers[i].scale);
        ht_free(r->layers[i].weight_sum);
    }
    ht_free(r->layers);
    ht_free(r);
}
