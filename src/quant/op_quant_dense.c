#include "quant/quant_dense.h"

#include <float.h>
#include <math.h>

#include "autograd/op.h"
#include "tensor/blas.h"

/* --- building --- */

enum { X, W, FIRST_AFFINE };

static const struct ht_quant_dense *spec_of(const struct ht_node *n)
{
    return n->attr;
}

static int scale_input(const struct ht_quant_dense *s)
{
    return FIRST_AFFINE + (s->has_bias ? 1 : 0) + (s->has_batchnorm ? 2 : 0);
}

struct ht_node *ht_quant_dense(struct ht_graph *g, const struct ht_quant_dense *spec,
                               const struct ht_params *params, struct ht_node *x, struct ht_node *w,
                               struct ht_node *bias_or_gamma, struct ht_node *beta)
{
    struct ht_node *in[HT_MAX_INPUTS] = {x, w, bias_or_gamma, beta};
    if (spec->has_bias && spec->has_batchnorm)
        return ht_graph_fail(g, HT_ERR_CONFIG, "quant_dense: bias or batchnorm, not both");
    int n_in = scale_input(spec);
    if (spec->out && spec->out->range->learned)
        in[n_in++] = ht_graph_param(g, params, spec->out->scale_span);
    return ht_graph_add(g, &ht_op_quant_dense, spec, n_in, in);
}

/* Saved for backward: the activation's value in units of the output scale [B, out] (real output:
 * nothing), the normalized values [B, out] and 1 / sigma [out] under batchnorm. */
static ht_real *saved_units(const struct ht_node *n)
{
    return n->saved;
}

static ht_real *saved_normalized(const struct ht_node *n)
{
    return n->saved + n->rows * n->cols;
}

static ht_real *saved_inverse_sigma(const struct ht_node *n)
{
    return n->saved + 2 * n->rows * n->cols;
}

/* Rounding residuals: of the bias [out], then of the output [B, out]. */
static ht_real *residual_bias(const struct ht_node *n)
{
    return n->residual;
}

static ht_real *residual_output(const struct ht_node *n)
{
    return n->residual + n->cols;
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    const struct ht_quant_dense *s = spec_of(n);
    const struct ht_node *x = n->in[X], *w = n->in[W];
    HT_OP_REQUIRE(n, err, x->n_scale == 1, "the input must be quantized with one scale");
    HT_OP_REQUIRE(n, err, w->n_scale == 1 || w->n_scale == w->rows,
                  "the weights must be quantized, with one scale or one per row");
    HT_OP_REQUIRE(n, err, x->cols == w->cols, "weights and input do not fit");
    HT_OP_REQUIRE(n, err, s->out || (isinf(s->clamp_lo) && isinf(s->clamp_hi)),
                  "a real output has no activation");
    for (int i = FIRST_AFFINE; i < scale_input(s); i++)
        HT_OP_REQUIRE(n, err, n->in[i]->rows == 1 && n->in[i]->cols == w->rows,
                      "bias, gamma and beta are [1, out]");
    HT_OP_REQUIRE(n, err, (double)x->cols * s->product_bound < 1073741824.0,
                  "too many inputs: the sum of products could pass 2^30");
    n->rows = x->rows;
    n->cols = w->rows;
    n->batched = x->batched;
    n->n_scale = s->out ? 1 : 0;
    size_t all = n->rows * n->cols;
    n->saved_size = 2 * all + n->cols;
    n->scratch_size = 2 * all + 4 * n->cols;
    n->scratch_back_size = all + 2 * n->cols;
    n->residual_size = n->cols + all;
    return HT_OK;
}

/* --- the arithmetic that lowering shares --- */

struct ht_folded ht_fold_batchnorm(ht_real weight_scale, ht_real gamma, ht_real beta, ht_real mean,
                                   ht_real var, ht_real epsilon)
{
    ht_real gain = gamma * (ht_real)(1 / sqrt((double)var + (double)epsilon));
    struct ht_folded f = {weight_scale * gain, beta - mean * gain};
    return f;
}

ht_acc ht_quantize_bias(ht_real offset, ht_real accumulator_scale, size_t in, double product_bound)
{
    double limit = 2147483647.0 - (double)in * product_bound;
    double q = rint((double)(offset / accumulator_scale));
    q = q < limit ? q : limit; /* NaN, too, becomes a number */
    return (ht_acc)(q > -limit ? q : -limit);
}

/* --- forward --- */

struct work {
    ht_acc *acc;         /* [B, out] exact sums of products */
    ht_real *value;      /* [B, out] fl(acc + bias) */
    ht_real *scale;      /* [out] accumulator scale s_a * s_w */
    ht_real *multiplier; /* [out] scale / s_y */
    ht_real *mean, *var; /* [out] of the batch */
};

static struct work workspace(const struct ht_node *n)
{
    size_t all = n->rows * n->cols;
    ht_real *p = n->scratch;
    /* The arena is raw memory; ht_acc is as wide as ht_real. */
    struct work w = {(ht_acc *)(void *)p,
                     p + all,
                     p + 2 * all,
                     p + 2 * all + n->cols,
                     p + 2 * all + 2 * n->cols,
                     p + 2 * all + 3 * n->cols};
    return w;
}

/* Whole and at most 2^24 in size, unless training has diverged: then NaN must not reach a cast. */
static inline ht_acc whole(ht_real v)
{
    v = v > -(ht_real)HT_REAL_EXACT_MAX ? v : -(ht_real)HT_REAL_EXACT_MAX;
    return (ht_acc)(v < (ht_real)HT_REAL_EXACT_MAX ? v : (ht_real)HT_REAL_EXACT_MAX);
}

/* acc = x . w^T on whole numbers. sgemm is exact while no partial sum can pass 2^24: longer rows go
 * in chunks that are added as integers (docs/numerics.md, 8). */
static void accumulate(const struct ht_node *n, const struct work *k)
{
    const struct ht_node *x = n->in[X], *w = n->in[W];
    size_t in = x->cols, all = n->rows * n->cols;
    double chunk = floor(HT_REAL_EXACT_MAX / spec_of(n)->product_bound);
    size_t step = chunk < (double)in ? (size_t)chunk : in;
    for (size_t at = 0; at < in; at += step) {
        size_t length = in - at < step ? in - at : step;
        ht_gemm(false, true, n->rows, n->cols, length, 1, x->value + at, in, w->value + at, in, 0,
                k->value, n->cols);
        if (at == 0)
            for (size_t i = 0; i < all; i++)
                k->acc[i] = whole(k->value[i]);
        else
            for (size_t i = 0; i < all; i++)
                k->acc[i] += whole(k->value[i]);
    }
}

static ht_real weight_scale(const struct ht_node *n, size_t j)
{
    const struct ht_node *w = n->in[W];
    return w->scale[w->n_scale == 1 ? 0 : j];
}

static bool uses_batch_statistics(const struct ht_node *n, const struct ht_run *run)
{
    return spec_of(n)->has_batchnorm && run->mode != HT_MODE_EVAL && !run->freeze_batchnorm;
}

static struct ht_folded fold(const struct ht_node *n, size_t j)
{
    const struct ht_quant_dense *s = spec_of(n);
    struct ht_folded f = {weight_scale(n, j), 0};
    if (s->has_bias)
        f.offset = n->in[FIRST_AFFINE]->value[j];
    if (s->has_batchnorm)
        f = ht_fold_batchnorm(f.weight_scale, n->in[FIRST_AFFINE]->value[j],
                              n->in[FIRST_AFFINE + 1]->value[j], s->running_mean[j],
                              s->running_var[j], s->epsilon);
    return f;
}

/* scale and value = fl(acc + bias), everything folded. */
static void apply_folded(struct ht_node *n, const struct work *k, const struct ht_run *run)
{
    const struct ht_quant_dense *s = spec_of(n);
    bool normalized = s->has_batchnorm && run->mode != HT_MODE_EVAL;
    ht_acc *bias = (ht_acc *)(void *)k->mean; /* no batch statistics here: the room is free */
    for (size_t j = 0; j < n->cols; j++) {
        struct ht_folded f = fold(n, j);
        k->scale[j] = n->in[X]->scale[0] * f.weight_scale;
        bias[j] = ht_quantize_bias(f.offset, k->scale[j], n->in[X]->cols, s->product_bound);
        if (run->mode == HT_MODE_SURROGATE)
            bias[j] = (ht_acc)((f.offset + residual_bias(n)[j]) / k->scale[j]);
        else if (n->residual)
            residual_bias(n)[j] = (ht_real)bias[j] * k->scale[j] - f.offset;
        if (normalized) /* what backward needs of the frozen statistics */
            saved_inverse_sigma(n)[j] =
                (ht_real)(1 / sqrt((double)s->running_var[j] + (double)s->epsilon));
    }
    for (size_t b = 0; b < n->rows; b++) {
        const size_t at = b * n->cols;
        if (normalized)
            for (size_t j = 0; j < n->cols; j++)
                saved_normalized(n)[at + j] =
                    ((ht_real)k->acc[at + j] * n->in[X]->scale[0] * weight_scale(n, j) -
                     s->running_mean[j]) *
                    saved_inverse_sigma(n)[j];
        for (size_t j = 0; j < n->cols; j++)
            k->value[at + j] = (ht_real)(k->acc[at + j] + bias[j]);
    }
}

static void batch_statistics(const struct ht_node *n, const struct work *k)
{
    const ht_real rows = (ht_real)n->rows;
    for (size_t j = 0; j < n->cols; j++)
        k->mean[j] = k->var[j] = 0;
    for (size_t b = 0; b < n->rows; b++)
        for (size_t j = 0; j < n->cols; j++)
            k->mean[j] += k->value[b * n->cols + j];
    for (size_t j = 0; j < n->cols; j++)
        k->mean[j] /= rows;
    for (size_t b = 0; b < n->rows; b++)
        for (size_t j = 0; j < n->cols; j++) {
            ht_real d = k->value[b * n->cols + j] - k->mean[j];
            k->var[j] += d * d;
        }
    for (size_t j = 0; j < n->cols; j++)
        k->var[j] /= rows;
}

/* value = gamma * (v - mean) / sigma + beta, v = fl(acc) * scale (Ioffe and Szegedy 2015, alg. 1).
 */
static void apply_batchnorm(struct ht_node *n, const struct work *k, const struct ht_run *run)
{
    const struct ht_quant_dense *s = spec_of(n);
    const ht_real *gamma = n->in[FIRST_AFFINE]->value, *beta = n->in[FIRST_AFFINE + 1]->value;
    ht_real *inverse_sigma = saved_inverse_sigma(n);
    for (size_t j = 0; j < n->cols; j++)
        k->scale[j] = n->in[X]->scale[0] * weight_scale(n, j);
    for (size_t b = 0; b < n->rows; b++)
        for (size_t j = 0; j < n->cols; j++)
            k->value[b * n->cols + j] = (ht_real)k->acc[b * n->cols + j] * k->scale[j];
    batch_statistics(n, k);
    const ht_real unbiased = n->rows > 1 ? (ht_real)n->rows / (ht_real)(n->rows - 1) : 0;
    for (size_t j = 0; j < n->cols; j++) {
        inverse_sigma[j] = (ht_real)(1 / sqrt((double)k->var[j] + (double)s->epsilon));
        if (run->mode != HT_MODE_TRAIN)
            continue;
        s->running_mean[j] += s->momentum * (k->mean[j] - s->running_mean[j]);
        if (n->rows > 1) /* one row tells nothing of the variance */
            s->running_var[j] += s->momentum * (k->var[j] * unbiased - s->running_var[j]);
    }
    for (size_t b = 0; b < n->rows; b++) {
        ht_real *value = k->value + b * n->cols, *normalized = saved_normalized(n) + b * n->cols;
        for (size_t j = 0; j < n->cols; j++) {
            normalized[j] = (value[j] - k->mean[j]) * inverse_sigma[j];
            value[j] = gamma[j] * normalized[j] + beta[j];
        }
    }
}

/* Range of the activation's real values: value * scale when folded, else value. */
static void observe(struct ht_node *n, const struct work *k, bool folded)
{
    const struct ht_quant_dense *s = spec_of(n);
    struct ht_range_stats all = {0, 0, 0};
    ht_real *real = saved_units(n); /* overwritten by requantize */
    for (size_t b = 0; b < n->rows; b++) {
        for (size_t j = 0; j < n->cols; j++) {
            ht_real v = k->value[b * n->cols + j] * (folded ? k->scale[j] : 1);
            real[j] = ht_clamp(v, s->clamp_lo, s->clamp_hi);
        }
        struct ht_range_stats row = ht_range_measure(real, n->cols);
        if (b == 0)
            all = row;
        else
            ht_range_merge(&all, b * n->cols, &row, n->cols);
    }
    s->out->range->observe(s->out, 0, &all);
    s->out->ready[0] = 1;
}

/* Units: the clamped activation over the output scale. Folded: fl(value * multiplier), section 4;
 * under batch statistics fl(value / scale), section 2. */
static void requantize(struct ht_node *n, const struct work *k, const struct ht_run *run,
                       bool folded)
{
    const struct ht_quant_dense *s = spec_of(n);
    const ht_real scale = s->out->scale[0];
    const ht_real lo = s->clamp_lo / scale, hi = s->clamp_hi / scale;
    const struct ht_rounder r = ht_quantizer_rounder(s->out, 0);
    const bool clips = s->out->estimator->clips;
    for (size_t j = 0; j < n->cols; j++)
        k->multiplier[j] = k->scale[j] / scale;
    for (size_t b = 0; b < n->rows; b++) {
        const size_t at = b * n->cols;
        ht_real *units = saved_units(n) + at, *value = k->value + at;
        if (folded)
            for (size_t j = 0; j < n->cols; j++)
                units[j] = ht_clamp(value[j] * k->multiplier[j], lo, hi);
        else
            for (size_t j = 0; j < n->cols; j++)
                units[j] = ht_clamp(value[j] / scale, lo, hi);
        if (run->mode != HT_MODE_SURROGATE)
            ht_round_row(&r, units, n->cols, n->value + at);
        for (size_t j = 0; n->residual && j < n->cols; j++) {
            ht_real u = clips ? ht_clamp(units[j], r.lo, r.hi) : units[j];
            if (run->mode == HT_MODE_SURROGATE)
                n->value[at + j] = u + residual_output(n)[at + j];
            else
                residual_output(n)[at + j] = n->value[at + j] - u;
        }
    }
    n->scale[0] = scale;
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_quant_dense *s = spec_of(n);
    const struct work k = workspace(n);
    const bool folded = !uses_batch_statistics(n, run);
    accumulate(n, &k);
    if (folded)
        apply_folded(n, &k, run);
    else
        apply_batchnorm(n, &k, run);
    if (s->out) {
        if (ht_quantizer_observes(s->out, run->mode))
            observe(n, &k, folded);
        requantize(n, &k, run, folded);
        return;
    }
    for (size_t b = 0; b < n->rows; b++)
        for (size_t j = 0; j < n->cols; j++)
            n->value[b * n->cols + j] = k.value[b * n->cols + j] * (folded ? k.scale[j] : 1);
}

/* --- backward --- */

/* dv[B, out] = gradient in front of the output quantizer and the activation. */
static void backward_output(struct ht_node *n, ht_real *dv)
{
    const struct ht_quant_dense *s = spec_of(n);
    const struct ht_quantizer *q = s->out;
    if (!q) {
        for (size_t i = 0; i < n->rows * n->cols; i++)
            dv[i] = n->grad[i];
        return;
    }
    const struct ht_rounder r = ht_quantizer_rounder(q, 0);
    const ht_real lo = s->clamp_lo / n->scale[0], hi = s->clamp_hi / n->scale[0];
    ht_real sum = 0;
    for (size_t b = 0; b < n->rows; b++) {
        const size_t at = b * n->cols;
        const ht_real *units = saved_units(n) + at;
        if (q->range->learned)
            sum += q->estimator->scale(units, n->value + at, n->grad + at, n->cols, r.lo, r.hi);
        q->estimator->input(units, n->grad + at, n->cols, r.lo, r.hi, dv + at);
        for (size_t j = 0; j < n->cols; j++)
            dv[at + j] = ((units[j] > lo) & (units[j] < hi)) ? dv[at + j] : 0;
    }
    if (q->range->learned)
        ht_grad_put(n, scale_input(s), 0, ht_quantizer_scale_gradient(q, 0, sum, n->rows, n->cols));
}

/* sum[j] = sum over b of dv, dot[j] = sum over b of dv * normalized (NULL without batchnorm). */
static void column_sums(const struct ht_node *n, const ht_real *dv, const ht_real *normalized,
                        ht_real *sum, ht_real *dot)
{
    for (size_t j = 0; j < n->cols; j++)
        sum[j] = dot[j] = 0;
    for (size_t b = 0; b < n->rows; b++) {
        const ht_real *d = dv + b * n->cols;
        for (size_t j = 0; j < n->cols; j++)
            sum[j] += d[j];
        if (normalized)
            for (size_t j = 0; j < n->cols; j++)
                dot[j] += d[j] * normalized[b * n->cols + j];
    }
}

/* Through batchnorm, in place (Ioffe and Szegedy 2015, sec. 3, written as one expression). */
static void backward_batchnorm(struct ht_node *n, ht_real *dv, const ht_real *sum,
                               const ht_real *dot, bool batch_statistics)
{
    const ht_real *gamma = n->in[FIRST_AFFINE]->value, *inverse_sigma = saved_inverse_sigma(n);
    const ht_real rows = batch_statistics ? (ht_real)n->rows : (ht_real)INFINITY;
    for (size_t j = 0; j < n->cols; j++) {
        ht_grad_put(n, FIRST_AFFINE, j, dot[j]);
        ht_grad_put(n, FIRST_AFFINE + 1, j, sum[j]);
    }
    for (size_t b = 0; b < n->rows; b++) {
        ht_real *d = dv + b * n->cols;
        const ht_real *normalized = saved_normalized(n) + b * n->cols;
        for (size_t j = 0; j < n->cols; j++) {
            ht_real centred = d[j] - sum[j] / rows - normalized[j] * (dot[j] / rows);
            d[j] = centred * gamma[j] * inverse_sigma[j];
        }
    }
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_quant_dense *s = spec_of(n);
    struct ht_node *x = n->in[X], *w = n->in[W];
    ht_real *dv = n->scratch_back, *sum = dv + n->rows * n->cols, *dot = sum + n->cols;
    backward_output(n, dv);
    if (s->has_bias || s->has_batchnorm)
        column_sums(n, dv, s->has_batchnorm ? saved_normalized(n) : NULL, sum, dot);
    if (s->has_batchnorm)
        backward_batchnorm(n, dv, sum, dot, uses_batch_statistics(n, run));
    for (size_t j = 0; s->has_bias && j < n->cols; j++)
        ht_grad_put(n, FIRST_AFFINE, j, sum[j]);
    /* The dequantized tensors stand in for the float ones: their scales go in front. */
    if (w->needs_grad)
        ht_gemm(true, false, n->cols, x->cols, n->rows, x->scale[0], dv, n->cols, x->value, x->cols,
                ht_grad_beta(n, W), w->grad, x->cols);
    if (!x->needs_grad)
        return;
    for (size_t b = 0; b < n->rows; b++)
        for (size_t j = 0; j < n->cols; j++)
            dv[b * n->cols + j] *= weight_scale(n, j);
    ht_gemm(false, false, n->rows, x->cols, n->cols, 1, dv, n->cols, w->value, x->cols,
            ht_grad_beta(n, X), x->grad, x->cols);
}

const struct ht_op ht_op_quant_dense = {
    "quant_dense",
    sizeof(struct ht_quant_dense),
    HT_OP_USES_INPUTS | HT_OP_USES_OUTPUT,
    infer,
    forward,
    backward,
};
