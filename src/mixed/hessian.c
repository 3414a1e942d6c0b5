#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "layers/calibrate.h"
#include "mixed/analysis.h"
#include "optim/hessian.h"
#include "train/checkpoint.h"
#include "train/setup.h"

#define BATCH 256

/* The loss of the float network on batches of the training part, as a function of its parameters.
 */
struct source {
    const struct ht_mixed_analysis *a;
    struct ht_model *model;
    struct ht_network network;
    size_t batches;
};

/* Statistics stay as they are, so that the loss has no other argument. */
static void gradient(void *user, size_t index)
{
    struct source *s = user;
    const struct ht_run run = {.mode = HT_MODE_TRAIN, .freeze_batchnorm = true};
    const size_t at = index % s->batches * BATCH, left = s->a->d->count[HT_TRAIN] - at;
    ht_network_load(&s->network, &s->a->objective, s->a->d, s->a->order + at,
                    left < BATCH ? left : BATCH, NULL, 0, 0);
    ht_graph_forward(s->network.graph, &run);
    ht_graph_backward(s->network.graph, &run);
}

static enum ht_status make_source(struct source *s, const struct ht_mixed_analysis *a,
                                  struct ht_error *err)
{
    struct ht_experiment *e = ht_calloc(1, sizeof *e);
    if (!e)
        return ht_fail_memory(err);
    *e = *a->e;
    for (size_t i = 0; i < e->model.n_layers; i++)
        e->model.layers[i].rate = 0; /* no dropout */
    memset(s, 0, sizeof *s);
    s->a = a;
    s->batches = (a->d->count[HT_TRAIN] + BATCH - 1) / BATCH;
    enum ht_status status = ht_setup_model(&s->model, e, a->d->features, err);
    if (status == HT_OK)
        status = ht_checkpoint_load_parameters(a->checkpoint, s->model, false, err);
    if (status == HT_OK && e->quant.equalize)
        status = ht_model_equalize(s->model, err);
    if (status == HT_OK)
        status = ht_network_init(&s->network, s->model, &a->objective, BATCH, HT_FORM_FLOAT, true,
                                 NULL, err);
    ht_free(e);
    return status;
}

static void finish_source(struct source *s)
{
    if (s->network.graph)
        ht_network_finish(&s->network);
    ht_model_destroy(s->model);
}

static enum ht_status find_traces(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                                  size_t samples, struct ht_error *err)
{
    struct source s;
    const struct ht_trace_options options = {
        .gradient = gradient, .user = &s, .samples = samples, .seed = a->e->seed};
    enum ht_status status = make_source(&s, a, err);
    for (size_t i = 0; status == HT_OK && i < t->n_layers; i++) {
        struct ht_trace trace;
        const double n = (double)t->layers[i].parameters;
        status = ht_hessian_trace(&trace, &s.model->params, s.model->blocks[i].weight_span,
                                  &options, err);
        if (status != HT_OK)
            break;
        t->layers[i].trace = trace.mean / n;
        t->layers[i].trace_error = trace.error / n;
        if (a->event)
            a->event(a->user, i + 1, t->n_layers + t->n_widths);
    }
    finish_source(&s);
    return status;
}

/* ||Q(W) - W||^2 of a block's weights. row: room for one. */
static double rounding_error(struct ht_model *m, const struct ht_block *b, ht_real *row)
{
    const ht_real *w = m->params.value + m->params.spans[b->weight_span].offset;
    const struct ht_place_in_run eval = {NULL, 0};
    double sum = 0;
    for (size_t n = 0; n < b->out; n++, w += b->in) {
        const size_t c = b->weights.channels == 1 ? 0 : n;
        ht_quantizer_levels(&b->weights, c, eval, w, b->in, row);
        for (size_t k = 0; k < b->in; k++) {
            const double off = (double)row[k] * (double)b->weights.effective[c] - (double)w[k];
            sum += off * off;
        }
    }
    return sum;
}

static enum ht_status find_errors(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                                  size_t width, size_t *choice, struct ht_error *err)
{
    struct ht_model *m;
    size_t widest = 0;
    for (size_t i = 0; i < t->n_slots; i++)
        choice[i] = width;
    enum ht_status status = ht_mixed_quantize(a, t, choice, &m, err);
    if (status != HT_OK)
        return status;
    for (size_t i = 0; i < m->n_blocks; i++)
        widest = m->blocks[i].in > widest ? m->blocks[i].in : widest;
    ht_real *row = ht_calloc(widest, sizeof *row);
    if (!row)
        status = ht_fail_memory(err);
    for (size_t i = 0; status == HT_OK && i < t->n_slots; i++) {
        const size_t layer = t->slots[i].layer;
        const double trace = t->layers[layer].trace;
        struct ht_mixed_cell *cell = ht_mixed_cell(t, i, width);
        cell->error = rounding_error(m, &m->blocks[layer], row);
        /* Away from a minimum, or by chance, an estimate may be negative: then it says nothing. */
        cell->sensitivity = (trace > 0 ? trace : 0) * cell->error;
    }
    ht_free(row);
    ht_model_destroy(m);
    return status;
}

enum ht_status ht_mixed_hessian(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                                size_t samples, struct ht_error *err)
{
    size_t *choice;
    for (size_t i = 0; i < t->n_slots; i++)
        if (t->slots[i].activations)
            return ht_fail(err, HT_ERR_CONFIG,
                           "method hessian is for weights: for activations use method measured");
    choice = ht_calloc(t->n_slots, sizeof *choice);
    enum ht_status status = choice ? find_traces(a, t, samples, err) : ht_fail_memory(err);
    for (size_t w = 0; status == HT_OK && w < t->n_widths; w++) {
        status = find_errors(a, t, w, choice, err);
        if (status == HT_OK && a->event)
            a->event(a->user, t->n_layers + w + 1, t->n_layers + t->n_widths);
    }
    ht_free(choice);
    return status;
}
