/* Batch normalization: Ioffe and Szegedy 2015, algorithm 1.
 * y = gamma * (x - mean) / sqrt(var + epsilon) + beta, per column. Like PyTorch, values are
 * normalized by the biased variance and the running one follows the unbiased. */
#include <string.h>

#include "autograd/op.h"

enum { X, GAMMA, BETA };

static const struct ht_attr_batchnorm *attr_of(const struct ht_node *n)
{
    return n->attr;
}

/* Saved for backward: the normalized x [B, n], then gamma / sigma [n]. */
static ht_real *normalized_of(const struct ht_node *n)
{
    return n->saved;
}

static ht_real *gain_of(const struct ht_node *n)
{
    return n->saved + n->rows * n->cols;
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    HT_OP_REQUIRE(n, err, n->n_in == 3, "takes x, gamma and beta");
    for (int i = GAMMA; i <= BETA; i++)
        HT_OP_REQUIRE(n, err,
                      n->in[i]->rows == 1 && n->in[i]->cols == n->in[X]->cols &&
                          n->in[i]->n_scale == 0,
                      "gamma and beta must be [1, columns of x]");
    HT_OP_REQUIRE(n, err, attr_of(n)->epsilon > 0, "epsilon must be positive");
    enum ht_status status = ht_infer_like_input(n, err);
    n->saved_size = n->rows * n->cols + n->cols;
    n->scratch_size = 3 * n->cols;
    n->scratch_back_size = 2 * n->cols;
    return status;
}

static bool uses_batch_statistics(const struct ht_run *run)
{
    return run->mode != HT_MODE_EVAL && !run->freeze_batchnorm;
}

/* Columns are summed in double, this many at a time. */
#define STRIP 64

static size_t strip_width(const struct ht_node *n, size_t first)
{
    return n->cols - first < STRIP ? n->cols - first : STRIP;
}

/* Mean and biased variance of each column, in two passes. */
static void batch_statistics(const struct ht_node *n, ht_real *mean, ht_real *var)
{
    const double rows = (double)n->rows;
    for (size_t first = 0; first < n->cols; first += STRIP) {
        const size_t width = strip_width(n, first);
        double centre[STRIP] = {0}, square[STRIP] = {0};
        for (size_t b = 0; b < n->rows; b++) {
            const ht_real *x = n->in[X]->value + b * n->cols + first;
            for (size_t j = 0; j < width; j++)
                centre[j] += x[j];
        }
        for (size_t j = 0; j < width; j++)
            centre[j] /= rows;
        for (size_t b = 0; b < n->rows; b++) {
            const ht_real *x = n->in[X]->value + b * n->cols + first;
            for (size_t j = 0; j < width; j++)
                square[j] += (x[j] - centre[j]) * (x[j] - centre[j]);
        }
        for (size_t j = 0; j < width; j++) {
            mean[first + j] = (ht_real)centre[j];
            var[first + j] = (ht_real)(square[j] / rows);
        }
    }
}

/* One row tells nothing of the variance: it then stays as it is. */
static void update_running(const struct ht_node *n, const ht_real *mean, const ht_real *var)
{
    const struct ht_attr_batchnorm *a = attr_of(n);
    const ht_real unbiased = n->rows > 1 ? (ht_real)n->rows / (ht_real)(n->rows - 1) : 0;
    for (size_t j = 0; j < n->cols; j++) {
        a->running_mean[j] += a->momentum * (mean[j] - a->running_mean[j]);
        if (n->rows > 1)
            a->running_var[j] += a->momentum * (var[j] * unbiased - a->running_var[j]);
    }
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_attr_batchnorm *a = attr_of(n);
    const ht_real *gamma = n->in[GAMMA]->value, *beta = n->in[BETA]->value;
    const ht_real *mean = a->running_mean, *var = a->running_var;
    ht_real *inverse_sigma = n->scratch, *gain = gain_of(n);
    if (a->folded && run->mode == HT_MODE_EVAL) {
        memcpy(n->value, n->in[X]->value, n->rows * n->cols * sizeof *n->value);
        return;
    }
    if (uses_batch_statistics(run)) {
        ht_real *batch_mean = n->scratch + n->cols, *batch_var = n->scratch + 2 * n->cols;
        batch_statistics(n, batch_mean, batch_var);
        if (run->mode == HT_MODE_TRAIN)
            update_running(n, batch_mean, batch_var);
        mean = batch_mean;
        var = batch_var;
    }
    for (size_t j = 0; j < n->cols; j++) {
        inverse_sigma[j] = 1 / ht_sqrt(var[j] + a->epsilon);
        gain[j] = gamma[j] * inverse_sigma[j];
    }
    for (size_t b = 0; b < n->rows; b++) {
        const ht_real *x = n->in[X]->value + b * n->cols;
        ht_real *normalized = normalized_of(n) + b * n->cols, *y = n->value + b * n->cols;
        for (size_t j = 0; j < n->cols; j++) {
            ht_real v = (x[j] - mean[j]) * inverse_sigma[j];
            normalized[j] = v;
            y[j] = gamma[j] * v + beta[j];
        }
    }
}

/* sum[j] = sum over b of dy, dot[j] = sum over b of dy * normalized. */
static void column_sums(const struct ht_node *n, ht_real *sum, ht_real *dot)
{
    for (size_t first = 0; first < n->cols; first += STRIP) {
        const size_t width = strip_width(n, first);
        double s[STRIP] = {0}, d[STRIP] = {0};
        for (size_t b = 0; b < n->rows; b++) {
            const ht_real *dy = n->grad + b * n->cols + first;
            const ht_real *normalized = normalized_of(n) + b * n->cols + first;
            for (size_t j = 0; j < width; j++) {
                s[j] += dy[j];
                d[j] += (double)dy[j] * normalized[j];
            }
        }
        for (size_t j = 0; j < width; j++) {
            sum[first + j] = (ht_real)s[j];
            dot[first + j] = (ht_real)d[j];
        }
    }
}

/* Section 3 of the paper as one expression: dx = gain * (dy - mean(dy) - normalized * mean(dy .
 * normalized)); with frozen statistics only gain * dy. */
static void backward_input(struct ht_node *n, ht_real *mean, ht_real *mean_dot, bool frozen)
{
    const ht_real *gain = gain_of(n);
    for (size_t j = 0; j < n->cols; j++) {
        mean[j] = frozen ? 0 : mean[j] / (ht_real)n->rows;
        mean_dot[j] = frozen ? 0 : mean_dot[j] / (ht_real)n->rows;
    }
    for (size_t b = 0; b < n->rows; b++) {
        const size_t at = b * n->cols;
        const ht_real *dy = n->grad + at, *normalized = normalized_of(n) + at;
        for (size_t j = 0; j < n->cols; j++)
            ht_grad_put(n, X, at + j, gain[j] * (dy[j] - mean[j] - normalized[j] * mean_dot[j]));
    }
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    ht_real *sum = n->scratch_back, *dot = n->scratch_back + n->cols;
    column_sums(n, sum, dot);
    if (n->in[GAMMA]->needs_grad)
        for (size_t j = 0; j < n->cols; j++)
            ht_grad_put(n, GAMMA, j, dot[j]);
    if (n->in[BETA]->needs_grad)
        for (size_t j = 0; j < n->cols; j++)
            ht_grad_put(n, BETA, j, sum[j]);
    if (n->in[X]->needs_grad)
        backward_input(n, sum, dot, !uses_batch_statistics(run));
}

const struct ht_op ht_op_batchnorm = {
    "batchnorm", sizeof(struct ht_attr_batchnorm), 0, infer, forward, backward,
};
