/* The graph's own fields; only graph.c and plan.c look inside. */
#ifndef HT_AUTOGRAD_GRAPH_INTERNAL_H
#define HT_AUTOGRAD_GRAPH_INTERNAL_H

#include "autograd/graph.h"

struct ht_graph {
    size_t max_batch;
    const struct ht_kernels *kernels;
    struct ht_node **nodes; /* in order of creation, which is an order of execution */
    size_t n_nodes;
    struct ht_node *loss;
    enum ht_status status; /* sticky: the first failure of a builder */
    struct ht_error error;
    char *arena;     /* [bytes], or NULL when separate */
    void **separate; /* [n_separate] HT_PLAN_SEPARATE: every buffer */
    size_t n_separate;
    size_t bytes;
};

#endif
