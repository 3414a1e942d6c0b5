#include "quant/estimator.h"

#include <math.h>
#include <string.h>

#include "base/vectorized.h"
#include "quant/a2q.h"
#include "quant/quantizer.h"
#include "quant/soft.h"
#include "quant/tanh.h"

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

/* dx of one element, or what it adds to the scale's gradient. */
typedef ht_real element_function(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e);

static inline ht_real both_of_one(ht_real u, ht_real q, const struct ht_estimate *e,
                                  element_function *term, element_function *pass, ht_real *grad)
{
    const ht_real dy = *grad;
    *grad = pass(u, q, dy, e);
    return term(u, q, dy, e);
}

/* The three loops of an estimator from its two formulas. The copy of *e keeps its fields in
 * registers: grad could be anything. */
#define LOOPS(name)                                                                                \
    HT_VECTORIZED static void name##_input(const ht_real *u, const ht_real *q, const ht_real *dy,  \
                                           size_t n, const struct ht_estimate *of, ht_real *dx)    \
    {                                                                                              \
        const struct ht_estimate e = *of;                                                          \
        for (size_t i = 0; i < n; i++)                                                             \
            dx[i] = name##_pass(u[i], q[i], dy[i], &e);                                            \
    }                                                                                              \
    HT_VECTORIZED static ht_real name##_scale(const ht_real *u, const ht_real *q,                  \
                                              const ht_real *dy, size_t n,                         \
                                              const struct ht_estimate *of)                        \
    {                                                                                              \
        const struct ht_estimate e = *of;                                                          \
        ROW_SUM(name##_term(u[i], q[i], dy[i], &e));                                               \
    }                                                                                              \
    HT_VECTORIZED static ht_real name##_both(const ht_real *restrict x, ht_real inverse,           \
                                             const int8_t *restrict levels, size_t n,              \
                                             const struct ht_estimate *of, ht_real *restrict grad) \
    {                                                                                              \
        const struct ht_estimate e = *of;                                                          \
        ROW_SUM(both_of_one(x[i] * inverse, (ht_real)levels[i], &e, name##_term, name##_pass,      \
                            &grad[i]));                                                            \
    }

static inline bool inside(ht_real u, const struct ht_estimate *e)
{
    return (u >= e->lo) & (u <= e->hi); /* & vectorizes, && does not */
}

static ht_real as_it_is(ht_real u, const struct ht_estimate *e)
{
    return u;
}

static inline ht_real clamped(ht_real u, const struct ht_estimate *e)
{
    return ht_clamp(u, e->lo, e->hi);
}

static ht_real sum_alone(const struct ht_quantizer *q, size_t channel, ht_real sum, size_t elements)
{
    return sum;
}

/* STE: dy/dx = 1 everywhere (Bengio et al. 2013, arXiv 1308.3432). y = x + scale * (q - u). */
static inline ht_real ste_pass(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    return dy;
}

static inline ht_real ste_term(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    return dy * (q - u);
}

LOOPS(ste)

/* Clipped STE: dy/dx = 1 inside [lo, hi], 0 outside (BinaryNet, Courbariaux et al. 2016, eq. 4).
 * LSQ eq. 3 (Esser et al. 2020, arXiv 1902.08153): dy/dscale = q - u inside, the clip level
 * outside. */
static inline ht_real clipped_pass(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    return inside(u, e) ? dy : 0;
}

static inline ht_real clipped_term(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    return dy * (q - (inside(u, e) ? u : 0));
}

LOOPS(clipped)

/* LSQ sec. 2.2: g = 1 / sqrt(N * Q_P) balances the step of the scale against those of N weights. */
static ht_real lsq_gradient(const struct ht_quantizer *q, size_t channel, ht_real sum,
                            size_t elements)
{
    return sum * (ht_real)(1 / sqrt((double)elements * (double)ht_quantizer_reach(q, channel)));
}

/* LSQ+ (Bhalgat et al. 2020, arXiv 2004.09576), y = scale * level + offset: dy/dscale = q - u
 * inside, the level (not relative to the zero point) outside, eq. 7; dy/doffset = 0 inside, 1
 * outside, eq. 8. The zero point is rne(-offset / scale), with its own derivative straight through
 * that rounding. */
static inline ht_real lsq_plus_term(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    return dy * (q - (inside(u, e) ? u : -e->shift));
}

#define lsq_plus_pass clipped_pass
LOOPS(lsq_plus)

static inline ht_real if_outside(ht_real u, ht_real dy, const struct ht_estimate *e)
{
    return inside(u, e) ? 0 : dy;
}

HT_VECTORIZED static ht_real lsq_plus_offset(const ht_real *u, const ht_real *dy, size_t n,
                                             const struct ht_estimate *of)
{
    const struct ht_estimate e = *of;
    ROW_SUM(if_outside(u[i], dy[i], &e));
}

/* PACT (Choi et al. 2018, arXiv 1805.06085): y = clip(x, 0, alpha), eq. 1, quantized with scale =
 * alpha / hi, eq. 2; dy/dalpha = 0 below alpha, 1 from there on, eq. 3. The rounding error counts
 * as a constant. */
static inline bool below_alpha(ht_real u, const struct ht_estimate *e)
{
    return (u >= e->lo) & (u < e->hi);
}

static inline ht_real pact_pass(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    return below_alpha(u, e) ? dy : 0;
}

static inline ht_real pact_term(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    return dy * (below_alpha(u, e) ? 0 : q);
}

LOOPS(pact)

/* The parameter is scale = alpha / hi: this is what a step on alpha itself, with the gradient of
 * decay / 2 * alpha^2 added, means for it. */
static ht_real pact_gradient(const struct ht_quantizer *q, size_t channel, ht_real sum,
                             size_t elements)
{
    const ht_real hi = (ht_real)q->grid.hi, alpha = q->scale[channel] * hi;
    return (sum / hi + q->clip_decay * alpha) / hi;
}

/* DoReFa (Zhou et al. 2016, arXiv 1606.06160), weights: w' = tanh(w) / max|tanh(w)| is quantized,
 * eq. 9, and dw'/dw = (1 - tanh(w)^2) / max|tanh(w)|; the maximum counts as a constant.
 * Activations: clamped to 0..1, eq. 11. */
static inline ht_real dorefa_pass(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    const ht_real t = u * e->scale * e->parameter;
    return dy * ((1 - t * t) / e->parameter);
}

static inline ht_real dorefa_term(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    return 0; /* its scale is fixed */
}

LOOPS(dorefa)

HT_VECTORIZED static void dorefa_transform(const ht_real *x, size_t n, const struct ht_estimate *e,
                                           ht_real *to)
{
    const ht_real largest = e->parameter;
    for (size_t i = 0; i < n; i++)
        to[i] = ht_vector_tanh(x[i]) / largest;
}

/* EWGS (Lee et al. 2021, arXiv 2104.00903, eq. 3 and 4): dx = dy * (1 + delta * sign(dy) * (x_n -
 * x_q)) inside, x_n and x_q being u and q over the range of levels, which is in the parameter.
 * dy/dscale follows by the chain rule with this dx in the place of dy. No function has it as its
 * derivative: it depends on the sign of dy. */
static inline ht_real ewgs_pass(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    const ht_real size = dy < 0 ? -dy : dy; /* dy * sign(dy) */
    return inside(u, e) ? dy + e->parameter * size * (u - q) : 0;
}

static inline ht_real ewgs_term(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    return dy * q - ewgs_pass(u, q, dy, e) * u;
}

LOOPS(ewgs)

/* DSQ (Gong et al. 2019, arXiv 1908.05033): between two levels, at v = -1/2..1/2 from the middle,
 * the soft function goes from -1/2 to 1/2 as tanh(k v) / (2 tanh(k / 2)). Forward is
 * hard, its derivative stands in for that of rounding. */
static inline ht_real dsq_place(ht_real u, const struct ht_estimate *e)
{
    const ht_real w = (clamped(u, e) - e->lo) / e->step; /* levels are whole here */
    return w - ht_round_floor(w) - (ht_real)0.5;
}

static inline ht_real dsq_slope(ht_real u, const struct ht_estimate *e)
{
    const ht_real k = e->parameter, t = ht_vector_tanh(k * dsq_place(u, e));
    return k * (1 - t * t) / (2 * ht_vector_tanh(k / 2));
}

static inline ht_real dsq_pass(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    return inside(u, e) ? dy * dsq_slope(u, e) : 0;
}

static inline ht_real dsq_term(ht_real u, ht_real q, ht_real dy, const struct ht_estimate *e)
{
    return dy * (q + e->shift) - dsq_pass(u, q, dy, e) * (u + e->shift);
}

LOOPS(dsq)

static ht_real dsq_surrogate(ht_real u, const struct ht_estimate *e)
{
    const ht_real k = e->parameter, v = ht_clamp(u, e->lo, e->hi), place = dsq_place(v, e);
    return v + e->step * (ht_tanh(k * place) / (2 * ht_tanh(k / 2)) - place);
}

double ht_estimator_dsq_k(double alpha)
{
    return log(2 / alpha - 1);
}

double ht_estimator_dsq_k_slope(double alpha)
{
    return -2 / (alpha * (2 - alpha));
}

/* The lower clip as an offset: the upper one moves with it, and so do the steps between. */
static inline ht_real dsq_offset_term(ht_real u, ht_real dy, const struct ht_estimate *e)
{
    return dy - dsq_pass(u, 0, dy, e);
}

HT_VECTORIZED static ht_real dsq_offset(const ht_real *u, const ht_real *dy, size_t n,
                                        const struct ht_estimate *of)
{
    const struct ht_estimate e = *of;
    ROW_SUM(dsq_offset_term(u[i], dy[i], &e));
}

/* d/dk of tanh(k v) / (2 tanh(k / 2)); 0 at the levels, and so where it clips. */
static inline ht_real dsq_shape_term(ht_real u, ht_real dy, const struct ht_estimate *e)
{
    const ht_real k = e->parameter, v = dsq_place(u, e), t = ht_vector_tanh(k * v);
    const ht_real end = ht_vector_tanh(k / 2);
    const ht_real slope = v * (1 - t * t) - t * (1 - end * end) / (2 * end);
    return dy * e->scale * e->step * slope / (2 * end);
}

HT_VECTORIZED static ht_real dsq_shape(const ht_real *u, const ht_real *dy, size_t n,
                                       const struct ht_estimate *of)
{
    const struct ht_estimate e = *of;
    ROW_SUM(dsq_shape_term(u[i], dy[i], &e));
}

static const struct ht_estimator dorefa_activations = {.name = "dorefa",
                                                       .input = clipped_input,
                                                       .scale = clipped_scale,
                                                       .both = clipped_both,
                                                       .scale_gradient = sum_alone,
                                                       .surrogate = clamped,
                                                       .settle = ht_estimator_settle_dorefa};

static const struct ht_estimator dsq_that_learns = {.name = "dsq",
                                                    .input = dsq_input,
                                                    .scale = dsq_scale,
                                                    .both = dsq_both,
                                                    .scale_gradient = sum_alone,
                                                    .surrogate = dsq_surrogate,
                                                    .offset = dsq_offset,
                                                    .shape = dsq_shape,
                                                    .settle = ht_estimator_settle_dsq};

static const struct ht_estimator estimators[] = {
    {.name = "ste",
     .input = ste_input,
     .scale = ste_scale,
     .both = ste_both,
     .scale_gradient = sum_alone,
     .surrogate = as_it_is,
     .identity = true},
    {.name = "clipped_ste",
     .input = clipped_input,
     .scale = clipped_scale,
     .both = clipped_both,
     .scale_gradient = sum_alone,
     .surrogate = clamped},
    {.name = "lsq",
     .input = clipped_input,
     .scale = clipped_scale,
     .both = clipped_both,
     .scale_gradient = lsq_gradient,
     .surrogate = clamped},
    {.name = "lsq_plus",
     .input = lsq_plus_input,
     .scale = lsq_plus_scale,
     .both = lsq_plus_both,
     .scale_gradient = lsq_gradient,
     .surrogate = clamped,
     .offset = lsq_plus_offset,
     .settle = ht_estimator_settle_lsq_plus},
    {.name = "pact",
     .input = pact_input,
     .scale = pact_scale,
     .both = pact_both,
     .scale_gradient = pact_gradient,
     .surrogate = clamped,
     .real_residual = true,
     .settle = ht_estimator_settle_pact},
    {.name = "dorefa",
     .input = dorefa_input,
     .scale = dorefa_scale,
     .both = dorefa_both,
     .scale_gradient = sum_alone,
     .surrogate = as_it_is,
     .transform = dorefa_transform,
     .settle = ht_estimator_settle_dorefa,
     .for_activations = &dorefa_activations},
    {.name = "ewgs",
     .input = ewgs_input,
     .scale = ewgs_scale,
     .both = ewgs_both,
     .scale_gradient = sum_alone,
     .input_reads_rounded = true},
    {.name = "dsq",
     .input = dsq_input,
     .scale = dsq_scale,
     .both = dsq_both,
     .scale_gradient = sum_alone,
     .surrogate = dsq_surrogate,
     .learns_shape = &dsq_that_learns},
    {.name = "a2q",
     .input = clipped_input,
     .scale = clipped_scale,
     .both = clipped_both,
     .scale_gradient = sum_alone,
     .surrogate = clamped,
     .transform = ht_a2q_transform,
     .prepare = ht_a2q_prepare,
     .finish = ht_a2q_finish,
     .toward_zero = true},
    {.name = "parq",
     .input = clipped_input,
     .scale = clipped_scale,
     .both = clipped_both,
     .scale_gradient = lsq_gradient,
     .surrogate = clamped,
     .soft = &ht_soft_parq},
    {.name = "prox",
     .input = clipped_input,
     .scale = clipped_scale,
     .both = clipped_both,
     .scale_gradient = lsq_gradient,
     .surrogate = clamped,
     .soft = &ht_soft_prox},
    {.name = "quantization_networks",
     .input = clipped_input,
     .scale = clipped_scale,
     .both = clipped_both,
     .scale_gradient = lsq_gradient,
     .surrogate = clamped,
     .soft = &ht_soft_sigmoids},
};

const struct ht_estimator *ht_estimator_at(size_t index)
{
    return index < sizeof estimators / sizeof *estimators ? &estimators[index] : NULL;
}

const struct ht_estimator *ht_estimator_find(const char *name, bool of_weights)
{
    for (size_t i = 0; ht_estimator_at(i); i++) {
        const struct ht_estimator *e = &estimators[i];
        if (strcmp(e->name, name) == 0)
            return !of_weights && e->for_activations ? e->for_activations : e;
    }
    return NULL;
}
