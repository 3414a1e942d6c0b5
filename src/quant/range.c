#include "quant/range.h"

#include <math.h>
#include <string.h>

#include "base/vectorized.h"
#include "quant/clip.h"
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

void ht_range_set(struct ht_quantizer *q, size_t channel, const struct ht_range_stats *stats)
{
    q->min[channel] = stats->min;
    q->max[channel] = stats->max;
    set_scale(q, channel, stats->mean_abs);
}

static void set_clip(struct ht_quantizer *q, size_t c, struct ht_clip clip)
{
    q->min[c] = clip.lo;
    q->max[c] = clip.hi;
    set_scale(q, c, 0);
}

/* How much of a running value the newest batch makes: calibration takes the mean of its batches. */
static ht_real share_of_batch(const struct ht_quantizer *q)
{
    if (q->ready[0] == 0 || q->of_weights)
        return 1;
    return q->calibrating ? 1 / (q->ready[0] + 1) : q->momentum;
}

/* On two levels the scale is a mean magnitude, which has no ends: it is averaged itself. */
static bool observe_two_levels(struct ht_quantizer *q, size_t c, const struct ht_range_sample *s)
{
    if (q->grid.n_levels != 2)
        return false;
    const ht_real scale = q->ready[0] == 0 ? s->stats.mean_abs : q->scale[c];
    q->min[c] = s->stats.min;
    q->max[c] = s->stats.max;
    set_scale(q, c, scale + share_of_batch(q) * (s->stats.mean_abs - scale));
    return true;
}

/* Weights: the range of the weights as they are. Activations: the widest seen so far. */
static void min_max_observe(struct ht_quantizer *q, size_t c, const struct ht_range_sample *sample)
{
    const struct ht_range_stats *s = &sample->stats;
    if (q->of_weights || q->ready[0] == 0) {
        q->min[c] = s->min;
        q->max[c] = s->max;
    } else {
        q->min[c] = s->min < q->min[c] ? s->min : q->min[c];
        q->max[c] = s->max > q->max[c] ? s->max : q->max[c];
    }
    set_scale(q, c, s->mean_abs);
}

/* Moving averages of minimum and maximum (Jacob et al. 2018, sec. 3.1), of weights, too. */
static void ema_observe(struct ht_quantizer *q, size_t c, const struct ht_range_sample *sample)
{
    const struct ht_range_stats *s = &sample->stats;
    ht_real m = q->ready[0] == 0 ? 1 : q->calibrating ? share_of_batch(q) : q->momentum;
    q->min[c] += m * (s->min - q->min[c]);
    q->max[c] += m * (s->max - q->max[c]);
    if (q->grid.n_levels == 2) { /* two levels: average the magnitude itself */
        ht_real scale = q->ready[0] == 0 ? s->mean_abs : q->scale[c];
        set_scale(q, c, scale + m * (s->mean_abs - scale));
        return;
    }
    set_scale(q, c, s->mean_abs);
}

/* A clip that is 0 (more zeros than the percentile) would leave nothing. */
static struct ht_clip not_empty(struct ht_clip clip, const struct ht_range_sample *s)
{
    if (clip.lo < 0 || clip.hi > 0)
        return clip;
    return (struct ht_clip){s->stats.min, s->stats.max};
}

/* Moving averages of the ends of each batch. */
static void average_clip(struct ht_quantizer *q, size_t c, struct ht_clip clip)
{
    const ht_real m = share_of_batch(q);
    if (m < 1) {
        clip.lo = q->min[c] + m * (clip.lo - q->min[c]);
        clip.hi = q->max[c] + m * (clip.hi - q->max[c]);
    }
    set_clip(q, c, clip);
}

/* Sakr et al. find the clip of each tensor as it is, in every step; activations need one that stays
 * after training. */
static void octav_observe(struct ht_quantizer *q, size_t c, const struct ht_range_sample *s)
{
    if (!observe_two_levels(q, c, s))
        average_clip(q, c, not_empty(ht_clip_octav(s->x, s->n, &q->grid), s));
}

/* LSQ sec. 2.1: the first scale is 2 * mean|x| / sqrt(Q_P). The zero point stays where the first
 * tensor puts it. On the two levels of a binary grid that formula is twice the best scale of its
 * own case, so it starts from the mean magnitude. Calibration looks for the least squared error
 * instead, as LSQ+ does (Bhalgat et al. 2020, arXiv 2004.09576, sec. 3.3), but for estimators that
 * settle on a start of their own. */
static void learned_observe(struct ht_quantizer *q, size_t c, const struct ht_range_sample *sample)
{
    const struct ht_range_stats *s = &sample->stats;
    if (q->calibrating && !q->estimator->settle) {
        octav_observe(q, c, sample);
        return;
    }
    ht_range_set(q, c, s);
    if (q->grid.n_levels == 2)
        return;
    ht_real scale = (ht_real)(2 * (double)s->mean_abs / sqrt((double)ht_quantizer_reach(q, c)));
    q->scale[c] = scale > HT_MIN_SCALE ? scale : HT_MIN_SCALE;
}

static ht_real max_abs(const struct ht_range_stats *s)
{
    return s->max > -s->min ? s->max : -s->min;
}

/* Wu et al. 2020, arXiv 2004.09602, sec. 3.2. */
static void percentile_observe(struct ht_quantizer *q, size_t c, const struct ht_range_sample *s)
{
    struct ht_clip clip;
    const bool symmetric = !q->grid.has_zero_point;
    if (observe_two_levels(q, c, s))
        return;
    if (q->of_weights) {
        clip = ht_clip_percentile(s->x, s->n, q->percentile, symmetric);
    } else {
        ht_histogram_add(q->histogram, s->x, s->n, max_abs(&s->stats), share_of_batch(q));
        clip = ht_histogram_percentile(q->histogram, q->percentile, symmetric);
    }
    set_clip(q, c, not_empty(clip, s));
}

/* Migacz 2017 (8-bit inference with TensorRT); Wu et al. 2020, sec. 3.2. */
static void kl_observe(struct ht_quantizer *q, size_t c, const struct ht_range_sample *s)
{
    ht_real of_row[HT_HISTOGRAM_SIZE];
    ht_real *h = q->histogram;
    if (observe_two_levels(q, c, s))
        return;
    if (q->of_weights) {
        memset(of_row, 0, sizeof of_row);
        h = of_row;
    }
    ht_histogram_add(h, s->x, s->n, max_abs(&s->stats), share_of_batch(q));
    set_clip(q, c, not_empty(ht_histogram_kl(h, &q->grid), s));
}

#define CHUNK ((size_t)256)

/* Adds weight * (x - its quantized value)^2 to sum; weight NULL: 1 each. */
HT_VECTORIZED static void add_errors(const ht_real *x, const ht_real *level, const ht_real *weight,
                                     ht_real scale, size_t n, ht_real sum[LANES])
{
    ht_real e[CHUNK];
    for (size_t i = 0; i < n; i++) {
        e[i] = x[i] - level[i] * scale;
        e[i] *= e[i];
    }
    for (size_t i = 0; weight && i < n; i++)
        e[i] *= weight[i];
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            sum[j] += e[i + j];
    for (size_t j = 0; i < n; i++, j++)
        sum[j] += e[i];
}

static double squared_error(const struct ht_quantizer *q, size_t c, const ht_real *x,
                            const ht_real *weight, size_t n)
{
    const struct ht_rounder r = ht_quantizer_rounder(q, c);
    ht_real level[CHUNK], sum[LANES] = {0};
    double total = 0;
    for (size_t i = 0; i < n; i += CHUNK) {
        const size_t count = n - i < CHUNK ? n - i : CHUNK;
        ht_quantize_row(&r, x + i, q->effective[c], count, level);
        add_errors(x + i, level, weight ? weight + i : NULL, q->effective[c], count, sum);
    }
    for (size_t j = 0; j < LANES; j++)
        total += (double)sum[j];
    return total;
}

/* Candidates: 1 .. 0.01 of the ends, in steps of 0.01, both in proportion. The larger of equal ones
 * wins. */
static void search_clip(struct ht_quantizer *q, size_t c, struct ht_clip ends, const ht_real *x,
                        const ht_real *weight, size_t n)
{
    struct ht_clip best = ends;
    double least = INFINITY;
    for (int k = 100; k > 0; k--) {
        const ht_real share = (ht_real)k / 100;
        const struct ht_clip clip = {ends.lo * share, ends.hi * share};
        set_clip(q, c, clip);
        ht_quantizer_refresh_channel(q, c, HT_MODE_TRAIN); /* a scale may be a power of two */
        const double error = squared_error(q, c, x, weight, n);
        if (error < least) {
            least = error;
            best = clip;
        }
    }
    set_clip(q, c, best);
}

static void search_histogram(struct ht_quantizer *q, size_t c)
{
    ht_real center[2 * HT_HISTOGRAM_BINS], share[2 * HT_HISTOGRAM_BINS];
    const ht_real *h = q->histogram;
    size_t n = 0;
    for (size_t i = 0; i < 2 * HT_HISTOGRAM_BINS; i++) {
        const ht_real at = ((ht_real)(i % HT_HISTOGRAM_BINS) + (ht_real)0.5) * h[0];
        if (h[1 + i] == 0)
            continue;
        center[n] = i < HT_HISTOGRAM_BINS ? at : -at;
        share[n++] = h[1 + i];
    }
    search_clip(q, c, ht_histogram_ends(h, !q->grid.has_zero_point), center, share, n);
}

static void mse_observe(struct ht_quantizer *q, size_t c, const struct ht_range_sample *s)
{
    if (observe_two_levels(q, c, s))
        return;
    if (q->of_weights) {
        search_clip(q, c, (struct ht_clip){s->stats.min, s->stats.max}, s->x, NULL, s->n);
        return;
    }
    ht_histogram_add(q->histogram, s->x, s->n, max_abs(&s->stats), share_of_batch(q));
    search_histogram(q, c);
}

/* Each row's is found where it is used. */
static void dynamic_observe(struct ht_quantizer *q, size_t c, const struct ht_range_sample *s)
{
}

static const struct ht_range ranges[] = {
    {"min_max", .current = true, .observe = min_max_observe},
    {"ema", .observe = ema_observe},
    {"percentile", .current = true, .of_values = true, .histogram = true,
     .observe = percentile_observe},
    {"kl", .current = true, .of_values = true, .histogram = true, .observe = kl_observe},
    {"mse", .current = true, .of_values = true, .histogram = true, .observe = mse_observe},
    {"octav", .current = true, .of_values = true, .observe = octav_observe},
    {"learned", .learned = true, .observe = learned_observe},
    {"twn", .current = true, .grid = "ternary", .observe = ht_twn_observe},
    {"kmeans", .grid = "codebook", .observe = ht_codebook_observe},
    {"dynamic", .dynamic = true, .observe = dynamic_observe},
};

const char *ht_range_of_grid(const char *grid)
{
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (ranges[i].grid && strcmp(ranges[i].grid, grid) == 0)
            return ranges[i].name;
    return NULL;
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
