#include "train/latency.h"

#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "train/setup.h"

#define ROUNDS 25

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Rounds of about 4 ms each, so that the clock's grain and an interrupt do not matter. */
static double median_us(void (*call)(void *), void *user)
{
    double round[ROUNDS], started = now();
    size_t calls = 0;
    while (now() - started < 0.004 || calls < 3) {
        call(user);
        calls++;
    }
    for (int i = 0; i < ROUNDS; i++) {
        started = now();
        for (size_t k = 0; k < calls; k++)
            call(user);
        round[i] = (now() - started) / (double)calls;
    }
    qsort(round, ROUNDS, sizeof *round, ascending);
    return 1e6 * round[ROUNDS / 2];
}

struct integer_call {
    struct ht_runner *runner;
    float *x, *y;
};

static void run_integer(void *user)
{
    struct integer_call *c = user;
    ht_runner_run(c->runner, c->x, 1, c->y);
}

enum ht_status ht_latency_integer(double *us, const struct ht_qmodel *model,
                                  const struct ht_kernels *kernels, struct ht_error *err)
{
    struct ht_runtime *runtime = NULL;
    struct integer_call c = {NULL, ht_calloc(model->input.features, sizeof(float)),
                             ht_calloc(model->outputs, sizeof(float))};
    enum ht_status status = c.x && c.y ? HT_OK : ht_fail_memory(err);
    for (size_t i = 0; status == HT_OK && i < model->input.features; i++)
        c.x[i] = (float)(i % 7) / 7;
    if (status == HT_OK)
        status = ht_runtime_create(&runtime, model, kernels, err);
    if (status == HT_OK)
        status = ht_runner_create(&c.runner, runtime, 1, NULL, err);
    if (status == HT_OK)
        *us = median_us(run_integer, &c);
    ht_runner_destroy(c.runner);
    ht_runtime_destroy(runtime);
    ht_free(c.x);
    ht_free(c.y);
    return status;
}

static void run_float(void *user)
{
    const struct ht_run run = {.mode = HT_MODE_EVAL};
    ht_graph_forward(((struct ht_network *)user)->graph, &run);
}

enum ht_status ht_latency_float(double *us, const struct ht_experiment *e,
                                const struct ht_dataset *d, struct ht_error *err)
{
    struct ht_objective objective;
    struct ht_model *model = NULL;
    struct ht_network network = {0};
    enum ht_status status = ht_objective_init(&objective, e, d, err);
    if (status == HT_OK)
        status = ht_setup_model(&model, e, d->features, err);
    if (status == HT_OK)
        status = ht_network_init(&network, model, &objective, 1, HT_FORM_FLOAT, false, NULL, err);
    if (status == HT_OK)
        *us = median_us(run_float, &network);
    ht_network_finish(&network);
    ht_model_destroy(model);
    return status;
}
