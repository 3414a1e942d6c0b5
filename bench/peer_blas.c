/* OpenBLAS, and what bounds everything on this machine: float multiply-adds in registers, reading
 * memory, and the products of a float training step with nothing else around them. Built with
 * -O3 -march=native and contraction, as a hand-tuned program would be. */
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker.h"

extern void openblas_set_num_threads(int);
extern char *openblas_get_config(void);

/* --- sgemm, and sgemv for one row --- */

struct product {
    int m, n, k;
    float *a, *b, *c; /* [m, k] [n, k] [m, n] */
};

static void call_sgemm(void *state)
{
    const struct product *p = state;
    if (p->m == 1) /* much faster than sgemm with one row */
        cblas_sgemv(CblasRowMajor, CblasNoTrans, p->n, p->k, 1, p->b, p->k, p->a, 1, 0, p->c, 1);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p->m, p->n, p->k, 1, p->a, p->k, p->b,
                    p->k, 0, p->c, p->n);
}

static void close_sgemm(void *state)
{
    struct product *p = state;
    free(p->a);
    free(p->b);
    free(p->c);
    free(p);
}

/* m, n, k */
static const char *open_sgemm(struct worker_case *c, const long *arguments)
{
    const size_t m = (size_t)arguments[0], n = (size_t)arguments[1], k = (size_t)arguments[2];
    struct product *p = calloc(1, sizeof *p);
    if (!p)
        return "out of memory";
    *p = (struct product){(int)m,
                          (int)n,
                          (int)k,
                          worker_noise_floats(m * k, 1),
                          worker_noise_floats(n * k, 1),
                          worker_noise_floats(m * n, 1)};
    if (!p->a || !p->b || !p->c) {
        close_sgemm(p);
        return "out of memory";
    }
    *c = (struct worker_case){p, call_sgemm, close_sgemm, (double)m * (double)n * (double)k};
    return NULL;
}

/* --- peaks --- */

typedef float vector __attribute__((vector_size(64)));
#define CHAINS     12 /* latency 4, two a cycle: 8 would do */
#define FMA_ROUNDS 1000
static volatile float start = 0.001f, factor = 0.5f, sink;

static void call_fma(void *state)
{
    (void)state;
    vector acc[CHAINS], x, y;
    for (int i = 0; i < 16; i++) {
        x[i] = factor;
        y[i] = start;
    }
    for (int j = 0; j < CHAINS; j++)
        acc[j] = y * (float)j; /* all different, so that none is left out */
    for (int r = 0; r < FMA_ROUNDS; r++)
        for (int j = 0; j < CHAINS; j++)
            acc[j] = acc[j] * x + y;
    for (int j = 1; j < CHAINS; j++)
        acc[0] += acc[j];
    sink = acc[0][0] + acc[0][15];
}

static void close_nothing(void *state)
{
    (void)state;
}

static const char *open_fma(struct worker_case *c, const long *arguments)
{
    (void)arguments;
    *c = (struct worker_case){NULL, call_fma, close_nothing, 16.0 * CHAINS * FMA_ROUNDS};
    return NULL;
}

struct stream {
    uint64_t *words;
    size_t n;
};
typedef uint64_t word_vector __attribute__((vector_size(64)));

static void call_read(void *state)
{
    const struct stream *s = state;
    const word_vector *v = (const word_vector *)s->words;
    word_vector sum[4] = {{0}};
    for (size_t i = 0; i + 4 <= s->n / 8; i += 4)
        for (size_t j = 0; j < 4; j++)
            sum[j] += v[i + j];
    sum[0] += sum[1] + sum[2] + sum[3];
    sink = (float)(sum[0][0] + sum[0][7]);
}

static void close_read(void *state)
{
    struct stream *s = state;
    free(s->words);
    free(s);
}

/* bytes */
static const char *open_read(struct worker_case *c, const long *arguments)
{
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return "out of memory";
    s->n = (size_t)arguments[0] / 256 * 32;
    s->words = worker_noise(8 * s->n);
    if (!s->words) {
        free(s);
        return "out of memory";
    }
    *c = (struct worker_case){s, call_read, close_read, 8 * (double)s->n};
    return NULL;
}

/* --- the floor under a float training step --- */

#define LAYERS 4
#define RATE   1e-9f /* the weights stay as they are over any number of calls */
struct floor {
    int width[LAYERS + 1], batch, adam;
    float *x[LAYERS + 1], *dx[LAYERS + 1];                 /* [batch, width] */
    float *w[LAYERS], *dw[LAYERS], *m[LAYERS], *v[LAYERS]; /* [out, in] */
};

static void forward(const struct floor *f, int i)
{
    const int in = f->width[i], out = f->width[i + 1];
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, f->batch, out, in, 1, f->x[i], in, f->w[i],
                in, 0, f->x[i + 1], out);
}

static void backward(const struct floor *f, int i)
{
    const int in = f->width[i], out = f->width[i + 1];
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, out, in, f->batch, 1, f->dx[i + 1], out,
                f->x[i], in, 0, f->dw[i], in);
    if (i)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, f->batch, in, out, 1, f->dx[i + 1],
                    out, f->w[i], in, 0, f->dx[i], in);
}

static void adam(size_t n, float *restrict w, const float *restrict g, float *restrict m,
                 float *restrict v)
{
    for (size_t i = 0; i < n; i++) {
        m[i] = 0.9f * m[i] + 0.1f * g[i];
        v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i];
        w[i] -= RATE * m[i] / (sqrtf(v[i]) + 1e-8f);
    }
}

static void call_floor(void *state)
{
    const struct floor *f = state;
    for (int i = 0; i < LAYERS; i++)
        forward(f, i);
    for (int i = LAYERS - 1; i >= 0; i--)
        backward(f, i);
    for (int i = 0; f->adam && i < LAYERS; i++)
        adam((size_t)f->width[i] * (size_t)f->width[i + 1], f->w[i], f->dw[i], f->m[i], f->v[i]);
}

static void close_floor(void *state)
{
    struct floor *f = state;
    for (int i = 0; i <= LAYERS; i++) {
        free(f->x[i]);
        free(f->dx[i]);
    }
    for (int i = 0; i < LAYERS; i++) {
        free(f->w[i]);
        free(f->dw[i]);
        free(f->m[i]);
        free(f->v[i]);
    }
    free(f);
}

/* hidden, batch, with Adam or not */
static const char *open_floor(struct worker_case *c, const long *arguments)
{
    const int h = (int)arguments[0];
    struct floor *f = calloc(1, sizeof *f);
    if (!f)
        return "out of memory";
    *f = (struct floor){
        .width = {784, h, h, h, 10}, .batch = (int)arguments[1], .adam = (int)arguments[2]};
    int made = 1;
    double work = 0;
    for (int i = 0; i <= LAYERS; i++) {
        const size_t n = (size_t)f->batch * (size_t)f->width[i];
        f->x[i] = worker_noise_floats(n, 1);
        f->dx[i] = worker_noise_floats(n, 1);
        made = made && f->x[i] && f->dx[i];
    }
    for (int i = 0; i < LAYERS; i++) {
        const size_t n = (size_t)f->width[i] * (size_t)f->width[i + 1];
        f->w[i] = worker_noise_floats(n, 0.1f);
        f->dw[i] = worker_noise_floats(n, 1);
        f->m[i] = calloc(n, sizeof(float));
        f->v[i] = calloc(n, sizeof(float));
        made = made && f->w[i] && f->dw[i] && f->m[i] && f->v[i];
        work += (double)f->batch * (double)n * (i ? 3 : 2);
    }
    if (!made) {
        close_floor(f);
        return "out of memory";
    }
    *c = (struct worker_case){f, call_floor, close_floor, work};
    return NULL;
}

int main(void)
{
    static const struct worker_kind kinds[] = {{"sgemm", 3, open_sgemm},
                                               {"fma", 0, open_fma},
                                               {"read", 1, open_read},
                                               {"floor", 3, open_floor}};
    openblas_set_num_threads(1);
    return worker_main(openblas_get_config(), kinds, sizeof kinds / sizeof *kinds);
}
