/* Batches out of a dataset. */
#include "data/loading.h"

#include "base/rng.h"
#include "base/vectorized.h"

/* Bytes to pixel values: (float)b / 255.0f, or (float)b / 127.5f - 1.0f; the divisions are part of
 * the numerics. 1 / 255 is written as two floats, of which the first has 16 bits: its product with
 * a byte is exact, and so the sum of both products is the rounded quotient, for each of the 256
 * bytes (tests/data/test_idx.c). Four times as fast as dividing. */
HT_VECTORIZED static void pixels(const uint8_t *bytes, size_t n, bool symmetric, ht_real *x)
{
    const float unit = symmetric ? 2 : 1, shift = symmetric ? 1 : 0;
    const float high = unit * 0x1.0102p-8f, low = unit * -0x1.fdfdfep-25f;
    for (size_t j = 0; j < n; j++)
        x[j] = (ht_real)((float)bytes[j] * high + (float)bytes[j] * low - shift);
}

HT_VECTORIZED static void normalize(ht_real *x, const float *mean, const float *std, size_t n)
{
    for (size_t j = 0; j < n; j++)
        x[j] = (x[j] - (ht_real)mean[j]) / (ht_real)std[j];
}

void ht_dataset_features(const struct ht_dataset *d, const uint32_t *samples, size_t count,
                         const struct ht_augment *augment, uint64_t seed, uint64_t epoch,
                         ht_real *x)
{
    ht_real table[256];
    uint8_t bytes[256];
    bool moved = augment && (augment->shift > 0 || augment->rotation > 0) && d->image_rows > 0;
    for (size_t b = 0; moved && b < 256; b++)
        bytes[b] = (uint8_t)b;
    if (moved)
        pixels(bytes, 256, d->symmetric_pixels, table);
    for (size_t i = 0; i < count; i++, x += d->features) {
        size_t at = samples[i] * d->features;
        struct ht_motion motion;
        if (moved)
            ht_augment_draw(&motion, augment, seed, epoch, samples[i]);
        if (d->bytes && moved)
            ht_augment_bytes(&motion, d->bytes + at, d->image_rows, d->image_columns, table, x);
        else if (d->bytes)
            pixels(d->bytes + at, d->features, d->symmetric_pixels, x);
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
