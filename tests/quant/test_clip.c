/* Clips found from the values: against sorting, brute force and the equations they come from. */
#include "quant_support.h"

#include "quant/clip.h"

#define MOST 4000

/* Roughly normal, or of one sign, with zeros and repeated values. */
static void draw(float *x, size_t n, uint64_t seed, int kind)
{
    for (size_t i = 0; i < n; i++) {
        double v = 0;
        for (size_t k = 0; k < 6; k++)
            v += uniform(seed + k, i) - 0.5;
        if (kind == 1) /* what relu leaves */
            v = v > 0 ? v : 0;
        else if (kind == 2)
            v = -fabs(v) - 0.1;
        else if (kind == 3)
            v = rint(4 * v) / 4 + 0.5;
        else if (kind == 4)
            v = v * v * v;
        x[i] = (float)(3 * v);
    }
}
#define N_KINDS 5

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* --- percentile --- */

/* As numpy.percentile(method="linear") says. */
static double naive_percentile(const float *x, size_t n, double p, bool magnitude)
{
    static double sorted[MOST];
    for (size_t i = 0; i < n; i++)
        sorted[i] = magnitude ? fabs((double)x[i]) : (double)x[i];
    qsort(sorted, n, sizeof *sorted, ascending);
    const double at = p / 100 * (double)(n - 1), fraction = at - floor(at);
    const size_t i = (size_t)at;
    return i + 1 < n ? sorted[i] + fraction * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

static const double percents[] = {100, 99.999, 99.99, 99.9, 97, 90, 75, 50.5};

Test(percentile, as_sorting_says)
{
    static float x[MOST];
    for (size_t n = 1; n <= MOST; n = n * 3 / 2 + 1)
        for (int kind = 0; kind < N_KINDS; kind++)
            for (size_t p = 0; p < sizeof percents / sizeof *percents; p++) {
                draw(x, n, 10 * n, kind);
                struct ht_clip c = ht_clip_percentile(x, n, percents[p], true);
                const double high = naive_percentile(x, n, percents[p], true);
                cr_assert_float_eq((double)c.hi, high, 1e-6 * high, "%zu %d %g", n, kind,
                                   percents[p]);
                cr_assert_eq(c.lo, -c.hi);
                c = ht_clip_percentile(x, n, percents[p], false);
                const double hi = fmax(0, naive_percentile(x, n, percents[p], false));
                const double lo = fmin(0, naive_percentile(x, n, 100 - percents[p], false));
                cr_assert_float_eq((double)c.hi, hi, 1e-6 * fabs(hi));
                cr_assert_float_eq((double)c.lo, lo, 1e-6 * fabs(lo) + 1e-12);
            }
}

/* Golden numbers: numpy.percentile of |x| and x, x = [-3, 1, 4, -1, 5, -9, 2, 6]. */
Test(percentile, as_numpy_says)
{
    static const float x[] = {-3, 1, 4, -1, 5, -9, 2, 6};
    cr_assert_float_eq((double)ht_clip_percentile(x, 8, 90, true).hi, 6.9, 1e-6);
    const struct ht_clip c = ht_clip_percentile(x, 8, 90, false);
    cr_assert_float_eq((double)c.hi, 5.3, 1e-6);
    cr_assert_float_eq((double)c.lo, -4.8, 1e-6);
}

/* --- histograms --- */

static float max_magnitude(const float *x, size_t n)
{
    float m = 0;
    for (size_t i = 0; i < n; i++)
        m = fabsf(x[i]) > m ? fabsf(x[i]) : m;
    return m;
}

/* Three batches, each wider than the one before: the width doubles, shares become running means. */
Test(histogram, as_counting_says)
{
    static float x[3][MOST], h[HT_HISTOGRAM_SIZE];
    static double expected[2][HT_HISTOGRAM_BINS];
    const float shares[3] = {1, 0.5f, 0.25f}, widths[3] = {1, 1.7f, 11};
    for (int kind = 0; kind < N_KINDS; kind++) {
        memset(h, 0, sizeof h);
        memset(expected, 0, sizeof expected);
        for (size_t k = 0; k < 3; k++) {
            draw(x[k], MOST, 50 + k, kind);
            for (size_t i = 0; i < MOST; i++)
                x[k][i] *= widths[k];
            ht_histogram_add(h, x[k], MOST, max_magnitude(x[k], MOST), shares[k]);
        }
        const double first = (double)max_magnitude(x[0], MOST) / HT_HISTOGRAM_BINS;
        const double doublings = log2((double)h[0] / first);
        cr_assert_float_eq(doublings, rint(doublings), 1e-5);
        cr_assert_geq((double)h[0] * HT_HISTOGRAM_BINS, (double)max_magnitude(x[2], MOST));
        cr_assert_lt((double)h[0] * HT_HISTOGRAM_BINS / 2, (double)max_magnitude(x[2], MOST));
        for (size_t k = 0; k < 3; k++) {
            const double left[3] = {0.5 * 0.75, 0.5 * 0.75, 0.25};
            for (size_t i = 0; i < MOST; i++) {
                size_t bin = (size_t)(fabsf(x[k][i]) / h[0]);
                bin = bin < HT_HISTOGRAM_BINS ? bin : HT_HISTOGRAM_BINS - 1;
                expected[x[k][i] < 0][bin] += left[k] / MOST;
            }
        }
        double off = 0, total = 0;
        for (size_t i = 0; i < 2 * HT_HISTOGRAM_BINS; i++) {
            off += fabs((double)h[1 + i] - expected[i / HT_HISTOGRAM_BINS][i % HT_HISTOGRAM_BINS]);
            total += (double)h[1 + i];
        }
        cr_assert_float_eq(total, 1, 1e-5);
        cr_assert_lt(off, 4.0 / MOST, "but for values on an edge: %g", off);
    }
}

Test(histogram, takes_zeros_and_what_is_not_finite)
{
    static float h[HT_HISTOGRAM_SIZE];
    float x[4] = {0, -0.0f, 0, 1e-40f};
    ht_histogram_add(h, x, 4, 1e-40f, 1);
    cr_assert_eq(h[0], 0);
    cr_assert_eq(h[1], 1);
    cr_assert_eq(ht_histogram_ends(h, false).hi, 0);
    x[2] = NAN;
    x[3] = 2;
    ht_histogram_add(h, x, 4, 2, 0.5f);
    cr_assert_eq(h[0], 2.0f / HT_HISTOGRAM_BINS);
    cr_assert_eq(h[1], 0.75f);
    ht_histogram_add(h, x, 4, INFINITY, 0.5f);
    ht_histogram_add(h, x, 4, NAN, 0.5f);
    cr_assert_eq(h[1], 0.75f);
    ht_histogram_add(h, x, 1, 3e38f, 0.5f);
    cr_assert(isfinite(h[0]) && isfinite(ht_histogram_ends(h, true).hi));
}

Test(histogram, percentile_is_that_of_the_values_but_for_a_bin)
{
    static float x[MOST], h[HT_HISTOGRAM_SIZE];
    for (int kind = 0; kind < N_KINDS; kind++)
        for (size_t p = 0; p < sizeof percents / sizeof *percents; p++)
            for (int symmetric = 0; symmetric < 2; symmetric++) {
                memset(h, 0, sizeof h);
                draw(x, MOST, 7, kind);
                ht_histogram_add(h, x, MOST, max_magnitude(x, MOST), 1);
                const struct ht_clip a = ht_clip_percentile(x, MOST, percents[p], symmetric);
                const struct ht_clip b = ht_histogram_percentile(h, percents[p], symmetric);
                /* Between values that lie apart neither has to be right. */
                const double one = 150.0 / MOST, up = fmin(percents[p] + one, 100);
                const double slack =
                    2 * (double)h[0] +
                    fmax(naive_percentile(x, MOST, up, symmetric) -
                             naive_percentile(x, MOST, percents[p] - one, symmetric),
                         naive_percentile(x, MOST, 100 - percents[p] + one, false) -
                             naive_percentile(x, MOST, 100 - up, false));
                cr_assert_float_eq((double)a.hi, (double)b.hi, slack, "%d %g: %g %g", kind,
                                   percents[p], (double)a.hi, (double)b.hi);
                cr_assert_float_eq((double)a.lo, (double)b.lo, slack, "%d %g: %g %g", kind,
                                   percents[p], (double)a.lo, (double)b.lo);
            }
}

/* --- Kullback-Leibler divergence --- */

/* The listing of Migacz 2017, with P and Q as arrays. bins[n] of which first..end stay. */
static double naive_divergence(const double *bins, size_t n, size_t first, size_t end,
                               size_t levels)
{
    static double p[2 * HT_HISTOGRAM_BINS], q[2 * HT_HISTOGRAM_BINS];
    const size_t kept = end - first;
    double sum_p = 0, sum_q = 0, d = 0;
    for (size_t i = 0; i < kept; i++)
        p[i] = q[i] = bins[first + i];
    for (size_t i = 0; i < n; i++)
        if (i < first || i >= end)
            p[i < first ? 0 : kept - 1] += bins[i];
    double sum[256] = {0}, used[256] = {0};
    for (size_t i = 0; i < kept; i++) {
        sum[i * levels / kept] += q[i];
        used[i * levels / kept] += q[i] > 0;
    }
    for (size_t i = 0; i < kept; i++)
        if (q[i] > 0)
            q[i] = sum[i * levels / kept] / used[i * levels / kept];
    for (size_t i = 0; i < kept; i++) {
        sum_p += p[i];
        sum_q += q[i];
    }
    for (size_t i = 0; i < kept; i++)
        if (p[i] > 0)
            d += q[i] > 0 ? p[i] / sum_p * log(p[i] / sum_p / (q[i] / sum_q)) : INFINITY;
    return d;
}

static void check_kl(const float *h, const struct ht_grid *grid, const char *what)
{
    static double bins[2 * HT_HISTOGRAM_BINS];
    const bool symmetric = !grid->has_zero_point;
    const size_t B = HT_HISTOGRAM_BINS, zero = symmetric ? 0 : B, n = zero + B;
    size_t first = zero, end = zero;
    memset(bins, 0, sizeof bins);
    for (size_t i = 0; i < B; i++) {
        bins[zero + i] += (double)h[1 + i];
        bins[symmetric ? i : B - 1 - i] += (double)h[1 + B + i];
    }
    for (size_t i = 0; i < n; i++)
        if (bins[i] > 0) {
            first = i < first ? i : first;
            end = i + 1 > end ? i + 1 : end;
        }
    const struct ht_clip c = ht_histogram_kl(h, grid);
    const size_t levels = (size_t)(symmetric ? (grid->n_levels + 1) / 2 : grid->n_levels);
    const size_t hi = (size_t)rint((double)(c.hi / h[0]));
    const size_t lo = symmetric ? 0 : (size_t)rint((double)(-c.lo / h[0]));
    const double found = naive_divergence(bins, n, zero - lo, zero + hi, levels);
    bool among = false;
    for (size_t k = 1; k <= 128; k++) {
        const size_t a = zero - ((zero - first) * k + 127) / 128;
        const size_t e = zero + ((end - zero) * k + 127) / 128;
        if (e - a < levels)
            continue;
        among |= a == zero - lo && e == zero + hi;
        const double d = naive_divergence(bins, n, a, e, levels);
        cr_assert(found <= d + 1e-9, "%s: %g, but %zu..%zu has %g", what, found, a, e, d);
    }
    cr_assert(among, "%s: %g..%g is no candidate", what, (double)c.lo, (double)c.hi);
}

Test(kl, as_brute_force_says)
{
    static float x[MOST], h[HT_HISTOGRAM_SIZE];
    struct ht_error err = {0};
    for (int kind = 0; kind < N_KINDS; kind++)
        for (int k = 0; k < 5; k++) {
            static const char *const names[] = {"narrow", "affine", "affine", "full", "zero_free"};
            static const int bits[] = {8, 8, 4, 4, 3};
            struct ht_grid grid;
            ASSERT_OK(ht_grid_init(&grid, names[k], bits[k], &err), err);
            memset(h, 0, sizeof h);
            draw(x, MOST, 3, kind);
            x[5] = kind == 2 ? -20 : 20; /* worth clipping */
            ht_histogram_add(h, x, MOST, max_magnitude(x, MOST), 1);
            check_kl(h, &grid, names[k]);
            for (size_t i = 1; i < HT_HISTOGRAM_SIZE / 2; i++) /* no empty bins */
                h[i] += 1e-4f * (float)uniform(8, i);
            check_kl(h, &grid, names[k]);
        }
}

Test(kl, clips_an_outlier)
{
    static float x[MOST], h[HT_HISTOGRAM_SIZE];
    struct ht_error err = {0};
    struct ht_grid grid;
    ASSERT_OK(ht_grid_init(&grid, "narrow", 8, &err), err);
    draw(x, MOST, 3, 0);
    x[5] = 90;
    ht_histogram_add(h, x, MOST, 90, 1);
    cr_assert_lt(ht_histogram_kl(h, &grid).hi, 45);
}

/* --- squared error --- */

static double naive_error(const struct ht_quantizer *q, const float *x, size_t n)
{
    double e = 0;
    for (size_t i = 0; i < n; i++) {
        const double d =
            (double)x[i] - (double)(float)naive_level(q, 0, x[i]) * (double)q->scale[0];
        e += d * d;
    }
    return e;
}

static struct ht_quantizer *one(struct fixture *f, const char *grid, int bits, const char *range,
                                const char *rounding, bool of_weights)
{
    struct ht_quantizer *q =
        add_quantizer(f, "q", spec_of(grid, bits, range, rounding, false), of_weights, 1);
    ready(f);
    return q;
}

#define FEW ((size_t)1000)

Test(mse, as_brute_force_says)
{
    static float x[1000];
    for (size_t g = 0; g < N_GRIDS; g++)
        for (int bits = grids[g].min_bits; bits <= grids[g].max_bits; bits += 2)
            for (int kind = 0; kind < N_KINDS; kind++) {
                struct fixture f = {0};
                const bool floors = grids[g].max_bits == 8 && kind == 4;
                struct ht_quantizer *q = one(&f, grids[g].name, bits, "mse",
                                             floors ? "floor" : "nearest_even", bits < 8);
                if (q->grid.n_levels == 2) {
                    finish(&f);
                    continue;
                }
                draw(x, FEW, 11, kind);
                ht_quantizer_observe(q, x, FEW);
                const double found = naive_error(q, x, FEW);
                const struct ht_range_stats s = ht_range_measure(x, FEW);
                /* From a histogram: equal but for what the bins hide. */
                const double slack = q->of_weights ? 1e-5 : 0.03;
                for (int k = 1; k <= 100; k++) {
                    const float t = (float)k / 100;
                    const struct ht_range_stats clip = {s.min * t, s.max * t, 0};
                    ht_range_set(q, 0, &clip);
                    const double e = naive_error(q, x, FEW);
                    cr_assert(found <= e * (1 + slack), "%s%d %d: %g, at %d%% %g", grids[g].name,
                              bits, kind, found, k, e);
                }
                finish(&f);
            }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- OCTAV --- */

/* E[(|x| - s)^2 beyond s] + step^2 / 12 P(what is inside and not exact), from lo to hi. */
static double expected_error(const float *x, size_t n, double lo, double hi, double step,
                             bool exact)
{
    double e = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = (double)x[i], over = v > hi ? v - hi : v < lo ? lo - v : 0;
        e += over != 0 ? over * over : v == 0 && exact ? 0 : step * step / 12;
    }
    return e;
}

Test(octav, is_a_fixed_point_and_a_minimum)
{
    static float x[MOST];
    struct ht_error err = {0};
    for (size_t g = 0; g < N_GRIDS; g++)
        for (int bits = grids[g].min_bits; bits <= grids[g].max_bits; bits++)
            for (int kind = 0; kind < N_KINDS; kind++) {
                struct ht_grid grid;
                ASSERT_OK(ht_grid_init(&grid, grids[g].name, bits, &err), err);
                if (grid.n_levels == 2) /* no clip */
                    continue;
                draw(x, MOST, 13, kind);
                const struct ht_clip c = ht_clip_octav(x, MOST, &grid);
                const double hi = (double)c.hi, lo = (double)c.lo;
                double above = 0, n_above = 0, inside = 0;
                for (size_t i = 0; i < MOST; i++) {
                    const double v = grid.has_zero_point ? (double)x[i] : fabs((double)x[i]);
                    above += v > hi ? v : 0;
                    n_above += v > hi;
                    inside += v <= hi && v >= lo && (v != 0 || grid.step == 2);
                }
                if (n_above > 0) {
                    const double N = grid.n_levels - 1, between = grid.step;
                    const double noise = grid.has_zero_point ? inside / (12 * N * N)
                                                             : inside * between * between /
                                                                   (12.0 * grid.hi * grid.hi);
                    const double next = (above + noise * (grid.has_zero_point ? lo : 0)) /
                                        (noise + n_above); /* eq. 6 */
                    cr_assert_float_eq(next, hi, 1e-4 * hi, "%s%d %d: %g -> %g", grids[g].name,
                                       bits, kind, hi, next);
                }
                /* The equation takes P(inside) for constant: right but for coarse grids. */
                for (int k = -30; k <= 30 && kind != 3 && grid.n_levels > 6; k++) {
                    const double t = 1 + k / 100.0;
                    const double unit = grid.has_zero_point ? (hi - lo) / (grid.n_levels - 1)
                                                            : hi * grid.step / grid.hi;
                    cr_assert(
                        expected_error(x, MOST, lo, hi, unit, grid.step == 1) <=
                            expected_error(x, MOST, t * lo, t * hi, t * unit, grid.step == 1) *
                                1.03,
                        "%s%d %d: %d%%", grids[g].name, bits, kind, k);
                }
            }
}

/* A step of 2 s / 2^B, as the paper has it: a grid with 2^(B-1) positive levels. Numbers from
 * iterating s = 2 phi(s) / (4^-B / 3 (1 - 2 Q(s)) + 2 Q(s)) in Python; Banner et al. 2019 (ACIQ,
 * arXiv 1810.05723), who take P(inside) for 1, have 1.71, 2.15 and 2.55. */
Test(octav, of_a_normal_distribution)
{
    static float x[200000];
    static const double expected[] = {1.7388, 2.1611, 2.5621};
    for (size_t i = 0; i < 200000; i++)
        x[i] = (float)(sqrt(-2 * log(1 - uniform(1, i))) * cos(6.283185307179586 * uniform(2, i)));
    for (int bits = 2; bits <= 4; bits++) {
        const int hi = 1 << (bits - 1);
        struct ht_grid grid = {
            .bits = 8, .lo = -hi, .hi = hi, .step = 1, .n_levels = 2 * hi + 1, .name = "full"};
        cr_assert_float_eq((double)ht_clip_octav(x, 200000, &grid).hi, expected[bits - 2], 0.02);
    }
}

Test(octav, takes_anything)
{
    static const float rows[][3] = {
        {0, 0, 0}, {5, 5, 5}, {-2, -2, -2}, {0, 0, 1e-38f}, {3e38f, 1, 0}};
    struct ht_error err = {0};
    struct ht_grid grid;
    for (size_t g = 0; g < N_GRIDS; g++)
        for (size_t i = 0; i < 5; i++) {
            ASSERT_OK(ht_grid_init(&grid, grids[g].name, grids[g].min_bits, &err), err);
            const struct ht_clip c = ht_clip_octav(rows[i], 3, &grid);
            cr_assert(c.lo <= 0 && c.hi >= 0 && isfinite(c.hi) && isfinite(c.lo));
            if (i == 1)
                cr_assert_eq(c.hi, 5);
            if (i == 2)
                cr_assert_eq(c.lo, -2);
        }
}

/* --- what a quantizer keeps --- */

/* Activations: running means of clips, or a running histogram; in calibration all batches count
 * alike. */
Test(running, octav_averages_its_clips)
{
    static float x[6][MOST];
    for (int calibrating = 0; calibrating < 2; calibrating++) {
        struct fixture f = {0};
        struct ht_quantizer *q = one(&f, "affine", 4, "octav", "nearest_even", false);
        q->calibrating = calibrating;
        double lo = 0, hi = 0;
        for (size_t k = 0; k < 6; k++) {
            draw(x[k], MOST, 90 + k, k % 2 ? 4 : 0);
            ht_quantizer_observe(q, x[k], MOST);
            const struct ht_clip c = ht_clip_octav(x[k], MOST, &q->grid);
            const double m = k == 0 ? 1 : calibrating ? 1.0 / (double)(k + 1) : 0.25;
            lo += m * ((double)c.lo - lo);
            hi += m * ((double)c.hi - hi);
            cr_assert_float_eq((double)q->scale[0], (hi - lo) / 15, 1e-5);
        }
        cr_assert_eq(q->ready[0], calibrating ? 6 : 1);
        finish(&f);
    }
}

Test(running, calibrated_percentile_is_that_of_all_batches)
{
    static float x[8 * 500];
    struct fixture f = {0};
    struct ht_quantizer *q = one(&f, "narrow", 8, "percentile", "nearest_even", false);
    q->percentile = 99;
    q->calibrating = true;
    draw(x, 8 * 500, 17, 4);
    for (size_t k = 0; k < 8; k++)
        ht_quantizer_observe(q, x + 500 * k, 500);
    const double all = naive_percentile(x, 8 * 500, 99, true);
    cr_assert_float_eq((double)q->max[0], all, 4 * (double)q->histogram[0]);
    finish(&f);
}

/* All that is kept is a span of the state: a copy of it goes on alike. */
Test(running, goes_on_from_a_copy_of_the_state)
{
    static float x[MOST];
    static const char *const names[] = {"ema", "percentile", "kl", "mse", "octav"};
    for (size_t r = 0; r < 5; r++) {
        struct fixture a = {0}, b = {0};
        struct ht_quantizer *p = one(&a, "affine", 4, names[r], "nearest_even", false);
        struct ht_quantizer *q = one(&b, "affine", 4, names[r], "nearest_even", false);
        for (size_t k = 0; k < 6; k++) {
            draw(x, MOST, 70 + k, k % 3 ? 0 : 1);
            ht_quantizer_observe(p, x, MOST);
            if (k > 3)
                ht_quantizer_observe(q, x, MOST);
            if (k == 3)
                memcpy(b.state.value, a.state.value, a.state.n * sizeof(float));
        }
        cr_assert_eq(memcmp(b.state.value, a.state.value, a.state.n * sizeof(float)), 0, "%s",
                     names[r]);
        finish(&a);
        finish(&b);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Weights keep nothing: the last tensor alone decides, each row for itself. */
Test(running, weights_are_seen_as_they_are)
{
    static float x[6 * 300];
    static const char *const names[] = {"percentile", "kl", "mse", "octav"};
    for (size_t r = 0; r < 4; r++) {
        struct fixture f = {0}, g = {0};
        struct ht_quantizer *rows =
            add_quantizer(&f, "q", spec_of("narrow", 4, names[r], "nearest_even", true), true, 6);
        ready(&f);
        for (uint64_t k = 0; k < 3; k++) {
            draw(x, 6 * 300, k, 4);
            ht_quantizer_observe(rows, x, 300);
        }
        for (size_t c = 0; c < 6; c++) {
            struct ht_quantizer *q = one(&g, "narrow", 4, names[r], "nearest_even", true);
            ht_quantizer_observe(q, x + 300 * c, 300);
            cr_assert_eq(rows->scale[c], q->scale[0], "%s", names[r]);
            cr_assert_lt((double)q->max[0], (double)max_magnitude(x + 300 * c, 300) * 1.001);
            finish(&g);
        }
        finish(&f);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(running, learned_is_calibrated_to_the_least_error)
{
    static float x[MOST];
    struct fixture f = {0};
    struct ht_quantizer *q = one(&f, "affine", 4, "learned", "nearest_even", false);
    q->calibrating = true;
    draw(x, MOST, 5, 1);
    ht_quantizer_observe(q, x, MOST);
    ht_quantizer_observe(q, x, MOST);
    cr_assert_float_eq((double)q->scale[0], (double)ht_clip_octav(x, MOST, &q->grid).hi / 15, 1e-6);
    q->calibrating = false;
    cr_assert_not(ht_quantizer_observes(q, HT_MODE_TRAIN), "it starts from there");
    finish(&f);
}
