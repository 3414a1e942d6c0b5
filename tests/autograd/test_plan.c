/* Memory planning: where the buffers lie must not change a bit. */
#include <math.h>

#include "autograd/graph_internal.h"
#include "base/rng.h"
#include "graph_support.h"
#include "tensor/blas.h"

/* --- an op that joins two branches: y = a * b --- */

static void multiply_forward(struct ht_node *n, const struct ht_run *run)
{
    for (size_t i = 0; i < n->rows * n->cols; i++)
        n->value[i] = n->in[0]->value[i] * n->in[1]->value[i];
}

static void multiply_backward(struct ht_node *n, const struct ht_run *run)
{
    for (size_t i = 0; i < n->rows * n->cols; i++) {
        ht_grad_put(n, 0, i, n->grad[i] * n->in[1]->value[i]);
        ht_grad_put(n, 1, i, n->grad[i] * n->in[0]->value[i]);
    }
}

static const struct ht_op op_multiply = {
    "multiply", 0, HT_OP_USES_INPUTS, ht_infer_like_input, multiply_forward, multiply_backward,
};

/* --- random networks --- */

#define MAX_BATCH  9
#define MAX_LAYERS 5
static const struct ht_op *const activations[] = {&ht_op_relu, &ht_op_relu6,   &ht_op_leaky_relu,
                                                  &ht_op_tanh, &ht_op_sigmoid, &ht_op_gelu};

struct layer {
    size_t in, out, activation;
    bool batchnorm, dropout, branch;
    int weight, a, b, mean, var;
};

struct network {
    struct ht_params params, state;
    struct ht_graph *g;
    struct ht_node *x, *target, *y, *loss;
    struct layer layers[MAX_LAYERS];
    size_t n_layers, inputs, outputs;
    uint64_t seed, draws;
};

static size_t draw(struct network *k, size_t lo, size_t hi)
{
    return lo + (size_t)ht_rng_below(k->seed, HT_RNG_TEST, k->draws++, hi - lo + 1);
}

static void declare(struct network *k)
{
    k->inputs = k->outputs = draw(k, 1, 20);
    k->n_layers = draw(k, 1, MAX_LAYERS);
    for (size_t i = 0; i < k->n_layers; i++) {
        struct layer *l = &k->layers[i];
        l->in = k->outputs;
        l->out = k->outputs = draw(k, 1, 40);
        l->activation = draw(k, 0, 5);
        l->batchnorm = draw(k, 0, 1);
        l->dropout = draw(k, 0, 1);
        l->branch = draw(k, 0, 1);
        l->weight = ht_params_declare(&k->params, "weight", l->out, l->in, 0, 0, 0);
        l->a = ht_params_declare(&k->params, "a", 1, l->out, 0, 0, 0);
        l->b = ht_params_declare(&k->params, "b", 1, l->out, 0, 0, 0);
        l->mean = ht_params_declare(&k->state, "mean", 1, l->out, 0, 0, 0);
        l->var = ht_params_declare(&k->state, "var", 1, l->out, 0, 1, 0);
    }
}

static struct ht_node *build_layer(struct network *k, const struct layer *l, struct ht_node *x)
{
    const struct ht_attr_leaky_relu leaky = {0.1f};
    const struct ht_attr_dropout drop = {0.2f, (uint32_t)l->a};
    struct ht_node *a = ht_graph_param(k->g, &k->params, l->a);
    struct ht_node *b = ht_graph_param(k->g, &k->params, l->b);
    struct ht_node *w = ht_graph_param(k->g, &k->params, l->weight);
    x = test_add(k->g, &ht_op_dense, NULL, x, w, NULL);
    if (l->batchnorm) {
        const struct ht_attr_batchnorm bn = {0.1f, 1e-3f,
                                             k->state.value + k->state.spans[l->mean].offset,
                                             k->state.value + k->state.spans[l->var].offset, false};
        x = test_add(k->g, &ht_op_batchnorm, &bn, x, a, b);
    } else {
        x = test_add(k->g, &ht_op_bias, NULL, x, a, NULL);
        x = test_add(k->g, &ht_op_bias, NULL, x, b, NULL);
    }
    x = test_add(k->g, activations[l->activation], &leaky, x, NULL, NULL);
    if (l->branch) {
        test_add(k->g, &ht_op_sigmoid, NULL, x, NULL, NULL); /* leads nowhere */
        x = test_add(k->g, &op_multiply, NULL, test_add(k->g, &ht_op_tanh, NULL, x, NULL, NULL), x,
                     NULL);
    }
    return l->dropout ? test_add(k->g, &ht_op_dropout, &drop, x, NULL, NULL) : x;
}

/* Network number `seed`; the parameters too are drawn from it. Destroy it also when this fails. */
static enum ht_status create(struct network *k, uint64_t seed, unsigned flags, struct ht_error *err)
{
    memset(k, 0, sizeof *k);
    k->seed = seed;
    declare(k);
    enum ht_status status = ht_params_allocate(&k->params, true, err);
    if (status == HT_OK)
        status = ht_params_allocate(&k->state, false, err);
    if (status != HT_OK)
        return status;
    for (size_t i = 0; i < k->params.n_spans; i++)
        for (size_t j = 0; j < k->params.spans[i].n; j++)
            k->params.value[k->params.spans[i].offset + j] =
                0.5f * (float)ht_rng_uniform(seed, 77 + i, j) - 0.2f;
    k->g = ht_graph_create(MAX_BATCH);
    if (!k->g)
        return HT_ERR_MEMORY;
    struct ht_node *h = k->x = ht_graph_input(k->g, k->inputs);
    for (size_t i = 0; i < k->n_layers; i++)
        h = build_layer(k, &k->layers[i], h);
    k->target = ht_graph_input(k->g, k->outputs);
    k->y = h;
    ht_graph_keep(k->g, h);
    k->loss = test_add(k->g, &ht_op_mse, NULL, h, k->target, NULL);
    return ht_graph_plan(k->g, k->loss, flags, err);
}

static void destroy(struct network *k)
{
    ht_graph_destroy(k->g);
    ht_params_finish(&k->params);
    ht_params_finish(&k->state);
}

/* One step of plain descent on a batch of its own. */
static void train_step(struct network *k, uint64_t step, size_t batch)
{
    const struct ht_run run = {.mode = HT_MODE_TRAIN, .seed = 5, .step = step};
    ht_graph_set_batch(k->g, batch);
    for (size_t i = 0; i < batch * k->inputs; i++)
        k->x->value[i] = (float)ht_rng_uniform(step, 1, i) * 2 - 1;
    for (size_t i = 0; i < batch * k->outputs; i++)
        k->target->value[i] = (float)ht_rng_uniform(step, 2, i);
    ht_graph_forward(k->g, &run);
    ht_graph_backward(k->g, &run);
}

static void descend(struct network *k)
{
    for (size_t i = 0; i < k->params.n; i++)
        k->params.value[i] -= 1e-3f * k->params.grad[i];
}

/* Larger, smaller, larger again. */
static const size_t batches[] = {MAX_BATCH, 4, MAX_BATCH, 1, 7, 2};
#define STEPS      (sizeof batches / sizeof *batches)
#define N_NETWORKS 40

static void assert_same(const struct network *a, const struct network *b, uint64_t seed)
{
    const size_t n = a->params.n * sizeof(float);
    cr_assert(isfinite(a->loss->value[0]));
    cr_assert_eq(a->loss->value[0], b->loss->value[0], "network %d", (int)seed);
    cr_assert_eq(memcmp(a->y->value, b->y->value, a->y->rows * a->y->cols * sizeof(float)), 0);
    cr_assert_eq(memcmp(a->params.grad, b->params.grad, n), 0, "network %d", (int)seed);
    cr_assert_eq(memcmp(a->params.value, b->params.value, n), 0, "network %d", (int)seed);
    cr_assert_eq(memcmp(a->state.value, b->state.value, a->state.n * sizeof(float)), 0);
}

/* A buffer that is read before it is written, or after another took its place, would differ from
 * the network whose buffers are apart; the poison makes sure of it. */
Test(plan, arena_and_separate_buffers_agree)
{
    struct ht_error err = {0};
    ht_blas_init();
    for (uint64_t seed = 0; seed < N_NETWORKS; seed++) {
        struct network arena, apart;
        ASSERT_OK(create(&arena, seed, HT_PLAN_TRAINING, &err), err);
        ASSERT_OK(create(&apart, seed, HT_PLAN_TRAINING | HT_PLAN_SEPARATE, &err), err);
        for (size_t i = 0; i < STEPS; i++) {
            if (seed % 2)
                memset(arena.g->arena, 0xff, arena.g->bytes); /* NaN in every element */
            train_step(&arena, i, batches[i]);
            train_step(&apart, i, batches[i]);
            descend(&arena);
            descend(&apart);
            assert_same(&arena, &apart, seed);
        }
        cr_assert_lt(ht_graph_bytes(arena.g), ht_graph_bytes(apart.g));
        destroy(&arena);
        destroy(&apart);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Deep networks need room for the values backward reads, and for little else. */
Test(plan, inference_needs_less_than_training)
{
    struct ht_error err = {0};
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct network training, inference;
        ASSERT_OK(create(&training, seed, HT_PLAN_TRAINING, &err), err);
        ASSERT_OK(create(&inference, seed, 0, &err), err);
        cr_assert_lt(ht_graph_bytes(inference.g), ht_graph_bytes(training.g));
        destroy(&training);
        destroy(&inference);
    }
}

/* 30 equal layers in eval: the arena holds a few values, not 30. */
Test(plan, arena_is_reused)
{
    struct ht_error err = {0};
    struct ht_graph *g = ht_graph_create(16);
    struct ht_node *x = ht_graph_input(g, 64);
    for (int i = 0; i < 30; i++)
        x = test_add(g, &ht_op_tanh, NULL, x, NULL, NULL);
    ht_graph_keep(g, x);
    ASSERT_OK(ht_graph_plan(g, NULL, 0, &err), err);
    cr_assert_leq(ht_graph_bytes(g), 3 * 16 * 64 * sizeof(float));
    cr_assert_eq(ht_graph_n_nodes(g), 31);
    cr_assert_eq(ht_graph_node(g, 30), x);
    cr_assert_eq(ht_graph_max_batch(g), 16);
    ht_graph_destroy(g);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(plan, results_do_not_depend_on_earlier_batches)
{
    struct ht_error err = {0};
    ht_blas_init();
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct network used, fresh;
        ASSERT_OK(create(&used, seed, HT_PLAN_TRAINING, &err), err);
        ASSERT_OK(create(&fresh, seed, HT_PLAN_TRAINING, &err), err);
        train_step(&used, 1, MAX_BATCH);
        memcpy(used.state.value, fresh.state.value, fresh.state.n * sizeof(float));
        train_step(&used, 2, 3);
        train_step(&fresh, 2, 3);
        assert_same(&used, &fresh, seed);
        destroy(&used);
        destroy(&fresh);
    }
}

Test(plan, a_step_allocates_nothing)
{
    struct ht_error err = {0};
    ht_blas_init();
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct network k;
        ASSERT_OK(create(&k, seed, HT_PLAN_TRAINING, &err), err);
        const long live = ht_alloc_live();
        ht_alloc_fail_at(1);
        train_step(&k, 1, MAX_BATCH);
        train_step(&k, 2, 3);
        cr_assert_eq(ht_alloc_live(), live);
        /* The failure is still armed: nobody asked for memory. */
        cr_assert_null(ht_calloc(1, 1));
        destroy(&k);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(plan, running_out_of_memory_is_reported)
{
    struct ht_error err = {0};
    for (unsigned flags = HT_PLAN_TRAINING; flags <= (HT_PLAN_TRAINING | HT_PLAN_SEPARATE);
         flags += HT_PLAN_SEPARATE) {
        long n = 1;
        for (;; n++) {
            struct network k;
            ht_alloc_fail_at(n);
            const enum ht_status status = create(&k, 3, flags, &err);
            ht_alloc_fail_at(0);
            destroy(&k);
            cr_assert_eq(ht_alloc_live(), 0, "allocation %ld", n);
            if (status == HT_OK)
                break;
            /* -1 of a failed declaration is an error of its own, reported as such. */
            cr_assert(status == HT_ERR_MEMORY, "allocation %ld: %s", n, err.msg);
        }
        cr_assert_gt(n, 40);
    }
}

/* --- builders --- */

Test(plan, builder_errors_stick)
{
    struct ht_error err = {0};
    struct ht_params params = {0};
    ht_params_declare(&params, "w", 3, 4, 0, 0, 0);
    ASSERT_OK(ht_params_allocate(&params, true, &err), err);
    struct ht_graph *g = ht_graph_create(2);
    struct ht_node *w = ht_graph_param(g, &params, 0);
    cr_assert_eq(w, ht_graph_param(g, &params, 0));
    cr_assert_null(test_add(g, &ht_op_dense, NULL, ht_graph_input(g, 5), w, NULL));
    cr_assert_null(ht_graph_input(g, 5));
    cr_assert_null(ht_graph_fail(g, HT_ERR_INTERNAL, "a second one"));
    cr_assert_null(test_add(g, &ht_op_relu, NULL, NULL, NULL, NULL));
    ht_graph_keep(g, NULL);
    cr_assert_eq(ht_graph_plan(g, NULL, 0, &err), HT_ERR_CONFIG);
    cr_assert_not_null(strstr(err.msg, "dense"), "%s", err.msg);
    ht_graph_destroy(g);
    ht_params_finish(&params);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(plan, undeclared_parameter)
{
    struct ht_error err = {0};
    struct ht_params params = {0};
    struct ht_graph *g = ht_graph_create(2);
    cr_assert_null(ht_graph_param(g, &params, -1));
    cr_assert_eq(ht_graph_plan(g, NULL, 0, &err), HT_ERR_INTERNAL);
    ht_graph_destroy(g);
}

Test(plan, training_needs_a_loss_with_parameters)
{
    struct ht_error err = {0};
    for (int i = 0; i < 3; i++) {
        struct ht_graph *g = ht_graph_create(2);
        struct ht_node *x = ht_graph_input(g, 4);
        struct ht_node *loss = test_add(g, &ht_op_mse, NULL, x, x, NULL);
        struct ht_node *chosen = i == 0 ? NULL : i == 1 ? x : loss;
        cr_assert_eq(ht_graph_plan(g, chosen, HT_PLAN_TRAINING, &err), HT_ERR_INTERNAL);
        ht_graph_destroy(g);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(plan, sizes_that_overflow)
{
    struct ht_error err = {0};
    struct ht_graph *g = ht_graph_create((size_t)1 << 40);
    ht_graph_input(g, (size_t)1 << 40);
    cr_assert_eq(ht_graph_plan(g, NULL, 0, &err), HT_ERR_MEMORY);
    ht_graph_destroy(g);
    cr_assert_eq(ht_alloc_live(), 0);
}
