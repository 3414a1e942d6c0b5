#include "optim/hessian.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

struct probe {
    struct ht_params *params;
    const struct ht_span *span;
    const struct ht_trace_options *options;
    int index;       /* of the span */
    double h;        /* the step */
    ht_real *value;  /* [span->n] as it was */
    double *forward; /* [span->n] gradient at value + h v */
};

/* +-1 each with chance 1/2: a bit of a block of 128. */
static int sign(const struct probe *p, size_t sample, size_t i, struct ht_rng_block *block)
{
    if (i % 128 == 0)
        *block = ht_rng_block(p->options->seed, HT_RNG_STREAM(HT_RNG_PROBE, p->index),
                              (uint64_t)sample << 32 | i / 128);
    return block->v[i % 128 / 32] >> i % 32 & 1 ? 1 : -1;
}

static double unit(const struct probe *p, size_t i)
{
    return p->options->unit ? (double)p->options->unit[i] : 1;
}

/* Moves the span to value + direction * h * v and takes the gradient there. */
static void gradient_at(const struct probe *p, size_t sample, double direction)
{
    ht_real *value = p->params->value + p->span->offset;
    struct ht_rng_block block;
    for (size_t i = 0; i < p->span->n; i++)
        value[i] = (ht_real)((double)p->value[i] +
                             direction * p->h * unit(p, i) * sign(p, sample, i, &block));
    p->params->version++;
    p->options->gradient(p->options->user, sample);
}

/* v' H v */
static double quadratic_form(const struct probe *p, size_t sample)
{
    const ht_real *grad = p->params->grad + p->span->offset;
    struct ht_rng_block block;
    double sum = 0;
    gradient_at(p, sample, 1);
    for (size_t i = 0; i < p->span->n; i++)
        p->forward[i] = (double)grad[i];
    gradient_at(p, sample, -1);
    for (size_t i = 0; i < p->span->n; i++)
        sum += sign(p, sample, i, &block) * unit(p, i) * (p->forward[i] - (double)grad[i]);
    return sum / (2 * p->h);
}

static double root_mean_square(const ht_real *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum / (double)n);
}

static void measure(struct probe *p, struct ht_trace *ret)
{
    const double n = (double)p->options->samples;
    double sum = 0, square = 0;
    for (size_t s = 0; s < p->options->samples; s++) {
        const double v = quadratic_form(p, s);
        sum += v;
        square += v * v;
    }
    ret->mean = sum / n;
    const double variance = (square - sum * ret->mean) / (n - 1);
    ret->error = n > 1 ? sqrt((variance > 0 ? variance : 0) / n) : (double)NAN;
}

enum ht_status ht_hessian_trace(struct ht_trace *ret, struct ht_params *params, int span,
                                const struct ht_trace_options *options, struct ht_error *err)
{
    const struct ht_span *s = &params->spans[span];
    ht_real *value = params->value + s->offset;
    struct probe p = {.params = params, .span = s, .options = options, .index = span};
    enum ht_status status = HT_OK;
    const double size = options->unit ? 1 : root_mean_square(value, s->n);
    p.h = (options->step > 0 ? options->step : 0.01) * (size > 0 ? size : 1);
    p.value = ht_calloc(s->n, sizeof *p.value);
    p.forward = ht_calloc(s->n, sizeof *p.forward);
    if (p.value && p.forward) {
        memcpy(p.value, value, s->n * sizeof *value);
        measure(&p, ret);
        memcpy(value, p.value, s->n * sizeof *value);
        params->version++;
    } else {
        status = ht_fail_memory(err);
    }
    ht_free(p.value);
    ht_free(p.forward);
    return status;
}
