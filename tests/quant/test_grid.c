#include "support.h"

#include "quant/grid.h"

/* lo and hi of every width, written out from docs/numerics.md, section 1. */
static const struct {
    const char *name;
    int bits, lo, hi, step, n_levels;
} expected[] = {
    {"full", 2, -2, 1, 1, 4},           {"full", 3, -4, 3, 1, 8},
    {"full", 4, -8, 7, 1, 16},          {"full", 5, -16, 15, 1, 32},
    {"full", 6, -32, 31, 1, 64},        {"full", 7, -64, 63, 1, 128},
    {"full", 8, -128, 127, 1, 256},     {"narrow", 2, -1, 1, 1, 3},
    {"narrow", 3, -3, 3, 1, 7},         {"narrow", 4, -7, 7, 1, 15},
    {"narrow", 5, -15, 15, 1, 31},      {"narrow", 6, -31, 31, 1, 63},
    {"narrow", 7, -63, 63, 1, 127},     {"narrow", 8, -127, 127, 1, 255},
    {"affine", 2, 0, 3, 1, 4},          {"affine", 3, 0, 7, 1, 8},
    {"affine", 4, 0, 15, 1, 16},        {"affine", 5, 0, 31, 1, 32},
    {"affine", 6, 0, 63, 1, 64},        {"affine", 7, 0, 127, 1, 128},
    {"affine", 8, 0, 255, 1, 256},      {"binary", 1, -1, 1, 2, 2},
    {"zero_free", 1, -1, 1, 2, 2},      {"zero_free", 2, -3, 3, 2, 4},
    {"zero_free", 3, -7, 7, 2, 8},      {"zero_free", 4, -15, 15, 2, 16},
    {"pow2", 2, -1, 1, 0, 3},           {"pow2", 3, -4, 4, 0, 7},
    {"pow2", 4, -64, 64, 0, 15},        {"pow2_zero_free", 2, -2, 2, 0, 4},
    {"pow2_zero_free", 3, -8, 8, 0, 8}, {"apot", 3, -4, 4, 0, 7},
    {"apot", 4, -10, 10, 0, 15},        {"apot", 5, -48, 48, 0, 31},
    {"ternary", 2, -1, 1, 0, 3},        {"codebook", 1, -127, 127, 0, 2},
    {"codebook", 2, -127, 127, 0, 4},   {"codebook", 3, -127, 127, 0, 8},
    {"codebook", 4, -127, 127, 0, 16},
};

Test(grid, levels_of_every_width)
{
    struct ht_error err;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        struct ht_grid g;
        ASSERT_OK(ht_grid_init(&g, expected[i].name, expected[i].bits, &err), err);
        cr_assert_str_eq(g.name, expected[i].name);
        cr_assert_eq(g.bits, expected[i].bits);
        cr_assert_eq(g.lo, expected[i].lo, "%s %d", g.name, g.bits);
        cr_assert_eq(g.hi, expected[i].hi, "%s %d", g.name, g.bits);
        cr_assert_eq(g.step, expected[i].step);
        cr_assert_eq(g.n_levels, expected[i].n_levels);
        cr_assert_eq(g.has_zero_point, strcmp(g.name, "affine") == 0);
    }
}

Test(grid, codes_and_levels_are_inverse)
{
    struct ht_error err;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        struct ht_grid g;
        int seen[256] = {0}, valid = 0;
        ASSERT_OK(ht_grid_init(&g, expected[i].name, expected[i].bits, &err), err);
        for (int k = 0; k < g.n_levels; k++) {
            const int level = g.step ? g.lo + k * g.step : g.level[k];
            cr_assert(k == 0 || g.step || level > g.level[k - 1]);
            cr_assert(ht_grid_has_level(&g, level));
            unsigned code = ht_grid_code(&g, level);
            cr_assert_lt(code, 1u << g.bits);
            cr_assert_eq(seen[code]++, 0);
            cr_assert(ht_grid_code_valid(&g, code));
            cr_assert_eq(ht_grid_level(&g, code), level, "%s %d: %d", g.name, g.bits, level);
        }
        for (unsigned code = 0; code < 1u << g.bits; code++)
            valid += ht_grid_code_valid(&g, code);
        cr_assert_eq(valid, g.n_levels);
        cr_assert_not(ht_grid_code_valid(&g, 1u << g.bits));
    }
}

Test(grid, codes_are_the_patterns_that_files_hold)
{
    struct ht_error err;
    struct ht_grid g;
    ASSERT_OK(ht_grid_init(&g, "narrow", 4, &err), err);
    cr_assert_eq(ht_grid_code(&g, -7), 9u);
    cr_assert_eq(ht_grid_code(&g, 7), 7u);
    cr_assert_not(ht_grid_code_valid(&g, 8u)); /* -8 */
    ASSERT_OK(ht_grid_init(&g, "zero_free", 2, &err), err);
    cr_assert_eq(ht_grid_code(&g, -3), 0u);
    cr_assert_eq(ht_grid_code(&g, 1), 2u);
    ASSERT_OK(ht_grid_init(&g, "binary", 1, &err), err);
    cr_assert_eq(ht_grid_level(&g, 0), -1);
    cr_assert_eq(ht_grid_level(&g, 1), 1);
}

/* The powers of two, and the sums of docs/numerics.md, built here a second time. */
Test(grid, levels_of_tables)
{
    static const struct {
        const char *name;
        int bits;
        double unit, a[4], b[4]; /* magnitudes: unit * (an a + a b) */
    } sums[] = {
        {"pow2", 2, 1, {0, 1}, {0}},
        {"pow2", 3, 4, {0, 1, 0.5, 0.25}, {0}},
        {"apot", 3, 8, {0, 0.5, 0.25, 0.125}, {0}},
        {"apot", 4, 16, {0, 0.5, 0.25, 0.0625}, {0, 0.125}},
        {"apot", 5, 64, {0, 0.5, 0.125, 0.03125}, {0, 0.25, 0.0625, 0.015625}},
        {"pow2_zero_free", 2, 2, {1, 0.5, 1, 1}, {0}},
        {"pow2_zero_free", 3, 8, {1, 0.5, 0.25, 0.125}, {0}},
    };
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        struct ht_grid g;
        struct ht_error err;
        bool wanted[255] = {false};
        int n = 0;
        ASSERT_OK(ht_grid_init(&g, sums[i].name, sums[i].bits, &err), err);
        for (int a = 0; a < 4; a++)
            for (int b = 0; b < 4; b++) {
                const int level = (int)(sums[i].unit * (sums[i].a[a] + sums[i].b[b]));
                wanted[127 + level] = wanted[127 - level] = true;
            }
        for (int level = -127; level <= 127; level++) {
            cr_assert_eq(ht_grid_has_level(&g, level), wanted[127 + level], "%s%d: %d", g.name,
                         g.bits, level);
            n += wanted[127 + level];
        }
        cr_assert_eq(n, g.n_levels);
    }
    struct ht_grid g;
    cr_assert_eq(ht_grid_init(&g, "pow2", 4, NULL), HT_OK);
    for (int k = 0; k < 7; k++)
        cr_assert(g.level[8 + k] == 1 << k && g.level[6 - k] == -(1 << k));
    cr_assert_eq(g.level[7], 0);
    cr_assert_eq(ht_grid_level(&g, 15), 64, "an unused code gives the last level");
}

Test(grid, codebooks_take_levels)
{
    struct ht_grid g, before;
    cr_assert_eq(ht_grid_init(&g, "codebook", 2, NULL), HT_OK);
    cr_assert(ht_grid_set_levels(&g, (int[]){-127, 0, 5}, 3));
    cr_assert(g.n_levels == 3 && g.lo == -127 && g.hi == 5 && g.level[3] == 5 && g.level[31] == 5);
    cr_assert(ht_grid_code(&g, 0) == 1 && ht_grid_code_valid(&g, 2) && !ht_grid_code_valid(&g, 3));
    before = g;
    cr_assert_not(ht_grid_set_levels(&g, (int[]){0}, 0));
    cr_assert_not(ht_grid_set_levels(&g, (int[]){0, 1, 2, 3, 4}, 5));
    cr_assert_not(ht_grid_set_levels(&g, (int[]){3, 3}, 2));
    cr_assert_not(ht_grid_set_levels(&g, (int[]){4, 3}, 2));
    cr_assert_not(ht_grid_set_levels(&g, (int[]){-128, 3}, 2));
    cr_assert_not(ht_grid_set_levels(&g, (int[]){-1, 128}, 2));
    cr_assert_eq(memcmp(&g, &before, sizeof g), 0);
    cr_assert_eq(ht_grid_init(&g, "pow2", 2, NULL), HT_OK);
    cr_assert_not(ht_grid_set_levels(&g, (int[]){1, 2}, 2));
}

Test(grid, refusals_name_what_is_wrong)
{
    struct ht_error err = {0};
    struct ht_grid g = {.bits = 77};
    cr_assert_eq(ht_grid_init(&g, "narow", 4, &err), HT_ERR_CONFIG);
    cr_assert_not_null(strstr(err.msg, "did you mean 'narrow'"), "%s", err.msg);
    cr_assert_eq(ht_grid_init(&g, "", 4, &err), HT_ERR_CONFIG);
    cr_assert_eq(g.bits, 77, "untouched on failure");
    static const struct {
        const char *name;
        int bits;
    } bad[] = {{"full", 1},           {"full", 9},     {"narrow", 1},    {"affine", 1},
               {"affine", 9},         {"binary", 2},   {"zero_free", 5}, {"zero_free", 0},
               {"binary", 0},         {"full", -1},    {"pow2", 1},      {"pow2", 5},
               {"pow2_zero_free", 4}, {"apot", 2},     {"apot", 6},      {"ternary", 1},
               {"ternary", 3},        {"codebook", 0}, {"codebook", 5}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_eq(ht_grid_init(&g, bad[i].name, bad[i].bits, &err), HT_ERR_CONFIG, "%s %d",
                     bad[i].name, bad[i].bits);
        cr_assert_not_null(strstr(err.msg, bad[i].name), "%s", err.msg);
    }
    cr_assert_eq(ht_grid_init(&g, "full", 9, NULL), HT_ERR_CONFIG);
}

Test(grid, every_listed_name_works)
{
    size_t n;
    const char *const *names = ht_grid_names(&n);
    cr_assert_eq(n, 10u);
    for (size_t i = 0; i < n; i++) {
        struct ht_grid g;
        int widths = 0;
        for (int bits = 1; bits <= 8; bits++)
            widths += ht_grid_init(&g, names[i], bits, NULL) == HT_OK;
        cr_assert_gt(widths, 0);
    }
}
