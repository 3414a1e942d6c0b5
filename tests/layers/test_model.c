/* What a model declares and initializes, and the graphs it builds. */
#include "support.h"

#include <math.h>

#include "autograd/activation.h"
#include "autograd/op.h"
#include "layers/model.h"
#include "tensor/blas.h"

/* --- initializers --- */

struct moments {
    double mean, std, min, max, fourth; /* fourth: E[x^4] / E[x^2]^2, 3 for a normal, 1.8 uniform */
};

static struct moments moments_of(const float *x, size_t n)
{
    struct moments m = {.min = INFINITY, .max = -INFINITY};
    double square = 0, fourth = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = (double)x[i];
        m.mean += v / (double)n;
        square += v * v / (double)n;
        fourth += v * v * v * v / (double)n;
        m.min = fmin(m.min, v);
        m.max = fmax(m.max, v);
    }
    m.std = sqrt(square);
    m.fourth = fourth / (square * square);
    return m;
}

#define IN  200
#define OUT 150

Test(initialize, distributions)
{
    static const struct {
        const char *init;
        double std, limit, fourth; /* limit: of uniform ones */
    } table[] = {
        {"he", 0.1, 0, 3},                                        /* sqrt(2 / 200) */
        {"xavier", 0.130930734 / 1.7320508, 0.130930734, 1.8},    /* sqrt(6 / 350) */
        {"uniform", 0.0707106781 / 1.7320508, 0.0707106781, 1.8}, /* 1 / sqrt(200) */
    };
    float *w = malloc(IN * OUT * sizeof *w);
    for (size_t i = 0; i < 3; i++) {
        ht_initialize(table[i].init, 5, 1, IN, OUT, w);
        const struct moments m = moments_of(w, IN * OUT);
        /* 30,000 draws: five standard errors. */
        cr_assert_float_eq(m.mean, 0, 5 * table[i].std / sqrt(IN * OUT));
        cr_assert_float_eq(m.std, table[i].std, 0.03 * table[i].std, "%s %g", table[i].init, m.std);
        cr_assert_float_eq(m.fourth, table[i].fourth, 0.15, "%s %g", table[i].init, m.fourth);
        if (table[i].limit == 0)
            continue;
        cr_assert(m.min >= -table[i].limit * 1.000001 && m.max <= table[i].limit * 1.000001);
        cr_assert(m.min < -0.99 * table[i].limit && m.max > 0.99 * table[i].limit);
    }
    free(w);
}

Test(initialize, seeds_and_streams)
{
    float a[300], b[300];
    ht_initialize("he", 5, 1, 20, 15, a);
    ht_initialize("he", 5, 1, 20, 15, b);
    cr_assert_eq(memcmp(a, b, sizeof a), 0, "same seed, same bytes");
    size_t equal = 0;
    ht_initialize("he", 6, 1, 20, 15, b);
    for (size_t i = 0; i < 300; i++)
        equal += a[i] == b[i];
    ht_initialize("he", 5, 2, 20, 15, b);
    for (size_t i = 0; i < 300; i++)
        equal += a[i] == b[i];
    cr_assert_lt(equal, 3u, "another seed or layer, other numbers");
}

/* --- models --- */

static const struct ht_quantizer_spec weights8 = {
    "narrow", "learned", "lsq", "nearest_even", 8, true, .momentum = 0.1};
static const struct ht_quantizer_spec activations8 = {
    "affine", "ema", "ste", "nearest_even", 8, false, .momentum = 0.1};
static const struct ht_quantizer_spec learned4 = {
    "affine", "learned", "lsq", "nearest_even", 4, false, .momentum = 0.1};

#define N_BLOCKS 3

struct setup {
    struct ht_model_spec spec;
    struct ht_block_spec blocks[N_BLOCKS];
};

/* dense1: batch normalization and relu; dense2: bias and `activation`; dense3: bias. */
static struct setup make_setup(const char *activation)
{
    struct setup s = {.spec = {.inputs = 9, .n_blocks = N_BLOCKS, .quantized = true}};
    for (size_t i = 0; i < N_BLOCKS; i++) {
        struct ht_block_spec *b = &s.blocks[i];
        snprintf(b->name, sizeof b->name, "dense%zu", i + 1);
        b->units = 11 - 3 * i;
        b->bias = true;
        b->batchnorm = i == 0;
        b->momentum = 0.1;
        b->epsilon = 1e-5;
        b->init = i == 2 ? "xavier" : "he";
        b->activation = i == 0 ? "relu" : i == 1 ? activation : "none";
        b->slope = 0.2;
        b->weights = weights8;
        b->activations = i == 0 ? learned4 : activations8;
    }
    s.spec.input = activations8;
    s.spec.output.bits = 32;
    return s;
}

static struct ht_model *make_model(struct setup *s)
{
    struct ht_error err = {0};
    struct ht_model *m;
    s->spec.blocks = s->blocks;
    ASSERT_OK(ht_model_create(&m, &s->spec, &err), err);
    ht_model_initialize(m, 3);
    return m;
}

Test(model, spans)
{
    static const struct {
        const char *name;
        size_t rows, cols;
        unsigned flags;
        float initial, minimum;
    } params[] = {
        {"dense1.weight", 11, 9, HT_SPAN_DECAY, 0, 0},
        {"dense1.gamma", 1, 11, 0, 1, 1e-5f},
        {"dense1.beta", 1, 11, 0, 0, 0},
        {"dense1.weight.scale", 11, 1, HT_SPAN_RELATIVE, 1, 9.313225746154785e-10f},
        {"dense1.output.scale", 1, 1, HT_SPAN_RELATIVE, 1, 9.313225746154785e-10f},
        {"dense2.weight", 8, 11, HT_SPAN_DECAY, 0, 0},
        {"dense2.bias", 1, 8, 0, 0, 0},
        {"dense2.weight.scale", 8, 1, HT_SPAN_RELATIVE, 1, 9.313225746154785e-10f},
        {"dense3.weight", 5, 8, HT_SPAN_DECAY, 0, 0},
        {"dense3.bias", 1, 5, 0, 0, 0},
        {"dense3.weight.scale", 5, 1, HT_SPAN_RELATIVE, 1, 9.313225746154785e-10f},
    };
    static const struct {
        const char *name;
        size_t n;
        float initial;
    } state[] = {
        {"dense1.running_mean", 11, 0},     {"dense1.running_var", 11, 1},
        {"input.input.scale", 1, 1},        {"input.input.zero_point", 1, 0},
        {"dense1.output.zero_point", 1, 0}, {"dense1.weight.ready", 1, 0},
        {"dense2.output.scale", 1, 1},      {"dense2.output.min", 1, 0},
        {"dense2.output.max", 1, 0},
    };
    struct setup s = make_setup("relu6");
    struct ht_model *m = make_model(&s);
    const size_t n = sizeof params / sizeof *params;
    cr_assert_eq(m->params.n_spans, n, "%zu spans", m->params.n_spans);
    for (size_t i = 0; i < n; i++) {
        const struct ht_span *span = ht_params_find(&m->params, params[i].name);
        cr_assert_not_null(span, "%s", params[i].name);
        cr_assert(span->rows == params[i].rows && span->cols == params[i].cols, "%s", span->name);
        cr_assert_eq(span->flags, params[i].flags, "%s", span->name);
        cr_assert_eq(span->minimum, params[i].minimum, "%s", span->name);
        cr_assert_eq(span->initial, params[i].initial, "%s", span->name);
        if (span->flags != HT_SPAN_DECAY)
            cr_assert_eq(m->params.value[span->offset], params[i].initial, "%s", span->name);
    }
    for (size_t i = 0; i < sizeof state / sizeof *state; i++) {
        const struct ht_span *span = ht_params_find(&m->state, state[i].name);
        cr_assert_not_null(span, "%s", state[i].name);
        cr_assert_eq(span->n, state[i].n, "%s", span->name);
        cr_assert_eq(m->state.value[span->offset], state[i].initial, "%s", span->name);
    }
    cr_assert_null(m->state.grad);
    cr_assert_eq(m->outputs, 5u);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(model, a_table_has_a_quantizer_of_8_bits_in_front)
{
    struct setup s = make_setup("tanh");
    s.blocks[1].activations.bits = 3;
    struct ht_model *m = make_model(&s);
    cr_assert_not_null(ht_params_find(&m->state, "dense2.table.scale"));
    cr_assert_eq(m->blocks[1].before_table.grid.bits, 8);
    cr_assert_str_eq(m->blocks[1].before_table.grid.name, "affine");
    cr_assert_eq(m->blocks[1].output.grid.bits, 3);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(model, same_seed_same_bytes)
{
    struct setup s = make_setup("relu");
    struct ht_model *a = make_model(&s), *b = make_model(&s);
    const size_t bytes = a->params.n * sizeof(float);
    cr_assert_eq(memcmp(a->params.value, b->params.value, bytes), 0);
    ht_model_initialize(b, 4);
    cr_assert_neq(memcmp(a->params.value, b->params.value, bytes), 0);
    ht_model_initialize(b, 3);
    cr_assert_eq(memcmp(a->params.value, b->params.value, bytes), 0);
    /* Each block its own stream. */
    const float *w1 = a->params.value + a->params.spans[a->blocks[0].weight_span].offset;
    const float *w2 = a->params.value + a->params.spans[a->blocks[1].weight_span].offset;
    cr_assert_neq(w1[0] / w1[1], w2[0] / w2[1]);
    ht_model_destroy(a);
    ht_model_destroy(b);
    cr_assert_eq(ht_alloc_live(), 0);
}

static struct ht_graph *build(struct ht_model *m, enum ht_form form, bool training,
                              struct ht_node **x, struct ht_node **y)
{
    struct ht_error err = {0};
    struct ht_graph *g = ht_graph_create(6);
    struct ht_node *loss = NULL;
    *x = ht_graph_input(g, m->inputs);
    *y = ht_model_build(m, g, *x, form, NULL);
    ht_graph_keep(g, *y);
    if (training) {
        struct ht_node *in[2] = {*y, ht_graph_input(g, m->outputs)};
        loss = ht_graph_add(g, &ht_op_mse, NULL, 2, in);
    }
    ASSERT_OK(ht_graph_plan(g, loss, training ? HT_PLAN_TRAINING : 0, &err), err);
    return g;
}

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)sin(1.7 * (double)i) + 0.3f;
}

Test(model, all_forms_share_parameters)
{
    struct setup s = make_setup("relu");
    struct ht_model *m = make_model(&s);
    struct ht_node *x, *y;
    for (int form = 0; form < HT_N_FORMS; form++) {
        struct ht_graph *g = build(m, (enum ht_form)form, true, &x, &y);
        size_t found = 0;
        for (size_t i = 0; i < ht_graph_n_nodes(g); i++) {
            const struct ht_node *n = ht_graph_node(g, i);
            if (n->op || n->batched)
                continue;
            bool known = false;
            for (size_t k = 0; k < m->params.n_spans; k++)
                known |= n->value == m->params.value + m->params.spans[k].offset &&
                         n->grad == m->params.grad + m->params.spans[k].offset;
            cr_assert(known);
            found++;
        }
        /* With quantizers: three scales of weights and a learned one of activations, too. */
        cr_assert_eq(found, form == HT_FORM_FLOAT ? 7u : 11u);
        ht_graph_destroy(g);
    }
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* The float form by plain loops, in eval mode; the layers' outputs in double. */
static void naive(const struct ht_model *m, const double *in, double *out)
{
    double a[16], b[16];
    for (size_t i = 0; i < m->inputs; i++)
        a[i] = in[i];
    for (size_t k = 0; k < m->n_blocks; k++) {
        const struct ht_block *l = &m->blocks[k];
        const float *p = m->params.value, *state = m->state.value;
        for (size_t j = 0; j < l->out; j++) {
            double v = 0;
            for (size_t i = 0; i < l->in; i++)
                v += a[i] * (double)p[m->params.spans[l->weight_span].offset + j * l->in + i];
            if (l->bias)
                v += (double)p[m->params.spans[l->bias_span].offset + j];
            if (l->batchnorm)
                v = (v - (double)state[m->state.spans[l->mean_span].offset + j]) /
                        sqrt((double)state[m->state.spans[l->var_span].offset + j] + l->epsilon) *
                        (double)p[m->params.spans[l->gamma_span].offset + j] +
                    (double)p[m->params.spans[l->beta_span].offset + j];
            b[j] = v;
            if (strcmp(l->activation->name, "none") != 0)
                b[j] = (double)ht_activation_value(l->activation->name, (float)v, (float)l->slope);
        }
        memcpy(a, b, sizeof a);
    }
    memcpy(out, a, m->outputs * sizeof *out);
}

/* Every activation, in both forms: with 8 bits the two are close. */
Test(model, activations_in_both_forms)
{
    static const char *const names[] = {"none", "relu",    "relu6", "leaky_relu",
                                        "tanh", "sigmoid", "gelu"};
    const struct ht_run eval = {.mode = HT_MODE_EVAL}, train = {.mode = HT_MODE_TRAIN};
    ht_blas_init();
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        struct setup s = make_setup(names[k]);
        s.blocks[0].activations = activations8;
        for (size_t i = 0; i < N_BLOCKS; i++) { /* LSQ's first scale is coarse at 8 bits */
            s.blocks[i].weights.range = "min_max";
            s.blocks[i].weights.estimator = "ste";
        }
        struct ht_model *m = make_model(&s);
        struct ht_node *x, *y, *qx, *qy;
        fill(m->params.value + m->params.spans[m->blocks[1].bias_span].offset, 8);
        struct ht_graph *quantized = build(m, HT_FORM_QUANTIZED, true, &qx, &qy);
        struct ht_graph *real = build(m, HT_FORM_FLOAT, false, &x, &y);
        fill(qx->value, 6 * 9);
        for (int step = 0; step < 40; step++) { /* for ranges and statistics to settle */
            ht_graph_forward(quantized, &train);
            fill(qx->value, 6 * 9);
        }
        ht_graph_forward(quantized, &eval);
        fill(x->value, 6 * 9);
        ht_graph_forward(real, &eval);
        double spread = 0;
        float input[6 * 9];
        fill(input, 6 * 9);
        for (size_t b = 0; b < 6; b++) {
            double in[9], out[5];
            for (size_t i = 0; i < 9; i++)
                in[i] = (double)input[b * 9 + i];
            naive(m, in, out);
            for (size_t j = 0; j < 5; j++) {
                const double float_y = (double)y->value[b * 5 + j];
                const double quantized_y = (double)qy->value[b * 5 + j];
                spread = fmax(spread, fabs(float_y));
                cr_assert_float_eq(float_y, out[j], 1e-4, "%s: %g, not %g", names[k], float_y,
                                   out[j]);
                cr_assert_float_eq(quantized_y, float_y, 0.12, "%s: %g and %g", names[k],
                                   quantized_y, float_y);
            }
        }
        cr_assert_gt(spread, 0.3);
        ht_graph_destroy(real);
        ht_graph_destroy(quantized);
        ht_model_destroy(m);
    }
    cr_assert_null(ht_activation_layer_find("swish"));
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Softly or straight through, in eval mode it is what ships, but for the order of float sums. */
Test(model, soft_form_evaluates_as_quantized)
{
    static const char *const names[] = {"relu", "none", "tanh"};
    const struct ht_run eval = {.mode = HT_MODE_EVAL};
    const struct ht_run train = {.mode = HT_MODE_TRAIN, .soft_share = 0.3};
    ht_blas_init();
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        struct setup s = make_setup(names[k]);
        s.blocks[1].weights.estimator = s.blocks[2].weights.estimator = "parq";
        s.blocks[1].weights.steepness = s.blocks[2].weights.steepness = 10;
        s.blocks[1].weights.bits = 2;
        struct ht_model *m = make_model(&s);
        struct ht_node *x, *y, *qx, *qy;
        cr_assert(ht_model_is_soft(m));
        struct ht_graph *quantized = build(m, HT_FORM_QUANTIZED, false, &qx, &qy);
        struct ht_graph *soft = build(m, HT_FORM_SOFT, true, &x, &y);
        for (int step = 0; step < 5; step++) { /* finds all ranges by itself */
            fill(x->value, 6 * 9);
            ht_graph_forward(soft, &train);
        }
        float trained[6 * 5], spread = 0, moved = 0;
        memcpy(trained, y->value, sizeof trained);
        fill(x->value, 6 * 9);
        ht_graph_forward(soft, &eval);
        fill(qx->value, 6 * 9);
        ht_graph_forward(quantized, &eval);
        for (size_t i = 0; i < 6 * 5; i++) {
            cr_assert_float_eq(y->value[i], qy->value[i], 1e-5, "%s: %g, not %g", names[k],
                               (double)y->value[i], (double)qy->value[i]);
            spread = fmaxf(spread, fabsf(qy->value[i]));
            moved = fmaxf(moved, fabsf(trained[i] - y->value[i]));
        }
        cr_assert(spread > 0.3f && moved > 0.01f);
        ht_graph_destroy(soft);
        ht_graph_destroy(quantized);
        ht_model_destroy(m);
    }
    struct setup s = make_setup("relu");
    struct ht_model *m = make_model(&s);
    cr_assert_not(ht_model_is_soft(m));
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Dropout scales what stays; neither range notices, and eval does not see it at all. */
Test(model, dropout_moves_no_range)
{
    const struct ht_run eval = {.mode = HT_MODE_EVAL};
    const struct ht_run train = {.mode = HT_MODE_TRAIN, .seed = 1, .step = 2};
    const struct ht_range_stats stats = {-1, 2, 0.5f};
    ht_blas_init();
    struct setup s = make_setup("relu");
    s.spec.input_dropout = 0.5;
    s.blocks[1].dropout = 0.5;
    s.spec.input.range = "min_max";
    struct ht_model *m = make_model(&s);
    struct ht_node *x, *y;
    ht_model_set_input_range(m, &stats);
    const float scale = m->input.scale[0], zero_point = m->input.zero_point[0];
    struct ht_graph *g = build(m, HT_FORM_QUANTIZED, true, &x, &y);
    size_t dropouts = 0;
    for (size_t i = 0; i < ht_graph_n_nodes(g); i++) {
        const struct ht_node *n = ht_graph_node(g, i);
        dropouts += n->op == &ht_op_dropout && n->n_scale == 1;
    }
    cr_assert_eq(dropouts, 2u, "of levels, where 1 / (1 - rate) cannot leave the range");
    for (int i = 0; i < 3; i++) {
        fill(x->value, 6 * 9);
        for (size_t k = 0; k < 6 * 9; k++)
            x->value[k] *= 5;
        ht_graph_forward(g, &train);
    }
    cr_assert_eq(m->input.scale[0], scale, "the input's range is fixed");
    cr_assert_eq(m->input.zero_point[0], zero_point);
    float outputs[2][6 * 5];
    for (int i = 0; i < 2; i++) {
        fill(x->value, 6 * 9);
        ht_graph_forward(g, &eval);
        memcpy(outputs[i], y->value, sizeof outputs[i]);
    }
    cr_assert_eq(memcmp(outputs[0], outputs[1], sizeof outputs[0]), 0);
    ht_graph_destroy(g);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(model, refusals)
{
    struct ht_error err = {0};
    struct ht_model *m = NULL;
    for (int k = 0; k < 4; k++) {
        static const char *const says[] = {"swish", "no activation", "narow", "minmax"};
        struct setup s = make_setup("relu");
        s.spec.blocks = s.blocks;
        if (k == 0)
            s.blocks[1].activation = "swish";
        else if (k == 1)
            s.blocks[2].activation = "tanh"; /* and a real output */
        else if (k == 2)
            s.blocks[2].weights.grid = "narow";
        else
            s.spec.input.range = "minmax";
        cr_assert_eq(ht_model_create(&m, &s.spec, &err), HT_ERR_CONFIG, "%d", k);
        cr_assert_not_null(strstr(err.msg, says[k]), "%s", err.msg);
        cr_assert_null(m);
        cr_assert_eq(ht_alloc_live(), 0);
    }
    /* A float network has no quantized form. */
    struct setup s = make_setup("tanh");
    s.spec.quantized = false;
    s.blocks[2].activation = "sigmoid";
    m = make_model(&s);
    struct ht_graph *g = ht_graph_create(2);
    cr_assert_null(ht_model_build(m, g, ht_graph_input(g, 9), HT_FORM_QUANTIZED, NULL));
    cr_assert_eq(ht_graph_plan(g, NULL, 0, &err), HT_ERR_INTERNAL);
    cr_assert_null(ht_params_find(&m->params, "dense1.weight.scale"));
    ht_graph_destroy(g);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(model, out_of_memory_at_every_allocation)
{
    struct setup s = make_setup("tanh");
    s.spec.blocks = s.blocks;
    for (long n = 1;; n++) {
        struct ht_error err = {0};
        struct ht_model *m = NULL;
        ht_alloc_fail_at(n);
        const enum ht_status status = ht_model_create(&m, &s.spec, &err);
        ht_alloc_fail_at(0);
        ht_model_destroy(m);
        cr_assert_eq(ht_alloc_live(), 0);
        if (status == HT_OK) {
            cr_assert_gt(n, 20);
            break;
        }
        cr_assert_eq(status, HT_ERR_MEMORY);
    }
}
