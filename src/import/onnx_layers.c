/* Dense layers and batch normalizations of an ONNX graph: Gemm, MatMul with an Add behind it, and
 * BatchNormalization, whose parameters are initializers or constants. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "import/onnx_graph.h"

#define MAX_STEPS 4 /* from a layer to its initializer */

struct context {
    struct ht_import_file *file;
    const struct ht_import_graph *graph;
    struct ht_error *err;
};

static const struct ht_import_node *producer(const struct context *c, const struct ht_pb *name)
{
    for (size_t i = 0; i < c->graph->n; i++)
        if (ht_pb_size(name) && ht_pb_same(&c->graph->nodes[i].output, name))
            return &c->graph->nodes[i];
    return NULL;
}

static int find_tensor(const struct context *c, const struct ht_pb *name)
{
    for (size_t i = 0; i < c->file->n_tensors; i++)
        if (ht_pb_is(name, c->file->tensors[i].name))
            return (int)i;
    return -1;
}

/* The tensor that a value is, perhaps through Identity, Cast and Transpose; -1: it is computed. */
static int resolve(const struct context *c, struct ht_pb name, bool *transposed)
{
    *transposed = false;
    for (int step = 0; step < MAX_STEPS; step++) {
        const int found = find_tensor(c, &name);
        if (found >= 0)
            return found;
        const struct ht_import_node *n = producer(c, &name);
        if (!n || n->n_inputs != 1)
            return -1;
        if (ht_pb_is(&n->op, "Transpose")) {
            if (n->n_perm && (n->n_perm != 2 || n->perm[0] != 1 || n->perm[1] != 0))
                return -1;
            *transposed = !*transposed;
        } else if (!ht_pb_is(&n->op, "Identity") && !ht_pb_is(&n->op, "Cast")) {
            return -1;
        }
        name = n->input[0];
    }
    return -1;
}

static void print_name(const struct ht_pb *text, char name[64])
{
    const size_t n = ht_pb_size(text) < 63 ? ht_pb_size(text) : 63;
    for (size_t i = 0; i < n; i++) /* of a node: never checked */
        name[i] = (char)(text->at[i] >= 0x20 && text->at[i] < 0x7f ? text->at[i] : '?');
    name[n] = '\0';
}

static enum ht_status bad(const struct context *c, const struct ht_import_node *n, const char *why)
{
    char op[64], output[64];
    print_name(&n->op, op);
    print_name(&n->output, output);
    return HT_IMPORT_BAD(c->file, c->err, "%s that gives %s: %s", op, output, why);
}

/* "fc1" of "fc1.weight". */
static void name_layer(const struct context *c, int tensor, char name[HT_IMPORT_NAME])
{
    static const char ending[] = ".weight";
    memcpy(name, c->file->tensors[tensor].name, HT_IMPORT_NAME);
    const size_t n = strlen(name), m = sizeof ending - 1;
    if (n > m && strcmp(name + n - m, ending) == 0)
        name[n - m] = '\0';
}

static enum ht_status add_dense(const struct context *c, const struct ht_import_node *n, int weight,
                                bool transposed, int bias)
{
    struct ht_import_layer *l;
    char name[HT_IMPORT_NAME];
    if (c->file->tensors[weight].rank != 2)
        return bad(c, n, "its weight is no matrix");
    name_layer(c, weight, name);
    const enum ht_status status = ht_import_add_layer(c->file, &l, name, false, c->err);
    if (status != HT_OK)
        return status;
    l->tensor[HT_IMPORT_WEIGHT] = weight;
    l->tensor[HT_IMPORT_BIAS] = bias;
    l->transposed = transposed;
    return ht_import_settle_layer(c->file, l, c->err);
}

/* y = x W' + b with W' = W or, with transB, its transpose. */
static enum ht_status add_gemm(const struct context *c, const struct ht_import_node *n)
{
    bool flipped, ignored;
    int bias = -1;
    const int weight = n->n_inputs > 1 ? resolve(c, n->input[1], &flipped) : -1;
    if (weight < 0)
        return bad(c, n, "its weight is computed, no initializer of a float network");
    if (n->n_inputs > 2 && ht_pb_size(&n->input[2])) {
        bias = resolve(c, n->input[2], &ignored);
        if (bias < 0)
            return bad(c, n, "its bias is computed, no initializer");
    }
    if (n->trans_a || n->alpha != 1 || n->beta != 1)
        return bad(c, n, "transA, alpha or beta is set");
    return add_dense(c, n, weight, (n->trans_b == 0) != flipped, bias);
}

/* The bias that is added to what n gives; -1: none. Only the first Add behind it counts. */
static int added_to(const struct context *c, const struct ht_import_node *n, size_t outputs)
{
    bool ignored;
    for (size_t i = 0; i < c->graph->n; i++) {
        const struct ht_import_node *add = &c->graph->nodes[i];
        if (!ht_pb_is(&add->op, "Add") || add->n_inputs != 2)
            continue;
        for (int side = 0; side < 2; side++) {
            if (!ht_pb_size(&n->output) || !ht_pb_same(&add->input[side], &n->output))
                continue;
            const int bias = resolve(c, add->input[1 - side], &ignored);
            return bias >= 0 && c->file->tensors[bias].n == outputs ? bias : -1;
        }
    }
    return -1;
}

static enum ht_status add_matmul(const struct context *c, const struct ht_import_node *n)
{
    bool flipped;
    const int weight = n->n_inputs == 2 ? resolve(c, n->input[1], &flipped) : -1;
    if (weight < 0)
        return bad(c, n, "its second input is computed, no initializer of a float network");
    const struct ht_import_tensor *t = &c->file->tensors[weight];
    const int bias = t->rank == 2 ? added_to(c, n, t->shape[flipped ? 0 : 1]) : -1;
    return add_dense(c, n, weight, !flipped, bias);
}

static enum ht_status add_batchnorm(const struct context *c, const struct ht_import_node *n)
{
    struct ht_import_layer *l;
    char name[HT_IMPORT_NAME];
    int tensor[HT_IMPORT_PARTS];
    bool ignored;
    for (int i = 0; i < HT_IMPORT_PARTS; i++) {
        tensor[i] = n->n_inputs == 5 ? resolve(c, n->input[i + 1], &ignored) : -1;
        if (tensor[i] < 0)
            return bad(c, n, "its parameters are no initializers");
    }
    name_layer(c, tensor[HT_IMPORT_WEIGHT], name);
    const enum ht_status status = ht_import_add_layer(c->file, &l, name, true, c->err);
    if (status != HT_OK)
        return status;
    memcpy(l->tensor, tensor, sizeof tensor);
    l->epsilon = (double)n->epsilon;
    return ht_import_settle_layer(c->file, l, c->err);
}

static const struct {
    const char *op;
    enum ht_status (*add)(const struct context *c, const struct ht_import_node *n);
} layers[] = {{"Gemm", add_gemm}, {"MatMul", add_matmul}, {"BatchNormalization", add_batchnorm}};

enum ht_status ht_import_onnx_layers(struct ht_import_file *f, const struct ht_import_graph *g,
                                     struct ht_error *err)
{
    const struct context c = {f, g, err};
    enum ht_status status = HT_OK;
    for (size_t i = 0; status == HT_OK && i < g->n; i++)
        for (size_t k = 0; status == HT_OK && k < sizeof layers / sizeof *layers; k++)
            if (ht_pb_is(&g->nodes[i].op, layers[k].op))
                status = layers[k].add(&c, &g->nodes[i]);
    return status;
}
