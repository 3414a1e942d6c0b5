#include "config/descriptor.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "config/builtin.h"
#include "config/descriptor_table.h"
#include "config/source.h"

static struct ht_place place_of(const struct ht_reader *r, size_t offset)
{
    const struct ht_tree_node *node = ht_reader_find(r, offset);
    return node ? node->place : (struct ht_place){0, {1, 1}};
}

/* What must hold across fields. */
static void check_rules(struct ht_reader *r, const struct ht_descriptor *d)
{
    struct ht_place rows = place_of(r, offsetof(struct ht_descriptor, image_rows));
    struct ht_place columns = place_of(r, offsetof(struct ht_descriptor, image_columns));
    if ((d->image_rows == 0) != (d->image_columns == 0))
        ht_diagnostics_add(r->d, d->image_rows ? rows : columns,
                           "image_rows and image_columns go together");
    else if (d->image_rows && d->features &&
             (long long)d->image_rows * d->image_columns != d->features)
        ht_diagnostics_add(r->d, rows, "images of %d x %d do not have %d features", d->image_rows,
                           d->image_columns, d->features);
    if (d->n_classes > 0 && strcmp(d->task, "regression") == 0)
        ht_diagnostics_add(r->d, place_of(r, offsetof(struct ht_descriptor, classes)),
                           "a regression has no classes");
    if (strlen(d->csv.delimiter) != 1 && strcmp(d->csv.delimiter, "tab") != 0 &&
        strcmp(d->csv.delimiter, "space") != 0)
        ht_diagnostics_add(r->d, place_of(r, offsetof(struct ht_descriptor, csv.delimiter)),
                           "csv.delimiter must be one character, tab or space");
    if (!*d->csv.label || strcmp(d->csv.label, "0") == 0)
        ht_diagnostics_add(r->d, place_of(r, offsetof(struct ht_descriptor, csv.label)),
                           "csv.label must be a column's name or number (from 1, or -1 for the "
                           "last)");
}

static enum ht_status parse(struct ht_descriptor **ret, const char *path, const char *text,
                            size_t length, struct ht_text *report, struct ht_error *err)
{
    struct ht_diagnostics diagnostics = {.path = path, .text = text, .length = length};
    struct ht_tree tree = {0};
    struct ht_descriptor *d = ht_calloc(1, sizeof *d);
    struct ht_reader r = {.d = &diagnostics, .object = (char *)d};
    enum ht_status status = d ? HT_OK : HT_ERR_MEMORY;
    if (status == HT_OK) {
        ht_fields_copy_text(d->path, sizeof d->path, path);
        ht_fields_defaults(&ht_descriptor_table, NULL, d);
        status = ht_tree_parse(&tree, text, length, &diagnostics);
    }
    if (status == HT_OK) {
        ht_fields_read(&r, &ht_descriptor_table, 0, tree.root);
        ht_fields_require(&r, &ht_descriptor_table, 0, (struct ht_place){0, {1, 1}});
        check_rules(&r, d);
    }
    if (status == HT_ERR_MEMORY)
        ht_fail_memory(err);
    else
        status = ht_diagnostics_report(&diagnostics, report, err);
    ht_diagnostics_finish(&diagnostics);
    ht_reader_finish(&r);
    ht_tree_finish(&tree);
    if (status)
        ht_descriptor_destroy(d);
    else
        *ret = d;
    return status;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static enum ht_status unknown_name(const char *name, struct ht_error *err)
{
    struct ht_text list = {0};
    const char *near = ht_nearest_name(name, ht_builtin_names, ht_builtin_count);
    for (size_t i = 0; i < ht_builtin_count; i++)
        ht_text_printf(&list, "%s%s", i ? ", " : "", ht_builtin_names[i]);
    enum ht_status status =
        list.failed ? ht_fail_memory(err)
                    : ht_fail(err, HT_ERR_CONFIG,
                              "unknown dataset '%.200s'%s%s%s; built-in: %s; or the path of a "
                              "descriptor (.yaml)",
                              name, near ? " (did you mean '" : "", near ? near : "",
                              near ? "'?)" : "", ht_text_str(&list));
    ht_text_finish(&list);
    return status;
}

/* Built-in text, or the file's; *owned is what to free. */
static enum ht_status find_text(const char *name, const char *base_dir, char path[HT_PATH_LENGTH],
                                const char **text, size_t *length, char **owned,
                                struct ht_error *err)
{
    for (size_t i = 0; i < ht_builtin_count; i++)
        if (strcmp(ht_builtin_names[i], name) == 0) {
            snprintf(path, HT_PATH_LENGTH, "built-in:%s", name);
            *text = (const char *)ht_builtin_texts[i].text;
            *length = ht_builtin_texts[i].length;
            return HT_OK;
        }
    if (!strchr(name, '/') && !ends_with(name, ".yaml") && !ends_with(name, ".yml"))
        return unknown_name(name, err);
    bool relative = *name != '/' && base_dir && *base_dir;
    int n = snprintf(path, HT_PATH_LENGTH, "%s%s%s", relative ? base_dir : "",
                     relative && !ends_with(base_dir, "/") ? "/" : "", name);
    if (n < 0 || n >= HT_PATH_LENGTH)
        return ht_fail(err, HT_ERR_CONFIG, "the path of the descriptor is too long");
    enum ht_status status = ht_source_read(path, owned, length, err);
    *text = *owned;
    return status;
}

enum ht_status ht_descriptor_load(struct ht_descriptor **ret, const char *name_or_path,
                                  const char *base_dir, struct ht_text *report,
                                  struct ht_error *err)
{
    struct ht_error local = {0};
    char path[HT_PATH_LENGTH], *owned = NULL;
    const char *text = NULL;
    size_t length = 0;
    err = err ? err : &local;
    enum ht_status status = find_text(name_or_path, base_dir, path, &text, &length, &owned, err);
    if (status == HT_OK) {
        ht_source_skip_mark(&text, &length);
        status = parse(ret, path, text, length, report, err);
    } else if (report) {
        ht_text_printf(report, "error: %s\n", err->msg);
    }
    ht_free(owned);
    return status;
}

void ht_descriptor_destroy(struct ht_descriptor *d)
{
    if (!d)
        return;
    ht_free(d->classes);
    ht_free(d);
}

const char *const *ht_descriptor_names(size_t *n)
{
    *n = ht_builtin_count;
    return ht_builtin_names;
}
