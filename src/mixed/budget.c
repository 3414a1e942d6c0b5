/* From a table to a choice. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "mixed/choose.h"
#include "mixed/table.h"

/* Of a layer: its weights at width o / n_outputs, what it gives at width o % n_outputs. Without
 * slots there is one width, number 0, which stands for the experiment's. */
struct problem {
    const struct ht_mixed_table *t;
    struct ht_choice choice;
    size_t n_outputs;
    double *loss;
    uint64_t *cost;
    size_t *state, *chosen;
};

static int slot_of_output(const struct ht_mixed_table *t, size_t layer)
{
    return layer + 1 < t->n_layers ? t->layers[layer + 1].input_slot : -1;
}

static double option_loss(const struct ht_mixed_table *t, int slot, size_t width)
{
    if (slot >= 0)
        return ht_mixed_cell(t, (size_t)slot, width)->sensitivity;
    return width == 0 ? 0 : (double)INFINITY;
}

static uint64_t option_cost(const struct problem *p, enum ht_mixed_unit unit,
                            const struct ht_mixed_layer *l, size_t state, size_t width)
{
    const struct ht_mixed_table *t = p->t;
    const int weight_bits = l->weight_slot < 0 ? l->weight_bits : t->widths[width];
    const int input_bits = l->input_slot < 0 ? l->input_bits : t->widths[state];
    if (unit == HT_MIXED_BYTES)
        return l->weight_slot < 0 ? l->fixed_bytes : l->bytes[width];
    return (uint64_t)l->macs * (uint64_t)(weight_bits * input_bits);
}

static enum ht_status make_problem(struct problem *p, const struct ht_mixed_table *t,
                                   enum ht_mixed_unit unit, struct ht_error *err)
{
    bool weights = false, activations = false;
    for (size_t i = 0; i < t->n_slots; i++)
        *(t->slots[i].activations ? &activations : &weights) = true;
    p->t = t;
    p->n_outputs = activations ? t->n_widths : 1;
    const size_t options = (weights ? t->n_widths : 1) * p->n_outputs;
    const size_t cells = t->n_layers * options;
    p->loss = ht_calloc(cells, sizeof *p->loss);
    p->state = ht_calloc(cells, sizeof *p->state);
    p->cost = ht_calloc(cells * p->n_outputs, sizeof *p->cost);
    p->chosen = ht_calloc(t->n_layers, sizeof *p->chosen);
    if (!p->loss || !p->state || !p->cost || !p->chosen)
        return ht_fail_memory(err);
    p->choice = (struct ht_choice){t->n_layers, options, p->n_outputs, p->loss, p->cost, p->state};
    for (size_t k = 0; k < t->n_layers; k++)
        for (size_t o = 0; o < options; o++) {
            const struct ht_mixed_layer *l = &t->layers[k];
            const size_t width = o / p->n_outputs, output = o % p->n_outputs;
            p->loss[k * options + o] = option_loss(t, l->weight_slot, width) +
                                       option_loss(t, slot_of_output(t, k), output);
            p->state[k * options + o] = output;
            for (size_t s = 0; s < p->n_outputs; s++)
                p->cost[(k * p->n_outputs + s) * options + o] = option_cost(p, unit, l, s, width);
        }
    return HT_OK;
}

static void finish_problem(struct problem *p)
{
    ht_free(p->loss);
    ht_free(p->state);
    ht_free(p->cost);
    ht_free(p->chosen);
}

enum ht_status ht_mixed_choose(const struct ht_mixed_table *t, enum ht_mixed_unit unit,
                               uint64_t budget, size_t *choice, struct ht_error *err)
{
    struct problem p = {0};
    uint64_t least = 0;
    enum ht_status status = make_problem(&p, t, unit, err);
    if (status == HT_OK)
        status = ht_choose_least(&p.choice, &least, err);
    if (status == HT_OK && budget < least)
        status = ht_fail(err, HT_ERR_CONFIG,
                         "a budget of %llu %s is too small: the smallest possible with these "
                         "widths is %llu",
                         (unsigned long long)budget, ht_mixed_unit_name(unit),
                         (unsigned long long)least);
    if (status == HT_OK)
        status = ht_choose(&p.choice, budget, p.chosen, err);
    for (size_t k = 0; status == HT_OK && k < t->n_layers; k++) {
        if (t->layers[k].weight_slot >= 0)
            choice[t->layers[k].weight_slot] = p.chosen[k] / p.n_outputs;
        if (slot_of_output(t, k) >= 0)
            choice[slot_of_output(t, k)] = p.chosen[k] % p.n_outputs;
    }
    finish_problem(&p);
    return status;
}

/* --- one step after the other --- */

/* The step that gains most from `choice`; false when all slots are at the widest. */
static bool best_step(const struct ht_mixed_table *t, enum ht_mixed_unit unit, size_t *choice,
                      struct ht_mixed_step *best)
{
    const double before = (double)ht_mixed_cost(t, unit, choice);
    bool found = false;
    for (size_t i = 0; i < t->n_slots; i++) {
        const size_t from = choice[i];
        for (size_t to = 0; to < from; to++) {
            choice[i] = to;
            const double cost = (double)ht_mixed_cost(t, unit, choice) - before;
            const double off =
                ht_mixed_cell(t, i, from)->sensitivity - ht_mixed_cell(t, i, to)->sensitivity;
            /* A layer of a few weights may cost the same bytes at two widths. */
            const double at_once = off > 0 ? (double)INFINITY : -(double)INFINITY;
            const double gain = cost > 0 ? off / cost : at_once;
            if (!found || gain > best->gain)
                *best = (struct ht_mixed_step){.slot = i, .from = from, .to = to, .gain = gain};
            found = true;
        }
        choice[i] = from;
    }
    return found;
}

enum ht_status ht_mixed_order(const struct ht_mixed_table *t, enum ht_mixed_unit unit,
                              struct ht_mixed_step **ret, size_t *n, struct ht_error *err)
{
    size_t *choice = ht_calloc(t->n_slots, sizeof *choice);
    struct ht_mixed_step *steps = ht_calloc(t->n_slots * t->n_widths, sizeof *steps);
    if (!choice || !steps) {
        ht_free(choice);
        ht_free(steps);
        return ht_fail_memory(err);
    }
    for (size_t i = 0; i < t->n_slots; i++)
        choice[i] = t->n_widths - 1;
    for (*n = 0; best_step(t, unit, choice, &steps[*n]); ++*n) {
        struct ht_mixed_step *s = &steps[*n];
        choice[s->slot] = s->to;
        s->sensitivity = ht_mixed_sensitivity(t, choice);
        s->bytes = ht_mixed_bytes(t, choice);
        s->bops = ht_mixed_bops(t, choice);
    }
    ht_free(choice);
    *ret = steps;
    return HT_OK;
}
