#include "quant/soft.h"

#include <math.h>

#include "autograd/graph.h"
#include "base/vectorized.h"
#include "quant/quantizer.h"

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
        slope[i] = (u[i] >= e.lo) & (u[i] <= e.hi) ? 1 : 0;
    }
}

const struct ht_soft ht_soft_parq = {parq_inverse_slope, parq_function, true};
