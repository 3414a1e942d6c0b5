/* Element-wise activations by name. Their ops, the tables of the integer model and what the engine
 * computes of real values come from the same functions, so that the bits are equal. */
#ifndef HT_AUTOGRAD_ACTIVATION_H
#define HT_AUTOGRAD_ACTIVATION_H

#include <stddef.h>

#include "tensor/real.h"

struct ht_activation {
    const char *name;
    /* param: the slope of leaky_relu; others ignore it. */
    ht_real (*value)(ht_real x, ht_real param);
    ht_real (*slope)(ht_real x, ht_real y, ht_real param); /* d y / d x, with y = value(x, param) */
    void (*values)(const ht_real *x, size_t n, ht_real param, ht_real *y); /* y may be x */
};

/* NULL for an unknown name. */
const struct ht_activation *ht_activation_find(const char *name);

/* Value of the named activation; NaN for an unknown name. */
ht_real ht_activation_value(const char *name, ht_real x, ht_real param);

#endif
