/* Private to src/import: the nodes of an ONNX graph, as far as dense layers need them. */
#ifndef HT_IMPORT_ONNX_GRAPH_H
#define HT_IMPORT_ONNX_GRAPH_H

#include "import/protobuf.h"
#include "import/tensors.h"

#define HT_ONNX_INPUTS 5 /* of BatchNormalization; what others have beyond is not looked at */

/* Texts lie in the file. */
struct ht_import_node {
    struct ht_pb op, output, input[HT_ONNX_INPUTS];
    size_t n_inputs;
    int64_t trans_a, trans_b, perm[HT_IMPORT_RANK];
    size_t n_perm;
    float alpha, beta, epsilon;
    struct ht_pb value; /* of a Constant: a TensorProto; at NULL: none */
};

struct ht_import_graph {
    struct ht_import_node *nodes; /* owned */
    size_t n;
};

/* Layers of the graph, in its order, into f. The tensors are there. */
enum ht_status ht_import_onnx_layers(struct ht_import_file *f, const struct ht_import_graph *g,
                                     struct ht_error *err);

#endif
