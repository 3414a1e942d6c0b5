/* What follows from several fields together. */
#include <string.h>

#include "config/config.h"
#include "config/rules_internal.h"

struct ht_tree_node *ht_rules_row_node(const struct ht_rules *s,
                                       const struct ht_quantizer_config *q,
                                       enum ht_quantizer_row row)
{
    size_t offset = (size_t)((const char *)q - (const char *)s->e);
    return ht_reader_find(s->r, offset + ht_quantizer_table.fields[row].offset);
}

struct ht_place ht_rules_row_place(const struct ht_rules *s, const struct ht_quantizer_config *q,
                                   enum ht_quantizer_row row, enum ht_quantizer_row other)
{
    const struct ht_tree_node *node = ht_rules_row_node(s, q, row);
    if (!node)
        node = ht_rules_row_node(s, q, other);
    if (node)
        return node->place;
    return (struct ht_place){s->mode == HT_RULES_SET ? 1 : 0, q->at.line ? q->at : s->e->quant.at};
}

bool ht_rules_is_annealed(const char *estimator)
{
    static const char *const annealed[] = {"parq", "prox", "quantization_networks"};
    for (size_t i = 0; i < sizeof annealed / sizeof *annealed; i++)
        if (is(estimator, annealed[i]))
            return true;
    return false;
}

/* The activation right after a dense layer's block, or "" (then the output is what is quantized).
 */
static const char *activation_after(const struct ht_experiment *e, size_t dense)
{
    for (size_t i = dense + 1; i < e->model.n_layers; i++) {
        const char *kind = e->model.layers[i].kind;
        if (is(kind, "dense"))
            break;
        if (!is(kind, "batchnorm") && !is(kind, "dropout"))
            return kind;
    }
    return "";
}

static void check_relu(const struct ht_rules *s)
{
    for (size_t i = 0, dense = 0; i < s->e->model.n_layers; i++) {
        if (!is(s->e->model.layers[i].kind, "dense"))
            continue;
        const struct ht_quantizer_config *q = ht_experiment_activations(s->e, dense++);
        const char *activation = activation_after(s->e, i);
        bool relu = is(activation, "relu") || is(activation, "relu6");
        if (relu && q->bits <= 8 && (is(q->grid, "binary") || is(q->grid, "zero_free"))) {
            ht_diagnostics_add(s->r->d, ht_rules_row_place(s, q, HT_ROW_GRID, HT_ROW_BITS),
                               "activations on grid %s after %s: %s leaves the negative levels "
                               "unused: use grid affine, or remove %s",
                               q->grid, activation, activation, activation);
            return;
        }
    }
}

/* Where the value at this offset was written, else `otherwise`. */
static struct ht_place written_at(const struct ht_rules *s, const void *value,
                                  struct ht_source_position otherwise)
{
    const size_t offset = (size_t)((const char *)value - (const char *)s->e);
    const struct ht_tree_node *node = ht_reader_find(s->r, offset);
    return node ? node->place : (struct ht_place){s->mode == HT_RULES_SET ? 1 : 0, otherwise};
}

/* Are there activations whose range must be seen? */
static bool has_ranges(const struct ht_experiment *e)
{
    size_t n_dense = 0;
    bool found = e->quant.output.bits <= 8;
    if (!e->quant.given || e->quant.weights.bits == 32)
        return false;
    for (size_t i = 0; i < e->model.n_layers; i++)
        n_dense += is(e->model.layers[i].kind, "dense");
    for (size_t i = 0; i + 1 < n_dense; i++) {
        const struct ht_quantizer_config *q = ht_experiment_activations(e, i);
        found |= q->bits <= 8 && !is(q->range, "dynamic");
    }
    return found;
}

/* A network that is trained is taken as it is, and quantized by what calibration finds. */
static void check_no_training(const struct ht_rules *s)
{
    const struct ht_experiment *e = s->e;
    const struct ht_place place = written_at(s, &e->train.epochs, e->train.at);
    if (!e->train.from[0])
        ht_diagnostics_add(s->r->d, place,
                           "train.epochs 0 takes a network that is trained: train.from must say "
                           "which");
    else if (has_ranges(e) && e->quant.calibration_batches == 0)
        ht_diagnostics_add(s->r->d, place,
                           "train.epochs 0 finds all ranges by calibration: "
                           "quant.calibration_batches must be at least 1");
}

/* A network that was just initialized has no errors worth correcting; one in its float stage is
 * still in the hands of the optimizer. */
static void check_needs_trained(const struct ht_rules *s, const bool *value, const char *name)
{
    const struct ht_experiment *e = s->e;
    if (*value && (!e->train.from[0] || e->quant.start_epoch > 0))
        ht_diagnostics_add(s->r->d, written_at(s, value, e->quant.at),
                           "quant.%s is for a trained network that is quantized from the start: it "
                           "needs train.from, and quant.start_epoch 0",
                           name);
}

static void check_equalize(const struct ht_rules *s)
{
    const struct ht_experiment *e = s->e;
    const struct ht_place place = written_at(s, &e->quant.equalize, e->quant.at);
    size_t last = 0, n = 0;
    for (size_t i = 0; i < e->model.n_layers; i++)
        if (is(e->model.layers[i].kind, "dense")) {
            last = i;
            n++;
        }
    if (n == 1)
        ht_diagnostics_add(s->r->d, place, "quant.equalize needs two dense layers or more");
    for (size_t i = 0; i < last; i++) {
        const char *activation = activation_after(e, i);
        if (is(e->model.layers[i].kind, "dense") && activation[0] && !is(activation, "relu") &&
            !is(activation, "leaky_relu")) {
            ht_diagnostics_add(s->r->d, place,
                               "quant.equalize moves factors through activations, which %s does "
                               "not let pass: only relu, leaky_relu or nothing between layers",
                               activation);
            return;
        }
    }
}

static void check_needs_batches(const struct ht_rules *s, const bool *value, const char *name)
{
    if (*value && s->e->quant.calibration_batches == 0)
        ht_diagnostics_add(s->r->d, written_at(s, value, s->e->quant.at),
                           "quant.%s measures on the calibration batches: "
                           "quant.calibration_batches must be at least 1",
                           name);
}

static void check_bias_correction(const struct ht_rules *s)
{
    const struct ht_experiment *e = s->e;
    const struct ht_place place = written_at(s, &e->quant.bias_correction, e->quant.at);
    for (size_t i = 0; i < e->model.n_layers; i++) {
        const struct ht_layer_config *layer = &e->model.layers[i];
        const bool normalized =
            i + 1 < e->model.n_layers && is(e->model.layers[i + 1].kind, "batchnorm");
        if (is(layer->kind, "dense") && !layer->bias && !normalized) {
            ht_diagnostics_add(s->r->d, place, "quant.bias_correction: layer %s has no bias",
                               layer->name);
            return;
        }
    }
}

static void check_reestimation(const struct ht_rules *s)
{
    const struct ht_experiment *e = s->e;
    bool normalizes = e->quant.reestimate_batchnorm == 0 || e->model.n_layers == 0;
    for (size_t i = 0; i < e->model.n_layers; i++)
        normalizes |= is(e->model.layers[i].kind, "batchnorm");
    if (!normalizes)
        ht_diagnostics_add(s->r->d, written_at(s, &e->quant.reestimate_batchnorm, e->quant.at),
                           "quant.reestimate_batchnorm: no layer has batchnorm");
}

static void check_calibration(const struct ht_rules *s)
{
    const struct ht_experiment *e = s->e;
    check_needs_trained(s, &e->quant.equalize, "equalize");
    check_needs_trained(s, &e->quant.adaround, "adaround");
    check_needs_batches(s, &e->quant.adaround, "adaround");
    check_needs_trained(s, &e->quant.bias_correction, "bias_correction");
    check_needs_batches(s, &e->quant.bias_correction, "bias_correction");
    if (e->quant.equalize)
        check_equalize(s);
    if (e->quant.bias_correction)
        check_bias_correction(s);
}

/* The input is passed on as activations are, where it does not say. Weights of 16 bits mean float
 * activations, as those of 32 bits do, whatever is written. */
static void settle_input(const struct ht_rules *s)
{
    struct ht_quantizer_config *input = &s->e->quant.input, *activations = &s->e->quant.activations;
    const bool float16 = s->e->quant.weights.bits == 16;
    const bool bits_given = ht_rules_row_node(s, input, HT_ROW_BITS);
    if (float16)
        activations->bits = 32;
    if (float16 || (activations->bits == 32 && !bits_given))
        input->bits = 32;
    else if (input->bits == 32 && !bits_given)
        input->bits = 8;
    if (s->mode == HT_RULES_LOAD && activations->bits <= 8 && is(activations->range, "dynamic") &&
        !ht_rules_row_node(s, input, HT_ROW_RANGE))
        ht_fields_copy_text(input->range, HT_NAME_LENGTH, "dynamic");
}

/* All float, or none: a network of both is told layer by layer. */
static void check_input(const struct ht_rules *s)
{
    const struct ht_quantizer_config *input = &s->e->quant.input;
    const struct ht_quantizer_config *activations = &s->e->quant.activations;
    if ((input->bits == 32) != (activations->bits == 32))
        ht_diagnostics_add(s->r->d, ht_rules_row_place(s, input, HT_ROW_BITS, HT_ROW_BITS),
                           "activations have %d bits and the input %d: where one is float, the "
                           "other must be, too (without quant.input.bits it follows)",
                           activations->bits, input->bits);
}

/* Float16 weights take float inputs only. */
static void check_float16(const struct ht_rules *s)
{
    const struct ht_experiment *e = s->e;
    for (size_t i = 0, dense = 0; i < e->model.n_layers; i++) {
        if (!is(e->model.layers[i].kind, "dense"))
            continue;
        const struct ht_quantizer_config *w = ht_experiment_weights(e, dense);
        const struct ht_quantizer_config *input =
            dense ? ht_experiment_activations(e, dense - 1) : &e->quant.input;
        if (w->bits == 16 && input->bits != 32) {
            ht_diagnostics_add(s->r->d, ht_rules_row_place(s, w, HT_ROW_BITS, HT_ROW_BITS),
                               "layer %s: weights of 16 bits need activations of 32 bits in front "
                               "of them, not %d",
                               e->model.layers[i].name, input->bits);
            return;
        }
        dense++;
    }
}

static bool anneals(const struct ht_experiment *e)
{
    for (size_t i = 0, dense = 0; i < e->model.n_layers; i++) {
        if (!is(e->model.layers[i].kind, "dense"))
            continue;
        if (ht_rules_is_annealed(ht_experiment_weights(e, dense)->estimator) ||
            ht_rules_is_annealed(ht_experiment_activations(e, dense)->estimator))
            return true;
        dense++;
    }
    return e->quant.output.bits != 32 && ht_rules_is_annealed(e->quant.output.estimator);
}

static void check_annealing(const struct ht_rules *s)
{
    const struct ht_experiment *e = s->e;
    if (e->train.epochs > 0 && e->quant.start_epoch + e->quant.hard_epochs >= e->train.epochs &&
        anneals(e))
        ht_diagnostics_add(s->r->d, written_at(s, &e->quant.hard_epochs, e->quant.at),
                           "quant.hard_epochs %d leaves no epoch to an estimator that is annealed: "
                           "train.epochs is %d, quant.start_epoch %d",
                           e->quant.hard_epochs, e->train.epochs, e->quant.start_epoch);
}

/* An anomaly is what is badly reconstructed. */
static void check_anomalies(const struct ht_rules *s)
{
    const struct ht_experiment *e = s->e;
    if (e->data.n_anomaly_classes > 0 && !is(e->data.target, "input"))
        ht_diagnostics_add(s->r->d, written_at(s, &e->data.anomaly_classes, e->data.at),
                           "data.anomaly_classes are found by their reconstruction error: "
                           "data.target must be input (autoencoder)");
}

static void check_progressive(const struct ht_rules *s)
{
    const struct ht_experiment *e = s->e;
    const struct ht_place place = written_at(s, e->quant.progressive, e->quant.at);
    const int stages = (int)ht_experiment_stages(e);
    if (stages == 1)
        return;
    if (anneals(e))
        ht_diagnostics_add(s->r->d, place,
                           "quant.progressive is not for an estimator that is annealed: that goes "
                           "over the whole training");
    if (e->train.epochs - e->quant.start_epoch < stages)
        ht_diagnostics_add(s->r->d, place,
                           "quant.progressive makes %d stages, but there are %d quantized epochs",
                           stages, e->train.epochs - e->quant.start_epoch);
}

static void check_teacher(const struct ht_rules *s)
{
    const struct ht_experiment *e = s->e;
    if (e->train.teacher[0] && e->train.epochs == 0)
        ht_diagnostics_add(s->r->d, written_at(s, e->train.teacher, e->train.at),
                           "train.teacher has nobody to teach: train.epochs is 0");
}

void ht_rules_apply(struct ht_reader *r, struct ht_experiment *e, enum ht_rules_mode mode)
{
    struct ht_rules s = {r, e, mode};
    check_anomalies(&s);
    check_teacher(&s);
    if (!e->quant.given) {
        if (e->train.epochs == 0)
            check_no_training(&s);
        return;
    }
    settle_input(&s);
    ht_rules_quantizers(&s);
    if (e->train.epochs == 0)
        check_no_training(&s);
    if (e->quant.weights.bits == 32)
        return;
    check_input(&s);
    check_float16(&s);
    check_relu(&s);
    check_annealing(&s);
    check_calibration(&s);
    check_reestimation(&s);
    check_progressive(&s);
}
