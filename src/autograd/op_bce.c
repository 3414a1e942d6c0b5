/* Binary cross entropy on logits: mean over all elements of
 * - t * log s(x) - (1 - t) * log(1 - s(x)), s = sigmoid, t in [0, 1]. Several columns with class
 * numbers [B, 1] as target: t = 1 in the column of the class, else 0. */
#include "autograd/loss.h"

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    return ht_infer_loss(n, n->n_in == 2 && n->in[1]->cols == 1 ? 1 : n->in[0]->cols, err);
}

/* Target of column j in row b. */
static ht_real target_at(const struct ht_node *n, size_t b, size_t j)
{
    const struct ht_node *x = n->in[0], *t = n->in[1];
    if (t->cols == x->cols)
        return t->value[b * t->cols + j];
    size_t target = ht_target_class(t, b, x->cols);
    return target == x->cols ? (ht_real)NAN : (ht_real)(j == target);
}

/* max(x, 0) - x * t + log(1 + exp(-|x|)): no exponential overflows. */
static void forward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_node *x = n->in[0];
    double sum = 0;
    for (size_t b = 0; b < x->rows; b++)
        for (size_t j = 0; j < x->cols; j++) {
            const ht_real v = x->value[b * x->cols + j];
            sum += (v > 0 ? v : 0) - v * target_at(n, b, j) + ht_log1p(ht_exp(-ht_fabs(v)));
        }
    n->value[0] = (ht_real)(sum / (double)(x->rows * x->cols));
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_node *x = n->in[0];
    const ht_real factor = n->grad[0] / (ht_real)(x->rows * x->cols);
    for (size_t b = 0; b < x->rows; b++)
        for (size_t j = 0; j < x->cols; j++) {
            const size_t i = b * x->cols + j;
            const ht_real sigmoid = 1 / (1 + ht_exp(-x->value[i]));
            ht_grad_put(n, 0, i, (sigmoid - target_at(n, b, j)) * factor);
        }
}

const struct ht_op ht_op_bce = {"bce", 0, HT_OP_USES_INPUTS, infer, forward, backward};
