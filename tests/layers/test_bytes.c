/* Two ways to the same training: tensors as bytes through the integer kernels, and as whole numbers
 * through float products. Every value, gradient and parameter is equal. */
#include "support.h"

#include <math.h>

#include "autograd/op.h"
#include "layers/model.h"
#include "optim/optimizer.h"
#include "tensor/blas.h"

#define BATCH    50
#define N_BLOCKS 4

static const struct ht_quantizer_spec weights = {"narrow", "learned",      "lsq", "nearest_even", 4,
                                                 true,     .momentum = 0.1};
static const struct ht_quantizer_spec activations = {
    "affine", "learned", "lsq", "nearest_even", 8, false, .momentum = 0.1};

/* Widths around the blocks that work is divided into; dropout between quantized layers, a table. */
static struct ht_model *make_model(void)
{
    static const size_t units[N_BLOCKS] = {300, 130, 70, 5};
    static const char *const kinds[N_BLOCKS] = {"relu", "tanh", "none", "none"};
    struct ht_block_spec blocks[N_BLOCKS] = {{.units = 0}};
    struct ht_model_spec spec = {.inputs = 67, .blocks = blocks, .n_blocks = N_BLOCKS};
    struct ht_model *m = NULL;
    struct ht_error err = {0};
    for (size_t i = 0; i < N_BLOCKS; i++) {
        struct ht_block_spec *b = &blocks[i];
        snprintf(b->name, sizeof b->name, "dense%zu", i + 1);
        b->units = units[i];
        b->bias = true;
        b->batchnorm = i == 0;
        b->momentum = 0.1;
        b->epsilon = 1e-5;
        b->dropout = i == 0 ? 0.25 : 0;
        b->init = "he";
        b->activation = kinds[i];
        b->weights = weights;
        b->activations = activations;
    }
    spec.quantized = true;
    spec.input = activations;
    spec.input.range = "ema";
    spec.input.estimator = "ste";
    spec.output.bits = 32;
    ht_blas_init();
    ASSERT_OK(ht_model_create(&m, &spec, &err), err);
    ht_model_initialize(m, 3);
    ht_model_set_input_range(m, &(struct ht_range_stats){-1, 2, 0.5f});
    return m;
}

struct side {
    struct ht_model *model;
    struct ht_optimizer *optimizer;
    struct ht_graph *graph;
    struct ht_node *x, *y, *target;
};

static struct side make_side(const struct ht_kernels *kernels, unsigned flags)
{
    struct side s = {.model = make_model()};
    struct ht_optimizer_config adam = {0};
    struct ht_error err = {0};
    cr_assert(ht_optimizer_defaults(&adam, "adam"));
    ASSERT_OK(ht_optimizer_create(&s.optimizer, &adam, &s.model->params, &err), err);
    s.graph = ht_graph_create(BATCH);
    ht_graph_use_kernels(s.graph, kernels);
    s.x = ht_graph_input(s.graph, s.model->inputs);
    s.y = ht_model_build(s.model, s.graph, s.x, HT_FORM_QUANTIZED, NULL);
    s.target = ht_graph_input(s.graph, s.model->outputs);
    ht_graph_keep(s.graph, s.y);
    struct ht_node *in[2] = {s.y, s.target};
    struct ht_node *loss = ht_graph_add(s.graph, &ht_op_mse, NULL, 2, in);
    ASSERT_OK(ht_graph_plan(s.graph, loss, HT_PLAN_TRAINING | flags, &err), err);
    return s;
}

static void side_finish(struct side *s)
{
    ht_graph_destroy(s->graph);
    ht_optimizer_destroy(s->optimizer);
    ht_model_destroy(s->model);
}

static void update_rows(void *user, const struct ht_node *param, size_t row, size_t rows)
{
    ht_optimizer_update_rows(user, (size_t)param->span, row, rows);
}

/* early: parameters are stepped during backward. */
static void train(struct side *s, uint64_t step, size_t rows, bool early)
{
    const struct ht_run run = {.mode = HT_MODE_TRAIN,
                               .seed = 7,
                               .step = step,
                               .gradient_ready = early ? update_rows : NULL,
                               .user = s->optimizer};
    ht_graph_set_batch(s->graph, rows);
    for (size_t i = 0; i < rows * s->x->cols; i++)
        s->x->value[i] = (float)sin(1.7 * (double)i + (double)step) + 0.3f;
    for (size_t i = 0; i < rows * s->target->cols; i++)
        s->target->value[i] = (float)cos(0.3 * (double)i);
    ht_graph_forward(s->graph, &run);
    ht_optimizer_begin(s->optimizer, 0.01, true);
    ht_graph_backward(s->graph, &run);
    ht_optimizer_end(s->optimizer, NULL);
}

static bool same(const struct side *a, const struct side *b)
{
    const struct ht_params *p = &a->model->params, *q = &b->model->params;
    const size_t state = a->model->state.n * sizeof(ht_real), n = p->n * sizeof(ht_real);
    return memcmp(a->y->value, b->y->value, a->y->rows * a->y->cols * sizeof(ht_real)) == 0 &&
           memcmp(p->value, q->value, n) == 0 && memcmp(p->grad, q->grad, n) == 0 &&
           memcmp(a->model->state.value, b->model->state.value, state) == 0;
}

static void move_weights(struct side *s, bool says_so)
{
    const struct ht_span *w = ht_params_find(&s->model->params, "dense2.weight");
    cr_assert_not_null(w);
    for (size_t i = 0; i < w->n; i++)
        s->model->params.value[w->offset + i] *= -0.5f;
    s->model->params.version += says_so;
}

static size_t nodes_as_bytes(const struct ht_graph *g)
{
    size_t n = 0;
    for (size_t i = 0; i < ht_graph_n_nodes(g); i++)
        n += ht_graph_node(g, i)->as_bytes;
    return n;
}

Test(bytes, are_the_whole_numbers)
{
    struct ht_kernels kernels;
    for (unsigned mask = HT_ISA_C; mask != 0 && mask <= 1u << 16; mask = mask << 1 | 1) {
        ht_kernels_init(&kernels, mask);
        for (int early = 0; early < 2; early++) {
            const unsigned flags = early ? HT_PLAN_SEPARATE : 0;
            struct side a = make_side(&kernels, flags), b = make_side(NULL, 0);
            cr_assert_geq(nodes_as_bytes(a.graph), 8u, "input, dropout, weights, outputs");
            cr_assert_eq(nodes_as_bytes(b.graph), 0u);
            for (uint64_t step = 0; step < 4; step++) {
                const size_t rows = step == 2 ? 1 : BATCH;
                train(&a, step, rows, early);
                train(&b, step, rows, early);
                cr_assert(same(&a, &b), "%s, step %d", kernels.isa, (int)step);
            }
            side_finish(&a);
            side_finish(&b);
        }
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Bytes that were made early are of the parameters then: whoever changes these says so. */
Test(bytes, made_early_are_dropped_when_parameters_change)
{
    struct ht_kernels kernels;
    ht_kernels_init(&kernels, HT_ISA_ALL);
    for (int says_so = 0; says_so < 2; says_so++) {
        struct side a = make_side(&kernels, 0), b = make_side(NULL, 0);
        for (uint64_t step = 0; step < 3; step++) {
            train(&a, step, BATCH, true);
            train(&b, step, BATCH, true);
        }
        cr_assert(same(&a, &b));
        move_weights(&a, says_so);
        move_weights(&b, says_so);
        train(&a, 3, BATCH, true);
        train(&b, 3, BATCH, true);
        cr_assert_eq(same(&a, &b), says_so, "without the word the early bytes are used");
        side_finish(&a);
        side_finish(&b);
    }
}
