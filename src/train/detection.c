#include "train/detection.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum ht_status ht_detection_init(struct ht_detection *t, size_t capacity, struct ht_error *err)
{
    memset(t, 0, sizeof *t);
    if (capacity == 0)
        return HT_OK;
    t->samples = ht_calloc(capacity, sizeof *t->samples);
    t->capacity = capacity;
    return t->samples ? HT_OK : ht_fail_memory(err);
}

void ht_detection_finish(struct ht_detection *t)
{
    ht_free(t->samples);
    memset(t, 0, sizeof *t);
}

void ht_detection_add(struct ht_detection *t, double score, bool anomaly)
{
    assert(t->n < t->capacity);
    t->samples[t->n++] = (struct ht_detection_sample){score, anomaly};
}

static int by_score(const void *a, const void *b)
{
    const double x = ((const struct ht_detection_sample *)a)->score;
    const double y = ((const struct ht_detection_sample *)b)->score;
    return (x > y) - (x < y);
}

double ht_detection_auc(struct ht_detection *t)
{
    double rank_sum = 0, anomalies = 0;
    if (t->n == 0)
        return (double)NAN;
    qsort(t->samples, t->n, sizeof *t->samples, by_score);
    for (size_t at = 0, end; at < t->n; at = end) {
        size_t found = 0;
        for (end = at; end < t->n && t->samples[end].score == t->samples[at].score; end++)
            found += t->samples[end].anomaly;
        /* Ranks at + 1 .. end have the mean (at + 1 + end) / 2. */
        rank_sum += (double)found * ((double)(at + 1) + (double)end) / 2;
        anomalies += (double)found;
    }
    const double normal = (double)t->n - anomalies;
    if (anomalies == 0 || normal == 0)
        return (double)NAN;
    return (rank_sum - anomalies * (anomalies + 1) / 2) / (anomalies * normal);
}
