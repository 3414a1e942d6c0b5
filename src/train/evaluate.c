#include "train/evaluate.h"

#include <string.h>

#include "base/alloc.h"

#define BATCH 256

enum ht_split ht_evaluation_split(const struct ht_dataset *d)
{
    if (d->count[HT_TEST])
        return HT_TEST;
    return d->count[HT_VALIDATION] ? HT_VALIDATION : HT_TRAIN;
}

const char *ht_split_name(enum ht_split split)
{
    static const char *const names[HT_N_SPLITS] = {"train", "validation", "test"};
    return names[split];
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

void ht_evaluate(struct ht_evaluation *ret, struct ht_network *network,
                 const struct ht_objective *objective, const struct ht_dataset *d,
                 enum ht_split split)
{
    const struct ht_run run = {.mode = HT_MODE_EVAL};
    const size_t n = d->count[split], step = ht_graph_max_batch(network->graph);
    struct ht_scorer scorer = {0};
    double loss = 0;
    for (size_t at = 0; at < n; at += step) {
        size_t count = smaller(step, n - at);
        ht_network_load(network, objective, d, d->index[split] + at, count, NULL, 0, 0);
        ht_graph_forward(network->graph, &run);
        loss += (double)network->loss->value[0] * (double)count;
        ht_scorer_add(&scorer, objective, network->y->value, network->target->value, count);
    }
    ret->n = n;
    ret->loss = n ? loss / (double)n : 0;
    ret->score = ht_scorer_result(&scorer, objective);
}

enum ht_status ht_evaluate_integer(struct ht_evaluation *ret, const struct ht_qmodel *model,
                                   const struct ht_objective *objective,
                                   const struct ht_kernels *kernels, struct ht_pool *pool,
                                   const struct ht_dataset *d, enum ht_split split,
                                   struct ht_error *err)
{
    const size_t n = d->count[split];
    struct ht_scorer scorer = {0};
    struct ht_runtime *runtime = NULL;
    struct ht_runner *runner = NULL;
    float *x = ht_calloc(BATCH * d->features, sizeof *x);
    float *y = ht_calloc(BATCH * model->outputs, sizeof *y);
    float *target = ht_calloc(BATCH * objective->target_columns, sizeof *target);
    enum ht_status status = ht_runtime_create(&runtime, model, kernels, err);
    if (status == HT_OK)
        status = ht_runner_create(&runner, runtime, BATCH, pool, err);
    if (!x || !y || !target)
        status = ht_fail_memory(err);
    for (size_t at = 0; status == HT_OK && at < n; at += BATCH) {
        const uint32_t *samples = d->index[split] + at;
        size_t count = smaller(BATCH, n - at);
        ht_dataset_features(d, samples, count, NULL, 0, 0, x);
        ht_objective_targets(objective, d, samples, count, x, target);
        ht_runner_run(runner, x, count, y);
        ht_scorer_add(&scorer, objective, y, target, count);
    }
    if (status == HT_OK) {
        ret->n = n;
        ret->loss = 0;
        ret->score = ht_scorer_result(&scorer, objective);
    }
    ht_runner_destroy(runner);
    ht_runtime_destroy(runtime);
    ht_free(x);
    ht_free(y);
    ht_free(target);
    return status;
}

/* Bits, not values: -0 and 0 differ, equal NaNs do not. */
static void compare_outputs(struct ht_parity *p, const float *a, const float *b, size_t outputs,
                            const uint32_t *samples, size_t count)
{
    for (size_t i = 0; i < count * outputs; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) == 0)
            continue;
        if (p->mismatched_outputs++ == 0)
            p->first_mismatch = samples[i / outputs];
    }
    p->outputs_compared += count * outputs;
}

enum ht_status ht_evaluate_parity(struct ht_parity *ret, struct ht_network *network,
                                  const struct ht_qmodel *model,
                                  const struct ht_objective *objective,
                                  const struct ht_kernels *kernels, const struct ht_dataset *d,
                                  enum ht_split split, struct ht_error *err)
{
    const struct ht_run run = {.mode = HT_MODE_EVAL};
    const size_t n = d->count[split], step = ht_graph_max_batch(network->graph);
    struct ht_scorer graph_scorer = {0}, integer_scorer = {0};
    struct ht_runtime *runtime = NULL;
    struct ht_runner *runner = NULL;
    float *y = ht_calloc(step * model->outputs, sizeof *y);
    if (!y)
        return ht_fail_memory(err);
    enum ht_status status = ht_runtime_create(&runtime, model, kernels, err);
    if (status == HT_OK)
        status = ht_runner_create(&runner, runtime, step, NULL, err);
    memset(ret, 0, sizeof *ret);
    for (size_t at = 0; status == HT_OK && at < n; at += step) {
        const uint32_t *samples = d->index[split] + at;
        size_t count = smaller(step, n - at);
        ht_network_load(network, objective, d, samples, count, NULL, 0, 0);
        ht_runner_run(runner, network->x->value, count, y);
        ht_scorer_add(&integer_scorer, objective, y, network->target->value, count);
        ht_graph_forward(network->graph, &run);
        ht_scorer_add(&graph_scorer, objective, network->y->value, network->target->value, count);
        compare_outputs(ret, network->y->value, y, model->outputs, samples, count);
    }
    ret->samples = n;
    ret->fake_quant_score = ht_scorer_result(&graph_scorer, objective);
    ret->integer_score = ht_scorer_result(&integer_scorer, objective);
    ht_runner_destroy(runner);
    ht_runtime_destroy(runtime);
    ht_free(y);
    return status;
}
