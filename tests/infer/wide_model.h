/* A model that is large enough for threads to divide it, by rows and by outputs; also used where
 * Criterion cannot be. */
#ifndef HT_TESTS_INFER_WIDE_MODEL_H
#define HT_TESTS_INFER_WIDE_MODEL_H

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "infer/runtime.h"

#define WIDE_FEATURES 300
#define WIDE_OUTPUTS  7
#define WIDE_ROWS     300

static inline struct ht_qactivation wide_activation(const char *grid, int bits, float scale)
{
    struct ht_qactivation q = {.scale = scale};
    ht_grid_init(&q.grid, grid, bits, NULL);
    q.zero_point = q.grid.has_zero_point ? 3 : 0;
    q.lo = q.grid.lo;
    q.hi = q.grid.hi;
    q.is_signed = q.grid.lo < 0;
    return q;
}

static inline void wide_layer(struct ht_qmodel *m, size_t index, const char *grid, int bits,
                              size_t in, size_t out)
{
    struct ht_qlayer *l = &m->layers[index];
    const uint64_t stream = HT_RNG_STREAM(HT_RNG_TEST, index);
    snprintf(l->name, sizeof l->name, "dense%zu", index + 1);
    strcpy(l->activation, "none");
    l->in = in;
    l->out = out;
    ht_grid_init(&l->weights.grid, grid, bits, NULL);
    const struct ht_grid *g = &l->weights.grid;
    l->weights.channels = out;
    l->weights.packed = ht_calloc(ht_packed_size(in * out, bits), 1);
    l->weights.scale = ht_calloc(out, sizeof *l->weights.scale);
    l->bias = ht_calloc(out, sizeof *l->bias);
    if (g->has_zero_point)
        l->weights.zero_point = ht_calloc(out, sizeof *l->weights.zero_point);
    for (size_t i = 0; i < in * out; i++) {
        const int level = (int)ht_rng_below(1, stream, i, (uint64_t)g->n_levels);
        ht_pack_code(l->weights.packed, i, bits, ht_grid_code(g, g->lo + g->step * level));
    }
    for (size_t n = 0; n < out; n++) {
        l->weights.scale[n] = 0.1f / (float)g->hi;
        l->bias[n] = (int32_t)ht_rng_below(2, stream, n, 2000) - 1000;
        if (l->weights.zero_point)
            l->weights.zero_point[n] = 12 + (int32_t)ht_rng_below(3, stream, n, 8);
    }
}

/* 300 -> 384 (affine weights) -> 260 (table) -> 200 (binary activations) -> 7 real */
static inline struct ht_qmodel *wide_model(void)
{
    struct ht_qmodel *m = ht_qmodel_create(4);
    struct ht_qlayer *l = m->layers;
    strcpy(m->name, "wide");
    strcpy(m->task, "classification");
    strcpy(m->loss, "cross_entropy");
    strcpy(m->score_name, "accuracy");
    memset(m->data_hash, 'a', 64);
    m->input.features = WIDE_FEATURES;
    m->input.quant = wide_activation("affine", 8, 1.0f / 64);
    m->input.mean = ht_calloc(WIDE_FEATURES, sizeof *m->input.mean);
    m->input.std = ht_calloc(WIDE_FEATURES, sizeof *m->input.std);
    for (size_t i = 0; i < WIDE_FEATURES; i++) {
        m->input.mean[i] = (float)i / 1000;
        m->input.std[i] = 0.5f + (float)(i % 3);
    }
    wide_layer(m, 0, "affine", 5, WIDE_FEATURES, 384);
    l[0].quant = wide_activation("full", 8, 0.1f);
    wide_layer(m, 1, "narrow", 8, 384, 260);
    l[1].quant = wide_activation("full", 6, 0.3f);
    l[1].has_table = true;
    strcpy(l[1].activation, "tanh");
    l[1].table_quant = wide_activation("affine", 4, 0.1f);
    l[1].table_quant.zero_point = 8;
    for (int i = 0; i < 64; i++)
        l[1].table[i] = (int16_t)(i / 4);
    wide_layer(m, 2, "narrow", 2, 260, 200);
    l[2].quant = wide_activation("binary", 1, 0.3f);
    wide_layer(m, 3, "binary", 1, 200, WIDE_OUTPUTS);
    l[3].output = HT_QOUTPUT_REAL;
    m->outputs = WIDE_OUTPUTS;
    ht_qmodel_derive(m, NULL);
    return m;
}

/* [WIDE_ROWS, WIDE_FEATURES] */
static inline float *wide_inputs(void)
{
    float *x = malloc(WIDE_ROWS * WIDE_FEATURES * sizeof *x);
    for (size_t i = 0; x && i < WIDE_ROWS * WIDE_FEATURES; i++)
        x[i] =
            ht_rng_below(4, HT_RNG_TEST, i, 4) ? 0 : 8 * (float)ht_rng_uniform(5, HT_RNG_TEST, i);
    return x;
}

#endif
