/* Scales of groups: against loops that follow the text of docs/numerics.md, section 7. */
#include "quant_support.h"

#include "quant/group.h"

#define ROWS 5
#define COLS 77 /* the last group is shorter */

struct bench {
    struct fixture f;
    struct ht_graph *g;
    struct ht_node *y;
    struct ht_quantizer *q;
    float *x;
};

static void make(struct bench *b, const char *grid, int bits, const char *range, size_t group)
{
    struct ht_error err = {0};
    struct ht_quantizer_spec spec = spec_of(grid, bits, range, "nearest_even", true);
    memset(b, 0, sizeof *b);
    ht_params_declare(&b->f.params, "x", ROWS, COLS, 0, 0, 0);
    b->q = &b->f.q[b->f.n++];
    ASSERT_OK(ht_quantizer_init(b->q, &spec, true, ROWS, &err), err);
    ASSERT_OK(ht_quantizer_divide(b->q, COLS, group, &err), err);
    ht_quantizer_declare(b->q, "q", &b->f.params, &b->f.state);
    ready(&b->f);
    b->x = values(&b->f, "x");
    for (size_t i = 0; i < ROWS * COLS; i++) /* groups of very different size */
        b->x[i] = (float)((uniform(3, i) - 0.5) * (1 + (double)(i % COLS / 16)));
    b->g = ht_graph_create(1);
    b->y = ht_fake_quant(b->g, leaf(b->g, &b->f, "x"), b->q, &b->f.params);
    ht_graph_keep(b->g, b->y);
    ASSERT_OK(ht_graph_plan(b->g, NULL, 0, &err), err);
}

static void drop(struct bench *b)
{
    ht_graph_destroy(b->g);
    finish(&b->f);
}

/* The scale of one group, from its weights. */
static float scale_of(const struct ht_quantizer *q, const float *x, size_t n)
{
    float most = 0;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(x[i]));
        sum += (double)fabsf(x[i]);
    }
    const double mean = sum / (double)n, reach = q->grid.hi > 1 ? q->grid.hi : 1;
    if (q->grid.n_levels == 2)
        return (float)mean;
    return q->range->learned ? (float)(2 * mean / sqrt(reach)) : most / (float)q->grid.hi;
}

static void check(const char *grid, int bits, const char *range, size_t group)
{
    struct bench b;
    struct ht_run run = {.mode = HT_MODE_TRAIN};
    make(&b, grid, bits, range, group);
    const size_t groups = (COLS + group - 1) / group;
    const int reach = b.q->grid.hi > -b.q->grid.lo ? b.q->grid.hi : -b.q->grid.lo;
    const int most = 127 / reach;
    int different = 0;
    ht_graph_forward(b.g, &run);
    cr_assert_eq(b.y->n_scale, ROWS);
    cr_assert_eq(b.q->channels, ROWS * groups);
    cr_assert_eq(ht_quantizer_bound(b.q), reach * most);
    for (size_t row = 0; row < ROWS; row++) {
        float largest = 0;
        for (size_t g = 0; g < groups; g++) {
            const size_t at = g * group, n = at + group < COLS ? group : COLS - at;
            const float s = scale_of(b.q, b.x + row * COLS + at, n),
                        got = b.q->scale[row * groups + g];
            cr_assert_float_eq(got, s, 1e-6f * s, "%s%d row %zu group %zu: %g, not %g", grid, bits,
                               row, g, (double)got, (double)s);
            largest = fmaxf(largest, got);
        }
        const float unit = largest / (float)most;
        cr_assert_eq(b.y->scale[row], unit);
        for (size_t k = 0; k < COLS; k++) {
            const size_t c = row * groups + k / group;
            const float m = fmaxf(1, fminf((float)most, rintf(b.q->scale[c] / unit)));
            const float u = b.x[row * COLS + k] / (m * unit);
            const double code =
                naive_clamp(naive_round(b.q, (double)u), b.q->grid.lo, b.q->grid.hi);
            different += m != (float)most;
            cr_assert_eq(b.y->value[row * COLS + k], (float)code * m, "%s%d row %zu, %zu", grid,
                         bits, row, k);
        }
    }
    cr_assert_gt(different, ROWS * COLS / 4, "%s%d: groups differ", grid, bits);
    drop(&b);
}

Test(group, levels_and_scales)
{
    static const struct {
        const char *grid;
        int bits;
    } all[] = {{"full", 2},      {"full", 6},   {"narrow", 2}, {"narrow", 4},
               {"narrow", 5},    {"narrow", 6}, {"binary", 1}, {"zero_free", 2},
               {"zero_free", 4}, {"pow2", 3},   {"apot", 4}};
    static const size_t groups[] = {1, 7, 32, 64};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
            check(all[i].grid, all[i].bits, "learned", groups[g]);
            check(all[i].grid, all[i].bits, "min_max", groups[g]);
        }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* One group that is a whole row is the row's own scale, up to a rounding of the unit. */
Test(group, of_a_whole_row)
{
    struct bench b;
    make(&b, "narrow", 4, "min_max", 256);
    ht_graph_forward(b.g, &(struct ht_run){.mode = HT_MODE_EVAL});
    for (size_t row = 0; row < ROWS; row++) {
        cr_assert_eq(b.q->group_scale[row], 18);
        for (size_t k = 0; k < COLS; k++)
            cr_assert_eq(b.y->value[row * COLS + k] / 18,
                         rintf(b.x[row * COLS + k] / b.q->scale[row]));
    }
    drop(&b);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* What training may make of scales: group scales stay whole numbers in their range. */
Test(group, wild_scales)
{
    static const float wild[] = {1e-9f, 1, 1e30f, NAN, INFINITY, 0.3f};
    struct bench b;
    make(&b, "narrow", 3, "learned", 32);
    for (size_t k = 0; k < 216; k++) {
        const float scales[3] = {wild[k % 6], wild[k / 6 % 6], wild[k / 36]};
        memcpy(b.q->scale, scales, sizeof scales);
        ht_group_refresh(b.q, 0, HT_MODE_TRAIN);
        for (size_t g = 0; g < 3; g++) {
            const float m = b.q->group_scale[g];
            cr_assert(m >= 1 && m <= 42 && m == rintf(m), "%g of %g %g %g", (double)m,
                      (double)scales[0], (double)scales[1], (double)scales[2]);
        }
        cr_assert_geq(b.q->unit[0], HT_MIN_SCALE);
    }
    drop(&b);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* LSQ sec. 2.2: N is the number of weights in the group, which is less in the last one. */
Test(group, gradient_of_lsq_counts_the_group)
{
    struct bench b;
    make(&b, "narrow", 4, "learned", 32);
    for (size_t c = 0; c < ROWS * 3; c++)
        cr_assert_float_eq(ht_quantizer_scale_gradient(b.q, c, 1, ROWS, COLS),
                           (float)(1 / sqrt((c % 3 == 2 ? 13 : 32) * 7.0)), 1e-7f);
    drop(&b);
}

Test(group, what_has_no_room_is_refused)
{
    static const struct {
        const char *grid, *range;
        int bits;
        bool power_of_two;
        size_t group;
        const char *message;
    } cases[] = {{"narrow", "learned", 7, false, 32, "narrow with 7 bits leaves no room"},
                 {"full", "learned", 7, false, 32, "full with 7 bits leaves no room"},
                 {"affine", "learned", 4, false, 32, "affine with 4 bits leaves no room"},
                 {"pow2", "learned", 4, false, 32, "pow2 with 4 bits leaves no room"},
                 {"apot", "learned", 5, false, 32, "apot with 5 bits leaves no room"},
                 {"narrow", "learned", 4, true, 32, "real scales"},
                 {"narrow", "learned", 4, false, 0, "groups of 0 weights"},
                 {"narrow", "learned", 4, false, 257, "groups of 257 weights"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ht_quantizer q;
        struct ht_error err = {0};
        struct ht_quantizer_spec spec =
            spec_of(cases[i].grid, cases[i].bits, cases[i].range, "nearest_even", true);
        spec.power_of_two = cases[i].power_of_two;
        ASSERT_OK(ht_quantizer_init(&q, &spec, true, ROWS, &err), err);
        cr_assert_eq(ht_quantizer_divide(&q, COLS, cases[i].group, &err), HT_ERR_CONFIG);
        cr_assert_not_null(strstr(err.msg, cases[i].message), "'%s'", err.msg);
    }
}

/* The largest that times any level is int8 without -128, for every grid there is. */
Test(group, largest_scales)
{
    size_t n;
    const char *const *names = ht_grid_names(&n);
    for (size_t i = 0; i < n; i++)
        for (int bits = 1; bits <= 8; bits++) {
            struct ht_grid g;
            if (ht_grid_init(&g, names[i], bits, NULL) != HT_OK)
                continue;
            const int most = ht_grid_max_group_scale(&g);
            if (g.has_zero_point || g.lo < -127) {
                cr_assert_eq(most, 0, "%s%d", names[i], bits);
                continue;
            }
            bool one_more_is_too_much = false;
            for (unsigned code = 0; code < 1u << bits; code++) {
                if (!ht_grid_code_valid(&g, code))
                    continue;
                cr_assert_leq(abs(ht_grid_level(&g, code) * most), 127);
                one_more_is_too_much |= abs(ht_grid_level(&g, code) * (most + 1)) > 127;
            }
            cr_assert(one_more_is_too_much, "%s%d", names[i], bits);
        }
}
