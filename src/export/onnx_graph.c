#include "export/onnx_graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <halftone/version.h>

#include "base/alloc.h"
#include "io/file.h"

#define MAX_BYTES 0x7fffffff /* protobuf's own limit of a message */

/* What element types need: bits, and from which version on they are there. */
static const struct element {
    int type, bits, opset, ir_version;
} elements[] = {
    {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, 32, 13, 7},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT32, 32, 13, 7},
    {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16, 16, 13, 7},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 64, 13, 7},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT8, 8, 13, 7},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT8, 8, 13, 7},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT4, 4, 21, 10},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT4, 4, 21, 10},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT2, 2, 25, 13},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT2, 2, 25, 13},
};

static const struct element *find_element(int type)
{
    size_t i = 0;
    while (elements[i].type != type)
        i++;
    return &elements[i];
}

void ht_onnx_need(struct ht_onnx *o, int opset, int ir_version)
{
    if (opset > o->opset)
        o->opset = opset;
    if (ir_version > o->ir_version)
        o->ir_version = ir_version;
}

void ht_onnx_need_type(struct ht_onnx *o, int type)
{
    const struct element *e = find_element(type);
    ht_onnx_need(o, e->opset, e->ir_version);
}

/* --- memory --- */

void ht_onnx_init(struct ht_onnx *o)
{
    ht_onnx_need_type(o, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
}

void ht_onnx_finish(struct ht_onnx *o)
{
    struct ht_onnx_list *const lists[] = {&o->nodes,   &o->tensors,  &o->inputs,
                                          &o->outputs, &o->metadata, &o->blocks};
    for (size_t i = 0; i < o->blocks.n; i++)
        ht_free(o->blocks.items[i]);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        ht_free(lists[i]->items);
}

static bool append(struct ht_onnx *o, struct ht_onnx_list *list, void *item)
{
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 64;
        void **items = ht_grow(list->items, capacity, sizeof *items);
        if (!items) {
            o->failed = true;
            return false;
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n++] = item;
    return true;
}

void *ht_onnx_memory(struct ht_onnx *o, size_t n, size_t size)
{
    void *p = o->failed ? NULL : ht_calloc(n, size);
    if (p && append(o, &o->blocks, p))
        return p;
    o->failed = true;
    ht_free(p);
    return NULL;
}

static char *copy_text(struct ht_onnx *o, const char *s)
{
    const size_t n = strlen(s) + 1;
    char *copy = ht_onnx_memory(o, n, 1);
    if (copy)
        memcpy(copy, s, n);
    return copy;
}

const char *ht_onnx_text(struct ht_onnx *o, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *copy = copy_text(o, text);
    return copy ? copy : "";
}

/* A message of the generated code, with what its _INIT macro says. */
#define NEW(o, type, init_macro) new_message(o, &(const type)init_macro, sizeof(type))

static void *new_message(struct ht_onnx *o, const void *init, size_t size)
{
    void *m = ht_onnx_memory(o, 1, size);
    if (m)
        memcpy(m, init, size);
    return m;
}

/* --- nodes --- */

const char *ht_onnx_node(struct ht_onnx *o, const char *op, const char *const *inputs,
                         const char *output)
{
    size_t n = 0;
    while (inputs[n])
        n++;
    Onnx__NodeProto *node = NEW(o, Onnx__NodeProto, ONNX__NODE_PROTO__INIT);
    char **in = ht_onnx_memory(o, n, sizeof *in), **out = ht_onnx_memory(o, 1, sizeof *out);
    if (!node || !in || !out)
        return output;
    for (size_t i = 0; i < n; i++)
        in[i] = copy_text(o, inputs[i]);
    node->input = in;
    node->n_input = n;
    out[0] = node->name = copy_text(o, output);
    node->output = out;
    node->n_output = 1;
    node->op_type = copy_text(o, op);
    append(o, &o->nodes, node);
    return out[0] ? out[0] : output;
}

static Onnx__NodeProto *last_node(struct ht_onnx *o)
{
    return o->failed ? NULL : o->nodes.items[o->nodes.n - 1];
}

static Onnx__AttributeProto *add_attribute(struct ht_onnx *o, const char *name,
                                           Onnx__AttributeProto__AttributeType type)
{
    Onnx__NodeProto *node = last_node(o);
    Onnx__AttributeProto *a = NEW(o, Onnx__AttributeProto, ONNX__ATTRIBUTE_PROTO__INIT);
    Onnx__AttributeProto **all =
        node ? ht_onnx_memory(o, node->n_attribute + 1, sizeof *all) : NULL;
    if (!a || !all)
        return NULL;
    if (node->n_attribute)
        memcpy(all, node->attribute, node->n_attribute * sizeof *all);
    all[node->n_attribute++] = a;
    node->attribute = all;
    a->name = copy_text(o, name);
    a->has_type = 1;
    a->type = type;
    return a;
}

void ht_onnx_set_int(struct ht_onnx *o, const char *name, int64_t value)
{
    Onnx__AttributeProto *a = add_attribute(o, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (!a)
        return;
    a->has_i = 1;
    a->i = value;
}

void ht_onnx_set_float(struct ht_onnx *o, const char *name, float value)
{
    Onnx__AttributeProto *a = add_attribute(o, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (!a)
        return;
    a->has_f = 1;
    a->f = value;
}

void ht_onnx_set_int_list(struct ht_onnx *o, const char *name, int64_t value)
{
    Onnx__AttributeProto *a = add_attribute(o, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    int64_t *list = ht_onnx_memory(o, 1, sizeof *list);
    if (!a || !list)
        return;
    list[0] = value;
    a->ints = list;
    a->n_ints = 1;
}

void ht_onnx_set_text(struct ht_onnx *o, const char *name, const char *value)
{
    Onnx__AttributeProto *a = add_attribute(o, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    if (!a)
        return;
    a->has_s = 1;
    a->s.data = (uint8_t *)copy_text(o, value);
    a->s.len = a->s.data ? strlen(value) : 0;
}

void ht_onnx_set_domain(struct ht_onnx *o, const char *domain)
{
    Onnx__NodeProto *node = last_node(o);
    o->domain = domain;
    if (node)
        node->domain = copy_text(o, domain);
}

void ht_onnx_set_doc(struct ht_onnx *o, const char *doc)
{
    Onnx__NodeProto *node = last_node(o);
    if (node)
        node->doc_string = copy_text(o, doc);
}

/* --- constants --- */

static Onnx__TensorProto *add_tensor(struct ht_onnx *o, const char *name, int type, int rank,
                                     const size_t *shape, const void *bytes, size_t size)
{
    Onnx__TensorProto *t = NEW(o, Onnx__TensorProto, ONNX__TENSOR_PROTO__INIT);
    int64_t *dims = ht_onnx_memory(o, (size_t)rank, sizeof *dims);
    if (!t || !dims)
        return NULL;
    for (int i = 0; i < rank; i++)
        dims[i] = (int64_t)shape[i];
    t->dims = dims;
    t->n_dims = (size_t)rank;
    t->has_data_type = 1;
    t->data_type = type;
    t->name = copy_text(o, name);
    t->has_raw_data = 1;
    t->raw_data.data = (uint8_t *)bytes; /* pack only reads it */
    t->raw_data.len = size;
    ht_onnx_need_type(o, type);
    append(o, &o->tensors, t);
    return t;
}

static void put_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static uint8_t *float_bytes(struct ht_onnx *o, const float *values, size_t n)
{
    uint8_t *bytes = values ? ht_onnx_memory(o, n, 4) : NULL;
    for (size_t i = 0; bytes && i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        put_u32(bytes + 4 * i, bits);
    }
    return bytes;
}

const char *ht_onnx_floats(struct ht_onnx *o, const char *name, const float *values, size_t n,
                           int rank)
{
    add_tensor(o, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, rank, &n, float_bytes(o, values, n),
               4 * n);
    return name;
}

const char *ht_onnx_float_matrix(struct ht_onnx *o, const char *name, size_t rows, size_t columns,
                                 const float *values)
{
    return ht_onnx_matrix(o, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, rows, columns,
                          float_bytes(o, values, rows * columns), 4 * rows * columns);
}

const char *ht_onnx_integers(struct ht_onnx *o, const char *name, int type, const int32_t *values,
                             size_t n, int rank)
{
    const size_t size = (size_t)find_element(type)->bits / 8;
    uint8_t *bytes = ht_onnx_memory(o, n, size);
    for (size_t i = 0; bytes && i < n; i++)
        if (size == 1)
            bytes[i] = (uint8_t)values[i];
        else
            put_u32(bytes + 4 * i, (uint32_t)values[i]);
    add_tensor(o, name, type, rank, &n, bytes, size * n);
    return name;
}

const char *ht_onnx_float(struct ht_onnx *o, const char *name, float value)
{
    return ht_onnx_floats(o, name, &value, 1, 0);
}

const char *ht_onnx_integer(struct ht_onnx *o, const char *name, int type, int32_t value)
{
    return ht_onnx_integers(o, name, type, &value, 1, 0);
}

const char *ht_onnx_matrix(struct ht_onnx *o, const char *name, int type, size_t rows,
                           size_t columns, const void *bytes, size_t size)
{
    const size_t shape[2] = {rows, columns};
    add_tensor(o, name, type, 2, shape, bytes, size);
    return name;
}

const char *ht_onnx_place(struct ht_onnx *o, const char *name, int64_t value)
{
    const size_t one = 1;
    uint8_t *bytes = ht_onnx_memory(o, 8, 1);
    for (int i = 0; bytes && i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)value >> 8 * i);
    add_tensor(o, name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 1, &one, bytes, 8);
    return name;
}

/* --- what comes in and goes out --- */

static void add_value(struct ht_onnx *o, struct ht_onnx_list *list, const char *name, int type,
                      size_t width, const char *doc)
{
    typedef Onnx__TensorShapeProto__Dimension dimension;
    Onnx__ValueInfoProto *v = NEW(o, Onnx__ValueInfoProto, ONNX__VALUE_INFO_PROTO__INIT);
    Onnx__TypeProto *t = NEW(o, Onnx__TypeProto, ONNX__TYPE_PROTO__INIT);
    Onnx__TypeProto__Tensor *tensor =
        NEW(o, Onnx__TypeProto__Tensor, ONNX__TYPE_PROTO__TENSOR__INIT);
    Onnx__TensorShapeProto *shape = NEW(o, Onnx__TensorShapeProto, ONNX__TENSOR_SHAPE_PROTO__INIT);
    dimension **dims = ht_onnx_memory(o, 2, sizeof *dims);
    for (int i = 0; dims && i < 2; i++)
        dims[i] = NEW(o, dimension, ONNX__TENSOR_SHAPE_PROTO__DIMENSION__INIT);
    if (!v || !t || !tensor || !shape || !dims || !dims[0] || !dims[1])
        return;
    dims[0]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    dims[0]->dim_param = copy_text(o, "batch");
    dims[1]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    dims[1]->dim_value = (int64_t)width;
    shape->dim = dims;
    shape->n_dim = 2;
    tensor->has_elem_type = 1;
    tensor->elem_type = type;
    tensor->shape = shape;
    t->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    t->tensor_type = tensor;
    v->name = copy_text(o, name);
    v->type = t;
    v->doc_string = copy_text(o, doc);
    append(o, list, v);
}

void ht_onnx_add_input(struct ht_onnx *o, const char *name, int type, size_t width, const char *doc)
{
    add_value(o, &o->inputs, name, type, width, doc);
}

void ht_onnx_add_output(struct ht_onnx *o, const char *name, int type, size_t width,
                        const char *doc)
{
    add_value(o, &o->outputs, name, type, width, doc);
}

void ht_onnx_add_metadata(struct ht_onnx *o, const char *key, const char *value)
{
    Onnx__StringStringEntryProto *e =
        NEW(o, Onnx__StringStringEntryProto, ONNX__STRING_STRING_ENTRY_PROTO__INIT);
    if (!e)
        return;
    e->key = copy_text(o, key);
    e->value = copy_text(o, value);
    append(o, &o->metadata, e);
}

/* --- the file --- */

static Onnx__OperatorSetIdProto *new_opset(struct ht_onnx *o, const char *domain, int version)
{
    Onnx__OperatorSetIdProto *s =
        NEW(o, Onnx__OperatorSetIdProto, ONNX__OPERATOR_SET_ID_PROTO__INIT);
    if (!s)
        return NULL;
    s->domain = copy_text(o, domain);
    s->has_version = 1;
    s->version = version;
    return s;
}

static void *items(const struct ht_onnx_list *list)
{
    return list->items;
}

enum ht_status ht_onnx_write(struct ht_onnx *o, const char *path, struct ht_error *err)
{
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__OperatorSetIdProto *opsets[2] = {new_opset(o, "", o->opset)};
    graph.name = copy_text(o, o->name);
    graph.node = items(&o->nodes);
    graph.n_node = o->nodes.n;
    graph.initializer = items(&o->tensors);
    graph.n_initializer = o->tensors.n;
    graph.input = items(&o->inputs);
    graph.n_input = o->inputs.n;
    graph.output = items(&o->outputs);
    graph.n_output = o->outputs.n;
    model.has_ir_version = 1;
    model.ir_version = o->ir_version;
    model.producer_name = copy_text(o, "halftone");
    model.producer_version = copy_text(o, HALFTONE_VERSION);
    model.doc_string = copy_text(o, o->doc);
    model.graph = &graph;
    model.opset_import = opsets;
    model.n_opset_import = 1;
    if (o->domain)
        opsets[model.n_opset_import++] = new_opset(o, o->domain, 1);
    model.metadata_props = items(&o->metadata);
    model.n_metadata_props = o->metadata.n;
    if (o->failed)
        return ht_fail_memory(err);
    const size_t size = onnx__model_proto__get_packed_size(&model);
    if (size > MAX_BYTES)
        return ht_fail(err, HT_ERR_CONFIG, "%s would have %zu bytes; an ONNX file has at most 2 GB",
                       path, size);
    uint8_t *bytes = ht_calloc(size, 1);
    if (!bytes)
        return ht_fail_memory(err);
    onnx__model_proto__pack(&model, bytes);
    const enum ht_status status = ht_file_write_atomic(path, bytes, size, err);
    ht_free(bytes);
    return status;
}
