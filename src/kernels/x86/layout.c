#include "kernels/x86/layout.h"

#include <string.h>

#include "kernels/bundles.h"

/* What the packing needs of a grid: the layout, and the index (or byte) of each code. */
struct plan {
    struct ht_x86_layout layout;
    uint8_t index[256];
};

static int storage_bits(int bits)
{
    return bits > 4 ? 8 : bits > 2 ? 4 : bits;
}

/* Are the levels of all codes different and equally spaced? */
static bool equally_spaced(const struct ht_kernel_weights *w, int lo, int hi)
{
    const int count = 1 << w->bits, step = (hi - lo) / (count - 1);
    uint8_t seen[256] = {0};
    if (step < 1 || lo + step * (count - 1) != hi)
        return false;
    for (int code = 0; code < count; code++) {
        const int distance = w->level[code] - lo;
        if (distance % step || seen[distance / step]++)
            return false;
    }
    return true;
}

static void plan_indices(struct plan *p, const struct ht_kernel_weights *w)
{
    struct ht_x86_layout *l = &p->layout;
    for (int code = 0; code < 1 << w->bits; code++) {
        const int byte = w->level[code] - l->shift;
        if (l->bits == 8)
            p->index[code] = (uint8_t)byte;
        else
            p->index[code] = (uint8_t)(l->uniform ? (w->level[code] - l->lo) / l->step : code);
        if (l->bits < 8)
            l->table[p->index[code]] = (int8_t)byte;
    }
}

/* Products of signs alone? */
static bool is_binary(const struct ht_kernel_weights *w)
{
    return w->a_binary && w->bits == 1 && w->level[0] * w->level[1] == -1 && !w->zero_point &&
           w->k <= HT_X86_MAX_BINARY;
}

static void plan_init(struct plan *p, const struct ht_kernel_weights *w, bool counts)
{
    int lo = w->level[0], hi = lo;
    for (int code = 1; code < 1 << w->bits; code++) {
        lo = w->level[code] < lo ? w->level[code] : lo;
        hi = w->level[code] > hi ? w->level[code] : hi;
    }
    memset(p, 0, sizeof *p);
    if (counts && is_binary(w)) {
        p->layout.binary = 1;
        p->layout.bits = 8; /* one output to a byte */
        p->index[0] = w->level[0] < 0;
        p->index[1] = w->level[1] < 0;
        return;
    }
    p->layout.reference = hi - lo > 255;
    p->layout.bits = storage_bits(w->bits);
    p->layout.shift = lo >= -128 && hi <= 127 ? 0 : hi - 127;
    p->layout.has_coefficients = w->zero_point || p->layout.shift;
    if (p->layout.reference)
        return;
    p->layout.uniform = p->layout.bits < 8 && equally_spaced(w, lo, hi);
    if (p->layout.uniform) {
        p->layout.lo = lo;
        p->layout.step = (hi - lo) / ((1 << w->bits) - 1);
    }
    plan_indices(p, w);
}

size_t ht_x86_packed_size(const struct ht_kernel_weights *w, size_t lanes, bool counts)
{
    struct plan p;
    plan_init(&p, w, counts);
    if (p.layout.reference) {
        struct ht_kernels c;
        ht_kernels_install_c(&c);
        return sizeof p.layout + c.packed_size(w);
    }
    const size_t padded = ht_x86_padded(&p.layout, w->n, lanes);
    const size_t sums = padded * sizeof(int32_t) * (p.layout.has_coefficients ? 2 : 1);
    const size_t strips = padded / (lanes * ht_x86_planes(&p.layout));
    return sizeof p.layout + sums + strips * ht_x86_groups(&p.layout, w->k) * lanes * 4;
}

static unsigned code_at(const struct ht_kernel_weights *w, size_t i)
{
    const size_t bit = i * (size_t)w->bits, shift = bit % 8;
    unsigned pair = w->codes[bit / 8];
    if (shift + (size_t)w->bits > 8)
        pair |= (unsigned)w->codes[bit / 8 + 1] << 8;
    return pair >> shift & ((1u << w->bits) - 1);
}

/* One output: its bytes are or-ed into the lines. Returns the sum of its bytes' values. */
static int32_t pack_output(const struct plan *p, const struct ht_kernel_weights *w, size_t n,
                           size_t lanes, uint8_t *lines)
{
    const size_t planes = ht_x86_planes(&p->layout), line = lanes * 4;
    const size_t plane = n / lanes % planes;
    uint8_t *at = lines + n / (lanes * planes) * ht_x86_groups(&p->layout, w->k) * line;
    int64_t sum = 0;
    at += n % lanes * 4;
    for (size_t k = 0; k < w->k; k++) {
        const unsigned code = code_at(w, n * w->k + k);
        if (p->layout.binary)
            at[k / 32 * line + k % 32 / 8] |= (uint8_t)(p->index[code] << k % 8);
        else
            at[k / 4 * line + k % 4] |=
                (uint8_t)(p->index[code] << (plane * (size_t)p->layout.bits));
        sum += w->level[code] - p->layout.shift;
    }
    return (int32_t)(uint32_t)sum; /* modulo 2^32, as the kernels add */
}

void ht_x86_pack(const struct ht_kernel_weights *w, size_t lanes, bool counts, void *packed)
{
    struct plan p;
    uint8_t *bytes = packed;
    plan_init(&p, w, counts);
    memcpy(bytes, &p.layout, sizeof p.layout);
    bytes += sizeof p.layout;
    if (p.layout.reference) {
        struct ht_kernels c;
        ht_kernels_install_c(&c);
        c.pack(w, bytes);
        return;
    }
    const size_t padded = ht_x86_padded(&p.layout, w->n, lanes);
    const size_t sums = padded * sizeof(int32_t) * (p.layout.has_coefficients ? 2 : 1);
    const size_t n_bytes = ht_x86_packed_size(w, lanes, counts) - sizeof p.layout - sums;
    uint8_t *lines = bytes + sums;
    memset(bytes, 0, sums + n_bytes);
    for (size_t n = 0; n < w->n; n++) {
        const int32_t sum = pack_output(&p, w, n, lanes, lines);
        const int32_t coefficient = p.layout.shift - (w->zero_point ? w->zero_point[n] : 0);
        memcpy(bytes + n * sizeof sum, &sum, sizeof sum);
        if (p.layout.has_coefficients)
            memcpy(bytes + (padded + n) * sizeof sum, &coefficient, sizeof coefficient);
    }
    for (size_t i = 0; p.layout.uniform && i < n_bytes; i++)
        lines[i] ^= 0x80;
}
