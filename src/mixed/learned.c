#include "mixed/learned.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "quant/learned_bits.h"
#include "train/checkpoint.h"
#include "train/setup.h"

/* Adam moves widths and clips by shares of their value. With this sum of steps a width may go from
 * 8 bits to 2 in a quarter of the training (ln 4 = 1.4), and settle in the rest. */
#define SUM_OF_STEPS 5.0
#define LARGEST_STEP 0.05

struct learner {
    const struct ht_mixed_analysis *a;
    const struct ht_mixed_table *t;
    const struct ht_mixed_learning *o;
    struct ht_model *model;
    struct ht_params params;      /* widths and clips */
    struct ht_learned_bits *bits; /* [n_slots] */
    struct ht_network network;
    struct ht_optimizer *weights_optimizer, *bits_optimizer;
    struct ht_schedule schedule;
    uint32_t *order;
    double *by_bits; /* [n_slots] derivatives of the last cost */
    double widest;   /* cost of the widest network */
    int64_t step, steps;
};

/* --- the penalty --- */

static double bits_of(const struct learner *l, int slot, int otherwise)
{
    return slot < 0 ? otherwise : (double)*ht_learned_bits_value(&l->bits[slot]);
}

/* Of real widths, with its derivatives by them. Bytes leave out scales and biases, which no width
 * changes. */
static double cost(struct learner *l)
{
    const bool bops = l->o->unit == HT_MIXED_BOPS;
    double sum = 0;
    memset(l->by_bits, 0, l->t->n_slots * sizeof *l->by_bits);
    for (size_t i = 0; i < l->t->n_layers; i++) {
        const struct ht_mixed_layer *layer = &l->t->layers[i];
        const double w = bits_of(l, layer->weight_slot, layer->weight_bits);
        const double x = bits_of(l, layer->input_slot, layer->input_bits);
        const double by_w = bops ? (double)layer->macs * x : (double)layer->parameters / 8;
        const double by_x = bops ? (double)layer->macs * w : 0;
        sum += by_w * w;
        if (layer->weight_slot >= 0)
            l->by_bits[layer->weight_slot] += by_w;
        if (layer->input_slot >= 0)
            l->by_bits[layer->input_slot] += by_x;
    }
    return sum;
}

/* The part of the budget that codes may take. */
static double budget_of(const struct learner *l)
{
    double fixed = 0;
    for (size_t i = 0; l->o->unit == HT_MIXED_BYTES && i < l->t->n_layers; i++) {
        const struct ht_mixed_layer *layer = &l->t->layers[i];
        fixed += (double)layer->bytes[0] - (double)layer->parameters * l->t->widths[0] / 8;
    }
    return (double)l->o->budget - fixed;
}

/* Adds the penalty's gradient to that of the loss. */
static void penalize(struct learner *l)
{
    const double now = cost(l);
    double strength = l->o->penalty / l->widest;
    if (l->o->budget) {
        const double over = (now - budget_of(l)) / l->widest;
        strength *= over > 0 ? 2 * over : 0;
    }
    for (size_t i = 0; i < l->t->n_slots; i++) {
        const size_t at = l->params.spans[l->bits[i].bits_span].offset;
        l->params.grad[at] += (ht_real)(strength * l->by_bits[i]);
    }
}

/* --- set up --- */

static enum ht_status declare(struct learner *l, struct ht_error *err)
{
    const struct ht_mixed_table *t = l->t;
    for (size_t i = 0; i < t->n_slots; i++) {
        const struct ht_mixed_slot *s = &t->slots[i];
        struct ht_block *b = &l->model->blocks[s->layer];
        struct ht_quantizer *q = s->activations ? &b->output : &b->weights;
        char prefix[96];
        snprintf(prefix, sizeof prefix, "%s.%s", b->name, s->activations ? "output" : "weight");
        ht_learned_bits_declare(&l->bits[i], &l->params, prefix, !s->activations, q->channels,
                                t->widths[0], t->widths[t->n_widths - 1]);
        q->learned_bits = &l->bits[i];
    }
    return ht_params_allocate(&l->params, true, err);
}

static void load_batch(struct learner *l, struct ht_network *n, int64_t epoch, size_t batch)
{
    const struct ht_experiment *e = l->a->e;
    const struct ht_augment augment = {e->data.augment.shift, e->data.augment.rotation};
    const bool augmented = augment.shift != 0 || augment.rotation != 0;
    const size_t at = batch * (size_t)e->train.batch, left = l->a->d->count[HT_TRAIN] - at;
    const size_t count = left < (size_t)e->train.batch ? left : (size_t)e->train.batch;
    ht_network_load(n, &l->a->objective, l->a->d, l->order + at, count, augmented ? &augment : NULL,
                    e->seed, (uint64_t)epoch);
}

static void start_clips(struct learner *l, struct ht_node *const *outputs)
{
    for (size_t i = 0; i < l->t->n_slots; i++) {
        const struct ht_mixed_slot *s = &l->t->slots[i];
        const struct ht_block *b = &l->model->blocks[s->layer];
        const struct ht_node *y = outputs[s->layer];
        const ht_real *w = l->model->params.value + l->model->params.spans[b->weight_span].offset;
        if (s->activations)
            ht_learned_bits_start(&l->bits[i], y->value, y->rows * y->cols);
        else
            ht_learned_bits_start(&l->bits[i], w, b->in * b->out / l->bits[i].channels);
    }
}

/* First clips of the weights as they are, and of activations from a batch through the float
 * network, with the statistics of that batch. */
static enum ht_status find_clips(struct learner *l, struct ht_error *err)
{
    const struct ht_run run = {.mode = HT_MODE_TRAIN, .seed = l->a->e->seed};
    struct ht_network n = {.graph = ht_graph_create((size_t)l->a->e->train.batch)};
    struct ht_node **outputs = ht_calloc(l->model->n_blocks, sizeof *outputs);
    enum ht_status status = outputs && n.graph ? HT_OK : ht_fail_memory(err);
    if (status == HT_OK) {
        n.x = ht_graph_input(n.graph, l->model->inputs);
        n.target = ht_graph_input(n.graph, l->a->objective.target_columns);
        n.y = ht_model_build(l->model, n.graph, n.x, HT_FORM_FLOAT, outputs);
        n.loss = ht_objective_loss(&l->a->objective, n.graph, n.y, n.target, NULL);
        status = ht_graph_plan(n.graph, n.loss, HT_PLAN_TRAINING, err);
    }
    if (status == HT_OK) {
        ht_dataset_shuffle(l->a->d, l->a->e->seed, 0, l->order);
        load_batch(l, &n, 0, 0);
        ht_graph_forward(n.graph, &run);
        start_clips(l, outputs);
    }
    ht_graph_destroy(n.graph);
    ht_free(outputs);
    return status;
}

static enum ht_status make_optimizers(struct learner *l, struct ht_error *err)
{
    struct ht_optimizer_config adam;
    ht_optimizer_defaults(&adam, "adam");
    enum ht_status status =
        ht_setup_optimizer(&l->weights_optimizer, &l->schedule, l->a->e, &l->model->params, err);
    if (status == HT_OK)
        status = ht_optimizer_create(&l->bits_optimizer, &adam, &l->params, err);
    return status;
}

static enum ht_status make_model(struct learner *l, struct ht_error *err)
{
    const struct ht_mixed_analysis *a = l->a;
    enum ht_status status = ht_setup_model(&l->model, a->e, a->d->features, err);
    if (status == HT_OK)
        status = ht_setup_input_range(l->model, a->d, err);
    if (status == HT_OK && a->checkpoint[0])
        status = ht_checkpoint_load_parameters(a->checkpoint, l->model, false, err);
    if (status == HT_OK)
        status = declare(l, err);
    if (status == HT_OK)
        status = find_clips(l, err);
    return status;
}

static enum ht_status start(struct learner *l, const struct ht_mixed_analysis *a,
                            const struct ht_mixed_table *t, const struct ht_mixed_learning *o,
                            struct ht_error *err)
{
    const size_t n = a->d->count[HT_TRAIN], batch = (size_t)a->e->train.batch;
    memset(l, 0, sizeof *l);
    l->a = a;
    l->t = t;
    l->o = o;
    l->steps = (int64_t)a->e->train.epochs * (int64_t)((n + batch - 1) / batch);
    l->order = ht_calloc(n, sizeof *l->order);
    l->bits = ht_calloc(t->n_slots, sizeof *l->bits);
    l->by_bits = ht_calloc(t->n_slots, sizeof *l->by_bits);
    enum ht_status status = l->order && l->bits && l->by_bits ? HT_OK : ht_fail_memory(err);
    if (status == HT_OK)
        status = make_model(l, err);
    if (status == HT_OK)
        status = make_optimizers(l, err);
    if (status == HT_OK)
        status = ht_network_init(&l->network, l->model, &a->objective, batch, HT_FORM_SOFT, true,
                                 NULL, err);
    if (status == HT_OK)
        l->widest = cost(l);
    return status;
}

static void finish(struct learner *l)
{
    if (l->network.graph)
        ht_network_finish(&l->network);
    ht_optimizer_destroy(l->weights_optimizer);
    ht_optimizer_destroy(l->bits_optimizer);
    ht_params_finish(&l->params);
    ht_model_destroy(l->model);
    ht_free(l->bits);
    ht_free(l->by_bits);
    ht_free(l->order);
}

/* --- the loop --- */

static void keep_in_range(struct learner *l)
{
    for (size_t i = 0; i < l->t->n_slots; i++) {
        ht_real *bits = ht_learned_bits_value(&l->bits[i]);
        const ht_real most = (ht_real)l->t->widths[0];
        *bits = *bits < most ? *bits : most;
    }
}

static enum ht_status train_batch(struct learner *l, int64_t epoch, size_t batch, double *loss_sum,
                                  struct ht_error *err)
{
    const struct ht_experiment *e = l->a->e;
    const double batches = (double)l->steps / e->train.epochs;
    const double rate = ht_schedule_rate(&l->schedule, (double)epoch + (double)batch / batches);
    const double bits_step = fmin(SUM_OF_STEPS / (double)l->steps, LARGEST_STEP);
    const struct ht_run run = {.mode = HT_MODE_TRAIN,
                               .seed = e->seed,
                               .step = (uint64_t)l->step,
                               .soft_share = (double)l->step / (double)l->steps,
                               .soft_epochs = (double)epoch};
    load_batch(l, &l->network, epoch, batch);
    ht_graph_forward(l->network.graph, &run);
    const double loss = (double)l->network.loss->value[0];
    if (!isfinite(loss))
        return ht_fail(err, HT_ERR_DIVERGED,
                       "learning widths diverged: the loss is not finite in epoch %d; try a "
                       "smaller train.learning_rate",
                       (int)epoch + 1);
    ht_graph_backward(l->network.graph, &run);
    penalize(l);
    ht_optimizer_step(l->weights_optimizer, rate, e->train.clip_norm, NULL);
    ht_optimizer_step(l->bits_optimizer, bits_step * rate / e->train.learning_rate, 0, NULL);
    keep_in_range(l);
    *loss_sum += loss;
    l->step++;
    return HT_OK;
}

static enum ht_status train(struct learner *l, struct ht_error *err)
{
    const struct ht_experiment *e = l->a->e;
    const size_t batches = (size_t)(l->steps / e->train.epochs);
    enum ht_status status = HT_OK;
    for (int epoch = 0; status == HT_OK && epoch < e->train.epochs; epoch++) {
        double loss = 0;
        ht_dataset_shuffle(l->a->d, e->seed, (uint64_t)epoch, l->order);
        for (size_t b = 0; status == HT_OK && b < batches; b++)
            status = train_batch(l, epoch, b, &loss, err);
        if (status == HT_OK && l->o->epoch)
            l->o->epoch(l->o->user, epoch + 1, loss / (double)batches, cost(l) / l->widest);
    }
    return status;
}

static void take_widths(struct learner *l, struct ht_mixed_table *t, double *learned)
{
    cost(l);
    for (size_t i = 0; i < t->n_slots; i++) {
        learned[i] = (double)*ht_learned_bits_value(&l->bits[i]);
        for (size_t w = 0; w < t->n_widths; w++)
            ht_mixed_cell(t, i, w)->sensitivity =
                l->by_bits[i] / l->widest * pow(4, learned[i] - t->widths[w]) / log(4);
    }
}

enum ht_status ht_mixed_learn(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                              const struct ht_mixed_learning *o, double *learned,
                              struct ht_evaluation *ret, struct ht_error *err)
{
    struct learner l;
    if (a->e->train.epochs == 0)
        return ht_fail(err, HT_ERR_CONFIG, "widths are learned in a training: train.epochs is 0");
    if (t->widths[t->n_widths - 1] < 2)
        return ht_fail(err, HT_ERR_CONFIG, "widths that are learned are 2 bits or more");
    enum ht_status status = start(&l, a, t, o, err);
    if (status == HT_OK)
        status = train(&l, err);
    if (status == HT_OK)
        status = ht_evaluate(ret, &l.network, &a->objective, a->d, HT_VALIDATION, err);
    if (status == HT_OK)
        take_widths(&l, t, learned);
    finish(&l);
    return status;
}

void ht_mixed_nearest(const struct ht_mixed_table *t, const double *learned, size_t *choice)
{
    for (size_t i = 0; i < t->n_slots; i++) {
        choice[i] = 0;
        for (size_t w = 1; w < t->n_widths; w++)
            if (fabs(learned[i] - t->widths[w]) < fabs(learned[i] - t->widths[choice[i]]))
                choice[i] = w;
    }
}
