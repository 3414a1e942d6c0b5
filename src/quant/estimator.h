/* Gradient estimators: what stands in for the derivative of rounding.
 * Forward: y = scale * q, q = round(clamp(u, lo, hi)), u = x / scale. */
#ifndef HT_QUANT_ESTIMATOR_H
#define HT_QUANT_ESTIMATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/real.h"

struct ht_quantizer;
struct ht_soft; /* quant/soft.h */

/* What an estimator knows of a row beside its elements (ht_quantizer_estimate). */
struct ht_estimate {
    ht_real lo, hi, step; /* the clamp, relative to the zero point; distance of levels */
    ht_real scale;
    ht_real parameter; /* ewgs: delta over the range in levels; dsq: k; dorefa: max|tanh(w)|; a2q:
                          g / ||v||_1 */
    ht_real shift;     /* lsq_plus: d(zero point)/d(scale) * -scale: the zero point unrounded, or 0
                          where it is held at an end */
};

struct ht_estimator {
    const char *name;
    /* dx[n]: gradient of x from dy[n], the gradient of y. dx may be dy. */
    void (*input)(const ht_real *u, const ht_real *q, const ht_real *dy, size_t n,
                  const struct ht_estimate *e, ht_real *dx);
    /* The sum over n of dy * dy/dscale. */
    ht_real (*scale)(const ht_real *u, const ht_real *q, const ht_real *dy, size_t n,
                     const struct ht_estimate *e);
    /* Both in one pass, for weights as bytes: u = x * inverse, q = levels; grad[n] is dy before and
     * dx after. The same bits as the two above. */
    ht_real (*both)(const ht_real *x, ht_real inverse, const int8_t *levels, size_t n,
                    const struct ht_estimate *e, ht_real *grad);
    /* What the scale's parameter gets for that sum; elements share the scale of this channel. */
    ht_real (*scale_gradient)(const struct ht_quantizer *q, size_t channel, ht_real sum,
                              size_t elements);
    /* The function whose true derivatives the above are, in units of the scale: what y / scale is
     * in gradient checks, with residual = q - surrogate frozen at the base point. NULL: there is
     * none (ewgs). */
    ht_real (*surrogate)(ht_real u, const struct ht_estimate *e);
    bool real_residual;       /* the residual is frozen in units of x, not of the scale */
    bool identity;            /* dx is dy */
    bool input_reads_rounded; /* input looks at q */

    /* --- what only some have --- */

    /* The sum over n of dy * dy/doffset: activations on a grid with zero point then have a learned
     * offset, and the zero point follows it (ht_quantizer_refresh). */
    ht_real (*offset)(const ht_real *u, const ht_real *dy, size_t n, const struct ht_estimate *e);
    /* The sum over n of dy * dy/dparameter, of a parameter that is learned (struct ht_estimate). */
    ht_real (*shape)(const ht_real *u, const ht_real *dy, size_t n, const struct ht_estimate *e);
    /* Quantized is to[n], not x[n]. to may be x. */
    void (*transform)(const ht_real *x, size_t n, const struct ht_estimate *e, ht_real *to);
    /* After the range has observed x[n] of a channel: sets scale and zero point in its own way. */
    void (*settle)(struct ht_quantizer *q, size_t channel, const ht_real *x, size_t n);
    const struct ht_estimator *for_activations; /* NULL: itself */
    const struct ht_estimator *learns_shape;    /* itself with a learned parameter, or NULL */

    /* --- of whole rows of weights --- */

    /* Before each forward, from the row x[n]: what transform needs, kept in q->max. */
    void (*prepare)(struct ht_quantizer *q, size_t channel, const ht_real *x, size_t n);
    /* In backward: dx[n] of the transformed row becomes that of x. Returns what that adds to the
     * sum of the scale; *dnorm is the gradient of the row's learned norm, which it then has. */
    ht_real (*finish)(const struct ht_quantizer *q, size_t channel, const ht_real *x, size_t n,
                      ht_real *dx, ht_real *dnorm);
    bool toward_zero;           /* rounds so */
    const struct ht_soft *soft; /* the function of the soft form; the above are of the hard one */
};

/* NULL for an unknown name. */
const struct ht_estimator *ht_estimator_find(const char *name, bool of_weights);
const struct ht_estimator *ht_estimator_at(size_t index); /* NULL after the last */

/* Of dsq: k of its alpha (Gong et al. 2019), and dk/dalpha. */
double ht_estimator_dsq_k(double alpha);
double ht_estimator_dsq_k_slope(double alpha);

/* How some begin (estimator_start.c). */
void ht_estimator_settle_lsq_plus(struct ht_quantizer *q, size_t channel, const ht_real *x,
                                  size_t n);
void ht_estimator_settle_pact(struct ht_quantizer *q, size_t channel, const ht_real *x, size_t n);
void ht_estimator_settle_dsq(struct ht_quantizer *q, size_t channel, const ht_real *x, size_t n);
void ht_estimator_settle_dorefa(struct ht_quantizer *q, size_t channel, const ht_real *x, size_t n);

#endif
