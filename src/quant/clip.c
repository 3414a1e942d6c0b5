#include "quant/clip.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/vectorized.h"

#define LANES 16

/* --- percentiles --- */

/* What the largest are looked for among. */
enum view { VALUES, NEGATED, MAGNITUDES };

static inline ht_real see(ht_real x, enum view view)
{
    return view == NEGATED || (view == MAGNITUDES && x < 0) ? -x : x;
}

/* In the order of the values. */
static uint32_t key_of(ht_real x)
{
    const float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static double value_of(uint32_t key)
{
    const uint32_t bits = key >> 31 ? key & 0x7fffffffu : ~key;
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

/* The key with `rank` smaller ones in front of it, digit by digit: three passes, no copy. */
static uint32_t select_key(const ht_real *x, size_t n, size_t rank, enum view view)
{
    static const struct {
        int shift, bits;
    } digits[] = {{21, 11}, {10, 11}, {0, 10}};
    uint32_t prefix = 0, known = 0;
    for (size_t d = 0; d < 3; d++) {
        const uint32_t mask = (1u << digits[d].bits) - 1;
        size_t counts[2048] = {0};
        for (size_t i = 0; i < n; i++) {
            const uint32_t key = key_of(see(x[i], view));
            if ((key & known) == prefix)
                counts[key >> digits[d].shift & mask]++;
        }
        uint32_t digit = 0;
        while (digit < mask && rank >= counts[digit])
            rank -= counts[digit++];
        prefix |= digit << digits[d].shift;
        known |= mask << digits[d].shift;
    }
    return prefix;
}

/* The value with `rank` smaller ones in front of it, and the one behind it. */
static void select_pair(const ht_real *x, size_t n, size_t rank, enum view view, double pair[2])
{
    const uint32_t key = select_key(x, n, rank, view);
    uint32_t next = UINT32_MAX;
    size_t up_to = 0; /* keys that are not larger */
    for (size_t i = 0; i < n; i++) {
        const uint32_t k = key_of(see(x[i], view));
        if (k <= key)
            up_to++;
        else if (k < next)
            next = k;
    }
    pair[0] = value_of(key);
    pair[1] = up_to > rank + 1 || next == UINT32_MAX ? pair[0] : value_of(next);
}

#define FEW ((size_t)32)

/* The same from the end, where few are larger: usual for the weights of a neuron. */
static void select_near_end(const ht_real *x, size_t n, size_t rank, enum view view, double pair[2])
{
    ht_real top[FEW]; /* the largest so far, ascending */
    const size_t kept = n - rank;
    for (size_t i = 0; i < n; i++) {
        const ht_real v = see(x[i], view);
        size_t at = i < kept ? i : 0;
        if (i >= kept && !(v > top[0]))
            continue;
        for (; i < kept && at > 0 && top[at - 1] > v; at--)
            top[at] = top[at - 1];
        for (; i >= kept && at + 1 < kept && top[at + 1] < v; at++)
            top[at] = top[at + 1];
        top[at] = v;
    }
    pair[0] = (double)top[0];
    pair[1] = (double)top[kept > 1 ? 1 : 0];
}

static double percentile_of(const ht_real *x, size_t n, double percentile, enum view view)
{
    const double at = percentile / 100 * (double)(n - 1);
    const size_t rank = (size_t)at;
    double pair[2];
    if (n - rank <= FEW)
        select_near_end(x, n, rank, view, pair);
    else
        select_pair(x, n, rank, view, pair);
    return pair[0] + (at - (double)rank) * (pair[1] - pair[0]);
}

struct ht_clip ht_clip_percentile(const ht_real *x, size_t n, double percentile, bool symmetric)
{
    if (symmetric) {
        const ht_real hi = (ht_real)percentile_of(x, n, percentile, MAGNITUDES);
        return (struct ht_clip){-hi, hi};
    }
    const ht_real hi = (ht_real)percentile_of(x, n, percentile, VALUES);
    const ht_real lo = -(ht_real)percentile_of(x, n, percentile, NEGATED);
    return (struct ht_clip){lo < 0 ? lo : 0, hi > 0 ? hi : 0};
}

/* --- OCTAV --- */

struct tails {
    double above, below;     /* sum of the values beyond the clip */
    double n_above, n_below; /* their number */
};

/* Beyond lo..hi; of magnitudes if symmetric. */
HT_VECTORIZED static struct tails measure_tails(const ht_real *x, size_t n, struct ht_clip clip,
                                                bool symmetric)
{
    ht_real above[LANES] = {0}, below[LANES] = {0}, n_above[LANES] = {0}, n_below[LANES] = {0};
    const ht_real lo = symmetric ? -clip.hi : clip.lo, hi = clip.hi;
    for (size_t i = 0; i < n; i += LANES) {
        ht_real v[LANES] = {0}; /* the rest of the last ones is inside */
        memcpy(v, x + i, (n - i < LANES ? n - i : LANES) * sizeof *v);
        for (size_t j = 0; j < LANES; j++) {
            const ht_real a = v[j] > hi ? (ht_real)1 : 0, b = v[j] < lo ? (ht_real)1 : 0;
            above[j] += v[j] * a;
            below[j] += v[j] * b;
            n_above[j] += a;
            n_below[j] += b;
        }
    }
    struct tails t = {0, 0, 0, 0};
    for (size_t j = 0; j < LANES; j++) {
        t.above += (double)above[j];
        t.below += (double)below[j];
        t.n_above += (double)n_above[j];
        t.n_below += (double)n_below[j];
    }
    if (symmetric) { /* both tails are one, of magnitudes */
        t.above -= t.below;
        t.n_above += t.n_below;
        t.below = t.n_below = 0;
    }
    return t;
}

static size_t count_zeros(const ht_real *x, size_t n)
{
    size_t zeros = 0;
    for (size_t i = 0; i < n; i++)
        zeros += x[i] == 0;
    return zeros;
}

/* Sakr et al. 2022, arXiv 2206.06501, eq. 6: from the mean magnitude on,
 *   s' = E[|x|; |x| > s] / (c P(0 < |x| <= s) + P(|x| > s)),   c = (step / s)^2 / 12.
 * Theirs is c = 4^-B / 3 for a step of 2 s / 2^B; the grids here have their own steps. An affine
 * grid has two ends and the step (hi - lo) / N: the same two derivatives set to zero give
 *   hi' = (E[x; x > hi] + c P lo) / (c P + P(x > hi)), and lo' alike, with c = 1 / (12 N^2);
 * for lo = 0 that is their unsigned case. A tail that is empty leaves its end where it is. */
struct ht_clip ht_clip_octav(const ht_real *x, size_t n, const struct ht_grid *grid)
{
    const bool symmetric = !grid->has_zero_point;
    const double levels = (double)(grid->n_levels - 1);
    const double step = symmetric ? (grid->hi - grid->lo) / levels / grid->hi : 1 / levels;
    const double exact = ht_grid_has_level(grid, 0) ? (double)count_zeros(x, n) : 0;
    struct ht_clip clip = {0, 0};
    struct tails t = measure_tails(x, n, clip, symmetric);
    clip.hi = (ht_real)(t.n_above > 0 ? t.above / t.n_above : 0);
    clip.lo = (ht_real)(t.n_below > 0 ? t.below / t.n_below : 0);
    for (int i = 0; i < 50; i++) {
        t = measure_tails(x, n, clip, symmetric);
        const double inside = (double)n - exact - t.n_above - t.n_below;
        const double noise = step * step / 12 * (inside > 0 ? inside : 0);
        const double lo = symmetric ? 0 : (double)clip.lo;
        ht_real new_hi = clip.hi, new_lo = clip.lo;
        if (t.n_above > 0)
            new_hi = (ht_real)((t.above + noise * lo) / (noise + t.n_above));
        if (t.n_below > 0)
            new_lo = (ht_real)((t.below + noise * (double)clip.hi) / (noise + t.n_below));
        const double moved = fabs((double)(new_hi - clip.hi)) + fabs((double)(new_lo - clip.lo));
        clip.hi = new_hi;
        clip.lo = new_lo;
        if (!(moved > 1e-6 * (double)(clip.hi - clip.lo)))
            break;
    }
    if (symmetric)
        clip.lo = -clip.hi;
    return clip;
}
