#include "quant/estimator.h"

#include <math.h>
#include <string.h>

#include "base/vectorized.h"

/* A sum over a row: the terms of a block side by side, which vectorizes, then added to several
 * lanes in an order that is fixed by the source. `term` may use i, and change arrays. */
#define LANES 16
#define BLOCK 128
#define ROW_SUM(term)                                                                              \
    ht_real lane[LANES] = {0}, block[BLOCK], sum = 0;                                              \
    for (size_t at = 0; at < n; at += BLOCK) {                                                     \
        const size_t count = n - at < BLOCK ? n - at : BLOCK;                                      \
        size_t i = at;                                                                             \
        for (; i < at + count; i++)                                                                \
            block[i - at] = term;                                                                  \
        for (i = count; i % LANES; i++)                                                            \
            block[i] = 0;                                                                          \
        for (i = 0; i < count; i += LANES)                                                         \
            for (size_t j = 0; j < LANES; j++)                                                     \
                lane[j] += block[i + j];                                                           \
    }                                                                                              \
    for (size_t j = 0; j < LANES; j++)                                                             \
        sum += lane[j];                                                                            \
    return sum

typedef bool passes_function(ht_real u, ht_real lo, ht_real hi);
typedef ht_real slope_function(ht_real u, ht_real q, ht_real lo, ht_real hi);

/* dy becomes dx where it passes, else 0; returns what it adds to the scale's gradient. */
static inline ht_real both_of_one(ht_real u, ht_real q, ht_real lo, ht_real hi,
                                  slope_function *slope, passes_function *passes, ht_real *grad)
{
    const ht_real dy = *grad;
    *grad = passes(u, lo, hi) ? dy : 0;
    return dy * slope(u, q, lo, hi);
}

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
    ROW_SUM(dy[i] * rounding_error(u[i], q[i], lo, hi));
}

HT_VECTORIZED static ht_real ste_both(const ht_real *restrict x, ht_real inverse,
                                      const int8_t *restrict levels, size_t n, ht_real lo,
                                      ht_real hi, ht_real *restrict grad)
{
    ROW_SUM(
        both_of_one(x[i] * inverse, (ht_real)levels[i], lo, hi, rounding_error, always, &grad[i]));
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
    ROW_SUM(dy[i] * lsq_slope(u[i], q[i], lo, hi));
}

HT_VECTORIZED static ht_real clipped_both(const ht_real *restrict x, ht_real inverse,
                                          const int8_t *restrict levels, size_t n, ht_real lo,
                                          ht_real hi, ht_real *restrict grad)
{
    ROW_SUM(both_of_one(x[i] * inverse, (ht_real)levels[i], lo, hi, lsq_slope, inside, &grad[i]));
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
