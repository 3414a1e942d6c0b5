/* Memory planning: lives on one timeline, then the lowest free offset, largest buffer first
 * (greedy by size: Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net
 * Inference", sec. 5.2). */
#include "autograd/graph.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/graph_internal.h"
#include "autograd/op.h"
#include "base/alloc.h"

#define ALIGNMENT 64

struct buffer {
    ht_real **pointer; /* where its address goes */
    size_t bytes, offset;
    int first, last; /* life, inclusive, on 0..2N */
    int serial;      /* ties of the sort: order of creation */
    bool placed;
};

struct plan {
    struct ht_graph *g;
    struct buffer *buffers;
    size_t n, cap;
    bool training, surrogate;
    bool *reached; /* [nodes] training: gets a gradient, and so runs backward */
    bool overflow, no_memory;
};

static void add_buffer(struct plan *p, ht_real **pointer, size_t elements, int first, int last)
{
    size_t bytes;
    if (elements == 0)
        return;
    if (!ht_mul_size(elements, sizeof(ht_real), &bytes) ||
        !ht_add_size(bytes, ALIGNMENT - 1, &bytes)) {
        p->overflow = true;
        return;
    }
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 64;
        struct buffer *b = ht_grow(p->buffers, cap, sizeof *b);
        if (!b) {
            p->no_memory = true;
            return;
        }
        p->buffers = b;
        p->cap = cap;
    }
    struct buffer b = {pointer, bytes / ALIGNMENT * ALIGNMENT, 0, first, last, (int)p->n, false};
    p->buffers[p->n++] = b;
}

/* Time of a node's backward step; forward is its id. */
static int backward_time(const struct plan *p, const struct ht_node *n)
{
    return 2 * (int)p->g->n_nodes - 1 - n->id;
}

static bool reads_in_backward(const struct plan *p, const struct ht_node *n, enum ht_op_use use)
{
    return p->training && p->reached[n->id] && (n->op->uses & use);
}

/* Marks the nodes between a parameter and the loss; others run no backward and get no gradient. */
static void mark_reached(struct plan *p, const struct ht_node *loss)
{
    p->reached[loss->id] = true;
    for (size_t i = (size_t)loss->id + 1; i-- > 0;)
        for (int k = 0; p->reached[i] && k < p->g->nodes[i]->n_in; k++)
            p->reached[p->g->nodes[i]->in[k]->id] = p->g->nodes[i]->in[k]->needs_grad;
}

/* Last time n->value is read. */
static int value_end(const struct plan *p, const struct ht_node *n)
{
    if (n->keep)
        return 2 * (int)p->g->n_nodes;
    int last = n->id;
    if (n->op && reads_in_backward(p, n, HT_OP_USES_OUTPUT))
        last = backward_time(p, n);
    for (size_t i = (size_t)n->id + 1; i < p->g->n_nodes; i++) {
        const struct ht_node *c = p->g->nodes[i];
        for (int k = 0; k < c->n_in; k++) {
            if (c->in[k] != n)
                continue;
            int t = reads_in_backward(p, c, HT_OP_USES_INPUTS) ? backward_time(p, c) : c->id;
            last = t > last ? t : last;
        }
    }
    return last;
}

/* Which input of c is n, or -1. */
static int input_of(const struct ht_node *c, const struct ht_node *n)
{
    for (int k = 0; k < c->n_in; k++)
        if (c->in[k] == n)
            return k;
    return -1;
}

/* First time n->grad is written: the backward step of its last consumer. Marks that consumer as
 * the one to overwrite, and the first consumer as the one that completes it. */
static int grad_start(const struct plan *p, const struct ht_node *n)
{
    struct ht_node *first = NULL, *last = NULL;
    if (n == p->g->loss)
        return (int)p->g->n_nodes;
    for (size_t i = (size_t)n->id + 1; i <= (size_t)p->g->loss->id; i++) {
        struct ht_node *c = p->g->nodes[i];
        if (!p->reached[i] || input_of(c, n) < 0)
            continue;
        first = first ? first : c;
        last = c;
    }
    assert(last && "a node that is reached has a consumer that is");
    first->last_grad[input_of(first, n)] = true;
    last->first_grad[input_of(last, n)] = true;
    return backward_time(p, last);
}

static bool sized(const struct ht_node *n, size_t *elements)
{
    return ht_mul_size(n->rows, n->cols, elements);
}

static void plan_node(struct plan *p, struct ht_node *n)
{
    size_t elements;
    int end = 2 * (int)p->g->n_nodes, back = backward_time(p, n);
    if (!sized(n, &elements)) {
        p->overflow = true;
        return;
    }
    bool leaf_param = !n->op && n->value;
    if (n->as_bytes) /* those of weights may be made in one run for the next */
        add_buffer(p, &n->bytes, (elements + sizeof(ht_real) - 1) / sizeof(ht_real),
                   n->absorbed ? 0 : n->id, n->absorbed ? end : value_end(p, n));
    else if (!leaf_param)
        add_buffer(p, &n->value, elements, n->op ? n->id : 0, value_end(p, n));
    if (p->training && p->reached[n->id]) {
        int first = grad_start(p, n);
        if (!leaf_param && !n->absorbed)
            add_buffer(p, &n->grad, elements, first, back);
    }
    /* Scales and residuals are small or rare: they simply stay. */
    add_buffer(p, &n->scale, n->n_scale, 0, end);
    if (p->surrogate)
        add_buffer(p, &n->residual, n->residual_size, 0, end);
    add_buffer(p, &n->saved, n->saved_size, n->id, p->training ? back : n->id);
    add_buffer(p, &n->scratch, n->scratch_size, n->id, n->id);
    if (p->training)
        add_buffer(p, &n->scratch_back, n->scratch_back_size, back, back);
}

static int larger_first(const void *x, const void *y)
{
    const struct buffer *a = x, *b = y;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? 1 : -1;
    return a->serial - b->serial;
}

static int lower_offset_first(const void *x, const void *y)
{
    const struct buffer *a = *(struct buffer *const *)x, *b = *(struct buffer *const *)y;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return a->serial - b->serial;
}

/* The lowest gap that fits among the placed buffers whose lives meet b's. live: room for n. */
static size_t lowest_offset(struct buffer *buffers, size_t n, const struct buffer *b,
                            struct buffer **live)
{
    size_t n_live = 0, offset = 0;
    for (size_t i = 0; i < n; i++)
        if (buffers[i].placed && buffers[i].first <= b->last && b->first <= buffers[i].last)
            live[n_live++] = &buffers[i];
    qsort(live, n_live, sizeof *live, lower_offset_first);
    for (size_t i = 0; i < n_live; i++) {
        if (offset + b->bytes <= live[i]->offset)
            break;
        if (live[i]->offset + live[i]->bytes > offset)
            offset = live[i]->offset + live[i]->bytes;
    }
    return offset;
}

static enum ht_status place_in_arena(struct plan *p, struct ht_error *err)
{
    size_t total = 0;
    struct buffer **live = ht_calloc(p->n, sizeof *live);
    if (!live)
        return ht_fail_memory(err);
    qsort(p->buffers, p->n, sizeof *p->buffers, larger_first);
    for (size_t i = 0; i < p->n; i++) {
        struct buffer *b = &p->buffers[i];
        b->offset = lowest_offset(p->buffers, p->n, b, live);
        b->placed = true;
        if (b->offset + b->bytes > total)
            total = b->offset + b->bytes;
    }
    ht_free(live);
    p->g->arena = ht_calloc(total, 1);
    if (!p->g->arena)
        return ht_fail_memory(err);
    p->g->bytes = total;
    for (size_t i = 0; i < p->n; i++)
        *p->buffers[i].pointer = (ht_real *)(void *)(p->g->arena + p->buffers[i].offset);
    return HT_OK;
}

static enum ht_status place_separately(struct plan *p, struct ht_error *err)
{
    struct ht_graph *g = p->g;
    g->separate = ht_calloc(p->n, sizeof *g->separate);
    if (!g->separate)
        return ht_fail_memory(err);
    for (size_t i = 0; i < p->n; i++) {
        void *memory = ht_calloc(p->buffers[i].bytes, 1);
        if (!memory)
            return ht_fail_memory(err);
        g->separate[g->n_separate++] = memory;
        *p->buffers[i].pointer = memory;
        g->bytes += p->buffers[i].bytes;
    }
    return HT_OK;
}

enum ht_status ht_graph_plan(struct ht_graph *g, struct ht_node *loss, unsigned flags,
                             struct ht_error *err)
{
    if (g->status != HT_OK)
        return ht_fail(err, g->status, "%s", g->error.msg);
    struct plan p = {.g = g,
                     .training = (flags & HT_PLAN_TRAINING) != 0,
                     .surrogate = (flags & HT_PLAN_SURROGATE) != 0};
    g->loss = loss;
    if (loss)
        loss->keep = true;
    if (p.training && (!loss || loss->rows * loss->cols != 1 || !loss->needs_grad))
        return ht_fail(err, HT_ERR_INTERNAL,
                       "training needs a scalar loss that depends on a parameter");
    if (p.training) {
        p.reached = ht_calloc(g->n_nodes, sizeof *p.reached);
        if (!p.reached)
            return ht_fail_memory(err);
        mark_reached(&p, loss);
    }
    for (size_t i = 0; i < g->n_nodes; i++)
        plan_node(&p, g->nodes[i]);
    enum ht_status status = HT_OK;
    if (p.overflow || p.no_memory)
        status = ht_fail_memory(err);
    else
        status = flags & HT_PLAN_SEPARATE ? place_separately(&p, err) : place_in_arena(&p, err);
    ht_free(p.buffers);
    ht_free(p.reached);
    return status;
}
