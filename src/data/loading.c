#include "data/loading.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "base/alloc.h"

static const char *features_path(const struct ht_part *part)
{
    return part->table.file ? part->table.path : part->features.path;
}

enum ht_status ht_loading_check_features(const struct ht_loading *l, size_t part, size_t rows,
                                         size_t columns, struct ht_error *err)
{
    const struct ht_descriptor *d = l->descriptor;
    const char *path = features_path(&l->parts[part]);
    size_t expected = (size_t)(part == 0 ? d->samples : d->test_samples);
    if (rows != 0 && expected != 0 && rows != expected)
        return ht_fail(err, HT_ERR_DATA, "%s: %zu samples, but the descriptor says %zu", path, rows,
                       expected);
    if (d->features != 0 && columns != (size_t)d->features)
        return ht_fail(err, HT_ERR_DATA, "%s: %zu features, but the descriptor says %d", path,
                       columns, d->features);
    if (part > 0 && columns != l->d->features)
        return ht_fail(err, HT_ERR_DATA, "%s: %zu features, but %zu in %s", path, columns,
                       l->d->features, features_path(&l->parts[0]));
    return HT_OK;
}

enum ht_status ht_loading_check_labels(const struct ht_loading *l, size_t part, size_t rows,
                                       size_t columns, struct ht_error *err)
{
    const struct ht_part *p = &l->parts[part];
    if (rows != 0 && rows != p->n)
        return ht_fail(err, HT_ERR_DATA, "%s: %zu labels, but %zu samples in %s", p->labels.path,
                       rows, p->n, p->features.path);
    if (l->classification && columns != 1)
        return ht_fail(err, HT_ERR_DATA, "%s: %zu values for each sample; a label is one value",
                       p->labels.path, columns);
    if (part > 0 && !l->classification && columns != l->d->target_columns)
        return ht_fail(err, HT_ERR_DATA, "%s: %zu targets for each sample, but %zu in %s",
                       p->labels.path, columns, l->d->target_columns, l->parts[0].labels.path);
    return HT_OK;
}

enum ht_status ht_loading_make_labels(struct ht_loading *l, size_t columns, struct ht_error *err)
{
    struct ht_dataset *d = l->d;
    size_t total;
    if (l->classification)
        return (d->labels = ht_calloc(d->n, sizeof *d->labels)) ? HT_OK : ht_fail_memory(err);
    d->target_columns = columns;
    if (!ht_mul_size(d->n, columns, &total) || !(d->targets = ht_calloc(total, sizeof *d->targets)))
        return ht_fail_memory(err);
    return HT_OK;
}

enum ht_status ht_loading_put_label(struct ht_loading *l, size_t sample, const double *values,
                                    size_t columns, const char *path, size_t row,
                                    struct ht_error *err)
{
    for (size_t j = 0; j < columns; j++)
        if (!isfinite(values[j]) || fabs(values[j]) > FLT_MAX)
            return ht_fail(err, HT_ERR_DATA, "%s: the %s of sample %zu is not a finite number (%g)",
                           path, l->classification ? "label" : "target", row, values[j]);
    if (l->classification)
        return ht_labels_add_number(&l->labels, values[0], path, row, &l->d->labels[sample], err);
    for (size_t j = 0; j < columns; j++)
        l->d->targets[sample * columns + j] = (float)values[j];
    return HT_OK;
}
