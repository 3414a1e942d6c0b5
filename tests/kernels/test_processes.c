/* Bundles where registers are not all there is to it: several threads at the same time, processes
 * that were forked, buffers that end where memory ends. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "support.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/rng.h"
#include "kernels/kernels.h"

enum { ROUNDS = 40 };

/* A layer and what each bundle has to make of it. */
struct problem {
    size_t m, n, k;
    struct ht_kernel_weights weights;
    const struct ht_kernels *kernels;
    uint8_t *a, *codes, *packed, *levels, *expected;
    int16_t *level;
    int32_t *init;
    float *multiplier;
    bool a_signed, same;
};

/* Ends with its last byte: the page after it cannot be touched. */
static void *at_the_end(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (size + page - 1) / page;
    uint8_t *p =
        mmap(NULL, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(p, MAP_FAILED);
    cr_assert_eq(mprotect(p + pages * page, page, PROT_NONE), 0);
    return p + pages * page - size;
}

static void give_back(void *p, size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (size + page - 1) / page;
    munmap((uint8_t *)p + size - pages * page, (pages + 1) * page);
}

static uint8_t byte(uint64_t i)
{
    return (uint8_t)ht_rng_below(3, HT_RNG_TEST, i, 256);
}

static void run(const struct problem *p, const struct ht_kernels *k, const void *packed,
                void *levels)
{
    const struct ht_kernel_quantizer q = {-128, 127, 0, HT_KERNEL_NEAREST_EVEN};
    const struct ht_kernel_dense d = {.m = p->m,
                                      .a = p->a,
                                      .a_signed = p->a_signed,
                                      .weights = &p->weights,
                                      .packed = packed,
                                      .init = p->init,
                                      .multiplier = p->multiplier,
                                      .levels = levels,
                                      .quantizer = &q};
    k->dense(&d);
}

static struct problem make_problem(const struct ht_kernels *k, size_t m, size_t n, size_t inputs,
                                   int bits, bool a_signed)
{
    struct problem p = {.m = m, .n = n, .k = inputs, .kernels = k, .a_signed = a_signed};
    struct ht_kernels c;
    const size_t n_codes = (n * inputs * (size_t)bits + 7) / 8;
    p.a = at_the_end(m * inputs);
    p.codes = at_the_end(n_codes);
    p.init = at_the_end(n * sizeof *p.init);
    p.multiplier = at_the_end(n * sizeof *p.multiplier);
    for (size_t i = 0; i < m * inputs; i++)
        p.a[i] = byte(i);
    for (size_t i = 0; i < n_codes; i++)
        p.codes[i] = byte(i + 1000000);
    p.level = malloc(256 * sizeof *p.level);
    for (int i = 0; i < 256; i++)
        p.level[i] = (int16_t)((i % (1 << bits)) - (1 << (bits - 1)));
    for (size_t i = 0; i < n; i++) {
        p.init[i] = 100 * byte(i) - 10000;
        p.multiplier[i] = 0.0001f * (float)(1 + byte(i)) / (float)(1 << bits);
    }
    p.weights = (struct ht_kernel_weights){n, inputs, bits, p.codes, p.level, NULL, false};
    p.packed = at_the_end(k->packed_size(&p.weights));
    k->pack(&p.weights, p.packed);
    p.levels = at_the_end(m * n);
    p.expected = malloc(m * n);
    ht_kernels_init(&c, HT_ISA_C);
    void *packed = malloc(c.packed_size(&p.weights));
    c.pack(&p.weights, packed);
    run(&p, &c, packed, p.expected);
    free(packed);
    return p;
}

static void problem_finish(struct problem *p)
{
    give_back(p->a, p->m * p->k);
    give_back(p->codes, (p->n * p->k * (size_t)p->weights.bits + 7) / 8);
    give_back(p->init, p->n * sizeof *p->init);
    give_back(p->multiplier, p->n * sizeof *p->multiplier);
    give_back(p->packed, p->kernels->packed_size(&p->weights));
    give_back(p->levels, p->m * p->n);
    free(p->level);
    free(p->expected);
}

static bool gives_expected(const struct problem *p)
{
    memset(p->levels, 0x55, p->m * p->n);
    run(p, p->kernels, p->packed, p->levels);
    return memcmp(p->levels, p->expected, p->m * p->n) == 0;
}

static void *many_rounds(void *user)
{
    struct problem *p = user;
    p->same = true;
    for (int i = 0; i < ROUNDS && p->same; i++)
        p->same = gives_expected(p);
    return NULL;
}

/* Every bundle of this CPU in turn. */
static void for_all_bundles(void (*check)(const struct ht_kernels *k))
{
    struct ht_kernels k;
    const char *before = "";
    unsigned mask = 0;
    for (unsigned bit = 0; bit < 32; bit++) {
        mask |= 1u << bit;
        ht_kernels_init(&k, mask);
        if (strcmp(k.isa, before) != 0)
            check(&k);
        before = k.isa;
    }
}

/* Nothing is read or written past the end, where a sanitizer does not look: not by instructions
 * that it does not know. */
static void check_ends(const struct ht_kernels *k)
{
    static const size_t ms[] = {1, 2, 5, 16, 33, 70}, ns[] = {10, 16, 33, 64, 130};
    static const size_t ks[] = {1, 17, 63, 64, 65, 100, 132, 300};
    static const int widths[] = {8, 4, 2, 1};
    for (size_t i = 0; i < 6 * 5 * 8; i++) {
        struct problem p =
            make_problem(k, ms[i % 6], ns[i / 6 % 5], ks[i / 30], widths[i % 4], i / 4 % 2);
        cr_assert(gives_expected(&p), "%s: %zu %zu %zu, %d bits", k->isa, p.m, p.n, p.k,
                  p.weights.bits);
        problem_finish(&p);
    }
}

Test(processes, buffers_at_the_end_of_memory)
{
    for_all_bundles(check_ends);
}

/* Different shapes, so that one thread's tiles would spoil the other's. */
static void check_threads(const struct ht_kernels *k)
{
    struct problem p[2] = {make_problem(k, 70, 50, 300, 8, false),
                           make_problem(k, 45, 96, 128, 4, true)};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, many_rounds, &p[0]), 0);
    many_rounds(&p[1]);
    pthread_join(thread, NULL);
    for (int i = 0; i < 2; i++) {
        cr_assert(p[i].same, "%s: thread %d", k->isa, i);
        problem_finish(&p[i]);
    }
}

Test(processes, two_threads)
{
    for_all_bundles(check_threads);
}

/* A thread that was there before anybody asked for kernels. */
static pthread_barrier_t chosen;

static void *early(void *user)
{
    pthread_barrier_wait(&chosen);
    return many_rounds(user);
}

Test(processes, thread_from_before_the_choice)
{
    static struct problem p;
    struct ht_kernels k;
    pthread_t thread;
    pthread_barrier_init(&chosen, NULL, 2);
    cr_assert_eq(pthread_create(&thread, NULL, early, &p), 0);
    ht_kernels_init(&k, HT_ISA_ALL);
    p = make_problem(&k, 70, 50, 300, 8, false);
    pthread_barrier_wait(&chosen);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&chosen);
    cr_assert(p.same);
    problem_finish(&p);
}

/* Both use it at the same time; then the child's child. */
static void check_fork(const struct ht_kernels *k)
{
    struct problem p = make_problem(k, 70, 50, 300, 8, true);
    cr_assert(gives_expected(&p), "%s", k->isa);
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    many_rounds(&p);
    if (child == 0) {
        const pid_t grandchild = fork();
        int status = 1;
        if (grandchild == 0)
            _exit(gives_expected(&p) ? 0 : 1);
        waitpid(grandchild, &status, 0);
        _exit(p.same && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: the child: %d", k->isa, status);
    cr_assert(p.same, "%s: the parent", k->isa);
    problem_finish(&p);
}

Test(processes, forked_children)
{
    for_all_bundles(check_fork);
}
