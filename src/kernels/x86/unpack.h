/* Weights under 8 bits to bytes: once, for many rows. Generic in the vectors, included once by each
 * bundle. */
#ifndef HT_KERNELS_X86_UNPACK_H
#define HT_KERNELS_X86_UNPACK_H

#include "kernels/x86/layer.h"

struct unpacking {
    vint shift[2], table[2], mask;
};

/* Two neighbouring planes to lines of bytes: index, then the byte of its level. */
HT_INLINE void unpack_lines(const struct unpacking *u, bool first_plane, const uint8_t *lines,
                            size_t k4, uint8_t *to0, uint8_t *to1)
{
    const struct unpacking c = *u;
    for (size_t i = 0; i < k4 * LINE; i += LINE) {
        const vint line = v_load(lines + i);
        const vint low = first_plane ? line : v_shift_right(line, c.shift[0]);
        const vint high = v_shift_right(line, c.shift[1]);
        v_store(to0 + i, v_lookup16(c.table[0], v_and(low, c.mask)));
        v_store(to1 + i, v_lookup16(c.table[1], v_and(high, c.mask)));
    }
}

static void unpack_planes(const struct layer *l, const uint8_t *lines, size_t plane, size_t k4,
                          uint8_t *to0, uint8_t *to1)
{
    const int bits = l->layout.bits;
    struct unpacking u = {.mask = v_splat_byte((1 << bits) - 1)};
    for (size_t p = 0; p < 2; p++) {
        const bool flipped = l->layout.uniform && plane + p + 1 == l->planes;
        int8_t table[16]; /* as the plane's bits stand in the line */
        for (int i = 0; i < 16; i++)
            table[i] = l->layout.table[flipped ? i ^ 1 << (bits - 1) : i];
        u.table[p] = v_table16(table);
        u.shift[p] = v_splat(bits * (int)(plane + p));
    }
    if (plane == 0)
        unpack_lines(&u, true, lines, k4, to0, to1);
    else
        unpack_lines(&u, false, lines, k4, to0, to1);
}

#endif
