/* Scales and offsets that estimators choose themselves, where their papers say how. */
#include <math.h>

#include "quant/quantizer.h"
#include "quant/tanh.h"

static ht_real at_least(double scale)
{
    return scale > (double)HT_MIN_SCALE ? (ht_real)scale : HT_MIN_SCALE;
}

/* --- LSQ+ --- */

/* Weights: max(|mean - 3 sigma|, |mean + 3 sigma|) / 2^(b-1) (Bhalgat et al. 2020). */
static void start_weights(struct ht_quantizer *q, size_t c, const ht_real *x, size_t n)
{
    double sum = 0, squares = 0;
    if (q->grid.n_levels == 2) /* the mean magnitude, as for lsq */
        return;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    const double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    const double reach = fabs(mean) + 3 * sqrt(squares / (double)n);
    /* 2^(b-1) is one more than the largest level of grid full; other grids the same way. */
    q->scale[c] = at_least(reach / (double)(q->grid.hi + 1));
}

/* Squared error of x[n] on the levels from lo to hi, 0 being one of them. */
static double squared_error(const struct ht_quantizer *q, const ht_real *x, size_t n, double scale,
                            double zero_point)
{
    const double lo = q->grid.lo - zero_point, hi = q->grid.hi - zero_point;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double u = (double)x[i] / scale;
        u = u < lo ? lo : (u > hi ? hi : u);
        const double d = (double)x[i] - scale * rint(u);
        sum += d * d;
    }
    return sum;
}

/* Activations: scale and offset of the least squared error on the first batch.
 * The paper descends by gradient over a few batches; here both ends of the range are tried at
 * shares of what the batch has, with the zero point whole as forward has it. */
static void start_activations(struct ht_quantizer *q, size_t c, const ht_real *x, size_t n)
{
    enum { SHARES = 16, MOST = 16384 };
    const double levels = q->grid.hi - q->grid.lo, least = (double)HT_MIN_SCALE;
    double min = 0, max = 0, best = INFINITY;
    const size_t stride = n / MOST + 1; /* a sample is enough, and any batch fast */
    ht_real sample[256];
    for (size_t i = 0; i < n; i++) {
        min = (double)x[i] < min ? (double)x[i] : min;
        max = (double)x[i] > max ? (double)x[i] : max;
    }
    for (int a = min < 0 ? 1 : SHARES; a <= SHARES; a++)
        for (int b = max > 0 ? 1 : SHARES; b <= SHARES; b++) {
            const double low = min * a / SHARES, high = max * b / SHARES;
            const double scale = (high - low) / levels > least ? (high - low) / levels : least;
            const double zero_point = rint(q->grid.lo - low / scale);
            double error = 0;
            for (size_t i = 0; i < n; i += 256 * stride) {
                size_t count = 0;
                for (size_t j = i; j < n && count < 256; j += stride)
                    sample[count++] = x[j];
                error += squared_error(q, sample, count, scale, zero_point);
            }
            if (error < best) {
                best = error;
                q->scale[c] = at_least(scale);
                q->offset[c] = (ht_real)(-scale * (zero_point - q->grid.lo));
            }
        }
}

void ht_estimator_settle_lsq_plus(struct ht_quantizer *q, size_t c, const ht_real *x, size_t n)
{
    if (q->ready[0] != 0)
        return;
    if (q->of_weights)
        start_weights(q, c, x, n);
    else if (q->offset)
        start_activations(q, c, x, n);
}

/* The lower clip is where the range has its zero point. */
void ht_estimator_settle_dsq(struct ht_quantizer *q, size_t c, const ht_real *x, size_t n)
{
    if (q->ready[0] == 0 && q->offset)
        q->offset[c] = q->scale[c] * ((ht_real)q->grid.lo - q->zero_point[c]);
}

/* --- PACT, DoReFa --- */

/* scale = alpha / hi from a given alpha; all below 0 is 0. */
void ht_estimator_settle_pact(struct ht_quantizer *q, size_t c, const ht_real *x, size_t n)
{
    if (q->ready[0] != 0)
        return;
    q->scale[c] = at_least((double)q->clip_start / q->grid.hi);
    q->zero_point[c] = 0;
}

/* The range is -1..1 of transformed weights, 0..1 of activations. The largest |tanh| goes where
 * the range keeps its maximum. */
void ht_estimator_settle_dorefa(struct ht_quantizer *q, size_t c, const ht_real *x, size_t n)
{
    q->scale[c] = 1 / (ht_real)q->grid.hi;
    q->zero_point[c] = 0;
    if (!q->of_weights)
        return;
    ht_real largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = ht_fabs(x[i]) > largest ? ht_fabs(x[i]) : largest;
    q->max[c] = at_least((double)ht_vector_tanh(largest));
    q->min[c] = -q->max[c];
}
