/* Loads a model once and runs it from several threads, each with a context of its own.
 *
 *     cc predict_from_threads.c $(pkg-config --cflags --libs halftone) -pthread -o
 * predict_from_threads
 *     ./predict_from_threads MODEL [THREADS]
 *
 * A server would give each of its threads the rows that its clients send; here they are made up.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <halftone/halftone.h>

#define ROWS        1000
#define BATCH       64
#define MAX_THREADS 16

struct caller {
    const struct ht_predictor *predictor; /* shared by all */
    const float *rows;                    /* [ROWS, features]: shared by all */
    float *outputs;                       /* [ROWS, outputs]: of this thread */
    struct ht_error error;
    int failed;
};

static void *predict(void *user)
{
    struct caller *c = user;
    struct ht_context *context;
    if (ht_context_create(&context, c->predictor, BATCH, 1, &c->error) != HT_OK) {
        c->failed = 1;
        return NULL;
    }
    ht_context_run(context, c->rows, ROWS, c->outputs);
    ht_context_destroy(context);
    return NULL;
}

int main(int argc, char **argv)
{
    struct ht_predictor *predictor;
    struct ht_error error;
    struct caller callers[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    int n = argc > 2 ? atoi(argv[2]) : 4, started = 0, different = 0, status = 0;

    if (argc < 2 || n < 1 || n > MAX_THREADS) {
        fprintf(stderr, "usage: %s MODEL [THREADS, 1 to %d]\n", argv[0], MAX_THREADS);
        return 2;
    }
    if (ht_predictor_open(&predictor, argv[1], BATCH, &error) != HT_OK) {
        fprintf(stderr, "%s\n", error.msg);
        return ht_error_exit_code(&error);
    }
    const size_t features = ht_predictor_features(predictor);
    const size_t outputs = ht_predictor_outputs(predictor);
    float *rows = malloc(ROWS * features * sizeof *rows);
    float *memory = malloc((size_t)(n + 1) * ROWS * outputs * sizeof *memory);
    if (!rows || !memory) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    for (size_t i = 0; i < ROWS * features; i++)
        rows[i] = (float)(i * 7919 % 256) / 64 - 2;

    for (; started < n; started++) {
        float *its_own = memory + (size_t)started * ROWS * outputs;
        callers[started] =
            (struct caller){.predictor = predictor, .rows = rows, .outputs = its_own};
        if (pthread_create(&threads[started], NULL, predict, &callers[started]) != 0)
            break;
    }
    float *alone = memory + (size_t)n * ROWS * outputs;
    ht_predictor_run(predictor, rows, ROWS, alone);
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        if (callers[i].failed) {
            fprintf(stderr, "%s\n", callers[i].error.msg);
            status = 1;
        } else if (memcmp(callers[i].outputs, alone, ROWS * outputs * sizeof *alone) != 0) {
            different++;
        }
    }
    printf("%d threads, %d rows each: %d of them got other outputs than this one\n", started, ROWS,
           different);
    free(rows);
    free(memory);
    ht_predictor_close(predictor);
    return status || started < n || different ? 1 : 0;
}
