/* Gradients of the quantized ops: of the surrogate with frozen rounding residuals
 * (docs/numerics.md, 9). The list is ops.inc, and an op without a case here does not link. */
#include "gradcheck.h"

#include "quant/group.h"
#include "quant/learned_bits.h"
#include "quant/quant_dense.h"

#define HT_OP(name) void gradcheck_##name(void);
#include "quant/ops.inc"
#undef HT_OP

#define HT_OP(name)                                                                                \
    Test(gradcheck, name)                                                                          \
    {                                                                                              \
        gradcheck_##name();                                                                        \
        cr_assert_eq(ht_alloc_live(), 0);                                                          \
    }
#include "quant/ops.inc"
#undef HT_OP

static const struct {
    const char *grid;
    int bits;
    bool floor, power_of_two;
} grids[] = {{"narrow", 4, false, false},
             {"affine", 4, false, false},
             {"full", 3, false, true},
             {"narrow", 8, true, false},
             {"affine", 8, true, false},
             {"zero_free", 3, false, false},
             {"binary", 1, false, false},
             {"zero_free", 1, false, true},
             {"full", 2, true, false},
             {"affine", 6, false, true},
             /* of weights only, from here on: N_GRIDS counts the others */
             {"pow2", 4, false, false},
             {"pow2_zero_free", 3, false, false},
             {"apot", 4, false, true},
             {"apot", 5, false, false},
             {"ternary", 2, false, false},
             {"ternary", 2, false, true},
             {"codebook", 3, false, false},
             {"codebook", 1, false, true},
             {"codebook", 4, false, false}};
#define N_ALL_GRIDS (sizeof grids / sizeof *grids)
#define N_GRIDS     ((size_t)10)

/* On every grid. dorefa and dsq have cases of their own; ewgs has no surrogate (test_estimator.c).
 */
static const char *const estimators[] = {"ste", "clipped_ste", "lsq", "lsq_plus", "pact"};
#define N_ESTIMATORS (sizeof estimators / sizeof *estimators)

static struct ht_quantizer make_quantizer(size_t grid, const char *range, const char *estimator,
                                          bool of_weights, bool per_channel, size_t rows)
{
    struct ht_quantizer q;
    struct ht_error err = {0};
    struct ht_quantizer_spec spec = {grids[grid].grid, range,
                                     estimator,        grids[grid].floor ? "floor" : "nearest_even",
                                     grids[grid].bits, per_channel,
                                     .momentum = 0.1,  .power_of_two = grids[grid].power_of_two};
    if (ht_range_of_grid(spec.grid))
        spec.range = ht_range_of_grid(spec.grid);
    spec.per_channel &= strcmp(spec.grid, "codebook") != 0;
    ASSERT_OK(ht_quantizer_init(&q, &spec, of_weights, rows, &err), err);
    q.scale_gradient_factor = 1;
    return q;
}

static ht_real *span(struct ht_params *p, const char *name)
{
    const struct ht_span *s = ht_params_find(p, name);
    cr_assert_not_null(s, "%s", name);
    return p->value + s->offset;
}

/* A range that is known: of `width` on the positive side. */
static void set_range(struct ht_quantizer *q, double width)
{
    for (size_t c = 0; c < q->channels; c++) {
        const double w = width * (1 + 0.1 * (double)c);
        q->zero_point[c] = q->grid.has_zero_point ? floor(q->grid.hi / 3.0) + (double)c : 0;
        q->scale[c] = w / (q->grid.hi - q->zero_point[c]);
        q->min[c] = q->scale[c] * (q->grid.lo - q->zero_point[c]);
        q->max[c] = w;
        if (q->threshold)
            q->threshold[c] = 0.3 * w;
    }
    for (int k = 0; q->centroid && k < 1 << q->grid.bits; k++) /* in any order */
        q->centroid[k] = width * sin(2.3 * k + 1);
    if (q->offset) /* between two zero points */
        q->offset[0] = -q->scale[0] * (q->zero_point[0] + 0.3);
    q->ready[0] = 1;
    ht_quantizer_refresh(q, HT_MODE_TRAIN);
}

/* x of n elements over the range and beyond it, away from where it clips. */
static void fill_for(const struct ht_quantizer *q, ht_real *x, size_t n, uint64_t seed)
{
    const size_t rows = q->channels / q->groups, length = n / rows;
    for (size_t i = 0; i < q->channels; i++) {
        const struct ht_row_part p = ht_quantizer_part(q, i / q->groups, i % q->groups, length);
        const struct ht_rounder r = ht_quantizer_rounder(q, p.channel);
        const double s = q->effective[p.channel], kinks[2] = {r.lo * s, r.hi * s};
        const double width = kinks[1] - kinks[0];
        test_fill(x + i / q->groups * length + p.at, p.n, seed + i, kinks[0] - 0.3 * width,
                  kinks[1] + 0.3 * width, kinks, 2, 0.03 * width);
    }
}

/* --- fake_quant, dequantize --- */

#define ROWS 5
#define COLS 7

struct one {
    struct ht_quantizer *q;
    bool dequantized;
};

static struct ht_node *build_one(struct ht_graph *g, const struct ht_params *p, void *user)
{
    const struct one *k = user;
    struct ht_node *y = ht_fake_quant(g, ht_graph_param(g, p, 0), k->q, p);
    return test_weigh(g, k->dequantized ? ht_dequantize(g, y) : y);
}

static struct gradcheck_result run_one(struct ht_quantizer q, bool dequantized, double width,
                                       const struct gradcheck_factor *factors)
{
    struct ht_params params = {0}, state = {0};
    struct ht_error err = {0};
    struct one k = {&q, dequantized};
    ht_params_declare(&params, "x", ROWS, COLS, 0, 0, 0);
    ht_quantizer_declare(&q, "q", &params, &state);
    ASSERT_OK(ht_params_allocate(&params, true, &err), err);
    ASSERT_OK(ht_params_allocate(&state, false, &err), err);
    ht_quantizer_bind(&q, &params, &state);
    set_range(&q, width);
    fill_for(&q, params.value, ROWS * COLS, 11);
    for (size_t c = 0; c < q.channels; c++) { /* seen before, so that no value is at a clip */
        q.min[c] *= 4;
        q.max[c] *= 4;
    }
    struct gradcheck c = {.build = build_one, .user = &k, .params = &params, .factors = factors};
    struct gradcheck_result r = gradcheck_run(&c);
    ht_params_finish(&params);
    ht_params_finish(&state);
    return r;
}

static void check_one(struct ht_quantizer q, bool dequantized, double width,
                      const struct gradcheck_factor *factors)
{
    struct gradcheck_result r = run_one(q, dequantized, width, factors);
    cr_assert(r.ok, "%s%d %s %s%s, %zu channels: off by %.3g at %s; surrogate off by %.3g",
              q.grid.name, q.grid.bits, q.range->name, q.estimator->name,
              q.of_weights ? " weights" : "", q.channels, r.worst, r.where, r.surrogate);
}

void gradcheck_fake_quant(void)
{
    for (size_t g = 0; g < N_ALL_GRIDS; g++)
        for (size_t e = 0; e < N_ESTIMATORS; e++)
            for (int kind = g < N_GRIDS ? 0 : 1; kind < 3; kind++) {
                /* activations; weights by tensor, channel */
                struct ht_quantizer q =
                    make_quantizer(g, "learned", estimators[e], kind > 0, kind == 2, ROWS);
                check_one(q, false, 0.9, NULL);
                check_one(q, false, 40, NULL);
                q = make_quantizer(g, "ema", estimators[e], kind > 0, kind == 2, ROWS);
                check_one(q, false, 0.9, NULL);
                /* The largest weight lies where min_max clips: a kink for those that clip. */
                q = make_quantizer(g, "min_max", estimators[e], kind > 0, kind == 2, ROWS);
                if (kind == 0 || q.estimator->identity)
                    check_one(q, false, 0.9, NULL);
            }
}

/* Weights through tanh; their largest magnitude is a constant of the surrogate. */
Test(gradcheck, dorefa)
{
    static const size_t of_weights[] = {0, 2, 3, 5, 8};
    for (size_t i = 0; i < sizeof of_weights / sizeof *of_weights; i++)
        for (int channel = 0; channel < 2; channel++)
            check_one(make_quantizer(of_weights[i], "min_max", "dorefa", true, channel, ROWS),
                      false, 0.9, NULL);
    struct ht_quantizer q = make_quantizer(1, "min_max", "dorefa", false, false, ROWS);
    q.fixed = true;
    check_one(q, false, 0.9, NULL);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* The soft steps bend at the levels: few bits, small steps, and values between levels. */
Test(gradcheck, dsq)
{
    static const size_t few_bits[] = {0, 1, 2, 5, 6, 7};
    static const double alphas[] = {0.05, 0.2, 0.7};
    for (size_t i = 0; i < sizeof few_bits / sizeof *few_bits; i++)
        for (size_t a = 0; a < 3; a++)
            for (int kind = 0; kind < 6; kind++) { /* with a learned alpha from 3 on */
                struct ht_params params = {0}, state = {0};
                struct ht_error err = {0};
                struct ht_quantizer q = make_quantizer(few_bits[i], "learned", "dsq", kind % 3 > 0,
                                                       kind % 3 == 2, ROWS);
                struct one k = {&q, false};
                q.parameter = ht_estimator_dsq_k(alphas[a]);
                q.first_softness = alphas[a];
                if (kind >= 3)
                    q.estimator = q.estimator->learns_shape;
                ht_params_declare(&params, "x", ROWS, COLS, 0, 0, 0);
                ht_quantizer_declare(&q, "q", &params, &state);
                ASSERT_OK(ht_params_allocate(&params, true, &err), err);
                ASSERT_OK(ht_params_allocate(&state, false, &err), err);
                ht_quantizer_bind(&q, &params, &state);
                set_range(&q, 0.9);
                const size_t length = ROWS * COLS / q.channels;
                for (size_t j = 0; j < ROWS * COLS; j++) {
                    const double u = ht_rng_uniform(5, HT_RNG_TEST, j), n = q.grid.n_levels + 3;
                    const double where = floor(u * n) - 2 + 0.1 + 0.8 * (u * n - floor(u * n));
                    const double level = q.grid.lo + q.grid.step * where;
                    params.value[j] = q.scale[j / length] * (level - q.zero_point[j / length]);
                }
                struct gradcheck c = {
                    .build = build_one, .user = &k, .params = &params, .step = 1e-4};
                gradcheck_assert(&c, q.grid.name);
                ht_params_finish(&params);
                ht_params_finish(&state);
            }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Weights with a scale for each group; the last group is shorter. */
static struct ht_quantizer make_groups(size_t grid, const char *range, const char *estimator,
                                       size_t rows, size_t columns, size_t group)
{
    struct ht_quantizer q = make_quantizer(grid, range, estimator, true, true, rows);
    struct ht_error err = {0};
    ASSERT_OK(ht_quantizer_divide(&q, columns, group, &err), err);
    return q;
}

static const size_t grids_with_room[] = {0, 5, 6, 8, 11};
#define N_WITH_ROOM (sizeof grids_with_room / sizeof *grids_with_room)

Test(gradcheck, groups)
{
    for (size_t i = 0; i < N_WITH_ROOM; i++)
        for (size_t group = 2; group <= 8; group += 3)
            for (size_t e = 0; e + 1 < N_ESTIMATORS; e++) { /* not pact */
                const size_t grid = grids_with_room[i];
                struct ht_quantizer q =
                    make_groups(grid, "learned", estimators[e], ROWS, COLS, group);
                check_one(q, false, 0.9, NULL);
                check_one(q, false, 40, NULL);
                check_one(make_groups(grid, "ema", estimators[e], ROWS, COLS, group), false, 0.9,
                          NULL);
            }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* A2Q: rows of weights, their norms and scales, where the norm is free and where it is held. The
 * penalty is not part of the function (test_a2q.c). */
static void check_a2q(size_t grid, double log_norm, uint64_t seed)
{
    struct ht_params params = {0}, state = {0};
    struct ht_error err = {0};
    ht_real zero_point = 3;
    struct ht_quantizer input = {.zero_point = &zero_point};
    struct ht_quantizer q = make_quantizer(grid, "learned", "a2q", true, true, ROWS);
    struct one k = {&q, false};
    ASSERT_OK(ht_grid_init(&input.grid, "affine", 4, &err), err);
    q.input = &input;
    q.accumulator_bits = 8; /* budget 10 */
    q.penalty = 0;
    ht_params_declare(&params, "x", ROWS, COLS, 0, 0, 0);
    ht_quantizer_declare(&q, "q", &params, &state);
    ASSERT_OK(ht_params_allocate(&params, true, &err), err);
    ASSERT_OK(ht_params_allocate(&state, false, &err), err);
    ht_quantizer_bind(&q, &params, &state);
    set_range(&q, 0.9);
    for (size_t c = 0; c < ROWS; c++) {
        q.norm[c] = log2(q.scale[c]) + log_norm + 0.1 * (double)c;
        double nearest = 0;
        do { /* no weight at 0 or where it clips */
            ht_real *x = params.value + c * COLS;
            nearest = INFINITY;
            test_fill(x, COLS, seed += 100, -1, 1, (const double[]){0}, 1, 0.1);
            ht_quantizer_prepare(&q, c, x, COLS);
            for (size_t i = 0; i < COLS; i++)
                nearest = fmin(nearest, fabs(fabs(x[i] * q.max[c] / q.scale[c]) - q.grid.hi));
        } while (nearest < 0.05);
    }
    struct gradcheck c = {.build = build_one, .user = &k, .params = &params, .step = 1e-4};
    gradcheck_assert(&c, "a2q");
    ht_params_finish(&params);
    ht_params_finish(&state);
}

Test(gradcheck, a2q)
{
    for (uint64_t seed = 1; seed < 6; seed++)
        for (int held = 0; held < 2; held++) {
            check_a2q(0, held ? 5 : 2.5, seed * 1000000); /* log2 10 = 3.3 */
            check_a2q(8, held ? 5 : 2.5, seed * 2000000); /* 2 bits: much is clipped */
        }
    cr_assert_eq(ht_alloc_live(), 0);
}

void gradcheck_dequantize(void)
{
    for (size_t g = 0; g < N_GRIDS; g++)
        check_one(make_quantizer(g, "learned", "lsq", false, false, ROWS), true, 0.9, NULL);
}

/* --- bits_quant --- */

static struct ht_node *build_bits(struct ht_graph *g, const struct ht_params *p, void *user)
{
    return test_weigh(g, ht_bits_quant(g, ht_graph_param(g, p, 0), user));
}

/* Values on both sides of both ends, none near them. */
void gradcheck_bits_quant(void)
{
    static const double widths[] = {2, 2.3, 3.4, 5.7, 8};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int kind = 0; kind < 4; kind++) {
            const bool of_weights = kind < 2;
            const size_t channels = kind == 1 ? ROWS : 1;
            struct ht_params params = {0};
            struct ht_learned_bits l;
            struct ht_error err = {0};
            ht_params_declare(&params, "x", ROWS, COLS, 0, 0, 0);
            ht_learned_bits_declare(&l, &params, "x", of_weights, channels, widths[w], 2);
            ASSERT_OK(ht_params_allocate(&params, true, &err), err);
            if (kind == 3)
                l.below = 0.3; /* as behind leaky_relu or gelu */
            for (size_t c = 0; c < channels; c++)
                ht_learned_bits_clip(&l)[c] = 0.8;
            const double kinks[] = {0.8, -0.8, 0, -0.24};
            test_fill(params.value, ROWS * COLS, 3 + w, -1.2, 1.2, kinks, 4, 0.02);
            struct gradcheck c = {.build = build_bits, .user = &l, .params = &params};
            gradcheck_assert(&c, of_weights ? "weights" : "activations");
            ht_params_finish(&params);
        }
}

/* --- soft_quant --- */

static struct ht_node *build_soft(struct ht_graph *g, const struct ht_params *p, void *user)
{
    const struct one *k = user;
    return test_weigh(g, ht_soft_quant(g, ht_graph_param(g, p, 0), k->q, p));
}

static void check_soft(struct ht_quantizer q, struct ht_run run, double step)
{
    struct ht_params params = {0}, state = {0};
    struct ht_error err = {0};
    struct one k = {&q, false};
    ht_params_declare(&params, "x", ROWS, COLS, 0, 0, 0);
    ht_quantizer_declare(&q, "q", &params, &state);
    ASSERT_OK(ht_params_allocate(&params, true, &err), err);
    ASSERT_OK(ht_params_allocate(&state, false, &err), err);
    ht_quantizer_bind(&q, &params, &state);
    set_range(&q, 0.9);
    fill_for(&q, params.value, ROWS * COLS, 17);
    struct gradcheck c = {
        .build = build_soft, .user = &k, .params = &params, .step = step, .run = run};
    struct gradcheck_result r = gradcheck_run(&c);
    cr_assert(r.ok, "%s%d %s %s, %zu channels: off by %.3g at %s; surrogate off by %.3g",
              q.grid.name, q.grid.bits, q.range->name, q.estimator->name, q.channels, r.worst,
              r.where, r.surrogate);
    ht_params_finish(&params);
    ht_params_finish(&state);
}

void gradcheck_soft_quant(void)
{
    static const struct {
        const char *estimator;
        double parameter, step;
    } annealed[] = {{"parq", 10, 0},
                    {"prox", 0.1, 0},
                    /* as steep as levels are near each other */
                    {"quantization_networks", 2, 2e-5}};
    for (size_t g = 0; g < N_GRIDS; g++)
        for (int kind = 0; kind < 3 && !grids[g].floor; kind++)
            for (size_t a = 0; a < sizeof annealed / sizeof *annealed; a++)
                for (int part = 0; part < 3; part++) {
                    const struct ht_run run = {.soft_share = 0.1 + 0.4 * part, .soft_epochs = part};
                    const char *range = part == 2 ? "ema" : "learned";
                    struct ht_quantizer q =
                        make_quantizer(g, range, annealed[a].estimator, kind > 0, kind == 2, ROWS);
                    q.parameter = annealed[a].parameter;
                    q.fixed = part == 2;
                    check_soft(q, run, annealed[a].step);
                }
    for (size_t group = 2; group < 7; group += 2)
        for (size_t a = 0; a < sizeof annealed / sizeof *annealed; a++) {
            struct ht_quantizer q =
                make_groups(0, "learned", annealed[a].estimator, ROWS, COLS, group);
            q.parameter = annealed[a].parameter;
            check_soft(q, (struct ht_run){.soft_share = 0.5}, annealed[a].step);
        }
}

/* LSQ sec. 2.2: 1 / sqrt(N Q_P), N weights that share the scale, or features. */
Test(factor, of_lsq)
{
    static const struct {
        bool of_weights, per_channel;
        double elements;
    } kinds[] = {{true, false, ROWS * COLS}, {true, true, COLS}, {false, false, COLS}};
    for (size_t k = 0; k < 3; k++)
        for (size_t g = 0; g < N_GRIDS; g++) {
            struct ht_quantizer q = make_quantizer(g, "learned", "lsq", kinds[k].of_weights,
                                                   kinds[k].per_channel, ROWS);
            if (q.grid.has_zero_point && kinds[k].per_channel)
                continue; /* one Q_P per channel: the factors differ */
            const double zero_point = q.grid.has_zero_point ? floor(q.grid.hi / 3.0) : 0;
            const struct gradcheck_factor factors[] = {
                {"q.scale", 1 / sqrt(kinds[k].elements * (q.grid.hi - zero_point))}, {NULL, 0}};
            q.scale_gradient_factor = 0;
            check_one(q, false, 0.9, factors);
        }
}

Test(factor, of_others_is_one)
{
    for (size_t e = 0; e < 2; e++) {
        struct ht_quantizer q = make_quantizer(0, "learned", estimators[e], true, false, ROWS);
        q.scale_gradient_factor = 0;
        check_one(q, false, 0.9, NULL);
    }
}

Test(factor, an_error_of_1e_4_is_found)
{
    struct ht_quantizer q = make_quantizer(0, "learned", "lsq", true, true, ROWS);
    q.scale_gradient_factor = 1.0001;
    struct gradcheck_result r = run_one(q, false, 0.9, NULL);
    cr_assert(!r.ok && r.worst > 0.9e-4 && r.worst < 1.1e-4, "%g", r.worst);
}

/* --- quant_dense --- */

#define BATCH 5
#define IN    7 /* odd, so that sums of odd levels are not 0, where relu has its kink */
#define OUT   4

struct dense {
    bool bias, batchnorm, frozen;
    struct ht_quantizer *x, *w, *out; /* out NULL: real output */
    double clamp_lo, clamp_hi;
    bool real; /* to look at what comes before the output quantizer */
    ht_real mean[OUT], var[OUT];
};

static struct ht_node *param(struct ht_graph *g, const struct ht_params *p, const char *name)
{
    const struct ht_span *s = ht_params_find(p, name);
    return s ? ht_graph_param(g, p, (int)(s - p->spans)) : NULL;
}

static struct ht_node *add_dense(struct ht_graph *g, const struct ht_params *p, struct dense *k,
                                 bool real)
{
    struct ht_quant_dense spec = {.has_bias = k->bias,
                                  .has_batchnorm = k->batchnorm,
                                  .momentum = 0.1,
                                  .epsilon = 1e-3,
                                  .running_mean = k->mean,
                                  .running_var = k->var,
                                  .clamp_lo = real ? -INFINITY : k->clamp_lo,
                                  .clamp_hi = real ? INFINITY : k->clamp_hi,
                                  .out = real ? NULL : k->out,
                                  .product_bound = 255 * 255};
    struct ht_node *x = ht_fake_quant(g, param(g, p, "x"), k->x, p);
    struct ht_node *w = ht_fake_quant(g, param(g, p, "w"), k->w, p);
    return ht_quant_dense(g, &spec, p, x, w, param(g, p, k->bias ? "bias" : "gamma"),
                          param(g, p, "beta"));
}

static struct ht_node *build_dense(struct ht_graph *g, const struct ht_params *p, void *user)
{
    struct dense *k = user;
    return test_weigh(g, add_dense(g, p, k, k->out == NULL));
}

/* The smallest distance of a value in front of the activation from one of the kinks, as a share of
 * the output's range; 1 when there is none. */
static double distance(struct ht_params *p, struct dense *k)
{
    struct ht_error err = {0};
    struct ht_run run = {.mode = HT_MODE_TRAIN, .freeze_batchnorm = k->frozen};
    struct dense copy = *k; /* leaves the running statistics alone */
    if (!k->out)
        return 1;
    struct ht_graph *g = ht_graph_create(1);
    struct ht_node *y = add_dense(g, p, &copy, true);
    ht_graph_keep(g, y);
    ASSERT_OK(ht_graph_plan(g, NULL, 0, &err), err);
    ht_graph_forward(g, &run);
    const struct ht_rounder r = ht_quantizer_rounder(k->out, 0);
    const double s = k->out->effective[0];
    const double kinks[] = {r.lo * s, r.hi * s, k->clamp_lo, k->clamp_hi};
    double nearest = INFINITY;
    for (size_t i = 0; i < BATCH * OUT; i++)
        for (int j = 0; j < 4; j++)
            nearest = fmin(nearest, fabs(y->value[i] - kinks[j]));
    for (double level = r.lo; k->out->estimator->shape && level <= r.hi; level += k->out->grid.step)
        for (size_t i = 0; i < BATCH * OUT; i++) /* soft steps bend at every level */
            nearest = fmin(nearest, fabs(y->value[i] - level * s));
    ht_graph_destroy(g);
    return nearest / (s * (r.hi - r.lo));
}

static void declare_dense(const struct dense *k, struct ht_params *params, struct ht_params *state)
{
    struct ht_error err = {0};
    ht_params_declare(params, "x", BATCH, IN, 0, 0, 0);
    ht_params_declare(params, "w", OUT, IN, 0, 0, 0);
    if (k->bias)
        ht_params_declare(params, "bias", 1, OUT, 0, 0, 0);
    if (k->batchnorm) {
        ht_params_declare(params, "gamma", 1, OUT, 0, 0, 0);
        ht_params_declare(params, "beta", 1, OUT, 0, 0, 0);
    }
    ht_quantizer_declare(k->x, "sx", params, state);
    ht_quantizer_declare(k->w, "sw", params, state);
    if (k->out)
        ht_quantizer_declare(k->out, "sy", params, state);
    ASSERT_OK(ht_params_allocate(params, true, &err), err);
    ASSERT_OK(ht_params_allocate(state, false, &err), err);
    ht_quantizer_bind(k->x, params, state);
    ht_quantizer_bind(k->w, params, state);
    if (k->out)
        ht_quantizer_bind(k->out, params, state);
}

static void fill_dense(struct dense *k, struct ht_params *p, uint64_t seed)
{
    set_range(k->x, 1.5);
    set_range(k->w, 0.8);
    if (k->out)
        set_range(k->out, 1.31);
    fill_for(k->x, span(p, "x"), BATCH * IN, seed);
    fill_for(k->w, span(p, "w"), OUT * IN, seed + 100);
    if (k->bias)
        test_fill(span(p, "bias"), OUT, seed + 1, -1, 1, NULL, 0, 0);
    if (k->batchnorm) {
        test_fill(span(p, "gamma"), OUT, seed + 2, 0.4, 1.2, NULL, 0, 0);
        test_fill(span(p, "beta"), OUT, seed + 3, -0.5, 0.5, NULL, 0, 0);
    }
    test_fill(k->mean, OUT, seed + 4, -1, 1, NULL, 0, 0);
    test_fill(k->var, OUT, seed + 5, 0.5, 3, NULL, 0, 0);
}

static void check_dense(struct dense k, const struct gradcheck_factor *factors)
{
    struct ht_params params = {0}, state = {0};
    struct ht_quantizer x = *k.x, w = *k.w, out;
    k.x = &x;
    k.w = &w;
    if (k.out) {
        out = *k.out;
        k.out = &out;
    }
    declare_dense(&k, &params, &state);
    uint64_t seed = 0;
    do { /* values in front of a clamp cannot be chosen: draw until none is near a kink */
        fill_dense(&k, &params, seed += 1000);
        cr_assert_lt(seed, 2000000u, "no place without kinks");
    } while (distance(&params, &k) < 0.012);
    /* Where nothing reaches pact's alpha, differences of 0 are compared with the loss. */
    const double tolerance = k.out && k.out->estimator->real_residual ? 1e-6 : 3e-8;
    struct gradcheck c = {.build = build_dense,
                          .user = &k,
                          .params = &params,
                          .step = 2e-4, /* up to four scales and gains act on one value */
                          .tolerance = tolerance,
                          .factors = factors,
                          .run = {.freeze_batchnorm = k.frozen}};
    struct gradcheck_result r = gradcheck_run(&c);
    cr_assert(r.ok,
              "%s%s%s, x %s, w %s %zu, out %s %s %s in %g..%g: off by %.3g at %s; surrogate off "
              "by %.3g",
              k.bias ? "bias" : "", k.batchnorm ? "batchnorm" : "", k.frozen ? " frozen" : "",
              k.x->grid.name, k.w->grid.name, k.w->channels, k.out ? k.out->grid.name : "real",
              k.out ? k.out->range->name : "", k.out ? k.out->estimator->name : "", k.clamp_lo,
              k.clamp_hi, r.worst, r.where, r.surrogate);
    ht_params_finish(&params);
    ht_params_finish(&state);
}

/* Nothing, bias, batchnorm, frozen batchnorm. */
static struct dense dense_form(int form)
{
    return (struct dense){.bias = form == 1, .batchnorm = form >= 2, .frozen = form == 3};
}

static const double clamps[3][2] = {{-INFINITY, INFINITY}, {0, INFINITY}, {0, 0.9}};

void gradcheck_quant_dense(void)
{
    for (int form = 0; form < 4; form++)
        for (size_t g = 0; g < N_GRIDS; g++) {
            const bool channel = g % 2;
            struct ht_quantizer x =
                make_quantizer((g + 1) % N_GRIDS, "learned", "lsq", false, false, BATCH);
            struct ht_quantizer w = make_quantizer(g, "learned", "lsq", true, channel, OUT);
            struct dense k = dense_form(form);
            k.x = &x;
            k.w = &w;
            k.clamp_lo = -INFINITY;
            k.clamp_hi = INFINITY;
            check_dense(k, NULL);
            w = make_quantizer(N_GRIDS + g % (N_ALL_GRIDS - N_GRIDS), "learned", "lsq", true,
                               channel, OUT);
            check_dense(k, NULL);
            for (size_t e = 0; e < N_ESTIMATORS; e++)
                for (size_t clamp = 0; clamp < 3; clamp++) {
                    if (clamp == 2 && strcmp(estimators[e], "pact") == 0)
                        continue; /* nothing reaches its alpha: a gradient of 0 */
                    struct ht_quantizer out =
                        make_quantizer((g + e + clamp) % N_GRIDS, e ? "learned" : "ema",
                                       estimators[e], false, false, BATCH);
                    k.out = &out;
                    k.clamp_lo = clamps[clamp][0];
                    k.clamp_hi = clamps[clamp][1];
                    out.fixed = true; /* what training sees would move the kinks */
                    check_dense(k, NULL);
                }
        }
}

/* Its output learns scale, lower clip and alpha. */
Test(gradcheck, dsq_in_quant_dense)
{
    static const size_t few_bits[] = {1, 2, 5};
    for (size_t g = 0; g < 3; g++)
        for (int form = 1; form < 4; form++) {
            struct ht_quantizer x = make_quantizer(0, "learned", "lsq", false, false, BATCH);
            struct ht_quantizer w = make_quantizer(0, "learned", "lsq", true, true, OUT);
            struct ht_quantizer out = make_quantizer(few_bits[g], form == 3 ? "ema" : "learned",
                                                     "dsq", false, false, BATCH);
            struct dense k = dense_form(form);
            out.estimator = out.estimator->learns_shape;
            out.first_softness = 0.3;
            out.fixed = true;
            k.x = &x;
            k.w = &w;
            k.out = &out;
            k.clamp_lo = -INFINITY;
            k.clamp_hi = INFINITY;
            check_dense(k, NULL);
        }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(gradcheck, groups_in_quant_dense)
{
    for (int form = 0; form < 4; form++)
        for (size_t i = 0; i < N_WITH_ROOM; i++) {
            struct ht_quantizer x = make_quantizer(0, "learned", "lsq", false, false, BATCH);
            struct ht_quantizer w =
                make_groups(grids_with_room[i], "learned", "lsq", OUT, IN, 2 + i % 3);
            struct ht_quantizer out = make_quantizer(1, "learned", "lsq", false, false, BATCH);
            struct dense k = dense_form(form);
            k.x = &x;
            k.w = &w;
            k.out = i % 2 ? &out : NULL;
            k.clamp_lo = -INFINITY;
            k.clamp_hi = INFINITY;
            check_dense(k, NULL);
        }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* The output's scale counts its features, as LSQ says. */
Test(factor, of_lsq_in_quant_dense)
{
    struct ht_quantizer x = make_quantizer(0, "learned", "lsq", false, false, BATCH);
    struct ht_quantizer w = make_quantizer(0, "learned", "lsq", true, true, OUT);
    struct ht_quantizer out = make_quantizer(0, "learned", "lsq", false, false, BATCH);
    struct dense k = dense_form(1);
    const struct gradcheck_factor factors[] = {{"sx.scale", 1 / sqrt(IN * 7.0)},
                                               {"sw.scale", 1 / sqrt(IN * 7.0)},
                                               {"sy.scale", 1 / sqrt(OUT * 7.0)},
                                               {NULL, 0}};
    x.scale_gradient_factor = w.scale_gradient_factor = out.scale_gradient_factor = 0;
    k.x = &x;
    k.w = &w;
    k.out = &out;
    k.clamp_lo = -INFINITY;
    k.clamp_hi = INFINITY;
    check_dense(k, factors);
}
