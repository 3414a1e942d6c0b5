/* What can be written as C, how each layer's weights are read, and where its outputs go. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "export/c_parts.h"

#define MAX_CONSTANTS                                                                              \
    (UINT32_C(1) << 28) /* bytes of a layer's weights: places of bits fit 32 bits */

void ht_c_row(const struct ht_qlayer *l, size_t neuron, int16_t *row)
{
    const struct ht_qweights *w = &l->weights;
    const int bits = w->grid.bits;
    int16_t level[256];
    for (unsigned code = 0; code < 1u << bits; code++)
        level[code] = (int16_t)ht_grid_level(&w->grid, code);
    for (size_t k = 0; k < l->in; k++)
        row[k] = level[ht_unpack_code(w->packed, neuron * l->in + k, bits)];
    const uint8_t *scale = w->group ? w->group_scale + neuron * ht_qlayer_groups(l) : NULL;
    for (size_t k = 0; scale && k < l->in; k++)
        row[k] = (int16_t)(row[k] * scale[k / w->group]);
}

static enum ht_c_decode choose_decode(const struct ht_grid *g)
{
    if (g->bits == 8)
        return HT_C_BYTES;
    if (g->step == 0)
        return HT_C_TABLE;
    if (g->step == 2)
        return HT_C_ODD;
    return g->lo < 0 ? HT_C_SIGNED : HT_C_UNSIGNED;
}

static struct ht_c_reader choose_reader(const struct ht_qlayer *l, bool input_signed)
{
    const struct ht_grid *g = &l->weights.grid;
    const size_t per_byte = 8 / (size_t)g->bits;
    return (struct ht_c_reader){
        .decode = choose_decode(g),
        .bits = g->bits,
        .lo = g->step == 2 ? g->lo : 0,
        .input_signed = input_signed,
        .weight_signed = g->lo < 0,
        .aligned = 8 % g->bits == 0 && l->in % per_byte == 0 && l->weights.group % per_byte == 0,
    };
}

static int weight_zero_point(const struct ht_qlayer *l, size_t neuron)
{
    const struct ht_qweights *w = &l->weights;
    return w->zero_point ? w->zero_point[w->channels == 1 ? 0 : neuron] : 0;
}

/* bias - z_a * sum_k (w - z_w): ht_qmodel_check has seen that it fits. */
static bool fill_start(struct ht_c_layer *c)
{
    const struct ht_qlayer *l = c->layer;
    int16_t *row = ht_calloc(l->in, sizeof *row);
    c->start = ht_calloc(l->out, sizeof *c->start);
    const bool made = row && c->start;
    for (size_t n = 0; made && n < l->out; n++) {
        int64_t sum = -(int64_t)l->in * weight_zero_point(l, n);
        if (c->from->zero_point)
            ht_c_row(l, n, row);
        for (size_t k = 0; c->from->zero_point && k < l->in; k++)
            sum += row[k];
        c->start[n] = (int32_t)(l->bias[n] - c->from->zero_point * sum);
    }
    ht_free(row);
    return made;
}

static size_t count_multipliers(const struct ht_qlayer *l)
{
    for (size_t n = 1; n < l->out; n++)
        if (l->multiplier[n] != l->multiplier[0])
            return l->out;
    return 1;
}

static enum ht_status plan_layer(struct ht_c *c, size_t i, struct ht_error *err)
{
    const struct ht_qlayer *l = &c->model->layers[i];
    struct ht_c_layer *to = &c->layers[i];
    if (l->in * l->out > MAX_CONSTANTS)
        return ht_fail(err, HT_ERR_CONFIG, "%s: %zu weights are more than a C array can have here",
                       l->name, l->in * l->out);
    to->layer = l;
    to->number = i + 1;
    to->from = ht_qlayer_input_quant(c->model, i);
    to->to = l->output == HT_QOUTPUT_CODES ? ht_qlayer_output_quant(l) : NULL;
    to->reader = choose_reader(l, to->from->is_signed);
    to->multipliers = count_multipliers(l);
    to->float_only = !to->to && !(ht_c_classifies(c) && l->out > 1);
    return fill_start(to) ? HT_OK : ht_fail_memory(err);
}

/* Outputs of layers lie at the beginning and at the end of the arena, in turn. */
static void place(struct ht_c *c)
{
    const struct ht_qmodel *m = c->model;
    const size_t n = m->n_layers - 1; /* the last one's go elsewhere */
    c->arena = 1;
    for (size_t i = 0; i < n; i++) {
        const size_t both = m->layers[i].out + (i + 1 < n ? m->layers[i + 1].out : 0);
        c->arena = both > c->arena ? both : c->arena;
    }
    for (size_t i = 0; i < n; i++)
        c->layers[i].offset = i % 2 ? c->arena - m->layers[i].out : 0;
}

/* Names the first layer that does not take levels of a known scale, and its mode. */
static enum ht_status check_modes(const struct ht_qmodel *m, struct ht_error *err)
{
    static const char *const modes[] = {
        [HT_QOUTPUT_REAL] = "weight-only", [HT_QOUTPUT_DYNAMIC] = "dynamic"};
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct ht_qlayer *l = &m->layers[i];
        const enum ht_qoutput_kind in = ht_qlayer_input_kind(m, i);
        if (in == HT_QOUTPUT_CODES)
            continue;
        return ht_fail(err, HT_ERR_CONFIG,
                       "c cannot hold layer %s: its mode is %s, which computes with floats; only "
                       "integer layers are written, whose activations have scales that are known",
                       l->name, ht_grid_is_float16(&l->weights.grid) ? "float16" : modes[in]);
    }
    return HT_OK;
}

/* Outputs that overflow would be equal as floats, and are not as levels. */
static enum ht_status check_outputs(const struct ht_qmodel *m, struct ht_error *err)
{
    const struct ht_qlayer *last = &m->layers[m->n_layers - 1];
    if (last->output != HT_QOUTPUT_CODES || isfinite(ht_qlayer_output_quant(last)->scale * 256))
        return HT_OK;
    return ht_fail(err, HT_ERR_CONFIG, "%s: outputs of scale %g are not finite", last->name,
                   (double)ht_qlayer_output_quant(last)->scale);
}

enum ht_status ht_c_plan(struct ht_c *c, struct ht_error *err)
{
    const struct ht_qmodel *m = c->model;
    enum ht_status status = check_modes(m, err);
    if (status == HT_OK)
        status = check_outputs(m, err);
    if (status != HT_OK)
        return status;
    c->layers = ht_calloc(m->n_layers, sizeof *c->layers);
    if (!c->layers)
        return ht_fail_memory(err);
    for (size_t i = 0; status == HT_OK && i < m->n_layers; i++)
        status = plan_layer(c, i, err);
    place(c);
    return status;
}

void ht_c_finish(struct ht_c *c)
{
    for (size_t i = 0; c->layers && i < c->model->n_layers; i++)
        ht_free(c->layers[i].start);
    ht_free(c->layers);
    ht_text_finish(&c->header);
    ht_text_finish(&c->source);
}
