/* Formulas and defaults as in PyTorch 2 (torch.optim.SGD, Adam, AdamW), so that published settings
 * carry over. */
#include "optim/optimizer.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/vectorized.h"

/* A piece of one span: all arrays at the same offset. */
struct piece {
    ht_real *value, *grad, *slot[HT_MAX_SLOTS]; /* [n] */
    size_t n;
    double weight_decay; /* 0 where it does not apply */
    bool relative;
};

struct ht_optimizer_kind {
    const char *name;
    int n_slots;
    const char *slot_names[HT_MAX_SLOTS];
    void (*update)(const struct ht_optimizer *o, const struct piece *p, double learning_rate);
    struct ht_optimizer_config defaults;
};

/* A moment whose gradients have become 0 (a clipped weight) decays into the subnormal numbers,
 * where arithmetic is many times slower: 2-bit training took 2.5 times as long. What is this small
 * changes no parameter any more. */
static inline ht_real flush(ht_real m)
{
    const ht_real least = (ht_real)1e-30;
    return ((m > least) | (m < -least)) ? m : 0;
}

/* Sutskever et al. 2013 as PyTorch writes it: b = momentum * b + g; p -= lr * b, and with Nesterov
 * p -= lr * (g + momentum * b). Weight decay is added to the gradient. */
HT_VECTORIZED static void update_sgd(const struct ht_optimizer *o, const struct piece *p,
                                     double learning_rate)
{
    const ht_real rate = (ht_real)learning_rate, decay = (ht_real)p->weight_decay;
    const ht_real momentum = (ht_real)o->config.momentum;
    const ht_real *restrict grad = p->grad;
    ht_real *restrict value = p->value, *restrict buffer = p->slot[0];
    if (o->n_slots == 0) {
        for (size_t i = 0; i < p->n; i++)
            value[i] -= rate * (grad[i] + decay * value[i]);
        return;
    }
    const ht_real of_grad = o->config.nesterov ? 1 : 0;
    const ht_real of_buffer = o->config.nesterov ? momentum : 1;
    for (size_t i = 0; i < p->n; i++) {
        const ht_real g = grad[i] + decay * value[i];
        buffer[i] = flush(momentum * buffer[i] + g);
        value[i] -= rate * (of_grad * g + of_buffer * buffer[i]);
    }
}

/* Kingma and Ba 2015, algorithm 1. l2 is added to the gradient; `shrink` of the value is taken off
 * beside it. 1 - shrink as a factor would lose most of its digits in float32. */
HT_VECTORIZED static void adam_piece(const struct ht_optimizer *o, const struct piece *p,
                                     double learning_rate, double l2, double shrink)
{
    const double beta1 = o->config.beta1, beta2 = o->config.beta2;
    const ht_real rate = (ht_real)(learning_rate / o->correction[0]);
    const ht_real root = (ht_real)(1 / sqrt(o->correction[1]));
    const ht_real epsilon = (ht_real)o->config.epsilon;
    const ht_real b1 = (ht_real)beta1, c1 = (ht_real)(1 - beta1);
    const ht_real b2 = (ht_real)beta2, c2 = (ht_real)(1 - beta2);
    const ht_real decay = (ht_real)l2, off = (ht_real)shrink;
    const bool relative = p->relative;
    const ht_real *restrict grad = p->grad;
    ht_real *restrict value = p->value, *restrict m = p->slot[0], *restrict v = p->slot[1];
    for (size_t i = 0; i < p->n; i++) {
        const ht_real g = grad[i] + decay * value[i];
        m[i] = flush(b1 * m[i] + c1 * g);
        v[i] = b2 * v[i] + c2 * (g * g);
        const ht_real step = rate * (m[i] / (ht_sqrt(v[i]) * root + epsilon));
        value[i] -= (relative ? step * value[i] : step) + off * value[i];
    }
}

static void update_adam(const struct ht_optimizer *o, const struct piece *p, double learning_rate)
{
    adam_piece(o, p, learning_rate, p->weight_decay, 0);
}

/* Decoupled weight decay: Loshchilov and Hutter 2019, algorithm 2. */
static void update_adamw(const struct ht_optimizer *o, const struct piece *p, double learning_rate)
{
    adam_piece(o, p, learning_rate, 0, learning_rate * p->weight_decay);
}

static const struct ht_optimizer_kind kinds[] = {
    {"sgd", 1, {"momentum"}, update_sgd, {.name = "sgd"}},
    {"adam",
     2,
     {"m", "v"},
     update_adam,
     {.name = "adam", .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8}},
    {"adamw",
     2,
     {"m", "v"},
     update_adamw,
     {.name = "adamw", .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01}},
};

static const struct ht_optimizer_kind *find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

bool ht_optimizer_defaults(struct ht_optimizer_config *config, const char *name)
{
    const struct ht_optimizer_kind *kind = find_kind(name);
    if (!kind)
        return false;
    *config = kind->defaults;
    return true;
}

/* Written so that NaN fails. */
static enum ht_status check_config(const struct ht_optimizer_config *c, bool adaptive,
                                   struct ht_error *err)
{
    if (!(c->weight_decay >= 0))
        return ht_fail(err, HT_ERR_CONFIG, "%s: weight_decay must be >= 0", c->name);
    if (adaptive) {
        if (!(c->beta1 >= 0 && c->beta1 < 1 && c->beta2 >= 0 && c->beta2 < 1))
            return ht_fail(err, HT_ERR_CONFIG, "%s: beta1 and beta2 must be in [0, 1)", c->name);
        if (!(c->epsilon > 0))
            return ht_fail(err, HT_ERR_CONFIG, "%s: epsilon must be > 0", c->name);
        return HT_OK;
    }
    if (!(c->momentum >= 0 && c->momentum < 1))
        return ht_fail(err, HT_ERR_CONFIG, "%s: momentum must be in [0, 1)", c->name);
    if (c->nesterov && c->momentum == 0)
        return ht_fail(err, HT_ERR_CONFIG, "%s: nesterov needs a momentum", c->name);
    return HT_OK;
}

/* A part is what a thread takes at a time, whole rows; a block of it stays in L1 through all that
 * is done. */
#define PART  ((size_t)16384)
#define BLOCK ((size_t)1024)

/* A power of 2, so that HT_OPTIMIZER_ROWS are whole parts. */
static size_t rows_of_part(const struct ht_span *s)
{
    size_t rows = HT_OPTIMIZER_ROWS;
    while (rows > 1 && rows * s->cols > PART)
        rows /= 2;
    return rows;
}

static bool divide(struct ht_optimizer *o)
{
    const struct ht_params *p = o->params;
    size_t n = 0;
    for (size_t k = 0; k < p->n_spans; k++)
        n += (p->spans[k].rows + rows_of_part(&p->spans[k]) - 1) / rows_of_part(&p->spans[k]);
    o->parts = ht_calloc(n, sizeof *o->parts);
    o->first_part = ht_calloc(p->n_spans, sizeof *o->first_part);
    if (!o->parts || !o->first_part)
        return false;
    for (size_t k = 0; k < p->n_spans; k++) {
        const struct ht_span *span = &p->spans[k];
        const size_t step = rows_of_part(span) * span->cols;
        o->first_part[k] = o->n_parts;
        for (size_t at = 0; at < span->n; at += step) {
            struct ht_optimizer_part *part = &o->parts[o->n_parts++];
            part->span = k;
            part->offset = span->offset + at;
            part->n = span->n - at < step ? span->n - at : step;
        }
    }
    return true;
}

enum ht_status ht_optimizer_create(struct ht_optimizer **ret,
                                   const struct ht_optimizer_config *config,
                                   struct ht_params *params, struct ht_error *err)
{
    const struct ht_optimizer_kind *kind = find_kind(config->name);
    if (!kind)
        return ht_fail(err, HT_ERR_CONFIG, "unknown optimizer '%s'", config->name);
    const bool adaptive = kind->n_slots == 2;
    enum ht_status status = check_config(config, adaptive, err);
    if (status != HT_OK)
        return status;
    struct ht_optimizer *o = ht_calloc(1, sizeof *o);
    if (!o)
        return ht_fail_memory(err);
    o->kind = kind;
    o->config = *config;
    o->config.name = kind->name;
    o->params = params;
    o->n_slots = adaptive || config->momentum > 0 ? kind->n_slots : 0;
    for (int i = 0; i < o->n_slots; i++) {
        o->slot_names[i] = kind->slot_names[i];
        o->slots[i] = ht_calloc(params->n, sizeof *o->slots[i]);
        if (!o->slots[i]) {
            ht_optimizer_destroy(o);
            return ht_fail_memory(err);
        }
    }
    if (!divide(o)) {
        ht_optimizer_destroy(o);
        return ht_fail_memory(err);
    }
    *ret = o;
    return HT_OK;
}

void ht_optimizer_destroy(struct ht_optimizer *o)
{
    if (!o)
        return;
    for (int i = 0; i < o->n_slots; i++)
        ht_free(o->slots[i]);
    ht_free(o->parts);
    ht_free(o->first_part);
    ht_free(o);
}

/* --- a step --- */

/* Partial sums side by side, so that the loop vectorizes; which element goes where is fixed. */
#define LANES 8

HT_VECTORIZED static double sum_of_squares(const ht_real *g, size_t n)
{
    double lane[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += (double)g[i + j] * (double)g[i + j];
    for (size_t j = 0; i + j < n; j++)
        lane[j] += (double)g[i + j] * (double)g[i + j];
    for (size_t j = 0; j < LANES; j++)
        sum += lane[j];
    return sum;
}

/* x - x is 0 for every number and NaN for the rest; no early exit, so that it vectorizes. */
HT_VECTORIZED static bool all_finite(const ht_real *x, size_t n)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= !(x[i] - x[i] == 0);
    return !bad;
}

HT_VECTORIZED static void multiply(ht_real *x, size_t n, ht_real factor)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

HT_VECTORIZED static void keep_above(ht_real *x, size_t n, ht_real minimum)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] < minimum ? minimum : x[i];
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* factor: of the gradients, 1 = as they are. */
static void step_part(const struct ht_optimizer *o, struct ht_optimizer_part *part, double factor)
{
    const struct ht_span *span = &o->params->spans[part->span];
    double squares = 0;
    bool finite = true;
    for (size_t done = 0; done < part->n; done += BLOCK) {
        const size_t at = part->offset + done;
        struct piece p = {.value = o->params->value + at,
                          .grad = o->params->grad + at,
                          .n = smaller(BLOCK, part->n - done),
                          .weight_decay = span->flags & HT_SPAN_DECAY ? o->config.weight_decay : 0,
                          .relative = (span->flags & HT_SPAN_RELATIVE) != 0};
        for (int i = 0; i < o->n_slots; i++)
            p.slot[i] = o->slots[i] + at;
        if (o->measures)
            squares += sum_of_squares(p.grad, p.n);
        if (factor != 1)
            multiply(p.grad, p.n, (ht_real)factor);
        o->kind->update(o, &p, o->learning_rate);
        if (span->minimum > 0)
            keep_above(p.value, p.n, span->minimum);
        finite = all_finite(p.value, p.n) && finite;
    }
    part->squares = squares;
    part->finite = finite;
    part->done = true;
}

/* The parts' sums in their order, whichever thread made them. */
static double norm_of_parts(const struct ht_optimizer *o)
{
    double sum = 0;
    for (size_t i = 0; i < o->n_parts; i++)
        sum += o->parts[i].squares;
    return sqrt(sum);
}

void ht_optimizer_begin(struct ht_optimizer *o, double learning_rate, bool measures)
{
    o->step++;
    o->params->version++;
    o->learning_rate = learning_rate;
    o->measures = measures;
    o->correction[0] = 1 - pow(o->config.beta1, (double)o->step);
    o->correction[1] = 1 - pow(o->config.beta2, (double)o->step);
    for (size_t i = 0; i < o->n_parts; i++)
        o->parts[i].done = false;
}

void ht_optimizer_update_rows(struct ht_optimizer *o, size_t span, size_t row, size_t rows)
{
    const struct ht_span *s = &o->params->spans[span];
    const size_t step = rows_of_part(s), first = o->first_part[span];
    assert(row % HT_OPTIMIZER_ROWS == 0 && row + rows <= s->rows);
    for (size_t i = row / step; i * step < row + rows; i++)
        step_part(o, &o->parts[first + i], 1);
}

struct job {
    struct ht_optimizer *o;
    double factor;
};

static void part_left(void *user, size_t index)
{
    const struct job *j = user;
    if (!j->o->parts[index].done)
        step_part(j->o, &j->o->parts[index], j->factor);
}

static struct ht_optimizer_result finish_step(struct ht_optimizer *o, double factor,
                                              struct ht_pool *pool)
{
    struct job j = {o, factor};
    struct ht_optimizer_result result = {0, true};
    ht_pool_run(pool, o->n_parts, part_left, &j);
    result.gradient_norm = norm_of_parts(o);
    for (size_t i = 0; i < o->n_parts; i++)
        result.finite = o->parts[i].finite && result.finite;
    return result;
}

struct ht_optimizer_result ht_optimizer_end(struct ht_optimizer *o, struct ht_pool *pool)
{
    return finish_step(o, 1, pool);
}

static void measure_part(void *user, size_t index)
{
    const struct ht_optimizer *o = user;
    struct ht_optimizer_part *part = &o->parts[index];
    part->squares = 0;
    for (size_t at = 0; at < part->n; at += BLOCK) /* as a step sums them */
        part->squares +=
            sum_of_squares(o->params->grad + part->offset + at, smaller(BLOCK, part->n - at));
}

struct ht_optimizer_result ht_optimizer_step(struct ht_optimizer *o, double learning_rate,
                                             double clip_norm, struct ht_pool *pool)
{
    double factor = 1;
    if (clip_norm > 0) {
        ht_pool_run(pool, o->n_parts, measure_part, o);
        const double norm = norm_of_parts(o);
        if (!isfinite(norm))
            return (struct ht_optimizer_result){norm, true};
        if (norm > clip_norm)
            factor = clip_norm / norm;
    }
    ht_optimizer_begin(o, learning_rate, true);
    return finish_step(o, factor, pool);
}
