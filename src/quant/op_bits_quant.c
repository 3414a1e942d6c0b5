/* Quantization to a number of levels that is learned (quant/learned_bits.h). */
#include <stdio.h>

#include "autograd/op.h"
#include "quant/clip.h"
#include "quant/learned_bits.h"
#include "quant/quantizer.h"
#include "quant/round.h"

#define LN2 ((ht_real)0.69314718055994531)

enum { X, CLIP, BITS };

struct attr {
    struct ht_learned_bits *bits;
};

static struct ht_learned_bits *bits_of(const struct ht_node *n)
{
    return ((const struct attr *)n->attr)->bits;
}

void ht_learned_bits_declare(struct ht_learned_bits *l, struct ht_params *params,
                             const char *prefix, bool of_weights, size_t channels, double bits,
                             double minimum)
{
    char name[96];
    *l = (struct ht_learned_bits){
        .params = params, .channels = channels, .of_weights = of_weights, .below = of_weights};
    snprintf(name, sizeof name, "%s.clip", prefix);
    l->clip_span = ht_params_declare(params, name, channels, 1, HT_SPAN_RELATIVE, 1, HT_MIN_SCALE);
    snprintf(name, sizeof name, "%s.bits", prefix);
    l->bits_span =
        ht_params_declare(params, name, 1, 1, HT_SPAN_RELATIVE, (ht_real)bits, (ht_real)minimum);
}

static ht_real *span_value(const struct ht_learned_bits *l, int span)
{
    return l->params->value + l->params->spans[span].offset;
}

ht_real *ht_learned_bits_value(const struct ht_learned_bits *l)
{
    return span_value(l, l->bits_span);
}

ht_real *ht_learned_bits_clip(const struct ht_learned_bits *l)
{
    return span_value(l, l->clip_span);
}

void ht_learned_bits_start(struct ht_learned_bits *l, const ht_real *x, size_t length)
{
    struct ht_grid grid;
    if (ht_grid_init(&grid, l->of_weights ? "narrow" : "affine", 4, NULL) != HT_OK)
        return;
    for (size_t c = 0; c < l->channels; c++) {
        const struct ht_clip ends = ht_clip_octav(x + c * length, length, &grid);
        const ht_real hi = ends.hi > HT_MIN_SCALE ? ends.hi : 1;
        ht_learned_bits_clip(l)[c] = hi;
        if (!l->of_weights)
            l->below = -ends.lo / hi;
    }
}

struct ht_node *ht_bits_quant(struct ht_graph *g, struct ht_node *x, struct ht_learned_bits *l)
{
    struct attr attr = {l};
    struct ht_node *in[3] = {x, ht_graph_param(g, l->params, l->clip_span),
                             ht_graph_param(g, l->params, l->bits_span)};
    return ht_graph_add(g, &ht_op_bits_quant, &attr, 3, in);
}

static enum ht_status infer(struct ht_node *n, struct ht_error *err)
{
    const struct ht_learned_bits *l = bits_of(n);
    enum ht_status status = ht_infer_like_input(n, err);
    if (status != HT_OK)
        return status;
    HT_OP_REQUIRE(n, err, l->channels == 1 || l->channels == n->rows,
                  "one clip per tensor or per row");
    n->residual_size = n->rows * n->cols;
    return HT_OK;
}

/* What a row of values needs to know. */
struct row {
    ht_real lo, hi, step;
    ht_real step_by_bits; /* dstep/dbits */
};

static struct row row_of(const struct ht_node *n, size_t channel, ht_real bits)
{
    const struct ht_learned_bits *l = bits_of(n);
    const ht_real clip = n->in[CLIP]->value[channel], levels = ht_exp(LN2 * bits);
    const ht_real steps = levels - (l->of_weights ? 2 : 1);
    struct row r = {.lo = -l->below * clip, .hi = clip};
    r.step = (r.hi - r.lo) / steps;
    r.step_by_bits = -r.step * LN2 * levels / steps;
    return r;
}

/* Elements that share a clip: a row, or the whole tensor. */
static size_t run_length(const struct ht_node *n)
{
    return bits_of(n)->channels == 1 ? n->rows * n->cols : n->cols;
}

static void forward_row(struct ht_node *n, const struct row *r, size_t at, size_t length,
                        bool surrogate)
{
    const ht_real *x = n->in[X]->value;
    for (size_t i = at; i < at + length; i++) {
        const ht_real u = ht_clamp(x[i], r->lo, r->hi) / r->step;
        const ht_real rounded = surrogate ? u + n->residual[i] : ht_round_even(u);
        if (!surrogate && n->residual)
            n->residual[i] = rounded - u;
        n->value[i] = r->step * rounded;
    }
}

static void forward(struct ht_node *n, const struct ht_run *run)
{
    struct ht_learned_bits *l = bits_of(n);
    const bool surrogate = run->mode == HT_MODE_SURROGATE;
    const ht_real bits = n->in[BITS]->value[0];
    if (!surrogate)
        l->bits_residual = ht_round_even(bits) - bits;
    for (size_t c = 0; c < l->channels; c++) {
        const struct row r = row_of(n, c, bits + l->bits_residual);
        forward_row(n, &r, c * run_length(n), run_length(n), surrogate);
    }
}

/* With e = round(u) - u: dy/dstep = e, dy/dclip has the end that x is beyond, dy/dx is 1 between
 * the ends. Both steps are proportional to clip. */
static void backward(struct ht_node *n, const struct ht_run *run)
{
    struct ht_learned_bits *l = bits_of(n);
    const struct ht_node *x = n->in[X];
    const ht_real bits = n->in[BITS]->value[0] + l->bits_residual;
    double by_bits = 0;
    for (size_t c = 0; c < l->channels; c++) {
        const struct row r = row_of(n, c, bits);
        const size_t length = run_length(n);
        double by_step = 0, by_end = 0;
        for (size_t i = c * length; i < (c + 1) * length; i++) {
            const ht_real dy = n->grad[i], v = x->value[i];
            const bool above = v > r.hi, below = v < r.lo;
            by_step += (double)(dy * (n->value[i] - ht_clamp(v, r.lo, r.hi)) / r.step);
            by_end += (double)(above ? dy : below ? -l->below * dy : 0);
            if (x->needs_grad)
                ht_grad_put(n, X, i, above || below ? 0 : dy);
        }
        by_bits += by_step * (double)r.step_by_bits;
        ht_grad_put(n, CLIP, c, (ht_real)(by_end + by_step * (double)(r.step / r.hi)));
    }
    ht_grad_put(n, BITS, 0, (ht_real)by_bits);
}

const struct ht_op ht_op_bits_quant = {
    "bits_quant", sizeof(struct attr), HT_OP_USES_INPUTS | HT_OP_USES_OUTPUT, infer, forward,
    backward,
};
