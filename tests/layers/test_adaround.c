/* AdaRound against all roundings there are, in layers that are small enough. */
#include "support.h"

#include <math.h>

#include "autograd/activation.h"
#include "base/pool.h"
#include "base/rng.h"
#include "layers/calibration_run.h"
#include "quant/quant_dense.h"
#include "tensor/blas.h"

#define INPUTS  8
#define ROWS    32
#define BATCHES 3
#define SAMPLES (ROWS * BATCHES - ROWS / 2)

struct recipe {
    const char *grid, *range, *estimator, *activation;
    int bits;
    bool per_channel, batchnorm, power_of_two;
    size_t units[3]; /* of each block; 0: no more */
};

static double uniform(uint64_t seed, size_t i)
{
    return ht_rng_uniform(seed, HT_RNG_TEST, i);
}

static void fill(struct ht_model *m)
{
    for (size_t i = 0; i < m->n_blocks; i++) {
        const struct ht_block *b = &m->blocks[i];
        ht_real *p = m->params.value, *s = m->state.value;
        for (size_t n = 0; n < b->out; n++) {
            if (b->bias)
                p[m->params.spans[b->bias_span].offset + n] =
                    (float)(0.5 * uniform(20 + i, n) - 0.2);
            if (!b->batchnorm)
                continue;
            p[m->params.spans[b->gamma_span].offset + n] = (float)(0.5 + uniform(30 + i, n));
            p[m->params.spans[b->beta_span].offset + n] = (float)(uniform(40 + i, n) - 0.3);
            s[m->state.spans[b->mean_span].offset + n] = (float)(uniform(50 + i, n) - 0.5);
            s[m->state.spans[b->var_span].offset + n] = (float)(0.3 + uniform(60 + i, n));
        }
    }
}

static struct ht_model *make_model(const struct recipe *r)
{
    struct ht_block_spec blocks[3];
    const struct ht_range_stats input = {-1, 1, 0.5f};
    struct ht_model_spec spec = {.inputs = INPUTS, .blocks = blocks, .quantized = true};
    struct ht_error err = {0};
    struct ht_model *m;
    memset(blocks, 0, sizeof blocks);
    while (spec.n_blocks < 3 && r->units[spec.n_blocks]) {
        const size_t i = spec.n_blocks++;
        struct ht_block_spec *b = &blocks[i];
        const bool last = i == 2 || !r->units[i + 1];
        snprintf(b->name, sizeof b->name, "dense%zu", i + 1);
        b->units = r->units[i];
        b->bias = true;
        b->batchnorm = r->batchnorm && !last;
        b->epsilon = 1e-3;
        b->init = "he";
        b->activation = last ? "none" : r->activation;
        b->slope = 0.1;
        b->weights = (struct ht_quantizer_spec){.grid = r->grid,
                                                .range = r->range,
                                                .estimator = r->estimator,
                                                .rounding = "nearest_even",
                                                .bits = r->bits,
                                                .per_channel = r->per_channel,
                                                .power_of_two = r->power_of_two,
                                                .momentum = 0.1,
                                                .once = true};
        b->activations = (struct ht_quantizer_spec){.grid = "affine",
                                                    .range = "mse",
                                                    .estimator = "ste",
                                                    .rounding = "nearest_even",
                                                    .bits = 8,
                                                    .momentum = 0.1};
    }
    spec.input = (struct ht_quantizer_spec){.grid = "affine",
                                            .range = "min_max",
                                            .estimator = "ste",
                                            .rounding = "nearest_even",
                                            .bits = 8};
    spec.output.bits = 32;
    ht_blas_init();
    ASSERT_OK(ht_model_create(&m, &spec, &err), err);
    ht_model_initialize(m, 3);
    fill(m);
    ht_model_set_input_range(m, &input);
    return m;
}

/* The last batch is smaller. Inputs depend on each other, else to the nearest is best. */
static size_t load(void *user, size_t index, ht_real *x)
{
    const size_t rows = index + 1 == BATCHES ? ROWS / 2 : ROWS;
    (void)user;
    for (size_t b = 0; b < rows; b++) {
        const double common = uniform(99 + index, b);
        for (size_t k = 0; k < INPUTS; k++)
            x[b * INPUTS + k] =
                (float)(0.6 * common + 0.4 * (2 * uniform(100 + index, b * INPUTS + k) - 1));
    }
    return rows;
}

static const struct ht_calibration_data data = {BATCHES, ROWS, load, NULL};

/* --- what a layer sees, and what it should give --- */

struct seen {
    float *x, *target; /* [SAMPLES, in], [SAMPLES, out] */
};

static struct seen look(struct ht_model *rounded, struct ht_model *plain, size_t index)
{
    struct ht_calibration_run a, b;
    struct ht_error err = {0};
    const struct ht_block *block = &plain->blocks[index];
    struct seen s = {calloc(SAMPLES * block->in, sizeof(float)),
                     calloc(SAMPLES * block->out, sizeof(float))};
    ASSERT_OK(ht_calibration_run_init(&a, rounded, ROWS, HT_FORM_QUANTIZED, &err), err);
    ASSERT_OK(ht_calibration_run_init(&b, plain, ROWS, HT_FORM_FLOAT, &err), err);
    for (size_t i = 0, at = 0; i < BATCHES; i++) {
        const size_t rows = ht_calibration_run_batch(&a, &data, i);
        ht_calibration_run_entering(&a, rounded, index, rows, s.x + at * block->in);
        ht_calibration_run_batch(&b, &data, i);
        memcpy(s.target + at * block->out, b.blocks[index]->value,
               rows * block->out * sizeof(float));
        at += rows;
    }
    ht_calibration_run_finish(&a);
    ht_calibration_run_finish(&b);
    return s;
}

/* || f(W x) - f(W~ x~) ||^2 of one neuron, in plain words. */
static double loss(const struct ht_model *m, size_t index, const struct seen *s, size_t n,
                   const double *level)
{
    const struct ht_block *b = &m->blocks[index];
    const size_t c = b->weights.channels == 1 ? 0 : n;
    const struct ht_activation *f = ht_activation_find(b->activation->name);
    const float *p = m->params.value, *state = m->state.value;
    double sum = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        double z = 0;
        for (size_t k = 0; k < b->in; k++)
            z += (double)s->x[i * b->in + k] * level[k] * (double)b->weights.effective[c];
        if (b->bias)
            z += (double)p[m->params.spans[b->bias_span].offset + n];
        if (b->batchnorm)
            z = (z - (double)state[m->state.spans[b->mean_span].offset + n]) /
                    sqrt((double)state[m->state.spans[b->var_span].offset + n] + b->epsilon) *
                    (double)p[m->params.spans[b->gamma_span].offset + n] +
                (double)p[m->params.spans[b->beta_span].offset + n];
        const double y = f ? (double)f->value((float)z, (float)b->slope) : z;
        const double error = y - (double)s->target[i * b->out + n];
        sum += error * error;
    }
    return sum;
}

/* The levels below and above u, relative to the zero point; both the same beyond the ends. */
static void around(const struct ht_quantizer *q, size_t c, double u, double level[2])
{
    const double zero_point = (double)q->zero_point[c];
    level[0] = -INFINITY;
    level[1] = INFINITY;
    for (int l = q->grid.lo; l <= q->grid.hi; l++) {
        const double at = l - zero_point;
        if (!ht_grid_has_level(&q->grid, l))
            continue;
        level[0] = at <= u ? fmax(level[0], at) : level[0];
        level[1] = at > u ? fmin(level[1], at) : level[1];
    }
    level[0] = isinf(level[0]) ? level[1] : level[0];
    level[1] = isinf(level[1]) ? level[0] : level[1];
}

struct tally {
    double nearest, chosen, best;
    int rows, optimal;
};

static void check_row(struct ht_model *m, struct ht_model *plain, size_t index,
                      const struct seen *s, size_t n, struct tally *t)
{
    const struct ht_block *b = &m->blocks[index];
    const struct ht_quantizer *q = &b->weights;
    const size_t c = q->channels == 1 ? 0 : n,
                 at = m->params.spans[b->weight_span].offset + n * b->in;
    const struct ht_place_in_run eval = {NULL, 0};
    const float scale = q->effective[c];
    float nearest[64], found[64];
    double level[64], choice[64][2], best = INFINITY;
    ht_quantizer_levels(q, c, eval, plain->params.value + at, b->in, nearest);
    ht_quantizer_levels(q, c, eval, m->params.value + at, b->in, found);
    for (size_t k = 0; k < b->in; k++) {
        around(q, c, (double)(plain->params.value[at + k] / scale), choice[k]);
        cr_assert_eq(m->params.value[at + k], scale * found[k], "a weight is not on its level");
        cr_assert((double)found[k] == choice[k][0] || (double)found[k] == choice[k][1],
                  "%g became %g", (double)(plain->params.value[at + k] / scale), (double)found[k]);
        level[k] = (double)nearest[k];
    }
    const double of_nearest = loss(m, index, s, n, level);
    for (size_t k = 0; k < b->in; k++)
        level[k] = (double)found[k];
    const double of_chosen = loss(m, index, s, n, level);
    for (unsigned mask = 0; b->in <= 8 && mask < 1u << b->in; mask++) {
        for (size_t k = 0; k < b->in; k++)
            level[k] = choice[k][mask >> k & 1];
        best = fmin(best, loss(m, index, s, n, level));
    }
    /* The activation's output is 1 or so: float32 sums of 80 squares are that exact. */
    cr_assert_leq(of_chosen, of_nearest * (1 + 1e-4) + 1e-9, "%s, row %zu: %g, nearest %g", b->name,
                  n, of_chosen, of_nearest);
    if (b->in > 8)
        return;
    t->nearest += of_nearest;
    t->chosen += of_chosen;
    t->best += best;
    t->optimal += of_chosen <= best * (1 + 1e-4) + 1e-9;
    t->rows++;
}

static struct tally check(const struct recipe *r, int iterations)
{
    struct ht_model *m = make_model(r), *plain = make_model(r);
    struct ht_error err = {0};
    const struct ht_adaround options = {.iterations = iterations, .seed = 5};
    struct tally t = {0};
    ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
    ASSERT_OK(ht_model_calibrate(plain, &data, &err), err);
    float *state = calloc(m->state.n, sizeof *state);
    memcpy(state, m->state.value, m->state.n * sizeof *state);
    const uint64_t version = m->params.version;
    ASSERT_OK(ht_model_adaround(m, &data, &options, &err), err);
    cr_assert_gt(m->params.version, version);
    for (size_t i = 0; i < m->n_blocks; i++) {
        struct seen s = look(m, plain, i); /* runs the quantized network: scales stay */
        for (size_t n = 0; n < m->blocks[i].out; n++)
            check_row(m, plain, i, &s, n, &t);
        free(s.x);
        free(s.target);
    }
    cr_assert_eq(memcmp(state, m->state.value, m->state.n * sizeof *state), 0,
                 "a scale or statistic moved");
    for (size_t i = 0; i < m->n_blocks; i++)
        if (m->blocks[i].weights.range->learned)
            cr_assert_eq(m->blocks[i].weights.scale[0], plain->blocks[i].weights.scale[0]);
    free(state);
    ht_model_destroy(m);
    ht_model_destroy(plain);
    return t;
}

static const char *const ranges[] = {"min_max", "ema",   "percentile", "kl",
                                     "mse",     "octav", "learned"};

Test(adaround, nears_the_best_of_all_roundings)
{
    static const struct {
        const char *grid;
        int bits;
    } grids[] = {{"narrow", 2}, {"narrow", 3}, {"narrow", 4},    {"full", 3},
                 {"affine", 3}, {"binary", 1}, {"zero_free", 2}, {"pow2", 3}};
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        const struct recipe r = {.grid = grids[i].grid,
                                 .range = "mse",
                                 .estimator = "ste",
                                 .activation = "none",
                                 .bits = grids[i].bits,
                                 .per_channel = true,
                                 .units = {12}};
        const struct tally t = check(&r, 2000);
        cr_assert_geq(2 * t.optimal, t.rows, "%s: %d of %d", r.grid, t.optimal, t.rows);
        cr_assert_leq(t.chosen - t.best, 0.25 * (t.nearest - t.best), "%s: %g, nearest %g, best %g",
                      r.grid, t.chosen, t.nearest, t.best);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* With all that can stand between two layers. */
Test(adaround, activations_and_normalization)
{
    static const char *const activations[] = {"none",       "relu", "relu6",
                                              "leaky_relu", "tanh", "gelu"};
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        const struct recipe r = {.grid = "narrow",
                                 .range = "mse",
                                 .estimator = "ste",
                                 .activation = activations[i],
                                 .bits = 3,
                                 .per_channel = i % 2 == 0,
                                 .batchnorm = i != 2,
                                 .units = {8, 5}};
        const struct tally t = check(&r, 2000);
        cr_assert_leq(t.chosen - t.best, 0.4 * (t.nearest - t.best), "%s: %g, nearest %g, best %g",
                      r.activation, t.chosen, t.nearest, t.best);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(adaround, every_range_keeps_its_scale)
{
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        for (int way = 0; way < 4; way++) {
            const struct recipe r = {.grid = "narrow",
                                     .range = ranges[i],
                                     .estimator = strcmp(ranges[i], "learned") ? "ste" : "lsq",
                                     .activation = "relu",
                                     .bits = way == 3 ? 8 : 3,
                                     .per_channel = way > 0,
                                     .batchnorm = way > 1,
                                     .power_of_two = way == 2,
                                     .units = {8, 8, 4}};
            const struct tally t = check(&r, 300);
            cr_assert_leq(t.chosen, t.nearest, "%s", ranges[i]);
        }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- how it runs --- */

static const struct recipe wide = {.grid = "narrow",
                                   .range = "min_max",
                                   .estimator = "ste",
                                   .activation = "relu",
                                   .bits = 2,
                                   .batchnorm = true,
                                   .units = {70, 40, 3}};

static struct ht_model *rounded(const struct ht_adaround *options)
{
    struct ht_model *m = make_model(&wide);
    struct ht_error err = {0};
    ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
    ASSERT_OK(ht_model_adaround(m, &data, options, &err), err);
    return m;
}

static bool same(const struct ht_model *a, const struct ht_model *b)
{
    return memcmp(a->params.value, b->params.value, a->params.n * sizeof *a->params.value) == 0;
}

Test(adaround, threads_change_nothing_and_seeds_do)
{
    struct ht_pool *pool;
    struct ht_error err = {0};
    struct ht_adaround options = {.iterations = 120, .seed = 1};
    ASSERT_OK(ht_pool_create(&pool, 3, &err), err);
    struct ht_model *one = rounded(&options), *again = rounded(&options);
    options.pool = ht_blas_thread_safe() ? pool : NULL;
    struct ht_model *three = rounded(&options);
    options.seed = 2;
    struct ht_model *other = rounded(&options);
    cr_assert(same(one, again) && same(one, three));
    cr_assert_not(same(one, other));
    ht_model_destroy(one);
    ht_model_destroy(again);
    ht_model_destroy(three);
    ht_model_destroy(other);
    ht_pool_destroy(pool);
    cr_assert_eq(ht_alloc_live(), 0);
}

struct visits {
    int64_t last, stop_at;
    int n;
};

static bool go_on(void *user, int64_t done)
{
    struct visits *v = user;
    cr_assert_gt(done, v->last);
    v->last = done;
    v->n++;
    return done < v->stop_at;
}

Test(adaround, can_be_watched_and_stopped)
{
    struct visits all = {.stop_at = INT64_MAX}, some = {.stop_at = 230};
    struct ht_adaround options = {.iterations = 120, .go_on = go_on, .user = &all};
    struct ht_error err = {0};
    ht_model_destroy(rounded(&options));
    cr_assert_eq(all.last, 360);
    cr_assert_eq(all.n, 9);
    struct ht_model *m = make_model(&wide);
    options.user = &some;
    ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
    cr_assert_eq(ht_model_adaround(m, &data, &options, &err), HT_ERR_INTERRUPTED);
    cr_assert_eq(some.last, 240);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(adaround, without_memory)
{
    const struct ht_adaround options = {.iterations = 1};
    struct ht_model *m = make_model(&wide);
    struct ht_error err = {0};
    ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
    const long live = ht_alloc_live();
    enum ht_status status = HT_ERR_MEMORY;
    long n = 0;
    while (status != HT_OK) {
        cr_assert_eq(status, HT_ERR_MEMORY);
        ht_alloc_fail_at(++n);
        status = ht_model_adaround(m, &data, &options, &err);
        ht_alloc_fail_at(0);
        cr_assert_eq(ht_alloc_live(), live);
    }
    cr_assert_gt(n, 40);
    ht_model_destroy(m);
}

Test(adaround, refuses_what_has_no_up_and_down)
{
    static const struct {
        struct recipe recipe;
        const char *message;
    } cases[] = {
        {{"ternary", "twn", "clipped_ste", "relu", 2, .units = {3}}, "grid ternary"},
        {{"codebook", "kmeans", "clipped_ste", "relu", 2, .units = {3}}, "grid codebook"},
        {{"narrow", "min_max", "dorefa", "relu", 2, .units = {3}}, "not rounded to the nearest"},
    };
    const struct ht_adaround options = {.iterations = 1};
    struct ht_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ht_model *m = make_model(&cases[i].recipe);
        ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
        cr_assert_eq(ht_model_adaround(m, &data, &options, &err), HT_ERR_CONFIG);
        cr_assert_not_null(strstr(err.msg, cases[i].message), "%s", err.msg);
        cr_assert_not_null(strstr(err.msg, "dense1"), "%s", err.msg);
        ht_model_destroy(m);
    }
    struct ht_model *m = make_model(&wide);
    ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
    m->blocks[1].weights.once = false;
    cr_assert_eq(ht_model_adaround(m, &data, &options, &err), HT_ERR_CONFIG);
    cr_assert_not_null(strstr(err.msg, "dense2: its scale moves"), "%s", err.msg);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}
