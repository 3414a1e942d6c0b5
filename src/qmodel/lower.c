#include "qmodel/lower.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/activation.h"
#include "autograd/op.h"
#include "base/alloc.h"
#include "quant/half.h"

static const ht_real *param(const struct ht_model *m, int span)
{
    return m->params.value + m->params.spans[span].offset;
}

static const ht_real *state(const struct ht_model *m, int span)
{
    return m->state.value + m->state.spans[span].offset;
}

static enum ht_status lower_activation(struct ht_qactivation *a, const struct ht_quantizer *q,
                                       double clamp_lo, double clamp_hi, const char *where,
                                       struct ht_error *err)
{
    if (q->ready[0] == 0)
        return ht_fail(err, HT_ERR_INTERNAL, "%s: its range is not known yet", where);
    const struct ht_rounder r = ht_quantizer_rounder(q, 0);
    const ht_real scale = q->effective[0], zero_point = q->zero_point[0];
    a->grid = q->grid;
    a->scale = (float)scale;
    a->zero_point = (int32_t)zero_point;
    a->rounding = q->rounding;
    a->is_signed = ht_grid_is_signed(&q->grid);
    /* relu and relu6 become a tighter clamp, at the level that their bound rounds to. */
    a->lo = (int)(ht_round_one(&r, (ht_real)clamp_lo / scale) + zero_point);
    a->hi = (int)(ht_round_one(&r, (ht_real)clamp_hi / scale) + zero_point);
    return HT_OK;
}

/* A row to codes, and the scales of its groups. */
static void lower_row(struct ht_qlayer *l, struct ht_quantizer *q, const ht_real *w, size_t n,
                      ht_real *level)
{
    const struct ht_place_in_run eval = {NULL, 0};
    for (size_t g = 0; g < q->groups; g++) {
        const struct ht_row_part p = ht_quantizer_part(q, n, g, l->in);
        ht_quantizer_prepare(q, p.channel, w + n * l->in + p.at, p.n);
        ht_quantizer_levels(q, p.channel, eval, w + n * l->in + p.at, p.n, level);
        for (size_t k = 0; k < p.n; k++)
            ht_pack_code(l->weights.packed, n * l->in + p.at + k, q->grid.bits,
                         ht_grid_code(&q->grid, (int)(level[k] + q->zero_point[p.channel])));
        if (q->group)
            l->weights.group_scale[p.channel] = (uint8_t)q->group_scale[p.channel];
    }
}

/* Rows find scale and zero point for themselves. */
static void lower_dynamic(struct ht_qactivation *a, const struct ht_quantizer *q)
{
    a->grid = q->grid;
    a->scale = 1;
    a->lo = q->grid.lo;
    a->hi = q->grid.hi;
    a->rounding = q->rounding;
    a->is_signed = ht_grid_is_signed(&q->grid);
}

static const enum ht_qoutput_kind kinds[] = {[HT_TENSOR_LEVELS] = HT_QOUTPUT_CODES,
                                             [HT_TENSOR_DYNAMIC] = HT_QOUTPUT_DYNAMIC,
                                             [HT_TENSOR_REAL] = HT_QOUTPUT_REAL};

static enum ht_status lower_float16(struct ht_qlayer *l, const struct ht_block *b, const ht_real *w,
                                    struct ht_error *err)
{
    l->weights.grid = b->weights.grid;
    l->weights.packed = ht_calloc(ht_packed_size(b->in * b->out, 16), 1);
    if (!l->weights.packed)
        return ht_fail_memory(err);
    for (size_t i = 0; i < b->in * b->out; i++)
        ht_pack_code(l->weights.packed, i, 16, ht_half_of_float((float)w[i]));
    return HT_OK;
}

/* Codes of the weights as they are: a scale that belongs to them is measured first, as in eval. */
static enum ht_status lower_codes(struct ht_qlayer *l, const struct ht_model *m, size_t index,
                                  struct ht_error *err)
{
    struct ht_quantizer *q = &m->blocks[index].weights;
    const struct ht_block *b = &m->blocks[index];
    const ht_real *w = param(m, b->weight_span);
    if (ht_grid_is_float16(&q->grid))
        return lower_float16(l, b, w, err);
    ht_real *row = ht_calloc(b->in, sizeof *row);
    l->weights.packed = ht_calloc(ht_packed_size(b->in * b->out, q->grid.bits), 1);
    l->weights.group = q->group;
    if (q->group)
        l->weights.group_scale = ht_calloc(q->channels, 1);
    if (!row || !l->weights.packed || (q->group && !l->weights.group_scale)) {
        ht_free(row);
        return ht_fail_memory(err);
    }
    if (ht_quantizer_observes(q, HT_MODE_EVAL))
        ht_quantizer_observe(q, w, b->in * b->out / (q->channels / q->groups));
    ht_quantizer_refresh(q, HT_MODE_EVAL);
    l->weights.grid = q->grid; /* with the levels of a codebook as they are now */
    for (size_t n = 0; n < b->out; n++)
        lower_row(l, q, w, n, row);
    ht_free(row);
    return HT_OK;
}

/* Folded scale and bias of every neuron. */
static enum ht_status lower_affine(struct ht_qlayer *l, const struct ht_model *m,
                                   const struct ht_block *b, const struct ht_quantizer *input,
                                   struct ht_error *err)
{
    const struct ht_quantizer *q = &b->weights;
    const bool integer = b->input_kind == HT_TENSOR_LEVELS;
    const double bound =
        integer ? (double)ht_quantizer_bound(input) * (double)ht_quantizer_bound(q) : 0;
    l->weights.channels = b->batchnorm ? b->out : q->channels / q->groups;
    l->weights.scale = ht_calloc(l->weights.channels, sizeof(float));
    if (integer)
        l->bias = ht_calloc(b->out, sizeof *l->bias);
    else
        l->real_bias = ht_calloc(b->out, sizeof *l->real_bias);
    if (q->grid.has_zero_point)
        l->weights.zero_point = ht_calloc(l->weights.channels, sizeof(int32_t));
    if (!l->weights.scale || (!l->bias && !l->real_bias) ||
        (q->grid.has_zero_point && !l->weights.zero_point))
        return ht_fail_memory(err);
    for (size_t n = 0; n < b->out; n++) {
        const size_t c = q->channels == q->groups ? 0 : n;
        struct ht_folded f = {q->unit ? q->unit[c] : 1, b->bias ? param(m, b->bias_span)[n] : 0};
        if (b->batchnorm)
            f = ht_fold_batchnorm(f.weight_scale, param(m, b->gamma_span)[n],
                                  param(m, b->beta_span)[n], state(m, b->mean_span)[n],
                                  state(m, b->var_span)[n], (ht_real)b->epsilon);
        if (integer)
            l->bias[n] = (int32_t)ht_quantize_bias(f.offset, input->effective[0] * f.weight_scale,
                                                   b->in, bound);
        else
            l->real_bias[n] = (float)f.offset;
        if (n >= l->weights.channels)
            continue;
        l->weights.scale[n] = (float)f.weight_scale;
        if (l->weights.zero_point)
            l->weights.zero_point[n] = (int32_t)q->zero_point[c];
    }
    return HT_OK;
}

/* table[level]: the same float operations as dequantize, activation and fake_quant in the graph. */
static void lower_table(struct ht_qlayer *l, const struct ht_block *b)
{
    const struct ht_quantizer *in = &b->before_table, *out = &b->output;
    const struct ht_rounder r = ht_quantizer_rounder(out, 0);
    for (int level = in->grid.lo; level <= in->grid.hi; level++) {
        ht_real x = ((ht_real)level - in->zero_point[0]) * in->effective[0];
        ht_real y = ht_activation_value(b->activation->name, x, (ht_real)b->slope);
        ht_quantize_row(&r, &y, out->effective[0], 1, &y);
        l->table[level - in->grid.lo] = (int16_t)(y + out->zero_point[0]);
    }
    l->has_table = true;
}

/* A learned scale has moved since it was last used. */
static void refresh(struct ht_block *b)
{
    if (b->has_output)
        ht_quantizer_refresh(&b->output, HT_MODE_EVAL);
    if (ht_block_has_table(b))
        ht_quantizer_refresh(&b->before_table, HT_MODE_EVAL);
}

static enum ht_status lower_block(struct ht_qlayer *l, const struct ht_model *m, size_t index,
                                  struct ht_error *err)
{
    const struct ht_block *b = &m->blocks[index];
    const struct ht_quantizer *input = index ? &m->blocks[index - 1].output : &m->input;
    const bool table = ht_block_has_table(b), integer = b->input_kind == HT_TENSOR_LEVELS;
    refresh(&m->blocks[index]);
    snprintf(l->name, sizeof l->name, "%s", b->name);
    snprintf(l->activation, sizeof l->activation, "%s", b->activation->name);
    l->in = b->in;
    l->out = b->out;
    enum ht_status status = lower_codes(l, m, index, err);
    if (status == HT_OK)
        status = lower_affine(l, m, b, input, err);
    l->output = kinds[b->output_kind];
    if ((!integer || !b->has_output) && b->activation->op == &ht_op_leaky_relu)
        l->slope = (float)b->slope;
    if (b->output_kind == HT_TENSOR_DYNAMIC)
        lower_dynamic(&l->quant, &b->output);
    if (status == HT_OK && b->has_output)
        status = lower_activation(&l->quant, table ? &b->before_table : &b->output,
                                  integer ? b->activation->clamp_lo : -INFINITY,
                                  integer ? b->activation->clamp_hi : INFINITY, b->name, err);
    if (status == HT_OK && table) {
        status = lower_activation(&l->table_quant, &b->output, -INFINITY, INFINITY, b->name, err);
        if (status == HT_OK)
            lower_table(l, b);
    }
    return status;
}

static enum ht_status lower_input(struct ht_qinput *to, const struct ht_model *m,
                                  struct ht_error *err)
{
    struct ht_quantizer input = m->input; /* the same scales */
    if (m->input_kind == HT_TENSOR_DYNAMIC)
        lower_dynamic(&to->quant, &input);
    if (m->input_kind != HT_TENSOR_LEVELS)
        return HT_OK;
    ht_quantizer_refresh(&input, HT_MODE_EVAL);
    return lower_activation(&to->quant, &m->input, -INFINITY, INFINITY, "input", err);
}

enum ht_status ht_qmodel_lower(struct ht_qmodel **ret, const struct ht_model *model,
                               struct ht_error *err)
{
    if (!model->quantized)
        return ht_fail(err, HT_ERR_CONFIG, "a float32 network has no integer form");
    struct ht_qmodel *q = ht_qmodel_create(model->n_blocks);
    if (!q)
        return ht_fail_memory(err);
    q->input.features = model->inputs;
    q->input.kind = kinds[model->input_kind];
    q->outputs = model->outputs;
    enum ht_status status = lower_input(&q->input, model, err);
    for (size_t i = 0; i < model->n_blocks && status == HT_OK; i++)
        status = lower_block(&q->layers[i], model, i, err);
    if (status == HT_OK)
        status = ht_qmodel_derive(q, err);
    if (status == HT_OK)
        status = ht_qmodel_check(q, err);
    if (status == HT_OK)
        *ret = q;
    else
        ht_qmodel_destroy(q);
    return status;
}
