#include "config/config.h"

#include <string.h>

#include "base/alloc.h"
#include "config/diagnostics.h"
#include "config/source.h"
#include "config/tables.h"
#include "config/tree.h"

struct ht_config {
    char path[HT_PATH_LENGTH];
    char *text; /* [length], for excerpts */
    size_t length;
    struct ht_experiment *experiment;
    struct ht_experiment *variants[HT_MAX_VARIANTS];
};

/* What one load holds while it runs. */
struct load {
    struct ht_config *config;
    struct ht_diagnostics d;
    struct ht_tree tree;
    struct ht_reader reader;
    struct ht_tree_node **arguments; /* [n_arguments] trees of the key=value arguments */
    size_t n_arguments;
    struct ht_experiment *raw; /* the file as read: nothing inherited or chosen yet */
};

static struct ht_experiment *experiment_create(const char *path)
{
    struct ht_experiment *e = ht_calloc(1, sizeof *e);
    if (e) {
        ht_fields_defaults(&ht_experiment_table, NULL, e);
        ht_fields_copy_text(e->path, sizeof e->path, path);
    }
    return e;
}

/* Checks that variants are maps with names of their own; their contents are read by read_variant.
 */
static void read_variants(struct ht_reader *r, const struct ht_field *f, size_t base,
                          struct ht_tree_node *node)
{
    static const struct ht_field name = {
        .name = "name", .type = HT_FIELD_IDENTIFIER, .size = HT_NAME_LENGTH, .alphabet = "._-"};
    struct ht_experiment *e = (struct ht_experiment *)(void *)r->object;
    if (ht_tree_is_null(node))
        return;
    if (node->kind != HT_TREE_LIST) {
        ht_reader_wrong_type(r, node, "a list of maps, such as [{name: small, ...}]");
        return;
    }
    for (struct ht_tree_node *n = node->first; n; n = n->next) {
        if (e->n_variants == HT_MAX_VARIANTS) {
            ht_diagnostics_add(r->d, n->place, "more than %d variants", HT_MAX_VARIANTS);
            return;
        }
        size_t i = e->n_variants++;
        struct ht_tree_node *named = n->kind == HT_TREE_MAP ? ht_tree_get(n, "name") : NULL;
        e->variants[i].at = n->place.at;
        if (n->kind != HT_TREE_MAP)
            ht_reader_wrong_type(r, n, "a list of maps, each with a name");
        else if (!named)
            ht_diagnostics_add(r->d, n->place, "a variant needs a name");
        else
            ht_fields_read_one(r, &name, (size_t)(e->variants[i].name - r->object), named);
        for (size_t j = 0; j < i; j++)
            if (*e->variants[i].name && strcmp(e->variants[j].name, e->variants[i].name) == 0)
                ht_diagnostics_add(r->d, named->place,
                                   "two variants are named '%s' (the first at line %d)",
                                   e->variants[i].name, e->variants[j].at.line);
    }
    (void)f;
    (void)base;
}

const struct ht_field_custom ht_variants_field = {read_variants, NULL, "list of maps", true};

/* The rest of every experiment, base or variant: arguments over it, then all that must hold. */
static void finish_experiment(struct load *l, struct ht_experiment *e)
{
    struct ht_place start = {0, {1, 1}};
    l->reader.object = (char *)e;
    for (size_t i = 0; i < l->n_arguments; i++)
        if (l->arguments[i])
            ht_fields_read(&l->reader, &ht_experiment_table, 0, l->arguments[i]);
    ht_fields_require(&l->reader, &ht_experiment_table, 0, start);
    ht_rules_apply(&l->reader, e, HT_RULES_LOAD);
}

/* The variant's map over the file, read with the same table. */
static void read_variant(struct load *l, struct ht_tree_node *map, struct ht_experiment *e)
{
    size_t n_places = l->reader.n_places;
    l->reader.object = (char *)e;
    l->reader.in_variant = true;
    for (struct ht_tree_node *n = map->first; n; n = n->next)
        if (strcmp(n->key, "name") != 0)
            ht_fields_read_key(&l->reader, &ht_experiment_table, 0, n);
    l->reader.in_variant = false;
    finish_experiment(l, e);
    l->reader.n_places = n_places;
}

static enum ht_status read_all_variants(struct load *l)
{
    const struct ht_tree_node *list = ht_tree_get(l->tree.root, "variants");
    if (!list || list->kind != HT_TREE_LIST)
        return HT_OK;
    size_t i = 0;
    for (struct ht_tree_node *n = list->first; n && i < l->raw->n_variants; n = n->next, i++) {
        struct ht_experiment *e = ht_calloc(1, sizeof *e);
        if (!e)
            return HT_ERR_MEMORY;
        l->config->variants[i] = e;
        memcpy(e, l->raw, sizeof *e);
        l->d.variant = l->raw->variants[i].name;
        if (n->kind == HT_TREE_MAP)
            read_variant(l, n, e);
    }
    l->d.variant = NULL;
    return HT_OK;
}

static enum ht_status parse_arguments(struct load *l, const char *const *overrides, size_t n)
{
    l->d.arguments = overrides;
    l->arguments = ht_calloc(n, sizeof *l->arguments);
    if (!l->arguments)
        return HT_ERR_MEMORY;
    l->n_arguments = n;
    for (size_t i = 0; i < n; i++)
        l->arguments[i] = ht_tree_from_argument(&l->tree, overrides[i], (int)i + 1, &l->d);
    return l->d.out_of_memory ? HT_ERR_MEMORY : HT_OK;
}

static enum ht_status load_experiments(struct load *l, const char *const *overrides, size_t n)
{
    struct ht_config *config = l->config;
    enum ht_status status = ht_tree_parse(&l->tree, config->text, config->length, &l->d);
    if (status == HT_ERR_CONFIG)
        return HT_OK; /* the report says it */
    if (status == HT_OK)
        status = parse_arguments(l, overrides, n);
    l->raw = experiment_create(config->path);
    config->experiment = ht_calloc(1, sizeof *config->experiment);
    if (status || !l->raw || !config->experiment)
        return HT_ERR_MEMORY;
    l->reader.object = (char *)l->raw;
    ht_fields_read(&l->reader, &ht_experiment_table, 0, l->tree.root);
    size_t n_places = l->reader.n_places;
    memcpy(config->experiment, l->raw, sizeof *l->raw);
    finish_experiment(l, config->experiment);
    l->reader.n_places = n_places;
    return read_all_variants(l);
}

/* Takes over config, whose path and text are set. */
static enum ht_status load_config(struct ht_config **ret, struct ht_config *config,
                                  const char *const *overrides, size_t n_overrides,
                                  struct ht_text *report, struct ht_error *err)
{
    struct load l = {.config = config};
    l.d.path = strcmp(config->path, "-") == 0 ? "<stdin>" : config->path;
    l.d.text = config->text;
    l.d.length = config->length;
    l.reader.d = &l.d;
    enum ht_status status = load_experiments(&l, overrides, n_overrides);
    if (status)
        ht_fail_memory(err);
    else
        status = ht_diagnostics_report(&l.d, report, err);
    ht_diagnostics_finish(&l.d);
    ht_reader_finish(&l.reader);
    ht_tree_finish(&l.tree);
    ht_free(l.arguments);
    ht_free(l.raw);
    if (status)
        ht_config_destroy(config);
    else
        *ret = config;
    return status;
}

static enum ht_status report_line(struct ht_text *report, struct ht_error *err,
                                  enum ht_status status)
{
    if (report && err)
        ht_text_printf(report, "error: %s\n", err->msg);
    return status;
}

/* A config with its path; the text comes later. */
static struct ht_config *config_create(const char *path, struct ht_text *report,
                                       struct ht_error *err)
{
    if (strlen(path) >= HT_PATH_LENGTH) {
        report_line(report, err, ht_fail(err, HT_ERR_CONFIG, "the file's path is too long"));
        return NULL;
    }
    struct ht_config *config = ht_calloc(1, sizeof *config);
    if (!config)
        ht_fail_memory(err);
    else
        ht_fields_copy_text(config->path, sizeof config->path, path);
    return config;
}

enum ht_status ht_config_parse(struct ht_config **ret, const char *path, const char *text,
                               size_t length, const char *const *overrides, size_t n_overrides,
                               struct ht_text *report, struct ht_error *err)
{
    struct ht_error local = {0};
    err = err ? err : &local;
    struct ht_config *config = config_create(path, report, err);
    if (!config)
        return err->code;
    ht_source_skip_mark(&text, &length);
    config->text = ht_calloc(length + 1, 1);
    if (!config->text) {
        ht_config_destroy(config);
        return ht_fail_memory(err);
    }
    memcpy(config->text, text, length);
    config->length = length;
    return load_config(ret, config, overrides, n_overrides, report, err);
}

enum ht_status ht_config_load(struct ht_config **ret, const char *path,
                              const char *const *overrides, size_t n_overrides,
                              struct ht_text *report, struct ht_error *err)
{
    struct ht_error local = {0};
    char *text = NULL;
    size_t length = 0;
    err = err ? err : &local;
    enum ht_status status = ht_source_read(path, &text, &length, err);
    if (status)
        return report_line(report, err, status);
    status = ht_config_parse(ret, path, text, length, overrides, n_overrides, report, err);
    ht_free(text);
    return status;
}

void ht_config_destroy(struct ht_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < HT_MAX_VARIANTS; i++)
        ht_free(config->variants[i]);
    ht_free(config->experiment);
    ht_free(config->text);
    ht_free(config);
}

const struct ht_experiment *ht_config_experiment(const struct ht_config *config)
{
    return config->experiment;
}

void ht_config_variant(const struct ht_config *config, size_t index, struct ht_experiment *ret)
{
    memcpy(ret, config->variants[index], sizeof *ret);
}

enum ht_status ht_experiment_set(struct ht_experiment *experiment, const char *key,
                                 const char *value, struct ht_error *err)
{
    struct ht_text argument = {0};
    ht_text_printf(&argument, "%s=%s", key, value);
    const char *arguments[1] = {ht_text_str(&argument)};
    struct ht_diagnostics d = {.path = experiment->path, .text = "", .arguments = arguments};
    struct ht_tree tree = {0};
    struct ht_experiment *work = ht_calloc(1, sizeof *work);
    struct ht_reader reader = {.d = &d, .object = (char *)work};
    if (work && !argument.failed) {
        memcpy(work, experiment, sizeof *work);
        struct ht_tree_node *map = ht_tree_from_argument(&tree, arguments[0], 1, &d);
        if (map) {
            ht_fields_read(&reader, &ht_experiment_table, 0, map);
            ht_rules_apply(&reader, work, HT_RULES_SET);
        }
    } else {
        d.out_of_memory = true;
    }
    enum ht_status status = ht_diagnostics_report(&d, NULL, err);
    if (status == HT_OK)
        memcpy(experiment, work, sizeof *work);
    ht_reader_finish(&reader);
    ht_tree_finish(&tree);
    ht_diagnostics_finish(&d);
    ht_free(work);
    ht_text_finish(&argument);
    return status;
}

void ht_experiment_print(const struct ht_experiment *experiment, struct ht_text *out)
{
    ht_fields_print(&ht_experiment_table, experiment, 0, out);
}

void ht_experiment_print_training(const struct ht_experiment *experiment, struct ht_text *out)
{
    struct ht_experiment *defaults = experiment_create("");
    struct ht_experiment *copy = ht_calloc(1, sizeof *copy);
    if (defaults && copy) {
        *copy = *experiment;
        copy->run = defaults->run;
        ht_experiment_print(copy, out);
    } else {
        out->failed = true;
    }
    ht_free(copy);
    ht_free(defaults);
}

static void print_map_reference(const struct ht_field_table *table, const char *path,
                                struct ht_text *out)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct ht_field *f = &table->fields[i];
        struct ht_text inner = {0};
        if (f->type != HT_FIELD_MAP)
            continue;
        ht_text_printf(&inner, "%s%s%s", path, *path ? "." : "", f->name);
        ht_fields_print_reference(f->table, f->fallbacks, ht_text_str(&inner), "", out);
        print_map_reference(f->table, ht_text_str(&inner), out);
        out->failed |= inner.failed;
        ht_text_finish(&inner);
    }
}

void ht_config_print_reference(struct ht_text *out)
{
    ht_text_printf(out, "# Experiment files\n");
    ht_fields_print_reference(&ht_experiment_table, NULL, "Top level", "", out);
    print_map_reference(&ht_experiment_table, "", out);
    ht_layers_print_reference(out);
}

void ht_config_report_at(const struct ht_config *config, struct ht_source_position at,
                         const char *message, struct ht_text *report)
{
    if (config && at.line > 0) {
        ht_text_printf(report, "%s:%d:%d: error: %s\n", config->path, at.line, at.column, message);
        ht_diagnostics_excerpt(config->text, config->length, at, report);
    } else if (at.line > 0) {
        ht_text_printf(report, "line %d, column %d: error: %s\n", at.line, at.column, message);
    } else {
        ht_text_printf(report, "%s%serror: %s\n", config ? config->path : "", config ? ": " : "",
                       message);
    }
}
