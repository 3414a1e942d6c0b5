#include "support.h"

#include "base/pool_stress.h"

Test(pool, stress, .timeout = 60)
{
    static const unsigned threads[] = {1, 2, 3, 8};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        const char *wrong = stress_pool(threads[i], 4000);
        cr_assert_null(wrong, "%u threads: %s", threads[i], wrong);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

struct order {
    size_t next;
    bool in_order;
};

static void check_order(void *user, size_t part)
{
    struct order *o = user;
    o->in_order = o->in_order && part == o->next++;
}

Test(pool, none_is_the_calling_thread)
{
    struct order o = {0, true};
    ht_pool_run(NULL, 5, check_order, &o);
    cr_assert(o.in_order && o.next == 5);
    ht_pool_run(NULL, 0, check_order, &o);
    cr_assert_eq(o.next, 5);
    cr_assert_eq(ht_pool_threads(NULL), 1);
    ht_pool_destroy(NULL);
}

struct meeting {
    pthread_barrier_t barrier;
    pthread_t thread[4];
};

static void meet(void *user, size_t part)
{
    struct meeting *m = user;
    m->thread[part] = pthread_self();
    pthread_barrier_wait(&m->barrier);
}

/* Each part waits for all others: it ends only if as many threads take part. */
Test(pool, all_threads_take_part, .timeout = 20)
{
    struct ht_error err = {0};
    struct ht_pool *p;
    struct meeting m;
    ASSERT_OK(ht_pool_create(&p, 4, &err), err);
    cr_assert_eq(ht_pool_threads(p), 4);
    cr_assert_eq(pthread_barrier_init(&m.barrier, NULL, 4), 0);
    for (int run = 0; run < 50; run++) {
        ht_pool_run(p, 4, meet, &m);
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < i; k++)
                cr_assert_not(pthread_equal(m.thread[i], m.thread[k]));
        if (run % 8 == 0)
            stress_sleep(100000); /* asleep or awake, they come */
    }
    pthread_barrier_destroy(&m.barrier);
    ht_pool_destroy(p);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(pool, run_allocates_nothing)
{
    struct ht_error err = {0};
    struct ht_pool *p;
    struct stress s = {.runs = 100};
    ASSERT_OK(ht_pool_create(&p, 2, &err), err);
    s.pool = p;
    ht_alloc_fail_at(1);
    stress_caller(&s);
    void *still_to_fail = ht_calloc(1, 1);
    ht_alloc_fail_at(0);
    cr_assert_null(still_to_fail);
    cr_assert_null(s.wrong);
    ht_pool_destroy(p);
}

Test(pool, bad_sizes)
{
    struct ht_error err = {0};
    struct ht_pool *p = NULL;
    cr_assert_eq(ht_pool_create(&p, HT_POOL_MAX_THREADS + 1, &err), HT_ERR_CONFIG);
    ht_alloc_fail_at(1);
    cr_assert_eq(ht_pool_create(&p, 2, &err), HT_ERR_MEMORY);
    cr_assert_null(p);
    ASSERT_OK(ht_pool_create(&p, 0, &err), err);
    cr_assert_geq(ht_pool_threads(p), 1);
    cr_assert_leq(ht_pool_threads(p), HT_POOL_MAX_THREADS);
    ht_pool_destroy(p);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(pool, threads_wanted)
{
    static const char *const bad[] = {
        "0", "65", "-1", "+2", "2 ", " 2", "two", "99999999999999999999", "4294967298", "1.5"};
    unsigned n = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_not(ht_pool_threads_wanted(bad[i], &n), "'%s'", bad[i]);
        cr_assert_eq(n, 7);
    }
    cr_assert(ht_pool_threads_wanted("64", &n) && n == 64);
    cr_assert(ht_pool_threads_wanted("1", &n) && n == 1);
    cr_assert(ht_pool_threads_wanted(NULL, &n) && n == 0);
    n = 7;
    cr_assert(ht_pool_threads_wanted("", &n) && n == 0);
}
