#include <math.h>
#include <stdint.h>
#include <string.h>

#include "quant/clip.h"

#define BINS HT_HISTOGRAM_BINS

/* --- building --- */

static void merge_pairs(ht_real *bins)
{
    for (size_t i = 0; i < BINS / 2; i++)
        bins[i] = bins[2 * i] + bins[2 * i + 1];
    for (size_t i = BINS / 2; i < BINS; i++)
        bins[i] = 0;
}

/* Until max_abs is inside. Values too small for a width of their own count as zeros. */
static void widen(ht_real *h, ht_real max_abs)
{
    if (!(max_abs > (ht_real)1e-30))
        return;
    if (h[0] == 0)
        h[0] = max_abs / (ht_real)BINS;
    while (h[0] * (ht_real)BINS < max_abs) {
        h[0] *= 2;
        merge_pairs(h + 1);
        merge_pairs(h + 1 + BINS);
    }
}

void ht_histogram_add(ht_real *h, const ht_real *x, size_t n, ht_real max_abs, ht_real share)
{
    uint32_t counts[2][HT_HISTOGRAM_BINS] = {{0}};
    if (!isfinite(max_abs)) /* training has diverged, which is told elsewhere */
        return;
    widen(h, max_abs);
    const ht_real width = h[0] > 0 ? h[0] : 1, last = (ht_real)(BINS - 1);
    for (size_t i = 0; i < n; i++) {
        const ht_real at = (x[i] < 0 ? -x[i] : x[i]) / width;
        counts[x[i] < 0][at < last ? (size_t)at : BINS - 1]++;
    }
    for (size_t i = 0; i < 2 * BINS; i++) {
        const ht_real seen = (ht_real)counts[i / BINS][i % BINS] / (ht_real)n;
        h[1 + i] += share * (seen - h[1 + i]);
    }
}

/* --- reading --- */

/* The bins in the order of their values, or of their magnitudes. */
struct row {
    double bins[2 * HT_HISTOGRAM_BINS];
    size_t zero, first, end; /* where 0 lies; the first and behind the last that is not empty */
};

static void read_row(struct row *r, const ht_real *h, bool symmetric)
{
    const ht_real *positive = h + 1, *negative = h + 1 + BINS;
    r->zero = symmetric ? 0 : BINS;
    for (size_t i = 0; i < BINS; i++) {
        r->bins[r->zero + i] = (double)positive[i] + (symmetric ? (double)negative[i] : 0);
        if (!symmetric)
            r->bins[BINS - 1 - i] = (double)negative[i];
    }
    r->first = r->zero;
    r->end = r->zero;
    for (size_t i = r->zero; i < r->zero + BINS; i++)
        if (r->bins[i] > 0)
            r->end = i + 1;
    for (size_t i = r->zero; i-- > 0;)
        if (r->bins[i] > 0)
            r->first = i;
}

static struct ht_clip clip_at(const struct row *r, const ht_real *h, double first, double end)
{
    const double zero = (double)r->zero, width = (double)h[0];
    struct ht_clip c = {(ht_real)((first - zero) * width), (ht_real)((end - zero) * width)};
    if (r->zero == 0)
        c.lo = -c.hi;
    return c;
}

struct ht_clip ht_histogram_ends(const ht_real *h, bool symmetric)
{
    struct row r;
    read_row(&r, h, symmetric);
    return clip_at(&r, h, (double)r.first, (double)r.end);
}

/* --- percentile: linear within a bin --- */

struct ht_clip ht_histogram_percentile(const ht_real *h, double percentile, bool symmetric)
{
    struct row r;
    double total = 0, above = 0, below = 0;
    read_row(&r, h, symmetric);
    for (size_t i = r.first; i < r.end; i++)
        total += r.bins[i];
    const double tail = (1 - percentile / 100) * total;
    size_t end = r.end, first = r.first;
    while (end > r.zero && above + r.bins[end - 1] <= tail)
        above += r.bins[--end];
    while (first < r.zero && below + r.bins[first] <= tail)
        below += r.bins[first++];
    const double cut_above = end > r.zero ? (tail - above) / r.bins[end - 1] : 0;
    const double cut_below = first < r.zero ? (tail - below) / r.bins[first] : 0;
    return clip_at(&r, h, (double)first + cut_below, (double)end - cut_above);
}

/* --- Kullback-Leibler divergence --- */

struct sums {
    double share[2 * HT_HISTOGRAM_BINS + 1], entropy[2 * HT_HISTOGRAM_BINS + 1];
    uint32_t used[2 * HT_HISTOGRAM_BINS + 1]; /* bins that are not empty */
};

static double self_entropy(double p)
{
    return p > 0 ? p * log(p) : 0;
}

static void add_up(struct sums *s, const struct row *r)
{
    s->share[r->first] = s->entropy[r->first] = 0;
    s->used[r->first] = 0;
    for (size_t i = r->first; i < r->end; i++) {
        s->share[i + 1] = s->share[i] + r->bins[i];
        s->entropy[i + 1] = s->entropy[i] + self_entropy(r->bins[i]);
        s->used[i + 1] = s->used[i] + (r->bins[i] > 0);
    }
}

/* Migacz 2017: P is the bins first..end, with all beyond added to the outermost ones; Q the same
 * bins without that, made `levels` groups, each of which spreads over its bins that are not empty.
 * Sums over bins are differences of running sums, so that a candidate costs a step for each level.
 */
static double divergence(const struct row *r, const struct sums *s, size_t first, size_t end,
                         size_t levels)
{
    const size_t n = end - first;
    const double total = s->share[r->end], inside = s->share[end] - s->share[first];
    const double below = s->share[first], above = total - s->share[end];
    const double outer_first = r->bins[first], outer_last = r->bins[end - 1];
    if (!(inside > 0) || (below > 0 && !(outer_first > 0)) || (above > 0 && !(outer_last > 0)))
        return INFINITY; /* P where Q is empty */
    const double entropy = s->entropy[end] - s->entropy[first] + self_entropy(outer_first + below) -
                           self_entropy(outer_first) + self_entropy(outer_last + above) -
                           self_entropy(outer_last);
    double cross = 0;
    for (size_t g = 0; g < levels; g++) { /* bin i of n goes to group i * levels / n */
        const size_t from = first + (g * n + levels - 1) / levels;
        const size_t to = first + ((g + 1) * n + levels - 1) / levels;
        const double sum = s->share[to] - s->share[from];
        const double p = sum + (g == 0 ? below : 0) + (g + 1 == levels ? above : 0);
        if (sum > 0)
            cross += p * log(sum / (double)(s->used[to] - s->used[from]));
    }
    return (entropy - cross) / total + log(inside) - log(total);
}

#define CANDIDATES ((size_t)128)

/* Candidates: the whole, then 1/128 of it less each time (both ends in proportion), while there are
 * as many bins as levels. The larger of equal ones wins. */
struct ht_clip ht_histogram_kl(const ht_real *h, const struct ht_grid *grid)
{
    struct row r;
    struct sums s;
    read_row(&r, h, !grid->has_zero_point);
    add_up(&s, &r);
    const size_t levels =
        (size_t)(grid->has_zero_point ? grid->n_levels : (grid->n_levels + 1) / 2);
    const size_t above = r.end - r.zero, below = r.zero - r.first;
    size_t best_first = r.first, best_end = r.end;
    double least = INFINITY;
    for (size_t k = CANDIDATES; k > 0; k--) {
        const size_t first = r.zero - (below * k + CANDIDATES - 1) / CANDIDATES;
        const size_t end = r.zero + (above * k + CANDIDATES - 1) / CANDIDATES;
        if (end - first < levels)
            break;
        const double d = divergence(&r, &s, first, end, levels);
        if (d < least) {
            least = d;
            best_first = first;
            best_end = end;
        }
    }
    return clip_at(&r, h, (double)best_first, (double)best_end);
}
