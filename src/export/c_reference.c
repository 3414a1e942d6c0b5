/* The model in plain loops over real levels and floats, as docs/numerics.md has them: what the
 * written code's test of itself must give. */
#include "base/alloc.h"
#include "export/c_parts.h"
#include "kernels/round.h"

#include "export/c/random.c"

struct ht_kernel_quantizer ht_c_quantizer(const struct ht_qactivation *q)
{
    const enum ht_kernel_rounding rounding = q->grid.step == 2 ? HT_KERNEL_NEAREST_ODD
                                             : q->rounding == HT_ROUND_FLOOR
                                                 ? HT_KERNEL_FLOOR
                                                 : HT_KERNEL_NEAREST_EVEN;
    return (struct ht_kernel_quantizer){q->lo - q->zero_point, q->hi - q->zero_point, q->zero_point,
                                        rounding};
}

size_t ht_c_level_count(const struct ht_qactivation *q)
{
    return (size_t)(q->hi - q->lo) / (size_t)q->grid.step + 1;
}

static void fill_input(const struct ht_qinput *in, uint32_t vector, int32_t *level)
{
    uint32_t state = vector + 1;
    const struct ht_qactivation *q = &in->quant;
    for (size_t i = 0; i < in->features; i++)
        level[i] =
            net_test_level(vector, &state, q->lo, q->grid.step, (uint32_t)ht_c_level_count(q));
}

/* One neuron: row[in] of weights, a[in]. What goes on, and the sum where the network ends. */
static int32_t neuron(const struct ht_c_layer *c, size_t n, const int16_t *row, const int32_t *a)
{
    const struct ht_qlayer *l = c->layer;
    const struct ht_qweights *w = &l->weights;
    const int32_t z_w = w->zero_point ? w->zero_point[w->channels == 1 ? 0 : n] : 0;
    int64_t acc = l->bias[n];
    for (size_t k = 0; k < l->in; k++)
        acc += (a[k] - c->from->zero_point) * (row[k] - z_w);
    if (!c->to)
        return (int32_t)acc;
    const struct ht_kernel_quantizer quantizer = ht_c_quantizer(&l->quant);
    const int32_t level =
        ht_round_to_level(ht_scale_accumulator((int32_t)acc, l->multiplier[n]), &quantizer);
    return l->has_table ? l->table[level - l->quant.grid.lo] : level;
}

bool ht_c_reference(const struct ht_c *c, uint32_t hash[HT_C_VECTORS])
{
    const struct ht_qmodel *m = c->model;
    size_t width = m->input.features;
    for (size_t i = 0; i < m->n_layers; i++)
        width = m->layers[i].out > width ? m->layers[i].out : width;
    int32_t *from = ht_calloc(width * HT_C_VECTORS, sizeof *from);
    int32_t *to = ht_calloc(width * HT_C_VECTORS, sizeof *to);
    int16_t *row = ht_calloc(width, sizeof *row);
    const bool made = from && to && row;
    for (uint32_t v = 0; made && v < HT_C_VECTORS; v++)
        fill_input(&m->input, v, from + v * width);
    for (size_t i = 0; made && i < m->n_layers; i++) {
        for (size_t n = 0; n < m->layers[i].out; n++) {
            ht_c_row(&m->layers[i], n, row);
            for (size_t v = 0; v < HT_C_VECTORS; v++)
                to[v * width + n] = neuron(&c->layers[i], n, row, from + v * width);
        }
        int32_t *swap = from;
        from = to;
        to = swap;
    }
    for (size_t v = 0; made && v < HT_C_VECTORS; v++) {
        hash[v] = 2166136261u;
        for (size_t n = 0; n < m->outputs; n++)
            hash[v] = net_mix(hash[v], from[v * width + n]);
    }
    ht_free(from);
    ht_free(to);
    ht_free(row);
    return made;
}
