/* quant.layers: quantizers of single layers, by name, `first` or `last`. */
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "config/tables.h"

#define AT(member)       .offset = offsetof(struct ht_quant_override, member)
#define POSITION(member) .at = offsetof(struct ht_quant_override, member.at), .has_at = true

static const struct ht_field override_fields[] = {
    {.name = "weights",
     .type = HT_FIELD_MAP,
     AT(weights),
     .table = &ht_quantizer_table,
     POSITION(weights),
     .help = "as quant.weights"},
    {.name = "activations",
     .type = HT_FIELD_MAP,
     AT(activations),
     .table = &ht_quantizer_table,
     POSITION(activations),
     .help = "as quant.activations"},
};
static const struct ht_field_table override_table = HT_FIELD_TABLE(override_fields);

static uint32_t rows_given(const struct ht_tree_node *entry, const char *name)
{
    const struct ht_tree_node *map = ht_tree_get(entry, name);
    uint32_t given = 0;
    for (size_t i = 0; map && i < ht_quantizer_table.n; i++)
        if (ht_tree_get(map, ht_quantizer_table.fields[i].name))
            given |= 1u << i;
    return given;
}

/* The entry of that name, or a new one; NULL when there are too many. */
static struct ht_quant_override *find_or_add(struct ht_experiment *e, const char *name)
{
    for (size_t i = 0; i < e->quant.n_layers; i++)
        if (strcmp(e->quant.layers[i].layer, name) == 0)
            return &e->quant.layers[i];
    if (e->quant.n_layers == HT_MAX_OVERRIDES)
        return NULL;
    struct ht_quant_override *entry = &e->quant.layers[e->quant.n_layers++];
    memset(entry, 0, sizeof *entry);
    ht_fields_copy_text(entry->layer, sizeof entry->layer, name);
    return entry;
}

static void read_overrides(struct ht_reader *r, const struct ht_field *f, size_t base,
                           struct ht_tree_node *node)
{
    struct ht_experiment *e = (struct ht_experiment *)(void *)r->object;
    if (ht_tree_is_null(node)) {
        memset(e->quant.layers, 0, sizeof e->quant.layers);
        e->quant.n_layers = 0;
        ht_reader_forget(r, base + f->offset, sizeof e->quant.layers);
        return;
    }
    if (node->kind != HT_TREE_MAP) {
        ht_reader_wrong_type(r, node, "a map, such as {first: {weights: {bits: 8}}}");
        return;
    }
    for (struct ht_tree_node *n = node->first; n; n = n->next) {
        size_t length = ht_reader_push(r, n->key);
        struct ht_quant_override *entry = NULL;
        if (strlen(n->key) >= HT_NAME_LENGTH || !*n->key)
            ht_diagnostics_add(r->d, n->key_place, "not the name of a layer");
        else if (n->kind != HT_TREE_MAP)
            ht_reader_wrong_type(r, n, "a map with weights or activations");
        else if (!(entry = find_or_add(e, n->key)))
            ht_diagnostics_add(r->d, n->key_place, "more than %d entries", HT_MAX_OVERRIDES);
        if (entry) {
            size_t offset = (size_t)((char *)entry - r->object);
            if (n->key_place.source == 0)
                entry->at = n->key_place.at;
            ht_reader_remember(r, offset + offsetof(struct ht_quant_override, at), n);
            ht_fields_read(r, &override_table, offset, n);
            entry->weights_set |= rows_given(n, "weights");
            entry->activations_set |= rows_given(n, "activations");
        }
        ht_reader_pop(r, length);
    }
}

static void print_rows(const char *name, const struct ht_quantizer_config *q, uint32_t set,
                       bool comma, struct ht_text *out)
{
    if (!set)
        return;
    ht_text_printf(out, "%s%s: {", comma ? ", " : "", name);
    bool first = true;
    for (size_t i = 0; i < ht_quantizer_table.n; i++)
        if (set >> i & 1) {
            ht_text_printf(out, "%s%s: ", first ? "" : ", ", ht_quantizer_table.fields[i].name);
            ht_fields_print_value(&ht_quantizer_table.fields[i], q, out);
            first = false;
        }
    ht_text_printf(out, "}");
}

static void print_overrides(const void *table_struct, int indent, struct ht_text *out)
{
    /* The table's struct is the experiment's quant part. */
    const struct ht_experiment *e =
        (const void *)((const char *)table_struct - offsetof(struct ht_experiment, quant));
    if (e->quant.n_layers > 0)
        ht_text_printf(out, "%*slayers:\n", indent, "");
    for (size_t i = 0; i < e->quant.n_layers; i++) {
        const struct ht_quant_override *entry = &e->quant.layers[i];
        ht_text_printf(out, "%*s", indent + 2, "");
        ht_fields_print_text(entry->layer, out);
        ht_text_printf(out, ": {");
        print_rows("weights", &entry->weights, entry->weights_set, false, out);
        print_rows("activations", &entry->activations, entry->activations_set,
                   entry->weights_set != 0, out);
        ht_text_printf(out, "}\n");
    }
}

const struct ht_field_custom ht_overrides_field = {read_overrides, print_overrides, "map", false};

/* The entry that counts for a dense layer: by its name, else `first`, else `last`. */
static const struct ht_quant_override *pick(const struct ht_experiment *e, size_t dense,
                                            bool weights)
{
    const char *names[3] = {NULL, "first", "last"};
    size_t n_dense = 0;
    for (size_t i = 0; i < e->model.n_layers; i++)
        if (strcmp(e->model.layers[i].kind, "dense") == 0 && n_dense++ == dense)
            names[0] = e->model.layers[i].name;
    const bool applies[3] = {names[0] != NULL, dense == 0, dense + 1 == n_dense};
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; applies[k] && i < e->quant.n_layers; i++) {
            const struct ht_quant_override *entry = &e->quant.layers[i];
            uint32_t set = weights ? entry->weights_set : entry->activations_set;
            if (set && strcmp(entry->layer, names[k]) == 0)
                return entry;
        }
    return NULL;
}

const struct ht_quantizer_config *ht_experiment_weights(const struct ht_experiment *experiment,
                                                        size_t dense)
{
    const struct ht_quant_override *entry = pick(experiment, dense, true);
    return entry ? &entry->weights : &experiment->quant.weights;
}

const struct ht_quantizer_config *ht_experiment_activations(const struct ht_experiment *experiment,
                                                            size_t dense)
{
    const struct ht_quant_override *entry = pick(experiment, dense, false);
    return entry ? &entry->activations : &experiment->quant.activations;
}
