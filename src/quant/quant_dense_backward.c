/* Backward of quant_dense, divided as forward is. */
#include <math.h>

#include "base/vectorized.h"
#include "quant/quant_dense_internal.h"
#include "tensor/blas.h"

struct work {
    struct ht_node *n;
    const struct ht_run *run;
    ht_real *dv;        /* [B, out] gradient in front of the output quantizer and the activation */
    ht_real *scaled;    /* [B, out] dv times the scales of the weights */
    ht_real *sum, *dot; /* [out] over the batch, of dv and of dv * normalized */
    ht_real *row_sums;  /* [B] of the output scale's gradient */
    ht_real *row_offsets; /* [B] of the output offset's gradient */
    ht_real *row_shapes;  /* [B] of the output softness's gradient */
    ht_real *x;           /* [B, in]: levels - zero_point as floats */
    ht_real *w;           /* on kernels: for each part of the inputs a block of weights as floats */
    ht_real *scale_sums; /* [out, ht_fake_quant_sums] of the weight scales' gradients, on kernels */
};

static struct work workspace(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_node *x = n->in[HT_QD_X], *w = n->in[HT_QD_W];
    ht_real *p = n->scratch_back;
    struct work k = {.n = n, .run = run, .dv = p, .scaled = p + n->rows * n->cols};
    k.sum = k.scaled + n->rows * n->cols;
    k.dot = k.sum + n->cols;
    k.row_sums = k.dot + n->cols;
    k.row_offsets = k.row_sums + n->rows;
    k.row_shapes = k.row_offsets + n->rows;
    if (!ht_qd_on_kernels(n)) {
        k.x = x->value;
        return k;
    }
    k.scale_sums = k.row_shapes + n->rows;
    k.x = k.scale_sums + w->rows * ht_fake_quant_sums(w);
    k.w = k.x + x->rows * x->cols;
    return k;
}

static void for_rows(const struct work *k, ht_pool_work part)
{
    ht_pool_run(k->run->pool, ht_qd_parts(k->n->rows, HT_QD_ROWS), part, (void *)k);
}

static void for_columns(const struct work *k, ht_pool_work part)
{
    ht_pool_run(k->run->pool, ht_qd_parts(k->n->cols, HT_QD_COLUMNS), part, (void *)k);
}

/* --- through the output quantizer and the activation --- */

HT_VECTORIZED static void pass_inside(const ht_real *units, size_t n, ht_real lo, ht_real hi,
                                      ht_real *dv)
{
    for (size_t j = 0; j < n; j++)
        dv[j] = ((units[j] > lo) & (units[j] < hi)) ? dv[j] : 0;
}

HT_VECTORIZED static void to_reals(const void *bytes, bool is_signed, size_t n, int zero_point,
                                   ht_real *to)
{
    const uint8_t *levels = bytes;
    const int8_t *signed_levels = bytes;
    if (is_signed)
        for (size_t j = 0; j < n; j++)
            to[j] = (ht_real)(signed_levels[j] - zero_point);
    else
        for (size_t j = 0; j < n; j++)
            to[j] = (ht_real)(levels[j] - zero_point);
}

/* q of a row: as it is, or from bytes to the buffer. */
static const ht_real *rounded_row(const struct ht_node *n, size_t b, ht_real *buffer)
{
    const size_t at = b * n->cols;
    if (!n->as_bytes)
        return n->value + at;
    to_reals((const uint8_t *)ht_node_levels(n) + at, n->signed_levels, n->cols, n->zero_point,
             buffer);
    return buffer;
}

static void output_rows(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n;
    const struct ht_quant_dense *s = ht_qd_spec(n);
    const struct ht_quantizer *q = s->out;
    const struct ht_estimate e = ht_quantizer_estimate(q, 0);
    const ht_real lo = s->clamp_lo / n->scale[0], hi = s->clamp_hi / n->scale[0];
    const size_t end = ht_qd_end(part, HT_QD_ROWS, n->rows);
    for (size_t b = part * HT_QD_ROWS; b < end; b++) {
        const size_t at = b * n->cols;
        const ht_real *units = ht_qd_units(n) + at, *dy = n->grad + at;
        ht_real *dv = k->dv + at;
        /* dv is free until input writes it */
        const bool reads = q->range->learned || q->estimator->input_reads_rounded;
        const ht_real *rounded = reads ? rounded_row(n, b, dv) : units;
        if (q->range->learned)
            k->row_sums[b] = q->estimator->scale(units, rounded, dy, n->cols, &e);
        if (q->offset)
            k->row_offsets[b] = q->estimator->offset(units, dy, n->cols, &e);
        if (q->softness)
            k->row_shapes[b] = q->estimator->shape(units, dy, n->cols, &e);
        q->estimator->input(units, rounded, dy, n->cols, &e, dv);
        pass_inside(units, n->cols, lo, hi, dv);
    }
}

static ht_real total(const ht_real *x, size_t n)
{
    ht_real sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

static void backward_output(const struct work *k)
{
    struct ht_node *n = k->n;
    const struct ht_quantizer *q = ht_qd_spec(n)->out;
    const int scale_input = ht_qd_scale_input(ht_qd_spec(n));
    if (!q) {
        for (size_t i = 0; i < n->rows * n->cols; i++)
            k->dv[i] = n->grad[i];
        return;
    }
    for_rows(k, output_rows);
    if (q->softness)
        ht_grad_put(n, n->n_in - 1, 0,
                    ht_quantizer_softness_gradient(q, total(k->row_shapes, n->rows)));
    if (!q->range->learned)
        return;
    ht_grad_put(n, scale_input, 0,
                ht_quantizer_scale_gradient(q, 0, total(k->row_sums, n->rows), n->rows, n->cols));
    if (q->offset)
        ht_grad_put(n, scale_input + 1, 0,
                    ht_quantizer_offset_gradient(q, total(k->row_offsets, n->rows), n->cols));
}

/* --- through bias or batchnorm --- */

HT_VECTORIZED static void sums_of_columns(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n;
    const size_t first = part * HT_QD_COLUMNS, end = ht_qd_end(part, HT_QD_COLUMNS, n->cols);
    const bool normalized = ht_qd_spec(n)->has_batchnorm;
    ht_real *restrict sum = k->sum, *restrict dot = k->dot;
    for (size_t j = first; j < end; j++)
        sum[j] = dot[j] = 0;
    for (size_t b = 0; b < n->rows; b++) {
        const ht_real *d = k->dv + b * n->cols, *x = ht_qd_normalized(n) + b * n->cols;
        for (size_t j = first; j < end; j++)
            sum[j] += d[j];
        for (size_t j = first; normalized && j < end; j++)
            dot[j] += d[j] * x[j];
    }
}

/* In place (Ioffe and Szegedy 2015, sec. 3, written as one expression). */
HT_VECTORIZED static void batchnorm_rows(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n;
    const ht_real *gamma = n->in[HT_QD_FIRST_AFFINE]->value;
    const ht_real *inverse_sigma = ht_qd_inverse_sigma(n), *sum = k->sum, *dot = k->dot;
    const ht_real rows =
        ht_qd_uses_batch_statistics(n, k->run) ? (ht_real)n->rows : (ht_real)INFINITY;
    const size_t end = ht_qd_end(part, HT_QD_ROWS, n->rows);
    for (size_t b = part * HT_QD_ROWS; b < end; b++) {
        ht_real *restrict d = k->dv + b * n->cols;
        const ht_real *normalized = ht_qd_normalized(n) + b * n->cols;
        for (size_t j = 0; j < n->cols; j++) {
            ht_real centred = d[j] - sum[j] / rows - normalized[j] * (dot[j] / rows);
            d[j] = centred * gamma[j] * inverse_sigma[j];
        }
    }
}

static void backward_affine(const struct work *k)
{
    struct ht_node *n = k->n;
    const struct ht_quant_dense *s = ht_qd_spec(n);
    if (!s->has_bias && !s->has_batchnorm)
        return;
    for_columns(k, sums_of_columns);
    for (size_t j = 0; j < n->cols; j++) {
        ht_grad_put(n, HT_QD_FIRST_AFFINE, j, s->has_bias ? k->sum[j] : k->dot[j]);
        if (s->has_batchnorm)
            ht_grad_put(n, HT_QD_FIRST_AFFINE + 1, j, k->sum[j]);
    }
    if (s->has_batchnorm)
        for_rows(k, batchnorm_rows);
}

/* --- to the weights and the input: the dequantized tensors stand in for the float ones, with
 * their scales in front --- */

static void x_rows(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *x = k->n->in[HT_QD_X];
    const size_t at = part * HT_QD_ROWS * x->cols;
    const size_t end = ht_qd_end(part, HT_QD_ROWS, x->rows) * x->cols;
    to_reals((const uint8_t *)ht_node_levels(x) + at, x->signed_levels, end - at, x->zero_point,
             k->x + at);
}

/* Weights whose step may come at once, and the next forward's bytes with it. */
static bool refreshes(const struct work *k)
{
    const struct ht_node *w = k->n->in[HT_QD_W];
    return w->absorbed && k->run->gradient_ready && w->last_grad[0] && w->last_grad[1] &&
           ht_fake_quant_steps_by_rows(w);
}

/* Gradients of some outputs' weights, and on through their quantizer while they are in the cache.
 */
static void weights_of_columns(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n, *x = n->in[HT_QD_X];
    struct ht_node *w = n->in[HT_QD_W];
    const size_t first = part * HT_QD_WEIGHTS, end = ht_qd_end(part, HT_QD_WEIGHTS, n->cols);
    ht_real *grad = (w->absorbed ? w->in[0]->grad : w->grad) + first * x->cols;
    ht_gemm(true, false, end - first, x->cols, n->rows, x->scale[0], k->dv + first, n->cols, k->x,
            x->cols, w->absorbed ? 0 : ht_grad_beta(n, HT_QD_W), grad, x->cols);
    for (size_t row = first; w->absorbed && row < end; row += HT_READY_ROWS) {
        const size_t rows = end - row < HT_READY_ROWS ? end - row : HT_READY_ROWS;
        ht_fake_quant_backward_rows(w, row, rows, k->scale_sums);
        if (refreshes(k)) {
            ht_fake_quant_backward_scales(w, row, rows, k->scale_sums);
            ht_gradient_ready(k->run, w, 1, row, rows);
        }
        ht_gradient_ready(k->run, w, 0, row, rows);
        if (refreshes(k))
            ht_fake_quant_refresh_rows(w, row, rows);
    }
}

/* scaled = dv * scale of the weights */
HT_VECTORIZED static void scale_rows(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n, *w = n->in[HT_QD_W];
    const size_t end = ht_qd_end(part, HT_QD_ROWS, n->rows);
    for (size_t b = part * HT_QD_ROWS; b < end; b++) {
        const ht_real *dv = k->dv + b * n->cols;
        ht_real *restrict scaled = k->scaled + b * n->cols;
        if (w->n_scale == 1)
            for (size_t j = 0; j < n->cols; j++)
                scaled[j] = dv[j] * w->scale[0];
        else
            for (size_t j = 0; j < n->cols; j++)
                scaled[j] = dv[j] * w->scale[j];
    }
}

/* Some columns of the input's gradient: scaled . w, a block of outputs after the other, so that the
 * weights become floats in the cache and are gone again. */
static void input_part(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n, *w = n->in[HT_QD_W];
    struct ht_node *x = n->in[HT_QD_X];
    const size_t first = part * HT_QD_INPUTS, end = ht_qd_end(part, HT_QD_INPUTS, x->cols);
    const size_t stride = end - first;
    ht_real *buffer = ht_qd_on_kernels(n) ? k->w + first * HT_QD_WEIGHTS : NULL;
    for (size_t j = 0; j < n->cols; j += HT_QD_WEIGHTS) {
        const size_t rows = ht_qd_end(j / HT_QD_WEIGHTS, HT_QD_WEIGHTS, n->cols) - j;
        const int8_t *levels = ht_node_levels(w);
        for (size_t i = 0; i < rows && ht_qd_on_kernels(n); i++)
            to_reals(levels + (j + i) * x->cols + first, true, stride, 0, buffer + i * stride);
        ht_gemm(false, false, n->rows, stride, rows, 1, k->scaled + j, n->cols,
                ht_qd_on_kernels(n) ? buffer : w->value + j * x->cols + first,
                ht_qd_on_kernels(n) ? stride : x->cols, j ? 1 : ht_grad_beta(n, HT_QD_X),
                x->grad + first, x->cols);
    }
}

/* The input's gradient first: weights may change as soon as their own is there. */
void ht_qd_backward(struct ht_node *n, const struct ht_run *run)
{
    const struct work k = workspace(n, run);
    const struct ht_node *x = n->in[HT_QD_X];
    struct ht_node *w = n->in[HT_QD_W];
    backward_output(&k);
    backward_affine(&k);
    if (x->needs_grad) {
        for_rows(&k, scale_rows);
        ht_pool_run(run->pool, ht_qd_parts(x->cols, HT_QD_INPUTS), input_part, (void *)&k);
    }
    if (!w->needs_grad)
        return;
    if (ht_qd_on_kernels(n))
        for_rows(&k, x_rows);
    ht_pool_run(run->pool, ht_qd_parts(n->cols, HT_QD_WEIGHTS), weights_of_columns, (void *)&k);
    if (refreshes(&k))
        ht_fake_quant_refreshed(w);
    else if (w->absorbed)
        ht_fake_quant_backward_scales(w, 0, w->rows, k.scale_sums);
}
