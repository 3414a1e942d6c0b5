/* What inspect shows of an integer model: for programs one table, for people four narrow ones. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "cli/inspect.h"
#include "qmodel/qmodel.h"
#include "report/human.h"

/* The tables for people; a column may be in several. */
enum { WEIGHTS = 1, CODES = 2, OUTPUTS = 4, SUMS = 8, ALL = 15 };

static const struct {
    unsigned views;
    struct ht_column column;
} model_columns[] = {
    {ALL, {.key = "layer", .kind = HT_COLUMN_TEXT}},
    {WEIGHTS, {.key = "shape", .kind = HT_COLUMN_TEXT, .align = HT_ALIGN_RIGHT}},
    {WEIGHTS, {.key = "weight_bits", .title = "bits", .kind = HT_COLUMN_INTEGER}},
    {WEIGHTS, {.key = "weight_grid", .title = "grid", .kind = HT_COLUMN_TEXT}},
    {WEIGHTS, {.key = "scales", .kind = HT_COLUMN_INTEGER}},
    {0, {.key = "group", .kind = HT_COLUMN_INTEGER}},
    {WEIGHTS, {.key = "scale_min", .title = "scale\nfrom", .kind = HT_COLUMN_REAL, .digits = 5}},
    {WEIGHTS, {.key = "scale_max", .title = "\nto", .kind = HT_COLUMN_REAL, .digits = 5}},
    {WEIGHTS, {.key = "bytes", .kind = HT_COLUMN_BYTES}},
    {WEIGHTS, {.key = "float_bytes", .title = "float32", .kind = HT_COLUMN_BYTES}},
    {CODES, {.key = "zeros", .kind = HT_COLUMN_PERCENT, .digits = 1}},
    {CODES, {.key = "level_min", .title = "level\nfrom", .kind = HT_COLUMN_INTEGER}},
    {CODES, {.key = "histogram", .title = "\ncodes", .kind = HT_COLUMN_TEXT}},
    {CODES, {.key = "level_max", .title = "\nto", .kind = HT_COLUMN_INTEGER}},
    {CODES, {.key = "levels_used", .title = "levels\nused", .kind = HT_COLUMN_INTEGER}},
    {CODES, {.key = "levels", .title = "\nof", .kind = HT_COLUMN_INTEGER}},
    {0, {.key = "level_counts", .kind = HT_COLUMN_TEXT}},
    {OUTPUTS, {.key = "activation", .kind = HT_COLUMN_TEXT}},
    {OUTPUTS, {.key = "output_kind", .title = "output\nscale", .kind = HT_COLUMN_TEXT}},
    {OUTPUTS, {.key = "output_bits", .title = "\nbits", .kind = HT_COLUMN_INTEGER}},
    {OUTPUTS, {.key = "output_grid", .title = "\ngrid", .kind = HT_COLUMN_TEXT}},
    {OUTPUTS, {.key = "output_scale", .title = "\nscale", .kind = HT_COLUMN_REAL, .digits = 6}},
    {OUTPUTS, {.key = "output_zero_point", .title = "zero\npoint", .kind = HT_COLUMN_INTEGER}},
    {SUMS, {.key = "accumulator_min", .title = "accumulator\nmin", .kind = HT_COLUMN_INTEGER}},
    {SUMS, {.key = "accumulator_max", .title = "\nmax", .kind = HT_COLUMN_INTEGER}},
    {SUMS, {.key = "accumulator_bits", .title = "\nbits", .kind = HT_COLUMN_INTEGER}},
    {SUMS, {.key = "product_min", .title = "without bias\nmin", .kind = HT_COLUMN_INTEGER}},
    {SUMS, {.key = "product_max", .title = "\nmax", .kind = HT_COLUMN_INTEGER}},
    {SUMS, {.key = "product_bits", .title = "\nbits", .kind = HT_COLUMN_INTEGER}},
    {0, {.key = "worst_accumulator", .kind = HT_COLUMN_INTEGER}},
};
#define N_COLUMNS (sizeof model_columns / sizeof *model_columns)

static void set_activation(struct ht_table *t, enum ht_qoutput_kind kind,
                           const struct ht_qactivation *a)
{
    static const char *const kinds[] = {[HT_QOUTPUT_CODES] = "static",
                                        [HT_QOUTPUT_DYNAMIC] = "dynamic",
                                        [HT_QOUTPUT_REAL] = "float"};
    ht_table_set_text(t, "output_kind", kinds[kind]);
    ht_table_set_integer(t, "output_bits", kind == HT_QOUTPUT_REAL ? 32 : a->grid.bits);
    if (kind != HT_QOUTPUT_REAL)
        ht_table_set_text(t, "output_grid", a->grid.name);
    if (kind != HT_QOUTPUT_CODES)
        return;
    ht_table_set_real(t, "output_scale", (double)a->scale);
    ht_table_set_integer(t, "output_zero_point", a->zero_point);
}

/* Share of weights whose value is zero. */
static double zeros(const struct ht_qlayer *l)
{
    size_t n = l->in * l->out, count = 0;
    for (size_t i = 0; i < n; i++) {
        size_t channel = l->weights.channels == 1 ? 0 : i / l->in;
        int zero = l->weights.zero_point ? (int)l->weights.zero_point[channel] : 0;
        if (ht_grid_is_float16(&l->weights.grid))
            count += (ht_unpack_code(l->weights.packed, i, 16) & 0x7fff) == 0;
        else
            count += ht_qlayer_weight(l, i / l->in, i % l->in) == zero;
    }
    return (double)count / (double)n;
}

/* --- how often each level is there --- */

enum { LOWEST = -128, LEVELS = 384, BARS = 32 };

struct histogram {
    size_t count[LEVELS]; /* of level i + LOWEST */
    bool is_level[LEVELS];
    int first, last; /* indexes of the lowest and highest level of the grid */
    size_t used, levels;
};

static void count_levels(struct histogram *h, const struct ht_qlayer *l)
{
    const struct ht_grid *g = &l->weights.grid;
    memset(h, 0, sizeof *h);
    h->first = LEVELS;
    for (int i = 0; i < g->n_levels; i++) {
        const int level = g->step == 0 ? g->level[i] : g->lo + g->step * i, at = level - LOWEST;
        h->is_level[at] = true;
        h->first = at < h->first ? at : h->first;
        h->last = at > h->last ? at : h->last;
    }
    for (size_t i = 0; i < l->in * l->out; i++)
        h->count[ht_grid_level(g, ht_unpack_code(l->weights.packed, i, g->bits)) - LOWEST]++;
    for (int i = 0; i < LEVELS; i++) {
        h->used += h->count[i] > 0;
        h->levels += h->is_level[i];
    }
}

/* A bar a level, from the lowest on, or for as many neighbours as make at most BARS of them. */
static void print_bars(const struct histogram *h, struct ht_text *t)
{
    static const char *const bars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    const size_t width = (h->levels + BARS - 1) / BARS;
    size_t sums[BARS] = {0}, seen = 0, most = 1;
    for (int i = h->first; i <= h->last; i++)
        if (h->is_level[i])
            sums[seen++ / width] += h->count[i];
    const size_t n = (h->levels + width - 1) / width;
    for (size_t i = 0; i < n; i++)
        most = sums[i] > most ? sums[i] : most;
    for (size_t i = 0; i < n; i++) /* what is there at all shows */
        ht_text_printf(t, "%s", bars[(8 * sums[i] + most - 1) / most]);
}

static void set_histogram(struct ht_table *t, const struct ht_qlayer *l)
{
    struct histogram h;
    struct ht_text bars = {0}, counts = {0};
    if (ht_grid_is_float16(&l->weights.grid))
        return;
    count_levels(&h, l);
    print_bars(&h, &bars);
    for (int i = h.first; i <= h.last; i++)
        if (h.is_level[i])
            ht_text_printf(&counts, "%s%d:%zu", i > h.first ? " " : "", i + LOWEST, h.count[i]);
    ht_table_set_text(t, "histogram", ht_text_str(&bars));
    ht_table_set_text(t, "level_counts", ht_text_str(&counts));
    ht_table_set_integer(t, "level_min", h.first + LOWEST);
    ht_table_set_integer(t, "level_max", h.last + LOWEST);
    ht_table_set_integer(t, "levels_used", (int64_t)h.used);
    ht_table_set_integer(t, "levels", (int64_t)h.levels);
    ht_text_finish(&bars);
    ht_text_finish(&counts);
}

static void add_layer(struct ht_table *t, const struct ht_qmodel *m, size_t i)
{
    const struct ht_qlayer *l = &m->layers[i];
    char shape[64];
    float lo = l->weights.scale[0], hi = lo;
    for (size_t c = 1; c < l->weights.channels; c++) {
        lo = l->weights.scale[c] < lo ? l->weights.scale[c] : lo;
        hi = l->weights.scale[c] > hi ? l->weights.scale[c] : hi;
    }
    snprintf(shape, sizeof shape, "%zu -> %zu", l->in, l->out);
    ht_table_add_row(t);
    ht_table_set_text(t, "layer", l->name);
    ht_table_set_text(t, "shape", shape);
    ht_table_set_integer(t, "weight_bits", l->weights.grid.bits);
    ht_table_set_text(t, "weight_grid", l->weights.grid.name);
    ht_table_set_integer(
        t, "scales",
        (int64_t)(l->weights.group ? l->out * ht_qlayer_groups(l) : l->weights.channels));
    if (l->weights.group)
        ht_table_set_integer(t, "group", (int64_t)l->weights.group);
    ht_table_set_real(t, "scale_min", (double)lo);
    ht_table_set_real(t, "scale_max", (double)hi);
    ht_table_set_real(t, "zeros", zeros(l));
    ht_table_set_text(t, "activation", l->activation);
    set_activation(t, l->output, ht_qlayer_output_quant(l));
    if (ht_qlayer_input_kind(m, i) != HT_QOUTPUT_REAL) {
        const struct ht_accumulators a = ht_qlayer_accumulators(m, i);
        ht_table_set_integer(t, "accumulator_min", a.min);
        ht_table_set_integer(t, "accumulator_max", a.max);
        ht_table_set_integer(t, "accumulator_bits", a.bits);
        ht_table_set_integer(t, "product_min", a.product_min);
        ht_table_set_integer(t, "product_max", a.product_max);
        ht_table_set_integer(t, "product_bits", a.product_bits);
        ht_table_set_integer(t, "worst_accumulator", ht_qlayer_worst_accumulator(m, i));
    }
    ht_table_set_integer(t, "bytes", (int64_t)ht_qlayer_weight_bytes(l));
    ht_table_set_integer(t, "float_bytes", (int64_t)(l->in * l->out * sizeof(float)));
    set_histogram(t, l);
}

static enum ht_status write_view(const struct ht_cli *cli, const struct ht_qmodel *m, unsigned view,
                                 struct ht_error *err)
{
    struct ht_column columns[N_COLUMNS];
    struct ht_table *t;
    char shape[64];
    for (size_t i = 0; i < N_COLUMNS; i++) {
        columns[i] = model_columns[i].column;
        if (!(model_columns[i].views & view))
            columns[i].flags |= HT_COLUMN_MACHINE_ONLY;
    }
    enum ht_status status = ht_table_create(&t, columns, N_COLUMNS, err);
    if (status != HT_OK)
        return status;
    snprintf(shape, sizeof shape, "%zu", m->input.features);
    if (view != CODES && view != SUMS) { /* the input has none */
        ht_table_add_row(t);
        ht_table_set_text(t, "layer", "input");
        ht_table_set_text(t, "shape", shape);
        set_activation(t, m->input.kind, &m->input.quant);
    }
    for (size_t i = 0; i < m->n_layers; i++)
        add_layer(t, m, i);
    status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    return status;
}

enum ht_status ht_cli_inspect_model(const struct ht_cli *cli, const char *path,
                                    struct ht_error *err)
{
    struct ht_qmodel *m;
    enum ht_status status = ht_qmodel_load(&m, path, err);
    if (status != HT_OK)
        return status;
    if (cli->format != HT_OUTPUT_TABLE)
        status = write_view(cli, m, ALL, err);
    for (unsigned view = WEIGHTS; cli->format == HT_OUTPUT_TABLE && view < ALL; view *= 2) {
        if (view != WEIGHTS)
            printf("\n");
        if (status == HT_OK)
            status = write_view(cli, m, view, err);
    }
    if (status == HT_OK)
        ht_cli_say(cli, "%s model %s: %s, %s (float32: %s), validation %s %.4f", ht_qmodel_mode(m),
                   m->name, m->task, ht_human_bytes(ht_qmodel_bytes(m)).s,
                   ht_human_bytes(ht_qmodel_float_bytes(m)).s, m->score_name, m->validation_score);
    ht_qmodel_destroy(m);
    return status;
}
