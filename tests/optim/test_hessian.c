/* Hutchinson's estimate of traces against Hessians that are known, in double precision. */
#include "support.h"

#include <math.h>

#include "autograd/op.h"
#include "base/rng.h"
#include "layers/model.h"
#include "optim/hessian.h"
#include "tensor/blas.h"

#ifndef HT_REAL_IS_DOUBLE
#error "link real64_dep"
#endif

/* --- x' A x / 2, whose Hessian is A --- */

#define N 9

struct quadratic {
    struct ht_params params;
    int first, second;
    double a[N][N]; /* of the first span; the second adds the sum of its squares, times 50 */
};

static void quadratic_gradient(void *user, size_t index)
{
    struct quadratic *q = user;
    const double *x = q->params.value + q->params.spans[q->first].offset;
    double *g = q->params.grad + q->params.spans[q->first].offset;
    for (size_t i = 0; i < N; i++) {
        g[i] = (double)index; /* a linear part of each batch's own: no curvature */
        for (size_t j = 0; j < N; j++)
            g[i] += q->a[i][j] * x[j];
    }
    for (size_t i = 0; i < 4; i++)
        q->params.grad[q->params.spans[q->second].offset + i] =
            100 * q->params.value[q->params.spans[q->second].offset + i];
}

static void make_quadratic(struct quadratic *q, double off_diagonal)
{
    struct ht_error err = {0};
    memset(q, 0, sizeof *q);
    q->first = ht_params_declare(&q->params, "first", 3, 3, 0, 1, 0);
    q->second = ht_params_declare(&q->params, "second", 1, 4, 0, 2, 0);
    ASSERT_OK(ht_params_allocate(&q->params, true, &err), err);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j <= i; j++)
            q->a[i][j] = q->a[j][i] =
                i == j ? (double)i - 2
                       : off_diagonal * (ht_rng_uniform(7, HT_RNG_TEST, i * N + j) - 0.5);
}

Test(hessian, a_diagonal_one_needs_one_direction)
{
    struct quadratic q;
    struct ht_trace trace;
    struct ht_error err = {0};
    make_quadratic(&q, 0);
    const struct ht_trace_options o = {
        .gradient = quadratic_gradient, .user = &q, .samples = 1, .seed = 3};
    ASSERT_OK(ht_hessian_trace(&trace, &q.params, q.first, &o, &err), err);
    cr_assert_float_eq(trace.mean, 18, 1e-9, "%.17g", trace.mean); /* -2 - 1 + ... + 6 */
    cr_assert(isnan(trace.error));
    ASSERT_OK(ht_hessian_trace(&trace, &q.params, q.second, &o, &err), err);
    cr_assert_float_eq(trace.mean, 400, 1e-9);
    for (size_t i = 0; i < N; i++)
        cr_assert_eq(q.params.value[q.params.spans[q.first].offset + i], 1, "put back");
    ht_params_finish(&q.params);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Of values counted in units: x = unit * z, so that a_ii becomes unit^2 a_ii. */
Test(hessian, in_units)
{
    struct quadratic q;
    struct ht_trace trace;
    struct ht_error err = {0};
    double unit[N], expected = 0;
    make_quadratic(&q, 0);
    for (size_t i = 0; i < N; i++) {
        unit[i] = 0.5 + 0.25 * (double)i;
        expected += unit[i] * unit[i] * ((double)i - 2);
    }
    const struct ht_trace_options o = {
        .gradient = quadratic_gradient, .user = &q, .samples = 2, .unit = unit, .seed = 3};
    ASSERT_OK(ht_hessian_trace(&trace, &q.params, q.first, &o, &err), err);
    cr_assert_float_eq(trace.mean, expected, 1e-9, "%.17g", trace.mean);
    ht_params_finish(&q.params);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(hessian, a_dense_one_on_average_with_its_standard_error)
{
    struct quadratic q;
    struct ht_trace trace;
    struct ht_error err = {0};
    double square = 0;
    make_quadratic(&q, 4);
    const struct ht_trace_options o = {
        .gradient = quadratic_gradient, .user = &q, .samples = 4000, .seed = 3};
    ASSERT_OK(ht_hessian_trace(&trace, &q.params, q.first, &o, &err), err);
    /* The variance of v' A v for signs v: 4 times the squares on one side of the diagonal (Avron
     * and Toledo 2011). */
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < i; j++)
            square += 4 * q.a[i][j] * q.a[i][j];
    const double expected = sqrt(square / 4000);
    cr_assert_float_eq(trace.error, expected, 0.05 * expected, "%g %g", trace.error, expected);
    cr_assert(fabs(trace.mean - 18) < 4 * expected, "%g +- %g", trace.mean, expected);
    ht_params_finish(&q.params);
}

/* --- a small network --- */

#define BATCH 8

struct network {
    struct ht_model *model;
    struct ht_graph *graph;
    struct ht_node *x, *target, *loss;
};

static const struct ht_run run = {.mode = HT_MODE_TRAIN, .freeze_batchnorm = true};

static void make_network(struct network *n)
{
    struct ht_error err = {0};
    const struct ht_block_spec blocks[] = {
        {.name = "one",
         .units = 4,
         .batchnorm = true,
         .momentum = 0.1,
         .epsilon = 1e-5,
         .init = "he",
         .activation = "tanh"},
        {.name = "two", .units = 3, .bias = true, .init = "xavier", .activation = "none"}};
    const struct ht_model_spec spec = {.inputs = 5, .blocks = blocks, .n_blocks = 2};
    ht_blas_init();
    ASSERT_OK(ht_model_create(&n->model, &spec, &err), err);
    ht_model_initialize(n->model, 5);
    n->graph = ht_graph_create(BATCH);
    n->x = ht_graph_input(n->graph, 5);
    n->target = ht_graph_input(n->graph, 1);
    struct ht_node *in[2] = {ht_model_build(n->model, n->graph, n->x, false, NULL), n->target};
    const struct ht_attr_softmax_cross_entropy smoothing = {0};
    n->loss = ht_graph_add(n->graph, &ht_op_softmax_cross_entropy, &smoothing, 2, in);
    ASSERT_OK(ht_graph_plan(n->graph, n->loss, HT_PLAN_TRAINING, &err), err);
}

static void load(struct network *n)
{
    ht_graph_set_batch(n->graph, BATCH);
    for (size_t i = 0; i < 5 * BATCH; i++)
        n->x->value[i] = ht_rng_normal(11, HT_RNG_TEST, i);
    for (size_t i = 0; i < BATCH; i++)
        n->target->value[i] = (double)(i % 3);
}

static double loss_of(struct network *n)
{
    load(n);
    ht_graph_forward(n->graph, &run);
    return n->loss->value[0];
}

static void network_gradient(void *user, size_t index)
{
    struct network *n = user;
    loss_of(n);
    ht_graph_backward(n->graph, &run);
    (void)index;
}

/* The diagonal from losses alone: (L(w + h) - 2 L(w) + L(w - h)) / h^2. */
static double explicit_trace(struct network *n, int span)
{
    const struct ht_span *s = &n->model->params.spans[span];
    double *w = n->model->params.value + s->offset, sum = 0;
    const double h = 1e-4, base = loss_of(n);
    for (size_t i = 0; i < s->n; i++) {
        const double kept = w[i];
        w[i] = kept + h;
        const double above = loss_of(n);
        w[i] = kept - h;
        sum += (above - 2 * base + loss_of(n)) / (h * h);
        w[i] = kept;
    }
    return sum;
}

Test(hessian, of_a_network_as_the_explicit_one)
{
    struct network n;
    struct ht_error err = {0};
    make_network(&n);
    for (size_t i = 0; i < 2; i++) {
        const int span = n.model->blocks[i].weight_span;
        struct ht_trace trace;
        const struct ht_trace_options o = {
            .gradient = network_gradient, .user = &n, .samples = 16000, .step = 1e-3, .seed = 1};
        const double expected = explicit_trace(&n, span);
        ASSERT_OK(ht_hessian_trace(&trace, &n.model->params, span, &o, &err), err);
        cr_assert(trace.error < 0.02 * fabs(expected), "%g +- %g", trace.mean, trace.error);
        cr_assert(fabs(trace.mean - expected) < 4 * trace.error, "%g +- %g, not %g", trace.mean,
                  trace.error, expected);
        cr_assert(fabs(expected) > 0.1);
    }
    ht_graph_destroy(n.graph);
    ht_model_destroy(n.model);
    cr_assert_eq(ht_alloc_live(), 0);
}
