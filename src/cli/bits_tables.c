#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/bits.h"

#define N(columns) (sizeof(columns) / sizeof *(columns))

static const char *part_of(const struct ht_mixed_slot *s)
{
    return s->activations ? "activations" : "weights";
}

static const char *name_of(const struct ht_mixed_table *t, const struct ht_mixed_slot *s)
{
    return t->layers[s->layer].name;
}

static const struct ht_column cell_columns[] = {
    {.key = "layer", .kind = HT_COLUMN_TEXT},
    {.key = "what", .kind = HT_COLUMN_TEXT},
    {.key = "parameters", .kind = HT_COLUMN_INTEGER},
    {.key = "macs", .title = "MACs", .kind = HT_COLUMN_INTEGER},
    {.key = "bits", .kind = HT_COLUMN_INTEGER},
    {.key = "score", .title = "accuracy\nvalidation", .kind = HT_COLUMN_PERCENT, .digits = 2},
    {.key = "score_change", .title = "\nchange", .kind = HT_COLUMN_PERCENT, .digits = 2},
    {.key = "loss", .kind = HT_COLUMN_REAL, .digits = 4},
    {.key = "trace", .title = "mean\ntrace", .kind = HT_COLUMN_REAL, .digits = 6},
    {.key = "trace_error", .title = "\nerror", .kind = HT_COLUMN_REAL, .digits = 6},
    {.key = "rounding_error", .title = "rounding\nerror", .kind = HT_COLUMN_REAL, .digits = 3},
    {.key = "sensitivity", .kind = HT_COLUMN_REAL, .digits = 4},
    {.key = "bytes", .title = "of the network\nbytes", .kind = HT_COLUMN_INTEGER},
    {.key = "bops", .title = "\nBOPs", .kind = HT_COLUMN_INTEGER},
    {.key = "loss_increase", .kind = HT_COLUMN_REAL, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "layer_bytes", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
};

/* Columns of the other method are left out for people. */
static bool is_used(const struct ht_column *c, bool measured)
{
    static const char *const of_hessian[] = {"trace", "trace_error", "rounding_error"};
    static const char *const of_measured[] = {"score", "score_change", "loss"};
    const char *const *unused = measured ? of_hessian : of_measured;
    for (size_t i = 0; i < 3; i++)
        if (strcmp(c->key, unused[i]) == 0)
            return false;
    return true;
}

static void add_cell(struct ht_table *out, const struct ht_mixed_table *t, size_t slot, size_t w,
                     size_t *choice)
{
    const struct ht_mixed_slot *s = &t->slots[slot];
    const struct ht_mixed_layer *l = &t->layers[s->layer];
    const struct ht_mixed_layer *reader = &t->layers[s->layer + s->activations];
    const struct ht_mixed_cell *cell = ht_mixed_cell(t, slot, w);
    choice[slot] = w;
    ht_table_add_row(out);
    ht_table_set_text(out, "layer", l->name);
    ht_table_set_text(out, "what", part_of(s));
    if (!s->activations) {
        ht_table_set_integer(out, "parameters", (int64_t)l->parameters);
        ht_table_set_integer(out, "layer_bytes", (int64_t)l->bytes[w]);
    }
    ht_table_set_integer(out, "macs", (int64_t)reader->macs);
    ht_table_set_integer(out, "bits", t->widths[w]);
    ht_table_set_real(out, "score", cell->score);
    ht_table_set_real(out, "score_change", cell->score - t->widest_score);
    ht_table_set_real(out, "loss", cell->loss);
    ht_table_set_real(out, "loss_increase", cell->loss - t->widest_loss);
    ht_table_set_real(out, "trace", l->trace);
    ht_table_set_real(out, "trace_error", l->trace_error);
    ht_table_set_real(out, "rounding_error", cell->error);
    ht_table_set_real(out, "sensitivity", cell->sensitivity);
    ht_table_set_integer(out, "bytes", (int64_t)ht_mixed_bytes(t, choice));
    ht_table_set_integer(out, "bops", (int64_t)ht_mixed_bops(t, choice));
    choice[slot] = 0;
}

enum ht_status ht_cli_bits_cells(const struct ht_cli *cli, const struct ht_mixed_table *t,
                                 const char *score_name, struct ht_error *err)
{
    struct ht_table *out = NULL;
    struct ht_column *shown = ht_cli_score_columns(cell_columns, N(cell_columns), score_name);
    size_t *choice = ht_calloc(t->n_slots, sizeof *choice);
    enum ht_status status = shown && choice ? HT_OK : ht_fail_memory(err);
    for (size_t i = 0; status == HT_OK && i < N(cell_columns); i++)
        if (!is_used(&shown[i], isfinite(t->widest_loss)))
            shown[i].flags |= HT_COLUMN_MACHINE_ONLY;
    if (status == HT_OK)
        status = ht_table_create(&out, shown, N(cell_columns), err);
    for (size_t i = 0; status == HT_OK && i < t->n_slots; i++)
        for (size_t w = 0; w < t->n_widths; w++)
            add_cell(out, t, i, w, choice);
    if (status == HT_OK)
        status = ht_table_write(out, cli->format, stdout, err);
    ht_table_destroy(out);
    ht_free(choice);
    ht_free(shown);
    return status;
}

static const struct ht_column step_columns[] = {
    {.key = "step", .kind = HT_COLUMN_INTEGER},
    {.key = "layer", .kind = HT_COLUMN_TEXT},
    {.key = "what", .kind = HT_COLUMN_TEXT},
    {.key = "from_bits", .title = "bits\nfrom", .kind = HT_COLUMN_INTEGER},
    {.key = "bits", .title = "\nto", .kind = HT_COLUMN_INTEGER},
    {.key = "gain", .kind = HT_COLUMN_REAL, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "sensitivity", .title = "sensitivity\nleft", .kind = HT_COLUMN_REAL, .digits = 4},
    {.key = "bytes", .title = "of the network\nbytes", .kind = HT_COLUMN_INTEGER},
    {.key = "bops", .title = "\nBOPs", .kind = HT_COLUMN_INTEGER},
};

enum ht_status ht_cli_bits_steps(const struct ht_cli *cli, const struct ht_mixed_table *t,
                                 const struct ht_mixed_step *steps, size_t n, struct ht_error *err)
{
    struct ht_table *out;
    enum ht_status status = ht_table_create(&out, step_columns, N(step_columns), err);
    if (status != HT_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        const struct ht_mixed_slot *slot = &t->slots[steps[i].slot];
        ht_table_add_row(out);
        ht_table_set_integer(out, "step", (int64_t)i + 1);
        ht_table_set_text(out, "layer", name_of(t, slot));
        ht_table_set_text(out, "what", part_of(slot));
        ht_table_set_integer(out, "from_bits", t->widths[steps[i].from]);
        ht_table_set_integer(out, "bits", t->widths[steps[i].to]);
        ht_table_set_real(out, "gain", steps[i].gain);
        ht_table_set_real(out, "sensitivity", steps[i].sensitivity);
        ht_table_set_integer(out, "bytes", (int64_t)steps[i].bytes);
        ht_table_set_integer(out, "bops", (int64_t)steps[i].bops);
    }
    status = ht_table_write(out, cli->format, stdout, err);
    ht_table_destroy(out);
    return status;
}

static const struct ht_column choice_columns[] = {
    {.key = "layer", .kind = HT_COLUMN_TEXT},
    {.key = "parameters", .kind = HT_COLUMN_INTEGER},
    {.key = "macs", .title = "MACs", .kind = HT_COLUMN_INTEGER},
    {.key = "weight_bits", .title = "bits\nweights", .kind = HT_COLUMN_INTEGER},
    {.key = "input_bits", .title = "\ninput", .kind = HT_COLUMN_INTEGER},
    {.key = "learned_weight_bits",
     .title = "learned\nweights",
     .kind = HT_COLUMN_REAL,
     .digits = 2},
    {.key = "learned_input_bits", .title = "\ninput", .kind = HT_COLUMN_REAL, .digits = 2},
    {.key = "bytes", .kind = HT_COLUMN_INTEGER},
    {.key = "bops", .title = "BOPs", .kind = HT_COLUMN_INTEGER},
};

static void add_layer(struct ht_table *out, const struct ht_mixed_table *t,
                      const struct ht_mixed_layer *l, const size_t *choice, const double *learned)
{
    const int w = l->weight_slot < 0 ? l->weight_bits : t->widths[choice[l->weight_slot]];
    const int x = l->input_slot < 0 ? l->input_bits : t->widths[choice[l->input_slot]];
    const size_t bytes = l->weight_slot < 0 ? l->fixed_bytes : l->bytes[choice[l->weight_slot]];
    ht_table_add_row(out);
    ht_table_set_text(out, "layer", l->name);
    ht_table_set_integer(out, "parameters", (int64_t)l->parameters);
    ht_table_set_integer(out, "macs", (int64_t)l->macs);
    ht_table_set_integer(out, "weight_bits", w);
    ht_table_set_integer(out, "input_bits", x);
    if (learned && l->weight_slot >= 0)
        ht_table_set_real(out, "learned_weight_bits", learned[l->weight_slot]);
    if (learned && l->input_slot >= 0)
        ht_table_set_real(out, "learned_input_bits", learned[l->input_slot]);
    ht_table_set_integer(out, "bytes", (int64_t)bytes);
    ht_table_set_integer(out, "bops", (int64_t)l->macs * w * x);
}

static void comment_out(struct ht_text *to, const char *text)
{
    while (*text) {
        const size_t n = strcspn(text, "\n");
        ht_text_printf(to, "# %.*s\n", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

enum ht_status ht_cli_bits_choice(const struct ht_cli *cli, const struct ht_mixed_table *t,
                                  const size_t *choice, const double *learned,
                                  struct ht_text *comment, struct ht_error *err)
{
    struct ht_table *out;
    struct ht_text text = {0};
    struct ht_column shown[N(choice_columns)];
    memcpy(shown, choice_columns, sizeof shown);
    for (size_t i = 0; i < N(shown); i++)
        if (!learned && strncmp(shown[i].key, "learned", 7) == 0)
            shown[i].flags = HT_COLUMN_MACHINE_ONLY;
    enum ht_status status = ht_table_create(&out, shown, N(shown), err);
    if (status != HT_OK)
        return status;
    for (size_t i = 0; i < t->n_layers; i++)
        add_layer(out, t, &t->layers[i], choice, learned);
    if (comment) {
        status = ht_table_print(out, HT_OUTPUT_TABLE, NULL, &text, err);
        comment_out(comment, ht_text_str(&text));
    } else {
        status = ht_table_write(out, cli->format, stdout, err);
    }
    ht_text_finish(&text);
    ht_table_destroy(out);
    return status;
}
