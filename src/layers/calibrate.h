/* What happens to a trained float network before it is quantized: post-training quantization, or a
 * better start for training on. */
#ifndef HT_LAYERS_CALIBRATE_H
#define HT_LAYERS_CALIBRATE_H

#include "layers/model.h"

/* Batches of the network's input. */
struct ht_calibration_data {
    size_t batches, max_rows;
    /* Fills x [max_rows, inputs] with batch `index`; returns its rows, 1..max_rows. */
    size_t (*load)(void *user, size_t index, ht_real *x);
    void *user;
};

/* Cross-layer equalization (Nagel et al. 2019, arXiv 1906.04721, sec. 4.1): rescales the neurons
 * between two layers so that their weights have equal ranges on both sides. The float network
 * computes the same function in eval mode. HT_ERR_CONFIG unless all activations between layers are
 * relu, leaky_relu or none. */
enum ht_status ht_model_equalize(struct ht_model *m, struct ht_error *err);

/* Finds all ranges from the batches: forward in eval mode, with quantizers that observe. */
enum ht_status ht_model_calibrate(struct ht_model *m, const struct ht_calibration_data *data,
                                  struct ht_error *err);

/* AdaRound: how the optimization goes. Row by row of weights, so the result does not depend on the
 * pool. */
struct ht_adaround {
    int iterations; /* of each layer */
    uint64_t seed;
    struct ht_pool *pool; /* NULL: one thread */
    /* NULL, or told now and then how many iterations of all layers are done; false stops. */
    bool (*go_on)(void *user, int64_t done);
    void *user;
};

/* After calibration, learns for each weight whether to round up or down (Nagel et al. 2020, arXiv
 * 2004.10568), and puts it on the level that was chosen, so that ordinary rounding finds that one:
 * their quantizers must keep their scales (`once`). A row that would lose against rounding to the
 * nearest on the batches is rounded to the nearest. HT_ERR_CONFIG for weights that are transformed,
 * rounded down, or have a learned table; HT_ERR_INTERRUPTED when go_on said stop, with weights that
 * are of no use. */
enum ht_status ht_model_adaround(struct ht_model *m, const struct ht_calibration_data *data,
                                 const struct ht_adaround *options, struct ht_error *err);

/* Means of the neurons' sums W x over the batches, one block after the other, in the float network.
 * sums: [all out]. */
enum ht_status ht_model_mean_sums(struct ht_model *m, const struct ht_calibration_data *data,
                                  double *sums, struct ht_error *err);

/* Bias correction (Nagel et al. 2019, sec. 4.2, from data): takes the mean error that quantization
 * gives each neuron's sum out of its bias, or of its running mean under batch normalization. Layer
 * after layer, so that each sees the corrected ones before it. sums: of ht_model_mean_sums, before
 * AdaRound moved weights. HT_ERR_CONFIG for a layer without bias and normalization. */
enum ht_status ht_model_correct_biases(struct ht_model *m, const struct ht_calibration_data *data,
                                       const double *sums, struct ht_error *err);

/* Sets the running statistics of batch normalization to the mean of those of the batches, weighted
 * by rows, as the quantized network has them now (Nagel et al. 2022, arXiv 2203.11086, sec. 4).
 * Dropout is off, no range moves. */
enum ht_status ht_model_reestimate_batchnorm(struct ht_model *m,
                                             const struct ht_calibration_data *data,
                                             struct ht_error *err);

#endif
