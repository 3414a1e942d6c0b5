/* Ternary weight networks (Li and Liu 2016, arXiv 1605.04711): weights are -alpha, 0 or +alpha.
 * Delta = 0.7 mean|w| (its eq. 6), alpha = mean of |w| over |w| > Delta (eq. 5). As u = w / alpha,
 * the quantizer rounds at Delta / alpha, not at 0.5. */
#include "base/vectorized.h"
#include "quant/tables.h"

#define LANES 16

/* Sum and number of the magnitudes above delta. */
HT_VECTORIZED static void measure_above(const ht_real *x, size_t n, ht_real delta, ht_real *sum,
                                        ht_real *count)
{
    ht_real lane[LANES] = {0};
    int above[LANES] = {0};
    int total = 0;
    for (size_t i = 0; i < n; i += LANES) {
        const size_t end = n - i < LANES ? n - i : LANES;
        for (size_t j = 0; j < end; j++) {
            const ht_real magnitude = x[i + j] < 0 ? -x[i + j] : x[i + j];
            lane[j] += magnitude > delta ? magnitude : 0;
            above[j] += magnitude > delta;
        }
    }
    *sum = 0;
    for (size_t j = 0; j < LANES; j++) {
        *sum += lane[j];
        total += above[j];
    }
    *count = (ht_real)total;
}

void ht_twn_observe(struct ht_quantizer *q, size_t c, const struct ht_range_sample *sample)
{
    const struct ht_range_stats *stats = &sample->stats;
    const ht_real delta = (ht_real)0.7 * stats->mean_abs;
    ht_real sum, count;
    measure_above(sample->x, sample->n, delta, &sum, &count);
    q->min[c] = stats->min;
    q->max[c] = stats->max;
    q->threshold[c] = delta;
    q->scale[c] = count > 0 && sum / count > HT_MIN_SCALE ? sum / count : HT_MIN_SCALE;
}
