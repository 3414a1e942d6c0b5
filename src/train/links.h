/* Fields of an experiment that say which trained network to take. In place of a path they may name
 * another variant of the same comparison, `variant:NAME`: the network of NAME with the same seed.
 */
#ifndef HT_TRAIN_LINKS_H
#define HT_TRAIN_LINKS_H

#include "base/error.h"
#include "config/experiment.h"

#define HT_MAX_LINKS 2 /* fields that may name a variant: rows of the table in links.c */

struct ht_link {
    const char *key;     /* "train.from" */
    const char *variant; /* NAME, borrowed from the experiment */
    size_t offset;       /* of the field's char[HT_PATH_LENGTH] in the experiment */
    struct ht_source_position at;
};

/* The fields of e that name a variant; returns how many. */
size_t ht_links_list(const struct ht_experiment *e, struct ht_link ret[HT_MAX_LINKS]);

/* An error about a link, with its place in the experiment file. Returns HT_ERR_CONFIG. */
enum ht_status ht_link_fail(const struct ht_experiment *e, const struct ht_link *link,
                            struct ht_error *err, const char *fmt, ...) HT_PRINTF(4, 5);

/* HT_ERR_CONFIG if e names a variant: outside of a comparison there are none. */
enum ht_status ht_links_refuse(const struct ht_experiment *e, struct ht_error *err);

#endif
