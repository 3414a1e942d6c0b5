/* ht_qmodel_check: one broken rule at a time, in a model that is right otherwise. */
#include "qmodel/random_model.h"

/* BREAK(name, text of the message, statements on m and its layers l) */
#define BREAK(name, message, ...)                                                                  \
    static void name(struct ht_qmodel *m)                                                          \
    {                                                                                              \
        struct ht_qlayer *l = m->layers;                                                           \
        (void)l;                                                                                   \
        __VA_ARGS__                                                                                \
    }                                                                                              \
    Test(check, name)                                                                              \
    {                                                                                              \
        refuses(name, message);                                                                    \
    }

static void refuses(void (*change)(struct ht_qmodel *), const char *message)
{
    struct ht_error err = {0};
    struct ht_qmodel *m = plain_model();
    const size_t n_layers = m->n_layers;
    ASSERT_OK(ht_qmodel_check(m, &err), err);
    change(m);
    cr_assert_eq(ht_qmodel_check(m, &err), HT_ERR_MODEL);
    cr_assert_eq(err.code, HT_ERR_MODEL);
    cr_assert_not_null(strstr(err.msg, message), "'%s' lacks '%s'", err.msg, message);
    cr_assert_eq(ht_qmodel_check(m, NULL), HT_ERR_MODEL);
    m->n_layers = n_layers;
    ht_qmodel_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* the model */
BREAK(no_layers, "0 layers", m->n_layers = 0;)
BREAK(name_without_end, "name", memset(m->name, 'x', sizeof m->name);)
BREAK(name_with_escape, "name", strcpy(m->name, "a\033[2J");)
BREAK(experiment_with_escape, "experiment", m->experiment[2] = '\033';)
BREAK(task_unknown, "unknown task 'poetry'", strcpy(m->task, "poetry");)
BREAK(outputs_wrong, "6 outputs", m->outputs = 6;)
BREAK(classes_too_few, "6 names for 7 outputs", m->n_classes = 6;)
BREAK(classes_missing, "classes", m->n_classes = 0;)
BREAK(class_with_newline, "name 3", strcpy(m->classes[3], "a\nb");)
BREAK(target_std_zero, "target: std[6]", m->target_std[6] = 0;)
BREAK(target_std_missing, "target: mean and std", ht_free(m->target_std); m->target_std = NULL;)
/* the input */
BREAK(features_none, "input: 0 features", m->input.features = 0;)
BREAK(pixel_range_unknown, "pixel range 7", m->input.pixel_range = 7;)
BREAK(image_of_other_size, "2 x 2", m->input.image_rows = m->input.image_columns = 2;)
BREAK(image_without_columns, "5 x 0", m->input.image_rows = 5;)
BREAK(input_mean_nan, "input: mean[1]", m->input.mean[1] = NAN;)
BREAK(input_std_negative, "input: std[1]", m->input.std[1] = -1;)
BREAK(input_scale_nan, "input: scale", m->input.quant.scale = NAN;)
BREAK(input_scale_infinite, "input: scale", m->input.quant.scale = INFINITY;)
BREAK(input_scale_zero, "input: scale", m->input.quant.scale = 0;)
BREAK(input_scale_negative, "input: scale", m->input.quant.scale = -0.1f;)
BREAK(input_scale_subnormal, "input: scale", m->input.quant.scale = 1e-40f;)
BREAK(input_zero_point_high, "zero point 256", m->input.quant.zero_point = 256;)
BREAK(input_zero_point_low, "zero point -1", m->input.quant.zero_point = -1;)
BREAK(input_clamp_outside, "clamp 0 to 256", m->input.quant.hi = 256;)
BREAK(input_clamp_empty, "clamp 9 to 8", m->input.quant.lo = 9; m->input.quant.hi = 8;)
BREAK(input_rounding_unknown, "rounding 9", m->input.quant.rounding = (enum ht_rounding)9;)
BREAK(input_sign_wrong, "is_signed", m->input.quant.is_signed = true;)
BREAK(grid_unknown, "unknown grid 'afine'; did you mean 'affine'",
      strcpy(m->input.quant.grid.name, "afine");)
BREAK(grid_name_without_end, "damaged", memset(m->input.quant.grid.name, 'a', HT_GRID_NAME);)
BREAK(grid_width_unknown, "9", m->input.quant.grid.bits = 9;)
BREAK(grid_of_other_levels, "levels are not", m->input.quant.grid.hi = 254;)
/* layers: names, shapes */
BREAK(layer_name_empty, "layer 1", l[1].name[0] = 0;)
BREAK(layer_name_with_slash, "layer 0", strcpy(l[0].name, "a/b");)
BREAK(layer_name_without_end, "layer 0", memset(l[0].name, 'a', sizeof l[0].name);)
BREAK(shapes_do_not_chain, "layer 1 (last): shape: 4 inputs, but 3", l[1].in = 4;)
BREAK(first_shape_wrong, "layer 0 (first): shape: 4 inputs, but 5", l[0].in = 4;)
BREAK(no_outputs, "layer 1 (last): shape", l[1].out = 0;)
/* weights */
BREAK(weight_scale_nan, "layer 1 (last): weights: scale[6]", l[1].weights.scale[6] = NAN;)
BREAK(weight_scale_zero, "weights: scale[0] 0", l[1].weights.scale[0] = 0;)
BREAK(weight_scale_negative, "weights: scale[0] -1", l[1].weights.scale[0] = -1;)
BREAK(weight_scale_subnormal, "weights: scale[0]", l[1].weights.scale[0] = 1e-39f;)
BREAK(weight_zero_point_high, "zero_point[4] 32", l[1].weights.zero_point[4] = 32;)
BREAK(weight_zero_point_on_narrow, "zero_point[0] 1",
      l[0].weights.zero_point = ht_calloc(3, sizeof(int32_t));
      l[0].weights.zero_point[0] = 1;)
BREAK(channels_wrong, "2 scales for 3 neurons", l[0].weights.channels = 2;)
BREAK(narrow_code_invalid, "code 4 of neuron 1, input 2 is no level of grid narrow",
      l[0].weights.packed[2] = (uint8_t)((l[0].weights.packed[2] & 0x1f) | 4 << 5);)
BREAK(pad_bit_set, "after the last code", l[0].weights.packed[5] |= 0x80;)
BREAK(weights_of_full_range, "weights: 8-bit weights are narrow",
      cr_assert_eq(ht_grid_init(&l[0].weights.grid, "full", 8, NULL), HT_OK);)
BREAK(bias_missing, "missing", ht_free(l[0].bias); l[0].bias = NULL;)
BREAK(codes_missing, "missing", ht_free(l[0].weights.packed); l[0].weights.packed = NULL;)
/* tables */
#define TABLE(kind, width, ...)                                                                    \
    ht_free(l[0].weights.packed);                                                                  \
    ht_free(l[0].weights.scale);                                                                   \
    ht_free(l[0].bias);                                                                            \
    set_weights(&l[0], kind, width, 3, 5);                                                         \
    ht_qmodel_derive(m, NULL);                                                                     \
    cr_assert_eq(ht_qmodel_check(m, NULL), HT_OK);                                                 \
    struct ht_grid *g = &l[0].weights.grid;                                                        \
    (void)g;                                                                                       \
    __VA_ARGS__
BREAK(table_of_other_levels, "levels are not those of grid pow2 with 4 bits",
      TABLE("pow2", 4, g->level[3] = -7;))
BREAK(table_code_invalid, "code 15 of neuron 0, input 1 is no level of grid pow2 with 4 bits",
      TABLE("pow2", 4, l[0].weights.packed[0] |= 0xf0;))
BREAK(table_of_an_activation, "input: grid apot is for weights only",
      ht_grid_init(&m->input.quant.grid, "apot", 4, NULL);)
BREAK(codebook_not_ascending, "16 levels that are not ascending",
      TABLE("codebook", 4, g->level[3] = g->level[4];))
BREAK(codebook_with_minimum, "4 levels that are not ascending within +-127",
      TABLE("codebook", 2, g->level[0] = -128;))
BREAK(codebook_of_no_levels, "0 levels", TABLE("codebook", 2, g->n_levels = 0;))
BREAK(codebook_too_long, "17 levels", TABLE("codebook", 4, g->n_levels = 17;))
BREAK(codebook_length_wild, "1073741824 levels", TABLE("codebook", 4, g->n_levels = 1 << 30;))
BREAK(codebook_end_not_repeated, "levels are not those",
      TABLE("codebook", 2, g->level[HT_GRID_TABLE - 1] = 3;))
BREAK(codebook_code_unused, "code 3 of neuron 0, input 3 is no level of grid codebook",
      TABLE("codebook", 2, cr_assert(ht_grid_set_levels(g, (int[]){-5, 1, 9}, 3));))
/* groups: 5 inputs are 3 of 2, 2 and 1; levels of 3 bits are at most 3 */
#define GROUPS(...)                                                                                \
    set_groups(&l[0], 2);                                                                          \
    cr_assert_eq(ht_qmodel_check(m, NULL), HT_OK);                                                 \
    __VA_ARGS__
BREAK(group_scale_zero,
      "layer 0 (first): weights: group_scale 0 of neuron 1, group 2 is not in 1 to 42",
      GROUPS(l[0].weights.group_scale[5] = 0;))
BREAK(group_scale_too_large, "group_scale 43 of neuron 2, group 2 is not in 1 to 42",
      GROUPS(l[0].weights.group_scale[8] = 43;))
BREAK(group_scales_missing, "together or not at all", l[0].weights.group = 2;)
BREAK(groups_missing, "together or not at all", GROUPS(l[0].weights.group = 0;))
BREAK(groups_too_large, "groups of 16777217 inputs",
      GROUPS(l[0].weights.group = HT_QMODEL_MAX_WIDTH + 1;))
BREAK(groups_with_zero_points, "grid affine has no groups", set_groups(&l[1], 2);)
BREAK(groups_in_the_bound, "layer 0 (first): range of sums: neuron 1",
      l[0].bias[1] = INT32_MAX - 5 * 4 * 252; /* inputs are up to 252, positive levels 2 and 3 */
      GROUPS(memset(l[0].weights.group_scale, 42, 9);))
/* outputs */
BREAK(activation_unknown, "unknown activation 'tanhh' with a table",
      strcpy(l[0].activation, "tanhh");)
BREAK(activation_needs_table, "unknown activation 'tanh' without", l[0].has_table = false;)
BREAK(activation_without_end, "damaged", memset(l[0].activation, 'a', 16);)
BREAK(real_in_the_middle, "real values have no table", l[0].output = HT_QOUTPUT_REAL;)
BREAK(real_with_activation, "no activation, not relu", strcpy(l[1].activation, "relu");)
BREAK(output_kind_unknown, "kind 5", l[1].output = (enum ht_qoutput_kind)5;)
BREAK(output_scale_nan, "layer 0 (first): output: scale", l[0].quant.scale = NAN;)
BREAK(output_clamp_between_levels, "clamp -6 to 7", l[0].quant.lo = -6;)
BREAK(zero_free_by_floor, "floor", l[0].quant.rounding = HT_ROUND_FLOOR;)
BREAK(table_entry_outside, "layer 0 (first): output: table: entry 14 is 8", l[0].table[14] = 8;)
BREAK(table_scale_zero, "output: table: scale", l[0].table_quant.scale = 0;)
/* multipliers */
BREAK(multiplier_changed, "layer 0 (first): multiplier: neuron 1",
      l[0].multiplier[1] = nextafterf(l[0].multiplier[1], 1);)
BREAK(multiplier_missing, "multipliers are missing", ht_free(l[0].multiplier);
      l[0].multiplier = NULL;)
BREAK(multiplier_subnormal, "neuron 2: multiplier", m->input.quant.scale = 1e-30f;
      l[0].weights.scale[2] = 1e-30f; ht_qmodel_derive(m, NULL);)
BREAK(multiplier_infinite, "neuron 2: multiplier", m->input.quant.scale = 1e30f;
      l[0].weights.scale[2] = 1e30f; ht_qmodel_derive(m, NULL);)
/* sums */
BREAK(accumulator_over_the_bound, "layer 1 (last): range of sums: neuron 3",
      l[1].bias[3] = INT32_MAX - 5;)
BREAK(accumulator_under_the_bound, "layer 0 (first): range of sums: neuron 2",
      l[0].bias[2] = INT32_MIN + 5;)

Test(check, the_bound_is_exact)
{
    struct ht_qmodel *m = plain_model();
    const int64_t worst = ht_qlayer_worst_accumulator(m, 1);
    /* All inputs in range, all neurons: the largest by brute force over the corners. */
    const struct ht_qlayer *l = &m->layers[1];
    int64_t expected = 0;
    for (size_t n = 0; n < l->out; n++)
        for (int corner = 0; corner < 8; corner++) {
            int64_t acc = l->bias[n];
            for (size_t k = 0; k < 3; k++)
                acc +=
                    (corner >> k & 1 ? 7 : -8) * (naive_weight(l, n, k) - l->weights.zero_point[n]);
            expected = llabs(acc) > expected ? llabs(acc) : expected;
        }
    cr_assert_eq(worst, expected, "%lld, not %lld", (long long)worst, (long long)expected);
    ht_qmodel_destroy(m);
}

static int bits_for(int64_t lo, int64_t hi)
{
    for (int bits = 1;; bits++)
        if (lo >= -(INT64_C(1) << (bits - 1)) && hi < INT64_C(1) << (bits - 1))
            return bits;
}

/* All inputs, and all orders of adding the products. */
Test(check, ranges_are_exact)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    struct ht_qmodel *m = plain_model();
    const struct ht_accumulators given = ht_qlayer_accumulators(m, 1);
    const struct ht_qlayer *l = &m->layers[1];
    int64_t widest = -1, low = 0, high = 0, product_low = 0, product_high = 0;
    cr_assert_eq(l->in, 3);
    for (size_t n = 0; n < l->out; n++) {
        int64_t lo = INT64_MAX, hi = INT64_MIN;
        for (int code = 0; code < 4096; code++)
            for (int order = 0; order < 6; order++) {
                int64_t sum = 0;
                for (int k = 0; k < 3; k++) {
                    const int i = orders[order][k], a = (code >> 4 * i & 15) - 8;
                    sum += a * (naive_weight(l, n, (size_t)i) - l->weights.zero_point[n]);
                    product_low = sum < product_low ? sum : product_low;
                    product_high = sum > product_high ? sum : product_high;
                }
                lo = sum + l->bias[n] < lo ? sum + l->bias[n] : lo;
                hi = sum + l->bias[n] > hi ? sum + l->bias[n] : hi;
            }
        if (hi - lo > widest) {
            widest = hi - lo;
            cr_assert(given.neuron != n || (given.min == lo && given.max == hi));
        }
        low = lo < low ? lo : low;
        high = hi > high ? hi : high;
    }
    cr_assert_eq(given.max - given.min, widest);
    cr_assert_eq(given.product_min, product_low);
    cr_assert_eq(given.product_max, product_high);
    cr_assert_eq(given.bits, bits_for(low, high));
    cr_assert_eq(given.product_bits, bits_for(product_low, product_high));
    ht_qmodel_destroy(m);
}

/* K at which u8 x s8 at the extremes just fits, and one more. */
Test(check, the_longest_row)
{
    for (size_t k = 65793 + 512; k <= 65793 + 514; k++) {
        struct ht_error err = {0};
        struct ht_qmodel *m = ht_qmodel_create(1);
        m->input.features = k;
        m->input.quant = activation("affine", 8, 0.01f, 0);
        set_weights(&m->layers[0], "narrow", 8, 1, k);
        memset(m->layers[0].weights.packed, 0x81, k); /* -127 */
        m->layers[0].output = HT_QOUTPUT_REAL;
        strcpy(m->layers[0].activation, "none");
        strcpy(m->layers[0].name, "long");
        strcpy(m->task, "regression");
        m->outputs = 1;
        cr_assert_eq(ht_qmodel_derive(m, &err), HT_OK);
        const bool fits = (int64_t)k * 255 * 127 < INT64_C(1) << 31;
        cr_assert_eq(ht_qmodel_check(m, &err), fits ? HT_OK : HT_ERR_MODEL, "%zu: %s", k, err.msg);
        cr_assert_eq(ht_qlayer_worst_accumulator(m, 0), (int64_t)k * 255 * 127);
        ht_qmodel_destroy(m);
    }
}

/* A zero point in the middle hides raw sums that do not fit although the accumulator does. */
Test(check, partial_sums_are_bounded_too)
{
    struct ht_error err = {0};
    struct ht_qmodel *m = ht_qmodel_create(1);
    const size_t k = 100000;
    m->input.features = k;
    m->input.quant = activation("affine", 8, 0.01f, 128);
    set_weights(&m->layers[0], "narrow", 8, 1, k);
    memset(m->layers[0].weights.packed, 0x7f, k);
    m->layers[0].output = HT_QOUTPUT_REAL;
    strcpy(m->layers[0].activation, "none");
    strcpy(m->layers[0].name, "long");
    strcpy(m->task, "regression");
    m->outputs = 1;
    cr_assert_eq(ht_qmodel_derive(m, &err), HT_OK);
    cr_assert_lt(ht_qlayer_worst_accumulator(m, 0), INT64_C(1) << 31);
    cr_assert_eq(ht_qmodel_check(m, &err), HT_ERR_MODEL);
    cr_assert_not_null(strstr(err.msg, "neuron 0: a partial sum"), "%s", err.msg);
    ht_qmodel_destroy(m);
}

Test(qmodel, random_models_pass)
{
    for (uint64_t seed = 1; seed < 300; seed++) {
        struct ht_error err = {0};
        struct ht_qmodel *m = random_model(seed);
        ASSERT_OK(ht_qmodel_check(m, &err), err);
        ht_qmodel_destroy(m);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(qmodel, packing_round_trip)
{
    for (int bits = 1; bits <= 8; bits++) {
        uint8_t packed[64] = {0}, expected[64] = {0};
        unsigned codes[53];
        cr_assert_eq(ht_packed_size(53, bits), (size_t)(53 * bits + 7) / 8);
        for (size_t i = 0; i < 53; i++) {
            codes[i] = (unsigned)ht_rng_below(1, HT_RNG_TEST, i, 1u << bits);
            ht_pack_code(packed, i, bits, codes[i]);
            naive_put(expected, i * (size_t)bits, bits, codes[i]);
        }
        cr_assert_eq(memcmp(packed, expected, 64), 0);
        for (size_t i = 0; i < 53; i++)
            cr_assert_eq(ht_unpack_code(packed, i, bits), codes[i]);
    }
    /* docs/file-format.md: int4 low nibble first, int2 x0 | x1 << 2 | x2 << 4 | x3 << 6 */
    uint8_t four[1] = {0}, two[1] = {0};
    ht_pack_code(four, 0, 4, 0x3);
    ht_pack_code(four, 1, 4, 0xa);
    cr_assert_eq(four[0], 0xa3);
    for (unsigned i = 0; i < 4; i++)
        ht_pack_code(two, i, 2, i);
    cr_assert_eq(two[0], 0xe4);
    cr_assert_eq(ht_packed_size((size_t)1 << 60, 8), (size_t)1 << 60, "no overflow on the way");
}

Test(qmodel, sizes)
{
    struct ht_qmodel *m = plain_model();
    /* packed + scales + biases, and + zero points */
    cr_assert_eq(ht_qmodel_bytes(m), (6 + 12 + 12) + (14 + 28 + 28 + 28u));
    cr_assert_eq(ht_qmodel_float_bytes(m), 4u * (5 * 3 + 3 + 3 * 7 + 7));
    ht_qmodel_destroy(m);
}

Test(qmodel, class_of_outputs)
{
    struct ht_qmodel m = {.outputs = 4};
    cr_assert_eq(ht_qmodel_class(&m, (float[]){1, 3, 3, 2}), 1u);
    cr_assert_eq(ht_qmodel_class(&m, (float[]){-1, -3, -3, -0.5f}), 3u);
    cr_assert_eq(ht_qmodel_class(&m, (float[]){0, 0, 0, 0}), 0u);
    m.outputs = 1;
    cr_assert_eq(ht_qmodel_class(&m, (float[]){0}), 0u);
    cr_assert_eq(ht_qmodel_class(&m, (float[]){1e-30f}), 1u);
    cr_assert_eq(ht_qmodel_class(&m, (float[]){-2}), 0u);
}

Test(qmodel, input_transform)
{
    float mean[2] = {1, 2}, std[2] = {2, 4}, x[4];
    struct ht_qmodel m = {.input = {.features = 2, .mean = mean, .std = std}};
    ht_qmodel_transform_input(&m, (float[]){1, 2, 3, 10}, 2, x);
    cr_assert(x[0] == 0 && x[1] == 0 && x[2] == 1 && x[3] == 2);
    m.input.mean = m.input.std = NULL;
    m.input.pixel_range = 255;
    ht_qmodel_transform_input(&m, (float[]){0, 255, 51, 1}, 2, x);
    cr_assert(x[0] == 0 && x[1] == 1 && x[2] == 51.0f / 255 && x[3] == 1.0f / 255);
    m.input.pixel_range = -1;
    ht_qmodel_transform_input(&m, (float[]){0, 255, 127.5f, 51}, 2, x);
    cr_assert(x[0] == -1 && x[1] == 1 && x[2] == 0 && x[3] == 51 / 127.5f - 1);
    m.input.pixel_range = 0;
    ht_qmodel_transform_input(&m, (float[]){7, -255, 0, 51}, 2, x);
    cr_assert(x[0] == 7 && x[1] == -255);
}

Test(qmodel, create_without_memory)
{
    for (long n = 1; n <= 2; n++) {
        ht_alloc_fail_at(n);
        cr_assert_null(ht_qmodel_create(3));
        ht_alloc_fail_at(0);
        cr_assert_eq(ht_alloc_live(), 0);
    }
    ht_qmodel_destroy(NULL);
}
