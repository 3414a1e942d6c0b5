/* Mixed precision: what each width of each layer costs, in loss, bytes and bit operations, and
 * which widths to take. Methods fill the table (measure.h, hessian.h); choosing reads it. */
#ifndef HT_MIXED_TABLE_H
#define HT_MIXED_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "config/experiment.h"
#include "layers/model.h"

#define HT_MIXED_MAX_WIDTHS 8

/* A quantizer whose width is looked for: the weights of a dense layer, or what a hidden layer gives
 * to the next. */
struct ht_mixed_slot {
    size_t layer;
    bool activations;
};

/* A slot at a width, while all other slots have the widest. */
struct ht_mixed_cell {
    double loss, score; /* of the validation part; NAN: not measured */
    double error;       /* ||Q(W) - W||^2, summed over the weights; NAN: not measured */
    double sensitivity; /* what choosing adds up: the increase of the loss, or HAWQ-V2's Omega */
};

struct ht_mixed_layer {
    char name[HT_NAME_LENGTH];
    size_t parameters, macs;           /* weights; multiplications for a sample */
    int weight_bits, input_bits;       /* where no slot says another width */
    int weight_slot, input_slot;       /* -1: none */
    size_t bytes[HT_MIXED_MAX_WIDTHS]; /* of weights, scales and biases as stored, by width; */
    size_t fixed_bytes;                /* without a slot of weights */
    double trace, trace_error;         /* hessian: mean of its diagonal; NAN: not known */
};

struct ht_mixed_table {
    struct ht_mixed_layer *layers; /* [n_layers] */
    struct ht_mixed_slot *slots;   /* [n_slots], layer by layer */
    struct ht_mixed_cell *cells;   /* [n_slots, n_widths] */
    size_t n_layers, n_slots, n_widths;
    int widths[HT_MIXED_MAX_WIDTHS];  /* descending */
    double float_loss, float_score;   /* of the float network; NAN: not measured */
    double widest_loss, widest_score; /* of all slots at the widest width; NAN: not measured */
};

/* The layers of the experiment and the slots that are asked for, cells empty. widths[n_widths]:
 * 1..8, each once. HT_ERR_CONFIG for those, for a float32 experiment, and when there is no slot. */
enum ht_status ht_mixed_table_create(struct ht_mixed_table **ret, const struct ht_experiment *e,
                                     size_t inputs, const int *widths, size_t n_widths,
                                     bool weights, bool activations, struct ht_error *err);
void ht_mixed_table_destroy(struct ht_mixed_table *t);

struct ht_mixed_cell *ht_mixed_cell(const struct ht_mixed_table *t, size_t slot, size_t width);

/* Bytes, and bit operations, of the network with slot i at widths[choice[i]]; choice[n_slots].
 * Bit operations of a layer: MACs * bits of weights * bits of its input, as van Baalen et al. 2020
 * count them (arXiv 2005.07093); Baskin et al. 2018 (arXiv 1804.10969) add those of the sums. */
uint64_t ht_mixed_bytes(const struct ht_mixed_table *t, const size_t *choice);
uint64_t ht_mixed_bops(const struct ht_mixed_table *t, const size_t *choice);
double ht_mixed_sensitivity(const struct ht_mixed_table *t, const size_t *choice);

enum ht_mixed_unit { HT_MIXED_BYTES, HT_MIXED_BOPS };
uint64_t ht_mixed_cost(const struct ht_mixed_table *t, enum ht_mixed_unit unit,
                       const size_t *choice);
const char *ht_mixed_unit_name(enum ht_mixed_unit unit); /* static: "bytes", "bit operations" */

/* The widths with the least summed sensitivity within a budget; choice[n_slots]. HT_ERR_CONFIG when
 * the budget is too small, with the smallest one in the message. */
enum ht_status ht_mixed_choose(const struct ht_mixed_table *t, enum ht_mixed_unit unit,
                               uint64_t budget, size_t *choice, struct ht_error *err);

/* A way from all slots at the narrowest width to all at the widest: each step widens the slot that
 * takes off most sensitivity for what it costs. Read from its end, it says what to narrow first. */
struct ht_mixed_step {
    size_t slot, from, to; /* widths */
    double gain;           /* sensitivity taken off, per byte or bit operation */
    double sensitivity;    /* sum after the step */
    uint64_t bytes, bops;  /* after the step */
};
/* *ret: [*n], owned (ht_free). */
enum ht_status ht_mixed_order(const struct ht_mixed_table *t, enum ht_mixed_unit unit,
                              struct ht_mixed_step **ret, size_t *n, struct ht_error *err);

/* Gives the experiment these widths: entries of quant.layers. HT_ERR_CONFIG where rules refuse
 * them; *e is then as far as it came. */
enum ht_status ht_mixed_apply(const struct ht_mixed_table *t, const size_t *choice,
                              struct ht_experiment *e, struct ht_error *err);

#endif
