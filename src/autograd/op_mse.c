/* loss = mean over all elements of (y - target)^2 */
#include "autograd/loss.h"

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    return ht_infer_loss(n, n->in[0]->cols, err);
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const size_t size = n->in[0]->rows * n->in[0]->cols;
    const ht_real *y = n->in[0]->value, *target = n->in[1]->value;
    double sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += (double)(y[i] - target[i]) * (double)(y[i] - target[i]);
    n->value[0] = (ht_real)(sum / (double)size);
}

static void backward(struct ht_node *n, const struct ht_run *run)
{
    const size_t size = n->in[0]->rows * n->in[0]->cols;
    const ht_real *y = n->in[0]->value, *target = n->in[1]->value;
    const ht_real factor = 2 * n->grad[0] / (ht_real)size;
    for (size_t i = 0; i < size; i++)
        ht_grad_put(n, 0, i, (y[i] - target[i]) * factor);
}

const struct ht_op ht_op_mse = {"mse", 0, HT_OP_USES_INPUTS, infer, forward, backward};
