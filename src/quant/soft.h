/* Annealed quantization: what stands in for rounding while a network is trained in its soft form
 * (layers/model.h). Forward: y = scale * value(u), u = x / scale; from one end of the annealing to
 * the other, value goes from something near u to round(clamp(u)). */
#ifndef HT_QUANT_SOFT_H
#define HT_QUANT_SOFT_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/real.h"

struct ht_estimate;
struct ht_quantizer;
struct ht_run;

struct ht_soft {
    /* How hard the function is now, from where the run stands (soft_share, soft_epochs). */
    ht_real (*temperature)(const struct ht_quantizer *q, const struct ht_run *run);
    /* value[n] of u[n], and slope[n]: dvalue/du, or what stands in for it. */
    void (*function)(const ht_real *u, size_t n, const struct ht_estimate *e, ht_real temperature,
                     ht_real *value, ht_real *slope);
    bool straight_through; /* slope is that of clamp(u) */
    /* NULL, or what happens to x[n] of a channel of weights, and to its scale, after each optimizer
     * step. */
    void (*after_step)(struct ht_quantizer *q, size_t channel, ht_real temperature, ht_real *x,
                       size_t n);
};

extern const struct ht_soft ht_soft_parq, ht_soft_prox, ht_soft_sigmoids;

#endif
