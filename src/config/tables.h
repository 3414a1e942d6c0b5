/* The tables of an experiment file, and the parts of it that read lists. */
#ifndef HT_CONFIG_TABLES_H
#define HT_CONFIG_TABLES_H

#include "config/fields.h"

extern const struct ht_field_table ht_experiment_table, ht_quantizer_table;
extern const char *const ht_weights_fallbacks[], *const ht_activations_fallbacks[];

/* Rows of ht_quantizer_table; bit i of weights_set and activations_set is row i. */
enum ht_quantizer_row {
    HT_ROW_BITS,
    HT_ROW_GRID,
    HT_ROW_RANGE,
    HT_ROW_ESTIMATOR,
    HT_ROW_GRANULARITY,
    HT_ROW_ROUNDING,
    HT_ROW_MOMENTUM,
    HT_ROW_PERCENTILE,
    HT_ROW_SCALE,
    HT_ROW_DELTA,
    HT_ROW_DELTA_EPOCHS,
    HT_ROW_SOFTNESS,
    HT_ROW_LEARN_SHAPE,
    HT_ROW_SOFTNESS_DECAY,
    HT_ROW_STEEPNESS,
    HT_ROW_STRENGTH,
    HT_ROW_TEMPERATURE,
    HT_ROW_CLIP_START,
    HT_ROW_CLIP_DECAY,
    HT_ROW_GROUP,
    HT_N_QUANTIZER_ROWS
};

/* data.anomaly_classes (anomalies.c), model.layers (layers.c), quant.layers (overrides.c),
 * quant.progressive (stages.c) and variants (config.c). */
extern const struct ht_field_custom ht_anomalies_field, ht_layers_field, ht_overrides_field,
    ht_progressive_field, ht_variants_field;

/* One Markdown table for each kind of layer. */
void ht_layers_print_reference(struct ht_text *out);

/* Whether values came from files or arguments (all places known), or one field of a finished
 * experiment is being changed: then grids follow the bits of a sweep. */
enum ht_rules_mode { HT_RULES_LOAD, HT_RULES_SET };

/* Fills what follows from other fields (quantizer grids, the values overrides inherit) and checks
 * the rules across fields. */
void ht_rules_apply(struct ht_reader *r, struct ht_experiment *e, enum ht_rules_mode mode);

#endif
