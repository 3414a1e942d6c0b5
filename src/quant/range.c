#include "quant/range.h"

#include <math.h>
#include <string.h>

#include "base/vectorized.h"
#include "quant/quantizer.h"
#include "quant/tables.h"

#define LANES 16

HT_VECTORIZED static struct ht_range_stats measure(const ht_real *x, size_t n)
{
    ht_real min[LANES], max[LANES], sum[LANES];
    for (size_t j = 0; j < LANES; j++) {
        min[j] = max[j] = x[0];
        sum[j] = 0;
    }
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            ht_real v = x[i + j];
            min[j] = v < min[j] ? v : min[j];
            max[j] = v > max[j] ? v : max[j];
            sum[j] += v < 0 ? -v : v;
        }
    for (size_t j = 0; i < n; i++, j++) {
        min[j] = x[i] < min[j] ? x[i] : min[j];
        max[j] = x[i] > max[j] ? x[i] : max[j];
        sum[j] += x[i] < 0 ? -x[i] : x[i];
    }
    struct ht_range_stats s = {min[0], max[0], 0};
    for (size_t j = 0; j < LANES; j++) {
        s.min = min[j] < s.min ? min[j] : s.min;
        s.max = max[j] > s.max ? max[j] : s.max;
        s.mean_abs += sum[j];
    }
    s.mean_abs /= (ht_real)n;
    return s;
}

struct ht_range_stats ht_range_measure(const ht_real *x, size_t n)
{
    return measure(x, n);
}

void ht_range_merge(struct ht_range_stats *stats, size_t n, const struct ht_range_stats *other,
                    size_t other_n)
{
    ht_real a = (ht_real)n, b = (ht_real)other_n;
    stats->min = other->min < stats->min ? other->min : stats->min;
    stats->max = other->max > stats->max ? other->max : stats->max;
    stats->mean_abs = (stats->mean_abs * a + other->mean_abs * b) / (a + b);
}

/* Scale and zero point so that the levels cover q->min..q->max of the channel. An affine grid
 * always covers 0 and has it as a level, so that padding and relu are exact (Jacob et al. 2018,
 * arXiv 1712.05877, sec. 3). A binary grid takes the mean magnitude: the scale that is nearest to x
 * in the least squares sense (XNOR-Net, Rastegari et al. 2016, eq. 6). */
static void set_scale(struct ht_quantizer *q, size_t c, ht_real mean_abs)
{
    ht_real lo = q->min[c] < 0 ? q->min[c] : 0, hi = q->max[c] > 0 ? q->max[c] : 0;
    ht_real scale, zero_point = 0;
    if (q->grid.has_zero_point) {
        ht_real levels = (ht_real)(q->grid.hi - q->grid.lo);
        scale = (hi - lo) / levels;
        if (scale > HT_MIN_SCALE)
            zero_point = ht_round_even(ht_clamp((ht_real)q->grid.lo - lo / scale,
                                                (ht_real)q->grid.lo, (ht_real)q->grid.hi));
    } else if (q->grid.n_levels == 2) {
        scale = mean_abs;
    } else {
        scale = (hi > -lo ? hi : -lo) / (ht_real)q->grid.hi;
    }
    q->scale[c] = scale > HT_MIN_SCALE ? scale : HT_MIN_SCALE;
    q->zero_point[c] = zero_point;
}

/* Weights: the range of the weights as they are. Activations: the widest seen so far. */
static void min_max_observe(struct ht_quantizer *q, size_t c, const struct ht_range_stats *s)
{
    if (q->of_weights || q->ready[0] == 0) {
        q->min[c] = s->min;
        q->max[c] = s->max;
    } else {
        q->min[c] = s->min < q->min[c] ? s->min : q->min[c];
        q->max[c] = s->max > q->max[c] ? s->max : q->max[c];
    }
    set_scale(q, c, s->mean_abs);
}

/* Moving averages of minimum and maximum (Jacob et al. 2018, sec. 3.1). */
static void ema_observe(struct ht_quantizer *q, size_t c, const struct ht_range_stats *s)
{
    ht_real m = q->ready[0] == 0 ? 1 : q->momentum;
    q->min[c] += m * (s->min - q->min[c]);
    q->max[c] += m * (s->max - q->max[c]);
    if (q->grid.n_levels == 2) { /* two levels: average the magnitude itself */
        ht_real scale = q->ready[0] == 0 ? s->mean_abs : q->scale[c];
        set_scale(q, c, scale + m * (s->mean_abs - scale));
        return;
    }
    set_scale(q, c, s->mean_abs);
}

/* LSQ sec. 2.1: the first scale is 2 * mean|x| / sqrt(Q_P). The zero point stays where the first
 * tensor puts it. On the two levels of a binary grid that formula is twice the best scale of its
 * own case, so it starts from the mean magnitude. */
static void learned_observe(struct ht_quantizer *q, size_t c, const struct ht_range_stats *s)
{
    q->min[c] = s->min;
    q->max[c] = s->max;
    set_scale(q, c, s->mean_abs);
    if (q->grid.n_levels == 2)
        return;
    ht_real scale = (ht_real)(2 * (double)s->mean_abs / sqrt((double)ht_quantizer_reach(q, c)));
    q->scale[c] = scale > HT_MIN_SCALE ? scale : HT_MIN_SCALE;
}

static const struct ht_range ranges[] = {
    {"min_max", false, min_max_observe, NULL},    {"ema", false, ema_observe, NULL},
    {"learned", true, learned_observe, NULL},     {"twn", false, NULL, ht_twn_observe},
    {"kmeans", false, NULL, ht_codebook_observe},
};

const char *ht_range_of_grid(const char *grid)
{
    if (strcmp(grid, "ternary") == 0)
        return "twn";
    return strcmp(grid, "codebook") == 0 ? "kmeans" : NULL;
}

const struct ht_range *ht_range_at(size_t index)
{
    return index < sizeof ranges / sizeof *ranges ? &ranges[index] : NULL;
}

const struct ht_range *ht_range_find(const char *name)
{
    for (size_t i = 0; ht_range_at(i); i++)
        if (strcmp(ranges[i].name, name) == 0)
            return &ranges[i];
    return NULL;
}
