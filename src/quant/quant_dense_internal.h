/* What the files of the quant_dense op share: its inputs, and where its buffers are. */
#ifndef HT_QUANT_QUANT_DENSE_INTERNAL_H
#define HT_QUANT_QUANT_DENSE_INTERNAL_H

#include "autograd/op.h"
#include "kernels/kernels.h"
#include "quant/quant_dense.h"

/* in[]: x, w, then bias, or gamma and beta, then the learned scale of the output,
 * then its learned offset, then its learned softness. */
enum { HT_QD_X, HT_QD_W, HT_QD_FIRST_AFFINE };

/* Divided the same way for any number of threads: rows of the batch, and columns (outputs). */
#define HT_QD_ROWS    ((size_t)16)
#define HT_QD_COLUMNS ((size_t)HT_KERNEL_COLUMN_STEP)
/* Of products: smaller ones cost more. A part of the weights' gradient stays in L2. */
#define HT_QD_WEIGHTS ((size_t)256)
#define HT_QD_INPUTS  ((size_t)512)

static inline size_t ht_qd_parts(size_t n, size_t step)
{
    return (n + step - 1) / step;
}

static inline size_t ht_qd_end(size_t part, size_t step, size_t n)
{
    return (part + 1) * step < n ? (part + 1) * step : n;
}

static inline const struct ht_quant_dense *ht_qd_spec(const struct ht_node *n)
{
    return n->attr;
}

static inline int ht_qd_scale_input(const struct ht_quant_dense *s)
{
    return HT_QD_FIRST_AFFINE + (s->has_bias ? 1 : 0) + (s->has_batchnorm ? 2 : 0);
}

/* Saved for backward: the activation's value in units of the output scale [B, out] (real output:
 * nothing), the normalized values [B, out] and 1 / sigma [out] under batchnorm. */
static inline ht_real *ht_qd_units(const struct ht_node *n)
{
    return n->saved;
}

static inline ht_real *ht_qd_normalized(const struct ht_node *n)
{
    return n->saved + n->rows * n->cols;
}

static inline ht_real *ht_qd_inverse_sigma(const struct ht_node *n)
{
    return n->saved + 2 * n->rows * n->cols;
}

static inline ht_real ht_qd_weight_scale(const struct ht_node *n, size_t j)
{
    const struct ht_node *w = n->in[HT_QD_W];
    return w->scale[w->n_scale == 1 ? 0 : j];
}

static inline bool ht_qd_uses_batch_statistics(const struct ht_node *n, const struct ht_run *run)
{
    return ht_qd_spec(n)->has_batchnorm &&
           (run->mode == HT_MODE_EVAL ? run->reestimate_batchnorm > 0 : !run->freeze_batchnorm);
}

/* Are x and w bytes for the integer kernels? */
static inline bool ht_qd_on_kernels(const struct ht_node *n)
{
    return n->in[HT_QD_W]->as_bytes;
}

/* The weights as the kernels see them: 8 bits each, whatever the grid. Fills level[256]. */
struct ht_kernel_weights ht_qd_kernel_weights(const struct ht_node *n, int16_t level[256]);

/* Elements of scratch for packed weights; 0 when not on kernels. */
size_t ht_qd_packed_elements(const struct ht_node *n);

void ht_qd_forward(struct ht_node *n, const struct ht_run *run);
void ht_qd_backward(struct ht_node *n, const struct ht_run *run);

#endif
