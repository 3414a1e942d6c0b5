#include "autograd/graph.h"

#include <assert.h>
#include <string.h>

#include "autograd/graph_internal.h"
#include "autograd/op.h"
#include "base/alloc.h"

struct ht_graph *ht_graph_create(size_t max_batch)
{
    struct ht_graph *g = ht_calloc(1, sizeof *g);
    if (g)
        g->max_batch = max_batch;
    return g;
}

void ht_graph_destroy(struct ht_graph *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_separate; i++)
        ht_free(g->separate[i]);
    ht_free(g->separate);
    ht_free(g->arena);
    for (size_t i = 0; i < g->n_nodes; i++) {
        ht_free((void *)g->nodes[i]->attr);
        ht_free(g->nodes[i]);
    }
    ht_free(g->nodes);
    ht_free(g);
}

void ht_graph_use_kernels(struct ht_graph *g, const struct ht_kernels *kernels)
{
    assert(g->n_nodes == 0);
    g->kernels = kernels;
}

struct ht_node *ht_graph_fail(struct ht_graph *g, enum ht_status code, const char *msg)
{
    if (g->status == HT_OK)
        g->status = ht_fail(&g->error, code, "%s", msg);
    return NULL;
}

static struct ht_node *new_node(struct ht_graph *g)
{
    if (g->status != HT_OK)
        return NULL;
    struct ht_node **nodes = ht_grow(g->nodes, g->n_nodes + 1, sizeof(struct ht_node *));
    if (!nodes)
        return ht_graph_fail(g, HT_ERR_MEMORY, "out of memory");
    g->nodes = nodes;
    struct ht_node *n = ht_calloc(1, sizeof *n);
    if (!n)
        return ht_graph_fail(g, HT_ERR_MEMORY, "out of memory");
    n->id = (int)g->n_nodes;
    n->kernels = g->kernels;
    g->nodes[g->n_nodes++] = n;
    return n;
}

struct ht_node *ht_graph_input(struct ht_graph *g, size_t cols)
{
    struct ht_node *n = new_node(g);
    if (!n)
        return NULL;
    n->rows = g->max_batch;
    n->cols = cols;
    n->batched = true;
    return n;
}

struct ht_node *ht_graph_param(struct ht_graph *g, const struct ht_params *params, int span)
{
    if (span < 0)
        return ht_graph_fail(g, HT_ERR_INTERNAL, "a parameter was not declared");
    const struct ht_span *s = &params->spans[span];
    for (size_t i = 0; i < g->n_nodes; i++)
        if (!g->nodes[i]->op && g->nodes[i]->value == params->value + s->offset)
            return g->nodes[i];
    struct ht_node *n = new_node(g);
    if (!n)
        return NULL;
    n->params = params;
    n->span = span;
    n->rows = s->rows;
    n->cols = s->cols;
    n->value = params->value + s->offset;
    n->grad = params->grad ? params->grad + s->offset : NULL;
    n->needs_grad = params->grad != NULL;
    n->keep = true;
    return n;
}

struct ht_node *ht_graph_add(struct ht_graph *g, const struct ht_op *op, const void *attr, int n_in,
                             struct ht_node *const *in)
{
    assert(n_in <= HT_MAX_INPUTS);
    struct ht_node *n = new_node(g);
    if (!n)
        return NULL;
    n->op = op;
    n->n_in = n_in;
    for (int i = 0; i < n_in; i++) {
        if (in[i]->as_bytes && !(op->uses & (HT_OP_TAKES_BYTES | HT_OP_KEEPS_BYTES)))
            return ht_graph_fail(g, HT_ERR_INTERNAL, "this op cannot read bytes");
        n->in[i] = in[i];
        n->needs_grad |= in[i]->needs_grad;
    }
    if (op->attr_size) {
        void *copy = ht_calloc(1, op->attr_size);
        if (!copy)
            return ht_graph_fail(g, HT_ERR_MEMORY, "out of memory");
        memcpy(copy, attr, op->attr_size);
        n->attr = copy;
    }
    struct ht_error err = {0};
    enum ht_status status = op->infer(n, &err);
    if (status != HT_OK)
        return ht_graph_fail(g, status, err.msg);
    return n;
}

static bool has_reader(const struct ht_graph *g, const struct ht_node *n, const struct ht_node *but)
{
    for (size_t i = (size_t)n->id + 1; i < g->n_nodes; i++)
        for (int k = 0; g->nodes[i] != but && k < g->nodes[i]->n_in; k++)
            if (g->nodes[i]->in[k] == n)
                return true;
    return false;
}

/* reader: the one that may read it. */
static bool can_be_bytes(const struct ht_graph *g, const struct ht_node *n,
                         const struct ht_node *reader)
{
    if (!n->op || n->n_scale == 0 || n->keep || has_reader(g, n, reader))
        return false;
    if (n->op->uses & HT_OP_KEEPS_BYTES)
        return can_be_bytes(g, n->in[0], n);
    return (n->op->uses & HT_OP_MAKES_BYTES) != 0;
}

static void make_bytes(struct ht_node *n)
{
    n->as_bytes = true;
    if (n->op->uses & HT_OP_KEEPS_BYTES)
        make_bytes(n->in[0]);
}

bool ht_graph_as_bytes(struct ht_graph *g, struct ht_node *x, struct ht_node *w)
{
    if (!g->kernels || !x || !w || !can_be_bytes(g, x, NULL) || !can_be_bytes(g, w, NULL))
        return false;
    /* The reader writes the gradient of what w is made of, alone. */
    if (has_reader(g, w->in[0], w))
        return false;
    make_bytes(x);
    make_bytes(w);
    return true;
}

void ht_graph_keep(struct ht_graph *g, struct ht_node *n)
{
    if (n && n->as_bytes)
        ht_graph_fail(g, HT_ERR_INTERNAL, "cannot keep a value that is bytes");
    else if (n)
        n->keep = true;
    else
        ht_graph_fail(g, HT_ERR_INTERNAL, "cannot keep a node that was not built");
}

enum ht_status ht_infer_like_input(struct ht_node *n, struct ht_error *err)
{
    n->rows = n->in[0]->rows;
    n->cols = n->in[0]->cols;
    n->batched = n->in[0]->batched;
    HT_OP_REQUIRE(n, err, n->in[0]->n_scale == 0, "takes real values, not quantized ones");
    return HT_OK;
}

void ht_graph_set_batch(struct ht_graph *g, size_t rows)
{
    assert(rows >= 1 && rows <= g->max_batch);
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i]->batched)
            g->nodes[i]->rows = rows;
}

void ht_graph_forward(struct ht_graph *g, const struct ht_run *run)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i]->op)
            g->nodes[i]->op->forward(g->nodes[i], run);
}

void ht_graph_backward(struct ht_graph *g, const struct ht_run *run)
{
    assert(g->loss && run->mode != HT_MODE_EVAL);
    g->loss->grad[0] = 1;
    for (size_t i = (size_t)g->loss->id + 1; i-- > 0;) {
        struct ht_node *n = g->nodes[i];
        if (n->op && n->needs_grad && n->grad)
            n->op->backward(n, run);
    }
}

size_t ht_graph_bytes(const struct ht_graph *g)
{
    return g->bytes;
}

size_t ht_graph_max_batch(const struct ht_graph *g)
{
    return g->max_batch;
}

size_t ht_graph_n_nodes(const struct ht_graph *g)
{
    return g->n_nodes;
}

struct ht_node *ht_graph_node(const struct ht_graph *g, size_t index)
{
    return g->nodes[index];
}
