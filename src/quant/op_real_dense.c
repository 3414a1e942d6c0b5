/* y[B, out] = x[B, in] . w[out, in]^T + bias, where x is real or has a scale for each row
 * (docs/numerics.md, 11). Parts are the same for any number of threads. */
#include <math.h>

#include "autograd/op.h"
#include "quant/dynamic.h"
#include "quant/quant_dense.h"
#include "quant/real_dense.h"
#include "tensor/blas.h"

enum { X, W, BIAS };

#define COLUMNS ((size_t)256) /* outputs of a part */
#define INPUTS  ((size_t)512) /* columns of dx in a part */

static const struct ht_real_dense *spec_of(const struct ht_node *n)
{
    return n->attr;
}

struct ht_node *ht_real_dense(struct ht_graph *g, const struct ht_real_dense *spec,
                              struct ht_node *x, struct ht_node *w, struct ht_node *bias)
{
    struct ht_node *in[3] = {x, w, bias};
    return ht_graph_add(g, &ht_op_real_dense, spec, spec->has_bias ? 3 : 2, in);
}

/* Exact sums of whole numbers come in runs of so many inputs (docs/numerics.md, 8). */
static size_t run_of_sums(const struct ht_node *n)
{
    const double run = floor(HT_REAL_EXACT_MAX / spec_of(n)->product_bound);
    return run < (double)n->in[X]->cols ? (size_t)run : n->in[X]->cols;
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    const struct ht_node *x = n->in[X], *w = n->in[W];
    HT_OP_REQUIRE(n, err, x->n_scale == 0 || x->n_scale == x->rows,
                  "x must be real, or have a scale for each row");
    HT_OP_REQUIRE(n, err, w->n_scale <= 1 || w->n_scale == w->rows,
                  "w must be real, or have one scale or one for each row");
    HT_OP_REQUIRE(n, err, x->cols == w->cols, "x is [B, in] and w [out, in]: they do not fit");
    HT_OP_REQUIRE(n, err, x->n_scale == 0 || w->n_scale > 0, "whole numbers times real ones");
    HT_OP_REQUIRE(n, err, !x->as_bytes && !w->as_bytes, "takes no bytes");
    if (spec_of(n)->has_bias)
        HT_OP_REQUIRE(n, err, n->in[BIAS]->rows == 1 && n->in[BIAS]->cols == w->rows,
                      "bias is [1, out]");
    HT_OP_REQUIRE(n, err,
                  x->n_scale == 0 || (double)x->cols * spec_of(n)->product_bound < 1073741824.0,
                  "too many inputs: the sum of products could pass 2^30");
    n->rows = x->rows;
    n->cols = w->rows;
    n->batched = x->batched;
    const size_t all = n->rows * n->cols;
    n->scratch_size = 2 * n->cols; /* scale and offset; sums of more than one run */
    if (x->n_scale > 0 && run_of_sums(n) < x->cols)
        n->scratch_size += 2 * all;
    n->scratch_back_size = 2 * all;
    return HT_OK;
}

struct job {
    struct ht_node *n;
    const struct ht_run *run;
    ht_real *scale, *offset; /* [out] */
    ht_real *sums;           /* [B, out] of one run of inputs */
    ht_acc *total;           /* [B, out] of all */
    ht_real *rows, *columns; /* backward: dy times the scales of x, and of w */
};

static void for_parts(const struct job *j, size_t size, size_t step, ht_pool_work work)
{
    ht_pool_run(j->run->pool, (size + step - 1) / step, work, (void *)j);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static ht_real row_scale(const struct ht_node *n, size_t b)
{
    return n->in[X]->n_scale ? n->in[X]->scale[b] : 1;
}

static ht_real weight_scale(const struct ht_node *n, size_t j)
{
    const struct ht_node *w = n->in[W];
    return w->n_scale ? w->scale[w->n_scale == 1 ? 0 : j] : 1;
}

/* --- forward --- */

static void prepare_columns(const struct job *j)
{
    const struct ht_real_dense *s = spec_of(j->n);
    for (size_t i = 0; i < j->n->cols; i++) {
        struct ht_folded f = {weight_scale(j->n, i), 0};
        if (s->has_bias)
            f.offset = j->n->in[BIAS]->value[i];
        if (s->gamma && j->run->mode == HT_MODE_EVAL)
            f = ht_fold_batchnorm(f.weight_scale, s->gamma[i], s->beta[i], s->running_mean[i],
                                  s->running_var[i], s->epsilon);
        j->scale[i] = f.weight_scale;
        j->offset[i] = f.offset;
    }
}

/* What is not a number must not reach a cast: training has diverged, or the input was infinite. */
static inline ht_acc whole(ht_real v)
{
    v = v > -(ht_real)HT_REAL_EXACT_MAX ? v : -(ht_real)HT_REAL_EXACT_MAX;
    return (ht_acc)(v < (ht_real)HT_REAL_EXACT_MAX ? v : (ht_real)HT_REAL_EXACT_MAX);
}

/* Whole numbers: exact sums of runs in floats, which are added as integers. */
static void add_runs(const struct job *j, size_t first, size_t count)
{
    const struct ht_node *n = j->n, *x = n->in[X], *w = n->in[W];
    const size_t in = x->cols, step = run_of_sums(n);
    for (size_t at = 0; at < in; at += step) {
        ht_gemm(false, true, n->rows, count, smaller(step, in - at), 1, x->value + at, in,
                w->value + first * in + at, in, 0, j->sums + first, n->cols);
        for (size_t b = 0; b < n->rows; b++)
            for (size_t i = b * n->cols + first; i < b * n->cols + first + count; i++)
                j->total[i] = (at ? j->total[i] : 0) + whole(j->sums[i]);
    }
    for (size_t b = 0; b < n->rows; b++)
        for (size_t i = b * n->cols + first; i < b * n->cols + first + count; i++)
            n->value[i] = (ht_real)j->total[i];
}

static void forward_part(void *user, size_t part)
{
    const struct job *j = user;
    const struct ht_node *n = j->n, *x = n->in[X], *w = n->in[W];
    const size_t in = x->cols, first = part * COLUMNS, count = smaller(COLUMNS, n->cols - first);
    if (x->n_scale > 0 && run_of_sums(n) < in)
        add_runs(j, first, count);
    else if (x->n_scale == 0 && j->run->mode == HT_MODE_EVAL)
        ht_ordered_products(x->value, n->rows, w->value + first * in, count, in, n->value + first,
                            n->cols);
    else /* in training any order will do; whole numbers have only one sum */
        ht_gemm(false, true, n->rows, count, in, 1, x->value, in, w->value + first * in, in, 0,
                n->value + first, n->cols);
    for (size_t b = 0; b < n->rows; b++) {
        ht_real *y = n->value + b * n->cols + first;
        ht_real_outputs(y, count, row_scale(n, b), j->scale + first, j->offset + first, y);
    }
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    ht_real *sums = n->scratch + 2 * n->cols;
    const struct job j = {.n = n,
                          .run = run,
                          .scale = n->scratch,
                          .offset = n->scratch + n->cols,
                          .sums = sums,
                          .total = (ht_acc *)(void *)(sums + n->rows * n->cols)};
    prepare_columns(&j);
    for_parts(&j, n->cols, COLUMNS, forward_part);
}

/* --- backward: the dequantized tensors stand in for the real ones, with their scales in front ---
 */

/* dx = (dy * scale of w) . w */
static void input_part(void *user, size_t part)
{
    const struct job *j = user;
    const struct ht_node *n = j->n, *x = n->in[X], *w = n->in[W];
    const size_t first = part * INPUTS, count = smaller(INPUTS, x->cols - first);
    ht_gemm(false, false, n->rows, count, n->cols, 1, j->columns, n->cols, w->value + first,
            w->cols, ht_grad_beta(n, X), x->grad + first, x->cols);
}

/* dw = (dy * scale of x)^T . x */
static void weight_part(void *user, size_t part)
{
    const struct job *j = user;
    const struct ht_node *n = j->n, *x = n->in[X], *w = n->in[W];
    const size_t first = part * COLUMNS, count = smaller(COLUMNS, n->cols - first);
    ht_gemm(true, false, count, x->cols, n->rows, 1, j->rows + first, n->cols, x->value, x->cols,
            ht_grad_beta(n, W), w->grad + first * w->cols, w->cols);
}

static void backward_bias(struct ht_node *n)
{
    for (size_t i = 0; i < n->cols; i++) {
        ht_real sum = 0;
        for (size_t b = 0; b < n->rows; b++)
            sum += n->grad[b * n->cols + i];
        ht_grad_put(n, BIAS, i, sum);
    }
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    const struct job j = {.n = n,
                          .run = run,
                          .rows = n->scratch_back,
                          .columns = n->scratch_back + n->rows * n->cols};
    for (size_t b = 0; b < n->rows; b++)
        for (size_t i = 0; i < n->cols; i++) {
            const ht_real dy = n->grad[b * n->cols + i];
            j.rows[b * n->cols + i] = dy * row_scale(n, b);
            j.columns[b * n->cols + i] = dy * weight_scale(n, i);
        }
    if (n->in[X]->needs_grad)
        for_parts(&j, n->in[X]->cols, INPUTS, input_part);
    if (n->in[W]->needs_grad)
        for_parts(&j, n->cols, COLUMNS, weight_part);
    if (spec_of(n)->has_bias && n->in[BIAS]->needs_grad)
        backward_bias(n);
}

const struct ht_op ht_op_real_dense = {
    "real_dense", sizeof(struct ht_real_dense), HT_OP_USES_INPUTS, infer, forward, backward,
};
