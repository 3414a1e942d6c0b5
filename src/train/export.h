/* Writing the integer model of a trained network, and checking what was written. */
#ifndef HT_TRAIN_EXPORT_H
#define HT_TRAIN_EXPORT_H

#include "train/session.h"

struct ht_export_report {
    struct ht_parity parity; /* over `split` */
    size_t model_bytes;
    int accumulator_bits, product_bits; /* of the widest layer: ht_qlayer_accumulators */
    const char *split;                  /* static: "test", ... */
};

/* Lowers a trained model, saves it to path, reads the file back, and holds that against the
 * fake-quant network (quantized, any batch) over a whole split. HT_ERR_THRESHOLD when an output
 * differs; *ret is valid then too. */
enum ht_status ht_export_model(struct ht_export_report *ret, const struct ht_experiment *e,
                               const struct ht_model *model, const struct ht_objective *objective,
                               struct ht_network *network, const struct ht_dataset *d,
                               double validation_score, const char *path, struct ht_error *err);

/* For the writers of src/export: the integer model of a network from a checkpoint, *ret owned, when
 * it equals the fake-quant network over a whole split. HT_ERR_THRESHOLD as above, without *ret. Of
 * a float32 network: a model without layers that says what goes with it, and a report of its score
 * alone. */
enum ht_status ht_export_lowered(struct ht_qmodel **ret, struct ht_export_report *report,
                                 struct ht_session *session, struct ht_error *err);

/* The same as ht_export_model for a network from a checkpoint; HT_ERR_CONFIG if it is not a
 * quantized one (yet). */
enum ht_status ht_export_session(struct ht_export_report *ret, struct ht_session *session,
                                 const char *path, struct ht_error *err);

#endif
