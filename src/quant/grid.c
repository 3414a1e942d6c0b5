#include "quant/grid.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* How the codes of a grid map to its levels. */
enum code_kind { CODE_TWOS_COMPLEMENT, CODE_LEVEL, CODE_INDEX };

/* With b bits: hi = (1 << (b - sign_bits)) - 1, lo = low_scale * hi + low_offset. */
struct grid_kind {
    int min_bits, max_bits;
    int sign_bits; /* 1 when one bit of the code is the sign */
    int low_scale, low_offset;
    int step;
    bool has_zero_point;
};

static const char *const names[] = {"full", "narrow", "affine", "binary", "zero_free"};

/* In the order of names. */
static const struct grid_kind kinds[] = {
    {2, 8, 1, -1, -1, 1, false}, /* full */
    {2, 8, 1, -1, 0, 1, false},  /* narrow */
    {2, 8, 0, 0, 0, 1, true},    /* affine */
    {1, 1, 0, -1, 0, 2, false},  /* binary */
    {1, 4, 0, -1, 0, 2, false},  /* zero_free */
};
#define N_GRIDS (sizeof names / sizeof names[0])
_Static_assert(N_GRIDS == sizeof kinds / sizeof kinds[0], "one kind for each name");

const char *const *ht_grid_names(size_t *n)
{
    *n = N_GRIDS;
    return names;
}

static enum ht_status fail_unknown(const char *name, struct ht_error *err)
{
    const char *near = ht_nearest_name(name, names, N_GRIDS);
    return ht_fail(err, HT_ERR_CONFIG,
                   "unknown grid '%.32s'%s%s%s "
                   "(full, narrow, affine, binary, zero_free)",
                   name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

enum ht_status ht_grid_init(struct ht_grid *ret, const char *name, int bits, struct ht_error *err)
{
    size_t i = 0;
    while (i < N_GRIDS && strcmp(names[i], name) != 0)
        i++;
    if (i == N_GRIDS)
        return fail_unknown(name, err);
    const struct grid_kind *k = &kinds[i];
    if (bits < k->min_bits || bits > k->max_bits) {
        if (k->min_bits == k->max_bits)
            return ht_fail(err, HT_ERR_CONFIG, "grid %s has %d bit, not %d", name, k->min_bits,
                           bits);
        return ht_fail(err, HT_ERR_CONFIG, "grid %s has %d to %d bits, not %d", name, k->min_bits,
                       k->max_bits, bits);
    }
    struct ht_grid g = {.bits = bits, .step = k->step, .has_zero_point = k->has_zero_point};
    snprintf(g.name, sizeof g.name, "%s", name);
    g.hi = (1 << (bits - k->sign_bits)) - 1;
    g.lo = k->low_scale * g.hi + k->low_offset;
    g.n_levels = (g.hi - g.lo) / g.step + 1;
    *ret = g;
    return HT_OK;
}

/* A grid's fields tell its codes: step 2 is indexed, a negative lo is two's complement. */
static enum code_kind code_kind(const struct ht_grid *g)
{
    if (g->step != 1)
        return CODE_INDEX;
    return g->lo < 0 ? CODE_TWOS_COMPLEMENT : CODE_LEVEL;
}

int ht_grid_level(const struct ht_grid *g, unsigned code)
{
    switch (code_kind(g)) {
    case CODE_INDEX:
        return g->lo + g->step * (int)code;
    case CODE_TWOS_COMPLEMENT:
        return (int)code - (code >> (g->bits - 1) ? 1 << g->bits : 0);
    default:
        return (int)code;
    }
}

unsigned ht_grid_code(const struct ht_grid *g, int level)
{
    if (code_kind(g) == CODE_INDEX)
        return (unsigned)((level - g->lo) / g->step);
    return (unsigned)level & ((1u << g->bits) - 1);
}

bool ht_grid_code_valid(const struct ht_grid *g, unsigned code)
{
    if (code >> g->bits)
        return false;
    int level = ht_grid_level(g, code);
    return level >= g->lo && level <= g->hi;
}
