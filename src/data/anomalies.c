/* Classes that training does not see, for networks that should notice what is unlike the rest. */
#include <string.h>

#include "base/alloc.h"
#include "data/loading.h"

bool ht_dataset_is_anomaly(const struct ht_dataset *d, uint32_t sample)
{
    return d->anomaly && d->anomaly[d->labels[sample]];
}

/* Keeps the order. */
static void keep_normal(struct ht_dataset *d, enum ht_split split)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->count[split]; i++)
        if (!ht_dataset_is_anomaly(d, d->index[split][i]))
            d->index[split][kept++] = d->index[split][i];
    d->count[split] = kept;
}

enum ht_status ht_anomalies_take_out(struct ht_dataset *d, const struct ht_dataset_options *options,
                                     struct ht_error *err)
{
    if (options->n_anomaly_classes == 0 || !d->labels)
        return HT_OK;
    d->anomaly = ht_calloc(d->n_classes, sizeof *d->anomaly);
    if (!d->anomaly)
        return ht_fail_memory(err);
    for (size_t c = 0; c < d->n_classes; c++)
        for (size_t i = 0; i < options->n_anomaly_classes; i++)
            if (strcmp(d->classes[c], options->anomaly_classes[i]) == 0)
                d->anomaly[c] = true;
    keep_normal(d, HT_TRAIN);
    keep_normal(d, HT_VALIDATION);
    if (d->count[HT_TRAIN] == 0)
        return ht_fail(err, HT_ERR_DATA,
                       "%s: without the anomalous classes no samples are left for training",
                       d->name);
    return HT_OK;
}
