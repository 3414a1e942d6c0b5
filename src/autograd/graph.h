/* A static graph: build it once, plan its memory once, then run it as often as you like.
 *
 * build: leaves (inputs, parameters) and nodes (an op applied to earlier nodes). Builders are
 *        sticky: after the first failure they return NULL and accept NULL; plan reports it.
 * plan:  every value, gradient, saved and scratch buffer gets a life on one timeline and a place in
 *        one arena. Nothing allocates afterwards.
 * run:   forward in order of creation; backward is the same walk in reverse.
 *
 * All tensors are matrices [rows, cols]; a batch is rows. A quantized tensor holds whole numbers
 * (level - zero_point) in value and its scale beside it: the real value is value * scale. Its
 * gradient is the one of the real value. In a graph with kernels such a tensor may be bytes instead
 * of whole numbers, where all its readers take them (ht_graph_as_bytes).
 */
#ifndef HT_AUTOGRAD_GRAPH_H
#define HT_AUTOGRAD_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/pool.h"
#include "tensor/params.h"
#include "tensor/real.h"

#define HT_MAX_INPUTS 7

enum ht_mode {
    HT_MODE_EVAL,     /* what ships: BN statistics and ranges as stored, no dropout */
    HT_MODE_TRAIN,    /* batch statistics, ranges observed, dropout on */
    HT_MODE_SURROGATE /* as the last TRAIN run, with rounding replaced by x + (its residual then)
                         and nothing observed: what gradient checks differentiate */
};

struct ht_node;

/* What a run needs to know beside the tensors. */
struct ht_run {
    enum ht_mode mode;
    uint64_t seed, step;   /* dropout masks: counter-based */
    bool freeze_batchnorm; /* TRAIN: use running statistics, do not update them */
    /* > 0: EVAL, but batch normalization uses the statistics of the batch, and the running ones go
     * this share of the way to them. */
    double reestimate_batchnorm;
    /* How far the annealing of a soft network has come: the share of its steps that is done, and
     * the epochs since it began. */
    double soft_share, soft_epochs;
    struct ht_pool *pool; /* NULL: one thread. The bits do not depend on it */
    /* NULL, or told during backward that the gradient of some rows of a parameter is final, while
     * it is still in the cache: from any thread, each row at most once, from multiples of
     * HT_READY_ROWS on, and as many, but for the end. The parameter may change at once. Not all
     * parameters are told. */
    void (*gradient_ready)(void *user, const struct ht_node *param, size_t row, size_t rows);
    void *user; /* of gradient_ready */
};

#define HT_READY_ROWS ((size_t)64)

struct ht_kernels; /* kernels/kernels.h */

struct ht_node {
    const struct ht_op *op; /* NULL for a leaf */
    const void *attr;       /* the op's own parameters, op->attr_size bytes, owned by the graph */
    struct ht_node *in[HT_MAX_INPUTS];
    int n_in;
    int id; /* position in the order of execution */

    const struct ht_params *params; /* of a parameter, and which of its spans it is */
    int span;
    size_t rows, cols;
    bool batched;    /* rows is the current batch size */
    bool needs_grad; /* a parameter is upstream */
    bool keep;       /* value stays readable after forward */
    size_t n_scale;  /* quantized tensor: 1, or rows (weights per channel); else 0 */

    /* Integer kernels, or NULL: products of whole numbers then go through floats. Same bits. */
    const struct ht_kernels *kernels;
    bool as_bytes;      /* quantized: `bytes` is there, `value` is not */
    bool absorbed;      /* its reader also runs its backward: it gets no gradient */
    bool signed_levels; /* as_bytes: levels are int8, else uint8 */
    int zero_point;     /* as_bytes: level - zero_point is what value would hold */
    ht_real *bytes;     /* as_bytes: [rows, cols] levels; ht_node_levels */

    ht_real *value; /* [rows, cols] */
    ht_real *grad;  /* [rows, cols], NULL unless needs_grad and planned for training */
    ht_real *scale; /* [n_scale] */

    /* Sizes in elements, set by op->infer for the largest batch. */
    size_t saved_size;    /* forward -> backward of the same run */
    size_t residual_size; /* kept between runs; only there when planned with HT_PLAN_SURROGATE */
    size_t scratch_size;  /* within forward */
    size_t scratch_back_size; /* within backward */
    ht_real *saved, *residual, *scratch, *scratch_back;

    /* Last in the backward walk to write the gradient of in[i]: it is final then. */
    bool last_grad[HT_MAX_INPUTS];
    /* First in the backward walk to write the gradient of in[i]: overwrite, else add. */
    bool first_grad[HT_MAX_INPUTS];
};

struct ht_graph;

struct ht_graph *ht_graph_create(size_t max_batch); /* NULL when out of memory */
void ht_graph_destroy(struct ht_graph *g);

/* Before anything is built: quantized layers may go through these kernels, which must outlive the
 * graph. NULL changes nothing. */
void ht_graph_use_kernels(struct ht_graph *g, const struct ht_kernels *kernels);

/* Leaves. An input's value [batch, cols] is filled by the caller before forward. A parameter points
 * into `params`, which must outlive the graph; asking twice for a span gives the same node. */
struct ht_node *ht_graph_input(struct ht_graph *g, size_t cols);
struct ht_node *ht_graph_param(struct ht_graph *g, const struct ht_params *params, int span);

/* Applies op to in[n_in]; attr (op->attr_size bytes, NULL if 0) is copied. */
struct ht_node *ht_graph_add(struct ht_graph *g, const struct ht_op *op, const void *attr, int n_in,
                             struct ht_node *const *in);
/* Lets a builder report its own failure through the sticky error. Returns NULL. */
struct ht_node *ht_graph_fail(struct ht_graph *g, enum ht_status code, const char *msg);

/* For an op that is about to read these two quantized tensors as bytes: makes both bytes if both
 * can be, and says whether. Not without kernels, nor when their values have other readers. */
bool ht_graph_as_bytes(struct ht_graph *g, struct ht_node *x, struct ht_node *w);

/* The levels of a node that is as_bytes: [rows, cols] uint8 or int8. */
static inline void *ht_node_levels(const struct ht_node *n)
{
    return n->bytes;
}

/* Keeps node->value readable after forward. */
void ht_graph_keep(struct ht_graph *g, struct ht_node *n);

enum ht_plan_flag {
    HT_PLAN_TRAINING = 1,  /* with gradients */
    HT_PLAN_SEPARATE = 2,  /* debug: each buffer its own allocation, so ASan sees overruns */
    HT_PLAN_SURROGATE = 4, /* room for rounding residuals: gradient checks */
};

/* loss: the scalar that backward starts from; NULL without HT_PLAN_TRAINING. */
enum ht_status ht_graph_plan(struct ht_graph *g, struct ht_node *loss, unsigned flags,
                             struct ht_error *err);

/* Rows of all batched nodes for the next runs, 1..max_batch. */
void ht_graph_set_batch(struct ht_graph *g, size_t rows);
void ht_graph_forward(struct ht_graph *g, const struct ht_run *run);
/* After forward in TRAIN or SURROGATE mode. Leaves d loss / d parameter in the grad arrays. */
void ht_graph_backward(struct ht_graph *g, const struct ht_run *run);

/* Bytes of the arena (or of all separate buffers). */
size_t ht_graph_bytes(const struct ht_graph *g);
size_t ht_graph_max_batch(const struct ht_graph *g);
size_t ht_graph_n_nodes(const struct ht_graph *g);
struct ht_node *ht_graph_node(const struct ht_graph *g, size_t index);

#endif
