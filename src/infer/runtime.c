#include "infer/runtime.h"

#include "base/alloc.h"

struct layer {
    struct ht_kernel_weights weights;
    int16_t level[256];  /* of each code */
    int32_t *zero_point; /* [out] or NULL: one for each output, as kernels want it */
    void *packed;
    int32_t *init; /* [out]: bias - z_a * sum_k (w - z_w) */
    struct ht_kernel_quantizer quantizer;
    uint8_t *levels; /* [max_batch, out]; NULL for real outputs */
    uint8_t *before; /* [max_batch, out]: what goes into the table; NULL without one */
};

struct ht_runtime {
    const struct ht_qmodel *model;
    struct ht_kernels kernels;
    size_t max_batch;
    struct ht_kernel_quantizer input_quantizer;
    uint8_t *input;       /* [max_batch, features] */
    struct layer *layers; /* [model->n_layers] */
};

static struct ht_kernel_quantizer kernel_quantizer(const struct ht_qactivation *q)
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

/* The sums fit: ht_qmodel_check has seen them. */
static void fill_init(const struct ht_qmodel *m, size_t index, struct layer *layer)
{
    const struct ht_qlayer *l = &m->layers[index];
    const int64_t z_a = ht_qlayer_input_quant(m, index)->zero_point;
    for (size_t n = 0; n < l->out; n++) {
        int64_t sum = 0;
        for (size_t k = 0; k < l->in; k++)
            sum +=
                layer
                    ->level[ht_unpack_code(l->weights.packed, n * l->in + k, l->weights.grid.bits)];
        if (layer->zero_point)
            sum -= (int64_t)l->in * layer->zero_point[n];
        layer->init[n] = (int32_t)(l->bias[n] - z_a * sum);
    }
}

static bool allocate_layer(struct ht_runtime *r, const struct ht_qlayer *l, struct layer *layer)
{
    size_t bytes;
    if (!ht_mul_size(r->max_batch, l->out, &bytes))
        return false;
    layer->packed = ht_calloc(r->kernels.packed_size(&layer->weights), 1);
    layer->init = ht_calloc(l->out, sizeof *layer->init);
    if (l->output == HT_QOUTPUT_CODES)
        layer->levels = ht_calloc(bytes, 1);
    if (l->has_table)
        layer->before = ht_calloc(bytes, 1);
    return layer->packed && layer->init && (layer->levels || l->output != HT_QOUTPUT_CODES) &&
           (layer->before || !l->has_table);
}

static bool create_layer(struct ht_runtime *r, size_t index)
{
    const struct ht_qlayer *l = &r->model->layers[index];
    struct layer *layer = &r->layers[index];
    for (unsigned code = 0; code < 1u << l->weights.grid.bits; code++)
        layer->level[code] = (int16_t)ht_grid_level(&l->weights.grid, code);
    if (l->weights.zero_point) {
        layer->zero_point = ht_calloc(l->out, sizeof *layer->zero_point);
        if (!layer->zero_point)
            return false;
        for (size_t n = 0; n < l->out; n++)
            layer->zero_point[n] = l->weights.zero_point[channel(&l->weights, n)];
    }
    layer->weights = (struct ht_kernel_weights){
        .n = l->out,
        .k = l->in,
        .bits = l->weights.grid.bits,
        .codes = l->weights.packed,
        .level = layer->level,
        .zero_point = layer->zero_point,
    };
    if (!allocate_layer(r, l, layer))
        return false;
    r->kernels.pack(&layer->weights, layer->packed);
    fill_init(r->model, index, layer);
    if (l->output == HT_QOUTPUT_CODES)
        layer->quantizer = kernel_quantizer(&l->quant);
    return true;
}

enum ht_status ht_runtime_create(struct ht_runtime **ret, const struct ht_qmodel *model,
                                 const struct ht_kernels *kernels, size_t max_batch,
                                 struct ht_error *err)
{
    size_t bytes;
    enum ht_status status = ht_qmodel_check(model, err);
    if (status)
        return status;
    if (max_batch < 1 || !ht_mul_size(max_batch, model->input.features, &bytes))
        return ht_fail(err, HT_ERR_CONFIG, "a batch of %zu samples is not possible", max_batch);
    struct ht_runtime *r = ht_calloc(1, sizeof *r);
    if (!r)
        return ht_fail_memory(err);
    r->model = model;
    r->kernels = *kernels;
    r->max_batch = max_batch;
    r->input_quantizer = kernel_quantizer(&model->input.quant);
    r->input = ht_calloc(bytes, 1);
    r->layers = ht_calloc(model->n_layers, sizeof *r->layers);
    bool made = r->input && r->layers;
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
        ht_free(r->layers[i].levels);
        ht_free(r->layers[i].before);
    }
    ht_free(r->layers);
    ht_free(r->input);
    ht_free(r);
}

/* One layer on levels a[rows, in]; y[rows, outputs] is for the last layer, when it is real. */
static void run_layer(struct ht_runtime *r, size_t index, const void *a, size_t rows, float *y)
{
    const struct ht_qlayer *l = &r->model->layers[index];
    struct layer *layer = &r->layers[index];
    const bool real = l->output == HT_QOUTPUT_REAL;
    const struct ht_kernel_dense dense = {
        .m = rows,
        .a = a,
        .a_signed = ht_qlayer_input_quant(r->model, index)->is_signed,
        .weights = &layer->weights,
        .packed = layer->packed,
        .init = layer->init,
        .multiplier = l->multiplier,
        .real = real ? y : NULL,
        .levels = real           ? NULL
                  : l->has_table ? layer->before
                                 : layer->levels,
        .quantizer = real ? NULL : &layer->quantizer,
    };
    r->kernels.dense(&dense);
    if (l->has_table)
        r->kernels.lookup(layer->before, l->quant.is_signed, rows * l->out, l->quant.grid.lo,
                          l->table, layer->levels);
}

/* y = scale * (level - zero_point) for a model whose last layer gives codes. */
static void dequantize(const struct ht_qactivation *q, const uint8_t *levels, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        const int level = q->is_signed ? (int8_t)levels[i] : levels[i];
        y[i] = q->scale * (float)(level - q->zero_point);
    }
}

static void run_batch(struct ht_runtime *r, const void *levels, size_t rows, float *y)
{
    const struct ht_qmodel *m = r->model;
    for (size_t i = 0; i < m->n_layers; i++)
        run_layer(r, i, i == 0 ? levels : r->layers[i - 1].levels, rows, y);
    const struct ht_qlayer *last = &m->layers[m->n_layers - 1];
    if (last->output == HT_QOUTPUT_CODES)
        dequantize(ht_qlayer_output_quant(last), r->layers[m->n_layers - 1].levels,
                   rows * last->out, y);
}

void ht_runtime_run(struct ht_runtime *r, const float *x, size_t n, float *y)
{
    const struct ht_qmodel *m = r->model;
    for (size_t done = 0; done < n; done += r->max_batch) {
        const size_t rows = n - done < r->max_batch ? n - done : r->max_batch;
        r->kernels.quantize(x + done * m->input.features, rows * m->input.features,
                            m->input.quant.scale, &r->input_quantizer, r->input);
        run_batch(r, r->input, rows, y + done * m->outputs);
    }
}

void ht_runtime_run_levels(struct ht_runtime *r, const void *levels, size_t n, float *y)
{
    const struct ht_qmodel *m = r->model;
    for (size_t done = 0; done < n; done += r->max_batch) {
        const size_t rows = n - done < r->max_batch ? n - done : r->max_batch;
        run_batch(r, (const uint8_t *)levels + done * m->input.features, rows,
                  y + done * m->outputs);
    }
}

const void *ht_runtime_layer_levels(const struct ht_runtime *r, size_t index)
{
    return r->layers[index].levels;
}
