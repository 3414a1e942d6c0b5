/* Grids that find their own scale (ternary, codebook), tables as bytes, and scales that are powers
 * of two: against plain loops in double. */
#include "quant_support.h"

#include "quant/tables.h"

#define ROWS 5
#define COLS 300 /* more than a block of rounding */

/* A quantizer of weights [ROWS, COLS] with normal numbers, and its op. */
struct bench {
    struct fixture f;
    struct ht_quantizer *q;
    float *w;
    struct ht_graph *g;
    struct ht_node *y;
};

static void make(struct bench *b, const char *grid, int bits, const char *range, bool per_channel,
                 bool power_of_two)
{
    struct ht_quantizer_spec spec = spec_of(grid, bits, range, "nearest_even", per_channel);
    struct ht_error err = {0};
    spec.power_of_two = power_of_two;
    memset(b, 0, sizeof *b);
    ht_params_declare(&b->f.params, "w", ROWS, COLS, 0, 0, 0);
    b->q = add_quantizer(&b->f, "q", spec, true, ROWS);
    ready(&b->f);
    b->w = values(&b->f, "w");
    for (size_t i = 0; i < ROWS * COLS; i++)
        b->w[i] = (float)((double)(1 + i / COLS) * ht_rng_normal(7, HT_RNG_TEST, i));
    b->g = ht_graph_create(1);
    b->y = ht_fake_quant(b->g, leaf(b->g, &b->f, "w"), b->q, &b->f.params);
    ht_graph_keep(b->g, b->y);
    ASSERT_OK(ht_graph_plan(b->g, NULL, 0, &err), err);
}

static void forward(struct bench *b, enum ht_mode mode)
{
    const struct ht_run run = {.mode = mode};
    ht_graph_forward(b->g, &run);
}

static void unmake(struct bench *b)
{
    ht_graph_destroy(b->g);
    finish(&b->f);
}

/* --- ternary --- */

static void check_twn(bool per_channel, bool power_of_two)
{
    struct bench b;
    make(&b, "ternary", 2, "twn", per_channel, power_of_two);
    for (int mode = HT_MODE_EVAL; mode <= HT_MODE_TRAIN; mode++) {
        for (size_t i = 0; i < ROWS * COLS; i++) /* the scale is of the weights as they are now */
            b.w[i] *= 1.5f;
        forward(&b, (enum ht_mode)mode);
        const size_t length = per_channel ? COLS : ROWS * COLS;
        for (size_t c = 0; c < b.q->channels; c++) {
            const float *w = b.w + c * length;
            double sum = 0, above = 0, count = 0;
            for (size_t i = 0; i < length; i++)
                sum += fabs((double)w[i]);
            const double delta = 0.7 * sum / (double)length;
            for (size_t i = 0; i < length; i++)
                if (fabs((double)w[i]) > delta) {
                    above += fabs((double)w[i]);
                    count++;
                }
            double alpha = above / count;
            if (power_of_two)
                alpha = exp2(rint(log2(alpha)));
            cr_assert_float_eq((double)b.y->scale[c], alpha, 1e-5 * alpha);
            for (size_t i = 0; i < length; i++) {
                const double x = (double)w[i];
                if (fabs(fabs(x) - delta) > 1e-5 * delta)
                    cr_assert_eq(b.y->value[c * length + i], x > delta ? 1 : x < -delta ? -1 : 0);
            }
        }
    }
    unmake(&b);
}

Test(ternary, scale_and_threshold_of_twn)
{
    for (int k = 0; k < 4; k++)
        check_twn(k % 2, k / 2);
    struct bench b;
    make(&b, "ternary", 2, "twn", true, false);
    memset(b.w, 0, COLS * sizeof *b.w);
    forward(&b, HT_MODE_TRAIN);
    cr_assert_eq(b.y->scale[0], HT_MIN_SCALE);
    for (size_t i = 0; i < COLS; i++)
        cr_assert_eq(b.y->value[i], 0);
    unmake(&b);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- codebook --- */

/* Lloyd's algorithm by full comparison, linear initialization. */
static void naive_kmeans(const float *w, size_t n, int count, double *c)
{
    double min = INFINITY, max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        min = fmin(min, (double)w[i]);
        max = fmax(max, (double)w[i]);
    }
    for (int k = 0; k < count; k++)
        c[k] = min + k * (max - min) / (count - 1);
    for (int iteration = 0; iteration < 100; iteration++) {
        double sum[16] = {0}, weight[16] = {0};
        for (size_t i = 0; i < n; i++) {
            int best = 0;
            for (int k = 1; k < count; k++)
                if (fabs((double)w[i] - c[k]) < fabs((double)w[i] - c[best]))
                    best = k;
            sum[best] += (double)w[i];
            weight[best]++;
        }
        for (int k = 0; k < count; k++)
            c[k] = weight[k] > 0 ? sum[k] / weight[k] : c[k];
    }
}

Test(codebook, starts_from_kmeans)
{
    for (int bits = 1; bits <= 4; bits++) {
        struct bench b;
        double c[16], most = 0;
        make(&b, "codebook", bits, "kmeans", false, false);
        naive_kmeans(b.w, ROWS * COLS, 1 << bits, c);
        forward(&b, HT_MODE_TRAIN);
        for (int k = 0; k < 1 << bits; k++) {
            cr_assert_float_eq((double)b.q->centroid[k], c[k], 1e-4, "%d bits, %d: %g %g", bits, k,
                               (double)b.q->centroid[k], c[k]);
            most = fmax(most, fabs((double)b.q->centroid[k]));
        }
        cr_assert_float_eq((double)b.y->scale[0], most / 127, 1e-6 * most);
        cr_assert_eq(b.q->grid.n_levels, 1 << bits);
        for (int k = 0; k < 1 << bits; k++)
            cr_assert_eq(b.q->grid.level[k], rint((double)(b.q->centroid[k] / b.y->scale[0])));
        for (size_t i = 0; i < ROWS * COLS; i++)
            cr_assert_eq(b.y->value[i], naive_round(b.q, (double)(b.w[i] / b.y->scale[0])));
        const float first = b.q->centroid[0];
        b.w[0] = -1000;
        forward(&b, HT_MODE_TRAIN);
        cr_assert_eq(b.q->centroid[0], first, "k-means is for the start only");
        unmake(&b);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Centroids in any order, in one place, all zero, not a number. */
Test(codebook, any_centroids_give_levels)
{
    static const struct {
        float centroid[4];
        int n, level[4];
    } cases[] = {
        {{0.5f, -1, 0.25f, 1}, 4, {-127, 32, 64, 127}},
        {{1, 1, 1.001f, -1}, 2, {-127, 127}},
        {{2, 4, 6, 8}, 4, {32, 64, 95, 127}},
        {{-8, -2, -2, -4}, 3, {-127, -64, -32}},
        {{0, 0, 0, 0}, 1, {0}},
        {{0.1f, -12.7f, 0.25f, 0.05f}, 4, {-127, 0, 1, 2}},
        {{NAN, 1, 0, -1}, 3, {-127, 0, 127}},
        {{INFINITY, 1, 0, -1}, 2, {-127, 0}}, /* inf / inf */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench b;
        make(&b, "codebook", 2, "kmeans", false, false);
        forward(&b, HT_MODE_TRAIN);
        memcpy(b.q->centroid, cases[i].centroid, sizeof cases[i].centroid);
        forward(&b, HT_MODE_EVAL);
        cr_assert_eq(b.q->grid.n_levels, cases[i].n, "%zu: %d levels", i, b.q->grid.n_levels);
        for (int k = 0; k < cases[i].n; k++) {
            const int level = b.q->grid.level[k];
            cr_assert_eq(level, cases[i].level[k], "%zu, %d: %d", i, k, level);
        }
        unmake(&b);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Two centroids on one level: the first of them gets the gradient. */
Test(codebook, gradients_of_centroids_are_sums)
{
    struct bench b;
    float sums[4] = {0};
    const float dy[6] = {1, 2, 4, 8, 16, 32}, levels[6] = {127, -127, 127, 64, 64, -127};
    const int8_t bytes[6] = {127, -127, 127, 64, 64, -127};
    make(&b, "codebook", 2, "kmeans", false, false);
    forward(&b, HT_MODE_TRAIN);
    memcpy(b.q->centroid, (const float[]){0.5f, 1, 1.001f, -1}, 4 * sizeof(float));
    forward(&b, HT_MODE_EVAL);
    ht_codebook_add(b.q, levels, dy, 6, sums);
    cr_assert(sums[0] == 24 && sums[1] == 5 && sums[2] == 0 && sums[3] == 34);
    ht_codebook_add_bytes(b.q, bytes, dy, 6, sums);
    cr_assert(sums[0] == 48 && sums[1] == 10 && sums[2] == 0 && sums[3] == 68);
    unmake(&b);
}

/* --- bytes --- */

Test(tables, bytes_are_the_same_levels)
{
    static float x[777], level[777];
    static int8_t bytes[777];
    for (size_t k = 0; k < N_TABLES; k++) {
        struct ht_grid g;
        cr_assert_eq(ht_grid_init(&g, tables[k].name, tables[k].bits, NULL), HT_OK);
        const struct ht_rounder r = ht_rounder_of_table(&g);
        for (size_t i = 0; i < 777; i++)
            x[i] = i % 5 ? (float)(0.3 * (uniform(k, i) * 2.2 - 1.1) * g.hi)
                         : 0.3f * 0.5f * (float)((int)(i % 140) - 70);
        x[3] = NAN;
        x[4] = INFINITY;
        x[5] = -INFINITY;
        for (size_t n = 1; n <= 777; n += 97) {
            ht_quantize_row(&r, x, 0.3f, n, level);
            ht_quantize_row_to_bytes(&r, x, 0.3f, n, bytes);
            for (size_t i = 0; i < n; i++)
                cr_assert(level[i] == (float)bytes[i] && ht_grid_has_level(&g, bytes[i]));
        }
        cr_assert(bytes[3] == g.lo && bytes[4] == g.hi && bytes[5] == g.lo);
    }
}

/* --- powers of two --- */

Test(power_of_two, nearest_in_the_logarithm)
{
    static const char *const ranges[] = {"min_max", "ema", "learned"};
    for (size_t i = 0; i < 200; i++) {
        struct bench b;
        make(&b, i % 2 ? "narrow" : "affine", 4, ranges[i % 3], i % 5 == 0, true);
        for (size_t k = 0; k < ROWS * COLS; k++)
            b.w[k] *= (float)exp2(40 * uniform(3, i) - 20);
        forward(&b, HT_MODE_TRAIN);
        for (size_t c = 0; c < b.q->channels; c++) {
            const double s = (double)b.q->scale[c], used = (double)b.y->scale[c];
            cr_assert_eq(used, exp2(rint(log2(s))), "%g: %g", s, used);
            if (i % 2 == 0 && i % 3 < 2) /* the zero point goes with the scale that is used */
                cr_assert_eq(b.q->zero_point[c],
                             naive_clamp(rint(-fmin(0, (double)b.q->min[c]) / used), 0, 15));
        }
        for (size_t k = 0; k < ROWS * COLS; k++) {
            const size_t c = b.q->channels == 1 ? 0 : k / COLS;
            const double z = (double)b.q->zero_point[c];
            const double level = rint((double)b.w[k] / (double)b.y->scale[c]);
            cr_assert_eq(b.y->value[k], naive_clamp(level, b.q->grid.lo - z, b.q->grid.hi - z));
        }
        unmake(&b);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* A learned scale that moves takes its power of two with it; the smallest scale is one. */
Test(power_of_two, follows_a_learned_scale)
{
    struct bench b;
    make(&b, "narrow", 4, "learned", false, true);
    forward(&b, HT_MODE_TRAIN);
    static const float scales[][2] = {{1, 1},          {1.41f, 1},           {1.42f, 2},
                                      {0.70f, 0.5},    {0.71f, 1},           {3e-3f, 0x1p-8f},
                                      {5e6f, 0x1p22f}, {0x1p-30f, 0x1p-30f}, {1e-12f, 0x1p-30f}};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        b.q->scale[0] = scales[i][0];
        forward(&b, HT_MODE_EVAL);
        cr_assert_eq(b.y->scale[0], scales[i][1], "%g: %g", (double)scales[i][0],
                     (double)b.y->scale[0]);
    }
    unmake(&b);
    /* A codebook rounds up, so that no centroid is clipped. */
    make(&b, "codebook", 2, "kmeans", false, true);
    forward(&b, HT_MODE_TRAIN);
    memcpy(b.q->centroid, (const float[]){-1, 0.5f, 1, 0}, 4 * sizeof(float));
    forward(&b, HT_MODE_EVAL);
    cr_assert_eq(b.y->scale[0], 0x1p-6f);
    cr_assert(b.q->grid.lo == -64 && b.q->grid.hi == 64 && b.q->grid.level[2] == 32);
    unmake(&b);
    cr_assert_eq(ht_alloc_live(), 0);
}
