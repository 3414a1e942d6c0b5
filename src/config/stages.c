/* quant.progressive: widths that a training goes through before its own. */
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "config/tables.h"

static const struct ht_field width_field = {
    .name = "width", .type = HT_FIELD_INT, .min = 1, .max = 8, .help = ""};

static struct ht_experiment *experiment_of(struct ht_reader *r)
{
    return (struct ht_experiment *)(void *)r->object;
}

static void read_widths(struct ht_reader *r, const struct ht_field *f, size_t base,
                        struct ht_tree_node *node)
{
    struct ht_experiment *e = experiment_of(r);
    memset(e->quant.progressive, 0, sizeof e->quant.progressive);
    e->quant.n_progressive = 0;
    ht_reader_forget(r, base + f->offset + 1, sizeof e->quant.progressive - 1);
    if (node->kind != HT_TREE_LIST) {
        ht_reader_wrong_type(r, node, "a list of widths, such as [8, 4]");
        return;
    }
    for (struct ht_tree_node *n = node->first; n; n = n->next) {
        const size_t k = e->quant.n_progressive;
        if (k == HT_MAX_PROGRESSIVE) {
            ht_diagnostics_add(r->d, n->place, "more than %d widths", HT_MAX_PROGRESSIVE);
            return;
        }
        ht_fields_read_one(r, &width_field, base + f->offset + k * sizeof(int), n);
        if (k > 0 && !n->failed && e->quant.progressive[k] >= e->quant.progressive[k - 1])
            ht_diagnostics_add(r->d, n->place, "quant.progressive goes down: %d after %d",
                               e->quant.progressive[k], e->quant.progressive[k - 1]);
        e->quant.n_progressive++;
    }
}

static void print_widths(const void *table_struct, int indent, struct ht_text *out)
{
    /* The table's struct is the experiment's quant part. */
    const struct ht_experiment *e =
        (const void *)((const char *)table_struct - offsetof(struct ht_experiment, quant));
    if (e->quant.n_progressive == 0)
        return;
    ht_text_printf(out, "%*sprogressive: [", indent, "");
    for (size_t i = 0; i < e->quant.n_progressive; i++)
        ht_text_printf(out, "%s%d", i ? ", " : "", e->quant.progressive[i]);
    ht_text_printf(out, "]\n");
}

const struct ht_field_custom ht_progressive_field = {read_widths, print_widths, "list of widths",
                                                     true};

/* Widths that are wider than what the experiment has itself come before it; the others change
 * nothing. */
static size_t wider(const struct ht_experiment *e)
{
    const int weights = e->quant.weights.bits, activations = e->quant.activations.bits;
    size_t n = 0;
    if (!e->quant.given || weights == 32)
        return 0;
    while (n < e->quant.n_progressive &&
           e->quant.progressive[n] > (weights < activations ? weights : activations))
        n++;
    return n;
}

size_t ht_experiment_stages(const struct ht_experiment *e)
{
    return wider(e) + 1;
}

int ht_experiment_stage_start(const struct ht_experiment *e, size_t stage)
{
    const int stages = (int)ht_experiment_stages(e);
    return stage == 0 ? 0
                      : e->quant.start_epoch +
                            (e->train.epochs - e->quant.start_epoch) * (int)stage / stages;
}

size_t ht_experiment_stage_at(const struct ht_experiment *e, int64_t epoch)
{
    size_t stage = wider(e);
    while (stage > 0 && epoch < ht_experiment_stage_start(e, stage))
        stage--;
    return stage;
}

struct change {
    struct ht_experiment *e;
    int least; /* bits */
    struct ht_error *err;
};

static enum ht_status widen(const struct change *c, const char *path,
                            const struct ht_quantizer_config *q, bool weights)
{
    char key[2 * HT_NAME_LENGTH + 64], value[16];
    enum ht_status status = HT_OK;
    if (q->bits >= c->least)
        return HT_OK;
    snprintf(key, sizeof key, "%s.grid", path);
    if (weights && c->least == 8 && strcmp(q->grid, "full") == 0)
        status = ht_experiment_set(c->e, key, "narrow", c->err); /* 8-bit weights are */
    snprintf(key, sizeof key, "%s.bits", path);
    snprintf(value, sizeof value, "%d", c->least);
    return status == HT_OK ? ht_experiment_set(c->e, key, value, c->err) : status;
}

/* Entries of quant.layers with bits of their own. */
static enum ht_status widen_layers(const struct change *c)
{
    enum ht_status status = HT_OK;
    for (size_t i = 0; status == HT_OK && i < c->e->quant.n_layers; i++) {
        const struct ht_quant_override *o = &c->e->quant.layers[i];
        char path[HT_NAME_LENGTH + 64];
        snprintf(path, sizeof path, "quant.layers.%s.weights", o->layer);
        if (o->weights_set >> HT_ROW_BITS & 1)
            status = widen(c, path, &o->weights, true);
        snprintf(path, sizeof path, "quant.layers.%s.activations", o->layer);
        if (status == HT_OK && (o->activations_set >> HT_ROW_BITS & 1))
            status = widen(c, path, &o->activations, false);
    }
    return status;
}

enum ht_status ht_experiment_stage(struct ht_experiment *ret, const struct ht_experiment *e,
                                   size_t stage, struct ht_error *err)
{
    *ret = *e;
    ret->quant.n_progressive = 0;
    if (stage > 0) /* of a float network, once */
        ret->quant.equalize = ret->quant.adaround = ret->quant.bias_correction = false;
    if (stage >= wider(e))
        return HT_OK;
    const struct change c = {ret, e->quant.progressive[stage], err};
    enum ht_status status = widen(&c, "quant.weights", &ret->quant.weights, true);
    if (status == HT_OK)
        status = widen(&c, "quant.activations", &ret->quant.activations, false);
    if (status == HT_OK)
        status = widen_layers(&c);
    if (status == HT_OK)
        return HT_OK;
    return ht_error_prefix(err, status, "quant.progressive, stage of %d bits", c.least);
}
