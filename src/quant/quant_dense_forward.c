/* Forward of quant_dense: accumulators, then what stands between them and the next quantized
 * tensor. Rows of the batch, or columns where statistics are taken of them, are divided into parts
 * that are the same for any number of threads; a part goes through small loops while it is in L1.
 */
#include <math.h>

#include "base/vectorized.h"
#include "quant/quant_dense_internal.h"
#include "tensor/blas.h"

/* Rounding residuals: of the bias [out], then of the output [B, out]. */
static ht_real *residual_bias(const struct ht_node *n)
{
    return n->residual;
}

static ht_real *residual_output(const struct ht_node *n)
{
    return n->residual + n->cols;
}

struct work {
    struct ht_node *n;
    const struct ht_run *run;
    bool folded;         /* batchnorm, if there is one, is in scale and bias */
    void *packed;        /* the kernels' weights */
    ht_acc *acc;         /* [B, out] exact sums of products */
    ht_real *value;      /* [B, out] fl(acc + bias) */
    ht_real *scale;      /* [out] accumulator scale s_a * s_w */
    ht_real *multiplier; /* [out] scale / s_y */
    ht_real *mean, *var; /* [out] of the batch */
    ht_real *stats;      /* [B, 3] minimum, maximum and mean magnitude of each row */
};

static struct work workspace(struct ht_node *n, const struct ht_run *run)
{
    const size_t all = n->rows * n->cols;
    ht_real *p = n->scratch + ht_qd_packed_elements(n);
    /* The arena is raw memory; ht_acc is as wide as ht_real. */
    struct work k = {n,
                     run,
                     !ht_qd_uses_batch_statistics(n, run),
                     n->scratch,
                     (ht_acc *)(void *)p,
                     p + all,
                     p + 2 * all,
                     p + 2 * all + n->cols,
                     p + 2 * all + 2 * n->cols,
                     p + 2 * all + 3 * n->cols,
                     p + 2 * all + 4 * n->cols};
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

/* --- accumulators --- */

/* [out] What sums start from; the room is free until statistics are taken. */
static int32_t *kernel_init(const struct work *k)
{
    return (int32_t *)(void *)k->mean;
}

/* Whole and at most 2^24 in size, unless training has diverged: then NaN must not reach a cast. */
static inline ht_acc whole(ht_real v)
{
    v = v > -(ht_real)HT_REAL_EXACT_MAX ? v : -(ht_real)HT_REAL_EXACT_MAX;
    return (ht_acc)(v < (ht_real)HT_REAL_EXACT_MAX ? v : (ht_real)HT_REAL_EXACT_MAX);
}

/* acc = x . w^T on whole numbers. sgemm is exact while no partial sum can pass 2^24: longer rows go
 * in chunks that are added as integers (docs/numerics.md, 8). */
static void accumulate_by_gemm(const struct work *k)
{
    const struct ht_node *n = k->n, *x = n->in[HT_QD_X], *w = n->in[HT_QD_W];
    size_t in = x->cols, all = n->rows * n->cols;
    double chunk = floor(HT_REAL_EXACT_MAX / ht_qd_spec(n)->product_bound);
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

/* The same by the integer kernels. All is packed before any of it is used: what the parts share in
 * the packing belongs to one of them. */
static void pack_part(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n, *x = n->in[HT_QD_X], *w = n->in[HT_QD_W];
    const size_t first = part * HT_QD_COLUMNS, end = ht_qd_end(part, HT_QD_COLUMNS, n->cols);
    int16_t level[256];
    const struct ht_kernel_weights weights = ht_qd_kernel_weights(n, level);
    int32_t *init = kernel_init(k);
    n->kernels->pack_levels(&weights, first, end - first,
                            (const int8_t *)ht_node_levels(w) + first * w->cols, k->packed,
                            init + first);
    for (size_t j = first; j < end; j++)
        init[j] *= -x->zero_point;
}

static void multiply_part(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n, *x = n->in[HT_QD_X];
    const size_t first = part * HT_QD_COLUMNS, end = ht_qd_end(part, HT_QD_COLUMNS, n->cols);
    int16_t level[256];
    const struct ht_kernel_weights weights = ht_qd_kernel_weights(n, level);
    const struct ht_kernel_dense dense = {
        .m = n->rows,
        .a = ht_node_levels(x),
        .a_signed = x->signed_levels,
        .weights = &weights,
        .packed = k->packed,
        .column = first,
        .columns = end - first,
        .init = kernel_init(k),
        .acc = (int32_t *)(void *)k->acc,
    };
    n->kernels->dense(&dense);
}

static void accumulate_by_kernels(const struct work *k)
{
    for_columns(k, pack_part);
    for_columns(k, multiply_part);
}

/* --- bias, or folded batchnorm --- */

static struct ht_folded fold(const struct ht_node *n, size_t j)
{
    const struct ht_quant_dense *s = ht_qd_spec(n);
    struct ht_folded f = {ht_qd_weight_scale(n, j), 0};
    if (s->has_bias)
        f.offset = n->in[HT_QD_FIRST_AFFINE]->value[j];
    if (s->has_batchnorm)
        f = ht_fold_batchnorm(f.weight_scale, n->in[HT_QD_FIRST_AFFINE]->value[j],
                              n->in[HT_QD_FIRST_AFFINE + 1]->value[j], s->running_mean[j],
                              s->running_var[j], s->epsilon);
    return f;
}

static ht_acc *folded_bias(const struct work *k)
{
    return (ht_acc *)(void *)k->mean; /* no batch statistics here: the room is free */
}

static bool keeps_normalized(const struct work *k)
{
    return k->folded && ht_qd_spec(k->n)->has_batchnorm && k->run->mode != HT_MODE_EVAL;
}

/* scale, and the bias in units of it. */
static void fold_columns(const struct work *k)
{
    const struct ht_node *n = k->n;
    const struct ht_quant_dense *s = ht_qd_spec(n);
    ht_acc *bias = folded_bias(k);
    for (size_t j = 0; j < n->cols; j++) {
        struct ht_folded f = fold(n, j);
        k->scale[j] = n->in[HT_QD_X]->scale[0] * f.weight_scale;
        bias[j] = ht_quantize_bias(f.offset, k->scale[j], n->in[HT_QD_X]->cols, s->product_bound);
        if (k->run->mode == HT_MODE_SURROGATE)
            bias[j] = (ht_acc)((f.offset + residual_bias(n)[j]) / k->scale[j]);
        else if (n->residual)
            residual_bias(n)[j] = (ht_real)bias[j] * k->scale[j] - f.offset;
        if (keeps_normalized(k)) /* what backward needs of the frozen statistics */
            ht_qd_inverse_sigma(n)[j] =
                (ht_real)(1 / sqrt((double)s->running_var[j] + (double)s->epsilon));
    }
}

/* value = fl(acc + bias) */
HT_VECTORIZED static void add_bias_rows(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n;
    const ht_real input_scale = n->in[HT_QD_X]->scale[0];
    const size_t end = ht_qd_end(part, HT_QD_ROWS, n->rows);
    for (size_t b = part * HT_QD_ROWS; b < end; b++) {
        const ht_acc *acc = k->acc + b * n->cols, *bias = folded_bias(k);
        ht_real *value = k->value + b * n->cols;
        if (keeps_normalized(k))
            for (size_t j = 0; j < n->cols; j++)
                ht_qd_normalized(n)[b * n->cols + j] =
                    ((ht_real)acc[j] * input_scale * ht_qd_weight_scale(n, j) -
                     ht_qd_spec(n)->running_mean[j]) *
                    ht_qd_inverse_sigma(n)[j];
        for (size_t j = 0; j < n->cols; j++)
            value[j] = (ht_real)(acc[j] + bias[j]);
    }
}

/* --- batchnorm with the statistics of the batch --- */

/* value = fl(acc) * scale, and its mean and variance, of some columns. */
HT_VECTORIZED static void statistics_of_columns(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n;
    const size_t first = part * HT_QD_COLUMNS, end = ht_qd_end(part, HT_QD_COLUMNS, n->cols);
    const ht_real rows = (ht_real)n->rows;
    ht_real *restrict mean = k->mean, *restrict var = k->var;
    for (size_t j = first; j < end; j++)
        mean[j] = var[j] = 0;
    for (size_t b = 0; b < n->rows; b++) {
        const ht_acc *acc = k->acc + b * n->cols;
        ht_real *restrict value = k->value + b * n->cols;
        for (size_t j = first; j < end; j++) {
            value[j] = (ht_real)acc[j] * k->scale[j];
            mean[j] += value[j];
        }
    }
    for (size_t j = first; j < end; j++)
        mean[j] /= rows;
    for (size_t b = 0; b < n->rows; b++) {
        const ht_real *value = k->value + b * n->cols;
        for (size_t j = first; j < end; j++) {
            const ht_real d = value[j] - mean[j];
            var[j] += d * d;
        }
    }
    for (size_t j = first; j < end; j++)
        var[j] /= rows;
}

/* value = gamma * (v - mean) / sigma + beta, v = fl(acc) * scale (Ioffe and Szegedy 2015, alg. 1).
 */
HT_VECTORIZED static void normalize_rows(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n;
    const ht_real *gamma = n->in[HT_QD_FIRST_AFFINE]->value;
    const ht_real *beta = n->in[HT_QD_FIRST_AFFINE + 1]->value;
    const ht_real *inverse_sigma = ht_qd_inverse_sigma(n), *mean = k->mean;
    const size_t end = ht_qd_end(part, HT_QD_ROWS, n->rows);
    for (size_t b = part * HT_QD_ROWS; b < end; b++) {
        ht_real *restrict value = k->value + b * n->cols;
        ht_real *restrict normalized = ht_qd_normalized(n) + b * n->cols;
        for (size_t j = 0; j < n->cols; j++) {
            normalized[j] = (value[j] - mean[j]) * inverse_sigma[j];
            value[j] = gamma[j] * normalized[j] + beta[j];
        }
    }
}

static void apply_batchnorm(const struct work *k)
{
    const struct ht_node *n = k->n;
    const struct ht_quant_dense *s = ht_qd_spec(n);
    for (size_t j = 0; j < n->cols; j++)
        k->scale[j] = n->in[HT_QD_X]->scale[0] * ht_qd_weight_scale(n, j);
    for_columns(k, statistics_of_columns);
    const bool anew = k->run->mode == HT_MODE_EVAL;
    const ht_real share = anew ? (ht_real)k->run->reestimate_batchnorm : s->momentum;
    const ht_real unbiased = n->rows > 1 ? (ht_real)n->rows / (ht_real)(n->rows - 1) : 0;
    for (size_t j = 0; j < n->cols; j++) {
        ht_qd_inverse_sigma(n)[j] = (ht_real)(1 / sqrt((double)k->var[j] + (double)s->epsilon));
        if (k->run->mode == HT_MODE_SURROGATE)
            continue;
        s->running_mean[j] += share * (k->mean[j] - s->running_mean[j]);
        if (n->rows > 1) /* one row tells nothing of the variance */
            s->running_var[j] += share * (k->var[j] * unbiased - s->running_var[j]);
    }
    for_rows(k, normalize_rows);
}

/* --- the output --- */

/* Range of the activation's real values: value * scale when folded, else value. */
HT_VECTORIZED static void measure_rows(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n;
    const struct ht_quant_dense *s = ht_qd_spec(n);
    const size_t end = ht_qd_end(part, HT_QD_ROWS, n->rows);
    for (size_t b = part * HT_QD_ROWS; b < end; b++) {
        const ht_real *value = k->value + b * n->cols;
        ht_real *restrict real = ht_qd_units(n) + b * n->cols; /* overwritten by requantize */
        if (k->folded)
            for (size_t j = 0; j < n->cols; j++)
                real[j] = ht_clamp(value[j] * k->scale[j], s->clamp_lo, s->clamp_hi);
        else
            for (size_t j = 0; j < n->cols; j++)
                real[j] = ht_clamp(value[j], s->clamp_lo, s->clamp_hi);
        const struct ht_range_stats row = ht_range_measure(real, n->cols);
        k->stats[3 * b] = row.min;
        k->stats[3 * b + 1] = row.max;
        k->stats[3 * b + 2] = row.mean_abs;
    }
}

static void observe(const struct work *k)
{
    const struct ht_node *n = k->n;
    struct ht_quantizer *q = ht_qd_spec(n)->out;
    for_rows(k, measure_rows);
    struct ht_range_sample sample = {.x = ht_qd_units(n), .n = n->rows * n->cols};
    struct ht_range_stats all = {k->stats[0], k->stats[1], k->stats[2]};
    for (size_t b = 1; b < n->rows; b++) {
        const ht_real *s = k->stats + 3 * b;
        const struct ht_range_stats row = {s[0], s[1], s[2]};
        ht_range_merge(&all, b * n->cols, &row, n->cols);
    }
    sample.stats = all;
    q->range->observe(q, 0, &sample);
    if (q->estimator->settle)
        q->estimator->settle(q, 0, sample.x, sample.n);
    ht_quantizer_observed(q);
}

/* The clamped activation over the output scale. Folded: fl(value * multiplier), section 4; under
 * batch statistics fl(value / scale), section 2. */
HT_VECTORIZED static void units_of_row(const struct work *k, size_t b)
{
    const struct ht_node *n = k->n;
    const struct ht_quant_dense *s = ht_qd_spec(n);
    const ht_real scale = s->out->effective[0];
    const ht_real lo = s->clamp_lo / scale, hi = s->clamp_hi / scale;
    const ht_real *value = k->value + b * n->cols, *multiplier = k->multiplier;
    ht_real *restrict units = ht_qd_units(n) + b * n->cols;
    if (k->folded)
        for (size_t j = 0; j < n->cols; j++)
            units[j] = ht_clamp(value[j] * multiplier[j], lo, hi);
    else
        for (size_t j = 0; j < n->cols; j++)
            units[j] = ht_clamp(value[j] / scale, lo, hi);
}

HT_VECTORIZED static void to_bytes(const ht_real *value, size_t n, int zero_point, uint8_t *bytes)
{
    for (size_t j = 0; j < n; j++)
        bytes[j] = (uint8_t)((int)value[j] + zero_point);
}

/* For gradient checks: keeps what rounding did, or does the same once more. */
static void residual_of_row(const struct work *k, size_t b, const struct ht_estimate *e)
{
    const struct ht_node *n = k->n;
    const struct ht_quantizer *q = ht_qd_spec(n)->out;
    const ht_real *units = ht_qd_units(n) + b * n->cols;
    ht_real *value = n->value + b * n->cols, *residual = residual_output(n) + b * n->cols;
    for (size_t j = 0; j < n->cols; j++) {
        if (k->run->mode == HT_MODE_SURROGATE)
            value[j] = ht_quantizer_surrogate(q, e, units[j], residual[j]);
        else
            ht_quantizer_keep_residual(q, e, units[j], value[j], &residual[j]);
    }
}

static void requantize_rows(void *user, size_t part)
{
    const struct work *k = user;
    struct ht_node *n = k->n;
    const struct ht_quantizer *q = ht_qd_spec(n)->out;
    const size_t first = part * HT_QD_ROWS, end = ht_qd_end(part, HT_QD_ROWS, n->rows);
    const size_t at = first * n->cols, size = (end - first) * n->cols;
    ht_real *rounded = (n->as_bytes ? k->value : n->value) + at;
    for (size_t b = first; b < end; b++)
        units_of_row(k, b);
    if (k->run->mode != HT_MODE_SURROGATE)
        ht_quantizer_round_units(q, (struct ht_place_in_run){k->run, at}, ht_qd_units(n) + at, size,
                                 rounded);
    if (n->as_bytes) {
        to_bytes(rounded, size, n->zero_point, (uint8_t *)ht_node_levels(n) + at);
        return;
    }
    const struct ht_estimate e = ht_quantizer_surrogate_estimate(q, 0);
    for (size_t b = first; n->residual && b < end; b++)
        residual_of_row(k, b, &e);
}

HT_VECTORIZED static void real_rows(void *user, size_t part)
{
    const struct work *k = user;
    const struct ht_node *n = k->n;
    const size_t end = ht_qd_end(part, HT_QD_ROWS, n->rows);
    for (size_t b = part * HT_QD_ROWS; b < end; b++)
        for (size_t j = 0; j < n->cols; j++)
            n->value[b * n->cols + j] = k->value[b * n->cols + j] * (k->folded ? k->scale[j] : 1);
}

void ht_qd_forward(struct ht_node *n, const struct ht_run *run)
{
    struct ht_quantizer *q = ht_qd_spec(n)->out;
    const struct work k = workspace(n, run);
    if (ht_qd_on_kernels(n))
        accumulate_by_kernels(&k);
    else
        accumulate_by_gemm(&k);
    if (k.folded) {
        fold_columns(&k);
        for_rows(&k, add_bias_rows);
    } else {
        apply_batchnorm(&k);
    }
    if (!q) {
        for_rows(&k, real_rows);
        return;
    }
    if (ht_quantizer_observes(q, run->mode))
        observe(&k);
    ht_quantizer_refresh(q, run->mode);
    n->scale[0] = q->effective[0];
    n->zero_point = (int)q->zero_point[0];
    for (size_t j = 0; j < n->cols; j++)
        k.multiplier[j] = k.scale[j] / q->effective[0];
    for_rows(&k, requantize_rows);
}
