/* How the ARM bundles keep weights. Private to src/kernels/arm.
 *
 * A line is 64 bytes, four registers: 16 groups of 4 bytes, one group for each output, its bytes
 * for 4 neighbouring inputs. With `bits` < 8 a byte holds the weights of several outputs, the
 * planes: output n is in strip n / (16 * planes), plane n / 16 % planes, group n % 16. A strip is
 * one line for every 4 inputs. Outputs and inputs that do not exist are zero.
 *
 *     struct ht_arm_layout | int32 sum[padded n] | int32 coefficient[padded n], when it has them
 *     | lines[strips][ceil(k / 4)]
 *
 * A plane holds an index: of the sorted levels when they are equally spaced (`uniform`), else into
 * `table`. Bytes of uniform planes have their top bit flipped, so that a line, or a line masked
 * to its lowest planes, is a signed operand as it is: the difference of the dot products with two
 * masks is the product with one plane, times a power of two.
 *
 * When both operands are -1 or +1 (`binary`) there are only bits, 1 for -1, in groups of 4 outputs:
 *
 *     struct ht_arm_layout | uint8 bits[padded n / 4][ceil(k / 128)][4][16] */
#ifndef HT_KERNELS_ARM_LAYOUT_H
#define HT_KERNELS_ARM_LAYOUT_H

#include "kernels/kernels.h"

#define HT_ARM_OUTPUTS      16    /* of a line */
#define HT_ARM_LINE         64    /* bytes */
#define HT_ARM_BINARY_MAX_K 65536 /* inputs; their bits are on the stack */

struct ht_arm_layout {
    int32_t reference; /* the C reference's packing follows: levels too far apart for bytes */
    int32_t binary;
    int32_t bits;    /* of a plane: 8, 4, 2 or 1 */
    int32_t uniform; /* bits < 8: level = lo + step * index */
    int32_t lo, step;
    int32_t shift;            /* level - shift is an int8 */
    int32_t has_coefficients; /* coefficient[n] = shift - zero_point[n], when not all are 0 */
    int32_t has_minimum;      /* some byte of a weight is -128 */
    int8_t table[16];         /* bits < 8: level - shift of each index */
    int32_t unused[3];
};
_Static_assert(sizeof(struct ht_arm_layout) == 64, "lines stay aligned");

static inline size_t ht_arm_planes(const struct ht_arm_layout *layout)
{
    return 8 / (size_t)layout->bits;
}

/* Outputs with the padding. */
static inline size_t ht_arm_padded(const struct ht_arm_layout *layout, size_t n)
{
    const size_t strip = HT_ARM_OUTPUTS * (layout->binary ? 1 : ht_arm_planes(layout));
    return (n + strip - 1) / strip * strip;
}

/* Members of the bundles. */
size_t ht_arm_packed_size(const struct ht_kernel_weights *w);
void ht_arm_pack(const struct ht_kernel_weights *w, void *packed);
void ht_arm_pack_levels(const struct ht_kernel_weights *w, size_t row, size_t rows,
                        const int8_t *levels, void *packed, int32_t *sums);

#endif
