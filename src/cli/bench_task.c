#include "cli/bench_task.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

/* More than a cache near the core holds, as with real data. */
#define SAMPLES 16384

static enum ht_status allocate(struct ht_dataset *d, struct ht_error *err)
{
    d->bytes = ht_calloc(d->n * d->features, 1);
    d->labels = ht_calloc(d->n, sizeof *d->labels);
    d->classes = ht_calloc(d->n_classes, sizeof *d->classes);
    d->index[HT_TRAIN] = ht_calloc(d->n, sizeof *d->index[HT_TRAIN]);
    const bool done = d->bytes && d->labels && d->classes && d->index[HT_TRAIN];
    return done ? HT_OK : ht_fail_memory(err);
}

enum ht_status ht_bench_dataset(struct ht_dataset **ret, struct ht_error *err)
{
    struct ht_dataset *d = ht_calloc(1, sizeof *d);
    if (!d)
        return ht_fail_memory(err);
    snprintf(d->name, sizeof d->name, "random");
    memset(d->hash, '0', sizeof d->hash - 1);
    d->n = d->count[HT_TRAIN] = SAMPLES;
    d->features = HT_BENCH_FEATURES;
    d->n_classes = HT_BENCH_CLASSES;
    const enum ht_status status = allocate(d, err);
    if (status != HT_OK) {
        ht_dataset_destroy(d);
        return status;
    }
    for (size_t i = 0; i < d->n * d->features; i += sizeof(struct ht_rng_block)) {
        const struct ht_rng_block r = ht_rng_block(1, HT_RNG_STREAM(HT_RNG_INIT, 0), i);
        memcpy(d->bytes + i, r.v, sizeof r.v);
    }
    for (size_t i = 0; i < d->n; i++) {
        d->labels[i] = (int32_t)ht_rng_below(1, HT_RNG_STREAM(HT_RNG_INIT, 1), i, d->n_classes);
        d->index[HT_TRAIN][i] = (uint32_t)i;
    }
    for (size_t i = 0; i < d->n_classes; i++)
        snprintf(d->classes[i], sizeof d->classes[i], "%zu", i);
    *ret = d;
    return HT_OK;
}

double ht_bench_step_products(const struct ht_bench_task *task)
{
    const double h = (double)task->hidden;
    const double first = HT_BENCH_FEATURES * h, others = 2 * h * h + h * HT_BENCH_CLASSES;
    return (double)task->batch * (2 * first + 3 * others);
}

/* What a user would write: all else is the default. */
static void print_experiment(struct ht_text *yaml, const struct ht_bench_task *task)
{
    ht_text_printf(yaml, "name: bench\nseed: 1\ndata: {name: random}\nmodel: {layers: [");
    for (int i = 0; i < 3; i++)
        ht_text_printf(yaml, "{dense: %zu}, relu, ", task->hidden);
    ht_text_printf(yaml, "{dense: %d}]}\n", HT_BENCH_CLASSES);
    if (task->bits < 32)
        ht_text_printf(yaml, "quant: {weights: {bits: %d}, activations: {bits: 8}}\n", task->bits);
    ht_text_printf(yaml, "train: {batch: %zu, optimizer: adam}\n", task->batch);
    ht_text_printf(yaml, "run: {threads: %u}\n", task->threads);
}

enum ht_status ht_bench_training_init(struct ht_bench_training *t, const struct ht_bench_task *task,
                                      const struct ht_dataset *dataset, struct ht_error *err)
{
    struct ht_text yaml = {0};
    *t = (struct ht_bench_training){NULL, NULL};
    print_experiment(&yaml, task);
    enum ht_status status = yaml.failed ? ht_fail_memory(err) : HT_OK;
    if (status == HT_OK)
        status =
            ht_config_parse(&t->config, "bench", ht_text_str(&yaml), yaml.len, NULL, 0, NULL, err);
    if (status == HT_OK)
        status = ht_trainer_create(&t->trainer, ht_config_experiment(t->config), dataset, ".", "{}",
                                   err);
    ht_text_finish(&yaml);
    if (status != HT_OK)
        ht_bench_training_finish(t);
    return status;
}

void ht_bench_training_finish(struct ht_bench_training *t)
{
    ht_trainer_destroy(t->trainer);
    ht_config_destroy(t->config);
    *t = (struct ht_bench_training){NULL, NULL};
}
