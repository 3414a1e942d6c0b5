/* Models with dynamic, weight-only and float16 layers: what check and loader must refuse. */
#include "modes_model.h"

#include "qmodel/mutate.h"

/* --- ht_qmodel_check: one broken rule at a time --- */

#define BREAK(name, message, ...)                                                                  \
    static void name(struct ht_qmodel *m, struct ht_qlayer *l)                                     \
    {                                                                                              \
        (void)l;                                                                                   \
        __VA_ARGS__                                                                                \
    }                                                                                              \
    Test(modes_check, name)                                                                        \
    {                                                                                              \
        refuses(name, message);                                                                    \
    }

static void refuses(void (*change)(struct ht_qmodel *, struct ht_qlayer *), const char *message)
{
    struct ht_error err = {0};
    struct ht_qmodel *m = modes_model();
    ASSERT_OK(ht_qmodel_check(m, &err), err);
    change(m, m->layers);
    cr_assert_eq(ht_qmodel_check(m, &err), HT_ERR_MODEL);
    cr_assert_not_null(strstr(err.msg, message), "'%s' lacks '%s'", err.msg, message);
    ht_qmodel_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

BREAK(input_kind_unknown, "input: unknown kind 9", m->input.kind = (enum ht_qoutput_kind)9;)
BREAK(input_with_scale, "scale 1, zero point 0", m->input.quant.scale = 0.5f;)
BREAK(input_with_zero_point, "scale 1, zero point 0", m->input.quant.zero_point = 3;)
BREAK(input_with_clamp, "clamp of its grid", m->input.quant.lo = 3;)
BREAK(input_of_odd_levels, "no dynamic range", m->input.quant = activation("zero_free", 2, 1, 0);)
BREAK(input_of_float16, "for weights only",
      ht_grid_init(&m->input.quant.grid, HT_GRID_FLOAT16, 16, NULL);)
BREAK(output_kind_unknown, "layer 0 (first): output: unknown kind 7",
      l[0].output = (enum ht_qoutput_kind)7;)
BREAK(output_with_scale, "layer 0 (first): output: a dynamic", l[0].quant.scale = 2;)
BREAK(last_dynamic, "last layer's outputs", l[2].output = HT_QOUTPUT_DYNAMIC;
      l[2].quant = activation("full", 4, 1, 0);)
BREAK(last_with_activation, "no activation, not relu", strcpy(l[2].activation, "relu");)
BREAK(activation_unknown, "unknown activation 'swish' of real values",
      strcpy(l[1].activation, "swish");)
BREAK(table_of_real_values, "real values have no table", l[0].has_table = true;)
BREAK(slope_nan, "slope", l[0].slope = NAN;)
BREAK(slope_infinite, "slope", l[0].slope = INFINITY;)
BREAK(bias_nan, "layer 1 (second): multiplier: bias of neuron 2", l[1].real_bias[2] = NAN;)
BREAK(bias_huge, "bias of neuron 0", l[0].real_bias[0] = 0x1p126f;)
BREAK(bias_missing, "bias are missing", ht_free(l[1].real_bias); l[1].real_bias = NULL;)
BREAK(scale_tiny, "scale[3] ", l[0].weights.scale[3] = 0x1p-91f;)
BREAK(scale_large, "not between 2^-90 and 2^30", l[1].weights.scale[1] = 0x1p31f;)
BREAK(scale_of_real_layer_nan, "scale[1]", l[2].weights.scale[1] = NAN;)
BREAK(half_infinite, "neuron 0, input 1 is not finite", l[2].weights.packed[3] = 0x7c;)
BREAK(half_nan, "is not finite", l[2].weights.packed[3] = 0x7f;)
BREAK(half_with_zero_point, "float16 goes with real inputs",
      l[2].weights.zero_point = ht_calloc(2, sizeof(int32_t));)
BREAK(half_of_dynamic_input, "float16 goes with real inputs", l[1].output = HT_QOUTPUT_DYNAMIC;
      l[1].quant = activation("full", 4, 1, 0);)
BREAK(half_with_groups, "grid float16 has no groups", set_groups(&l[2], 2);)
BREAK(half_of_another_grid, "unknown grid 'float17'", strcpy(l[2].weights.grid.name, "float17");)

/* Whatever zero point a row has: 255 * 127 * n passes 2^31 from n = 66312 on. */
Test(modes_check, sums_out_of_range)
{
    struct ht_error err = {0};
    for (size_t in = 66311; in <= 66312; in++) {
        struct ht_qmodel *m = ht_qmodel_create(1);
        struct ht_qlayer *l = m->layers;
        m->input.features = in;
        m->input.kind = HT_QOUTPUT_DYNAMIC;
        m->input.quant = activation("affine", 8, 1, 0);
        real_weights(l, "narrow", 8, 1, in);
        for (size_t i = 0; i < in; i++)
            l->weights.packed[i] = 127;
        strcpy(l->name, "long");
        strcpy(l->activation, "none");
        l->output = HT_QOUTPUT_REAL;
        m->outputs = 1;
        const enum ht_status status = ht_qmodel_check(m, &err);
        cr_assert_eq(status, in == 66311 ? HT_OK : HT_ERR_MODEL, "%zu: %s", in, err.msg);
        ht_qmodel_destroy(m);
    }
}

Test(modes_check, what_an_export_asks)
{
    struct ht_error err = {0};
    struct ht_qmodel *m = modes_model(), *plain = plain_model();
    cr_assert_str_eq(ht_qmodel_mode(m), "mixed");
    cr_assert_str_eq(ht_qmodel_mode(plain), "integer");
    ASSERT_OK(ht_qmodel_require_integer(plain, "ONNX", &err), err);
    cr_assert_eq(ht_qmodel_require_integer(m, "ONNX", &err), HT_ERR_CONFIG);
    cr_assert_not_null(strstr(err.msg, "ONNX cannot hold a model of mode mixed"), "%s", err.msg);
    /* 4 x 5 codes of 3 bits, 3 x 4 of 5 bits, 2 x 3 of 16; a scale and a bias each; zero points. */
    cr_assert_eq(ht_qmodel_bytes(m), 8u + 8u + 12u + 9 * 8u + 3 * 4u);
    ht_qmodel_destroy(m);
    ht_qmodel_destroy(plain);
}

/* --- the loader --- */

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

#define L0 "/layers/00_first"
#define L1 "/layers/01_second"
#define L2 "/layers/02_last"

static const struct mutation mutations[] = {
    {DROP, "/input", "kind", 0, NULL, 0, 0},
    {RETYPE, "/input", "kind", 0, NULL, 0, 0},
    {SET, "/input", "kind", 0, "codes", 0, 0},
    {SET, "/input", "kind", 0, "real", 0, 0}, /* then the next layer's weights are right, but... */
    {SET, "/input", "kind", 0, "Dynamic", 0, 0},
    {SET, "/input", "scale", 0.5, NULL, 0, 0},
    {SET, "/input", "grid", 0, "float16", 0, 0},
    {SET, "/input", "bits", 16, NULL, 0, 0},
    {SET, L0 "/output", "kind", 0, "codes", 0, 0},
    {SET, L0 "/output", "kind", 0, "", 0, 0},
    {SET, L0 "/output", "grid", 0, "binary", 0, 0},
    {DROP, L0 "/output", "slope", 0, NULL, 0, 0},
    {RETYPE, L0 "/output", "slope", 0, NULL, 0, 0},
    {SET, L0 "/output", "slope", 0.1, NULL, 0, 0}, /* no float32 */
    {SET, L0 "/output", "slope", (double)NAN, NULL, 0, 0},
    {SET, L0 "/output", "slope", 1e300, NULL, 0, 0},
    {DROP, L0 "/real_bias", NULL, 0, NULL, 0, 0},
    {SHORTEN, L1 "/real_bias", NULL, 0, NULL, 0, 0},
    {RETYPE, L1 "/real_bias", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, L1 "/real_bias", NULL, (double)NAN, NULL, 1, 0},
    {SET_ELEMENT, L0 "/scale", NULL, 1e20, NULL, 1, 0},
    {SET, L0 "/weight", "grid", 0, "float16", 0, 0},
    {SET, L1 "/output", "kind", 0, "codes", 0, 0},
    {SET, L1 "/output", "kind", 0, "dynamic", 0, 0},
    {SET, L1 "/output", "activation", 0, "silu", 0, 0},
    {SET, L2 "/weight", "bits", 8, NULL, 0, 0},
    {SET, L2 "/weight", "bits", 17, NULL, 0, 0},
    {SET, L2 "/weight", "grid", 0, "narrow", 0, 0},
    {SHORTEN, L2 "/weight", NULL, 0, NULL, 0, 0},
    {SET_ELEMENT, L2 "/weight", NULL, 0xfc, NULL, 5, 0},
    {SET, L2 "/output", "kind", 0, "dynamic", 0, 0},
};

Test(modes_file, mutated_content_is_refused, .init = setup, .fini = teardown)
{
    char path[128];
    in_folder(path, "mutated.h5");
    for (size_t i = 0; i < sizeof mutations / sizeof *mutations; i++) {
        struct ht_error err = {0};
        struct ht_qmodel *m = modes_model(), *back = NULL;
        mutation = mutations[i];
        if (strcmp(mutation.path, "/input") == 0 && mutation.text &&
            strcmp(mutation.text, "real") == 0)
            m->layers[0].weights.scale[0] = -1; /* nothing else is wrong with that */
        ASSERT_OK(save_mutated(m, path, &err), err);
        ht_qmodel_destroy(m);
        cr_assert_gt(mutation.hits, 0, "mutation %zu is not in the file", i);
        cr_assert_eq(ht_qmodel_load(&back, path, &err), HT_ERR_MODEL, "mutation %zu: %s %s", i,
                     mutation.path, mutation.name ? mutation.name : "");
        cr_assert_not_null(strstr(err.msg, path), "'%s' does not name the file", err.msg);
        cr_assert_eq(ht_alloc_live(), 0);
    }
}

static size_t read_all(const char *path, uint8_t *bytes, size_t room)
{
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f);
    const size_t n = fread(bytes, 1, room, f);
    fclose(f);
    return n;
}

static uint32_t stored_version(const char *path)
{
    uint8_t header[32];
    cr_assert_eq(read_all(path, header, sizeof header), sizeof header);
    return header[24]; /* docs/file-format.md */
}

/* Equal bytes after a round trip; version 2 only where it is needed, so that models without modes
 * stay as they were. */
Test(modes_file, round_trip, .init = setup, .fini = teardown)
{
    static uint8_t a[1 << 17], b[1 << 17];
    char first[128], second[128];
    struct ht_error err = {0};
    struct ht_qmodel *m = modes_model(), *back = NULL;
    ASSERT_OK(ht_qmodel_save(m, in_folder(first, "a.h5"), &err), err);
    ASSERT_OK(ht_qmodel_load(&back, first, &err), err);
    ASSERT_OK(ht_qmodel_save(back, in_folder(second, "b.h5"), &err), err);
    const size_t n = read_all(first, a, sizeof a);
    cr_assert_eq(read_all(second, b, sizeof b), n);
    cr_assert_eq(memcmp(a, b, n), 0);
    cr_assert_eq(back->layers[0].slope, 0.125f);
    cr_assert_eq(back->layers[1].real_bias[2], 0.5f);
    cr_assert_eq(stored_version(first), 2u);
    ht_qmodel_destroy(back);
    ht_qmodel_destroy(m);
    m = plain_model();
    ASSERT_OK(ht_qmodel_save(m, second, &err), err);
    cr_assert_eq(stored_version(second), 1u);
    ht_qmodel_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(modes_file, out_of_memory_at_every_allocation, .init = setup, .fini = teardown)
{
    char path[128];
    struct ht_error err = {0};
    struct ht_qmodel *m = modes_model();
    const long live = ht_alloc_live();
    enum ht_status status = HT_ERR_MEMORY;
    ASSERT_OK(ht_qmodel_save(m, in_folder(path, "model.h5"), &err), err);
    for (long n = 1; status != HT_OK; n++) {
        struct ht_qmodel *back = NULL;
        ht_alloc_fail_at(n);
        status = ht_qmodel_load(&back, path, &err);
        ht_alloc_fail_at(0);
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY, "load %ld: %s", n, err.msg);
        ht_qmodel_destroy(back);
        cr_assert_eq(ht_alloc_live(), live, "load %ld leaks", n);
    }
    ht_qmodel_destroy(m);
}
