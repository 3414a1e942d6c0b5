/* Random integer models, and a naive implementation of docs/numerics.md to compare with. Nothing
 * of the library's arithmetic is used here: codes are packed and read bit by bit. */
#ifndef HT_TESTS_QMODEL_RANDOM_MODEL_H
#define HT_TESTS_QMODEL_RANDOM_MODEL_H

#include "support.h"

#include <math.h>

#include "base/rng.h"
#include "qmodel/qmodel.h"

struct random_source {
    uint64_t seed, draws;
};

static inline int draw(struct random_source *r, int lo, int hi)
{
    return lo + (int)ht_rng_below(r->seed, HT_RNG_TEST, r->draws++, (uint64_t)(hi - lo + 1));
}

static inline float draw_scale(struct random_source *r, float around)
{
    return around * (0.5f + (float)ht_rng_uniform(r->seed, HT_RNG_TEST, r->draws++));
}

static inline struct ht_grid draw_grid(struct random_source *r)
{
    struct ht_grid g;
    size_t n;
    const char *const *names = ht_grid_names(&n);
    while (ht_grid_init(&g, names[draw(r, 0, (int)n - 1)], draw(r, 1, 8), NULL))
        continue;
    return g;
}

/* Any levels that a codebook may have, as many as it likes. */
static inline void draw_levels(struct random_source *r, struct ht_grid *g)
{
    int level[HT_GRID_TABLE], n = 0, from = -127;
    const int most = draw(r, 1, 1 << g->bits);
    while (n < most && from <= 127) {
        level[n] = draw(r, from, from + (127 - from) / 2);
        from = level[n++] + 1;
    }
    cr_assert(ht_grid_set_levels(g, level, n));
}

static inline struct ht_qactivation draw_activation(struct random_source *r, float scale)
{
    struct ht_qactivation q = {.scale = draw_scale(r, scale)};
    do
        q.grid = draw_grid(r);
    while (q.grid.step == 0); /* tables are for weights */
    q.zero_point = q.grid.has_zero_point ? draw(r, q.grid.lo, q.grid.hi) : 0;
    q.lo = q.grid.lo;
    q.hi = q.grid.hi;
    q.is_signed = q.grid.lo < 0;
    if (q.grid.step == 1 && draw(r, 0, 3) == 0)
        q.rounding = HT_ROUND_FLOOR;
    return q;
}

static inline void naive_put(uint8_t *bytes, size_t first, int bits, unsigned code)
{
    for (int b = 0; b < bits; b++)
        if (code >> b & 1)
            bytes[(first + (size_t)b) / 8] |= (uint8_t)(1u << (first + (size_t)b) % 8);
}

static inline void fill_weights(struct random_source *r, struct ht_qlayer *l)
{
    struct ht_qweights *w = &l->weights;
    do
        w->grid = draw_grid(r);
    while (w->grid.lo < -127); /* 8-bit weights are narrow by contract */
    if (w->grid.learned)
        draw_levels(r, &w->grid);
    const int reach = w->grid.step == 0 ? 127 : w->grid.hi;
    w->channels = draw(r, 0, 1) ? l->out : 1;
    w->packed = ht_calloc((l->out * l->in * (size_t)w->grid.bits + 7) / 8, 1);
    w->scale = ht_calloc(w->channels, sizeof *w->scale);
    if (w->grid.has_zero_point)
        w->zero_point = ht_calloc(w->channels, sizeof *w->zero_point);
    for (size_t n = 0; n < w->channels; n++) {
        w->scale[n] = draw_scale(r, 1.0f / (float)reach);
        if (w->zero_point)
            w->zero_point[n] = draw(r, w->grid.lo, w->grid.hi);
    }
    for (size_t i = 0; i < l->out * l->in; i++) {
        const int index = draw(r, 0, w->grid.n_levels - 1);
        const int level = w->grid.lo + w->grid.step * index;
        const unsigned mask = (1u << w->grid.bits) - 1;
        naive_put(w->packed, i * (size_t)w->grid.bits, w->grid.bits,
                  w->grid.step != 1 ? (unsigned)index : (unsigned)level & mask);
    }
    if (w->grid.has_zero_point || draw(r, 0, 1))
        return;
    w->group = (size_t)draw(r, 1, 45);
    const size_t groups = (l->in + w->group - 1) / w->group;
    w->group_scale = ht_calloc(l->out * groups, 1);
    int most = 127;
    while (most * w->grid.hi > 127 || most * w->grid.lo < -127)
        most--;
    for (size_t i = 0; i < l->out * groups; i++)
        w->group_scale[i] = (uint8_t)draw(r, 1, most);
}

static inline void fill_output(struct random_source *r, struct ht_qlayer *l, float gain)
{
    static const char *const clamps[] = {"none", "relu", "relu6"};
    static const char *const tables[] = {"tanh", "sigmoid", "gelu", "leaky_relu"};
    l->quant = draw_activation(r, 1);
    l->quant.scale = draw_scale(r, gain / (float)(l->quant.grid.hi - l->quant.grid.lo));
    const int kind = draw(r, 0, 2);
    snprintf(l->activation, sizeof l->activation, "%s", clamps[kind]);
    if (kind > 0 && l->quant.grid.step == 1) {
        l->quant.lo = l->quant.zero_point > l->quant.lo ? l->quant.zero_point : l->quant.lo;
        if (kind == 2)
            l->quant.hi = draw(r, l->quant.lo, l->quant.hi);
    }
    if (draw(r, 0, 3) > 0)
        return;
    l->has_table = true;
    l->table_quant = draw_activation(r, 0.02f);
    snprintf(l->activation, sizeof l->activation, "%s", tables[draw(r, 0, 3)]);
    for (int i = 0; i <= l->quant.grid.hi - l->quant.grid.lo; i += l->quant.grid.step)
        l->table[i] =
            (int16_t)(l->table_quant.grid.lo +
                      l->table_quant.grid.step * draw(r, 0, l->table_quant.grid.n_levels - 1));
}

static inline void fill_texts(struct random_source *r, struct ht_qmodel *m)
{
    snprintf(m->name, sizeof m->name, "random %d", draw(r, 0, 9999));
    strcpy(m->task, "classification");
    strcpy(m->loss, "cross_entropy");
    strcpy(m->score_name, "accuracy");
    memset(m->data_hash, 'a', 64);
    m->validation_score = 0.1 * draw(r, 0, 10);
    if (draw(r, 0, 1))
        m->experiment = ht_strdup("name: random\nseed: 1\n");
    if (draw(r, 0, 1)) {
        m->n_classes = m->outputs == 1 ? 2 : m->outputs;
        m->classes = ht_calloc(m->n_classes, sizeof *m->classes);
        for (size_t i = 0; i < m->n_classes; i++)
            snprintf(m->classes[i], sizeof m->classes[i], "class %zu \xc3\xa4", i);
    }
}

static inline float *draw_moments(struct random_source *r, size_t n)
{
    float *v = ht_calloc(n, sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i] = draw_scale(r, 1);
    return v;
}

static inline struct ht_qmodel *random_model(uint64_t seed)
{
    struct random_source r = {seed, 0};
    struct ht_qmodel *m = ht_qmodel_create((size_t)draw(&r, 1, 4));
    size_t width = (size_t)draw(&r, 1, 40);
    m->input.features = width;
    m->input.quant = draw_activation(&r, 0.05f);
    if (draw(&r, 0, 1)) {
        m->input.mean = draw_moments(&r, width);
        m->input.std = draw_moments(&r, width);
    }
    m->input.pixel_range = (int[]){0, 255, -1}[draw(&r, 0, 2)];
    for (size_t i = 0; i < m->n_layers; i++) {
        struct ht_qlayer *l = &m->layers[i];
        snprintf(l->name, sizeof l->name, "dense%zu", i + 1);
        l->in = width;
        l->out = width = (size_t)draw(&r, 1, 40);
        fill_weights(&r, l);
        l->bias = ht_calloc(l->out, sizeof *l->bias);
        for (size_t n = 0; n < l->out; n++)
            l->bias[n] = draw(&r, -3000, 3000);
        if (i + 1 == m->n_layers && draw(&r, 0, 2) > 0) {
            l->output = HT_QOUTPUT_REAL;
            strcpy(l->activation, "none");
        } else {
            const struct ht_qactivation *a = ht_qlayer_input_quant(m, i);
            const float range = a->scale * (float)(a->grid.hi - a->grid.lo);
            fill_output(&r, l, 0.5f * range * (float)l->in);
        }
    }
    m->outputs = width;
    if (draw(&r, 0, 1)) {
        m->target_mean = draw_moments(&r, width);
        m->target_std = draw_moments(&r, width);
    }
    fill_texts(&r, m);
    cr_assert_eq(ht_qmodel_derive(m, NULL), HT_OK);
    return m;
}

/* --- the naive network --- */
static inline int naive_round(double u, const struct ht_qactivation *q)
{
    const int lo = q->lo - q->zero_point, hi = q->hi - q->zero_point, step = q->grid.step;
    int best = lo;
    for (int level = lo + step; level <= hi; level += step) {
        const double middle = level - 0.5 * step;
        if (q->rounding == HT_ROUND_FLOOR
                ? u >= level
                : u > middle || (u == middle && step == 1 && !(level & 1)))
            best = level;
    }
    return best + q->zero_point;
}

static inline int naive_level(const struct ht_qweights *w, size_t i)
{
    int code = 0;
    for (int b = 0; b < w->grid.bits; b++) {
        const size_t bit = i * (size_t)w->grid.bits + (size_t)b;
        code |= (w->packed[bit / 8] >> bit % 8 & 1) << b;
    }
    if (w->grid.step == 0)
        return w->grid.level[code];
    if (w->grid.step == 2)
        return w->grid.lo + 2 * code;
    return w->grid.lo < 0 && code >> (w->grid.bits - 1) ? code - (1 << w->grid.bits) : code;
}

static inline int naive_weight(const struct ht_qlayer *l, size_t n, size_t k)
{
    const struct ht_qweights *w = &l->weights;
    const size_t groups = w->group ? (l->in + w->group - 1) / w->group : 0;
    return naive_level(w, n * l->in + k) * (groups ? w->group_scale[n * groups + k / w->group] : 1);
}

/* float32 products and quotients of floats, rounded once: double holds them well enough. */
static inline float multiply32(float a, float b)
{
    return (float)((double)a * (double)b);
}

static inline float divide32(float a, float b)
{
    return (float)((double)a / (double)b);
}

static inline void naive_layer(const struct ht_qmodel *m, size_t index, const int *a, int *levels,
                               float *real)
{
    const struct ht_qlayer *l = &m->layers[index];
    const struct ht_qactivation *from = index == 0 ? &m->input.quant
                                        : m->layers[index - 1].has_table
                                            ? &m->layers[index - 1].table_quant
                                            : &m->layers[index - 1].quant;
    for (size_t n = 0; n < l->out; n++) {
        const size_t c = l->weights.channels == 1 ? 0 : n;
        const int z_w = l->weights.zero_point ? l->weights.zero_point[c] : 0;
        int64_t acc = l->bias[n];
        for (size_t k = 0; k < l->in; k++)
            acc += (int64_t)(a[k] - from->zero_point) * (naive_weight(l, n, k) - z_w);
        const float product = multiply32(from->scale, l->weights.scale[c]);
        if (l->output == HT_QOUTPUT_REAL) {
            real[n] = multiply32((float)acc, product);
            continue;
        }
        const float u = multiply32((float)acc, divide32(product, l->quant.scale));
        levels[n] = naive_round((double)u, &l->quant);
        if (l->has_table)
            levels[n] = l->table[levels[n] - l->quant.grid.lo];
    }
}

/* One sample: input levels a[features] (overwritten; room for 64) to y[outputs]. */
static inline void naive_network(const struct ht_qmodel *m, int *a, float *y)
{
    int levels[64];
    for (size_t i = 0; i < m->n_layers; i++) {
        naive_layer(m, i, a, levels, y);
        memcpy(a, levels, sizeof levels);
    }
    const struct ht_qlayer *last = &m->layers[m->n_layers - 1];
    const struct ht_qactivation *q = last->has_table ? &last->table_quant : &last->quant;
    for (size_t n = 0; last->output == HT_QOUTPUT_CODES && n < m->outputs; n++)
        y[n] = multiply32(q->scale, (float)(a[n] - q->zero_point));
}

/* Network inputs x[n, features], spread a little over the range of the input's levels. */
static inline float *random_inputs(const struct ht_qmodel *m, size_t n, uint64_t seed)
{
    const struct ht_qactivation *q = &m->input.quant;
    float *x = malloc(n * m->input.features * sizeof *x);
    for (size_t i = 0; i < n * m->input.features; i++) {
        const double u = ht_rng_uniform(seed, HT_RNG_TEST, i);
        x[i] =
            q->scale * (float)(q->grid.lo - q->zero_point - 2 + u * (q->grid.hi - q->grid.lo + 4));
    }
    return x;
}

/* --- one model written out, with one of everything --- */
static inline struct ht_qactivation activation(const char *grid, int bits, float scale,
                                               int zero_point)
{
    struct ht_qactivation q = {.scale = scale, .zero_point = zero_point};
    cr_assert_eq(ht_grid_init(&q.grid, grid, bits, NULL), HT_OK);
    q.lo = q.grid.lo;
    q.hi = q.grid.hi;
    q.is_signed = q.lo < 0;
    return q;
}

static inline void set_weights(struct ht_qlayer *l, const char *grid, int bits, size_t out,
                               size_t in)
{
    l->in = in;
    l->out = out;
    cr_assert_eq(ht_grid_init(&l->weights.grid, grid, bits, NULL), HT_OK);
    const struct ht_grid *g = &l->weights.grid;
    l->weights.channels = out;
    l->weights.packed = ht_calloc(ht_packed_size(out * in, bits), 1);
    l->weights.scale = ht_calloc(out, sizeof(float));
    l->bias = ht_calloc(out, sizeof(int32_t));
    for (size_t i = 0; i < out * in; i++)
        ht_pack_code(l->weights.packed, i, bits,
                     g->step == 0 ? (unsigned)i % (unsigned)g->n_levels
                                  : ht_grid_code(g, g->lo + (int)i % g->n_levels * g->step));
    for (size_t n = 0; n < out; n++)
        l->weights.scale[n] = 0.125f;
}

/* Groups of `group` inputs; group g of neuron n has the scale 1 + (n + g) % 4. */
static inline void set_groups(struct ht_qlayer *l, size_t group)
{
    const size_t groups = (l->in + group - 1) / group;
    l->weights.group = group;
    l->weights.group_scale = ht_calloc(l->out * groups, 1);
    for (size_t i = 0; i < l->out * groups; i++)
        l->weights.group_scale[i] = (uint8_t)(1 + (i / groups + i % groups) % 4);
}

/* 5 -> 3 (narrow, 3 bits, tanh by table) -> 7 (affine, 5 bits) real */
static inline struct ht_qmodel *plain_model(void)
{
    struct ht_qmodel *m = ht_qmodel_create(2);
    struct ht_qlayer *l = m->layers;
    m->input.features = 5;
    m->input.quant = activation("affine", 8, 1.0f / 255, 3);
    m->input.mean = ht_calloc(5, sizeof(float));
    m->input.std = ht_calloc(5, sizeof(float));
    m->target_mean = ht_calloc(7, sizeof(float));
    m->target_std = ht_calloc(7, sizeof(float));
    for (int i = 0; i < 7; i++) {
        m->target_std[i] = 2;
        if (i < 5)
            m->input.std[i] = 1;
    }
    set_weights(&l[0], "narrow", 3, 3, 5);
    strcpy(l[0].name, "first");
    strcpy(l[0].activation, "tanh");
    l[0].quant = activation("zero_free", 3, 0.1f, 0);
    l[0].has_table = true;
    l[0].table_quant = activation("full", 4, 0.125f, 0);
    set_weights(&l[1], "affine", 5, 7, 3);
    l[1].weights.zero_point = ht_calloc(7, sizeof(int32_t));
    l[1].weights.zero_point[2] = 31;
    strcpy(l[1].name, "last");
    strcpy(l[1].activation, "none");
    l[1].output = HT_QOUTPUT_REAL;
    m->outputs = 7;
    m->n_classes = 7;
    m->classes = ht_calloc(7, sizeof *m->classes);
    m->experiment = ht_strdup("name: plain\n");
    strcpy(m->name, "plain");
    strcpy(m->task, "classification");
    strcpy(m->classes[0], "zero");
    cr_assert_eq(ht_qmodel_derive(m, NULL), HT_OK);
    return m;
}

#endif
