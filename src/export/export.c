#include "export/export.h"

#include <string.h>

#include "base/text.h"
#include "export/c.h"
#include "export/onnx.h"
#include "export/safetensors.h"

static const struct ht_export_format formats[] = {
    {"hdf5", ".h5", false, false, NULL, NULL},
    {"onnx", ".onnx", true, false, ht_export_onnx, ht_onnx_agreement},
    {"qonnx", ".qonnx.onnx", false, false, ht_export_qonnx, ht_qonnx_agreement},
    {"safetensors", ".safetensors", true, false, ht_export_safetensors, NULL},
    {"c", "-c", false, true, ht_export_c, NULL},
};
static const char *const inputs[] = {[HT_EXPORT_FLOAT] = "float", [HT_EXPORT_U8] = "u8"};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum ht_status ht_export_format_find(const struct ht_export_format **ret, const char *name,
                                     struct ht_error *err)
{
    const char *names[COUNT(formats)];
    struct ht_text list = {0};
    for (size_t i = 0; i < COUNT(formats); i++) {
        names[i] = formats[i].name;
        if (strcmp(name, names[i]) == 0) {
            *ret = &formats[i];
            return HT_OK;
        }
    }
    const char *near = ht_nearest_name(name, names, COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++)
        ht_text_printf(&list, "%s%s", i ? ", " : "", names[i]);
    ht_fail(err, HT_ERR_CONFIG, "unknown export format '%s'%s%s%s; there are %s", name,
            near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "",
            ht_text_str(&list));
    ht_text_finish(&list);
    return HT_ERR_CONFIG;
}

enum ht_status ht_export_input_find(enum ht_export_input *ret, const char *name,
                                    struct ht_error *err)
{
    for (size_t i = 0; i < COUNT(inputs); i++)
        if (strcmp(name, inputs[i]) == 0) {
            *ret = (enum ht_export_input)i;
            return HT_OK;
        }
    return ht_fail(err, HT_ERR_CONFIG, "unknown kind of input '%s'; there are float, u8", name);
}

enum ht_status ht_export_check_source(const struct ht_export_format *format,
                                      const struct ht_model *network, struct ht_error *err)
{
    if (network->quantized || format->floats)
        return HT_OK;
    return ht_fail(err, HT_ERR_CONFIG,
                   "this is a float32 network: it has no integer form for %s (it can go to onnx or "
                   "safetensors)",
                   format->name);
}

static struct ht_export_source source_of(const struct ht_qmodel *model,
                                         const struct ht_model *network)
{
    return (struct ht_export_source){model, network->quantized ? NULL : network};
}

const char *ht_export_agreement(const struct ht_export_format *format,
                                const struct ht_qmodel *model, const struct ht_model *network)
{
    static const char *const names[] = {[HT_AGREEMENT_BITS] = "bit for bit",
                                        [HT_AGREEMENT_ROUNDING] = "but for rounding",
                                        [HT_AGREEMENT_BORDERS] = "nearly all"};
    const struct ht_export_source source = source_of(model, network);
    return names[format->agreement ? format->agreement(&source) : HT_AGREEMENT_BITS];
}

enum ht_status ht_export_write(const struct ht_export_format *format, const struct ht_qmodel *model,
                               const struct ht_model *network,
                               const struct ht_export_options *options, const char *path,
                               struct ht_error *err)
{
    const struct ht_export_source source = source_of(model, network);
    return format->write(&source, options, path, err);
}
