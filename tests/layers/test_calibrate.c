/* Equalization, calibration and bias correction of a float network. */
#include "support.h"

#include <math.h>

#include "base/rng.h"
#include "layers/calibrate.h"
#include "tensor/blas.h"

#define INPUTS   12
#define ROWS     64
#define BATCHES  5
#define N_BLOCKS 3
#define NEURONS  (20 + 15 + 10)

static double uniform(uint64_t seed, size_t i)
{
    return ht_rng_uniform(seed, HT_RNG_TEST, i);
}

static size_t group; /* of inputs of the weights; 0: one scale for all of them */

static struct ht_quantizer_spec quantizer(const char *grid, const char *range, int bits)
{
    return (struct ht_quantizer_spec){.grid = grid,
                                      .range = range,
                                      .estimator = strcmp(range, "learned") == 0 ? "lsq" : "ste",
                                      .rounding = "nearest_even",
                                      .bits = bits,
                                      .momentum = 0.1};
}

/* Three layers whose neurons have very different sizes, as if trained. */
static struct ht_model *make_model(bool batchnorm, const char *activation, const char *range,
                                   int bits)
{
    struct ht_block_spec blocks[N_BLOCKS];
    struct ht_model_spec spec = {
        .inputs = INPUTS, .n_blocks = N_BLOCKS, .blocks = blocks, .quantized = true};
    struct ht_error err = {0};
    struct ht_model *m;
    memset(blocks, 0, sizeof blocks);
    for (size_t i = 0; i < N_BLOCKS; i++) {
        struct ht_block_spec *b = &blocks[i];
        snprintf(b->name, sizeof b->name, "dense%zu", i + 1);
        b->units = 20 - 5 * i;
        b->bias = true;
        b->batchnorm = batchnorm && i + 1 < N_BLOCKS;
        b->momentum = 0.1;
        b->epsilon = 1e-3;
        b->init = "he";
        b->activation = i + 1 < N_BLOCKS ? activation : "none";
        b->slope = 0.1;
        b->weights = quantizer("narrow", range, bits);
        b->weights.group = group;
        b->weights.per_channel = group != 0;
        b->activations = quantizer("affine", range, bits == 3 ? 8 : bits);
    }
    spec.input = quantizer("affine", "min_max", 8);
    spec.output.bits = 32;
    ht_blas_init();
    ASSERT_OK(ht_model_create(&m, &spec, &err), err);
    ht_model_initialize(m, 3);
    for (size_t i = 0; i < N_BLOCKS; i++) {
        const struct ht_block *b = &m->blocks[i];
        for (size_t n = 0; n < b->out; n++) {
            const double size = pow(10, 2 * uniform(10 + i, n) - 1);
            float *w = m->params.value + m->params.spans[b->weight_span].offset + n * b->in;
            for (size_t k = 0; k < b->in; k++)
                w[k] *= (float)size;
            if (b->bias)
                m->params.value[m->params.spans[b->bias_span].offset + n] =
                    (float)(size * (uniform(20 + i, n) - 0.3));
            if (!b->batchnorm)
                continue;
            m->params.value[m->params.spans[b->gamma_span].offset + n] =
                n == 3 ? 1e-4f : (float)(0.1 + uniform(30 + i, n));
            m->params.value[m->params.spans[b->beta_span].offset + n] =
                (float)(uniform(40 + i, n) - 0.3);
            m->state.value[m->state.spans[b->mean_span].offset + n] =
                (float)(size * (uniform(50 + i, n) - 0.5));
            m->state.value[m->state.spans[b->var_span].offset + n] =
                (float)(size * size * (0.3 + uniform(60 + i, n)));
        }
    }
    const struct ht_range_stats input = {-1, 1, 0.5f};
    ht_model_set_input_range(m, &input);
    return m;
}

static size_t load(void *user, size_t index, ht_real *x)
{
    const size_t rows = index + 1 == BATCHES ? ROWS / 2 : ROWS; /* the last one is smaller */
    (void)user;
    for (size_t i = 0; i < rows * INPUTS; i++)
        x[i] = (float)(2 * uniform(100 + index, i) - 1);
    return rows;
}

static const struct ht_calibration_data data = {BATCHES, ROWS, load, NULL};

/* All outputs of all batches, [n_rows, outputs]. */
static size_t outputs(struct ht_model *m, enum ht_form form, enum ht_mode mode, float *y)
{
    struct ht_graph *g = ht_graph_create(ROWS);
    struct ht_error err = {0};
    size_t n = 0;
    struct ht_node *x = ht_graph_input(g, INPUTS);
    struct ht_node *out = ht_model_build(m, g, x, form, NULL);
    ht_graph_keep(g, out);
    ASSERT_OK(ht_graph_plan(g, NULL, 0, &err), err);
    const struct ht_run run = {.mode = mode};
    for (size_t i = 0; i < BATCHES; i++) {
        ht_graph_set_batch(g, ROWS);
        const size_t rows = load(NULL, i, x->value);
        ht_graph_set_batch(g, rows);
        ht_graph_forward(g, &run);
        memcpy(y + n, out->value, rows * m->outputs * sizeof *y);
        n += rows * m->outputs;
    }
    ht_graph_destroy(g);
    return n;
}

static double largest(const float *x, size_t n, size_t stride)
{
    double m = 0;
    for (size_t i = 0; i < n; i++)
        m = fmax(m, fabs((double)x[i * stride]));
    return m;
}

/* --- equalization --- */

static void expect_close(const float *a, const float *b, size_t n, double tolerance)
{
    const double size = largest(a, n, 1);
    for (size_t i = 0; i < n; i++)
        cr_assert_float_eq((double)a[i], (double)b[i], tolerance * size, "%zu: %g, not %g", i,
                           (double)b[i], (double)a[i]);
}

static void check_equalize(bool batchnorm, const char *activation)
{
    static float before[BATCHES * ROWS * 10], after[BATCHES * ROWS * 10];
    struct ht_error err = {0};
    struct ht_model *m = make_model(batchnorm, activation, "min_max", 8);
    const uint64_t version = m->params.version;
    size_t n = outputs(m, HT_FORM_FLOAT, HT_MODE_EVAL, before);
    ASSERT_OK(ht_model_equalize(m, &err), err);
    outputs(m, HT_FORM_FLOAT, HT_MODE_EVAL, after);
    expect_close(before, after, n, 1e-5);
    cr_assert_gt(m->params.version, version);
    for (size_t i = 0; i + 1 < N_BLOCKS; i++) {
        const struct ht_block *a = &m->blocks[i], *b = &m->blocks[i + 1];
        const float *w = m->params.value + m->params.spans[a->weight_span].offset;
        const float *v = m->params.value + m->params.spans[b->weight_span].offset;
        for (size_t k = 0; k < a->out; k++) {
            const double row = largest(w + k * a->in, a->in, 1);
            const double column = largest(v + k, b->out, b->in);
            cr_assert_float_eq(row, column, 1e-3 * row, "%s, neuron %zu: %g and %g", a->name, k,
                               row, column);
        }
    }
    ht_model_destroy(m);
}

Test(equalize, keeps_the_function_and_makes_ranges_equal)
{
    check_equalize(false, "relu");
    check_equalize(true, "relu");
    check_equalize(false, "leaky_relu");
    check_equalize(true, "none");
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Batch normalization takes a factor on a row out again, so train mode sees the same network: but
 * for epsilon, which is small beside these variances. */
Test(equalize, keeps_the_function_of_training)
{
    static float before[BATCHES * ROWS * 10], after[BATCHES * ROWS * 10];
    struct ht_error err = {0};
    struct ht_model *m = make_model(true, "relu", "min_max", 8);
    float *gamma = m->params.value + m->params.spans[m->blocks[0].gamma_span].offset;
    gamma[3] = 0.5f;
    m->params.value[m->params.spans[m->blocks[1].gamma_span].offset + 3] = 0.5f;
    for (size_t i = 0; i < N_BLOCKS; i++)
        m->blocks[i].epsilon = 1e-9;
    const size_t n = outputs(m, HT_FORM_FLOAT, HT_MODE_TRAIN, before);
    struct ht_model *again = make_model(true, "relu", "min_max", 8);
    gamma = again->params.value + again->params.spans[again->blocks[0].gamma_span].offset;
    gamma[3] = 0.5f;
    again->params.value[again->params.spans[again->blocks[1].gamma_span].offset + 3] = 0.5f;
    for (size_t i = 0; i < N_BLOCKS; i++)
        again->blocks[i].epsilon = 1e-9;
    ASSERT_OK(ht_model_equalize(again, &err), err);
    outputs(again, HT_FORM_FLOAT, HT_MODE_TRAIN, after);
    expect_close(before, after, n, 1e-4);
    ht_model_destroy(m);
    ht_model_destroy(again);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(equalize, leaves_dead_neurons_alone)
{
    static float before[BATCHES * ROWS * 10], after[BATCHES * ROWS * 10];
    struct ht_error err = {0};
    struct ht_model *m = make_model(false, "relu", "min_max", 8);
    float *w = m->params.value + m->params.spans[m->blocks[0].weight_span].offset;
    float *v = m->params.value + m->params.spans[m->blocks[1].weight_span].offset;
    memset(w + 2 * INPUTS, 0, INPUTS * sizeof *w);
    for (size_t j = 0; j < m->blocks[1].out; j++)
        v[j * m->blocks[1].in + 5] = 0;
    const size_t n = outputs(m, HT_FORM_FLOAT, HT_MODE_EVAL, before);
    ASSERT_OK(ht_model_equalize(m, &err), err);
    outputs(m, HT_FORM_FLOAT, HT_MODE_EVAL, after);
    expect_close(before, after, n, 1e-5);
    ht_model_destroy(m);
    m = make_model(false, "relu6", "min_max", 8);
    cr_assert_eq(ht_model_equalize(m, &err), HT_ERR_CONFIG);
    cr_assert_not_null(strstr(err.msg, "relu6"), "%s", err.msg);
    ht_model_destroy(m);
}

static double squared_distance(const float *a, const float *b, size_t n)
{
    double d = 0;
    for (size_t i = 0; i < n; i++)
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return d;
}

/* What it is for: one scale for all weights suits them better. */
Test(equalize, helps_one_scale_for_all_weights)
{
    static float plain[BATCHES * ROWS * 10], y[2][BATCHES * ROWS * 10];
    struct ht_error err = {0};
    for (int equalized = 0; equalized < 2; equalized++) {
        struct ht_model *m = make_model(true, "relu", "min_max", 6);
        outputs(m, HT_FORM_FLOAT, HT_MODE_EVAL, plain);
        if (equalized)
            ASSERT_OK(ht_model_equalize(m, &err), err);
        ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
        outputs(m, HT_FORM_QUANTIZED, HT_MODE_EVAL, y[equalized]);
        ht_model_destroy(m);
    }
    const size_t n = (BATCHES * ROWS - ROWS / 2) * 10;
    cr_assert_lt(squared_distance(plain, y[1], n), 0.5 * squared_distance(plain, y[0], n));
}

/* --- calibration --- */

static const char *const ranges[] = {"min_max", "ema",   "percentile", "kl",
                                     "mse",     "octav", "learned"};

/* Every quantizer is ready, statistics stay, and what comes out resembles the float network. */
Test(calibrate, every_range)
{
    static float plain[BATCHES * ROWS * 10], y[BATCHES * ROWS * 10], again[BATCHES * ROWS * 10];
    struct ht_error err = {0};
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
        struct ht_model *m = make_model(true, "relu", ranges[r], 8);
        const struct ht_span *mean = &m->state.spans[m->blocks[0].mean_span];
        float kept[20];
        memcpy(kept, m->state.value + mean->offset, sizeof kept);
        ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
        cr_assert_eq(memcmp(kept, m->state.value + mean->offset, sizeof kept), 0);
        for (size_t i = 0; i < N_BLOCKS; i++) {
            cr_assert_gt(m->blocks[i].weights.ready[0], 0);
            cr_assert(i + 1 == N_BLOCKS || m->blocks[i].output.ready[0] == BATCHES);
            cr_assert_not(m->blocks[i].weights.calibrating);
            cr_assert_not(m->blocks[i].output.calibrating);
        }
        const size_t n = outputs(m, HT_FORM_FLOAT, HT_MODE_EVAL, plain);
        outputs(m, HT_FORM_QUANTIZED, HT_MODE_EVAL, y);
        outputs(m, HT_FORM_QUANTIZED, HT_MODE_EVAL, again);
        cr_assert_eq(memcmp(y, again, n * sizeof *y), 0, "eval changes nothing");
        double power = 0, middle = 0;
        for (size_t i = 0; i < n; i++)
            middle += (double)plain[i] / (double)n;
        for (size_t i = 0; i < n; i++)
            power += ((double)plain[i] - middle) * ((double)plain[i] - middle);
        cr_assert_lt(squared_distance(plain, y, n), 0.15 * power, "%s: %g", ranges[r],
                     squared_distance(plain, y, n) / power);
        ht_model_destroy(m);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- bias correction --- */

/* --- statistics of batch normalization --- */

static bool holds_statistics(const struct ht_span *span)
{
    return strstr(span->name, "running_") != NULL;
}

/* Of the first layer by hand: sums of products of levels times their scales, statistics of each
 * batch in double, their mean weighted by rows. All else stays: parameters, ranges. */
Test(reestimate, means_of_the_batches)
{
    static float x[ROWS * INPUTS], row[INPUTS];
    struct ht_error err = {0};
    const struct ht_place_in_run eval = {NULL, 0};
    struct ht_model *m = make_model(true, "relu", "learned", 4);
    ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
    float *state = malloc(m->state.n * sizeof *state), *value = malloc(m->params.n * sizeof *value);
    memcpy(state, m->state.value, m->state.n * sizeof *state);
    memcpy(value, m->params.value, m->params.n * sizeof *value);
    for (int twice = 0; twice < 2; twice++) /* what was there before does not matter */
        ASSERT_OK(ht_model_reestimate_batchnorm(m, &data, &err), err);
    const struct ht_block *b = &m->blocks[0];
    const float *w = m->params.value + m->params.spans[b->weight_span].offset;
    for (size_t n = 0; n < b->out; n++) {
        double mean = 0, var = 0, all = 0;
        ht_quantizer_levels(&b->weights, b->weights.channels == 1 ? 0 : n, eval, w + n * INPUTS,
                            INPUTS, row);
        const double scale =
            (double)b->weights.scale[b->weights.channels == 1 ? 0 : n] * (double)m->input.scale[0];
        for (size_t batch = 0; batch < BATCHES; batch++) {
            const size_t rows = load(NULL, batch, x);
            double sum = 0, squares = 0;
            ht_quantizer_levels(&m->input, 0, eval, x, rows * INPUTS, x);
            for (size_t i = 0; i < rows; i++) {
                double acc = 0;
                for (size_t k = 0; k < INPUTS; k++)
                    acc += (double)x[i * INPUTS + k] * (double)row[k];
                sum += acc * scale;
                squares += acc * scale * acc * scale;
            }
            mean += sum;
            var += (double)rows * (squares - sum * sum / (double)rows) / (double)(rows - 1);
            all += (double)rows;
        }
        const float *given = m->state.value + m->state.spans[b->mean_span].offset;
        cr_assert_float_eq((double)given[n], mean / all, 1e-5 * sqrt(var / all), "%zu", n);
        given = m->state.value + m->state.spans[b->var_span].offset;
        cr_assert_float_eq((double)given[n], var / all, 1e-5 * var / all, "%zu", n);
    }
    cr_assert_eq(memcmp(value, m->params.value, m->params.n * sizeof *value), 0);
    for (size_t i = 0; i < m->state.n_spans; i++) {
        const struct ht_span *s = &m->state.spans[i];
        const int changed =
            memcmp(state + s->offset, m->state.value + s->offset, s->n * sizeof *state) != 0;
        cr_assert_eq(changed, holds_statistics(s), "%s", s->name);
    }
    free(state);
    free(value);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

static void mean_errors(const float *a, const float *b, size_t n, size_t cols, double *errors)
{
    memset(errors, 0, cols * sizeof *errors);
    for (size_t i = 0; i < n; i++)
        errors[i % cols] += ((double)b[i] - (double)a[i]) / (double)(n / cols);
}

static void correct_biases(struct ht_model *m)
{
    double sums[NEURONS];
    struct ht_error err = {0};
    ASSERT_OK(ht_model_mean_sums(m, &data, sums, &err), err);
    ASSERT_OK(ht_model_correct_biases(m, &data, sums, &err), err);
}

Test(bias_correction, makes_the_mean_error_of_outputs_zero)
{
    static float plain[BATCHES * ROWS * 10], y[BATCHES * ROWS * 10];
    struct ht_error err = {0};
    for (int form = 0; form < 4; form++) {
        double before[10], after[10], most = 0;
        group = form & 2 ? 7 : 0;
        struct ht_model *m = make_model(form & 1, "relu", "min_max", 4);
        const struct ht_quantizer *w = &m->blocks[2].weights;
        const size_t n = outputs(m, HT_FORM_FLOAT, HT_MODE_EVAL, plain);
        ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
        outputs(m, HT_FORM_QUANTIZED, HT_MODE_EVAL, y);
        mean_errors(plain, y, n, m->outputs, before);
        correct_biases(m);
        outputs(m, HT_FORM_QUANTIZED, HT_MODE_EVAL, y);
        mean_errors(plain, y, n, m->outputs, after);
        for (size_t j = 0; j < m->outputs; j++)
            most = fmax(most, fabs(before[j]));
        for (size_t j = 0; j < m->outputs; j++) {
            /* What is left: biases are whole numbers of accumulator units. */
            const double unit = (double)(m->blocks[1].output.scale[0] * w->unit[group ? j : 0]);
            cr_assert_lt(fabs(after[j]), 0.51 * unit + 1e-5 * most, "output %zu: %g -> %g", j,
                         before[j], after[j]);
        }
        cr_assert_gt(most, 3 * (double)(m->blocks[1].output.scale[0] * w->unit[0]),
                     "there was something to correct: %g", most);
        ht_model_destroy(m);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Mean of the weighted sums of the second layer, sample by sample. */
static void mean_sums(struct ht_model *m, enum ht_form form, double *sums)
{
    struct ht_graph *g = ht_graph_create(ROWS);
    struct ht_node *blocks[N_BLOCKS], *x = ht_graph_input(g, INPUTS);
    struct ht_error err = {0};
    const struct ht_block *b = &m->blocks[1];
    const struct ht_quantizer *q = &b->weights;
    const float *w = m->params.value + m->params.spans[b->weight_span].offset;
    double samples = 0;
    ht_model_build(m, g, x, form, blocks);
    ASSERT_OK(ht_graph_plan(g, NULL, 0, &err), err);
    memset(sums, 0, b->out * sizeof *sums);
    for (size_t i = 0; i < BATCHES; i++) {
        ht_graph_set_batch(g, ROWS);
        const size_t rows = load(NULL, i, x->value);
        ht_graph_set_batch(g, rows);
        ht_graph_forward(g, &(struct ht_run){.mode = HT_MODE_EVAL});
        for (size_t r = 0; r < rows; r++, samples++)
            for (size_t n = 0; n < b->out; n++)
                for (size_t k = 0; k < b->in; k++) {
                    const double in = (double)blocks[0]->value[r * b->in + k] *
                                      (form == HT_FORM_QUANTIZED ? (double)blocks[0]->scale[0] : 1);
                    const double scale = (double)q->scale[0], raw = (double)w[n * b->in + k];
                    const double level = fmax(q->grid.lo, fmin(q->grid.hi, rint(raw / scale)));
                    sums[n] += in * (form == HT_FORM_QUANTIZED ? scale * level : raw);
                }
    }
    for (size_t n = 0; n < b->out; n++)
        sums[n] /= samples;
    ht_graph_destroy(g);
}

Test(bias_correction, hidden_layers_too)
{
    struct ht_error err = {0};
    struct ht_model *m = make_model(true, "relu", "min_max", 3);
    const struct ht_block *b = &m->blocks[1];
    const float *mean = m->state.value + m->state.spans[b->mean_span].offset;
    double plain[20], before[20], after[20], kept[20], most = 0, size = 0;
    ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
    mean_sums(m, HT_FORM_FLOAT, plain);
    mean_sums(m, HT_FORM_QUANTIZED, before);
    for (size_t n = 0; n < b->out; n++) {
        kept[n] = (double)mean[n];
        most = fmax(most, fabs(before[n] - plain[n]));
        size = fmax(size, fabs(plain[n]));
    }
    cr_assert_gt(most, 0.01 * size, "there was something to correct");
    correct_biases(m);
    mean_sums(m, HT_FORM_QUANTIZED, after);
    for (size_t n = 0; n < b->out; n++)
        cr_assert_float_eq(after[n] - (double)mean[n], plain[n] - kept[n], 1e-5 * size,
                           "neuron %zu: %g", n, after[n] - (double)mean[n] - plain[n] + kept[n]);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(bias_correction, needs_biases_and_memory)
{
    struct ht_error err = {0};
    double sums[NEURONS];
    struct ht_model *m = make_model(false, "relu", "min_max", 4);
    ASSERT_OK(ht_model_calibrate(m, &data, &err), err);
    const long live = (long)ht_alloc_live();
    for (long n = 1;; n++) {
        ht_alloc_fail_at(n);
        enum ht_status status = ht_model_mean_sums(m, &data, sums, &err);
        if (status == HT_OK)
            status = ht_model_correct_biases(m, &data, sums, &err);
        if (status == HT_OK)
            status = ht_model_calibrate(m, &data, &err);
        ht_alloc_fail_at(0);
        cr_assert_eq((long)ht_alloc_live(), live);
        if (status == HT_OK) {
            cr_assert_gt(n, 10);
            break;
        }
        cr_assert_eq(status, HT_ERR_MEMORY);
    }
    m->blocks[1].bias = false;
    cr_assert_eq(ht_model_correct_biases(m, &data, sums, &err), HT_ERR_CONFIG);
    cr_assert_not_null(strstr(err.msg, "dense2"), "%s", err.msg);
    ht_model_destroy(m);
}
