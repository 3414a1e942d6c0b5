/* Widths that are learned by gradient, in the soft form of a network (layers/model.h): for finding
 * them, not for shipping. y = d round(clamp(x, -below clip, clip) / d), with step d between levels
 *
 *     d = (1 + below) clip / (2^b - 2) for weights, / (2^b - 1) for activations, b = round(bits)
 *
 * clip and bits are parameters, rounding is straight through. So dy/dbits = dy/dd dd/dbits, which
 * is ln 2 (x - y) 2^b / (2^b - 2): but for the last factor the surrogate gradient of HGQ (Sun et
 * al. 2024, arXiv 2405.00645). Uhlich et al. 2020 (arXiv 1905.11452) derive the same for widths
 * beside a range, and prefer to learn d and the range; here Adam takes out what they have against
 * it, the different sizes of the gradients. */
#ifndef HT_QUANT_LEARNED_BITS_H
#define HT_QUANT_LEARNED_BITS_H

#include "autograd/graph.h"

/* Of one tensor. Its parameters are spans of a store of their own. */
struct ht_learned_bits {
    const struct ht_params *params;
    int bits_span, clip_span; /* [1, 1] and [channels, 1] */
    size_t channels;          /* 1, or rows of the weights */
    bool of_weights;
    ht_real below;         /* the lower end, as a share of clip: 1 for weights */
    ht_real bits_residual; /* b - bits of the last forward: gradient checks */
};

/* Declares the spans `prefix`.bits and `prefix`.clip. The width starts at `bits` and is kept at
 * `minimum` or above by an optimizer. */
void ht_learned_bits_declare(struct ht_learned_bits *l, struct ht_params *params,
                             const char *prefix, bool of_weights, size_t channels, double bits,
                             double minimum);

/* A first clip (and `below`) from values x[channels, length], those that 4 bits would have by
 * OCTAV.
 */
void ht_learned_bits_start(struct ht_learned_bits *l, const ht_real *x, size_t length);

ht_real *ht_learned_bits_value(const struct ht_learned_bits *l); /* the real width */
ht_real *ht_learned_bits_clip(const struct ht_learned_bits *l);  /* [channels] */

struct ht_node *ht_bits_quant(struct ht_graph *g, struct ht_node *x, struct ht_learned_bits *l);

#endif
