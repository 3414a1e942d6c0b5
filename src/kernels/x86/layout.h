/* How the x86 bundles keep weights. Private to src/kernels/x86.
 *
 * A line is one vector register: `lanes` groups of 4 bytes, one group for each output, its bytes
 * for 4 neighbouring inputs. With `bits` < 8 a byte holds the weights of several outputs, the
 * planes: output n is in strip n / (lanes * planes), plane n / lanes % planes, lane n % lanes. A
 * strip is one line for every 4 inputs. Inputs and outputs that do not exist are zero.
 *
 *     struct ht_x86_layout | int32 sum[padded n] | int32 coefficient[padded n], when it has them
 *     | lines[strips][ceil(k / 4)]
 *
 * A plane holds an index: of the sorted levels when they are equally spaced (`uniform`), else into
 * `table`. Bytes of uniform planes have their top bit flipped, so that a line, or a line masked
 * to its lowest planes, serves as a signed operand as it is: the difference of the dot products
 * with two masks is the product with one plane, times a power of two.
 *
 * Where levels of weights and of activations are -1 and +1 (`binary`), a group is the signs of 32
 * inputs, 1 for -1, the first input in the lowest bit: one line for every 32 inputs. Inputs that do
 * not exist are +1. */
#ifndef HT_KERNELS_X86_LAYOUT_H
#define HT_KERNELS_X86_LAYOUT_H

#include "kernels/kernels.h"

struct ht_x86_layout {
    int32_t reference; /* the C reference's packing follows: levels too far apart for bytes */
    int32_t bits;      /* of a plane: 8, 4, 2 or 1 */
    int32_t uniform;   /* bits < 8: level = lo + step * index */
    int32_t lo, step;
    int32_t shift;            /* level - shift is an int8 */
    int32_t has_coefficients; /* coefficient[n] = shift - zero_point[n], when not all are 0 */
    int8_t table[16];         /* bits < 8: level - shift of each index */
    int32_t binary;           /* levels are -1 and +1, and so are activations: bits of inputs */
    int32_t unused[4];
};
_Static_assert(sizeof(struct ht_x86_layout) == 64, "lines stay aligned");

static inline size_t ht_x86_planes(const struct ht_x86_layout *layout)
{
    return 8 / (size_t)layout->bits;
}

/* Outputs with the padding. */
static inline size_t ht_x86_padded(const struct ht_x86_layout *layout, size_t n, size_t lanes)
{
    const size_t strip = lanes * ht_x86_planes(layout);
    return (n + strip - 1) / strip * strip;
}

/* Groups of 4 bytes that hold the weights of k inputs: lines of a strip. */
static inline size_t ht_x86_groups(const struct ht_x86_layout *layout, size_t k)
{
    return layout->binary ? (k + 31) / 32 : (k + 3) / 4;
}

#define HT_X86_MAX_BINARY 65536 /* inputs in binary; their bits in a row are kept on the stack */

/* counts: can this CPU count bits, so that weights may be packed in binary? */
size_t ht_x86_packed_size(const struct ht_kernel_weights *w, size_t lanes, bool counts);
void ht_x86_pack(const struct ht_kernel_weights *w, size_t lanes, bool counts, void *packed);

#endif
