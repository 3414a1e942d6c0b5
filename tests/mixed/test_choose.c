/* The choice under a budget against trying everything. */
#include "support.h"

#include <math.h>

#include "base/rng.h"
#include "mixed/choose.h"

#define MAX_STAGES  7
#define MAX_OPTIONS 6
#define MAX_STATES  3

struct problem {
    struct ht_choice c;
    double loss[MAX_STAGES * MAX_OPTIONS];
    uint64_t cost[MAX_STAGES * MAX_STATES * MAX_OPTIONS];
    size_t state[MAX_STAGES * MAX_OPTIONS];
};

static uint64_t draw(uint64_t seed, uint64_t *counter, uint64_t below)
{
    return ht_rng_below(seed, HT_RNG_TEST, (*counter)++, below);
}

/* Small whole costs, so that many choices cost the same; losses below 0, and options that are not
 * to be had. */
static void make(struct problem *p, uint64_t seed)
{
    uint64_t n = 0;
    const size_t stages = 1 + draw(seed, &n, MAX_STAGES), options = 1 + draw(seed, &n, MAX_OPTIONS);
    const size_t states = 1 + draw(seed, &n, MAX_STATES);
    p->c = (struct ht_choice){stages, options, states, p->loss, p->cost, p->state};
    for (size_t i = 0; i < stages * options; i++) {
        const bool missing = i % options != 0 && draw(seed, &n, 8) == 0;
        p->loss[i] = missing ? (double)INFINITY : (double)draw(seed, &n, 1000) / 100 - 1;
        p->state[i] = draw(seed, &n, states);
    }
    for (size_t i = 0; i < stages * states * options; i++)
        p->cost[i] = draw(seed, &n, 30);
}

static void evaluate(const struct ht_choice *c, const size_t *chosen, double *loss, uint64_t *cost)
{
    size_t state = 0;
    *loss = 0;
    *cost = 0;
    for (size_t k = 0; k < c->stages; k++) {
        *loss += c->loss[k * c->options + chosen[k]];
        *cost += c->cost[(k * c->states + state) * c->options + chosen[k]];
        state = c->state ? c->state[k * c->options + chosen[k]] : 0;
    }
}

/* The least loss within the budget (INFINITY: none), and the least cost of all. */
static double try_all(const struct ht_choice *c, uint64_t budget, uint64_t *least)
{
    size_t chosen[MAX_STAGES] = {0}, k = 0;
    double best = INFINITY, loss;
    uint64_t cost;
    *least = UINT64_MAX;
    while (k < c->stages) {
        evaluate(c, chosen, &loss, &cost);
        if (!isinf(loss) && cost < *least)
            *least = cost;
        if (cost <= budget && loss < best)
            best = loss;
        for (k = 0; k < c->stages && ++chosen[k] == c->options; k++)
            chosen[k] = 0;
    }
    return best;
}

Test(choose, as_good_as_trying_everything)
{
    struct problem p;
    struct ht_error err = {0};
    size_t chosen[MAX_STAGES], solved = 0, refused = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        uint64_t least, found, cost;
        double loss;
        make(&p, seed);
        try_all(&p.c, 0, &least);
        ASSERT_OK(ht_choose_least(&p.c, &found, &err), err);
        cr_assert_eq(found, least, "seed %d", (int)seed);
        for (uint64_t budget = least > 5 ? least - 5 : 0; budget < least + 60; budget += 3) {
            const double best = try_all(&p.c, budget, &least);
            const enum ht_status status = ht_choose(&p.c, budget, chosen, &err);
            if (isinf(best)) {
                cr_assert_eq(status, HT_ERR_CONFIG);
                char number[32];
                snprintf(number, sizeof number, "%d", (int)least);
                cr_assert(strstr(err.msg, number), "%s", err.msg);
                refused++;
                continue;
            }
            ASSERT_OK(status, err);
            evaluate(&p.c, chosen, &loss, &cost);
            cr_assert(cost <= budget, "seed %d: %d over %d", (int)seed, (int)cost, (int)budget);
            cr_assert(fabs(loss - best) < 1e-12, "seed %d, budget %d: %g, best %g", (int)seed,
                      (int)budget, loss, best);
            solved++;
        }
    }
    cr_assert(solved > 5000 && refused > 200, "%zu %zu", solved, refused);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* As large as networks get: 128 layers, 8 widths of weights and of activations. It ends, keeps the
 * budget, and no single change within the budget makes it better. */
Test(choose, large)
{
    enum { STAGES = 128, WIDTHS = 8, OPTIONS = WIDTHS * WIDTHS };
    struct ht_error err = {0};
    double *loss = malloc(STAGES * OPTIONS * sizeof *loss), got, changed;
    uint64_t *cost = malloc(STAGES * WIDTHS * OPTIONS * sizeof *cost), spent, total = 0;
    size_t *state = malloc(STAGES * OPTIONS * sizeof *state), chosen[STAGES];
    for (size_t k = 0; k < STAGES; k++) {
        const uint64_t macs = 1000 + ht_rng_below(1, HT_RNG_TEST, k, 1000000);
        const double weight = ht_rng_uniform(2, HT_RNG_TEST, k);
        total += macs * 16;
        for (size_t o = 0; o < OPTIONS; o++) {
            const size_t w = o / WIDTHS, a = o % WIDTHS;
            loss[k * OPTIONS + o] = weight * (pow(4, -(double)w) + pow(3, -(double)a)) +
                                    1e-4 * ht_rng_uniform(3, HT_RNG_TEST, k * OPTIONS + o);
            state[k * OPTIONS + o] = a;
            for (size_t s = 0; s < WIDTHS; s++)
                cost[(k * WIDTHS + s) * OPTIONS + o] = macs * (w + 1) * (s + 1);
        }
    }
    const struct ht_choice c = {STAGES, OPTIONS, WIDTHS, loss, cost, state};
    ASSERT_OK(ht_choose(&c, total, chosen, &err), err);
    evaluate(&c, chosen, &got, &spent);
    cr_assert(spent <= total && (double)spent > 0.999 * (double)total);
    for (size_t k = 0; k < STAGES; k++) {
        const size_t kept = chosen[k];
        for (chosen[k] = 0; chosen[k] < OPTIONS; chosen[k]++) {
            evaluate(&c, chosen, &changed, &spent);
            cr_assert(spent > total || changed >= got - 1e-12, "layer %zu", k);
        }
        chosen[k] = kept;
    }
    free(loss);
    free(cost);
    free(state);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(choose, out_of_memory)
{
    struct problem p;
    struct ht_error err = {0};
    size_t chosen[MAX_STAGES];
    uint64_t least;
    make(&p, 3);
    for (long at = 1; at <= 6; at++) {
        ht_alloc_fail_at(at);
        cr_assert_eq(ht_choose(&p.c, 1000, chosen, &err), HT_ERR_MEMORY);
        ht_alloc_fail_at(at);
        cr_assert_eq(ht_choose_least(&p.c, &least, &err), HT_ERR_MEMORY);
        ht_alloc_fail_at(0);
        cr_assert_eq(ht_alloc_live(), 0);
    }
}
