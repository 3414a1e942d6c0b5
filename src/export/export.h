/* Other file formats, written from the integer model or from a float32 network. */
#ifndef HT_EXPORT_EXPORT_H
#define HT_EXPORT_EXPORT_H

#include <stdbool.h>

#include "layers/model.h"
#include "qmodel/qmodel.h"

struct ht_export_source {
    const struct ht_qmodel *model;  /* with network: only what it says beside its layers */
    const struct ht_model *network; /* a float32 network, or NULL */
};

/* How an exported network takes raw values, those of the training data. */
enum ht_export_input {
    HT_EXPORT_FLOAT, /* float32; image bytes as 0..255 */
    HT_EXPORT_U8     /* bytes; only where the training data are bytes */
};

struct ht_export_options {
    enum ht_export_input input;
    const char *prefix; /* of names in C code, lower case; NULL = "net" */
    /* To be noted in the file: the network's score on a part of the data. NULL: not measured. */
    const char *split;
    double score;
};

/* What a layer takes as C code, and what the same layer would in float32. */
struct ht_export_cost {
    size_t flash, float_flash; /* bytes of constants */
    size_t ram, float_ram;     /* bytes of inputs and outputs; of a network with all in between */
    size_t multiplies, float_multiplies;
};

/* How the outputs of others who run an exported network agree with the engine's. */
enum ht_agreement {
    HT_AGREEMENT_BITS,     /* equal bit for bit */
    HT_AGREEMENT_ROUNDING, /* but for the rounding of real sums */
    HT_AGREEMENT_BORDERS   /* the same, and sums on the border of two levels may take either */
};

struct ht_export_format {
    const char *name, *suffix; /* static: "onnx", ".onnx" */
    bool floats;               /* takes float32 networks */
    bool code;                 /* path is a folder of source files; prefix counts, input does not */
    /* NULL: hdf5, which ht_qmodel_save writes. Atomic, and the same bytes for the same source.
     * HT_ERR_CONFIG for what the format cannot express. */
    enum ht_status (*write)(const struct ht_export_source *source,
                            const struct ht_export_options *options, const char *path,
                            struct ht_error *err);
    /* Are outputs of those who follow the format equal to the engine's bit for bit? NULL: yes. */
    enum ht_agreement (*agreement)(const struct ht_export_source *source);
};

/* HT_ERR_CONFIG for an unknown name (with the nearest one). */
enum ht_status ht_export_format_find(const struct ht_export_format **ret, const char *name,
                                     struct ht_error *err);

/* Of format "c": cost[n_layers + 1], the last for the whole network. HT_ERR_CONFIG for a model that
 * the format cannot express. */
enum ht_status ht_export_costs(const struct ht_qmodel *model, struct ht_export_cost *cost,
                               struct ht_error *err);

/* "float" or "u8"; HT_ERR_CONFIG for another. */
enum ht_status ht_export_input_find(enum ht_export_input *ret, const char *name,
                                    struct ht_error *err);

/* HT_ERR_CONFIG when the format does not take this network, quantized or not. */
enum ht_status ht_export_check_source(const struct ht_export_format *format,
                                      const struct ht_model *network, struct ht_error *err);

/* What to say of it: "bit for bit", ...; static. Arguments as of ht_export_write. */
const char *ht_export_agreement(const struct ht_export_format *format,
                                const struct ht_qmodel *model, const struct ht_model *network);

/* format->write of `model`, the lowered form of `network`, or of the network itself if it is not
 * quantized; model says then what goes with it. */
enum ht_status ht_export_write(const struct ht_export_format *format, const struct ht_qmodel *model,
                               const struct ht_model *network,
                               const struct ht_export_options *options, const char *path,
                               struct ht_error *err);

#endif
