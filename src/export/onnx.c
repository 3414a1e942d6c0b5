/* ONNX files: what can be written, and by which parts. */
#include <string.h>

#include "export/onnx.h"
#include "export/onnx_parts.h"

/* Everything that this form of ONNX cannot express is refused here. */
static enum ht_status check(const struct ht_export_source *source, enum ht_export_input input,
                            struct ht_error *err)
{
    const struct ht_model *n = source->network;
    for (size_t i = 0; n && i < n->n_blocks; i++)
        if (!ht_onnx_has_activation(n->blocks[i].activation->name, true))
            return ht_fail(err, HT_ERR_CONFIG, "%s: the activation %s has no ONNX form yet",
                           n->blocks[i].name, n->blocks[i].activation->name);
    return ht_onnx_check_model(source->model, input, err);
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
    ht_onnx_describe(&o, source);
    status = ht_onnx_write(&o, path, err);
    ht_onnx_finish(&o);
    return status;
}
