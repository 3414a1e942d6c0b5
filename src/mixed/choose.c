/* Dynamic programming over partial choices that no other one dominates, and that a Lagrangian bound
 * does not rule out (Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, ch. 11). */
#include "mixed/choose.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define MAX_PARTIAL ((size_t)1 << 22) /* partial choices kept, 96 MiB */
#define SEARCH      60                /* steps of the search for the multiplier */

/* The first stages' options, as the last of them and what it was added to. */
struct partial {
    uint64_t cost;
    double loss;
    uint32_t before; /* its number among the partial choices of the stage before */
    uint16_t option, state;
};

struct solver {
    const struct ht_choice *c;
    uint64_t budget;
    double multiplier;   /* of the costs in the bound */
    double *rest;        /* [stages + 1, states] least loss + multiplier * cost of what follows */
    double *least;       /* [stages + 1, states] least cost of what follows */
    double *work;        /* [stages + 1, states] */
    size_t *path;        /* [stages] */
    double best;         /* loss of the best choice found, in *chosen */
    size_t *chosen;      /* [stages] */
    struct partial *all; /* of all stages, one after the other */
    size_t *first;       /* [stages + 1] the first one of each stage */
    size_t capacity;
};

static double loss_of(const struct ht_choice *c, size_t stage, size_t option)
{
    return c->loss[stage * c->options + option];
}

static uint64_t cost_of(const struct ht_choice *c, size_t stage, size_t state, size_t option)
{
    return c->cost[(stage * c->states + state) * c->options + option];
}

static size_t state_after(const struct ht_choice *c, size_t stage, size_t option)
{
    return c->state ? c->state[stage * c->options + option] : 0;
}

/* rest[stage, state]: the least of loss_weight * loss + multiplier * cost from there to the end. */
static void walk_back(const struct ht_choice *c, double loss_weight, double multiplier,
                      double *rest)
{
    for (size_t s = 0; s < c->states; s++)
        rest[c->stages * c->states + s] = 0;
    for (size_t k = c->stages; k-- > 0;)
        for (size_t s = 0; s < c->states; s++) {
            double best = INFINITY;
            for (size_t o = 0; o < c->options; o++) {
                if (isinf(loss_of(c, k, o)))
                    continue;
                const double v = loss_weight * loss_of(c, k, o) +
                                 multiplier * (double)cost_of(c, k, s, o) +
                                 rest[(k + 1) * c->states + state_after(c, k, o)];
                best = v < best ? v : best;
            }
            rest[k * c->states + s] = best;
        }
}

/* The options that gave rest[0, 0]; among equal ones the cheapest. Returns their cost. */
static uint64_t follow(const struct ht_choice *c, double loss_weight, double multiplier,
                       const double *rest, size_t *path, double *loss)
{
    uint64_t cost = 0;
    size_t s = 0;
    *loss = 0;
    for (size_t k = 0; k < c->stages; k++) {
        double best = INFINITY;
        for (size_t o = 0; o < c->options; o++) {
            if (isinf(loss_of(c, k, o)))
                continue;
            const double v = loss_weight * loss_of(c, k, o) +
                             multiplier * (double)cost_of(c, k, s, o) +
                             rest[(k + 1) * c->states + state_after(c, k, o)];
            const bool cheaper = v == best && cost_of(c, k, s, o) < cost_of(c, k, s, path[k]);
            if (v < best || cheaper) {
                best = v;
                path[k] = o;
            }
        }
        cost += cost_of(c, k, s, path[k]);
        *loss += loss_of(c, k, path[k]);
        s = state_after(c, k, path[k]);
    }
    return cost;
}

/* The best choice for one multiplier: kept if it is within the budget and better than before. */
static bool try_multiplier(struct solver *v, double multiplier, double *bound)
{
    double loss;
    walk_back(v->c, 1, multiplier, v->work);
    const uint64_t cost = follow(v->c, 1, multiplier, v->work, v->path, &loss);
    *bound = v->work[0] - multiplier * (double)v->budget;
    if (cost > v->budget)
        return false;
    if (loss < v->best) {
        v->best = loss;
        memcpy(v->chosen, v->path, v->c->stages * sizeof *v->path);
    }
    return true;
}

/* A good choice, and the multiplier with the best lower bound for all others. Doubling finds a
 * multiplier at which the budget is kept, halving the interval the largest bound. */
static void relax(struct solver *v)
{
    double low = 0, high = 1e-12, bound, best_bound;
    const bool fits = try_multiplier(v, 0, &best_bound);
    for (int i = 0; !fits && i < 200 && !try_multiplier(v, high, &bound); i++) {
        low = high;
        high *= 2;
    }
    for (int i = 0; !fits && i < SEARCH; i++) {
        const double middle = (low + high) / 2;
        const bool kept = try_multiplier(v, middle, &bound);
        if (bound > best_bound) {
            best_bound = bound;
            v->multiplier = middle;
        }
        *(kept ? &high : &low) = middle;
    }
    walk_back(v->c, 1, v->multiplier, v->rest);
}

static bool worth_keeping(const struct solver *v, const struct partial *p, size_t stage)
{
    const size_t at = stage * v->c->states + p->state;
    const double bound = p->loss + v->multiplier * ((double)p->cost - (double)v->budget);
    return p->cost <= v->budget && (double)p->cost + v->least[at] <= (double)v->budget &&
           bound + v->rest[at] < v->best;
}

static int by_state_and_cost(const void *a, const void *b)
{
    const struct partial *p = a, *q = b;
    if (p->state != q->state)
        return p->state < q->state ? -1 : 1;
    if (p->cost != q->cost)
        return p->cost < q->cost ? -1 : 1;
    if (p->loss != q->loss)
        return p->loss < q->loss ? -1 : 1;
    if (p->before != q->before)
        return p->before < q->before ? -1 : 1;
    return (p->option > q->option) - (p->option < q->option);
}

/* Of those in the same state only the ones that lose less than all cheaper ones. */
static size_t drop_dominated(struct partial *p, size_t n)
{
    size_t kept = 0;
    qsort(p, n, sizeof *p, by_state_and_cost);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || p[i].state != p[kept - 1].state || p[i].loss < p[kept - 1].loss)
            p[kept++] = p[i];
    return kept;
}

static enum ht_status add_stage(struct solver *v, size_t k, struct ht_error *err)
{
    const struct ht_choice *c = v->c;
    const size_t from = v->first[k], to = v->first[k + 1];
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        for (size_t o = 0; o < c->options; o++) {
            if (isinf(loss_of(c, k, o)))
                continue;
            const struct partial p = {v->all[i].cost + cost_of(c, k, v->all[i].state, o),
                                      v->all[i].loss + loss_of(c, k, o), (uint32_t)(i - from),
                                      (uint16_t)o, (uint16_t)state_after(c, k, o)};
            if (!worth_keeping(v, &p, k + 1))
                continue;
            if (to + n == v->capacity) {
                struct partial *all = v->capacity < MAX_PARTIAL
                                          ? ht_grow(v->all, 2 * v->capacity, sizeof *all)
                                          : NULL;
                if (!all)
                    return ht_fail_memory(err);
                v->all = all;
                v->capacity *= 2;
            }
            v->all[to + n++] = p;
        }
    v->first[k + 2] = to + drop_dominated(v->all + to, n);
    return HT_OK;
}

static void take_best(struct solver *v)
{
    const size_t stages = v->c->stages;
    size_t best = 0;
    for (size_t i = v->first[stages]; i < v->first[stages + 1]; i++)
        if (v->all[i].loss < v->best) {
            v->best = v->all[i].loss;
            best = i;
        }
    for (size_t k = stages; best && k-- > 0;) {
        v->chosen[k] = v->all[best].option;
        best = v->first[k] + v->all[best].before;
    }
}

static enum ht_status make_solver(struct solver *v, const struct ht_choice *c, size_t *chosen,
                                  struct ht_error *err)
{
    const size_t n = (c->stages + 1) * c->states;
    memset(v, 0, sizeof *v);
    v->c = c;
    v->chosen = chosen;
    v->best = INFINITY;
    v->capacity = 1024;
    v->rest = ht_calloc(n, sizeof *v->rest);
    v->least = ht_calloc(n, sizeof *v->least);
    v->work = ht_calloc(n, sizeof *v->work);
    v->path = ht_calloc(c->stages, sizeof *v->path);
    v->first = ht_calloc(c->stages + 2, sizeof *v->first);
    v->all = ht_grow(NULL, v->capacity, sizeof *v->all);
    if (!v->rest || !v->least || !v->work || !v->path || !v->first || !v->all)
        return ht_fail_memory(err);
    walk_back(c, 0, 1, v->least);
    return HT_OK;
}

static void finish_solver(struct solver *v)
{
    ht_free(v->rest);
    ht_free(v->least);
    ht_free(v->work);
    ht_free(v->path);
    ht_free(v->first);
    ht_free(v->all);
}

enum ht_status ht_choose_least(const struct ht_choice *c, uint64_t *ret, struct ht_error *err)
{
    struct solver v;
    double loss;
    enum ht_status status = make_solver(&v, c, NULL, err);
    if (status == HT_OK)
        *ret = follow(c, 0, 1, v.least, v.path, &loss);
    finish_solver(&v);
    return status;
}

enum ht_status ht_choose(const struct ht_choice *c, uint64_t budget, size_t *chosen,
                         struct ht_error *err)
{
    struct solver v;
    enum ht_status status = make_solver(&v, c, chosen, err);
    if (status == HT_OK) {
        v.budget = budget;
        const uint64_t least = follow(c, 0, 1, v.least, chosen, &v.best);
        if (least > budget)
            status = ht_fail(err, HT_ERR_CONFIG,
                             "a budget of %llu is too small: the smallest possible is %llu",
                             (unsigned long long)budget, (unsigned long long)least);
    }
    if (status == HT_OK) {
        relax(&v);
        /* Nothing chosen yet is a partial choice, too. */
        v.all[0] = (struct partial){0};
        v.first[1] = 1;
    }
    for (size_t k = 0; status == HT_OK && k < c->stages; k++)
        status = add_stage(&v, k, err);
    if (status == HT_OK)
        take_best(&v);
    finish_solver(&v);
    return status;
}
