/* What all ONNX exports share: input transform, outputs, description. */
#include "export/onnx_parts.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

const char *ht_onnx_raw_input(struct ht_onnx *o, const struct ht_qinput *in,
                              enum ht_export_input kind)
{
    const char *what = in->pixel_range ? "image bytes, 0 to 255, row after row"
                                       : "features as in the training data, not standardized";
    ht_onnx_add_input(o, "input", kind == HT_EXPORT_U8 ? HT_ONNX_UINT8 : HT_ONNX_FLOAT,
                      in->features, what);
    return "input";
}

enum ht_status ht_onnx_check_input(const struct ht_qmodel *m, enum ht_export_input kind,
                                   struct ht_error *err)
{
    if (kind == HT_EXPORT_FLOAT || m->input.pixel_range)
        return HT_OK;
    return ht_fail(err, HT_ERR_CONFIG,
                   "%s: bytes are the input of networks for images; the features of this one are "
                   "numbers, use float",
                   m->name);
}

const char *ht_onnx_transform(struct ht_onnx *o, const struct ht_qinput *in,
                              enum ht_export_input kind, const char *x)
{
    const size_t n = in->features;
    if (kind == HT_EXPORT_U8) {
        x = ht_onnx_node(o, "Cast", HT_ONNX_IN(x), "input/float");
        ht_onnx_set_int(o, "to", HT_ONNX_FLOAT);
    }
    if (in->pixel_range) {
        const char *range =
            ht_onnx_float(o, "input.range", in->pixel_range == 255 ? 255.0f : 127.5f);
        x = ht_onnx_node(o, "Div", HT_ONNX_IN(x, range), "input/unit");
    }
    if (in->pixel_range == -1)
        x = ht_onnx_node(o, "Sub", HT_ONNX_IN(x, ht_onnx_float(o, "input.middle", 1)),
                         "input/symmetric");
    if (in->mean) {
        x = ht_onnx_node(o, "Sub", HT_ONNX_IN(x, ht_onnx_floats(o, "input.mean", in->mean, n, 1)),
                         "input/centred");
        x = ht_onnx_node(o, "Div", HT_ONNX_IN(x, ht_onnx_floats(o, "input.std", in->std, n, 1)),
                         "input/standardized");
    }
    return x;
}

void ht_onnx_finish_outputs(struct ht_onnx *o, const struct ht_qmodel *m)
{
    const size_t n = m->outputs;
    const bool classes = strcmp(m->task, "classification") == 0;
    ht_onnx_add_output(o, "output", HT_ONNX_FLOAT, n,
                       !classes ? m->target_mean ? "standardized outputs" : "outputs"
                       : n == 1 ? "logit; the second class where it is above 0"
                                : "logits; the class is the first largest");
    if (!m->target_mean)
        return;
    const char *scaled = ht_onnx_node(
        o, "Mul", HT_ONNX_IN("output", ht_onnx_floats(o, "target.std", m->target_std, n, 1)),
        "target/scaled");
    ht_onnx_node(o, "Add",
                 HT_ONNX_IN(scaled, ht_onnx_floats(o, "target.mean", m->target_mean, n, 1)),
                 "target");
    ht_onnx_add_output(o, "target", HT_ONNX_FLOAT, n, "outputs in the unit of the targets");
}

static void print_quant(struct ht_text *t, const struct ht_qactivation *q)
{
    ht_text_printf(t, "%d bits, grid %s, scale %.9g, zero point %d", q->grid.bits, q->grid.name,
                   (double)q->scale, (int)q->zero_point);
}

const char *ht_onnx_layer_text(struct ht_onnx *o, const struct ht_qlayer *l)
{
    const struct ht_qweights *w = &l->weights;
    struct ht_text t = {0};
    ht_text_printf(&t, "%zu inputs, %zu outputs; weights: %d bits, grid %s, ", l->in, l->out,
                   w->grid.bits, w->grid.name);
    if (w->channels == 1)
        ht_text_printf(&t, "scale %.9g", (double)w->scale[0]);
    else
        ht_text_printf(&t, "a scale for each output");
    if (w->group)
        ht_text_printf(&t, ", groups of %zu inputs", w->group);
    ht_text_printf(&t, "; activation: %s", l->activation);
    if (l->output == HT_QOUTPUT_CODES) {
        ht_text_printf(&t, "; output: ");
        print_quant(&t, ht_qlayer_output_quant(l));
    } else if (l->output == HT_QOUTPUT_DYNAMIC) {
        ht_text_printf(&t, "; output: %d bits, grid %s, a scale for each row", l->quant.grid.bits,
                       l->quant.grid.name);
    }
    const char *text = ht_onnx_text(o, "%s", ht_text_str(&t));
    if (t.failed)
        o->failed = true;
    ht_text_finish(&t);
    return text;
}

static void print_bits(struct ht_text *t, const struct ht_qmodel *m)
{
    for (size_t i = 0; i < m->n_layers; i++)
        ht_text_printf(t, "%s%d", i ? " " : "", m->layers[i].weights.grid.bits);
}

/* Of what each layer takes, and of outputs that are levels. */
static void print_activation_bits(struct ht_text *t, const struct ht_qmodel *m)
{
    for (size_t i = 0; i < m->n_layers; i++) {
        const bool real = ht_qlayer_input_kind(m, i) == HT_QOUTPUT_REAL;
        ht_text_printf(t, "%s%d", i ? " " : "", real ? 32 : ht_qlayer_input_quant(m, i)->grid.bits);
    }
    const struct ht_qlayer *last = &m->layers[m->n_layers - 1];
    if (last->output == HT_QOUTPUT_CODES)
        ht_text_printf(t, " %d", ht_qlayer_output_quant(last)->grid.bits);
}

static void add_text(struct ht_onnx *o, const char *key, struct ht_text *t)
{
    ht_onnx_add_metadata(o, key, ht_text_str(t));
    if (t->failed)
        o->failed = true;
    ht_text_finish(t);
    memset(t, 0, sizeof *t);
}

/* Scores, each with a key of its own. */
static void describe_scores(struct ht_onnx *o, const struct ht_qmodel *m,
                            const struct ht_export_options *options)
{
    struct ht_text t = {0};
    ht_onnx_add_metadata(o, "score_name", m->score_name);
    ht_text_printf(&t, "%.17g", m->validation_score);
    add_text(o, "validation_score", &t);
    if (!options->split)
        return;
    ht_text_printf(&t, "%.17g", options->score);
    add_text(o, ht_onnx_text(o, "%s_score", options->split), &t);
    o->doc =
        ht_onnx_text(o, "%s; %s %s %.4f", o->doc, options->split, m->score_name, options->score);
}

void ht_onnx_describe(struct ht_onnx *o, const struct ht_export_source *source,
                      const struct ht_export_options *options)
{
    const struct ht_qmodel *m = source->model;
    const char *kind = source->network ? "float32" : ht_qmodel_mode(m);
    struct ht_text t = {0};
    o->name = m->name[0] ? m->name : "network";
    o->doc = ht_onnx_text(o,
                          "%s: %s network for %s, trained by halftone with loss %s; "
                          "validation %s %.4f",
                          m->name, kind, m->task, m->loss, m->score_name, m->validation_score);
    ht_onnx_add_metadata(o, "task", m->task);
    ht_onnx_add_metadata(o, "loss", m->loss);
    ht_onnx_add_metadata(o, "arithmetic", kind);
    if (m->n_layers) {
        print_bits(&t, m);
        add_text(o, "weight_bits", &t);
        print_activation_bits(&t, m);
        add_text(o, "activation_bits", &t);
    }
    describe_scores(o, m, options);
    for (size_t i = 0; i < m->n_classes; i++)
        ht_text_printf(&t, "%s\n", m->classes[i]);
    if (m->n_classes)
        add_text(o, "classes", &t);
    if (m->data_hash[0])
        ht_onnx_add_metadata(o, "data_hash", m->data_hash);
    if (m->experiment && *m->experiment)
        ht_onnx_add_metadata(o, "experiment", m->experiment);
}
