/* Accumulator-aware weights: the bound holds whatever the weights are, and the start and the
 * penalty are what their formulas say. */
#include "quant_support.h"

#include "quant/a2q.h"

#define MOST 800

struct row {
    struct fixture f;
    struct ht_quantizer input;
    float zero_point;
    struct ht_quantizer *q;
};

static void row_init(struct row *r, const char *grid, int bits, int input_bits, int zero_point,
                     int accumulator_bits)
{
    struct ht_error err = {0};
    struct ht_quantizer_spec spec = spec_of(grid, bits, "learned", "nearest_even", true);
    spec.estimator = "a2q";
    spec.accumulator_bits = accumulator_bits;
    memset(r, 0, sizeof *r);
    r->q = add_quantizer(&r->f, "q", spec, true, 1);
    ready(&r->f);
    ASSERT_OK(ht_grid_init(&r->input.grid, "affine", input_bits, &err), err);
    r->zero_point = (float)zero_point;
    r->input.zero_point = &r->zero_point;
    r->q->input = &r->input;
    r->q->ready[0] = 1;
}

/* Levels of x[n] by the quantizer; returns sum |level|. */
static int64_t levels_of(struct row *r, const float *x, size_t n, float *level)
{
    const struct ht_place_in_run eval = {NULL, 0};
    int64_t sum = 0;
    ht_quantizer_prepare(r->q, 0, x, n);
    ht_quantizer_levels(r->q, 0, eval, x, n, level);
    for (size_t i = 0; i < n; i++)
        sum += (int64_t)fabs((double)level[i]);
    return sum;
}

Test(a2q, budget_is_what_the_input_leaves)
{
    struct row r;
    row_init(&r, "narrow", 4, 8, 0, 16);
    cr_assert_eq(ht_a2q_budget(r.q), 128); /* 32767 / 255 */
    r.zero_point = 100;
    cr_assert_eq(ht_a2q_budget(r.q), 211); /* 32767 / 155 */
    r.zero_point = 255;
    cr_assert_eq(ht_a2q_budget(r.q), 128);
    finish(&r.f);
}

/* Norms far above the cap, so that the bound is all that holds. Rows of whole numbers that fill it
 * to the last unit are the hardest for float arithmetic. */
Test(a2q, sums_fit_whatever_the_weights_are)
{
    static float x[MOST], level[MOST];
    double fullest = 0;
    for (int bits = 8; bits < 32; bits++)
        for (uint64_t seed = 0; seed < 40; seed++) {
            struct row r;
            const int wide = seed % 3 == 0;
            row_init(&r, seed % 2 ? "full" : "narrow", wide ? 7 : 4, 2 + (int)(seed % 6), 1, bits);
            const size_t n = 1 + (size_t)(uniform(seed, 1) * (MOST - 1));
            const double budget = ht_a2q_budget(r.q);
            double left = budget;
            r.q->scale[0] = (float)(0.001 + uniform(seed, 2));
            r.q->norm[0] = 100;
            for (size_t i = 0; i < n; i++) {
                const double u = uniform(seed, 10 + i);
                const double whole = fmin(left, floor(u * 3 * budget / (double)n));
                left -= whole;
                x[i] = (float)(seed % 4 == 0   ? whole + (i + 1 == n ? left : 0)
                               : seed % 4 == 1 ? u - 0.5
                                               : 1.0 / (double)(1 + i % 7)) *
                       (seed % 5 == 0 ? 1 : r.q->scale[0]) * (i % 2 ? 1 : -1);
            }
            const int64_t sum = levels_of(&r, x, n, level);
            cr_assert_leq((double)sum, budget, "%d bits, seed %d", bits, (int)seed);
            fullest = fmax(fullest, (double)sum / budget);
            finish(&r.f);
        }
    cr_assert_gt(fullest, 0.95, "%g", fullest);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* trunc(g v / ||v||_1 / s), clamped, in double. Norm below the cap: g is 2^t. */
Test(a2q, levels_by_its_formula)
{
    static const float v[] = {0.5f, -0.25f, 0, 1, -0.125f, 0.3f};
    struct row r;
    float level[6];
    double norm = 0;
    row_init(&r, "narrow", 3, 8, 0, 20);
    r.q->scale[0] = 0.1f;
    for (int t = -4; t < 3; t++) {
        r.q->norm[0] = (float)t;
        levels_of(&r, v, 6, level);
        norm = 0;
        for (int i = 0; i < 6; i++)
            norm += fabs((double)v[i]);
        for (int i = 0; i < 6; i++) {
            const double u = trunc(exp2(t) * (double)v[i] / norm / (double)0.1f);
            cr_assert_eq((double)level[i], fmax(-3, fmin(3, u)), "t %d, weight %d", t, i);
        }
    }
    finish(&r.f);
}

/* Sum max(|w| - threshold, 0) = radius, found by halving. */
static double naive_threshold(const float *w, size_t n, double radius)
{
    double lo = 0, hi = 100;
    for (int step = 0; step < 100; step++) {
        const double t = (lo + hi) / 2;
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += fmax(fabs((double)w[i]) - t, 0);
        *(sum > radius ? &lo : &hi) = t;
    }
    return hi;
}

Test(a2q, starts_from_the_projection_with_the_least_error)
{
    static float w[MOST], v[MOST], room[MOST], level[MOST];
    struct row r;
    row_init(&r, "narrow", 4, 8, 0, 16);
    for (size_t i = 0; i < MOST; i++)
        w[i] = v[i] = (float)((uniform(3, i) + uniform(4, i) + uniform(5, i) - 1.5) / 10);
    ht_a2q_start(r.q, 0, v, MOST, room);
    const double scale = (double)r.q->scale[0];
    const double threshold = naive_threshold(w, MOST, scale * ht_a2q_budget(r.q));
    double norm = 0;
    for (size_t i = 0; i < MOST; i++) {
        const double left = fmax(fabs((double)w[i]) - threshold, 0);
        cr_assert_float_eq(fabs((double)v[i]), left, 1e-5, "%zu: %g %g", i, (double)v[i], left);
        cr_assert(v[i] == 0 || (v[i] > 0) == (w[i] > 0));
        norm += fabs((double)v[i]);
    }
    cr_assert_float_eq((double)r.q->norm[0], log2(norm), 1e-5);
    const int64_t used = levels_of(&r, v, MOST, level);
    cr_assert(used > 40 && used <= 128, "%d", (int)used); /* of 128 */
    /* Of weights that fit as they are nothing is taken. */
    for (size_t i = 0; i < MOST; i++)
        v[i] = i < 10 ? w[i] : 0;
    r.q->accumulator_bits = 30;
    ht_a2q_start(r.q, 0, v, MOST, room);
    cr_assert_eq(memcmp(v, w, 10 * sizeof *v), 0);
    finish(&r.f);
}

/* lambda max(t - T, 0) on top of the task's gradients, which at dw^ = 0 are none. */
Test(a2q, penalty_by_hand)
{
    static const float v[] = {1, -1};
    float dx[2] = {0, 0}, dnorm = -1;
    struct row r;
    row_init(&r, "narrow", 4, 8, 0, 16);
    r.q->scale[0] = 0.25f; /* T = log2(32) = 5, but for the margin */
    cr_assert_float_eq((double)r.q->penalty, 1e-3, 1e-9);
    r.q->norm[0] = 4.9f;
    ht_quantizer_prepare(r.q, 0, v, 2);
    cr_assert_eq(ht_a2q_finish(r.q, 0, v, 2, dx, &dnorm), 0);
    cr_assert_eq(dnorm, 0);
    r.q->norm[0] = 5.1f;
    ht_quantizer_prepare(r.q, 0, v, 2);
    const double dscale = (double)ht_a2q_finish(r.q, 0, v, 2, dx, &dnorm);
    cr_assert_float_eq((double)dnorm, 1e-3, 1e-9);
    cr_assert_float_eq(dscale, -1e-3 / 0.25 / log(2), 1e-6);
    cr_assert(dx[0] == 0 && dx[1] == 0);
    /* A row of zeros has no direction: nothing is divided by 0. */
    const float zero[] = {0, 0};
    float level[2];
    cr_assert_eq(levels_of(&r, zero, 2, level), 0);
    cr_assert_eq(ht_a2q_finish(r.q, 0, zero, 2, dx, &dnorm), 0);
    finish(&r.f);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(a2q, rounds_toward_zero)
{
    const struct ht_rounder r = {.lo = -3, .hi = 3, .kind = HT_ROUNDER_ZERO};
    static const float u[] = {0.99f, -0.99f, 1, -1, 2.5f, -2.5f, 9, -9, 0, 2.9999998f};
    static const float expected[] = {0, 0, 1, -1, 2, -2, 3, -3, 0, 2};
    float level[10];
    ht_round_row(&r, u, 10, level);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(level[i], expected[i], "%g", (double)u[i]);
}
