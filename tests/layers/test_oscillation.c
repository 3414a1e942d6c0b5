/* Oscillating weights: what is counted, and what is frozen where. */
#include "support.h"

#include <math.h>

#include "layers/oscillation.h"
#include "tensor/blas.h"

/* One layer of some weights, levels -3..3. */
static struct ht_model *make_layer(bool tracks, const char *rounding, size_t inputs, size_t group)
{
    struct ht_error err = {0};
    struct ht_model *m;
    const struct ht_quantizer_spec w = {.grid = "narrow",
                                        .range = "learned",
                                        .estimator = "lsq",
                                        .rounding = rounding,
                                        .bits = 3,
                                        .per_channel = group != 0,
                                        .group = group};
    const struct ht_quantizer_spec a = {.grid = "affine",
                                        .range = "ema",
                                        .estimator = "ste",
                                        .rounding = "nearest_even",
                                        .bits = 8};
    const struct ht_block_spec block = {.name = "dense1",
                                        .units = 1,
                                        .init = "he",
                                        .activation = "none",
                                        .weights = w,
                                        .activations = a};
    struct ht_model_spec spec = {.inputs = inputs,
                                 .blocks = &block,
                                 .n_blocks = 1,
                                 .quantized = true,
                                 .track_flips = tracks,
                                 .input = a,
                                 .output = {.bits = 32}};
    ASSERT_OK(ht_model_create(&m, &spec, &err), err);
    m->blocks[0].weights.ready[0] = 1;
    return m;
}

/* Of two, scale 1. */
static struct ht_model *make(bool tracks, const char *rounding)
{
    struct ht_model *m = make_layer(tracks, rounding, 2, 0);
    m->blocks[0].weights.scale[0] = 1;
    return m;
}

static float *weights(const struct ht_model *m)
{
    return m->params.value + m->params.spans[m->blocks[0].weight_span].offset;
}

static float *state(const struct ht_model *m, const char *name)
{
    const struct ht_span *s = ht_params_find(&m->state, name);
    cr_assert_not_null(s, "%s", name);
    return m->state.value + s->offset;
}

/* The first weight goes 1 2 1 2 ..., the second 0 1 2 3: only the first turns back. */
Test(oscillation, frequency_and_flips_by_hand)
{
    struct ht_model *m = make(true, "nearest_even");
    static const float steps[5][2] = {{1, 0}, {2, 1}, {1.4f, 2}, {1.6f, 3}, {1.7f, 3}};
    static const double frequency[5] = {0, 0, 0.5, 0.75, 0.375};
    static const double average[5] = {1, 1.5, 1.25, 1.625, 1.8125};
    cr_assert(isnan(ht_oscillation_last(m).flip_rate));
    for (int i = 0; i < 5; i++) {
        memcpy(weights(m), steps[i], sizeof steps[i]);
        ht_oscillation_update(m, 0, 0.5, NULL);
        cr_assert_eq(state(m, "dense1.weight.frequency")[0], (float)frequency[i], "%d", i);
        cr_assert_eq(state(m, "dense1.weight.average")[0], (float)average[i], "%d", i);
        cr_assert_eq(state(m, "dense1.weight.frequency")[1], 0, "%d", i);
        cr_assert_eq(weights(m)[0], steps[i][0], "not frozen");
    }
    ht_oscillation_end_epoch(m, 5);
    cr_assert_float_eq(ht_oscillation_last(m).flip_rate, 6 / 2.0 / 5, 1e-7);
    cr_assert_eq(ht_oscillation_last(m).frozen, 0);
    ht_oscillation_end_epoch(m, 5);
    cr_assert_eq(ht_oscillation_last(m).flip_rate, 0, "counted anew");
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Frozen to the level of the average when it turns back often enough, and it stays there: whatever
 * the optimizer does, and along with the scale. */
static void check_freezing(const char *rounding)
{
    struct ht_model *m = make(true, rounding);
    const struct ht_place_in_run eval = {NULL, 0};
    struct ht_quantizer *q = &m->blocks[0].weights;
    float level[2];
    for (int i = 0; i < 6; i++) {
        weights(m)[0] = i % 2 ? 2.2f : 1.2f;
        weights(m)[1] = -1.8f;
        ht_oscillation_update(m, 0.6, 0.5, NULL);
    }
    /* Frequency 0, 0, .5, .75: frozen at the fourth, where the average is 1.625. */
    cr_assert_eq(state(m, "dense1.weight.frequency")[0], 2);
    cr_assert_eq(state(m, "dense1.weight.level")[0], 2);
    for (int i = 0; i < 3; i++) {
        q->scale[0] = 0.3f + 0.1f * (float)i;
        weights(m)[0] = -5;
        weights(m)[1] = -1.8f;
        ht_oscillation_update(m, 0.6, 0.5, NULL);
        ht_quantizer_levels(q, 0, eval, weights(m), 2, level);
        cr_assert_eq(level[0], 2);
        cr_assert_eq(weights(m)[1], -1.8f);
    }
    ht_oscillation_end_epoch(m, 9);
    cr_assert_eq(ht_oscillation_last(m).frozen, 0.5);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(oscillation, freezes)
{
    check_freezing("nearest_even");
    check_freezing("floor");
}

/* Groups of 2, 2 and 1 weights: levels are codes, each with the scale of its group. */
Test(oscillation, of_groups)
{
    struct ht_model *m = make_layer(true, "nearest_even", 5, 2);
    static const float scales[3] = {1, 0.5f, 0.25f}, codes[5] = {2, -1, 3, 1, -2};
    struct ht_quantizer *q = &m->blocks[0].weights;
    memcpy(q->scale, scales, sizeof scales);
    ht_quantizer_refresh(q, HT_MODE_TRAIN);
    for (int i = 0; i < 6; i++) {
        for (int k = 0; k < 5; k++)
            weights(m)[k] = codes[k] * q->effective[k / 2];
        weights(m)[3] = (i % 2 ? 2.2f : 1.2f) * q->effective[1];
        ht_oscillation_update(m, 0.6, 0.5, NULL);
    }
    for (int k = 0; k < 5; k++) {
        const float level = k == 3 ? 2 : codes[k]; /* frozen on the average, as above */
        cr_assert_eq(state(m, "dense1.weight.level")[k], level, "%d", k);
        cr_assert_eq(state(m, "dense1.weight.frequency")[k], k == 3 ? 2 : 0, "%d", k);
        cr_assert_eq(weights(m)[k], level * q->effective[k / 2], "%d", k);
    }
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(oscillation, costs_nothing_when_it_is_off)
{
    struct ht_model *m = make(false, "nearest_even");
    cr_assert_eq(m->flips_span, -1);
    cr_assert_null(ht_params_find(&m->state, "dense1.weight.level"));
    cr_assert(isnan(ht_oscillation_last(m).frozen));
    ht_model_set_dampening(m, 0.5);
    cr_assert_eq(m->blocks[0].weights.dampening, 0.5f);
    ht_model_destroy(m);
    cr_assert_eq(ht_alloc_live(), 0);
}
