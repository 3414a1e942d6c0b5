/* model.layers: a list of layers, each a word or a map whose kind has its main number as value. */
#include <stdio.h>
#include <string.h>

#include "config/tables.h"

#define AT(member) .offset = offsetof(struct ht_layer_config, member)

static const char *const inits[] = {"he", "xavier", "uniform", NULL};

static const struct ht_field dense_fields[] = {
    {.name = "units",
     .type = HT_FIELD_INT,
     AT(units),
     .min = 1,
     .max = 65536,
     .flags = HT_FIELD_REQUIRED,
     .help = "number of outputs"},
    {.name = "name",
     .type = HT_FIELD_IDENTIFIER,
     AT(name),
     .size = HT_NAME_LENGTH,
     .alphabet = "_-",
     .help = "default: dense1, dense2, ... in order"},
    {.name = "bias",
     .type = HT_FIELD_BOOL,
     AT(bias),
     .fallback = "true",
     .help = "add a bias; in front of batchnorm, which has its own, without effect"},
    {.name = "init",
     .type = HT_FIELD_CHOICE,
     AT(init),
     .choices = inits,
     .help = "default: model.init"},
};
static const struct ht_field batchnorm_fields[] = {
    {.name = "momentum",
     .type = HT_FIELD_DOUBLE,
     AT(momentum),
     .max = 1,
     .flags = HT_FIELD_OPEN_MIN,
     .fallback = "0.1",
     .help = "weight of the newest batch in the running statistics"},
    {.name = "epsilon",
     .type = HT_FIELD_DOUBLE,
     AT(epsilon),
     .max = 1,
     .flags = HT_FIELD_OPEN_MIN,
     .fallback = "1e-5",
     .help = "added to the variance"},
};
static const struct ht_field dropout_fields[] = {
    {.name = "rate",
     .type = HT_FIELD_DOUBLE,
     AT(rate),
     .max = 1,
     .flags = HT_FIELD_OPEN_MAX,
     .fallback = "0.5",
     .help = "share of values set to 0 in training"},
};
static const struct ht_field leaky_fields[] = {
    {.name = "slope",
     .type = HT_FIELD_DOUBLE,
     AT(slope),
     .max = 1,
     .fallback = "0.01",
     .help = "for negative inputs"},
};

enum role { DENSE, BATCHNORM, ACTIVATION, DROPOUT };

/* `number`: the first row is the number in the short form {kind: number}. */
static const struct layer_kind {
    const char *name;
    enum role role;
    bool number;
    struct ht_field_table table;
} kinds[] = {
    {"dense", DENSE, true, HT_FIELD_TABLE(dense_fields)},
    {"batchnorm", BATCHNORM, false, HT_FIELD_TABLE(batchnorm_fields)},
    {"dropout", DROPOUT, true, HT_FIELD_TABLE(dropout_fields)},
    {"leaky_relu", ACTIVATION, true, HT_FIELD_TABLE(leaky_fields)},
    {"relu", ACTIVATION, false, {NULL, 0}},
    {"relu6", ACTIVATION, false, {NULL, 0}},
    {"tanh", ACTIVATION, false, {NULL, 0}},
    {"sigmoid", ACTIVATION, false, {NULL, 0}},
    {"gelu", ACTIVATION, false, {NULL, 0}},
};
#define N_KINDS (sizeof kinds / sizeof *kinds)

static const struct layer_kind *find_kind(const char *name)
{
    for (size_t i = 0; i < N_KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

static struct ht_experiment *experiment_of(struct ht_reader *r)
{
    return (struct ht_experiment *)(void *)r->object;
}

static struct ht_layer_config *layer_at(struct ht_reader *r, size_t base)
{
    return (struct ht_layer_config *)(void *)(r->object + base);
}

static bool unknown_kind(struct ht_reader *r, struct ht_place place, const char *name)
{
    const char *names[N_KINDS];
    for (size_t i = 0; i < N_KINDS; i++)
        names[i] = kinds[i].name;
    ht_reader_unknown(r, place, "layer", name, "", names, N_KINDS);
    return false;
}

/* The value of the kind's own key: a number, a map of its fields, or nothing. */
static void read_kind_value(struct ht_reader *r, const struct layer_kind *kind, size_t base,
                            struct ht_tree_node *value)
{
    if (value->kind == HT_TREE_MAP)
        ht_fields_read(r, &kind->table, base, value);
    else if (ht_tree_is_null(value))
        return;
    else if (kind->number)
        ht_fields_read_one(r, &kind->table.fields[0], base, value);
    else
        ht_reader_wrong_type(r, value, kind->table.n ? "a map of its settings" : "alone");
}

/* The keys beside the kind's: {dense: 256, name: fc1}. */
static void read_siblings(struct ht_reader *r, const struct layer_kind *kind, size_t base,
                          const struct ht_tree_node *map, const struct ht_tree_node *value)
{
    for (struct ht_tree_node *n = map->first; n; n = n->next) {
        if (n == value)
            continue;
        if (find_kind(n->key)) {
            ht_diagnostics_add(r->d, n->key_place,
                               "'%s' is a layer of its own: make it the next entry of the list",
                               n->key);
        } else if (value->kind == HT_TREE_MAP) {
            ht_diagnostics_add(r->d, n->key_place, "unexpected key '%.100s' beside the %s map",
                               n->key, kind->name);
        } else if (kind->number && strcmp(n->key, kind->table.fields[0].name) == 0 &&
                   !ht_tree_is_null(value)) {
            ht_diagnostics_add(r->d, n->key_place, "%s is given twice", n->key);
        } else {
            ht_fields_read_key(r, &kind->table, base, n);
        }
    }
}

/* Finds the kind and reads its fields. False: an error was reported. */
static bool read_layer(struct ht_reader *r, size_t base, struct ht_tree_node *node)
{
    const struct layer_kind *kind = NULL;
    struct ht_tree_node *value = NULL;
    size_t n_errors = r->d->n_added;
    if (node->kind == HT_TREE_SCALAR && !ht_tree_is_null(node)) {
        kind = find_kind(node->text);
        if (!kind)
            return unknown_kind(r, node->place, node->text);
    } else if (node->kind == HT_TREE_MAP && node->first) {
        for (value = node->first; value && !kind; value = kind ? value : value->next)
            kind = find_kind(value->key);
        if (!kind)
            return unknown_kind(r, node->first->key_place, node->first->key);
    } else {
        ht_reader_wrong_type(r, node, "a list of layers, such as relu or {dense: 10}");
        return false;
    }
    struct ht_layer_config *layer = layer_at(r, base);
    ht_fields_copy_text(layer->kind, sizeof layer->kind, kind->name);
    ht_fields_defaults(&kind->table, NULL, layer);
    layer->at = node->place.at;
    char outer[sizeof r->path];
    memcpy(outer, r->path, sizeof outer);
    snprintf(r->path, sizeof r->path, "%s", kind->name);
    if (value) {
        read_kind_value(r, kind, base, value);
        read_siblings(r, kind, base, node, value);
    }
    memcpy(r->path, outer, sizeof outer);
    if (kind->role == DENSE && layer->units == 0 && r->d->n_added == n_errors)
        ht_diagnostics_add(r->d, node->place, "dense needs its number of units: {dense: 256}");
    return r->d->n_added == n_errors;
}

/* Gives dense layers their names, and refuses one that is used twice or means something else. */
static void name_layers(struct ht_reader *r, size_t n)
{
    static const char *const reserved[] = {"first", "last", "input", "output"};
    struct ht_layer_config *layers = experiment_of(r)->model.layers;
    size_t base = offsetof(struct ht_experiment, model.layers);
    int n_dense = 0;
    for (size_t i = 0; i < n; i++) {
        struct ht_layer_config *layer = &layers[i];
        if (strcmp(layer->kind, "dense") != 0)
            continue;
        n_dense++;
        struct ht_place place = {0, layer->at};
        if (!*layer->name) {
            snprintf(layer->name, sizeof layer->name, "dense%d", n_dense);
        } else {
            const struct ht_tree_node *node = ht_reader_find(
                r, base + i * sizeof *layer + offsetof(struct ht_layer_config, name));
            place = node ? node->place : place;
        }
        for (size_t j = 0; j < sizeof reserved / sizeof *reserved; j++)
            if (strcmp(layer->name, reserved[j]) == 0)
                ht_diagnostics_add(r->d, place, "a layer cannot be named '%s'", layer->name);
        for (size_t j = 0; j < i; j++)
            if (strcmp(layers[j].name, layer->name) == 0) {
                ht_diagnostics_add(r->d, place, "two layers are named '%s' (the first at line %d)",
                                   layer->name, layers[j].at.line);
                break;
            }
    }
}

/* Why a layer cannot stand after the one before it (in the same block), or NULL. `open` = there was
 * a dense before. */
static const char *misplaced(enum role role, bool open, enum role before, bool first)
{
    if (role == DENSE)
        return NULL;
    if (!open && role == DROPOUT)
        return first ? NULL : "dropout follows another dropout";
    if (role == BATCHNORM && !(open && before == DENSE))
        return "batchnorm must directly follow dense: only there it can be folded into integer "
               "weights";
    if (!open)
        return "the first layer must be dense (only dropout may come before it)";
    if (role == ACTIVATION && before == DROPOUT)
        return "an activation cannot follow dropout: put dropout after it";
    if (role == ACTIVATION && before == ACTIVATION)
        return "an activation cannot follow another one";
    if (role == DROPOUT && before == DROPOUT)
        return "dropout follows another dropout";
    return NULL;
}

/* A block is dense [batchnorm] [activation] [dropout]; the last one ends before its activation. */
static void check_order(struct ht_reader *r, size_t n, const struct ht_tree_node *list)
{
    const struct ht_layer_config *layers = experiment_of(r)->model.layers;
    enum role before = DROPOUT;
    bool open = false;
    size_t last_dense = n;
    for (size_t i = 0; i < n; i++) {
        enum role role = find_kind(layers[i].kind)->role;
        const char *why = misplaced(role, open, before, i == 0);
        struct ht_place place = {0, layers[i].at};
        if (why)
            ht_diagnostics_add(r->d, place, "%s", why);
        if (role == DENSE) {
            open = true;
            last_dense = i;
        }
        before = role;
    }
    if (last_dense == n)
        ht_diagnostics_add(r->d, list->place, "the network needs at least one dense layer");
    for (size_t i = last_dense + 1; i < n; i++) {
        enum role role = find_kind(layers[i].kind)->role;
        struct ht_place place = {0, layers[i].at};
        if (role == ACTIVATION)
            ht_diagnostics_add(r->d, place,
                               "no activation after the last dense: the loss takes the raw "
                               "outputs");
        else if (role == DROPOUT)
            ht_diagnostics_add(r->d, place,
                               "no dropout after the last dense: it would drop outputs");
    }
}

static void read_layers(struct ht_reader *r, const struct ht_field *f, size_t base,
                        struct ht_tree_node *node)
{
    struct ht_experiment *e = experiment_of(r);
    size_t n = 0, n_errors = r->d->n_added;
    memset(e->model.layers, 0, sizeof e->model.layers);
    e->model.n_layers = 0;
    ht_reader_forget(r, base + f->offset + 1, sizeof e->model.layers - 1);
    if (node->kind != HT_TREE_LIST || !node->first) {
        ht_reader_wrong_type(r, node, "a list of layers, such as [{dense: 64}, relu, {dense: 10}]");
        return;
    }
    for (struct ht_tree_node *entry = node->first; entry; entry = entry->next, n++) {
        if (n == HT_MAX_LAYERS) {
            ht_diagnostics_add(r->d, entry->place, "more than %d layers", HT_MAX_LAYERS);
            return;
        }
        read_layer(r, base + f->offset + n * sizeof(struct ht_layer_config), entry);
    }
    if (r->d->n_added == n_errors)
        check_order(r, n, node);
    if (r->d->n_added == n_errors)
        name_layers(r, n);
    if (r->d->n_added == n_errors)
        e->model.n_layers = n;
}

static void print_layers(const void *table_struct, int indent, struct ht_text *out)
{
    const struct ht_experiment *e = table_struct;
    ht_text_printf(out, "%*slayers:\n", indent, "");
    for (size_t i = 0; i < e->model.n_layers; i++) {
        const struct ht_layer_config *layer = &e->model.layers[i];
        const struct layer_kind *kind = find_kind(layer->kind);
        ht_text_printf(out, "%*s- ", indent + 2, "");
        if (!kind || kind->table.n == 0) {
            ht_text_printf(out, "%s\n", layer->kind);
            continue;
        }
        ht_text_printf(out, "{%s: ", kind->name);
        if (!kind->number)
            ht_text_printf(out, "{");
        bool first = true;
        for (size_t j = 0; j < kind->table.n; j++) {
            const struct ht_field *f = &kind->table.fields[j];
            if (f->type == HT_FIELD_CHOICE && !((const char *)layer)[f->offset])
                continue;
            if (!(kind->number && j == 0))
                ht_text_printf(out, "%s%s: ", first ? "" : ", ", f->name);
            ht_fields_print_value(f, layer, out);
            first = false;
        }
        ht_text_printf(out, kind->number ? "}\n" : "}}\n");
    }
}

const struct ht_field_custom ht_layers_field = {read_layers, print_layers, "list of layers", true};

void ht_layers_print_reference(struct ht_text *out)
{
    ht_text_printf(
        out, "\n## Layers\n\nAn entry of `model.layers` is a word (`relu`), a kind with its main "
             "number (`{dense: 256}`, `{dropout: 0.2}`), with more keys beside it (`{dense: 256, "
             "name: fc1}`), or a kind with a map (`{batchnorm: {momentum: 0.05}}`). A block is "
             "dense, then at most one batchnorm, activation and dropout, in this order; a dropout "
             "may also come first. The last block is dense, with or without batchnorm: the loss "
             "takes the raw outputs.\n\nWithout settings:");
    for (size_t i = 0; i < N_KINDS; i++)
        if (kinds[i].table.n == 0)
            ht_text_printf(out, " `%s`", kinds[i].name);
    ht_text_printf(out, ".\n");
    for (size_t i = 0; i < N_KINDS; i++)
        if (kinds[i].table.n > 0)
            ht_fields_print_reference(&kinds[i].table, NULL, kinds[i].name, "", out);
}
