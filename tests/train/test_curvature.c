/* Delta of ewgs from the Hessian: on a network whose Hessian is known. */
#include "support.h"

#include <math.h>

#include "autograd/op.h"
#include "tensor/blas.h"
#include "train/curvature.h"

#define IN    5
#define OUT   3
#define BATCH IN

static const struct ht_quantizer_spec weights = {.grid = "narrow",
                                                 .range = "learned",
                                                 .estimator = "ewgs",
                                                 .rounding = "nearest_even",
                                                 .bits = 2,
                                                 .per_channel = true,
                                                 .momentum = 0.1,
                                                 .delta = 0.25,
                                                 .delta_epochs = 2};
static const struct ht_quantizer_spec input = {.grid = "affine",
                                               .range = "min_max",
                                               .estimator = "ste",
                                               .rounding = "nearest_even",
                                               .bits = 8,
                                               .momentum = 0.1};

/* One linear layer, no bias: y = W x. */
static struct ht_model *make_model(void)
{
    struct ht_block_spec block = {.name = "dense1",
                                  .units = OUT,
                                  .init = "he",
                                  .activation = "none",
                                  .weights = weights,
                                  .activations = input};
    struct ht_model_spec spec = {
        .inputs = IN, .blocks = &block, .n_blocks = 1, .quantized = true, .input = input};
    struct ht_model *m = NULL;
    struct ht_error err = {0};
    spec.output.bits = 32;
    ht_blas_init();
    ASSERT_OK(ht_model_create(&m, &spec, &err), err);
    ht_model_initialize(m, 3);
    for (size_t c = 0; c < OUT; c++)
        m->blocks[0].weights.scale[c] = 0.4f + 0.1f * (float)c;
    return m;
}

static float feature(size_t index, size_t i)
{
    return (float)(1 + i) * (index ? -0.5f : 1);
}

/* Sample b has feature b alone: no two weights share a sample, so the Hessian is diagonal, and
 * Hutchinson's method exact. */
static void load(void *user, size_t index, struct ht_network *n)
{
    ht_graph_set_batch(n->graph, BATCH);
    memset(n->x->value, 0, BATCH * IN * sizeof(float));
    for (size_t b = 0; b < BATCH; b++)
        n->x->value[b * IN + b] = feature(index, b);
    for (size_t k = 0; k < BATCH * OUT; k++)
        n->target->value[k] = (float)sin(1.3 * (double)k);
}

/* By the formulas, in double: loss = mean (W x - t)^2, of normalized weights w / R. */
static double expected_delta(const struct ht_model *m, size_t n_batches)
{
    const struct ht_quantizer *q = &m->blocks[0].weights;
    const float *w = m->params.value + m->params.spans[m->blocks[0].weight_span].offset;
    double traces = 0, deviations = 0;
    for (size_t batch = 0; batch < n_batches; batch++) {
        double trace = 0, sum = 0, square = 0;
        for (size_t o = 0; o < OUT; o++)
            for (size_t i = 0; i < IN; i++) {
                const double scale = (double)q->scale[o], range = 2 * scale;
                const double level = fmax(-1, fmin(1, rint((double)w[o * IN + i] / scale)));
                const double x = (double)feature(batch, i);
                const double error = scale * level * x - sin(1.3 * (double)(i * OUT + o));
                const double g = 2 * error * x * range / (BATCH * OUT);
                trace += 2 * x * x * range * range / (BATCH * OUT);
                sum += g / (IN * OUT);
                square += g * g / (IN * OUT);
            }
        traces += trace / (double)n_batches;
        deviations += sqrt(square - sum * sum) / (double)n_batches;
    }
    return traces / (IN * OUT) / (3 * deviations);
}

Test(curvature, of_a_linear_layer)
{
    struct ht_model *m = make_model();
    struct ht_network n = {.graph = ht_graph_create(BATCH)};
    struct ht_error err = {0};
    const struct ht_curvature_data data = {2, load, NULL};
    const struct ht_run run = {.mode = HT_MODE_TRAIN, .seed = 7};
    const size_t bytes = m->params.n * sizeof(float);
    float *before = malloc(bytes);
    memcpy(before, m->params.value, bytes);
    n.x = ht_graph_input(n.graph, IN);
    n.target = ht_graph_input(n.graph, OUT);
    n.y = ht_model_build(m, n.graph, n.x, HT_FORM_FLOAT, NULL);
    n.loss = ht_graph_add(n.graph, &ht_op_mse, NULL, 2, (struct ht_node *[2]){n.y, n.target});
    ASSERT_OK(ht_graph_plan(n.graph, n.loss, HT_PLAN_TRAINING, &err), err);

    const struct ht_quantizer *q = &m->blocks[0].weights;
    cr_assert_eq(q->delta[0], 0.25f, "that of the experiment comes first");
    cr_assert_eq(ht_quantizer_estimate(q, 1).parameter, 0.125f, "over the range in levels");
    cr_assert(!ht_curvature_due(m, 0) && !ht_curvature_due(m, 1) && ht_curvature_due(m, 2) &&
              !ht_curvature_due(m, 3) && ht_curvature_due(m, 4));
    ASSERT_OK(ht_curvature_adapt(m, &n, 2, &data, run, &err), err);
    const double expected = expected_delta(m, 2);
    cr_assert_gt(expected, 0.1);
    cr_assert_float_eq((double)q->delta[0], expected, 1e-4 * expected, "%g, not %g",
                       (double)q->delta[0], expected); /* differences of float32 gradients */
    cr_assert_eq(memcmp(before, m->params.value, bytes), 0, "parameters are put back");
    cr_assert_eq(ht_quantizer_estimate(q, 1).parameter, q->delta[0] / 2);
    free(before);
    ht_graph_destroy(n.graph);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}
