#include "layers/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/op.h"
#include "base/alloc.h"
#include "quant/group.h"
#include "quant/learned_bits.h"
#include "quant/real_dense.h"
#include "quant/soft.h"

/* --- parameters --- */

static int declare(struct ht_params *p, const struct ht_block *b, const char *part, size_t rows,
                   size_t cols, unsigned flags, ht_real initial, ht_real minimum)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", b->name, part);
    return ht_params_declare(p, name, rows, cols, flags, initial, minimum);
}

static void declare_block(struct ht_model *m, struct ht_block *b)
{
    b->weight_span = declare(&m->params, b, "weight", b->out, b->in, HT_SPAN_DECAY, 0, 0);
    b->bias_span = b->gamma_span = b->beta_span = b->mean_span = b->var_span = -1;
    if (b->bias)
        b->bias_span = declare(&m->params, b, "bias", 1, b->out, 0, 0, 0);
    if (!b->batchnorm)
        return;
    /* gamma stays positive: in front of a dense layer its sign is redundant, and a positive gain
     * never needs codes negated (docs/numerics.md, 5). */
    b->gamma_span = declare(&m->params, b, "gamma", 1, b->out, 0, 1, (ht_real)1e-5);
    b->beta_span = declare(&m->params, b, "beta", 1, b->out, 0, 0, 0);
    b->mean_span = declare(&m->state, b, "running_mean", 1, b->out, 0, 0, 0);
    b->var_span = declare(&m->state, b, "running_var", 1, b->out, 0, 1, 0);
}

static void declare_oscillation(struct ht_model *m, struct ht_block *b)
{
    const struct {
        const char *part;
        int *span;
    } of_weights[] = {{"weight.level", &b->level_span},
                      {"weight.direction", &b->direction_span},
                      {"weight.frequency", &b->frequency_span},
                      {"weight.average", &b->average_span}};
    for (size_t i = 0; i < sizeof of_weights / sizeof *of_weights; i++)
        *of_weights[i].span = declare(&m->state, b, of_weights[i].part, b->out, b->in, 0, 0, 0);
    b->flips_span = declare(&m->state, b, "weight.flips", 1, b->out, 0, 0, 0);
}

static void declare_quantizer(struct ht_model *m, struct ht_quantizer *q, const char *block,
                              const char *role)
{
    char prefix[96];
    snprintf(prefix, sizeof prefix, "%s.%s", block, role);
    ht_quantizer_declare(q, prefix, &m->params, &m->state);
}

/* What enters a table is quantized to 8 bits, whatever comes out: that is the table's size. */
static enum ht_status init_table_quantizer(struct ht_block *b, const struct ht_block_spec *s,
                                           struct ht_error *err)
{
    struct ht_quantizer_spec wide = s->activations;
    wide.bits = 8;
    wide.grid = "affine";
    wide.range = "ema";
    wide.estimator = "clipped_ste";
    return ht_quantizer_init(&b->before_table, &wide, false, 1, err);
}

static enum ht_status init_quantizers(struct ht_model *m, struct ht_block *b,
                                      const struct ht_block_spec *s, bool last,
                                      const struct ht_quantizer_spec *model_output,
                                      struct ht_error *err)
{
    enum ht_status status = ht_quantizer_init(&b->weights, &s->weights, true, b->out, err);
    const struct ht_quantizer_spec *output = last ? model_output : &s->activations;
    if (status == HT_OK && s->weights.group)
        status = ht_quantizer_divide(&b->weights, b->in, s->weights.group, err);
    if (status == HT_OK && b->output_kind != HT_TENSOR_REAL)
        status = ht_quantizer_init(&b->output, output, false, 1, err);
    if (status == HT_OK && ht_block_has_table(b))
        status = init_table_quantizer(b, s, err);
    if (status != HT_OK)
        return status;
    if (ht_grid_is_float16(&b->weights.grid) && b->input_kind != HT_TENSOR_REAL)
        return ht_fail(err, HT_ERR_CONFIG, "%s: weights of 16 bits need a float input", b->name);
    if (!ht_grid_is_float16(&b->weights.grid))
        declare_quantizer(m, &b->weights, b->name, "weight");
    if (b->has_output)
        declare_quantizer(m, &b->output, b->name, "output");
    if (ht_block_has_table(b))
        declare_quantizer(m, &b->before_table, b->name, "table");
    return HT_OK;
}

static enum ht_status init_block(struct ht_model *m, size_t index, const struct ht_model_spec *spec,
                                 struct ht_error *err)
{
    const struct ht_block_spec *s = &spec->blocks[index];
    struct ht_block *b = &m->blocks[index];
    const bool last = index + 1 == spec->n_blocks;
    memcpy(b->name, s->name, sizeof b->name);
    b->in = index ? m->blocks[index - 1].out : m->inputs;
    b->out = s->units;
    b->batchnorm = s->batchnorm;
    b->bias = s->bias && !s->batchnorm;
    b->momentum = s->momentum;
    b->epsilon = s->epsilon;
    b->slope = s->slope;
    b->dropout = s->dropout;
    b->init = s->init;
    b->activation = ht_activation_layer_find(s->activation);
    if (!b->activation)
        return ht_fail(err, HT_ERR_CONFIG, "unknown activation '%s'", s->activation);
    b->input_kind = index ? m->blocks[index - 1].output_kind : m->input_kind;
    b->output_kind = !m->quantized ? HT_TENSOR_REAL
                                   : ht_quantizer_spec_kind(last ? &spec->output : &s->activations);
    b->has_output = b->output_kind == HT_TENSOR_LEVELS;
    if (last && b->output_kind == HT_TENSOR_DYNAMIC)
        return ht_fail(err, HT_ERR_CONFIG, "%s: the last output has no dynamic range", b->name);
    if (last && m->quantized && !b->has_output && b->activation->op)
        return ht_fail(err, HT_ERR_CONFIG, "%s: a real output has no activation, not %s", b->name,
                       s->activation);
    declare_block(m, b);
    if (m->flips_span >= 0 && s->weights.bits != 16)
        declare_oscillation(m, b);
    return m->quantized ? init_quantizers(m, b, s, last, &spec->output, err) : HT_OK;
}

static double product_bound(const struct ht_quantizer *input, const struct ht_quantizer *weights)
{
    return (double)ht_quantizer_bound(input) * (double)ht_quantizer_bound(weights);
}

/* Sums of products stay below 2^30, so that they fit int32 beside a bias (docs/numerics.md, 3). */
static enum ht_status check_sums(const struct ht_model *m, struct ht_error *err)
{
    for (size_t i = 0; m->quantized && i < m->n_blocks; i++) {
        const struct ht_block *b = &m->blocks[i];
        const struct ht_quantizer *input = i ? &m->blocks[i - 1].output : &m->input;
        if (b->input_kind == HT_TENSOR_REAL)
            continue;
        const double most = 1073741824.0 / product_bound(input, &b->weights);
        if ((double)b->in >= most)
            return ht_fail(err, HT_ERR_CONFIG,
                           "%s: %zu inputs of %d bits times weights of %d bits could pass 2^30; at "
                           "these widths a layer takes at most %.0f inputs",
                           b->name, b->in, input->grid.bits, b->weights.grid.bits, floor(most));
    }
    return HT_OK;
}

/* Weights of estimator a2q keep their sums in; of others the widths must. */
static enum ht_status check_accumulators(const struct ht_model *m, int bits, struct ht_error *err)
{
    const double most = ldexp(1, bits - 1) - 1;
    for (size_t i = 0; bits && m->quantized && i < m->n_blocks; i++) {
        const struct ht_block *b = &m->blocks[i];
        const struct ht_quantizer *input = i ? &m->blocks[i - 1].output : &m->input;
        if (b->input_kind != HT_TENSOR_LEVELS)
            return ht_fail(err, HT_ERR_CONFIG,
                           "%s: quant.accumulator_bits needs inputs of a scale that is known, not "
                           "dynamic or float ones",
                           b->name);
        if (b->weights.estimator->finish && ht_quantizer_bound(input) > most)
            return ht_fail(err, HT_ERR_CONFIG,
                           "%s: an accumulator of %d bits (quant.accumulator_bits) does not hold a "
                           "single product with inputs of %d bits",
                           b->name, bits, input->grid.bits);
        if (!b->weights.estimator->finish &&
            (double)b->in * product_bound(input, &b->weights) > most)
            return ht_fail(err, HT_ERR_CONFIG,
                           "%s: %zu inputs of %d bits times weights of %d bits could pass %d bits "
                           "(quant.accumulator_bits); estimator a2q would keep them in: on grid "
                           "narrow or full, range learned, granularity channel",
                           b->name, b->in, input->grid.bits, b->weights.grid.bits, bits);
    }
    return HT_OK;
}

static void bind(struct ht_model *m)
{
    if (m->input_kind == HT_TENSOR_LEVELS)
        ht_quantizer_bind(&m->input, &m->params, &m->state);
    for (size_t i = 0; i < m->n_blocks; i++) {
        struct ht_block *b = &m->blocks[i];
        if (!ht_grid_is_float16(&b->weights.grid))
            ht_quantizer_bind(&b->weights, &m->params, &m->state);
        b->weights.input = i ? &m->blocks[i - 1].output : &m->input;
        if (b->has_output)
            ht_quantizer_bind(&b->output, &m->params, &m->state);
        if (ht_block_has_table(b))
            ht_quantizer_bind(&b->before_table, &m->params, &m->state);
    }
}

enum ht_status ht_model_create(struct ht_model **ret, const struct ht_model_spec *spec,
                               struct ht_error *err)
{
    enum ht_status status = HT_OK;
    struct ht_model *m = ht_calloc(1, sizeof *m);
    if (!m)
        return ht_fail_memory(err);
    m->blocks = ht_calloc(spec->n_blocks, sizeof *m->blocks);
    if (!m->blocks) {
        status = ht_fail_memory(err);
        goto fail;
    }
    m->inputs = spec->inputs;
    m->input_dropout = spec->input_dropout;
    m->quantized = spec->quantized;
    m->n_blocks = spec->n_blocks;
    m->outputs = spec->blocks[spec->n_blocks - 1].units;
    m->input_kind = m->quantized ? ht_quantizer_spec_kind(&spec->input) : HT_TENSOR_REAL;
    if (m->input_kind != HT_TENSOR_REAL)
        status = ht_quantizer_init(&m->input, &spec->input, false, 1, err);
    if (status != HT_OK)
        goto fail;
    if (m->input_kind == HT_TENSOR_LEVELS)
        declare_quantizer(m, &m->input, "input", "input");
    m->flips_span = -1;
    if (m->quantized && spec->track_flips) /* two dots: not taken over by train.from */
        m->flips_span = ht_params_declare(&m->state, "model.weight.flips", 1, 3, 0, 0, 0);
    for (size_t i = 0; i < spec->n_blocks; i++) {
        status = init_block(m, i, spec, err);
        if (status != HT_OK)
            goto fail;
    }
    status = check_sums(m, err);
    if (status == HT_OK)
        status = check_accumulators(m, spec->accumulator_bits, err);
    if (status == HT_OK)
        status = ht_params_allocate(&m->params, true, err);
    if (status == HT_OK)
        status = ht_params_allocate(&m->state, false, err);
    if (status != HT_OK)
        goto fail;
    if (m->quantized)
        bind(m);
    *ret = m;
    return HT_OK;
fail:
    ht_model_destroy(m);
    return status;
}

void ht_model_destroy(struct ht_model *m)
{
    if (!m)
        return;
    ht_params_finish(&m->params);
    ht_params_finish(&m->state);
    ht_free(m->blocks);
    ht_free(m);
}

void ht_model_initialize(struct ht_model *m, uint64_t seed)
{
    for (size_t i = 0; i < m->n_blocks; i++) {
        const struct ht_block *b = &m->blocks[i];
        ht_initialize(b->init, seed, (uint32_t)i, b->in, b->out,
                      m->params.value + m->params.spans[b->weight_span].offset);
    }
}

static void copy_span(struct ht_params *to, int span, const struct ht_params *from, int other)
{
    if (span >= 0)
        memcpy(to->value + to->spans[span].offset, from->value + from->spans[other].offset,
               to->spans[span].n * sizeof *to->value);
}

void ht_model_copy_network(struct ht_model *m, const struct ht_model *from)
{
    for (size_t i = 0; i < m->n_blocks; i++) {
        const struct ht_block *b = &m->blocks[i], *o = &from->blocks[i];
        copy_span(&m->params, b->weight_span, &from->params, o->weight_span);
        copy_span(&m->params, b->bias_span, &from->params, o->bias_span);
        copy_span(&m->params, b->gamma_span, &from->params, o->gamma_span);
        copy_span(&m->params, b->beta_span, &from->params, o->beta_span);
        copy_span(&m->state, b->mean_span, &from->state, o->mean_span);
        copy_span(&m->state, b->var_span, &from->state, o->var_span);
    }
    m->params.version++;
}

void ht_model_set_input_range(struct ht_model *m, const struct ht_range_stats *stats)
{
    ht_range_set(&m->input, 0, stats);
    m->input.ready[0] = 1;
    ht_quantizer_refresh(&m->input, HT_MODE_TRAIN);
    m->input.fixed = true;
}

void ht_model_set_dampening(struct ht_model *m, double dampening)
{
    for (size_t i = 0; i < m->n_blocks; i++)
        m->blocks[i].weights.dampening = (ht_real)dampening;
}

/* --- graphs --- */

struct builder {
    struct ht_model *m;
    struct ht_graph *g;
    uint32_t dropouts;
};

static struct ht_node *param(struct builder *k, int span)
{
    return span < 0 ? NULL : ht_graph_param(k->g, &k->m->params, span);
}

static ht_real *state(struct builder *k, int span)
{
    return span < 0 ? NULL : k->m->state.value + k->m->state.spans[span].offset;
}

static struct ht_node *dropout(struct builder *k, struct ht_node *x, double rate)
{
    if (rate == 0)
        return x;
    struct ht_attr_dropout attr = {(ht_real)rate, k->dropouts++};
    return ht_graph_add(k->g, &ht_op_dropout, &attr, 1, &x);
}

static struct ht_node *activation(struct builder *k, const struct ht_block *b, struct ht_node *x)
{
    struct ht_attr_leaky_relu leaky = {(ht_real)b->slope};
    if (!b->activation->op)
        return x;
    return ht_graph_add(k->g, b->activation->op, &leaky, 1, &x);
}

/* As the quantizer has it, but real: softly if its estimator is annealed or its width learned. */
static struct ht_node *soft_quant(struct builder *k, struct ht_node *x, struct ht_quantizer *q)
{
    if (q->learned_bits)
        return ht_bits_quant(k->g, x, q->learned_bits);
    if (q->estimator->soft)
        return ht_soft_quant(k->g, x, q, &k->m->params);
    return ht_dequantize(k->g, ht_fake_quant(k->g, x, q, &k->m->params));
}

/* Everything in front of the activation. */
static struct ht_node *float_dense(struct builder *k, const struct ht_block *b, struct ht_node *x,
                                   struct ht_node *w)
{
    struct ht_node *in[2] = {x, w};
    x = ht_graph_add(k->g, &ht_op_dense, NULL, 2, in);
    if (b->bias) {
        struct ht_node *with[2] = {x, param(k, b->bias_span)};
        x = ht_graph_add(k->g, &ht_op_bias, NULL, 2, with);
    }
    if (b->batchnorm) {
        struct ht_attr_batchnorm attr = {(ht_real)b->momentum, (ht_real)b->epsilon,
                                         state(k, b->mean_span), state(k, b->var_span), false};
        struct ht_node *with[3] = {x, param(k, b->gamma_span), param(k, b->beta_span)};
        x = ht_graph_add(k->g, &ht_op_batchnorm, &attr, 3, with);
    }
    return x;
}

static struct ht_node *float_block(struct builder *k, const struct ht_block *b, struct ht_node *x)
{
    x = float_dense(k, b, x, param(k, b->weight_span));
    return dropout(k, activation(k, b, x), b->dropout);
}

/* Behind dropout, as the next block of the soft form takes it. Levels of a known scale are made in
 * front of dropout. */
static struct ht_node *soft_tensor(struct builder *k, struct ht_node *x, double rate,
                                   enum ht_tensor_kind kind, struct ht_quantizer *q)
{
    if (kind == HT_TENSOR_LEVELS)
        x = soft_quant(k, x, q);
    x = dropout(k, x, rate);
    return kind == HT_TENSOR_DYNAMIC ? ht_dequantize(k->g, ht_dynamic_quant(k->g, x, q)) : x;
}

/* The same quantizers at the same places as in quantized_block. */
static struct ht_node *soft_block(struct builder *k, struct ht_block *b, struct ht_node *x)
{
    struct ht_node *w = param(k, b->weight_span);
    w = ht_grid_is_float16(&b->weights.grid) ? ht_round_half(k->g, w)
                                             : soft_quant(k, w, &b->weights);
    x = float_dense(k, b, x, w);
    if (ht_block_has_table(b))
        x = soft_quant(k, x, &b->before_table);
    return soft_tensor(k, activation(k, b, x), b->dropout, b->output_kind, &b->output);
}

/* From levels to levels of b->output (or of what enters its table), or to real values in front of
 * the activation. x is quantized by `input`. */
static struct ht_node *integer_block(struct builder *k, struct ht_block *b, struct ht_node *x,
                                     const struct ht_quantizer *input)
{
    struct ht_quant_dense spec = {
        .has_bias = b->bias,
        .has_batchnorm = b->batchnorm,
        .momentum = (ht_real)b->momentum,
        .epsilon = (ht_real)b->epsilon,
        .running_mean = state(k, b->mean_span),
        .running_var = state(k, b->var_span),
        .clamp_lo = b->has_output ? (ht_real)b->activation->clamp_lo : (ht_real)-INFINITY,
        .clamp_hi = b->has_output ? (ht_real)b->activation->clamp_hi : (ht_real)INFINITY,
        .out = ht_block_has_table(b) ? &b->before_table : (b->has_output ? &b->output : NULL),
        .product_bound = product_bound(input, &b->weights),
    };
    struct ht_node *w = ht_fake_quant(k->g, param(k, b->weight_span), &b->weights, &k->m->params);
    return ht_quant_dense(k->g, &spec, &k->m->params, x, w,
                          param(k, b->bias ? b->bias_span : b->gamma_span), param(k, b->beta_span));
}

/* x is of the block's input kind, the result of its output kind. *levels: the result, for levels
 * and real values in front of dropout. Values are dropped after levels of a known scale are made of
 * them, before each row finds its own. */
static struct ht_node *quantized_block(struct builder *k, struct ht_block *b, struct ht_node *x,
                                       const struct ht_quantizer *input, struct ht_node **levels)
{
    const bool table = ht_block_has_table(b);
    const bool real = b->input_kind != HT_TENSOR_LEVELS || !b->has_output;
    x = b->input_kind == HT_TENSOR_LEVELS ? integer_block(k, b, x, input)
                                          : ht_real_block(k->m, k->g, b, x);
    if (table)
        x = ht_dequantize(k->g, x);
    if (table || real)
        x = activation(k, b, x);
    if ((table || real) && b->has_output)
        x = ht_fake_quant(k->g, x, &b->output, &k->m->params);
    *levels = x;
    x = dropout(k, x, b->dropout);
    if (b->output_kind == HT_TENSOR_DYNAMIC)
        *levels = x = ht_dynamic_quant(k->g, x, &b->output);
    return x;
}

/* Levels of a known scale are dropped after they are made: 1 / (1 - rate) then goes into the
 * scale, not out of range. */
static struct ht_node *quantized_input(struct builder *k, struct ht_node *x)
{
    struct ht_model *m = k->m;
    if (m->input_kind == HT_TENSOR_LEVELS)
        return dropout(k, ht_fake_quant(k->g, x, &m->input, &m->params), m->input_dropout);
    x = dropout(k, x, m->input_dropout);
    return m->input_kind == HT_TENSOR_DYNAMIC ? ht_dynamic_quant(k->g, x, &m->input) : x;
}

struct ht_node *ht_model_build(struct ht_model *m, struct ht_graph *g, struct ht_node *x,
                               enum ht_form form, struct ht_node **levels)
{
    struct builder k = {m, g, 0};
    const struct ht_quantizer *input = &m->input;
    const bool quantized = form == HT_FORM_QUANTIZED;
    if (form != HT_FORM_FLOAT && !m->quantized)
        return ht_graph_fail(g, HT_ERR_INTERNAL, "the model has no quantizers");
    if (quantized)
        x = quantized_input(&k, x);
    else if (form == HT_FORM_SOFT)
        x = soft_tensor(&k, x, m->input_dropout, m->input_kind, &m->input);
    else
        x = dropout(&k, x, m->input_dropout);
    for (size_t i = 0; i < m->n_blocks; i++) {
        struct ht_block *b = &m->blocks[i];
        struct ht_node *block_levels;
        if (!quantized) {
            x = form == HT_FORM_SOFT ? soft_block(&k, b, x) : float_block(&k, b, x);
            if (levels) {
                levels[i] = x;
                ht_graph_keep(g, x);
            }
            continue;
        }
        x = quantized_block(&k, b, x, input, &block_levels);
        if (levels) {
            levels[i] = block_levels;
            ht_graph_keep(g, block_levels);
        }
        input = &b->output;
    }
    if (quantized && m->blocks[m->n_blocks - 1].has_output)
        x = ht_dequantize(g, x);
    return x;
}

bool ht_model_is_soft(const struct ht_model *m)
{
    for (size_t i = 0; m->quantized && i < m->n_blocks; i++) {
        const struct ht_block *b = &m->blocks[i];
        const struct ht_estimator *weights = b->weights.estimator; /* float16 has none */
        if ((weights && weights->soft) || (b->has_output && b->output.estimator->soft))
            return true;
    }
    return false;
}

struct after_step {
    struct ht_quantizer *q;
    ht_real *weights; /* [rows, cols] */
    size_t rows, cols;
    ht_real temperature;
};

static void after_step_of_channel(void *user, size_t channel)
{
    const struct after_step *j = user;
    struct ht_row_part p = {0, 0, j->rows * j->cols};
    size_t row = 0;
    if (j->q->channels > 1) {
        row = channel / j->q->groups;
        p = ht_quantizer_part(j->q, row, channel % j->q->groups, j->cols);
    }
    j->q->estimator->soft->after_step(j->q, channel, j->temperature,
                                      j->weights + row * j->cols + p.at, p.n);
}

void ht_model_after_step(struct ht_model *m, const struct ht_run *run)
{
    for (size_t i = 0; i < m->n_blocks; i++) {
        struct ht_block *b = &m->blocks[i];
        struct ht_quantizer *q = &b->weights;
        if (!q->estimator || !q->estimator->soft || !q->estimator->soft->after_step)
            continue;
        struct after_step j = {q, m->params.value + m->params.spans[b->weight_span].offset, b->out,
                               b->in, q->estimator->soft->temperature(q, run)};
        ht_pool_run(run->pool, q->channels, after_step_of_channel, &j);
        m->params.version++; /* what was made of the weights before is stale */
    }
}
