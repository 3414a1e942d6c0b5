/* The table of one quantizer's fields: quant.input, weights, activations and output. */
#include "config/tables.h"

static const char *const grids[] = {"full", "narrow",         "affine", "binary",  "zero_free",
                                    "pow2", "pow2_zero_free", "apot",   "ternary", "codebook",
                                    NULL};
static const char *const ranges[] = {"min_max", "ema", "percentile", "kl",      "mse", "octav",
                                     "learned", "twn", "kmeans",     "dynamic", NULL};
static const char *const estimators[] = {"ste",  "clipped_ste", "lsq",  "lsq_plus",
                                         "pact", "dorefa",      "ewgs", "dsq",
                                         "a2q",  "parq",        "prox", "quantization_networks",
                                         NULL};
static const char *const granularities[] = {"tensor", "channel", "group", NULL};
static const char *const scales[] = {"real", "power_of_two", NULL};
static const char *const roundings[] = {"nearest_even", "floor", "stochastic", NULL};

#define QUANTIZER(member) .offset = offsetof(struct ht_quantizer_config, member)
static const struct ht_field quantizer_fields[] = {
    [HT_ROW_BITS] = {.name = "bits",
                     .type = HT_FIELD_INT,
                     QUANTIZER(bits),
                     .min = 1,
                     .max = 8,
                     .also = {16, 32},
                     .help = "width of a value; 32: it stays float; 16, of weights: float16"},
    [HT_ROW_GRID] = {.name = "grid",
                     .type = HT_FIELD_CHOICE,
                     QUANTIZER(grid),
                     .choices = grids,
                     .help = "which integer levels there are; with bits 1 the default is binary. "
                             "From pow2 on: weights only"},
    [HT_ROW_RANGE] = {.name = "range",
                      .type = HT_FIELD_CHOICE,
                      QUANTIZER(range),
                      .choices = ranges,
                      .help = "how the scale is found; twn and kmeans come with grids ternary and "
                              "codebook; dynamic, of input and activations: each sample has its "
                              "own. On weights kl and mse cost much more than a training "
                              "step, but calibration needs them once"},
    [HT_ROW_ESTIMATOR] = {.name = "estimator",
                          .type = HT_FIELD_CHOICE,
                          QUANTIZER(estimator),
                          .choices = estimators,
                          .help =
                              "gradient of rounding; lsq, lsq_plus, pact and prox need (and imply) "
                              "range learned, dorefa min_max"},
    [HT_ROW_GRANULARITY] = {.name = "granularity",
                            .type = HT_FIELD_CHOICE,
                            QUANTIZER(granularity),
                            .choices = granularities,
                            .fallback = "tensor",
                            .help = "one scale for a tensor; of weights for each output channel, "
                                    "or for each group of its inputs, too"},
    [HT_ROW_ROUNDING] = {.name = "rounding",
                         .type = HT_FIELD_CHOICE,
                         QUANTIZER(rounding),
                         .choices = roundings,
                         .fallback = "nearest_even",
                         .help = "rounding of x / scale to a level; stochastic: in training, up "
                                 "or down by chance"},
    [HT_ROW_MOMENTUM] = {.name = "momentum",
                         .type = HT_FIELD_DOUBLE,
                         QUANTIZER(momentum),
                         .max = 1,
                         .flags = HT_FIELD_OPEN_MIN,
                         .fallback = "0.01",
                         .help = "running ranges (ema, and activations with percentile, kl, mse, "
                                 "octav): weight of the newest batch"},
    [HT_ROW_PERCENTILE] = {.name = "percentile",
                           .type = HT_FIELD_DOUBLE,
                           QUANTIZER(percentile),
                           .min = 50,
                           .max = 100,
                           .flags = HT_FIELD_OPEN_MIN,
                           .fallback = "99.99",
                           .help = "range percentile: how much of a tensor stays inside; usual are "
                                   "99.9, 99.99 and 99.999"},
    [HT_ROW_SCALE] = {.name = "scale",
                      .type = HT_FIELD_CHOICE,
                      QUANTIZER(scale),
                      .choices = scales,
                      .fallback = "real",
                      .help = "which scales there are: any, or powers of two"},
    [HT_ROW_DELTA] = {.name = "delta",
                      .type = HT_FIELD_DOUBLE,
                      QUANTIZER(delta),
                      .max = 1000,
                      .fallback = "0.001",
                      .help = "estimator ewgs: how much the rounding error scales the gradient; 0: "
                              "clipped_ste"},
    [HT_ROW_DELTA_EPOCHS] = {.name = "delta_epochs",
                             .type = HT_FIELD_INT,
                             QUANTIZER(delta_epochs),
                             .max = 100000,
                             .fallback = "0",
                             .help =
                                 "estimator ewgs, weights: after every n quantized epochs delta is "
                                 "set anew from the trace of the loss's Hessian; 0: never"},
    [HT_ROW_SOFTNESS] = {.name = "softness",
                         .type = HT_FIELD_DOUBLE,
                         QUANTIZER(softness),
                         .max = 1,
                         .flags = HT_FIELD_OPEN_MIN | HT_FIELD_OPEN_MAX,
                         .fallback = "0.2",
                         .help = "estimator dsq: its alpha; near 0 steps, near 1 a straight line"},
    [HT_ROW_LEARN_SHAPE] = {.name = "learn_shape",
                            .type = HT_FIELD_BOOL,
                            QUANTIZER(learn_shape),
                            .fallback = "false",
                            .help =
                                "estimator dsq: softness is where a learned one begins; with range "
                                "learned and grid affine activations learn their lower clip, "
                                "too. Training is slower"},
    [HT_ROW_SOFTNESS_DECAY] = {.name = "softness_decay",
                               .type = HT_FIELD_DOUBLE,
                               QUANTIZER(softness_decay),
                               .max = 100,
                               .fallback = "0.0001",
                               .help = "estimator dsq: weight decay (L2) of a learned softness"},
    [HT_ROW_STEEPNESS] = {.name = "steepness",
                          .type = HT_FIELD_DOUBLE,
                          QUANTIZER(steepness),
                          .max = 1000,
                          .flags = HT_FIELD_OPEN_MIN,
                          .fallback = "10",
                          .help = "estimator parq: of the sigmoid along which it goes from a "
                                  "straight line to steps; larger: later and faster, around the "
                                  "middle"},
    [HT_ROW_STRENGTH] = {.name = "strength",
                         .type = HT_FIELD_DOUBLE,
                         QUANTIZER(strength),
                         .max = 1,
                         .flags = HT_FIELD_OPEN_MIN,
                         .fallback = "0.0001",
                         .help =
                             "estimator prox: how far a step of the optimizer is followed by one "
                             "towards the level, as a share of the scale; rises from 0 to this"},
    [HT_ROW_TEMPERATURE] = {.name = "temperature",
                            .type = HT_FIELD_DOUBLE,
                            QUANTIZER(temperature),
                            .max = 1000,
                            .flags = HT_FIELD_OPEN_MIN,
                            .fallback = "2",
                            .help = "estimator quantization_networks: T of its sigmoids in the "
                                    "first epoch, by which it grows in each one"},
    [HT_ROW_CLIP_START] = {.name = "clip_start",
                           .type = HT_FIELD_DOUBLE,
                           QUANTIZER(clip_start),
                           .max = 1e6,
                           .flags = HT_FIELD_OPEN_MIN,
                           .fallback = "6",
                           .help = "estimator pact: the first alpha"},
    [HT_ROW_CLIP_DECAY] = {.name = "clip_decay",
                           .type = HT_FIELD_DOUBLE,
                           QUANTIZER(clip_decay),
                           .max = 100,
                           .fallback = "0.0001",
                           .help = "estimator pact: weight decay (L2) of alpha"},
    [HT_ROW_GROUP] = {.name = "group",
                      .type = HT_FIELD_INT,
                      QUANTIZER(group),
                      .min = 8,
                      .max = 256,
                      .fallback = "64",
                      .help = "granularity group, which it implies: how many inputs share a scale; "
                              "up to 6 bits"},
};
const struct ht_field_table ht_quantizer_table = HT_FIELD_TABLE(quantizer_fields);
