/* Which tensor of a file becomes which parameter of a model. */
#ifndef HT_IMPORT_MATCH_H
#define HT_IMPORT_MATCH_H

#include "import/tensors.h"
#include "layers/model.h"

/* Parameters of a block, as they are called in checkpoints. */
enum ht_import_slot {
    HT_SLOT_WEIGHT,
    HT_SLOT_BIAS,
    HT_SLOT_GAMMA,
    HT_SLOT_BETA,
    HT_SLOT_MEAN,
    HT_SLOT_VARIANCE,
    HT_SLOTS
};

struct ht_import_source {
    int tensor[HT_SLOTS]; /* index in the file; -1: none */
    bool transposed;      /* the weight is [in, out] */
    double epsilon;       /* of batch normalization; NAN: not told */
};

/* A source for each block; *ret owned (ht_free). By names, when each block finds a layer of its own
 * name in the file. Else each block takes the first layer of the file, in its order, that has its
 * shape and is not taken. map: "LAYER=NAME,LAYER.PART=TENSOR" says some or all, or NULL.
 * HT_ERR_CONFIG lists what the model wants and what the file has. */
enum ht_status ht_import_match(struct ht_import_source **ret, const struct ht_import_file *f,
                               const struct ht_model *m, const char *map, struct ht_error *err);

/* Fills the parameters and state of a float model. A bias in front of batch normalization goes into
 * its mean, and a gain below the smallest that is allowed into the row of weights; the network
 * computes the same. HT_ERR_MODEL for values that are not finite, and for negative variances. */
enum ht_status ht_import_apply(struct ht_model *m, const struct ht_import_file *f,
                               const struct ht_import_source *sources, struct ht_error *err);

/* "weight", "gamma", ...; static. */
const char *ht_import_slot_name(enum ht_import_slot slot);

#endif
