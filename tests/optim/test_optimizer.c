/* Optimizers against a scalar rewrite in double, and against cases computed by hand. */
#include <float.h>
#include <math.h>

#include "base/rng.h"
#include "optim/optimizer.h"
#include "support.h"

/* Two decayed spans around one that is not, with sizes that leave padding between them. */
static const size_t sizes[] = {37, 5, 64};
#define N_SPANS 3

static void make_params(struct ht_params *p)
{
    struct ht_error err = {0};
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < N_SPANS; i++)
        ht_params_declare(p, "p", 1, sizes[i], i == 1 ? 0 : HT_SPAN_DECAY, 0, 0);
    ASSERT_OK(ht_params_allocate(p, true, &err), err);
    for (size_t i = 0; i < N_SPANS; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            p->value[p->spans[i].offset + j] = (float)ht_rng_uniform(i, 1, j) * 2 - 1;
}

static void set_gradients(struct ht_params *p, uint64_t step)
{
    for (size_t i = 0; i < N_SPANS; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            p->grad[p->spans[i].offset + j] =
                (float)ht_rng_normal(i, 2 + step, j) * (j % 5 == 0 ? 1e-3f : 1);
}

/* --- independent: one number at a time, written from the papers --- */

struct scalar {
    double p, m, v;
};

static void scalar_sgd(struct scalar *s, const struct ht_optimizer_config *c, double g, double rate,
                       double decay, int step)
{
    g += decay * s->p;
    if (c->momentum > 0) {
        s->m = step == 1 ? g : c->momentum * s->m + g;
        g = c->nesterov ? g + c->momentum * s->m : s->m;
    }
    s->p -= rate * g;
}

static void scalar_adam(struct scalar *s, const struct ht_optimizer_config *c, double g,
                        double rate, double decay, int step)
{
    if (strcmp(c->name, "adamw") == 0)
        s->p -= rate * decay * s->p;
    else
        g += decay * s->p;
    s->m = c->beta1 * s->m + (1 - c->beta1) * g;
    s->v = c->beta2 * s->v + (1 - c->beta2) * g * g;
    const double m = s->m / (1 - pow(c->beta1, step)), v = s->v / (1 - pow(c->beta2, step));
    s->p -= rate * m / (sqrt(v) + c->epsilon);
}

#define STEPS 50

static void compare(const struct ht_optimizer_config *c, double rate)
{
    struct ht_params p;
    struct ht_optimizer *o;
    struct ht_error err = {0};
    static struct scalar expected[N_SPANS][64];
    make_params(&p);
    for (size_t i = 0; i < N_SPANS; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            expected[i][j] = (struct scalar){(double)p.value[p.spans[i].offset + j], 0, 0};
    ASSERT_OK(ht_optimizer_create(&o, c, &p, &err), err);
    for (int step = 1; step <= STEPS; step++) {
        set_gradients(&p, (uint64_t)step);
        ht_optimizer_step(o, rate / step, 0, NULL);
        for (size_t i = 0; i < N_SPANS; i++)
            for (size_t j = 0; j < sizes[i]; j++) {
                struct scalar *s = &expected[i][j];
                const double decay = p.spans[i].flags & HT_SPAN_DECAY ? c->weight_decay : 0;
                const size_t at = p.spans[i].offset + j;
                if (strcmp(c->name, "sgd") == 0)
                    scalar_sgd(s, c, (double)p.grad[at], rate / step, decay, step);
                else
                    scalar_adam(s, c, (double)p.grad[at], rate / step, decay, step);
                /* One rounding of the value each step, and a few of its change, which is of the
                 * size of the rate. */
                const double tolerance = step * FLT_EPSILON * (fabs(s->p) + 20 * rate);
                cr_assert(fabs((double)p.value[at] - s->p) <= tolerance,
                          "%s step %d, span %zu[%zu]: %.9g, expected %.9g", c->name, step, i, j,
                          (double)p.value[at], s->p);
            }
    }
    cr_assert_eq(o->step, STEPS);
    for (size_t i = 0; i < N_SPANS; i++) /* padding stays 0 */
        for (size_t at = p.spans[i].offset + sizes[i]; at % 16; at++) {
            cr_assert_eq(p.value[at], 0);
            for (int k = 0; k < o->n_slots; k++)
                cr_assert_eq(o->slots[k][at], 0);
        }
    ht_optimizer_destroy(o);
    ht_params_finish(&p);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(optimizer, sgd)
{
    struct ht_optimizer_config c = {.name = "sgd"};
    compare(&c, 0.1);
    c.weight_decay = 0.01;
    compare(&c, 0.1);
    c.momentum = 0.9;
    compare(&c, 0.1);
    c.nesterov = true;
    compare(&c, 0.1);
}

Test(optimizer, adam)
{
    struct ht_optimizer_config c;
    cr_assert(ht_optimizer_defaults(&c, "adam"));
    compare(&c, 0.01);
    c.weight_decay = 0.1;
    compare(&c, 0.01);
    c.beta1 = 0.5;
    c.beta2 = 0.9;
    c.epsilon = 1e-3;
    compare(&c, 0.01);
}

Test(optimizer, adamw)
{
    struct ht_optimizer_config c;
    cr_assert(ht_optimizer_defaults(&c, "adamw"));
    compare(&c, 0.01);
    c.weight_decay = 0.3;
    compare(&c, 0.01);
}

/* --- by hand --- */

/* One parameter. */
static void make_one(struct ht_params *p, float value, float grad, unsigned flags, float minimum)
{
    struct ht_error err = {0};
    memset(p, 0, sizeof *p);
    ht_params_declare(p, "p", 1, 1, flags, value, minimum);
    ASSERT_OK(ht_params_allocate(p, true, &err), err);
    p->grad[0] = grad;
}

static struct ht_optimizer *make_optimizer(const struct ht_optimizer_config *c, struct ht_params *p)
{
    struct ht_optimizer *o;
    struct ht_error err = {0};
    ASSERT_OK(ht_optimizer_create(&o, c, p, &err), err);
    return o;
}

/* Kingma and Ba 2015, sec. 2.1: the first step is the learning rate, whatever the gradient. */
Test(optimizer, first_step_of_adam_is_the_sign_of_the_gradient)
{
    static const float gradients[] = {3, -0.01f, 1e5f, -42};
    for (int decoupled = 0; decoupled <= 1; decoupled++)
        for (size_t i = 0; i < 4; i++) {
            struct ht_optimizer_config c;
            struct ht_params p;
            ht_optimizer_defaults(&c, decoupled ? "adamw" : "adam");
            make_one(&p, 2, gradients[i], 0, 0);
            struct ht_optimizer *o = make_optimizer(&c, &p);
            ht_optimizer_step(o, 0.25, 0, NULL);
            /* epsilon takes off 1e-8 / |g| of it */
            cr_assert_float_eq(p.value[0], gradients[i] > 0 ? 1.75f : 2.25f, 1e-6);
            ht_optimizer_destroy(o);
            ht_params_finish(&p);
        }
}

/* Gradient 1 three times, momentum 0.5, rate 1: the buffer is 1, 1.5, 1.75. */
Test(optimizer, momentum_by_hand)
{
    struct ht_params p;
    struct ht_optimizer_config c = {.name = "sgd", .momentum = 0.5};
    static const float plain[] = {-1, -2.5f, -4.25f}, nesterov[] = {-1.5f, -3.25f, -5.125f};
    for (int k = 0; k <= 1; k++) {
        c.nesterov = k;
        make_one(&p, 0, 1, 0, 0);
        struct ht_optimizer *o = make_optimizer(&c, &p);
        cr_assert_eq(o->n_slots, 1);
        cr_assert_str_eq(o->slot_names[0], "momentum");
        for (int i = 0; i < 3; i++) {
            ht_optimizer_step(o, 1, 0, NULL);
            cr_assert_eq(p.value[0], k ? nesterov[i] : plain[i]);
        }
        cr_assert_eq(o->slots[0][0], 1.75f);
        ht_optimizer_destroy(o);
        ht_params_finish(&p);
    }
}

/* Without a gradient decoupled decay is p * (1 - rate * decay); of L2 in Adam only a sign is left
 * (Loshchilov and Hutter 2019, sec. 2). Unflagged spans do not decay at all. */
Test(optimizer, weight_decay)
{
    static const struct {
        const char *name;
        float flagged;
    } cases[] = {{"sgd", 4 * 0.95f}, {"adam", 3.5f}, {"adamw", 4 * 0.95f}};
    for (size_t i = 0; i < 3; i++)
        for (unsigned flags = 0; flags <= HT_SPAN_DECAY; flags += HT_SPAN_DECAY) {
            struct ht_optimizer_config c;
            struct ht_params p;
            ht_optimizer_defaults(&c, cases[i].name);
            c.weight_decay = 0.1;
            make_one(&p, 4, 0, flags, 0);
            struct ht_optimizer *o = make_optimizer(&c, &p);
            ht_optimizer_step(o, 0.5, 0, NULL);
            cr_assert_float_eq(p.value[0], flags ? cases[i].flagged : 4, 1e-6, "%s: %g",
                               cases[i].name, (double)p.value[0]);
            ht_optimizer_destroy(o);
            ht_params_finish(&p);
        }
}

Test(optimizer, minimum_is_kept)
{
    static const char *const names[] = {"sgd", "adam", "adamw"};
    for (size_t i = 0; i < 3; i++) {
        struct ht_optimizer_config c;
        struct ht_params p;
        ht_optimizer_defaults(&c, names[i]);
        make_one(&p, 1, 100, 0, 0.125f);
        struct ht_optimizer *o = make_optimizer(&c, &p);
        ht_optimizer_step(o, 10, 0, NULL);
        cr_assert_eq(p.value[0], 0.125f);
        p.grad[0] = -1;
        ht_optimizer_step(o, 100, 0, NULL); /* and it may leave again */
        cr_assert(i == 0 ? p.value[0] == 100.125f : p.value[0] >= 0.125f);
        ht_optimizer_destroy(o);
        ht_params_finish(&p);
        make_one(&p, 1, 100, 0, 0); /* none asked for */
        o = make_optimizer(&c, &p);
        ht_optimizer_step(o, 10, 0, NULL);
        cr_assert_lt(p.value[0], 0);
        ht_optimizer_destroy(o);
        ht_params_finish(&p);
    }
}

/* A checkpoint holds step and slots: with them restored, training goes on bit for bit. */
Test(optimizer, state_can_be_restored)
{
    struct ht_optimizer_config c;
    struct ht_params p, q;
    ht_optimizer_defaults(&c, "adamw");
    make_params(&p);
    make_params(&q);
    struct ht_optimizer *o = make_optimizer(&c, &p), *r = make_optimizer(&c, &q);
    for (uint64_t i = 0; i < 5; i++) {
        set_gradients(&p, i);
        ht_optimizer_step(o, 0.01, 0, NULL);
    }
    cr_assert_eq(o->n_slots, 2);
    memcpy(q.value, p.value, p.n * sizeof *p.value);
    for (int k = 0; k < o->n_slots; k++)
        memcpy(r->slots[k], o->slots[k], p.n * sizeof *p.value);
    r->step = o->step;
    for (uint64_t i = 5; i < 9; i++) {
        set_gradients(&p, i);
        set_gradients(&q, i);
        ht_optimizer_step(o, 0.01, 0, NULL);
        ht_optimizer_step(r, 0.01, 0, NULL);
    }
    cr_assert_eq(memcmp(p.value, q.value, p.n * sizeof *p.value), 0);
    ht_optimizer_destroy(o);
    ht_optimizer_destroy(r);
    ht_params_finish(&p);
    ht_params_finish(&q);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- failures --- */

Test(optimizer, bad_settings_are_refused)
{
    static const struct ht_optimizer_config bad[] = {
        {.name = "rmsprop"},
        {.name = "sgd", .momentum = 1},
        {.name = "sgd", .momentum = -0.1},
        {.name = "sgd", .nesterov = true},
        {.name = "sgd", .weight_decay = -1},
        {.name = "adam", .beta1 = 0.9, .beta2 = 1, .epsilon = 1e-8},
        {.name = "adam", .beta1 = -1, .beta2 = 0.9, .epsilon = 1e-8},
        {.name = "adamw", .beta1 = 0.9, .beta2 = 0.9},
        {.name = "adamw", .beta1 = 0.9, .beta2 = 0.9, .epsilon = NAN},
    };
    struct ht_params p;
    struct ht_optimizer_config c;
    make_one(&p, 1, 1, 0, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ht_optimizer *o = NULL;
        struct ht_error err = {0};
        cr_assert_eq(ht_optimizer_create(&o, &bad[i], &p, &err), HT_ERR_CONFIG, "case %zu", i);
        cr_assert_not_null(strstr(err.msg, bad[i].name));
        cr_assert_null(o);
    }
    cr_assert(!ht_optimizer_defaults(&c, "rmsprop"));
    ht_optimizer_destroy(NULL);
    ht_params_finish(&p);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(optimizer, out_of_memory)
{
    struct ht_params p;
    struct ht_optimizer_config c;
    struct ht_error err = {0};
    ht_optimizer_defaults(&c, "adam");
    make_one(&p, 1, 1, 0, 0);
    const long live = ht_alloc_live();
    for (long n = 1; n <= 4; n++) {
        struct ht_optimizer *o = NULL;
        ht_alloc_fail_at(n);
        cr_assert_eq(ht_optimizer_create(&o, &c, &p, &err), HT_ERR_MEMORY);
        cr_assert_eq(ht_alloc_live(), live);
    }
    ht_params_finish(&p);
}

/* --- gradients --- */

static struct ht_optimizer *make_sgd(struct ht_params *p, double momentum)
{
    struct ht_optimizer_config c = {0};
    struct ht_optimizer *o = NULL;
    struct ht_error err = {0};
    cr_assert(ht_optimizer_defaults(&c, "sgd"));
    c.momentum = momentum;
    ASSERT_OK(ht_optimizer_create(&o, &c, p, &err), err);
    return o;
}

/* With a rate of 0 a step only measures. */
static double norm_of(struct ht_optimizer *o)
{
    return ht_optimizer_step(o, 0, 0, NULL).gradient_norm;
}

Test(gradient, norm)
{
    struct ht_params p;
    double sum = 0;
    make_params(&p);
    struct ht_optimizer *o = make_sgd(&p, 0);
    set_gradients(&p, 1);
    for (size_t i = 0; i < p.n; i++)
        sum += (double)p.grad[i] * (double)p.grad[i];
    const double norm = norm_of(o);
    cr_assert_float_eq(norm, sqrt(sum), 1e-13 * norm); /* another order of the same sum */
    cr_assert_eq(norm, norm_of(o));
    memset(p.grad, 0, p.n * sizeof *p.grad);
    cr_assert_eq(norm_of(o), 0);
    p.grad[p.spans[1].offset + 4] = -3; /* in the tail of a span */
    p.grad[p.spans[2].offset] = 4;
    cr_assert_eq(norm_of(o), 5);
    p.grad[0] = 3e38f; /* its square does not fit in a float */
    cr_assert_float_eq(norm_of(o) / (double)3e38f, 1, 1e-12);
    ht_optimizer_destroy(o);
    ht_params_finish(&p);
}

Test(gradient, clipped_to_the_norm)
{
    struct ht_params p;
    make_params(&p);
    struct ht_optimizer *o = make_sgd(&p, 0);
    set_gradients(&p, 1);
    const double norm = norm_of(o);
    cr_assert_eq(ht_optimizer_step(o, 0, 2 * norm, NULL).gradient_norm, norm);
    cr_assert_eq(norm_of(o), norm, "not clipped where it need not be");
    cr_assert_eq(ht_optimizer_step(o, 0, 0.5, NULL).gradient_norm, norm, "the norm before");
    cr_assert_float_eq(norm_of(o), 0.5, 1e-7); /* each element is rounded once */
    ht_optimizer_destroy(o);
    ht_params_finish(&p);
}

Test(gradient, norm_is_not_finite_if_a_gradient_is_not)
{
    struct ht_params p;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    make_params(&p);
    struct ht_optimizer *o = make_sgd(&p, 0.9);
    ht_real *before = ht_calloc(p.n, sizeof *before);
    cr_assert_not_null(before);
    memcpy(before, p.value, p.n * sizeof *before);
    for (size_t i = 0; i < N_SPANS; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            for (size_t k = 0; k < 3; k++) {
                set_gradients(&p, 1);
                p.grad[p.spans[i].offset + j] = bad[k];
                cr_assert(!isfinite(ht_optimizer_step(o, 1, 1, NULL).gradient_norm));
                cr_assert_arr_eq(p.value, before, p.n * sizeof *before, "clipping: no step");
            }
    cr_assert_eq(o->step, 0);
    cr_assert(!isfinite(ht_optimizer_step(o, 1, 0, NULL).gradient_norm));
    ht_free(before);
    ht_optimizer_destroy(o);
    ht_params_finish(&p);
}

Test(gradient, says_which_steps_leave_the_finite_numbers)
{
    struct ht_params p;
    make_params(&p);
    struct ht_optimizer *o = make_sgd(&p, 0);
    for (size_t i = 0; i < N_SPANS; i++)
        for (size_t j = 0; j < sizes[i]; j++) {
            ht_real *value = &p.value[p.spans[i].offset + j], old = *value;
            memset(p.grad, 0, p.n * sizeof *p.grad);
            cr_assert(ht_optimizer_step(o, 1, 0, NULL).finite);
            *value = 3e38f;
            p.grad[p.spans[i].offset + j] = -3e38f;
            cr_assert(!ht_optimizer_step(o, 1, 0, NULL).finite);
            *value = old;
        }
    ht_optimizer_destroy(o);
    ht_params_finish(&p);
}

/* Without the norm a gradient that is not finite shows in the parameters. */
Test(gradient, not_finite_is_seen_without_the_norm)
{
    static const char *const names[] = {"sgd", "adam", "adamw"};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t c = 0; c < 2 * 3 * 3; c++) {
        struct ht_params p;
        struct ht_optimizer_config config = {0};
        struct ht_optimizer *o = NULL;
        struct ht_error err = {0};
        make_params(&p);
        cr_assert(ht_optimizer_defaults(&config, names[c % 3]));
        if (c % 3 == 0)
            config.momentum = c < 9 ? 0.9 : 0;
        ASSERT_OK(ht_optimizer_create(&o, &config, &p, &err), err);
        set_gradients(&p, 1);
        ht_optimizer_begin(o, 0.1, false);
        cr_assert(ht_optimizer_end(o, NULL).finite);
        p.grad[p.spans[N_SPANS - 1].offset] = bad[c / 3 % 3];
        ht_optimizer_begin(o, 0.1, false);
        const struct ht_optimizer_result r = ht_optimizer_end(o, NULL);
        cr_assert(!r.finite, "%s, %g", names[c % 3], (double)bad[c / 3 % 3]);
        cr_assert_eq(r.gradient_norm, 0);
        ht_optimizer_destroy(o);
        ht_params_finish(&p);
    }
}

/* Rows that are stepped early, in any order, change nothing. */
Test(gradient, steps_by_rows_are_the_whole_step)
{
    struct ht_params p[2] = {{0}, {0}};
    struct ht_optimizer_config c = {0};
    struct ht_optimizer *o[2] = {NULL, NULL};
    struct ht_error err = {0};
    double norm[2] = {0, 0};
    cr_assert(ht_optimizer_defaults(&c, "adam"));
    for (int k = 0; k < 2; k++) {
        ht_params_declare(&p[k], "w", 200, 300, HT_SPAN_DECAY, 1, 0);
        ht_params_declare(&p[k], "b", 1, 200, 0, 0, 0);
        ASSERT_OK(ht_params_allocate(&p[k], true, &err), err);
        ASSERT_OK(ht_optimizer_create(&o[k], &c, &p[k], &err), err);
        for (int step = 1; step <= 3; step++) {
            for (size_t i = 0; i < p[k].n; i++)
                p[k].grad[i] = (ht_real)((double)((i * 7919 + (size_t)step) % 1000) / 100 - 5);
            ht_optimizer_begin(o[k], 0.01, true);
            if (k == 1) {
                ht_optimizer_update_rows(o[k], 0, 128, 72);
                ht_optimizer_update_rows(o[k], 0, 0, 64);
            }
            norm[k] = ht_optimizer_end(o[k], NULL).gradient_norm;
        }
    }
    cr_assert_eq(norm[0], norm[1]);
    cr_assert_arr_eq(p[0].value, p[1].value, p[0].n * sizeof(ht_real));
    for (int k = 0; k < 2; k++) {
        ht_optimizer_destroy(o[k]);
        ht_params_finish(&p[k]);
    }
}

/* --- threads --- */

#define LARGE 40003 /* several parts, the last one odd */

static void train_large(const char *name, unsigned threads, ht_real *value, double *norm)
{
    struct ht_params p = {0};
    struct ht_optimizer_config c = {0};
    struct ht_optimizer *o = NULL;
    struct ht_pool *pool = NULL;
    struct ht_error err = {0};
    cr_assert(ht_optimizer_defaults(&c, name));
    c.weight_decay = 0.01;
    ht_params_declare(&p, "small", 1, 7, HT_SPAN_RELATIVE, 1, 0.5f);
    ht_params_declare(&p, "large", 1, LARGE, HT_SPAN_DECAY, 1, 0);
    ASSERT_OK(ht_params_allocate(&p, true, &err), err);
    ASSERT_OK(ht_optimizer_create(&o, &c, &p, &err), err);
    ASSERT_OK(ht_pool_create(&pool, threads, &err), err);
    for (int step = 1; step <= 3; step++) {
        for (size_t i = 0; i < p.n; i++)
            p.grad[i] = (ht_real)(((double)((i * 7919 + (size_t)step * 131) % 1000) - 500) / 100);
        *norm = ht_optimizer_step(o, 0.01, step == 2 ? 1 : 0, pool).gradient_norm;
    }
    memcpy(value, p.value + p.spans[1].offset, LARGE * sizeof *value);
    ht_pool_destroy(pool);
    ht_optimizer_destroy(o);
    ht_params_finish(&p);
}

Test(threads, give_the_same_bytes)
{
    static const char *const names[] = {"sgd", "adam", "adamw"};
    static ht_real one[LARGE], several[LARGE];
    double norm_of_one = 0, norm_of_several = 0;
    for (size_t i = 0; i < 3; i++)
        for (unsigned threads = 2; threads <= 5; threads++) {
            train_large(names[i], 1, one, &norm_of_one);
            train_large(names[i], threads, several, &norm_of_several);
            cr_assert_eq(norm_of_one, norm_of_several);
            cr_assert_arr_eq(one, several, sizeof one);
        }
    cr_assert_eq(ht_alloc_live(), 0);
}
