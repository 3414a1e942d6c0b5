/* Short ways to write graphs. */
#ifndef HT_TESTS_GRAPH_SUPPORT_H
#define HT_TESTS_GRAPH_SUPPORT_H

#include "autograd/op.h"
#include "support.h"

/* Applies op to up to three inputs; b and c may be NULL. */
static inline struct ht_node *test_add(struct ht_graph *g, const struct ht_op *op, const void *attr,
                                       struct ht_node *a, struct ht_node *b, struct ht_node *c)
{
    struct ht_node *in[3] = {a, b, c};
    return ht_graph_add(g, op, attr, c ? 3 : b ? 2 : 1, in);
}

/* --- an op for tests: x as whole-number-like value = x / 0.25 with scale 0.25 --- */

#define TEST_SCALE ((ht_real)0.25)

static inline enum ht_status test_scaled_infer(struct ht_node *n, struct ht_error *err)
{
    enum ht_status status = ht_infer_like_input(n, err);
    n->n_scale = 1;
    return status;
}

static inline void test_scaled_forward(struct ht_node *n, const struct ht_run *run)
{
    for (size_t i = 0; i < n->rows * n->cols; i++)
        n->value[i] = n->in[0]->value[i] / TEST_SCALE;
    n->scale[0] = TEST_SCALE;
}

static inline void test_scaled_backward(struct ht_node *n, const struct ht_run *run)
{
    for (size_t i = 0; i < n->rows * n->cols; i++)
        ht_grad_put(n, 0, i, n->grad[i]);
}

static const struct ht_op test_op_scaled = {
    "test_scaled", 0, 0, test_scaled_infer, test_scaled_forward, test_scaled_backward,
};

#endif
