/* Ranges: what is measured, and the scale and zero point that come of it; the quantizer itself. */
#include "quant_support.h"

/* --- ranges --- */

static struct ht_quantizer *one(struct fixture *f, const char *grid, int bits, const char *range,
                                bool of_weights)
{
    struct ht_quantizer *q =
        add_quantizer(f, "q", spec_of(grid, bits, range, "nearest_even", false), of_weights, 1);
    ready(f);
    return q;
}

static void see(struct ht_quantizer *q, float min, float max, float mean_abs)
{
    const float x[2] = {min, max};
    const struct ht_range_sample sample = {{min, max, mean_abs}, x, 2};
    q->range->observe(q, 0, &sample);
    ht_quantizer_observed(q);
}

Test(range, measures_as_a_plain_loop_does)
{
    float x[200];
    for (size_t n = 1; n <= 200; n++) {
        double min = INFINITY, max = -INFINITY, sum = 0;
        for (size_t i = 0; i < n; i++) {
            x[i] = (float)(uniform(n, i) * 4 - (n % 3 == 0 ? 5 : n % 3 == 1 ? 0 : 2));
            min = fmin(min, (double)x[i]);
            max = fmax(max, (double)x[i]);
            sum += fabs((double)x[i]);
        }
        struct ht_range_stats s = ht_range_measure(x, n);
        cr_assert_eq((double)s.min, min);
        cr_assert_eq((double)s.max, max);
        cr_assert_float_eq((double)s.mean_abs, sum / (double)n, 1e-5 * sum / (double)n);
        if (n < 2)
            continue;
        s = ht_range_measure(x, n / 2);
        const struct ht_range_stats rest = ht_range_measure(x + n / 2, n - n / 2);
        ht_range_merge(&s, n / 2, &rest, n - n / 2);
        cr_assert_eq((double)s.min, min);
        cr_assert_eq((double)s.max, max);
        cr_assert_float_eq((double)s.mean_abs, sum / (double)n, 1e-5 * sum / (double)n);
    }
}

Test(range, min_max)
{
    struct fixture f = {0};
    struct ht_quantizer *q = one(&f, "narrow", 4, "min_max", false);
    see(q, -1, 0.5f, 0.3f);
    cr_assert_eq(q->scale[0], 1.0f / 7);
    see(q, -0.2f, 1.4f, 0.3f);
    cr_assert_eq(q->scale[0], 1.4f / 7);
    see(q, -0.2f, 0.4f, 0.3f);
    cr_assert_eq(q->scale[0], 1.4f / 7, "activations: the widest so far");
    finish(&f);
    q = one(&f, "narrow", 4, "min_max", true);
    see(q, -1, 0.5f, 0.3f);
    see(q, -0.2f, 0.4f, 0.3f);
    cr_assert_eq(q->scale[0], 0.4f / 7, "weights: as they are");
    finish(&f);
    q = one(&f, "affine", 8, "min_max", false);
    see(q, 0, 1, 0.5f);
    cr_assert_eq(q->scale[0], 1.0f / 255, "an image's bytes are its levels");
    cr_assert_eq(q->zero_point[0], 0);
    see(q, -1, 1, 0.5f);
    cr_assert_eq(q->scale[0], 2.0f / 255);
    cr_assert_float_eq(q->zero_point[0], 127.5, 0.5);
    see(q, -0.1f, 0.1f, 0.5f);
    cr_assert_eq(q->scale[0], 2.0f / 255);
    finish(&f);
    q = one(&f, "binary", 1, "min_max", true);
    see(q, -1, 0.5f, 0.3f);
    cr_assert_eq(q->scale[0], 0.3f);
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(range, ema)
{
    struct fixture f = {0};
    struct ht_quantizer *q = one(&f, "affine", 8, "ema", false);
    double min = 0, max = 0;
    for (size_t i = 0; i < 50; i++) {
        const double lo = -uniform(1, i), hi = 3 + uniform(2, i), m = i == 0 ? 1 : 0.25;
        see(q, (float)lo, (float)hi, 1);
        min += m * (lo - min);
        max += m * (hi - max);
        cr_assert_float_eq((double)q->scale[0], (max - min) / 255, 1e-6);
        cr_assert_float_eq((double)q->zero_point[0], rint(-min / (max - min) * 255), 1);
    }
    finish(&f);
    q = one(&f, "binary", 1, "ema", false);
    double mean = 0;
    for (size_t i = 0; i < 50; i++) {
        const double seen = 1 + uniform(3, i);
        see(q, -2, 2, (float)seen);
        mean += (i == 0 ? 1 : 0.25) * (seen - mean);
        cr_assert_float_eq((double)q->scale[0], mean, 1e-5);
    }
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* LSQ sec. 2.1: 2 * mean|x| / sqrt(Q_P). */
Test(range, learned_starts_as_in_lsq)
{
    for (size_t k = 0; k < N_GRIDS; k++)
        for (int bits = grids[k].min_bits; bits <= grids[k].max_bits; bits++) {
            struct fixture f = {0};
            struct ht_quantizer *q = one(&f, grids[k].name, bits, "learned", false);
            see(q, -0.4f, 1.7f, 0.61f);
            const double highest = q->grid.hi - (double)q->zero_point[0];
            const double expected = q->grid.n_levels == 2 ? 0.61 : 2 * 0.61 / sqrt(highest);
            cr_assert_float_eq((double)q->scale[0], expected, 1e-6, "%s%d: %g", grids[k].name, bits,
                               (double)q->scale[0]);
            cr_assert_not_null(ht_params_find(&f.params, "q.scale"), "a parameter");
            cr_assert_eq(ht_params_find(&f.params, "q.scale")->minimum, HT_MIN_SCALE);
            finish(&f);
        }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* max|x| / highest level, and LSQ with Q_P = highest level. */
Test(range, of_tables)
{
    for (size_t k = 0; k < N_TABLES; k++) {
        struct fixture f = {0};
        struct ht_quantizer *q = one(&f, tables[k].name, tables[k].bits, "min_max", true);
        see(q, -1.7f, 0.4f, 0.61f);
        cr_assert_eq(q->scale[0], 1.7f / (float)q->grid.hi);
        finish(&f);
        q = one(&f, tables[k].name, tables[k].bits, "learned", true);
        see(q, -1.7f, 0.4f, 0.61f);
        cr_assert_float_eq((double)q->scale[0], 2 * 0.61 / sqrt(q->grid.hi), 1e-6);
        finish(&f);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* 0 is a level, whatever the range; the ends are covered; no scale is too small. */
Test(range, zero_is_exact_and_scales_have_a_minimum)
{
    static const float ends[] = {0,     1e-40f, 1e-12f, 1e-9f, 1e-3f, 0.1f,
                                 0.77f, 1,      3.3f,   255,   1e6f,  1e20f};
    static const char *const names[] = {"min_max", "ema", "learned", "percentile",
                                        "kl",      "mse", "octav"};
    for (size_t r = 0; r < 7; r++)
        for (size_t k = 0; k < N_GRIDS; k++)
            for (size_t i = 0; i < 12 * 12 * 3; i++) {
                const int bits = grids[k].min_bits + (int)i % 3 % grids[k].max_bits;
                const float a = ends[i / 3 % 12], b = ends[i / 36];
                const float min = i % 3 == 2 ? (a < b ? a : b) : -a;
                const float max = i % 3 == 1 ? -(a < b ? a : b) : b;
                struct fixture f = {0};
                if (min > max)
                    continue;
                struct ht_quantizer *q =
                    one(&f, grids[k].name, bits > grids[k].max_bits ? grids[k].max_bits : bits,
                        names[r], false);
                see(q, min, max, (fabsf(min) + fabsf(max)) / 4);
                const double s = (double)q->scale[0], z = (double)q->zero_point[0];
                cr_assert(q->scale[0] >= HT_MIN_SCALE && isfinite(s), "%g", s);
                cr_assert(z == rint(z) && z >= q->grid.lo - 0.0 && z <= q->grid.hi);
                cr_assert(q->grid.has_zero_point || z == 0);
                if (q->grid.step == 1)
                    cr_assert_eq(naive_level(q, 0, 0), 0);
                if (r < 2 && q->grid.step == 1 && s > 2 * (double)HT_MIN_SCALE) {
                    /* Half a step of the zero point, and float32. */
                    const double slack = 0.501 * s;
                    cr_assert_geq((q->grid.hi - z) * s, (double)max - slack);
                    if (q->grid.has_zero_point)
                        cr_assert_leq((q->grid.lo - z) * s, (double)min + slack);
                }
                finish(&f);
            }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Who looks at its tensor, and when. */
Test(range, observes)
{
    static const struct {
        const char *range;
        bool of_weights, ready, fixed, eval, train;
    } table[] = {
        {"min_max", false, false, false, false, true},
        {"min_max", false, true, false, false, true},
        {"min_max", true, false, false, true, true},
        {"min_max", true, true, false, true, true},
        {"ema", false, true, false, false, true},
        {"ema", true, true, false, false, true},
        {"ema", true, false, false, true, true},
        {"learned", false, false, false, false, true},
        {"learned", false, true, false, false, false},
        {"learned", true, false, false, true, true},
        {"learned", true, true, false, false, false},
        {"ema", false, true, true, false, false},
        {"min_max", false, true, true, false, false},
        {"percentile", true, true, false, true, true},
        {"percentile", false, true, false, false, true},
        {"kl", true, true, false, true, true},
        {"mse", true, true, false, true, true},
        {"octav", true, true, false, true, true},
        {"octav", false, true, false, false, true},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fixture f = {0};
        struct ht_quantizer *q = one(&f, "affine", 4, table[i].range, table[i].of_weights);
        q->ready[0] = table[i].ready;
        q->fixed = table[i].fixed;
        cr_assert_eq(ht_quantizer_observes(q, HT_MODE_EVAL), table[i].eval, "%zu", i);
        cr_assert_eq(ht_quantizer_observes(q, HT_MODE_TRAIN), table[i].train, "%zu", i);
        cr_assert_not(ht_quantizer_observes(q, HT_MODE_SURROGATE));
        finish(&f);
    }
}

/* --- the quantizer --- */

/* The factor LSQ gives a gradient of 1, and one over its square. */
static double lsq_count(const struct ht_quantizer *q)
{
    const double factor = (double)ht_quantizer_scale_gradient(q, 0, 2, 3, 50) / 2;
    return 1 / (factor * factor);
}

Test(quantizer, scale_gradient_factor)
{
    struct fixture f = {0};
    struct ht_quantizer *q =
        add_quantizer(&f, "q", spec_of("narrow", 4, "learned", "nearest_even", true), true, 3);
    ready(&f);
    cr_assert_float_eq(lsq_count(q), 50 * 7, 1e-3, "a channel's weights");
    q->channels = 1;
    cr_assert_float_eq(lsq_count(q), 150 * 7, 1e-3, "all weights");
    q->of_weights = false;
    cr_assert_float_eq(lsq_count(q), 50 * 7, 1e-3, "features, not those times the batch");
    q->scale_gradient_factor = 1;
    cr_assert_eq(lsq_count(q), 1);
    q->scale_gradient_factor = 0;
    q->estimator = ht_estimator_find("ste", false);
    cr_assert_eq(lsq_count(q), 1);
    finish(&f);
    q = one(&f, "affine", 8, "learned", false);
    cr_assert_float_eq(lsq_count(q), 50 * 255, 0.1);
    q->zero_point[0] = 100;
    cr_assert_float_eq(lsq_count(q), 50 * 155, 0.1);
    q->zero_point[0] = 255; /* all below 0 */
    cr_assert_float_eq(lsq_count(q), 50 * 255, 0.1);
    finish(&f);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* A range below 0 is the mirror image of one above. */
Test(range, learned_starts_alike_on_both_sides)
{
    struct fixture f = {0};
    struct ht_quantizer *q = one(&f, "affine", 4, "learned", false);
    see(q, 0.2f, 1.7f, 0.61f);
    const float above = q->scale[0];
    finish(&f);
    q = one(&f, "affine", 4, "learned", false);
    see(q, -1.7f, -0.2f, 0.61f);
    cr_assert_eq(q->scale[0], above);
    cr_assert_eq(q->zero_point[0], 15);
    finish(&f);
}

Test(quantizer, bound)
{
    static const struct {
        const char *grid;
        int bits, bound;
    } table[] = {{"full", 8, 128},     {"narrow", 8, 127}, {"affine", 8, 255}, {"binary", 1, 1},
                 {"zero_free", 4, 15}, {"affine", 2, 3},   {"pow2", 4, 64},    {"apot", 4, 10}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fixture f = {0};
        cr_assert_eq(ht_quantizer_bound(one(&f, table[i].grid, table[i].bits, "min_max", i > 5)),
                     table[i].bound);
        finish(&f);
    }
}

Test(quantizer, refusals)
{
    static const struct {
        struct ht_quantizer_spec spec;
        bool of_weights;
        const char *says;
    } table[] = {
        {{"narow", "min_max", "ste", "nearest_even", 4, 0, .momentum = 0.1}, true, "narow"},
        {{"narrow", "minmax", "ste", "nearest_even", 4, 0, .momentum = 0.1}, true, "minmax"},
        {{"narrow", "min_max", "st", "nearest_even", 4, 0, .momentum = 0.1}, true, "st"},
        {{"narrow", "min_max", "ste", "nearest", 4, 0, .momentum = 0.1}, true, "nearest"},
        {{"narrow", "min_max", "ste", "nearest_even", 9, 0, .momentum = 0.1}, true, "9"},
        {{"binary", "min_max", "ste", "floor", 1, 0, .momentum = 0.1}, true, "floor"},
        {{"zero_free", "min_max", "ste", "floor", 3, 0, .momentum = 0.1}, false, "floor"},
        {{"full", "min_max", "ste", "nearest_even", 8, 0, .momentum = 0.1}, true, "-128"},
        {{"pow2", "min_max", "ste", "nearest_even", 4, 0, .momentum = 0.1}, false, "weights only"},
        {{"pow2", "min_max", "ste", "floor", 4, 0, .momentum = 0.1}, true, "floor"},
        {{"pow2", "kmeans", "ste", "nearest_even", 4, 0, .momentum = 0.1}, true, "kmeans"},
        {{"ternary", "min_max", "ste", "nearest_even", 2, 0, .momentum = 0.1}, true, "min_max"},
        {{"codebook", "twn", "ste", "nearest_even", 2, 0, .momentum = 0.1}, true, "twn"},
        {{"codebook", "kmeans", "ste", "nearest_even", 2, 1, .momentum = 0.1}, true, "one table"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct ht_quantizer q;
        struct ht_error err = {0};
        cr_assert_eq(ht_quantizer_init(&q, &table[i].spec, table[i].of_weights, 3, &err),
                     HT_ERR_CONFIG, "%zu", i);
        cr_assert_not_null(strstr(err.msg, table[i].says), "%s", err.msg);
    }
    cr_assert_null(ht_range_find("none"));
    cr_assert_null(ht_estimator_find("none", true));
    for (size_t i = 0; ht_range_at(i); i++)
        cr_assert_eq(ht_range_find(ht_range_at(i)->name), ht_range_at(i));
    for (size_t i = 0; ht_estimator_at(i); i++)
        cr_assert_eq(ht_estimator_find(ht_estimator_at(i)->name, true), ht_estimator_at(i));
}
