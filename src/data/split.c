#include "data/loading.h"

#include <assert.h>
#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"

/* Samples that a part should have: `wanted` as in the experiment, out of n. */
static enum ht_status part_size(const char *name, double wanted, size_t n, size_t *ret,
                                struct ht_error *err)
{
    if (!(wanted >= 0) || wanted > HT_MAX_SAMPLES || (wanted >= 1 && wanted != floor(wanted)))
        return ht_fail(err, HT_ERR_CONFIG,
                       "data.%s: %g is neither a whole number of samples nor a share below 1", name,
                       wanted);
    *ret = wanted >= 1 ? (size_t)wanted : (size_t)floor(wanted * (double)n + 0.5);
    if (wanted > 0 && *ret == 0)
        return ht_fail(err, HT_ERR_DATA, "data.%s: a share of %g of %zu samples is empty", name,
                       wanted, n);
    if (*ret >= n)
        return ht_fail(
            err, HT_ERR_DATA,
            "data.%s: %zu samples are wanted, but there are %zu, and training needs some", name,
            *ret, n);
    return HT_OK;
}

/* What a class can give when `reserve` of its samples should stay for the other parts. */
static size_t most(size_t count, size_t reserve)
{
    return count > reserve ? count - reserve : 0;
}

/* The class to give one more to (or, when !more, to take one from): the one that is farthest below
 * (above) its share. counts, quota: [n]. */
static size_t farthest(const size_t *counts, const size_t *quota, size_t n, double share,
                       size_t reserve, bool more)
{
    size_t best = n;
    double best_gap = 0;
    for (size_t c = 0; c < n; c++) {
        double gap = share * (double)counts[c] - (double)quota[c];
        bool possible = more ? quota[c] < most(counts[c], reserve) : quota[c] > 1;
        gap = more ? gap : -gap;
        if (possible && (best == n || gap > best_gap)) {
            best = c;
            best_gap = gap;
        }
    }
    assert(best < n);
    return best;
}

/* How many samples of each class go into a part of `wanted`: in proportion, but every class should
 * come at least once, and `reserve` samples of it should stay for the other parts.
 * counts, quota: [n]. */
static void make_quota(const size_t *counts, size_t n, size_t wanted, size_t reserve, size_t *quota)
{
    size_t total = 0, available = 0, sum = 0, classes = 0;
    for (size_t c = 0; c < n; c++) {
        total += counts[c];
        available += most(counts[c], reserve);
    }
    if (available < wanted)
        reserve = 0;
    for (size_t c = 0; c < n; c++)
        classes += counts[c] > reserve;
    double share = (double)wanted / (double)total;
    for (size_t c = 0; c < n; c++) {
        size_t cap = most(counts[c], reserve);
        quota[c] = (size_t)((double)wanted * (double)counts[c] / (double)total);
        if (quota[c] == 0 && wanted >= classes)
            quota[c] = 1;
        quota[c] = quota[c] < cap ? quota[c] : cap;
        sum += quota[c];
    }
    /* A few steps: each class is off by at most 1 + reserve. There always is a class: the sum is
     * too large only when wanted >= classes, and then some class has more than one. */
    for (; sum < wanted; sum++)
        quota[farthest(counts, quota, n, share, reserve, true)]++;
    for (; sum > wanted; sum--)
        quota[farthest(counts, quota, n, share, reserve, false)]--;
}

/* Moves `wanted` of pool[*n] into d->index[split], both ascending. */
static enum ht_status take_part(struct ht_dataset *d, enum ht_split split, size_t wanted,
                                uint64_t seed, size_t reserve, uint32_t *pool, size_t *n,
                                struct ht_error *err)
{
    size_t n_classes = d->labels ? d->n_classes : 1, kept = 0, taken = 0;
    uint32_t *order = ht_calloc(*n, sizeof *order);
    uint8_t *chosen = ht_calloc(*n, 1);
    size_t *counts = ht_calloc(2 * n_classes, sizeof *counts), *quota = counts + n_classes;
    d->index[split] = ht_calloc(wanted, sizeof **d->index);
    enum ht_status status = HT_OK;
    if (!order || !chosen || !counts || !d->index[split]) {
        status = ht_fail_memory(err);
        goto done;
    }
    for (size_t i = 0; i < *n; i++)
        counts[d->labels ? d->labels[pool[i]] : 0]++;
    make_quota(counts, n_classes, wanted, d->labels ? reserve : 0, quota);
    ht_rng_permutation(seed, HT_RNG_STREAM(HT_RNG_SPLIT, split), order, *n);
    for (size_t i = 0; i < *n; i++) {
        size_t *left = &quota[d->labels ? d->labels[pool[order[i]]] : 0];
        if (*left > 0) {
            --*left;
            chosen[order[i]] = 1;
        }
    }
    for (size_t i = 0; i < *n; i++)
        if (chosen[i])
            d->index[split][taken++] = pool[i];
        else
            pool[kept++] = pool[i];
    d->count[split] = taken;
    *n = kept;
done:
    ht_free(counts);
    ht_free(chosen);
    ht_free(order);
    return status;
}

enum ht_status ht_split_make(struct ht_dataset *d, size_t n_test_files,
                             const struct ht_dataset_options *options, struct ht_error *err)
{
    size_t n = d->n - n_test_files, wanted;
    enum ht_status status = HT_OK;
    uint32_t *pool = ht_calloc(n, sizeof *pool);
    if (!pool)
        return ht_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        pool[i] = (uint32_t)i;
    d->index[HT_TRAIN] = pool; /* what the other parts leave */
    if (n_test_files > 0) {
        d->index[HT_TEST] = ht_calloc(n_test_files, sizeof *pool);
        if (!d->index[HT_TEST])
            return ht_fail_memory(err);
        for (size_t i = 0; i < n_test_files; i++)
            d->index[HT_TEST][i] = (uint32_t)(n + i);
        d->count[HT_TEST] = n_test_files;
    } else {
        if ((status = part_size("test", options->test, n, &wanted, err)) == HT_OK)
            status = take_part(d, HT_TEST, wanted, options->seed, 2, pool, &n, err);
        if (status != HT_OK)
            return status;
    }
    if ((status = part_size("validation", options->validation, n, &wanted, err)) == HT_OK)
        status = take_part(d, HT_VALIDATION, wanted, options->seed, 1, pool, &n, err);
    d->count[HT_TRAIN] = n;
    return status;
}
