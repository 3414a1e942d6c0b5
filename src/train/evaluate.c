#include "train/evaluate.h"

#include <string.h>

#include "base/alloc.h"
#include "train/detection.h"

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

/* What is summed up over a split. */
struct tally {
    struct ht_scorer scorer;
    struct ht_detection detection;
};

static enum ht_status tally_init(struct tally *t, const struct ht_dataset *d, size_t n,
                                 struct ht_error *err)
{
    memset(&t->scorer, 0, sizeof t->scorer);
    return ht_detection_init(&t->detection, d->anomaly ? n : 0, err);
}

/* y, target: [count, ...] */
static void tally_add(struct tally *t, const struct ht_objective *o, const struct ht_dataset *d,
                      const uint32_t *samples, const ht_real *y, const ht_real *target,
                      size_t count)
{
    if (!d->anomaly) {
        ht_scorer_add(&t->scorer, o, y, target, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const ht_real *out = y + i * o->outputs, *wanted = target + i * o->target_columns;
        const bool anomaly = ht_dataset_is_anomaly(d, samples[i]);
        ht_detection_add(&t->detection, ht_objective_row_error(o, out, wanted), anomaly);
        if (!anomaly)
            ht_scorer_add(&t->scorer, o, out, wanted, 1);
    }
}

static void tally_result(struct ht_evaluation *ret, struct tally *t, const struct ht_objective *o,
                         size_t n)
{
    ret->n = n;
    ret->loss = 0;
    ret->score = ht_scorer_result(&t->scorer, o);
    ret->error = ht_scorer_error(&t->scorer, o);
    ret->auc = ht_detection_auc(&t->detection);
}

enum ht_status ht_evaluate(struct ht_evaluation *ret, struct ht_network *network,
                           const struct ht_objective *objective, const struct ht_dataset *d,
                           enum ht_split split, struct ht_error *err)
{
    const struct ht_run run = {.mode = HT_MODE_EVAL};
    const size_t n = d->count[split], step = ht_graph_max_batch(network->graph);
    struct tally tally;
    double loss = 0;
    enum ht_status status = tally_init(&tally, d, n, err);
    if (status != HT_OK)
        return status;
    for (size_t at = 0; at < n; at += step) {
        const uint32_t *samples = d->index[split] + at;
        size_t count = smaller(step, n - at);
        ht_network_load(network, objective, d, samples, count, NULL, 0, 0);
        ht_graph_forward(network->graph, &run);
        loss += (double)network->loss->value[0] * (double)count;
        tally_add(&tally, objective, d, samples, network->y->value, network->target->value, count);
    }
    tally_result(ret, &tally, objective, n);
    ret->loss = n ? loss / (double)n : 0;
    ht_detection_finish(&tally.detection);
    return HT_OK;
}

enum ht_status ht_evaluate_integer(struct ht_evaluation *ret, const struct ht_qmodel *model,
                                   const struct ht_objective *objective,
                                   const struct ht_kernels *kernels, struct ht_pool *pool,
                                   const struct ht_dataset *d, enum ht_split split,
                                   struct ht_error *err)
{
    const size_t n = d->count[split];
    struct tally tally;
    struct ht_runtime *runtime = NULL;
    struct ht_runner *runner = NULL;
    float *x = ht_calloc(BATCH * d->features, sizeof *x);
    float *y = ht_calloc(BATCH * model->outputs, sizeof *y);
    float *target = ht_calloc(BATCH * objective->target_columns, sizeof *target);
    enum ht_status status = tally_init(&tally, d, n, err);
    if (status == HT_OK)
        status = ht_runtime_create(&runtime, model, kernels, err);
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
        tally_add(&tally, objective, d, samples, y, target, count);
    }
    if (status == HT_OK)
        tally_result(ret, &tally, objective, n);
    ht_detection_finish(&tally.detection);
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
    struct ht_evaluation graph, integer;
    struct tally graph_tally, integer_tally = {0};
    struct ht_runtime *runtime = NULL;
    struct ht_runner *runner = NULL;
    float *y = ht_calloc(step * model->outputs, sizeof *y);
    enum ht_status status = tally_init(&graph_tally, d, n, err);
    if (status == HT_OK)
        status = tally_init(&integer_tally, d, n, err);
    if (status == HT_OK)
        status = ht_runtime_create(&runtime, model, kernels, err);
    if (status == HT_OK)
        status = ht_runner_create(&runner, runtime, step, NULL, err);
    if (!y)
        status = ht_fail_memory(err);
    memset(ret, 0, sizeof *ret);
    for (size_t at = 0; status == HT_OK && at < n; at += step) {
        const uint32_t *samples = d->index[split] + at;
        size_t count = smaller(step, n - at);
        ht_network_load(network, objective, d, samples, count, NULL, 0, 0);
        ht_runner_run(runner, network->x->value, count, y);
        tally_add(&integer_tally, objective, d, samples, y, network->target->value, count);
        ht_graph_forward(network->graph, &run);
        tally_add(&graph_tally, objective, d, samples, network->y->value, network->target->value,
                  count);
        compare_outputs(ret, network->y->value, y, model->outputs, samples, count);
    }
    tally_result(&graph, &graph_tally, objective, n);
    tally_result(&integer, &integer_tally, objective, n);
    ret->samples = n;
    ret->fake_quant_score = graph.score;
    ret->integer_score = integer.score;
    ret->integer_error = integer.error;
    ret->integer_auc = integer.auc;
    ht_detection_finish(&graph_tally.detection);
    ht_detection_finish(&integer_tally.detection);
    ht_runner_destroy(runner);
    ht_runtime_destroy(runtime);
    ht_free(y);
    return status;
}
