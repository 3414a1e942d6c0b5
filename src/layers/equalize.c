#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "layers/calibrate.h"

/* Sweeps over all pairs of layers until no factor is further from 1 than this. */
#define MAX_SWEEPS 100
#define SETTLED    1e-4

/* A positive factor goes through them: f(s x) = s f(x). */
static bool is_homogeneous(const struct ht_block *b)
{
    static const char *const names[] = {"none", "relu", "leaky_relu"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(b->activation->name, names[i]) == 0)
            return true;
    return false;
}

static ht_real *param(const struct ht_model *m, int span)
{
    return m->params.value + m->params.spans[span].offset;
}

static ht_real *state(const struct ht_model *m, int span)
{
    return m->state.value + m->state.spans[span].offset;
}

/* Batch normalization becomes the identity on folded weights, gain 1: row n of the weights, and
 * with it the running mean and deviation, times the old gain. In train mode, too, the function
 * stays the same (but for epsilon): a factor on a row is what the normalization takes out again. */
static void fold_batchnorm(const struct ht_model *m, const struct ht_block *b)
{
    ht_real *w = param(m, b->weight_span), *gamma = param(m, b->gamma_span);
    ht_real *mean = state(m, b->mean_span), *var = state(m, b->var_span);
    for (size_t n = 0; n < b->out; n++, w += b->in) {
        const double deviation = sqrt((double)var[n] + b->epsilon);
        const double gain = (double)gamma[n] / deviation;
        const double new_var = (double)gamma[n] * (double)gamma[n] - b->epsilon;
        for (size_t k = 0; k < b->in; k++)
            w[k] = (ht_real)(gain * (double)w[k]);
        mean[n] = (ht_real)(gain * (double)mean[n]);
        var[n] = (ht_real)(new_var > 0 ? new_var : 0);
        gamma[n] = (ht_real)sqrt((double)var[n] + b->epsilon);
    }
}

/* Divides what neuron n of the block gives by s: its row, and what is added to it. Under batch
 * normalization with gain 1 gamma, mean and deviation follow the row. */
static void divide_neuron(const struct ht_model *m, const struct ht_block *b, size_t n, double s)
{
    ht_real *w = param(m, b->weight_span) + n * b->in;
    for (size_t k = 0; k < b->in; k++)
        w[k] = (ht_real)((double)w[k] / s);
    if (b->bias)
        param(m, b->bias_span)[n] = (ht_real)((double)param(m, b->bias_span)[n] / s);
    if (!b->batchnorm)
        return;
    ht_real *mean = state(m, b->mean_span) + n, *var = state(m, b->var_span) + n;
    const double new_var = ((double)*var + b->epsilon) / (s * s) - b->epsilon;
    *mean = (ht_real)((double)*mean / s);
    *var = (ht_real)(new_var > 0 ? new_var : 0);
    param(m, b->gamma_span)[n] = (ht_real)sqrt((double)*var + b->epsilon);
    param(m, b->beta_span)[n] = (ht_real)((double)param(m, b->beta_span)[n] / s);
}

/* Eq. 11: s = sqrt(r1 r2) / r2 makes the range of row n of the first layer, r1, and that of column
 * n of the second, r2, both sqrt(r1 r2). A neuron without weights on one side stays. Returns the
 * largest |s - 1|. */
static double equalize_pair(const struct ht_model *m, const struct ht_block *first,
                            const struct ht_block *second)
{
    double most = 0;
    for (size_t n = 0; n < first->out; n++) {
        const ht_real *row = param(m, first->weight_span) + n * first->in;
        ht_real *column = param(m, second->weight_span) + n;
        double r1 = 0, r2 = 0;
        for (size_t k = 0; k < first->in; k++)
            r1 = fmax(r1, fabs((double)row[k]));
        for (size_t j = 0; j < second->out; j++)
            r2 = fmax(r2, fabs((double)column[j * second->in]));
        const double s = sqrt(r1 / r2);
        if (!(r1 > 0 && r2 > 0) || !(s > 1e-6 && s < 1e6))
            continue;
        divide_neuron(m, first, n, s);
        for (size_t j = 0; j < second->out; j++)
            column[j * second->in] = (ht_real)((double)column[j * second->in] * s);
        most = fmax(most, fabs(s - 1));
    }
    return most;
}

enum ht_status ht_model_equalize(struct ht_model *m, struct ht_error *err)
{
    for (size_t i = 0; i + 1 < m->n_blocks; i++)
        if (!is_homogeneous(&m->blocks[i]))
            return ht_fail(err, HT_ERR_CONFIG,
                           "%s: no factor goes through %s; equalization needs relu, leaky_relu or "
                           "nothing between layers",
                           m->blocks[i].name, m->blocks[i].activation->name);
    for (size_t i = 0; i < m->n_blocks; i++)
        if (m->blocks[i].batchnorm)
            fold_batchnorm(m, &m->blocks[i]);
    double most = 1;
    for (int sweep = 0; sweep < MAX_SWEEPS && most > SETTLED; sweep++) {
        most = 0;
        for (size_t i = 0; i + 1 < m->n_blocks; i++)
            most = fmax(most, equalize_pair(m, &m->blocks[i], &m->blocks[i + 1]));
    }
    m->params.version++;
    return HT_OK;
}
