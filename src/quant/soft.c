#include "quant/soft.h"

#include <math.h>

#include "autograd/graph.h"
#include "base/vectorized.h"
#include "quant/quantizer.h"
#include "quant/tanh.h"

/* --- PARQ --- */

/* The inverse slope goes from 1 to 0 along a mirrored sigmoid (Jin et al. 2025, arXiv 2503.15748,
 * sec. 5), drawn out so that it begins and ends there. */
static ht_real parq_inverse_slope(const struct ht_quantizer *q, const struct ht_run *run)
{
    const double steep = (double)q->parameter, end = 1 / (1 + exp(steep / 2));
    const double at = 1 / (1 + exp(steep * (run->soft_share - 0.5)));
    const double share = (at - end) / (1 - 2 * end);
    return (ht_real)(share > 1e-6 ? share : 1e-6);
}

/* The proximal map of a piecewise-affine regularizer: flat at the levels, between two of them a
 * ramp through their midpoint; straight through in backward. */
HT_VECTORIZED static void parq_function(const ht_real *u, size_t n, const struct ht_estimate *of,
                                        ht_real inverse_slope, ht_real *value, ht_real *slope)
{
    const struct ht_estimate e = *of;
    const ht_real half = (ht_real)0.5;
    for (size_t i = 0; i < n; i++) {
        const ht_real w = (ht_clamp(u[i], e.lo, e.hi) - e.lo) / e.step;
        const ht_real below = ht_round_floor(w);
        const ht_real ramp = half + (w - below - half) / inverse_slope;
        value[i] = e.lo + e.step * (below + ht_clamp(ramp, 0, 1));
        slope[i] = ((u[i] >= e.lo) & (u[i] <= e.hi)) ? 1 : 0;
    }
}

const struct ht_soft ht_soft_parq = {parq_inverse_slope, parq_function, true, NULL};

/* --- Quantization Networks --- */

/* T rises linearly with the epochs (Yang et al. 2019, arXiv 1911.09464, sec. 3.3). */
static ht_real sigmoids_temperature(const struct ht_quantizer *q, const struct ht_run *run)
{
    return (ht_real)((double)q->parameter * (1 + run->soft_epochs));
}

/* Eq. 3 with alpha = 1 / beta = scale: a sigmoid at each border between two levels, all of them as
 * high as the levels are apart, o = -lo; the derivative is the true one (eq. 5 and 6). Borders
 * further away than `reach` count as 0 or 1, which they are in ht_real. */
HT_VECTORIZED static void sigmoids_function(const ht_real *u, size_t n,
                                            const struct ht_estimate *of, ht_real temperature,
                                            ht_real *value, ht_real *slope)
{
    const struct ht_estimate e = *of;
    const double enough = sizeof(ht_real) == sizeof(float) ? 18 : 40;
    const ht_real reach = (ht_real)ceil(enough / (double)temperature), half = (ht_real)0.5;
    const ht_real borders = (e.hi - e.lo) / e.step;
    const ht_real window = ht_clamp(2 * reach + 1, 1, borders);
    for (size_t i = 0; i < n; i++)
        value[i] = slope[i] = 0;
    for (int k = 0; k < (int)window; k++)
        for (size_t i = 0; i < n; i++) {
            const ht_real w = ht_clamp((u[i] - e.lo) / e.step, -reach, borders + reach) - half;
            const ht_real first = ht_clamp(ht_round_even(w) - reach, 0, borders - window);
            const ht_real t = ht_vector_tanh(half * temperature * (w - first - (ht_real)k));
            value[i] += half + half * t + (k == 0 ? first : 0);
            slope[i] += temperature * (1 - t * t) / 4;
        }
    for (size_t i = 0; i < n; i++)
        value[i] = e.lo + e.step * value[i];
}

const struct ht_soft ht_soft_sigmoids = {sigmoids_temperature, sigmoids_function, false, NULL};

/* --- ProxQuant --- */

/* The strength of the regularizer rises linearly with the steps (Bai et al. 2019, arXiv 1810.00861,
 * sec. 3.3). */
static ht_real prox_strength(const struct ht_quantizer *q, const struct ht_run *run)
{
    return (ht_real)((double)q->parameter * run->soft_share);
}

/* Forward takes the weights as they are: they themselves go to the levels. */
static void prox_function(const ht_real *u, size_t n, const struct ht_estimate *e,
                          ht_real temperature, ht_real *value, ht_real *slope)
{
    for (size_t i = 0; i < n; i++) {
        value[i] = u[i];
        slope[i] = 1;
    }
}

/* The scale of least squares for the levels that the weights have now: a step of the alternating
 * minimization over levels and scale (sec. 3.2). */
static void fit_scale(struct ht_quantizer *q, size_t c, const ht_real *x, size_t n)
{
    const struct ht_place_in_run eval = {NULL, 0};
    ht_real level[256];
    double product = 0, square = 0;
    for (size_t done = 0; done < n; done += 256) {
        const size_t count = n - done < 256 ? n - done : 256;
        ht_quantizer_levels(q, c, eval, x + done, count, level);
        for (size_t i = 0; i < count; i++) {
            product += (double)x[done + i] * (double)level[i];
            square += (double)level[i] * (double)level[i];
        }
    }
    if (square > 0)
        q->scale[c] =
            product / square > (double)HT_MIN_SCALE ? (ht_real)(product / square) : HT_MIN_SCALE;
    ht_quantizer_refresh_channel(q, c, HT_MODE_TRAIN);
}

/* The proximal map of the sum of distances to the nearest levels: each weight goes towards its
 * level by the strength (a share of the scale), and not beyond (sec. 3.2, soft thresholding). */
static void prox_after_step(struct ht_quantizer *q, size_t c, ht_real strength, ht_real *x,
                            size_t n)
{
    const struct ht_place_in_run eval = {NULL, 0};
    ht_real level[256];
    fit_scale(q, c, x, n);
    const ht_real scale = q->effective[c], most = strength * scale;
    for (size_t done = 0; done < n; done += 256) {
        const size_t count = n - done < 256 ? n - done : 256;
        ht_quantizer_levels(q, c, eval, x + done, count, level);
        for (size_t i = 0; i < count; i++)
            x[done + i] -= ht_clamp(x[done + i] - scale * level[i], -most, most);
    }
}

const struct ht_soft ht_soft_prox = {prox_strength, prox_function, false, prox_after_step};
