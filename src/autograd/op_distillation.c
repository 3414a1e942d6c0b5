/* loss = T^2 * mean over rows of KL(softmax(teacher / T) || softmax(x / T)): Hinton et al. 2015,
 * arXiv 1503.02531, sec. 2, less the teacher's entropy, which is constant, so that 0 is agreement.
 * T^2 keeps the size of the gradient whatever the temperature (sec. 2). */
#include "autograd/loss.h"

static ht_real temperature_of(const struct ht_node *n)
{
    return ((const struct ht_attr_distillation *)n->attr)->temperature;
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    enum ht_status status = ht_infer_loss(n, n->in[0]->cols, err);
    if (status != HT_OK)
        return status;
    HT_OP_REQUIRE(n, err, temperature_of(n) > 0, "temperature must be above 0");
    n->saved_size = n->in[0]->rows * n->in[0]->cols;
    n->scratch_size = n->in[0]->cols;
    return HT_OK;
}

/* log p[classes] of the softmax of x / T. Shifted by the maximum, so that no exponential overflows.
 */
static void log_softmax(const ht_real *x, size_t classes, ht_real temperature, ht_real *log_p)
{
    ht_real max = x[0], total = 0;
    for (size_t j = 1; j < classes; j++)
        max = x[j] > max ? x[j] : max;
    for (size_t j = 0; j < classes; j++) {
        log_p[j] = (x[j] - max) / temperature;
        total += ht_exp(log_p[j]);
    }
    for (size_t j = 0; j < classes; j++)
        log_p[j] -= ht_log(total);
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    const struct ht_node *x = n->in[0], *teacher = n->in[1];
    const ht_real temperature = temperature_of(n);
    const size_t classes = x->cols;
    double sum = 0;
    for (size_t b = 0; b < x->rows; b++) {
        ht_real *difference = n->saved + b * classes, *wanted = n->scratch;
        log_softmax(x->value + b * classes, classes, temperature, difference);
        log_softmax(teacher->value + b * classes, classes, temperature, wanted);
        for (size_t j = 0; j < classes; j++) {
            const ht_real p = ht_exp(wanted[j]);
            sum += (double)(p * (wanted[j] - difference[j]));
            difference[j] = ht_exp(difference[j]) - p;
        }
    }
    n->value[0] = (ht_real)((double)(temperature * temperature) * sum / (double)x->rows);
}

/* dx = T (softmax(x / T) - softmax(teacher / T)) / B */
static void backward(struct ht_node *n, const struct ht_run *run)
{
    const size_t size = n->in[0]->rows * n->in[0]->cols;
    const ht_real factor = n->grad[0] * temperature_of(n) / (ht_real)n->in[0]->rows;
    for (size_t i = 0; i < size; i++)
        ht_grad_put(n, 0, i, n->saved[i] * factor);
}

const struct ht_op ht_op_distillation = {
    "distillation", sizeof(struct ht_attr_distillation), 0, infer, forward, backward,
};
