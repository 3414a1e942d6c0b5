#include "train/curvature.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

#define DRAWS ((size_t)8) /* of random directions for a batch */
#define STEP  (1.0 / 64)  /* along them, as a share of the range of levels */

/* --- one layer --- */

static bool is_due(const struct ht_block *b, int64_t epochs)
{
    return b->weights.delta && epochs > 0 && epochs % b->weights.delta_epochs == 0;
}

bool ht_curvature_due(const struct ht_model *m, int64_t epochs)
{
    bool due = false;
    for (size_t i = 0; m->quantized && i < m->n_blocks; i++)
        due |= is_due(&m->blocks[i], epochs);
    return due;
}

struct layer {
    const struct ht_block *block;
    ht_real *value, *grad; /* [out, in] */
    double trace, sum, square, delta;
};

static struct layer layer_of(const struct ht_model *m, size_t index)
{
    const struct ht_block *b = &m->blocks[index];
    const size_t offset = m->params.spans[b->weight_span].offset;
    return (struct layer){
        .block = b, .value = m->params.value + offset, .grad = m->params.grad + offset};
}

static size_t size_of(const struct layer *l)
{
    return l->block->in * l->block->out;
}

static size_t channel_of(const struct layer *l, size_t element)
{
    return l->block->weights.channels == 1 ? 0 : element / l->block->in;
}

/* From one end of the levels to the other, as a real value. */
static double range_of(const struct layer *l, size_t element)
{
    const struct ht_quantizer *q = &l->block->weights;
    return (double)q->effective[channel_of(l, element)] * (q->grid.hi - q->grid.lo);
}

static void quantize(const struct layer *l)
{
    const struct ht_quantizer *q = &l->block->weights;
    const struct ht_place_in_run eval = {NULL, 0};
    const size_t length = size_of(l) / q->channels;
    for (size_t c = 0; c < q->channels; c++) {
        ht_real *w = l->value + c * length;
        ht_quantizer_levels(q, c, eval, w, length, w);
        for (size_t i = 0; i < length; i++)
            w[i] *= q->effective[c];
    }
}

/* 1 or -1 (Hutchinson's method). */
static double direction(const struct ht_run *run, size_t layer, size_t draw, size_t element)
{
    const uint64_t stream = HT_RNG_STREAM(HT_RNG_CURVATURE, layer * DRAWS + draw);
    const uint64_t bit =
        ht_rng_block(run->seed + run->step, stream, element / 128).v[element / 32 % 4] >>
            (element % 32) &
        1;
    return bit ? 1 : -1;
}

/* --- all of them --- */

struct curvature {
    struct ht_model *m;
    struct ht_network *network;
    struct ht_run run;
    struct layer *layers;       /* [n_blocks] */
    ht_real *saved, *quantized; /* [params.n] */
    int64_t epochs;
};

static void compute_gradients(const struct curvature *c)
{
    ht_graph_forward(c->network->graph, &c->run);
    ht_graph_backward(c->network->graph, &c->run);
}

/* Weights that are due to their quantized value + share * range * direction. */
static void move(const struct curvature *c, size_t draw, double share)
{
    memcpy(c->m->params.value, c->quantized, c->m->params.n * sizeof *c->quantized);
    for (size_t i = 0; i < c->m->n_blocks; i++) {
        const struct layer *l = &c->layers[i];
        for (size_t k = 0; is_due(l->block, c->epochs) && k < size_of(l); k++)
            l->value[k] += (ht_real)(share * range_of(l, k) * direction(&c->run, i, draw, k));
    }
}

/* sign * v . g / (2 STEP) of each layer, g being of normalized weights: to the trace. The products
 * of different layers vanish on average. */
static void add_to_traces(const struct curvature *c, size_t draw, double sign)
{
    for (size_t i = 0; i < c->m->n_blocks; i++) {
        struct layer *l = &c->layers[i];
        for (size_t k = 0; is_due(l->block, c->epochs) && k < size_of(l); k++)
            l->trace += sign * direction(&c->run, i, draw, k) * range_of(l, k) *
                        (double)l->grad[k] / (2 * STEP * (double)DRAWS);
    }
}

static void measure_gradients(const struct curvature *c)
{
    for (size_t i = 0; i < c->m->n_blocks; i++) {
        struct layer *l = &c->layers[i];
        l->trace = l->sum = l->square = 0;
        for (size_t k = 0; is_due(l->block, c->epochs) && k < size_of(l); k++) {
            const double g = range_of(l, k) * (double)l->grad[k];
            l->sum += g;
            l->square += g * g;
        }
    }
}

static void take_batch(const struct curvature *c, size_t n_batches)
{
    move(c, 0, 0);
    compute_gradients(c);
    measure_gradients(c);
    for (size_t draw = 0; draw < DRAWS; draw++)
        for (int sign = -1; sign <= 1; sign += 2) {
            move(c, draw, sign * STEP);
            compute_gradients(c);
            add_to_traces(c, draw, sign);
        }
    for (size_t i = 0; i < c->m->n_blocks; i++) {
        struct layer *l = &c->layers[i];
        const double n = (double)size_of(l), mean = l->sum / n;
        const double sigma = sqrt(fmax(l->square / n - mean * mean, 0));
        if (sigma > 0)
            l->delta += l->trace / n / (3 * sigma) / (double)n_batches;
    }
}

enum ht_status ht_curvature_adapt(struct ht_model *m, struct ht_network *network, int64_t epochs,
                                  const struct ht_curvature_data *data, struct ht_run run,
                                  struct ht_error *err)
{
    struct curvature c = {m, network, run, NULL, NULL, NULL, epochs};
    enum ht_status status = HT_OK;
    c.run.mode = HT_MODE_SURROGATE; /* batch statistics, but the running ones stay */
    c.run.gradient_ready = NULL;
    c.layers = ht_calloc(m->n_blocks, sizeof *c.layers);
    c.saved = ht_calloc(m->params.n, sizeof *c.saved);
    c.quantized = ht_calloc(m->params.n, sizeof *c.quantized);
    if (!c.layers || !c.saved || !c.quantized) {
        status = ht_fail_memory(err);
        goto done;
    }
    memcpy(c.saved, m->params.value, m->params.n * sizeof *c.saved);
    for (size_t i = 0; i < m->n_blocks; i++) {
        c.layers[i] = layer_of(m, i);
        ht_quantizer_refresh(&m->blocks[i].weights, HT_MODE_EVAL);
        quantize(&c.layers[i]);
    }
    memcpy(c.quantized, m->params.value, m->params.n * sizeof *c.quantized);
    for (size_t i = 0; i < data->n_batches; i++) {
        data->load(data->user, i, network);
        c.run.step = run.step + i; /* other directions, other dropout */
        take_batch(&c, data->n_batches);
    }
    for (size_t i = 0; i < m->n_blocks; i++)
        if (is_due(c.layers[i].block, epochs))
            m->blocks[i].weights.delta[0] = (ht_real)fmax(c.layers[i].delta, 0);
    memcpy(m->params.value, c.saved, m->params.n * sizeof *c.saved);
done:
    ht_free(c.layers);
    ht_free(c.saved);
    ht_free(c.quantized);
    return status;
}
