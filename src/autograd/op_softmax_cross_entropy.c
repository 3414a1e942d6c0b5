/* loss = mean over rows of - sum_j q_j * log softmax(x)_j, where q = (1 - e) * onehot + e / classes
 * (label smoothing: Szegedy et al. 2016, sec. 7). */
#include "autograd/loss.h"

static ht_real smoothing_of(const struct ht_node *n)
{
    return ((const struct ht_attr_softmax_cross_entropy *)n->attr)->label_smoothing;
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    enum ht_status status = ht_infer_loss(n, 1, err);
    if (status != HT_OK)
        return status;
    HT_OP_REQUIRE(n, err, smoothing_of(n) >= 0 && smoothing_of(n) < 1,
                  "label_smoothing must be in [0, 1)");
    n->saved_size = n->in[0]->rows * n->in[0]->cols;
    return HT_OK;
}

/* Fills p[classes] with the softmax of x and returns the row's loss. Shifted by the maximum, so
 * that no exponential overflows. */
static ht_real row_loss(const ht_real *x, size_t classes, size_t target, ht_real smoothing,
                        ht_real *p)
{
    ht_real max = x[0], total = 0, shifted = 0;
    for (size_t j = 1; j < classes; j++)
        max = x[j] > max ? x[j] : max;
    for (size_t j = 0; j < classes; j++) {
        p[j] = ht_exp(x[j] - max);
        total += p[j];
        shifted += x[j] - max;
    }
    for (size_t j = 0; j < classes; j++)
        p[j] /= total;
    if (target >= classes)
        return (ht_real)NAN;
    ht_real loss = ht_log(total) - (1 - smoothing) * (x[target] - max);
    return smoothing > 0 ? loss - smoothing / (ht_real)classes * shifted : loss;
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_node *x = n->in[0];
    double sum = 0;
    for (size_t b = 0; b < x->rows; b++)
        sum += row_loss(x->value + b * x->cols, x->cols, ht_target_class(n->in[1], b, x->cols),
                        smoothing_of(n), n->saved + b * x->cols);
    n->value[0] = (ht_real)(sum / (double)x->rows);
}

/* dx = (softmax - q) / B */
static void backward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_node *x = n->in[0];
    const ht_real smoothing = smoothing_of(n), factor = n->grad[0] / (ht_real)x->rows;
    const ht_real others = smoothing / (ht_real)x->cols;
    for (size_t b = 0; b < x->rows; b++) {
        const size_t at = b * x->cols, target = ht_target_class(n->in[1], b, x->cols);
        for (size_t j = 0; j < x->cols; j++) {
            ht_real q = others + (j == target ? 1 - smoothing : 0);
            ht_grad_put(n, 0, at + j, (n->saved[at + j] - q) * factor);
        }
    }
}

const struct ht_op ht_op_softmax_cross_entropy = {
    "softmax_cross_entropy",
    sizeof(struct ht_attr_softmax_cross_entropy),
    HT_OP_USES_INPUTS,
    infer,
    forward,
    backward,
};
