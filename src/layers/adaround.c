/* AdaRound: up or down? Nagel, Amjad, van Baalen, Louizos, Blankevoort 2020, arXiv 2004.10568. */
#include <string.h>

#include "autograd/activation.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "base/vectorized.h"
#include "layers/calibration_run.h"
#include "quant/power.h"
#include "quant/tanh.h"
#include "tensor/blas.h"

/* Of the rectified sigmoid, eq. 23. */
#define ZETA  ((ht_real)1.1)
#define GAMMA ((ht_real)-0.1)
/* The regularizer's weight, eq. 25, and its beta, eq. 24: from soft to hard along a cosine, after a
 * share of the iterations without it. */
#define LAMBDA     0.01
#define FIRST_BETA 20.0
#define LAST_BETA  2.0
#define WARM_START 0.2
/* Adam with its usual constants. */
#define RATE    1e-2
#define BETA1   0.9
#define BETA2   0.999
#define EPSILON ((ht_real)1e-8)

#define BATCH     ((size_t)32)  /* samples of an iteration */
#define PART_ROWS ((size_t)32)  /* of weights: rows have nothing to do with each other */
#define SLICE     ((int64_t)50) /* iterations between two looks at go_on */

/* One layer. A weight in units of its scale becomes below + distance * h, h in 0..1; beyond the
 * outermost levels the distance is 0. */
struct layer {
    const struct ht_block *b;
    const struct ht_adaround *options;
    const struct ht_activation *activation; /* NULL: none */
    size_t index, in, out, parts, samples;
    ht_real *x;              /* [samples, in] what enters it in the quantized network */
    ht_real *target;         /* [samples, out] what it gives in the float network */
    ht_real *scale, *offset; /* [out] z = scale * sum + offset, normalization folded */
    ht_real *weight;         /* [out, in] borrowed: the parameters */
    ht_real *below, *distance, *v, *moment1, *moment2; /* [out, in] */
    ht_real *h, *soft, *grad;                          /* [out, in] h before it is rectified */
    ht_real *batch_x;                                  /* [parts, BATCH, in] */
    ht_real *batch_z;                                  /* [BATCH, out], part after part */
    int64_t first, last;                               /* iterations of the slice under way */
};

struct rows {
    size_t first, n;
};

static struct rows rows_of(const struct layer *l, size_t part)
{
    const size_t first = part * PART_ROWS, left = l->out - first;
    return (struct rows){first, left < PART_ROWS ? left : PART_ROWS};
}

/* --- the soft weights --- */

/* The levels around u = w / scale, relative to the zero point. */
static void neighbours(const struct ht_quantizer *q, const struct ht_rounder *r, ht_real u,
                       ht_real *below, ht_real *distance)
{
    *below = u < r->hi ? r->lo : r->hi;
    *distance = 0;
    if (!(u > r->lo && u < r->hi))
        return;
    if (q->grid.step > 0) { /* 2: odd levels */
        const ht_real odd = q->grid.step == 2 ? 1 : 0;
        *distance = (ht_real)q->grid.step;
        *below = *distance * ht_round_floor((u - odd) / *distance) + odd;
        return;
    }
    int i = 0;
    while (i + 1 < r->n_thresholds && *below + r->rise[i] <= u)
        *below += r->rise[i++];
    *distance = r->rise[i];
}

/* So that the soft weight is the weight itself: h(v) is what is left over the level below. */
static ht_real start(ht_real u, ht_real below, ht_real distance)
{
    const ht_real rest = distance > 0 ? (u - below) / distance : 0;
    return -ht_log((ZETA - GAMMA) / (rest - GAMMA) - 1);
}

static void start_rows(void *user, size_t part)
{
    struct layer *l = user;
    const struct rows rows = rows_of(l, part);
    for (size_t n = rows.first; n < rows.first + rows.n; n++) {
        const struct ht_quantizer *q = &l->b->weights;
        const size_t c = q->channels == 1 ? 0 : n;
        const struct ht_rounder r = ht_quantizer_rounder(q, c);
        for (size_t i = n * l->in; i < (n + 1) * l->in; i++) {
            const ht_real u = l->weight[i] / q->effective[c];
            neighbours(q, &r, u, &l->below[i], &l->distance[i]);
            l->v[i] = start(u, l->below[i], l->distance[i]);
        }
    }
}

/* Eq. 23, with sigmoid(v) = (1 + tanh(v / 2)) / 2. */
HT_VECTORIZED static void soften(const ht_real *restrict v, const ht_real *restrict below,
                                 const ht_real *restrict distance, size_t n, ht_real *restrict h,
                                 ht_real *restrict soft)
{
    for (size_t i = 0; i < n; i++) {
        const ht_real sigmoid = (ht_real)0.5 + (ht_real)0.5 * ht_vector_tanh(v[i] / 2);
        h[i] = sigmoid * (ZETA - GAMMA) + GAMMA;
        soft[i] = below[i] + distance[i] * ht_clamp(h[i], 0, 1);
    }
}

/* --- one iteration --- */

/* z [count, rows.n], sums of soft weights, becomes dL/dz. sample: of each row of z; NULL: first,
 * first + 1... Adds each neuron's squared error to errors (NULL allowed). */
static void reconstruct(const struct layer *l, struct rows rows, size_t first,
                        const uint32_t *sample, size_t count, ht_real *z, double *errors)
{
    for (size_t b = 0; b < count; b++) {
        const ht_real *target = l->target + (sample ? sample[b] : first + b) * l->out + rows.first;
        for (size_t j = 0; j < rows.n; j++, z++) {
            const ht_real scale = l->scale[rows.first + j];
            const ht_real s = scale * *z + l->offset[rows.first + j];
            const ht_real param = (ht_real)l->b->slope;
            const ht_real y = l->activation ? l->activation->value(s, param) : s;
            const ht_real error = y - target[j];
            const ht_real slope = l->activation ? l->activation->slope(s, y, param) : 1;
            if (errors)
                errors[j] += (double)error * (double)error;
            *z = 2 / (ht_real)BATCH * error * slope * scale;
        }
    }
}

/* From dL/dsoft to dL/dv, in place; h(v) has slope 0 where it is rectified. */
HT_VECTORIZED static void chain(const ht_real *restrict h, const ht_real *restrict distance,
                                size_t n, ht_real *restrict grad)
{
    for (size_t i = 0; i < n; i++) {
        const ht_real slope = (h[i] - GAMMA) * (ZETA - h[i]) * (1 / (ZETA - GAMMA));
        grad[i] *= ((h[i] >= 0) & (h[i] <= 1)) ? distance[i] * slope : 0;
    }
}

/* Adds dL/dv of eq. 24: lambda (1 - |2h - 1|^beta) for each weight that has a choice. */
HT_VECTORIZED static void regularize(const ht_real *restrict h, const ht_real *restrict distance,
                                     double beta, size_t n, ht_real *restrict grad)
{
    const ht_real power = (ht_real)(beta - 1), factor = (ht_real)(2 * LAMBDA * beta);
    for (size_t i = 0; i < n; i++) {
        const ht_real t = 2 * ht_clamp(h[i], 0, 1) - 1;
        const ht_real slope = (h[i] - GAMMA) * (ZETA - h[i]) * (1 / (ZETA - GAMMA));
        const ht_real pull = factor * ht_vector_power(ht_fabs(t), power) * slope;
        const ht_real up = t > 0 ? -pull : pull;
        grad[i] += ((h[i] >= 0) & (h[i] <= 1) & (distance[i] > 0)) ? up : 0;
    }
}

/* Adam (Kingma and Ba 2015, algorithm 1); rate and unbias hold both corrections of its averages. */
HT_VECTORIZED static void step(const ht_real *restrict grad, ht_real rate, ht_real unbias, size_t n,
                               ht_real *restrict m, ht_real *restrict s, ht_real *restrict v)
{
    const ht_real b1 = (ht_real)BETA1, b2 = (ht_real)BETA2;
    for (size_t i = 0; i < n; i++) {
        m[i] = b1 * m[i] + (1 - b1) * grad[i];
        s[i] = b2 * s[i] + (1 - b2) * grad[i] * grad[i];
        v[i] -= rate * m[i] / (ht_sqrt(s[i] * unbias) + EPSILON);
    }
}

/* Beta of an iteration; 0: not yet. */
static double beta_of(int64_t iteration, int64_t iterations)
{
    const double warm = WARM_START * (double)iterations, at = (double)iteration;
    if (at < warm)
        return 0;
    const double done = (at - warm) / ((double)iterations - warm);
    return LAST_BETA + 0.5 * (FIRST_BETA - LAST_BETA) * (1 + cos(3.14159265358979323846 * done));
}

static void iterate(struct layer *l, size_t part, int64_t iteration)
{
    const struct rows rows = rows_of(l, part);
    const size_t from = rows.first * l->in, n = rows.n * l->in;
    const double beta = beta_of(iteration, l->options->iterations);
    const double t = (double)iteration + 1;
    ht_real *x = l->batch_x + part * BATCH * l->in, *z = l->batch_z + BATCH * rows.first;
    uint32_t sample[BATCH];
    for (size_t b = 0; b < BATCH; b++) {
        sample[b] =
            (uint32_t)ht_rng_below(l->options->seed, HT_RNG_STREAM(HT_RNG_ADAROUND, l->index),
                                   (uint64_t)iteration * BATCH + b, l->samples);
        memcpy(x + b * l->in, l->x + sample[b] * l->in, l->in * sizeof *x);
    }
    soften(l->v + from, l->below + from, l->distance + from, n, l->h + from, l->soft + from);
    ht_gemm(false, true, BATCH, rows.n, l->in, 1, x, l->in, l->soft + from, l->in, 0, z, rows.n);
    reconstruct(l, rows, 0, sample, BATCH, z, NULL);
    ht_gemm(true, false, rows.n, l->in, BATCH, 1, z, rows.n, x, l->in, 0, l->grad + from, l->in);
    chain(l->h + from, l->distance + from, n, l->grad + from);
    if (beta > 0)
        regularize(l->h + from, l->distance + from, beta, n, l->grad + from);
    step(l->grad + from, (ht_real)(RATE / (1 - pow(BETA1, t))), (ht_real)(1 / (1 - pow(BETA2, t))),
         n, l->moment1 + from, l->moment2 + from, l->v + from);
}

static void iterate_slice(void *user, size_t part)
{
    struct layer *l = user;
    for (int64_t i = l->first; i < l->last; i++)
        iterate(l, part, i);
}

/* --- the choice --- */

/* Squared error of each neuron over all samples, with soft as weights. */
static void measure_errors(struct layer *l, size_t part, double errors[PART_ROWS])
{
    const struct rows rows = rows_of(l, part);
    ht_real *z = l->batch_z + BATCH * rows.first;
    memset(errors, 0, PART_ROWS * sizeof *errors);
    for (size_t i = 0; i < l->samples; i += BATCH) {
        const size_t count = l->samples - i < BATCH ? l->samples - i : BATCH;
        ht_gemm(false, true, count, rows.n, l->in, 1, l->x + i * l->in, l->in,
                l->soft + rows.first * l->in, l->in, 0, z, rows.n);
        reconstruct(l, rows, i, NULL, count, z, errors);
    }
}

/* The better of the learned and the nearest rounding, row by row, as weights on their levels. */
static void choose_rows(void *user, size_t part)
{
    struct layer *l = user;
    const struct rows rows = rows_of(l, part);
    const struct ht_place_in_run eval = {NULL, 0};
    const struct ht_quantizer *q = &l->b->weights;
    double nearest[PART_ROWS], learned[PART_ROWS];
    for (size_t n = rows.first; n < rows.first + rows.n; n++)
        ht_quantizer_levels(q, q->channels == 1 ? 0 : n, eval, l->weight + n * l->in, l->in,
                            l->soft + n * l->in);
    measure_errors(l, part, nearest);
    /* There are no gradients any more. */
    memcpy(l->grad + rows.first * l->in, l->soft + rows.first * l->in,
           rows.n * l->in * sizeof *l->grad);
    for (size_t i = rows.first * l->in; i < (rows.first + rows.n) * l->in; i++)
        l->soft[i] = l->below[i] + (l->v[i] >= 0 ? l->distance[i] : 0);
    measure_errors(l, part, learned);
    for (size_t n = rows.first; n < rows.first + rows.n; n++) {
        const bool better = learned[n - rows.first] <= nearest[n - rows.first];
        const ht_real *level = (better ? l->soft : l->grad) + n * l->in;
        const ht_real scale = q->effective[q->channels == 1 ? 0 : n];
        for (size_t k = 0; k < l->in; k++)
            l->weight[n * l->in + k] = scale * level[k];
    }
}

/* --- what a layer is made of --- */

static void layer_finish(struct layer *l)
{
    ht_real *const all[] = {l->x,        l->target, l->scale,   l->offset,  l->below,
                            l->distance, l->v,      l->moment1, l->moment2, l->h,
                            l->soft,     l->grad,   l->batch_x, l->batch_z};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ht_free(all[i]);
}

/* [rows, cols] */
static bool allocate(ht_real **ret, size_t rows, size_t cols)
{
    size_t n;
    *ret = ht_mul_size(rows, cols, &n) ? ht_calloc(n, sizeof **ret) : NULL;
    return *ret != NULL;
}

static bool allocate_layer(struct layer *l, size_t samples)
{
    ht_real **const of_weights[] = {&l->below,   &l->distance, &l->v,    &l->moment1,
                                    &l->moment2, &l->h,        &l->soft, &l->grad};
    bool ok = allocate(&l->x, samples, l->in) && allocate(&l->target, samples, l->out) &&
              allocate(&l->scale, 1, l->out) && allocate(&l->offset, 1, l->out) &&
              allocate(&l->batch_x, l->parts * BATCH, l->in) &&
              allocate(&l->batch_z, BATCH, l->out);
    for (size_t i = 0; i < sizeof of_weights / sizeof *of_weights; i++)
        ok = ok && allocate(of_weights[i], l->out, l->in);
    return ok;
}

/* As lowering folds it. */
static void fold(struct layer *l, const struct ht_model *m)
{
    const struct ht_block *b = l->b;
    const struct ht_span *p = m->params.spans, *s = m->state.spans;
    for (size_t n = 0; n < b->out; n++) {
        struct ht_folded f = {b->weights.effective[b->weights.channels == 1 ? 0 : n], 0};
        if (b->bias)
            f.offset = m->params.value[p[b->bias_span].offset + n];
        if (b->batchnorm)
            f = ht_fold_batchnorm(f.weight_scale, m->params.value[p[b->gamma_span].offset + n],
                                  m->params.value[p[b->beta_span].offset + n],
                                  m->state.value[s[b->mean_span].offset + n],
                                  m->state.value[s[b->var_span].offset + n], (ht_real)b->epsilon);
        l->scale[n] = f.weight_scale;
        l->offset[n] = f.offset;
    }
}

static enum ht_status layer_init(struct layer *l, struct ht_model *m, size_t index,
                                 const struct ht_adaround *options, size_t samples,
                                 struct ht_error *err)
{
    const struct ht_block *b = &m->blocks[index];
    *l = (struct layer){.b = b,
                        .options = options,
                        .activation = ht_activation_find(b->activation->name),
                        .index = index,
                        .in = b->in,
                        .out = b->out,
                        .parts = (b->out + PART_ROWS - 1) / PART_ROWS,
                        .weight = m->params.value + m->params.spans[b->weight_span].offset};
    if (!allocate_layer(l, samples))
        return ht_fail_memory(err);
    fold(l, m);
    return HT_OK;
}

/* --- all layers --- */

struct rounding {
    struct ht_model *m;
    const struct ht_calibration_data *data;
    struct ht_calibration_run plain, quantized;
    ht_real *other; /* [params.n] the float network's parameters, while ours are partly rounded */
};

static void exchange(struct rounding *r)
{
    for (size_t i = 0; i < r->m->params.n; i++) {
        const ht_real kept = r->other[i];
        r->other[i] = r->m->params.value[i];
        r->m->params.value[i] = kept;
    }
    r->m->params.version++;
}

/* Eq. 25: the target is of the float network, the input of layers that are quantized already. */
static void collect(struct rounding *r, struct layer *l)
{
    exchange(r);
    for (size_t i = 0, at = 0; i < r->data->batches; i++) {
        const size_t rows = ht_calibration_run_batch(&r->plain, r->data, i);
        memcpy(l->target + at * l->out, r->plain.blocks[l->index]->value,
               rows * l->out * sizeof *l->target);
        at += rows;
    }
    exchange(r);
    for (size_t i = 0; i < r->data->batches; i++) {
        const size_t rows = ht_calibration_run_batch(&r->quantized, r->data, i);
        ht_calibration_run_entering(&r->quantized, r->m, l->index, rows, l->x + l->samples * l->in);
        l->samples += rows;
    }
}

static enum ht_status round_layer(struct rounding *r, size_t index,
                                  const struct ht_adaround *options, struct ht_error *err)
{
    struct layer l = {0};
    const int64_t iterations = options->iterations, before = iterations * (int64_t)index;
    enum ht_status status =
        layer_init(&l, r->m, index, options, r->data->batches * r->data->max_rows, err);
    if (status == HT_OK) {
        collect(r, &l);
        ht_pool_run(options->pool, l.parts, start_rows, &l);
    }
    while (status == HT_OK && l.last < iterations) {
        l.first = l.last;
        l.last = iterations - l.first < SLICE ? iterations : l.first + SLICE;
        ht_pool_run(options->pool, l.parts, iterate_slice, &l);
        if (options->go_on && !options->go_on(options->user, before + l.last))
            status = ht_fail(err, HT_ERR_INTERRUPTED, "stopped");
    }
    if (status == HT_OK)
        ht_pool_run(options->pool, l.parts, choose_rows, &l);
    r->m->params.version++;
    layer_finish(&l);
    return status;
}

static enum ht_status check_weights(const struct ht_model *m, struct ht_error *err)
{
    for (size_t i = 0; i < m->n_blocks; i++) {
        const struct ht_quantizer *q = &m->blocks[i].weights;
        const char *name = m->blocks[i].name;
        if (ht_grid_is_float16(&q->grid) || q->group)
            return ht_fail(err, HT_ERR_CONFIG,
                           "%s: AdaRound is not built for weights of 16 bits and groups of weights",
                           name);
        if (q->range->grid)
            return ht_fail(err, HT_ERR_CONFIG, "%s: grid %s rounds in a way of its own", name,
                           q->grid.name);
        if (q->estimator->transform || q->rounding == HT_ROUND_FLOOR)
            return ht_fail(err, HT_ERR_CONFIG, "%s: its weights are not rounded to the nearest",
                           name);
        if (q->range->current && !q->once)
            return ht_fail(err, HT_ERR_CONFIG, "%s: its scale moves with the weights", name);
    }
    return HT_OK;
}

enum ht_status ht_model_adaround(struct ht_model *m, const struct ht_calibration_data *data,
                                 const struct ht_adaround *options, struct ht_error *err)
{
    struct rounding r = {.m = m, .data = data};
    size_t samples;
    enum ht_status status = check_weights(m, err);
    if (status != HT_OK)
        return status;
    bool ok = ht_mul_size(data->batches, data->max_rows, &samples) && samples < UINT32_MAX &&
              allocate(&r.other, 1, m->params.n);
    if (!ok)
        status = ht_fail_memory(err);
    if (status == HT_OK)
        status = ht_calibration_run_init(&r.plain, m, data->max_rows, HT_FORM_FLOAT, err);
    if (status == HT_OK)
        status = ht_calibration_run_init(&r.quantized, m, data->max_rows, HT_FORM_QUANTIZED, err);
    if (status == HT_OK)
        memcpy(r.other, m->params.value, m->params.n * sizeof *r.other);
    for (size_t i = 0; status == HT_OK && i < m->n_blocks; i++)
        status = round_layer(&r, i, options, err);
    ht_calibration_run_finish(&r.plain);
    ht_calibration_run_finish(&r.quantized);
    ht_free(r.other);
    return status;
}
