#include "qmodel/random_model.h"

#include "infer/runtime.h"

#define N_MODELS  150
#define N_SAMPLES 11

struct made {
    struct ht_runtime *runtime;
    struct ht_runner *runner;
};

static struct made make(const struct ht_qmodel *m, size_t max_batch)
{
    struct ht_error err = {0};
    struct ht_kernels kernels;
    struct made r;
    ht_kernels_init(&kernels, HT_ISA_ALL);
    ASSERT_OK(ht_runtime_create(&r.runtime, m, &kernels, &err), err);
    ASSERT_OK(ht_runner_create(&r.runner, r.runtime, max_batch, NULL, &err), err);
    return r;
}

static void unmake(struct made r)
{
    ht_runner_destroy(r.runner);
    ht_runtime_destroy(r.runtime);
}

Test(runtime, equals_the_naive_network)
{
    int distinct = 0, codes = 0, tables = 0;
    for (uint64_t seed = 1; seed <= N_MODELS; seed++) {
        struct ht_qmodel *m = random_model(seed);
        struct made r = make(m, N_SAMPLES);
        float *x = random_inputs(m, N_SAMPLES, seed);
        float *y = malloc(N_SAMPLES * m->outputs * sizeof *y);
        ht_runner_run(r.runner, x, N_SAMPLES, y);
        for (size_t s = 0; s < N_SAMPLES; s++) {
            int a[64];
            float expected[64];
            for (size_t k = 0; k < m->input.features; k++)
                a[k] = naive_round(
                    (double)divide32(x[s * m->input.features + k], m->input.quant.scale),
                    &m->input.quant);
            naive_network(m, a, expected);
            cr_assert_eq(memcmp(expected, y + s * m->outputs, m->outputs * sizeof *y), 0,
                         "model %d, sample %zu: %g, not %g", (int)seed, s,
                         (double)y[s * m->outputs], (double)expected[0]);
        }
        distinct += y[0] != y[m->outputs];
        codes += m->layers[m->n_layers - 1].output == HT_QOUTPUT_CODES;
        for (size_t i = 0; i < m->n_layers; i++)
            tables += m->layers[i].has_table;
        free(x);
        free(y);
        unmake(r);
        ht_qmodel_destroy(m);
    }
    /* Not all outputs saturate, and both kinds of output and tables occur. */
    cr_assert_gt(distinct, N_MODELS / 4, "%d", distinct);
    cr_assert(codes > 10 && codes < N_MODELS - 10 && tables > 10, "%d %d", codes, tables);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(runtime, any_batch_gives_the_same_bits)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct ht_qmodel *m = random_model(seed);
        float *x = random_inputs(m, 13, seed), *expected = NULL;
        for (size_t batch = 1; batch <= 14; batch++) {
            struct made r = make(m, batch);
            float *y = calloc(13 * m->outputs, sizeof *y);
            ht_runner_run(r.runner, x, 13, y);
            if (expected)
                cr_assert_eq(memcmp(y, expected, 13 * m->outputs * sizeof *y), 0,
                             "model %d, batches of %zu", (int)seed, batch);
            else
                expected = y;
            if (y != expected)
                free(y);
            unmake(r);
        }
        free(expected);
        free(x);
        ht_qmodel_destroy(m);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(runtime, levels_in_equal_floats_in)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct ht_qmodel *m = random_model(seed);
        const size_t features = m->input.features;
        struct made r = make(m, 3);
        float *x = random_inputs(m, 7, seed), *y = malloc(2 * 7 * m->outputs * sizeof *y);
        uint8_t *levels = malloc(7 * features);
        for (size_t i = 0; i < 7 * features; i++)
            levels[i] =
                (uint8_t)naive_round((double)divide32(x[i], m->input.quant.scale), &m->input.quant);
        ht_runner_run(r.runner, x, 7, y);
        ht_runner_run_levels(r.runner, levels, 7, y + 7 * m->outputs);
        cr_assert_eq(memcmp(y, y + 7 * m->outputs, 7 * m->outputs * sizeof *y), 0);
        free(levels);
        free(x);
        free(y);
        unmake(r);
        ht_qmodel_destroy(m);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(runtime, layer_levels)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct ht_qmodel *m = random_model(seed);
        struct made r = make(m, 1);
        float *x = random_inputs(m, 1, seed), real[64];
        int a[64], levels[64];
        ht_runner_run(r.runner, x, 1, real);
        for (size_t k = 0; k < m->input.features; k++)
            a[k] = naive_round((double)divide32(x[k], m->input.quant.scale), &m->input.quant);
        for (size_t i = 0; i < m->n_layers; i++) {
            const uint8_t *got = ht_runner_layer_levels(r.runner, i);
            cr_assert_eq(!got, m->layers[i].output == HT_QOUTPUT_REAL);
            naive_layer(m, i, a, levels, real);
            for (size_t n = 0; got && n < m->layers[i].out; n++)
                cr_assert_eq(got[n], (uint8_t)levels[n], "model %d, layer %zu", (int)seed, i);
            memcpy(a, levels, sizeof a);
        }
        free(x);
        unmake(r);
        ht_qmodel_destroy(m);
    }
}

Test(runtime, run_allocates_nothing)
{
    struct ht_qmodel *m = random_model(3);
    struct made r = make(m, 4);
    float *x = random_inputs(m, 9, 1), *y = malloc(9 * m->outputs * sizeof *y);
    const long live = ht_alloc_live();
    ht_alloc_fail_at(1);
    ht_runner_run(r.runner, x, 9, y);
    cr_assert_eq(ht_alloc_live(), live);
    /* The countdown still stands: no allocation was asked for in run. */
    void *p = ht_calloc(1, 1);
    ht_alloc_fail_at(0);
    cr_assert_null(p, "run allocated");
    free(x);
    free(y);
    unmake(r);
    ht_qmodel_destroy(m);
}

Test(runtime, out_of_memory_at_every_allocation)
{
    struct ht_qmodel *m = random_model(8);
    struct ht_kernels kernels;
    ht_kernels_init(&kernels, HT_ISA_ALL);
    const long live = ht_alloc_live();
    long n = 1;
    for (;; n++) {
        struct ht_runtime *runtime = NULL;
        struct ht_runner *r = NULL;
        ht_alloc_fail_at(n);
        enum ht_status status = ht_runtime_create(&runtime, m, &kernels, NULL);
        if (status == HT_OK)
            status = ht_runner_create(&r, runtime, 4, NULL, NULL);
        ht_alloc_fail_at(0);
        ht_runner_destroy(r);
        ht_runtime_destroy(runtime);
        cr_assert_eq(ht_alloc_live(), live);
        if (status == HT_OK)
            break;
        cr_assert_eq(status, HT_ERR_MEMORY);
        cr_assert_null(r);
    }
    cr_assert_gt(n, 4);
    ht_qmodel_destroy(m);
}

Test(runtime, refuses_bad_models_and_batches)
{
    struct ht_error err = {0};
    struct ht_kernels kernels;
    struct ht_runtime *r = NULL;
    struct ht_runner *runner = NULL;
    ht_kernels_init(&kernels, HT_ISA_ALL);
    struct ht_qmodel *m = random_model(2);
    ASSERT_OK(ht_runtime_create(&r, m, &kernels, &err), err);
    cr_assert_eq(ht_runner_create(&runner, r, 0, NULL, &err), HT_ERR_CONFIG);
    cr_assert_null(runner);
    ht_runtime_destroy(r);
    r = NULL;
    m->layers[0].weights.scale[0] = NAN;
    cr_assert_eq(ht_runtime_create(&r, m, &kernels, &err), HT_ERR_MODEL);
    cr_assert_null(r);
    ht_qmodel_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}
