/* Private to src/export: the parts that ONNX exports are made of. Each adds nodes to a graph and
 * returns the name of the value that comes out; docs/onnx.md describes them. */
#ifndef HT_EXPORT_ONNX_PARTS_H
#define HT_EXPORT_ONNX_PARTS_H

#include "export/export.h"
#include "export/onnx_graph.h"

/* Types of elements, as TensorProto numbers them. */
enum {
    HT_ONNX_FLOAT = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT,
    HT_ONNX_UINT8 = ONNX__TENSOR_PROTO__DATA_TYPE__UINT8,
    HT_ONNX_INT8 = ONNX__TENSOR_PROTO__DATA_TYPE__INT8,
    HT_ONNX_INT32 = ONNX__TENSOR_PROTO__DATA_TYPE__INT32,
    HT_ONNX_FLOAT16 = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16,
    HT_ONNX_UINT4 = ONNX__TENSOR_PROTO__DATA_TYPE__UINT4,
    HT_ONNX_INT4 = ONNX__TENSOR_PROTO__DATA_TYPE__INT4,
    HT_ONNX_UINT2 = ONNX__TENSOR_PROTO__DATA_TYPE__UINT2,
    HT_ONNX_INT2 = ONNX__TENSOR_PROTO__DATA_TYPE__INT2
};

/* "input", and what makes of raw values the x of the network: ht_qmodel_transform_input. */
const char *ht_onnx_raw_input(struct ht_onnx *o, const struct ht_qinput *in,
                              enum ht_export_input kind);
const char *ht_onnx_transform(struct ht_onnx *o, const struct ht_qinput *in,
                              enum ht_export_input kind, const char *raw);

/* What the model says of itself: name, task, classes, scores, experiment. */
void ht_onnx_describe(struct ht_onnx *o, const struct ht_export_source *source,
                      const struct ht_export_options *options);

/* HT_ERR_CONFIG where bytes are asked for, but the network's raw values are numbers. */
enum ht_status ht_onnx_check_input(const struct ht_qmodel *m, enum ht_export_input kind,
                                   struct ht_error *err);

/* One line about a layer, for people. */
const char *ht_onnx_layer_text(struct ht_onnx *o, const struct ht_qlayer *l);

/* Declares the value "output" [batch, outputs] as that, and for regression makes "target" of it, in
 * the unit of the targets. */
void ht_onnx_finish_outputs(struct ht_onnx *o, const struct ht_qmodel *m);

/* The grid of a layer's weights as products take them, with the scales of groups multiplied in: no
 * ONNX operator that ONNX Runtime computes in integers has them, and code * group scale is an int8.
 */
struct ht_grid ht_onnx_weight_grid(const struct ht_qlayer *l);

/* What one layer passes on to the next: float32, or uint8 levels counted from the grid's lowest. */
struct ht_onnx_value {
    const char *name;
    const char *scale;      /* of dynamic levels, else NULL: [batch, 1], float32 */
    const char *zero_point; /* int32 [batch, 1], counted likewise; NULL: that of the grid */
};

/* Raises the versions to what the weights of all layers need. */
void ht_onnx_need_versions(struct ht_onnx *o, const struct ht_qmodel *m);

/* The weights of a layer as int8 or uint8 [out, in], for inputs that are uint8: level - grid.lo. */
struct ht_onnx_weights {
    const char *value;
    int type;      /* HT_ONNX_INT8 or _UINT8, of value */
    int shift;     /* value = level + shift */
    bool in_float; /* sums of products are whole numbers up to 2^24, in any order and any part */
};
struct ht_onnx_weights ht_onnx_weights(struct ht_onnx *o, const struct ht_qmodel *m, size_t layer);
/* Their zero points, of the same type and with the same shift. */
const char *ht_onnx_weight_zero_point(struct ht_onnx *o, const struct ht_qlayer *l,
                                      const struct ht_onnx_weights *w);
/* The weights of a layer as float32 [out, in], for real inputs. */
const char *ht_onnx_real_weights(struct ht_onnx *o, const struct ht_qlayer *l);

/* MatMulInteger of levels; input_zero: uint8. */
const char *ht_onnx_integer_products(struct ht_onnx *o, const struct ht_qlayer *l,
                                     const struct ht_onnx_weights *w, const char *levels,
                                     const char *input_zero);

/* Levels of each row of real values, by the scale that it finds for itself; `layer` begins the
 * names. */
struct ht_onnx_value ht_onnx_quantize_rows(struct ht_onnx *o, const char *layer,
                                           const struct ht_qactivation *q, const char *x);

/* The real values in front of the activation of a layer that takes dynamic levels, bit for bit, or
 * real values, but for rounding. */
const char *ht_onnx_dynamic_outputs(struct ht_onnx *o, const struct ht_qmodel *m, size_t index,
                                    const struct ht_onnx_value *in, const char *output);
const char *ht_onnx_real_outputs(struct ht_onnx *o, const struct ht_qlayer *l, const char *x,
                                 const char *output);

/* Activations on real values; "none" is x itself. slope_known: that of leaky_relu. */
bool ht_onnx_has_activation(const char *name, bool slope_known);
const char *ht_onnx_activation(struct ht_onnx *o, const char *layer, const char *name, double slope,
                               const char *x, const char *output);

/* Whole networks. */
void ht_onnx_integer_network(struct ht_onnx *o, const struct ht_qmodel *m,
                             enum ht_export_input input);
void ht_onnx_float_network(struct ht_onnx *o, const struct ht_qmodel *m,
                           const struct ht_model *network, enum ht_export_input input);

#endif
