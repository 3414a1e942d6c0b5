/* What a file of somebody else's float network holds: tensors, and the layers they are of. Files
 * are hostile: everything is checked against the bytes that are there before it is used. */
#ifndef HT_IMPORT_TENSORS_H
#define HT_IMPORT_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Limits, so that no file costs more than a small multiple of its size. */
#define HT_IMPORT_NAME        256 /* bytes, with the NUL */
#define HT_IMPORT_RANK        8
#define HT_IMPORT_MAX_TENSORS 4096 /* tensors, and nodes of a graph */
#define HT_IMPORT_MAX_LAYERS  999
#define HT_IMPORT_MAX_FILE    ((size_t)1 << 31)
#define HT_IMPORT_MAX_WIDTH   ((size_t)1 << 24) /* of a dimension */

enum ht_import_number {
    HT_IMPORT_F32,
    HT_IMPORT_F64,
    HT_IMPORT_F16,
    HT_IMPORT_BF16,
    HT_IMPORT_NONE
};

struct ht_import_tensor {
    char name[HT_IMPORT_NAME];
    char type[32];                /* as the format calls it: "F32", "float16", "int8" */
    enum ht_import_number number; /* NONE: none that can be taken */
    int rank;
    size_t shape[HT_IMPORT_RANK];
    size_t n;            /* elements */
    const uint8_t *data; /* little endian, unaligned, borrowed; NULL: not of a float type */
    size_t bytes;
    /* What halftone's own safetensors say about codes; 0 and empty: nothing. */
    int bits;
    char grid[16];
};

/* Parts of a layer. WEIGHT and BIAS of a batch normalization are its gain and offset. */
enum ht_import_part {
    HT_IMPORT_WEIGHT,
    HT_IMPORT_BIAS,
    HT_IMPORT_MEAN,
    HT_IMPORT_VARIANCE,
    HT_IMPORT_PARTS
};

struct ht_import_layer {
    char name[HT_IMPORT_NAME];
    bool batchnorm;              /* else dense */
    int tensor[HT_IMPORT_PARTS]; /* index; -1: none */
    bool transposed;             /* the weight is [in, out], not [out, in] */
    size_t in, out;              /* of a batch normalization the same */
    double epsilon;              /* of a batch normalization; NAN: the file does not say */
};

struct ht_import_file {
    const char *label; /* for messages, borrowed */
    char *bytes;       /* owned, or NULL */
    struct ht_import_tensor *tensors;
    size_t n_tensors;
    /* A graph: in its order. Names alone: in natural order, 2 before 10. */
    struct ht_import_layer *layers;
    size_t n_layers;
};

struct ht_import_format {
    const char *name, *suffix;
    /* Tensors alone, and then the layers. */
    enum ht_status (*parse)(struct ht_import_file *f, const void *data, size_t size, bool layers,
                            struct ht_error *err);
};

/* The format that a path's ending names; NULL: none. */
const struct ht_import_format *ht_import_format_of(const char *path);

/* data must outlive the file. HT_ERR_MODEL names the file, and the tensor or node. */
enum ht_status ht_import_parse(struct ht_import_file **ret, const struct ht_import_format *format,
                               const void *data, size_t size, const char *label,
                               struct ht_error *err);
/* path must outlive the file. HT_ERR_CONFIG when its ending names no format. */
enum ht_status ht_import_read(struct ht_import_file **ret, const char *path, struct ht_error *err);
/* The tensors without looking for layers in them: any file of these formats. */
enum ht_status ht_import_list(struct ht_import_file **ret, const char *path, struct ht_error *err);
void ht_import_destroy(struct ht_import_file *f);

/* Index of a tensor; -1: there is none. */
int ht_import_find(const struct ht_import_file *f, const char *name);

/* Is the name one of halftone's own beside the network, or a counter of PyTorch's? */
bool ht_import_is_aside(const char *name);

/* As float32 into x[t->n]; HT_ERR_MODEL for another type, and for values that are not finite. */
enum ht_status ht_import_values(const struct ht_import_file *f, const struct ht_import_tensor *t,
                                float *x, struct ht_error *err);

/* "256x784"; "1" of a scalar. */
void ht_import_print_shape(const struct ht_import_tensor *t, char text[96]);

/* --- for the formats --- */

/* A new tensor or layer; pointers to earlier ones are void then. */
enum ht_status ht_import_add(struct ht_import_file *f, struct ht_import_tensor **ret,
                             const char *name, size_t length, struct ht_error *err);
enum ht_status ht_import_add_layer(struct ht_import_file *f, struct ht_import_layer **ret,
                                   const char *name, bool batchnorm, struct ht_error *err);
/* Adds a dimension and keeps n; HT_ERR_MODEL beyond the limits. n starts as 1. */
enum ht_status ht_import_add_dimension(struct ht_import_file *f, struct ht_import_tensor *t,
                                       uint64_t size, struct ht_error *err);
/* in and out of a layer from its tensors; HT_ERR_MODEL when the shapes do not go together. */
enum ht_status ht_import_settle_layer(const struct ht_import_file *f, struct ht_import_layer *l,
                                      struct ht_error *err);
size_t ht_import_number_size(enum ht_import_number number);

/* HT_ERR_MODEL with the file's label in front. */
#define HT_IMPORT_BAD(f, err, ...)                                                                 \
    (ht_fail(err, HT_ERR_MODEL, __VA_ARGS__), ht_error_prefix(err, HT_ERR_MODEL, "%s", (f)->label))

extern const struct ht_import_format ht_import_safetensors, ht_import_onnx;

#endif
