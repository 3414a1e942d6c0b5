#include "layers/calibration_run.h"

#include <string.h>

#include "base/alloc.h"
#include "quant/group.h"
#include "quant/dynamic.h"
#include "quant/half.h"

/* --- batches through a network --- */

void ht_calibration_run_finish(struct ht_calibration_run *n)
{
    ht_graph_destroy(n->graph);
    ht_free(n->blocks);
}

enum ht_status ht_calibration_run_init(struct ht_calibration_run *n, struct ht_model *m,
                                       size_t rows, enum ht_form form, struct ht_error *err)
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

static size_t load_batch(struct ht_calibration_run *n, const struct ht_calibration_data *data,
                         size_t index)
{
    ht_graph_set_batch(n->graph, data->max_rows);
    const size_t rows = data->load(data->user, index, n->x->value);
    ht_graph_set_batch(n->graph, rows);
    return rows;
}

size_t ht_calibration_run_batch(struct ht_calibration_run *n,
                                const struct ht_calibration_data *data, size_t index)
{
    const struct ht_run run = {.mode = HT_MODE_EVAL};
    const size_t rows = load_batch(n, data, index);
    ht_graph_forward(n->graph, &run);
    return rows;
}

/* A block's output, or the input, of rows with one scale each, or one for all, or of real values.
 */
static void real_rows(const struct ht_node *y, size_t rows, ht_real *x)
{
    for (size_t b = 0; b < rows; b++) {
        const ht_real scale = y->n_scale == 0 ? 1 : y->scale[y->n_scale > 1 ? b : 0];
        for (size_t k = b * y->cols; k < (b + 1) * y->cols; k++)
            x[k] = scale * y->value[k];
    }
}

void ht_calibration_run_entering(const struct ht_calibration_run *n, const struct ht_model *m,
                                 size_t index, size_t rows, ht_real *x)
{
    const struct ht_quantizer *q = &m->input;
    const struct ht_place_in_run eval = {NULL, 0};
    const size_t cols = m->inputs;
    if (index > 0 || m->input_kind == HT_TENSOR_REAL) {
        real_rows(index > 0 ? n->blocks[index - 1] : n->x, rows, x);
        return;
    }
    for (size_t b = 0; b < rows; b++, x += cols) {
        const ht_real *from = n->x->value + b * cols;
        ht_real scale = 1;
        if (m->input_kind == HT_TENSOR_DYNAMIC) {
            scale = ht_row_levels(&q->grid, q->rounding, from, cols, x).scale;
        } else {
            ht_quantizer_levels(q, 0, eval, from, cols, x);
            scale = q->effective[0];
        }
        for (size_t k = 0; k < cols; k++)
            x[k] *= scale;
    }
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
    struct ht_calibration_run n;
    enum ht_status status = ht_calibration_run_init(&n, m, data->max_rows, HT_FORM_QUANTIZED, err);
    set_calibrating(m, true);
    for (size_t i = 0; status == HT_OK && i < data->batches; i++)
        ht_calibration_run_batch(&n, data, i);
    set_calibrating(m, false);
    m->params.version++; /* learned scales are parameters */
    ht_calibration_run_finish(&n);
    return status;
}

/* --- statistics --- */

enum ht_status ht_model_reestimate_batchnorm(struct ht_model *m,
                                             const struct ht_calibration_data *data,
                                             struct ht_error *err)
{
    struct ht_calibration_run n;
    size_t samples = 0;
    enum ht_status status = ht_calibration_run_init(&n, m, data->max_rows, HT_FORM_QUANTIZED, err);
    for (size_t i = 0; status == HT_OK && i < data->batches; i++) {
        const size_t rows = load_batch(&n, data, i);
        samples += rows;
        const struct ht_run run = {.mode = HT_MODE_EVAL,
                                   .reestimate_batchnorm = (double)rows / (double)samples};
        ht_graph_forward(n.graph, &run);
    }
    ht_calibration_run_finish(&n);
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

/* scale * w[in] E[x]: a sum is linear, so its mean needs only the means of its inputs. */
static double mean_sum(const ht_real *w, size_t in, double scale, const double *mean)
{
    double sum = 0;
    for (size_t k = 0; k < in; k++)
        sum += scale * (double)w[k] * mean[k];
    return sum;
}

enum ht_status ht_model_mean_sums(struct ht_model *m, const struct ht_calibration_data *data,
                                  double *sums, struct ht_error *err)
{
    struct ht_calibration_run plain;
    size_t all = 0;
    double samples = 0;
    for (size_t k = 0; k < m->n_blocks; k++)
        all += m->blocks[k].in;
    double *means = ht_calloc(all, sizeof *means); /* of what enters each block */
    enum ht_status status = ht_calibration_run_init(&plain, m, data->max_rows, HT_FORM_FLOAT, err);
    if (status == HT_OK && !means)
        status = ht_fail_memory(err);
    for (size_t i = 0; status == HT_OK && i < data->batches; i++) {
        const size_t rows = ht_calibration_run_batch(&plain, data, i);
        double *mean = means;
        samples += (double)rows;
        for (size_t k = 0; k < m->n_blocks; mean += m->blocks[k++].in)
            add_columns(k ? plain.blocks[k - 1]->value : plain.x->value, rows, m->blocks[k].in, 1,
                        mean);
    }
    const double *mean = means;
    for (size_t k = 0; status == HT_OK && k < m->n_blocks; mean += m->blocks[k++].in) {
        const ht_real *w = m->params.value + m->params.spans[m->blocks[k].weight_span].offset;
        for (size_t n = 0; n < m->blocks[k].out; n++, w += m->blocks[k].in)
            *sums++ = mean_sum(w, m->blocks[k].in, 1 / samples, mean);
    }
    ht_calibration_run_finish(&plain);
    ht_free(means);
    return status;
}

/* The quantized weights of neuron n of a block are value[in] times what is returned. */
static double weight_row(const struct ht_block *b, const ht_real *w, size_t n, ht_real *value)
{
    const struct ht_quantizer *q = &b->weights;
    const struct ht_place_in_run eval = {NULL, 0};
    for (size_t k = 0; ht_grid_is_float16(&q->grid) && k < b->in; k++)
        value[k] = (ht_real)ht_half_to_float(ht_half_of_float((float)w[k]));
    if (ht_grid_is_float16(&q->grid))
        return 1;
    for (size_t g = 0; g < q->groups; g++) {
        const struct ht_row_part p = ht_quantizer_part(q, n, g, b->in);
        ht_quantizer_levels(q, p.channel, eval, w + p.at, p.n, value + p.at);
        if (q->group)
            ht_group_multiply(q, p.channel, p.n, value + p.at);
    }
    return (double)q->unit[q->channels == q->groups ? 0 : n];
}

struct correction {
    struct ht_model *m;
    struct ht_calibration_run quantized;
    ht_real *levels; /* of a batch of the input, or of a row of weights */
    double *mean;    /* of what enters one layer */
};

static void correction_finish(struct correction *c)
{
    ht_calibration_run_finish(&c->quantized);
    ht_free(c->levels);
    ht_free(c->mean);
}

static enum ht_status correction_init(struct correction *c, struct ht_model *m,
                                      const struct ht_calibration_data *data, struct ht_error *err)
{
    size_t widest = 0, room;
    memset(c, 0, sizeof *c);
    c->m = m;
    for (size_t i = 0; i < m->n_blocks; i++) {
        const struct ht_block *b = &m->blocks[i];
        if (!b->bias && !b->batchnorm)
            return ht_fail(err, HT_ERR_CONFIG, "%s: no bias to correct", b->name);
        widest = b->in > widest ? b->in : widest;
    }
    if (!ht_mul_size(widest, data->max_rows, &room))
        return ht_fail_memory(err);
    c->levels = ht_calloc(room, sizeof *c->levels);
    c->mean = ht_calloc(widest, sizeof *c->mean);
    if (!c->levels || !c->mean)
        return ht_fail_memory(err);
    return ht_calibration_run_init(&c->quantized, m, data->max_rows, HT_FORM_QUANTIZED, err);
}

static void measure(struct correction *c, size_t index, const struct ht_calibration_data *data)
{
    const size_t cols = c->m->blocks[index].in;
    double samples = 0;
    memset(c->mean, 0, cols * sizeof *c->mean);
    for (size_t i = 0; i < data->batches; i++) {
        const size_t rows = ht_calibration_run_batch(&c->quantized, data, i);
        ht_calibration_run_entering(&c->quantized, c->m, index, rows, c->levels);
        samples += (double)rows;
        add_columns(c->levels, rows, cols, 1, c->mean);
    }
    for (size_t j = 0; j < cols; j++)
        c->mean[j] /= samples;
}

/* By W~ E[x~] - E[W x]. plain: E[W x], [out]. */
static void correct_layer(struct correction *c, size_t index, const double *plain)
{
    struct ht_model *m = c->m;
    const struct ht_block *b = &m->blocks[index];
    const ht_real *w = m->params.value + m->params.spans[b->weight_span].offset;
    for (size_t n = 0; n < b->out; n++, w += b->in) {
        const double scale = weight_row(b, w, n, c->levels);
        const double error = mean_sum(c->levels, b->in, scale, c->mean) - plain[n];
        if (b->batchnorm)
            m->state.value[m->state.spans[b->mean_span].offset + n] += (ht_real)error;
        else
            m->params.value[m->params.spans[b->bias_span].offset + n] -= (ht_real)error;
    }
}

enum ht_status ht_model_correct_biases(struct ht_model *m, const struct ht_calibration_data *data,
                                       const double *sums, struct ht_error *err)
{
    struct correction c;
    enum ht_status status = correction_init(&c, m, data, err);
    for (size_t i = 0; status == HT_OK && i < m->n_blocks; i++) {
        measure(&c, i, data);
        correct_layer(&c, i, sums);
        sums += m->blocks[i].out;
    }
    m->params.version++;
    correction_finish(&c);
    return status;
}
