/* Random networks as C code, with inputs and what must come:
 *
 *     write-code FOLDER FIRST COUNT ROWS
 *
 * For each seed the files mSEED.h and mSEED.c, and mSEED.check.c, which runs them by c/check.h. The
 * outputs are those of the engine's C reference. From seed 1000 on: networks for inner loops of
 * processors that have more. Each layer is told on stdout: grid, bits, ... */
#include "qmodel/random_model.h"

#include "export/export.h"
#include "infer/runtime.h"

#define WIDE 1000 /* from this seed on: wide_rows */

static void fail(const char *what, const struct ht_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err->msg);
    exit(1);
}

/* What the transform makes of it covers the levels of the input and a little more. */
static float *raw_inputs(const struct ht_qmodel *m, size_t rows, uint64_t seed)
{
    const struct ht_qinput *in = &m->input;
    float *raw = random_inputs(m, rows, seed);
    for (size_t i = 0; i < rows * in->features; i++) {
        if (i % 7 == 3) /* halfway between two levels, if there is no transform */
            raw[i] = in->quant.scale * (floorf(raw[i] / in->quant.scale) + 0.5f);
        if (in->mean)
            raw[i] = raw[i] * in->std[i % in->features] + in->mean[i % in->features];
        if (in->pixel_range == 255)
            raw[i] = raw[i] * 255;
        else if (in->pixel_range == -1)
            raw[i] = (raw[i] + 1) * 127.5f;
    }
    return raw;
}

static float *engine(const struct ht_qmodel *m, const float *raw, size_t rows)
{
    struct ht_kernels kernels;
    struct ht_runtime *runtime = NULL;
    struct ht_runner *runner = NULL;
    struct ht_error err;
    float *y = malloc(rows * m->outputs * sizeof *y);
    ht_kernels_init(&kernels, 0);
    if (ht_runtime_create(&runtime, m, &kernels, &err) != HT_OK ||
        ht_runner_create(&runner, runtime, rows, NULL, &err) != HT_OK)
        fail("engine", &err);
    ht_runner_run_raw(runner, raw, rows, y);
    ht_runner_destroy(runner);
    ht_runtime_destroy(runtime);
    return y;
}

static void put_bits(FILE *f, const char *name, const char *what, const float *y, size_t n)
{
    fprintf(f, "static const int32_t %s_%s[] = {", name, what);
    for (size_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, &y[i], sizeof bits);
        fprintf(f, bits == INT32_MIN ? "-2147483647 - 1, " : "%d, ", bits);
    }
    fprintf(f, "};\n");
}

/* Rows that inner loops for vectors and pairs take, with all that can be left behind them: int8 and
 * two's complement of 4 and 2 bits, inputs of both signs. */
static struct ht_qmodel *wide_rows(uint64_t seed)
{
    static const int bits[] = {8, 4, 2}, per_byte[] = {1, 2, 4};
    const size_t kind = seed % 3, groups = (size_t)(seed / 6 % 4);
    struct ht_qmodel *m = ht_qmodel_create(1);
    struct ht_qlayer *l = m->layers;
    struct random_source r = {seed, 0};
    m->input.features = 24 + (size_t)per_byte[kind] * (1 + seed / 6);
    m->input.quant = activation(seed / 3 % 2 ? "full" : "affine", 8, 0.01f, 0);
    m->outputs = 5;
    set_weights(l, kind == 0 || groups == 1 ? "narrow" : "full", bits[kind], m->outputs,
                m->input.features);
    memset(l->weights.packed, 0, ht_packed_size(l->in * l->out, bits[kind]));
    for (size_t i = 0; i < l->in * l->out; i++) {
        const struct ht_grid *g = &l->weights.grid;
        const int level = i % 3 ? draw(&r, g->lo, g->hi) : i % 2 ? g->lo : g->hi;
        ht_pack_code(l->weights.packed, i, bits[kind], ht_grid_code(g, level));
    }
    if (groups == 2 && kind > 0)
        set_groups(l, 12);
    strcpy(l->name, "wide");
    strcpy(l->activation, "none");
    strcpy(m->task, "classification");
    l->output = HT_QOUTPUT_REAL;
    cr_assert_eq(ht_qmodel_derive(m, NULL), HT_OK);
    return m;
}

static void put_floats(FILE *f, const char *name, const char *what, const float *x, size_t n)
{
    fprintf(f, "static const float %s_%s[] = {", name, what);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%af, ", (double)x[i]);
    fprintf(f, "};\n");
}

static int level(const struct ht_qmodel *m, float x)
{
    return naive_round((double)divide32(x, m->input.quant.scale), &m->input.quant);
}

static void put_rows(FILE *f, const char *name, const char *large, const struct ht_qmodel *m,
                     size_t rows, uint64_t seed)
{
    const size_t inputs = rows * m->input.features;
    const bool classes = strcmp(m->task, "classification") == 0;
    float *raw = raw_inputs(m, rows, seed), *x = malloc(inputs * sizeof *x);
    float *y = engine(m, raw, rows);
    ht_qmodel_transform_input(m, raw, rows, x);
    fprintf(f, "#define CLASSIFY_%s(out) %s%s\nDEFINE_CHECK(%s, %s)\n", name, classes ? name : "0",
            classes ? "_classify(out)" : "", name, large);
    put_floats(f, name, "raw", raw, inputs);
    fprintf(f, "static const %s_input %s_levels[] = {", name, name);
    for (size_t i = 0; i < inputs; i++)
        fprintf(f, "%d, ", level(m, x[i]));
    fprintf(f, "};\n");
    put_bits(f, name, "expected", y, rows * m->outputs);
    fprintf(f, "static const int32_t %s_class[] = {", name);
    for (size_t i = 0; i < rows; i++)
        fprintf(f, "%zu, ", classes ? ht_qmodel_class(m, y + i * m->outputs) : 0);
    fprintf(f, "};\n");
    free(raw);
    free(x);
    free(y);
}

/* Of models whose bytes need a table: false of others. */
static bool put_bytes(FILE *f, const char *name, const char *large, const struct ht_qmodel *m)
{
    if (!m->input.pixel_range || (m->input.mean && m->input.features > 1))
        return false;
    bool same = true;
    fprintf(f, "static const int32_t %s_bytes[] = {", name);
    for (int byte = 0; byte < 256; byte++) {
        float x = m->input.pixel_range == 255 ? divide32((float)byte, 255)
                                              : divide32((float)byte, 127.5f) - 1;
        if (m->input.mean)
            x = divide32(x - m->input.mean[0], m->input.std[0]);
        same &= level(m, x) == byte;
        fprintf(f, "%d, ", level(m, x));
    }
    fprintf(f, "};\n");
    if (!same)
        fprintf(f, "DEFINE_BYTES(%s, %s)\n", name, large);
    return !same;
}

static bool put_targets(FILE *f, const char *name, const char *large, const struct ht_qmodel *m)
{
    if (!m->target_mean)
        return false;
    float y[64], target[64];
    for (size_t n = 0; n < m->outputs; n++) {
        y[n] = 3 * (float)n - 0.7f;
        target[n] = multiply32(y[n], m->target_std[n]) + m->target_mean[n];
    }
    put_floats(f, name, "y", y, m->outputs);
    put_bits(f, name, "target", target, m->outputs);
    fprintf(f, "DEFINE_TARGETS(%s, %s)\n", name, large);
    return true;
}

static void write_check(const char *folder, const char *name, const struct ht_qmodel *m,
                        size_t rows, uint64_t seed)
{
    char path[512], large[32];
    snprintf(path, sizeof path, "%s/%s.check.c", folder, name);
    snprintf(large, sizeof large, "M%s", name + 1);
    FILE *f = fopen(path, "w");
    fprintf(f, "#include \"%s.h\"\n", name);
    put_rows(f, name, large, m, rows, seed);
    const bool bytes = put_bytes(f, name, large, m), targets = put_targets(f, name, large, m);
    fprintf(f, "#define RUN_%s check_%s(%zu, %s_raw, %s_levels, %s_expected, %s_class)", name, name,
            rows, name, name, name, name);
    if (bytes)
        fprintf(f, "; check_bytes_%s(%s_bytes)", name, name);
    if (targets)
        fprintf(f, "; check_targets_%s(%s_y, %s_target)", name, name, name);
    fprintf(f, "\n");
    fclose(f);
}

static void describe(const struct ht_qmodel *m)
{
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct ht_qlayer *l = &m->layers[i];
        const bool codes = l->output == HT_QOUTPUT_CODES;
        printf("%s %d%s%s%s %s\n", l->weights.grid.name, l->weights.grid.bits,
               l->weights.group ? " groups" : "", l->weights.channels > 1 ? " channels" : "",
               codes && l->has_table ? " table" : "",
               !codes                                ? "sums"
               : l->quant.grid.step == 2             ? "odd"
               : l->quant.rounding == HT_ROUND_FLOOR ? "floor"
                                                     : "nearest");
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    const int first = atoi(argv[2]), count = atoi(argv[3]);
    const struct ht_export_format *format;
    struct ht_error err;
    if (ht_export_format_find(&format, "c", &err) != HT_OK)
        fail("format", &err);
    for (int i = first; i < first + count; i++) {
        char name[32];
        struct ht_qmodel *m =
            i < WIDE ? random_model((uint64_t)i) : wide_rows((uint64_t)(i - WIDE));
        const struct ht_export_source source = {m, NULL};
        const struct ht_export_options options = {.prefix = name};
        snprintf(name, sizeof name, "m%d", i);
        if (i % 4 == 1 && i < WIDE)
            strcpy(m->task, "regression");
        if (format->write(&source, &options, argv[1], &err) != HT_OK)
            fail(name, &err);
        write_check(argv[1], name, m, (size_t)atoi(argv[4]), (uint64_t)i);
        describe(m);
        ht_qmodel_destroy(m);
    }
    return 0;
}
