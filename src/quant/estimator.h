/* Gradient estimators: what stands in for the derivative of rounding.
 * Forward: y = scale * q, q = round(clamp(u, lo, hi)), u = x / scale. */
#ifndef HT_QUANT_ESTIMATOR_H
#define HT_QUANT_ESTIMATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/real.h"

struct ht_estimator {
    const char *name;
    /* dx[n]: gradient of x from dy[n], the gradient of y. dx may be dy. */
    void (*input)(const ht_real *u, const ht_real *dy, size_t n, ht_real lo, ht_real hi,
                  ht_real *dx);
    /* The sum over n of dy * dy/dscale. */
    ht_real (*scale)(const ht_real *u, const ht_real *q, const ht_real *dy, size_t n, ht_real lo,
                     ht_real hi);
    /* Both in one pass, for weights as bytes: u = x * inverse, q = levels; grad[n] is dy before and
     * dx after. The same bits as the two above. */
    ht_real (*both)(const ht_real *x, ht_real inverse, const int8_t *levels, size_t n, ht_real lo,
                    ht_real hi, ht_real *grad);
    /* Multiplies the scale's gradient; elements share one scale, hi = largest level. */
    double (*scale_factor)(size_t elements, ht_real hi);
    /* Surrogate whose true derivatives are the two above: what y / scale is in gradient checks,
     * with residual = q - u (clipped: q - clamp(u)) frozen at the base point. */
    bool clips;
};

/* NULL for an unknown name. */
const struct ht_estimator *ht_estimator_find(const char *name);
const struct ht_estimator *ht_estimator_at(size_t index); /* NULL after the last */

#endif
