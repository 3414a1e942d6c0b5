/* From CSV records to features, labels and targets. */
#include "data/csv.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"

#define NO_COLUMN SIZE_MAX

/* What a file holds. */
enum content { TABLE, FEATURES, LABELS };

struct table {
    struct ht_loading *l;
    struct ht_csv *csv;
    const char *path; /* lives as long as the loading */
    size_t part;
    enum content content;
    bool header;
    char (*names)[HT_NAME_LENGTH]; /* [columns], NULL without header */
    size_t columns, rows;
    size_t label; /* column of the label or target; NO_COLUMN: none, or all of them */
    bool fill;    /* missing features become NaN */
};

/* The text of a cell as it is shown in a message: short, without control characters. */
struct shown {
    char s[48];
};

static struct shown show(const char *text)
{
    struct shown r;
    int n = snprintf(r.s, sizeof r.s, "%.40s%s", text, strlen(text) > 40 ? "..." : "");
    for (int i = 0; i < n && r.s[i]; i++)
        if ((unsigned char)r.s[i] < 0x20 || r.s[i] == 0x7f)
            r.s[i] = '?';
    return r;
}

/* "FILE:row N, column M (name): "CELL" MESSAGE". */
static enum ht_status fail_cell(const struct table *t, size_t column, struct ht_error *err,
                                const char *message)
{
    const char *cell = ht_csv_field(t->csv, column), *quote = *cell ? "\"" : "";
    bool named = t->names != NULL;
    return ht_fail(err, HT_ERR_DATA, "%s:row %zu, column %zu%s%s%s: %s%s%s %s", t->path,
                   ht_csv_row(t->csv), column + 1, named ? " (" : "", named ? t->names[column] : "",
                   named ? ")" : "", quote, *cell ? show(cell).s : "an empty cell", quote, message);
}

/* A feature or target. may_miss: a missing one becomes NaN. */
static enum ht_status parse_cell(const struct table *t, size_t column, bool may_miss, float *ret,
                                 struct ht_error *err)
{
    const char *cell = ht_csv_field(t->csv, column);
    double value;
    if (ht_parse_number(cell, &value) && fabs(value) <= FLT_MAX) {
        *ret = (float)value;
        return HT_OK;
    }
    if (ht_is_missing_text(cell)) {
        bool target = t->content == LABELS || column == t->label;
        *ret = NAN;
        if (may_miss)
            return HT_OK;
        return fail_cell(t, column, err,
                         target ? "is not a number"
                                : "is not a number; csv.missing: mean would fill it in");
    }
    return fail_cell(t, column, err, "is not a finite decimal number in the range of float32");
}

static bool label_is_name(const char *label)
{
    char *end;
    strtol(label, &end, 10);
    return *label && *end != '\0';
}

/* header: auto. A row with a number in a feature column is data; else a row with any text there is
 * a header. One column of text labels is data when the descriptor lists it as a class, else as the
 * features' file. */
static bool looks_like_header(const struct table *t, size_t n)
{
    const struct ht_descriptor *d = t->l->descriptor;
    double value;
    bool text = false;
    if (label_is_name(d->csv.label) && (t->content == TABLE || n > 1))
        return true;
    if (t->content == LABELS && n == 1 && t->l->classification &&
        !ht_parse_number(ht_csv_field(t->csv, 0), &value)) {
        for (size_t c = 0; c < d->n_classes; c++)
            if (strcmp(d->classes[c], ht_csv_field(t->csv, 0)) == 0)
                return false;
        return d->n_classes > 0 || t->l->d->feature_names;
    }
    long label = strtol(*d->csv.label ? d->csv.label : "-1", NULL, 10);
    size_t label_column = (size_t)(label < 0 ? (long)n + label : label - 1);
    for (size_t i = 0; i < n; i++) {
        if (t->content == TABLE && i == label_column && t->l->classification)
            continue;
        if (ht_parse_number(ht_csv_field(t->csv, i), &value))
            return false;
        text = text || !ht_is_missing_text(ht_csv_field(t->csv, i));
    }
    return text;
}

/* 0,1,2,... or 1,2,3,... as some programs write above columns that have no names. */
static bool may_be_numbered_header(const struct table *t, size_t n)
{
    double first, value;
    if (n < 4 || t->content == LABELS || !ht_parse_number(ht_csv_field(t->csv, 0), &first) ||
        (first != 0 && first != 1))
        return false;
    size_t counted = 1;
    for (size_t i = 1; i < n; i++)
        counted += ht_parse_number(ht_csv_field(t->csv, i), &value) && value == first + (double)i;
    return counted >= n - (t->content == TABLE);
}

static enum ht_status keep_names(struct table *t, struct ht_error *err)
{
    t->names = ht_calloc(t->columns, sizeof *t->names);
    if (!t->names)
        return ht_fail_memory(err);
    for (size_t i = 0; i < t->columns; i++) {
        snprintf(t->names[i], sizeof *t->names, "%s", ht_csv_field(t->csv, i));
        for (char *p = t->names[i]; *p; p++)
            if ((unsigned char)*p < 0x20 || *p == 0x7f)
                *p = '?';
        for (size_t n = strlen(t->names[i]); n > 0 && !ht_is_utf8(t->names[i]); n--)
            t->names[i][n - 1] = '\0'; /* cut inside a character, or not UTF-8 at all */
    }
    return HT_OK;
}

static enum ht_status find_named_label(struct table *t, const char *label, struct ht_error *err)
{
    for (size_t i = 0; t->names && i < t->columns; i++)
        if (strcmp(t->names[i], label) == 0) {
            t->label = i;
            return HT_OK;
        }
    if (!t->names)
        return ht_fail(
            err, HT_ERR_CONFIG,
            "%s: csv.label is \"%s\", but the file has no header; give the number of the "
            "column",
            t->path, label);
    const char **names = ht_calloc(t->columns, sizeof *names);
    if (!names)
        return ht_fail_memory(err);
    struct ht_text list = {0};
    for (size_t i = 0; i < t->columns; i++) {
        names[i] = t->names[i];
        if (i < 20)
            ht_text_printf(&list, "%s%s", i ? ", " : "", t->names[i]);
    }
    const char *near = ht_nearest_name(label, names, t->columns);
    ht_fail(err, HT_ERR_DATA, "%s: there is no column \"%s\" (csv.label)%s%s%s; columns: %s%s",
            t->path, label, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "",
            ht_text_str(&list), t->columns > 20 ? ", ..." : "");
    ht_text_finish(&list);
    ht_free(names);
    return HT_ERR_DATA;
}

/* Which column is the label, by csv.label: a name, a 1-based number, negative from the end. */
static enum ht_status find_label(struct table *t, struct ht_error *err)
{
    const char *label = t->l->descriptor->csv.label;
    t->label = NO_COLUMN;
    if (t->content == FEATURES)
        return HT_OK;
    if (label_is_name(label) && (t->content == TABLE || t->columns > 1))
        return find_named_label(t, label, err);
    if (t->content == LABELS) /* every column is a target; one column is the label */
        return HT_OK;
    if (t->columns < 2)
        return ht_fail(err, HT_ERR_DATA,
                       "%s:row %zu has one column only, no features besides the label; is "
                       "csv.delimiter right?",
                       t->path, ht_csv_row(t->csv));
    long number = *label ? strtol(label, NULL, 10) : -1;
    long column = number < 0 ? (long)t->columns + number : number - 1;
    if (number == 0 || column < 0 || column >= (long)t->columns)
        return ht_fail(err, HT_ERR_DATA, "%s: csv.label is %s, but there are %zu columns", t->path,
                       label, t->columns);
    t->label = (size_t)column;
    return HT_OK;
}

/* The number of features or targets against the descriptor and the training part. */
static enum ht_status check_columns(struct table *t, struct ht_error *err)
{
    struct ht_dataset *d = t->l->d;
    bool one_label = t->label != NO_COLUMN;
    if (t->content == LABELS) {
        size_t targets = one_label ? 1 : t->columns;
        if (t->part == 0 && !t->l->classification)
            d->target_columns = targets;
        return ht_loading_check_labels(t->l, t->part, 0, targets, err);
    }
    if (t->part == 0)
        d->features = t->columns - one_label;
    return ht_loading_check_features(t->l, t->part, 0, t->columns - one_label, err);
}

/* Names of the feature columns into the dataset, or compared with those of the training file. */
static enum ht_status give_names(struct table *t, struct ht_error *err)
{
    struct ht_dataset *d = t->l->d;
    size_t features = t->columns - (t->label != NO_COLUMN);
    if (t->content == LABELS || !t->names)
        return HT_OK;
    if (t->part == 0 && !(d->feature_names = ht_calloc(features, sizeof *d->feature_names)))
        return ht_fail_memory(err);
    for (size_t i = 0, j = 0; d->feature_names && i < t->columns; i++) {
        if (i == t->label)
            continue;
        if (t->part == 0)
            memcpy(d->feature_names[j], t->names[i], sizeof *t->names);
        else if (strcmp(d->feature_names[j], t->names[i]) != 0)
            return ht_fail(err, HT_ERR_DATA,
                           "%s: column %zu is \"%s\", but \"%s\" in the training file", t->path,
                           i + 1, t->names[i], d->feature_names[j]);
        j++;
    }
    return HT_OK;
}

/* Reads the first record and decides what the columns are. *n: fields of the first data record. */
static enum ht_status read_head(struct table *t, size_t *n, struct ht_error *err)
{
    const struct ht_descriptor *d = t->l->descriptor;
    enum ht_status status = ht_csv_skip(t->csv, (size_t)d->csv.skip_rows, err);
    if (status == HT_OK)
        status = ht_csv_next(t->csv, n, err);
    if (status != HT_OK)
        return status;
    if (*n == 0)
        return ht_fail(err, HT_ERR_DATA, "%s: the file is empty", t->path);
    t->columns = *n;
    if (strcmp(d->csv.header, "yes") != 0 && strcmp(d->csv.header, "no") != 0 &&
        may_be_numbered_header(t, *n))
        return ht_fail(
            err, HT_ERR_DATA,
            "%s:row %zu counts its columns: is it a header or data? Set csv.header to yes "
            "or no",
            t->path, ht_csv_row(t->csv));
    t->header = strcmp(d->csv.header, "yes") == 0 ||
                (strcmp(d->csv.header, "no") != 0 && looks_like_header(t, *n));
    if (t->header && (status = keep_names(t, err)) != HT_OK)
        return status;
    if ((status = find_label(t, err)) != HT_OK || (status = check_columns(t, err)) != HT_OK ||
        (status = give_names(t, err)) != HT_OK)
        return status;
    if (t->header && (status = ht_csv_next(t->csv, n, err)) == HT_OK && *n == 0)
        return ht_fail(err, HT_ERR_DATA, "%s: there is a header, but no data", t->path);
    return status;
}

/* Room for `more` elements of 4 bytes behind the first `used`. */
static enum ht_status reserve(void **block, size_t *cap, size_t used, size_t more,
                              struct ht_error *err)
{
    size_t needed;
    if (!ht_add_size(used, more, &needed))
        return ht_fail_memory(err);
    if (needed <= *cap)
        return HT_OK;
    size_t target = needed + needed / 2 + 64;
    void *grown = ht_grow(*block, target, 4);
    if (!grown)
        return ht_fail_memory(err);
    *block = grown;
    *cap = target;
    return HT_OK;
}

/* The typed pointers go through void *: their representation need not be the same. */
#define RESERVE(member, cap, used, more, status)                                                   \
    do {                                                                                           \
        void *block_ = (member);                                                                   \
        (status) = reserve(&block_, &(cap), (used), (more), err);                                  \
        (member) = block_;                                                                         \
    } while (0)

/* Label or targets of the current record; sample: its number in the whole dataset. */
static enum ht_status put_label(struct table *t, size_t sample, struct ht_error *err)
{
    struct ht_loading *l = t->l;
    struct ht_dataset *d = l->d;
    size_t column = t->label == NO_COLUMN ? 0 : t->label;
    enum ht_status status;
    if (l->classification) {
        const char *cell = ht_csv_field(t->csv, column);
        if (ht_is_missing_text(cell))
            return fail_cell(t, column, err, "is not a label");
        RESERVE(d->labels, l->labels_cap, sample, 1, status);
        return status == HT_OK ? ht_labels_add(&l->labels, cell, t->path, ht_csv_row(t->csv),
                                               &d->labels[sample], err)
                               : status;
    }
    size_t n = t->label == NO_COLUMN ? t->columns : 1;
    RESERVE(d->targets, l->targets_cap, sample * n, n, status);
    for (size_t j = 0; j < n && status == HT_OK; j++)
        status = parse_cell(t, column + j, false, &d->targets[sample * n + j], err);
    return status;
}

static enum ht_status put_features(struct table *t, size_t sample, struct ht_error *err)
{
    struct ht_loading *l = t->l;
    struct ht_dataset *d = l->d;
    size_t at, column = 0;
    enum ht_status status;
    if (!ht_mul_size(sample, d->features, &at))
        return ht_fail_memory(err);
    RESERVE(d->values, l->values_cap, at, d->features, status);
    for (; column < t->columns && status == HT_OK; column++) {
        if (column == t->label)
            continue;
        status = parse_cell(t, column, t->fill, &d->values[at], err);
        if (status == HT_OK)
            l->missing = l->missing || isnan(d->values[at]);
        at++;
    }
    return status;
}

static enum ht_status read_rows(struct table *t, size_t n, size_t first, struct ht_error *err)
{
    enum ht_status status = HT_OK;
    for (; n > 0 && status == HT_OK; t->rows++) {
        if (n != t->columns)
            return ht_fail(err, HT_ERR_DATA,
                           "%s:row %zu has %zu column%s, but the first row has %zu", t->path,
                           ht_csv_row(t->csv), n, n == 1 ? "" : "s", t->columns);
        if (first + t->rows >= HT_MAX_SAMPLES)
            return ht_fail(err, HT_ERR_DATA, "%s: too many samples", t->path);
        if (t->content != LABELS)
            status = put_features(t, first + t->rows, err);
        if (status == HT_OK && t->content != FEATURES)
            status = put_label(t, first + t->rows, err);
        if (status == HT_OK)
            status = ht_csv_next(t->csv, &n, err);
    }
    return status;
}

/* One file; its samples are numbered from `first` on. */
static enum ht_status read_file(struct ht_loading *l, size_t part, enum content content,
                                const char *path, size_t first, struct ht_error *err)
{
    const struct ht_descriptor *d = l->descriptor;
    struct table t = {.l = l, .part = part, .content = content, .path = path};
    size_t n;
    t.fill = strcmp(d->csv.missing, "mean") == 0;
    enum ht_status status = ht_csv_open(&t.csv, path, d->csv.delimiter, err);
    if (status == HT_OK)
        status = read_head(&t, &n, err);
    if (status == HT_OK && part == 0 && content == TABLE && !l->classification)
        l->d->target_columns = 1;
    if (status == HT_OK)
        status = read_rows(&t, n, first, err);
    if (status == HT_OK && content == LABELS) {
        size_t targets = l->classification ? 1 : l->d->target_columns;
        status = ht_loading_check_labels(l, part, t.rows, targets, err);
    } else if (status == HT_OK) {
        l->parts[part].n = t.rows;
        status = ht_loading_check_features(l, part, t.rows, l->d->features, err);
    }
    ht_csv_close(t.csv);
    ht_free(t.names);
    return status;
}

/* Gives back what growing has left over. */
static void shrink(struct ht_dataset *d)
{
    void *block;
    if (d->values && (block = ht_grow(d->values, d->n * d->features, sizeof *d->values)))
        d->values = block;
    if (d->labels && (block = ht_grow(d->labels, d->n, sizeof *d->labels)))
        d->labels = block;
    if (d->targets && (block = ht_grow(d->targets, d->n * d->target_columns, sizeof *d->targets)))
        d->targets = block;
}

enum ht_status ht_csv_read(struct ht_loading *l, struct ht_error *err)
{
    enum ht_status status = HT_OK;
    for (size_t p = 0; p < l->n_parts && status == HT_OK; p++) {
        const struct ht_part *part = &l->parts[p];
        if (part->table.file) {
            status = read_file(l, p, TABLE, part->table.path, l->d->n, err);
        } else {
            status = read_file(l, p, FEATURES, part->features.path, l->d->n, err);
            if (status == HT_OK && l->labelled)
                status = read_file(l, p, LABELS, part->labels.path, l->d->n, err);
        }
        l->d->n += part->n;
    }
    if (status == HT_OK)
        shrink(l->d);
    return status;
}
