/* Memory planning: where the buffers lie must not change a bit. */
#include <math.h>

#include "autograd/graph_internal.h"
#include "base/rng.h"
#include "graph_support.h"
#include "tensor/blas.h"

/* --- random networks --- */

struct network {
    struct ht_params params, state;
    struct ht_graph *g;
    struct ht_node *x, *target, *y, *loss;
    size_t inputs, outputs;
    uint64_t seed, draws;
};

static size_t draw(struct network *k, size_t lo, size_t hi)
{
    return lo + (size_t)ht_rng_below(k->seed, HT_RNG_TEST, k->draws++, hi - lo + 1);
}

#define MAX_BATCH 9
#define MAX_LAYERS 5
static const struct ht_op *const activations[] = {&ht_op_relu, &ht_op_relu6,   &ht_op_leaky_relu,
                                                  &ht_op_tanh, &ht_op_sigmoid, &ht_op_gelu};

struct layer {
    size_t in, out, activation;
    bool batchnorm, dropout, twice;
    int weight, a, b, mean, var;
};

static void declare(struct network *k, struct layer *layers, size_t n)
{
    size_t in = k->inputs = draw(k, 1, 20);
    for (size_t i = 0; i < n; i++) {
        struct layer *l = &layers[i];
        *l = (struct layer){.in = in, .out = draw(k, 1, 40), .activation = draw(k, 0, 5)};
        l->batchnorm = draw(k, 0, 1);
        l->dropout = draw(k, 0, 1);
        l->twice = draw(k, 0, 2) == 0;
        in = l->twice ? MAX_BATCH : l->out;
        l->weight = ht_params_declare(&k->params, "w", l->out, l->in, HT_SPAN_DECAY, 0, 0);
        l->a = ht_params_declare(&k->params, "a", 1, l->out, 0, 1, 0);
        l->b = ht_params_declare(&k->params, "b", 1, l->out, 0, 0, 0);
        l->mean = ht_params_declare(&k->state, "mean", 1, l->out, 0, 0, 0);
        l->var = ht_params_declare(&k->state, "var", 1, l->out, 0, 1, 0);
        k->outputs = in;
    }
}

static struct ht_node *build_layer(struct network *k, const struct layer *l, struct ht_node *x)
{
    struct ht_attr_leaky_relu leaky = {0.1f};
    struct ht_node *a = ht_graph_param(k->g, &k->params, l->a);
    struct ht_node *b = ht_graph_param(k->g, &k->params, l->b);
    x = test_add(k->g, &ht_op_dense, NULL, x, ht_graph_param(k->g, &k->params, l->weight), NULL);
    if (l->batchnorm) {
        struct ht_attr_batchnorm bn = {0.1f, 1e-3f,
                                       k->state.value + k->state.spans[l->mean].offset,
                                       k->state.value + k->state.spans[l->var].offset};
        x = test_add(k->g, &ht_op_batchnorm, &bn, x, a, b);
    } else {
        x = test_add(k->g, &ht_op_bias, NULL, test_add(k->g, &ht_op_bias, NULL, x, b, NULL), a,
                     NULL);
    }
    x = test_add(k->g, activations[l->activation], &leaky, x, NULL, NULL);
    if (l->dropout) {
        struct ht_attr_dropout drop = {0.2f, (uint32_t)l->a};
        x = test_add(k->g, &ht_op_dropout, &drop, x, NULL, NULL);
    }
    return x;
}

/* Everything a run computes on is drawn from the seed. Returns what plan says. */
static enum ht_status create(struct network *k, uint64_t seed, unsigned flags,
                             struct ht_error *err)
{
    struct layer layers[MAX_LAYERS];
    enum ht_status status = HT_ERR_MEMORY;
    memset(k, 0, sizeof *k);
    k->seed = seed;
    const size_t n = draw(k, 1, MAX_LAYERS);
    declare(k, layers, n);
    if (ht_params_allocate(&k->params, true, err) != HT_OK ||
        ht_params_allocate(&k->state, false, err) != HT_OK)
        return status;
    for (size_t i = 0; i < k->params.n; i++)
        k->params.value[i] = (float)ht_rng_uniform(seed, 77, i) - 0.4f;
    k->g = ht_graph_create(MAX_BATCH);
    if (!k->g)
        return status;
    struct ht_node *h = k->x = ht_graph_input(k->g, k->inputs);
    k->target = ht_graph_input(k->g, k->outputs);
    for (size_t i = 0; i < n; i++) {
        h = build_layer(k, &layers[i], h);
        if (layers[i].twice) { /* one value, three consumers: only for whole batches */
            struct ht_node *other = test_add(k->g, &ht_op_tanh, NULL, h, NULL, NULL);
            struct ht_node *fixed = ht_graph_param(k->g, &k->params, layers[i].weight);
            h = test_add(k->g, &ht_op_bias, NULL, other, ht_graph_param(k->g, &k->params,
                         layers[i].b), NULL);
            (void)fixed;
        }
    }
    k->y = h;
    if (h)
        ht_graph_keep(k->g, h);
    k->loss = test_add(k->g, &ht_op_mse, NULL, h, k->target, NULL);
    return ht_graph_plan(k->g, k->loss, flags, err);
}
