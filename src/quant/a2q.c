/* Weights whose sums of products fit a narrow accumulator: A2Q (Colbert et al. 2023, arXiv
 * 2308.13504), started as A2Q+ starts (Colbert et al. 2024, arXiv 2401.10432). Of a row v of
 * weights with its learned norm g, w^ = g v / ||v||_1 is quantized, toward zero; g is held so that
 * ||q||_1 max|a - z_a| <= 2^(P-1) - 1 for an accumulator of P bits. */
#include "quant/a2q.h"

#include <math.h>

#include "base/vectorized.h"
#include "quant/quantizer.h"

#define LN_2 0.69314718055994530942

/* Below 1 by more than float rounding can add to the sum of a row: each |u| is at most 4 units of
 * 2^-24 too large, and a sum of whole numbers below budget + 1 is at most the budget. */
#define MARGIN (1 - 1.0 / 1048576)

double ht_a2q_budget(const struct ht_quantizer *q)
{
    const double most = ldexp(1, q->accumulator_bits - 1) - 1;
    return floor(most / (double)ht_quantizer_largest(q->input));
}

/* The cap of g: 2^T, T of eq. 15. */
static double cap_of(const struct ht_quantizer *q, size_t c)
{
    return (double)q->scale[c] * ht_a2q_budget(q) * MARGIN;
}

/* Lanes are added in an order that the source fixes, and vectorize. */
#define LANES ((size_t)8)

static double add_lanes(const double *lane)
{
    double sum = 0;
    for (size_t j = 0; j < LANES; j++)
        sum += lane[j];
    return sum;
}

HT_VECTORIZED static double norm_of(const ht_real *x, size_t n)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += fabs((double)x[i + j]);
    for (size_t j = 0; i < n; i++, j++)
        lane[j] += fabs((double)x[i]);
    return add_lanes(lane);
}

HT_VECTORIZED static double dot_of(const ht_real *x, const ht_real *y, size_t n)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += (double)x[i + j] * (double)y[i + j];
    for (size_t j = 0; i < n; i++, j++)
        lane[j] += (double)x[i] * (double)y[i];
    return add_lanes(lane);
}

void ht_a2q_prepare(struct ht_quantizer *q, size_t c, const ht_real *x, size_t n)
{
    const double norm = norm_of(x, n), cap = cap_of(q, c), wanted = exp2((double)q->norm[c]);
    const double g = wanted < cap ? wanted : cap;
    q->max[c] = norm > 0 ? (ht_real)(g / norm) : 0;
}

HT_VECTORIZED void ht_a2q_transform(const ht_real *x, size_t n, const struct ht_estimate *e,
                                    ht_real *to)
{
    const ht_real factor = e->parameter;
    for (size_t i = 0; i < n; i++)
        to[i] = x[i] * factor;
}

static ht_real sign(ht_real x)
{
    return x > 0 ? 1 : (x < 0 ? -1 : 0);
}

HT_VECTORIZED static void take_out(const ht_real *x, ht_real factor, ht_real dot, size_t n,
                                   ht_real *restrict dx)
{
    for (size_t i = 0; i < n; i++)
        dx[i] = factor * (dx[i] - (x[i] > 0 ? dot : (x[i] < 0 ? -dot : 0)));
}

/* With d = sum dw^_k v_k / ||v||_1: dv = g / ||v||_1 (dw^ - sign(v) d), dg = d. g = 2^t, or where
 * it is held scale * budget. The penalty lambda max(t - T, 0), T = log2(scale * budget), comes
 * on top (sec. 4). */
ht_real ht_a2q_finish(const struct ht_quantizer *q, size_t c, const ht_real *x, size_t n,
                      ht_real *dx, ht_real *dnorm)
{
    const double norm = norm_of(x, n), cap = cap_of(q, c), wanted = exp2((double)q->norm[c]);
    double dscale = 0;
    *dnorm = 0;
    if (norm == 0)
        return 0;
    const double dot = dot_of(dx, x, n) / norm;
    take_out(x, q->max[c], (ht_real)dot, n, dx);
    if (wanted < cap) {
        *dnorm = (ht_real)(dot * wanted * LN_2);
    } else {
        dscale = dot * cap / (double)q->scale[c];
        *dnorm = q->penalty;
        dscale -= (double)q->penalty / ((double)q->scale[c] * LN_2);
    }
    return (ht_real)dscale;
}

/* --- the start --- */

/* Into descending order of magnitude. */
static void sift(ht_real *x, size_t at, size_t n)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && x[child + 1] < x[child];
        if (x[at] <= x[child])
            return;
        const ht_real t = x[at];
        x[at] = x[child];
        x[child] = t;
    }
}

static void sort_magnitudes(const ht_real *w, size_t n, ht_real *x)
{
    for (size_t i = 0; i < n; i++)
        x[i] = ht_fabs(w[i]);
    for (size_t i = n / 2; i-- > 0;)
        sift(x, i, n);
    for (size_t end = n; end-- > 1;) {
        const ht_real t = x[0];
        x[0] = x[end];
        x[end] = t;
        sift(x, 0, end);
    }
}

/* The threshold of the Euclidean projection onto ||w||_1 <= radius: sum max(|w| - threshold, 0) is
 * the radius (Duchi et al. 2008). 0 when w is inside. sorted[n]: |w|, descending. */
static double threshold_of(const ht_real *sorted, size_t n, double radius)
{
    double sum = 0, threshold = 0;
    for (size_t k = 0; k < n; k++) {
        sum += (double)sorted[k];
        const double t = (sum - radius) / (double)(k + 1);
        if ((double)sorted[k] <= t)
            break;
        threshold = t;
    }
    return threshold > 0 ? threshold : 0;
}

/* Squared error of w[n] against what a scale makes of it. */
static double error_of(const struct ht_quantizer *q, const ht_real *sorted, size_t n, double scale,
                       double threshold)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++) {
        const double w = (double)sorted[k], left = w > threshold ? w - threshold : 0;
        double level = floor(left / scale);
        level = level < q->grid.hi ? level : q->grid.hi;
        sum += (w - scale * level) * (w - scale * level);
    }
    return sum;
}

/* A2Q+ starts from the projection of the float weights onto what the budget allows (sec. 4.2
 * there); the scale is the one, of a row of candidates, with the least squared error: from an
 * eighth of what clips no weight (few levels are best when some are clipped) to the largest. */
void ht_a2q_start(struct ht_quantizer *q, size_t c, ht_real *w, size_t n, ht_real *room)
{
    enum { CANDIDATES = 33 };
    const double budget = ht_a2q_budget(q) * MARGIN;
    double least = INFINITY, threshold = 0;
    sort_magnitudes(w, n, room);
    const double largest = (double)room[0] > 1e-6 ? (double)room[0] : 1e-6;
    const double span = 8.0 * q->grid.hi;
    for (int k = 0; k < CANDIDATES; k++) {
        const double scale = largest * pow(span, (double)k / (CANDIDATES - 1) - 1);
        const double t = threshold_of(room, n, scale * budget);
        const double error = error_of(q, room, n, scale, t);
        if (error < least) {
            least = error;
            threshold = t;
            q->scale[c] = (ht_real)scale;
        }
    }
    for (size_t i = 0; i < n; i++) {
        const ht_real left = ht_fabs(w[i]) - (ht_real)threshold;
        w[i] = left > 0 ? sign(w[i]) * left : 0;
    }
    const double norm = norm_of(w, n);
    q->norm[c] = (ht_real)log2(norm > 0 ? norm : (double)HT_MIN_SCALE);
    q->zero_point[c] = 0;
}
