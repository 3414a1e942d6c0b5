#define _GNU_SOURCE /* sched_getaffinity */
#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdalign.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"

#define SPIN_NANOSECONDS 100000 /* before a thread sleeps: about what waking it costs both */
#define SPIN_PAUSES      16     /* between looks at the clock */
#define STACK_BYTES      ((size_t)4 << 20)

/* A run: the caller fills work, user and parts, then sets `unfinished` and `unclaimed`. Whoever
 * takes `unclaimed` down from u has part parts - u, and the three fields stay as they are until
 * that part is finished: the caller waits for `unfinished` to be 0. So a thread that comes late
 * finds nothing to claim, or a part of the next run, and either is right.
 *
 * Sleeping: who is about to sleep says so (`sleepers`, `caller_sleeps`), then looks once more, and
 * who changes what it waits for looks at that afterwards; all four sequentially consistent, so at
 * least one of the two sees the other. The mutex closes the gap between the look and the wait. */
struct ht_pool {
    unsigned threads; /* with the caller */
    unsigned started; /* workers that run */
    bool spins;
    atomic_flag busy; /* a run is under way */
    ht_pool_work work;
    void *user;
    size_t parts;
    alignas(64) atomic_size_t unclaimed;
    alignas(64) atomic_size_t unfinished;
    alignas(64) atomic_uint sleepers;
    atomic_bool caller_sleeps, stopped;
    unsigned wakes; /* of sleepers that are woken and do not know it yet */
    pthread_mutex_t lock;
    pthread_cond_t wanted, finished;
    pthread_t worker[HT_POOL_MAX_THREADS];
};

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool has_work(struct ht_pool *p)
{
    return atomic_load(&p->unclaimed) > 0 || atomic_load(&p->stopped);
}

static bool is_finished(struct ht_pool *p)
{
    return atomic_load(&p->unfinished) == 0;
}

/* True as soon as condition is; false when it takes too long. */
static bool spin(struct ht_pool *p, bool (*condition)(struct ht_pool *p))
{
    if (!p->spins)
        return condition(p);
    const int64_t end = nanoseconds() + SPIN_NANOSECONDS;
    do {
        for (int i = 0; i < SPIN_PAUSES; i++) {
            if (condition(p))
                return true;
            pause_briefly();
        }
    } while (nanoseconds() < end);
    return false;
}

/* Takes parts until there are none. */
static void work_off(struct ht_pool *p)
{
    size_t unclaimed = atomic_load(&p->unclaimed);
    while (unclaimed > 0) {
        if (!atomic_compare_exchange_weak(&p->unclaimed, &unclaimed, unclaimed - 1))
            continue;
        p->work(p->user, p->parts - unclaimed);
        if (atomic_fetch_sub(&p->unfinished, 1) == 1 && atomic_load(&p->caller_sleeps)) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->finished);
            pthread_mutex_unlock(&p->lock);
        }
        unclaimed = atomic_load(&p->unclaimed);
    }
}

/* Who wakes takes sleepers off the count, so that a thread which the system keeps waiting is not
 * woken again by every run. Woken too late it spins again: the next run may be near. */
static void sleep_until_woken(struct ht_pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    if (has_work(p)) {
        atomic_fetch_sub(&p->sleepers, 1);
    } else {
        while (p->wakes == 0 && !atomic_load(&p->stopped))
            pthread_cond_wait(&p->wanted, &p->lock);
        p->wakes -= p->wakes > 0;
    }
    pthread_mutex_unlock(&p->lock);
}

static void *run_worker(void *user)
{
    struct ht_pool *p = user;
    while (!atomic_load(&p->stopped)) {
        if (spin(p, has_work)) {
            work_off(p);
            continue;
        }
        sleep_until_woken(p);
    }
    return NULL;
}

static void wake_workers(struct ht_pool *p, size_t parts)
{
    if (atomic_load(&p->sleepers) == 0)
        return;
    pthread_mutex_lock(&p->lock);
    for (; atomic_load(&p->sleepers) > 0 && parts > 1; parts--) {
        atomic_fetch_sub(&p->sleepers, 1);
        p->wakes++;
        pthread_cond_signal(&p->wanted);
    }
    pthread_mutex_unlock(&p->lock);
}

static void wait_until_finished(struct ht_pool *p)
{
    if (spin(p, is_finished))
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (!is_finished(p))
        pthread_cond_wait(&p->finished, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

void ht_pool_run(struct ht_pool *p, size_t parts, ht_pool_work work, void *user)
{
    if (!p || p->started == 0 || parts < 2 ||
        atomic_flag_test_and_set_explicit(&p->busy, memory_order_acquire)) {
        for (size_t part = 0; part < parts; part++)
            work(user, part);
        return;
    }
    p->work = work;
    p->user = user;
    p->parts = parts;
    atomic_store(&p->unfinished, parts);
    atomic_store(&p->unclaimed, parts);
    wake_workers(p, parts);
    work_off(p);
    wait_until_finished(p);
    atomic_flag_clear_explicit(&p->busy, memory_order_release);
}

unsigned ht_pool_cpus(void)
{
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (unsigned)CPU_COUNT(&set);
#endif
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

/* Workers take no signals: those go to the program's own threads. */
static int start_workers(struct ht_pool *p)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    int failure = pthread_attr_init(&attributes);
    if (failure)
        return failure;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (!failure && p->started + 1 < p->threads) {
        failure = pthread_create(&p->worker[p->started], &attributes, run_worker, p);
        p->started += failure == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failure;
}

enum ht_status ht_pool_create(struct ht_pool **ret, unsigned threads, struct ht_error *err)
{
    const unsigned cpus = ht_pool_cpus();
    if (threads == 0)
        threads = cpus < HT_POOL_MAX_THREADS ? cpus : HT_POOL_MAX_THREADS;
    if (threads > HT_POOL_MAX_THREADS)
        return ht_fail(err, HT_ERR_CONFIG, "%u threads: the most is %d", threads,
                       HT_POOL_MAX_THREADS);
    struct ht_pool *p = ht_calloc(1, sizeof *p);
    if (!p)
        return ht_fail_memory(err);
    p->threads = threads;
    p->spins = cpus > 1 && cpus >= threads;
    atomic_flag_clear(&p->busy);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wanted, NULL);
    pthread_cond_init(&p->finished, NULL);
    const int failure = start_workers(p);
    if (failure) {
        ht_pool_destroy(p);
        return ht_fail(err, HT_ERR_MEMORY, "cannot start %u threads: %s", threads,
                       strerror(failure));
    }
    *ret = p;
    return HT_OK;
}

void ht_pool_destroy(struct ht_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stopped, true);
    pthread_cond_broadcast(&p->wanted);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->started; i++)
        pthread_join(p->worker[i], NULL);
    pthread_cond_destroy(&p->finished);
    pthread_cond_destroy(&p->wanted);
    pthread_mutex_destroy(&p->lock);
    ht_free(p);
}

unsigned ht_pool_threads(const struct ht_pool *p)
{
    return p ? p->threads : 1;
}

bool ht_pool_threads_wanted(const char *environment_value, unsigned *ret)
{
    const char *s = environment_value;
    unsigned threads = 0;
    if (!s || !*s) {
        *ret = 0;
        return true;
    }
    for (; *s >= '0' && *s <= '9' && threads <= HT_POOL_MAX_THREADS; s++)
        threads = 10 * threads + (unsigned)(*s - '0');
    if (*s || threads < 1 || threads > HT_POOL_MAX_THREADS)
        return false;
    *ret = threads;
    return true;
}
