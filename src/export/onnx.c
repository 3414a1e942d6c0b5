/* ONNX files: what can be written, and by which parts. */
#include <string.h>

#include "export/onnx.h"
#include "export/onnx_parts.h"

/* Everything that this form of ONNX cannot express is refused here. */
static enum ht_status check(const struct ht_export_source *source, enum ht_export_input input,
                            struct ht_error *err)
{
    const struct ht_model *n = source->network;
    const struct ht_qmodel *m = source->model;
    for (size_t i = 0; n && i < n->n_blocks; i++)
        if (!ht_onnx_has_activation(n->blocks[i].activation->name, true))
            return ht_fail(err, HT_ERR_CONFIG, "%s: the activation %s has no ONNX form yet",
                           n->blocks[i].name, n->blocks[i].activation->name);
    for (size_t i = 0; !n && i < m->n_layers; i++)
        if (ht_qlayer_is_real(m, i) && !ht_onnx_has_activation(m->layers[i].activation, true))
            return ht_fail(err, HT_ERR_CONFIG, "%s: the activation %s has no ONNX form yet",
                           m->layers[i].name, m->layers[i].activation);
    return ht_onnx_check_input(m, input, err);
}

/* Is it one that every runtime computes alike? */
static bool is_plain(const char *activation)
{
    static const char *const plain[] = {"none", "relu", "relu6", "leaky_relu"};
    bool found = false;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        found |= strcmp(activation, plain[i]) == 0;
    return found;
}

enum ht_agreement ht_onnx_agreement(const struct ht_export_source *source)
{
    const struct ht_qmodel *m = source->model;
    bool rounds = source->network != NULL;
    for (size_t i = 0; !source->network && i < m->n_layers; i++) {
        const struct ht_qlayer *l = &m->layers[i];
        rounds |= ht_qlayer_is_real(m, i) && !is_plain(l->activation);
        rounds |= ht_qlayer_input_kind(m, i) == HT_QOUTPUT_REAL;
        if (rounds && l->output != HT_QOUTPUT_REAL)
            return HT_AGREEMENT_BORDERS;
    }
    return rounds ? HT_AGREEMENT_ROUNDING : HT_AGREEMENT_BITS;
}

enum ht_status ht_export_onnx(const struct ht_export_source *source,
                              const struct ht_export_options *options, const char *path,
                              struct ht_error *err)
{
    struct ht_onnx o = {0};
    enum ht_status status = check(source, options->input, err);
    if (status != HT_OK)
        return status;
    ht_onnx_init(&o);
    if (source->network)
        ht_onnx_float_network(&o, source->model, source->network, options->input);
    else
        ht_onnx_integer_network(&o, source->model, options->input);
    ht_onnx_describe(&o, source, options);
    status = ht_onnx_write(&o, path, err);
    ht_onnx_finish(&o);
    return status;
}
