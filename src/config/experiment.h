/* What an experiment file says, as plain typed structs. Filled by config.h from one field table;
 * names (grids, ranges...) stay names here: the rooms that know them look them up. */
#ifndef HT_CONFIG_EXPERIMENT_H
#define HT_CONFIG_EXPERIMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HT_MAX_LAYERS      128 /* entries of model.layers */
#define HT_MAX_OVERRIDES   128 /* entries of quant.layers */
#define HT_MAX_VARIANTS    64
#define HT_MAX_PROGRESSIVE 8  /* entries of quant.progressive */
#define HT_MAX_ANOMALIES   32 /* entries of data.anomaly_classes */
#define HT_NAME_LENGTH     64 /* longest name, with its NUL */
#define HT_PATH_LENGTH     1024

struct ht_source_position {
    int line, column; /* 1-based; 0 = not from the file (a default or a key=value argument) */
};

struct ht_quantizer_config {
    int bits;                         /* 1..8; 32: float. Weights also 16: float16; of 32 bits they
                                         mean no quantization at all */
    char grid[HT_NAME_LENGTH];        /* names of ht_grid_names */
    char range[HT_NAME_LENGTH];       /* names of ht_range_find */
    char estimator[HT_NAME_LENGTH];   /* names of ht_estimator_find */
    char granularity[HT_NAME_LENGTH]; /* tensor; weights also channel group */
    char rounding[HT_NAME_LENGTH];    /* nearest_even floor stochastic */
    char scale[HT_NAME_LENGTH];       /* real power_of_two */
    double momentum;                  /* ema: new = (1 - momentum) * old + momentum * batch */
    double percentile;                /* range percentile */
    double delta;                     /* ewgs */
    int delta_epochs;                 /* ewgs: every n epochs delta is adapted; 0: never */
    double softness;                  /* dsq: its alpha */
    bool learn_shape;                 /* dsq: alpha and the lower clip are learned, too */
    double softness_decay;            /* dsq: weight decay of a learned alpha */
    double steepness;                 /* parq */
    double strength;                  /* prox */
    double temperature;               /* quantization_networks: T of the first epoch */
    double clip_start, clip_decay;    /* pact: the first alpha, and its weight decay */
    int group;                        /* granularity group: inputs that share a scale */
    struct ht_source_position at;     /* of the map, for errors found later */
};

/* One entry of quant.layers: the layer's name, or `first` or `last`. Fields that are not given hold
 * what they inherit from quant.weights and quant.activations. */
struct ht_quant_override {
    char layer[HT_NAME_LENGTH];
    struct ht_quantizer_config weights, activations;
    uint32_t weights_set, activations_set; /* bit i: the i-th field of the quantizer was given */
    struct ht_source_position at;
};

struct ht_layer_config {
    char kind[HT_NAME_LENGTH]; /* dense batchnorm dropout relu relu6 leaky_relu tanh sigmoid gelu */
    char name[HT_NAME_LENGTH]; /* dense: given, or "dense1", "dense2"...; others empty */
    int units;                 /* dense */
    bool bias;                 /* dense; has no effect in front of batchnorm, which replaces it */
    char init[HT_NAME_LENGTH]; /* dense: he xavier uniform; empty = model.init */
    double momentum, epsilon;  /* batchnorm */
    double rate;               /* dropout: share of values set to 0 in training */
    double slope;              /* leaky_relu */
    struct ht_source_position at;
};

struct ht_experiment {
    char path[HT_PATH_LENGTH]; /* the file, as given; messages use it */
    char name[HT_NAME_LENGTH];
    uint64_t seed;
    struct {
        char name[HT_PATH_LENGTH];   /* a built-in dataset, or the path of a descriptor .yaml */
        char dir[HT_PATH_LENGTH];    /* where the files are; empty = where the descriptor says */
        char target[HT_NAME_LENGTH]; /* labels, or input (autoencoder) */
        double validation;           /* >= 1: samples; < 1: share of the training part */
        double test;                 /* the same, for datasets without a test part of their own */
        bool standardize; /* features to mean 0, std 1 of the training part; bytes (images) stay */
        char pixels[HT_NAME_LENGTH]; /* byte features become unit: [0, 1] or symmetric: [-1, 1] */
        struct {
            int shift;       /* pixels, each way */
            double rotation; /* degrees, each way */
        } augment;
        char anomaly_classes[HT_MAX_ANOMALIES][HT_NAME_LENGTH]; /* autoencoder: test part only */
        size_t n_anomaly_classes;
        struct ht_source_position at;
    } data;
    struct {
        struct ht_layer_config layers[HT_MAX_LAYERS];
        size_t n_layers;
        char init[HT_NAME_LENGTH]; /* he xavier uniform */
        struct ht_source_position at;
    } model;
    struct {
        bool given;      /* there is a quant map; else the network is float32 */
        int start_epoch; /* float training before this epoch (0 = quantized from the start) */
        int hard_epochs; /* annealed estimators: the last n epochs round as what ships does */
        int freeze_batchnorm_epochs;         /* the last n epochs use frozen BN statistics */
        int progressive[HT_MAX_PROGRESSIVE]; /* widths before its own; see ht_experiment_stage */
        size_t n_progressive;
        int reestimate_batchnorm; /* training batches after each quantized epoch; 0: off */
        int accumulator_bits;     /* 8..31 of sums of products; 32: no limit but int32 */
        int calibration_batches;  /* before the first quantized step; 0: none */
        bool equalize, adaround, bias_correction;
        int adaround_iterations; /* of each layer */
        double dampening;        /* of oscillating weights; 0 = off */
        double freeze_threshold; /* frequency from which a weight is frozen; 0 = off */
        double freeze_momentum;  /* of that frequency's average */
        bool track_flips;        /* report how many levels change */
        struct ht_quantizer_config input, weights, activations, output; /* output.bits 32: float */
        struct ht_quant_override layers[HT_MAX_OVERRIDES];
        size_t n_layers;
        struct ht_source_position at;
    } quant;
    struct {
        int epochs; /* 0: the network of train.from as it is, calibrated */
        int batch;
        char optimizer[HT_NAME_LENGTH]; /* sgd adam adamw */
        double learning_rate, momentum;
        bool nesterov;
        double beta1, beta2, epsilon, weight_decay;
        char schedule[HT_NAME_LENGTH]; /* constant step cosine exponential */
        double warmup;                 /* epochs of linear warm-up */
        int step_epochs;               /* step: every n epochs... */
        double step_factor;            /* ...times this; exponential: per epoch times this */
        double final_learning_rate;    /* cosine: as a share of learning_rate */
        double clip_norm;              /* 0 = off: gradients scaled to this global L2 norm */
        char loss[HT_NAME_LENGTH];     /* auto cross_entropy mse bce squared_hinge */
        double label_smoothing;
        int early_stopping;        /* 0 = off: epochs without improvement on validation */
        char from[HT_PATH_LENGTH]; /* a run folder or checkpoint whose parameters to start from */
        char teacher[HT_PATH_LENGTH];     /* a run folder or checkpoint whose outputs to follow */
        double distillation, temperature; /* of the teacher: share of the loss; softness */
        struct ht_source_position at;
    } train;
    struct {
        char dir[HT_PATH_LENGTH];
        double max_minutes;        /* 0 = no limit: stop with a checkpoint after this long */
        double checkpoint_minutes; /* a checkpoint at each epoch's end, and this often */
        int threads;               /* 0 = by the size of the network */
    } run;
    struct {
        char name[HT_NAME_LENGTH];
        struct ht_source_position at;
    } variants[HT_MAX_VARIANTS];
    size_t n_variants;
};

#endif
