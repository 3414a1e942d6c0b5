/* Batches out of a dataset. */
#include "data/loading.h"

#include "base/rng.h"

/* What each byte level becomes. True divisions: the results are part of the numerics. */
static void make_byte_table(const struct ht_dataset *d, ht_real table[256])
{
    for (int b = 0; b < 256; b++)
        table[b] = d->symmetric_pixels ? (ht_real)((float)b / 127.5f - 1.0f)
                                       : (ht_real)((float)b / 255.0f);
}

static void normalize(ht_real *x, const float *mean, const float *std, size_t n)
{
    for (size_t j = 0; j < n; j++)
        x[j] = (x[j] - (ht_real)mean[j]) / (ht_real)std[j];
}

void ht_dataset_features(const struct ht_dataset *d, const uint32_t *samples, size_t count,
                         const struct ht_augment *augment, uint64_t seed, uint64_t epoch,
                         ht_real *x)
{
    ht_real table[256];
    bool moved = augment && (augment->shift > 0 || augment->rotation > 0) && d->image_rows > 0;
    make_byte_table(d, table);
    for (size_t i = 0; i < count; i++, x += d->features) {
        size_t at = samples[i] * d->features;
        struct ht_motion motion;
        if (moved)
            ht_augment_draw(&motion, augment, seed, epoch, samples[i]);
        if (d->bytes && moved)
            ht_augment_bytes(&motion, d->bytes + at, d->image_rows, d->image_columns, table, x);
        else if (d->bytes)
            for (size_t j = 0; j < d->features; j++)
                x[j] = table[d->bytes[at + j]];
        else if (moved)
            ht_augment_values(&motion, d->values + at, d->image_rows, d->image_columns, x);
        else
            for (size_t j = 0; j < d->features; j++)
                x[j] = d->values[at + j];
        if (d->mean && d->std)
            normalize(x, d->mean, d->std, d->features);
    }
}

void ht_dataset_targets(const struct ht_dataset *d, const uint32_t *samples, size_t count,
                        ht_real *y)
{
    for (size_t i = 0; i < count; i++) {
        if (d->labels) {
            y[i] = (ht_real)d->labels[samples[i]];
            continue;
        }
        for (size_t j = 0; j < d->target_columns; j++, y++)
            *y = d->targets[samples[i] * d->target_columns + j];
        if (d->target_mean && d->target_std)
            normalize(y - d->target_columns, d->target_mean, d->target_std, d->target_columns);
    }
}

void ht_dataset_shuffle(const struct ht_dataset *d, uint64_t seed, uint64_t epoch, uint32_t *order)
{
    size_t n = d->count[HT_TRAIN];
    ht_rng_permutation(seed, HT_RNG_STREAM(HT_RNG_SHUFFLE, epoch), order, n);
    for (size_t i = 0; i < n; i++)
        order[i] = d->index[HT_TRAIN][order[i]];
}
