/* Packing weights that change in every training step, generic in the vectors. Included once by each
 * bundle: int8 levels as they are to lines, which are a transpose of 32-bit words. */
#ifndef HT_KERNELS_X86_PACK_H
#define HT_KERNELS_X86_PACK_H

#include "kernels/x86/layout.h"

#define QUAD ((size_t)16) /* bytes of a row that become 4 lines' groups */

/* QUAD bytes of LANES rows to 4 lines; *sum gets what they add to each output's sum. */
HT_INLINE void pack_quad(const uint8_t *from, size_t stride, vint lines[4], vint *sum)
{
    vint row[4];
    HT_UNROLL
    for (size_t i = 0; i < 4; i++) /* rows i, i + 4, ... */
        row[i] = v_load_quads(from + i * stride, 4 * stride);
    const vint low01 = v_interleave_low32(row[0], row[1]),
               low23 = v_interleave_low32(row[2], row[3]);
    const vint high01 = v_interleave_high32(row[0], row[1]),
               high23 = v_interleave_high32(row[2], row[3]);
    lines[0] = v_interleave_low64(low01, low23);
    lines[1] = v_interleave_high64(low01, low23);
    lines[2] = v_interleave_low64(high01, high23);
    lines[3] = v_interleave_high64(high01, high23);
    HT_UNROLL
    for (size_t i = 0; i < 4; i++)
        *sum = v_add_groups(*sum, lines[i]);
}

/* A quad of which only some rows and bytes exist. */
static void pack_part(const uint8_t *from, size_t stride, size_t rows, size_t bytes, uint8_t *to,
                      vint *sum)
{
    uint8_t copy[LANES * QUAD] = {0};
    vint lines[4];
    for (size_t i = 0; i < rows; i++)
        memcpy(copy + i * QUAD, from + i * stride, bytes);
    pack_quad(copy, QUAD, lines, sum);
    for (size_t i = 0; i < (bytes + 3) / 4; i++)
        v_store(to + i * 4 * LANES, lines[i]);
}

/* `rows` <= LANES outputs to their strip. Returns the sums. */
static vint pack_strip(const uint8_t *from, size_t k, size_t rows, uint8_t *to)
{
    vint sum = v_splat(0), lines[4];
    size_t i = 0;
    for (; rows == LANES && i + QUAD <= k; i += QUAD) {
        pack_quad(from + i, k, lines, &sum);
        HT_UNROLL
        for (size_t j = 0; j < 4; j++)
            v_store(to + (i + 4 * j) * LANES, lines[j]);
    }
    for (; i < k; i += QUAD)
        pack_part(from + i, k, rows, k - i < QUAD ? k - i : QUAD, to + i * LANES, &sum);
    return sum;
}

static void pack_levels(const struct ht_kernel_weights *w, size_t row, size_t rows,
                        const int8_t *levels, void *packed, int32_t *sums)
{
    /* What ht_x86_pack finds out of such weights. */
    const struct ht_x86_layout layout = {.bits = 8};
    const size_t padded = ht_x86_padded(&layout, w->n, LANES), strip = (w->k + 3) / 4 * 4 * LANES;
    uint8_t *bytes = packed;
    if (row == 0)
        memcpy(bytes, &layout, sizeof layout);
    bytes += sizeof layout;
    for (size_t i = 0; i < rows; i += LANES) {
        const size_t count = rows - i < LANES ? rows - i : LANES;
        uint8_t *to = bytes + padded * sizeof(int32_t) + (row + i) / LANES * strip;
        const vint sum = pack_strip((const uint8_t *)levels + i * w->k, w->k, count, to);
        v_store(bytes + (row + i) * sizeof(int32_t), sum);
        v_store_first(sums + i, sum, count);
    }
}

#endif
