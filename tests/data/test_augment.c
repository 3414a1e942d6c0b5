#include "data_support.h"

#include <math.h>

#include "data/loading.h"

#define SIDE   9
#define PIXELS (SIDE * SIDE)
#define N      40

static uint8_t pictures[N * PIXELS];

static void make_pictures(struct fixture *f)
{
    uint8_t raw[N * PIXELS + 16], labels[N];
    uint32_t sizes[3] = {N, SIDE, SIDE};
    fixture_init(f, "idx", "classification");
    for (size_t i = 0; i < sizeof pictures; i++)
        pictures[i] = (uint8_t)(1 + test_random(i, 255));
    for (size_t i = 0; i < N; i++)
        labels[i] = (uint8_t)(i % 2);
    fixture_file(f, "features", "x", raw, make_idx(raw, 8, 3, sizes, pictures, sizeof pictures));
    fixture_file(f, "labels", "y", raw, make_idx(raw, 8, 1, sizes, labels, N));
    f->options.test = 2;
    ASSERT_OK(fixture_load(f), f->err);
}

/* Whether x is picture i moved by (dx, dy). */
static bool is_moved(const float *x, size_t i, int dx, int dy)
{
    for (int r = 0; r < SIDE; r++)
        for (int c = 0; c < SIDE; c++) {
            int from_r = r - dy, from_c = c - dx;
            bool in = from_r >= 0 && from_c >= 0 && from_r < SIDE && from_c < SIDE;
            float b = in ? pictures[i * PIXELS + (size_t)(from_r * SIDE + from_c)] : 0;
            if (x[r * SIDE + c] != b / 255.0f)
                return false;
        }
    return true;
}

Test(augment, shifts_by_whole_pixels)
{
    static struct fixture f;
    static float x[N * PIXELS];
    uint32_t samples[N];
    size_t seen[5][5] = {{0}};
    struct ht_augment augment = {.shift = 2};
    make_pictures(&f);
    for (uint32_t i = 0; i < N; i++)
        samples[i] = i;
    for (uint64_t epoch = 0; epoch < 50; epoch++) {
        ht_dataset_features(f.data, samples, N, &augment, 1, epoch, x);
        for (size_t i = 0; i < N; i++) {
            int found = 0;
            for (int dy = -2; dy <= 2; dy++)
                for (int dx = -2; dx <= 2; dx++)
                    if (is_moved(x + i * PIXELS, i, dx, dy)) {
                        seen[dy + 2][dx + 2]++;
                        found++;
                    }
            cr_assert_eq(found, 1);
        }
    }
    /* 2,000 draws over 25 moves: 80 each, deviation 8.8; 5 of them */
    for (int k = 0; k < 25; k++)
        cr_assert(seen[k / 5][k % 5] > 36 && seen[k / 5][k % 5] < 124, "%zu", seen[k / 5][k % 5]);
    augment.shift = 0;
    ht_dataset_features(f.data, samples, N, &augment, 1, 0, x);
    for (size_t i = 0; i < N; i++)
        cr_assert(is_moved(x + i * PIXELS, i, 0, 0));
    fixture_finish(&f);
}

Test(augment, is_keyed_by_seed_epoch_and_sample)
{
    static struct fixture f;
    float a[4 * PIXELS], b[4 * PIXELS];
    const uint32_t samples[] = {3, 17, 4, 29}, turned[] = {29, 3};
    struct ht_augment augment = {.shift = 2, .rotation = 15};
    make_pictures(&f);
    ht_dataset_features(f.data, samples, 4, &augment, 1, 6, a);
    ht_dataset_features(f.data, turned, 2, &augment, 1, 6, b);
    cr_assert_eq(memcmp(a, b + PIXELS, sizeof(float) * PIXELS), 0, "in another batch");
    cr_assert_eq(memcmp(a + 3 * PIXELS, b, sizeof(float) * PIXELS), 0);
    ht_dataset_features(f.data, samples, 4, &augment, 1, 7, b);
    cr_assert_neq(memcmp(a, b, sizeof a), 0, "another epoch");
    ht_dataset_features(f.data, samples, 4, &augment, 2, 6, b);
    cr_assert_neq(memcmp(a, b, sizeof a), 0, "another seed");
    for (size_t i = 0; i < 4 * PIXELS; i++) { /* always a byte level */
        float level = a[i] * 255.0f;
        cr_assert(level >= 0 && level <= 255);
        cr_assert_eq(roundf(level) / 255.0f, a[i]);
    }
    fixture_finish(&f);
}

/* A quarter turn about the centre lands on pixels exactly, and so does none. */
Test(augment, rotates_about_the_centre)
{
    static struct fixture f;
    float x[PIXELS], table[256], values[PIXELS];
    make_pictures(&f);
    for (int b = 0; b < 256; b++)
        table[b] = (float)b;
    for (size_t i = 0; i < PIXELS; i++)
        values[i] = pictures[i];
    for (int quarter = 0; quarter < 4; quarter++) {
        static const double sines[] = {0, 1, 0, -1}, cosines[] = {1, 0, -1, 0};
        struct ht_motion m = {0, 0, sines[quarter], cosines[quarter], true};
        for (int whole = 0; whole < 2; whole++) {
            if (whole)
                ht_augment_bytes(&m, pictures, SIDE, SIDE, table, x);
            else
                ht_augment_values(&m, values, SIDE, SIDE, x);
            for (int r = 0; r < SIDE; r++)
                for (int c = 0; c < SIDE; c++) {
                    int from[4] = {r * SIDE + c, (SIDE - 1 - c) * SIDE + r,
                                   (SIDE - 1 - r) * SIDE + SIDE - 1 - c, c * SIDE + SIDE - 1 - r};
                    cr_assert_eq(x[r * SIDE + c], pictures[from[quarter]], "%d: %d %d", quarter, r,
                                 c);
                }
        }
    }
    fixture_finish(&f);
}

/* The sum of angles drawn is near 0 and they fill the range. */
Test(augment, draws_angles_from_the_whole_range)
{
    struct ht_augment augment = {.rotation = 30};
    double sum = 0, low = 1, high = -1;
    for (uint32_t i = 0; i < 4000; i++) {
        struct ht_motion m;
        ht_augment_draw(&m, &augment, 1, 0, i);
        double angle = asin(m.sine) * 180 / 3.14159265358979;
        cr_assert(m.rotated && m.dx == 0 && m.dy == 0);
        cr_assert_float_eq(m.sine * m.sine + m.cosine * m.cosine, 1, 1e-12);
        sum += angle;
        low = angle < low ? angle : low;
        high = angle > high ? angle : high;
    }
    cr_assert(low > -30.001 && low < -29.9 && high < 30.001 && high > 29.9);
    cr_assert(fabs(sum / 4000) < 5 * 17.32 / 63.2); /* five standard errors */
}

Test(augment, smooth_pictures_turn_as_the_formula_says)
{
    /* A linear ramp is what bilinear interpolation reproduces exactly (to rounding). */
    float ramp[PIXELS], x[PIXELS];
    for (int r = 0; r < SIDE; r++)
        for (int c = 0; c < SIDE; c++)
            ramp[r * SIDE + c] = 100 + 3 * (float)(c - 4) + 5 * (float)(r - 4);
    double angle = 10 * 3.14159265358979 / 180;
    struct ht_motion m = {1, -1, sin(angle), cos(angle), true};
    ht_augment_values(&m, ramp, SIDE, SIDE, x);
    for (int r = 2; r < SIDE - 3; r++)
        for (int c = 3; c < SIDE - 2; c++) {
            double u = c - 4 - 1, v = r - 4 + 1; /* shifted back, then turned back */
            double from_c = cos(angle) * u + sin(angle) * v,
                   from_r = cos(angle) * v - sin(angle) * u;
            cr_assert_float_eq(x[r * SIDE + c], 100 + 3 * from_c + 5 * from_r, 1e-4);
        }
}
