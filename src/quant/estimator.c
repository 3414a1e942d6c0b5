#include "quant/estimator.h"

#include <math.h>
#include <string.h>

/* Sums keep several lanes so that they vectorize in an order that is fixed by the source. */
#define LANES 16

/* STE: dy/dx = 1 everywhere (Bengio et al. 2013, arXiv 1308.3432). y = x + scale * (q - u). */
static void ste_input(const ht_real *u, const ht_real *dy, size_t n, ht_real lo, ht_real hi,
                      ht_real *dx)
{
    for (size_t i = 0; i < n; i++)
        dx[i] = dy[i];
}

static ht_real sum_lanes(const ht_real lane[LANES])
{
    ht_real sum = 0;
    for (int j = 0; j < LANES; j++)
        sum += lane[j];
    return sum;
}

/* The sum of dy * f(u, q) over a row. */
#define LANE_SUM(f)                                                                                \
    ht_real lane[LANES] = {0};                                                                     \
    size_t i = 0;                                                                                  \
    for (; i + LANES <= n; i += LANES)                                                             \
        for (size_t j = 0; j < LANES; j++)                                                         \
            lane[j] += dy[i + j] * f(u[i + j], q[i + j], lo, hi);                                  \
    for (size_t j = 0; i < n; i++, j++)                                                            \
        lane[j] += dy[i] * f(u[i], q[i], lo, hi);                                                  \
    return sum_lanes(lane)

static inline ht_real rounding_error(ht_real u, ht_real q, ht_real lo, ht_real hi)
{
    return q - u;
}

static ht_real ste_scale(const ht_real *u, const ht_real *q, const ht_real *dy, size_t n,
                         ht_real lo, ht_real hi)
{
    LANE_SUM(rounding_error);
}

/* Clipped STE: dy/dx = 1 inside [lo, hi], 0 outside (BinaryNet, Courbariaux et al. 2016, eq. 4). */
static void clipped_input(const ht_real *u, const ht_real *dy, size_t n, ht_real lo, ht_real hi,
                          ht_real *dx)
{
    for (size_t i = 0; i < n; i++)
        dx[i] = ((u[i] >= lo) & (u[i] <= hi)) ? dy[i] : 0; /* & vectorizes, && does not */
}

/* LSQ eq. 3 (Esser et al. 2020, arXiv 1902.08153): q - u inside, the clip level outside. */
static inline ht_real lsq_slope(ht_real u, ht_real q, ht_real lo, ht_real hi)
{
    return q - (((u >= lo) & (u <= hi)) ? u : 0);
}

static ht_real clipped_scale(const ht_real *u, const ht_real *q, const ht_real *dy, size_t n,
                             ht_real lo, ht_real hi)
{
    LANE_SUM(lsq_slope);
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
    {"ste", ste_input, ste_scale, factor_one, false},
    {"clipped_ste", clipped_input, clipped_scale, factor_one, true},
    {"lsq", clipped_input, clipped_scale, factor_lsq, true},
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
