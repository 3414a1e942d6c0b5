#include "train/setup.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "config/config.h"

bool ht_experiment_quantized(const struct ht_experiment *e)
{
    return e->quant.given && e->quant.weights.bits != 32;
}

int64_t ht_experiment_rounding_steps(const struct ht_experiment *e)
{
    int64_t layers = 0;
    for (size_t i = 0; i < e->model.n_layers; i++)
        layers += strcmp(e->model.layers[i].kind, "dense") == 0;
    return ht_experiment_quantized(e) && e->quant.adaround ? layers * e->quant.adaround_iterations
                                                           : 0;
}

static void folder_of(const char *path, char folder[HT_PATH_LENGTH])
{
    snprintf(folder, HT_PATH_LENGTH, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder ? 1 : 0] = '\0';
    else
        snprintf(folder, HT_PATH_LENGTH, ".");
}

static bool has_class(const struct ht_dataset *d, const char *name)
{
    for (size_t c = 0; c < d->n_classes; c++)
        if (strcmp(d->classes[c], name) == 0)
            return true;
    return false;
}

static enum ht_status unknown_class(const struct ht_experiment *e, const struct ht_dataset *d,
                                    const char *name, struct ht_error *err)
{
    const char **names = ht_calloc(d->n_classes + 1, sizeof *names);
    for (size_t c = 0; names && c < d->n_classes; c++)
        names[c] = d->classes[c];
    const char *near = names ? ht_nearest_name(name, names, d->n_classes) : NULL;
    ht_free(names);
    return ht_fail(err, HT_ERR_CONFIG,
                   "%s:%d:%d: error: data.anomaly_classes: %s has no class '%s'%s%s%s", e->path,
                   e->data.at.line, e->data.at.column, d->name, name,
                   near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* That all classes are there, and that both kinds are in the part that is evaluated. */
static enum ht_status check_anomalies(const struct ht_experiment *e, const struct ht_dataset *d,
                                      struct ht_error *err)
{
    size_t anomalies = 0;
    if (e->data.n_anomaly_classes == 0)
        return HT_OK;
    for (size_t i = 0; i < e->data.n_anomaly_classes; i++)
        if (!has_class(d, e->data.anomaly_classes[i]))
            return unknown_class(e, d, e->data.anomaly_classes[i], err);
    for (size_t i = 0; i < d->count[HT_TEST]; i++)
        anomalies += ht_dataset_is_anomaly(d, d->index[HT_TEST][i]);
    if (anomalies > 0 && anomalies < d->count[HT_TEST])
        return HT_OK;
    return ht_fail(
        err, HT_ERR_DATA,
        "data.anomaly_classes: of the %zu test samples %zu are anomalies; both kinds are "
        "needed",
        d->count[HT_TEST], anomalies);
}

enum ht_status ht_setup_dataset(struct ht_dataset **ret, const struct ht_experiment *e,
                                struct ht_error *err)
{
    struct ht_descriptor *descriptor;
    char folder[HT_PATH_LENGTH];
    folder_of(e->path, folder);
    enum ht_status status = ht_descriptor_load(&descriptor, e->data.name, folder, NULL, err);
    if (status == HT_ERR_IO) /* a descriptor that is not there is missing data */
        return ht_error_prefix(err, HT_ERR_DATA, "data.name");
    if (status == HT_ERR_CONFIG)
        return ht_error_prefix(err, status, "%s:%d:%d: error", e->path, e->data.at.line,
                               e->data.at.column);
    if (status != HT_OK)
        return status;
    struct ht_dataset_options options = {
        .dir = e->data.dir,
        .validation = e->data.validation,
        .test = e->data.test,
        .standardize = e->data.standardize,
        .symmetric_pixels = strcmp(e->data.pixels, "symmetric") == 0,
        .seed = e->seed,
        .anomaly_classes = e->data.anomaly_classes,
        .n_anomaly_classes = e->data.n_anomaly_classes,
        .verify_hashes = true,
    };
    struct ht_dataset *d;
    status = ht_dataset_load(&d, descriptor, &options, err);
    ht_descriptor_destroy(descriptor);
    if (status == HT_OK && (status = check_anomalies(e, d, err)) != HT_OK)
        ht_dataset_destroy(d);
    if (status == HT_OK && d->count[HT_TRAIN] == 0) {
        ht_dataset_destroy(d);
        return ht_fail(err, HT_ERR_DATA, "%s: no samples are left for training", e->data.name);
    }
    if (status == HT_OK && d->image_rows == 0 &&
        (e->data.augment.shift != 0 || e->data.augment.rotation != 0)) {
        ht_dataset_destroy(d);
        return ht_fail(err, HT_ERR_CONFIG,
                       "%s:%d:%d: error: data.augment moves images, but %s has none (a descriptor "
                       "says image_rows and image_columns)",
                       e->path, e->data.at.line, e->data.at.column, e->data.name);
    }
    if (status == HT_OK)
        *ret = d;
    return status;
}

static struct ht_quantizer_spec quantizer_spec(const struct ht_quantizer_config *c)
{
    const bool grouped = strcmp(c->granularity, "group") == 0;
    struct ht_quantizer_spec s = {.grid = c->grid,
                                  .range = c->range,
                                  .estimator = c->estimator,
                                  .rounding = c->rounding,
                                  .bits = c->bits,
                                  .per_channel = strcmp(c->granularity, "tensor") != 0,
                                  .group = grouped ? (size_t)c->group : 0,
                                  .momentum = c->momentum,
                                  .percentile = c->percentile,
                                  .power_of_two = strcmp(c->scale, "power_of_two") == 0,
                                  .delta = c->delta,
                                  .delta_epochs = c->delta_epochs,
                                  .softness = c->softness,
                                  .learn_shape = c->learn_shape,
                                  .softness_decay = c->softness_decay,
                                  .steepness = c->steepness,
                                  .strength = c->strength,
                                  .temperature = c->temperature,
                                  .clip_start = c->clip_start,
                                  .clip_decay = c->clip_decay};
    return s;
}

/* Interns the initializer's name: a model keeps the pointer. */
static const char *initializer(const char *name)
{
    static const char *const names[] = {"he", "xavier", "uniform"};
    for (size_t i = 0; i < 3; i++)
        if (strcmp(names[i], name) == 0)
            return names[i];
    return names[0];
}

static void add_layer(struct ht_model_spec *spec, struct ht_block_spec *blocks,
                      const struct ht_layer_config *layer, const struct ht_experiment *e)
{
    struct ht_block_spec *b = spec->n_blocks ? &blocks[spec->n_blocks - 1] : NULL;
    if (strcmp(layer->kind, "dense") == 0) {
        b = &blocks[spec->n_blocks++];
        snprintf(b->name, sizeof b->name, "%s", layer->name);
        b->units = (size_t)layer->units;
        b->bias = layer->bias;
        b->init = initializer(layer->init[0] ? layer->init : e->model.init);
        b->activation = "none";
    } else if (strcmp(layer->kind, "dropout") == 0) {
        *(b ? &b->dropout : &spec->input_dropout) = layer->rate;
    } else if (strcmp(layer->kind, "batchnorm") == 0) {
        b->batchnorm = true;
        b->momentum = layer->momentum;
        b->epsilon = layer->epsilon;
    } else {
        b->activation = layer->kind;
        b->slope = layer->slope;
    }
}

/* Every stage of quant.progressive must be possible. */
static enum ht_status check_widths(const struct ht_experiment *e, struct ht_error *err)
{
    enum ht_status status = HT_OK;
    struct ht_experiment *stage = ht_calloc(1, sizeof *stage);
    if (!stage)
        return ht_fail_memory(err);
    for (size_t i = 0; status == HT_OK && i < ht_experiment_stages(e); i++)
        status = ht_experiment_stage(stage, e, i, err);
    ht_free(stage);
    return status;
}

/* A quantization that never starts is surely not what was meant. */
static enum ht_status check_stages(const struct ht_experiment *e, struct ht_error *err)
{
    const bool only_quantized = e->train.epochs == 0 && e->quant.start_epoch == 0;
    if (!ht_experiment_quantized(e) || e->quant.start_epoch < e->train.epochs || only_quantized)
        return check_widths(e, err);
    return ht_fail(err, HT_ERR_CONFIG,
                   "%s:%d:%d: error: quant.start_epoch %d is not before the end of the training "
                   "(train.epochs %d): the network would never be quantized",
                   e->path, e->quant.at.line, e->quant.at.column, e->quant.start_epoch,
                   e->train.epochs);
}

enum ht_status ht_setup_model(struct ht_model **ret, const struct ht_experiment *e, size_t inputs,
                              struct ht_error *err)
{
    struct ht_block_spec *blocks = ht_calloc(HT_MAX_LAYERS, sizeof *blocks);
    const int bits = e->quant.accumulator_bits;
    struct ht_model_spec spec = {.inputs = inputs,
                                 .blocks = blocks,
                                 .quantized = ht_experiment_quantized(e),
                                 .accumulator_bits = bits < 32 ? bits : 0,
                                 .track_flips =
                                     e->quant.track_flips || e->quant.freeze_threshold > 0,
                                 .input = quantizer_spec(&e->quant.input),
                                 .output = quantizer_spec(&e->quant.output)};
    enum ht_status status = blocks ? HT_OK : ht_fail_memory(err);
    if (status == HT_OK)
        status = check_stages(e, err);
    for (size_t i = 0; status == HT_OK && i < e->model.n_layers; i++)
        add_layer(&spec, blocks, &e->model.layers[i], e);
    for (size_t i = 0; status == HT_OK && spec.quantized && i < spec.n_blocks; i++) {
        blocks[i].weights = quantizer_spec(ht_experiment_weights(e, i));
        blocks[i].weights.once = e->quant.adaround; /* it chose levels of this scale */
        blocks[i].weights.accumulator_bits = bits;
        blocks[i].activations = quantizer_spec(ht_experiment_activations(e, i));
    }
    if (status == HT_OK)
        status = ht_model_create(ret, &spec, err);
    if (status == HT_OK)
        ht_model_initialize(*ret, e->seed);
    ht_free(blocks);
    return status;
}

#define INPUT_BATCH ((size_t)256)

/* For ranges that look at the values: the mean over batches of the whole training part. */
static enum ht_status observe_input(struct ht_quantizer *q, const struct ht_dataset *d,
                                    struct ht_error *err)
{
    ht_real *x = ht_calloc(INPUT_BATCH * d->features, sizeof *x);
    if (!x)
        return ht_fail_memory(err);
    q->calibrating = true;
    for (size_t i = 0; i < d->count[HT_TRAIN]; i += INPUT_BATCH) {
        const size_t left = d->count[HT_TRAIN] - i, n = left < INPUT_BATCH ? left : INPUT_BATCH;
        ht_dataset_features(d, &d->index[HT_TRAIN][i], n, NULL, 0, 0, x);
        ht_quantizer_observe(q, x, n * d->features);
    }
    ht_quantizer_refresh(q, HT_MODE_TRAIN);
    q->calibrating = false;
    q->fixed = true;
    ht_free(x);
    return HT_OK;
}

enum ht_status ht_setup_input_range(struct ht_model *model, const struct ht_dataset *d,
                                    struct ht_error *err)
{
    struct ht_range_stats all = {0, 0, 0};
    if (model->input_kind != HT_TENSOR_LEVELS)
        return HT_OK;
    if (d->bytes) { /* pixels: the whole range, so that the 8-bit codes are the bytes themselves */
        all.max = 1;
        all.min = d->symmetric_pixels ? -1 : 0;
        all.mean_abs = (ht_real)0.5;
        ht_model_set_input_range(model, &all);
        return HT_OK;
    }
    if (model->input.range->of_values)
        return observe_input(&model->input, d, err);
    ht_real *x = ht_calloc(d->features, sizeof *x);
    if (!x)
        return ht_fail_memory(err);
    for (size_t i = 0; i < d->count[HT_TRAIN]; i++) {
        ht_dataset_features(d, &d->index[HT_TRAIN][i], 1, NULL, 0, 0, x);
        struct ht_range_stats row = ht_range_measure(x, d->features);
        if (i == 0)
            all = row;
        else
            ht_range_merge(&all, i * d->features, &row, d->features);
    }
    ht_free(x);
    ht_model_set_input_range(model, &all);
    return HT_OK;
}

enum ht_status ht_setup_optimizer(struct ht_optimizer **ret, struct ht_schedule *schedule,
                                  const struct ht_experiment *e, struct ht_params *params,
                                  struct ht_error *err)
{
    struct ht_optimizer_config config = {
        .name = e->train.optimizer,
        .momentum = e->train.momentum,
        .nesterov = e->train.nesterov,
        .beta1 = e->train.beta1,
        .beta2 = e->train.beta2,
        .epsilon = e->train.epsilon,
        .weight_decay = e->train.weight_decay,
    };
    *schedule = (struct ht_schedule){
        .kind = ht_schedule_find(e->train.schedule),
        .learning_rate = e->train.learning_rate,
        .warmup = e->train.warmup,
        .epochs = e->train.epochs,
        .step_epochs = e->train.step_epochs,
        .factor = e->train.step_factor,
        .final_share = e->train.final_learning_rate,
    };
    if (!schedule->kind)
        return ht_fail(err, HT_ERR_CONFIG, "unknown schedule '%s'", e->train.schedule);
    enum ht_status status = ht_optimizer_create(ret, &config, params, err);
    if (status == HT_ERR_CONFIG)
        return ht_error_prefix(err, status, "%s:%d:%d: error", e->path, e->train.at.line,
                               e->train.at.column);
    return status;
}
