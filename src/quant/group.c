#include "quant/group.h"

#include "base/vectorized.h"

enum ht_status ht_quantizer_divide(struct ht_quantizer *q, size_t columns, size_t group,
                                   struct ht_error *err)
{
    if (group < 1 || group > HT_GROUP_MAX)
        return ht_fail(err, HT_ERR_CONFIG, "groups of %zu weights; 1 to %zu are possible", group,
                       HT_GROUP_MAX);
    if (ht_grid_max_group_scale(&q->grid) < HT_GROUP_ROOM)
        return ht_fail(err, HT_ERR_CONFIG,
                       "grid %s with %d bits leaves no room in int8 for the scales of groups",
                       q->grid.name, q->grid.bits);
    if (q->power_of_two || q->estimator->transform)
        return ht_fail(err, HT_ERR_CONFIG, "groups of weights need real scales, and not dorefa");
    q->group = group;
    q->groups = (columns + group - 1) / group;
    q->channels *= q->groups;
    return HT_OK;
}

/* The coarse scale makes the largest scale of the row the largest group scale (Dai et al., eq.
 * 7); none is 0, which would lose its group. Never NaN, whatever training has made of a scale. */
void ht_group_refresh(struct ht_quantizer *q, size_t row, enum ht_mode mode)
{
    const size_t first = row * q->groups;
    const ht_real *scale = q->scale + first, most = (ht_real)ht_grid_max_group_scale(&q->grid);
    ht_real *effective = q->effective + first, *added = effective + q->channels, largest = 0;
    ht_real *group_scale = q->group_scale + first;
    if (mode == HT_MODE_SURROGATE) {
        for (size_t g = 0; g < q->groups; g++)
            effective[g] = scale[g] + added[g];
        return;
    }
    for (size_t g = 0; g < q->groups; g++)
        largest = scale[g] > largest ? scale[g] : largest;
    const ht_real unit = largest / most > HT_MIN_SCALE ? largest / most : HT_MIN_SCALE;
    for (size_t g = 0; g < q->groups; g++) {
        const ht_real m = scale[g] / unit;
        group_scale[g] = m > 1 ? ht_round_even(m < most ? m : most) : 1;
        effective[g] = group_scale[g] * unit;
        added[g] = effective[g] - scale[g];
    }
    q->unit[row] = unit;
}

void ht_group_multiply(const struct ht_quantizer *q, size_t channel, size_t n, ht_real *level)
{
    const ht_real m = q->group_scale[channel];
    for (size_t i = 0; i < n; i++)
        level[i] *= m;
}

HT_VECTORIZED static void multiply_bytes(int8_t *level, size_t n, int8_t m)
{
    for (size_t i = 0; i < n; i++)
        level[i] = (int8_t)(level[i] * m);
}

void ht_group_multiply_bytes(const struct ht_quantizer *q, size_t channel, size_t n, int8_t *level)
{
    multiply_bytes(level, n, (int8_t)q->group_scale[channel]);
}

void ht_group_divide(const struct ht_quantizer *q, size_t channel, const ht_real *level, size_t n,
                     ht_real *code)
{
    const ht_real m = q->group_scale[channel];
    for (size_t i = 0; i < n; i++)
        code[i] = level[i] / m;
}

/* There is no remainder. inverse is above 2^16 / m by at most 1, so level * inverse is the quotient
 * times 2^16 and at most 127 further from 0. */
HT_VECTORIZED static void divide_bytes(const int8_t *restrict level, size_t n, int m,
                                       int8_t *restrict code)
{
    const int inverse = (1 << 16) / m + 1;
    for (size_t i = 0; i < n; i++)
        code[i] = (int8_t)(level[i] * inverse / (1 << 16));
}

void ht_group_divide_bytes(const struct ht_quantizer *q, size_t channel, const int8_t *level,
                           size_t n, int8_t *code)
{
    divide_bytes(level, n, (int)q->group_scale[channel], code);
}
