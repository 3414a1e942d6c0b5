/* A quantizer: grid x range x estimator x granularity. Ops and layers use it, files never see it.
 */
#ifndef HT_QUANT_QUANTIZER_H
#define HT_QUANT_QUANTIZER_H

#include "autograd/graph.h"
#include "base/error.h"
#include "kernels/kernels.h"
#include "quant/estimator.h"
#include "quant/grid.h"
#include "quant/range.h"
#include "quant/round.h"
#include "quant/tally.h"

/* No scale is ever smaller: keeps products of scales normal float32 numbers. */
#define HT_MIN_SCALE ((ht_real)9.313225746154785e-10) /* 2^-30 */

/* How a tensor is kept between layers. */
enum ht_tensor_kind {
    HT_TENSOR_LEVELS,  /* whole numbers and a scale that is known before */
    HT_TENSOR_DYNAMIC, /* whole numbers and a scale for each row, found from the row */
    HT_TENSOR_REAL     /* as it is */
};

/* What a quantizer should be; names as in the experiment file. */
struct ht_quantizer_spec {
    const char *grid, *range, *estimator, *rounding;
    int bits;
    bool per_channel;
    double momentum;
    double percentile;             /* range percentile; 0: 99.99 */
    bool power_of_two;             /* scales: see struct ht_quantizer */
    double delta;                  /* ewgs */
    int delta_epochs;              /* ewgs, weights: delta is adapted this often; 0: never */
    double softness;               /* dsq: its alpha */
    bool learn_shape;              /* dsq: alpha and the lower clip, too */
    double softness_decay;         /* dsq: weight decay of a learned alpha */
    double steepness;              /* parq */
    double strength;               /* prox */
    double temperature;            /* quantization_networks */
    double clip_start, clip_decay; /* pact: the first alpha, and its weight decay */
    int accumulator_bits;          /* a2q: 8..31 */
    bool once;                     /* weights: see struct ht_quantizer */
    size_t group; /* inputs that share a scale, of weights per channel; 0: the whole row. For
                     ht_quantizer_divide (quant/group.h) */
};

struct ht_quantizer {
    struct ht_grid grid;
    const struct ht_range *range;
    const struct ht_estimator *estimator;
    enum ht_rounding rounding; /* in eval mode */
    bool stochastic;           /* in train mode up or down by chance */
    ht_real momentum;
    double percentile;
    bool power_of_two; /* scales are restricted to powers of two: multipliers become shifts */
    ht_real parameter; /* of the estimator: struct ht_estimate */
    ht_real clip_start, clip_decay; /* pact */
    /* a2q, whose sums of products fit this many bits: the quantizer of what the weights are
     * multiplied with, set from outside, and the strength of the penalty on norms. */
    int accumulator_bits;
    const struct ht_quantizer *input;
    ht_real penalty;
    ht_real dampening;      /* of weights: ht_quantizer_dampen; 0 = none. Set from outside */
    struct ht_tally *tally; /* NULL, or counts what is quantized, in one thread. Set from outside */
    bool of_weights;        /* weights are seen whole each time; activations batch by batch */
    size_t channels;        /* 1, or rows of the weights, times the groups of a row */
    size_t group, groups;   /* quant/group.h: inputs of a group, groups of a row. Else 0, 1 */
    bool once;              /* weights keep their first scale (a learned one is trained) */
    bool fixed;             /* its range is known and no longer observed: a network's input */
    /* While calibrating, eval mode observes, too, and running values are means of all batches. */
    bool calibrating;
    uint64_t measured; /* 1 + the version of the weights that the scale was measured of; 0: none */
    ht_real scale_gradient_factor; /* 0: the estimator's; tests of the bare derivative set 1 */
    /* Spans in the model's parameters (scale, when learned) and state (the others). */
    int scale_span, zero_point_span, min_span, max_span, ready_span;
    int effective_span, threshold_span, centroid_span; /* -1: none */
    int histogram_span, unit_span, group_scale_span;   /* -1: none */
    int offset_span, softness_span;                    /* parameters; -1: none */
    int seen_span, delta_span;                         /* -1: none */
    int norm_span;                                     /* parameter; -1: none */
    ht_real *scale, *zero_point; /* [channels] as found or learned; zero_point is whole */
    ht_real *min, *max;          /* [channels] seen so far */
    ht_real *ready; /* [1] 0 until the first observation; calibration counts its batches */
    ht_real
        *histogram; /* [HT_HISTOGRAM_SIZE] of activations, for ranges that keep one; else NULL */
    /* [channels] the scale that quantizes: `scale` itself, or under power_of_two the power of two
     * next to it, with groups unit * group_scale, and then [channels] of what that added.
     * ht_quantizer_refresh keeps it. */
    ht_real *effective;
    ht_real *unit; /* [channels / groups] what level 1 of the tensor stands for: `effective` itself
                      without groups */
    ht_real *group_scale; /* [channels] whole: code * group_scale is the level; NULL: no groups */
    ht_real *threshold;   /* grid ternary: [channels] magnitudes up to this become 0; else NULL */
    /* Grid codebook, else NULL: [1 << bits] learned values, in no order. Refresh makes levels and
     * scale of them; centroid_of[level + 128] is the centroid that a level stands for. */
    ht_real *centroid;
    uint8_t centroid_of[256];
    ht_real *seen; /* [channels] a learned scale when the last epoch ended, 0 before; else NULL */
    struct ht_learned_bits *learned_bits; /* in its place in soft forms, or NULL */
    ht_real *norm;                        /* [channels] a2q: log2 of the learned norm, or NULL */
    ht_real *offset;                      /* [1] learned real value of the lowest level, or NULL */
    ht_real *softness;                    /* [1] learned alpha of dsq, or NULL */
    ht_real softness_decay, first_softness;
    ht_real *delta; /* [1] of ewgs, where it is adapted from outside; else NULL */
    int delta_epochs;
    ht_real first_delta;
    ht_real offset_residual; /* zero point - that of the offset unrounded: gradient checks */
};

/* Of activations: 32 bits are real, range dynamic is dynamic. */
enum ht_tensor_kind ht_quantizer_spec_kind(const struct ht_quantizer_spec *spec);

/* HT_ERR_CONFIG for unknown names or widths. Weights of 16 bits have grid float16 and nothing else:
 * no range, no spans. */
enum ht_status ht_quantizer_init(struct ht_quantizer *q, const struct ht_quantizer_spec *spec,
                                 bool of_weights, size_t rows, struct ht_error *err);
/* Declares its spans as `prefix`.scale ...; after both stores are allocated, bind finds them. */
void ht_quantizer_declare(struct ht_quantizer *q, const char *prefix, struct ht_params *params,
                          struct ht_params *state);
void ht_quantizer_bind(struct ht_quantizer *q, const struct ht_params *params,
                       const struct ht_params *state);

/* For estimators that look at whole rows: before levels of this row x[n] are asked for, whenever
 * weights, scale, norm or the input's zero point may have changed. */
void ht_quantizer_prepare(struct ht_quantizer *q, size_t channel, const ht_real *x, size_t n);

/* Whether the zero point follows a learned offset. */
bool ht_quantizer_has_offset(const struct ht_quantizer *q);
/* What follows from scales, centroids and offsets, before they are used in a forward of this mode:
 * a learned one changes with every step. In SURROGATE a power of two follows its scale, as far
 * apart as it was. */
void ht_quantizer_refresh(struct ht_quantizer *q, enum ht_mode mode);
void ht_quantizer_refresh_channel(struct ht_quantizer *q, size_t channel, enum ht_mode mode);

/* The part of a row of x [rows, cols] that group `group` (0 without groups) has. */
struct ht_row_part {
    size_t channel, at, n; /* x[row * cols + at], n of them */
};
static inline struct ht_row_part ht_quantizer_part(const struct ht_quantizer *q, size_t row,
                                                   size_t group, size_t cols)
{
    const size_t at = group * q->group, left = cols - at;
    return (struct ht_row_part){q->channels == 1 ? 0 : row * q->groups + group, at,
                                q->group != 0 && left > q->group ? q->group : left};
}

/* Rounder of one channel, for its current zero point. */
struct ht_rounder ht_quantizer_rounder(const struct ht_quantizer *q, size_t channel);

/* The same for the integer kernels. */
struct ht_kernel_quantizer ht_quantizer_for_kernels(const struct ht_quantizer *q, size_t channel);

/* What the estimator wants to know of a row of this channel. */
struct ht_estimate ht_quantizer_estimate(const struct ht_quantizer *q, size_t channel);
/* The same in HT_MODE_SURROGATE, where the clamp moves with a learned offset. */
struct ht_estimate ht_quantizer_surrogate_estimate(const struct ht_quantizer *q, size_t channel);
/* y / scale from x / scale (transformed before, if the estimator does) in HT_MODE_SURROGATE, with
 * *residual as the last HT_MODE_TRAIN left it; with `keep` it is left, from the rounded q. */
void ht_quantizer_keep_residual(const struct ht_quantizer *q, const struct ht_estimate *e,
                                ht_real u, ht_real rounded, ht_real *residual);
ht_real ht_quantizer_surrogate(const struct ht_quantizer *q, const struct ht_estimate *e, ht_real u,
                               ht_real residual);

/* Where a level comes from beside its value: none of it matters in eval mode. */
struct ht_place_in_run {
    const struct ht_run *run; /* NULL: eval */
    size_t first;             /* index in its tensor of the first element */
};
/* Is there more to quantizing than round(clamp(x / scale))? */
bool ht_quantizer_is_plain(const struct ht_quantizer *q, const struct ht_run *run);
/* level[n] - zero point of x[n] of one channel, as forward has it, but for the scale of its
 * group. In place allowed. */
void ht_quantizer_levels(const struct ht_quantizer *q, size_t channel, struct ht_place_in_run place,
                         const ht_real *x, size_t n, ht_real *level);
/* The same from u = x / scale, of activations. */
void ht_quantizer_round_units(const struct ht_quantizer *q, struct ht_place_in_run place,
                              const ht_real *u, size_t n, ht_real *level);

/* Whether a forward in this mode should measure its tensor and call range->observe. */
bool ht_quantizer_observes(const struct ht_quantizer *q, enum ht_mode mode);

/* The largest |level - zero_point| that can occur, whatever the zero point; and with it as it is.
 */
int ht_quantizer_bound(const struct ht_quantizer *q);
int ht_quantizer_largest(const struct ht_quantizer *q);

/* Measures x [channels / groups, length] and sets scale and zero point, whatever the mode. */
void ht_quantizer_observe(struct ht_quantizer *q, const ht_real *x, size_t length);
/* The same in two steps, for a caller that has the channels' samples one by one, in any order.
 * ht_quantizer_refresh comes after both. */
void ht_quantizer_observe_channel(struct ht_quantizer *q, size_t channel, const ht_real *x,
                                  size_t length);
void ht_quantizer_observed(struct ht_quantizer *q);

/* LSQ's Q_P, at least 1: the largest level - zero_point. An affine grid takes its larger side, so
 * that a range below 0 is the mirror image of one above. */
ht_real ht_quantizer_reach(const struct ht_quantizer *q, size_t channel);

/* The scale's gradient: sum over dy * dy/dscale, times the estimator's factor, of one channel of a
 * tensor [rows, cols]. */
ht_real ht_quantizer_scale_gradient(const struct ht_quantizer *q, size_t channel, ht_real sum,
                                    size_t rows, size_t cols);

/* The offset's gradient from the sum of dy * dy/doffset over a tensor with `elements` features. */
ht_real ht_quantizer_offset_gradient(const struct ht_quantizer *q, ht_real sum, size_t elements);

/* The gradient of a learned alpha from the sum of dy * dy/dparameter. */
ht_real ht_quantizer_softness_gradient(const struct ht_quantizer *q, ht_real sum);

/* Adds to grad[n] that of dampening * ||scale * q - clip(x)||^2, which draws weights to the middle
 * of their bins (Nagel et al. 2022, arXiv 2203.11086, eq. 6 and 7). q: `value`, or `bytes`. */
void ht_quantizer_dampen(const struct ht_quantizer *q, size_t channel, const ht_real *x,
                         const ht_real *value, const int8_t *bytes, size_t n, ht_real *grad);

/* --- ops --- */

/* in: x [rows, cols] real, and the scale parameter if the range is learned, or the centroids of a
 * codebook. Out: quantized tensor,
 * one scale, or one per row for weights per channel. */
struct ht_node *ht_fake_quant(struct ht_graph *g, struct ht_node *x, struct ht_quantizer *q,
                              const struct ht_params *params);

/* Can this fake_quant of weights be bytes for the integer kernels? Not with zero points, nor when
 * its estimator learns its shape. */
bool ht_fake_quant_fits_kernels(const struct ht_node *w);

/* Backward of weights that are bytes, in place and by rows, so that their gradients are still in
 * the cache: in[0]->grad holds the gradient of the quantized rows first.. and becomes that of the
 * weights. sums[rows of n, ht_fake_quant_sums]: entries of these rows, for the scales (or
 * centroids) afterwards. */
size_t ht_fake_quant_sums(const struct ht_node *n);
void ht_fake_quant_backward_rows(struct ht_node *n, size_t first, size_t rows, ht_real *sums);
/* The scales' own gradients: of these rows where each has its scale, else only when told all. */
void ht_fake_quant_backward_scales(struct ht_node *n, size_t first, size_t rows,
                                   const ht_real *sums);
/* Does a step of some rows of weights, and of their learned scales, make these rows final? Then
 * they may be quantized for the next forward at once, while they are in the cache: refresh all
 * rows, by parts, then say so. The next forward checks that the parameters did not change once
 * more. */
bool ht_fake_quant_steps_by_rows(const struct ht_node *n);
void ht_fake_quant_refresh_rows(struct ht_node *n, size_t first, size_t rows);
void ht_fake_quant_refreshed(struct ht_node *n);

/* in: x [rows, cols] real, and the scale parameter if the range is learned. Out: real values,
 * softly quantized by an estimator that is annealed; in eval mode those of the hard one. */
struct ht_node *ht_soft_quant(struct ht_graph *g, struct ht_node *x, struct ht_quantizer *q,
                              const struct ht_params *params);

/* in: a quantized tensor. Out: value * scale. */
struct ht_node *ht_dequantize(struct ht_graph *g, struct ht_node *x);

#define HT_OP(name) extern const struct ht_op ht_op_##name;
#include "quant/ops.inc"
#undef HT_OP

#endif
