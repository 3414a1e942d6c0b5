#include "quant/grid.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* How the codes of a grid map to its levels. */
enum code_kind { CODE_TWOS_COMPLEMENT, CODE_LEVEL, CODE_INDEX };

/* With b bits: hi = (1 << (b - sign_bits)) - 1, lo = low_scale * hi + low_offset; step 0: a table.
 */
struct grid_kind {
    int min_bits, max_bits;
    int sign_bits; /* 1 when one bit of the code is the sign */
    int low_scale, low_offset;
    int step;
    bool has_zero_point;
};

static const char *const names[] = {"full", "narrow",         "affine", "binary",  "zero_free",
                                    "pow2", "pow2_zero_free", "apot",   "ternary", "codebook"};

/* In the order of names. */
static const struct grid_kind kinds[] = {
    {2, 8, 1, -1, -1, 1, false}, /* full */
    {2, 8, 1, -1, 0, 1, false},  /* narrow */
    {2, 8, 0, 0, 0, 1, true},    /* affine */
    {1, 1, 0, -1, 0, 2, false},  /* binary */
    {1, 4, 0, -1, 0, 2, false},  /* zero_free */
    {2, 4, 0, 0, 0, 0, false},   /* pow2 */
    {2, 3, 0, 0, 0, 0, false},   /* pow2_zero_free: with 4 bits 128 would not fit */
    {3, 5, 0, 0, 0, 0, false},   /* apot */
    {2, 2, 0, 0, 0, 0, false},   /* ternary */
    {1, 4, 0, 0, 0, 0, false},   /* codebook: learned, no row below */
};
#define N_GRIDS (sizeof names / sizeof names[0])
_Static_assert(N_GRIDS == sizeof kinds / sizeof kinds[0], "one kind for each name");

/* Levels of tables: 0 if it is one, and +- the others.
 * pow2: 0 and +-2^k, as the log2 domain of Miyashita et al. 2016 (arXiv 1603.01025) and INQ (Zhou
 * et al. 2017, arXiv 1702.03044) have it. Here zero shares the codes with the powers, so that b
 * bits have 2^(b-1) - 1 of them (INQ spends a bit on zero), and rounding is to the nearest level,
 * not to the nearest exponent. pow2_zero_free: the same without zero, 2^(b-1) powers. apot: a sign
 * and b - 1 bits of magnitude (Li et al. 2020, arXiv 1909.13144, eq. 5 and the authors' code:
 * build_power_value(b - 1)). 3 bits: {0, 1/2, 1/4, 1/8}, times 8 the levels of pow2. 4 bits: {0,
 * 1/2, 1/4, 1/16} + {0, 1/8}, times 16. 5 bits: {0, 1/2, 1/8, 1/32} + {0, 1/4, 1/16, 1/64},
 * times 64. The factor goes into the scale. 6 bits would need +-192: no int8.
 * ternary: TWN (Li and Liu 2016, arXiv 1605.04711). */
static const struct {
    const char *name;
    int bits;
    bool has_zero;
    int n;
    int8_t positive[15];
} tables[] = {
    {"pow2", 2, true, 1, {1}},
    {"pow2", 3, true, 3, {1, 2, 4}},
    {"pow2", 4, true, 7, {1, 2, 4, 8, 16, 32, 64}},
    {"pow2_zero_free", 2, false, 2, {1, 2}},
    {"pow2_zero_free", 3, false, 4, {1, 2, 4, 8}},
    {"apot", 3, true, 3, {1, 2, 4}},
    {"apot", 4, true, 7, {1, 2, 3, 4, 6, 8, 10}},
    {"apot", 5, true, 15, {1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48}},
    {"ternary", 2, true, 1, {1}},
};

const char *const *ht_grid_names(size_t *n)
{
    *n = N_GRIDS;
    return names;
}

static enum ht_status fail_unknown(const char *name, struct ht_error *err)
{
    const char *near = ht_nearest_name(name, names, N_GRIDS);
    char list[160] = "";
    for (size_t i = 0, at = 0; i < N_GRIDS && at < sizeof list; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", names[i]);
    return ht_fail(err, HT_ERR_CONFIG, "unknown grid '%.32s'%s%s%s (%s)", name,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", list);
}

static void fill_table(struct ht_grid *g, const int8_t *level, int n)
{
    for (int i = 0; i < HT_GRID_TABLE; i++)
        g->level[i] = level[i < n ? i : n - 1];
    g->n_levels = n;
    g->lo = level[0];
    g->hi = level[n - 1];
}

static void init_table(struct ht_grid *g)
{
    int8_t level[HT_GRID_TABLE];
    int n = 0;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        if (strcmp(tables[i].name, g->name) != 0 || tables[i].bits != g->bits)
            continue;
        for (int k = tables[i].n; k-- > 0;)
            level[n++] = (int8_t)-tables[i].positive[k];
        if (tables[i].has_zero)
            level[n++] = 0;
        for (int k = 0; k < tables[i].n; k++)
            level[n++] = tables[i].positive[k];
    }
    g->learned = n == 0;
    for (int last = (1 << g->bits) - 1, i = 0; g->learned && i <= last; i++)
        level[n++] = (int8_t)((254 * i + last / 2) / last - 127);
    fill_table(g, level, n);
}

bool ht_grid_set_levels(struct ht_grid *g, const int *level, int n)
{
    int8_t table[HT_GRID_TABLE];
    if (!g->learned || n < 1 || n > 1 << g->bits || n > HT_GRID_TABLE)
        return false;
    for (int i = 0; i < n; i++) {
        if (level[i] < -127 || level[i] > 127 || (i > 0 && level[i] <= level[i - 1]))
            return false;
        table[i] = (int8_t)level[i];
    }
    fill_table(g, table, n);
    return true;
}

enum ht_status ht_grid_init(struct ht_grid *ret, const char *name, int bits, struct ht_error *err)
{
    size_t i = 0;
    if (bits == 16 && strcmp(name, HT_GRID_FLOAT16) == 0) {
        *ret = (struct ht_grid){.name = HT_GRID_FLOAT16, .bits = 16, .step = 1, .n_levels = 1};
        return HT_OK;
    }
    while (i < N_GRIDS && strcmp(names[i], name) != 0)
        i++;
    if (i == N_GRIDS)
        return fail_unknown(name, err);
    const struct grid_kind *k = &kinds[i];
    if (bits < k->min_bits || bits > k->max_bits) {
        if (k->min_bits == k->max_bits)
            return ht_fail(err, HT_ERR_CONFIG, "grid %s has %d bit%s, not %d", name, k->min_bits,
                           k->min_bits == 1 ? "" : "s", bits);
        return ht_fail(err, HT_ERR_CONFIG, "grid %s has %d to %d bits, not %d", name, k->min_bits,
                       k->max_bits, bits);
    }
    struct ht_grid g = {.bits = bits, .step = k->step, .has_zero_point = k->has_zero_point};
    snprintf(g.name, sizeof g.name, "%s", name);
    if (k->step == 0) {
        init_table(&g);
        *ret = g;
        return HT_OK;
    }
    g.hi = (1 << (bits - k->sign_bits)) - 1;
    g.lo = k->low_scale * g.hi + k->low_offset;
    g.n_levels = (g.hi - g.lo) / g.step + 1;
    *ret = g;
    return HT_OK;
}

/* A grid's fields tell its codes: tables and step 2 are indexed, a negative lo is two's complement.
 */
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
        if (g->step == 0)
            return g->level[code < HT_GRID_TABLE ? code : HT_GRID_TABLE - 1];
        return g->lo + g->step * (int)code;
    case CODE_TWOS_COMPLEMENT:
        return (int)code - (code >> (g->bits - 1) ? 1 << g->bits : 0);
    default:
        return (int)code;
    }
}

unsigned ht_grid_code(const struct ht_grid *g, int level)
{
    unsigned code = 0;
    if (g->step == 0)
        while (code + 1 < (unsigned)g->n_levels && g->level[code] < level)
            code++;
    else if (code_kind(g) == CODE_INDEX)
        code = (unsigned)((level - g->lo) / g->step);
    else
        code = (unsigned)level & ((1u << g->bits) - 1);
    return code;
}

bool ht_grid_code_valid(const struct ht_grid *g, unsigned code)
{
    if (code >> g->bits)
        return false;
    if (g->step == 0)
        return code < (unsigned)g->n_levels;
    int level = ht_grid_level(g, code);
    return level >= g->lo && level <= g->hi;
}

bool ht_grid_has_level(const struct ht_grid *g, int level)
{
    if (g->step == 0)
        return g->level[ht_grid_code(g, level)] == level;
    return level >= g->lo && level <= g->hi && (level - g->lo) % g->step == 0;
}

int ht_grid_max_group_scale(const struct ht_grid *g)
{
    const int most = g->hi > -g->lo ? g->hi : -g->lo;
    if (g->has_zero_point)
        return 0;
    return most > 0 ? 127 / most : 127; /* a codebook may have nothing but 0 */
}
