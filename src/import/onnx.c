/* ONNX files: ModelProto.graph, its initializers and nodes, by the field numbers of onnx.proto. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "import/onnx_graph.h"

/* Field numbers. */
enum { MODEL_GRAPH = 7, GRAPH_NODE = 1, GRAPH_INITIALIZER = 5, GRAPH_SPARSE_INITIALIZER = 15 };
enum { NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_OP = 4, NODE_ATTRIBUTE = 5 };
enum { ATTRIBUTE_NAME = 1, ATTRIBUTE_F, ATTRIBUTE_I, ATTRIBUTE_S, ATTRIBUTE_T, ATTRIBUTE_INTS = 8 };
enum {
    TENSOR_DIMS = 1,
    TENSOR_TYPE = 2,
    TENSOR_SEGMENT = 3,
    TENSOR_FLOATS = 4,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    TENSOR_DOUBLES = 10,
    TENSOR_EXTERNAL = 13,
    TENSOR_LOCATION = 14
};

static const struct {
    const char *name;
    enum ht_import_number number;
    uint32_t field; /* where data is that is not raw; 0: only raw */
} types[] = {
    [1] = {"float", HT_IMPORT_F32, TENSOR_FLOATS},
    [2] = {"uint8", HT_IMPORT_NONE, 0},
    [3] = {"int8", HT_IMPORT_NONE, 0},
    [6] = {"int32", HT_IMPORT_NONE, 0},
    [7] = {"int64", HT_IMPORT_NONE, 0},
    [9] = {"bool", HT_IMPORT_NONE, 0},
    [10] = {"float16", HT_IMPORT_F16, 0},
    [11] = {"double", HT_IMPORT_F64, TENSOR_DOUBLES},
    [16] = {"bfloat16", HT_IMPORT_BF16, 0},
    [21] = {"uint4", HT_IMPORT_NONE, 0},
    [22] = {"int4", HT_IMPORT_NONE, 0},
    [25] = {"uint2", HT_IMPORT_NONE, 0},
    [26] = {"int2", HT_IMPORT_NONE, 0},
};
#define N_TYPES (sizeof types / sizeof *types)

#define DAMAGED(f, err, what) HT_IMPORT_BAD(f, err, "%s is damaged: is it ONNX?", what)

/* --- tensors --- */

/* A TensorProto, before it is known what goes together. */
struct raw_tensor {
    struct ht_pb name, raw, typed; /* typed: float_data or double_data, packed */
    uint32_t typed_field;
    bool has_raw, unpacked, repeated, external, segment;
    int64_t type, dims[HT_IMPORT_RANK + 1];
    size_t n_dims;
};

static void take_typed(struct raw_tensor *t, const struct ht_pb_field *f)
{
    t->unpacked |= f->wire != HT_PB_BYTES;
    t->repeated |= t->typed_field != 0;
    t->typed_field = f->number;
    t->typed = f->bytes;
}

static bool read_tensor(struct raw_tensor *t, struct ht_pb message)
{
    struct ht_pb_field f;
    bool damaged = false;
    memset(t, 0, sizeof *t);
    while (ht_pb_next(&message, &f, &damaged)) {
        if (f.number == TENSOR_DIMS)
            damaged |= !ht_pb_numbers(&f, t->dims, HT_IMPORT_RANK + 1, &t->n_dims);
        else if (f.number == TENSOR_TYPE)
            t->type = (int64_t)f.value;
        else if (f.number == TENSOR_SEGMENT)
            t->segment = true;
        else if (f.number == TENSOR_FLOATS || f.number == TENSOR_DOUBLES)
            take_typed(t, &f);
        else if (f.number == TENSOR_NAME)
            t->name = f.bytes;
        else if (f.number == TENSOR_EXTERNAL || (f.number == TENSOR_LOCATION && f.value == 1))
            t->external = true;
        if (f.number == TENSOR_RAW) {
            t->has_raw = f.wire == HT_PB_BYTES;
            t->raw = f.bytes;
        }
    }
    return !damaged;
}

/* Where the numbers are. */
static enum ht_status take_data(struct ht_import_file *f, struct ht_import_tensor *t,
                                const struct raw_tensor *raw, struct ht_error *err)
{
    const struct ht_pb *data = &raw->raw;
    if (t->number == HT_IMPORT_NONE) {
        t->bytes = ht_pb_size(&raw->raw);
        return HT_OK;
    }
    if (!raw->has_raw) {
        if (raw->unpacked || raw->repeated || (raw->typed_field && !types[raw->type].field)) {
            t->number = HT_IMPORT_NONE;
            snprintf(t->type, sizeof t->type, "%s, not raw", types[raw->type].name);
            return HT_OK;
        }
        data = &raw->typed;
    }
    t->bytes = ht_pb_size(data);
    if (t->bytes != t->n * ht_import_number_size(t->number) ||
        (!raw->has_raw && raw->typed_field && raw->typed_field != types[raw->type].field))
        return HT_IMPORT_BAD(f, err, "%s: %zu bytes of data for %zu elements of %s", t->name,
                             t->bytes, t->n, t->type);
    t->data = data->at;
    return HT_OK;
}

static enum ht_status add_tensor(struct ht_import_file *f, const struct ht_pb *message,
                                 const struct ht_pb *name, struct ht_error *err)
{
    struct raw_tensor raw;
    struct ht_import_tensor *t;
    if (!read_tensor(&raw, *message))
        return DAMAGED(f, err, "a tensor");
    const struct ht_pb *called = name ? name : &raw.name;
    enum ht_status status = ht_import_add(f, &t, (const char *)called->at, ht_pb_size(called), err);
    if (status != HT_OK)
        return status;
    if (raw.external || raw.segment)
        return HT_IMPORT_BAD(f, err,
                             "%s: its data is in another file or in pieces (external data); save "
                             "the model as one file",
                             t->name);
    const bool known = raw.type > 0 && raw.type < (int64_t)N_TYPES && types[raw.type].name;
    snprintf(t->type, sizeof t->type, "%s", known ? types[raw.type].name : "unknown");
    t->number = known ? types[raw.type].number : HT_IMPORT_NONE;
    if (raw.n_dims > HT_IMPORT_RANK)
        return HT_IMPORT_BAD(f, err, "%s has %zu dimensions", t->name, raw.n_dims);
    for (size_t i = 0; status == HT_OK && i < raw.n_dims; i++)
        status = ht_import_add_dimension(f, t, (uint64_t)raw.dims[i], err);
    return status == HT_OK ? take_data(f, t, &raw, err) : status;
}

/* --- nodes --- */

static float bits_to_float(uint64_t bits)
{
    const uint32_t low = (uint32_t)bits;
    float x;
    memcpy(&x, &low, sizeof x);
    return x;
}

static bool read_attribute(struct ht_import_node *n, struct ht_pb message)
{
    const struct {
        const char *name;
        int64_t *integer;
        float *real;
    } known[] = {{"transA", &n->trans_a, NULL},
                 {"transB", &n->trans_b, NULL},
                 {"alpha", NULL, &n->alpha},
                 {"beta", NULL, &n->beta},
                 {"epsilon", NULL, &n->epsilon}};
    struct ht_pb name = {0}, tensor = {0};
    struct ht_pb_field f;
    int64_t integer = 0, numbers[HT_IMPORT_RANK];
    size_t n_numbers = 0;
    float real = 0;
    bool damaged = false;
    while (ht_pb_next(&message, &f, &damaged)) {
        if (f.number == ATTRIBUTE_NAME)
            name = f.bytes;
        else if (f.number == ATTRIBUTE_F)
            real = bits_to_float(f.value);
        else if (f.number == ATTRIBUTE_I)
            integer = (int64_t)f.value;
        else if (f.number == ATTRIBUTE_T)
            tensor = f.bytes;
        else if (f.number == ATTRIBUTE_INTS)
            damaged |= !ht_pb_numbers(&f, numbers, HT_IMPORT_RANK, &n_numbers);
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!ht_pb_is(&name, known[i].name))
            continue;
        if (known[i].integer)
            *known[i].integer = integer;
        else
            *known[i].real = real;
    }
    if (ht_pb_is(&name, "value"))
        n->value = tensor;
    if (ht_pb_is(&name, "perm")) {
        n->n_perm = n_numbers;
        memcpy(n->perm, numbers,
               (n_numbers < HT_IMPORT_RANK ? n_numbers : HT_IMPORT_RANK) * sizeof *numbers);
    }
    return !damaged;
}

static bool read_node(struct ht_import_node *n, struct ht_pb message)
{
    struct ht_pb_field f;
    bool damaged = false, has_output = false;
    *n = (struct ht_import_node){.alpha = 1, .beta = 1, .epsilon = 1e-5f};
    while (ht_pb_next(&message, &f, &damaged)) {
        if (f.number == NODE_INPUT) {
            if (n->n_inputs < HT_ONNX_INPUTS)
                n->input[n->n_inputs] = f.bytes;
            n->n_inputs++;
        } else if (f.number == NODE_OUTPUT && !has_output) {
            n->output = f.bytes;
            has_output = true;
        } else if (f.number == NODE_OP) {
            n->op = f.bytes;
        } else if (f.number == NODE_ATTRIBUTE) {
            damaged |= !read_attribute(n, f.bytes);
        }
    }
    return !damaged;
}

static enum ht_status add_node(struct ht_import_file *f, struct ht_import_graph *g,
                               const struct ht_pb *message, struct ht_error *err)
{
    if (g->n == HT_IMPORT_MAX_TENSORS)
        return HT_IMPORT_BAD(f, err, "more than %d nodes", HT_IMPORT_MAX_TENSORS);
    if (g->n % 64 == 0) {
        struct ht_import_node *more = ht_grow(g->nodes, g->n + 64, sizeof *more);
        if (!more)
            return ht_fail_memory(err);
        g->nodes = more;
    }
    struct ht_import_node *n = &g->nodes[g->n++];
    if (!read_node(n, *message))
        return DAMAGED(f, err, "a node");
    if (ht_pb_is(&n->op, "Constant") && n->value.at)
        return add_tensor(f, &n->value, &n->output, err);
    return HT_OK;
}

/* --- the file --- */

static enum ht_status read_graph(struct ht_import_file *f, struct ht_import_graph *g,
                                 struct ht_pb message, struct ht_error *err)
{
    struct ht_pb_field field;
    bool damaged = false;
    enum ht_status status = HT_OK;
    while (status == HT_OK && ht_pb_next(&message, &field, &damaged)) {
        if (field.number == GRAPH_NODE)
            status = add_node(f, g, &field.bytes, err);
        else if (field.number == GRAPH_INITIALIZER)
            status = add_tensor(f, &field.bytes, NULL, err);
        else if (field.number == GRAPH_SPARSE_INITIALIZER)
            status = HT_IMPORT_BAD(f, err, "sparse initializers cannot be taken");
    }
    return status == HT_OK && damaged ? DAMAGED(f, err, "the graph") : status;
}

static enum ht_status parse(struct ht_import_file *f, const void *data, size_t size, bool layers,
                            struct ht_error *err)
{
    const uint8_t *bytes = data;
    struct ht_pb message = {bytes, bytes + size}, graph = {0};
    struct ht_import_graph g = {0};
    struct ht_pb_field field;
    bool damaged = false, twice = false;
    while (ht_pb_next(&message, &field, &damaged))
        if (field.number == MODEL_GRAPH) {
            twice |= graph.at != NULL;
            graph = field.bytes;
        }
    if (damaged || !graph.at || twice)
        return DAMAGED(f, err, "the model");
    enum ht_status status = read_graph(f, &g, graph, err);
    if (status == HT_OK && layers)
        status = ht_import_onnx_layers(f, &g, err);
    ht_free(g.nodes);
    return status;
}

const struct ht_import_format ht_import_onnx = {"onnx", ".onnx", parse};
