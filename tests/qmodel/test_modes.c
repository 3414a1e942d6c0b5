/* Dynamic, weight-only and float16 networks: what was trained is what ships, to the bit, on every
 * instruction set, for any threads and batches, and for a reader that knows the file alone. */
#include "parity_support.h"

#include "base/pool.h"

struct dice {
    uint64_t seed, n;
};

static size_t roll(struct dice *d, size_t n)
{
    return (size_t)ht_rng_below(d->seed, HT_RNG_STREAM(HT_RNG_TEST, 2), d->n++, n);
}

#define PICK(d, ...)                                                                               \
    (((const char *[]){                                                                            \
        __VA_ARGS__})[roll(d, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *))])

enum mode { WEIGHT_ONLY, FLOAT16, DYNAMIC, MIXED, N_MODES };

/* NULL: any grid of these bits. */
static struct ht_quantizer_spec pick_weights(struct dice *d, int bits)
{
    static const char *const grids[9][5] = {
        [1] = {"binary", "zero_free"},
        [2] = {"narrow", "ternary", "codebook", "affine", "pow2"},
        [3] = {"full", "apot", "codebook", "affine", "pow2"},
        [4] = {"narrow", "apot", "codebook", "affine", "zero_free"},
        [5] = {"narrow", "apot", "affine"},
        [6] = {"full", "affine"},
        [7] = {"narrow", "affine"},
        [8] = {"narrow", "affine"}};
    struct ht_quantizer_spec q = {
        .bits = bits, .range = "learned", .estimator = "lsq", .rounding = "nearest_even"};
    size_t n = 0;
    if (bits == 16)
        return q;
    while (n < 5 && grids[bits][n])
        n++;
    q.grid = grids[bits][roll(d, n)];
    q.momentum = 0.3;
    q.per_channel = roll(d, 2) && strcmp(q.grid, "codebook") != 0;
    q.power_of_two = roll(d, 5) == 0;
    if (ht_range_of_grid(q.grid)) {
        q.range = ht_range_of_grid(q.grid);
        q.estimator = "clipped_ste";
    } else if (roll(d, 3) == 0) {
        q.range = PICK(d, "min_max", "mse");
        q.estimator = "clipped_ste";
    }
    struct ht_grid g;
    cr_assert_eq(ht_grid_init(&g, q.grid, bits, NULL), HT_OK);
    if (q.per_channel && !q.power_of_two && ht_grid_max_group_scale(&g) >= 3 && roll(d, 2))
        q.group = 1 + roll(d, 24);
    return q;
}

static struct ht_quantizer_spec pick_activations(struct dice *d, enum ht_tensor_kind kind)
{
    struct ht_quantizer_spec q = {.bits = 2 + (int)roll(d, 7), .momentum = 0.3};
    q.grid = PICK(d, "affine", "affine", "narrow", "full");
    q.range = kind == HT_TENSOR_DYNAMIC ? "dynamic" : "ema";
    q.estimator = "ste";
    q.rounding = PICK(d, "nearest_even", "nearest_even", "floor");
    if (kind == HT_TENSOR_REAL)
        q.bits = 32;
    return q;
}

static enum ht_tensor_kind pick_kind(struct dice *d, enum mode mode)
{
    if (mode == MIXED)
        return (enum ht_tensor_kind)roll(d, 3);
    return mode == DYNAMIC ? HT_TENSOR_DYNAMIC : HT_TENSOR_REAL;
}

/* exact: activations that any reader computes alike, and products that round. */
static void pick_block(struct dice *d, struct setup *s, size_t i, enum mode mode, bool exact)
{
    struct ht_block_spec *b = &s->blocks[i];
    const bool last = i + 1 == s->spec.n_blocks;
    const struct ht_quantizer_spec *input = i ? &s->blocks[i - 1].activations : &s->spec.input;
    snprintf(b->name, sizeof b->name, "dense%zu", i + 1);
    b->units = 1 + roll(d, WIDTH);
    b->batchnorm = roll(d, 2);
    b->bias = roll(d, 2);
    b->momentum = 0.3;
    b->epsilon = 1e-5;
    b->init = "he";
    b->activation = exact
                        ? PICK(d, "relu", "relu6", "leaky_relu", "none")
                        : PICK(d, "relu", "relu6", "leaky_relu", "none", "tanh", "sigmoid", "gelu");
    b->slope = 0.1;
    b->dropout = roll(d, 5) == 0 ? 0.3 : 0;
    const bool half = mode == FLOAT16 || (mode == MIXED && input->bits == 32 && roll(d, 2));
    b->weights = pick_weights(d, half ? 16 : 1 + (int)roll(d, 8));
    b->weights.power_of_two &= !exact;
    b->activations = pick_activations(d, pick_kind(d, mode));
    if (last)
        b->activation = "none";
}

static struct setup pick_setup(uint64_t seed, enum mode mode, bool exact)
{
    struct dice d = {seed, 0};
    struct setup s = {.seed = seed, .steps = 4, .learning_rate = 0.02, .input_range_given = true};
    s.spec.inputs = 1 + roll(&d, WIDTH);
    s.spec.n_blocks = 1 + roll(&d, MAX_BLOCKS);
    s.spec.input = pick_activations(&d, pick_kind(&d, mode));
    if (s.spec.input.range[0] == 'e')
        s.spec.input.range = "min_max";
    /* Levels would hide the last bits from the reader. */
    s.spec.output = pick_activations(&d, exact || roll(&d, 3) ? HT_TENSOR_REAL : HT_TENSOR_LEVELS);
    for (size_t i = 0; i < s.spec.n_blocks; i++) {
        pick_block(&d, &s, i, mode, exact);
        s.finite |= s.blocks[i].activations.bits == 32;
    }
    s.finite |= s.spec.input.bits == 32;
    s.spec.input_dropout = roll(&d, 6) == 0 ? 0.2 : 0;
    s.input_lo = -1.0 * (double)roll(&d, 2);
    s.input_hi = 1;
    return s;
}

/* --- the same bits everywhere --- */

static float *run_on(const struct ht_qmodel *q, const char *isa, size_t batch, struct ht_pool *pool,
                     const float *x)
{
    struct ht_error err = {0};
    struct ht_kernels kernels;
    struct ht_runtime *runtime;
    struct ht_runner *runner;
    unsigned mask;
    float *y = malloc(BATCH * q->outputs * sizeof *y);
    cr_assert(ht_kernels_isa_mask(isa, &mask));
    ht_kernels_init(&kernels, mask);
    ASSERT_OK(ht_runtime_create(&runtime, q, &kernels, &err), err);
    ASSERT_OK(ht_runner_create(&runner, runtime, batch, pool, &err), err);
    ht_runner_run(runner, x, BATCH, y);
    ht_runner_destroy(runner);
    ht_runtime_destroy(runtime);
    return y;
}

static void expect_everywhere(const struct setup *s, const struct ht_model *m,
                              const struct ht_qmodel *q, struct ht_pool *pool)
{
    static const struct {
        const char *isa;
        size_t batch;
        bool threads;
    } ways[] = {
        {NULL, 1, false},
        {NULL, 5, true},
#if defined(__x86_64__)
        {"avx2", BATCH, false},
        {"avx2", 3, false},
        {"avxvnni", 1, false},
        {"avx512vnni", BATCH, true}
#endif
    };
    float *x = test_inputs(s), *expected = run_on(q, "c", BATCH, NULL, x);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        float *y = run_on(q, ways[i].isa, ways[i].batch, ways[i].threads ? pool : NULL, x);
        expect_same(s, m, expected, y, BATCH * q->outputs, "another instruction set or batch", i);
        free(y);
    }
    free(expected);
    free(x);
}

/* --- a reader of the file alone: called once for several models --- */

#define MOST_READ 8

struct reader {
    char folder[64], command[4096];
    struct {
        float *y; /* expected, [n] */
        size_t n;
    } models[MOST_READ];
    size_t n;
};

static void file_of(const struct reader *r, size_t i, const char *what, char path[96])
{
    snprintf(path, 96, "%s/%zu-%s", r->folder, i, what);
}

static void reader_add(struct reader *r, const struct setup *s, const struct ht_qmodel *q)
{
    char model[96], inputs[96], outputs[96];
    struct ht_error err = {0};
    float *x = test_inputs(s);
    if (r->n == 0)
        make_temp_dir(r->folder);
    file_of(r, r->n, "model.h5", model);
    file_of(r, r->n, "x", inputs);
    file_of(r, r->n, "y", outputs);
    ASSERT_OK(ht_qmodel_save(q, model, &err), err);
    write_file(inputs, x, BATCH * q->input.features * sizeof *x);
    const size_t at = strlen(r->command);
    snprintf(r->command + at, sizeof r->command - at, " '%s' '%s' '%s'", model, inputs, outputs);
    r->models[r->n].y = run_on(q, NULL, BATCH, NULL, x);
    r->models[r->n++].n = BATCH * q->outputs;
    free(x);
}

#ifdef HT_TEST_PYTHON
static void expect_rebuilt(const struct reader *r)
{
    char command[8192], path[96];
    snprintf(command, sizeof command, "'%s' '%s'%s", HT_TEST_PYTHON, HT_TEST_REBUILD, r->command);
    cr_assert_eq(system(command), 0, "%s", command);
    for (size_t i = 0; i < r->n; i++) {
        const float *y = r->models[i].y;
        const size_t n = r->models[i].n;
        float *rebuilt = malloc(n * sizeof *rebuilt);
        file_of(r, i, "y", path);
        FILE *f = fopen(path, "rb");
        cr_assert_not_null(f, "%s", path);
        cr_assert_eq(fread(rebuilt, sizeof *rebuilt, n, f), n);
        fclose(f);
        for (size_t k = 0; k < n; k++)
            cr_assert_eq(memcmp(&y[k], &rebuilt[k], sizeof *y), 0,
                         "model %zu, output %zu: %.9g, from the file %.9g", i, k, (double)y[k],
                         (double)rebuilt[k]);
        free(rebuilt);
    }
}
#else
static void expect_rebuilt(const struct reader *r)
{
}
#endif

static void reader_finish(struct reader *r)
{
    expect_rebuilt(r);
    for (size_t i = 0; i < r->n; i++)
        free(r->models[i].y);
    remove_temp_dir(r->folder);
}

/* Graph against engine, engine against itself; reader NULL, or gets the model. */
static void check_setup(struct setup *s, struct reader *reader)
{
    struct ht_error err = {0};
    struct ht_pool *pool;
    ht_blas_init();
    plan_flags = s->seed % 2 ? HT_PLAN_SEPARATE : 0;
    struct ht_model *m = make_model(s);
    train(s, m);
    expect_parity(s, m);
    struct ht_qmodel *q = ship(m);
    ASSERT_OK(ht_pool_create(&pool, 2, &err), err);
    expect_everywhere(s, m, q, pool);
    if (reader)
        reader_add(reader, s, q);
    ht_pool_destroy(pool);
    ht_qmodel_destroy(q);
    ht_model_destroy(m);
}

#define SEEDS 30

static void check_mode(enum mode mode)
{
    struct reader reader = {.n = 0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct setup s = pick_setup(1000 * (uint64_t)mode + seed, mode, seed < MOST_READ);
        check_setup(&s, seed < MOST_READ ? &reader : NULL);
    }
    reader_finish(&reader);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(modes, weight_only)
{
    check_mode(WEIGHT_ONLY);
}

Test(modes, float16)
{
    check_mode(FLOAT16);
}

Test(modes, dynamic)
{
    check_mode(DYNAMIC);
    cr_assert_gt(tally.forms, 2u);
}

Test(modes, mixed)
{
    check_mode(MIXED);
}

/* Rows longer than one exact run of float sums, and than a block of ordered ones. */
Test(modes, long_rows)
{
    static const size_t inputs[] = {511, 512, 513, 700, 1100, 1024};
    struct reader reader = {.n = 0};
    for (size_t i = 0; i < 12; i++) {
        struct setup s = pick_setup(7000 + i, i % 2 ? DYNAMIC : WEIGHT_ONLY, true);
        s.spec.inputs = inputs[i / 2];
        s.spec.input.bits = i % 2 ? 8 : 32;
        struct dice d = {i, 0};
        s.blocks[0].weights = pick_weights(&d, i == 0 ? 16 : 8);
        check_setup(&s, i < MOST_READ ? &reader : NULL);
    }
    reader_finish(&reader);
    cr_assert_eq(ht_alloc_live(), 0);
}
