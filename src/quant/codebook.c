/* Codebooks: k-means of a layer's weights, then centroids that are trained (Deep Compression, Han
 * et al. 2016, arXiv 1510.00149, sec. 3). In every forward a centroid is an int8 level times the
 * tensor's scale, because that is what is exported: level = rne(centroid / scale),
 * scale = max|centroid| / 127. */
#include <string.h>

#include "quant/tables.h"

#define MAX_CENTROIDS  16
#define MAX_ITERATIONS 100

static int count_of(const struct ht_quantizer *q)
{
    return 1 << q->grid.bits;
}

/* One step of Lloyd's algorithm on ascending centroids, which stay ascending. Says whether one
 * moved; a centroid without weights stays. */
static bool move_to_means(ht_real *centroid, int n_centroids, const ht_real *x, size_t n)
{
    ht_real middle[MAX_CENTROIDS];
    double sum[MAX_CENTROIDS] = {0};
    size_t count[MAX_CENTROIDS] = {0};
    bool moved = false;
    for (int k = 0; k + 1 < n_centroids; k++)
        middle[k] = (centroid[k] + centroid[k + 1]) / 2;
    for (size_t i = 0; i < n; i++) {
        int nearest = 0;
        for (int k = 0; k + 1 < n_centroids; k++)
            nearest += x[i] > middle[k];
        sum[nearest] += (double)x[i];
        count[nearest]++;
    }
    for (int k = 0; k < n_centroids; k++) {
        const ht_real mean = count[k] ? (ht_real)(sum[k] / (double)count[k]) : centroid[k];
        moved |= mean != centroid[k];
        centroid[k] = mean;
    }
    return moved;
}

/* Linear initialization over [min, max]: large weights matter more, and it keeps levels for them
 * (sec. 3.2). */
void ht_codebook_observe(struct ht_quantizer *q, size_t c, const struct ht_range_sample *sample)
{
    const struct ht_range_stats *stats = &sample->stats;
    const int n_centroids = count_of(q);
    const ht_real step = (stats->max - stats->min) / (ht_real)(n_centroids - 1);
    q->min[c] = stats->min;
    q->max[c] = stats->max;
    for (int k = 0; k < n_centroids; k++)
        q->centroid[k] = stats->min + (ht_real)k * step;
    for (int i = 0;
         i < MAX_ITERATIONS && move_to_means(q->centroid, n_centroids, sample->x, sample->n); i++)
        continue;
}

ht_real ht_codebook_scale(const struct ht_quantizer *q)
{
    ht_real most = 0;
    for (int k = 0; k < count_of(q); k++) {
        const ht_real magnitude = q->centroid[k] < 0 ? -q->centroid[k] : q->centroid[k];
        most = magnitude > most ? magnitude : most;
    }
    return most / 127 > HT_MIN_SCALE ? most / 127 : HT_MIN_SCALE;
}

/* Never NaN, whatever training has made of the centroid. */
static int level_of(ht_real centroid, ht_real scale)
{
    ht_real u = centroid / scale;
    u = u > -127 ? u : -127;
    return (int)ht_round_even(u < 127 ? u : 127);
}

void ht_codebook_refresh(struct ht_quantizer *q)
{
    int level[MAX_CENTROIDS], n = 0;
    for (int k = 0; k < count_of(q); k++) {
        const int new_level = level_of(q->centroid[k], q->effective[0]);
        int at = n;
        while (at > 0 && level[at - 1] >= new_level)
            at--;
        if (at < n && level[at] == new_level) /* two centroids in one place: the first has it */
            continue;
        memmove(level + at + 1, level + at, (size_t)(n - at) * sizeof *level);
        level[at] = new_level;
        q->centroid_of[new_level + 128] = (uint8_t)k;
        n++;
    }
    ht_grid_set_levels(&q->grid, level, n);
}

/* Eq. 3: the gradient of a centroid is the sum over its weights. */
void ht_codebook_add(const struct ht_quantizer *q, const ht_real *level, const ht_real *dy,
                     size_t n, ht_real *sums)
{
    for (size_t i = 0; i < n; i++)
        sums[q->centroid_of[(int)level[i] + 128]] += dy[i];
}

void ht_codebook_add_bytes(const struct ht_quantizer *q, const int8_t *level, const ht_real *dy,
                           size_t n, ht_real *sums)
{
    for (size_t i = 0; i < n; i++)
        sums[q->centroid_of[level[i] + 128]] += dy[i];
}
