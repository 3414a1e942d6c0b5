#include "data/loading.h"

#include <float.h>
#include <math.h>

#include "base/alloc.h"

/* Mean and standard deviation of each column of rows index[n] of table[., columns], NaN left out.
 * Two passes in double; a constant column gets std 1. std NULL: only the mean. */
static enum ht_status column_statistics(const float *table, size_t columns, const uint32_t *index,
                                        size_t n, float *mean, float *std, struct ht_error *err)
{
    double *sum = ht_calloc(2 * columns, sizeof *sum), *squares = sum + columns;
    size_t *count = ht_calloc(columns, sizeof *count);
    if (!sum || !count) {
        ht_free(sum);
        ht_free(count);
        return ht_fail_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        const float *row = table + index[i] * columns;
        for (size_t j = 0; j < columns; j++)
            if (!isnan(row[j])) {
                sum[j] += row[j];
                count[j]++;
            }
    }
    for (size_t j = 0; j < columns; j++) {
        sum[j] /= (double)count[j]; /* NaN when nothing is there */
        mean[j] = (float)sum[j];
    }
    for (size_t i = 0; std && i < n; i++) {
        const float *row = table + index[i] * columns;
        for (size_t j = 0; j < columns; j++)
            squares[j] += (row[j] - sum[j]) * (row[j] - sum[j]);
    }
    for (size_t j = 0; std && j < columns; j++) {
        std[j] = (float)sqrt(squares[j] / (double)n);
        if (!(std[j] >= FLT_MIN) || !isfinite(std[j])) /* a constant */
            std[j] = 1.0f;
    }
    ht_free(count);
    ht_free(sum);
    return HT_OK;
}

enum ht_status ht_transform_fill_missing(struct ht_dataset *d, struct ht_error *err)
{
    float *mean = ht_calloc(d->features, sizeof *mean);
    if (!mean)
        return ht_fail_memory(err);
    enum ht_status status = column_statistics(d->values, d->features, d->index[HT_TRAIN],
                                              d->count[HT_TRAIN], mean, NULL, err);
    for (size_t j = 0; j < d->features && status == HT_OK; j++)
        if (isnan(mean[j]))
            status = ht_fail(
                err, HT_ERR_DATA, "%s: feature %zu%s%s%s has no value at all in the training part",
                d->name, j + 1, d->feature_names ? " (" : "",
                d->feature_names ? d->feature_names[j] : "", d->feature_names ? ")" : "");
    for (size_t i = 0; i < d->n && status == HT_OK; i++) {
        float *row = d->values + i * d->features;
        for (size_t j = 0; j < d->features; j++)
            if (isnan(row[j]))
                row[j] = mean[j];
    }
    ht_free(mean);
    return status;
}

static enum ht_status fit(const struct ht_dataset *d, const float *table, size_t columns,
                          float **mean, float **std, struct ht_error *err)
{
    *mean = ht_calloc(columns, sizeof **mean);
    *std = ht_calloc(columns, sizeof **std);
    if (!*mean || !*std)
        return ht_fail_memory(err);
    return column_statistics(table, columns, d->index[HT_TRAIN], d->count[HT_TRAIN], *mean, *std,
                             err);
}

enum ht_status ht_transform_fit(struct ht_dataset *d, struct ht_error *err)
{
    enum ht_status status = HT_OK;
    if (d->values)
        status = fit(d, d->values, d->features, &d->mean, &d->std, err);
    if (status == HT_OK && d->targets)
        status = fit(d, d->targets, d->target_columns, &d->target_mean, &d->target_std, err);
    return status;
}
