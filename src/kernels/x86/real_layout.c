#include "kernels/x86/real_layout.h"

#include <string.h>

#define LANES HT_REAL_LANES

enum ht_real_container ht_x86_real_container(const struct ht_kernel_weights *w)
{
    if (w->bits == 16)
        return HT_REAL_HALF;
    if (w->zero_point)
        return HT_REAL_INT16;
    if (w->bits > 4)
        return HT_REAL_INT8;
    return w->bits > 2 ? HT_REAL_NIBBLE : HT_REAL_PAIR;
}

size_t ht_x86_real_vectors(enum ht_real_container c)
{
    return c == HT_REAL_PAIR ? 4 : (c == HT_REAL_NIBBLE ? 2 : 1);
}

static size_t group_bytes(enum ht_real_container c)
{
    return c == HT_REAL_HALF || c == HT_REAL_INT16 ? 2 * LANES : LANES;
}

size_t ht_x86_real_row(const struct ht_kernel_weights *w)
{
    const enum ht_real_container c = ht_x86_real_container(w);
    const size_t codes = LANES * ht_x86_real_vectors(c);
    return (w->k + codes - 1) / codes * group_bytes(c);
}

size_t ht_x86_packed_real_size(const struct ht_kernel_weights *w)
{
    return HT_REAL_TABLE + w->n * ht_x86_real_row(w);
}

static unsigned code_of(const struct ht_kernel_weights *w, size_t i)
{
    const size_t bit = i * (size_t)w->bits, last = (w->n * w->k * (size_t)w->bits + 7) / 8 - 1;
    unsigned pair = w->codes[bit / 8];
    if (bit / 8 < last)
        pair |= (unsigned)w->codes[bit / 8 + 1] << 8;
    return pair >> bit % 8 & ((1u << w->bits) - 1);
}

/* Code j of a group; zero_point of weights that have some. */
static void put(enum ht_real_container c, uint8_t *group, size_t j, unsigned code, int level,
                int zero_point)
{
    const uint16_t wide =
        c == HT_REAL_HALF ? (uint16_t)code : (uint16_t)(int16_t)(level - zero_point);
    switch (c) {
    case HT_REAL_HALF:
    case HT_REAL_INT16:
        memcpy(group + 2 * j, &wide, sizeof wide);
        break;
    case HT_REAL_INT8:
        group[j] = (uint8_t)level;
        break;
    case HT_REAL_NIBBLE:
        group[j % LANES] |= (uint8_t)(code << j / LANES * 4);
        break;
    case HT_REAL_PAIR:
        group[j % LANES] |= (uint8_t)(code << j / LANES * 2);
        break;
    }
}

/* What fills up the last group of a row does not matter, but is always the same: activations have
 * zeros there, and all weights are finite. */
void ht_x86_pack_real(const struct ht_kernel_weights *w, void *packed)
{
    const enum ht_real_container c = ht_x86_real_container(w);
    const size_t codes = LANES * ht_x86_real_vectors(c), row = ht_x86_real_row(w);
    uint8_t *to = packed;
    memset(to, 0, ht_x86_packed_real_size(w));
    for (unsigned i = 0; w->bits <= 4 && i < HT_REAL_TABLE; i++)
        to[i] = (uint8_t)w->level[i & ((1u << w->bits) - 1)];
    to += HT_REAL_TABLE;
    for (size_t n = 0; n < w->n; n++)
        for (size_t k = 0; k < w->k; k++) {
            const unsigned code = code_of(w, n * w->k + k);
            put(c, to + n * row + k / codes * group_bytes(c), k % codes, code,
                w->bits == 16 ? 0 : w->level[code], w->zero_point ? w->zero_point[n] : 0);
        }
}
