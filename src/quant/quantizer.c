#include "quant/quantizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "base/vectorized.h"
#include "quant/clip.h"
#include "quant/group.h"
#include "quant/tables.h"

/* Of dsq's alpha, learned. */
#define MIN_SOFTNESS ((ht_real)0.001)
#define MAX_SOFTNESS ((ht_real)0.999)

/* Tables are for weights, and two of them find their scale in a way of their own. */
static enum ht_status check_table(const struct ht_quantizer *q,
                                  const struct ht_quantizer_spec *spec, bool of_weights,
                                  struct ht_error *err)
{
    if (!of_weights && q->grid.step == 0)
        return ht_fail(err, HT_ERR_CONFIG, "grid %s is for weights only", spec->grid);
    const char *own = ht_range_of_grid(spec->grid);
    if (own ? strcmp(own, spec->range) != 0 : q->range->grid != NULL)
        return ht_fail(err, HT_ERR_CONFIG, "grid %s and range %s do not go together", spec->grid,
                       spec->range);
    if (q->grid.learned && spec->per_channel)
        return ht_fail(err, HT_ERR_CONFIG, "grid %s has one table for a tensor", spec->grid);
    return HT_OK;
}

/* ewgs: its x_n - x_q are shares of the range of levels (Lee et al. 2021). */
static ht_real estimator_parameter(const struct ht_quantizer *q,
                                   const struct ht_quantizer_spec *spec)
{
    const struct {
        const char *estimator;
        double parameter;
    } own[] = {{"ewgs", spec->delta / (q->grid.hi - q->grid.lo)},
               {"dsq", ht_estimator_dsq_k(spec->softness)},
               {"parq", spec->steepness},
               {"prox", spec->strength},
               {"quantization_networks", spec->temperature}};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(own[i].estimator, spec->estimator) == 0)
            return (ht_real)own[i].parameter;
    return 0;
}

#define NORM_PENALTY 1e-3 /* lambda of A2Q (Colbert et al. 2023) */

enum ht_tensor_kind ht_quantizer_spec_kind(const struct ht_quantizer_spec *spec)
{
    if (spec->bits == 32)
        return HT_TENSOR_REAL;
    return strcmp(spec->range, "dynamic") == 0 ? HT_TENSOR_DYNAMIC : HT_TENSOR_LEVELS;
}

/* A row's scale is a constant that covers the row: there is nothing to clip, learn or draw. */
static enum ht_status check_dynamic(const struct ht_quantizer *q,
                                    const struct ht_quantizer_spec *spec, bool of_weights,
                                    struct ht_error *err)
{
    if (of_weights)
        return ht_fail(err, HT_ERR_CONFIG, "range dynamic is for activations only");
    if (q->grid.step != 1)
        return ht_fail(err, HT_ERR_CONFIG, "range dynamic needs grid full, narrow or affine");
    if ((strcmp(spec->estimator, "ste") != 0 && strcmp(spec->estimator, "clipped_ste") != 0) ||
        q->stochastic || spec->power_of_two)
        return ht_fail(err, HT_ERR_CONFIG,
                       "range dynamic needs estimator ste or clipped_ste, rounding nearest_even or "
                       "floor, and scale real");
    return HT_OK;
}

enum ht_status ht_quantizer_init(struct ht_quantizer *q, const struct ht_quantizer_spec *spec,
                                 bool of_weights, size_t rows, struct ht_error *err)
{
    memset(q, 0, sizeof *q);
    if (of_weights && spec->bits == 16) {
        q->of_weights = true;
        q->channels = q->groups = 1;
        return ht_grid_init(&q->grid, HT_GRID_FLOAT16, 16, err);
    }
    enum ht_status status = ht_grid_init(&q->grid, spec->grid, spec->bits, err);
    if (status != HT_OK)
        return status;
    q->range = ht_range_find(spec->range);
    q->estimator = ht_estimator_find(spec->estimator, of_weights);
    if (spec->learn_shape && q->estimator && q->estimator->learns_shape)
        q->estimator = q->estimator->learns_shape;
    if (!q->range)
        return ht_fail(err, HT_ERR_CONFIG, "unknown range '%s'", spec->range);
    if (!q->estimator)
        return ht_fail(err, HT_ERR_CONFIG, "unknown estimator '%s'", spec->estimator);
    const bool floor = strcmp(spec->rounding, "floor") == 0;
    q->stochastic = strcmp(spec->rounding, "stochastic") == 0;
    if (!floor && !q->stochastic && strcmp(spec->rounding, "nearest_even") != 0)
        return ht_fail(err, HT_ERR_CONFIG, "unknown rounding '%s'", spec->rounding);
    if (floor && q->grid.step != 1)
        return ht_fail(err, HT_ERR_CONFIG, "grid %s cannot round by floor", spec->grid);
    if (q->grid.step == 0 && (q->stochastic || strcmp(spec->estimator, "dsq") == 0))
        return ht_fail(err, HT_ERR_CONFIG, "grid %s has no stochastic rounding and no dsq",
                       spec->grid);
    if (q->estimator->soft && (q->grid.step == 0 || floor || q->stochastic))
        return ht_fail(err, HT_ERR_CONFIG,
                       "estimator %s is for evenly spaced levels and rounding to the nearest",
                       spec->estimator);
    if (of_weights && q->grid.lo < -127) /* docs/numerics.md, 1 */
        return ht_fail(err, HT_ERR_CONFIG, "8-bit weights are narrow, without -128");
    status = check_table(q, spec, of_weights, err);
    if (status == HT_OK && q->range->dynamic)
        status = check_dynamic(q, spec, of_weights, err);
    if (status != HT_OK)
        return status;
    q->power_of_two = spec->power_of_two;
    q->rounding = floor ? HT_ROUND_FLOOR : HT_ROUND_NEAREST_EVEN;
    q->momentum = (ht_real)spec->momentum;
    q->percentile = spec->percentile != 0 ? spec->percentile : 99.99;
    q->clip_start = (ht_real)spec->clip_start;
    q->clip_decay = (ht_real)spec->clip_decay;
    if (of_weights && strcmp(spec->estimator, "ewgs") == 0)
        q->delta_epochs = spec->delta_epochs;
    q->first_delta = (ht_real)spec->delta;
    q->softness_decay = (ht_real)spec->softness_decay;
    q->first_softness = (ht_real)spec->softness;
    q->parameter = estimator_parameter(q, spec);
    q->accumulator_bits = spec->accumulator_bits;
    q->penalty = (ht_real)NORM_PENALTY;
    q->of_weights = of_weights;
    q->once = of_weights && spec->once;
    q->channels = of_weights && spec->per_channel ? rows : 1;
    q->groups = 1;
    return HT_OK;
}

static int declare(struct ht_params *p, const char *prefix, const char *name, size_t n,
                   unsigned flags, ht_real initial, ht_real minimum)
{
    char full[96];
    if (n == 0)
        return -1;
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    /* A row for each channel, as the weights have: a step takes them together. */
    return ht_params_declare(p, full, n, 1, flags, initial, minimum);
}

void ht_quantizer_declare(struct ht_quantizer *q, const char *prefix, struct ht_params *params,
                          struct ht_params *state)
{
    q->scale_span = declare(q->range->learned ? params : state, prefix, "scale", q->channels,
                            HT_SPAN_RELATIVE, 1, HT_MIN_SCALE);
    q->zero_point_span = declare(state, prefix, "zero_point", q->channels, 0, 0, 0);
    q->min_span = declare(state, prefix, "min", q->channels, 0, 0, 0);
    q->max_span = declare(state, prefix, "max", q->channels, 0, 0, 0);
    q->ready_span = declare(state, prefix, "ready", 1, 0, 0, 0);
    const bool keeps_histogram = q->range->histogram && !q->of_weights;
    /* Those that only some quantizers have. */
    const bool ternary = strcmp(q->grid.name, "ternary") == 0;
    const bool rounded = q->power_of_two || q->group != 0;
    q->effective_span = declare(state, prefix, "effective", rounded ? 2 * q->channels : 0, 0, 1, 0);
    q->unit_span = declare(state, prefix, "unit", q->group ? q->channels / q->groups : 0, 0, 1, 0);
    q->group_scale_span =
        declare(state, prefix, "group_scale", q->group ? q->channels : 0, 0, 1, 0);
    q->histogram_span =
        declare(state, prefix, "histogram", keeps_histogram ? HT_HISTOGRAM_SIZE : 0, 0, 0, 0);
    q->threshold_span = declare(state, prefix, "threshold", ternary ? q->channels : 0, 0, 0, 0);
    q->centroid_span = declare(params, prefix, "centroid",
                               q->grid.learned ? (size_t)1 << q->grid.bits : 0, 0, 0, 0);
    q->offset_span = declare(params, prefix, "offset", ht_quantizer_has_offset(q) ? 1 : 0, 0, 0, 0);
    q->norm_span = declare(params, prefix, "norm", q->estimator->finish ? q->channels : 0, 0, 0, 0);
    q->delta_span =
        declare(state, prefix, "delta", q->delta_epochs > 0 ? 1 : 0, 0, q->first_delta, 0);
    q->softness_span = declare(params, prefix, "softness", q->estimator->shape ? 1 : 0, 0,
                               q->first_softness, MIN_SOFTNESS);
    q->seen_span = declare(state, prefix, "seen", q->range->learned ? q->channels : 0, 0, 0, 0);
}

static ht_real *span_value(const struct ht_params *p, int span)
{
    return span < 0 ? NULL : p->value + p->spans[span].offset;
}

void ht_quantizer_bind(struct ht_quantizer *q, const struct ht_params *params,
                       const struct ht_params *state)
{
    q->scale = span_value(q->range->learned ? params : state, q->scale_span);
    q->zero_point = span_value(state, q->zero_point_span);
    q->min = span_value(state, q->min_span);
    q->max = span_value(state, q->max_span);
    q->ready = span_value(state, q->ready_span);
    q->effective = q->effective_span < 0 ? q->scale : span_value(state, q->effective_span);
    q->unit = q->group ? span_value(state, q->unit_span) : q->effective;
    q->group_scale = span_value(state, q->group_scale_span);
    q->threshold = span_value(state, q->threshold_span);
    q->centroid = span_value(params, q->centroid_span);
    q->offset = span_value(params, q->offset_span);
    q->softness = span_value(params, q->softness_span);
    q->delta = span_value(state, q->delta_span);
    q->histogram = span_value(state, q->histogram_span);
    q->seen = span_value(state, q->seen_span);
    q->norm = span_value(params, q->norm_span);
}

bool ht_quantizer_has_offset(const struct ht_quantizer *q)
{
    return q->estimator->offset && q->range->learned && !q->of_weights && q->grid.has_zero_point;
}

/* The zero point of the offset, before it is rounded. */
static ht_real real_zero_point(const struct ht_quantizer *q)
{
    return (ht_real)q->grid.lo - q->offset[0] / q->effective[0];
}

static bool zero_point_is_held(const struct ht_quantizer *q)
{
    const ht_real z = real_zero_point(q);
    return !(z >= (ht_real)q->grid.lo && z <= (ht_real)q->grid.hi); /* NaN is held, too */
}

/* The zero point that follows the offset. */
static void refresh_offset(struct ht_quantizer *q)
{
    const ht_real z = real_zero_point(q), lo = (ht_real)q->grid.lo, hi = (ht_real)q->grid.hi;
    q->zero_point[0] = z > lo ? ht_round_even(z < hi ? z : hi) : lo;
    q->offset_residual = q->zero_point[0] - z;
}

/* A step may lead past 1, where the soft step is a straight line. */
static double softness_of(const struct ht_quantizer *q)
{
    return q->softness[0] < MAX_SOFTNESS ? (double)q->softness[0] : (double)MAX_SOFTNESS;
}

struct ht_estimate ht_quantizer_estimate(const struct ht_quantizer *q, size_t channel)
{
    const ht_real zero_point = q->zero_point[channel];
    struct ht_estimate e = {.lo = (ht_real)q->grid.lo - zero_point,
                            .hi = (ht_real)q->grid.hi - zero_point,
                            .step = (ht_real)q->grid.step,
                            .scale = q->effective[channel],
                            .parameter = q->parameter};
    if (q->offset && !zero_point_is_held(q))
        e.shift = -q->offset[0] / q->effective[0];
    if (q->estimator->transform)
        e.parameter = q->max[channel];
    if (q->delta)
        e.parameter = q->delta[0] / (ht_real)(q->grid.hi - q->grid.lo);
    if (q->softness)
        e.parameter = (ht_real)ht_estimator_dsq_k(softness_of(q));
    return e;
}

struct ht_estimate ht_quantizer_surrogate_estimate(const struct ht_quantizer *q, size_t channel)
{
    struct ht_estimate e = ht_quantizer_estimate(q, channel);
    if (q->offset) {
        const ht_real zero_point = real_zero_point(q) + q->offset_residual;
        e.lo = (ht_real)q->grid.lo - zero_point;
        e.hi = (ht_real)q->grid.hi - zero_point;
    }
    return e;
}

static ht_real surrogate_value(const struct ht_quantizer *q, const struct ht_estimate *e, ht_real u)
{
    return q->estimator->surrogate ? q->estimator->surrogate(u, e) : ht_clamp(u, e->lo, e->hi);
}

void ht_quantizer_keep_residual(const struct ht_quantizer *q, const struct ht_estimate *e,
                                ht_real u, ht_real rounded, ht_real *residual)
{
    *residual = (rounded - surrogate_value(q, e, u)) * (q->estimator->real_residual ? e->scale : 1);
}

ht_real ht_quantizer_surrogate(const struct ht_quantizer *q, const struct ht_estimate *e, ht_real u,
                               ht_real residual)
{
    return surrogate_value(q, e, u) + residual / (q->estimator->real_residual ? e->scale : 1);
}

/* --- to levels --- */

bool ht_quantizer_is_plain(const struct ht_quantizer *q, const struct ht_run *run)
{
    return !q->estimator->transform && !(q->stochastic && run && run->mode == HT_MODE_TRAIN);
}

/* Draws are of seed, quantizer, step and place. Its state's span tells a quantizer from others. */
static struct ht_noise noise_of(const struct ht_quantizer *q, struct ht_place_in_run place)
{
    return (struct ht_noise){place.run->seed, HT_RNG_STREAM(HT_RNG_ROUNDING, q->zero_point_span),
                             place.run->step, place.first};
}

void ht_quantizer_round_units(const struct ht_quantizer *q, struct ht_place_in_run place,
                              const ht_real *u, size_t n, ht_real *level)
{
    const struct ht_rounder r = ht_quantizer_rounder(q, 0);
    if (q->tally)
        ht_tally_units(q->tally, q, 0, u, n);
    if (ht_quantizer_is_plain(q, place.run))
        ht_round_row(&r, u, n, level);
    else
        ht_round_row_by_chance(&r, noise_of(q, place), u, n, level);
    if (q->tally)
        ht_tally_levels(q->tally, q, 0, level, n);
}

void ht_quantizer_levels(const struct ht_quantizer *q, size_t c, struct ht_place_in_run place,
                         const ht_real *x, size_t n, ht_real *level)
{
    const struct ht_rounder r = ht_quantizer_rounder(q, c);
    const struct ht_estimate e = ht_quantizer_estimate(q, c);
    if (q->estimator->transform) {
        q->estimator->transform(x, n, &e, level);
        x = level;
    }
    const bool by_chance = q->stochastic && place.run && place.run->mode == HT_MODE_TRAIN;
    if (!by_chance && !q->tally) {
        ht_quantize_row(&r, x, q->effective[c], n, level);
        return;
    }
    for (size_t i = 0; i < n; i++)
        level[i] = x[i] / q->effective[c];
    if (q->tally)
        ht_tally_units(q->tally, q, c, level, n);
    if (by_chance)
        ht_round_row_by_chance(&r, noise_of(q, place), level, n, level);
    else
        ht_round_row(&r, level, n, level);
    if (q->tally)
        ht_tally_levels(q->tally, q, c, level, n);
}

/* --- what follows from scales and centroids --- */

/* 2^round(log2 scale), or for a codebook, whose levels fill int8, 2^ceil(log2 scale). */
static ht_real power_of_two(ht_real scale, bool up)
{
    int exponent;
    const double m = frexp((double)scale, &exponent); /* scale = m * 2^exponent, 0.5 <= m < 1 */
    const bool above = up ? m > 0.5 : m > 0.70710678118654752;
    const ht_real power = (ht_real)ldexp(1, above ? exponent : exponent - 1);
    return power > HT_MIN_SCALE ? power : HT_MIN_SCALE;
}

/* The zero point belongs to the scale that quantizes. A learned range keeps its first one. */
static void move_zero_point(struct ht_quantizer *q, size_t c)
{
    const ht_real lo = (ht_real)q->grid.lo, hi = (ht_real)q->grid.hi;
    const ht_real min = q->min[c] < 0 ? q->min[c] : 0;
    if (q->grid.has_zero_point && !q->range->learned)
        q->zero_point[c] = ht_round_even(ht_clamp(lo - min / q->effective[c], lo, hi));
}

void ht_quantizer_refresh_channel(struct ht_quantizer *q, size_t c, enum ht_mode mode)
{
    if (q->centroid && mode == HT_MODE_SURROGATE)
        return; /* the surrogate takes the centroids themselves: levels and scale are frozen */
    if (q->centroid)
        q->scale[c] = ht_codebook_scale(q);
    if (q->power_of_two) {
        ht_real *added = q->effective + q->channels;
        if (mode == HT_MODE_SURROGATE) {
            q->effective[c] = q->scale[c] + added[c];
        } else {
            q->effective[c] = power_of_two(q->scale[c], q->grid.learned);
            added[c] = q->effective[c] - q->scale[c];
            move_zero_point(q, c);
        }
    }
    if (q->centroid)
        ht_codebook_refresh(q);
    if (q->group) /* until its row is refreshed: a range may try scales */
        q->effective[c] = q->scale[c];
}

void ht_quantizer_refresh(struct ht_quantizer *q, enum ht_mode mode)
{
    for (size_t c = 0; (q->power_of_two || q->centroid) && c < q->channels; c++)
        ht_quantizer_refresh_channel(q, c, mode);
    for (size_t row = 0; q->group && row < q->channels / q->groups; row++)
        ht_group_refresh(q, row, mode);
    if (q->offset && mode != HT_MODE_SURROGATE)
        refresh_offset(q);
}

/* --- rounding --- */

struct ht_rounder ht_quantizer_rounder(const struct ht_quantizer *q, size_t channel)
{
    if (q->grid.step == 0) {
        struct ht_rounder table = ht_rounder_of_table(&q->grid);
        if (q->threshold) { /* 0 where |u| <= threshold, which is not the midpoint */
            const ht_real u = q->threshold[channel] / q->effective[channel];
            table.threshold[0] = ht_nextafter(-u, -INFINITY);
            table.threshold[1] = u;
        }
        return table;
    }
    struct ht_rounder r; /* its table stays as it is: this is called for each row */
    r.lo = (ht_real)q->grid.lo - q->zero_point[channel];
    r.hi = (ht_real)q->grid.hi - q->zero_point[channel];
    r.kind = HT_ROUNDER_EVEN;
    r.n_thresholds = 0;
    if (q->grid.step == 2)
        r.kind = HT_ROUNDER_ODD;
    else if (q->estimator->toward_zero)
        r.kind = HT_ROUNDER_ZERO;
    else if (q->rounding == HT_ROUND_FLOOR)
        r.kind = HT_ROUNDER_FLOOR;
    return r;
}

struct ht_kernel_quantizer ht_quantizer_for_kernels(const struct ht_quantizer *q, size_t channel)
{
    const int zero_point = (int)q->zero_point[channel];
    struct ht_kernel_quantizer k = {q->grid.lo - zero_point, q->grid.hi - zero_point, zero_point,
                                    HT_KERNEL_NEAREST_EVEN};
    if (q->grid.step == 2)
        k.rounding = HT_KERNEL_NEAREST_ODD;
    else if (q->rounding == HT_ROUND_FLOOR)
        k.rounding = HT_KERNEL_FLOOR;
    return k;
}

bool ht_quantizer_observes(const struct ht_quantizer *q, enum ht_mode mode)
{
    if (mode == HT_MODE_SURROGATE || q->fixed)
        return false;
    if (q->of_weights && q->ready[0] == 0)
        return true;
    if (q->grid.learned || q->once)
        return false;
    if (q->calibrating) /* an estimator that settles on a start of its own does so once */
        return q->of_weights ? q->range->current
                             : q->ready[0] == 0 || !q->range->learned || !q->estimator->settle;
    if (q->range->learned)
        return mode == HT_MODE_TRAIN && q->ready[0] == 0;
    return mode == HT_MODE_TRAIN || (q->of_weights && q->range->current);
}

int ht_quantizer_bound(const struct ht_quantizer *q)
{
    if (q->grid.has_zero_point)
        return q->grid.hi - q->grid.lo;
    if (q->grid.learned)
        return 127;
    const int most = q->grid.hi > -q->grid.lo ? q->grid.hi : -q->grid.lo;
    return q->group ? most * ht_grid_max_group_scale(&q->grid) : most;
}

int ht_quantizer_largest(const struct ht_quantizer *q)
{
    const int above = q->grid.hi - (int)q->zero_point[0],
              below = (int)q->zero_point[0] - q->grid.lo;
    return above > below ? above : below;
}

void ht_quantizer_prepare(struct ht_quantizer *q, size_t c, const ht_real *x, size_t n)
{
    if (q->estimator->prepare)
        q->estimator->prepare(q, c, x, n);
}

void ht_quantizer_observe_channel(struct ht_quantizer *q, size_t channel, const ht_real *x,
                                  size_t length)
{
    const struct ht_range_sample sample = {ht_range_measure(x, length), x, length};
    q->range->observe(q, channel, &sample);
    if (q->estimator->settle)
        q->estimator->settle(q, channel, x, length);
}

void ht_quantizer_observed(struct ht_quantizer *q)
{
    if (q->calibrating)
        q->ready[0]++;
    else if (q->ready[0] == 0)
        q->ready[0] = 1;
}

void ht_quantizer_observe(struct ht_quantizer *q, const ht_real *x, size_t length)
{
    for (size_t row = 0; row < q->channels / q->groups; row++)
        for (size_t g = 0; g < q->groups; g++) {
            const struct ht_row_part p = ht_quantizer_part(q, row, g, length);
            ht_quantizer_observe_channel(q, p.channel, x + row * length + p.at, p.n);
        }
    ht_quantizer_observed(q);
}

ht_real ht_quantizer_reach(const struct ht_quantizer *q, size_t channel)
{
    const ht_real zero_point = q->zero_point[channel];
    const ht_real above = (ht_real)q->grid.hi - zero_point,
                  below = zero_point - (ht_real)q->grid.lo;
    const ht_real reach = q->grid.has_zero_point && below > above ? below : above;
    return reach > 1 ? reach : 1;
}

/* LSQ counts the weights that share the scale, but the features of a layer, not those times the
 * batch: the loss is a mean over the batch already (Esser et al. 2020, sec. 2.2). */
ht_real ht_quantizer_scale_gradient(const struct ht_quantizer *q, size_t channel, ht_real sum,
                                    size_t rows, size_t cols)
{
    size_t elements = q->of_weights && q->channels == 1 ? rows * cols : cols;
    if (q->group)
        elements = ht_quantizer_part(q, channel / q->groups, channel % q->groups, cols).n;
    if (q->scale_gradient_factor != 0)
        return sum * q->scale_gradient_factor;
    return q->estimator->scale_gradient(q, channel, sum, elements);
}

/* As the scale's. Where the zero point is held at an end, a step further out would lead nowhere:
 * the offset goes up against its gradient, the zero point down. */
ht_real ht_quantizer_offset_gradient(const struct ht_quantizer *q, ht_real sum, size_t elements)
{
    const ht_real z = real_zero_point(q);
    if ((z < (ht_real)q->grid.lo && sum < 0) || (z > (ht_real)q->grid.hi && sum > 0))
        return 0;
    if (q->scale_gradient_factor != 0)
        return sum * q->scale_gradient_factor;
    return q->estimator->scale_gradient(q, 0, sum, elements);
}

/* Of the loss, and of softness_decay / 2 * alpha^2. */
ht_real ht_quantizer_softness_gradient(const struct ht_quantizer *q, ht_real sum)
{
    const ht_real slope = (ht_real)ht_estimator_dsq_k_slope(softness_of(q));
    return sum * slope + q->softness_decay * q->softness[0];
}

/* Twice the distance to the level where it is not clipped: clip() has no slope elsewhere. */
#define DAMPEN(level)                                                                              \
    for (size_t i = 0; i < n; i++) {                                                               \
        const ht_real u = x[i] * inverse, distance = x[i] - scale * (ht_real)(level);              \
        grad[i] += ((u >= lo) & (u <= hi)) ? factor * distance : 0;                                \
    }

HT_VECTORIZED static void dampen(ht_real scale, ht_real lo, ht_real hi, ht_real factor,
                                 const ht_real *restrict x, const ht_real *restrict value,
                                 const int8_t *restrict bytes, size_t n, ht_real *restrict grad)
{
    const ht_real inverse = 1 / scale;
    if (bytes)
        DAMPEN(bytes[i])
    else
        DAMPEN(value[i])
}

void ht_quantizer_dampen(const struct ht_quantizer *q, size_t c, const ht_real *x,
                         const ht_real *value, const int8_t *bytes, size_t n, ht_real *grad)
{
    const struct ht_rounder r = ht_quantizer_rounder(q, c);
    dampen(q->effective[c], r.lo, r.hi, 2 * q->dampening, x, value, bytes, n, grad);
}
