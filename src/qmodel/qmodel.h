/* The integer model: the one representation every runtime, file and exporter starts from.
 * It holds codes and integers only; the float weights of training are gone (docs/numerics.md). */
#ifndef HT_QMODEL_QMODEL_H
#define HT_QMODEL_QMODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "quant/grid.h"

/* Of files: 1 for models whose layers all take levels of a scale that is known, and have no groups,
 * else 2. */
#define HT_QMODEL_VERSION 2u

/* Limits of a model, checked before anything is allocated for it. */
#define HT_QMODEL_MAX_LAYERS  999
#define HT_QMODEL_MAX_WIDTH   (1 << 24) /* of a layer, and input features */
#define HT_QMODEL_MAX_CLASSES 65536

/* How real values become levels: level = clamp(round(x / scale), lo - zero_point, hi - zero_point)
 * + zero_point. On grids with step 2 (binary, zero_free) round takes the nearest level, a midpoint
 * goes to the lower one. */
struct ht_qactivation {
    struct ht_grid grid;
    float scale;
    int32_t zero_point;
    int lo, hi; /* clamp, in levels: the grid's, or tighter for relu and relu6 */
    enum ht_rounding rounding;
    bool is_signed; /* grid.lo < 0: levels are kept as int8, else as uint8 */
};

/* What is passed on to the next layer. */
enum ht_qoutput_kind {
    HT_QOUTPUT_CODES,  /* levels of `quant` */
    HT_QOUTPUT_REAL,   /* float32; the last layer's outputs, too */
    HT_QOUTPUT_DYNAMIC /* levels of `quant`'s grid, with a scale and a zero point for each row,
                          found from the row (quant/dynamic.h); those of `quant` are 1 and 0 */
};

struct ht_qinput {
    size_t features;
    enum ht_qoutput_kind kind;
    struct ht_qactivation quant; /* nothing when real */
    /* Raw user values to x: x = (raw - mean) / std; NULL = identity. [features], owned */
    float *mean, *std;
    /* 0: raw values are floats. 255: bytes, x = byte / 255. -1: bytes, x = byte / 127.5 - 1. */
    int pixel_range;
    size_t image_rows, image_columns; /* 0 = not an image */
};

struct ht_qweights {
    struct ht_grid grid; /* or float16: real inputs only */
    uint8_t *packed;     /* codes of [out, in], dense, least significant bits first, rows not
                            padded, tail bits zero; ceil(out * in * bits / 8) bytes, owned */
    float *scale;        /* [channels], already times the BN gain; owned */
    int32_t *zero_point; /* [channels] (affine), or NULL = 0; owned */
    size_t channels;     /* out (per channel), or 1 */
    /* Weights with a second scale for each `group` inputs of a row: a weight's level is
     * level[code] * group_scale, within +-127. */
    size_t group;         /* 0: none */
    uint8_t *group_scale; /* [out, ht_qlayer_groups], or NULL; owned */
};

/* One dense layer with everything folded into it. Its input is what the layer before gives. From
 * levels it goes through sums in int32 to levels or real values; from dynamic and real inputs to
 * real values (docs/numerics.md, 11), which `output` may turn into levels. */
struct ht_qlayer {
    char name[64];
    size_t in, out;
    struct ht_qweights weights;
    /* Input of codes, else NULL. [out] in units of s_a * s_w[n]; and fl32(fl32(s_a*s_w)/s_y) for
     * outputs of codes, else fl32(s_a*s_w). Owned */
    int32_t *bias;
    float *multiplier;
    float *real_bias; /* [out], of other inputs, else NULL; owned */
    enum ht_qoutput_kind output;
    struct ht_qactivation quant; /* CODES: what requantization aims at. DYNAMIC: see there */
    char activation[16];         /* none relu relu6; those of tables with one, or of real values */
    float slope;                 /* leaky_relu of real values; else 0 */
    /* Activation by table (tanh, sigmoid, gelu, leaky_relu): level of `quant` -> level of
     * `table_quant`. table[level - quant.grid.lo]. */
    bool has_table;
    int16_t table[256];
    struct ht_qactivation table_quant;
};

struct ht_qmodel {
    char name[64];
    char task[32]; /* classification regression autoencoder */
    char loss[32]; /* binary classifiers by bce have one output: class = logit > 0 */
    struct ht_qinput input;
    struct ht_qlayer *layers; /* [n_layers], owned, as is all that follows */
    size_t n_layers;
    size_t outputs;      /* = layers[n_layers - 1].out */
    char (*classes)[64]; /* [n_classes] or NULL */
    size_t n_classes;
    float *target_mean, *target_std; /* [outputs] or NULL: raw target = y * std + mean */
    char *experiment;                /* resolved YAML it was trained from */
    char data_hash[65];
    char score_name[16];     /* accuracy r2 */
    double validation_score; /* of the integer path, when it was exported */
};

/* What the levels of the model's output (or a layer's) look like after its table, if any. */
const struct ht_qactivation *ht_qlayer_output_quant(const struct ht_qlayer *layer);

/* Groups of a row of weights; 0 without. */
size_t ht_qlayer_groups(const struct ht_qlayer *layer);

/* The level of a weight, with the scale of its group in it. */
int ht_qlayer_weight(const struct ht_qlayer *layer, size_t output, size_t input);

/* Bytes of the layer's codes and group scales. */
size_t ht_qlayer_weight_bytes(const struct ht_qlayer *layer);

/* What the layer's input levels look like: the model's input, or the layer before. */
const struct ht_qactivation *ht_qlayer_input_quant(const struct ht_qmodel *m, size_t layer);

/* What the layer takes. */
enum ht_qoutput_kind ht_qlayer_input_kind(const struct ht_qmodel *m, size_t layer);

/* Is the activation computed of real values, not a clamp or a table of levels? */
bool ht_qlayer_is_real(const struct ht_qmodel *m, size_t layer);

/* "integer", "dynamic", "weight-only", "float16", or "mixed" for layers of several kinds; static.
 */
const char *ht_qmodel_mode(const struct ht_qmodel *m);

/* For exports to formats that know layers from levels to levels only: HT_ERR_CONFIG names the mode
 * that `format` cannot express. */
enum ht_status ht_qmodel_require_integer(const struct ht_qmodel *m, const char *format,
                                         struct ht_error *err);

struct ht_qmodel *ht_qmodel_create(size_t n_layers); /* zeroed; NULL when out of memory */
void ht_qmodel_destroy(struct ht_qmodel *m);

/* Computes every layer's multipliers from the scales (allocates them where they are NULL). The one
 * place they come from: lowering and loading both call it. */
enum ht_status ht_qmodel_derive(struct ht_qmodel *m, struct ht_error *err);

/* Raw user rows[n, features] to network input x[n, features] (may be the same array). */
void ht_qmodel_transform_input(const struct ht_qmodel *m, const float *raw, size_t n, float *x);

/* The class that outputs y[outputs] stand for: argmax, a tie goes to the lowest index; with one
 * output 1 when y > 0, else 0. */
size_t ht_qmodel_class(const struct ht_qmodel *m, const float *y);

/* Everything a loaded or lowered model must hold: shapes chain, grids and widths known, codes
 * valid, pad bits zero, scales finite, normal and > 0, zero points and group scales in range,
 * multipliers equal to
 * what their scales give, tables in range, and the accumulator bound
 * K * max|a - z_a| * max|w - z_w| + |bias| < 2^31 (also of the raw products). HT_ERR_MODEL names
 * the layer. */
enum ht_status ht_qmodel_check(const struct ht_qmodel *m, struct ht_error *err);

/* The exact worst case of |acc| of a layer, over all its neurons and all inputs in range; 0 when it
 * has none, its input being real. */
int64_t ht_qlayer_worst_accumulator(const struct ht_qmodel *m, size_t layer);

/* The same as ranges, exact over all inputs in range. */
struct ht_accumulators {
    int64_t min, max; /* bias and products, of the neuron with the widest range */
    size_t neuron;
    int64_t product_min, product_max; /* sums of products alone, of all neurons: the whole sum, and
                                         every sum on the way to it, in any order */
    int bits, product_bits; /* of a signed integer that holds all of them, in every neuron */
};
struct ht_accumulators ht_qlayer_accumulators(const struct ht_qmodel *m, size_t layer);

/* HDF5 container of kind "model" (docs/file-format.md). Saves are byte-identical for equal models.
 */
enum ht_status ht_qmodel_save(const struct ht_qmodel *m, const char *path, struct ht_error *err);
enum ht_status ht_qmodel_load(struct ht_qmodel **ret, const char *path, struct ht_error *err);

/* Bytes of weights, biases and scales as stored, and of the same network in float32. */
size_t ht_qmodel_bytes(const struct ht_qmodel *m);
size_t ht_qlayer_bytes(const struct ht_qlayer *layer); /* of one layer */
size_t ht_qmodel_float_bytes(const struct ht_qmodel *m);

/* Packing of codes: element i of `bits` wide codes. */
void ht_pack_code(uint8_t *packed, size_t i, int bits, unsigned code); /* into zeroed memory */
unsigned ht_unpack_code(const uint8_t *packed, size_t i, int bits);
size_t ht_packed_size(size_t n, int bits);

#endif
