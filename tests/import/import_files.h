/* Small safetensors and ONNX files, valid ones, and what is done with any file: shared by the tests
 * and the fuzz targets. The network is 3 -> 4, batch normalization, relu, 4 -> 2. */
#ifndef HT_TESTS_IMPORT_FILES_H
#define HT_TESTS_IMPORT_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "import/match.h"
#include "import/tensors.h"

#define SEEDS     6 /* files of each format */
#define SEED_SIZE 4096

/* --- bytes --- */

struct bytes {
    uint8_t data[SEED_SIZE];
    size_t size;
};

static inline void put(struct bytes *b, const void *data, size_t n)
{
    if (n > SEED_SIZE - b->size)
        abort();
    memcpy(b->data + b->size, data, n);
    b->size += n;
}

/* Element k of the tensor that begins with element `first`: 0.25, 0.5, ... */
static inline void put_numbers(struct bytes *b, size_t first, size_t n, size_t width)
{
    for (size_t i = 0; i < n; i++) {
        const float x = 0.25f * (float)(1 + (first + i) % 16);
        const double d = (double)x;
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        const uint16_t upper = (uint16_t)(bits >> 16);
        put(b, width == 8 ? (const void *)&d : width == 4 ? (const void *)&x : &upper, width);
    }
}

static const struct seed_tensor {
    const char *name;
    size_t rows, columns; /* columns 0: a vector of rows */
} seed_tensors[] = {
    {"net.0.weight", 4, 3},  {"net.0.bias", 4, 0},         {"net.1.weight", 4, 0},
    {"net.1.bias", 4, 0},    {"net.1.running_mean", 4, 0}, {"net.1.running_var", 4, 0},
    {"net.10.weight", 2, 4}, {"net.10.bias", 2, 0},
};
#define N_SEED_TENSORS (sizeof seed_tensors / sizeof *seed_tensors)

static inline size_t seed_elements(const struct seed_tensor *t)
{
    return t->rows * (t->columns ? t->columns : 1);
}

/* --- safetensors: types by seed --- */

static inline void safetensors_of(struct bytes *b, int seed)
{
    static const struct {
        const char *name;
        size_t width;
    } types[] = {{"F32", 4}, {"F64", 8}, {"BF16", 2}};
    struct bytes body = {.size = 0};
    char header[SEED_SIZE];
    size_t at = 0;
    at += (size_t)snprintf(header, sizeof header, "{");
    if (seed % 2)
        at += (size_t)snprintf(header + at, sizeof header - at,
                               "\"__metadata__\":{\"format\":\"pt\"},");
    for (size_t i = 0; i < N_SEED_TENSORS; i++) {
        const struct seed_tensor *t = &seed_tensors[i];
        const size_t kind = ((size_t)seed + (seed > 2 ? i : 0)) % 3, begin = body.size;
        char shape[32];
        snprintf(shape, sizeof shape, t->columns ? "[%zu,%zu]" : "[%zu]", t->rows, t->columns);
        put_numbers(&body, i, seed_elements(t), types[kind].width);
        at +=
            (size_t)snprintf(header + at, sizeof header - at,
                             "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                             i ? "," : "", t->name, types[kind].name, shape, begin, body.size);
    }
    at += (size_t)snprintf(header + at, sizeof header - at, "}");
    uint8_t length[8] = {(uint8_t)at, (uint8_t)(at >> 8)};
    b->size = 0;
    put(b, length, sizeof length);
    put(b, header, at);
    put(b, body.data, body.size);
}

/* --- ONNX: Gemm or MatMul, raw or typed data, by seed --- */

static inline void put_varint(struct bytes *b, uint64_t value)
{
    do {
        const uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        put(b, &byte, 1);
        value >>= 7;
    } while (value);
}

static inline void put_field(struct bytes *b, unsigned number, const void *data, size_t n)
{
    put_varint(b, number << 3 | 2);
    put_varint(b, n);
    put(b, data, n);
}

static inline void put_integer(struct bytes *b, unsigned number, uint64_t value)
{
    put_varint(b, number << 3);
    put_varint(b, value);
}

static inline void put_word(struct bytes *b, unsigned number, const char *word)
{
    put_field(b, number, word, strlen(word));
}

static inline void put_tensor(struct bytes *graph, size_t index, int seed, bool flipped)
{
    const struct seed_tensor *t = &seed_tensors[index];
    struct bytes tensor = {.size = 0}, data = {.size = 0};
    const bool wide = seed % 3 == 1;
    put_integer(&tensor, 1, flipped ? t->columns : t->rows);
    if (t->columns)
        put_integer(&tensor, 1, flipped ? t->rows : t->columns);
    put_integer(&tensor, 2, wide ? 11 : 1);
    put_word(&tensor, 8, t->name);
    put_numbers(&data, index, seed_elements(t), wide ? 8 : 4);
    put_field(&tensor, seed % 2 ? 9 : wide ? 10 : 4, data.data, data.size);
    put_field(graph, 5, tensor.data, tensor.size);
}

static inline void put_node(struct bytes *graph, const char *op, const char *const *inputs,
                            const char *output, const char *attribute, uint64_t value)
{
    struct bytes node = {.size = 0}, a = {.size = 0};
    for (; *inputs; inputs++)
        put_word(&node, 1, *inputs);
    put_word(&node, 2, output);
    put_word(&node, 4, op);
    if (attribute) {
        put_word(&a, 1, attribute);
        put_integer(&a, 3, value);
        put_integer(&a, 20, 2);
        put_field(&node, 5, a.data, a.size);
    }
    put_field(graph, 1, node.data, node.size);
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static inline void onnx_of(struct bytes *b, int seed)
{
    struct bytes graph = {.size = 0};
    const bool matmul = seed >= 3;
    for (size_t i = 0; i < N_SEED_TENSORS; i++)
        put_tensor(&graph, i, seed, matmul && seed_tensors[i].columns);
    if (matmul) {
        put_node(&graph, "MatMul", NAMES("x", "net.0.weight"), "p", NULL, 0);
        put_node(&graph, "Add", NAMES("p", "net.0.bias"), "h", NULL, 0);
    } else {
        put_node(&graph, "Gemm", NAMES("x", "net.0.weight", "net.0.bias"), "h", "transB", 1);
    }
    put_node(&graph, "BatchNormalization",
             NAMES("h", "net.1.weight", "net.1.bias", "net.1.running_mean", "net.1.running_var"),
             "n", NULL, 0);
    put_node(&graph, "Relu", NAMES("n"), "r", NULL, 0);
    if (matmul) {
        put_node(&graph, "Identity", NAMES("net.10.weight"), "w", NULL, 0);
        put_node(&graph, "MatMul", NAMES("r", "w"), "q", NULL, 0);
        put_node(&graph, "Add", NAMES("net.10.bias", "q"), "y", NULL, 0);
    } else {
        put_node(&graph, "Gemm", NAMES("r", "net.10.weight", "net.10.bias"), "y", "transB", 1);
    }
    b->size = 0;
    put_integer(b, 1, 8);
    put_field(b, 7, graph.data, graph.size);
}

static inline void seed_of(struct bytes *b, const struct ht_import_format *format, int seed)
{
    if (format == &ht_import_onnx)
        onnx_of(b, seed);
    else
        safetensors_of(b, seed);
}

/* --- the model that files go into --- */

static inline struct ht_model *model_of_seeds(void)
{
    struct ht_block_spec blocks[2];
    const struct ht_model_spec spec = {.inputs = 3, .blocks = blocks, .n_blocks = 2};
    struct ht_model *m = NULL;
    memset(blocks, 0, sizeof blocks);
    for (size_t i = 0; i < 2; i++) {
        snprintf(blocks[i].name, sizeof blocks[i].name, "dense%zu", i + 1);
        blocks[i].units = i ? 2 : 4;
        blocks[i].bias = true;
        blocks[i].batchnorm = i == 0;
        blocks[i].epsilon = 1e-5;
        blocks[i].momentum = 0.1;
        blocks[i].init = "he";
        blocks[i].activation = i ? "none" : "relu";
    }
    return ht_model_create(&m, &spec, NULL) == HT_OK ? m : NULL;
}

/* Reads any bytes as far as they go: tensors, layers, match, values. Returns how far: 0 not a file,
 * 1 parsed, 2 matched, 3 taken. */
static inline int try_file(const struct ht_import_format *format, const void *data, size_t size,
                           struct ht_model *m, struct ht_error *err)
{
    struct ht_import_file *f = NULL;
    struct ht_import_source *sources = NULL;
    int reached = 0;
    if (ht_import_parse(&f, format, data, size, "file", err) != HT_OK)
        return 0;
    reached = 1;
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct ht_import_tensor *t = &f->tensors[i];
        float *x = t->n < 10000 ? ht_calloc(t->n, sizeof *x) : NULL;
        if (x)
            (void)ht_import_values(f, t, x, NULL);
        ht_free(x);
    }
    if (ht_import_match(&sources, f, m, NULL, err) == HT_OK) {
        reached = 2;
        if (ht_import_apply(m, f, sources, err) == HT_OK)
            reached = 3;
    }
    ht_free(sources);
    ht_import_destroy(f);
    return reached;
}

#endif
