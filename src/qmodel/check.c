#include <math.h>
#include <string.h>

#include "autograd/activation.h"
#include "qmodel/bound.h"
#include "quant/half.h"

/* Every failure of this file: HT_ERR_MODEL and what is wrong; the callers say where. */
#define BAD(...) ht_fail(err, HT_ERR_MODEL, __VA_ARGS__)

static const char *const tasks[] = {"classification", "regression", "autoencoder"};
/* Activations that are only a tighter clamp, and those that are a table. */
static const char *const clamps[] = {"none", "relu", "relu6"};
static const char *const tables[] = {"tanh", "sigmoid", "gelu", "leaky_relu", "silu"};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool scale_ok(float scale)
{
    return isnormal(scale) && scale > 0;
}

/* NUL-terminated, and no control characters that could fool a terminal. */
static bool text_ok(const char *s, size_t capacity)
{
    for (size_t i = 0; i < capacity; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c == 0)
            return true;
        if (c < 0x20 || c == 0x7f)
            return false;
    }
    return false;
}

static bool one_of(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* Letters, digits, and _ . - : names are parts of paths in files, and of identifiers in exports. */
static bool layer_name_ok(const char *name, size_t capacity)
{
    size_t i = 0;
    for (; i < capacity && name[i]; i++) {
        const char c = name[i];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '.' && c != '-')
            return false;
    }
    return i > 0 && i < capacity;
}

/* Gives *known, a codebook, the levels of g, if they can be those of one. */
static bool own_levels(const struct ht_grid *g, struct ht_grid *known)
{
    int level[HT_GRID_TABLE];
    if (g->n_levels < 1 || g->n_levels > 1 << g->bits)
        return false;
    for (int i = 0; i < g->n_levels; i++)
        level[i] = g->level[i];
    return ht_grid_set_levels(known, level, g->n_levels);
}

static enum ht_status check_grid(const struct ht_grid *g, struct ht_error *err)
{
    struct ht_grid known;
    struct ht_error why;
    if (!text_ok(g->name, sizeof g->name))
        return BAD("the grid's name is damaged");
    if (ht_grid_init(&known, g->name, g->bits, &why) != HT_OK)
        return BAD("%s", why.msg);
    if (known.learned && !own_levels(g, &known))
        return BAD("%d levels that are not ascending within +-127, or too many for %d bits",
                   g->n_levels, g->bits);
    if (g->lo != known.lo || g->hi != known.hi || g->step != known.step ||
        g->n_levels != known.n_levels || g->has_zero_point != known.has_zero_point ||
        g->learned != known.learned || memcmp(g->level, known.level, sizeof g->level) != 0)
        return BAD("levels are not those of grid %s with %d bits", g->name, g->bits);
    return HT_OK;
}

static bool zero_point_ok(const struct ht_grid *g, int32_t zero_point)
{
    return g->has_zero_point ? zero_point >= g->lo && zero_point <= g->hi : zero_point == 0;
}

static enum ht_status check_activation(const struct ht_qactivation *q, struct ht_error *err)
{
    enum ht_status status = check_grid(&q->grid, err);
    if (status)
        return status;
    if (q->grid.step == 0 || ht_grid_is_float16(&q->grid))
        return BAD("grid %s is for weights only", q->grid.name);
    if (!scale_ok(q->scale))
        return BAD("scale %g is not a normal number above 0", (double)q->scale);
    if (!zero_point_ok(&q->grid, q->zero_point))
        return BAD("zero point %d does not fit grid %s with %d bits", q->zero_point, q->grid.name,
                   q->grid.bits);
    if (!ht_grid_has_level(&q->grid, q->lo) || !ht_grid_has_level(&q->grid, q->hi) || q->lo > q->hi)
        return BAD("clamp %d to %d is not a range of levels of grid %s with %d bits", q->lo, q->hi,
                   q->grid.name, q->grid.bits);
    if (q->rounding != HT_ROUND_NEAREST_EVEN && q->rounding != HT_ROUND_FLOOR)
        return BAD("unknown rounding %d", (int)q->rounding);
    if (q->rounding == HT_ROUND_FLOOR && q->grid.step != 1)
        return BAD("grid %s cannot round by floor", q->grid.name);
    if (q->is_signed != ht_grid_is_signed(&q->grid))
        return BAD("is_signed is %d, but the grid's levels start at %d", q->is_signed, q->grid.lo);
    return HT_OK;
}

/* Nothing is known of what a row finds for itself: 1 and 0 stand there. */
static enum ht_status check_dynamic(const struct ht_qactivation *q, struct ht_error *err)
{
    enum ht_status status = check_activation(q, err);
    if (status)
        return status;
    if (q->grid.step != 1)
        return BAD("grid %s has no dynamic range", q->grid.name);
    if (q->scale != 1 || q->zero_point != 0 || q->lo != q->grid.lo || q->hi != q->grid.hi)
        return BAD("a dynamic quantizer has scale 1, zero point 0 and the clamp of its grid");
    return HT_OK;
}

/* Of the input, or of a layer's output. */
static enum ht_status check_kind(enum ht_qoutput_kind kind, const struct ht_qactivation *q,
                                 struct ht_error *err)
{
    switch (kind) {
    case HT_QOUTPUT_CODES:
        return check_activation(q, err);
    case HT_QOUTPUT_DYNAMIC:
        return check_dynamic(q, err);
    case HT_QOUTPUT_REAL:
        return HT_OK;
    }
    return BAD("unknown kind %d", (int)kind);
}

/* A mean and a standard deviation for each of n columns, or neither. */
static enum ht_status check_moments(const float *mean, const float *std, size_t n,
                                    struct ht_error *err)
{
    if (!mean != !std)
        return BAD("mean and std come together or not at all");
    for (size_t i = 0; mean && i < n; i++) {
        if (!isfinite(mean[i]))
            return BAD("mean[%zu] is not finite", i);
        if (!scale_ok(std[i]))
            return BAD("std[%zu] %g is not a normal number above 0", i, (double)std[i]);
    }
    return HT_OK;
}

static enum ht_status check_input(const struct ht_qinput *in, struct ht_error *err)
{
    if (in->features < 1 || in->features > HT_QMODEL_MAX_WIDTH)
        return BAD("%zu features; 1 to %d are possible", in->features, HT_QMODEL_MAX_WIDTH);
    if (in->pixel_range != 0 && in->pixel_range != 255 && in->pixel_range != -1)
        return BAD("unknown pixel range %d", in->pixel_range);
    const size_t rows = in->image_rows, columns = in->image_columns;
    if (!rows != !columns || (rows && (rows > in->features || columns > in->features ||
                                       in->features % rows || in->features / rows % columns)))
        return BAD("an image of %zu x %zu does not have %zu values", rows, columns, in->features);
    enum ht_status status = check_kind(in->kind, &in->quant, err);
    return status ? status : check_moments(in->mean, in->std, in->features, err);
}

/* Codes times the scales of their groups are levels of int8. */
static enum ht_status check_groups(const struct ht_qlayer *l, struct ht_error *err)
{
    const struct ht_qweights *w = &l->weights;
    const size_t groups = ht_qlayer_groups(l);
    const int most = ht_grid_max_group_scale(&w->grid);
    if ((w->group == 0) != (w->group_scale == NULL))
        return BAD("groups and their scales come together or not at all");
    if (w->group > HT_QMODEL_MAX_WIDTH)
        return BAD("groups of %zu inputs", w->group);
    if (w->group && (most < 1 || ht_grid_is_float16(&w->grid)))
        return BAD("grid %s has no groups", w->grid.name);
    for (size_t i = 0; i < l->out * groups; i++)
        if (w->group_scale[i] < 1 || w->group_scale[i] > most)
            return BAD("group_scale %d of neuron %zu, group %zu is not in 1 to %d",
                       w->group_scale[i], i / groups, i % groups, most);
    return HT_OK;
}

static enum ht_status check_weights(const struct ht_qmodel *m, size_t index, struct ht_error *err)
{
    const struct ht_qlayer *l = &m->layers[index];
    const struct ht_qweights *w = &l->weights;
    enum ht_status status = check_grid(&w->grid, err);
    if (status)
        return status;
    if (w->grid.lo < -127) /* -128 breaks sign tricks of kernels (docs/numerics.md, 1) */
        return BAD("8-bit weights are narrow, without -128");
    const enum ht_qoutput_kind input = ht_qlayer_input_kind(m, index);
    if (!w->packed || !w->scale || !(input == HT_QOUTPUT_CODES ? (void *)l->bias : l->real_bias))
        return BAD("codes, scale or bias are missing");
    if (ht_grid_is_float16(&w->grid) && (input != HT_QOUTPUT_REAL || w->zero_point))
        return BAD("float16 goes with real inputs, and without zero points");
    if (w->channels != l->out && w->channels != 1)
        return BAD("%zu scales for %zu neurons", w->channels, l->out);
    for (size_t n = 0; n < w->channels; n++) {
        if (!scale_ok(w->scale[n]))
            return BAD("scale[%zu] %g is not a normal number above 0", n, (double)w->scale[n]);
        if (w->zero_point && !zero_point_ok(&w->grid, w->zero_point[n]))
            return BAD("zero_point[%zu] %d does not fit grid %s with %d bits", n, w->zero_point[n],
                       w->grid.name, w->grid.bits);
    }
    status = check_groups(l, err);
    if (status)
        return status;
    const int bits = w->grid.bits;
    const size_t count = l->out * l->in, used = count % 8 * (size_t)bits % 8;
    for (size_t i = 0; ht_grid_is_float16(&w->grid) && i < count; i++)
        if (!ht_half_is_finite((uint16_t)ht_unpack_code(w->packed, i, 16)))
            return BAD("neuron %zu, input %zu is not finite", i / l->in, i % l->in);
    for (size_t i = 0; !ht_grid_is_float16(&w->grid) && i < count; i++)
        if (!ht_grid_code_valid(&w->grid, ht_unpack_code(w->packed, i, bits)))
            return BAD("code %u of neuron %zu, input %zu is no level of grid %s with %d bits",
                       ht_unpack_code(w->packed, i, bits), i / l->in, i % l->in, w->grid.name,
                       bits);
    if (used && w->packed[ht_packed_size(count, bits) - 1] >> used)
        return BAD("the bits after the last code are not zero");
    return HT_OK;
}

/* With scales of rows between 2^-30 and 2^64, and sums of int32, all products and outputs are
 * normal numbers. */
static enum ht_status check_real_scales(const struct ht_qmodel *m, size_t index,
                                        struct ht_error *err)
{
    const struct ht_qlayer *l = &m->layers[index];
    const bool dynamic = ht_qlayer_input_kind(m, index) == HT_QOUTPUT_DYNAMIC;
    for (size_t n = 0; dynamic && n < l->weights.channels; n++)
        if (!(l->weights.scale[n] >= 0x1p-90f && l->weights.scale[n] <= 0x1p30f))
            return BAD("scale[%zu] %g is not between 2^-90 and 2^30", n,
                       (double)l->weights.scale[n]);
    for (size_t n = 0; n < l->out; n++)
        if (!(fabsf(l->real_bias[n]) <= 0x1p125f))
            return BAD("bias of neuron %zu, %g, is not within +-2^125", n, (double)l->real_bias[n]);
    return HT_OK;
}

/* The multipliers are what the scales give, and numbers that every machine treats alike. */
static enum ht_status check_multipliers(const struct ht_qmodel *m, size_t index,
                                        struct ht_error *err)
{
    const struct ht_qlayer *l = &m->layers[index];
    if (ht_qlayer_input_kind(m, index) != HT_QOUTPUT_CODES)
        return check_real_scales(m, index, err);
    const float input_scale = ht_qlayer_input_quant(m, index)->scale;
    if (!l->multiplier)
        return BAD("multipliers are missing");
    for (size_t n = 0; n < l->out; n++) {
        const float product = input_scale * l->weights.scale[l->weights.channels == 1 ? 0 : n];
        const float expected = l->output == HT_QOUTPUT_CODES ? product / l->quant.scale : product;
        if (!scale_ok(product) || !scale_ok(expected))
            return BAD("neuron %zu: multiplier %g from scales %g (input), %g (weights) is not a "
                       "normal number above 0",
                       n, (double)expected, (double)input_scale,
                       (double)l->weights.scale[l->weights.channels == 1 ? 0 : n]);
        if (memcmp(&l->multiplier[n], &expected, sizeof expected) != 0)
            return BAD("neuron %zu: multiplier %.9g is not what its scales give, %.9g", n,
                       (double)l->multiplier[n], (double)expected);
    }
    return HT_OK;
}

static enum ht_status check_bounds(const struct ht_qmodel *m, size_t index, struct ht_error *err)
{
    for (size_t n = 0; n < m->layers[index].out; n++) {
        const struct ht_neuron_bound b = ht_neuron_bound(m, index, n);
        if (b.accumulator > INT32_MAX)
            return BAD("neuron %zu: the accumulator can reach %lld, over 2^31 - 1; use fewer "
                       "inputs or fewer bits",
                       n, (long long)b.accumulator);
        if (b.sums > INT32_MAX)
            return BAD("neuron %zu: a partial sum can reach %lld, over 2^31 - 1; use fewer inputs "
                       "or fewer bits",
                       n, (long long)b.sums);
    }
    return HT_OK;
}

static enum ht_status check_table(const struct ht_qlayer *l, struct ht_error *err)
{
    enum ht_status status = check_activation(&l->table_quant, err);
    if (status)
        return status;
    const struct ht_grid *from = &l->quant.grid;
    for (int i = 0; i <= from->hi - from->lo; i += from->step)
        if (!ht_grid_has_level(&l->table_quant.grid, l->table[i]) ||
            l->table[i] < l->table_quant.lo || l->table[i] > l->table_quant.hi)
            return BAD("entry %d is %d, no level in %d to %d", i, l->table[i], l->table_quant.lo,
                       l->table_quant.hi);
    return HT_OK;
}

static enum ht_status check_output(const struct ht_qmodel *m, size_t index, struct ht_error *err)
{
    const struct ht_qlayer *l = &m->layers[index];
    if (!text_ok(l->activation, sizeof l->activation))
        return BAD("the activation's name is damaged");
    const bool real = ht_qlayer_is_real(m, index), last = index + 1 == m->n_layers;
    if (real && l->has_table)
        return BAD("real values have no table");
    if (real           ? strcmp(l->activation, "none") != 0 && !ht_activation_find(l->activation)
        : l->has_table ? !one_of(l->activation, tables, COUNT(tables))
                       : !one_of(l->activation, clamps, COUNT(clamps)))
        return BAD("unknown activation '%s' %s", l->activation,
                   real           ? "of real values"
                   : l->has_table ? "with a table"
                                  : "without a table");
    if (!(fabsf(l->slope) <= 0x1p30f) || (!real && l->slope != 0))
        return BAD("slope %g of an activation", (double)l->slope);
    if (last && l->output == HT_QOUTPUT_DYNAMIC)
        return BAD("the last layer's outputs have no dynamic range");
    if (last && l->output == HT_QOUTPUT_REAL && strcmp(l->activation, "none") != 0)
        return BAD("real outputs have no activation, not %s", l->activation);
    enum ht_status status = check_kind(l->output, &l->quant, err);
    if (!status && l->has_table) {
        status = check_table(l, err);
        if (status)
            return ht_error_prefix(err, status, "table");
    }
    return status;
}

static enum ht_status check_shape(const struct ht_qmodel *m, size_t index, struct ht_error *err)
{
    const struct ht_qlayer *l = &m->layers[index];
    const size_t before = index == 0 ? m->input.features : m->layers[index - 1].out;
    if (l->in != before)
        return BAD("%zu inputs, but %zu come from before it", l->in, before);
    if (l->out < 1 || l->out > HT_QMODEL_MAX_WIDTH || l->out > INT32_MAX / l->in)
        return BAD("%zu outputs of %zu inputs are too many, or none", l->out, l->in);
    return HT_OK;
}

static enum ht_status check_layer(const struct ht_qmodel *m, size_t index, struct ht_error *err)
{
    static const struct {
        const char *part;
        enum ht_status (*check)(const struct ht_qmodel *m, size_t index, struct ht_error *err);
    } checks[] = {
        {"shape", check_shape},          {"weights", check_weights},
        {"output", check_output},        {"multiplier", check_multipliers},
        {"range of sums", check_bounds},
    };
    const struct ht_qlayer *l = &m->layers[index];
    if (!layer_name_ok(l->name, sizeof l->name))
        return BAD("layer %zu: its name is empty or has other characters than letters, digits, "
                   "'_', '.', '-'",
                   index);
    for (size_t i = 0; i < COUNT(checks); i++) {
        enum ht_status status = checks[i].check(m, index, err);
        if (status)
            return ht_error_prefix(err, status, "layer %zu (%s): %s", index, l->name,
                                   checks[i].part);
    }
    return HT_OK;
}

static enum ht_status check_classes(const struct ht_qmodel *m, struct ht_error *err)
{
    if (!m->classes != (m->n_classes == 0) || m->n_classes > HT_QMODEL_MAX_CLASSES)
        return BAD("classes: %zu names, or none where there should be", m->n_classes);
    for (size_t i = 0; i < m->n_classes; i++)
        if (!text_ok(m->classes[i], sizeof m->classes[i]))
            return BAD("classes: name %zu is damaged", i);
    if (m->classes && strcmp(m->task, "classification") == 0 &&
        m->n_classes != (m->outputs == 1 ? 2 : m->outputs))
        return BAD("classes: %zu names for %zu outputs", m->n_classes, m->outputs);
    return HT_OK;
}

static enum ht_status check_texts(const struct ht_qmodel *m, struct ht_error *err)
{
    const struct {
        const char *what, *text;
        size_t capacity;
    } texts[] = {
        {"name", m->name, sizeof m->name},
        {"task", m->task, sizeof m->task},
        {"loss", m->loss, sizeof m->loss},
        {"data_hash", m->data_hash, sizeof m->data_hash},
        {"score_name", m->score_name, sizeof m->score_name},
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        if (!text_ok(texts[i].text, texts[i].capacity))
            return BAD("%s: control characters, or no end", texts[i].what);
    for (const char *c = m->experiment; c && *c; c++)
        if (((unsigned char)*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f)
            return BAD("experiment: control characters");
    if (*m->task && !one_of(m->task, tasks, COUNT(tasks))) /* empty: not said yet */
        return BAD("unknown task '%s'", m->task);
    return HT_OK;
}

enum ht_status ht_qmodel_check(const struct ht_qmodel *m, struct ht_error *err)
{
    if (m->n_layers < 1 || m->n_layers > HT_QMODEL_MAX_LAYERS)
        return BAD("%zu layers; 1 to %d are possible", m->n_layers, HT_QMODEL_MAX_LAYERS);
    enum ht_status status = check_texts(m, err);
    if (status)
        return status;
    status = check_input(&m->input, err);
    if (status)
        return ht_error_prefix(err, status, "input");
    for (size_t i = 0; i < m->n_layers; i++) {
        status = check_layer(m, i, err);
        if (status)
            return status;
    }
    if (m->outputs != m->layers[m->n_layers - 1].out)
        return BAD("%zu outputs, but the last layer has %zu", m->outputs,
                   m->layers[m->n_layers - 1].out);
    status = check_moments(m->target_mean, m->target_std, m->outputs, err);
    if (status)
        return ht_error_prefix(err, status, "target");
    return check_classes(m, err);
}
