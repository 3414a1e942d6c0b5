/* What follows from several fields of one quantizer. */
#include <stdio.h>
#include <string.h>

#include "config/rules_internal.h"

enum use { INPUT, WEIGHTS, ACTIVATIONS, OUTPUT };
static const struct {
    const char *name, *default_grid;
    bool can_be_float;
} uses[] = {
    [INPUT] = {"input", "affine", true},
    [WEIGHTS] = {"weights", "narrow", true},
    [ACTIVATIONS] = {"activations", "affine", true},
    [OUTPUT] = {"output", "affine", true},
};

static const struct {
    const char *name;
    int min_bits, max_bits;
    bool weights_only;
    const char *range; /* its own, the only one it goes with, or NULL */
    int group_bits;    /* with granularity group at most: levels times 3 fit int8. 0: never */
} grids[] = {
    {"full", 2, 8, false, NULL, 6},          {"narrow", 2, 8, false, NULL, 6},
    {"affine", 2, 8, false, NULL, 0},        {"binary", 1, 1, false, NULL, 1},
    {"zero_free", 1, 4, false, NULL, 4},     {"pow2", 2, 4, true, NULL, 3},
    {"pow2_zero_free", 2, 3, true, NULL, 3}, {"apot", 3, 5, true, NULL, 4},
    {"ternary", 2, 2, true, "twn", 2},       {"codebook", 1, 4, true, "kmeans", 0},
};
#define N_GRIDS (sizeof grids / sizeof *grids)

/* Index of a grid; N_GRIDS for a name that the field table has refused already. */
static size_t find_grid(const char *name)
{
    size_t i = 0;
    while (i < N_GRIDS && strcmp(grids[i].name, name) != 0)
        i++;
    return i;
}

static bool grid_has(const char *grid, int bits)
{
    const size_t i = find_grid(grid);
    return i < N_GRIDS && bits >= grids[i].min_bits && bits <= grids[i].max_bits;
}

static bool weights_only(const char *grid)
{
    const size_t i = find_grid(grid);
    return i < N_GRIDS && grids[i].weights_only;
}

/* The widest that has room for group scales; 0: none. */
static int group_bits(const char *grid)
{
    const size_t i = find_grid(grid);
    return i < N_GRIDS ? grids[i].group_bits : 0;
}

/* The only range of a grid, or NULL. */
static const char *range_of(const char *grid)
{
    const size_t i = find_grid(grid);
    return i < N_GRIDS ? grids[i].range : NULL;
}

/* The grid that a range belongs to, or NULL. */
static const char *grid_of(const char *range)
{
    for (size_t i = 0; i < N_GRIDS; i++)
        if (grids[i].range && strcmp(grids[i].range, range) == 0)
            return grids[i].name;
    return NULL;
}

/* The range that an estimator cannot do without, or NULL. */
static const char *needed_range(const char *estimator)
{
    static const char *const needs[][2] = {{"lsq", "learned"},      {"a2q", "learned"},
                                           {"lsq_plus", "learned"}, {"pact", "learned"},
                                           {"prox", "learned"},     {"dorefa", "min_max"}};
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (is(estimator, needs[i][0]))
            return needs[i][1];
    return NULL;
}

static void set_name(char *field, const char *value)
{
    ht_fields_copy_text(field, HT_NAME_LENGTH, value);
}

/* A grid with a range of its own brings it; without that grid another range is needed. */
static uint32_t settle_range(const struct ht_rules *s, struct ht_quantizer_config *q)
{
    const char *own = range_of(q->grid);
    uint32_t chosen = 0;
    const bool fits = own ? is(q->range, own) : grid_of(q->range) == NULL;
    if (!fits && !ht_rules_row_node(s, q, HT_ROW_RANGE)) {
        const bool lsq = !own && !ht_rules_row_node(s, q, HT_ROW_ESTIMATOR);
        set_name(q->range, own ? own : "learned");
        chosen |= 1u << HT_ROW_RANGE;
        if (lsq || (own && is(q->estimator, "lsq") && !ht_rules_row_node(s, q, HT_ROW_ESTIMATOR))) {
            set_name(q->estimator, lsq ? "lsq" : "clipped_ste");
            chosen |= 1u << HT_ROW_ESTIMATOR;
        }
    }
    return chosen;
}

/* A group that is written asks for groups; those that are inherited end where there is no room. */
static uint32_t settle_granularity(const struct ht_rules *s, struct ht_quantizer_config *q)
{
    const char *fitting = NULL;
    if (ht_rules_row_node(s, q, HT_ROW_GRANULARITY))
        return 0;
    if (ht_rules_row_node(s, q, HT_ROW_GROUP))
        fitting = "group";
    else if (is(q->grid, "codebook"))
        fitting = "tensor";
    else if (is(q->granularity, "group") && q->bits > group_bits(q->grid))
        fitting = "channel";
    if (!fitting || is(q->granularity, fitting))
        return 0;
    set_name(q->granularity, fitting);
    return 1u << HT_ROW_GRANULARITY;
}

/* Narrow accumulators need weights that know of them: instead of lsq, where a2q can be. */
static uint32_t settle_accumulators(const struct ht_rules *s, struct ht_quantizer_config *q,
                                    enum use use)
{
    const bool can = use == WEIGHTS && s->e->quant.accumulator_bits < 32 &&
                     (is(q->grid, "narrow") || is(q->grid, "full")) && is(q->range, "learned") &&
                     is(q->granularity, "channel");
    const char *from = can ? "lsq" : "a2q", *to = can ? "a2q" : "lsq";
    if (ht_rules_row_node(s, q, HT_ROW_ESTIMATOR) || !is(q->estimator, from))
        return 0;
    set_name(q->estimator, to);
    return 1u << HT_ROW_ESTIMATOR;
}

/* Chooses what was not written so that it fits what was. Returns the rows that were chosen. */
static uint32_t settle(const struct ht_rules *s, struct ht_quantizer_config *q, enum use use,
                       const char *previous_grid)
{
    uint32_t chosen = 0;
    bool bits_given = ht_rules_row_node(s, q, HT_ROW_BITS),
         grid_given = ht_rules_row_node(s, q, HT_ROW_GRID);
    const size_t grid = find_grid(q->grid);
    if (grid_given && !bits_given && grid < N_GRIDS &&
        grids[grid].min_bits == grids[grid].max_bits) {
        q->bits = grids[grid].min_bits;
        chosen |= 1u << HT_ROW_BITS;
    } else if (!grid_given && q->bits <= 8 && !grid_has(q->grid, q->bits)) {
        if (grid_has(previous_grid, q->bits))
            set_name(q->grid, previous_grid);
        else if (q->bits == 1)
            set_name(q->grid, "binary");
        else if (is(q->grid, "binary") || weights_only(q->grid))
            set_name(q->grid, uses[use].default_grid);
        chosen |= 1u << HT_ROW_GRID;
    }
    chosen |= settle_range(s, q);
    chosen |= settle_granularity(s, q);
    bool range_given = ht_rules_row_node(s, q, HT_ROW_RANGE);
    bool estimator_given = ht_rules_row_node(s, q, HT_ROW_ESTIMATOR);
    const char *range = needed_range(q->estimator);
    if (range && !is(q->range, range)) {
        if (range_given && !estimator_given) {
            set_name(q->estimator, "clipped_ste");
            chosen |= 1u << HT_ROW_ESTIMATOR;
        } else if (estimator_given && !range_given && use != INPUT && !range_of(q->grid)) {
            set_name(q->range, range);
            chosen |= 1u << HT_ROW_RANGE;
        }
    }
    chosen |= settle_accumulators(s, q, use);
    return chosen;
}

static void check_width(const struct ht_rules *s, const struct ht_quantizer_config *q, enum use use,
                        bool override)
{
    struct ht_place place = ht_rules_row_place(s, q, HT_ROW_BITS, HT_ROW_GRID);
    if (q->bits == 32 && override && use == WEIGHTS)
        ht_diagnostics_add(s->r->d, place,
                           "a float32 layer inside a quantized network is not supported: use 8, or "
                           "16 where activations are float");
    else if (q->bits == 16 && use != WEIGHTS)
        ht_diagnostics_add(s->r->d, place, "16 bits are for weights only: %s have 1..8, or 32",
                           uses[use].name);
    else if (q->bits > 8)
        return;
    else if (!grid_has(q->grid, q->bits)) {
        for (size_t i = 0; i < sizeof grids / sizeof *grids; i++)
            if (is(grids[i].name, q->grid))
                ht_diagnostics_add(s->r->d, place, "grid %s has %d..%d bits, not %d%s", q->grid,
                                   grids[i].min_bits, grids[i].max_bits, q->bits,
                                   q->bits == 1 ? " (grid binary has 1)" : "");
    } else if (use == WEIGHTS && is(q->grid, "full") && q->bits == 8)
        ht_diagnostics_add(s->r->d, ht_rules_row_place(s, q, HT_ROW_GRID, HT_ROW_BITS),
                           "8-bit weights are narrow by contract, without -128: use grid narrow");
}

/* Grids that are tables. */
static void check_table(const struct ht_rules *s, const struct ht_quantizer_config *q, enum use use)
{
    struct ht_diagnostics *d = s->r->d;
    const char *own = range_of(q->grid), *owner = grid_of(q->range);
    if (use != WEIGHTS && weights_only(q->grid))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_GRID, HT_ROW_BITS),
                           "grid %s is for weights only: %s need grid full, narrow, affine, binary "
                           "or zero_free",
                           q->grid, uses[use].name);
    else if (own && !is(q->range, own))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_RANGE, HT_ROW_GRID),
                           "grid %s finds its scale by range %s, not %s", q->grid, own, q->range);
    else if (owner && !is(q->grid, owner))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_RANGE, HT_ROW_GRID),
                           "range %s belongs to grid %s, not to %s", q->range, owner, q->grid);
    if (is(q->grid, "codebook") && is(q->granularity, "channel"))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_GRANULARITY, HT_ROW_GRID),
                           "grid codebook has one table for a layer: use granularity tensor");
}

/* Scales of groups are whole numbers that go into the levels of the weights, which stay int8. */
static void check_group(const struct ht_rules *s, const struct ht_quantizer_config *q)
{
    struct ht_diagnostics *d = s->r->d;
    const enum ht_quantizer_row row =
        ht_rules_row_node(s, q, HT_ROW_GRANULARITY) ? HT_ROW_GRANULARITY : HT_ROW_GROUP;
    const int most = group_bits(q->grid);
    if (most == 0)
        ht_diagnostics_add(d, ht_rules_row_place(s, q, row, HT_ROW_GRID),
                           "granularity group is not for grid %s: use full, narrow, zero_free, "
                           "binary, pow2, pow2_zero_free, apot or ternary",
                           q->grid);
    else if (q->bits > most)
        ht_diagnostics_add(d, ht_rules_row_place(s, q, row, HT_ROW_BITS),
                           "granularity group multiplies levels within int8: %d bits leave no room "
                           "for that; grid %s has it up to %d bits",
                           q->bits, q->grid, most);
    if (!is(q->scale, "real"))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_SCALE, row),
                           "granularity group has scales of its own: it needs scale real");
}

/* Why a2q cannot be here, or NULL. */
static const char *a2q_misfit(const struct ht_rules *s, const struct ht_quantizer_config *q,
                              bool weights)
{
    if (!weights)
        return "is for weights only";
    if (s->e->quant.accumulator_bits == 32)
        return "needs quant.accumulator_bits: the width that sums must fit";
    if (!is(q->grid, "narrow") && !is(q->grid, "full"))
        return "needs grid narrow or full";
    if (!is(q->granularity, "channel"))
        return "needs granularity channel: each neuron has its own accumulator";
    if (!is(q->rounding, "nearest_even"))
        return "has its own rounding, toward zero: leave rounding at nearest_even";
    if (!is(q->scale, "real"))
        return "needs scale real";
    if (s->e->quant.dampening > 0 || s->e->quant.freeze_threshold > 0)
        return "normalizes its weights: quant.dampening and quant.freeze_threshold are not for it";
    return NULL;
}

/* What an estimator is not made for, beside its range. */
static void check_estimator(const struct ht_rules *s, const struct ht_quantizer_config *q,
                            enum use use)
{
    const bool weights = use == WEIGHTS;
    const char *name = q->estimator, *why = NULL;
    if (is(name, "pact") && weights)
        why = "is for activations only: it clips at 0";
    else if ((is(name, "pact") || is(name, "lsq_plus") || is(name, "dorefa")) && !weights &&
             !is(q->grid, "affine"))
        why = is(name, "lsq_plus") ? "learns an offset: of activations it needs grid affine"
                                   : "has no values below 0: it needs grid affine";
    else if (is(name, "dorefa") && use == INPUT)
        why = "is not for the input, whose range is known";
    else if (is(name, "dorefa") && weights && (q->bits == 1 || is(q->grid, "affine")))
        why = q->bits == 1 ? "has no transform at 1 bit: its formula is estimator ste with range "
                             "min_max"
                           : "needs weights on a symmetric grid";
    else if (is(name, "quantization_networks") && use == INPUT)
        why = "is not for the input, which nothing in front of it could learn from";
    else if ((is(name, "parq") || is(name, "prox")) && !weights)
        why = "is for weights only: it is a regularization of parameters";
    else if ((is(name, "dsq") || ht_rules_is_annealed(name)) && is(q->rounding, "floor"))
        why = "needs rounding to the nearest level, not floor";
    else if (ht_rules_is_annealed(name) && is(q->rounding, "stochastic"))
        why = "needs rounding to the nearest level, not stochastic";
    else if ((is(name, "dsq") || ht_rules_is_annealed(name)) && weights_only(q->grid))
        why = "needs levels at equal distances";
    else if (is(name, "dorefa") && !is(q->scale, "real"))
        why = "has a fixed scale: it needs scale real";
    else if (is(name, "dorefa") && is(q->granularity, "group"))
        why = "has a fixed scale: it needs granularity tensor or channel";
    else if (is(name, "a2q"))
        why = a2q_misfit(s, q, weights);
    if (is(name, "ewgs") && q->delta_epochs > 0 && !weights)
        ht_diagnostics_add(s->r->d, ht_rules_row_place(s, q, HT_ROW_DELTA_EPOCHS, HT_ROW_ESTIMATOR),
                           "delta_epochs is for weights only: activations are no parameters whose "
                           "Hessian could be sampled");
    if (why)
        ht_diagnostics_add(s->r->d, ht_rules_row_place(s, q, HT_ROW_ESTIMATOR, HT_ROW_GRID),
                           "estimator %s %s", name, why);
    if (!weights)
        return;
    if (s->e->quant.dampening > 0 && is(name, "dorefa"))
        ht_diagnostics_add(s->r->d, ht_rules_row_place(s, q, HT_ROW_ESTIMATOR, HT_ROW_GRID),
                           "quant.dampening is not defined for estimator dorefa: its bins are of "
                           "transformed weights");
    if (s->e->quant.adaround && (is(name, "dorefa") || is(q->rounding, "floor") ||
                                 is(q->granularity, "group") || range_of(q->grid)))
        ht_diagnostics_add(s->r->d, ht_rules_row_place(s, q, HT_ROW_GRID, HT_ROW_ESTIMATOR),
                           "quant.adaround chooses between the two levels next to a weight: not "
                           "with grid ternary or codebook, granularity group, estimator dorefa or "
                           "rounding floor");
    if (s->e->quant.freeze_threshold > 0 && !is(q->range, "learned"))
        ht_diagnostics_add(s->r->d, ht_rules_row_place(s, q, HT_ROW_RANGE, HT_ROW_ESTIMATOR),
                           "quant.freeze_threshold needs weights of range learned, not %s: other "
                           "scales move with the weights",
                           q->range);
}

/* Each sample's scale covers the sample: there is nothing to clip, learn or draw. */
static void check_dynamic(const struct ht_rules *s, const struct ht_quantizer_config *q,
                          enum use use)
{
    struct ht_diagnostics *d = s->r->d;
    if (use == WEIGHTS || use == OUTPUT)
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_RANGE, HT_ROW_BITS),
                           "range dynamic is for the input and activations, not for %s",
                           uses[use].name);
    else if (!is(q->grid, "full") && !is(q->grid, "narrow") && !is(q->grid, "affine"))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_GRID, HT_ROW_RANGE),
                           "range dynamic needs grid full, narrow or affine, not %s", q->grid);
    if (!is(q->estimator, "ste") && !is(q->estimator, "clipped_ste"))
        ht_diagnostics_add(
            d, ht_rules_row_place(s, q, HT_ROW_ESTIMATOR, HT_ROW_RANGE),
            "range dynamic clips nothing and learns nothing: it needs estimator ste (or "
            "clipped_ste, which is the same here), not %s",
            q->estimator);
    if (is(q->rounding, "stochastic") || !is(q->scale, "real"))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_ROUNDING, HT_ROW_SCALE),
                           "range dynamic needs rounding nearest_even or floor, and scale real");
}

static void check_quantizer(const struct ht_rules *s, const struct ht_quantizer_config *q,
                            enum use use, bool override)
{
    struct ht_diagnostics *d = s->r->d;
    for (int row = 0; row < HT_N_QUANTIZER_ROWS; row++) {
        const struct ht_tree_node *node = ht_rules_row_node(s, q, (enum ht_quantizer_row)row);
        if (node && node->failed)
            return;
    }
    check_width(s, q, use, override);
    if (use != WEIGHTS && !is(q->granularity, "tensor"))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_GRANULARITY, HT_ROW_GROUP),
                           "granularity %s is for weights only: %s have one scale a tensor",
                           q->granularity, uses[use].name);
    if (q->bits > 8)
        return;
    if (use == WEIGHTS && is(q->granularity, "group"))
        check_group(s, q);
    check_table(s, q, use);
    if (is(q->range, "dynamic"))
        check_dynamic(s, q, use);
    if (use == INPUT && is(q->range, "learned"))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_RANGE, HT_ROW_ESTIMATOR),
                           "the range of the input cannot be learned: use min_max or ema");
    else if (needed_range(q->estimator) && !is(q->range, needed_range(q->estimator)))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_ESTIMATOR, HT_ROW_RANGE),
                           "estimator %s needs range %s, not %s", q->estimator,
                           needed_range(q->estimator), q->range);
    else
        check_estimator(s, q, use);
    if (is(q->rounding, "stochastic") && weights_only(q->grid))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_ROUNDING, HT_ROW_GRID),
                           "rounding stochastic is not defined on grid %s: use nearest_even",
                           q->grid);
    if (is(q->rounding, "floor") &&
        (is(q->grid, "binary") || is(q->grid, "zero_free") || weights_only(q->grid)))
        ht_diagnostics_add(d, ht_rules_row_place(s, q, HT_ROW_ROUNDING, HT_ROW_GRID),
                           "rounding floor is not defined on grid %s: use nearest_even", q->grid);
}

static void check_override_name(const struct ht_rules *s, const struct ht_quant_override *entry)
{
    const char *names[HT_MAX_LAYERS + 2] = {"first", "last"};
    size_t n = 2;
    for (size_t i = 0; i < s->e->model.n_layers; i++)
        if (is(s->e->model.layers[i].kind, "dense"))
            names[n++] = s->e->model.layers[i].name;
    for (size_t i = 0; i < n; i++)
        if (is(names[i], entry->layer))
            return;
    size_t offset = (size_t)((const char *)&entry->at - (const char *)s->e);
    const struct ht_tree_node *node = ht_reader_find(s->r, offset);
    struct ht_place place =
        node ? node->key_place : (struct ht_place){s->mode == HT_RULES_SET ? 1 : 0, entry->at};
    ht_reader_unknown(s->r, place, "layer", entry->layer, "quant.layers", names, n);
}

/* Fills the rows of an override that were not given, and checks the whole. */
static void inherit(const struct ht_rules *s, struct ht_quantizer_config *q, uint32_t *set,
                    const struct ht_quantizer_config *from, enum use use)
{
    char previous_grid[HT_NAME_LENGTH];
    memcpy(previous_grid, q->grid, sizeof previous_grid);
    for (size_t i = 0; i < ht_quantizer_table.n; i++) {
        const struct ht_field *f = &ht_quantizer_table.fields[i];
        size_t size = f->type == HT_FIELD_CHOICE   ? HT_NAME_LENGTH
                      : f->type == HT_FIELD_DOUBLE ? sizeof(double)
                      : f->type == HT_FIELD_BOOL   ? sizeof(bool)
                                                   : sizeof(int);
        if (!(*set >> i & 1))
            memcpy((char *)q + f->offset, (const char *)from + f->offset, size);
    }
    if (*set == 0)
        return;
    *set |= settle(s, q, use, previous_grid);
    bool written = *set >> HT_ROW_BITS & 1;
    if (use == ACTIVATIONS && q->bits == 32 && !written && s->e->quant.weights.bits <= 8)
        ht_diagnostics_add(s->r->d, ht_rules_row_place(s, q, HT_ROW_RANGE, HT_ROW_GRID),
                           "the 32 bits of quant.activations are inherited, and float activations "
                           "have no quantizer: write bits, too");
    if (q->bits <= 8 || written)
        check_quantizer(s, q, use, true);
}

void ht_rules_quantizers(const struct ht_rules *s)
{
    struct ht_experiment *e = s->e;
    struct ht_quantizer_config *all[] = {[INPUT] = &e->quant.input,
                                         [WEIGHTS] = &e->quant.weights,
                                         [ACTIVATIONS] = &e->quant.activations,
                                         [OUTPUT] = &e->quant.output};
    for (int use = INPUT; use <= OUTPUT; use++) {
        settle(s, all[use], (enum use)use, "");
        check_quantizer(s, all[use], (enum use)use, false);
    }
    for (size_t i = 0; i < e->quant.n_layers; i++) {
        struct ht_quant_override *entry = &e->quant.layers[i];
        inherit(s, &entry->weights, &entry->weights_set, &e->quant.weights, WEIGHTS);
        inherit(s, &entry->activations, &entry->activations_set, &e->quant.activations,
                ACTIVATIONS);
        if (e->model.n_layers > 0)
            check_override_name(s, entry);
    }
}
