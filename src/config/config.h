/* Experiment files: YAML -> struct ht_experiment by one field table.
 * Every error of a file is found in one go, with file:line:column, a caret and the nearest name. */
#ifndef HT_CONFIG_CONFIG_H
#define HT_CONFIG_CONFIG_H

#include <stdio.h>

#include "base/error.h"
#include "base/text.h"
#include "config/experiment.h"

/* A loaded file: its text and syntax tree, for making experiments (also of each variant). */
struct ht_config;

/* Reads the file and applies `overrides` ("train.epochs=3"; [n_overrides]). On failure *ret is
 * untouched, err holds the first error in one line and `report` (NULL allowed) all of them, ready
 * to print:
 *   fashion.yaml:7:9: error: unknown key 'epoch' in train (did you mean 'epochs'?)
 *       train: {epoch: 3}
 *               ^
 * The last line counts them. Overrides show as `argument 'train.epoch=3': error: ...`.
 * path "-" reads standard input. Files over 1 MiB, aliases and anchors are refused. */
enum ht_status ht_config_load(struct ht_config **ret, const char *path,
                              const char *const *overrides, size_t n_overrides,
                              struct ht_text *report, struct ht_error *err);

/* The same from text; `path` is only used in messages. */
enum ht_status ht_config_parse(struct ht_config **ret, const char *path, const char *text,
                               size_t length, const char *const *overrides, size_t n_overrides,
                               struct ht_text *report, struct ht_error *err);
void ht_config_destroy(struct ht_config *config);

/* The base experiment (borrowed until destroy): the file and the overrides, without any variant. */
const struct ht_experiment *ht_config_experiment(const struct ht_config *config);

/* The experiment of variant `index` < n_variants: base file, then the variant's map over it, then
 * the overrides. Into caller-owned *ret. Never fails for a config that loaded: load checks each. */
void ht_config_variant(const struct ht_config *config, size_t index, struct ht_experiment *ret);

/* Changes one field of a copy, as `key=value` does ("quant.weights.bits", "4"); all checks apply.
 * Used by `compare --bits`. */
enum ht_status ht_experiment_set(struct ht_experiment *experiment, const char *key,
                                 const char *value, struct ht_error *err);

/* quant.progressive: how many stages a training has, at least 1; the first epoch (0-based) of one;
 * and the experiment with the widths that quantizers have in it: its own in the last one. The
 * others may fail (HT_ERR_CONFIG) for a grid that does not have the width. */
size_t ht_experiment_stages(const struct ht_experiment *experiment);
int ht_experiment_stage_start(const struct ht_experiment *experiment, size_t stage);
size_t ht_experiment_stage_at(const struct ht_experiment *experiment, int64_t epoch);
enum ht_status ht_experiment_stage(struct ht_experiment *ret,
                                   const struct ht_experiment *experiment, size_t stage,
                                   struct ht_error *err);

/* The quantizers of a dense layer (its number among the dense layers, from 0): those of the entry
 * of quant.layers with its name, else `first`, else `last`, else quant.weights or
 * quant.activations. Borrowed. */
const struct ht_quantizer_config *ht_experiment_weights(const struct ht_experiment *experiment,
                                                        size_t dense);
const struct ht_quantizer_config *ht_experiment_activations(const struct ht_experiment *experiment,
                                                            size_t dense);

/* The whole experiment as YAML, every field with its value, defaults included; loading it again
 * gives an equal struct (but for positions). Variants are not part of it. */
void ht_experiment_print(const struct ht_experiment *experiment, struct ht_text *out);

/* The same with the defaults for the keys of `run`: what determines the outcome of a training, and
 * so what checkpoints and models carry. out->failed when memory runs out. */
void ht_experiment_print_training(const struct ht_experiment *experiment, struct ht_text *out);

/* The reference of all keys from the field table, as Markdown (docs/config.md). */
void ht_config_print_reference(struct ht_text *out);

/* `message` at a position in the experiment's file, in the same form as load errors (the caret
 * needs the file's text: pass config, or NULL for a line without it). */
void ht_config_report_at(const struct ht_config *config, struct ht_source_position at,
                         const char *message, struct ht_text *report);

#endif
