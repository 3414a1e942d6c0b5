/* The table of a dataset descriptor, and its lists. */
#include <limits.h>
#include <string.h>

#include "base/alloc.h"
#include "config/descriptor_table.h"
#include "config/values.h"

#define MEMBER_SIZE(type, member) sizeof(((type *)0)->member)
#define AT(member)                .offset = offsetof(struct ht_descriptor, member)
#define TEXT(member)              AT(member), .size = MEMBER_SIZE(struct ht_descriptor, member)
#define FILE_AT(member)           .offset = offsetof(struct ht_data_file, member)
#define FILE_TEXT(member)         FILE_AT(member), .size = MEMBER_SIZE(struct ht_data_file, member)

static const char *const formats[] = {"idx", "csv", "hdf5", NULL};
static const char *const tasks[] = {"classification", "regression", "none", NULL};
static const char *const headers[] = {"auto", "yes", "no", NULL};
static const char *const missings[] = {"error", "mean", NULL};
static const char *const roles[] = {
    "table",          "train_table",  "test_table",    "features",    "labels",
    "train_features", "train_labels", "test_features", "test_labels", NULL};

static const struct ht_field file_fields[] = {
    {.name = "role",
     .type = HT_FIELD_CHOICE,
     FILE_AT(role),
     .choices = roles,
     .flags = HT_FIELD_REQUIRED,
     .help = "what is in the file; a table has features and label (task none: features)"},
    {.name = "path",
     .type = HT_FIELD_TEXT,
     FILE_TEXT(path),
     .flags = HT_FIELD_REQUIRED,
     .help = "relative to the descriptor's folder or a search folder"},
    {.name = "sha256",
     .type = HT_FIELD_TEXT,
     FILE_TEXT(sha256),
     .help = "of the file as it is stored, 64 hexadecimal digits; empty: not checked"},
    {.name = "dataset",
     .type = HT_FIELD_TEXT,
     FILE_TEXT(dataset),
     .help = "hdf5: the dataset inside the file"},
};
static const struct ht_field_table file_table = HT_FIELD_TABLE(file_fields);

static struct ht_descriptor *descriptor_of(struct ht_reader *r)
{
    return (struct ht_descriptor *)(void *)r->object;
}

static void check_file(struct ht_reader *r, size_t i, size_t base, const struct ht_tree_node *node)
{
    const struct ht_data_file *files = descriptor_of(r)->files;
    const struct ht_tree_node *role = ht_reader_find(r, base + offsetof(struct ht_data_file, role));
    const struct ht_tree_node *path = ht_reader_find(r, base + offsetof(struct ht_data_file, path));
    const struct ht_tree_node *hash =
        ht_reader_find(r, base + offsetof(struct ht_data_file, sha256));
    const char *digits = files[i].sha256;
    size_t n = strlen(digits);
    if (n > 0 && (n != 64 || digits[strspn(digits, "0123456789abcdef")]))
        ht_diagnostics_add(r->d, hash->place, "sha256 must be 64 digits 0-9 and a-f");
    if (path && !path->failed && !*files[i].path)
        ht_diagnostics_add(r->d, path->place, "the path is empty");
    for (size_t j = 0; role && *files[i].role && j < i; j++)
        if (strcmp(files[j].role, files[i].role) == 0)
            ht_diagnostics_add(r->d, role->place, "two files with the role '%s'", files[i].role);
    (void)node;
}

static void read_files(struct ht_reader *r, const struct ht_field *f, size_t base,
                       struct ht_tree_node *node)
{
    struct ht_descriptor *d = descriptor_of(r);
    if (node->kind != HT_TREE_LIST || !node->first) {
        ht_reader_wrong_type(r, node, "a list, such as [{role: table, path: data.csv}]");
        return;
    }
    d->n_files = 0;
    for (struct ht_tree_node *n = node->first; n; n = n->next) {
        if (d->n_files == HT_MAX_DATA_FILES) {
            ht_diagnostics_add(r->d, n->place, "more than %d files", HT_MAX_DATA_FILES);
            return;
        }
        size_t i = d->n_files++, offset = base + f->offset + i * sizeof d->files[0];
        d->files[i].at = n->place.at;
        if (n->kind != HT_TREE_MAP) {
            ht_reader_wrong_type(r, n, "a list of maps with role and path");
            continue;
        }
        ht_fields_read(r, &file_table, offset, n);
        ht_fields_require(r, &file_table, offset, n->place);
        check_file(r, i, offset, n);
    }
}

static void read_search(struct ht_reader *r, const struct ht_field *f, size_t base,
                        struct ht_tree_node *node)
{
    static const struct ht_field folder = {
        .name = "folder", .type = HT_FIELD_TEXT, .size = HT_PATH_LENGTH};
    struct ht_descriptor *d = descriptor_of(r);
    if (node->kind != HT_TREE_LIST) {
        ht_reader_wrong_type(r, node, "a list of folders");
        return;
    }
    d->n_search = 0;
    for (struct ht_tree_node *n = node->first; n; n = n->next) {
        if (d->n_search == HT_MAX_SEARCH_PATHS) {
            ht_diagnostics_add(r->d, n->place, "more than %d folders", HT_MAX_SEARCH_PATHS);
            return;
        }
        ht_fields_read_one(r, &folder, base + f->offset + d->n_search++ * HT_PATH_LENGTH, n);
    }
}

static void read_classes(struct ht_reader *r, const struct ht_field *f, size_t base,
                         struct ht_tree_node *node)
{
    static const struct ht_field name = {.type = HT_FIELD_TEXT, .size = HT_NAME_LENGTH};
    struct ht_descriptor *d = descriptor_of(r);
    size_t n = 0;
    if (node->kind != HT_TREE_LIST || !node->first) {
        ht_reader_wrong_type(r, node, "a list of names, such as [no, yes]");
        return;
    }
    for (const struct ht_tree_node *c = node->first; c; c = c->next)
        n++;
    if (n > HT_MAX_CLASSES) {
        ht_diagnostics_add(r->d, node->place, "%zu classes: more than %d", n, HT_MAX_CLASSES);
        return;
    }
    ht_free(d->classes); /* of a duplicate key */
    d->n_classes = 0;
    d->classes = ht_calloc(n, sizeof *d->classes);
    if (!d->classes) {
        r->d->out_of_memory = true;
        return;
    }
    for (const struct ht_tree_node *c = node->first; c; c = c->next) {
        char why[256], *class = d->classes[d->n_classes];
        if (c->kind != HT_TREE_SCALAR || !*c->text) {
            ht_diagnostics_add(r->d, c->place, "a class must be a name");
            continue;
        }
        if (!ht_value_parse(&name, c->text, true, class, why, sizeof why)) {
            ht_diagnostics_add(r->d, c->place, "the class %s", why);
            continue;
        }
        for (size_t i = 0; i < d->n_classes; i++)
            if (strcmp(d->classes[i], c->text) == 0)
                ht_diagnostics_add(r->d, c->place, "the class '%s' is listed twice", c->text);
        d->n_classes++;
    }
    (void)f;
    (void)base;
}

static const struct ht_field_custom files_field = {read_files, NULL, "list of maps", true};
static const struct ht_field_custom search_field = {read_search, NULL, "list of folders", true};
static const struct ht_field_custom classes_field = {read_classes, NULL, "list of names", true};

static const struct ht_field csv_fields[] = {
    {.name = "label",
     .type = HT_FIELD_TEXT,
     TEXT(csv.label),
     .fallback = "-1",
     .help = "label column: its name, its number from 1, or from the end (-1: the last)"},
    {.name = "header",
     .type = HT_FIELD_CHOICE,
     AT(csv.header),
     .choices = headers,
     .fallback = "auto",
     .help = "does the file begin with column names?"},
    {.name = "delimiter",
     .type = HT_FIELD_TEXT,
     TEXT(csv.delimiter),
     .fallback = ",",
     .help = "one character, or tab, or space (any number of them)"},
    {.name = "skip_rows",
     .type = HT_FIELD_INT,
     AT(csv.skip_rows),
     .max = 1000000,
     .fallback = "0",
     .help = "lines before the header or data"},
    {.name = "missing",
     .type = HT_FIELD_CHOICE,
     AT(csv.missing),
     .choices = missings,
     .fallback = "error",
     .help = "missing features: an error, or the training part's mean"},
};
static const struct ht_field_table csv_table = HT_FIELD_TABLE(csv_fields);

static const struct ht_field fetch_fields[] = {
    {.name = "apt",
     .type = HT_FIELD_TEXT,
     TEXT(fetch.apt),
     .help = "Debian package that holds the files"},
    {.name = "npm", .type = HT_FIELD_TEXT, TEXT(fetch.npm), .help = "or npm package, name@version"},
    {.name = "folder",
     .type = HT_FIELD_TEXT,
     TEXT(fetch.folder),
     .help = "folder of the files inside the unpacked package"},
};
static const struct ht_field_table fetch_table = HT_FIELD_TABLE(fetch_fields);

static const struct ht_field descriptor_fields[] = {
    {.name = "name",
     .type = HT_FIELD_IDENTIFIER,
     TEXT(name),
     .alphabet = "._-",
     .flags = HT_FIELD_REQUIRED,
     .help = "of the dataset, and of the folder it is fetched to"},
    {.name = "title", .type = HT_FIELD_TEXT, TEXT(title), .help = "one line for people"},
    {.name = "licence", .type = HT_FIELD_TEXT, TEXT(licence), .help = "for people"},
    {.name = "source", .type = HT_FIELD_TEXT, TEXT(source), .help = "where it comes from"},
    {.name = "format",
     .type = HT_FIELD_CHOICE,
     AT(format),
     .choices = formats,
     .flags = HT_FIELD_REQUIRED,
     .help = "of the files; idx and csv also with gzip"},
    {.name = "task",
     .type = HT_FIELD_CHOICE,
     AT(task),
     .choices = tasks,
     .fallback = "classification",
     .help = "classes or numbers to predict; none: features only, for autoencoders"},
    {.name = "files",
     .type = HT_FIELD_CUSTOM,
     AT(files),
     .custom = &files_field,
     .flags = HT_FIELD_REQUIRED,
     .help = "the files; see below"},
    {.name = "search",
     .type = HT_FIELD_CUSTOM,
     AT(search),
     .custom = &search_field,
     .help = "folders to look into, after the descriptor's own and the fetch folder"},
    {.name = "samples",
     .type = HT_FIELD_INT,
     AT(samples),
     .max = INT_MAX,
     .fallback = "0",
     .help = "expected number without the test part; 0: not checked"},
    {.name = "test_samples",
     .type = HT_FIELD_INT,
     AT(test_samples),
     .max = INT_MAX,
     .fallback = "0",
     .help = "expected number in the test part; 0: not checked"},
    {.name = "features",
     .type = HT_FIELD_INT,
     AT(features),
     .max = INT_MAX,
     .fallback = "0",
     .help = "expected number; 0: not checked"},
    {.name = "image_rows",
     .type = HT_FIELD_INT,
     AT(image_rows),
     .max = 65536,
     .fallback = "0",
     .help = "height of images; 0: not images"},
    {.name = "image_columns",
     .type = HT_FIELD_INT,
     AT(image_columns),
     .max = 65536,
     .fallback = "0",
     .help = "width of images; 0: not images"},
    {.name = "classes",
     .type = HT_FIELD_CUSTOM,
     AT(classes),
     .custom = &classes_field,
     .help = "names in the order of their numbers; without it: as found in the data"},
    {.name = "csv", .type = HT_FIELD_MAP, .table = &csv_table, .help = "how CSV files are written"},
    {.name = "fetch",
     .type = HT_FIELD_MAP,
     .table = &fetch_table,
     .help = "where `halftone data fetch` gets the files"},
};
const struct ht_field_table ht_descriptor_table = HT_FIELD_TABLE(descriptor_fields);

void ht_descriptor_print_reference(struct ht_text *out)
{
    ht_text_printf(out,
                   "# Dataset descriptors\n\nA CSV file of your own needs three keys:\n\n```yaml\n"
                   "name: mine\nformat: csv\nfiles: [{role: table, path: mine.csv}]\n```\n");
    ht_fields_print_reference(&ht_descriptor_table, NULL, "Descriptor", "", out);
    ht_fields_print_reference(&file_table, NULL, "files", "", out);
    ht_fields_print_reference(&csv_table, NULL, "csv", "", out);
    ht_fields_print_reference(&fetch_table, NULL, "fetch", "", out);
}
