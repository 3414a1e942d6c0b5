#include "layers/calibrate.h"

#include <string.h>

#include "base/alloc.h"

/* --- a graph to run batches through --- */

struct network {
    struct ht_graph *graph;
    struct ht_node *x;
    struct ht_node **blocks; /* [n_blocks] what each of them gives */
};

static void network_finish(struct network *n)
{
    ht_graph_destroy(n->graph);
    ht_free(n->blocks);
}

static enum ht_status network_init(struct network *n, struct ht_model *m, size_t rows,
                                   enum ht_form form, struct ht_error *err)
{
    memset(n, 0, sizeof *n);
    n->graph = ht_graph_create(rows);
    n->blocks = ht_calloc(m->n_blocks, sizeof *n->blocks);
    if (!n->graph || !n->blocks)
        return ht_fail_memory(err);
    n->x = ht_graph_input(n->graph, m->inputs);
    ht_graph_keep(n->graph, n->x);
    ht_model_build(m, n->graph, n->x, form, n->blocks);
    return ht_graph_plan(n->graph, NULL, 0, err);
}

static size_t load_batch(struct network *n, const struct ht_calibration_data *data, size_t index)
{
    ht_graph_set_batch(n->graph, data->max_rows);
    const size_t rows = data->load(data->user, index, n->x->value);
    ht_graph_set_batch(n->graph, rows);
    return rows;
}

static size_t run_batch(struct network *n, const struct ht_calibration_data *data, size_t index)
{
    const struct ht_run run = {.mode = HT_MODE_EVAL};
    const size_t rows = load_batch(n, data, index);
    ht_graph_forward(n->graph, &run);
    return rows;
}

/* --- ranges --- */

static void set_calibrating(struct ht_model *m, bool calibrating)
{
    for (size_t i = 0; i < m->n_blocks; i++) {
        struct ht_block *b = &m->blocks[i];
        b->weights.calibrating = b->output.calibrating = b->before_table.calibrating = calibrating;
    }
}

enum ht_status ht_model_calibrate(struct ht_model *m, const struct ht_calibration_data *data,
                                  struct ht_error *err)
{
    struct network n;
    enum ht_status status = network_init(&n, m, data->max_rows, HT_FORM_QUANTIZED, err);
    set_calibrating(m, true);
    for (size_t i = 0; status == HT_OK && i < data->batches; i++)
        run_batch(&n, data, i);
    set_calibrating(m, false);
    m->params.version++; /* learned scales are parameters */
    network_finish(&n);
    return status;
}

/* --- statistics --- */

enum ht_status ht_model_reestimate_batchnorm(struct ht_model *m,
                                             const struct ht_calibration_data *data,
                                             struct ht_error *err)
{
    struct network n;
    size_t samples = 0;
    enum ht_status status = network_init(&n, m, data->max_rows, HT_FORM_QUANTIZED, err);
    for (size_t i = 0; status == HT_OK && i < data->batches; i++) {
        const size_t rows = load_batch(&n, data, i);
        samples += rows;
        const struct ht_run run = {.mode = HT_MODE_EVAL,
                                   .reestimate_batchnorm = (double)rows / (double)samples};
        ht_graph_forward(n.graph, &run);
    }
    network_finish(&n);
    return status;
}

/* --- biases --- */

/* Adds up the columns of x [rows, cols], each times scale. */
static void add_columns(const ht_real *x, size_t rows, size_t cols, double scale, double *sum)
{
    for (size_t b = 0; b < rows; b++)
        for (size_t j = 0; j < cols; j++)
            sum[j] += scale * (double)x[b * cols + j];
}

struct correction {
    struct ht_model *m;
    struct network plain, quantized;
    ht_real *levels;    /* of a batch of the input, or of a row of weights */
    double *plain_mean; /* of what enters each layer of the float network, one after the other */
    double *mean;       /* of what enters one layer of the quantized network */
};

static void correction_finish(struct correction *c)
{
    network_finish(&c->plain);
    network_finish(&c->quantized);
    ht_free(c->levels);
    ht_free(c->plain_mean);
    ht_free(c->mean);
}

static enum ht_status correction_init(struct correction *c, struct ht_model *m,
                                      const struct ht_calibration_data *data, struct ht_error *err)
{
    size_t widest = 0, all = 0, room;
    memset(c, 0, sizeof *c);
    c->m = m;
    for (size_t i = 0; i < m->n_blocks; i++) {
        const struct ht_block *b = &m->blocks[i];
        if (!b->bias && !b->batchnorm)
            return ht_fail(err, HT_ERR_CONFIG, "%s: no bias to correct", b->name);
        widest = b->in > widest ? b->in : widest;
        all += b->in;
    }
    if (!ht_mul_size(widest, data->max_rows, &room))
        return ht_fail_memory(err);
    c->levels = ht_calloc(room, sizeof *c->levels);
    c->plain_mean = ht_calloc(all, sizeof *c->plain_mean);
    c->mean = ht_calloc(widest, sizeof *c->mean);
    if (!c->levels || !c->plain_mean || !c->mean)
        return ht_fail_memory(err);
    enum ht_status status = network_init(&c->plain, m, data->max_rows, HT_FORM_FLOAT, err);
    if (status == HT_OK)
        status = network_init(&c->quantized, m, data->max_rows, HT_FORM_QUANTIZED, err);
    return status;
}

/* Of the float network as it is: corrections change the parameters that both networks share, so
 * this comes before the first. */
static void measure_plain(struct correction *c, const struct ht_calibration_data *data)
{
    const struct ht_model *m = c->m;
    double samples = 0;
    size_t all = 0;
    for (size_t i = 0; i < data->batches; i++) {
        const size_t rows = run_batch(&c->plain, data, i);
        double *sum = c->plain_mean;
        samples += (double)rows;
        add_columns(c->plain.x->value, rows, m->inputs, 1, sum);
        for (size_t k = 0; k + 1 < m->n_blocks; k++) {
            sum += m->blocks[k].in;
            add_columns(c->plain.blocks[k]->value, rows, m->blocks[k].out, 1, sum);
        }
    }
    for (size_t k = 0; k < m->n_blocks; k++)
        all += m->blocks[k].in;
    for (size_t j = 0; j < all; j++)
        c->plain_mean[j] /= samples;
}

static void measure_quantized(struct correction *c, size_t index,
                              const struct ht_calibration_data *data)
{
    const struct ht_model *m = c->m;
    const size_t cols = m->blocks[index].in;
    const struct ht_place_in_run eval = {NULL, 0};
    double samples = 0;
    memset(c->mean, 0, cols * sizeof *c->mean);
    for (size_t i = 0; i < data->batches; i++) {
        const size_t rows = run_batch(&c->quantized, data, i);
        samples += (double)rows;
        if (index == 0) {
            ht_quantizer_levels(&m->input, 0, eval, c->quantized.x->value, rows * cols, c->levels);
            add_columns(c->levels, rows, cols, (double)m->input.effective[0], c->mean);
        } else {
            const struct ht_node *q = c->quantized.blocks[index - 1];
            add_columns(q->value, rows, cols, (double)q->scale[0], c->mean);
        }
    }
    for (size_t j = 0; j < cols; j++)
        c->mean[j] /= samples;
}

/* A sum is linear, so its mean error needs only the means of its inputs:
 * E[W~ x~] - E[W x] = W~ E[x~] - W E[x]. */
static void correct_layer(struct correction *c, size_t index, const double *plain_mean)
{
    struct ht_model *m = c->m;
    const struct ht_block *b = &m->blocks[index];
    const ht_real *w = m->params.value + m->params.spans[b->weight_span].offset;
    for (size_t n = 0; n < b->out; n++, w += b->in) {
        const size_t channel = b->weights.channels == 1 ? 0 : n;
        const struct ht_place_in_run eval = {NULL, 0};
        const double scale = (double)b->weights.effective[channel];
        double error = 0;
        ht_quantizer_levels(&b->weights, channel, eval, w, b->in, c->levels);
        for (size_t k = 0; k < b->in; k++)
            error += scale * (double)c->levels[k] * c->mean[k] - (double)w[k] * plain_mean[k];
        if (b->batchnorm)
            m->state.value[m->state.spans[b->mean_span].offset + n] += (ht_real)error;
        else
            m->params.value[m->params.spans[b->bias_span].offset + n] -= (ht_real)error;
    }
}

enum ht_status ht_model_correct_biases(struct ht_model *m, const struct ht_calibration_data *data,
                                       struct ht_error *err)
{
    struct correction c;
    enum ht_status status = correction_init(&c, m, data, err);
    if (status == HT_OK)
        measure_plain(&c, data);
    const double *plain_mean = c.plain_mean;
    for (size_t i = 0; status == HT_OK && i < m->n_blocks; i++) {
        measure_quantized(&c, i, data);
        correct_layer(&c, i, plain_mean);
        plain_mean += m->blocks[i].in;
    }
    m->params.version++;
    correction_finish(&c);
    return status;
}
