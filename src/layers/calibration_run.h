/* Running the calibration batches through a network: what calibrate.c and adaround.c share. */
#ifndef HT_LAYERS_CALIBRATION_RUN_H
#define HT_LAYERS_CALIBRATION_RUN_H

#include "layers/calibrate.h"

struct ht_calibration_run {
    struct ht_graph *graph;
    struct ht_node *x;
    struct ht_node **blocks; /* [n_blocks] what each of them gives */
};

/* rows: of the largest batch. Zero-initialized by init; finish it whatever init returned. */
enum ht_status ht_calibration_run_init(struct ht_calibration_run *n, struct ht_model *m,
                                       size_t rows, enum ht_form form, struct ht_error *err);
void ht_calibration_run_finish(struct ht_calibration_run *n);

/* Batch `index` forward in eval mode; returns its rows. */
size_t ht_calibration_run_batch(struct ht_calibration_run *n,
                                const struct ht_calibration_data *data, size_t index);

/* After a batch of `rows` in the quantized form: what enters block `index`, as real values.
 * x: [rows, in]. */
void ht_calibration_run_entering(const struct ht_calibration_run *n, const struct ht_model *m,
                                 size_t index, size_t rows, ht_real *x);

#endif
