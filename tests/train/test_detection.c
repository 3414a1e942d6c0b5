#include "support.h"

#include <math.h>

#include "base/rng.h"
#include "train/detection.h"

struct pair {
    double score;
    bool anomaly;
};

static double auc(const struct pair *p, size_t n)
{
    struct ht_detection t;
    struct ht_error err;
    ASSERT_OK(ht_detection_init(&t, n, &err), err);
    for (size_t i = 0; i < n; i++)
        ht_detection_add(&t, p[i].score, p[i].anomaly);
    const double result = ht_detection_auc(&t);
    ht_detection_finish(&t);
    cr_assert_eq(ht_alloc_live(), 0);
    return result;
}

/* Every anomaly against every normal sample, as scikit-learn's roc_auc_score defines it. */
static double by_pairs(const struct pair *p, size_t n)
{
    double won = 0, pairs = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            if (p[i].anomaly && !p[j].anomaly) {
                pairs++;
                won += p[i].score > p[j].score ? 1 : p[i].score == p[j].score ? 0.5 : 0;
            }
    return won / pairs;
}

Test(detection, auc_by_hand)
{
    /* The example of scikit-learn's documentation: 0.75. */
    const struct pair p[] = {{0.1, false}, {0.4, false}, {0.35, true}, {0.8, true}};
    const struct pair best[] = {{2, true}, {1, false}, {1, false}, {3, true}};
    const struct pair worst[] = {{1, true}, {2, false}};
    const struct pair tied[] = {{5, true}, {5, false}, {5, false}, {5, true}, {5, false}};
    cr_assert_eq(auc(p, 4), 0.75);
    cr_assert_eq(auc(best, 4), 1);
    cr_assert_eq(auc(worst, 2), 0);
    cr_assert_eq(auc(tied, 5), 0.5);
}

Test(detection, auc_equals_all_pairs_with_ties)
{
    enum { N = 400 };
    static struct pair p[N];
    /* Few levels: nearly all scores are tied; many: nearly none. */
    static const uint64_t levels[] = {2, 7, 50, 1000000};
    for (size_t l = 0; l < 4; l++) {
        for (uint64_t i = 0; i < N; i++) {
            p[i].anomaly = ht_rng_below(3, HT_RNG_TEST, 2 * i, 4) == 0;
            p[i].score = (double)ht_rng_below(l, HT_RNG_TEST, 2 * i + 1, levels[l]) +
                         (p[i].anomaly ? (double)levels[l] / 4 : 0);
        }
        cr_assert_float_eq(auc(p, N), by_pairs(p, N), 1e-12, "%zu", l);
        cr_assert_gt(auc(p, N), 0.55);
    }
}

Test(detection, one_kind_alone_has_no_auc)
{
    const struct pair p[] = {{1, true}, {2, true}}, q[] = {{1, false}};
    cr_assert(isnan(auc(p, 2)));
    cr_assert(isnan(auc(q, 1)));
    cr_assert(isnan(auc(p, 0)));
}
