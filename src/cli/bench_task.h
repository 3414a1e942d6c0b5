/* A training on random data, made as `halftone train` makes one: what measurements of training, and
 * of the models that come from it, start from. */
#ifndef HT_CLI_BENCH_TASK_H
#define HT_CLI_BENCH_TASK_H

#include <stddef.h>

#include "base/error.h"
#include "config/config.h"
#include "data/dataset.h"
#include "train/trainer.h"

#define HT_BENCH_FEATURES 784
#define HT_BENCH_CLASSES  10

/* Random bytes and labels, in the shape of MNIST. Owned by the caller (ht_dataset_destroy). */
enum ht_status ht_bench_dataset(struct ht_dataset **ret, struct ht_error *err);

/* 784-hidden-hidden-hidden-10 with bias, relu and Adam. */
struct ht_bench_task {
    size_t hidden, batch;
    int bits; /* of the weights; 32: float32. Activations have 8 */
    unsigned threads;
};

/* What one training step multiplies: forward, gradient of the weights, and gradient of the input
 * but for the first layer's. */
double ht_bench_step_products(const struct ht_bench_task *task);

struct ht_bench_training {
    struct ht_config *config;
    struct ht_trainer *trainer;
};

/* dataset is borrowed until finish. */
enum ht_status ht_bench_training_init(struct ht_bench_training *t, const struct ht_bench_task *task,
                                      const struct ht_dataset *dataset, struct ht_error *err);
void ht_bench_training_finish(struct ht_bench_training *t);

#endif
