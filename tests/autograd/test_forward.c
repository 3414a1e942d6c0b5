/* Every op's values against plain loops in double. */
#include <float.h>
#include <math.h>

#include "autograd/activation.h"
#include "base/rng.h"
#include "graph_support.h"
#include "tensor/blas.h"

/* --- one op on given inputs --- */

struct input {
    size_t rows, cols;
    const float *v;
    bool fixed; /* a parameter; else rows of a batch */
};

/* Runs op once; out gets its value, and scale (NULL allowed) its scale. The graph is planned for
 * more rows than it runs with, as in a last, smaller batch. */
static void run_op(const struct ht_op *op, const void *attr, int n_in, const struct input *in,
                   const struct ht_run *run, float *out)
{
    struct ht_params params = {0};
    struct ht_error err = {0};
    struct ht_node *nodes[3];
    struct ht_graph *g = ht_graph_create(in[0].rows + 3);
    int spans = 0;
    for (int i = 0; i < n_in; i++)
        if (in[i].fixed)
            ht_params_declare(&params, "p", in[i].rows, in[i].cols, 0, 0, 0);
    ASSERT_OK(ht_params_allocate(&params, false, &err), err);
    for (int i = 0; i < n_in; i++)
        nodes[i] =
            in[i].fixed ? ht_graph_param(g, &params, spans++) : ht_graph_input(g, in[i].cols);
    struct ht_node *y = ht_graph_add(g, op, attr, n_in, nodes);
    ht_graph_keep(g, y);
    ASSERT_OK(ht_graph_plan(g, NULL, HT_PLAN_SEPARATE, &err), err);
    ht_graph_set_batch(g, in[0].rows);
    for (int i = 0; i < n_in; i++)
        memcpy(nodes[i]->value, in[i].v, in[i].rows * in[i].cols * sizeof(float));
    ht_graph_forward(g, run);
    memcpy(out, y->value, y->rows * y->cols * sizeof(float));
    ht_graph_destroy(g);
    ht_params_finish(&params);
}

static const struct ht_run eval = {.mode = HT_MODE_EVAL};
static const struct ht_run train = {.mode = HT_MODE_TRAIN, .seed = 9, .step = 12};

static void fill(float *x, size_t n, uint64_t seed, double lo, double hi)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(lo + (hi - lo) * ht_rng_uniform(seed, HT_RNG_TEST, i));
}

#define MOST 4096
static float x[MOST], w[MOST], t[MOST], y[MOST];

static const size_t batches[] = {1, 2, 7, 33}, widths[] = {1, 3, 17, 70};
#define FOR_EACH_SHAPE(b, n)                                                                       \
    for (size_t ib = 0, b; ib < 4 && (b = batches[ib], true); ib++)                                \
        for (size_t in_ = 0, n; in_ < 4 && (n = widths[in_], true); in_++)

static void assert_near(double given, double expected, double tolerance, const char *what, size_t i)
{
    cr_assert(fabs(given - expected) <= tolerance, "%s[%zu]: %.9g, expected %.9g", what, i, given,
              expected);
}

/* --- layers --- */

Test(forward, dense)
{
    ht_blas_init();
    FOR_EACH_SHAPE(b, n)
    for (size_t out = 1; out < 40; out += 18) {
        fill(x, b * n, 1, -1, 1);
        fill(w, out * n, 2, -1, 1);
        struct input in[] = {{b, n, x, false}, {out, n, w, true}};
        run_op(&ht_op_dense, NULL, 2, in, &eval, y);
        for (size_t i = 0; i < b * out; i++) {
            double sum = 0, size = 0;
            for (size_t k = 0; k < n; k++) {
                sum += (double)x[i / out * n + k] * w[i % out * n + k];
                size += fabs((double)x[i / out * n + k] * w[i % out * n + k]);
            }
            /* n roundings of products and sums, in any order */
            assert_near(y[i], sum, (double)n * FLT_EPSILON * size, "dense", i);
        }
    }
}

Test(forward, bias)
{
    FOR_EACH_SHAPE(b, n)
    {
        fill(x, b * n, 1, -1, 1);
        fill(w, n, 2, -1, 1);
        struct input in[] = {{b, n, x, false}, {1, n, w, true}};
        run_op(&ht_op_bias, NULL, 2, in, &eval, y);
        for (size_t i = 0; i < b * n; i++)
            cr_assert_eq(y[i], x[i] + w[i % n]); /* one addition: exact */
    }
}

static double relu(double v)
{
    return v > 0 ? v : 0;
}

static double relu6(double v)
{
    return fmin(relu(v), 6);
}

static double leaky(double v)
{
    return v > 0 ? v : (double)0.1f * v;
}

static double sigmoid(double v)
{
    return 1 / (1 + exp(-v));
}

static double gelu(double v)
{
    return v * 0.5 * erfc(-v / sqrt(2));
}

static const struct {
    const struct ht_op *op;
    double (*f)(double);
} activations[] = {
    {&ht_op_relu, relu}, {&ht_op_relu6, relu6},     {&ht_op_leaky_relu, leaky},
    {&ht_op_tanh, tanh}, {&ht_op_sigmoid, sigmoid}, {&ht_op_gelu, gelu},
};

Test(forward, activations)
{
    struct ht_attr_leaky_relu attr = {0.1f};
    for (size_t k = 0; k < 6; k++)
        FOR_EACH_SHAPE(b, n)
        {
            const char *name = activations[k].op->name;
            fill(x, b * n, 1, -10, 10);
            x[0] = b == 1 ? 0 : b == 2 ? 6 : 200;
            x[b * n - 1] = b == 7 ? -200 : x[b * n - 1];
            struct input in[] = {{b, n, x, false}};
            run_op(activations[k].op, &attr, 1, in, &eval, y);
            for (size_t i = 0; i < b * n; i++) {
                /* A few roundings of numbers of the size of x, or of 1. */
                assert_near(y[i], activations[k].f(x[i]), 3 * FLT_EPSILON * fmax(1, fabs(x[i])),
                            name, i);
                /* Tables of the integer model: the same bits. */
                const float value = ht_activation_value(name, x[i], attr.slope);
                cr_assert_eq(memcmp(&value, &y[i], sizeof value), 0, "%s(%g)", name, (double)x[i]);
            }
        }
}

Test(forward, activation_names)
{
    for (size_t k = 0; k < 6; k++) {
        const struct ht_activation *a = ht_activation_find(activations[k].op->name);
        cr_assert_not_null(a);
        cr_assert_str_eq(a->name, activations[k].op->name);
    }
    cr_assert_null(ht_activation_find("swish"));
    cr_assert(isnan(ht_activation_value("swish", 1, 0)));
    /* As PyTorch: the slope of the lower side at the kink. */
    cr_assert_eq(ht_activation_find("relu")->slope(0, 0, 0), 0);
    cr_assert_eq(ht_activation_find("leaky_relu")->slope(0, 0, 0.25f), 0.25f);
    cr_assert_eq(ht_activation_find("relu6")->slope(6, 6, 0), 0);
    /* A network that went wrong must not look healthy. */
    for (size_t k = 0; k < 6; k++)
        cr_assert(isnan(ht_activation_value(activations[k].op->name, NAN, 0.1f)));
}

/* --- batchnorm --- */

#define EPSILON 1e-5f

Test(forward, batchnorm)
{
    FOR_EACH_SHAPE(b, n)
    {
        float gamma[70], beta[70], mean[70], var[70];
        fill(x, b * n, 1, -1, 3);
        fill(gamma, n, 2, 0.5, 2);
        fill(beta, n, 3, -1, 1);
        for (int mode = 0; mode < 3; mode++) { /* eval, train, train with frozen statistics */
            fill(mean, n, 4, -1, 1);
            fill(var, n, 5, 0.5, 2);
            struct ht_attr_batchnorm attr = {0.1f, EPSILON, mean, var, false};
            struct ht_run run = mode ? train : eval;
            run.freeze_batchnorm = mode == 2;
            struct input in[] = {{b, n, x, false}, {1, n, gamma, true}, {1, n, beta, true}};
            run_op(&ht_op_batchnorm, &attr, 3, in, &run, y);
            for (size_t j = 0; j < n; j++) {
                const double mean0 = (float)(-1 + 2 * ht_rng_uniform(4, HT_RNG_TEST, j));
                const double var0 = (float)(0.5 + 1.5 * ht_rng_uniform(5, HT_RNG_TEST, j));
                double m = 0, s = 0;
                for (size_t i = 0; i < b; i++)
                    m += x[i * n + j] / (double)b;
                for (size_t i = 0; i < b; i++)
                    s += pow(x[i * n + j] - m, 2) / (double)b;
                const double sigma = sqrt((mode == 1 ? s : var0) + (double)EPSILON);
                for (size_t i = 0; i < b; i++) {
                    const double centre = x[i * n + j] - (mode == 1 ? m : mean0);
                    /* 5 roundings; those of the difference grow by 1 / sigma */
                    assert_near(y[i * n + j], gamma[j] * centre / sigma + beta[j],
                                FLT_EPSILON * (8 + 12 / sigma), "batchnorm", i * n + j);
                }
                const double unbiased = b > 1 ? s * (double)b / (double)(b - 1) : var0;
                const double new_mean = mode == 1 ? 0.9 * mean0 + 0.1 * m : mean0;
                const double new_var = mode == 1 ? 0.9 * var0 + 0.1 * unbiased : var0;
                assert_near(mean[j], new_mean, mode == 1 ? 4 * FLT_EPSILON : 0, "mean", j);
                assert_near(var[j], new_var, mode == 1 ? 8 * FLT_EPSILON : 0, "var", j);
            }
        }
    }
}

/* By hand: columns 1 3 5 and 2 4 9 have means 3 and 5, biased variances 8/3 and 26/3, unbiased
 * ones 4 and 13. */
Test(forward, batchnorm_by_hand)
{
    float data[] = {1, 2, 3, 4, 5, 9}, gamma[] = {1, 2}, beta[] = {0, 1};
    float mean[] = {0, 0}, var[] = {1, 1};
    struct ht_attr_batchnorm attr = {0.1f, 1e-12f, mean, var, false};
    struct input in[] = {{3, 2, data, false}, {1, 2, gamma, true}, {1, 2, beta, true}};
    run_op(&ht_op_batchnorm, &attr, 3, in, &train, y);
    const double expected[] = {-1.2247448714,        1 - 2 * 1.0190493307, 0,
                               1 - 2 * 0.3396831103, 1.2247448714,         1 + 2 * 1.3587324410};
    for (size_t i = 0; i < 6; i++)
        assert_near(y[i], expected[i], 1e-6, "y", i);
    assert_near(mean[0], 0.3, 1e-7, "mean", 0);
    assert_near(mean[1], 0.5, 1e-7, "mean", 1);
    assert_near(var[0], 1.3, 2e-7, "var", 0);
    assert_near(var[1], 2.2, 4e-7, "var", 1);
}

/* A large offset must not eat the variance. */
Test(forward, batchnorm_is_stable)
{
    float gamma = 1, beta = 0, mean = 0, var = 1;
    struct ht_attr_batchnorm attr = {0.1f, EPSILON, &mean, &var, false};
    for (size_t i = 0; i < 8; i++)
        x[i] = 100000.f + (float)(i % 2);
    struct input in[] = {{8, 1, x, false}, {1, 1, &gamma, true}, {1, 1, &beta, true}};
    run_op(&ht_op_batchnorm, &attr, 3, in, &train, y);
    for (size_t i = 0; i < 8; i++) /* sigma is 0.5; the mean is rounded to 1/128 */
        assert_near(y[i], i % 2 ? 1 : -1, 0.02, "y", i);
}

Test(forward, batchnorm_of_one_row)
{
    float gamma[] = {2, 2}, beta[] = {3, -1}, mean[] = {0, 0}, var[] = {1, 4};
    struct ht_attr_batchnorm attr = {0.5f, EPSILON, mean, var, false};
    x[0] = 7;
    x[1] = -5;
    struct input in[] = {{1, 2, x, false}, {1, 2, gamma, true}, {1, 2, beta, true}};
    run_op(&ht_op_batchnorm, &attr, 3, in, &train, y);
    cr_assert(y[0] == 3 && y[1] == -1); /* nothing is left of a value less its own mean */
    cr_assert(mean[0] == 3.5f && mean[1] == -2.5f);
    cr_assert(var[0] == 1 && var[1] == 4); /* one row has no variance to tell */
}

/* --- dropout --- */

Test(forward, dropout)
{
    struct ht_attr_dropout attr = {0.3f, 2};
    for (size_t i = 0; i < MOST; i++)
        x[i] = (float)i - 2000.5f;
    FOR_EACH_SHAPE(b, n)
    {
        struct input in[] = {{b, n, x, false}};
        run_op(&ht_op_dropout, &attr, 1, in, &eval, y);
        cr_assert_eq(memcmp(x, y, b * n * sizeof *x), 0);
        run_op(&ht_op_dropout, &attr, 1, in, &train, y);
        for (size_t i = 0; i < b * n; i++) {
            const uint64_t counter = train.step << 32 | i / 4;
            const uint64_t stream = HT_RNG_STREAM(HT_RNG_DROPOUT, 2);
            const double u = ht_rng_block(train.seed, stream, counter).v[i % 4] / 4294967296.0;
            cr_assert_eq(y[i], u < (double)0.3f ? 0 : x[i] * (1 / (1 - 0.3f)), "%zu", i);
        }
    }
}

static size_t kept(const float *v, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += v[i] != 0;
    return count;
}

Test(forward, dropout_masks)
{
    static float first[MOST];
    for (size_t i = 0; i < MOST; i++)
        x[i] = 1;
    struct input in[] = {{64, 64, x, false}};
    for (double rate = 0.1; rate < 1; rate += 0.2) {
        struct ht_attr_dropout attr = {(float)rate, 0};
        run_op(&ht_op_dropout, &attr, 1, in, &train, first);
        /* 5 standard deviations of a binomial */
        const double keep = 1 - rate, sigma = sqrt(MOST * keep * rate);
        cr_assert(fabs((double)kept(first, MOST) - MOST * keep) < 5 * sigma);
        struct ht_attr_dropout other = {(float)rate, 1};
        run_op(&ht_op_dropout, &other, 1, in, &train, y);
        cr_assert_neq(memcmp(first, y, sizeof y), 0, "another stream");
        struct ht_run run = train;
        run.mode = HT_MODE_SURROGATE;
        run_op(&ht_op_dropout, &attr, 1, in, &run, y);
        cr_assert_eq(memcmp(first, y, sizeof y), 0, "the surrogate");
        run.step++;
        run_op(&ht_op_dropout, &attr, 1, in, &run, y);
        cr_assert_neq(memcmp(first, y, sizeof y), 0, "another step");
        run.step--;
        run.seed++;
        run_op(&ht_op_dropout, &attr, 1, in, &run, y);
        cr_assert_neq(memcmp(first, y, sizeof y), 0, "another seed");
    }
    struct ht_attr_dropout none = {0, 0};
    run_op(&ht_op_dropout, &none, 1, in, &train, y);
    cr_assert_eq(memcmp(x, y, sizeof y), 0);
}

Test(forward, dropout_of_quantized_values)
{
    const struct ht_attr_dropout attr = {0.5f, 0};
    struct ht_error err = {0};
    struct ht_graph *g = ht_graph_create(8);
    struct ht_node *in = ht_graph_input(g, 9);
    struct ht_node *q = test_add(g, &test_op_scaled, NULL, in, NULL, NULL);
    struct ht_node *d = test_add(g, &ht_op_dropout, &attr, q, NULL, NULL);
    ht_graph_keep(g, in);
    ht_graph_keep(g, d);
    ASSERT_OK(ht_graph_plan(g, NULL, 0, &err), err);
    for (size_t i = 0; i < 72; i++)
        in->value[i] = TEST_SCALE * (float)(i + 1);
    cr_assert_eq(d->n_scale, 1);
    ht_graph_forward(g, &eval);
    cr_assert_eq(d->scale[0], TEST_SCALE);
    cr_assert_eq(kept(d->value, 72), 72);
    ht_graph_forward(g, &train);
    cr_assert_eq(d->scale[0], 2 * TEST_SCALE);
    cr_assert(kept(d->value, 72) > 15 && kept(d->value, 72) < 57);
    for (size_t i = 0; i < 72; i++)
        cr_assert(d->value[i] == 0 || d->value[i] == (float)(i + 1));
    ht_graph_destroy(g);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- losses --- */

static float loss_of(const struct ht_op *op, const void *attr, size_t b, size_t n, size_t t_cols)
{
    float loss;
    struct input in[] = {{b, n, x, false}, {b, t_cols, t, false}};
    run_op(op, attr, 2, in, &train, &loss);
    return loss;
}

static void fill_classes(size_t b, size_t n)
{
    for (size_t i = 0; i < b; i++)
        t[i] = (float)(i * 5 % n);
}

/* Sums in double of terms with a few roundings each: errors of some ulp of the largest term. */
#define ASSERT_LOSS(given, expected, largest)                                                      \
    assert_near(given, expected, 8 * FLT_EPSILON * (largest), "loss", 0)

Test(forward, softmax_cross_entropy)
{
    for (double e = 0; e < 0.3; e += 0.1)
        FOR_EACH_SHAPE(b, n)
        {
            struct ht_attr_softmax_cross_entropy attr = {(float)e};
            double expected = 0;
            fill(x, b * n, 1, -6, 6);
            fill_classes(b, n);
            for (size_t i = 0; i < b; i++) {
                double total = 0;
                for (size_t j = 0; j < n; j++)
                    total += exp(x[i * n + j]);
                for (size_t j = 0; j < n; j++) {
                    const double q = (j == (size_t)t[i]) * (1 - e) + e / (double)n;
                    expected -= q * log(exp(x[i * n + j]) / total) / (double)b;
                }
            }
            /* the softmax's sum is in float: n roundings */
            ASSERT_LOSS(loss_of(&ht_op_softmax_cross_entropy, &attr, b, n, 1), expected,
                        20 + (double)n / 8);
        }
}

/* Kullback-Leibler divergence as it is defined. */
Test(forward, distillation)
{
    for (double temperature = 0.5; temperature < 10; temperature *= 3)
        FOR_EACH_SHAPE(b, n)
        {
            struct ht_attr_distillation attr = {(float)temperature};
            double expected = 0;
            fill(x, b * n, 1, -6, 6);
            fill(t, b * n, 2, -4, 4);
            for (size_t i = 0; i < b; i++) {
                double total = 0, wanted = 0;
                for (size_t j = 0; j < n; j++) {
                    total += exp(x[i * n + j] / temperature);
                    wanted += exp(t[i * n + j] / temperature);
                }
                for (size_t j = 0; j < n; j++) {
                    const double p = exp(t[i * n + j] / temperature) / wanted;
                    const double q = exp(x[i * n + j] / temperature) / total;
                    expected += temperature * temperature * p * log(p / q) / (double)b;
                }
            }
            ASSERT_LOSS(loss_of(&ht_op_distillation, &attr, b, n, n), expected,
                        (20 + (double)n / 8) * (1 + temperature * temperature));
            memcpy(t, x, b * n * sizeof *t);
            cr_assert_eq(loss_of(&ht_op_distillation, &attr, b, n, n), 0);
        }
    struct ht_attr_distillation attr = {2};
    x[0] = 1000, x[1] = -1000, t[0] = -1000, t[1] = 1000;
    cr_assert_eq(loss_of(&ht_op_distillation, &attr, 1, 2, 2), 4 * 1000);
}

Test(forward, blend)
{
    FOR_EACH_SHAPE(b, n)
    {
        struct ht_attr_blend attr = {0.25f};
        struct input in[] = {{b, n, x, false}, {b, n, t, false}};
        fill(x, b * n, 1, -6, 6);
        fill(t, b * n, 2, -4, 4);
        run_op(&ht_op_blend, &attr, 2, in, &train, y);
        for (size_t i = 0; i < b * n; i++)
            cr_assert_eq(y[i], 0.75f * x[i] + 0.25f * t[i]);
    }
}

Test(forward, softmax_cross_entropy_is_stable)
{
    struct ht_attr_softmax_cross_entropy attr = {0};
    x[0] = 1000;
    x[1] = -1000;
    t[0] = 0;
    cr_assert_eq(loss_of(&ht_op_softmax_cross_entropy, &attr, 1, 2, 1), 0);
    t[0] = 1;
    cr_assert_eq(loss_of(&ht_op_softmax_cross_entropy, &attr, 1, 2, 1), 2000);
    cr_assert_eq(loss_of(&ht_op_bce, NULL, 1, 2, 1), 1000);
    x[0] = x[1] = 3;
    cr_assert_float_eq(loss_of(&ht_op_softmax_cross_entropy, &attr, 1, 2, 1), logf(2), 1e-7);
}

Test(forward, classes_out_of_range_make_the_loss_nan)
{
    static const float bad[] = {-1, 3, 1e30f, NAN, -INFINITY};
    struct ht_attr_softmax_cross_entropy attr = {0};
    fill(x, 6, 1, -1, 1);
    for (size_t i = 0; i < 5; i++) {
        t[0] = 0;
        t[1] = bad[i];
        cr_assert(isnan(loss_of(&ht_op_softmax_cross_entropy, &attr, 2, 3, 1)));
        cr_assert(isnan(loss_of(&ht_op_squared_hinge, NULL, 2, 3, 1)));
        cr_assert(isnan(loss_of(&ht_op_bce, NULL, 2, 3, 1)));
    }
}

Test(forward, mse)
{
    FOR_EACH_SHAPE(b, n)
    {
        double expected = 0;
        fill(x, b * n, 1, -1, 1);
        fill(t, b * n, 2, -1, 1);
        for (size_t i = 0; i < b * n; i++)
            expected += ((double)x[i] - t[i]) * ((double)x[i] - t[i]) / (double)(b * n);
        ASSERT_LOSS(loss_of(&ht_op_mse, NULL, b, n, n), expected, 4);
    }
}

Test(forward, bce)
{
    FOR_EACH_SHAPE(b, n)
    {
        double expected = 0, of_classes = 0;
        fill(x, b * n, 1, -8, 8);
        fill(t, b * n, 2, 0, 1);
        for (size_t i = 0; i < b * n; i++)
            expected -= (t[i] * log(sigmoid(x[i])) + (1 - (double)t[i]) * log(sigmoid(-x[i]))) /
                        (double)(b * n);
        ASSERT_LOSS(loss_of(&ht_op_bce, NULL, b, n, n), expected, 8);
        if (n == 1)
            continue;
        fill_classes(b, n);
        for (size_t i = 0; i < b * n; i++)
            of_classes -= log(sigmoid(i % n == (size_t)t[i / n] ? x[i] : -x[i])) / (double)(b * n);
        ASSERT_LOSS(loss_of(&ht_op_bce, NULL, b, n, 1), of_classes, 8);
    }
}

Test(forward, squared_hinge)
{
    FOR_EACH_SHAPE(b, n)
    {
        double expected = 0;
        fill(x, b * n, 1, -2, 2);
        fill_classes(b, n);
        for (size_t i = 0; i < b * n; i++) {
            const double sign = i % n == (size_t)t[i / n] ? 1 : -1;
            expected += pow(fmax(0, 1 - sign * x[i]), 2) / (double)(b * n);
        }
        ASSERT_LOSS(loss_of(&ht_op_squared_hinge, NULL, b, n, 1), expected, 9);
    }
}

/* --- shapes that do not fit --- */

static void assert_refused(const struct ht_op *op, const void *attr, int n_in,
                           const struct input *in, const char *what)
{
    struct ht_params params = {0};
    struct ht_error err = {0};
    struct ht_node *nodes[3];
    struct ht_graph *g = ht_graph_create(4);
    for (int i = 0; i < n_in; i++)
        ht_params_declare(&params, "p", in[i].rows, in[i].cols, 0, 0, 0);
    ASSERT_OK(ht_params_allocate(&params, false, &err), err);
    for (int i = 0; i < n_in; i++)
        nodes[i] = in[i].fixed ? ht_graph_param(g, &params, i) : ht_graph_input(g, in[i].cols);
    cr_assert_null(ht_graph_add(g, op, attr, n_in, nodes));
    cr_assert_eq(ht_graph_plan(g, NULL, 0, &err), HT_ERR_CONFIG);
    cr_assert_not_null(strstr(err.msg, op->name), "%s", err.msg);
    cr_assert_not_null(strstr(err.msg, what), "%s", err.msg);
    ht_graph_destroy(g);
    ht_params_finish(&params);
}

Test(forward, shapes_are_checked)
{
    float stats[5] = {0};
    const struct ht_attr_batchnorm bn = {0.1f, EPSILON, stats, stats, false};
    const struct ht_attr_batchnorm bad_bn = {0.1f, 0, stats, stats, false};
    const struct ht_attr_dropout drop = {1, 0};
    const struct ht_attr_softmax_cross_entropy smooth = {0}, bad_smooth = {1};
    const struct input batch = {1, 5, NULL, false}, narrow = {1, 1, NULL, false};
    const struct input row = {1, 5, NULL, true}, short_row = {1, 4, NULL, true};
    const struct input two_rows = {2, 5, NULL, true};
    assert_refused(&ht_op_dense, NULL, 2, (struct input[]){batch, short_row}, "do not fit");
    assert_refused(&ht_op_dense, NULL, 2, (struct input[]){batch, batch}, "batch");
    assert_refused(&ht_op_bias, NULL, 2, (struct input[]){batch, short_row}, "columns");
    assert_refused(&ht_op_bias, NULL, 2, (struct input[]){batch, two_rows}, "columns");
    assert_refused(&ht_op_batchnorm, &bn, 3, (struct input[]){batch, row, short_row}, "gamma");
    assert_refused(&ht_op_batchnorm, &bn, 3, (struct input[]){batch, two_rows, row}, "gamma");
    assert_refused(&ht_op_batchnorm, &bad_bn, 3, (struct input[]){batch, row, row}, "epsilon");
    assert_refused(&ht_op_dropout, &drop, 1, (struct input[]){batch}, "rate");
    assert_refused(&ht_op_softmax_cross_entropy, &smooth, 2, (struct input[]){batch, batch},
                   "5 columns");
    assert_refused(&ht_op_softmax_cross_entropy, &smooth, 2, (struct input[]){batch, row}, "rows");
    assert_refused(&ht_op_softmax_cross_entropy, &bad_smooth, 2, (struct input[]){batch, narrow},
                   "smoothing");
    assert_refused(&ht_op_mse, NULL, 2, (struct input[]){batch, narrow}, "1 columns");
    assert_refused(&ht_op_bce, NULL, 2, (struct input[]){narrow, batch}, "5 columns");
    assert_refused(&ht_op_squared_hinge, NULL, 2, (struct input[]){batch, batch}, "5 columns");
}

Test(forward, quantized_inputs_are_refused)
{
    static const struct ht_op *ops[] = {&ht_op_relu, &ht_op_tanh, &ht_op_dense, &ht_op_bias};
    for (size_t i = 0; i < 4; i++) {
        struct ht_error err = {0};
        struct ht_graph *g = ht_graph_create(1);
        struct ht_node *q = test_add(g, &test_op_scaled, NULL, ht_graph_input(g, 1), NULL, NULL);
        test_add(g, ops[i], NULL, q, i < 2 ? NULL : q, NULL);
        cr_assert_eq(ht_graph_plan(g, NULL, 0, &err), HT_ERR_CONFIG);
        cr_assert_not_null(strstr(err.msg, "quantized"), "%s", err.msg);
        ht_graph_destroy(g);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}
