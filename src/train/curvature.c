#include "train/curvature.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "optim/hessian.h"

#define PROBES_OF_BATCH ((size_t)4)
#define STEP            (1.0 / 64) /* of the differences, as a share of the range of levels */

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

struct curvature {
    struct ht_model *m;
    struct ht_network *network;
    const struct ht_curvature_data *data;
    struct ht_run run;
    ht_real *saved; /* [params.n] */
    ht_real *range; /* [widest weights] of one layer: from end to end of the levels, real */
};

/* The weights of a layer as they ship. */
static void quantize(const struct ht_model *m, struct ht_block *b)
{
    struct ht_quantizer *q = &b->weights;
    const struct ht_place_in_run eval = {NULL, 0};
    ht_real *w = m->params.value + m->params.spans[b->weight_span].offset;
    if (ht_grid_is_float16(&q->grid))
        return;
    ht_quantizer_refresh(q, HT_MODE_EVAL);
    for (size_t row = 0; row < b->out; row++, w += b->in)
        for (size_t g = 0; g < q->groups; g++) {
            const struct ht_row_part p = ht_quantizer_part(q, row, g, b->in);
            ht_quantizer_levels(q, p.channel, eval, w + p.at, p.n, w + p.at);
            for (size_t i = p.at; i < p.at + p.n; i++)
                w[i] *= q->effective[p.channel];
        }
}

static void find_ranges(const struct curvature *c, const struct ht_block *b)
{
    const struct ht_quantizer *q = &b->weights;
    for (size_t row = 0; row < b->out; row++)
        for (size_t g = 0; g < q->groups; g++) {
            const struct ht_row_part p = ht_quantizer_part(q, row, g, b->in);
            for (size_t i = p.at; i < p.at + p.n; i++)
                c->range[row * b->in + i] =
                    q->effective[p.channel] * (ht_real)(q->grid.hi - q->grid.lo);
        }
}

static void gradient(void *user, size_t index)
{
    const struct curvature *c = user;
    struct ht_run run = c->run;
    const size_t batch = index % c->data->n_batches;
    run.step += batch; /* each with its dropout */
    c->data->load(c->data->user, batch, c->network);
    ht_graph_forward(c->network->graph, &run);
    ht_graph_backward(c->network->graph, &run);
}

/* Of the gradient of the normalized weights, the mean over the batches. */
static double deviation(struct curvature *c, const struct ht_span *s)
{
    const ht_real *grad = c->m->params.grad + s->offset;
    double deviations = 0;
    for (size_t batch = 0; batch < c->data->n_batches; batch++) {
        double sum = 0, square = 0;
        gradient(c, batch);
        for (size_t i = 0; i < s->n; i++) {
            const double g = (double)grad[i] * (double)c->range[i];
            sum += g;
            square += g * g;
        }
        const double mean = sum / (double)s->n;
        deviations += sqrt(fmax(square / (double)s->n - mean * mean, 0));
    }
    return deviations / (double)c->data->n_batches;
}

static enum ht_status adapt_layer(struct curvature *c, struct ht_block *b, struct ht_error *err)
{
    const struct ht_span *s = &c->m->params.spans[b->weight_span];
    const struct ht_trace_options options = {.gradient = gradient,
                                             .user = c,
                                             .samples = PROBES_OF_BATCH * c->data->n_batches,
                                             .step = STEP,
                                             .unit = c->range,
                                             .seed = c->run.seed + c->run.step};
    struct ht_trace trace;
    find_ranges(c, b);
    const double sigma = deviation(c, s);
    enum ht_status status = ht_hessian_trace(&trace, &c->m->params, b->weight_span, &options, err);
    if (status != HT_OK)
        return status;
    const double delta = trace.mean / (double)s->n / (3 * sigma);
    b->weights.delta[0] = delta > 0 && delta < INFINITY ? (ht_real)delta : 0;
    return HT_OK;
}

enum ht_status ht_curvature_adapt(struct ht_model *m, struct ht_network *network, int64_t epochs,
                                  const struct ht_curvature_data *data, struct ht_run run,
                                  struct ht_error *err)
{
    struct curvature c = {.m = m, .network = network, .data = data, .run = run};
    size_t widest = 0;
    enum ht_status status = HT_OK;
    for (size_t i = 0; i < m->n_blocks; i++)
        widest = m->params.spans[m->blocks[i].weight_span].n > widest
                     ? m->params.spans[m->blocks[i].weight_span].n
                     : widest;
    c.run.mode = HT_MODE_SURROGATE; /* batch statistics, but the running ones stay */
    c.run.gradient_ready = NULL;
    c.saved = ht_calloc(m->params.n, sizeof *c.saved);
    c.range = ht_calloc(widest, sizeof *c.range);
    if (!c.saved || !c.range) {
        status = ht_fail_memory(err);
        goto done;
    }
    memcpy(c.saved, m->params.value, m->params.n * sizeof *c.saved);
    for (size_t i = 0; i < m->n_blocks; i++)
        quantize(m, &m->blocks[i]);
    for (size_t i = 0; status == HT_OK && i < m->n_blocks; i++)
        if (is_due(&m->blocks[i], epochs))
            status = adapt_layer(&c, &m->blocks[i], err);
    memcpy(m->params.value, c.saved, m->params.n * sizeof *c.saved);
done:
    ht_free(c.saved);
    ht_free(c.range);
    return status;
}
