/* What was trained is what ships: the evaluation graph against the lowered, saved, loaded and
 * integer-run model, level for level and bit for bit (docs/numerics.md). */
#include "parity_support.h"

#include "layers/accumulators.h"

/* --- random models over the whole matrix --- */

struct dice {
    uint64_t seed, n;
};

static size_t throw(struct dice * d, size_t n)
{
    return (size_t)ht_rng_below(d->seed, HT_RNG_STREAM(HT_RNG_TEST, 1), d->n++, n);
}

#define PICK(d, ...)                                                                               \
    (((const char *[]){                                                                            \
        __VA_ARGS__})[throw(d, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *))])

static const char *pick_grid(struct dice *d, int bits, bool weights)
{
    if (bits == 1)
        return PICK(d, "binary", "zero_free");
    if (weights && bits == 8)
        return PICK(d, "narrow", "affine");
    if (weights && bits == 2 && throw(d, 2))
        return PICK(d, "pow2", "pow2_zero_free", "ternary", "codebook");
    if (weights && bits == 3 && throw(d, 2))
        return PICK(d, "pow2", "pow2_zero_free", "apot", "codebook");
    if (weights && bits == 4 && throw(d, 2))
        return PICK(d, "pow2", "apot", "codebook");
    if (bits > 4)
        return PICK(d, "full", "narrow", "affine", "affine");
    return PICK(d, "full", "narrow", "affine", "zero_free");
}

static struct ht_quantizer_spec pick_quantizer(struct dice *d, int bits, bool weights)
{
    struct ht_quantizer_spec q = {.bits = bits, .momentum = 0.3, .rounding = "nearest_even"};
    q.grid = pick_grid(d, bits, weights);
    q.range = PICK(d, "min_max", "ema", "learned", "learned", "percentile", "kl", "mse", "octav");
    q.estimator = strcmp(q.range, "learned") == 0 ? PICK(d, "lsq", "lsq_plus", "ewgs", "dsq")
                                                  : PICK(d, "ste", "clipped_ste", "ewgs");
    q.delta = 0.1;
    q.softness = 0.2;
    q.learn_shape = throw(d, 2);
    q.steepness = 10;
    q.strength = 0.5;
    q.temperature = 3;
    q.clip_start = 2;
    const bool affine = strcmp(q.grid, "affine") == 0;
    if (!weights && affine && throw(d, 5) == 0) {
        q.range = PICK(d, "learned", "min_max");
        q.estimator = strcmp(q.range, "learned") == 0 ? "pact" : "dorefa";
    } else if (weights && !affine && bits > 1 && throw(d, 5) == 0) {
        q.range = "min_max";
        q.estimator = "dorefa";
    }
    q.per_channel = weights && throw(d, 2);
    q.power_of_two = throw(d, 4) == 0;
    struct ht_grid g;
    cr_assert_eq(ht_grid_init(&g, q.grid, bits, NULL), HT_OK);
    if (g.step == 1 && throw(d, 3) == 0)
        q.rounding = "floor";
    q.per_channel &= !g.learned;
    if (ht_range_of_grid(q.grid)) {
        q.range = ht_range_of_grid(q.grid);
        q.estimator = PICK(d, "ste", "clipped_ste");
    }
    if (strcmp(q.range, "learned") == 0 && g.step != 0 && throw(d, 4) == 0) {
        q.rounding = "nearest_even";
        q.estimator =
            weights ? PICK(d, "parq", "prox", "quantization_networks") : "quantization_networks";
    }
    if (g.step == 0 && strcmp(q.estimator, "dsq") == 0)
        q.estimator = "lsq";
    q.power_of_two &= strcmp(q.estimator, "dorefa") != 0;
    if (q.per_channel && !q.power_of_two && strcmp(q.estimator, "dorefa") != 0 &&
        ht_grid_max_group_scale(&g) >= 3 && throw(d, 2))
        q.group = 1 + throw(d, 24);
    return q;
}

static void pick_block(struct dice *d, struct ht_block_spec *b, size_t i, int w_bits, int a_bits)
{
    snprintf(b->name, sizeof b->name, "dense%zu", i + 1);
    b->units = throw(d, 4) ? 1 + throw(d, WIDTH) : 1;
    b->batchnorm = throw(d, 2);
    b->bias = throw(d, 2);
    b->momentum = 0.3;
    b->epsilon = 1e-5;
    b->init = PICK(d, "he", "xavier", "uniform");
    b->activation = a_bits == 1 ? PICK(d, "none", "none", "tanh", "relu")
                                : PICK(d, "relu", "relu", "relu6", "none", "leaky_relu", "tanh",
                                       "sigmoid", "gelu");
    b->slope = 0.1;
    b->dropout = throw(d, 6) == 0 ? 0.3 : 0;
    b->weights = pick_quantizer(d, w_bits, true);
    b->activations = pick_quantizer(d, a_bits, false);
}

static const struct {
    int weights, activations;
} widths[] = {{8, 8}, {4, 8}, {2, 8}, {1, 8}, {4, 4}, {2, 2}, {1, 1}, {3, 5}};
#define N_WIDTHS (sizeof widths / sizeof *widths)

static struct setup pick_setup(uint64_t seed, size_t width, bool mixed)
{
    struct dice d = {seed, 0};
    struct setup s = {.seed = seed, .steps = 4, .learning_rate = 0.02};
    s.spec.inputs = 1 + throw(&d, WIDTH);
    s.spec.n_blocks = 1 + throw(&d, MAX_BLOCKS);
    for (size_t i = 0; i < s.spec.n_blocks; i++) {
        const size_t k = mixed ? throw(&d, N_WIDTHS) : width;
        pick_block(&d, &s.blocks[i], i, widths[k].weights, widths[k].activations);
    }
    struct ht_block_spec *last = &s.blocks[s.spec.n_blocks - 1];
    s.spec.output = pick_quantizer(&d, 8, false);
    if (throw(&d, 3) > 0) { /* a real output has no activation */
        s.spec.output.bits = 32;
        last->activation = "none";
    }
    s.spec.input = pick_quantizer(&d, throw(&d, 3) ? 8 : 4, false);
    if (strcmp(s.spec.input.range, "learned") == 0 ||
        strcmp(s.spec.input.estimator, "dorefa") == 0) { /* so too what is annealed */
        s.spec.input.range = "min_max";
        s.spec.input.estimator = "ste";
    }
    s.spec.input_dropout = throw(&d, 6) == 0 ? 0.2 : 0;
    s.input_range_given = throw(&d, 2);
    s.input_lo = -1.5 * (double) throw(&d, 3) / 2;
    s.input_hi = throw(&d, 8) ? 1 + (double) throw(&d, 3) : -0.1;
    s.input_lo = s.input_hi < s.input_lo + 0.1 ? -2 : s.input_lo;
    s.freeze = throw(&d, 2);
    return s;
}

#define SEEDS     24
#define BY_CHANCE 5 /* and as many that round by chance */

static bool is_table(const struct ht_quantizer_spec *s)
{
    struct ht_grid g;
    cr_assert_eq(ht_grid_init(&g, s->grid, s->bits, NULL), HT_OK);
    return g.step == 0;
}

/* Then training and evaluation differ, but not evaluation and what ships. */
static void round_by_chance(struct setup *s)
{
    for (size_t i = 0; i < s->spec.n_blocks; i++) {
        struct ht_quantizer_spec *both[] = {&s->blocks[i].weights, &s->blocks[i].activations};
        for (int k = 0; k < 2; k++)
            if (strcmp(both[k]->rounding, "floor") != 0 && !is_table(both[k]) &&
                !ht_estimator_find(both[k]->estimator, true)->soft)
                both[k]->rounding = "stochastic";
    }
}

/* Models whose outputs all saturate would agree too easily. */
static void expect_lively(void)
{
    cr_assert_gt(tally.blocks, 0u);
    cr_assert_gt(tally.forms, 2u);
    cr_assert_gt(tally.lively * 2, tally.blocks, "%zu of %zu blocks give different levels",
                 tally.lively, tally.blocks);
}

static void check_width(size_t k)
{
    for (uint64_t seed = 0; seed < SEEDS + BY_CHANCE; seed++) {
        struct setup s = pick_setup(100 * k + seed, k, false);
        if (seed >= SEEDS)
            round_by_chance(&s);
        check(&s);
    }
    expect_lively();
    cr_assert_eq(ht_alloc_live(), 0);
}

#define WIDTH_TEST(name, k)                                                                        \
    Test(parity, name)                                                                             \
    {                                                                                              \
        check_width(k);                                                                            \
    }
WIDTH_TEST(w8a8, 0)
WIDTH_TEST(w4a8, 1)
WIDTH_TEST(w2a8, 2)
WIDTH_TEST(w1a8, 3)
WIDTH_TEST(w4a4, 4)
WIDTH_TEST(w2a2, 5)
WIDTH_TEST(w1a1, 6)
WIDTH_TEST(w3a5, 7)

Test(parity, mixed_precision)
{
    for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
        struct setup s = pick_setup(5000 + seed, 0, true);
        check(&s);
    }
    expect_lively();
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(parity, places_of_buffers_change_nothing)
{
    ht_blas_init();
    for (uint64_t seed = 0; seed < 12; seed++) {
        struct ht_model *m[2];
        struct setup s = pick_setup(9000 + seed, 0, true);
        for (int i = 0; i < 2; i++) {
            plan_flags = i ? HT_PLAN_SEPARATE : 0;
            m[i] = make_model(&s);
            train(&s, m[i]);
        }
        expect_same(&s, m[0], m[0]->params.value, m[1]->params.value, m[0]->params.n, "parameters",
                    0);
        expect_same(&s, m[0], m[0]->state.value, m[1]->state.value, m[0]->state.n, "state", 0);
        ht_model_destroy(m[0]);
        ht_model_destroy(m[1]);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- extremes --- */

/* Two blocks between an 8-bit input and a real output, batch normalization or bias. */
static struct setup plain_setup(bool batchnorm, const char *range)
{
    struct setup s = {.seed = 77, .steps = 3, .learning_rate = 0.01, .input_hi = 1};
    const struct ht_quantizer_spec input = {"affine", "min_max", "ste",          "nearest_even",
                                            8,        0,         .momentum = 0.1};
    const bool learned = strcmp(range, "learned") == 0;
    struct ht_block_spec block = {.units = 23,
                                  .bias = !batchnorm,
                                  .batchnorm = batchnorm,
                                  .momentum = 0.1,
                                  .epsilon = 1e-5,
                                  .init = "he",
                                  .activation = "relu"};
    block.activations = (struct ht_quantizer_spec){
        "affine", learned ? range : "ema", learned ? "lsq" : "ste", "nearest_even", 8,
        false,    .momentum = 0.1};
    block.weights = (struct ht_quantizer_spec){
        "narrow", range, learned ? "lsq" : "ste", "nearest_even", 8, true, .momentum = 0.1};
    for (size_t i = 0; i < 3; i++) {
        s.blocks[i] = block;
        snprintf(s.blocks[i].name, sizeof block.name, "dense%zu", i + 1);
    }
    s.blocks[2].activation = "none";
    s.spec = (struct ht_model_spec){.inputs = 31, .n_blocks = 3, .input = input};
    s.spec.output.bits = 32;
    s.input_range_given = true;
    return s;
}

static float *param(struct ht_model *m, const char *name, size_t *n)
{
    const struct ht_span *span = ht_params_find(&m->params, name);
    struct ht_params *p = &m->params;
    if (!span) {
        p = &m->state;
        span = ht_params_find(p, name);
    }
    cr_assert_not_null(span, "%s", name);
    *n = span->n;
    return p->value + span->offset;
}

static void set(struct ht_model *m, const char *name, const float *values, size_t n_values)
{
    size_t n;
    float *v = param(m, name, &n);
    for (size_t i = 0; i < n; i++)
        v[i] = values[i % n_values];
}
#define SET(m, name, ...)                                                                          \
    set(m, name, (const float[]){__VA_ARGS__}, sizeof((const float[]){__VA_ARGS__}) / sizeof(float))

Test(parity, gains_at_their_minimum_and_dead_channels)
{
    for (int learned = 0; learned < 2; learned++) {
        struct setup s = plain_setup(true, learned ? "learned" : "min_max");
        size_t n;
        ht_blas_init();
        struct ht_model *m = make_model(&s);
        train(&s, m);
        SET(m, "dense1.gamma", 1e-5f, 1, 100);
        SET(m, "dense2.gamma", 1e-5f);
        SET(m, "dense1.running_var", 0, 1e-12f, 1, 1e12f);
        SET(m, "dense2.running_var", 0);
        SET(m, "dense3.running_mean", -1e6f, 0, 1e6f, 1e-30f);
        float *w = param(m, "dense1.weight", &n);
        memset(w, 0, n / 2 * sizeof *w); /* rows of zeros */
        memset(param(m, "dense2.weight", &n), 0, 3 * 23 * sizeof *w);
        expect_parity(&s, m);
        ht_model_destroy(m);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(parity, biases_that_saturate)
{
    static const char *const grids[] = {"narrow", "affine", "zero_free", "binary"};
    static const int bits[] = {8, 8, 4, 1};
    for (size_t g = 0; g < 4; g++)
        for (int round = 0; round < 2; round++) {
            struct setup s = plain_setup(false, g % 2 ? "min_max" : "learned");
            for (size_t i = 0; i < 3; i++) {
                s.blocks[i].weights.grid = grids[g];
                s.blocks[i].weights.bits = bits[g];
            }
            s.input_lo = -1;
            ht_blas_init();
            struct ht_model *m = make_model(&s);
            train(&s, m);
            if (round == 0) {
                SET(m, "dense1.bias", 1e30f, -1e30f, 0.5f, INFINITY, -INFINITY, 1e6f);
                SET(m, "dense3.bias", 3e38f, -3e38f, 1, -1e9f);
            } else {
                SET(m, "dense2.bias", 1e5f, -1e5f, 2e4f, -2e4f, 1e4f, 5e4f);
            }
            expect_parity(&s, m);
            ht_model_destroy(m);
        }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(parity, scales_far_from_one)
{
    static const float scales[] = {9.313225746154785e-10f, 1e-6f, 1e-3f, 1, 1e3f, 1e6f};
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 6; j++)
            for (int batchnorm = 0; batchnorm < 2; batchnorm++) {
                struct setup s = plain_setup(batchnorm, "learned");
                s.steps = 1;
                ht_blas_init();
                struct ht_model *m = make_model(&s);
                train(&s, m);
                SET(m, "dense1.weight.scale", scales[i], 1e-2f);
                SET(m, "dense1.output.scale", scales[j]);
                SET(m, "dense2.weight.scale", scales[j]);
                SET(m, "dense2.output.scale", scales[i]);
                expect_parity(&s, m);
                ht_model_destroy(m);
            }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Every grid with room for the scales of groups, groups of many sizes, also one for a whole row. */
Test(parity, groups)
{
    static const struct {
        const char *grid;
        int bits;
    } all[] = {{"full", 2},      {"full", 3},   {"full", 6},   {"narrow", 2}, {"narrow", 3},
               {"narrow", 4},    {"narrow", 5}, {"narrow", 6}, {"binary", 1}, {"zero_free", 1},
               {"zero_free", 4}, {"pow2", 3},   {"apot", 4},   {"ternary", 2}};
    static const size_t groups[] = {1, 5, 8, 31, 256};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        for (size_t j = 0; j < sizeof groups / sizeof *groups; j++) {
            const bool learned = (k + j) % 2;
            struct setup s = plain_setup(j & 1, learned ? "learned" : "min_max");
            s.seed = 7 * k + j;
            for (size_t i = 0; i < 3; i++) {
                struct ht_quantizer_spec *w = &s.blocks[i].weights;
                w->grid = all[k].grid;
                w->bits = all[k].bits;
                w->group = groups[j];
                if (ht_range_of_grid(w->grid)) {
                    w->range = ht_range_of_grid(w->grid);
                    w->estimator = "ste";
                }
            }
            check(&s);
        }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Every table and width, by tensor and by channel, with and without batch normalization, scales as
 * they are and powers of two. */
Test(parity, tables)
{
    static const struct {
        const char *grid;
        int bits;
    } tables[] = {{"pow2", 2},           {"pow2", 3},     {"pow2", 4},     {"pow2_zero_free", 2},
                  {"pow2_zero_free", 3}, {"apot", 3},     {"apot", 4},     {"apot", 5},
                  {"ternary", 2},        {"codebook", 1}, {"codebook", 2}, {"codebook", 3},
                  {"codebook", 4}};
    ht_blas_init();
    for (size_t k = 0; k < sizeof tables / sizeof *tables; k++)
        for (int form = 0; form < 8; form++) {
            struct setup s = plain_setup(form & 1, form & 2 ? "learned" : "min_max");
            const char *own = ht_range_of_grid(tables[k].grid);
            s.seed = 31 * k + (uint64_t)form;
            for (size_t i = 0; i < 3; i++) {
                struct ht_quantizer_spec *w = &s.blocks[i].weights;
                w->grid = tables[k].grid;
                w->bits = tables[k].bits;
                w->per_channel = i % 2 && strcmp(w->grid, "codebook") != 0;
                w->power_of_two = s.blocks[i].activations.power_of_two = form & 4;
                if (own) {
                    w->range = own;
                    w->estimator = form & 2 ? "clipped_ste" : "ste";
                }
            }
            s.spec.input.power_of_two = form & 4;
            check(&s);
        }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Powers of two, so that accumulators times multipliers are exactly halves: every rounding of a
 * half has to go the same way. */
Test(parity, outputs_exactly_at_ties)
{
    static const struct {
        const char *grid, *rounding;
        int bits;
    } outputs[] = {{"affine", "nearest_even", 8},    {"affine", "floor", 8},
                   {"full", "nearest_even", 4},      {"narrow", "floor", 4},
                   {"zero_free", "nearest_even", 4}, {"binary", "nearest_even", 1},
                   {"narrow", "nearest_even", 8}};
    for (size_t k = 0; k < sizeof outputs / sizeof *outputs; k++) {
        struct setup s = plain_setup(false, "learned");
        for (size_t i = 0; i < 2; i++) {
            s.blocks[i].activation = "none";
            s.blocks[i].activations.grid = outputs[k].grid;
            s.blocks[i].activations.rounding = outputs[k].rounding;
            s.blocks[i].activations.bits = outputs[k].bits;
            s.blocks[i].weights.bits = 2;
        }
        s.spec.inputs = 6;
        s.input_lo = -1;
        ht_blas_init();
        struct ht_model *m = make_model(&s);
        train(&s, m);
        const struct ht_grid *g = &m->blocks[0].output.grid;
        /* acc * (2^-3 * 2^-1 / 2^-3): halves; odd levels have their ties at even numbers. */
        SET(m, "input.input.scale", 0.125f);
        SET(m, "dense1.weight.scale", g->step == 2 ? 1 : 0.5f);
        SET(m, "dense1.output.scale", 0.125f);
        SET(m, "dense2.weight.scale", g->step == 2 ? 1 : 0.5f);
        SET(m, "dense2.output.scale", 0.125f);
        size_t n, ties = 0;
        float *w = param(m, "dense1.weight", &n);
        for (size_t i = 0; i < n; i++)
            w[i] = (float)((int)(i * 7 % 3) - 1);
        struct network eval = make_network(m, false);
        float *x = test_inputs(&s);
        for (size_t b = 0; b < BATCH; b++)
            for (size_t j = 0; j < m->blocks[0].out; j++) {
                double acc =
                    rint((double)param(m, "dense1.bias", &n)[j] / (g->step == 2 ? 0.125 : 0.0625));
                for (size_t i = 0; i < m->inputs; i++)
                    acc += rint((double)x[b * m->inputs + i] * 8) * (double)w[j * m->inputs + i];
                ties += g->step == 2 ? fmod(acc, 2) == 0 : fmod(acc, 2) != 0;
            }
        cr_assert_gt(ties * 4, BATCH * m->blocks[0].out, "%zu ties", ties);
        free(x);
        ht_graph_destroy(eval.graph);
        expect_parity(&s, m);
        ht_model_destroy(m);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* 8 x 8 bits far beyond what one float32 product of matrices holds exactly. */
Test(parity, long_rows)
{
    struct setup s = plain_setup(false, "min_max");
    s.spec.inputs = 5000;
    s.spec.n_blocks = 1;
    s.blocks[0].activation = "none";
    s.blocks[0].weights.grid = "affine";
    s.steps = 0;
    size_t n;
    ht_blas_init();
    struct ht_model *m = make_model(&s);
    float *w = param(m, "dense1.weight", &n);
    for (size_t i = 0; i < n; i++)
        w[i] = i % 5000 < 4999 ? 1 + (float)(i / 5000) : 0.37f;
    SET(m, "dense1.bias", 0.1f, -3, 1000);
    s.input_lo = 0.9; /* nearly all codes at the top */
    expect_parity(&s, m);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Image bytes are the levels of an input in 0..1. */
Test(parity, bytes_are_levels)
{
    struct setup s = plain_setup(true, "learned");
    struct ht_error err = {0};
    struct ht_kernels kernels;
    struct ht_runtime *runtime;
    struct ht_runner *r;
    uint8_t bytes[BATCH * 31];
    float x[BATCH * 31], expected[BATCH * 23], y[BATCH * 23];
    s.spec.input_dropout = 0.3;
    s.spec.input.range = "ema"; /* known beforehand: training does not move it */
    ht_blas_init();
    ht_kernels_init(&kernels, HT_ISA_ALL);
    struct ht_model *m = make_model(&s);
    train(&s, m);
    struct ht_qmodel *q = ship(m);
    cr_assert_eq(q->input.quant.scale, 1.0f / 255, "training moved the input's range");
    cr_assert_eq(q->input.quant.zero_point, 0);
    ASSERT_OK(ht_runtime_create(&runtime, q, &kernels, &err), err);
    ASSERT_OK(ht_runner_create(&r, runtime, BATCH, NULL, &err), err);
    for (size_t i = 0; i < BATCH * 31; i++) {
        bytes[i] = (uint8_t)(i * 37);
        x[i] = (float)bytes[i] / 255.0f;
    }
    ht_runner_run(r, x, BATCH, expected);
    ht_runner_run_levels(r, bytes, BATCH, y);
    expect_same(&s, m, expected, y, BATCH * 23, "floats and bytes", 3);
    ht_runner_destroy(r);
    ht_runtime_destroy(runtime);
    ht_qmodel_destroy(q);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(parity, refusals)
{
    struct ht_error err = {0};
    struct ht_qmodel *q = NULL;
    struct setup s = plain_setup(true, "learned");
    struct ht_model *m = make_model(&s);
    cr_assert_eq(ht_qmodel_lower(&q, m, &err), HT_ERR_INTERNAL);
    cr_assert_not_null(strstr(err.msg, "range is not known"), "%s", err.msg);
    ht_model_destroy(m);
    s.spec.quantized = false;
    ASSERT_OK(ht_model_create(&m, &s.spec, &err), err);
    cr_assert_eq(ht_qmodel_lower(&q, m, &err), HT_ERR_CONFIG);
    ht_model_destroy(m);
    cr_assert_null(q);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- narrow accumulators --- */

static void use_a2q(struct ht_quantizer_spec *q, struct dice *d, int accumulator_bits)
{
    const bool full = q->bits < 8 && throw(d, 2);
    q->bits = q->bits == 1 ? 2 : q->bits;
    q->grid = full ? "full" : "narrow";
    q->range = "learned";
    q->estimator = "a2q";
    q->rounding = "nearest_even";
    q->per_channel = true;
    q->group = 0;
    q->power_of_two = false;
    q->accumulator_bits = accumulator_bits;
}

/* The worst that a row can do, from its codes: |a - z_a| times what is left of either sign. */
static void expect_fit(const struct ht_qmodel *q, int bits, double *fullest)
{
    const int64_t most = (INT64_C(1) << (bits - 1)) - 1;
    for (size_t i = 0; i < q->n_layers; i++) {
        const struct ht_qlayer *l = &q->layers[i];
        const struct ht_qactivation *a = ht_qlayer_input_quant(q, i);
        const int above = a->grid.hi - a->zero_point, below = a->zero_point - a->grid.lo;
        for (size_t n = 0; n < l->out; n++) {
            int64_t sum = 0;
            for (size_t k = 0; k < l->in; k++) {
                const unsigned code =
                    ht_unpack_code(l->weights.packed, n * l->in + k, l->weights.grid.bits);
                sum += llabs(ht_grid_level(&l->weights.grid, code));
            }
            sum *= above > below ? above : below;
            cr_assert_leq(sum, most, "layer %zu, neuron %zu: %lld in %d bits", i, n, (long long)sum,
                          bits);
            *fullest = fmax(*fullest, (double)sum / (double)most);
        }
        cr_assert_leq(ht_qlayer_accumulators(q, i).product_bits, bits);
    }
}

Test(parity, narrow_accumulators)
{
    double fullest = 0;
    for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
        struct dice d = {9000 + seed, 0};
        const int bits = 10 + (int) throw(&d, 15);
        struct setup s = pick_setup(9000 + seed, 0, true);
        struct ht_error err = {0};
        for (size_t i = 0; i < s.spec.n_blocks; i++)
            use_a2q(&s.blocks[i].weights, &d, bits);
        s.spec.accumulator_bits = bits;
        ht_blas_init();
        plan_flags = seed % 2 ? HT_PLAN_SEPARATE : 0;
        struct ht_model *m = make_model(&s);
        ASSERT_OK(ht_model_fit_accumulators(m, &err), err);
        train(&s, m);
        expect_parity(&s, m);
        struct ht_qmodel *q = ship(m);
        expect_fit(q, bits, &fullest);
        ht_qmodel_destroy(q);
        ht_model_destroy(m);
    }
    cr_assert_gt(fullest, 0.9, "nothing came near its bound: %g", fullest);
    cr_assert_eq(ht_alloc_live(), 0);
}
