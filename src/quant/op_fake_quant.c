/* Fake quantization of weights, of the network's input and of values in front of a table:
 * value = round(clamp(x / scale)), real value = value * scale (docs/numerics.md, 2). */
#include "autograd/op.h"
#include "kernels/kernels.h"
#include "quant/quantizer.h"

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
    struct ht_node *in[2] = {x, NULL};
    int n_in = 1;
    if (q->range->learned)
        in[n_in++] = ht_graph_param(g, params, q->scale_span);
    return ht_graph_add(g, &ht_op_fake_quant, &attr, n_in, in);
}

bool ht_fake_quant_fits_kernels(const struct ht_node *w)
{
    return w && w->op == &ht_op_fake_quant && !quantizer_of(w)->grid.has_zero_point &&
           quantizer_of(w)->grid.lo >= -127;
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    const struct ht_quantizer *q = quantizer_of(n);
    enum ht_status status = ht_infer_like_input(n, err);
    if (status != HT_OK)
        return status;
    HT_OP_REQUIRE(n, err, q->channels == 1 || q->channels == n->rows,
                  "one scale per tensor or per row");
    n->n_scale = q->channels;
    n->signed_levels = q->grid.lo < 0;
    n->scratch_back_size = n->cols;
    n->residual_size = n->rows * n->cols;
    return HT_OK;
}

/* Rows that share a scale, as one run of elements: row by row, or the whole tensor. */
static size_t run_length(const struct ht_node *n, const struct ht_quantizer *q)
{
    return q->channels == 1 ? n->rows * n->cols : n->cols;
}

static void surrogate(struct ht_node *n, const struct ht_quantizer *q)
{
    size_t length = run_length(n, q);
    for (size_t c = 0; c < q->channels; c++) {
        struct ht_rounder r = ht_quantizer_rounder(q, c);
        for (size_t i = c * length; i < (c + 1) * length; i++) {
            ht_real u = n->in[0]->value[i] / q->scale[c];
            if (q->estimator->clips)
                u = ht_clamp(u, r.lo, r.hi);
            n->value[i] = u + n->residual[i];
        }
        n->scale[c] = q->scale[c];
    }
}

static void keep_residual(struct ht_node *n, const struct ht_quantizer *q)
{
    size_t length = run_length(n, q);
    for (size_t c = 0; c < q->channels; c++) {
        struct ht_rounder r = ht_quantizer_rounder(q, c);
        for (size_t i = c * length; i < (c + 1) * length; i++) {
            ht_real u = n->in[0]->value[i] / q->scale[c];
            n->residual[i] = n->value[i] - (q->estimator->clips ? ht_clamp(u, r.lo, r.hi) : u);
        }
    }
}

struct job {
    struct ht_node *n;
    struct ht_quantizer *q;
    bool observes; /* row by row, before it is quantized */
};

/* To bytes. A row is measured and quantized while it is in L1. */
static void quantize_row(const struct job *j, size_t row)
{
    const struct ht_node *n = j->n;
    struct ht_quantizer *q = j->q;
    const size_t c = q->channels == 1 ? 0 : row, at = row * n->cols;
    if (j->observes)
        ht_quantizer_observe_channel(q, c, n->in[0]->value + at, n->cols);
    const struct ht_kernel_quantizer kernel = ht_quantizer_for_kernels(q, c);
    n->kernels->quantize((const float *)(const void *)(n->in[0]->value + at), n->cols,
                         (float)q->scale[c], &kernel, (uint8_t *)ht_node_levels(n) + at);
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
    struct job j = {n, q, measures && by_row};
    if (measures && !by_row)
        ht_quantizer_observe(q, n->in[0]->value, n->rows * n->cols);
    if (measures || !is_fresh(n))
        ht_pool_run(run->pool, (n->rows + PART_ROWS - 1) / PART_ROWS, quantize_rows, &j);
    if (measures && by_row)
        ht_quantizer_observed(q);
    if (measures)
        note_measured(n, q);
    n->zero_point = (int)q->zero_point[0];
    for (size_t c = 0; c < q->channels; c++)
        n->scale[c] = q->scale[c];
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    struct ht_quantizer *q = quantizer_of(n);
    size_t length = run_length(n, q);
    const ht_real *x = n->in[0]->value;
    if (run->mode == HT_MODE_SURROGATE) {
        surrogate(n, q);
        return;
    }
    if (n->as_bytes) {
        forward_bytes(n, q, run);
        return;
    }
    if (observes(n, q, run)) {
        ht_quantizer_observe(q, x, length);
        note_measured(n, q);
    }
    for (size_t c = 0; c < q->channels; c++) {
        struct ht_rounder r = ht_quantizer_rounder(q, c);
        ht_quantize_row(&r, x + c * length, q->scale[c], length, n->value + c * length);
        n->scale[c] = q->scale[c];
    }
    if (n->residual)
        keep_residual(n, q);
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const struct ht_node *x = n->in[0];
    size_t rows_per_channel = q->channels == 1 ? n->rows : 1;
    ht_real *u = n->scratch_back;
    for (size_t c = 0; c < q->channels; c++) {
        struct ht_rounder r = ht_quantizer_rounder(q, c);
        ht_real inverse = 1 / n->scale[c], sum = 0;
        for (size_t row = c; row < c + rows_per_channel; row++) {
            const size_t at = row * n->cols;
            for (size_t j = 0; j < n->cols; j++)
                u[j] = x->value[at + j] * inverse;
            if (q->range->learned)
                sum += q->estimator->scale(u, n->value + at, n->grad + at, n->cols, r.lo, r.hi);
            if (!x->needs_grad)
                continue;
            if (n->first_grad[0]) {
                q->estimator->input(u, n->grad + at, n->cols, r.lo, r.hi, x->grad + at);
            } else {
                q->estimator->input(u, n->grad + at, n->cols, r.lo, r.hi, u);
                for (size_t j = 0; j < n->cols; j++)
                    x->grad[at + j] += u[j];
            }
        }
        if (q->range->learned)
            ht_grad_put(n, 1, c, ht_quantizer_scale_gradient(q, c, sum, n->rows, n->cols));
    }
}

void ht_fake_quant_backward_rows(struct ht_node *n, size_t first, size_t rows, ht_real *sums)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const int8_t *levels = ht_node_levels(n);
    if (!q->range->learned && !q->estimator->clips)
        return;
    for (size_t row = first; row < first + rows; row++) {
        const size_t c = q->channels == 1 ? 0 : row, at = row * n->cols;
        const struct ht_rounder r = ht_quantizer_rounder(q, c);
        sums[row] = q->estimator->both(n->in[0]->value + at, 1 / n->scale[c], levels + at, n->cols,
                                       r.lo, r.hi, n->in[0]->grad + at);
    }
}

void ht_fake_quant_backward_scales(struct ht_node *n, size_t first, size_t rows,
                                   const ht_real *sums)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const size_t rows_per_channel = q->channels == 1 ? n->rows : 1;
    if (!q->range->learned || (q->channels == 1 && rows != n->rows))
        return;
    for (size_t c = first; c < (q->channels == 1 ? 1 : first + rows); c++) {
        ht_real sum = 0;
        for (size_t row = c; row < c + rows_per_channel; row++)
            sum += sums[row];
        ht_grad_put(n, 1, c, ht_quantizer_scale_gradient(q, c, sum, n->rows, n->cols));
    }
}

bool ht_fake_quant_steps_by_rows(const struct ht_node *n)
{
    const struct ht_quantizer *q = quantizer_of(n);
    return q->range->learned && q->channels == n->rows;
}

void ht_fake_quant_refresh_rows(struct ht_node *n, size_t first, size_t rows)
{
    const struct job j = {n, quantizer_of(n), false};
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
