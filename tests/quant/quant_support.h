/* Quantizers that stand alone, and naive arithmetic to compare with. */
#ifndef HT_TESTS_QUANT_SUPPORT_H
#define HT_TESTS_QUANT_SUPPORT_H

#include "support.h"

#include <math.h>

#include "autograd/op.h"
#include "base/rng.h"
#include "quant/quant_dense.h"
#include "quant/quantizer.h"
#include "tensor/blas.h"

/* --- naive arithmetic --- */

/* Nearest whole number (ties to even), floor, or nearest odd number (ties to the lower), then the
 * clamp: the other order than the library's. */
static inline double naive_round(const struct ht_quantizer *q, double u)
{
    if (q->grid.step == 0) { /* the nearest of a table, the lower of two */
        int best = q->grid.level[0];
        for (int k = 1; k < q->grid.n_levels; k++)
            if (2 * u > q->grid.level[k - 1] + q->grid.level[k])
                best = q->grid.level[k];
        return best;
    }
    if (q->grid.step == 2)
        return 2 * ceil(u / 2) - 1;
    return (q->rounding == HT_ROUND_FLOOR ? floor(u) : rint(u)) + 0.0; /* a level is never -0 */
}

static inline double naive_clamp(double u, double lo, double hi)
{
    return u < lo ? lo : u > hi ? hi : u;
}

static inline double naive_level(const struct ht_quantizer *q, size_t channel, float x)
{
    const float u = x / q->scale[channel];
    const double z = (double)q->zero_point[channel];
    return naive_clamp(naive_round(q, (double)u), q->grid.lo - z, q->grid.hi - z);
}

/* --- quantizers that stand alone --- */

struct fixture {
    struct ht_quantizer q[3]; /* x, w, output */
    struct ht_params params, state;
    size_t n;
};

static inline struct ht_quantizer_spec spec_of(const char *grid, int bits, const char *range,
                                               const char *rounding, bool per_channel)
{
    const bool learned = strcmp(range, "learned") == 0;
    return (struct ht_quantizer_spec){grid, range,       learned ? "lsq" : "ste", rounding,
                                      bits, per_channel, .momentum = 0.25};
}

static inline struct ht_quantizer *add_quantizer(struct fixture *f, const char *name,
                                                 struct ht_quantizer_spec spec, bool of_weights,
                                                 size_t rows)
{
    struct ht_error err = {0};
    struct ht_quantizer *q = &f->q[f->n++];
    ASSERT_OK(ht_quantizer_init(q, &spec, of_weights, rows, &err), err);
    ht_quantizer_declare(q, name, &f->params, &f->state);
    return q;
}

static inline void ready(struct fixture *f)
{
    struct ht_error err = {0};
    ht_blas_init();
    ASSERT_OK(ht_params_allocate(&f->params, true, &err), err);
    ASSERT_OK(ht_params_allocate(&f->state, false, &err), err);
    for (size_t i = 0; i < f->n; i++)
        ht_quantizer_bind(&f->q[i], &f->params, &f->state);
}

static inline void finish(struct fixture *f)
{
    ht_params_finish(&f->params);
    ht_params_finish(&f->state);
    memset(f, 0, sizeof *f);
}

static inline float *values(struct fixture *f, const char *name)
{
    const struct ht_span *s = ht_params_find(&f->params, name);
    cr_assert_not_null(s, "%s", name);
    return f->params.value + s->offset;
}

static inline struct ht_node *leaf(struct ht_graph *g, struct fixture *f, const char *name)
{
    const struct ht_span *s = ht_params_find(&f->params, name);
    return s ? ht_graph_param(g, &f->params, (int)(s - f->params.spans)) : NULL;
}

static inline double uniform(uint64_t seed, size_t i)
{
    return ht_rng_uniform(seed, HT_RNG_TEST, i);
}

static const struct {
    const char *name;
    int min_bits, max_bits;
} grids[] = {
    {"full", 2, 8}, {"narrow", 2, 8}, {"affine", 2, 8}, {"binary", 1, 1}, {"zero_free", 1, 4}};
#define N_GRIDS (sizeof grids / sizeof *grids)

/* Of weights only. */
static const struct {
    const char *name;
    int bits;
} tables[] = {{"pow2", 2},           {"pow2", 3}, {"pow2", 4}, {"pow2_zero_free", 2},
              {"pow2_zero_free", 3}, {"apot", 3}, {"apot", 4}, {"apot", 5}};
#define N_TABLES (sizeof tables / sizeof *tables)

#endif
