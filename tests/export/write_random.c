/* Random networks as ONNX or safetensors files, with inputs and the outputs that must come:
 *
 *     write-random FOLDER FIRST COUNT KIND
 *     write-random FOLDER NAME MODEL.h5 ROWS.f32
 *
 * KIND onnx, qonnx, safetensors: the integer models of tests/qmodel/random_model.h, run by the C
 * reference; wide: layers whose products are as large as they can be; float, float-safetensors:
 * float32 networks, run by the graph that training evaluates; exact, modes: of any kinds of
 * activations, modes also real ones. For each seed the files NAME.onnx (or .safetensors),
 * NAME.in.f32 (or .u8), NAME.out.f32 (float, qonnx, modes: .near.f32, modes with .bound.f32, how
 * far it may be off) and NAME.json.
 *
 * The second form: inputs, outputs and bounds of a model that there is. */
#include "export/random_modes.h"
#include "qmodel/random_model.h"

#include "autograd/graph.h"
#include "export/export.h"
#include "infer/runtime.h"

#define ROWS 70

static void put(const char *folder, const char *name, const char *suffix, const void *data,
                size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    write_file(path, data, n);
}

static void fail(const char *what, const struct ht_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err->msg);
    exit(1);
}

/* What the transform makes of it covers the levels of the input and a little more. */
static float *raw_inputs(const struct ht_qmodel *m, uint64_t seed)
{
    const struct ht_qinput *in = &m->input;
    float *raw = random_inputs(m, ROWS, seed);
    for (size_t i = 0; in->kind != HT_QOUTPUT_CODES && i < ROWS * in->features; i++)
        raw[i] = 4 * (float)ht_rng_uniform(seed, HT_RNG_TEST, i) - 2;
    for (size_t i = 0; in->kind != HT_QOUTPUT_CODES && i < in->features; i++)
        for (size_t row = 0; row < 3; row++) /* of zeros; with hardly a scale; beyond them */
            raw[row * in->features + i] *= (const float[]){0, 2e-9f, 1e30f}[row];
    for (size_t i = 0; i < ROWS * in->features; i++) {
        if (in->mean)
            raw[i] = raw[i] * in->std[i % in->features] + in->mean[i % in->features];
        if (in->pixel_range == 255)
            raw[i] = raw[i] * 255;
        else if (in->pixel_range == -1)
            raw[i] = (raw[i] + 1) * 127.5f;
    }
    return raw;
}

static uint8_t *to_bytes(float *raw, size_t n)
{
    uint8_t *bytes = malloc(n);
    for (size_t i = 0; i < n; i++) {
        raw[i] = raw[i] < 0 ? 0 : raw[i] > 255 ? 255 : rintf(raw[i]);
        bytes[i] = (uint8_t)raw[i];
    }
    return bytes;
}

static float *reference(const struct ht_qmodel *m, const float *raw, size_t rows)
{
    struct ht_kernels kernels;
    struct ht_runtime *runtime = NULL;
    struct ht_runner *runner = NULL;
    struct ht_error err;
    float *y = malloc(rows * m->outputs * sizeof *y);
    ht_kernels_init(&kernels, 0);
    if (ht_runtime_create(&runtime, m, &kernels, &err) != HT_OK ||
        ht_runner_create(&runner, runtime, rows, NULL, &err) != HT_OK)
        fail("reference", &err);
    ht_runner_run_raw(runner, raw, rows, y);
    ht_runner_destroy(runner);
    ht_runtime_destroy(runtime);
    return y;
}

/* Sums that are too large for float32 in some seeds. */
static void make_large(struct ht_qmodel *m, uint64_t seed)
{
    if (seed % 5 == 3)
        m->layers[seed % m->n_layers].bias[0] = (1 << 24) + 3;
}

/* Weights as large as they can be: pairs of products leave int16, in which some processors add
 * them. Grids by seed: 8 bits narrow and affine, a codebook of 4 bits. */
static struct ht_qmodel *wide_products(uint64_t seed)
{
    static const struct {
        const char *grid, *input;
        int bits;
    } kinds[] = {{"narrow", "affine", 8}, {"affine", "affine", 8}, {"codebook", "affine", 4},
                 {"narrow", "narrow", 8}, {"affine", "full", 8},   {"narrow", "affine", 7}};
    const size_t kind = (size_t)seed % (sizeof kinds / sizeof *kinds);
    struct ht_qmodel *m = ht_qmodel_create(1);
    struct ht_qlayer *l = m->layers;
    m->input.features = 32;
    m->input.quant = activation(kinds[kind].input, 8, 0.01f, 0);
    m->outputs = 20;
    set_weights(l, kinds[kind].grid, kinds[kind].bits, m->outputs, m->input.features);
    const struct ht_grid *g = &l->weights.grid;
    memset(l->weights.packed, 0, ht_packed_size(l->in * l->out, g->bits));
    for (size_t i = 0; i < l->in * l->out; i++)
        ht_pack_code(l->weights.packed, i, g->bits, ht_grid_code(g, i / l->in % 2 ? g->lo : g->hi));
    if (g->has_zero_point)
        l->weights.zero_point = ht_calloc(l->weights.channels, sizeof(int32_t));
    strcpy(l->name, "wide");
    strcpy(l->activation, "none");
    strcpy(m->task, "autoencoder");
    l->output = HT_QOUTPUT_REAL;
    cr_assert_eq(ht_qmodel_derive(m, NULL), HT_OK);
    return m;
}

static void put_case(const char *folder, const char *name, bool near, const struct ht_qmodel *m,
                     const float *y, size_t rows)
{
    char json[200];
    put(folder, name, near ? ".near.f32" : ".out.f32", y, rows * m->outputs * sizeof *y);
    snprintf(json, sizeof json, "{\"features\": %zu, \"outputs\": %zu, \"layers\": %zu}\n",
             m->input.features, m->outputs, m->n_layers);
    put(folder, name, ".json", json, strlen(json));
}

static void put_bounds(const char *folder, const char *name, const struct ht_qmodel *m,
                       const float *raw, size_t rows)
{
    float *bound = error_bounds(m, raw, rows);
    put(folder, name, ".bound.f32", bound, rows * m->outputs * sizeof *bound);
    free(bound);
}

static bool export(const char *folder, const char *name, const char *format_name,
                   const struct ht_export_source *source, const struct ht_export_options *options)
{
    const struct ht_export_format *format;
    struct ht_error err;
    char path[512];
    snprintf(path, sizeof path, "%s/%s%s", folder, name,
             strcmp(format_name, "safetensors") == 0 ? ".safetensors" : ".onnx");
    if (ht_export_format_find(&format, format_name, &err) != HT_OK)
        fail(format_name, &err);
    if (format->write(source, options, path, &err) == HT_OK)
        return true;
    printf("%s: %s\n", name, err.msg);
    return false;
}

/* Every second model by bytes, where it takes them. Destroys m. */
static void write_integer(const char *folder, struct ht_qmodel *m, uint64_t seed, const char *name,
                          const char *format)
{
    const size_t n = ROWS * m->input.features;
    const bool bytes = m->input.pixel_range && seed % 2 && strcmp(format, "safetensors") != 0;
    const bool qonnx = strcmp(format, "qonnx") == 0, modes = strncmp(name, "modes", 5) == 0;
    const struct ht_export_source source = {m, NULL};
    const struct ht_export_options options = {.input = bytes ? HT_EXPORT_U8 : HT_EXPORT_FLOAT};
    if (export(folder, name, format, &source, &options)) {
        float *raw = raw_inputs(m, seed);
        if (bytes) {
            uint8_t *as_bytes = to_bytes(raw, n);
            put(folder, name, ".in.u8", as_bytes, n);
            free(as_bytes);
        } else {
            put(folder, name, ".in.f32", raw, n * sizeof *raw);
        }
        float *y = reference(m, raw, ROWS);
        put_case(folder, name, qonnx || modes, m, y, ROWS);
        if (modes)
            put_bounds(folder, name, m, raw, ROWS);
        free(y);
        free(raw);
    }
    ht_qmodel_destroy(m);
}

static const char *const activations[] = {"relu", "relu6",   "leaky_relu", "tanh",
                                          "gelu", "sigmoid", "none"};

/* A float32 network of three blocks, with every activation in some seed. */
static struct ht_model *float_model(uint64_t seed)
{
    struct ht_block_spec blocks[3];
    struct ht_model_spec spec = {.inputs = 9, .blocks = blocks, .n_blocks = 3};
    struct ht_model *m;
    struct ht_error err;
    memset(blocks, 0, sizeof blocks);
    for (size_t i = 0; i < 3; i++) {
        snprintf(blocks[i].name, sizeof blocks[i].name, "dense%zu", i + 1);
        blocks[i].units = 5 + i;
        blocks[i].batchnorm = (seed + i) % 2;
        blocks[i].bias = !blocks[i].batchnorm && (seed + i) % 3;
        blocks[i].momentum = 0.1;
        blocks[i].epsilon = 1e-3;
        blocks[i].init = "he";
        blocks[i].activation = activations[(seed + i) % 7];
        blocks[i].slope = 0.1;
    }
    if (ht_model_create(&m, &spec, &err) != HT_OK)
        fail("float model", &err);
    ht_model_initialize(m, seed);
    for (size_t i = 0; i < m->params.n; i++) /* biases, gamma and beta are not what they start as */
        m->params.value[i] += 0.2f * (float)ht_rng_uniform(seed, HT_RNG_TEST, i);
    for (size_t i = 0; i < m->state.n; i++)
        m->state.value[i] += 0.5f * (float)ht_rng_uniform(seed + 1, HT_RNG_TEST, i);
    return m;
}

static void write_float(const char *folder, uint64_t seed, const char *name, const char *format)
{
    struct ht_model *network = float_model(seed);
    struct ht_qmodel *m = ht_qmodel_create(0);
    struct ht_graph *g = ht_graph_create(ROWS);
    const struct ht_run run = {.mode = HT_MODE_EVAL};
    const struct ht_export_source source = {m, network};
    const struct ht_export_options options = {.input = HT_EXPORT_FLOAT};
    struct ht_error err;
    m->input.features = network->inputs;
    m->outputs = network->outputs;
    strcpy(m->task, "regression");
    struct ht_node *x = ht_graph_input(g, network->inputs);
    struct ht_node *y = ht_model_build(network, g, x, HT_FORM_FLOAT, NULL);
    ht_graph_keep(g, y);
    if (ht_graph_plan(g, NULL, 0, &err) != HT_OK)
        fail("graph", &err);
    ht_graph_set_batch(g, ROWS);
    for (size_t i = 0; i < ROWS * network->inputs; i++)
        x->value[i] = 4 * (float)ht_rng_uniform(seed + 2, HT_RNG_TEST, i) - 2;
    put(folder, name, ".in.f32", x->value, ROWS * network->inputs * sizeof(float));
    ht_graph_forward(g, &run);
    put_case(folder, name, true, m, y->value, ROWS);
    if (!export(folder, name, format, &source, &options))
        exit(1);
    ht_graph_destroy(g);
    ht_qmodel_destroy(m);
    ht_model_destroy(network);
}

static void write_case(const char *folder, uint64_t seed, const char *name, const char *kind)
{
    if (strcmp(kind, "float") == 0) {
        write_float(folder, seed, name, "onnx");
    } else if (strcmp(kind, "float-safetensors") == 0) {
        write_float(folder, seed, name, "safetensors");
    } else if (strcmp(kind, "wide") == 0) {
        write_integer(folder, wide_products(seed), seed, name, "onnx");
    } else if (strcmp(kind, "exact") == 0 || strcmp(kind, "modes") == 0) {
        write_integer(folder, random_modes(seed, kind[0] == 'e'), seed, name, "onnx");
    } else {
        struct ht_qmodel *m = random_model(seed);
        if (strcmp(kind, "onnx") == 0)
            make_large(m, seed);
        write_integer(folder, m, seed, name, kind);
    }
}

static float *read_rows(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    *size = (size_t)ftell(f);
    float *rows = malloc(*size);
    rewind(f);
    if (fread(rows, 1, *size, f) != *size)
        exit(1);
    fclose(f);
    return rows;
}

/* Of a model in a file. */
static int write_known(const char *folder, const char *name, const char *path,
                       const char *rows_path)
{
    struct ht_qmodel *m;
    struct ht_error err;
    size_t size = 0;
    if (ht_qmodel_load(&m, path, &err) != HT_OK)
        fail(path, &err);
    float *raw = read_rows(rows_path, &size);
    const size_t rows = size / sizeof *raw / m->input.features;
    float *y = reference(m, raw, rows);
    put(folder, name, ".in.f32", raw, size);
    put_case(folder, name, true, m, y, rows);
    put_bounds(folder, name, m, raw, rows);
    free(y);
    free(raw);
    ht_qmodel_destroy(m);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    if (strstr(argv[3], ".h5"))
        return write_known(argv[1], argv[2], argv[3], argv[4]);
    const int first = atoi(argv[2]), count = atoi(argv[3]);
    for (int i = first; i < first + count; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s%04d", argv[4], i);
        write_case(argv[1], (uint64_t)i, name, argv[4]);
    }
    return 0;
}
