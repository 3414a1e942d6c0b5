/* What the files of the rules share. */
#ifndef HT_CONFIG_RULES_INTERNAL_H
#define HT_CONFIG_RULES_INTERNAL_H

#include <string.h>

#include "config/tables.h"

struct ht_rules {
    struct ht_reader *r;
    struct ht_experiment *e;
    enum ht_rules_mode mode;
};

/* Chooses what quantizers leave open, and checks each of them. */
void ht_rules_quantizers(const struct ht_rules *s);

/* The node that gave a field of the quantizer, or NULL. */
struct ht_tree_node *ht_rules_row_node(const struct ht_rules *s,
                                       const struct ht_quantizer_config *q,
                                       enum ht_quantizer_row row);

/* Where to report: the first of two fields that was written, else the quantizer's map. */
struct ht_place ht_rules_row_place(const struct ht_rules *s, const struct ht_quantizer_config *q,
                                   enum ht_quantizer_row row, enum ht_quantizer_row other);

/* Of estimators that train softly first (src/quant/soft.h). */
bool ht_rules_is_annealed(const char *estimator);

static inline bool is(const char *name, const char *value)
{
    return strcmp(name, value) == 0;
}

#endif
