#include "quant/estimator.h"

#include <math.h>
#include <string.h>

#include "base/vectorized.h"

/* Sums keep several lanes so that they vectorize in an order that is fixed by the source. */
#define LANES 16

static ht_real sum_lanes(const ht_real lane[LANES])
{
    ht_real sum = 0;
    for (int j = 0; j < LANES; j++)
        sum += lane[j];
    return sum;
}

/* The sum of dy * slope(u, q) over a row. */
#define LANE_SUM(slope)                                                                            \
    ht_real lane[LANES] = {0};                                                                     \
    size_t i = 0;                                                                                  \
    for (; i + LANES <= n; i += LANES)                                                             \
        for (size_t j = 0; j < LANES; j++)                                                         \
            lane[j] += dy[i + j] * slope(u[i + j], q[i + j], lo, hi);                              \
    for (size_t j = 0; i < n; i++, j++)                                                            \
        lane[j] += dy[i] * slope(u[i], q[i], lo, hi);                                              \
    return sum_lanes(lane)

/* The same from bytes; then dy becomes dx, the part of it that `passes`. */
#define BOTH_STEP(i, lane, slope, passes)                                                          \
    do {                                                                                           \
        const ht_real u = x[i] * inverse, dy = grad[i];                                            \
        (lane) += dy * slope(u, (ht_real)levels[i], lo, hi);                                       \
        grad[i] = passes(u, lo, hi) ? dy : 0;                                                      \
    } while (0)
#define BOTH(slope, passes)                                                                        \
    ht_real lane[LANES] = {0};                                                                     \
    size_t i = 0;                                                                                  \
    for (; i + LANES <= n; i += LANES)                                                             \
        for (size_t j = 0; j < LANES; j++)                                                         \
            BOTH_STEP(i + j, lane[j], slope, passes);                                              \
    for (size_t j = 0; i < n; i++, j++)                                                            \
        BOTH_STEP(i, lane[j], slope, passes);                                                      \
    return sum_lanes(lane)

/* STE: dy/dx = 1 everywhere (Bengio et al. 2013, arXiv 1308.3432). y = x + scale * (q - u). */
static inline bool always(ht_real u, ht_real lo, ht_real hi)
{
    return true;
}

static void ste_input(const ht_real *u, const ht_real *dy, size_t n, ht_real lo, ht_real hi,
                      ht_real *dx)
{
    if (dx != dy)
        memcpy(dx, dy, n * sizeof *dx);
}

static inline ht_real rounding_error(ht_real u, ht_real q, ht_real lo, ht_real hi)
{
    return q - u;
}

HT_VECTORIZED static ht_real ste_scale(const ht_real *u, const ht_real *q, const ht_real *dy,
                                       size_t n, ht_real lo, ht_real hi)
{
    LANE_SUM(rounding_error);
}

HT_VECTORIZED static ht_real ste_both(const ht_real *x, ht_real inverse, const int8_t *levels,
                                      size_t n, ht_real lo, ht_real hi, ht_real *grad)
{
    BOTH(rounding_error, always);
}

/* Clipped STE: dy/dx = 1 inside [lo, hi], 0 outside (BinaryNet, Courbariaux et al. 2016, eq. 4). */
static inline bool inside(ht_real u, ht_real lo, ht_real hi)
{
    return (u >= lo) & (u <= hi); /* & vectorizes, && does not */
}

HT_VECTORIZED static void clipped_input(const ht_real *u, const ht_real *dy, size_t n, ht_real lo,
                                        ht_real hi, ht_real *dx)
{
    for (size_t i = 0; i < n; i++)
        dx[i] = inside(u[i], lo, hi) ? dy[i] : 0;
}

/* LSQ eq. 3 (Esser et al. 2020, arXiv 1902.08153): q - u inside, the clip level outside. */
static inline ht_real lsq_slope(ht_real u, ht_real q, ht_real lo, ht_real hi)
{
    return q - (inside(u, lo, hi) ? u : 0);
}

HT_VECTORIZED static ht_real clipped_scale(const ht_real *u, const ht_real *q, const ht_real *dy,
                                           size_t n, ht_real lo, ht_real hi)
{
    LANE_SUM(lsq_slope);
}

HT_VECTORIZED static ht_real clipped_both(const ht_real *x, ht_real inverse, const int8_t *levels,
                                          size_t n, ht_real lo, ht_real hi, ht_real *grad)
{
    BOTH(lsq_slope, inside);
}

static double factor_one(size_t elements, ht_real hi)
{
    return 1;
}

/* LSQ sec. 2.2: g = 1 / sqrt(N * Q_P) balances the step of the scale against those of N weights. */
static double factor_lsq(size_t elements, ht_real hi)
{
    return 1 / sqrt((double)elements * (double)hi);
}

static const struct ht_estimator estimators[] = {
    {"ste", ste_input, ste_scale, ste_both, factor_one, false},
    {"clipped_ste", clipped_input, clipped_scale, clipped_both, factor_one, true},
    {"lsq", clipped_input, clipped_scale, clipped_both, factor_lsq, true},
};

const struct ht_estimator *ht_estimator_at(size_t index)
{
    return index < sizeof estimators / sizeof *estimators ? &estimators[index] : NULL;
}

const struct ht_estimator *ht_estimator_find(const char *name)
{
    for (size_t i = 0; ht_estimator_at(i); i++)
        if (strcmp(estimators[i].name, name) == 0)
            return &estimators[i];
    return NULL;
}
