/* Gradient estimators against their formulas, written out by hand, and rounding by chance. */
#include "quant_support.h"

#include "quant/tanh.h"

/* A quantizer without a network around it. */
static struct ht_quantizer *make(struct fixture *f, const char *estimator, const char *grid,
                                 int bits, const char *range, bool of_weights)
{
    struct ht_quantizer_spec spec = {.grid = grid,
                                     .range = range,
                                     .estimator = estimator,
                                     .rounding = "nearest_even",
                                     .bits = bits,
                                     .momentum = 0.1,
                                     .delta = 0.6,
                                     .softness = 0.2,
                                     .clip_start = 6,
                                     .clip_decay = 0.25};
    struct ht_quantizer *q = add_quantizer(f, "q", spec, of_weights, 1);
    ready(f);
    q->scale[0] = 0.5f;
    return q;
}

/* What x, rounded as forward does, gives for dy: dx, and the term of the scale. */
static void expect(const struct ht_quantizer *q, float x, float dy, double dx, double term)
{
    const struct ht_estimate e = ht_quantizer_estimate(q, 0);
    const struct ht_place_in_run eval = {NULL, 0};
    float level, u = x, given = dy;
    ht_quantizer_levels(q, 0, eval, &x, 1, &level);
    if (q->estimator->transform)
        q->estimator->transform(&x, 1, &e, &u);
    u /= q->scale[0];
    const float sum = q->estimator->scale(&u, &level, &dy, 1, &e);
    q->estimator->input(&u, &level, &dy, 1, &e, &given);
    cr_assert_float_eq((double)given, dx, 2e-5, "%s: dx of %g is %g, not %g", q->estimator->name,
                       (double)x, (double)given, dx);
    cr_assert_float_eq((double)sum, term, 2e-5, "%s: ds of %g is %g, not %g", q->estimator->name,
                       (double)x, (double)sum, term);
}

/* Scale 0.5, levels -7..7 (narrow) or 0..15 (affine): the clip is at +-3.5, or at 0 and 7.5. */
Test(values, ste_and_lsq)
{
    struct fixture f = {0};
    struct ht_quantizer *q = make(&f, "ste", "narrow", 4, "learned", true);
    expect(q, 0.6f, 2, 2, 2 * (1 - 1.2));
    expect(q, 5, 2, 2, 2 * (7 - 10));
    expect(q, -5, 2, 2, 2 * (-7 + 10));
    finish(&f);
    static const char *const same[] = {"clipped_ste", "lsq", "lsq_plus"};
    for (size_t i = 0; i < 3; i++) {
        q = make(&f, same[i], "narrow", 4, "learned", true);
        expect(q, 0.6f, 2, 2, 2 * (1 - 1.2));
        expect(q, 3.5f, 2, 2, 0);
        expect(q, 5, 2, 0, 14);
        expect(q, -5, 2, 0, -14);
        finish(&f);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* y = scale * level + offset: outside, dy/dscale is the level, not relative to the zero point, and
 * dy/doffset 1. offset -2.1 is zero point 4.2, rounded 4: clips at -2 and 5.5. */
Test(values, lsq_plus_of_activations)
{
    struct fixture f = {0};
    struct ht_quantizer *q = make(&f, "lsq_plus", "affine", 4, "learned", false);
    cr_assert_not_null(q->offset);
    q->offset[0] = -2.1f;
    ht_quantizer_refresh(q, HT_MODE_TRAIN);
    cr_assert_eq(q->zero_point[0], 4);
    expect(q, -0.6f, 2, 2, 2 * (-1 + 1.2));
    expect(q, 6, 2, 0, 2 * (11 + 4.2)); /* 15, but for what rounding did to the zero point */
    expect(q, -3, 2, 0, 2 * (-4 + 4.2));
    const float u[] = {-6, -4, 0, 11, 12}, dy[] = {1, 2, 4, 8, 16};
    const struct ht_estimate e = ht_quantizer_estimate(q, 0);
    cr_assert_eq(q->estimator->offset(u, dy, 5, &e), 17);
    /* g = 1 / sqrt(features * Q_P), as the scale's: Q_P = 15 - 4. */
    cr_assert_float_eq((double)ht_quantizer_offset_gradient(q, 17, 9), 17 / sqrt(9 * 11.0), 1e-5);
    /* Held at an end: no step further out, one step back. */
    q->offset[0] = 0.7f;
    ht_quantizer_refresh(q, HT_MODE_TRAIN);
    cr_assert_eq(q->zero_point[0], 0);
    cr_assert_eq(ht_quantizer_offset_gradient(q, -1, 9), 0);
    cr_assert_gt(ht_quantizer_offset_gradient(q, 1, 9), 0);
    cr_assert_eq(ht_quantizer_estimate(q, 0).shift, 0);
    q->offset[0] = -100;
    ht_quantizer_refresh(q, HT_MODE_TRAIN);
    cr_assert_eq(q->zero_point[0], 15);
    cr_assert_eq(ht_quantizer_offset_gradient(q, 1, 9), 0);
    q->offset[0] = NAN; /* a diverged training must not reach a cast */
    ht_quantizer_refresh(q, HT_MODE_TRAIN);
    cr_assert_eq(q->zero_point[0], 0);
    finish(&f);
    /* No offset of weights, nor on a grid without zero point. */
    cr_assert_null(make(&f, "lsq_plus", "affine", 4, "learned", true)->offset);
    finish(&f);
    cr_assert_null(make(&f, "lsq_plus", "full", 4, "learned", false)->offset);
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* alpha = 15 * 0.5 = 7.5. dalpha: 0 below, 1 from alpha on; dscale is 15 times that. */
Test(values, pact)
{
    struct fixture f = {0};
    struct ht_quantizer *q = make(&f, "pact", "affine", 4, "learned", false);
    expect(q, 0.6f, 2, 2, 0);
    expect(q, 0, 2, 2, 0);
    expect(q, 7.25f, 2, 2, 0);
    expect(q, 7.5f, 2, 0, 2 * 15);
    expect(q, 9, 2, 0, 2 * 15);
    expect(q, -1, 2, 0, 0);
    /* A step of -rate * (dalpha + decay * alpha) on alpha is a 15th of it on the scale. */
    const double dalpha = 30 / 15.0;
    cr_assert_float_eq((double)ht_quantizer_scale_gradient(q, 0, 30, 3, 4),
                       (dalpha + 0.25 * 7.5) / 15, 1e-6);
    const float x[] = {-3, 1, 2, 3};
    q->ready[0] = 0;
    ht_quantizer_observe(q, x, 4);
    cr_assert_float_eq((double)q->scale[0] * 15, 6, 1e-6);
    cr_assert_eq(q->zero_point[0], 0);
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

static double naive_dorefa_slope(double w, double largest)
{
    return (1 - tanh(w) * tanh(w)) / tanh(largest);
}

/* 2 * quantize(tanh(w) / (2 max|tanh(w)|) + 1/2) - 1 with quantize(r) = round(3 r) / 3, eq. 9: the
 * odd levels -3..3 over 3. */
Test(values, dorefa)
{
    struct fixture f = {0};
    struct ht_quantizer *q = make(&f, "dorefa", "zero_free", 2, "min_max", true);
    const float w[] = {0.1f, -1.5f, 0.9f, -0.5f, 2, -0.02f};
    float level[6];
    const struct ht_place_in_run eval = {NULL, 0};
    ht_quantizer_observe(q, w, 6);
    cr_assert_float_eq((double)q->scale[0], 1 / 3.0, 1e-7);
    ht_quantizer_levels(q, 0, eval, w, 6, level);
    for (size_t i = 0; i < 6; i++) {
        const double r = tanh((double)w[i]) / (2 * tanh(2.0)) + 0.5;
        const double expected = 2 * rint(3 * r) / 3 - 1;
        cr_assert_float_eq((double)(level[i] * q->scale[0]), expected, 1e-6, "%zu", i);
        expect(q, w[i], 3, 3 * naive_dorefa_slope((double)w[i], 2), 0);
    }
    finish(&f);
    q = make(&f, "dorefa", "affine", 2, "min_max", false); /* min(max(x, 0), 1) */
    ht_quantizer_observe(q, w, 6);
    cr_assert_float_eq((double)q->scale[0], 1 / 3.0, 1e-7);
    cr_assert_eq(q->zero_point[0], 0);
    expect(q, 0.5f, 2, 2, 2 * (2 - 1.5)); /* 1.5 goes to the even level */
    expect(q, -0.1f, 2, 0, 0);
    expect(q, 1.1f, 2, 0, 2 * 3);
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* delta 0.6 on 15 levels of weights: x_n - x_q = (u - q) / 14. */
Test(values, ewgs)
{
    struct fixture f = {0};
    struct ht_quantizer *q = make(&f, "ewgs", "narrow", 4, "learned", true);
    const double scaled = 0.6 * 0.2 / 14;
    expect(q, 0.6f, 2, 2 * (1 + scaled), 2 * 1 - 2 * (1 + scaled) * 1.2);
    expect(q, 0.6f, -2, -2 * (1 - scaled), -2 * 1 + 2 * (1 - scaled) * 1.2);
    expect(q, -0.6f, 2, 2 * (1 - scaled), -2 * 1 + 2 * (1 - scaled) * 1.2);
    expect(q, 0.5f, 2, 2, 0);
    expect(q, 5, 2, 0, 14);
    expect(q, -5, 2, 0, -14);
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* As its paper writes it: x_n in 0..1, x_q on 2^b levels, sign(dy), on many values. */
Test(values, ewgs_against_the_paper)
{
    struct fixture f = {0};
    struct ht_quantizer *q = make(&f, "ewgs", "affine", 3, "learned", false);
    q->zero_point[0] = 3;
    for (size_t i = 0; i < 2000; i++) {
        const float x = (float)(uniform(1, i) * 6 - 3), dy = (float)(uniform(2, i) * 4 - 2);
        const double low = 0.5 * (0 - 3), high = 0.5 * (7 - 3);
        const double x_n = ((double)x - low) / (high - low), x_q = rint(7 * x_n) / 7;
        const bool in = x_n >= 0 && x_n <= 1;
        const double sign = dy > 0 ? 1 : -1;
        const double dx = in ? (double)dy * (1 + 0.6 * sign * (x_n - x_q)) : 0;
        const double level = naive_level(q, 0, x);
        expect(q, x, dy, dx, (double)dy * level - dx * (double)x / 0.5);
    }
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(values, ewgs_without_delta_is_clipped_ste)
{
    struct fixture f = {0};
    struct ht_quantizer *q = make(&f, "ewgs", "narrow", 4, "learned", true);
    q->parameter = 0;
    const struct ht_estimate e = ht_quantizer_estimate(q, 0);
    const struct ht_estimator *clipped = ht_estimator_find("clipped_ste", true);
    float u[300], level[300], dy[300], a[300], b[300];
    for (size_t i = 0; i < 300; i++) {
        u[i] = (float)(uniform(3, i) * 20 - 10);
        level[i] = (float)naive_clamp(rint((double)u[i]), -7, 7);
        dy[i] = (float)(uniform(4, i) - 0.5);
    }
    q->estimator->input(u, level, dy, 300, &e, a);
    clipped->input(u, level, dy, 300, &e, b);
    cr_assert_eq(memcmp(a, b, sizeof a), 0);
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* alpha 0.2: k = ln(9), and the soft step is tanh(k v) / (2 tanh(k / 2)) = tanh(k v) / 1.6. */
Test(values, dsq)
{
    struct fixture f = {0};
    const double k = log(9.0);
    struct ht_quantizer *q = make(&f, "dsq", "narrow", 4, "learned", true);
    static const double at[] = {0.6, 0.5, 0.75, -1.3, 3.1};
    for (size_t i = 0; i < 5; i++) {
        const double u = at[i] / 0.5, v = u - floor(u) - 0.5;
        const double slope = k * (1 - pow(tanh(k * v), 2)) / 1.6;
        expect(q, (float)at[i], 2, 2 * slope, 2 * (rint(u) - slope * u));
    }
    expect(q, 5, 2, 0, 14);
    expect(q, -5, 2, 0, -14);
    finish(&f);
    /* Odd levels: the step is 2 wide, from -1 to 1 around 0. */
    q = make(&f, "dsq", "zero_free", 2, "learned", true);
    const double v = 0.4 / 2, slope = k * (1 - pow(tanh(k * v), 2)) / 1.6;
    expect(q, 0.2f, 2, 2 * slope, 2 * (1 - slope * 0.4));
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* dk/dalpha by a difference, and the weight decay: 0.25 * alpha. */
Test(values, dsq_learns_alpha)
{
    struct fixture f = {0};
    struct ht_quantizer_spec spec = {.grid = "affine",
                                     .range = "learned",
                                     .estimator = "dsq",
                                     .rounding = "nearest_even",
                                     .bits = 4,
                                     .momentum = 0.1,
                                     .softness = 0.2,
                                     .learn_shape = true,
                                     .softness_decay = 0.25};
    struct ht_quantizer *q = add_quantizer(&f, "q", spec, false, 1);
    ready(&f);
    cr_assert_eq(q->softness[0], 0.2f);
    for (int i = 0; i < 3; i++) {
        const float alpha = (const float[]){0.01f, 0.2f, 0.9f}[i];
        const double h = 1e-5;
        q->softness[0] = alpha;
        const double slope =
            (ht_estimator_dsq_k((double)alpha + h) - ht_estimator_dsq_k((double)alpha - h)) /
            (2 * h);
        cr_assert_float_eq(ht_quantizer_estimate(q, 0).parameter, ht_estimator_dsq_k((double)alpha),
                           1e-6);
        cr_assert_float_eq(ht_quantizer_softness_gradient(q, 3), 3 * slope + 0.25 * (double)alpha,
                           1e-4 * fabs(slope));
    }
    q->softness[0] = 1.5f; /* a straight line, still */
    cr_assert_float_eq(ht_quantizer_estimate(q, 0).parameter, ht_estimator_dsq_k(0.999), 1e-6);
    /* The lower clip starts where the range has it: 0 is level 5. */
    const float x[] = {-1, 2};
    ht_quantizer_observe(q, x, 2);
    cr_assert_eq(q->offset[0], -q->scale[0] * q->zero_point[0]);
    finish(&f);
}

Test(values, tanh)
{
    for (double x = -12; x <= 12; x += 0.0007)
        cr_assert_float_eq((double)ht_vector_tanh((float)x), tanh((double)(float)x), 4e-7, "%g", x);
    cr_assert_eq(ht_vector_tanh(INFINITY), ht_vector_tanh(9.0f));
    cr_assert_eq(ht_vector_tanh(0), 0);
}

/* Both in one pass, from bytes: the same bits as one after the other. */
Test(both, same_bits)
{
    enum { N = 301 };
    for (size_t i = 0; ht_estimator_at(i); i++)
        for (int odd = 0; odd < 2; odd++) {
            struct fixture f = {0};
            const char *name = ht_estimator_at(i)->name;
            const char *range = strcmp(name, "dorefa") == 0 ? "min_max" : "learned";
            struct ht_quantizer *q = make(&f, name, odd ? "zero_free" : "narrow", 3, range, true);
            float x[N], u[N], level[N], dy[N], dx[N], grad[N];
            int8_t bytes[N];
            const struct ht_place_in_run eval = {NULL, 0};
            for (size_t j = 0; j < N; j++) {
                x[j] = (float)(uniform(10 + i, j) * 6 - 3);
                dy[j] = grad[j] = (float)(uniform(30 + i, j) - 0.5);
            }
            if (strcmp(name, "dorefa") == 0)
                ht_quantizer_observe(q, x, N);
            const struct ht_estimate e = ht_quantizer_estimate(q, 0);
            const float inverse = 1 / q->scale[0];
            ht_quantizer_levels(q, 0, eval, x, N, level);
            for (size_t j = 0; j < N; j++) {
                bytes[j] = (int8_t)level[j];
                u[j] = x[j] * inverse; /* of transformed ones, had it been transformed */
            }
            const float sum = q->estimator->scale(u, level, dy, N, &e);
            q->estimator->input(u, level, dy, N, &e, dx);
            const float both = q->estimator->both(x, inverse, bytes, N, &e, grad);
            cr_assert_eq(memcmp(&sum, &both, sizeof sum), 0, "%s", name);
            cr_assert_eq(memcmp(dx, grad, sizeof dx), 0, "%s", name);
            finish(&f);
        }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- how LSQ+ begins --- */

Test(lsq_plus, weights_begin_at_three_sigma)
{
    struct fixture f = {0};
    struct ht_quantizer *q = make(&f, "lsq_plus", "full", 3, "learned", true);
    const float w[] = {1, -1, 3, 1}; /* mean 1, sigma sqrt(2) */
    ht_quantizer_observe(q, w, 4);
    cr_assert_float_eq((double)q->scale[0], (1 + 3 * sqrt(2.0)) / 4, 1e-6);
    const float before = q->scale[0];
    const float other[] = {10, 20};
    q->estimator->settle(q, 0, other, 2); /* only once */
    cr_assert_eq(q->scale[0], before);
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

static double error_of(const float *x, size_t n, double scale, double zero_point, double levels)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double level =
            naive_clamp(rint((double)x[i] / scale), -zero_point, levels - zero_point);
        sum += pow((double)x[i] - scale * level, 2);
    }
    return sum;
}

/* Skewed values, most of them small: what it finds has less error than the whole range, and than
 * any of many other ranges by more than a little. */
Test(lsq_plus, activations_begin_at_the_least_error)
{
    struct fixture f = {0};
    enum { N = 2000 };
    static float x[N];
    struct ht_quantizer *q = make(&f, "lsq_plus", "affine", 2, "learned", false);
    for (size_t i = 0; i < N; i++)
        x[i] = (float)(pow(uniform(8, i), 4) * 8 - 0.7 * uniform(9, i));
    ht_quantizer_observe(q, x, N);
    ht_quantizer_refresh(q, HT_MODE_TRAIN);
    const double found = error_of(x, N, (double)q->scale[0], (double)q->zero_point[0], 3);
    double best = INFINITY;
    for (int z = 0; z <= 3; z++)
        for (int s = 1; s < 400; s++) {
            const double e = error_of(x, N, 0.01 * s, z, 3);
            best = e < best ? e : best;
        }
    cr_assert_lt(found, 1.05 * best, "%g, the best is %g", found, best);
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- dampening --- */

Test(dampening, draws_to_the_middle_of_the_bin)
{
    struct fixture f = {0};
    struct ht_quantizer *q = make(&f, "lsq", "narrow", 3, "learned", true);
    const float x[] = {0.6f, -0.9f, 0.5f, 1.5f, 9, -9}; /* levels 1 -2 1 3 3 -3 of 0.5 */
    const float value[] = {1, -2, 1, 3, 3, -3};
    const int8_t bytes[] = {1, -2, 1, 3, 3, -3};
    const double expected[] = {2 * 0.25 * 0.1, 2 * 0.25 * 0.1, 0, 0, 0, 0};
    float a[6] = {1, 1, 1, 1, 1, 1}, b[6] = {1, 1, 1, 1, 1, 1};
    q->dampening = 0.25f;
    ht_quantizer_dampen(q, 0, x, value, NULL, 6, a);
    ht_quantizer_dampen(q, 0, x, NULL, bytes, 6, b);
    for (size_t i = 0; i < 6; i++)
        cr_assert_float_eq((double)a[i], 1 + expected[i], 1e-6, "%zu: %g", i, (double)a[i]);
    cr_assert_eq(memcmp(a, b, sizeof a), 0);
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- rounding by chance --- */

static struct ht_quantizer *by_chance(struct fixture *f, const char *grid, int bits)
{
    struct ht_quantizer_spec spec = spec_of(grid, bits, "min_max", "stochastic", false);
    struct ht_quantizer *q = add_quantizer(f, "q", spec, true, 1);
    ready(f);
    q->scale[0] = 0.5f;
    return q;
}

Test(stochastic, mean_is_the_value)
{
    static const char *const names[] = {"narrow", "zero_free"};
    enum { N = 40000 };
    static float x[N], level[N];
    for (int g = 0; g < 2; g++) {
        struct fixture f = {0};
        struct ht_quantizer *q = by_chance(&f, names[g], 3);
        struct ht_run run = {.mode = HT_MODE_TRAIN, .seed = 3};
        const double step = q->grid.step;
        for (double u = -q->grid.hi - 1; u <= q->grid.hi + 1; u += 0.3) {
            double sum = 0, expected = naive_clamp(u, q->grid.lo, q->grid.hi);
            for (size_t i = 0; i < N; i++)
                x[i] = (float)(u * 0.5);
            run.step++;
            ht_quantizer_levels(q, 0, (struct ht_place_in_run){&run, 0}, x, N, level);
            for (size_t i = 0; i < N; i++) {
                const double d = (double)level[i] - expected;
                cr_assert(fabs(d) < step + 1e-6 && fmod((double)level[i] - q->grid.lo, step) == 0);
                cr_assert(level[i] >= q->grid.lo && level[i] <= q->grid.hi);
                sum += (double)level[i];
            }
            /* Five standard deviations of the mean of N draws, at most step / 2 each. */
            cr_assert_float_eq(sum / N, expected, 5 * step / 2 / sqrt((double)N) + 1e-6, "%g: %g",
                               u, sum / N);
        }
        /* In eval mode to the nearest. */
        run.mode = HT_MODE_EVAL;
        x[0] = 0.5f * (q->grid.step == 2 ? 1.9f : 0.9f);
        ht_quantizer_levels(q, 0, (struct ht_place_in_run){&run, 0}, x, 1, level);
        cr_assert_eq(level[0], 1);
        finish(&f);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(stochastic, place_and_step_decide)
{
    enum { N = 103 };
    struct fixture f = {0};
    struct ht_quantizer *q = by_chance(&f, "narrow", 4);
    struct ht_run run = {.mode = HT_MODE_TRAIN, .seed = 3, .step = 9};
    float x[N], whole[N], parts[N], other[N];
    for (size_t i = 0; i < N; i++)
        x[i] = (float)(uniform(1, i) * 6 - 3);
    ht_quantizer_levels(q, 0, (struct ht_place_in_run){&run, 50}, x, N, whole);
    for (size_t at = 0, n = 1; at < N; at += n, n = n % 7 + 1) {
        n = n < N - at ? n : N - at;
        ht_quantizer_levels(q, 0, (struct ht_place_in_run){&run, 50 + at}, x + at, n, parts + at);
    }
    cr_assert_eq(memcmp(whole, parts, sizeof whole), 0, "pieces of a row");
    run.step++;
    ht_quantizer_levels(q, 0, (struct ht_place_in_run){&run, 50}, x, N, other);
    cr_assert_neq(memcmp(whole, other, sizeof whole), 0, "another step");
    run.step--;
    run.seed++;
    ht_quantizer_levels(q, 0, (struct ht_place_in_run){&run, 50}, x, N, other);
    cr_assert_neq(memcmp(whole, other, sizeof whole), 0, "another seed");
    run.seed--;
    ht_quantizer_levels(q, 0, (struct ht_place_in_run){&run, 51}, x, N, other);
    cr_assert_neq(memcmp(whole, other, sizeof whole), 0, "another place");
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}
