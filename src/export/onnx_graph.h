/* Private to src/export: an ONNX graph, put together node after node. Everything that it is made of
 * lives as long as the graph. Failures are sticky: memory runs out, the calls after that do
 * nothing, and ht_onnx_write reports it. */
#ifndef HT_EXPORT_ONNX_GRAPH_H
#define HT_EXPORT_ONNX_GRAPH_H

#include <stdbool.h>

#include "base/error.h"
#include "export/onnx.pb-c.h"

struct ht_onnx_list {
    void **items;
    size_t n, capacity;
};

struct ht_onnx {
    struct ht_onnx_list nodes, tensors, inputs, outputs, metadata;
    struct ht_onnx_list blocks; /* all memory */
    int opset, ir_version;      /* the oldest that have what the graph uses */
    const char *domain;         /* of operators beside ONNX's own, or NULL */
    const char *name, *doc;
    bool failed;
};

/* The input names of a node: HT_ONNX_IN(x, scale). */
#define HT_ONNX_IN(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Zero-initialize, then: the graph starts with the oldest operators that are used anywhere. */
void ht_onnx_init(struct ht_onnx *o);
void ht_onnx_finish(struct ht_onnx *o);

/* The oldest version that has an operator, or elements of a type. */
void ht_onnx_need(struct ht_onnx *o, int opset, int ir_version);
void ht_onnx_need_type(struct ht_onnx *o, int type);

/* Zeroed memory of the graph; NULL when there is none. */
void *ht_onnx_memory(struct ht_onnx *o, size_t n, size_t size);
/* Text of the graph; never NULL. */
const char *ht_onnx_text(struct ht_onnx *o, const char *format, ...) HT_PRINTF(2, 3);

/* A node with one output, which it is named after. Returns the name of the output. */
const char *ht_onnx_node(struct ht_onnx *o, const char *op, const char *const *inputs,
                         const char *output);
/* Of the last node. */
void ht_onnx_set_int(struct ht_onnx *o, const char *name, int64_t value);
void ht_onnx_set_int_list(struct ht_onnx *o, const char *name, int64_t value); /* of one */
void ht_onnx_set_float(struct ht_onnx *o, const char *name, float value);
void ht_onnx_set_text(struct ht_onnx *o, const char *name, const char *value);
void ht_onnx_set_domain(struct ht_onnx *o, const char *domain);
void ht_onnx_set_doc(struct ht_onnx *o, const char *doc);

/* Constants; they return `name`. Values are copied. rank 0: one number. */
const char *ht_onnx_floats(struct ht_onnx *o, const char *name, const float *values, size_t n,
                           int rank);
/* type: INT8, UINT8 or INT32. */
const char *ht_onnx_integers(struct ht_onnx *o, const char *name, int type, const int32_t *values,
                             size_t n, int rank);
const char *ht_onnx_float(struct ht_onnx *o, const char *name, float value);
const char *ht_onnx_integer(struct ht_onnx *o, const char *name, int type, int32_t value);
/* INT64 [1]: the place of an axis. */
const char *ht_onnx_place(struct ht_onnx *o, const char *name, int64_t value);
const char *ht_onnx_float_matrix(struct ht_onnx *o, const char *name, size_t rows, size_t columns,
                                 const float *values);
/* [rows, columns] as it is stored: `size` bytes, little endian, which stay the caller's until the
 * graph is written. The types INT4 and INT2 and their unsigned forms raise the opset. */
const char *ht_onnx_matrix(struct ht_onnx *o, const char *name, int type, size_t rows,
                           size_t columns, const void *bytes, size_t size);

/* A value [batch, width] that comes in or goes out. */
void ht_onnx_add_input(struct ht_onnx *o, const char *name, int type, size_t width,
                       const char *doc);
void ht_onnx_add_output(struct ht_onnx *o, const char *name, int type, size_t width,
                        const char *doc);
void ht_onnx_add_metadata(struct ht_onnx *o, const char *key, const char *value);

/* The whole model, in one atomic file write. */
enum ht_status ht_onnx_write(struct ht_onnx *o, const char *path, struct ht_error *err);

#endif
