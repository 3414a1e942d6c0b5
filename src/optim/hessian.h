/* The trace of the Hessian of a loss, without the Hessian. Works on flat spans, knows no graph. */
#ifndef HT_OPTIM_HESSIAN_H
#define HT_OPTIM_HESSIAN_H

#include "base/error.h"
#include "tensor/params.h"

struct ht_trace_options {
    /* Fills params->grad with the gradient of the loss of sample `index` (a batch, say) at
     * params->value, and changes nothing else. */
    void (*gradient)(void *user, size_t index);
    void *user;
    size_t samples; /* >= 1, each with its own random direction */
    double step;    /* of the differences, as a share of the span's root mean square; 0: 0.01 */
    const ht_real *unit; /* NULL, or [span's n] in which each value is counted: then H is that of
                            values / unit, and `step` a share of the units */
    uint64_t seed;
};

struct ht_trace {
    double mean, error; /* estimate, and its standard error; NAN for one sample */
};

/* Hutchinson's estimate (1990) of the trace of the block of H that belongs to one span: the mean of
 * v' H v over random v of +-1, as in HAWQ-V2 (Dong et al. 2020, arXiv 1911.03852). H v are
 * central differences of gradients, (g(w + h v) - g(w - h v)) / 2h. The values are put back. */
enum ht_status ht_hessian_trace(struct ht_trace *ret, struct ht_params *params, int span,
                                const struct ht_trace_options *options, struct ht_error *err);

#endif
