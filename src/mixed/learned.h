/* Widths learned by gradient under a penalty on what they cost. */
#ifndef HT_MIXED_LEARNED_H
#define HT_MIXED_LEARNED_H

#include "mixed/analysis.h"

struct ht_mixed_learning {
    enum ht_mixed_unit unit; /* of the penalty */
    double penalty;          /* beta */
    /* 0: beta * cost / cost of the widest network is added to the loss, as HGQ does (Sun et al.
     * 2024, arXiv 2405.00645); else beta * max(0, (cost - budget) / cost of the widest)^2, as
     * Uhlich et al. 2020 do (arXiv 1905.11452). */
    uint64_t budget;
    /* NULL, or told after each epoch (from 1). */
    void (*epoch)(void *user, int epoch, double train_loss, double cost);
    void *user;
};

/* Trains the experiment's network, from train.from if given, with widths between the narrowest and
 * the widest of the table that are parameters of their own. learned [n_slots]: the real widths they
 * end at; *ret: what the trained network gives on the validation part.
 *
 * For a choice under a budget the table's cells get sensitivities that follow from them: rounding
 * errors fall by 4 with each bit, and where learning ends a bit more takes as much off the loss as
 * it adds to the penalty; so the loss of a slot at w bits is (dcost/dbits) 4^(learned - w) / ln 4,
 * but for a factor that all have in common. HT_ERR_DIVERGED when the loss is not finite. */
enum ht_status ht_mixed_learn(const struct ht_mixed_analysis *a, struct ht_mixed_table *t,
                              const struct ht_mixed_learning *o, double *learned,
                              struct ht_evaluation *ret, struct ht_error *err);

/* The width next to each learned one. */
void ht_mixed_nearest(const struct ht_mixed_table *t, const double *learned, size_t *choice);

#endif
