/* What stands in for rounding while training is soft: values by their formulas, and both ends. */
#include "support.h"

#include <math.h>

#include "quant/quantizer.h"
#include "quant/soft.h"

static struct ht_quantizer make(const char *grid, int bits, const char *estimator)
{
    struct ht_quantizer q;
    struct ht_error err = {0};
    const struct ht_quantizer_spec spec = {.grid = grid,
                                           .range = "learned",
                                           .estimator = estimator,
                                           .rounding = "nearest_even",
                                           .bits = bits,
                                           .momentum = 0.1,
                                           .steepness = 10,
                                           .strength = 0.2,
                                           .temperature = 3};
    ASSERT_OK(ht_quantizer_init(&q, &spec, true, 1, &err), err);
    return q;
}

static const struct {
    const char *grid;
    int bits;
} grids[] = {{"full", 3},      {"narrow", 2}, {"affine", 4},
             {"zero_free", 2}, {"binary", 1}, {"narrow", 8}};
#define N_GRIDS (sizeof grids / sizeof *grids)

/* Those that end as hard rounding by themselves. */
static const char *const annealed[] = {"parq", "quantization_networks"};
#define N_ANNEALED (sizeof annealed / sizeof *annealed)

static struct ht_estimate estimate_of(const struct ht_quantizer *q)
{
    return (struct ht_estimate){.lo = (ht_real)q->grid.lo,
                                .hi = (ht_real)q->grid.hi,
                                .step = (ht_real)q->grid.step,
                                .scale = 1,
                                .parameter = q->parameter};
}

/* u over the levels and beyond, never at a midpoint. */
static size_t fill_units(const struct ht_quantizer *q, float *u, size_t most)
{
    size_t n = 0;
    for (double v = q->grid.lo - 2.3; v < q->grid.hi + 2 && n < most; v += 0.0931)
        u[n++] = (float)v;
    return n;
}

Test(soft, ends_at_the_levels)
{
    static float u[4096], value[4096], slope[4096];
    const struct ht_run end = {.soft_share = 1, .soft_epochs = 1e6};
    for (size_t g = 0; g < N_GRIDS; g++)
        for (size_t a = 0; a < N_ANNEALED; a++) {
            const struct ht_quantizer q = make(grids[g].grid, grids[g].bits, annealed[a]);
            const struct ht_estimate e = estimate_of(&q);
            const struct ht_soft *soft = q.estimator->soft;
            struct ht_rounder r = {.lo = e.lo, .hi = e.hi};
            r.kind = q.grid.step == 2 ? HT_ROUNDER_ODD : HT_ROUNDER_EVEN;
            const size_t n = fill_units(&q, u, 4096);
            soft->function(u, n, &e, soft->temperature(&q, &end), value, slope);
            for (size_t i = 0; i < n; i++)
                cr_assert_float_eq(value[i], ht_round_one(&r, u[i]), 2e-6f, /* of its tanh */
                                   "%s%d %s at %g: %g", grids[g].grid, grids[g].bits, annealed[a],
                                   (double)u[i], (double)value[i]);
        }
}

Test(parq, begins_as_a_straight_line)
{
    static float u[4096], value[4096], slope[4096];
    const struct ht_run start = {.soft_share = 0};
    for (size_t g = 0; g < N_GRIDS; g++) {
        const struct ht_quantizer q = make(grids[g].grid, grids[g].bits, "parq");
        const struct ht_estimate e = estimate_of(&q);
        const size_t n = fill_units(&q, u, 4096);
        cr_assert_eq(ht_soft_parq.temperature(&q, &start), 1);
        ht_soft_parq.function(u, n, &e, 1, value, slope);
        for (size_t i = 0; i < n; i++) {
            const bool inside = u[i] >= e.lo && u[i] <= e.hi;
            const float expected = fminf(fmaxf(u[i], e.lo), e.hi);
            cr_assert_float_eq(value[i], expected, 3e-5f, "%g: %g", (double)u[i], (double)value[i]);
            cr_assert_eq(slope[i], inside ? 1 : 0);
        }
    }
}

/* Slope 4 around the midpoint, flat for 3/8 of a step on each side of a level. */
Test(parq, ramps_between_levels)
{
    static const float u[] = {0,      0.3f, 0.374f,   0.5f, 0.4375f, 0.5625f,
                              0.626f, 1,    -0.4375f, 1.2f, -7};
    static const float expected[] = {0, 0, 0, 0.5f, 0.25f, 0.75f, 1, 1, -0.25f, 1, -1};
    const size_t n = sizeof u / sizeof *u;
    float value[sizeof u / sizeof *u], slope[sizeof u / sizeof *u];
    const struct ht_quantizer q = make("narrow", 2, "parq");
    const struct ht_estimate e = estimate_of(&q);
    ht_soft_parq.function(u, n, &e, 0.25f, value, slope);
    for (size_t i = 0; i < n; i++)
        cr_assert_float_eq(value[i], expected[i], 1e-6, "%g: %g", (double)u[i], (double)value[i]);
}

/* By hand: 1 / (1 + e^(10 (t - 1/2))), less its end, over the distance of its ends. */
Test(parq, schedule)
{
    const struct ht_quantizer q = make("narrow", 2, "parq");
    static const double at[][2] = {{0, 1}, {0.25, 0.9299}, {0.5, 0.5}, {0.75, 0.0701}, {1, 1e-6}};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        const struct ht_run run = {.soft_share = at[i][0]};
        cr_assert_float_eq((double)ht_soft_parq.temperature(&q, &run), at[i][1], 1e-4);
    }
}

/* All sigmoids, in double; eq. 3 of the paper. */
Test(sigmoids, values_and_slopes)
{
    static float u[4096], value[4096], slope[4096];
    static const double temperatures[] = {0.5, 1, 3, 10, 200};
    for (size_t g = 0; g < N_GRIDS; g++)
        for (size_t t = 0; t < sizeof temperatures / sizeof *temperatures; t++) {
            const struct ht_quantizer q =
                make(grids[g].grid, grids[g].bits, "quantization_networks");
            const struct ht_estimate e = estimate_of(&q);
            const size_t n = fill_units(&q, u, 4096);
            const double step = q.grid.step, temperature = temperatures[t];
            /* Of u - border as float, on the way of a steep slope; of tanh; of additions. */
            const double tolerance = 3e-5 * (1 + q.grid.hi / 16.0) * (1 + temperature / 10);
            ht_soft_sigmoids.function(u, n, &e, (float)temperature, value, slope);
            for (size_t i = 0; i < n; i++) {
                double expected = q.grid.lo, derivative = 0;
                for (double b = q.grid.lo + step / 2; b < q.grid.hi; b += step) {
                    const double on = 1 / (1 + exp(-temperature * ((double)u[i] - b) / step));
                    expected += step * on;
                    derivative += temperature * on * (1 - on);
                }
                cr_assert_float_eq((double)value[i], expected, tolerance,
                                   "%s%d T %g at %g: %g, not %g", grids[g].grid, grids[g].bits,
                                   temperature, (double)u[i], (double)value[i], expected);
                cr_assert_float_eq((double)slope[i], derivative, tolerance * temperature,
                                   "%s%d T %g at %g: slope %g, not %g", grids[g].grid,
                                   grids[g].bits, temperature, (double)u[i], (double)slope[i],
                                   derivative);
            }
        }
}

Test(sigmoids, temperature_rises_with_the_epochs)
{
    const struct ht_quantizer q = make("narrow", 2, "quantization_networks");
    for (int epoch = 0; epoch < 4; epoch++) {
        const struct ht_run run = {.soft_epochs = epoch};
        cr_assert_eq(ht_soft_sigmoids.temperature(&q, &run), (float)(3 * (epoch + 1)));
    }
}

static void bind_one(struct ht_quantizer *q, struct ht_params *params, struct ht_params *state)
{
    struct ht_error err = {0};
    ht_quantizer_declare(q, "q", params, state);
    ASSERT_OK(ht_params_allocate(params, true, &err), err);
    ASSERT_OK(ht_params_allocate(state, false, &err), err);
    ht_quantizer_bind(q, params, state);
}

/* Levels 0 0 1 1 -1 0, so the best scale is (0.9 + 1.4 + 1.3) / 3 = 1.2, with the same levels. */
Test(prox, pulls_to_levels)
{
    static const float start[] = {0.2f, -0.3f, 0.9f, 1.4f, -1.3f, 0.45f};
    static const float pulled[] = {0.08f, -0.18f, 1.02f, 1.28f, -1.2f, 0.33f};
    static const float levels[] = {0, 0, 1.2f, 1.2f, -1.2f, 0};
    struct ht_params params = {0}, state = {0};
    struct ht_quantizer q = make("narrow", 2, "prox");
    bind_one(&q, &params, &state);
    float w[6];
    memcpy(w, start, sizeof w);
    q.scale[0] = 1;
    ht_soft_prox.after_step(&q, 0, 0.1f, w, 6);
    cr_assert_float_eq(q.scale[0], 1.2f, 1e-6);
    for (size_t i = 0; i < 6; i++)
        cr_assert_float_eq(w[i], pulled[i], 1e-6, "%zu: %g", i, (double)w[i]);
    for (int step = 0; step < 5; step++)
        ht_soft_prox.after_step(&q, 0, 0.1f, w, 6);
    for (size_t i = 0; i < 6; i++)
        cr_assert_float_eq(w[i], levels[i], 0.1, "%zu: %g", i, (double)w[i]);
    memcpy(w, start, sizeof w);
    q.scale[0] = 1;
    ht_soft_prox.after_step(&q, 0, 1, w, 6);
    for (size_t i = 0; i < 6; i++)
        cr_assert_float_eq(w[i], levels[i], 1e-6, "%zu: %g", i, (double)w[i]);
    memset(w, 0, sizeof w); /* no level but 0: the scale stays */
    ht_soft_prox.after_step(&q, 0, 1, w, 6);
    cr_assert_float_eq(q.scale[0], 1.2f, 1e-6);
    const struct ht_run half = {.soft_share = 0.5};
    cr_assert_float_eq(ht_soft_prox.temperature(&q, &half), 0.1f, 1e-7);
    ht_params_finish(&params);
    ht_params_finish(&state);
}
