/* The gradient of AdaRound's loss, in double, against differences of the loss as the paper writes
 * it. */
#include "support.h"

/* Its parts are static. */
#include "layers/adaround.c" // NOLINT

#define IN      5
#define OUT     40 /* two parts */
#define SAMPLES 20

struct numbers {
    double x[SAMPLES * IN], target[SAMPLES * OUT], scale[OUT], offset[OUT];
    double below[OUT * IN], distance[OUT * IN], v[OUT * IN], m1[OUT * IN], m2[OUT * IN];
    double h[OUT * IN], soft[OUT * IN], grad[OUT * IN], batch_x[2 * BATCH * IN],
        batch_z[BATCH * OUT];
};

static double uniform(uint64_t seed, size_t i)
{
    return ht_rng_uniform(seed, HT_RNG_TEST, i);
}

static void fill(struct numbers *a)
{
    memset(a, 0, sizeof *a);
    for (size_t i = 0; i < SAMPLES * IN; i++)
        a->x[i] = 2 * uniform(1, i) - 1;
    for (size_t i = 0; i < SAMPLES * OUT; i++)
        a->target[i] = uniform(2, i);
    for (size_t n = 0; n < OUT; n++) {
        a->scale[n] = 0.1 + uniform(3, n);
        a->offset[n] = uniform(4, n) - 0.4;
    }
    for (size_t i = 0; i < OUT * IN; i++) {
        a->below[i] = floor(5 * uniform(5, i)) - 2;
        a->distance[i] = i % 7 == 3 ? 0 : 1 + (double)(i % 3);
        a->v[i] = 6 * uniform(6, i) - 3; /* some of them are rectified */
    }
}

static double rectified(double v)
{
    return fmin(1, fmax(0, 1.2 / (1 + exp(-v)) - 0.1));
}

/* Eq. 25 on the samples of an iteration, a mean over them, and eq. 24 with this beta (0: none). */
static double loss(const struct layer *l, const struct numbers *a, int64_t iteration, double beta)
{
    double sum = 0;
    for (size_t b = 0; b < BATCH; b++) {
        const uint64_t s = ht_rng_below(l->options->seed, HT_RNG_STREAM(HT_RNG_ADAROUND, l->index),
                                        (uint64_t)iteration * BATCH + b, SAMPLES);
        for (size_t n = 0; n < OUT; n++) {
            double z = 0;
            for (size_t k = 0; k < IN; k++)
                z += a->x[s * IN + k] *
                     (a->below[n * IN + k] + a->distance[n * IN + k] * rectified(a->v[n * IN + k]));
            z = z * a->scale[n] + a->offset[n];
            const double y = l->activation ? l->activation->value(z, l->b->slope) : z;
            sum += (y - a->target[s * OUT + n]) * (y - a->target[s * OUT + n]) / (double)BATCH;
        }
    }
    for (size_t i = 0; beta > 0 && i < OUT * IN; i++)
        if (a->distance[i] > 0)
            sum += 0.01 * (1 - pow(fabs(2 * rectified(a->v[i]) - 1), beta));
    return sum;
}

static void check(const char *activation, int64_t iteration, double beta)
{
    static struct numbers a, b;
    const struct ht_adaround options = {.iterations = 100, .seed = 9};
    const struct ht_block block = {.slope = 0.1};
    struct layer l = {.b = &block,
                      .options = &options,
                      .index = 4,
                      .in = IN,
                      .out = OUT,
                      .samples = SAMPLES,
                      .activation = ht_activation_find(activation)};
    fill(&a);
    b = a;
    l.x = a.x, l.target = a.target, l.scale = a.scale, l.offset = a.offset;
    l.below = a.below, l.distance = a.distance, l.v = a.v, l.moment1 = a.m1, l.moment2 = a.m2;
    l.h = a.h, l.soft = a.soft, l.grad = a.grad, l.batch_x = a.batch_x, l.batch_z = a.batch_z;
    iterate(&l, 0, iteration);
    iterate(&l, 1, iteration);
    const double t = (double)iteration + 1;
    for (size_t i = 0; i < OUT * IN; i++) {
        const double d = 1e-6, v = b.v[i];
        b.v[i] = v + d;
        const double above = loss(&l, &b, iteration, beta);
        b.v[i] = v - d;
        const double slope = (above - loss(&l, &b, iteration, beta)) / (2 * d);
        b.v[i] = v;
        /* Differences of a loss of about 50: 1e-14 / 1e-6. */
        cr_assert_float_eq(a.grad[i], slope, 1e-6, "%s, %zu: %g, not %g", activation, i, a.grad[i],
                           slope);
        const double m = 0.1 * slope / (1 - pow(0.9, t));
        const double s = 0.001 * slope * slope / (1 - pow(0.999, t));
        if (fabs(slope) > 1e-3)
            cr_assert_float_eq(a.v[i], v - 0.01 * m / (sqrt(s) + 1e-8), 1e-4, "Adam, %zu", i);
    }
}

Test(adaround, gradient)
{
    ht_blas_init();
    check("none", 3, 0);
    check("tanh", 19, 0);
    check("tanh", 20, 20);
    check("leaky_relu", 60, 11);
    check("gelu", 60, 11);
    check("none", 60, 11);
}
