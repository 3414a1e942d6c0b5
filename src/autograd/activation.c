#include "autograd/activation.h"

#include <string.h>

#include "autograd/op.h"

/* --- values and slopes --- */

/* Written so that NaN passes through and the loops below become a maximum. */
static inline ht_real relu_value(ht_real x, ht_real param)
{
    return x < 0 ? 0 : x;
}

static inline ht_real relu_slope(ht_real x, ht_real y, ht_real param)
{
    return y > 0 ? (ht_real)1 : (ht_real)0;
}

static inline ht_real relu6_value(ht_real x, ht_real param)
{
    ht_real y = x < 0 ? 0 : x;
    return y > 6 ? 6 : y;
}

static inline ht_real relu6_slope(ht_real x, ht_real y, ht_real param)
{
    return y > 0 && y < 6 ? (ht_real)1 : (ht_real)0;
}

static inline ht_real leaky_relu_value(ht_real x, ht_real param)
{
    return x > 0 ? x : param * x;
}

static inline ht_real leaky_relu_slope(ht_real x, ht_real y, ht_real param)
{
    return x > 0 ? 1 : param;
}

static inline ht_real tanh_value(ht_real x, ht_real param)
{
    return ht_tanh(x);
}

static inline ht_real tanh_slope(ht_real x, ht_real y, ht_real param)
{
    return 1 - y * y;
}

static inline ht_real sigmoid_value(ht_real x, ht_real param)
{
    return 1 / (1 + ht_exp(-x));
}

static inline ht_real sigmoid_slope(ht_real x, ht_real y, ht_real param)
{
    return y * (1 - y);
}

#define SQRT_HALF       ((ht_real)0.70710678118654752440)
#define ONE_BY_SQRT_2PI ((ht_real)0.39894228040143267794)

static inline ht_real normal_cdf(ht_real x)
{
    return (ht_real)0.5 * (1 + ht_erf(x * SQRT_HALF));
}

/* Hendrycks and Gimpel 2016, eq. for x * Phi(x), exact form. */
static inline ht_real gelu_value(ht_real x, ht_real param)
{
    return x * normal_cdf(x);
}

static inline ht_real gelu_slope(ht_real x, ht_real y, ht_real param)
{
    return normal_cdf(x) + x * ONE_BY_SQRT_2PI * ht_exp(-(ht_real)0.5 * x * x);
}

/* --- ops: one loop each, so that the cheap ones vectorize --- */

static ht_real param_of(const struct ht_node *n)
{
    return n->attr ? ((const struct ht_attr_leaky_relu *)n->attr)->slope : 0;
}

/* What an op's uses does not ask for may be overwritten by then, so it is not read at all. */
#define DEFINE_OP(op_name, op_attr_size, op_uses)                                                  \
    static void op_name##_values(const ht_real *x, size_t n, ht_real param, ht_real *y)            \
    {                                                                                              \
        for (size_t i = 0; i < n; i++)                                                             \
            y[i] = op_name##_value(x[i], param);                                                   \
    }                                                                                              \
    static void op_name##_forward(struct ht_node *n, const struct ht_run *run)                     \
    {                                                                                              \
        op_name##_values(n->in[0]->value, n->rows * n->cols, param_of(n), n->value);               \
    }                                                                                              \
    static void op_name##_backward(struct ht_node *n, const struct ht_run *run)                    \
    {                                                                                              \
        const ht_real param = param_of(n);                                                         \
        const ht_real *x = (op_uses)&HT_OP_USES_INPUTS ? n->in[0]->value : n->value;               \
        const ht_real *y = (op_uses)&HT_OP_USES_OUTPUT ? n->value : x;                             \
        const ht_real *dy = n->grad;                                                               \
        ht_real *dx = n->in[0]->grad;                                                              \
        const size_t size = n->rows * n->cols;                                                     \
        if (n->first_grad[0])                                                                      \
            for (size_t i = 0; i < size; i++)                                                      \
                dx[i] = dy[i] * op_name##_slope(x[i], y[i], param);                                \
        else                                                                                       \
            for (size_t i = 0; i < size; i++)                                                      \
                dx[i] += dy[i] * op_name##_slope(x[i], y[i], param);                               \
    }                                                                                              \
    const struct ht_op ht_op_##op_name = {#op_name,          op_attr_size,                         \
                                          op_uses,           ht_infer_like_input,                  \
                                          op_name##_forward, op_name##_backward};

DEFINE_OP(relu, 0, HT_OP_USES_OUTPUT)
DEFINE_OP(relu6, 0, HT_OP_USES_OUTPUT)
DEFINE_OP(leaky_relu, sizeof(struct ht_attr_leaky_relu), HT_OP_USES_INPUTS)
DEFINE_OP(tanh, 0, HT_OP_USES_OUTPUT)
DEFINE_OP(sigmoid, 0, HT_OP_USES_OUTPUT)
DEFINE_OP(gelu, 0, HT_OP_USES_INPUTS)

/* --- by name --- */

static const struct ht_activation activations[] = {
    {"relu", relu_value, relu_slope, relu_values},
    {"relu6", relu6_value, relu6_slope, relu6_values},
    {"leaky_relu", leaky_relu_value, leaky_relu_slope, leaky_relu_values},
    {"tanh", tanh_value, tanh_slope, tanh_values},
    {"sigmoid", sigmoid_value, sigmoid_slope, sigmoid_values},
    {"gelu", gelu_value, gelu_slope, gelu_values},
};

const struct ht_activation *ht_activation_find(const char *name)
{
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (strcmp(activations[i].name, name) == 0)
            return &activations[i];
    return NULL;
}

ht_real ht_activation_value(const char *name, ht_real x, ht_real param)
{
    const struct ht_activation *a = ht_activation_find(name);
    return a ? a->value(x, param) : (ht_real)NAN;
}
