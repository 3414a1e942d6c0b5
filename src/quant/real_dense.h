/* Ops of layers whose input has no scale of its own: dynamically quantized (a scale for each row),
 * or real (weight-only, float16). Their output is real. */
#ifndef HT_QUANT_REAL_DENSE_H
#define HT_QUANT_REAL_DENSE_H

#include "quant/quantizer.h"

struct ht_real_dense {
    bool has_bias;
    double product_bound; /* dynamic: max |a - z_a| * max |w - z_w| */
    /* Batch normalization behind it, or NULL: in eval mode it is folded in here, and the batchnorm
     * node that follows passes its input on (ht_attr_batchnorm.folded). [out] each; they outlive
     * the graph. */
    const ht_real *gamma, *beta, *running_mean, *running_var;
    ht_real epsilon;
};

/* x [B, in] real, or of ht_dynamic_quant; w [out, in] of ht_fake_quant or ht_round_half; bias
 * [1, out] if has_bias. */
struct ht_node *ht_real_dense(struct ht_graph *g, const struct ht_real_dense *spec,
                              struct ht_node *x, struct ht_node *w, struct ht_node *bias);

/* x real; q has range dynamic and lives as long as the graph. */
struct ht_node *ht_dynamic_quant(struct ht_graph *g, struct ht_node *x,
                                 const struct ht_quantizer *q);

/* x: weights. */
struct ht_node *ht_round_half(struct ht_graph *g, struct ht_node *x);

#endif
