#include "quant/quantizer.h"

#include <stdio.h>
#include <string.h>

#include "quant/clip.h"

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
    q->rounding = floor ? HT_ROUND_FLOOR : HT_ROUND_NEAREST_EVEN;
    q->momentum = (ht_real)spec->momentum;
    q->percentile = spec->percentile != 0 ? spec->percentile : 99.99;
    q->of_weights = of_weights;
    q->channels = of_weights && spec->per_channel ? rows : 1;
    return HT_OK;
}

static int declare(struct ht_params *p, const char *prefix, const char *name, size_t n,
                   unsigned flags, ht_real initial, ht_real minimum)
{
    char full[96];
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
    q->histogram_span = q->range->histogram && !q->of_weights
                            ? declare(state, prefix, "histogram", HT_HISTOGRAM_SIZE, 0, 0, 0)
                            : -1;
}

static ht_real *span_value(const struct ht_params *p, int span)
{
    return p->value + p->spans[span].offset;
}

void ht_quantizer_bind(struct ht_quantizer *q, const struct ht_params *params,
                       const struct ht_params *state)
{
    q->scale = span_value(q->range->learned ? params : state, q->scale_span);
    q->zero_point = span_value(state, q->zero_point_span);
    q->min = span_value(state, q->min_span);
    q->max = span_value(state, q->max_span);
    q->ready = span_value(state, q->ready_span);
    if (q->histogram_span >= 0)
        q->histogram = span_value(state, q->histogram_span);
}

struct ht_rounder ht_quantizer_rounder(const struct ht_quantizer *q, size_t channel)
{
    struct ht_rounder r = {(ht_real)q->grid.lo - q->zero_point[channel],
                           (ht_real)q->grid.hi - q->zero_point[channel], HT_ROUNDER_EVEN};
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
    if (q->calibrating)
        return true;
    if (q->range->learned)
        return mode == HT_MODE_TRAIN && q->ready[0] == 0;
    return mode == HT_MODE_TRAIN || (q->of_weights && q->range->current);
}

int ht_quantizer_bound(const struct ht_quantizer *q)
{
    if (q->grid.has_zero_point)
        return q->grid.hi - q->grid.lo;
    return q->grid.hi > -q->grid.lo ? q->grid.hi : -q->grid.lo;
}

void ht_quantizer_observe_channel(struct ht_quantizer *q, size_t channel, const ht_real *x,
                                  size_t length)
{
    const struct ht_range_sample sample = {ht_range_measure(x, length), x, length};
    q->range->observe(q, channel, &sample);
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
    for (size_t c = 0; c < q->channels; c++)
        ht_quantizer_observe_channel(q, c, x + c * length, length);
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
    const size_t elements = q->of_weights && q->channels == 1 ? rows * cols : cols;
    if (q->scale_gradient_factor != 0)
        return sum * q->scale_gradient_factor;
    return sum * (ht_real)q->estimator->scale_factor(elements, ht_quantizer_reach(q, channel));
}
