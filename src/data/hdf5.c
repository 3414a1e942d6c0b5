#include "data/loading.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "io/hdf5_table.h"

#define MAX_BYTES ((size_t)1 << 36) /* of one HDF5 dataset in memory */

static double element(const struct ht_hdf5_table *t, size_t i)
{
    return t->u8 ? t->u8[i] : t->f32[i];
}

static enum ht_status read_table(const struct ht_part_file *f, struct ht_hdf5_table *t,
                                 struct ht_error *err)
{
    enum ht_status status = ht_hdf5_table_read(t, f->path, f->file->dataset, MAX_BYTES, err);
    if (status == HT_OK && (t->rows == 0 || t->cols == 0 || t->rows > HT_MAX_SAMPLES)) {
        ht_hdf5_table_finish(t);
        return ht_fail(err, HT_ERR_DATA, "%s: %zu samples of %zu values", f->path, t->rows,
                       t->cols);
    }
    return status;
}

/* csv.label also says which column of an HDF5 table is the label, as a number. */
static enum ht_status label_column(const struct ht_descriptor *d, const char *path, size_t columns,
                                   size_t *ret, struct ht_error *err)
{
    const char *label = *d->csv.label ? d->csv.label : "-1";
    char *end;
    long number = strtol(label, &end, 10);
    long column = number < 0 ? (long)columns + number : number - 1;
    if (*end || number == 0 || column < 0 || column >= (long)columns || columns < 2)
        return ht_fail(err, HT_ERR_DATA, "%s: csv.label: \"%s\" is not one of the %zu columns",
                       path, label, columns);
    *ret = (size_t)column;
    return HT_OK;
}

/* Appends the columns of t but `skip` (SIZE_MAX: none) to the features. */
static enum ht_status append_features(struct ht_loading *l, const char *path,
                                      struct ht_hdf5_table *t, size_t skip, struct ht_error *err)
{
    struct ht_dataset *d = l->d;
    size_t size = t->u8 ? 1 : sizeof(float), first = d->n * d->features, total;
    if (d->n > 0 && (t->u8 != NULL) != (d->bytes != NULL))
        return ht_fail(err, HT_ERR_DATA, "%s: bytes in one part, other numbers in the other", path);
    if (!ht_mul_size(d->n + t->rows, d->features, &total) || d->n + t->rows > HT_MAX_SAMPLES)
        return ht_fail(err, HT_ERR_DATA, "%s: too many samples", path);
    if (skip == SIZE_MAX && l->n_parts == 1 && t->u8) { /* no copy of what may be large */
        d->bytes = t->u8;
        t->u8 = NULL;
        return HT_OK;
    }
    void *old = t->u8 ? (void *)d->bytes : (void *)d->values, *grown = ht_grow(old, total, size);
    if (!grown)
        return ht_fail_memory(err);
    if (t->u8)
        d->bytes = grown;
    else
        d->values = grown;
    for (size_t i = 0, at = first; i < t->rows * t->cols; i++) {
        if (i % t->cols == skip)
            continue;
        if (t->u8) {
            d->bytes[at++] = t->u8[i];
        } else if (isfinite(t->f32[i])) {
            d->values[at++] = t->f32[i];
        } else {
            return ht_fail(err, HT_ERR_DATA,
                           "%s: sample %zu, value %zu is not a finite number (%g)", path,
                           i / t->cols + 1, i % t->cols + 1, (double)t->f32[i]);
        }
    }
    return HT_OK;
}

/* Room for the labels of `rows` more samples; the first part decides the number of targets. */
static enum ht_status grow_labels(struct ht_loading *l, size_t part, size_t rows, size_t columns,
                                  struct ht_error *err)
{
    struct ht_dataset *d = l->d;
    size_t total;
    if (part == 0 && !l->classification)
        d->target_columns = columns;
    if (!ht_mul_size(d->n + rows, columns, &total))
        return ht_fail_memory(err);
    void *old = l->classification ? (void *)d->labels : (void *)d->targets;
    void *grown = ht_grow(old, total, 4); /* int32_t or float */
    if (!grown)
        return ht_fail_memory(err);
    if (l->classification)
        d->labels = grown;
    else
        d->targets = grown;
    return HT_OK;
}

/* Columns first .. first + n - 1 of t are the labels or targets of the samples from d->n on. */
static enum ht_status put_labels(struct ht_loading *l, size_t part, const char *path,
                                 const struct ht_hdf5_table *t, size_t first, size_t n,
                                 struct ht_error *err)
{
    double *values = ht_calloc(n, sizeof *values);
    enum ht_status status = values ? grow_labels(l, part, t->rows, n, err) : ht_fail_memory(err);
    for (size_t i = 0; i < t->rows && status == HT_OK; i++) {
        for (size_t j = 0; j < n; j++)
            values[j] = element(t, i * t->cols + first + j);
        status = ht_loading_put_label(l, l->d->n + i, values, n, path, i + 1, err);
    }
    ht_free(values);
    return status;
}

static enum ht_status read_part(struct ht_loading *l, size_t p, struct ht_error *err)
{
    struct ht_part *part = &l->parts[p];
    bool whole = part->table.file != NULL;
    const struct ht_part_file *main_file = whole ? &part->table : &part->features;
    struct ht_hdf5_table features = {0}, labels = {0};
    size_t skip = SIZE_MAX;
    enum ht_status status = read_table(main_file, &features, err);
    if (status == HT_OK && whole)
        status = label_column(l->descriptor, main_file->path, features.cols, &skip, err);
    if (status != HT_OK)
        goto done;
    size_t columns = features.cols - whole;
    status = ht_loading_check_features(l, p, features.rows, columns, err);
    if (status != HT_OK)
        goto done;
    l->d->features = columns;
    part->n = features.rows;
    if (whole) {
        status = put_labels(l, p, main_file->path, &features, skip, 1, err);
    } else if (l->labelled && (status = read_table(&part->labels, &labels, err)) == HT_OK) {
        status = ht_loading_check_labels(l, p, labels.rows, labels.cols, err);
        if (status == HT_OK)
            status = put_labels(l, p, part->labels.path, &labels, 0, labels.cols, err);
    }
    if (status == HT_OK)
        status = append_features(l, main_file->path, &features, skip, err);
    if (status == HT_OK)
        l->d->n += part->n;
done:
    ht_hdf5_table_finish(&features);
    ht_hdf5_table_finish(&labels);
    return status;
}

enum ht_status ht_hdf5_read(struct ht_loading *l, struct ht_error *err)
{
    enum ht_status status = HT_OK;
    for (size_t p = 0; p < l->n_parts && status == HT_OK; p++)
        status = read_part(l, p, err);
    return status;
}
