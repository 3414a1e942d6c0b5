/* How well a score tells anomalies from normal samples. */
#ifndef HT_TRAIN_DETECTION_H
#define HT_TRAIN_DETECTION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct ht_detection {
    struct ht_detection_sample {
        double score; /* the higher, the more anomalous */
        bool anomaly;
    } * samples; /* [capacity] */
    size_t n, capacity;
};

/* capacity: samples that will be added; 0 needs no memory. On failure nothing is to be finished. */
enum ht_status ht_detection_init(struct ht_detection *t, size_t capacity, struct ht_error *err);
void ht_detection_finish(struct ht_detection *t);

void ht_detection_add(struct ht_detection *t, double score, bool anomaly);

/* Area under the ROC curve: the chance that an anomaly has a higher score than a normal sample, a
 * tie counting one half. From the ranks, those of equal scores averaged (Mann and Whitney 1947;
 * Hanley and McNeil 1982). NAN when one of the two kinds is missing. Sorts the samples. */
double ht_detection_auc(struct ht_detection *t);

#endif
