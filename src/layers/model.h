/* A network of blocks: dense [batchnorm] [activation] [dropout]. A model owns the parameters and
 * state; it builds any number of graphs over them, in any of its forms. */
#ifndef HT_LAYERS_MODEL_H
#define HT_LAYERS_MODEL_H

#include "autograd/graph.h"
#include "base/error.h"
#include "quant/quant_dense.h"
#include "quant/quantizer.h"

/* What a graph over a model computes. SOFT is for training alone: real values that are annealed
 * from the float network to the quantized one. */
enum ht_form {
    HT_FORM_FLOAT,
    HT_FORM_QUANTIZED, /* what ships */
    HT_FORM_SOFT,      /* as FLOAT, through the quantizers: softly where they can (quant/soft.h) */
    HT_N_FORMS
};

struct ht_block_spec {
    char name[64];
    size_t units;
    bool bias; /* ignored (false) with batchnorm, whose beta does its work */
    bool batchnorm;
    double momentum, epsilon; /* batchnorm */
    const char *init;         /* he xavier uniform */
    const char *activation;   /* "none", or a name of ht_activation_layer_find */
    double slope;             /* leaky_relu */
    double dropout;           /* rate after the activation; 0 = none */
    struct ht_quantizer_spec weights, activations; /* activations: of this block's output */
};

struct ht_model_spec {
    size_t inputs;
    double input_dropout;
    const struct ht_block_spec *blocks; /* [n_blocks], read during create only */
    size_t n_blocks;
    bool quantized;       /* quantizers exist; else only float graphs can be built */
    int accumulator_bits; /* of sums of products, 8..31; 0: int32 is all that they must fit */
    bool track_flips;     /* state for ht_oscillation_update; quantized only */
    struct ht_quantizer_spec input;
    struct ht_quantizer_spec output; /* bits 32: the last layer stays real */
};

/* What a block's activation is made of. */
struct ht_activation_layer {
    const char *name;
    const struct ht_op *op; /* NULL for "none" */
    bool by_table;          /* integer path: a table; else the clamp below */
    double clamp_lo, clamp_hi;
};
const struct ht_activation_layer *ht_activation_layer_find(const char *name); /* NULL: unknown */

struct ht_block {
    char name[64];
    size_t in, out;
    /* What it takes and gives. Real in a float32 network; there, quantizers are not used. */
    enum ht_tensor_kind input_kind, output_kind;
    bool bias, batchnorm;
    bool has_output; /* it gives levels of a scale that is known: `output` has it */
    double momentum, epsilon, slope, dropout;
    const char *init;
    const struct ht_activation_layer *activation;
    int weight_span, bias_span, gamma_span, beta_span; /* in params; -1 = none */
    int mean_span, var_span;                           /* in state */
    /* In state, with track_flips: [out, in] each, and flips [1, out] (layers/oscillation.h). */
    int level_span, direction_span, frequency_span, average_span, flips_span;
    struct ht_quantizer weights;
    struct ht_quantizer before_table; /* ht_block_has_table: of what enters the table, 8 bits */
    struct ht_quantizer output;       /* of levels, and of dynamic outputs */
};

/* Activations go through a table from levels to levels; of real values they are computed. */
static inline bool ht_block_has_table(const struct ht_block *b)
{
    return b->activation->by_table && b->has_output && b->input_kind == HT_TENSOR_LEVELS;
}

struct ht_model {
    size_t inputs, outputs;
    double input_dropout;
    bool quantized;
    struct ht_block *blocks;
    size_t n_blocks;
    enum ht_tensor_kind input_kind;
    struct ht_quantizer input; /* unless real */
    int flips_span;            /* in state; -1 without track_flips */
    struct ht_params params, state;
};

/* Declares and allocates everything; parameters are not yet initialized. Strings of the spec that
 * are kept (init) must be static. */
enum ht_status ht_model_create(struct ht_model **ret, const struct ht_model_spec *spec,
                               struct ht_error *err);
void ht_model_destroy(struct ht_model *m);

/* Takes weights, biases and batch normalization from a model of the same layers, nothing of its
 * quantizers. */
void ht_model_copy_network(struct ht_model *m, const struct ht_model *from);

/* Weights by each block's initializer, from counter-based random numbers. */
void ht_model_initialize(struct ht_model *m, uint64_t seed);

/* Adds the network to g from x [batch, inputs]; returns its real output [batch, outputs]. It keeps
 * each block's output readable if `levels` (NULL, or [n_blocks]) is to get them: the levels, or the
 * values of the other forms, behind dropout. */
struct ht_node *ht_model_build(struct ht_model *m, struct ht_graph *g, struct ht_node *x,
                               enum ht_form form, struct ht_node **levels);

/* Whether some of its quantizers are annealed: only then does the soft form differ from the
 * quantized one. */
bool ht_model_is_soft(const struct ht_model *m);

/* After each optimizer step on the soft form: what some annealed quantizers do to their weights. */
void ht_model_after_step(struct ht_model *m, const struct ht_run *run);

/* The dense part of a block that takes no levels, and batch normalization: real output. x: of its
 * input kind. */
struct ht_node *ht_real_block(struct ht_model *m, struct ht_graph *g, struct ht_block *b,
                              struct ht_node *x);

/* Range of the network's input, known from the training data; fixed from then on. Only for an input
 * of levels. */
void ht_model_set_input_range(struct ht_model *m, const struct ht_range_stats *stats);

/* The strength of the pull of weights to the middle of their bins, from the next backward on. */
void ht_model_set_dampening(struct ht_model *m, double dampening);

/* He et al. 2015 (normal, std sqrt(2 / in)), Glorot and Bengio 2010 (xavier: uniform,
 * sqrt(6 / (in + out))), uniform (+- 1 / sqrt(in)). */
void ht_initialize(const char *init, uint64_t seed, uint32_t stream, size_t in, size_t out,
                   ht_real *w);

#endif
