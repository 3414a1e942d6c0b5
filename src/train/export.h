/* Writing the integer model of a trained network, and checking what was written. */
#ifndef HT_TRAIN_EXPORT_H
#define HT_TRAIN_EXPORT_H

#include "train/session.h"

struct ht_export_report {
    struct ht_parity parity; /* over `split` */
    size_t model_bytes;
    const char *split; /* static: "test", ... */
};

/* HT_ERR_CONFIG for an unknown format (with the nearest name) and for those not built yet. */
enum ht_status ht_export_check_format(const char *format, struct ht_error *err);

/* Saves to path, reads the file back, and compares it with the fake-quant network over a whole
 * split. HT_ERR_THRESHOLD when an output differs; *ret is valid then too. */
enum ht_status ht_export_model(struct ht_export_report *ret, struct ht_session *session,
                               const char *path, struct ht_error *err);

#endif
