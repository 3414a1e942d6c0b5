/* y[B, out] = x[B, in] . w[out, in]^T
 * Products are divided into the same parts for any number of threads. */
#include "autograd/op.h"
#include "tensor/blas.h"

#define COLUMNS ((size_t)512) /* of y and of dx in a part */
#define WEIGHTS ((size_t)256) /* rows of dw: a part stays in L2 while it is used */

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    const struct ht_node *x = n->in[0], *w = n->in[1];
    HT_OP_REQUIRE(n, err, n->n_in == 2, "takes x and w");
    HT_OP_REQUIRE(n, err, x->n_scale == 0 && w->n_scale == 0,
                  "takes real values, not quantized ones");
    HT_OP_REQUIRE(n, err, x->cols == w->cols, "x is [B, in] and w [out, in]: they do not fit");
    HT_OP_REQUIRE(n, err, !w->batched, "w cannot be a batch");
    n->rows = x->rows;
    n->cols = w->rows;
    n->batched = x->batched;
    return HT_OK;
}

struct job {
    struct ht_node *n;
    const struct ht_run *run;
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void for_parts(struct ht_node *n, const struct ht_run *run, size_t size, size_t step,
                      ht_pool_work work)
{
    struct job j = {n, run};
    ht_pool_run(run->pool, (size + step - 1) / step, work, &j);
}

static void forward_part(void *user, size_t part)
{
    const struct ht_node *n = ((const struct job *)user)->n, *x = n->in[0], *w = n->in[1];
    const size_t first = part * COLUMNS, count = smaller(COLUMNS, n->cols - first);
    ht_gemm(false, true, n->rows, count, x->cols, 1, x->value, x->cols, w->value + first * w->cols,
            w->cols, 0, n->value + first, n->cols);
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    for_parts(n, run, n->cols, COLUMNS, forward_part);
}

/* dx = dy . w */
static void input_part(void *user, size_t part)
{
    const struct ht_node *n = ((const struct job *)user)->n, *x = n->in[0], *w = n->in[1];
    const size_t first = part * COLUMNS, count = smaller(COLUMNS, x->cols - first);
    ht_gemm(false, false, n->rows, count, n->cols, 1, n->grad, n->cols, w->value + first, w->cols,
            ht_grad_beta(n, 0), x->grad + first, x->cols);
}

/* dw = dy^T . x */
static void weight_part(void *user, size_t part)
{
    const struct job *j = user;
    const struct ht_node *n = j->n, *x = n->in[0], *w = n->in[1];
    const size_t first = part * WEIGHTS, count = smaller(WEIGHTS, n->cols - first);
    ht_gemm(true, false, count, x->cols, n->rows, 1, n->grad + first, n->cols, x->value, x->cols,
            ht_grad_beta(n, 1), w->grad + first * w->cols, w->cols);
    ht_gradient_ready(j->run, n, 1, first, count);
}

/* The weights may change as soon as their gradient is there, so dx comes first. */
static void backward(struct ht_node *n, const struct ht_run *run)
{
    if (n->in[0]->needs_grad)
        for_parts(n, run, n->in[0]->cols, COLUMNS, input_part);
    if (n->in[1]->needs_grad)
        for_parts(n, run, n->cols, WEIGHTS, weight_part);
}

const struct ht_op ht_op_dense = {"dense", 0, HT_OP_USES_INPUTS, infer, forward, backward};
