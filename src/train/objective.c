#include "train/objective.h"

#include <math.h>
#include <string.h>

#include "autograd/op.h"
#include "base/alloc.h"

static enum ht_status fail_at(struct ht_error *err, const struct ht_experiment *e,
                              struct ht_source_position at, const char *what, size_t given,
                              size_t expected, const char *why)
{
    return ht_fail(err, HT_ERR_CONFIG, "%s:%d:%d: error: %s %zu, but %s needs %zu", e->path,
                   at.line, at.column, what, given, why, expected);
}

static enum ht_task find_task(const struct ht_experiment *e, const struct ht_dataset *d)
{
    if (strcmp(e->data.target, "input") == 0)
        return HT_AUTOENCODER;
    return d->labels ? HT_CLASSIFICATION : HT_REGRESSION;
}

static enum ht_status check_target(const struct ht_objective *o, const struct ht_experiment *e,
                                   const struct ht_dataset *d, struct ht_error *err)
{
    if (o->task == HT_AUTOENCODER || d->labels || d->targets)
        return HT_OK;
    return ht_fail(
        err, HT_ERR_CONFIG,
        "%s:%d:%d: error: %s has nothing to predict (its task is none): data.target must "
        "be input",
        e->path, e->data.at.line, e->data.at.column, d->name);
}

/* Losses by name, and the tasks they serve. */
static const struct {
    const char *name;
    bool classification, values;
} losses[] = {
    {"cross_entropy", true, false},
    {"mse", true, true},
    {"bce", true, true},
    {"squared_hinge", true, false},
};

static enum ht_status choose_loss(struct ht_objective *o, const struct ht_experiment *e,
                                  struct ht_error *err)
{
    const char *name = e->train.loss;
    if (strcmp(name, "auto") == 0)
        name = o->task == HT_CLASSIFICATION ? "cross_entropy" : "mse";
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        if (strcmp(losses[i].name, name) != 0)
            continue;
        if (o->task == HT_CLASSIFICATION ? losses[i].classification : losses[i].values) {
            o->loss = losses[i].name;
            return HT_OK;
        }
    }
    return ht_fail(err, HT_ERR_CONFIG, "%s:%d:%d: error: train.loss %s does not fit %s", e->path,
                   e->train.at.line, e->train.at.column, name, o->task_name);
}

static enum ht_status check_outputs(struct ht_objective *o, const struct ht_experiment *e,
                                    const struct ht_dataset *d, struct ht_error *err)
{
    const struct ht_layer_config *last = NULL;
    for (size_t i = 0; i < e->model.n_layers; i++)
        if (strcmp(e->model.layers[i].kind, "dense") == 0)
            last = &e->model.layers[i];
    if (!last)
        return ht_fail(err, HT_ERR_CONFIG, "%s: model.layers has no dense layer", e->path);
    o->outputs = (size_t)last->units;
    size_t needed = d->n_classes;
    if (o->task == HT_REGRESSION)
        needed = d->target_columns;
    if (o->task == HT_AUTOENCODER)
        needed = d->features;
    const bool binary = o->task == HT_CLASSIFICATION && d->n_classes == 2 &&
                        strcmp(o->loss, "bce") == 0 && o->outputs == 1;
    if (o->outputs != needed && !binary)
        return fail_at(err, e, last->at, "the last dense layer has units", o->outputs, needed,
                       d->name);
    const bool elementwise = strcmp(o->loss, "mse") == 0 || strcmp(o->loss, "bce") == 0;
    o->one_hot = o->task == HT_CLASSIFICATION && elementwise && !binary;
    o->target_columns = elementwise ? o->outputs : 1;
    return HT_OK;
}

/* Binary cross-entropy is of probabilities: other targets have no minimum. */
static enum ht_status check_probabilities(const struct ht_objective *o,
                                          const struct ht_experiment *e, const struct ht_dataset *d,
                                          struct ht_error *err)
{
    ht_real lowest = 0, highest = 0;
    const size_t columns = o->target_columns;
    if (strcmp(o->loss, "bce") != 0 || o->task == HT_CLASSIFICATION ||
        (o->task == HT_AUTOENCODER && d->bytes && !d->symmetric_pixels))
        return HT_OK;
    ht_real *x = ht_calloc(d->features, sizeof *x), *target = ht_calloc(columns, sizeof *target);
    bool memory = x && target;
    for (uint32_t i = 0; memory && i < d->n; i++) {
        ht_dataset_features(d, &i, 1, NULL, 0, 0, x);
        ht_objective_targets(o, d, &i, 1, x, target);
        for (size_t j = 0; j < columns; j++) {
            lowest = target[j] < lowest ? target[j] : lowest;
            highest = target[j] > highest ? target[j] : highest;
        }
    }
    ht_free(x);
    ht_free(target);
    if (!memory)
        return ht_fail_memory(err);
    if (lowest >= 0 && highest <= 1)
        return HT_OK;
    return ht_fail(err, HT_ERR_CONFIG,
                   "%s:%d:%d: error: train.loss bce needs targets from 0 to 1, found %g to %g; try "
                   "data.standardize: false, data.pixels: unit, or loss mse",
                   e->path, e->train.at.line, e->train.at.column, (double)lowest, (double)highest);
}

enum ht_status ht_objective_init(struct ht_objective *o, const struct ht_experiment *e,
                                 const struct ht_dataset *d, struct ht_error *err)
{
    static const char *const names[] = {"classification", "regression", "autoencoder"};
    memset(o, 0, sizeof *o);
    o->task = find_task(e, d);
    o->task_name = names[o->task];
    o->score = o->task == HT_CLASSIFICATION ? "accuracy" : "r2";
    o->label_smoothing = e->train.label_smoothing;
    o->share = e->train.distillation;
    o->temperature = e->train.temperature;
    enum ht_status status = check_target(o, e, d, err);
    if (status == HT_OK)
        status = choose_loss(o, e, err);
    if (status == HT_OK)
        status = check_outputs(o, e, d, err);
    return status == HT_OK ? check_probabilities(o, e, d, err) : status;
}

static struct ht_node *task_loss(const struct ht_objective *o, struct ht_graph *g,
                                 struct ht_node *y, struct ht_node *target)
{
    struct ht_node *in[2] = {y, target};
    struct ht_attr_softmax_cross_entropy smoothing = {(ht_real)o->label_smoothing};
    static const struct {
        const char *name;
        const struct ht_op *op;
    } ops[] = {
        {"cross_entropy", &ht_op_softmax_cross_entropy},
        {"mse", &ht_op_mse},
        {"bce", &ht_op_bce},
        {"squared_hinge", &ht_op_squared_hinge},
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(ops[i].name, o->loss) == 0)
            return ht_graph_add(g, ops[i].op, &smoothing, 2, in);
    return ht_graph_fail(g, HT_ERR_INTERNAL, "unknown loss");
}

/* Of classes, the teacher's softened probabilities (Hinton et al. 2015); else its outputs as they
 * are (Ba & Caruana 2014, arXiv 1312.6184, eq. 1), which is where a high temperature leads, too. */
static struct ht_node *difference_from(const struct ht_objective *o, struct ht_graph *g,
                                       struct ht_node *y, struct ht_node *teacher)
{
    struct ht_node *in[2] = {y, teacher};
    const struct ht_attr_distillation attr = {(ht_real)o->temperature};
    return o->task == HT_CLASSIFICATION && o->outputs > 1
               ? ht_graph_add(g, &ht_op_distillation, &attr, 2, in)
               : ht_graph_add(g, &ht_op_mse, NULL, 2, in);
}

struct ht_node *ht_objective_loss(const struct ht_objective *o, struct ht_graph *g,
                                  struct ht_node *y, struct ht_node *target,
                                  struct ht_node *teacher)
{
    const struct ht_attr_blend attr = {(ht_real)o->share};
    struct ht_node *loss = task_loss(o, g, y, target);
    if (!teacher)
        return loss;
    struct ht_node *in[2] = {loss, difference_from(o, g, y, teacher)};
    return ht_graph_add(g, &ht_op_blend, &attr, 2, in);
}

void ht_objective_targets(const struct ht_objective *o, const struct ht_dataset *d,
                          const uint32_t *samples, size_t count, const ht_real *x, ht_real *target)
{
    if (o->task == HT_AUTOENCODER) {
        memcpy(target, x, count * d->features * sizeof *target);
    } else if (o->one_hot) {
        memset(target, 0, count * o->target_columns * sizeof *target);
        for (size_t i = 0; i < count; i++)
            target[i * o->target_columns + (size_t)d->labels[samples[i]]] = 1;
    } else {
        ht_dataset_targets(d, samples, count, target);
    }
}

size_t ht_objective_class(const struct ht_objective *o, const ht_real *y)
{
    size_t best = 0;
    if (o->outputs == 1)
        return y[0] > 0;
    for (size_t j = 1; j < o->outputs; j++)
        if (y[j] > y[best])
            best = j;
    return best;
}

static size_t target_class(const struct ht_objective *o, const ht_real *target)
{
    if (!o->one_hot)
        return (size_t)target[0];
    for (size_t j = 0; j < o->target_columns; j++)
        if (target[j] > 0)
            return j;
    return 0;
}

/* What an output stands for: with bce a probability. */
static double output_value(const struct ht_objective *o, ht_real y)
{
    return strcmp(o->loss, "bce") == 0 ? 1 / (1 + exp(-(double)y)) : (double)y;
}

double ht_objective_row_error(const struct ht_objective *o, const ht_real *y, const ht_real *target)
{
    double sum = 0;
    for (size_t j = 0; j < o->outputs; j++) {
        double error = output_value(o, y[j]) - (double)target[j];
        sum += error * error;
    }
    return sum;
}

void ht_scorer_add(struct ht_scorer *s, const struct ht_objective *o, const ht_real *y,
                   const ht_real *target, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const ht_real *out = y + i * o->outputs, *t = target + i * o->target_columns;
        s->n++;
        if (o->task == HT_CLASSIFICATION) {
            s->correct += ht_objective_class(o, out) == target_class(o, t);
            continue;
        }
        for (size_t j = 0; j < o->outputs; j++) {
            double error = output_value(o, out[j]) - (double)t[j];
            s->squared_error += error * error;
            s->sum += (double)t[j];
            s->square += (double)t[j] * (double)t[j];
        }
        s->values += o->outputs;
    }
}

double ht_scorer_result(const struct ht_scorer *s, const struct ht_objective *o)
{
    if (o->task == HT_CLASSIFICATION)
        return s->n ? (double)s->correct / (double)s->n : 0;
    double variance = s->square - (s->values ? s->sum * s->sum / (double)s->values : 0);
    return variance > 0 ? 1 - s->squared_error / variance : 0;
}

double ht_scorer_error(const struct ht_scorer *s, const struct ht_objective *o)
{
    if (o->task == HT_CLASSIFICATION || s->values == 0)
        return (double)NAN;
    return s->squared_error / (double)s->values;
}
