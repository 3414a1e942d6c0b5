/* Every op's gradient; the list is ops.inc, and an op without a case here does not link. */
#include "gradcheck.h"
#include "graph_support.h"

#define HT_OP(name) void gradcheck_##name(void);
#include "autograd/ops.inc"
#undef HT_OP

#define HT_OP(name)                                                                                \
    Test(gradcheck, name)                                                                          \
    {                                                                                              \
        gradcheck_##name();                                                                        \
        cr_assert_eq(ht_alloc_live(), 0);                                                          \
    }
#include "autograd/ops.inc"
#undef HT_OP

/* --- one op over leaves --- */

struct shape {
    size_t rows, cols;
};

struct op_case {
    const struct ht_op *op;
    const void *attr;
    struct shape in[HT_MAX_INPUTS]; /* checked inputs; rows 0 ends the list */
    struct shape target;            /* a last input without gradient; rows 0: none */
    double target_lo, target_hi;    /* uniform, or class numbers below target_hi if whole */
    bool whole;
    double lo, hi; /* values of in; 0, 0: [-2, 2) */
    const double *kinks;
    size_t n_kinks;
    double step, tolerance; /* as in struct gradcheck */
    struct ht_run run;
};

struct op_build {
    const struct op_case *c;
    const struct ht_params *targets;
};

static struct ht_node *build_op(struct ht_graph *g, const struct ht_params *params, void *user)
{
    const struct op_build *k = user;
    struct ht_node *in[HT_MAX_INPUTS];
    int n = 0;
    for (size_t i = 0; i < params->n_spans; i++)
        in[n++] = ht_graph_param(g, params, (int)i);
    if (k->targets->n)
        in[n++] = ht_graph_param(g, k->targets, 0);
    struct ht_node *y = ht_graph_add(g, k->c->op, k->c->attr, n, in);
    return y && y->rows * y->cols == 1 && k->targets->n ? y : test_weigh(g, y);
}

static void check_op(const struct op_case *c)
{
    struct ht_params params = {0}, targets = {0};
    struct ht_error err = {0};
    char name[32];
    for (int i = 0; i < HT_MAX_INPUTS && c->in[i].rows; i++) {
        snprintf(name, sizeof name, "in%d", i);
        ht_params_declare(&params, name, c->in[i].rows, c->in[i].cols, 0, 0, 0);
    }
    ASSERT_OK(ht_params_allocate(&params, true, &err), err);
    if (c->target.rows)
        ht_params_declare(&targets, "target", c->target.rows, c->target.cols, 0, 0, 0);
    ASSERT_OK(ht_params_allocate(&targets, false, &err), err);
    const bool free_range = c->lo == 0 && c->hi == 0;
    test_fill(params.value, params.n, 1, free_range ? -2 : c->lo, free_range ? 2 : c->hi, c->kinks,
              c->n_kinks, 0.05);
    for (size_t i = 0; i < c->target.rows * c->target.cols; i++) {
        const double u = ht_rng_uniform(2, HT_RNG_TEST, i);
        const double v = c->target_lo + (c->target_hi - c->target_lo) * u;
        targets.value[i] = c->whole ? floor(v) : v;
    }
    struct op_build build = {c, &targets};
    struct gradcheck check = {.build = build_op,
                              .user = &build,
                              .params = &params,
                              .step = c->step,
                              .tolerance = c->tolerance,
                              .run = c->run};
    gradcheck_assert(&check, c->op->name);
    ht_params_finish(&params);
    ht_params_finish(&targets);
}

static const struct shape shapes[] = {{1, 1}, {1, 5}, {6, 1}, {5, 7}};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

static void check_elementwise(struct op_case c)
{
    for (size_t i = 0; i < N_SHAPES; i++) {
        c.in[0] = shapes[i];
        check_op(&c);
    }
}

void gradcheck_dense(void)
{
    for (size_t i = 0; i < N_SHAPES; i++)
        for (size_t out = 1; out <= 4; out += 3) {
            struct op_case c = {.op = &ht_op_dense, .in = {shapes[i], {out, shapes[i].cols}}};
            check_op(&c);
        }
}

void gradcheck_bias(void)
{
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct op_case c = {.op = &ht_op_bias, .in = {shapes[i], {1, shapes[i].cols}}};
        check_op(&c);
    }
}

static const double zero_and_six[] = {0, 6};

void gradcheck_relu(void)
{
    check_elementwise((struct op_case){.op = &ht_op_relu, .kinks = zero_and_six, .n_kinks = 1});
}

void gradcheck_relu6(void)
{
    check_elementwise((struct op_case){
        .op = &ht_op_relu6, .lo = -3, .hi = 9, .kinks = zero_and_six, .n_kinks = 2});
}

void gradcheck_leaky_relu(void)
{
    static const ht_real slopes[] = {0.1, 0, -0.5, 1.5};
    for (size_t i = 0; i < sizeof slopes / sizeof *slopes; i++) {
        struct ht_attr_leaky_relu attr = {slopes[i]};
        check_elementwise((struct op_case){
            .op = &ht_op_leaky_relu, .attr = &attr, .kinks = zero_and_six, .n_kinks = 1});
    }
}

void gradcheck_tanh(void)
{
    check_elementwise((struct op_case){.op = &ht_op_tanh});
}

void gradcheck_sigmoid(void)
{
    check_elementwise((struct op_case){.op = &ht_op_sigmoid, .lo = -5, .hi = 5});
}

void gradcheck_gelu(void)
{
    check_elementwise((struct op_case){.op = &ht_op_gelu, .lo = -4, .hi = 4});
}

void gradcheck_batchnorm(void)
{
    /* 130 columns are more than two strips of column sums. */
    static const struct shape wide[] = {{2, 1}, {5, 3}, {6, 130}};
    ht_real mean[130], var[130];
    for (int frozen = 0; frozen <= 1; frozen++)
        for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
            for (size_t j = 0; j < wide[i].cols; j++) {
                mean[j] = 0.25 * (double)j - 1;
                var[j] = 0.5 + (double)(j % 7);
            }
            struct ht_attr_batchnorm attr = {0.1, 1e-3, mean, var, false};
            struct op_case c = {.op = &ht_op_batchnorm,
                                .attr = &attr,
                                .in = {wide[i], {1, wide[i].cols}, {1, wide[i].cols}},
                                /* Some columns are narrow: large higher derivatives. */
                                .step = 3e-4,
                                .tolerance = 1e-7,
                                .run = {.freeze_batchnorm = frozen}};
            check_op(&c);
        }
}

void gradcheck_dropout(void)
{
    static const ht_real rates[] = {0, 0.25, 0.8};
    for (size_t i = 0; i < 3; i++) {
        struct ht_attr_dropout attr = {rates[i], 3};
        check_elementwise(
            (struct op_case){.op = &ht_op_dropout, .attr = &attr, .run = {.seed = 5, .step = 17}});
    }
}

void gradcheck_softmax_cross_entropy(void)
{
    static const ht_real smoothing[] = {0, 0.1};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < N_SHAPES; i++) {
            struct ht_attr_softmax_cross_entropy attr = {smoothing[k]};
            struct op_case c = {.op = &ht_op_softmax_cross_entropy,
                                .attr = &attr,
                                .in = {shapes[i]},
                                .target = {shapes[i].rows, 1},
                                .target_hi = (double)shapes[i].cols,
                                .whole = true};
            check_op(&c);
        }
}

void gradcheck_mse(void)
{
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct op_case c = {.op = &ht_op_mse,
                            .in = {shapes[i]},
                            .target = shapes[i],
                            .target_lo = -1,
                            .target_hi = 1};
        check_op(&c);
    }
}

void gradcheck_bce(void)
{
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct op_case c = {
            .op = &ht_op_bce, .in = {shapes[i]}, .target = shapes[i], .target_hi = 1};
        check_op(&c);
        c.target = (struct shape){shapes[i].rows, 1};
        c.target_hi = (double)(shapes[i].cols > 1 ? shapes[i].cols : 2);
        c.whole = true;
        check_op(&c);
    }
}

void gradcheck_distillation(void)
{
    static const ht_real temperatures[] = {0.5, 1, 4};
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < N_SHAPES; i++) {
            struct ht_attr_distillation attr = {temperatures[k]};
            struct op_case c = {.op = &ht_op_distillation,
                                .attr = &attr,
                                .in = {shapes[i]},
                                .target = shapes[i],
                                .target_lo = -3,
                                .target_hi = 3};
            check_op(&c);
        }
}

void gradcheck_blend(void)
{
    static const ht_real shares[] = {0, 0.3, 1};
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < N_SHAPES; i++) {
            struct ht_attr_blend attr = {shares[k]};
            struct op_case c = {.op = &ht_op_blend, .attr = &attr, .in = {shapes[i], shapes[i]}};
            check_op(&c);
        }
}

void gradcheck_squared_hinge(void)
{
    /* Its second derivative jumps at the margin: stay away from it. */
    static const double margins[] = {-1, 1};
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct op_case c = {.op = &ht_op_squared_hinge,
                            .in = {shapes[i]},
                            .target = {shapes[i].rows, 1},
                            .target_hi = (double)shapes[i].cols,
                            .whole = true,
                            .kinks = margins,
                            .n_kinks = 2};
        check_op(&c);
    }
}

/* --- graphs --- */

/* Spans of the graphs below. */
enum { X, W, V, B, GAMMA, BETA, ROW };
#define ROWS 5
#define COLS 6

static void declare_graph(struct ht_params *p)
{
    struct ht_error err = {0};
    ht_params_declare(p, "x", ROWS, COLS, 0, 0, 0);
    ht_params_declare(p, "w", COLS, COLS, 0, 0, 0);
    ht_params_declare(p, "v", 3, COLS, 0, 0, 0);
    ht_params_declare(p, "b", 1, COLS, 0, 0, 0);
    ht_params_declare(p, "gamma", 1, COLS, 0, 0, 0);
    ht_params_declare(p, "beta", 1, COLS, 0, 0, 0);
    ht_params_declare(p, "row", 1, COLS, 0, 0, 0);
    ASSERT_OK(ht_params_allocate(p, true, &err), err);
    test_fill(p->value, p->n, 11, -1, 1, NULL, 0, 0);
}

static struct ht_node *leaf(struct ht_graph *g, const struct ht_params *p, int span)
{
    return ht_graph_param(g, p, span);
}

/* Uses every span in a place of its own, so that no gradient stays unwritten. */
static struct ht_node *use_all(struct ht_graph *g, const struct ht_params *p, struct ht_node *x)
{
    static ht_real mean[COLS], var[COLS];
    static const struct ht_attr_batchnorm bn = {0.1, 1e-2, mean, var, false};
    x = test_add(g, &ht_op_dense, NULL, x, leaf(g, p, W), NULL);
    x = test_add(g, &ht_op_bias, NULL, x, leaf(g, p, B), NULL);
    x = test_add(g, &ht_op_bias, NULL, x, leaf(g, p, ROW), NULL);
    x = test_add(g, &ht_op_tanh, NULL, x, NULL, NULL);
    x = test_add(g, &ht_op_batchnorm, &bn, x, leaf(g, p, GAMMA), leaf(g, p, BETA));
    x = test_add(g, &ht_op_dense, NULL, x, leaf(g, p, V), NULL);
    return test_weigh(g, x);
}

static struct ht_node *value_used_often(struct ht_graph *g, const struct ht_params *p, void *user)
{
    struct ht_node *h = test_add(g, &ht_op_tanh, NULL, leaf(g, p, X), NULL, NULL);
    struct ht_node *a = test_add(g, &ht_op_gelu, NULL, h, NULL, NULL);
    struct ht_node *b = test_add(g, &ht_op_sigmoid, NULL, h, NULL, NULL);
    struct ht_node *c = test_add(g, &ht_op_dense, NULL, h, h, NULL); /* [5, 5], twice in one op */
    struct ht_node *d =
        test_add(g, &ht_op_dense, NULL, c, test_add(g, &ht_op_dense, NULL, a, b, NULL), NULL);
    struct ht_node *weighed =
        test_add(g, &ht_op_dense, NULL, test_weigh(g, d), test_weigh(g, c), NULL);
    return test_add(g, &ht_op_dense, NULL, use_all(g, p, h), weighed,
                    NULL); /* a product of scalars */
}

static struct ht_node *parameter_used_often(struct ht_graph *g, const struct ht_params *p,
                                            void *user)
{
    struct ht_node *w = leaf(g, p, W), *b = leaf(g, p, B), *row = leaf(g, p, ROW);
    struct ht_node *x = test_add(g, &ht_op_dense, NULL, leaf(g, p, X), w, NULL);
    x = test_add(g, &ht_op_bias, NULL, x, b, NULL);
    x = test_add(g, &ht_op_tanh, NULL, x, NULL, NULL);
    x = test_add(g, &ht_op_dense, NULL, x, w, NULL);
    x = test_add(g, &ht_op_bias, NULL, x, b, NULL);
    x = test_add(g, &ht_op_bias, NULL, x, test_add(g, &ht_op_bias, NULL, row, row, NULL), NULL);
    return use_all(g, p, x);
}

static struct ht_node *same_gamma_and_beta(struct ht_graph *g, const struct ht_params *p,
                                           void *user)
{
    static ht_real mean[COLS], var[COLS];
    static const struct ht_attr_batchnorm bn = {0.1, 1e-2, mean, var, false};
    struct ht_node *x =
        test_add(g, &ht_op_batchnorm, &bn, leaf(g, p, X), leaf(g, p, GAMMA), leaf(g, p, GAMMA));
    return use_all(g, p, test_add(g, &ht_op_tanh, NULL, x, NULL, NULL));
}

/* Nodes that lead nowhere, in front of the loss and behind it: their inputs' gradients must not
 * notice them. */
static struct ht_node *dead_ends(struct ht_graph *g, const struct ht_params *p, void *user)
{
    struct ht_node *h = test_add(g, &ht_op_tanh, NULL, leaf(g, p, X), NULL, NULL);
    test_add(g, &ht_op_sigmoid, NULL, h, NULL, NULL);
    struct ht_node *y = test_add(g, &ht_op_gelu, NULL, h, NULL, NULL);
    test_add(g, &ht_op_dense, NULL, y, leaf(g, p, W), NULL);
    test_add(g, &ht_op_bias, NULL, h, leaf(g, p, B), NULL);
    struct ht_node *loss = use_all(g, p, y);
    test_add(g, &ht_op_relu, NULL, h, NULL, NULL);
    test_add(g, &ht_op_dense, NULL, y, leaf(g, p, V), NULL);
    return loss;
}

static void check_graph(struct ht_node *(*build)(struct ht_graph *, const struct ht_params *,
                                                 void *),
                        void *user, const char *what)
{
    struct ht_params params = {0};
    declare_graph(&params);
    struct gradcheck c = {
        .build = build, .user = user, .params = &params, .run = {.seed = 3, .step = 4}};
    gradcheck_assert(&c, what);
    ht_params_finish(&params);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(graphs, value_used_often)
{
    check_graph(value_used_often, NULL, "value");
}

Test(graphs, parameter_used_often)
{
    check_graph(parameter_used_often, NULL, "parameter");
}

Test(graphs, same_gamma_and_beta)
{
    check_graph(same_gamma_and_beta, NULL, "gamma");
}

Test(graphs, dead_ends)
{
    check_graph(dead_ends, NULL, "dead ends");
}

static struct ht_node *quantized_dropout(struct ht_graph *g, const struct ht_params *p, void *user)
{
    static const struct ht_attr_dropout drop = {0.4, 2};
    struct ht_node *x = test_add(g, &test_op_scaled, NULL, leaf(g, p, 0), NULL, NULL);
    return test_weigh(g, test_add(g, &ht_op_dropout, &drop, x, NULL, NULL));
}

Test(graphs, quantized_dropout)
{
    struct ht_params params = {0};
    struct ht_error err = {0};
    ht_params_declare(&params, "x", ROWS, COLS, 0, 0, 0);
    ASSERT_OK(ht_params_allocate(&params, true, &err), err);
    test_fill(params.value, params.n, 1, -2, 2, NULL, 0, 0);
    struct gradcheck c = {
        .build = quantized_dropout, .params = &params, .run = {.seed = 3, .step = 4}};
    gradcheck_assert(&c, "quantized dropout");
    ht_params_finish(&params);
}

struct chain {
    const struct ht_op *activation, *loss;
    const struct ht_params *targets; /* classes [ROWS, 1], values [ROWS, COLS] */
};

/* dense batchnorm activation dropout dense bias activation + loss. */
static struct ht_node *chain(struct ht_graph *g, const struct ht_params *p, void *user)
{
    const struct chain *k = user;
    static ht_real mean[COLS], var[COLS];
    static const struct ht_attr_batchnorm bn = {0.1, 1e-2, mean, var, false};
    static const struct ht_attr_leaky_relu leaky = {0.2};
    static const struct ht_attr_dropout drop = {0.3, 1};
    static const struct ht_attr_softmax_cross_entropy smooth = {0.1};
    const void *attr = k->activation == &ht_op_leaky_relu ? &leaky : NULL;
    const bool classes = k->loss != &ht_op_mse;
    struct ht_node *x = test_add(g, &ht_op_dense, NULL, leaf(g, p, X), leaf(g, p, W), NULL);
    x = test_add(g, &ht_op_batchnorm, &bn, x, leaf(g, p, GAMMA), leaf(g, p, BETA));
    x = test_add(g, k->activation, attr, x, NULL, NULL);
    x = test_add(g, &ht_op_dropout, &drop, x, NULL, NULL);
    x = test_add(g, &ht_op_bias, NULL, x, leaf(g, p, ROW), NULL);
    x = test_add(g, &ht_op_dense, NULL, x, leaf(g, p, W), NULL);
    x = test_add(g, &ht_op_bias, NULL, x, leaf(g, p, B), NULL);
    x = test_add(g, k->activation, attr, x, NULL, NULL);
    x = test_add(g, &ht_op_dense, NULL, x, leaf(g, p, V), NULL);
    return test_add(g, k->loss, &smooth, x, leaf(g, k->targets, classes ? 0 : 1), NULL);
}

Test(graphs, chains)
{
    static const struct ht_op *activations[] = {&ht_op_relu, &ht_op_relu6,   &ht_op_leaky_relu,
                                                &ht_op_tanh, &ht_op_sigmoid, &ht_op_gelu};
    static const struct ht_op *losses[] = {&ht_op_softmax_cross_entropy, &ht_op_mse, &ht_op_bce,
                                           &ht_op_squared_hinge};
    struct ht_params targets = {0};
    struct ht_error err = {0};
    ht_params_declare(&targets, "classes", ROWS, 1, 0, 0, 0);
    ht_params_declare(&targets, "values", ROWS, 3, 0, 0, 0);
    ASSERT_OK(ht_params_allocate(&targets, false, &err), err);
    for (size_t i = 0; i < ROWS; i++)
        targets.value[i] = (ht_real)(i % 3);
    test_fill(targets.value + targets.spans[1].offset, targets.spans[1].n, 8, -1, 1, NULL, 0, 0);
    for (size_t a = 0; a < sizeof activations / sizeof *activations; a++)
        for (size_t l = 0; l < sizeof losses / sizeof *losses; l++) {
            char what[64];
            struct chain k = {activations[a], losses[l], &targets};
            struct ht_params params = {0};
            snprintf(what, sizeof what, "%s, %s", k.activation->name, k.loss->name);
            declare_graph(&params);
            struct gradcheck c = {.build = chain,
                                  .user = &k,
                                  .params = &params,
                                  /* Small steps, so that values between the layers pass no kink;
                                     they cost a digit to rounding. */
                                  .step = 1e-4,
                                  .tolerance = 1e-7,
                                  .run = {.seed = 3, .step = 4}};
            gradcheck_assert(&c, what);
            ht_params_finish(&params);
        }
    ht_params_finish(&targets);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- the harness itself --- */

/* y = x^2, with the gradient of one element off by a factor. */
struct square_attr {
    ht_real factor;
    size_t element; /* (size_t)-1: all */
};

static void square_forward(struct ht_node *n, const struct ht_run *run)
{
    for (size_t i = 0; i < n->rows * n->cols; i++)
        n->value[i] = n->in[0]->value[i] * n->in[0]->value[i];
}

static void square_backward(struct ht_node *n, const struct ht_run *run)
{
    const struct square_attr *a = n->attr;
    for (size_t i = 0; i < n->rows * n->cols; i++) {
        const bool wrong = a->element == i || a->element == (size_t)-1;
        ht_grad_put(n, 0, i, 2 * n->in[0]->value[i] * n->grad[i] * (wrong ? a->factor : 1));
    }
}

static const struct ht_op op_square = {
    "square",          sizeof(struct square_attr),
    HT_OP_USES_INPUTS, ht_infer_like_input,
    square_forward,    square_backward,
};

static struct ht_node *square(struct ht_graph *g, const struct ht_params *p, void *user)
{
    return test_weigh(g, test_add(g, &op_square, user, leaf(g, p, 0), NULL, NULL));
}

static struct gradcheck_result check_square(struct square_attr attr,
                                            const struct gradcheck_factor *factors)
{
    struct ht_params params = {0};
    struct ht_error err = {0};
    ht_params_declare(&params, "x", 3, 4, 0, 0, 0);
    ASSERT_OK(ht_params_allocate(&params, true, &err), err);
    test_fill(params.value, params.n, 1, -2, 2, NULL, 0, 0);
    struct gradcheck c = {.build = square, .user = &attr, .params = &params, .factors = factors};
    struct gradcheck_result r = gradcheck_run(&c);
    ht_params_finish(&params);
    return r;
}

Test(harness, reports_a_gradient_that_is_off_by_1e_4)
{
    cr_assert(check_square((struct square_attr){1, (size_t)-1}, NULL).ok);
    struct gradcheck_result all = check_square((struct square_attr){1.0001, (size_t)-1}, NULL);
    cr_assert(!all.ok);
    cr_assert(fabs(all.worst / 1e-4 - 1) < 1e-3, "%g", all.worst);
    for (size_t i = 0; i < 12; i++)
        cr_assert(!check_square((struct square_attr){1.0001, i}, NULL).ok, "element %zu", i);
    cr_assert(!check_square((struct square_attr){NAN, 5}, NULL).ok);
}

Test(harness, knows_factors)
{
    static const struct gradcheck_factor half[] = {{"x", 0.5}, {NULL, 0}};
    cr_assert(check_square((struct square_attr){0.5, (size_t)-1}, half).ok);
    cr_assert(!check_square((struct square_attr){1, (size_t)-1}, half).ok);
}
