/* A dense layer on quantized tensors, with all that follows it up to the next quantized tensor:
 * integer accumulators, bias or batch normalization, a clamping activation, requantization. One op,
 * because this is where "what you train is what ships" is decided: in eval mode, and in training
 * wherever no batch statistics are in use, it computes docs/numerics.md sections 3 to 6 to the bit.
 */
#ifndef HT_QUANT_QUANT_DENSE_H
#define HT_QUANT_QUANT_DENSE_H

#include "quant/quantizer.h"

struct ht_quant_dense {
    bool has_bias, has_batchnorm;        /* not both */
    ht_real momentum, epsilon;           /* of the running statistics; in the square root */
    ht_real *running_mean, *running_var; /* [out] state; NULL without batchnorm */
    /* The activation as a clamp of real values: relu 0..inf, relu6 0..6, none -inf..inf. */
    ht_real clamp_lo, clamp_hi;
    struct ht_quantizer *out; /* NULL: real output */
    double product_bound;     /* max |a - z_a| * max |w - z_w| */
};

/* x [B, in] quantized with one scale, w [out, in] quantized; then bias, or gamma and beta [1, out].
 * The learned scale of spec->out is added as an input by itself. */
struct ht_node *ht_quant_dense(struct ht_graph *g, const struct ht_quant_dense *spec,
                               const struct ht_params *params, struct ht_node *x, struct ht_node *w,
                               struct ht_node *bias_or_gamma, struct ht_node *beta);

/* One output neuron with batch normalization and bias folded (docs/numerics.md, 5). Lowering and
 * the op call the same function. */
struct ht_folded {
    ht_real weight_scale; /* s_w * gain */
    ht_real offset;       /* real value added to the weighted sum */
};
struct ht_folded ht_fold_batchnorm(ht_real weight_scale, ht_real gamma, ht_real beta, ht_real mean,
                                   ht_real var, ht_real epsilon);

/* The offset in units of the accumulator: rne(offset / scale), held to what int32 can take beside
 * in * product_bound (a neuron with such an offset is saturated anyway). */
ht_acc ht_quantize_bias(ht_real offset, ht_real accumulator_scale, size_t in, double product_bound);

#endif
