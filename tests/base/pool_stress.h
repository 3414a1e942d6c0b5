/* Runs of a pool in every order that is easy to get wrong; shared by the Criterion test and by the
 * plain program that is built with the thread sanitizer. Returns what is wrong, or NULL. */
#ifndef HT_TESTS_BASE_POOL_STRESS_H
#define HT_TESTS_BASE_POOL_STRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/pool.h"

#define STRESS_PARTS 67

/* Not atomic on purpose: the pool alone orders what parts and callers write. */
struct stress {
    struct ht_pool *pool;
    unsigned calls[STRESS_PARTS], inner_calls;
    size_t runs;
    uint32_t random;
    const char *wrong;
};

static inline void stress_part(void *user, size_t part)
{
    struct stress *s = user;
    s->calls[part]++;
}

static inline uint32_t stress_random(struct stress *s)
{
    s->random = s->random * 1664525u + 1013904223u;
    return s->random >> 16;
}

static inline void stress_sleep(long nanoseconds)
{
    const struct timespec t = {0, nanoseconds};
    nanosleep(&t, NULL);
}

/* Runs of all sizes back to back, and now and then so late that the workers sleep. */
static inline void *stress_caller(void *user)
{
    struct stress *s = user;
    unsigned expected[STRESS_PARTS] = {0};
    for (size_t run = 0; run < s->runs && !s->wrong; run++) {
        const size_t parts = stress_random(s) % (STRESS_PARTS + 1);
        if (run % 64 == 63)
            stress_sleep(60000);
        ht_pool_run(s->pool, parts, stress_part, s);
        for (size_t i = 0; i < STRESS_PARTS; i++) {
            expected[i] += i < parts;
            if (s->calls[i] != expected[i])
                s->wrong = "a part was not called exactly once";
        }
    }
    return NULL;
}

static inline void stress_inner(void *user, size_t part)
{
    struct stress *s = user;
    s->inner_calls += part < 3;
}

/* A part that runs the pool, which is busy: on the same thread, in order. */
static inline void stress_outer(void *user, size_t part)
{
    struct stress *s = user;
    ht_pool_run(s[part].pool, 3, stress_inner, &s[part]);
    if (part == 1)
        stress_sleep(100000); /* the caller has nothing left to do and sleeps */
}

static inline const char *stress_nested(struct ht_pool *pool)
{
    struct stress s[4] = {{.pool = pool}, {.pool = pool}, {.pool = pool}, {.pool = pool}};
    for (int run = 0; run < 20; run++)
        ht_pool_run(pool, 4, stress_outer, s);
    for (int i = 0; i < 4; i++)
        if (s[i].inner_calls != 60)
            return "nested runs did not run all parts";
    return NULL;
}

/* Several threads call one pool at the same time. */
static inline const char *stress_callers(struct ht_pool *pool, size_t runs)
{
    struct stress s[3] = {0};
    pthread_t thread[3];
    const char *wrong = NULL;
    for (int i = 0; i < 3; i++) {
        s[i] = (struct stress){.pool = pool, .runs = runs, .random = (uint32_t)i + 1};
        if (pthread_create(&thread[i], NULL, stress_caller, &s[i]) != 0)
            return "no thread";
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(thread[i], NULL);
        wrong = s[i].wrong ? s[i].wrong : wrong;
    }
    return wrong;
}

static inline const char *stress_pool(unsigned threads, size_t runs)
{
    struct ht_pool *pool = NULL;
    if (ht_pool_create(&pool, threads, NULL) != HT_OK)
        return "no pool";
    struct stress alone = {.pool = pool, .runs = runs, .random = threads};
    stress_caller(&alone);
    const char *wrong = alone.wrong;
    if (!wrong)
        wrong = stress_nested(pool);
    if (!wrong)
        wrong = stress_callers(pool, runs / 4);
    ht_pool_destroy(pool);
    /* Made and destroyed before, while and after the workers fall asleep. */
    for (int i = 0; i < 30 && !wrong; i++) {
        if (ht_pool_create(&pool, threads, NULL) != HT_OK)
            return "no pool";
        if (i % 3)
            stress_sleep(i * 3000);
        ht_pool_destroy(pool);
    }
    return wrong;
}

#endif
