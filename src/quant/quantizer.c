#include "quant/quantizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/tables.h"

/* Tables are for weights, and two of them find their scale in a way of their own. */
static enum ht_status check_table(const struct ht_quantizer *q,
                                  const struct ht_quantizer_spec *spec, bool of_weights,
                                  struct ht_error *err)
{
    if (!of_weights && q->grid.step == 0)
        return ht_fail(err, HT_ERR_CONFIG, "grid %s is for weights only", spec->grid);
    const char *own = ht_range_of_grid(spec->grid);
    if (own ? strcmp(own, spec->range) != 0 : q->range->observe_values != NULL)
        return ht_fail(err, HT_ERR_CONFIG, "grid %s and range %s do not go together", spec->grid,
                       spec->range);
    if (q->grid.learned && spec->per_channel)
        return ht_fail(err, HT_ERR_CONFIG, "grid %s has one table for a tensor", spec->grid);
    return HT_OK;
}

enum ht_status ht_quantizer_init(struct ht_quantizer *q, const struct ht_quantizer_spec *spec,
                                 bool of_weights, size_t rows, struct ht_error *err)
{
    memset(q, 0, sizeof *q);
    enum ht_status status = ht_grid_init(&q->grid, spec->grid, spec->bits, err);
    if (status != HT_OK)
        return status;
    q->range = ht_range_find(spec->range);
    q->estimator = ht_estimator_find(spec->estimator);
    if (!q->range)
        return ht_fail(err, HT_ERR_CONFIG, "unknown range '%s'", spec->range);
    if (!q->estimator)
        return ht_fail(err, HT_ERR_CONFIG, "unknown estimator '%s'", spec->estimator);
    const bool floor = strcmp(spec->rounding, "floor") == 0;
    if (!floor && strcmp(spec->rounding, "nearest_even") != 0)
        return ht_fail(err, HT_ERR_CONFIG, "unknown rounding '%s'", spec->rounding);
    if (floor && q->grid.step != 1)
        return ht_fail(err, HT_ERR_CONFIG, "grid %s cannot round by floor", spec->grid);
    if (of_weights && q->grid.lo < -127) /* docs/numerics.md, 1 */
        return ht_fail(err, HT_ERR_CONFIG, "8-bit weights are narrow, without -128");
    status = check_table(q, spec, of_weights, err);
    if (status != HT_OK)
        return status;
    q->power_of_two = spec->power_of_two;
    q->rounding = floor ? HT_ROUND_FLOOR : HT_ROUND_NEAREST_EVEN;
    q->momentum = (ht_real)spec->momentum;
    q->of_weights = of_weights;
    q->channels = of_weights && spec->per_channel ? rows : 1;
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
    /* Those that only some quantizers have. */
    const bool ternary = strcmp(q->grid.name, "ternary") == 0;
    q->effective_span =
        declare(state, prefix, "effective", q->power_of_two ? 2 * q->channels : 0, 0, 1, 0);
    q->threshold_span = declare(state, prefix, "threshold", ternary ? q->channels : 0, 0, 0, 0);
    q->centroid_span = declare(params, prefix, "centroid",
                               q->grid.learned ? (size_t)1 << q->grid.bits : 0, 0, 0, 0);
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
    q->effective = q->power_of_two ? span_value(state, q->effective_span) : q->scale;
    q->threshold = span_value(state, q->threshold_span);
    q->centroid = span_value(params, q->centroid_span);
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
}

void ht_quantizer_refresh(struct ht_quantizer *q, enum ht_mode mode)
{
    if (!q->power_of_two && !q->centroid)
        return;
    for (size_t c = 0; c < q->channels; c++)
        ht_quantizer_refresh_channel(q, c, mode);
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
    struct ht_rounder r = {.lo = (ht_real)q->grid.lo - q->zero_point[channel],
                           .hi = (ht_real)q->grid.hi - q->zero_point[channel],
                           .kind = HT_ROUNDER_EVEN};
    if (q->grid.step == 2)
        r.kind = HT_ROUNDER_ODD;
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
    if (q->range->learned)
        return mode == HT_MODE_TRAIN && q->ready[0] == 0;
    if (q->grid.learned)
        return false;
    /* These scales of weights belong to the weights as they are now, in every mode. */
    return mode == HT_MODE_TRAIN || (q->of_weights && (strcmp(q->range->name, "min_max") == 0 ||
                                                       strcmp(q->range->name, "twn") == 0));
}

int ht_quantizer_bound(const struct ht_quantizer *q)
{
    if (q->grid.has_zero_point)
        return q->grid.hi - q->grid.lo;
    if (q->grid.learned)
        return 127;
    return q->grid.hi > -q->grid.lo ? q->grid.hi : -q->grid.lo;
}

void ht_quantizer_observe_channel(struct ht_quantizer *q, size_t channel, const ht_real *x,
                                  size_t length)
{
    const struct ht_range_stats stats = ht_range_measure(x, length);
    if (q->range->observe_values)
        q->range->observe_values(q, channel, x, length, &stats);
    else
        q->range->observe(q, channel, &stats);
}

void ht_quantizer_observe(struct ht_quantizer *q, const ht_real *x, size_t length)
{
    for (size_t c = 0; c < q->channels; c++)
        ht_quantizer_observe_channel(q, c, x + c * length, length);
    q->ready[0] = 1;
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
    const size_t elements = q->of_weights && q->channels == 1 ? rows * cols : cols;
    if (q->scale_gradient_factor != 0)
        return sum * q->scale_gradient_factor;
    return sum * (ht_real)q->estimator->scale_factor(elements, ht_quantizer_reach(q, channel));
}
