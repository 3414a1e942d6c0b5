/* An op: one file op_<name>.c with one `const struct ht_op ht_op_<name>`, and a line in ops.inc. */
#ifndef HT_AUTOGRAD_OP_H
#define HT_AUTOGRAD_OP_H

#include "autograd/graph.h"

enum ht_op_use {
    HT_OP_USES_INPUTS = 1,  /* backward reads in[i]->value */
    HT_OP_USES_OUTPUT = 2,  /* backward reads its own value */
    HT_OP_MAKES_BYTES = 4,  /* its quantized output may be as_bytes */
    HT_OP_KEEPS_BYTES = 8,  /* the same, when its input is */
    HT_OP_TAKES_BYTES = 16, /* inputs may be as_bytes */
};

struct ht_op {
    const char *name;
    size_t attr_size;
    unsigned uses;
    /* Checks the inputs' shapes, sets rows, cols, batched, n_scale and the buffer sizes. */
    enum ht_status (*infer)(struct ht_node *n, struct ht_error *err);
    void (*forward)(struct ht_node *n, const struct ht_run *run);
    /* Reads n->grad; writes in[i]->grad where in[i]->needs_grad, by ht_grad_put or by the rule it
     * stands for: overwrite when first_grad[i], else add. */
    void (*backward)(struct ht_node *n, const struct ht_run *run);
};

/* in[i]->grad[j] = or += v. */
#define ht_grad_put(node, i, j, v)                                                                 \
    do {                                                                                           \
        ht_real *put_ = &(node)->in[i]->grad[j];                                                   \
        *put_ = (node)->first_grad[i] ? (v) : *put_ + (v);                                         \
    } while (0)

/* 0 or 1, for ht_gemm's beta. */
static inline ht_real ht_grad_beta(const struct ht_node *n, int i)
{
    return n->first_grad[i] ? (ht_real)0 : (ht_real)1;
}

/* For an op that has just completed rows of the gradient of in[i], a parameter. */
static inline void ht_gradient_ready(const struct ht_run *run, const struct ht_node *n, int i,
                                     size_t row, size_t rows)
{
    if (run->gradient_ready && n->last_grad[i] && !n->in[i]->op)
        run->gradient_ready(run->user, n->in[i], row, rows);
}

/* Sets n to the shape of in[0]; the usual infer of an element-wise op. */
enum ht_status ht_infer_like_input(struct ht_node *n, struct ht_error *err);

/* HT_ERR_CONFIG "<op>: <what>" unless condition. */
#define HT_OP_REQUIRE(n, err, condition, what)                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return ht_fail(err, HT_ERR_CONFIG, "%s: %s", (n)->op->name, what);                     \
    } while (0)

#define HT_OP(name) extern const struct ht_op ht_op_##name;
#include "autograd/ops.inc"
#undef HT_OP

/* Attributes of ops that have some. */
struct ht_attr_leaky_relu {
    ht_real slope;
};
struct ht_attr_dropout {
    ht_real rate;    /* share of values set to 0; the others are divided by 1 - rate */
    uint32_t stream; /* tells apart the dropouts of one network */
};
struct ht_attr_batchnorm {
    ht_real momentum, epsilon;
    ht_real *running_mean, *running_var; /* [cols], state that outlives the graph */
    bool folded; /* in eval mode it is in the op before, and x is passed on */
};
struct ht_attr_softmax_cross_entropy {
    ht_real label_smoothing; /* Szegedy et al. 2016, sec. 7 */
};
struct ht_attr_distillation {
    ht_real temperature; /* Hinton et al. 2015, sec. 2 */
};
struct ht_attr_blend {
    ht_real share; /* of the second input */
};

#endif
