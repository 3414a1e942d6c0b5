/* What bench/run measures of halftone itself: dense kernels, whole integer models, steps of
 * training, and the peak of the kernels' multiply instruction. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/bench_task.h"
#include "infer/runtime.h"
#include "qmodel/qmodel.h"
#include "train/run.h"
#include "worker.h"

#define WARM_STEPS 3 /* of training, before a model is made of it: ranges settle */
#define PEAK_LOOPS 1000

static struct ht_error error;
static struct ht_kernels kernels;
static const struct ht_dataset *dataset;

/* --- kernels: a dense layer from bytes to requantized bytes --- */

static const struct ht_kernel_quantizer quantizer = {0, 255, 0, HT_KERNEL_NEAREST_EVEN};

struct layer {
    struct ht_kernel_weights weights;
    struct ht_kernel_dense dense;
    int16_t level[256];
    uint8_t *a, *codes, *levels;
    void *packed;
    int32_t *init;
    float *multiplier;
};

static void call_layer(void *state)
{
    const struct layer *l = state;
    kernels.dense(&l->dense);
}

static void close_layer(void *state)
{
    struct layer *l = state;
    free(l->a);
    free(l->codes);
    free(l->levels);
    free(l->init);
    free(l->multiplier);
    ht_free(l->packed);
    free(l);
}

/* Two's complement; -1 and 1 at one bit. */
static void fill_levels(struct layer *l, int bits)
{
    const int count = 1 << bits;
    for (int code = 0; code < count; code++)
        l->level[code] = (int16_t)(bits == 1          ? 2 * code - 1
                                   : code < count / 2 ? code
                                                      : code - count);
}

/* bits, m, n, k */
static const char *open_layer(struct worker_case *c, const long *arguments)
{
    const int bits = (int)arguments[0];
    const size_t m = (size_t)arguments[1], n = (size_t)arguments[2], k = (size_t)arguments[3];
    struct layer *l = calloc(1, sizeof *l);
    if (!l)
        return "out of memory";
    l->a = worker_noise(m * k);
    l->codes = worker_noise(n * k * (size_t)bits / 8);
    l->levels = calloc(m * n, 1);
    l->init = calloc(n, sizeof *l->init);
    l->multiplier = calloc(n, sizeof *l->multiplier);
    fill_levels(l, bits);
    l->weights = (struct ht_kernel_weights){
        .n = n, .k = k, .bits = bits, .codes = l->codes, .level = l->level};
    l->packed = ht_calloc(kernels.packed_size(&l->weights), 1);
    if (!l->a || !l->codes || !l->levels || !l->init || !l->multiplier || !l->packed) {
        close_layer(l);
        return "out of memory";
    }
    for (size_t i = 0; i < n; i++) {
        l->init[i] = (int32_t)(i % 256);
        l->multiplier[i] = 1.0f / (float)(k << bits);
    }
    kernels.pack(&l->weights, l->packed);
    l->dense = (struct ht_kernel_dense){.m = m,
                                        .a = l->a,
                                        .weights = &l->weights,
                                        .packed = l->packed,
                                        .init = l->init,
                                        .multiplier = l->multiplier,
                                        .levels = l->levels,
                                        .quantizer = &quantizer};
    *c = (struct worker_case){l, call_layer, close_layer, (double)m * (double)n * (double)k};
    return NULL;
}

static void call_peak(void *state)
{
    (void)state;
    kernels.peak(PEAK_LOOPS);
}

static void close_nothing(void *state)
{
    (void)state;
}

static const char *open_peak(struct worker_case *c, const long *arguments)
{
    (void)arguments;
    if (!kernels.peak)
        return "this instruction set has no peak";
    *c = (struct worker_case){NULL, call_peak, close_nothing, (double)kernels.peak(PEAK_LOOPS)};
    return NULL;
}

/* --- training --- */

static void call_step(void *state)
{
    struct ht_bench_training *t = state;
    if (ht_trainer_step(t->trainer, &error) != HT_OK) {
        fprintf(stderr, "halftone: %s\n", error.msg);
        exit(1);
    }
}

static void close_training(void *state)
{
    ht_bench_training_finish(state);
    free(state);
}

/* hidden, bits, batch, threads */
static const char *open_training(struct worker_case *c, const long *arguments)
{
    const struct ht_bench_task task = {.hidden = (size_t)arguments[0],
                                       .bits = (int)arguments[1],
                                       .batch = (size_t)arguments[2],
                                       .threads = (unsigned)arguments[3]};
    struct ht_bench_training *t = calloc(1, sizeof *t);
    if (!t)
        return "out of memory";
    if (ht_bench_training_init(t, &task, dataset, &error) != HT_OK) {
        free(t);
        return error.msg;
    }
    *c = (struct worker_case){t, call_step, close_training, ht_bench_step_products(&task)};
    return NULL;
}

/* --- integer models, made as `halftone export` makes them --- */

struct inference {
    struct ht_qmodel *model;
    struct ht_pool *pool; /* NULL on one thread */
    struct ht_runtime *runtime;
    struct ht_runner *runner;
    size_t batch;
    float *x, *y;
};

static void call_inference(void *state)
{
    const struct inference *i = state;
    ht_runner_run(i->runner, i->x, i->batch, i->y);
}

static void close_inference(void *state)
{
    struct inference *i = state;
    ht_runner_destroy(i->runner);
    ht_runtime_destroy(i->runtime);
    ht_pool_destroy(i->pool);
    ht_qmodel_destroy(i->model);
    free(i->x);
    free(i->y);
    free(i);
}

static enum ht_status make_model(struct ht_qmodel **ret, size_t hidden, int bits)
{
    const struct ht_bench_task task = {.hidden = hidden, .batch = 64, .bits = bits, .threads = 1};
    struct ht_bench_training t;
    enum ht_status status = ht_bench_training_init(&t, &task, dataset, &error);
    for (int i = 0; i < WARM_STEPS && status == HT_OK; i++)
        status = ht_trainer_step(t.trainer, &error);
    if (status == HT_OK)
        status = ht_run_lower(ret, ht_config_experiment(t.config), ht_trainer_model(t.trainer),
                              ht_trainer_objective(t.trainer), dataset, 0, &error);
    ht_bench_training_finish(&t);
    return status;
}

/* hidden, bits, batch, threads */
static const char *open_inference(struct worker_case *c, const long *arguments)
{
    struct inference *i = calloc(1, sizeof *i);
    if (!i)
        return "out of memory";
    i->batch = (size_t)arguments[2];
    i->x = worker_noise_floats(i->batch * HT_BENCH_FEATURES, 1);
    i->y = calloc(i->batch * HT_BENCH_CLASSES, sizeof *i->y);
    enum ht_status status = i->x && i->y ? HT_OK : ht_fail_memory(&error);
    for (size_t at = 0; status == HT_OK && at < i->batch * HT_BENCH_FEATURES; at++)
        i->x[at] += 0.5f; /* pixels */
    if (status == HT_OK)
        status = make_model(&i->model, (size_t)arguments[0], (int)arguments[1]);
    if (status == HT_OK)
        status = ht_runtime_create(&i->runtime, i->model, &kernels, &error);
    if (status == HT_OK && arguments[3] != 1)
        status = ht_pool_create(&i->pool, (unsigned)arguments[3], &error);
    if (status == HT_OK)
        status = ht_runner_create(&i->runner, i->runtime, i->batch, i->pool, &error);
    if (status != HT_OK) {
        close_inference(i);
        return error.msg;
    }
    double products = 0;
    for (size_t l = 0; l < i->model->n_layers; l++)
        products += (double)i->model->layers[l].in * (double)i->model->layers[l].out;
    *c = (struct worker_case){i, call_inference, close_inference, products * (double)i->batch};
    return NULL;
}

int main(void)
{
    static const struct worker_kind kinds[] = {{"layer", 4, open_layer},
                                               {"peak", 0, open_peak},
                                               {"train", 4, open_training},
                                               {"infer", 4, open_inference}};
    char about[64];
    struct ht_dataset *d = NULL;
    enum ht_status status = ht_run_kernels(&kernels, &error);
    if (status == HT_OK)
        status = ht_bench_dataset(&d, &error);
    if (status != HT_OK) {
        fprintf(stderr, "halftone: %s\n", error.msg);
        return ht_error_exit_code(&error);
    }
    dataset = d;
    snprintf(about, sizeof about, "%s", kernels.isa);
    const int result = worker_main(about, kinds, sizeof kinds / sizeof *kinds);
    ht_dataset_destroy(d);
    return result;
}
