/* How weights for real activations are packed for x86: rows of groups of codes, a group being one
 * or more vectors of HT_REAL_LANES, in containers that a few instructions turn into floats. The
 * same for all instruction sets. */
#ifndef HT_KERNELS_X86_REAL_LAYOUT_H
#define HT_KERNELS_X86_REAL_LAYOUT_H

#include "kernels/kernels.h"

#define HT_REAL_LANES 16

enum ht_real_container {
    HT_REAL_HALF,   /* float16 */
    HT_REAL_INT16,  /* level - zero point of weights that have zero points */
    HT_REAL_INT8,   /* levels */
    HT_REAL_NIBBLE, /* 3 and 4 bits: 16 bytes are 2 vectors, from bit 4 v of byte j on code j of v
                     */
    HT_REAL_PAIR    /* 1 and 2 bits: 16 bytes are 4 vectors, from bit 2 v of byte j on */
};

enum ht_real_container ht_x86_real_container(const struct ht_kernel_weights *w);
/* Vectors of a group; bytes of a row of w. */
size_t ht_x86_real_vectors(enum ht_real_container c);
size_t ht_x86_real_row(const struct ht_kernel_weights *w);

/* The packing starts with a table of 16 bytes, for nibbles and pairs: the level of each code,
 * whatever stands in the bits above it. */
#define HT_REAL_TABLE 16

size_t ht_x86_packed_real_size(const struct ht_kernel_weights *w);
void ht_x86_pack_real(const struct ht_kernel_weights *w, void *packed);

#endif
