/* One-vs-all squared hinge, as binary networks are trained with (Courbariaux et al. 2016; Tang
 * 2013): mean over all elements of max(0, 1 - t * y)^2, t = 1 for the class, -1 for the others. */
#include "autograd/loss.h"

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    return ht_infer_loss(n, 1, err);
}

static ht_real sign_of(size_t j, size_t target, size_t classes)
{
    if (target == classes)
        return (ht_real)NAN;
    return j == target ? (ht_real)1 : (ht_real)-1;
}

/* Written so that NaN is not taken for 0. */
static ht_real margin(ht_real y, ht_real t)
{
    const ht_real m = 1 - t * y;
    return m < 0 ? 0 : m;
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_node *y = n->in[0];
    double sum = 0;
    for (size_t b = 0; b < y->rows; b++) {
        const size_t target = ht_target_class(n->in[1], b, y->cols);
        for (size_t j = 0; j < y->cols; j++) {
            const ht_real m = margin(y->value[b * y->cols + j], sign_of(j, target, y->cols));
            sum += (double)m * (double)m;
        }
    }
    n->value[0] = (ht_real)(sum / (double)(y->rows * y->cols));
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_node *y = n->in[0];
    const ht_real factor = 2 * n->grad[0] / (ht_real)(y->rows * y->cols);
    for (size_t b = 0; b < y->rows; b++) {
        const size_t target = ht_target_class(n->in[1], b, y->cols);
        for (size_t j = 0; j < y->cols; j++) {
            const size_t i = b * y->cols + j;
            const ht_real t = sign_of(j, target, y->cols);
            ht_grad_put(n, 0, i, -t * margin(y->value[i], t) * factor);
        }
    }
}

const struct ht_op ht_op_squared_hinge = {
    "squared_hinge", 0, HT_OP_USES_INPUTS, infer, forward, backward,
};
