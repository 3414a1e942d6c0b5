/* The float arithmetic of dynamic, weight-only and float16 layers, by itself. */
#include "quant_support.h"

#include "quant/dynamic.h"
#include "quant/half.h"

/* float16, read by its definition. */
static double half_value(unsigned bits)
{
    const int exponent = (int)(bits >> 10 & 31), fraction = (int)(bits & 1023);
    const double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return bits & 0x8000 ? -v : v;
}

/* All finite ones and back. */
Test(half, all_numbers)
{
    for (unsigned bits = 0; bits < 65536; bits++) {
        if (!ht_half_is_finite((uint16_t)bits)) {
            cr_assert_not(isfinite(ht_half_to_float((uint16_t)bits)));
            continue;
        }
        const float x = ht_half_to_float((uint16_t)bits);
        cr_assert_eq((double)x, half_value(bits), "%x", bits);
        cr_assert_eq(signbit(x) != 0, bits >> 15, "%x", bits);
        cr_assert_eq(ht_half_of_float(x), bits, "%x: %x", bits, ht_half_of_float(x));
    }
}

/* The nearest, and of two the even one: halfway between neighbours, and a float to both sides. */
Test(half, rounds_to_nearest_even)
{
    for (unsigned bits = 0; bits < 0x7bff; bits++) {
        const double low = half_value(bits), high = half_value(bits + 1);
        const float middle = (float)((low + high) / 2); /* exact: 12 bits of fraction */
        const unsigned even = bits & 1 ? bits + 1 : bits;
        cr_assert_eq(ht_half_of_float(middle), even, "%x", bits);
        cr_assert_eq(ht_half_of_float(nextafterf(middle, 0)), bits, "%x", bits);
        cr_assert_eq(ht_half_of_float(nextafterf(middle, INFINITY)), bits + 1, "%x", bits);
        cr_assert_eq(ht_half_of_float(-middle), even | 0x8000, "%x", bits);
    }
    cr_assert_eq(ht_half_of_float(65519.99f), 0x7bff);
    cr_assert_eq(ht_half_of_float(65520), 0x7bff); /* not infinity */
    cr_assert_eq(ht_half_of_float(-1e30f), 0xfbff);
    cr_assert_eq(ht_half_of_float(-INFINITY), 0xfbff);
    cr_assert(isnan(ht_half_to_float(ht_half_of_float(NAN))));
    cr_assert_eq(ht_half_of_float(1e-30f), 0);
    cr_assert_eq(ht_half_of_float(-1e-30f), 0x8000);
}

static struct ht_grid grid_of(const char *name, int bits)
{
    struct ht_grid g;
    cr_assert_eq(ht_grid_init(&g, name, bits, NULL), HT_OK);
    return g;
}

/* Scale and zero point by the formulas, and values that come back within half a step. */
Test(rows, scale_and_levels)
{
    static const struct {
        const char *grid;
        int bits;
    } forms[] = {{"affine", 8}, {"affine", 2}, {"narrow", 8}, {"full", 4}, {"narrow", 2}};
    float x[45], level[45];
    for (uint64_t seed = 0; seed < 500; seed++) {
        const struct ht_grid g = grid_of(forms[seed % 5].grid, forms[seed % 5].bits);
        const size_t n = 1 + seed % 45;
        const double lo = seed % 3 ? -1.5 : 0, hi = seed % 7 ? 2 : 0;
        float min = 0, max = 0;
        for (size_t i = 0; i < n; i++) {
            x[i] = (float)(lo + (hi - lo) * ht_rng_uniform(seed, HT_RNG_TEST, i));
            min = x[i] < min ? x[i] : min;
            max = x[i] > max ? x[i] : max;
        }
        const struct ht_row_scale s = ht_row_levels(&g, HT_ROUND_NEAREST_EVEN, x, n, level);
        float expected = g.has_zero_point ? (max - min) / (float)(g.hi - g.lo)
                                          : (max > -min ? max : -min) / (float)g.hi;
        const int zero_point = g.has_zero_point && expected > 0
                                   ? (int)rint((double)((float)g.lo - min / expected))
                                   : 0;
        expected = expected > 0x1p-30f ? expected : 0x1p-30f;
        cr_assert_eq(s.scale, expected, "seed %d", (int)seed);
        cr_assert_eq(s.zero_point, zero_point, "seed %d", (int)seed);
        for (size_t i = 0; i < n; i++) {
            const float raw = level[i] + (float)s.zero_point;
            cr_assert(raw >= (float)g.lo && raw <= (float)g.hi && raw == rintf(raw));
            cr_assert_leq(fabsf(level[i] * s.scale - x[i]), 0.5001f * s.scale, "seed %d",
                          (int)seed);
        }
    }
}

/* Zeros, what is not finite, and what is too large to count. */
Test(rows, corners)
{
    const struct ht_grid affine = grid_of("affine", 8), narrow = grid_of("narrow", 8);
    const float zeros[3] = {0, -0.0f, 0};
    float level[3];
    struct ht_row_scale s = ht_row_levels(&affine, HT_ROUND_NEAREST_EVEN, zeros, 3, level);
    cr_assert_eq(s.scale, 0x1p-30f);
    cr_assert_eq(s.zero_point, 0);
    cr_assert_eq(level[0], 0);
    const float wild[3] = {INFINITY, -1, 1e30f};
    s = ht_row_levels(&narrow, HT_ROUND_NEAREST_EVEN, wild, 3, level);
    cr_assert_eq(s.scale, 0x1p64f / 127);
    cr_assert_eq(level[0], 127);
    cr_assert_eq(level[1], 0);
    const float both[2] = {INFINITY, -INFINITY};
    s = ht_row_levels(&affine, HT_ROUND_NEAREST_EVEN, both, 2, level);
    cr_assert(s.zero_point == 127 || s.zero_point == 128);
    cr_assert_eq(level[0] - level[1], 255);
    const float no_number[2] = {NAN, 3};
    s = ht_row_scale(&narrow, no_number, 2);
    cr_assert_eq(s.scale, 3.0f / 127);
}

/* Close to the sum in double, and exact on whole numbers. */
Test(ordered, products)
{
    static float x[3 * 1100], w[4 * 1100], y[3 * 5];
    for (size_t k = 1; k <= 1100; k += k < 40 ? 1 : 53) {
        for (size_t i = 0; i < 4 * k; i++) {
            w[i] = (float)ht_rng_below(2, HT_RNG_TEST, i + k, 255) - 127;
            if (i < 3 * k)
                x[i] = (float)(ht_rng_uniform(3, HT_RNG_TEST, i + k) - 0.5);
        }
        memset(y, 0, sizeof y);
        ht_ordered_products(x, 3, w, 4, k, y, 5);
        for (size_t i = 0; i < 3; i++)
            for (size_t j = 0; j < 4; j++) {
                double sum = 0, size = 0;
                for (size_t c = 0; c < k; c++) {
                    sum += (double)x[i * k + c] * (double)w[j * k + c];
                    size += fabs((double)x[i * k + c] * (double)w[j * k + c]);
                }
                /* a lane has at most 32 products, then 4 + 3 more sums; 2^-24 each */
                cr_assert_float_eq((double)y[i * 5 + j], sum, 40 * 0x1p-24 * size, "k %zu", k);
            }
        cr_assert_eq(y[4], 0, "beside the outputs");
        for (size_t i = 0; i < 3 * k; i++)
            x[i] = (float)ht_rng_below(4, HT_RNG_TEST, i, 16);
        ht_ordered_products(x, 3, w, 4, k, y, 5);
        for (size_t j = 0; j < 4; j++) {
            double sum = 0;
            for (size_t c = 0; c < k; c++)
                sum += (double)x[c] * (double)w[j * k + c];
            cr_assert_eq((double)y[j], sum);
        }
    }
}
