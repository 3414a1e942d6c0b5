/* Fake quantization of weights, of the network's input and of values in front of a table:
 * value = round(clamp(x / scale)), real value = value * scale (docs/numerics.md, 2). */
#include <string.h>

#include "autograd/op.h"
#include "kernels/kernels.h"
#include "quant/group.h"
#include "quant/tables.h"

#define PART_ROWS ((size_t)32) /* that a thread takes at a time */

struct attr {
    struct ht_quantizer *quantizer;
    uint64_t
        fresh; /* version of the parameters that the bytes are of, when refreshed early; else 0 */
};

static struct ht_quantizer *quantizer_of(const struct ht_node *n)
{
    return ((const struct attr *)n->attr)->quantizer;
}

struct ht_node *ht_fake_quant(struct ht_graph *g, struct ht_node *x, struct ht_quantizer *q,
                              const struct ht_params *params)
{
    struct attr attr = {q, 0};
    struct ht_node *in[4] = {x, NULL, NULL, NULL};
    int n_in = 1;
    if (q->range->learned)
        in[n_in++] = ht_graph_param(g, params, q->scale_span);
    else if (q->grid.learned)
        in[n_in++] = ht_graph_param(g, params, q->centroid_span);
    if (ht_quantizer_has_offset(q))
        in[n_in++] = ht_graph_param(g, params, q->offset_span);
    if (q->norm_span >= 0)
        in[n_in++] = ht_graph_param(g, params, q->norm_span);
    if (q->estimator->shape)
        in[n_in++] = ht_graph_param(g, params, q->softness_span);
    return ht_graph_add(g, &ht_op_fake_quant, &attr, n_in, in);
}

bool ht_fake_quant_fits_kernels(const struct ht_node *w)
{
    const struct ht_quantizer *q = w && w->op == &ht_op_fake_quant ? quantizer_of(w) : NULL;
    return q && !q->grid.has_zero_point && q->grid.lo >= -127 && !q->estimator->shape;
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    const struct ht_quantizer *q = quantizer_of(n);
    enum ht_status status = ht_infer_like_input(n, err);
    if (status != HT_OK)
        return status;
    HT_OP_REQUIRE(n, err, q->channels == 1 || q->channels == n->rows * q->groups,
                  "one scale per tensor, row, or group of a row");
    HT_OP_REQUIRE(n, err, q->group == 0 || (n->cols + q->group - 1) / q->group == q->groups,
                  "groups of other rows");
    n->n_scale = q->channels / q->groups;
    n->signed_levels = ht_grid_is_signed(&q->grid);
    n->scratch_back_size = 2 * n->cols; /* u of a row, and q where it is bytes */
    n->residual_size = n->rows * n->cols * (q->grid.learned ? 2 : 1);
    return HT_OK;
}

/* Rows that share a scale, as one run of elements: row by row, or the whole tensor. With groups a
 * row, whose parts have their scales. */
static size_t run_length(const struct ht_node *n)
{
    return n->n_scale == 1 ? n->rows * n->cols : n->cols;
}

static ht_real unit(const struct ht_quantizer *q, const struct ht_estimate *e, ht_real x)
{
    if (q->estimator->transform)
        q->estimator->transform(&x, 1, e, &x);
    return x / e->scale;
}

/* For gradient checks of a codebook: the levels of the last TRAIN run. */
static ht_real *levels_kept(const struct ht_node *n)
{
    return n->residual + n->rows * n->cols;
}

/* A codebook's surrogate has the centroid, over the scale, beside it: both then have derivative 1.
 */
static ht_real centroid_of(const struct ht_node *n, const struct ht_quantizer *q, size_t c,
                           size_t i)
{
    if (!q->centroid)
        return 0;
    return q->centroid[q->centroid_of[(int)levels_kept(n)[i] + 128]] / q->effective[c];
}

static void surrogate_part(struct ht_node *n, size_t run, const struct ht_row_part *p)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const struct ht_estimate e = ht_quantizer_surrogate_estimate(q, p->channel);
    const size_t first = run * run_length(n) + p->at;
    for (size_t i = first; i < first + p->n; i++) {
        n->value[i] =
            ht_quantizer_surrogate(q, &e, unit(q, &e, n->in[0]->value[i]), n->residual[i]) +
            centroid_of(n, q, p->channel, i);
        if (q->group)
            n->value[i] *= e.scale / q->unit[run];
    }
}

static void surrogate(struct ht_node *n, const struct ht_quantizer *q)
{
    for (size_t run = 0; run < n->n_scale; run++) {
        for (size_t g = 0; g < q->groups; g++) {
            const struct ht_row_part p = ht_quantizer_part(q, run, g, run_length(n));
            surrogate_part(n, run, &p);
        }
        n->scale[run] = q->unit[run];
    }
}

static void keep_residual_part(struct ht_node *n, size_t run, const struct ht_row_part *p)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const struct ht_estimate e = ht_quantizer_estimate(q, p->channel);
    const size_t first = run * run_length(n) + p->at;
    for (size_t i = first; i < first + p->n; i++) {
        const ht_real code = q->group ? n->value[i] / q->group_scale[p->channel] : n->value[i];
        ht_quantizer_keep_residual(q, &e, unit(q, &e, n->in[0]->value[i]),
                                   code - centroid_of(n, q, p->channel, i), &n->residual[i]);
    }
}

static void keep_residual(struct ht_node *n, const struct ht_quantizer *q)
{
    if (q->centroid)
        memcpy(levels_kept(n), n->value, n->rows * n->cols * sizeof *n->value);
    for (size_t run = 0; run < n->n_scale; run++)
        for (size_t g = 0; g < q->groups; g++) {
            const struct ht_row_part p = ht_quantizer_part(q, run, g, run_length(n));
            keep_residual_part(n, run, &p);
        }
}

struct job {
    struct ht_node *n;
    struct ht_quantizer *q;
    const struct ht_run *run;
    bool observes; /* row by row, before it is quantized */
};

#define BLOCK ((size_t)256)

/* n weights to bytes where the kernels cannot do it. */
static void quantize_by_blocks(const struct job *j, size_t channel, size_t at, size_t length)
{
    ht_real level[BLOCK];
    uint8_t *bytes = ht_node_levels(j->n);
    const int zero_point = (int)j->q->zero_point[channel];
    for (size_t done = 0; done < length; done += BLOCK) {
        const size_t n = length - done < BLOCK ? length - done : BLOCK;
        const struct ht_place_in_run place = {j->run, at + done};
        ht_quantizer_levels(j->q, channel, place, j->n->in[0]->value + at + done, n, level);
        for (size_t i = 0; i < n; i++)
            bytes[at + done + i] = (uint8_t)((int)level[i] + zero_point);
    }
}

static void quantize_part(const struct job *j, size_t c, size_t at, size_t length)
{
    const struct ht_node *n = j->n;
    struct ht_quantizer *q = j->q;
    uint8_t *levels = (uint8_t *)ht_node_levels(n) + at;
    const ht_real *x = n->in[0]->value + at;
    ht_quantizer_prepare(q, c, x, length);
    if (!ht_quantizer_is_plain(q, j->run)) {
        quantize_by_blocks(j, c, at, length);
    } else if (q->grid.step == 0) {
        const struct ht_rounder table = ht_quantizer_rounder(q, c);
        ht_quantize_row_to_bytes(&table, x, q->effective[c], length, (int8_t *)levels);
    } else {
        const struct ht_kernel_quantizer kernel = ht_quantizer_for_kernels(q, c);
        n->kernels->quantize((const float *)(const void *)x, length, (float)q->effective[c],
                             &kernel, levels);
    }
    if (q->group)
        ht_group_multiply_bytes(q, c, length, (int8_t *)levels);
}

static void observe_row(const struct job *j, size_t row)
{
    struct ht_quantizer *q = j->q;
    for (size_t g = 0; g < q->groups; g++) {
        const struct ht_row_part p = ht_quantizer_part(q, row, g, j->n->cols);
        ht_quantizer_observe_channel(q, p.channel, j->n->in[0]->value + row * j->n->cols + p.at,
                                     p.n);
        ht_quantizer_refresh_channel(q, p.channel, HT_MODE_TRAIN);
    }
    if (q->group)
        ht_group_refresh(q, row, HT_MODE_TRAIN);
}

/* To bytes. A row is measured and quantized while it is in L1. */
static void quantize_row(const struct job *j, size_t row)
{
    if (j->observes)
        observe_row(j, row);
    for (size_t g = 0; g < j->q->groups; g++) {
        const struct ht_row_part p = ht_quantizer_part(j->q, row, g, j->n->cols);
        quantize_part(j, p.channel, row * j->n->cols + p.at, p.n);
    }
}

static void quantize_rows(void *user, size_t part)
{
    const struct job *j = user;
    const size_t end = (part + 1) * PART_ROWS;
    for (size_t row = part * PART_ROWS; row < end && row < j->n->rows; row++)
        quantize_row(j, row);
}

static bool is_fresh(const struct ht_node *n)
{
    const struct attr *a = n->attr;
    return n->in[0]->params && a->fresh != 0 && a->fresh == n->in[0]->params->version;
}

/* The ranges that read all values cost more than the forward itself: once for each change of the
 * weights is enough. */
static bool observes(const struct ht_node *n, const struct ht_quantizer *q,
                     const struct ht_run *run)
{
    const struct ht_params *params = n->in[0]->params;
    const bool known = q->of_weights && q->range->current && q->range->of_values && params &&
                       q->ready[0] != 0 && q->measured == params->version + 1;
    return ht_quantizer_observes(q, run->mode) && !known;
}

static void note_measured(const struct ht_node *n, struct ht_quantizer *q)
{
    if (n->in[0]->params)
        q->measured = n->in[0]->params->version + 1;
}

static void forward_bytes(struct ht_node *n, struct ht_quantizer *q, const struct ht_run *run)
{
    const bool measures = observes(n, q, run), by_row = q->channels > 1;
    struct job j = {n, q, run, measures && by_row};
    if (measures && !by_row)
        ht_quantizer_observe(q, n->in[0]->value, n->rows * n->cols);
    if (!j.observes)
        ht_quantizer_refresh(q, run->mode);
    if (measures || !is_fresh(n))
        ht_pool_run(run->pool, (n->rows + PART_ROWS - 1) / PART_ROWS, quantize_rows, &j);
    if (measures && by_row)
        ht_quantizer_observed(q);
    if (measures)
        note_measured(n, q);
    n->zero_point = (int)q->zero_point[0];
    for (size_t i = 0; i < n->n_scale; i++)
        n->scale[i] = q->unit[i];
}

/* Run by run to whole numbers in floats. */
static void forward_values(struct ht_node *n, const struct ht_quantizer *q,
                           const struct ht_run *run)
{
    const size_t length = run_length(n);
    for (size_t i = 0; i < n->n_scale; i++) {
        for (size_t g = 0; g < q->groups; g++) {
            const struct ht_row_part p = ht_quantizer_part(q, i, g, length);
            const size_t at = i * length + p.at;
            const struct ht_place_in_run place = {run, at};
            ht_quantizer_levels(q, p.channel, place, n->in[0]->value + at, p.n, n->value + at);
            if (q->group)
                ht_group_multiply(q, p.channel, p.n, n->value + at);
        }
        n->scale[i] = q->unit[i];
    }
}

/* Weights without groups: those with have no estimator that prepares. */
static void prepare_all(const struct ht_node *n, struct ht_quantizer *q)
{
    const size_t length = n->rows * n->cols / q->channels;
    for (size_t c = 0; q->estimator->prepare && c < q->channels; c++)
        ht_quantizer_prepare(q, c, n->in[0]->value + c * length, length);
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    struct ht_quantizer *q = quantizer_of(n);
    if (run->mode == HT_MODE_SURROGATE) {
        ht_quantizer_refresh(q, run->mode);
        prepare_all(n, q);
        surrogate(n, q);
        return;
    }
    if (n->as_bytes) {
        forward_bytes(n, q, run);
        return;
    }
    if (observes(n, q, run)) {
        ht_quantizer_observe(q, n->in[0]->value, run_length(n));
        note_measured(n, q);
    }
    ht_quantizer_refresh(q, run->mode);
    prepare_all(n, q);
    forward_values(n, q, run);
    if (n->residual)
        keep_residual(n, q);
}

/* u of a row as backward has it: a product, the same in both ways of training. */
static void row_units(const struct ht_quantizer *q, const struct ht_estimate *e, const ht_real *x,
                      size_t n, ht_real *u)
{
    const ht_real inverse = 1 / e->scale;
    if (q->estimator->transform) {
        q->estimator->transform(x, n, e, u);
        x = u;
    }
    for (size_t j = 0; j < n; j++)
        u[j] = x[j] * inverse;
}

/* q of a part of a row: as it is, or to the buffer, from bytes or levels of a group. */
static const ht_real *rounded_part(const struct ht_node *n, const struct ht_row_part *p, size_t at,
                                   ht_real *buffer)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const ht_real *rounded = n->value + at;
    if (n->as_bytes) {
        const uint8_t *levels = (const uint8_t *)ht_node_levels(n) + at;
        for (size_t j = 0; j < p->n; j++) {
            const int level = n->signed_levels ? (int)(int8_t)levels[j] : (int)levels[j];
            buffer[j] = (ht_real)(level - n->zero_point);
        }
        rounded = buffer;
    }
    if (!q->group)
        return rounded;
    ht_group_divide(q, p->channel, rounded, p->n, buffer);
    return buffer;
}

/* Where the estimator looks at whole rows: the rest of its gradients. Returns what the scale's sum
 * gets. */
static ht_real finish_row(struct ht_node *n, size_t channel, const ht_real *x, ht_real *dx)
{
    const struct ht_quantizer *q = quantizer_of(n);
    ht_real dnorm;
    if (!q->estimator->finish)
        return 0;
    const ht_real sum = q->estimator->finish(q, channel, x, n->cols, dx, &dnorm);
    ht_grad_put(n, n->n_in - 1, channel, dnorm);
    return sum;
}

/* dx of a part of a row, with what dampening adds. Returns what finish_row does. */
static ht_real part_gradient(struct ht_node *n, const struct ht_row_part *p, size_t at,
                             const struct ht_estimate *e, const ht_real *u, const ht_real *rounded,
                             ht_real *dx)
{
    const struct ht_quantizer *q = quantizer_of(n);
    q->estimator->input(u, rounded, n->grad + at, p->n, e, dx);
    const ht_real sum = finish_row(n, p->channel, n->in[0]->value + at, dx);
    if (q->dampening > 0)
        ht_quantizer_dampen(q, p->channel, n->in[0]->value + at, rounded, NULL, p->n, dx);
    return sum;
}

size_t ht_fake_quant_sums(const struct ht_node *n)
{
    const struct ht_quantizer *q = quantizer_of(n);
    return q->grid.learned ? (size_t)1 << q->grid.bits : q->groups;
}

/* The sums of each row, added in the order of rows: so too where rows are bytes. */
static void put_centroids(struct ht_node *n, size_t row, const ht_real *sums, ht_real *total)
{
    const size_t n_sums = ht_fake_quant_sums(n);
    for (size_t k = 0; k < n_sums; k++)
        total[k] = (row ? total[k] : 0) + sums[k];
    for (size_t k = 0; row + 1 == n->rows && k < n_sums; k++)
        ht_grad_put(n, 1, k, total[k]);
}

static void backward_centroids(struct ht_node *n)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const ht_real *levels = n->residual ? levels_kept(n) : n->value;
    ht_real sums[HT_GRID_TABLE], total[HT_GRID_TABLE];
    for (size_t row = 0; row < n->rows; row++) {
        memset(sums, 0, sizeof sums);
        ht_codebook_add(q, levels + row * n->cols, n->grad + row * n->cols, n->cols, sums);
        put_centroids(n, row, sums, total);
    }
}

/* Of the gradients of learned parameters. */
struct sums {
    ht_real scale, offset, shape;
};

static void backward_part(struct ht_node *n, const struct ht_row_part *p, size_t at,
                          struct sums *sums)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const struct ht_node *x = n->in[0];
    const struct ht_estimate e = ht_quantizer_estimate(q, p->channel);
    ht_real *u = n->scratch_back;
    const ht_real *rounded = rounded_part(n, p, at, u + n->cols);
    row_units(q, &e, x->value + at, p->n, u);
    if (q->range->learned)
        sums->scale += q->estimator->scale(u, rounded, n->grad + at, p->n, &e);
    if (q->offset)
        sums->offset += q->estimator->offset(u, n->grad + at, p->n, &e);
    if (q->softness)
        sums->shape += q->estimator->shape(u, n->grad + at, p->n, &e);
    if (!x->needs_grad)
        return;
    if (n->first_grad[0]) {
        sums->scale += part_gradient(n, p, at, &e, u, rounded, x->grad + at);
        return;
    }
    sums->scale += part_gradient(n, p, at, &e, u, rounded, u);
    for (size_t j = 0; j < p->n; j++)
        x->grad[at + j] += u[j];
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_quantizer *q = quantizer_of(n);
    struct sums sums = {0, 0, 0};
    if (q->grid.learned)
        backward_centroids(n);
    for (size_t row = 0; row < n->rows; row++)
        for (size_t g = 0; g < q->groups; g++) {
            const struct ht_row_part p = ht_quantizer_part(q, row, g, n->cols);
            const bool last = q->channels > 1 || row + 1 == n->rows; /* of this scale */
            backward_part(n, &p, row * n->cols + p.at, &sums);
            if (!q->range->learned || !last)
                continue;
            ht_grad_put(n, 1, p.channel,
                        ht_quantizer_scale_gradient(q, p.channel, sums.scale, n->rows, n->cols));
            sums.scale = 0;
        }
    if (q->offset)
        ht_grad_put(n, 2, 0, ht_quantizer_offset_gradient(q, sums.offset, n->cols));
    if (q->softness)
        ht_grad_put(n, n->n_in - 1, 0, ht_quantizer_softness_gradient(q, sums.shape));
}

/* A part of a row of weights that are bytes, in place; returns the sum for its scale. */
static ht_real part_of_bytes(struct ht_node *n, const struct ht_row_part *p, size_t at)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const struct ht_estimate e = ht_quantizer_estimate(q, p->channel);
    int8_t codes[HT_GROUP_MAX];
    const int8_t *levels = (const int8_t *)ht_node_levels(n) + at;
    const ht_real *x = n->in[0]->value + at, inverse = 1 / e.scale;
    ht_real *grad = n->in[0]->grad + at, sum = 0;
    if (q->group) {
        ht_group_divide_bytes(q, p->channel, levels, p->n, codes);
        levels = codes;
    }
    if (!q->estimator->transform) {
        sum = q->estimator->both(x, inverse, levels, p->n, &e, grad);
    } else {
        ht_real to[BLOCK];
        for (size_t done = 0; done < p->n; done += BLOCK) {
            const size_t count = p->n - done < BLOCK ? p->n - done : BLOCK;
            q->estimator->transform(x + done, count, &e, to);
            sum += q->estimator->both(to, inverse, levels + done, count, &e, grad + done);
        }
        sum += finish_row(n, p->channel, x, grad);
    }
    if (q->dampening > 0)
        ht_quantizer_dampen(q, p->channel, x, NULL, levels, p->n, grad);
    return sum;
}

void ht_fake_quant_backward_rows(struct ht_node *n, size_t first, size_t rows, ht_real *sums)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const int8_t *levels = ht_node_levels(n);
    const size_t n_sums = ht_fake_quant_sums(n);
    for (size_t row = first; q->grid.learned && row < first + rows; row++) {
        const size_t at = row * n->cols;
        memset(sums + row * n_sums, 0, n_sums * sizeof *sums);
        ht_codebook_add_bytes(q, levels + at, n->in[0]->grad + at, n->cols, sums + row * n_sums);
    }
    if (!q->range->learned && q->estimator->identity && !(q->dampening > 0))
        return;
    for (size_t row = first; row < first + rows; row++)
        for (size_t g = 0; g < q->groups; g++) {
            const struct ht_row_part p = ht_quantizer_part(q, row, g, n->cols);
            const ht_real sum = part_of_bytes(n, &p, row * n->cols + p.at);
            if (!q->grid.learned)
                sums[row * q->groups + g] = sum;
        }
}

void ht_fake_quant_backward_scales(struct ht_node *n, size_t first, size_t rows,
                                   const ht_real *sums)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const size_t rows_per_channel = q->channels == 1 ? n->rows : 1, n_sums = ht_fake_quant_sums(n);
    const bool all = first == 0 && rows == n->rows;
    ht_real total[HT_GRID_TABLE];
    for (size_t row = 0; q->grid.learned && all && row < n->rows; row++)
        put_centroids(n, row, sums + row * n_sums, total);
    if (!q->range->learned || (q->channels == 1 && !all))
        return;
    for (size_t c = first * q->groups; c < (q->channels == 1 ? 1 : (first + rows) * q->groups);
         c++) {
        ht_real sum = 0;
        for (size_t row = c; row < c + rows_per_channel; row++)
            sum += sums[row];
        ht_grad_put(n, 1, c, ht_quantizer_scale_gradient(q, c, sum, n->rows, n->cols));
    }
}

bool ht_fake_quant_steps_by_rows(const struct ht_node *n)
{
    const struct ht_quantizer *q = quantizer_of(n);
    return q->range->learned && q->channels == n->rows && q->effective == q->scale &&
           !q->stochastic && !q->estimator->prepare;
}

void ht_fake_quant_refresh_rows(struct ht_node *n, size_t first, size_t rows)
{
    const struct job j = {n, quantizer_of(n), NULL, false};
    for (size_t row = first; row < first + rows; row++)
        quantize_row(&j, row);
}

void ht_fake_quant_refreshed(struct ht_node *n)
{
    ((struct attr *)n->attr)->fresh = n->in[0]->params->version;
}

const struct ht_op ht_op_fake_quant = {
    "fake_quant",
    sizeof(struct attr),
    HT_OP_USES_INPUTS | HT_OP_USES_OUTPUT | HT_OP_MAKES_BYTES,
    infer,
    forward,
    backward,
};
