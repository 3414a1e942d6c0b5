#include <float.h>
#include <math.h>

#include "quant/quant_dense_internal.h"

struct ht_node *ht_quant_dense(struct ht_graph *g, const struct ht_quant_dense *spec,
                               const struct ht_params *params, struct ht_node *x, struct ht_node *w,
                               struct ht_node *bias_or_gamma, struct ht_node *beta)
{
    struct ht_node *in[HT_MAX_INPUTS] = {x, w, bias_or_gamma, beta};
    if (spec->has_bias && spec->has_batchnorm)
        return ht_graph_fail(g, HT_ERR_CONFIG, "quant_dense: bias or batchnorm, not both");
    if (ht_fake_quant_fits_kernels(w) && ht_graph_as_bytes(g, x, w))
        w->absorbed = true;
    int n_in = ht_qd_scale_input(spec);
    if (spec->out && spec->out->range->learned)
        in[n_in++] = ht_graph_param(g, params, spec->out->scale_span);
    if (spec->out && ht_quantizer_has_offset(spec->out))
        in[n_in++] = ht_graph_param(g, params, spec->out->offset_span);
    if (spec->out && spec->out->estimator->shape)
        in[n_in++] = ht_graph_param(g, params, spec->out->softness_span);
    return ht_graph_add(g, &ht_op_quant_dense, spec, n_in, in);
}

struct ht_kernel_weights ht_qd_kernel_weights(const struct ht_node *n, int16_t level[256])
{
    const struct ht_node *w = n->in[HT_QD_W];
    for (int code = 0; code < 256; code++)
        level[code] = (int16_t)(int8_t)code;
    return (struct ht_kernel_weights){.n = w->rows, .k = w->cols, .bits = 8, .level = level};
}

size_t ht_qd_packed_elements(const struct ht_node *n)
{
    int16_t level[256];
    if (!ht_qd_on_kernels(n))
        return 0;
    const struct ht_kernel_weights w = ht_qd_kernel_weights(n, level);
    return (n->kernels->packed_size(&w) + 63) / 64 * 64 / sizeof(ht_real); /* a cache line */
}

/* Backward on kernels wants x [B, in] as floats, blocks of w if x needs a gradient, and the
 * sums of each row of w. */
static size_t float_copies(const struct ht_node *n)
{
    const struct ht_node *x = n->in[HT_QD_X], *w = n->in[HT_QD_W];
    if (!ht_qd_on_kernels(n))
        return 0;
    return x->rows * x->cols + (x->needs_grad ? HT_QD_WEIGHTS * x->cols : 0) +
           w->rows * ht_fake_quant_sums(w);
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    const struct ht_quant_dense *s = ht_qd_spec(n);
    const struct ht_node *x = n->in[HT_QD_X], *w = n->in[HT_QD_W];
    HT_OP_REQUIRE(n, err, x->n_scale == 1, "the input must be quantized with one scale");
    HT_OP_REQUIRE(n, err, w->n_scale == 1 || w->n_scale == w->rows,
                  "the weights must be quantized, with one scale or one per row");
    HT_OP_REQUIRE(n, err, x->cols == w->cols, "weights and input do not fit");
    HT_OP_REQUIRE(n, err, x->as_bytes == w->as_bytes, "either both are bytes, or none");
    HT_OP_REQUIRE(n, err, s->out || (isinf(s->clamp_lo) && isinf(s->clamp_hi)),
                  "a real output has no activation");
    for (int i = HT_QD_FIRST_AFFINE; i < ht_qd_scale_input(s); i++)
        HT_OP_REQUIRE(n, err, n->in[i]->rows == 1 && n->in[i]->cols == w->rows,
                      "bias, gamma and beta are [1, out]");
    HT_OP_REQUIRE(n, err, (double)x->cols * s->product_bound < 1073741824.0,
                  "too many inputs: the sum of products could pass 2^30");
    n->rows = x->rows;
    n->cols = w->rows;
    n->batched = x->batched;
    n->n_scale = s->out ? 1 : 0;
    n->signed_levels = s->out && ht_grid_is_signed(&s->out->grid);
    const size_t all = n->rows * n->cols;
    n->saved_size = 2 * all + n->cols;
    n->scratch_size = ht_qd_packed_elements(n) + 2 * all + 4 * n->cols + 3 * n->rows;
    n->scratch_back_size = 2 * all + 2 * n->cols + 3 * n->rows + float_copies(n);
    n->residual_size = n->cols + all;
    return HT_OK;
}

/* --- the arithmetic that lowering shares --- */

struct ht_folded ht_fold_batchnorm(ht_real weight_scale, ht_real gamma, ht_real beta, ht_real mean,
                                   ht_real var, ht_real epsilon)
{
    ht_real gain = gamma * (ht_real)(1 / sqrt((double)var + (double)epsilon));
    struct ht_folded f = {weight_scale * gain, beta - mean * gain};
    return f;
}

ht_acc ht_quantize_bias(ht_real offset, ht_real accumulator_scale, size_t in, double product_bound)
{
    double limit = 2147483647.0 - (double)in * product_bound;
    double q = rint((double)(offset / accumulator_scale));
    q = q < limit ? q : limit; /* NaN, too, becomes a number */
    return (ht_acc)(q > -limit ? q : -limit);
}

const struct ht_op ht_op_quant_dense = {
    "quant_dense",
    sizeof(struct ht_quant_dense),
    HT_OP_USES_INPUTS | HT_OP_USES_OUTPUT | HT_OP_MAKES_BYTES | HT_OP_TAKES_BYTES,
    infer,
    ht_qd_forward,
    ht_qd_backward,
};
