/* Model files: round trips, an independent reader, and files that must be refused. */
#include "qmodel/random_model.h"

#include "qmodel/mutate.h"

/* --- what the tests share --- */
static char folder[64];

static void setup(void)
{
    make_temp_dir(folder);
}

static void teardown(void)
{
    remove_temp_dir(folder);
}

static const char *in_folder(char path[128], const char *name)
{
    snprintf(path, 128, "%s/%s", folder, name);
    return path;
}

static uint8_t *read_all(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f, "%s", path);
    uint8_t *data = malloc(1 << 22);
    *size = fread(data, 1, 1 << 22, f);
    cr_assert(*size < 1 << 22);
    fclose(f);
    return data;
}

static void expect_floats(const float *a, const float *b, size_t n)
{
    cr_assert_eq(!a, !b);
    cr_assert(!a || memcmp(a, b, n * sizeof *a) == 0);
}

static void expect_activation(const struct ht_qactivation *a, const struct ht_qactivation *b)
{
    cr_assert_str_eq(a->grid.name, b->grid.name);
    cr_assert_eq(a->grid.bits, b->grid.bits);
    cr_assert_eq(a->scale, b->scale);
    cr_assert(a->zero_point == b->zero_point && a->lo == b->lo && a->hi == b->hi);
    cr_assert(a->rounding == b->rounding && a->is_signed == b->is_signed);
}

static void expect_layer(const struct ht_qlayer *a, const struct ht_qlayer *b)
{
    cr_assert_str_eq(a->name, b->name);
    cr_assert(a->in == b->in && a->out == b->out && a->output == b->output);
    cr_assert_str_eq(a->weights.grid.name, b->weights.grid.name);
    cr_assert_eq(a->weights.grid.n_levels, b->weights.grid.n_levels);
    cr_assert_eq(memcmp(a->weights.grid.level, b->weights.grid.level, HT_GRID_TABLE), 0);
    cr_assert_eq(a->weights.channels, b->weights.channels);
    cr_assert_eq(memcmp(a->weights.packed, b->weights.packed,
                        ht_packed_size(a->in * a->out, a->weights.grid.bits)),
                 0);
    expect_floats(a->weights.scale, b->weights.scale, a->weights.channels);
    cr_assert_eq(!a->weights.zero_point, !b->weights.zero_point);
    cr_assert(!a->weights.zero_point || memcmp(a->weights.zero_point, b->weights.zero_point,
                                               a->weights.channels * sizeof(int32_t)) == 0);
    cr_assert_eq(a->weights.group, b->weights.group);
    cr_assert_eq(!a->weights.group_scale, !b->weights.group_scale);
    cr_assert(!a->weights.group_scale ||
              memcmp(a->weights.group_scale, b->weights.group_scale,
                     a->out * ((a->in + a->weights.group - 1) / a->weights.group)) == 0);
    cr_assert_eq(memcmp(a->bias, b->bias, a->out * sizeof *a->bias), 0);
    expect_floats(a->multiplier, b->multiplier, a->out);
    cr_assert_str_eq(a->activation, b->activation);
    cr_assert_eq(a->has_table, b->has_table);
    if (a->output == HT_QOUTPUT_CODES)
        expect_activation(&a->quant, &b->quant);
    if (a->has_table) {
        expect_activation(&a->table_quant, &b->table_quant);
        cr_assert_eq(memcmp(a->table, b->table, sizeof a->table), 0);
    }
}

static void expect_model(const struct ht_qmodel *a, const struct ht_qmodel *b)
{
    cr_assert_str_eq(a->name, b->name);
    cr_assert_str_eq(a->task, b->task);
    cr_assert_str_eq(a->loss, b->loss);
    cr_assert_str_eq(a->data_hash, b->data_hash);
    cr_assert_str_eq(a->score_name, b->score_name);
    cr_assert_eq(a->validation_score, b->validation_score);
    cr_assert_eq(!a->experiment, !b->experiment);
    if (a->experiment)
        cr_assert_str_eq(a->experiment, b->experiment);
    cr_assert(a->n_layers == b->n_layers && a->outputs == b->outputs);
    cr_assert_eq(a->n_classes, b->n_classes);
    for (size_t i = 0; i < a->n_classes; i++)
        cr_assert_str_eq(a->classes[i], b->classes[i]);
    expect_activation(&a->input.quant, &b->input.quant);
    expect_floats(a->input.mean, b->input.mean, a->input.features);
    expect_floats(a->input.std, b->input.std, a->input.features);
    expect_floats(a->target_mean, b->target_mean, a->outputs);
    expect_floats(a->target_std, b->target_std, a->outputs);
    cr_assert_eq(a->input.pixel_range, b->input.pixel_range);
    for (size_t i = 0; i < a->n_layers; i++)
        expect_layer(&a->layers[i], &b->layers[i]);
}

Test(file, round_trip_gives_equal_models_and_equal_bytes, .init = setup, .fini = teardown)
{
    char first[128], second[128];
    in_folder(first, "a.h5");
    in_folder(second, "b.h5");
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct ht_error err = {0};
        struct ht_qmodel *m = random_model(seed), *back = NULL;
        size_t n, n_back;
        ASSERT_OK(ht_qmodel_save(m, first, &err), err);
        ASSERT_OK(ht_qmodel_load(&back, first, &err), err);
        expect_model(m, back);
        ASSERT_OK(ht_qmodel_save(back, second, &err), err);
        uint8_t *a = read_all(first, &n), *b = read_all(second, &n_back);
        cr_assert(n == n_back && memcmp(a, b, n) == 0, "model %d", (int)seed);
        free(a);
        free(b);
        ht_qmodel_destroy(m);
        ht_qmodel_destroy(back);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

#ifdef HT_TEST_PYTHON
/* The file alone says what the network computes: h5py and NumPy get the same bits from it. */
Test(file, h5py_and_numpy_rebuild_the_network, .init = setup, .fini = teardown)
{
    int with_tables = 0, with_groups = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        char model[128], inputs[128], outputs[128], command[1024];
        struct ht_error err = {0};
        struct ht_qmodel *m = random_model(seed);
        const size_t samples = 50;
        float *x = random_inputs(m, samples, seed);
        for (size_t i = 0; i < m->n_layers; i++) {
            with_tables += m->layers[i].weights.grid.step == 0;
            with_groups += m->layers[i].weights.group != 0;
        }
        ASSERT_OK(ht_qmodel_save(m, in_folder(model, "model.h5"), &err), err);
        write_file(in_folder(inputs, "x"), x, samples * m->input.features * sizeof *x);
        snprintf(command, sizeof command, "'%s' '%s' '%s' '%s' '%s'", HT_TEST_PYTHON,
                 HT_TEST_REBUILD, model, inputs, in_folder(outputs, "y"));
        cr_assert_eq(system(command), 0, "%s", command);
        size_t size;
        uint8_t *y = read_all(outputs, &size);
        cr_assert_eq(size, samples * m->outputs * sizeof(float));
        for (size_t s = 0; s < samples; s++) {
            int a[64];
            float expected[64];
            for (size_t k = 0; k < m->input.features; k++)
                a[k] = naive_round(
                    (double)divide32(x[s * m->input.features + k], m->input.quant.scale),
                    &m->input.quant);
            naive_network(m, a, expected);
            cr_assert_eq(
                memcmp(expected, y + s * m->outputs * sizeof(float), m->outputs * sizeof(float)), 0,
                "model %d, sample %zu", (int)seed, s);
        }
        free(x);
        free(y);
        ht_qmodel_destroy(m);
    }
    cr_assert_gt(with_tables, 2, "%d layers with tables", with_tables);
    cr_assert_gt(with_groups, 2, "%d layers with groups", with_groups);
}
#endif

/* The loader must refuse `data`, with a message that names the file. */
static void expect_refused(const char *path, const char *what)
{
    struct ht_error err = {0};
    struct ht_qmodel *m = NULL;
    cr_assert_eq(ht_qmodel_load(&m, path, &err), HT_ERR_MODEL, "%s: %s", what, err.msg);
    cr_assert_eq(err.code, HT_ERR_MODEL, "%s", what);
    cr_assert_null(m);
    cr_assert_not_null(strstr(err.msg, path), "%s: '%s' does not name the file", what, err.msg);
    cr_assert_eq(ht_alloc_live(), 0, "%s leaks", what);
}

Test(file, damaged_files_are_refused, .init = setup, .fini = teardown)
{
    char good[128], bad[128], what[64];
    struct ht_error err = {0};
    struct ht_qmodel *m = random_model(4);
    size_t n;
    ASSERT_OK(ht_qmodel_save(m, in_folder(good, "good.h5"), &err), err);
    ht_qmodel_destroy(m);
    uint8_t *data = read_all(good, &n);
    in_folder(bad, "bad.h5");
    for (uint64_t i = 0; i < 2000; i++) {
        const uint64_t bit = ht_rng_below(1, HT_RNG_TEST, i, 8 * (i % 4 ? n : 600));
        const size_t length = (size_t)ht_rng_below(2, HT_RNG_TEST, i, n);
        if (i % 5 == 0) {
            snprintf(what, sizeof what, "cut to %zu of %zu bytes", length, n);
            write_file(bad, data, length);
        } else {
            snprintf(what, sizeof what, "bit %d of byte %zu", (int)(bit % 8), (size_t)(bit / 8));
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            write_file(bad, data, n);
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        expect_refused(bad, what);
    }
    data = realloc(data, n + 1);
    data[n] = 0;
    write_file(bad, data, n + 1);
    expect_refused(bad, "a byte more");
    free(data);
}

Test(file, missing_file, .init = setup, .fini = teardown)
{
    char path[128];
    struct ht_error err = {0};
    struct ht_qmodel *m = NULL;
    cr_assert_eq(ht_qmodel_load(&m, in_folder(path, "none.h5"), &err), HT_ERR_IO);
    cr_assert_not_null(strstr(err.msg, "none.h5"), "%s", err.msg);
}

#define L0 "/layers/00_first"
#define L1 "/layers/01_last"

static const struct mutation mutations[] = {
    {DROP, "/", "format", 0, NULL, 0, 0},
    {SET, "/", "format", 0, "another model", 0, 0},
    {DROP, "/", "name", 0, NULL, 0, 0},
    {SET, "/", "name", 0, "escape \033[31m", 0, 0},
    {SET, "/", "name", 0, "0123456789012345678901234567890123456789012345678901234567890123456789",
     0, 0},
    {SET, "/", "task", 0, "poetry", 0, 0},
    {RETYPE, "/", "task", 0, NULL, 0, 0},
    {DROP, "/", "loss", 0, NULL, 0, 0},
    {DROP, "/", "validation_score", 0, NULL, 0, 0},
    {DROP, "/", "n_layers", 0, NULL, 0, 0},
    {RETYPE, "/", "n_layers", 0, NULL, 0, 0},
    {SET, "/", "n_layers", 0, NULL, 0, 0},
    {SET, "/", "n_layers", 1, NULL, 0, 0},
    {SET, "/", "n_layers", 3, NULL, 0, 0},
    {SET, "/", "n_layers", -1, NULL, 0, 0},
    {SET, "/", "n_layers", 9e18, NULL, 0, 0},
    {SET, "/", "n_classes", 1, NULL, 0, 0},
    {SET, "/", "n_classes", 9e18, NULL, 0, 0},
    {SET, "/", "has_experiment", 2, NULL, 0, 0},
    {DROP, "/experiment", NULL, 0, NULL, 0, 0},
    {DROP, "/classes", NULL, 0, NULL, 0, 0},
    {SET, "/classes", NULL, 0, "one\ntwo", 0, 0},
    {DROP, "/input", "features", 0, NULL, 0, 0},
    {SET, "/input", "features", 1, NULL, 0, 0},
    {SET, "/input", "features", 0, NULL, 0, 0},
    {SET, "/input", "features", 1e18, NULL, 0, 0},
    {SET, "/input", "grid", 0, "pow3", 0, 0},
    {SET, "/input", "grid", 0, "a name of more than sixteen letters", 0, 0},
    {SET, "/input", "bits", 0, NULL, 0, 0},
    {SET, "/input", "bits", 9, NULL, 0, 0},
    {SET, "/input", "signed", 7, NULL, 0, 0},
    {SET, "/input", "scale", 0, NULL, 0, 0},
    {SET, "/input", "scale", -0.5, NULL, 0, 0},
    {SET, "/input", "scale", (double)NAN, NULL, 0, 0},
    {SET, "/input", "scale", (double)INFINITY, NULL, 0, 0},
    {SET, "/input", "scale", 0x1p-140, NULL, 0, 0}, /* subnormal */
    {SET, "/input", "scale", 0.1, NULL, 0, 0},      /* not a float32 */
    {SET, "/input", "scale", 1e300, NULL, 0, 0},
    {DROP, "/input", "scale", 0, NULL, 0, 0},
    {RETYPE, "/input", "scale", 0, NULL, 0, 0},
    {SET, "/input", "zero_point", 4e9, NULL, 0, 0},
    {SET, "/input", "zero_point", -255, NULL, 0, 0},
    {SET, "/input", "lo", -200, NULL, 0, 0},
    {SET, "/input", "hi", 4294967296.0, NULL, 0, 0},
    {SET, "/input", "rounding", 0, "up", 0, 0},
    {DROP, "/input", "rounding", 0, NULL, 0, 0},
    {SET, "/input", "pixel_range", 12, NULL, 0, 0},
    {SET, "/input", "image_rows", 3, NULL, 0, 0},
    {DROP, "/input/mean", NULL, 0, NULL, 0, 0},
    {SHORTEN, "/input/std", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, "/input/std", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, "/input/mean", NULL, (double)NAN, NULL, 0, 0},
    {RETYPE, "/input/mean", NULL, 0, NULL, 0, 0},
    {SHORTEN, "/target/mean", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, "/target/std", NULL, -1, NULL, 0, 0},
    {DROP, L0, "inputs", 0, NULL, 0, 0},
    {SET, L0, "inputs", 3, NULL, 0, 0},
    {SET, L0, "inputs", 16777216, NULL, 0, 0},
    {SET, L0, "inputs", -4, NULL, 0, 0},
    {SET, L0, "outputs", 16777216, NULL, 0, 0},
    {SET, L1, "outputs", 1, NULL, 0, 0},
    {SET, L0, "outputs", 0, NULL, 0, 0},
    {DROP, L0 "/weight", "bits", 0, NULL, 0, 0},
    {SET, L0 "/weight", "bits", 1, NULL, 0, 0},
    {SET, L0 "/weight", "bits", 1e10, NULL, 0, 0},
    {SET, L0 "/weight", "grid", 0, "narow", 0, 0},
    {SET, L0 "/weight", "grid", 0, "zero_free", 0, 0}, /* against the level table */
    {SET, L0 "/weight", "signed", 0, NULL, 0, 0},
    {SET, L0 "/weight", "shape", 0, "4x4x4", 0, 0},
    {SET, L0 "/weight", "order", 0, "msb", 0, 0},
    {SET, L0 "/weight", "axis", 1, NULL, 0, 0},
    {SET, L0 "/weight", "axis", -1, NULL, 0, 0},
    {SHORTEN, L0 "/weight", NULL, 0, NULL, 0, 0},
    {RETYPE, L0 "/weight", NULL, 0, NULL, 0, 0},
    {DROP, L0 "/level", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, L0 "/level", NULL, 77, NULL, 0, 0},
    {SHORTEN, L0 "/level", NULL, 0, NULL, 0, 0},
    {DROP, L0 "/scale", NULL, 0, NULL, 0, 0},
    {SHORTEN, L0 "/scale", NULL, 0, NULL, 0, 0},
    {RETYPE, L0 "/scale", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, L0 "/scale", NULL, 0, NULL, 1, 0},
    {SET_ELEMENT, L0 "/scale", NULL, -1, NULL, 1, 0},
    {SET_ELEMENT, L0 "/scale", NULL, (double)NAN, NULL, 1, 0},
    {SET_ELEMENT, L0 "/scale", NULL, (double)INFINITY, NULL, 1, 0},
    {SET_ELEMENT, L0 "/scale", NULL, 0x1p-130, NULL, 1, 0},
    {SET_ELEMENT, L0 "/scale", NULL, 0x1p-125, NULL, 1, 0}, /* the multiplier becomes subnormal */
    {SET_ELEMENT, L1 "/zero_point", NULL, -1, NULL, 0, 0},
    {SET_ELEMENT, L1 "/zero_point", NULL, 256, NULL, 0, 0},
    {SHORTEN, L1 "/zero_point", NULL, 0, NULL, 0, 0},
    {DROP, L0 "/bias", NULL, 0, NULL, 0, 0},
    {SHORTEN, L1 "/bias", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, L1 "/bias", NULL, 2147483647, NULL, 1, 0},
    {SET_ELEMENT, L0 "/bias", NULL, -2147483648.0, NULL, 0, 0},
    {DROP, L0 "/output", "kind", 0, NULL, 0, 0},
    {SET, L0 "/output", "kind", 0, "real", 0, 0},
    {SET, L0 "/output", "kind", 0, "complex", 0, 0},
    {SET, L1 "/output", "kind", 0, "codes", 0, 0},
    {SET, L0 "/output", "activation", 0, "swash", 0, 0},
    {SET, L1 "/output", "activation", 0, "relu", 0, 0},
    {SET, L0 "/output", "scale", 0, NULL, 0, 0},
    {SET, L0 "/output", "lo", 255, NULL, 0, 0},
    {SHORTEN, L0 "/table", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, L0 "/table", NULL, 70000, NULL, 0, 0},
    {SET_ELEMENT, L0 "/table", NULL, -129, NULL, 0, 0},
    {SET, L0 "/table", "scale", 0, NULL, 0, 0},
    {DROP, L0 "/table", "grid", 0, NULL, 0, 0},
};
#define N_MUTATIONS (sizeof mutations / sizeof mutations[0])

Test(file, mutated_content_is_refused, .init = setup, .fini = teardown)
{
    char path[128], what[256];
    struct ht_error err = {0};
    in_folder(path, "mutated.h5");
    for (size_t i = 0; i < N_MUTATIONS; i++) {
        struct ht_qmodel *m = plain_model();
        mutation = mutations[i];
        ASSERT_OK(save_mutated(m, path, &err), err);
        ht_qmodel_destroy(m);
        snprintf(what, sizeof what, "mutation %zu: %s %s", i, mutation.path,
                 mutation.name ? mutation.name : "");
        cr_assert_gt(mutation.hits, 0, "%s: not in the file", what);
        expect_refused(path, what);
    }
}

/* A codebook's levels: as many as it has codes, ascending, then the last one repeated. */
static const struct mutation table_mutations[] = {
    {DROP, L0 "/level", NULL, 0, NULL, 0, 0},
    {SHORTEN, L0 "/level", NULL, 0, NULL, 0, 0},
    {RETYPE, L0 "/level", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, L0 "/level", NULL, -128, NULL, 0, 0},
    {SET_ELEMENT, L0 "/level", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, L0 "/level", NULL, 128, NULL, 4, 0},
    {SET_ELEMENT, L0 "/level", NULL, 2147483647, NULL, 4, 0},
    {SET_ELEMENT, L0 "/level", NULL, -2147483648.0, NULL, 0, 0},
    {SET_ELEMENT, L0 "/level", NULL, 50, NULL, 1, 0},  /* not ascending */
    {SET_ELEMENT, L0 "/level", NULL, 100, NULL, 4, 0}, /* the end repeats another */
    {SET_ELEMENT, L0 "/level", NULL, 98, NULL, 6, 0},  /* not the last one */
    {SET_ELEMENT, L0 "/level", NULL, -60, NULL, 2, 0}, /* twice: then code 3 is none */
    {SET, L0 "/weight", "grid", 0, "zero_free", 0, 0},
    {SET, L0 "/weight", "bits", 2, NULL, 0, 0},
    {SET, L0 "/weight", "bits", 5, NULL, 0, 0},
    {SET, L0 "/weight", "signed", 0, NULL, 0, 0},
    {SET, "/input", "grid", 0, "codebook", 0, 0},
    {SET, L0 "/output", "grid", 0, "codebook", 0, 0},
    {SET, L0 "/output", "grid", 0, "pow2", 0, 0},
};

static struct ht_qmodel *codebook_model(void)
{
    struct ht_qmodel *m = plain_model();
    struct ht_qlayer *l = m->layers;
    ht_free(l->weights.packed);
    ht_free(l->weights.scale);
    ht_free(l->bias);
    set_weights(l, "codebook", 3, 3, 5);
    cr_assert(ht_grid_set_levels(&l->weights.grid, (const int[]){-127, -60, 3, 40, 99}, 5));
    memset(l->weights.packed, 0, ht_packed_size(15, 3));
    for (size_t i = 0; i < 15; i++)
        ht_pack_code(l->weights.packed, i, 3, (unsigned)i % 5);
    cr_assert_eq(ht_qmodel_derive(m, NULL), HT_OK);
    return m;
}

Test(file, mutated_tables_are_refused, .init = setup, .fini = teardown)
{
    char path[128], what[256];
    struct ht_error err = {0};
    in_folder(path, "mutated.h5");
    for (size_t i = 0; i < sizeof table_mutations / sizeof *table_mutations; i++) {
        struct ht_qmodel *m = codebook_model();
        mutation = table_mutations[i];
        ASSERT_OK(save_mutated(m, path, &err), err);
        ht_qmodel_destroy(m);
        snprintf(what, sizeof what, "mutation %zu: %s %s", i, mutation.path,
                 mutation.name ? mutation.name : "");
        cr_assert_gt(mutation.hits, 0, "%s: not in the file", what);
        expect_refused(path, what);
    }
    struct ht_qmodel *m = codebook_model(), *back = NULL;
    mutation = (struct mutation){.change = NOTHING};
    ASSERT_OK(save_mutated(m, path, &err), err);
    ASSERT_OK(ht_qmodel_load(&back, path, &err), err);
    expect_model(m, back);
    ht_qmodel_destroy(m);
    ht_qmodel_destroy(back);
}

static const struct mutation group_mutations[] = {
    {DROP, L0 "/weight", "group", 0, NULL, 0, 0},
    {DROP, L1 "/weight", "group", 0, NULL, 0, 0},
    {RETYPE, L0 "/weight", "group", 0, NULL, 0, 0},
    {SET, L0 "/weight", "group", -1, NULL, 0, 0},
    {SET, L0 "/weight", "group", 1, NULL, 0, 0}, /* another number of scales */
    {SET, L0 "/weight", "group", 5, NULL, 0, 0},
    {SET, L0 "/weight", "group", 16777217, NULL, 0, 0},
    {SET, L0 "/weight", "group", 9e18, NULL, 0, 0},
    {SET, L1 "/weight", "group", 2, NULL, 0, 0}, /* has no scales, and zero points */
    {DROP, L0 "/group_scale", NULL, 0, NULL, 0, 0},
    {SHORTEN, L0 "/group_scale", NULL, 0, NULL, 0, 0},
    {RETYPE, L0 "/group_scale", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, L0 "/group_scale", NULL, 0, NULL, 8, 0},
    {SET_ELEMENT, L0 "/group_scale", NULL, 43, NULL, 0, 0}, /* 3 * 43 > 127 */
    {SET_ELEMENT, L0 "/group_scale", NULL, 255, NULL, 0, 0},
    {SET, L0 "/weight", "bits", 8, NULL, 0, 0},
};

Test(file, mutated_groups_are_refused, .init = setup, .fini = teardown)
{
    char path[128], what[256];
    struct ht_error err = {0};
    in_folder(path, "mutated.h5");
    for (size_t i = 0; i <= sizeof group_mutations / sizeof *group_mutations; i++) {
        struct ht_qmodel *m = plain_model(), *back = NULL;
        const bool last = i == sizeof group_mutations / sizeof *group_mutations;
        set_groups(&m->layers[0], 2);
        mutation = last ? (struct mutation){.change = NOTHING} : group_mutations[i];
        ASSERT_OK(save_mutated(m, path, &err), err);
        if (last) {
            ASSERT_OK(ht_qmodel_load(&back, path, &err), err);
            expect_model(m, back);
            ht_qmodel_destroy(back);
        }
        ht_qmodel_destroy(m);
        if (last)
            break;
        snprintf(what, sizeof what, "mutation %zu: %s %s", i, mutation.path,
                 mutation.name ? mutation.name : "");
        cr_assert_gt(mutation.hits, 0, "%s: not in the file", what);
        expect_refused(path, what);
    }
}

/* Who knows no groups must not read their files, and reads the others as ever. */
Test(file, version_is_the_oldest_that_serves, .init = setup, .fini = teardown)
{
    char path[128];
    struct ht_error err = {0};
    in_folder(path, "model.h5");
    for (unsigned grouped = 0; grouped < 2; grouped++) {
        struct ht_qmodel *m = plain_model();
        size_t n, bytes = ht_qmodel_bytes(m);
        if (grouped)
            set_groups(&m->layers[0], 2);
        cr_assert_eq(ht_qmodel_bytes(m), bytes + grouped * 9);
        ASSERT_OK(ht_qmodel_save(m, path, &err), err);
        uint8_t *data = read_all(path, &n);
        cr_assert_eq(data[24], 1 + grouped);
        free(data);
        ht_qmodel_destroy(m);
    }
}

/* Codes: what the grid does not have, and bits after the last code. */
Test(file, mutated_codes_are_refused, .init = setup, .fini = teardown)
{
    char path[128];
    struct ht_error err = {0};
    in_folder(path, "mutated.h5");
    for (int pad = 0; pad < 2; pad++) {
        struct ht_qmodel *m = plain_model();
        struct ht_qweights *w = &m->layers[0].weights;
        const size_t n = m->layers[0].in * m->layers[0].out;
        mutation = (struct mutation){.change = NOTHING};
        if (pad)
            w->packed[ht_packed_size(n, w->grid.bits) - 1] |= 0x80;
        else /* the first code: only its sign bit, the level that narrow leaves out */
            w->packed[0] =
                (uint8_t)((w->packed[0] >> w->grid.bits << w->grid.bits) | 1 << (w->grid.bits - 1));
        ASSERT_OK(save_mutated(m, path, &err), err);
        ht_qmodel_destroy(m);
        expect_refused(path, pad ? "pad bit" : "code of no level");
    }
}

/* The harness itself: without a mutation the file is right. */
Test(file, unmutated_content_is_accepted, .init = setup, .fini = teardown)
{
    char path[128];
    struct ht_error err = {0};
    struct ht_qmodel *m = plain_model(), *back = NULL;
    mutation = (struct mutation){.change = NOTHING};
    ASSERT_OK(save_mutated(m, in_folder(path, "same.h5"), &err), err);
    ASSERT_OK(ht_qmodel_load(&back, path, &err), err);
    expect_model(m, back);
    ht_qmodel_destroy(m);
    ht_qmodel_destroy(back);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(file, names_of_layers, .init = setup, .fini = teardown)
{
    char path[128];
    struct ht_error err = {0};
    in_folder(path, "names.h5");
    static const char *const bad[] = {"a b", "\xc3\xa4", "x:y"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ht_qmodel *m = plain_model();
        mutation = (struct mutation){.change = NOTHING};
        strcpy(m->layers[1].name, bad[i]);
        ASSERT_OK(save_mutated(m, path, &err), err);
        ht_qmodel_destroy(m);
        expect_refused(path, bad[i]);
    }
}

Test(file, a_bad_model_is_not_saved, .init = setup, .fini = teardown)
{
    char path[128];
    struct ht_error err = {0};
    struct ht_qmodel *m = plain_model();
    m->layers[0].bias[0] = INT32_MAX;
    cr_assert_eq(ht_qmodel_save(m, in_folder(path, "bad.h5"), &err), HT_ERR_MODEL);
    cr_assert_neq(access(path, F_OK), 0);
    ht_qmodel_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Our own allocations fail one after the other; libhdf5's are not ours to test. */
Test(file, out_of_memory_at_every_allocation, .init = setup, .fini = teardown)
{
    char path[128];
    struct ht_error err = {0};
    struct ht_qmodel *m = plain_model();
    const long live = ht_alloc_live();
    enum ht_status status = HT_ERR_MEMORY;
    long n = 0;
    in_folder(path, "model.h5");
    while (status != HT_OK) {
        ht_alloc_fail_at(++n);
        status = ht_qmodel_save(m, path, &err);
        ht_alloc_fail_at(0);
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY, "save %ld: %s", n, err.msg);
        cr_assert_eq(ht_alloc_live(), live, "save %ld leaks", n);
    }
    cr_assert_gt(n, 3);
    status = HT_ERR_MEMORY;
    for (n = 0; status != HT_OK;) {
        struct ht_qmodel *back = NULL;
        ht_alloc_fail_at(++n);
        status = ht_qmodel_load(&back, path, &err);
        ht_alloc_fail_at(0);
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY, "load %ld: %s", n, err.msg);
        cr_assert_eq(status == HT_OK, back != NULL);
        ht_qmodel_destroy(back);
        cr_assert_eq(ht_alloc_live(), live, "load %ld leaks", n);
    }
    cr_assert_gt(n, 20);
    ht_qmodel_destroy(m);
}

/* What could not be loaded is not saved. */
Test(file, layers_too_large_for_a_file, .init = setup, .fini = teardown)
{
    char path[128];
    struct ht_error err = {0};
    for (size_t in = 4096; in <= 4097; in++) {
        struct ht_qmodel *m = ht_qmodel_create(1), *back = NULL;
        m->input.features = in;
        m->input.quant = activation("affine", 8, 1.0f / 255, 0);
        set_weights(&m->layers[0], "narrow", 8, 4096, in);
        strcpy(m->layers[0].name, "large");
        strcpy(m->layers[0].activation, "none");
        m->layers[0].output = HT_QOUTPUT_REAL;
        m->outputs = 4096;
        cr_assert_eq(ht_qmodel_derive(m, NULL), HT_OK);
        in_folder(path, "large.h5");
        if (in == 4096) {
            ASSERT_OK(ht_qmodel_save(m, path, &err), err);
            ASSERT_OK(ht_qmodel_load(&back, path, &err), err);
            expect_model(m, back);
        } else {
            cr_assert_eq(ht_qmodel_save(m, path, &err), HT_ERR_CONFIG);
            cr_assert_not_null(strstr(err.msg, "layer 0 (large)"), "%s", err.msg);
        }
        ht_qmodel_destroy(m);
        ht_qmodel_destroy(back);
    }
}
