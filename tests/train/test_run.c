/* Checkpoints and whole runs through the C interface. */
#include "train_support.h"

#include "train/session.h"

#include <math.h>

#include "train/checkpoint.h"
#include "train/result.h"

#define LAYERS "[{dense: 8, name: one}, batchnorm, relu, {dense: 3, name: two}]"

struct parts {
    struct ht_model *model;
    struct ht_optimizer *optimizer;
    struct ht_schedule schedule;
};

static void make_parts(struct parts *p, struct fixture *f)
{
    ASSERT_OK(ht_setup_model(&p->model, f->e, 2, &f->err), f->err);
    ASSERT_OK(ht_setup_optimizer(&p->optimizer, &p->schedule, f->e, &p->model->params, &f->err),
              f->err);
}

static void destroy_parts(struct parts *p)
{
    ht_optimizer_destroy(p->optimizer);
    ht_model_destroy(p->model);
}

static void fill(ht_real *x, size_t n, int seed)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (ht_real)((double)((i * 7919 + (size_t)seed * 104729) % 1000) / 333 - 1.5);
}

/* Span by span: what lies between them is not kept. */
static void check_spans(const struct ht_params *p, const ht_real *a, const ht_real *b)
{
    for (size_t i = 0; i < p->n_spans; i++)
        cr_assert_eq(
            memcmp(a + p->spans[i].offset, b + p->spans[i].offset, p->spans[i].n * sizeof *a), 0,
            "%s", p->spans[i].name);
}

static const struct ht_progress_state a_state = {.epoch = 4,
                                                 .batch = 7,
                                                 .step = 99,
                                                 .loss_sum = 0.1,
                                                 .has_best = 1,
                                                 .best_epoch = 3,
                                                 .best_score = 1.0 / 3,
                                                 .best_loss = 2e-300,
                                                 .patience = 1};

Test(checkpoint, round_trip_is_exact)
{
    struct fixture f;
    struct parts a, b;
    char path[128], *text;
    fixture_init(&f, false, LAYERS, NULL, 0);
    make_parts(&a, &f);
    make_parts(&b, &f);
    fill(a.model->params.value, a.model->params.n, 1);
    fill(a.model->state.value, a.model->state.n, 2);
    for (int i = 0; i < a.optimizer->n_slots; i++)
        fill(a.optimizer->slots[i], a.model->params.n, 3 + i);
    a.optimizer->step = 12345678901;
    snprintf(path, sizeof path, "%s/c.h5", f.dir);
    ASSERT_OK(ht_checkpoint_save(path, a.model, a.optimizer, &a_state, "the text", "{}", &f.err),
              f.err);
    struct ht_progress_state state = {0}, progress = {0};
    ASSERT_OK(ht_checkpoint_load(path, b.model, b.optimizer, &state, &text, &f.err), f.err);
    cr_assert_str_eq(text, "the text");
    ht_free(text);
    ASSERT_OK(ht_checkpoint_experiment(path, &text, &f.err), f.err);
    cr_assert_str_eq(text, "the text");
    ht_free(text);
    ASSERT_OK(ht_checkpoint_progress(path, &progress, &f.err), f.err);
    cr_assert_eq(memcmp(&state, &a_state, sizeof state), 0);
    cr_assert_eq(memcmp(&progress, &a_state, sizeof state), 0);
    cr_assert_eq(b.optimizer->step, a.optimizer->step);
    check_spans(&a.model->params, a.model->params.value, b.model->params.value);
    check_spans(&a.model->state, a.model->state.value, b.model->state.value);
    cr_assert_gt(a.optimizer->n_slots, 0);
    for (int i = 0; i < a.optimizer->n_slots; i++)
        check_spans(&a.model->params, a.optimizer->slots[i], b.optimizer->slots[i]);
    destroy_parts(&a);
    destroy_parts(&b);
    fixture_finish(&f);
}

Test(checkpoint, refuses_values_that_are_not_finite_and_other_networks)
{
    struct fixture f, g;
    struct parts a, other;
    char path[128];
    struct ht_progress_state state;
    fixture_init(&f, false, LAYERS, NULL, 0);
    fixture_init(&g, false, "[{dense: 9, name: one}, batchnorm, relu, {dense: 3, name: two}]", NULL,
                 0);
    make_parts(&a, &f);
    make_parts(&other, &g);
    snprintf(path, sizeof path, "%s/c.h5", f.dir);
    ASSERT_OK(ht_checkpoint_save(path, a.model, a.optimizer, &a_state, "x", "{}", &f.err), f.err);
    cr_assert_eq(ht_checkpoint_load(path, other.model, other.optimizer, &state, NULL, &f.err),
                 HT_ERR_MODEL);
    cr_assert(strstr(f.err.msg, "one.weight"), "%s", f.err.msg);
    cr_assert_eq(ht_checkpoint_load_parameters(path, other.model, false, &f.err), HT_ERR_MODEL);
    a.model->params.value[3] = (ht_real)NAN;
    ASSERT_OK(ht_checkpoint_save(path, a.model, a.optimizer, &a_state, "x", "{}", &f.err), f.err);
    cr_assert_eq(ht_checkpoint_load(path, a.model, a.optimizer, &state, NULL, &f.err),
                 HT_ERR_MODEL);
    cr_assert(strstr(f.err.msg, "finite"), "%s", f.err.msg);
    destroy_parts(&a);
    destroy_parts(&other);
    ht_config_destroy(g.config);
    remove_temp_dir(g.dir);
    fixture_finish(&f);
}

static struct ht_run_result train(struct fixture *f)
{
    struct ht_run_result r;
    ASSERT_OK(ht_run_train(&r, f->e, false, NULL, NULL, &f->err), f->err);
    return r;
}

Test(run, both_paths_score_alike_and_no_output_differs)
{
    for (int regression = 0; regression < 2; regression++) {
        struct fixture f;
        struct ht_dataset *d;
        struct ht_objective o;
        struct ht_qmodel *m;
        struct ht_kernels kernels;
        struct ht_evaluation v;
        fixture_init(&f, regression, regression ? "[{dense: 8}, relu, {dense: 1}]" : LAYERS, NULL,
                     0);
        struct ht_run_result r = train(&f), read;
        cr_assert_eq(r.mismatched_outputs, 0);
        cr_assert_eq(r.outputs_compared, regression ? 18 : 18 * 3);
        cr_assert_eq(memcmp(&r.score, &r.integer_score, sizeof r.score), 0);
        ASSERT_OK(ht_setup_dataset(&d, f.e, &f.err), f.err);
        ASSERT_OK(ht_objective_init(&o, f.e, d, &f.err), f.err);
        ASSERT_OK(ht_qmodel_load(&m, r.model_path, &f.err), f.err);
        ASSERT_OK(ht_run_kernels(&kernels, &f.err), f.err);
        ASSERT_OK(ht_evaluate_integer(&v, m, &o, &kernels, NULL, d, HT_TEST, &f.err), f.err);
        cr_assert_eq(v.score, r.integer_score);
        cr_assert_eq(v.n, 18);
        /* The gate sees a single bias of the last layer that is off by one: in every sample. */
        struct ht_session session;
        struct ht_network network = {0};
        struct ht_parity p;
        ASSERT_OK(ht_session_from_checkpoint(&session, r.run_dir, &f.err), f.err);
        ASSERT_OK(ht_network_init(&network, session.model, &o, 7, true, false, NULL, &f.err),
                  f.err);
        ASSERT_OK(ht_evaluate_parity(&p, &network, m, &o, &kernels, d, HT_TEST, &f.err), f.err);
        cr_assert_eq(p.mismatched_outputs, 0);
        m->layers[m->n_layers - 1].bias[0]++;
        ASSERT_OK(ht_evaluate_parity(&p, &network, m, &o, &kernels, d, HT_TEST, &f.err), f.err);
        cr_assert_eq(p.mismatched_outputs, 18);
        cr_assert_eq(p.first_mismatch, d->index[HT_TEST][0]);
        ht_network_finish(&network);
        ht_session_finish(&session);
        ASSERT_OK(ht_run_result_read(&read, r.run_dir, &f.err), f.err);
        cr_assert_eq(read.score, r.score);
        cr_assert_str_eq(read.model_path, r.model_path);
        ht_qmodel_destroy(m);
        ht_dataset_destroy(d);
        fixture_finish(&f);
    }
}

static void stop_after(void *user, const struct ht_train_event *event)
{
    if (event->step >= 6)
        *(volatile sig_atomic_t *)user = 15;
}

Test(run, stop_and_resume_through_the_hooks)
{
    struct fixture f;
    struct ht_run_result r, whole;
    volatile sig_atomic_t stop = 0;
    struct ht_train_hooks hooks = {stop_after, (void *)(uintptr_t)&stop, &stop, NULL};
    fixture_init(&f, false, LAYERS, NULL, 0);
    whole = train(&f);
    cr_assert_eq(ht_run_train(&r, f.e, false, &hooks, NULL, &f.err), HT_ERR_INTERRUPTED);
    cr_assert_eq(f.err.signal, 15);
    cr_assert_eq(ht_error_exit_code(&f.err), 143);
    ASSERT_OK(ht_run_train(&r, f.e, true, NULL, NULL, &f.err), f.err);
    cr_assert_eq(r.score, whole.score);
    cr_assert_eq(r.validation_score, whole.validation_score);
    fixture_finish(&f);
}

/* Whichever allocation fails: an error and nothing leaked, and the run still ends as it did. */
Test(run, out_of_memory_anywhere)
{
    struct fixture f;
    struct ht_run_result r;
    long n = 1;
    const char *const overrides[] = {"train.epochs=1"};
    fixture_init(&f, false, LAYERS, overrides, 1);
    const double score = train(&f).score;
    const long live = ht_alloc_live();
    for (;; n += 1 + n / 12) {
        ht_alloc_fail_at(n);
        enum ht_status status = ht_run_train(&r, f.e, true, NULL, NULL, &f.err);
        ht_alloc_fail_at(0);
        cr_assert_eq(ht_alloc_live(), live, "allocation %ld: %ld blocks leak", n,
                     ht_alloc_live() - live);
        if (status == HT_OK && n > 400)
            break;
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY || status == HT_ERR_MODEL ||
                      status == HT_ERR_CONFIG,
                  "allocation %ld: status %d: %s", n, (int)status, f.err.msg);
        cr_assert_lt(n, 1000000);
    }
    cr_assert_eq(r.score, score);
    fixture_finish(&f);
}
