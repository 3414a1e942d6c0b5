/* Private to src/export: the parts of the writer of C code. What is written, and how to use it:
 * docs/c-export.md. */
#ifndef HT_EXPORT_C_PARTS_H
#define HT_EXPORT_C_PARTS_H

#include "base/text.h"
#include "export/export.h"
#include "kernels/kernels.h"

/* Pieces of code that are written as they are, but for the prefix: src/export/c. */
extern const char ht_c_piece_scale[], ht_c_piece_nearest[], ht_c_piece_floor[], ht_c_piece_odd[],
    ht_c_piece_float[], ht_c_piece_random[];

/* What both files begin with, so that no other file is overwritten. */
#define HT_C_MARK "/* Exported by halftone"

/* How a layer's weights are read. Layers of one reader share the code. */
enum ht_c_decode {
    HT_C_BYTES,    /* an array of levels: 8 bits, and levels of groups that are not whole bytes */
    HT_C_SIGNED,   /* two's complement */
    HT_C_UNSIGNED, /* the level itself */
    HT_C_ODD,      /* the place of an odd level */
    HT_C_TABLE     /* the place in a table of the layer */
};

struct ht_c_reader {
    enum ht_c_decode decode;
    int bits, lo;       /* of ODD: the lowest level */
    bool input_signed;  /* activations are int8 */
    bool weight_signed; /* of BYTES */
    bool aligned;       /* rows and groups begin with a byte */
};

struct ht_c_layer {
    const struct ht_qlayer *layer;
    const struct ht_qactivation *from, *to; /* levels; `to` behind the table. NULL: sums */
    struct ht_c_reader reader;
    size_t number;      /* from 1, in names */
    size_t offset;      /* of its outputs in the arena, but for the last layer's */
    int32_t *start;     /* [out] what a sum starts from */
    size_t multipliers; /* out, or 1 for all */
    bool float_only;    /* multipliers are of use to net_dequantize alone */
};

struct ht_c {
    const struct ht_qmodel *model;
    const char *prefix; /* "net" */
    char capitals[40];  /* "NET" */
    struct ht_c_layer *layers;
    size_t arena; /* bytes */
    struct ht_text header, source;
    bool failed; /* out of memory */
};

/* Fills c->layers and c->arena. HT_ERR_CONFIG for what this form of C cannot express. */
enum ht_status ht_c_plan(struct ht_c *c, struct ht_error *err);
void ht_c_finish(struct ht_c *c);

/* --- text --- */

/* Like ht_text_printf, at most 4096 bytes; "net_" and "NET_" that begin a word, or follow "HT_",
 * become the prefix. */
void ht_c_printf(struct ht_c *c, struct ht_text *t, const char *format, ...) HT_PRINTF(3, 4);
/* Any length, without formats. */
void ht_c_piece(struct ht_c *c, struct ht_text *t, const char *piece);
/* A literal, with its quotes; and text within a comment. */
void ht_c_literal(struct ht_text *t, const char *s);
void ht_c_comment(struct ht_text *t, const char *s);
/* The numbers between the braces of an array. */
void ht_c_bytes(struct ht_text *t, const uint8_t *value, size_t n);
void ht_c_bits(struct ht_text *t, const uint32_t *value, size_t n); /* hexadecimal */
void ht_c_signed_bytes(struct ht_text *t, const int8_t *value, size_t n);
void ht_c_integers(struct ht_text *t, const int32_t *value, size_t n);
void ht_c_float(struct ht_text *t, float value); /* one, without comma */
void ht_c_floats(struct ht_text *t, const float *value, size_t n);

struct ht_c_name {
    char s[48];
};

struct ht_c_name ht_c_plus(int value); /* " + 3", " - 3", or nothing */

uint32_t ht_c_float_bits(float value);

/* --- parts of the files --- */

struct ht_c_name ht_c_reader_name(const struct ht_c_reader *r);
const char *ht_c_code_type(const struct ht_c_reader *r);

/* The levels of the weights of one neuron: row[in]. */
void ht_c_row(const struct ht_qlayer *l, size_t neuron, int16_t *row);

/* How levels come from sums: "nearest", "floor" or "odd", names of pieces; and whether a layer of
 * the model does it so. */
#define HT_C_ROUNDINGS 3
extern const char *const ht_c_roundings[HT_C_ROUNDINGS];
const char *ht_c_rounding(const struct ht_qactivation *q);
bool ht_c_rounds(const struct ht_c *c, const char *rounding);

/* As the kernels want it; how many levels the clamp leaves. */
struct ht_kernel_quantizer ht_c_quantizer(const struct ht_qactivation *q);
size_t ht_c_level_count(const struct ht_qactivation *q);

/* Hashes of the outputs for the inputs of net_selftest. False: out of memory. */
#define HT_C_VECTORS 4
bool ht_c_reference(const struct ht_c *c, uint32_t hash[HT_C_VECTORS]);

const char *ht_c_type(const struct ht_qactivation *levels); /* "uint8_t"; of NULL "int32_t" */

void ht_c_write_header(struct ht_c *c, const char *digest); /* of the source, hexadecimal */
void ht_c_write_arithmetic(struct ht_c *c);
void ht_c_write_readers(struct ht_c *c);
/* For processors that have more: in front of all, and within a reader, k being the next input. */
void ht_c_write_fast_head(struct ht_c *c);
void ht_c_write_fast(struct ht_c *c, const struct ht_c_reader *r);
void ht_c_write_layers(struct ht_c *c);
void ht_c_write_run(struct ht_c *c);
bool ht_c_classifies(const struct ht_c *c);
void ht_c_write_outputs(struct ht_c *c); /* class, real values */
void ht_c_write_inputs(struct ht_c *c);  /* levels of bytes and of real values */
void ht_c_write_selftest(struct ht_c *c);
void ht_c_write_guard(struct ht_c *c, const char *digest); /* against a header of another export */

/* The level of each image byte, where all features share one way to it; and whether the levels are
 * the bytes. */
bool ht_c_byte_levels(const struct ht_qinput *in, int32_t level[256]);
bool ht_c_bytes_are_levels(const struct ht_qinput *in);

/* --- sizes --- */

/* Bytes of a layer's constants. */
size_t ht_c_constant_bytes(const struct ht_c_layer *l);
/* Of layer i; i == n_layers: of the whole network. */
struct ht_export_cost ht_c_cost(const struct ht_c *c, size_t i);

#endif
