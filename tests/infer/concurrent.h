/* Several threads run one model at the same time, some by one pool. Returns what is wrong, or NULL.
 * Shared by the Criterion test and by the plain program that is built with the thread sanitizer. */
#ifndef HT_TESTS_INFER_CONCURRENT_H
#define HT_TESTS_INFER_CONCURRENT_H

#include <pthread.h>
#include <stdbool.h>

#include "infer/wide_model.h"

#define CALLERS 4

struct concurrent_caller {
    const struct ht_runtime *runtime;
    struct ht_pool *pool;
    size_t max_batch;
    const float *x, *expected;
    float y[WIDE_ROWS * WIDE_OUTPUTS];
    pthread_t thread;
    const char *wrong;
};

static inline void *concurrent_run(void *user)
{
    static const size_t sizes[] = {1, 24, 40};
    struct concurrent_caller *c = user;
    struct ht_runner *r;
    if (ht_runner_create(&r, c->runtime, c->max_batch, c->pool, NULL) != HT_OK) {
        c->wrong = "no runner";
        return NULL;
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(c->y, 0xaa, sizeof c->y);
        ht_runner_run_raw(r, c->x, sizes[i], c->y);
        if (memcmp(c->y, c->expected, sizes[i] * WIDE_OUTPUTS * sizeof *c->y) != 0)
            c->wrong = "other outputs than on one thread";
    }
    ht_runner_destroy(r);
    return NULL;
}

static inline const char *concurrent_callers(const struct ht_kernels *kernels)
{
    static struct concurrent_caller callers[CALLERS];
    static float expected[WIDE_ROWS * WIDE_OUTPUTS];
    struct ht_qmodel *m = wide_model();
    struct ht_pool *shared = NULL, *own = NULL;
    struct ht_runtime *runtime = NULL;
    struct ht_runner *alone = NULL;
    struct ht_error err = {0};
    float *x = wide_inputs();
    const char *wrong = NULL;
    if (!x || ht_runtime_create(&runtime, m, kernels, &err) != HT_OK ||
        ht_runner_create(&alone, runtime, 1, NULL, &err) != HT_OK ||
        ht_pool_create(&shared, 2, &err) != HT_OK || ht_pool_create(&own, 3, &err) != HT_OK)
        return "not made";
    ht_runner_run_raw(alone, x, 40, expected);
    for (int i = 0; i < CALLERS; i++) {
        struct ht_pool *pool = i == 0 ? NULL : i == 1 ? own : shared;
        callers[i] = (struct concurrent_caller){.runtime = runtime,
                                                .pool = pool,
                                                .max_batch = i == 2 ? 64 : 300,
                                                .x = x,
                                                .expected = expected};
        if (pthread_create(&callers[i].thread, NULL, concurrent_run, &callers[i]) != 0)
            return "no thread";
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        wrong = callers[i].wrong ? callers[i].wrong : wrong;
    }
    ht_runner_destroy(alone);
    ht_runtime_destroy(runtime);
    ht_pool_destroy(shared);
    ht_pool_destroy(own);
    ht_qmodel_destroy(m);
    free(x);
    return wrong;
}

#endif
