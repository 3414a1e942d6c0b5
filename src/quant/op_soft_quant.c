/* Soft quantization, annealed over the training: y = scale * value(x / scale), real values between
 * the levels (quant/soft.h). In eval mode it is the hard one, dequantized. */
#include "autograd/op.h"
#include "quant/quantizer.h"
#include "quant/soft.h"

#define PART_ROWS ((size_t)16) /* that a thread takes at a time */
#define BLOCK     ((size_t)256)

struct attr {
    struct ht_quantizer *quantizer;
};

static struct ht_quantizer *quantizer_of(const struct ht_node *n)
{
    return ((const struct attr *)n->attr)->quantizer;
}

struct ht_node *ht_soft_quant(struct ht_graph *g, struct ht_node *x, struct ht_quantizer *q,
                              const struct ht_params *params)
{
    struct attr attr = {q};
    struct ht_node *in[2] = {x, NULL};
    int n_in = 1;
    if (q->range->learned)
        in[n_in++] = ht_graph_param(g, params, q->scale_span);
    return ht_graph_add(g, &ht_op_soft_quant, &attr, n_in, in);
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    const struct ht_quantizer *q = quantizer_of(n);
    enum ht_status status = ht_infer_like_input(n, err);
    if (status != HT_OK)
        return status;
    HT_OP_REQUIRE(n, err, q->channels == 1 || q->channels == n->rows,
                  "one scale per tensor or per row");
    HT_OP_REQUIRE(n, err, q->estimator->soft && q->grid.step != 0,
                  "takes an annealed estimator on evenly spaced levels");
    n->scratch_back_size = n->rows; /* what each adds to the gradient of a scale */
    n->residual_size = q->estimator->soft->straight_through ? n->rows * n->cols : 0;
    return HT_OK;
}

struct job {
    struct ht_node *n;
    const struct ht_quantizer *q;
    const struct ht_run *run;
    ht_real temperature;
};

static size_t channel_of(const struct job *j, size_t row)
{
    return j->q->channels == 1 ? 0 : row;
}

/* value[n] and slope[n] of x[n]. */
static void soften(const struct job *j, const struct ht_estimate *e, const ht_real *x, size_t n,
                   ht_real *value, ht_real *slope)
{
    ht_real u[BLOCK];
    for (size_t i = 0; i < n; i++)
        u[i] = x[i] / e->scale;
    j->q->estimator->soft->function(u, n, e, j->temperature, value, slope);
}

/* Straight through: clamp(u), as far from the value as at the base point. */
static void surrogate(const struct job *j, const struct ht_estimate *e, size_t at, size_t n,
                      ht_real *value)
{
    const ht_real *x = j->n->in[0]->value + at;
    for (size_t i = 0; i < n; i++)
        value[i] = ht_clamp(x[i] / e->scale, e->lo, e->hi) + j->n->residual[at + i];
}

static void keep_residual(const struct job *j, const struct ht_estimate *e, size_t at, size_t n,
                          const ht_real *value)
{
    const ht_real *x = j->n->in[0]->value + at;
    for (size_t i = 0; i < n; i++)
        j->n->residual[at + i] = value[i] - ht_clamp(x[i] / e->scale, e->lo, e->hi);
}

static void forward_block(const struct job *j, size_t channel, size_t at, size_t n)
{
    const struct ht_estimate e = ht_quantizer_estimate(j->q, channel);
    const struct ht_place_in_run eval = {NULL, 0};
    const ht_real *x = j->n->in[0]->value + at;
    ht_real *y = j->n->value + at, slope[BLOCK];
    if (j->run->mode == HT_MODE_EVAL)
        ht_quantizer_levels(j->q, channel, eval, x, n, y);
    else if (j->run->mode == HT_MODE_SURROGATE && j->q->estimator->soft->straight_through)
        surrogate(j, &e, at, n, y);
    else
        soften(j, &e, x, n, y, slope);
    if (j->run->mode == HT_MODE_TRAIN && j->n->residual)
        keep_residual(j, &e, at, n, y);
    for (size_t i = 0; i < n; i++)
        y[i] *= e.scale;
}

static void forward_rows(void *user, size_t part)
{
    const struct job *j = user;
    const size_t cols = j->n->cols, end = (part + 1) * PART_ROWS;
    for (size_t row = part * PART_ROWS; row < end && row < j->n->rows; row++)
        for (size_t done = 0; done < cols; done += BLOCK)
            forward_block(j, channel_of(j, row), row * cols + done,
                          cols - done < BLOCK ? cols - done : BLOCK);
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    struct ht_quantizer *q = quantizer_of(n);
    if (ht_quantizer_observes(q, run->mode))
        ht_quantizer_observe(q, n->in[0]->value, n->rows * n->cols / q->channels);
    ht_quantizer_refresh(q, run->mode);
    struct job j = {n, q, run, q->estimator->soft->temperature(q, run)};
    ht_pool_run(run->pool, (n->rows + PART_ROWS - 1) / PART_ROWS, forward_rows, &j);
}

/* Side by side in lanes, in an order that the source fixes. */
static ht_real sum_of(const ht_real *x, size_t n)
{
    enum { LANES = 16 };
    ht_real lane[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lane[k] += x[i + k];
    for (size_t k = 0; k < LANES; k++)
        sum += lane[k];
    for (; i < n; i++)
        sum += x[i];
    return sum;
}

/* dx = dy * slope; returns the sum of dy * dy/dscale, which is value - slope * u. */
static ht_real backward_block(const struct job *j, size_t channel, size_t at, size_t n)
{
    const struct ht_estimate e = ht_quantizer_estimate(j->q, channel);
    const struct ht_node *x = j->n->in[0];
    const ht_real *dy = j->n->grad + at;
    ht_real value[BLOCK], slope[BLOCK];
    soften(j, &e, x->value + at, n, value, slope);
    for (size_t i = 0; i < n; i++)
        value[i] = dy[i] * (value[i] - slope[i] * (x->value[at + i] / e.scale));
    const ht_real sum = sum_of(value, n);
    for (size_t i = 0; x->needs_grad && i < n; i++)
        ht_grad_put(j->n, 0, at + i, dy[i] * slope[i]);
    return sum;
}

static void backward_rows(void *user, size_t part)
{
    const struct job *j = user;
    const size_t cols = j->n->cols, end = (part + 1) * PART_ROWS;
    for (size_t row = part * PART_ROWS; row < end && row < j->n->rows; row++) {
        ht_real sum = 0;
        for (size_t done = 0; done < cols; done += BLOCK)
            sum += backward_block(j, channel_of(j, row), row * cols + done,
                                  cols - done < BLOCK ? cols - done : BLOCK);
        j->n->scratch_back[row] = sum;
    }
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_quantizer *q = quantizer_of(n);
    const size_t rows_per_channel = q->channels == 1 ? n->rows : 1;
    struct job j = {n, q, run, q->estimator->soft->temperature(q, run)};
    ht_pool_run(run->pool, (n->rows + PART_ROWS - 1) / PART_ROWS, backward_rows, &j);
    for (size_t c = 0; q->range->learned && c < q->channels; c++) {
        ht_real sum = 0;
        for (size_t row = c; row < c + rows_per_channel; row++)
            sum += n->scratch_back[row];
        ht_grad_put(n, 1, c, ht_quantizer_scale_gradient(q, c, sum, n->rows, n->cols));
    }
}

const struct ht_op ht_op_soft_quant = {
    "soft_quant", sizeof(struct attr), HT_OP_USES_INPUTS, infer, forward, backward,
};
