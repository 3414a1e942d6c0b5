/* A scale for each group of inputs of each row of weights, in two levels (VS-Quant, Dai et al.
 * 2021, arXiv 2102.04503): weight = code * group_scale[row][group] * unit[row]. group_scale is a
 * whole number, small enough for code * group_scale to be an int8 level: what computes with the
 * weights sees int8 weights with one scale a row, and knows nothing of groups. */
#ifndef HT_QUANT_GROUP_H
#define HT_QUANT_GROUP_H

#include "quant/quantizer.h"

#define HT_GROUP_MAX  ((size_t)256) /* inputs */
#define HT_GROUP_ROOM 3             /* group scales that a grid must leave room for */

/* After ht_quantizer_init of weights per channel, before its spans are declared: groups of `group`
 * of the `columns` inputs; the last one may be shorter. HT_ERR_CONFIG where grid, scale or
 * estimator do not go with it. */
enum ht_status ht_quantizer_divide(struct ht_quantizer *q, size_t columns, size_t group,
                                   struct ht_error *err);

/* Unit and group scales of a row from the scales of its groups, and the scales that quantize. In
 * SURROGATE these follow the scales, as far apart as they were. */
void ht_group_refresh(struct ht_quantizer *q, size_t row, enum ht_mode mode);

/* Codes of n weights of a channel to levels of the tensor, in place, and back. */
void ht_group_multiply(const struct ht_quantizer *q, size_t channel, size_t n, ht_real *level);
void ht_group_multiply_bytes(const struct ht_quantizer *q, size_t channel, size_t n, int8_t *level);
void ht_group_divide(const struct ht_quantizer *q, size_t channel, const ht_real *level, size_t n,
                     ht_real *code);
void ht_group_divide_bytes(const struct ht_quantizer *q, size_t channel, const int8_t *level,
                           size_t n, int8_t *code);

#endif
