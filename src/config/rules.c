/* What follows from several fields together, mostly of quantizers. */
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "config/tables.h"

struct rules {
    struct ht_reader *r;
    struct ht_experiment *e;
    enum ht_rules_mode mode;
};

/* What a quantizer is for. */
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

static bool is(const char *name, const char *value)
{
    return strcmp(name, value) == 0;
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

/* The node that gave a field of the quantizer, or NULL. */
static struct ht_tree_node *row_node(const struct rules *s, const struct ht_quantizer_config *q,
                                     enum ht_quantizer_row row)
{
    size_t offset = (size_t)((const char *)q - (const char *)s->e);
    return ht_reader_find(s->r, offset + ht_quantizer_table.fields[row].offset);
}

/* Where to report: the first of two fields that was written, else the quantizer's map. */
static struct ht_place row_place(const struct rules *s, const struct ht_quantizer_config *q,
                                 enum ht_quantizer_row row, enum ht_quantizer_row other)
{
    const struct ht_tree_node *node = row_node(s, q, row);
    if (!node)
        node = row_node(s, q, other);
    if (node)
        return node->place;
    return (struct ht_place){s->mode == HT_RULES_SET ? 1 : 0, q->at.line ? q->at : s->e->quant.at};
}

static void set_name(char *field, const char *value)
{
    ht_fields_copy_text(field, HT_NAME_LENGTH, value);
}

/* A grid with a range of its own brings it; without that grid another range is needed. */
static uint32_t settle_range(const struct rules *s, struct ht_quantizer_config *q)
{
    const char *own = range_of(q->grid);
    uint32_t chosen = 0;
    const bool fits = own ? is(q->range, own) : grid_of(q->range) == NULL;
    if (!fits && !row_node(s, q, HT_ROW_RANGE)) {
        const bool lsq = !own && !row_node(s, q, HT_ROW_ESTIMATOR);
        set_name(q->range, own ? own : "learned");
        chosen |= 1u << HT_ROW_RANGE;
        if (lsq || (own && is(q->estimator, "lsq") && !row_node(s, q, HT_ROW_ESTIMATOR))) {
            set_name(q->estimator, lsq ? "lsq" : "clipped_ste");
            chosen |= 1u << HT_ROW_ESTIMATOR;
        }
    }
    return chosen;
}

/* A group that is written asks for groups; those that are inherited end where there is no room. */
static uint32_t settle_granularity(const struct rules *s, struct ht_quantizer_config *q)
{
    const char *fitting = NULL;
    if (row_node(s, q, HT_ROW_GRANULARITY))
        return 0;
    if (row_node(s, q, HT_ROW_GROUP))
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
static uint32_t settle_accumulators(const struct rules *s, struct ht_quantizer_config *q,
                                    enum use use)
{
    const bool can = use == WEIGHTS && s->e->quant.accumulator_bits < 32 &&
                     (is(q->grid, "narrow") || is(q->grid, "full")) && is(q->range, "learned") &&
                     is(q->granularity, "channel");
    const char *from = can ? "lsq" : "a2q", *to = can ? "a2q" : "lsq";
    if (row_node(s, q, HT_ROW_ESTIMATOR) || !is(q->estimator, from))
        return 0;
    set_name(q->estimator, to);
    return 1u << HT_ROW_ESTIMATOR;
}

/* Chooses what was not written so that it fits what was. Returns the rows that were chosen. */
static uint32_t settle(const struct rules *s, struct ht_quantizer_config *q, enum use use,
                       const char *previous_grid)
{
    uint32_t chosen = 0;
    bool bits_given = row_node(s, q, HT_ROW_BITS), grid_given = row_node(s, q, HT_ROW_GRID);
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
    bool range_given = row_node(s, q, HT_ROW_RANGE);
    bool estimator_given = row_node(s, q, HT_ROW_ESTIMATOR);
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

static void check_width(const struct rules *s, const struct ht_quantizer_config *q, enum use use,
                        bool override)
{
    struct ht_place place = row_place(s, q, HT_ROW_BITS, HT_ROW_GRID);
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
        ht_diagnostics_add(s->r->d, row_place(s, q, HT_ROW_GRID, HT_ROW_BITS),
                           "8-bit weights are narrow by contract, without -128: use grid narrow");
}

/* Grids that are tables. */
static void check_table(const struct rules *s, const struct ht_quantizer_config *q, enum use use)
{
    struct ht_diagnostics *d = s->r->d;
    const char *own = range_of(q->grid), *owner = grid_of(q->range);
    if (use != WEIGHTS && weights_only(q->grid))
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_GRID, HT_ROW_BITS),
                           "grid %s is for weights only: %s need grid full, narrow, affine, binary "
                           "or zero_free",
                           q->grid, uses[use].name);
    else if (own && !is(q->range, own))
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_RANGE, HT_ROW_GRID),
                           "grid %s finds its scale by range %s, not %s", q->grid, own, q->range);
    else if (owner && !is(q->grid, owner))
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_RANGE, HT_ROW_GRID),
                           "range %s belongs to grid %s, not to %s", q->range, owner, q->grid);
    if (is(q->grid, "codebook") && is(q->granularity, "channel"))
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_GRANULARITY, HT_ROW_GRID),
                           "grid codebook has one table for a layer: use granularity tensor");
}

/* Scales of groups are whole numbers that go into the levels of the weights, which stay int8. */
static void check_group(const struct rules *s, const struct ht_quantizer_config *q)
{
    struct ht_diagnostics *d = s->r->d;
    const enum ht_quantizer_row row =
        row_node(s, q, HT_ROW_GRANULARITY) ? HT_ROW_GRANULARITY : HT_ROW_GROUP;
    const int most = group_bits(q->grid);
    if (most == 0)
        ht_diagnostics_add(d, row_place(s, q, row, HT_ROW_GRID),
                           "granularity group is not for grid %s: use full, narrow, zero_free, "
                           "binary, pow2, pow2_zero_free, apot or ternary",
                           q->grid);
    else if (q->bits > most)
        ht_diagnostics_add(d, row_place(s, q, row, HT_ROW_BITS),
                           "granularity group multiplies levels within int8: %d bits leave no room "
                           "for that; grid %s has it up to %d bits",
                           q->bits, q->grid, most);
    if (!is(q->scale, "real"))
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_SCALE, row),
                           "granularity group has scales of its own: it needs scale real");
}

/* Those that train softly first (src/quant/soft.h). */
static bool is_annealed(const char *estimator)
{
    static const char *const annealed[] = {"parq", "prox", "quantization_networks"};
    for (size_t i = 0; i < sizeof annealed / sizeof *annealed; i++)
        if (is(estimator, annealed[i]))
            return true;
    return false;
}

/* Why a2q cannot be here, or NULL. */
static const char *a2q_misfit(const struct rules *s, const struct ht_quantizer_config *q,
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
static void check_estimator(const struct rules *s, const struct ht_quantizer_config *q,
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
    else if ((is(name, "dsq") || is_annealed(name)) && is(q->rounding, "floor"))
        why = "needs rounding to the nearest level, not floor";
    else if (is_annealed(name) && is(q->rounding, "stochastic"))
        why = "needs rounding to the nearest level, not stochastic";
    else if ((is(name, "dsq") || is_annealed(name)) && weights_only(q->grid))
        why = "needs levels at equal distances";
    else if (is(name, "dorefa") && !is(q->scale, "real"))
        why = "has a fixed scale: it needs scale real";
    else if (is(name, "dorefa") && is(q->granularity, "group"))
        why = "has a fixed scale: it needs granularity tensor or channel";
    else if (is(name, "a2q"))
        why = a2q_misfit(s, q, weights);
    if (is(name, "ewgs") && q->delta_epochs > 0 && !weights)
        ht_diagnostics_add(s->r->d, row_place(s, q, HT_ROW_DELTA_EPOCHS, HT_ROW_ESTIMATOR),
                           "delta_epochs is for weights only: activations are no parameters whose "
                           "Hessian could be sampled");
    if (why)
        ht_diagnostics_add(s->r->d, row_place(s, q, HT_ROW_ESTIMATOR, HT_ROW_GRID),
                           "estimator %s %s", name, why);
    if (!weights)
        return;
    if (s->e->quant.dampening > 0 && is(name, "dorefa"))
        ht_diagnostics_add(s->r->d, row_place(s, q, HT_ROW_ESTIMATOR, HT_ROW_GRID),
                           "quant.dampening is not defined for estimator dorefa: its bins are of "
                           "transformed weights");
    if (s->e->quant.adaround && (is(name, "dorefa") || is(q->rounding, "floor") ||
                                 is(q->granularity, "group") || range_of(q->grid)))
        ht_diagnostics_add(s->r->d, row_place(s, q, HT_ROW_GRID, HT_ROW_ESTIMATOR),
                           "quant.adaround chooses between the two levels next to a weight: not "
                           "with grid ternary or codebook, granularity group, estimator dorefa or "
                           "rounding floor");
    if (s->e->quant.freeze_threshold > 0 && !is(q->range, "learned"))
        ht_diagnostics_add(s->r->d, row_place(s, q, HT_ROW_RANGE, HT_ROW_ESTIMATOR),
                           "quant.freeze_threshold needs weights of range learned, not %s: other "
                           "scales move with the weights",
                           q->range);
}

/* Each sample's scale covers the sample: there is nothing to clip, learn or draw. */
static void check_dynamic(const struct rules *s, const struct ht_quantizer_config *q, enum use use)
{
    struct ht_diagnostics *d = s->r->d;
    if (use == WEIGHTS || use == OUTPUT)
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_RANGE, HT_ROW_BITS),
                           "range dynamic is for the input and activations, not for %s",
                           uses[use].name);
    else if (!is(q->grid, "full") && !is(q->grid, "narrow") && !is(q->grid, "affine"))
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_GRID, HT_ROW_RANGE),
                           "range dynamic needs grid full, narrow or affine, not %s", q->grid);
    if (!is(q->estimator, "ste") && !is(q->estimator, "clipped_ste"))
        ht_diagnostics_add(
            d, row_place(s, q, HT_ROW_ESTIMATOR, HT_ROW_RANGE),
            "range dynamic clips nothing and learns nothing: it needs estimator ste (or "
            "clipped_ste, which is the same here), not %s",
            q->estimator);
    if (is(q->rounding, "stochastic") || !is(q->scale, "real"))
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_ROUNDING, HT_ROW_SCALE),
                           "range dynamic needs rounding nearest_even or floor, and scale real");
}

static void check_quantizer(const struct rules *s, const struct ht_quantizer_config *q,
                            enum use use, bool override)
{
    struct ht_diagnostics *d = s->r->d;
    for (int row = 0; row < HT_N_QUANTIZER_ROWS; row++) {
        const struct ht_tree_node *node = row_node(s, q, (enum ht_quantizer_row)row);
        if (node && node->failed)
            return;
    }
    check_width(s, q, use, override);
    if (use != WEIGHTS && !is(q->granularity, "tensor"))
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_GRANULARITY, HT_ROW_GROUP),
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
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_RANGE, HT_ROW_ESTIMATOR),
                           "the range of the input cannot be learned: use min_max or ema");
    else if (needed_range(q->estimator) && !is(q->range, needed_range(q->estimator)))
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_ESTIMATOR, HT_ROW_RANGE),
                           "estimator %s needs range %s, not %s", q->estimator,
                           needed_range(q->estimator), q->range);
    else
        check_estimator(s, q, use);
    if (is(q->rounding, "stochastic") && weights_only(q->grid))
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_ROUNDING, HT_ROW_GRID),
                           "rounding stochastic is not defined on grid %s: use nearest_even",
                           q->grid);
    if (is(q->rounding, "floor") &&
        (is(q->grid, "binary") || is(q->grid, "zero_free") || weights_only(q->grid)))
        ht_diagnostics_add(d, row_place(s, q, HT_ROW_ROUNDING, HT_ROW_GRID),
                           "rounding floor is not defined on grid %s: use nearest_even", q->grid);
}

/* The activation right after a dense layer's block, or "" (then the output is what is quantized).
 */
static const char *activation_after(const struct ht_experiment *e, size_t dense)
{
    for (size_t i = dense + 1; i < e->model.n_layers; i++) {
        const char *kind = e->model.layers[i].kind;
        if (is(kind, "dense"))
            break;
        if (!is(kind, "batchnorm") && !is(kind, "dropout"))
            return kind;
    }
    return "";
}

static void check_relu(const struct rules *s)
{
    for (size_t i = 0, dense = 0; i < s->e->model.n_layers; i++) {
        if (!is(s->e->model.layers[i].kind, "dense"))
            continue;
        const struct ht_quantizer_config *q = ht_experiment_activations(s->e, dense++);
        const char *activation = activation_after(s->e, i);
        bool relu = is(activation, "relu") || is(activation, "relu6");
        if (relu && q->bits <= 8 && (is(q->grid, "binary") || is(q->grid, "zero_free"))) {
            ht_diagnostics_add(s->r->d, row_place(s, q, HT_ROW_GRID, HT_ROW_BITS),
                               "activations on grid %s after %s: %s leaves the negative levels "
                               "unused: use grid affine, or remove %s",
                               q->grid, activation, activation, activation);
            return;
        }
    }
}

static void check_override_name(const struct rules *s, const struct ht_quant_override *entry)
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
static void inherit(const struct rules *s, struct ht_quantizer_config *q, uint32_t *set,
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
        ht_diagnostics_add(s->r->d, row_place(s, q, HT_ROW_RANGE, HT_ROW_GRID),
                           "the 32 bits of quant.activations are inherited, and float activations "
                           "have no quantizer: write bits, too");
    if (q->bits <= 8 || written)
        check_quantizer(s, q, use, true);
}

/* Where the value at this offset was written, else `otherwise`. */
static struct ht_place written_at(const struct rules *s, const void *value,
                                  struct ht_source_position otherwise)
{
    const size_t offset = (size_t)((const char *)value - (const char *)s->e);
    const struct ht_tree_node *node = ht_reader_find(s->r, offset);
    return node ? node->place : (struct ht_place){s->mode == HT_RULES_SET ? 1 : 0, otherwise};
}

/* Are there activations whose range must be seen? */
static bool has_ranges(const struct ht_experiment *e)
{
    size_t n_dense = 0;
    bool found = e->quant.output.bits <= 8;
    if (!e->quant.given || e->quant.weights.bits == 32)
        return false;
    for (size_t i = 0; i < e->model.n_layers; i++)
        n_dense += is(e->model.layers[i].kind, "dense");
    for (size_t i = 0; i + 1 < n_dense; i++) {
        const struct ht_quantizer_config *q = ht_experiment_activations(e, i);
        found |= q->bits <= 8 && !is(q->range, "dynamic");
    }
    return found;
}

/* A network that is trained is taken as it is, and quantized by what calibration finds. */
static void check_no_training(const struct rules *s)
{
    const struct ht_experiment *e = s->e;
    const struct ht_place place = written_at(s, &e->train.epochs, e->train.at);
    if (!e->train.from[0])
        ht_diagnostics_add(s->r->d, place,
                           "train.epochs 0 takes a network that is trained: train.from must say "
                           "which");
    else if (has_ranges(e) && e->quant.calibration_batches == 0)
        ht_diagnostics_add(s->r->d, place,
                           "train.epochs 0 finds all ranges by calibration: "
                           "quant.calibration_batches must be at least 1");
}

/* A network that was just initialized has no errors worth correcting; one in its float stage is
 * still in the hands of the optimizer. */
static void check_needs_trained(const struct rules *s, const bool *value, const char *name)
{
    const struct ht_experiment *e = s->e;
    if (*value && (!e->train.from[0] || e->quant.start_epoch > 0))
        ht_diagnostics_add(s->r->d, written_at(s, value, e->quant.at),
                           "quant.%s is for a trained network that is quantized from the start: it "
                           "needs train.from, and quant.start_epoch 0",
                           name);
}

static void check_equalize(const struct rules *s)
{
    const struct ht_experiment *e = s->e;
    const struct ht_place place = written_at(s, &e->quant.equalize, e->quant.at);
    size_t last = 0, n = 0;
    for (size_t i = 0; i < e->model.n_layers; i++)
        if (is(e->model.layers[i].kind, "dense")) {
            last = i;
            n++;
        }
    if (n == 1)
        ht_diagnostics_add(s->r->d, place, "quant.equalize needs two dense layers or more");
    for (size_t i = 0; i < last; i++) {
        const char *activation = activation_after(e, i);
        if (is(e->model.layers[i].kind, "dense") && activation[0] && !is(activation, "relu") &&
            !is(activation, "leaky_relu")) {
            ht_diagnostics_add(s->r->d, place,
                               "quant.equalize moves factors through activations, which %s does "
                               "not let pass: only relu, leaky_relu or nothing between layers",
                               activation);
            return;
        }
    }
}

static void check_needs_batches(const struct rules *s, const bool *value, const char *name)
{
    if (*value && s->e->quant.calibration_batches == 0)
        ht_diagnostics_add(s->r->d, written_at(s, value, s->e->quant.at),
                           "quant.%s measures on the calibration batches: "
                           "quant.calibration_batches must be at least 1",
                           name);
}

static void check_bias_correction(const struct rules *s)
{
    const struct ht_experiment *e = s->e;
    const struct ht_place place = written_at(s, &e->quant.bias_correction, e->quant.at);
    for (size_t i = 0; i < e->model.n_layers; i++) {
        const struct ht_layer_config *layer = &e->model.layers[i];
        const bool normalized =
            i + 1 < e->model.n_layers && is(e->model.layers[i + 1].kind, "batchnorm");
        if (is(layer->kind, "dense") && !layer->bias && !normalized) {
            ht_diagnostics_add(s->r->d, place, "quant.bias_correction: layer %s has no bias",
                               layer->name);
            return;
        }
    }
}

static void check_reestimation(const struct rules *s)
{
    const struct ht_experiment *e = s->e;
    bool normalizes = e->quant.reestimate_batchnorm == 0 || e->model.n_layers == 0;
    for (size_t i = 0; i < e->model.n_layers; i++)
        normalizes |= is(e->model.layers[i].kind, "batchnorm");
    if (!normalizes)
        ht_diagnostics_add(s->r->d, written_at(s, &e->quant.reestimate_batchnorm, e->quant.at),
                           "quant.reestimate_batchnorm: no layer has batchnorm");
}

static void check_calibration(const struct rules *s)
{
    const struct ht_experiment *e = s->e;
    check_needs_trained(s, &e->quant.equalize, "equalize");
    check_needs_trained(s, &e->quant.adaround, "adaround");
    check_needs_batches(s, &e->quant.adaround, "adaround");
    check_needs_trained(s, &e->quant.bias_correction, "bias_correction");
    check_needs_batches(s, &e->quant.bias_correction, "bias_correction");
    if (e->quant.equalize)
        check_equalize(s);
    if (e->quant.bias_correction)
        check_bias_correction(s);
}

/* The input is passed on as activations are, where it does not say. Weights of 16 bits mean float
 * activations, as those of 32 bits do, whatever is written. */
static void settle_input(const struct rules *s)
{
    struct ht_quantizer_config *input = &s->e->quant.input, *activations = &s->e->quant.activations;
    const bool float16 = s->e->quant.weights.bits == 16;
    const bool bits_given = row_node(s, input, HT_ROW_BITS);
    if (float16)
        activations->bits = 32;
    if (float16 || (activations->bits == 32 && !bits_given))
        input->bits = 32;
    else if (input->bits == 32 && !bits_given)
        input->bits = 8;
    if (s->mode == HT_RULES_LOAD && activations->bits <= 8 && is(activations->range, "dynamic") &&
        !row_node(s, input, HT_ROW_RANGE))
        set_name(input->range, "dynamic");
}

/* All float, or none: a network of both is told layer by layer. */
static void check_input(const struct rules *s)
{
    const struct ht_quantizer_config *input = &s->e->quant.input;
    const struct ht_quantizer_config *activations = &s->e->quant.activations;
    if ((input->bits == 32) != (activations->bits == 32))
        ht_diagnostics_add(s->r->d, row_place(s, input, HT_ROW_BITS, HT_ROW_BITS),
                           "activations have %d bits and the input %d: where one is float, the "
                           "other must be, too (without quant.input.bits it follows)",
                           activations->bits, input->bits);
}

/* Float16 weights take float inputs only. */
static void check_float16(const struct rules *s)
{
    const struct ht_experiment *e = s->e;
    for (size_t i = 0, dense = 0; i < e->model.n_layers; i++) {
        if (!is(e->model.layers[i].kind, "dense"))
            continue;
        const struct ht_quantizer_config *w = ht_experiment_weights(e, dense);
        const struct ht_quantizer_config *input =
            dense ? ht_experiment_activations(e, dense - 1) : &e->quant.input;
        if (w->bits == 16 && input->bits != 32) {
            ht_diagnostics_add(s->r->d, row_place(s, w, HT_ROW_BITS, HT_ROW_BITS),
                               "layer %s: weights of 16 bits need activations of 32 bits in front "
                               "of them, not %d",
                               e->model.layers[i].name, input->bits);
            return;
        }
        dense++;
    }
}

static bool anneals(const struct ht_experiment *e)
{
    for (size_t i = 0, dense = 0; i < e->model.n_layers; i++) {
        if (!is(e->model.layers[i].kind, "dense"))
            continue;
        if (is_annealed(ht_experiment_weights(e, dense)->estimator) ||
            is_annealed(ht_experiment_activations(e, dense)->estimator))
            return true;
        dense++;
    }
    return e->quant.output.bits != 32 && is_annealed(e->quant.output.estimator);
}

static void check_annealing(const struct rules *s)
{
    const struct ht_experiment *e = s->e;
    if (e->train.epochs > 0 && e->quant.start_epoch + e->quant.hard_epochs >= e->train.epochs &&
        anneals(e))
        ht_diagnostics_add(s->r->d, written_at(s, &e->quant.hard_epochs, e->quant.at),
                           "quant.hard_epochs %d leaves no epoch to an estimator that is annealed: "
                           "train.epochs is %d, quant.start_epoch %d",
                           e->quant.hard_epochs, e->train.epochs, e->quant.start_epoch);
}

/* An anomaly is what is badly reconstructed. */
static void check_anomalies(const struct rules *s)
{
    const struct ht_experiment *e = s->e;
    if (e->data.n_anomaly_classes > 0 && !is(e->data.target, "input"))
        ht_diagnostics_add(s->r->d, written_at(s, &e->data.anomaly_classes, e->data.at),
                           "data.anomaly_classes are found by their reconstruction error: "
                           "data.target must be input (autoencoder)");
}

static void check_progressive(const struct rules *s)
{
    const struct ht_experiment *e = s->e;
    const struct ht_place place = written_at(s, e->quant.progressive, e->quant.at);
    const int stages = (int)ht_experiment_stages(e);
    if (stages == 1)
        return;
    if (anneals(e))
        ht_diagnostics_add(s->r->d, place,
                           "quant.progressive is not for an estimator that is annealed: that goes "
                           "over the whole training");
    if (e->train.epochs - e->quant.start_epoch < stages)
        ht_diagnostics_add(s->r->d, place,
                           "quant.progressive makes %d stages, but there are %d quantized epochs",
                           stages, e->train.epochs - e->quant.start_epoch);
}

void ht_rules_apply(struct ht_reader *r, struct ht_experiment *e, enum ht_rules_mode mode)
{
    struct rules s = {r, e, mode};
    check_anomalies(&s);
    if (!e->quant.given) {
        if (e->train.epochs == 0)
            check_no_training(&s);
        return;
    }
    settle_input(&s);
    struct ht_quantizer_config *all[] = {[INPUT] = &e->quant.input,
                                         [WEIGHTS] = &e->quant.weights,
                                         [ACTIVATIONS] = &e->quant.activations,
                                         [OUTPUT] = &e->quant.output};
    for (int use = INPUT; use <= OUTPUT; use++) {
        settle(&s, all[use], (enum use)use, "");
        check_quantizer(&s, all[use], (enum use)use, false);
    }
    for (size_t i = 0; i < e->quant.n_layers; i++) {
        struct ht_quant_override *entry = &e->quant.layers[i];
        inherit(&s, &entry->weights, &entry->weights_set, &e->quant.weights, WEIGHTS);
        inherit(&s, &entry->activations, &entry->activations_set, &e->quant.activations,
                ACTIVATIONS);
        if (e->model.n_layers > 0)
            check_override_name(&s, entry);
    }
    if (e->train.epochs == 0)
        check_no_training(&s);
    if (e->quant.weights.bits == 32)
        return;
    check_input(&s);
    check_float16(&s);
    check_relu(&s);
    check_annealing(&s);
    check_calibration(&s);
    check_reestimation(&s);
    check_progressive(&s);
}
