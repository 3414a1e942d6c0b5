#include "support.h"

#include "infer/concurrent.h"

static void run_with(const struct ht_runtime *runtime, size_t max_batch, struct ht_pool *pool,
                     const float *x, size_t n, float *y)
{
    struct ht_error err = {0};
    struct ht_runner *r;
    ASSERT_OK(ht_runner_create(&r, runtime, max_batch, pool, &err), err);
    memset(y, 0xaa, n * WIDE_OUTPUTS * sizeof *y);
    ht_runner_run(r, x, n, y);
    ht_runner_destroy(r);
}

/* Every instruction set, number of threads and size of batch against row by row in plain C. */
Test(threads, same_bits_however_it_is_divided, .timeout = 60)
{
    static const unsigned masks[] = {HT_ISA_C, HT_ISA_C | HT_ISA_AVX2,
                                     HT_ISA_C | HT_ISA_AVX2 | HT_ISA_AVXVNNI, HT_ISA_ALL};
    static const unsigned threads[] = {1, 2, 3, 5};
    static const size_t sizes[][2] = {/* rows, max_batch */
                                      {1, 1},    {7, 300},   {24, 24},   {63, 64},  {64, 64},
                                      {65, 300}, {130, 300}, {130, 100}, {300, 300}};
    float expected[WIDE_ROWS * WIDE_OUTPUTS], y[WIDE_ROWS * WIDE_OUTPUTS];
    struct ht_error err = {0};
    struct ht_qmodel *m = wide_model();
    float *x = wide_inputs();
    size_t distinct = 0;
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        struct ht_kernels kernels;
        struct ht_runtime *runtime;
        ht_kernels_init(&kernels, masks[i]);
        ASSERT_OK(ht_runtime_create(&runtime, m, &kernels, &err), err);
        if (i == 0)
            run_with(runtime, 1, NULL, x, WIDE_ROWS, expected);
        for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
            struct ht_pool *pool;
            ASSERT_OK(ht_pool_create(&pool, threads[t], &err), err);
            /* The plain kernels are slow: not all sizes. */
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes - (i == 0 ? 3 : 0); s++) {
                run_with(runtime, sizes[s][1], pool, x, sizes[s][0], y);
                cr_assert_eq(memcmp(y, expected, sizes[s][0] * WIDE_OUTPUTS * sizeof *y), 0,
                             "%s, %u threads, %zu rows, batches of %zu", kernels.isa, threads[t],
                             sizes[s][0], sizes[s][1]);
            }
            ht_pool_destroy(pool);
        }
        ht_runtime_destroy(runtime);
    }
    for (size_t i = WIDE_OUTPUTS; i < WIDE_ROWS * WIDE_OUTPUTS; i++)
        distinct += expected[i] != expected[i - WIDE_OUTPUTS];
    cr_assert_gt(distinct, WIDE_ROWS * WIDE_OUTPUTS / 2);
    free(x);
    ht_qmodel_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(threads, callers_share_one_model, .timeout = 60)
{
    struct ht_kernels kernels;
    ht_kernels_init(&kernels, HT_ISA_ALL);
    for (int i = 0; i < 10; i++) {
        const char *wrong = concurrent_callers(&kernels);
        cr_assert_null(wrong, "%s", wrong);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- how the work is divided: a bundle that writes down what it is asked for --- */

static struct {
    size_t calls, rows, parts_of_columns;
    bool columns_fit;
} asked; /* by one thread */
static struct ht_kernels plain;

static void note_dense(const struct ht_kernel_dense *d)
{
    asked.calls++;
    asked.rows += d->m;
    if (d->columns) {
        const size_t end = d->column + d->columns;
        asked.parts_of_columns++;
        asked.columns_fit = asked.columns_fit && d->column % HT_KERNEL_COLUMN_STEP == 0 &&
                            end <= d->weights->n &&
                            (end == d->weights->n || d->columns % HT_KERNEL_COLUMN_STEP == 0);
    }
    plain.dense(d);
}

/* In a pool that is busy all parts run on the calling thread: no race on what is noted. */
struct divided {
    struct ht_runner *runner;
    const float *x;
    size_t n;
    float *y;
};

static void run_inside(void *user, size_t part)
{
    const struct divided *d = user;
    if (part == 0)
        ht_runner_run(d->runner, d->x, d->n, d->y);
}

Test(threads, rows_or_columns)
{
    static const struct {
        size_t n, calls, parts_of_columns;
    } cases[] = {
        {1, 4, 0},   /* too little work */
        {24, 8, 6},  /* 384 and 260 outputs: 3 parts each, the others whole */
        {64, 8, 0},  /* two parts of 32 rows through 4 layers */
        {300, 16, 0} /* four parts of 80 rows */
    };
    float y[WIDE_ROWS * WIDE_OUTPUTS];
    struct ht_error err = {0};
    struct ht_qmodel *m = wide_model();
    struct ht_runtime *runtime;
    struct ht_runner *runner;
    struct ht_pool *pool;
    float *x = wide_inputs();
    ht_kernels_init(&plain, HT_ISA_ALL);
    struct ht_kernels kernels = plain;
    kernels.dense = note_dense;
    ASSERT_OK(ht_pool_create(&pool, 2, &err), err);
    ASSERT_OK(ht_runtime_create(&runtime, m, &kernels, &err), err);
    ASSERT_OK(ht_runner_create(&runner, runtime, WIDE_ROWS, pool, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct divided d = {runner, x, cases[i].n, y};
        memset(&asked, 0, sizeof asked);
        asked.columns_fit = true;
        ht_pool_run(pool, 2, run_inside, &d);
        cr_assert_eq(asked.calls, cases[i].calls, "%zu rows: %zu calls", cases[i].n, asked.calls);
        cr_assert_eq(asked.parts_of_columns, cases[i].parts_of_columns, "%zu rows: %zu parts",
                     cases[i].n, asked.parts_of_columns);
        cr_assert(asked.columns_fit);
    }
    ht_runner_destroy(runner);
    ht_runtime_destroy(runtime);
    ht_pool_destroy(pool);
    ht_qmodel_destroy(m);
    free(x);
    cr_assert_eq(ht_alloc_live(), 0);
}

static bool binary_seen[4];
static size_t packs;

static void note_pack(const struct ht_kernel_weights *w, void *packed)
{
    binary_seen[packs++ % 4] = w->a_binary;
    plain.pack(w, packed);
}

Test(threads, kernels_know_binary_activations)
{
    struct ht_error err = {0};
    struct ht_qmodel *m = wide_model();
    struct ht_runtime *runtime;
    ht_kernels_init(&plain, HT_ISA_C);
    struct ht_kernels kernels = plain;
    kernels.pack = note_pack;
    ASSERT_OK(ht_runtime_create(&runtime, m, &kernels, &err), err);
    cr_assert(!binary_seen[0] && !binary_seen[1] && !binary_seen[2] && binary_seen[3]);
    ht_runtime_destroy(runtime);
    ht_grid_init(&m->layers[2].quant.grid, "zero_free", 2, &err); /* steps of 2, but -3..3 */
    m->layers[2].quant.lo = m->layers[2].quant.grid.lo;
    m->layers[2].quant.hi = m->layers[2].quant.grid.hi;
    ASSERT_OK(ht_runtime_create(&runtime, m, &kernels, &err), err);
    cr_assert_not(binary_seen[3]);
    ht_runtime_destroy(runtime);
    ht_qmodel_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(threads, run_allocates_nothing)
{
    float y[WIDE_ROWS * WIDE_OUTPUTS];
    struct ht_error err = {0};
    struct ht_kernels kernels;
    struct ht_qmodel *m = wide_model();
    struct ht_runtime *runtime;
    struct ht_runner *runner;
    struct ht_pool *pool;
    float *x = wide_inputs();
    ht_kernels_init(&kernels, HT_ISA_ALL);
    ASSERT_OK(ht_pool_create(&pool, 3, &err), err);
    ASSERT_OK(ht_runtime_create(&runtime, m, &kernels, &err), err);
    ASSERT_OK(ht_runner_create(&runner, runtime, WIDE_ROWS, pool, &err), err);
    ht_alloc_fail_at(1);
    ht_runner_run_raw(runner, x, WIDE_ROWS, y);
    ht_runner_run(runner, x, 20, y);
    void *still_to_fail = ht_calloc(1, 1);
    ht_alloc_fail_at(0);
    cr_assert_null(still_to_fail, "run allocated");
    ht_runner_destroy(runner);
    ht_runtime_destroy(runtime);
    ht_pool_destroy(pool);
    ht_qmodel_destroy(m);
    free(x);
}
