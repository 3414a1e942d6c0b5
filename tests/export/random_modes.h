/* Random models whose layers take levels, dynamic levels or real values, and how far their outputs
 * may be from the engine's when someone else adds the products of real numbers. */
#ifndef HT_TESTS_EXPORT_RANDOM_MODES_H
#define HT_TESTS_EXPORT_RANDOM_MODES_H

#include "qmodel/modes_model.h"

#include <float.h>

#include "autograd/activation.h"
#include "quant/dynamic.h"

static inline enum ht_qoutput_kind draw_kind(struct random_source *r)
{
    return (enum ht_qoutput_kind)draw(r, 0, 2);
}

static inline struct ht_qactivation draw_dynamic(struct random_source *r)
{
    static const char *const grids[] = {"affine", "full", "narrow"};
    struct ht_qactivation q = activation(grids[draw(r, 0, 2)], draw(r, 2, 8), 1, 0);
    q.rounding = draw(r, 0, 3) ? HT_ROUND_NEAREST_EVEN : HT_ROUND_FLOOR;
    return q;
}

static inline void draw_half(struct random_source *r, struct ht_qlayer *l)
{
    struct ht_qweights *w = &l->weights;
    ht_free(w->packed);
    ht_free(w->scale);
    ht_free(w->zero_point);
    ht_free(w->group_scale);
    *w = (struct ht_qweights){.channels = draw(r, 0, 1) ? l->out : 1};
    cr_assert_eq(ht_grid_init(&w->grid, HT_GRID_FLOAT16, 16, NULL), HT_OK);
    w->packed = ht_calloc(l->in * l->out, 2);
    w->scale = draw_moments(r, w->channels);
    for (size_t i = 0; i < l->in * l->out; i++)
        ht_pack_code(
            w->packed, i, 16,
            ht_half_of_float((float)ht_rng_uniform(r->seed, HT_RNG_TEST, r->draws++) - .5f));
}

/* Layer `index` of a random model, for an input and an output of other kinds. */
static inline void change_layer(struct random_source *r, struct ht_qmodel *m, size_t index,
                                bool exact)
{
    static const char *const exact_ones[] = {"relu", "relu6", "leaky_relu", "none"};
    static const char *const others[] = {"tanh", "sigmoid", "gelu"};
    struct ht_qlayer *l = &m->layers[index];
    const enum ht_qoutput_kind input = ht_qlayer_input_kind(m, index);
    const bool last = index + 1 == m->n_layers;
    if (input != HT_QOUTPUT_CODES) {
        ht_free(l->bias);
        ht_free(l->multiplier);
        l->bias = NULL;
        l->multiplier = NULL;
        l->real_bias = draw_moments(r, l->out);
        if (draw(r, 0, 1)) /* a row that is next to nothing shows */
            memset(l->real_bias, 0, l->out * sizeof *l->real_bias);
    }
    if (input == HT_QOUTPUT_REAL && draw(r, 0, 3) == 0)
        draw_half(r, l);
    if (!ht_qlayer_is_real(m, index)) {
        if (!l->quant.grid.name[0]) /* the last one gave real values */
            fill_output(r, l, 1);
        return;
    }
    l->has_table = false;
    snprintf(l->activation, sizeof l->activation, "%s",
             exact || draw(r, 0, 1) ? exact_ones[draw(r, 0, 3)] : others[draw(r, 0, 2)]);
    l->slope = strcmp(l->activation, "leaky_relu") == 0 ? 0.125f : 0;
    if (l->output == HT_QOUTPUT_REAL)
        memset(&l->quant, 0, sizeof l->quant);
    if (l->output == HT_QOUTPUT_REAL && last)
        strcpy(l->activation, "none");
    if (l->output == HT_QOUTPUT_DYNAMIC)
        l->quant = draw_dynamic(r);
    if (l->output == HT_QOUTPUT_CODES)
        l->quant = draw_activation(r, 0.2f);
}

/* exact: the bits do not depend on who runs it. */
static inline struct ht_qmodel *random_modes(uint64_t seed, bool exact)
{
    struct random_source r = {seed, 1000000};
    struct ht_qmodel *m = random_model(seed);
    m->input.kind = draw_kind(&r);
    if (m->input.kind != HT_QOUTPUT_CODES && draw(&r, 0, 1)) { /* numbers stay as they are */
        ht_free(m->input.mean);
        ht_free(m->input.std);
        m->input.mean = m->input.std = NULL;
        m->input.pixel_range = 0;
    }
    for (size_t i = 0; i < m->n_layers; i++) {
        do
            m->layers[i].output = draw_kind(&r);
        while ((exact || i + 1 == m->n_layers) &&
               m->layers[i].output ==
                   (i + 1 == m->n_layers ? HT_QOUTPUT_DYNAMIC : HT_QOUTPUT_REAL));
    }
    if (exact && m->input.kind == HT_QOUTPUT_REAL)
        m->input.kind = HT_QOUTPUT_DYNAMIC;
    if (m->input.kind == HT_QOUTPUT_DYNAMIC)
        m->input.quant = draw_dynamic(&r);
    if (m->input.kind == HT_QOUTPUT_REAL)
        memset(&m->input.quant, 0, sizeof m->input.quant);
    for (size_t i = 0; i < m->n_layers; i++) {
        m->layers[i].table_quant.scale = 1; /* what is not used is like that of any model */
        change_layer(&r, m, i, exact);
    }
    cr_assert_eq(ht_qmodel_derive(m, NULL), HT_OK);
    return m;
}

/* --- bounds ---
 *
 * A float32 sum of n products, in any order, is within (n + 2) u sum |x w| of the true one, u =
 * 2^-24 (Higham 2002, eq. 3.5); with the rounding of weight times scale and the bias (n + 4) u
 * covers it. Engine and runtime may be off in opposite directions: twice that. An error e of the
 * inputs comes out as sum |w| e. */

struct estimate {
    double x, e; /* a value, and how far off it may be */
};

static inline double real_weight(const struct ht_qlayer *l, size_t n, size_t k)
{
    const struct ht_qweights *w = &l->weights;
    const size_t c = w->channels == 1 ? 0 : n;
    if (ht_grid_is_float16(&w->grid))
        return (double)w->scale[c] *
               (double)ht_half_to_float((uint16_t)ht_unpack_code(w->packed, n * l->in + k, 16));
    return (double)w->scale[c] * (naive_weight(l, n, k) - (w->zero_point ? w->zero_point[c] : 0));
}

static inline void activate_estimate(const struct ht_qlayer *l, struct estimate *v)
{
    static const char *const steep[] = {"tanh", "sigmoid", "gelu"};
    if (strcmp(l->activation, "none") == 0)
        return;
    v->x = (double)ht_activation_value(l->activation, (float)v->x, l->slope);
    for (size_t i = 0; i < 3; i++)
        if (strcmp(l->activation, steep[i]) == 0) /* slope up to 1.13; both libraries' errors */
            v->e = 1.13 * v->e + 1e-6 * (1 + fabs(v->x));
}

/* What quantization makes of it: a level more or less where it was off at all. */
static inline void quantize_estimate(const struct ht_qactivation *q, enum ht_qoutput_kind kind,
                                     struct estimate *v, size_t n)
{
    struct ht_row_scale s = {q->scale, q->zero_point};
    float *x = malloc(n * sizeof *x);
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)v[i].x;
        worst = v[i].e > worst ? v[i].e : worst;
    }
    if (kind == HT_QOUTPUT_DYNAMIC)
        s = ht_row_scale(&q->grid, x, n);
    struct ht_qactivation with = *q;
    with.zero_point = s.zero_point;
    for (size_t i = 0; i < n && kind != HT_QOUTPUT_REAL; i++) {
        const int step = q->grid.step ? q->grid.step : 1;
        v[i].x = (double)s.scale * (naive_round((double)(x[i] / s.scale), &with) - s.zero_point);
        if (worst > 0)
            v[i].e = kind == HT_QOUTPUT_DYNAMIC ? 4 * worst + 2 * (double)s.scale
                                                : v[i].e + step * (double)s.scale;
    }
    free(x);
}

static inline void estimate_layer(const struct ht_qmodel *m, size_t index, const double *weights,
                                  const struct estimate *in, struct estimate *out)
{
    const struct ht_qlayer *l = &m->layers[index];
    const bool rounds = ht_qlayer_input_kind(m, index) == HT_QOUTPUT_REAL;
    for (size_t n = 0; n < l->out; n++) {
        double sum = l->bias ? l->bias[n] * (double)ht_qlayer_input_quant(m, index)->scale *
                                   (double)l->weights.scale[l->weights.channels == 1 ? 0 : n]
                             : (double)l->real_bias[n];
        double sizes = fabs(sum), error = 0;
        for (size_t k = 0; k < l->in; k++) {
            const double w = weights[n * l->in + k];
            sum += w * in[k].x;
            sizes += fabs(w) * (fabs(in[k].x) + in[k].e);
            error += fabs(w) * in[k].e;
        }
        out[n].x = sum;
        out[n].e = error;
        if (rounds || error > 0)
            out[n].e += 2 * ((double)l->in + 4) * sizes * (double)FLT_EPSILON / 2;
        activate_estimate(l, &out[n]);
    }
    quantize_estimate(&l->quant, l->output, out, l->out);
    for (size_t n = 0; l->has_table && n < l->out; n++) /* any level may have come */
        out[n] = (struct estimate){0, (double)l->table_quant.scale * 512};
}

/* y[rows, outputs] of raw inputs: how far off outputs may be. */
static inline float *error_bounds(const struct ht_qmodel *m, const float *raw, size_t rows)
{
    size_t widest = m->input.features;
    for (size_t i = 0; i < m->n_layers; i++)
        widest = m->layers[i].out > widest ? m->layers[i].out : widest;
    struct estimate *a = malloc(widest * sizeof *a), *b = malloc(widest * sizeof *b);
    float *x = malloc(m->input.features * sizeof *x);
    float *bound = malloc(rows * m->outputs * sizeof *bound);
    double **weights = malloc(m->n_layers * sizeof *weights);
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct ht_qlayer *l = &m->layers[i];
        weights[i] = malloc(l->in * l->out * sizeof **weights);
        for (size_t k = 0; k < l->in * l->out; k++)
            weights[i][k] = real_weight(l, k / l->in, k % l->in);
    }
    for (size_t row = 0; row < rows; row++) {
        ht_qmodel_transform_input(m, raw + row * m->input.features, 1, x);
        for (size_t k = 0; k < m->input.features; k++)
            a[k] = (struct estimate){(double)x[k], 0};
        quantize_estimate(&m->input.quant, m->input.kind, a, m->input.features);
        for (size_t i = 0; i < m->n_layers; i++) {
            estimate_layer(m, i, weights[i], a, b);
            memcpy(a, b, m->layers[i].out * sizeof *a);
        }
        for (size_t n = 0; n < m->outputs; n++)
            bound[row * m->outputs + n] = (float)(1.01 * a[n].e);
    }
    for (size_t i = 0; i < m->n_layers; i++)
        free(weights[i]);
    free(weights);
    free(a);
    free(b);
    free(x);
    return bound;
}

#endif
