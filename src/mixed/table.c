#include "mixed/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "config/config.h"
#include "train/setup.h"

static enum ht_status set_widths(struct ht_mixed_table *t, const int *widths, size_t n,
                                 struct ht_error *err)
{
    if (n < 1 || n > HT_MIXED_MAX_WIDTHS)
        return ht_fail(err, HT_ERR_CONFIG, "expected 1 to %d widths", HT_MIXED_MAX_WIDTHS);
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        if (widths[i] < 1 || widths[i] > 8)
            return ht_fail(err, HT_ERR_CONFIG, "a width is 1 to 8 bits, not %d", widths[i]);
        for (; at > 0 && t->widths[at - 1] <= widths[i]; at--) {
            if (t->widths[at - 1] == widths[i])
                return ht_fail(err, HT_ERR_CONFIG, "width %d is given twice", widths[i]);
            t->widths[at] = t->widths[at - 1];
        }
        t->widths[at] = widths[i];
    }
    t->n_widths = n;
    return HT_OK;
}

static void add_slot(struct ht_mixed_table *t, size_t layer, bool activations)
{
    const int slot = (int)t->n_slots++;
    t->slots[slot] = (struct ht_mixed_slot){layer, activations};
    if (activations)
        t->layers[layer + 1].input_slot = slot;
    else
        t->layers[layer].weight_slot = slot;
}

static void add_layers(struct ht_mixed_table *t, const struct ht_experiment *e, size_t inputs)
{
    for (size_t i = 0; i < e->model.n_layers; i++) {
        const struct ht_layer_config *c = &e->model.layers[i];
        if (strcmp(c->kind, "dense") != 0)
            continue;
        const size_t n = t->n_layers++;
        struct ht_mixed_layer *l = &t->layers[n];
        memcpy(l->name, c->name, sizeof l->name);
        l->parameters = l->macs = inputs * (size_t)c->units;
        l->weight_bits = ht_experiment_weights(e, n)->bits;
        l->input_bits = n ? ht_experiment_activations(e, n - 1)->bits : e->quant.input.bits;
        l->weight_slot = l->input_slot = -1;
        l->trace = l->trace_error = (double)NAN;
        inputs = (size_t)c->units;
    }
}

enum ht_status ht_mixed_table_create(struct ht_mixed_table **ret, const struct ht_experiment *e,
                                     size_t inputs, const int *widths, size_t n_widths,
                                     bool weights, bool activations, struct ht_error *err)
{
    if (!ht_experiment_quantized(e))
        return ht_fail(err, HT_ERR_CONFIG,
                       "%s: a float32 experiment has no widths to choose; it needs quant.weights",
                       e->path);
    struct ht_mixed_table *t = ht_calloc(1, sizeof *t);
    enum ht_status status = t ? set_widths(t, widths, n_widths, err) : ht_fail_memory(err);
    if (status == HT_OK) {
        t->layers = ht_calloc(e->model.n_layers, sizeof *t->layers);
        t->slots = ht_calloc(2 * e->model.n_layers, sizeof *t->slots);
        t->cells = ht_calloc(2 * e->model.n_layers * n_widths, sizeof *t->cells);
        if (!t->layers || !t->slots || !t->cells)
            status = ht_fail_memory(err);
    }
    if (status == HT_OK)
        add_layers(t, e, inputs);
    for (size_t i = 0; status == HT_OK && i < t->n_layers; i++) {
        if (weights)
            add_slot(t, i, false);
        if (activations && i + 1 < t->n_layers)
            add_slot(t, i, true);
    }
    if (status == HT_OK && t->n_slots == 0)
        status =
            ht_fail(err, HT_ERR_CONFIG, "%s: there are no activations between layers", e->path);
    if (status != HT_OK) {
        ht_mixed_table_destroy(t);
        return status;
    }
    t->float_loss = t->float_score = t->widest_loss = t->widest_score = (double)NAN;
    for (size_t i = 0; i < t->n_slots * n_widths; i++)
        t->cells[i] = (struct ht_mixed_cell){(double)NAN, (double)NAN, (double)NAN, 0};
    *ret = t;
    return HT_OK;
}

void ht_mixed_table_destroy(struct ht_mixed_table *t)
{
    if (!t)
        return;
    ht_free(t->layers);
    ht_free(t->slots);
    ht_free(t->cells);
    ht_free(t);
}

struct ht_mixed_cell *ht_mixed_cell(const struct ht_mixed_table *t, size_t slot, size_t width)
{
    return &t->cells[slot * t->n_widths + width];
}

/* --- costs --- */

static uint64_t layer_bops(const struct ht_mixed_layer *l, int weight_bits, int input_bits)
{
    return (uint64_t)l->macs * (uint64_t)(weight_bits * input_bits);
}

static int bits_of(const struct ht_mixed_table *t, int slot, int otherwise, const size_t *choice)
{
    return slot < 0 ? otherwise : t->widths[choice[slot]];
}

uint64_t ht_mixed_bytes(const struct ht_mixed_table *t, const size_t *choice)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < t->n_layers; i++) {
        const struct ht_mixed_layer *l = &t->layers[i];
        sum += l->weight_slot < 0 ? l->fixed_bytes : l->bytes[choice[l->weight_slot]];
    }
    return sum;
}

uint64_t ht_mixed_bops(const struct ht_mixed_table *t, const size_t *choice)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < t->n_layers; i++) {
        const struct ht_mixed_layer *l = &t->layers[i];
        sum += layer_bops(l, bits_of(t, l->weight_slot, l->weight_bits, choice),
                          bits_of(t, l->input_slot, l->input_bits, choice));
    }
    return sum;
}

uint64_t ht_mixed_cost(const struct ht_mixed_table *t, enum ht_mixed_unit unit,
                       const size_t *choice)
{
    return unit == HT_MIXED_BYTES ? ht_mixed_bytes(t, choice) : ht_mixed_bops(t, choice);
}

const char *ht_mixed_unit_name(enum ht_mixed_unit unit)
{
    return unit == HT_MIXED_BYTES ? "bytes" : "bit operations";
}

double ht_mixed_sensitivity(const struct ht_mixed_table *t, const size_t *choice)
{
    double sum = 0;
    for (size_t i = 0; i < t->n_slots; i++)
        sum += ht_mixed_cell(t, i, choice[i])->sensitivity;
    return sum;
}

/* --- into an experiment --- */

/* The entry of quant.layers that gives the layer its quantizer, which a new one by its name would
 * hide; else its name. */
static const char *entry_of(const struct ht_experiment *e, const struct ht_mixed_table *t,
                            const struct ht_mixed_slot *s)
{
    const struct ht_quantizer_config *used = s->activations ? ht_experiment_activations(e, s->layer)
                                                            : ht_experiment_weights(e, s->layer);
    for (size_t i = 0; i < e->quant.n_layers; i++) {
        const struct ht_quant_override *entry = &e->quant.layers[i];
        if (used == (s->activations ? &entry->activations : &entry->weights))
            return entry->layer;
    }
    return t->layers[s->layer].name;
}

enum ht_status ht_mixed_apply(const struct ht_mixed_table *t, const size_t *choice,
                              struct ht_experiment *e, struct ht_error *err)
{
    for (size_t i = 0; i < t->n_slots; i++) {
        const struct ht_mixed_slot *s = &t->slots[i];
        const char *part = s->activations ? "activations" : "weights";
        char key[HT_NAME_LENGTH + 64], value[16];
        snprintf(key, sizeof key, "quant.layers.%s.%s.bits", entry_of(e, t, s), part);
        snprintf(value, sizeof value, "%d", t->widths[choice[i]]);
        enum ht_status status = ht_experiment_set(e, key, value, err);
        if (status != HT_OK)
            return ht_error_prefix(err, status, "%s of %s at %s bits", part,
                                   t->layers[s->layer].name, value);
    }
    return HT_OK;
}
