/* Gradients against central differences, in double: link real64_dep.
 *
 * A base run in HT_MODE_TRAIN (which keeps the rounding residuals) and its backward give the
 * gradients; forwards in HT_MODE_SURROGATE with one parameter element moved at a time give the
 * differences. Only parameters have gradients: declare what should be checked as a span, and what
 * should not (targets) as a span of a struct ht_params allocated without gradients. */
#ifndef HT_TESTS_GRADCHECK_H
#define HT_TESTS_GRADCHECK_H

#include <math.h>

#include "autograd/op.h"
#include "base/rng.h"
#include "support.h"
#include "tensor/blas.h"
#include "tensor/params.h"

#ifndef HT_REAL_IS_DOUBLE
#error "gradient checks need the double build: real64_dep"
#endif

/* Relative to the larger gradient. The differences are of fourth order with steps of 1e-3 (relative
 * to values of about 1): they are off by about 1e-12 for truncation and 1e-12 for rounding. */
#define GRADCHECK_TOLERANCE 1e-8

struct gradcheck_factor {
    const char *span; /* NULL ends the list */
    double factor;    /* the op gives this times the derivative, on purpose (LSQ's g) */
};

struct gradcheck {
    /* Builds the graph over params and returns the scalar loss. */
    struct ht_node *(*build)(struct ht_graph *g, const struct ht_params *params, void *user);
    void *user;
    struct ht_params *params; /* with gradients */
    struct ht_run run;        /* mode is set by the harness */
    size_t max_batch;         /* 0: 1 */
    double tolerance;         /* 0: GRADCHECK_TOLERANCE */
    double step;              /* 0: 1e-3. An element x moves by up to 2 * step * max(|x|, 0.1) */
    const struct gradcheck_factor *factors; /* NULL: all 1 */
};

struct gradcheck_result {
    double worst;     /* largest relative error */
    char where[256];  /* of which element, and its two values */
    size_t checked;   /* elements */
    double surrogate; /* |loss of the surrogate at the base point - loss of the base run| */
    bool ok;
};

/* Error of element i. Gradients below a hundredth of the span's largest are held to that hundredth:
 * the differences cannot tell more of them. Spans without effect (a bias in front of batch
 * normalization) are held to a millionth of the loss. */
static inline double gradcheck_error(double expected, double given, double largest, double loss)
{
    double size = fmax(fabs(expected), fabs(given));
    return fabs(expected - given) / fmax(fmax(size, 1e-2 * largest), fmax(1e-3 * fabs(loss), 1e-6));
}

static inline double gradcheck_loss(struct ht_graph *g, struct ht_node *loss, struct ht_run run)
{
    run.mode = HT_MODE_SURROGATE;
    ht_graph_forward(g, &run);
    return loss->value[0];
}

static inline double gradcheck_difference(const struct gradcheck *c, struct ht_graph *g,
                                          struct ht_node *loss, ht_real *x)
{
    const double base = *x, h = (c->step > 0 ? c->step : 1e-3) * fmax(fabs(base), 0.1);
    static const double at[4] = {1, -1, 2, -2}, weight[4] = {8, -8, -1, 1};
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        *x = base + at[i] * h;
        sum += weight[i] * gradcheck_loss(g, loss, c->run);
    }
    *x = base;
    return sum / (12 * h);
}

static inline void gradcheck_span(const struct gradcheck *c, struct ht_graph *g,
                                  struct ht_node *loss, const struct ht_span *s, double base,
                                  struct gradcheck_result *r)
{
    double factor = 1, largest = 0;
    double *expected = calloc(s->n, sizeof *expected);
    cr_assert_not_null(expected);
    for (const struct gradcheck_factor *f = c->factors; f && f->span; f++)
        if (strcmp(f->span, s->name) == 0)
            factor = f->factor;
    for (size_t i = 0; i < s->n; i++) {
        expected[i] = factor * gradcheck_difference(c, g, loss, c->params->value + s->offset + i);
        largest = fmax(largest, fabs(expected[i]));
    }
    for (size_t i = 0; i < s->n; i++) {
        const double given = c->params->grad[s->offset + i];
        const double error = gradcheck_error(expected[i], given, largest, base);
        r->checked++;
        if (!(error > r->worst) && !isnan(error))
            continue;
        r->worst = isnan(error) ? INFINITY : error;
        snprintf(r->where, sizeof r->where, "%s[%zu]: gradient %.17g, difference %.17g", s->name, i,
                 given, expected[i]);
    }
    free(expected);
}

static inline struct gradcheck_result gradcheck_run(const struct gradcheck *c)
{
    struct gradcheck_result r = {0};
    struct ht_error err = {0};
    struct ht_run run = c->run;
    ht_blas_init();
    struct ht_graph *g = ht_graph_create(c->max_batch ? c->max_batch : 1);
    cr_assert_not_null(g);
    struct ht_node *loss = c->build(g, c->params, c->user);
    ASSERT_OK(ht_graph_plan(g, loss, HT_PLAN_TRAINING | HT_PLAN_SURROGATE, &err), err);
    /* What no backward writes stays NaN and is found. */
    for (size_t i = 0; i < c->params->n_spans; i++)
        for (size_t j = 0; j < c->params->spans[i].n; j++)
            c->params->grad[c->params->spans[i].offset + j] = NAN;
    run.mode = HT_MODE_TRAIN;
    ht_graph_forward(g, &run);
    const double base = loss->value[0];
    ht_graph_backward(g, &run);
    r.surrogate = fabs(gradcheck_loss(g, loss, c->run) - base);
    for (size_t i = 0; i < c->params->n_spans; i++)
        gradcheck_span(c, g, loss, &c->params->spans[i], base, &r);
    ht_graph_destroy(g);
    r.ok = r.checked > 0 && r.worst <= (c->tolerance > 0 ? c->tolerance : GRADCHECK_TOLERANCE) &&
           r.surrogate <= 1e-10 * fmax(1, fabs(base));
    return r;
}

static inline void gradcheck_assert(const struct gradcheck *c, const char *what)
{
    struct gradcheck_result r = gradcheck_run(c);
    cr_assert(r.ok, "%s: off by %.3g at %s (%zu elements; surrogate off by %.3g)", what, r.worst,
              r.where, r.checked, r.surrogate);
}

/* --- an op for tests: any tensor to a scalar, every element with a weight of its own --- */

static inline ht_real test_weigh_weight(size_t i)
{
    const double u = ht_rng_uniform(99, HT_RNG_TEST, i);
    return u < 0.5 ? u - 1.0 : u + 0.5;
}

static inline enum ht_status test_weigh_infer(struct ht_node *n, struct ht_error *err)
{
    n->rows = n->cols = 1;
    return HT_OK;
}

static inline void test_weigh_forward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_node *x = n->in[0];
    n->value[0] = 0;
    for (size_t i = 0; i < x->rows * x->cols; i++) {
        const size_t channel = x->n_scale > 1 ? i / x->cols : 0;
        const ht_real scale = x->n_scale ? x->scale[channel] : 1;
        n->value[0] += test_weigh_weight(i) * x->value[i] * scale;
    }
}

static inline void test_weigh_backward(struct ht_node *n, const struct ht_run *run)
{
    for (size_t i = 0; i < n->in[0]->rows * n->in[0]->cols; i++)
        ht_grad_put(n, 0, i, test_weigh_weight(i) * n->grad[0]);
}

static const struct ht_op test_op_weigh = {
    "test_weigh", 0, 0, test_weigh_infer, test_weigh_forward, test_weigh_backward,
};

/* sum of weight * real value. */
static inline struct ht_node *test_weigh(struct ht_graph *g, struct ht_node *x)
{
    return ht_graph_add(g, &test_op_weigh, NULL, 1, &x);
}

/* --- data --- */

/* Uniform in [lo, hi), at least `distance` away from each of kinks[n]. */
static inline void test_fill(ht_real *x, size_t n, uint64_t seed, double lo, double hi,
                             const double *kinks, size_t n_kinks, double distance)
{
    for (size_t i = 0; i < n; i++) {
        double v = lo + (hi - lo) * ht_rng_uniform(seed, HT_RNG_TEST, i);
        for (size_t k = 0; k < n_kinks; k++)
            if (fabs(v - kinks[k]) < distance)
                v = kinks[k] + (v < kinks[k] ? -2 : 2) * distance;
        x[i] = (ht_real)v;
    }
}

#endif
