#include "config/fields.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "config/values.h"

#define MAX_NAMES 256 /* offered in one did-you-mean */

void ht_fields_copy_text(char *ret, size_t size, const char *s)
{
    size_t n = strlen(s);
    assert(n < size);
    memset(ret, 0, size);
    memcpy(ret, s, n);
}

void ht_fields_defaults(const struct ht_field_table *table, const char *const *fallbacks,
                        void *table_struct)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct ht_field *f = &table->fields[i];
        const char *fallback = fallbacks && fallbacks[i] ? fallbacks[i] : f->fallback;
        char *value = (char *)table_struct + f->offset, why[256];
        if (f->type == HT_FIELD_MAP)
            ht_fields_defaults(f->table, f->fallbacks, value);
        else if (fallback && f->type != HT_FIELD_CUSTOM && *fallback) {
            bool valid = ht_value_parse(f, fallback, true, value, why, sizeof why);
            assert(valid);
            (void)valid;
        }
    }
}

void ht_reader_remember(struct ht_reader *r, size_t offset, struct ht_tree_node *node)
{
    if (r->n_places == r->places_capacity) {
        size_t capacity = r->places_capacity ? 2 * r->places_capacity : 64;
        void *places = ht_grow(r->places, capacity, sizeof *r->places);
        if (!places) {
            r->d->out_of_memory = true;
            return;
        }
        r->places = places;
        r->places_capacity = capacity;
    }
    r->places[r->n_places++] = (struct ht_reader_place){offset, node};
}

/* NULL nodes in the list mark what was forgotten. */
struct ht_tree_node *ht_reader_find(const struct ht_reader *r, size_t offset)
{
    for (size_t i = r->n_places; i-- > 0;)
        if (r->places[i].offset == offset)
            return r->places[i].node;
    return NULL;
}

void ht_reader_forget(struct ht_reader *r, size_t offset, size_t size)
{
    for (size_t i = 0, n = r->n_places; i < n; i++) {
        size_t o = r->places[i].offset;
        if (o >= offset && o - offset < size && ht_reader_find(r, o))
            ht_reader_remember(r, o, NULL);
    }
}

void ht_reader_finish(struct ht_reader *r)
{
    ht_free(r->places);
    r->places = NULL;
    r->n_places = r->places_capacity = 0;
}

size_t ht_reader_push(struct ht_reader *r, const char *name)
{
    size_t length = strlen(r->path);
    snprintf(r->path + length, sizeof r->path - length, "%s%.64s", length ? "." : "", name);
    return length;
}

void ht_reader_pop(struct ht_reader *r, size_t length)
{
    r->path[length] = 0;
}

void ht_reader_wrong_type(struct ht_reader *r, struct ht_tree_node *node, const char *expected)
{
    char found[128];
    ht_tree_describe(node, found, sizeof found);
    node->failed = true;
    ht_diagnostics_add(r->d, node->place, "%s must be %s, found %s", r->path, expected, found);
}

void ht_reader_unknown(struct ht_reader *r, struct ht_place place, const char *what,
                       const char *name, const char *where, const char *const *names, size_t n)
{
    struct ht_text list = {0};
    const char *near = ht_nearest_name(name, names, n);
    for (size_t i = 0, shown = 0; !near && i < n; i++)
        if (names[i])
            ht_text_printf(&list, "%s%s", shown++ ? ", " : "", names[i]);
    ht_diagnostics_add(r->d, place, "unknown %s '%.100s'%s%s%s%s%s%s", what, name,
                       *where ? " in " : "", where,
                       near ? " (did you mean '" : "; allowed: ", near ? near : ht_text_str(&list),
                       near ? "'" : "", near ? "?)" : "");
    r->d->out_of_memory |= list.failed;
    ht_text_finish(&list);
}

static void unknown_key(struct ht_reader *r, const struct ht_field_table *table,
                        const struct ht_tree_node *node)
{
    const char *names[MAX_NAMES] = {0};
    assert(table->n <= MAX_NAMES);
    for (size_t i = 0; i < table->n; i++)
        if (!(r->in_variant && (table->fields[i].flags & HT_FIELD_BASE_ONLY)))
            names[i] = table->fields[i].name;
    ht_reader_unknown(r, node->key_place, "key", node->key, r->path, names, table->n);
}

static void read_map(struct ht_reader *r, const struct ht_field *f, size_t base,
                     struct ht_tree_node *node)
{
    bool null = ht_tree_is_null(node);
    if (node->kind != HT_TREE_MAP && !null) {
        ht_reader_wrong_type(r, node, f->nullable ? "a map, or null" : "a map");
        return;
    }
    if (f->nullable) {
        bool given = !null;
        if (null) { /* as if it had never been written */
            memset(r->object + base + f->offset, 0, f->size);
            ht_fields_defaults(f->table, f->fallbacks, r->object + base + f->offset);
            ht_reader_forget(r, base + f->offset, f->size);
        }
        memcpy(r->object + base + f->given, &given, sizeof given);
    }
    if (f->has_at && node->place.source == 0)
        memcpy(r->object + base + f->at, &node->place.at, sizeof node->place.at);
    ht_fields_read(r, f->table, base + f->offset, node);
}

static void read_scalar(struct ht_reader *r, const struct ht_field *f, size_t base,
                        struct ht_tree_node *node)
{
    static const char *const expected[] = {"a whole number", "a whole number", "a number",
                                           "true or false",  "a name",         "a text",
                                           "a name"};
    char why[512];
    ht_reader_remember(r, base + f->offset, node);
    if (node->kind != HT_TREE_SCALAR || ht_tree_is_null(node)) {
        ht_reader_wrong_type(r, node, expected[f->type]);
    } else if (!ht_value_parse(f, node->text, node->plain, r->object + base + f->offset, why,
                               sizeof why)) {
        node->failed = true;
        ht_diagnostics_add(r->d, node->place, "%s %s", r->path, why);
    }
}

void ht_fields_read_one(struct ht_reader *r, const struct ht_field *f, size_t base,
                        struct ht_tree_node *node)
{
    size_t length = ht_reader_push(r, f->name);
    if (f->type == HT_FIELD_MAP) {
        read_map(r, f, base, node);
    } else if (f->type != HT_FIELD_CUSTOM) {
        read_scalar(r, f, base, node);
    } else if (f->custom->list && node->place.source > 0) {
        ht_diagnostics_add(r->d, node->place,
                           "%s is a list: lists cannot be set by an argument, edit the file",
                           r->path);
    } else {
        ht_reader_remember(r, base + f->offset, node);
        f->custom->read(r, f, base, node);
    }
    ht_reader_pop(r, length);
}

void ht_fields_read_key(struct ht_reader *r, const struct ht_field_table *table, size_t base,
                        struct ht_tree_node *node)
{
    const struct ht_field *f = NULL;
    for (size_t i = 0; i < table->n && !f; i++)
        if (strcmp(node->key, table->fields[i].name) == 0)
            f = &table->fields[i];
    if (!f)
        unknown_key(r, table, node);
    else if (r->in_variant && (f->flags & HT_FIELD_BASE_ONLY))
        ht_diagnostics_add(r->d, node->key_place, "'%s' cannot be changed by a variant", node->key);
    else
        ht_fields_read_one(r, f, base, node);
}

void ht_fields_read(struct ht_reader *r, const struct ht_field_table *table, size_t base,
                    const struct ht_tree_node *map)
{
    for (struct ht_tree_node *node = map->first; node; node = node->next)
        ht_fields_read_key(r, table, base, node);
}

void ht_fields_require(struct ht_reader *r, const struct ht_field_table *table, size_t base,
                       struct ht_place at)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct ht_field *f = &table->fields[i];
        size_t length = ht_reader_push(r, f->name);
        if (f->type == HT_FIELD_MAP) {
            struct ht_place inner = at;
            struct ht_source_position position = {0, 0};
            if (f->has_at)
                memcpy(&position, r->object + base + f->at, sizeof position);
            if (position.line > 0)
                inner.at = position;
            ht_fields_require(r, f->table, base + f->offset, inner);
        } else if ((f->flags & HT_FIELD_REQUIRED) && !ht_reader_find(r, base + f->offset)) {
            ht_diagnostics_add(r->d, at, "the required key '%s' is missing", r->path);
        }
        ht_reader_pop(r, length);
    }
}
