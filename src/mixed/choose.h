/* One option for each stage so that the sum of the losses is least and that of the costs within a
 * budget: the multiple-choice knapsack problem. What a stage costs may depend on the option of the
 * stage before, as the bit operations of a layer depend on the width of what enters it. */
#ifndef HT_MIXED_CHOOSE_H
#define HT_MIXED_CHOOSE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct ht_choice {
    size_t stages, options, states; /* at least 1 each */
    const double *loss;             /* [stages, options]; INFINITY: not to be had */
    /* [stages, states, options] in the state that the stage before leaves; the first stage finds
     * state 0. At least one option of each stage is there; all costs together fit uint64_t. */
    const uint64_t *cost;
    const size_t *state; /* [stages, options] left for the next stage; NULL: always 0 */
};

/* The smallest cost there is. */
enum ht_status ht_choose_least(const struct ht_choice *c, uint64_t *ret, struct ht_error *err);

/* chosen[stages]: exact (but for the rounding of sums of losses). HT_ERR_CONFIG when the budget is
 * smaller than the smallest cost, which the message names; HT_ERR_MEMORY also when a problem is too
 * hard for exactness. */
enum ht_status ht_choose(const struct ht_choice *c, uint64_t budget, size_t *chosen,
                         struct ht_error *err);

#endif
