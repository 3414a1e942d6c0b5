#include "support.h"

#include "base/rng.h"
#include "config/descriptor.h"

static char dir[64];

static void write_descriptor(const char *text, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/d.yaml", dir);
    write_file(path, text, n);
}

static void start(void)
{
    make_temp_dir(dir);
}

static void stop(void)
{
    remove_temp_dir(dir);
}

TestSuite(descriptor, .init = start, .fini = stop);

Test(descriptor, built_in)
{
    size_t n;
    const char *const *names = ht_descriptor_names(&n);
    cr_assert_geq(n, 7);
    for (size_t i = 0; i < n; i++) {
        struct ht_descriptor *d = NULL;
        struct ht_error err = {0};
        char path[HT_PATH_LENGTH];
        ASSERT_OK(ht_descriptor_load(&d, names[i], "/nowhere", NULL, &err), err);
        snprintf(path, sizeof path, "built-in:%s", names[i]);
        cr_assert_str_eq(d->path, path);
        cr_assert_str_eq(d->name, names[i]);
        cr_assert(*d->title && *d->licence && *d->source, "%s", names[i]);
        cr_assert_gt(d->samples, 0);
        for (size_t k = 0; k < d->n_files; k++)
            cr_assert_eq(strlen(d->files[k].sha256), 64);
        ht_descriptor_destroy(d);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(descriptor, iris)
{
    struct ht_descriptor *d = NULL;
    struct ht_error err = {0};
    ASSERT_OK(ht_descriptor_load(&d, "iris", NULL, NULL, &err), err);
    cr_assert_str_eq(d->format, "csv");
    cr_assert_eq(d->samples, 150);
    cr_assert_eq(d->features, 4);
    cr_assert_eq(d->n_classes, 3);
    cr_assert_str_eq(d->classes[2], "virginica");
    cr_assert_str_eq(d->csv.header, "no");
    cr_assert_str_eq(d->csv.label, "-1");
    cr_assert_eq(d->csv.skip_rows, 1);
    cr_assert_eq(d->n_files, 1);
    cr_assert_str_eq(d->files[0].role, "table");
    ht_descriptor_destroy(d);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(descriptor, users_csv)
{
    static const char text[] = "name: mine\nformat: csv\nfiles: [{role: table, path: my.csv}]\n";
    struct ht_descriptor *d = NULL;
    struct ht_error err = {0};
    char path[HT_PATH_LENGTH];
    write_descriptor(text, sizeof text - 1);
    ASSERT_OK(ht_descriptor_load(&d, "d.yaml", dir, NULL, &err), err);
    snprintf(path, sizeof path, "%s/d.yaml", dir);
    cr_assert_str_eq(d->path, path);
    cr_assert_str_eq(d->task, "classification");
    cr_assert_str_eq(d->csv.label, "-1");
    cr_assert_str_eq(d->csv.header, "auto");
    cr_assert_str_eq(d->csv.delimiter, ",");
    cr_assert_str_eq(d->csv.missing, "error");
    cr_assert_str_eq(d->files[0].path, "my.csv");
    cr_assert_eq(d->files[0].at.line, 3);
    cr_assert_eq(d->files[0].at.column, 9);
    cr_assert_null(d->classes);
    ht_descriptor_destroy(d);
    write_descriptor("\xef\xbb\xbfname: mine\nformat: csv\nfiles: [{role: table, path: a}]\n", 58);
    ASSERT_OK(ht_descriptor_load(&d, path, "/nowhere", NULL, &err), err); /* absolute */
    ht_descriptor_destroy(d);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(descriptor, unknown_names)
{
    struct ht_descriptor *d = NULL;
    struct ht_error err = {0};
    struct ht_text report = {0};
    cr_assert_eq(ht_descriptor_load(&d, "fashion_mnist", NULL, &report, &err), HT_ERR_CONFIG);
    cr_assert_not_null(strstr(err.msg, "unknown dataset 'fashion_mnist' (did you mean "
                                       "'fashion-mnist'?); built-in: breast_cancer, "),
                       "%s", err.msg);
    cr_assert_not_null(strstr(ht_text_str(&report), err.msg));
    cr_assert_eq(ht_descriptor_load(&d, "none.yaml", dir, NULL, &err), HT_ERR_IO);
    cr_assert_not_null(strstr(err.msg, "none.yaml: No such file"), "%s", err.msg);
    cr_assert_null(d);
    ht_text_finish(&report);
    cr_assert_eq(ht_alloc_live(), 0);
}

#define HEAD "name: a\nformat: csv\n"
#define FULL HEAD "files: [{role: table, path: a}]\n"

Test(descriptor, errors)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"<>name: a\nformat: csv\n", "the required key 'files' is missing"},
        {"<>format: csv\nfiles: [{role: table, path: a}]\n", "the required key 'name' is missing"},
        {"name: a\nformat: <>csw\nfiles: [{role: table, path: a}]\n",
         "format is 'csw', not one of: idx, csv, hdf5 (did you mean 'csv'?)"},
        {HEAD "files: <>x\n", "files must be a list, such as [{role: table, path: data.csv}], "
                              "found 'x'"},
        {HEAD "files: [<>{role: table}]\n", "the required key 'files.path' is missing"},
        {HEAD "files: [{role: <>tabel, path: a}]\n",
         "files.role is 'tabel', not one of: table, train_table, test_table, features, labels, "
         "train_features, train_labels, test_features, test_labels (did you mean 'table'?)"},
        {HEAD "files: [{role: table, path: a}, {role: <>table, path: b}]\n",
         "two files with the role 'table'"},
        {HEAD "files: [{role: table, path: a, sha256: <>12ab}]\n",
         "sha256 must be 64 digits 0-9 and a-f"},
        {HEAD "files: [{role: table, path: <>\"\"}]\n", "the path is empty"},
        {FULL "<>sample: 3\n", "unknown key 'sample' (did you mean 'samples'?)"},
        {FULL "samples: <>-3\n", "samples is -3, out of range: >= 0"},
        {FULL "image_rows: <>3\n", "image_rows and image_columns go together"},
        {FULL "features: 10\nimage_rows: <>3\nimage_columns: 3\n",
         "images of 3 x 3 do not have 10 features"},
        {FULL "classes: <>[]\n",
         "classes must be a list of names, such as [no, yes], found a list"},
        {FULL "classes: [a, <>a]\n", "the class 'a' is listed twice"},
        {FULL "classes: [<>[a]]\n", "a class must be a name"},
        {FULL "classes: [a]\n<>classes: [b, c]\n",
         "duplicate key 'classes' (first at line 4, column 1)"},
        {FULL "<>files: [{role: table, path: b}]\n",
         "duplicate key 'files' (first at line 3, column 1)"},
        {FULL "task: regression\nclasses: <>[a]\n", "a regression has no classes"},
        {FULL "csv: {delimiter: <>ab}\n", "csv.delimiter must be one character, tab or space"},
        {FULL "csv: {label: <>0}\n",
         "csv.label must be a column's name or number (from 1, or -1 for the last)"},
        {FULL "search: [<>{a: 1}]\n", "search.folder must be a text, found a map"},
        {FULL "search: <>a\n", "search must be a list of folders, found 'a'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512], expected[512];
        const char *mark = strstr(cases[i].text, "<>");
        int line = 1, column = 1;
        for (const char *s = cases[i].text; s < mark; s++) {
            line += *s == '\n';
            column = *s == '\n' ? 1 : column + 1;
        }
        snprintf(text, sizeof text, "%.*s%s", (int)(mark - cases[i].text), cases[i].text, mark + 2);
        write_descriptor(text, strlen(text));
        struct ht_descriptor *d = NULL;
        struct ht_error err = {0};
        struct ht_text report = {0};
        cr_assert_eq(ht_descriptor_load(&d, "d.yaml", dir, &report, &err), HT_ERR_CONFIG, "%s",
                     text);
        snprintf(expected, sizeof expected, "%s/d.yaml:%d:%d: %s", dir, line, column,
                 cases[i].message);
        cr_assert_str_eq(err.msg, expected);
        cr_assert_not_null(strstr(ht_text_str(&report), "^\n1 error\n"), "%s",
                           ht_text_str(&report));
        ht_text_finish(&report);
        cr_assert_eq(ht_alloc_live(), 0);
    }
}

static const char complete[] =
    "name: iris\ntitle: Iris\nlicence: CC BY 4.0\nsource: here\nformat: csv\n"
    "task: classification\nfiles: [{role: table, path: iris.csv, sha256: "
    "f13ffa8fdd56fd8e6c8d16d4081a3fbd3114bcd0aae4256c43205169cd9d1449}]\n"
    "search: [/usr/share, data]\nsamples: 150\nfeatures: 4\nimage_rows: 2\nimage_columns: 2\n"
    "classes: [setosa, versicolor, virginica]\n"
    "csv: {skip_rows: 1, header: no, label: -1}\nfetch: {apt: a-b, folder: usr}\n";

Test(descriptor, damaged_files)
{
    size_t valid = 0, errors = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        char text[2 * sizeof complete];
        size_t n = sizeof complete - 1;
        memcpy(text, complete, n);
        for (uint64_t k = 0; k < 1 + i % 3; k++) {
            uint64_t stream = HT_RNG_STREAM(HT_RNG_TEST, i);
            size_t at = (size_t)ht_rng_below(5, stream, 4 * k, n);
            size_t from = (size_t)ht_rng_below(5, stream, 4 * k + 1, n);
            size_t length = 1 + (size_t)ht_rng_below(5, stream, 4 * k + 2, 12);
            length = length > n - at ? n - at : length;
            length = length > n - from ? n - from : length;
            if (ht_rng_below(5, stream, 4 * k + 3, 3) == 0) {
                memmove(text + at, text + at + length, n - at - length);
                n -= length;
            } else if (ht_rng_below(6, stream, 4 * k + 3, 2)) {
                memmove(text + at, text + from, length);
            } else {
                text[at] = (char)(text[at] ^ 1 << ht_rng_below(7, stream, k, 8));
            }
        }
        struct ht_descriptor *d = NULL;
        struct ht_error err = {0};
        struct ht_text report = {0};
        write_descriptor(text, n);
        enum ht_status status = ht_descriptor_load(&d, "d.yaml", dir, &report, &err);
        cr_assert(status == HT_OK || status == HT_ERR_CONFIG, "%s", err.msg);
        valid += status == HT_OK;
        errors += status != HT_OK;
        cr_assert(status == HT_OK || strstr(ht_text_str(&report), ": error: "));
        ht_descriptor_destroy(d);
        ht_text_finish(&report);
        cr_assert_eq(ht_alloc_live(), 0);
    }
    cr_assert_gt(valid, 20);
    cr_assert_gt(errors, 200);
}

Test(descriptor, out_of_memory)
{
    size_t failed = 0;
    write_descriptor(complete, sizeof complete - 1);
    for (long n = 1; n <= 60; n++) {
        struct ht_descriptor *d = NULL;
        ht_alloc_fail_at(n);
        enum ht_status status = ht_descriptor_load(&d, "d.yaml", dir, NULL, NULL);
        ht_alloc_fail_at(0);
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY);
        failed += status != HT_OK;
        ht_descriptor_destroy(d);
        cr_assert_eq(ht_alloc_live(), 0, "allocation %ld", n);
    }
    cr_assert_gt(failed, 3);
    cr_assert_lt(failed, 60);
}

Test(descriptor, reference)
{
    struct ht_text t = {0};
    ht_descriptor_print_reference(&t);
    cr_assert_not_null(
        strstr(ht_text_str(&t), "| `skip_rows` | whole number | `0` | 0..1000000 |"));
    cr_assert_not_null(strstr(ht_text_str(&t), "| `sha256` |"));
    ht_text_finish(&t);
    cr_assert_eq(ht_alloc_live(), 0);
}
