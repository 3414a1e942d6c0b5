/* Accumulator-aware quantization of weights (A2Q), the parts of an estimator: see a2q.c. */
#ifndef HT_QUANT_A2Q_H
#define HT_QUANT_A2Q_H

#include <stddef.h>

#include "tensor/real.h"

struct ht_quantizer;
struct ht_estimate;

/* The largest ||q||_1 of a row: (2^(P-1) - 1) / max|a - z_a|, whole. */
double ht_a2q_budget(const struct ht_quantizer *q);

/* Chooses scale and norm for a row of float weights w[n] and projects the row onto what the budget
 * leaves of it. Sorts into room[n]. */
void ht_a2q_start(struct ht_quantizer *q, size_t channel, ht_real *w, size_t n, ht_real *room);

/* struct ht_estimator */
void ht_a2q_prepare(struct ht_quantizer *q, size_t channel, const ht_real *x, size_t n);
void ht_a2q_transform(const ht_real *x, size_t n, const struct ht_estimate *e, ht_real *to);
ht_real ht_a2q_finish(const struct ht_quantizer *q, size_t channel, const ht_real *x, size_t n,
                      ht_real *dx, ht_real *dnorm);

#endif
