/* Trains a small quantized model, ships it and compares it with itself. */
#ifndef HT_TESTS_QMODEL_PARITY_SUPPORT_H
#define HT_TESTS_QMODEL_PARITY_SUPPORT_H

#include "support.h"

#include <math.h>

#include "autograd/op.h"
#include "base/rng.h"
#include "infer/runtime.h"
#include "layers/model.h"
#include "optim/optimizer.h"
#include "qmodel/lower.h"
#include "tensor/blas.h"

#define MAX_BLOCKS 4
#define BATCH      64
#define WIDTH      40 /* at most, of random models */

struct setup {
    struct ht_model_spec spec;
    struct ht_block_spec blocks[MAX_BLOCKS];
    double input_lo, input_hi;
    bool input_range_given; /* else observed in training */
    bool finite;            /* inputs: real ones have no bounds to clip what is infinite */
    bool freeze;            /* batch normalization, in the last step */
    int steps;
    double learning_rate;
    uint64_t seed;
};

struct network {
    struct ht_graph *graph;
    struct ht_node *x, *target, *y, *levels[MAX_BLOCKS];
};

/* HT_PLAN_SEPARATE in half of the models, so that a sanitizer sees overruns. */
static unsigned plan_flags;

/* --- training --- */

static inline struct network make_network_of(struct ht_model *m, enum ht_form form, bool training)
{
    struct network n = {.graph = ht_graph_create(BATCH)};
    struct ht_error err = {0};
    struct ht_node *loss = NULL;
    n.x = ht_graph_input(n.graph, m->inputs);
    n.y = ht_model_build(m, n.graph, n.x, form, n.levels);
    ht_graph_keep(n.graph, n.x); /* read again after forward */
    ht_graph_keep(n.graph, n.y);
    if (training) {
        n.target = ht_graph_input(n.graph, m->outputs);
        struct ht_node *in[2] = {n.y, n.target};
        loss = ht_graph_add(n.graph, &ht_op_mse, NULL, 2, in);
    }
    const unsigned flags = plan_flags | (training ? HT_PLAN_TRAINING : 0);
    ASSERT_OK(ht_graph_plan(n.graph, loss, flags, &err), err);
    return n;
}

static inline struct network make_network(struct ht_model *m, bool training)
{
    return make_network_of(m, HT_FORM_QUANTIZED, training);
}

static inline void fill(float *x, size_t n, uint64_t seed, uint64_t from, double lo, double hi)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(lo + (hi - lo) * ht_rng_uniform(seed, HT_RNG_TEST, from + i));
}

/* Inputs that go beyond the range of training, too. */
static inline float *test_inputs(const struct setup *s)
{
    const double width = s->input_hi - s->input_lo;
    float *x = malloc(BATCH * s->spec.inputs * sizeof *x);
    fill(x, BATCH * s->spec.inputs, s->seed, 1000000, s->input_lo - 0.1 * width,
         s->input_hi + 0.1 * width);
    for (size_t i = 0; !s->finite && i < BATCH * s->spec.inputs; i += 97)
        x[i] = (const float[]){1e30f, -1e30f, INFINITY, -INFINITY, 0, -0.0f}[i % 6];
    return x;
}

static inline struct ht_model *make_model(struct setup *s)
{
    struct ht_error err = {0};
    struct ht_model *m;
    s->spec.blocks = s->blocks;
    s->spec.quantized = true;
    ASSERT_OK(ht_model_create(&m, &s->spec, &err), err);
    ht_model_initialize(m, s->seed);
    if (s->input_range_given && m->input_kind == HT_TENSOR_LEVELS) {
        struct ht_range_stats stats = {(float)s->input_lo, (float)s->input_hi,
                                       (float)(s->input_hi - s->input_lo) / 4};
        ht_model_set_input_range(m, &stats);
    }
    return m;
}

static inline void expect_equal_forms(const struct setup *s, struct ht_model *m,
                                      struct network *train, const struct ht_run *run);

static inline void train(const struct setup *s, struct ht_model *m)
{
    struct network hard = make_network(m, true), soft = {0};
    struct ht_optimizer_config config;
    struct ht_optimizer *adam;
    struct ht_error err = {0};
    cr_assert(ht_optimizer_defaults(&config, "adam"));
    ASSERT_OK(ht_optimizer_create(&adam, &config, &m->params, &err), err);
    bool batch_statistics = false, dropout = s->spec.input_dropout > 0;
    for (size_t i = 0; i < m->n_blocks; i++) {
        batch_statistics |= m->blocks[i].batchnorm && !s->freeze;
        dropout |= m->blocks[i].dropout > 0 || m->blocks[i].weights.stochastic ||
                   m->blocks[i].output.stochastic || m->blocks[i].before_table.stochastic;
        /* Training adds up real products in any order, and folds no batch normalization there. */
        batch_statistics |=
            m->blocks[i].input_kind == HT_TENSOR_REAL ||
            (m->blocks[i].input_kind == HT_TENSOR_DYNAMIC && m->blocks[i].batchnorm);
    }
    if (ht_model_is_soft(m))
        soft = make_network_of(m, HT_FORM_SOFT, true);
    for (int step = 0; step < s->steps; step++) {
        const bool last = step + 1 == s->steps, softly = soft.graph && step < s->steps / 2;
        struct network n = softly ? soft : hard;
        const struct ht_run run = {.mode = HT_MODE_TRAIN,
                                   .seed = s->seed,
                                   .step = (uint64_t)step,
                                   .soft_share = softly ? (step + 1.0) / s->steps : 0,
                                   .freeze_batchnorm = s->freeze && last};
        const uint64_t from = (uint64_t)step * 10000;
        fill(n.x->value, BATCH * m->inputs, s->seed, from, s->input_lo, s->input_hi);
        fill(n.target->value, BATCH * m->outputs, s->seed, from + 5000, -2, 2);
        ht_graph_forward(n.graph, &run);
        if (last && !batch_statistics && !dropout)
            expect_equal_forms(s, m, &n, &run);
        ht_graph_backward(n.graph, &run);
        ht_optimizer_step(adam, s->learning_rate, 0, NULL);
        if (softly)
            ht_model_after_step(m, &run);
    }
    ht_optimizer_destroy(adam);
    ht_graph_destroy(hard.graph);
    ht_graph_destroy(soft.graph);
}

/* --- comparing --- */

/* Blocks compared, and those of them that give half of their levels, or at least 8. */
static struct {
    size_t blocks, lively;
    size_t forms; /* models whose train and eval forward were compared */
} tally;

static inline void count_levels(const struct ht_qactivation *a, const float *value, size_t n)
{
    bool seen[1024] = {false};
    size_t levels = 0;
    for (size_t i = 0; i < n; i++) {
        bool *flag = &seen[(int)value[i] + 512];
        levels += !*flag;
        *flag = true;
    }
    const size_t possible = (size_t)((a->hi - a->lo) / a->grid.step + 1);
    tally.blocks++;
    tally.lively += levels > 1 && levels * 2 >= (possible < 16 ? possible : 16);
}

static inline void describe(const struct setup *s, const struct ht_model *m, char *text,
                            size_t size)
{
    int n = snprintf(text, size, "seed %llu", (unsigned long long)s->seed);
    for (size_t i = 0; i < m->n_blocks; i++) {
        const struct ht_block_spec *b = &s->blocks[i];
        n += snprintf(text + n, size - (size_t)n, "; %zux%zu kinds %d>%d w %s%d%s a %s%d %s%s%s",
                      b->units, m->blocks[i].in, (int)m->blocks[i].input_kind,
                      (int)m->blocks[i].output_kind, b->weights.grid, b->weights.bits,
                      b->weights.per_channel ? "/channel" : "", b->activations.grid,
                      b->activations.bits, b->activation, b->batchnorm ? " bn" : "",
                      b->bias ? " bias" : "");
    }
}

/* Bits, so that -0 and 0 differ too. */
static inline void expect_same(const struct setup *s, const struct ht_model *m, const float *a,
                               const float *b, size_t n, const char *what, size_t block)
{
    char text[512];
    size_t wrong = 0, first = n;
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0) {
            first = wrong++ ? first : i;
        }
    if (wrong == 0)
        return;
    describe(s, m, text, sizeof text);
    cr_assert_fail("%s, block %zu: %zu of %zu differ, first %zu: %.9g and %.9g (%s)", what, block,
                   wrong, n, first, (double)a[first], (double)b[first], text);
}

/* Train and eval forward of one batch, where no batch statistics are in use. */
static inline void expect_equal_forms(const struct setup *s, struct ht_model *m,
                                      struct network *trained, const struct ht_run *run)
{
    struct network eval = make_network(m, false);
    struct ht_run eval_run = {.mode = HT_MODE_EVAL};
    memcpy(eval.x->value, trained->x->value, BATCH * m->inputs * sizeof(float));
    ht_graph_forward(eval.graph, &eval_run);
    for (size_t i = 0; i < m->n_blocks; i++)
        expect_same(s, m, trained->levels[i]->value, eval.levels[i]->value,
                    BATCH * m->blocks[i].out, "train and eval levels", i);
    expect_same(s, m, trained->y->value, eval.y->value, BATCH * m->outputs,
                "train and eval outputs", m->n_blocks);
    tally.forms++;
    ht_graph_destroy(eval.graph);
}

static inline struct ht_qmodel *ship(const struct ht_model *m)
{
    char folder[64], path[96];
    struct ht_error err = {0};
    struct ht_qmodel *lowered, *loaded;
    make_temp_dir(folder);
    snprintf(path, sizeof path, "%s/model.ht", folder);
    ASSERT_OK(ht_qmodel_lower(&lowered, m, &err), err);
    ASSERT_OK(ht_qmodel_save(lowered, path, &err), err);
    ASSERT_OK(ht_qmodel_load(&loaded, path, &err), err);
    ht_qmodel_destroy(lowered);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(rmdir(folder), 0);
    return loaded;
}

/* The runtime's levels of a block in the units of the graph: level - zero_point. */
static inline void expect_same_levels(const struct setup *s, const struct ht_model *m,
                                      const struct ht_qmodel *q, const struct ht_runner *r,
                                      size_t block, const float *expected, size_t rows)
{
    const struct ht_qactivation *a = ht_qlayer_output_quant(&q->layers[block]);
    const void *levels = ht_runner_layer_levels(r, block);
    const size_t n = rows * m->blocks[block].out;
    float *given = malloc(n * sizeof *given);
    for (size_t i = 0; i < n; i++)
        given[i] =
            (float)((a->is_signed ? ((const int8_t *)levels)[i] : ((const uint8_t *)levels)[i]) -
                    a->zero_point);
    expect_same(s, m, expected, given, n, "graph and integer levels", block);
    count_levels(a, given, n);
    free(given);
}

/* The whole claim, for one model as it is now. */
static inline void expect_parity(const struct setup *s, struct ht_model *m)
{
    static const size_t batches[] = {BATCH, 7, 1};
    struct ht_error err = {0};
    struct ht_kernels kernels;
    struct ht_runtime *runtime;
    struct ht_run run = {.mode = HT_MODE_EVAL};
    struct ht_qmodel *q = ship(m); /* before any eval forward: it may not depend on one */
    struct network eval = make_network(m, false);
    float *x = test_inputs(s), *y = malloc(BATCH * m->outputs * sizeof *y);
    float *expected = malloc(BATCH * m->outputs * sizeof *expected);
    ht_kernels_init(&kernels, HT_ISA_ALL);
    memcpy(eval.x->value, x, BATCH * m->inputs * sizeof *x);
    ht_graph_forward(eval.graph, &run);
    memcpy(expected, eval.y->value, BATCH * m->outputs * sizeof *y);
    ASSERT_OK(ht_runtime_create(&runtime, q, &kernels, &err), err);
    for (size_t i = 0; i < 3; i++) {
        struct ht_runner *r;
        ASSERT_OK(ht_runner_create(&r, runtime, batches[i], NULL, &err), err);
        memset(y, 0xaa, BATCH * m->outputs * sizeof *y);
        ht_runner_run(r, x, BATCH, y);
        expect_same(s, m, expected, y, BATCH * m->outputs, "graph and integer outputs",
                    m->n_blocks);
        for (size_t b = 0; i == 0 && b < m->n_blocks; b++)
            if (m->blocks[b].has_output)
                expect_same_levels(s, m, q, r, b, eval.levels[b]->value, BATCH);
        ht_runner_destroy(r);
    }
    ht_runtime_destroy(runtime);
    for (size_t i = 1; i < 3; i++) /* the graph itself, in smaller batches */
        for (size_t at = 0; at + batches[i] <= BATCH; at += batches[i] * 3) {
            ht_graph_set_batch(eval.graph, batches[i]);
            memcpy(eval.x->value, x + at * m->inputs, batches[i] * m->inputs * sizeof *x);
            ht_graph_forward(eval.graph, &run);
            expect_same(s, m, expected + at * m->outputs, eval.y->value, batches[i] * m->outputs,
                        "graph in two batch sizes", m->n_blocks);
        }
    free(x);
    free(y);
    free(expected);
    ht_graph_destroy(eval.graph);
    ht_qmodel_destroy(q);
}

static inline void check(struct setup *s)
{
    ht_blas_init();
    plan_flags = s->seed % 2 ? HT_PLAN_SEPARATE : 0;
    struct ht_model *m = make_model(s);
    train(s, m);
    expect_parity(s, m);
    ht_model_destroy(m);
}

#endif
