/* Layers, quantizers, overrides, variants: the rules across fields. */
#include "config_support.h"

#define HEAD      "name: a\ndata: {name: iris}\n"
#define TANH_BASE HEAD "model: {layers: [{dense: 8}, tanh, {dense: 3}]}\n"

Test(layers, forms)
{
    struct ht_config *c = load(HEAD "model:\n  layers:\n"
                                    "    - dropout\n"
                                    "    - {name: fc1, dense: 256, bias: false, init: xavier}\n"
                                    "    - {batchnorm: {momentum: 0.2, epsilon: 1e-3}}\n"
                                    "    - {leaky_relu: 0.1}\n"
                                    "    - {dropout: 0.25}\n"
                                    "    - {dense: {units: 5}}\n"
                                    "    - {leaky_relu: {slope: 0.3}}\n"
                                    "    - {dropout: {rate: 0}}\n"
                                    "    - dense: 3\n"
                                    "    - batchnorm: {}\n",
                               NULL, 0);
    const struct ht_layer_config *l = ht_config_experiment(c)->model.layers;
    cr_assert_eq(ht_config_experiment(c)->model.n_layers, 10);
    cr_assert_eq(l[0].rate, 0.5);
    cr_assert_str_eq(l[1].name, "fc1");
    cr_assert_eq(l[1].units, 256);
    cr_assert_not(l[1].bias);
    cr_assert_str_eq(l[1].init, "xavier");
    cr_assert_eq(l[2].momentum, 0.2);
    cr_assert_eq(l[2].epsilon, 1e-3);
    cr_assert_eq(l[3].slope, 0.1);
    cr_assert_eq(l[4].rate, 0.25);
    cr_assert_eq(l[5].units, 5);
    cr_assert_str_eq(l[5].name, "dense2");
    cr_assert_eq(l[6].slope, 0.3);
    cr_assert_eq(l[7].rate, 0);
    cr_assert_eq(l[9].momentum, 0.1);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(layers, every_activation)
{
    static const char *const kinds[] = {"relu",    "relu6", "leaky_relu", "tanh",
                                        "sigmoid", "gelu",  "batchnorm",  "dropout"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char text[256];
        snprintf(text, sizeof text, HEAD "model: {layers: [{dense: 3}, %s, {dense: 3}]}\n",
                 kinds[i]);
        struct ht_config *c = load(text, NULL, 0);
        cr_assert_str_eq(ht_config_experiment(c)->model.layers[1].kind, kinds[i]);
        ht_config_destroy(c);
    }
}

Test(layers, errors)
{
    static const struct {
        const char *layers, *message;
    } cases[] = {
        {"<>[]", "model.layers must be a list of layers, such as [{dense: 64}, relu, {dense: 10}], "
                 "found a list"},
        {"<>dense", "model.layers must be a list of layers, such as [{dense: 64}, relu, {dense: "
                    "10}], found 'dense'"},
        {"[<>dense]", "dense needs its number of units: {dense: 256}"},
        {"[<>{dense: }]", "dense needs its number of units: {dense: 256}"},
        {"[<>{dense: {bias: no}}]", "dense needs its number of units: {dense: 256}"},
        {"[{dense: <>0}]", "dense.units is 0, out of range: 1..65536"},
        {"[{dense: <>65537}]", "dense.units is 65537, out of range: 1..65536"},
        {"[{dense: <>[3]}]", "dense.units must be a whole number, found a list"},
        {"[<>dens]", "unknown layer 'dens' (did you mean 'dense'?)"},
        {"[{<>dens: 3}]", "unknown layer 'dens' (did you mean 'dense'?)"},
        {"[<>[dense]]", "model.layers must be a list of layers, such as relu or {dense: 10}, "
                        "found a list"},
        {"[{dense: 3, <>unit: 4}]", "unknown key 'unit' in dense (did you mean 'units'?)"},
        {"[{dense: 3, <>units: 4}]", "units is given twice"},
        {"[{dense: {units: 3}, <>bias: no}]", "unexpected key 'bias' beside the dense map"},
        {"[{dense: 3, <>relu: }]",
         "'relu' is a layer of its own: make it the next entry of the list"},
        {"[{dense: 3, name: <>a.b}]",
         "dense.name is 'a.b': only letters, digits and _- are allowed"},
        {"[{dense: 3, name: <>last}]", "a layer cannot be named 'last'"},
        {"[{dense: 3, name: <>output}]", "a layer cannot be named 'output'"},
        {"[{dense: 3, name: a}, {dense: 3, name: <>a}]",
         "two layers are named 'a' (the first at line 3)"},
        {"[{dense: 3, name: dense2}, <>{dense: 3}]",
         "two layers are named 'dense2' (the first at line 3)"},
        {"[{dense: 3}, {relu: <>3}, {dense: 3}]", "relu must be alone, found '3'"},
        {"[{dense: 3}, {batchnorm: <>3}, {dense: 3}]",
         "batchnorm must be a map of its settings, found '3'"},
        {"[{dense: 3}, {batchnorm: {momentum: <>0}}, {dense: 3}]",
         "batchnorm.momentum is 0, out of range: > 0 and <= 1"},
        {"[{dense: 3}, {dropout: <>1}, {dense: 3}]",
         "dropout.rate is 1, out of range: >= 0 and < 1"},
        {"[<>relu, {dense: 3}]", "the first layer must be dense (only dropout may come before it)"},
        {"[dropout, <>relu, {dense: 3}]",
         "the first layer must be dense (only dropout may come before it)"},
        {"[dropout, <>dropout, {dense: 3}]", "dropout follows another dropout"},
        {"[{dense: 3}, dropout, <>dropout, {dense: 3}]", "dropout follows another dropout"},
        {"[<>batchnorm, {dense: 3}]",
         "batchnorm must directly follow dense: only there it can be folded into integer weights"},
        {"[{dense: 3}, relu, <>batchnorm, {dense: 3}]",
         "batchnorm must directly follow dense: only there it can be folded into integer weights"},
        {"[{dense: 3}, batchnorm, <>batchnorm, {dense: 3}]",
         "batchnorm must directly follow dense: only there it can be folded into integer weights"},
        {"[{dense: 3}, relu, <>tanh, {dense: 3}]", "an activation cannot follow another one"},
        {"[{dense: 3}, dropout, <>relu, {dense: 3}]",
         "an activation cannot follow dropout: put dropout after it"},
        {"[{dense: 3}, <>relu]",
         "no activation after the last dense: the loss takes the raw outputs"},
        {"[{dense: 3}, batchnorm, <>sigmoid]",
         "no activation after the last dense: the loss takes the raw outputs"},
        {"[{dense: 3}, <>dropout]", "no dropout after the last dense: it would drop outputs"},
        {"<>[dropout]", "the network needs at least one dense layer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, HEAD "model: {layers: %s}\n", cases[i].layers);
        expect_at_mark(text, cases[i].message);
    }
}

Test(data, anomaly_classes)
{
    static const struct {
        const char *data, *message;
    } cases[] = {
        {"target: input, anomaly_classes: <>Bag",
         "data.anomaly_classes must be a list of names, such as [Bag, Sandal], found 'Bag'"},
        {"target: input, anomaly_classes: [<>[Bag]]", "a class must be a name"},
        {"target: input, anomaly_classes: [<>'']", "a class must be a name"},
        {"target: input, anomaly_classes: [a, b, <>a]", "the class 'a' is listed twice"},
        {"target: input, anomaly_classes: [<>\"a\\nb\"]",
         "the class has a control character or line break in it"},
        {"anomaly_classes: <>[a]",
         "data.anomaly_classes are found by their reconstruction error: data.target must be input "
         "(autoencoder)"},
    };
    char text[1024];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text,
                 "name: x\ndata: {name: iris, %s}\nmodel: {layers: [{dense: 3}]}\n", cases[i].data);
        expect_at_mark(text, cases[i].message);
    }
    struct ht_config *c = load("name: x\ndata: {name: iris, target: input, anomaly_classes: [3, "
                               "T-shirt/top]}\nmodel: {layers: [{dense: 4}]}\n"
                               "variants:\n  - {name: a}\n  - {name: b, data: {anomaly_classes: "
                               "[Ankle boot]}}\n",
                               NULL, 0);
    static struct ht_experiment v;
    const struct ht_experiment *e = ht_config_experiment(c);
    cr_assert_eq(e->data.n_anomaly_classes, 2);
    cr_assert_str_eq(e->data.anomaly_classes[0], "3");
    cr_assert_str_eq(e->data.anomaly_classes[1], "T-shirt/top");
    ht_config_variant(c, 1, &v);
    cr_assert_eq(v.data.n_anomaly_classes, 1);
    cr_assert_str_eq(v.data.anomaly_classes[0], "Ankle boot");
    cr_assert_str_eq(v.data.anomaly_classes[1], "");
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* What a quant map does to the weights of a tanh network. */
static void check_weights(const char *quant, int bits, const char *grid, const char *range,
                          const char *estimator)
{
    char text[512];
    snprintf(text, sizeof text, TANH_BASE "quant: {weights: %s}\n", quant);
    struct ht_config *c = load(text, NULL, 0);
    const struct ht_quantizer_config *q = &ht_config_experiment(c)->quant.weights;
    cr_assert_eq(q->bits, bits, "%s", quant);
    cr_assert_str_eq(q->grid, grid, "%s", quant);
    cr_assert_str_eq(q->range, range, "%s", quant);
    cr_assert_str_eq(q->estimator, estimator, "%s", quant);
    ht_config_destroy(c);
}

Test(quant, chosen_from_what_is_given)
{
    check_weights("{}", 8, "narrow", "learned", "lsq");
    check_weights("{bits: 1}", 1, "binary", "learned", "lsq");
    check_weights("{grid: binary}", 1, "binary", "learned", "lsq");
    check_weights("{bits: 1, grid: zero_free}", 1, "zero_free", "learned", "lsq");
    check_weights("{bits: 32, grid: zero_free}", 32, "zero_free", "learned", "lsq");
    check_weights("{range: ema}", 8, "narrow", "ema", "clipped_ste");
    check_weights("{range: learned, estimator: ste}", 8, "narrow", "learned", "ste");
    check_weights("{grid: pow2, bits: 4}", 4, "pow2", "learned", "lsq");
    check_weights("{grid: apot, bits: 5, range: min_max}", 5, "apot", "min_max", "clipped_ste");
    check_weights("{grid: ternary}", 2, "ternary", "twn", "clipped_ste");
    check_weights("{grid: ternary, estimator: ste}", 2, "ternary", "twn", "ste");
    check_weights("{grid: codebook, bits: 3}", 3, "codebook", "kmeans", "clipped_ste");
    check_weights("{estimator: lsq_plus}", 8, "narrow", "learned", "lsq_plus");
    check_weights("{estimator: dorefa, bits: 2}", 2, "narrow", "min_max", "dorefa");
    check_weights("{estimator: ewgs, range: ema}", 8, "narrow", "ema", "ewgs");
    struct ht_config *c =
        load(TANH_BASE "quant: {activations: {estimator: lsq, bits: 1}}\n", NULL, 0);
    const struct ht_quantizer_config *q = &ht_config_experiment(c)->quant.activations;
    cr_assert_str_eq(q->range, "learned");
    cr_assert_str_eq(q->grid, "binary");
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(quant, errors)
{
    static const struct {
        const char *quant, *message;
    } cases[] = {
        {"{weights: {bits: <>1, grid: narrow}}",
         "grid narrow has 2..8 bits, not 1 (grid binary has 1)"},
        {"{weights: {bits: <>1, grid: full}}",
         "grid full has 2..8 bits, not 1 (grid binary has 1)"},
        {"{activations: {bits: <>1, grid: affine}}",
         "grid affine has 2..8 bits, not 1 (grid binary has 1)"},
        {"{weights: {grid: binary, bits: <>2}}", "grid binary has 1..1 bits, not 2"},
        {"{weights: {grid: zero_free, bits: <>5}}", "grid zero_free has 1..4 bits, not 5"},
        {"{weights: {grid: <>zero_free}}", "grid zero_free has 1..4 bits, not 8"},
        {"{weights: {grid: <>full}}",
         "8-bit weights are narrow by contract, without -128: use grid narrow"},
        {"{weights: {bits: 8, grid: <>full}}",
         "8-bit weights are narrow by contract, without -128: use grid narrow"},
        {"{input: {bits: <>32}}",
         "activations have 8 bits and the input 32: where one is float, the other must be, too "
         "(without quant.input.bits it follows)"},
        {"{input: {bits: <>8}, activations: {bits: 32}}",
         "activations have 32 bits and the input 8: where one is float, the other must be, too "
         "(without quant.input.bits it follows)"},
        {"{activations: {bits: <>16}}",
         "16 bits are for weights only: activations have 1..8, or 32"},
        {"{output: {bits: <>16}}", "16 bits are for weights only: output have 1..8, or 32"},
        {"{layers: {first: {weights: {bits: <>16}}}}",
         "layer dense1: weights of 16 bits need activations of 32 bits in front of them, not 8"},
        {"{layers: {last: {weights: {bits: <>16}}}}",
         "layer dense2: weights of 16 bits need activations of 32 bits in front of them, not 8"},
        {"{activations: {bits: 32}, layers: {first: {activations: {range: <>dynamic}}}}",
         "the 32 bits of quant.activations are inherited, and float activations have no quantizer: "
         "write bits, too"},
        {"{weights: {range: <>dynamic}}",
         "range dynamic is for the input and activations, not for weights"},
        {"{output: {bits: 8, range: <>dynamic}}",
         "range dynamic is for the input and activations, not for output"},
        {"{activations: {range: dynamic, bits: 2, grid: <>zero_free}, input: {range: min_max}}",
         "range dynamic needs grid full, narrow or affine, not zero_free"},
        {"{input: {range: dynamic, estimator: <>ewgs}}",
         "range dynamic clips nothing and learns nothing: it needs estimator ste (or clipped_ste, "
         "which is the same here), not ewgs"},
        {"{input: {range: dynamic, rounding: <>stochastic}}",
         "range dynamic needs rounding nearest_even or floor, and scale real"},
        {"{input: {range: dynamic, scale: <>power_of_two}}",
         "range dynamic needs rounding nearest_even or floor, and scale real"},
        {"{activations: {granularity: <>channel}}",
         "granularity channel is for weights only: activations have one scale a tensor"},
        {"{input: {range: <>learned}}",
         "the range of the input cannot be learned: use min_max or ema"},
        {"{input: {estimator: <>lsq}}", "estimator lsq needs range learned, not min_max"},
        {"{weights: {range: ema, estimator: <>lsq}}", "estimator lsq needs range learned, not ema"},
        {"{weights: {bits: 1, rounding: <>floor}}",
         "rounding floor is not defined on grid binary: use nearest_even"},
        {"{weights: {bits: 2, grid: zero_free, rounding: <>floor}}",
         "rounding floor is not defined on grid zero_free: use nearest_even"},
        {"{weights: {bits: 4, grid: pow2, rounding: <>floor}}",
         "rounding floor is not defined on grid pow2: use nearest_even"},
        {"{weights: {grid: <>pow2}}", "grid pow2 has 2..4 bits, not 8"},
        {"{weights: {grid: pow2_zero_free, bits: <>4}}",
         "grid pow2_zero_free has 2..3 bits, not 4"},
        {"{weights: {grid: apot, bits: <>2}}", "grid apot has 3..5 bits, not 2"},
        {"{weights: {grid: ternary, bits: <>4}}", "grid ternary has 2..2 bits, not 4"},
        {"{weights: {grid: codebook, bits: <>5}}", "grid codebook has 1..4 bits, not 5"},
        {"{weights: {bits: 4, grid: <>pow}}",
         "quant.weights.grid is 'pow', not one of: full, narrow, affine, binary, zero_free, pow2, "
         "pow2_zero_free, apot, ternary, codebook (did you mean 'pow2'?)"},
        {"{weights: {bits: 4, grid: <>apto}}",
         "quant.weights.grid is 'apto', not one of: full, narrow, affine, binary, zero_free, pow2, "
         "pow2_zero_free, apot, ternary, codebook (did you mean 'apot'?)"},
        {"{activations: {bits: 4, grid: <>apot}}",
         "grid apot is for weights only: activations need grid full, narrow, affine, binary or "
         "zero_free"},
        {"{weights: {grid: ternary, range: <>learned}}",
         "grid ternary finds its scale by range twn, not learned"},
        {"{weights: {bits: 2, grid: codebook, range: <>twn}}",
         "grid codebook finds its scale by range kmeans, not twn"},
        {"{weights: {range: <>kmeans}}", "range kmeans belongs to grid codebook, not to narrow"},
        {"{activations: {range: <>twn}}", "range twn belongs to grid ternary, not to affine"},
        {"{weights: {grid: ternary, estimator: <>lsq}}",
         "estimator lsq needs range learned, not twn"},
        {"{weights: {bits: 4, grid: codebook, granularity: <>channel}}",
         "grid codebook has one table for a layer: use granularity tensor"},
        {"{weights: {granularity: <>group}}",
         "granularity group multiplies levels within int8: 8 bits leave no room for that; grid "
         "narrow has it up to 6 bits"},
        {"{weights: {group: <>32}}",
         "granularity group multiplies levels within int8: 8 bits leave no room for that; grid "
         "narrow has it up to 6 bits"},
        {"{weights: {bits: 5, grid: apot, granularity: <>group}}",
         "granularity group multiplies levels within int8: 5 bits leave no room for that; grid "
         "apot has it up to 4 bits"},
        {"{weights: {bits: 4, grid: affine, granularity: <>group}}",
         "granularity group is not for grid affine: use full, narrow, zero_free, binary, pow2, "
         "pow2_zero_free, apot or ternary"},
        {"{weights: {bits: 4, grid: codebook, granularity: <>group}}",
         "granularity group is not for grid codebook: use full, narrow, zero_free, binary, pow2, "
         "pow2_zero_free, apot or ternary"},
        {"{weights: {bits: 4, granularity: group, scale: <>power_of_two}}",
         "granularity group has scales of its own: it needs scale real"},
        {"{weights: {bits: 4, granularity: group, estimator: <>dorefa}}",
         "estimator dorefa has a fixed scale: it needs granularity tensor or channel"},
        {"{weights: {bits: 4, group: <>300}}", "quant.weights.group is 300, out of range: 8..256"},
        {"{activations: {granularity: <>group}}",
         "granularity group is for weights only: activations have one scale a tensor"},
        {"{activations: {group: <>32}}",
         "granularity group is for weights only: activations have one scale a tensor"},
        {"{layers: {last: {weights: {bits: 8, granularity: <>group}}}}",
         "granularity group multiplies levels within int8: 8 bits leave no room for that; grid "
         "narrow has it up to 6 bits"},
        {"{weights: {scale: <>power}}", "quant.weights.scale is 'power', not one of: real, "
                                        "power_of_two"},
        {"{weights: {bits: 4, grid: pow2, rounding: <>stochastic}}",
         "rounding stochastic is not defined on grid pow2: use nearest_even"},
        {"{weights: {bits: 4, grid: pow2, range: learned, estimator: <>dsq}}",
         "estimator dsq needs levels at equal distances"},
        {"{weights: {bits: 4, scale: power_of_two, estimator: <>dorefa}}",
         "estimator dorefa has a fixed scale: it needs scale real"},
        {"{weights: {estimator: <>pact}}", "estimator pact is for activations only: it clips at 0"},
        {"{weights: {estimator: <>pact, range: min_max}}",
         "estimator pact needs range learned, not min_max"},
        {"{activations: {estimator: <>pact, grid: full}}",
         "estimator pact has no values below 0: it needs grid affine"},
        {"{activations: {estimator: <>lsq_plus, grid: full}}",
         "estimator lsq_plus learns an offset: of activations it needs grid affine"},
        {"{activations: {estimator: <>lsq_plus, range: ema}}",
         "estimator lsq_plus needs range learned, not ema"},
        {"{weights: {range: learned, bits: 2, estimator: <>dorefa}}",
         "estimator dorefa needs range min_max, not learned"},
        {"{weights: {bits: 1, estimator: <>dorefa}}",
         "estimator dorefa has no transform at 1 bit: its formula is estimator ste with range "
         "min_max"},
        {"{weights: {bits: 2, grid: affine, estimator: <>dorefa}}",
         "estimator dorefa needs weights on a symmetric grid"},
        {"{input: {estimator: <>dorefa}}",
         "estimator dorefa is not for the input, whose range is known"},
        {"{weights: {rounding: floor, estimator: <>dsq}}",
         "estimator dsq needs rounding to the nearest level, not floor"},
        {"{weights: {bits: 2, estimator: <>dorefa}, dampening: 0.1}",
         "quant.dampening is not defined for estimator dorefa: its bins are of transformed "
         "weights"},
        {"{weights: {bits: 2, range: <>ema}, freeze_threshold: 0.1}",
         "quant.freeze_threshold needs weights of range learned, not ema: other scales move with "
         "the weights"},
        {"{activations: {estimator: <>parq}}",
         "estimator parq is for weights only: it is a regularization of parameters"},
        {"{activations: {range: learned, estimator: <>prox}}",
         "estimator prox is for weights only: it is a regularization of parameters"},
        {"{weights: {range: ema, estimator: <>prox}}",
         "estimator prox needs range learned, not ema"},
        {"{input: {estimator: <>quantization_networks}}",
         "estimator quantization_networks is not for the input, which nothing in front of it could "
         "learn from"},
        {"{activations: {bits: 4, rounding: floor, estimator: <>quantization_networks}}",
         "estimator quantization_networks needs rounding to the nearest level, not floor"},
        {"{activations: {range: learned, estimator: ewgs, delta_epochs: <>2}}",
         "delta_epochs is for weights only: activations are no parameters whose Hessian could be "
         "sampled"},
        {"{weights: {strength: <>0}}", "quant.weights.strength is 0, out of range: > 0 and <= 1"},
        {"{weights: {temperature: <>0}}",
         "quant.weights.temperature is 0, out of range: > 0 and <= 1000"},
        {"{output: {bits: 8, estimator: quantization_networks}, hard_epochs: <>30}",
         "quant.hard_epochs 30 leaves no epoch to an estimator that is annealed: train.epochs is "
         "20, quant.start_epoch 0"},
        {"{weights: {estimator: <>parq, rounding: floor}}",
         "estimator parq needs rounding to the nearest level, not floor"},
        {"{weights: {estimator: <>parq, rounding: stochastic}}",
         "estimator parq needs rounding to the nearest level, not stochastic"},
        {"{weights: {bits: 4, grid: apot, estimator: <>parq}}",
         "estimator parq needs levels at equal distances"},
        {"{weights: {steepness: <>0}}", "quant.weights.steepness is 0, out of range: > 0 and <= "
                                        "1000"},
        {"{weights: {estimator: parq}, start_epoch: 5, hard_epochs: <>15}",
         "quant.hard_epochs 15 leaves no epoch to an estimator that is annealed: train.epochs is "
         "20, quant.start_epoch 5"},
        {"{layers: {dense2: {weights: {estimator: parq}}}, hard_epochs: <>20}",
         "quant.hard_epochs 20 leaves no epoch to an estimator that is annealed: train.epochs is "
         "20, quant.start_epoch 0"},
        {"{hard_epochs: <>0}", "quant.hard_epochs is 0, out of range: 1..100000"},
        {"{accumulator_bits: 16, activations: {estimator: <>a2q, range: ema}}",
         "estimator a2q needs range learned, not ema"},
        {"{accumulator_bits: 16, activations: {range: learned, estimator: <>a2q}}",
         "estimator a2q is for weights only"},
        {"{weights: {estimator: <>a2q}}",
         "estimator a2q needs quant.accumulator_bits: the width that sums must fit"},
        {"{accumulator_bits: 16, weights: {estimator: <>a2q, grid: affine}}",
         "estimator a2q needs grid narrow or full"},
        {"{accumulator_bits: 16, weights: {estimator: <>a2q, granularity: tensor}}",
         "estimator a2q needs granularity channel: each neuron has its own accumulator"},
        {"{accumulator_bits: 16, weights: {estimator: <>a2q, rounding: floor}}",
         "estimator a2q has its own rounding, toward zero: leave rounding at nearest_even"},
        {"{accumulator_bits: 16, weights: {estimator: <>a2q, scale: power_of_two}}",
         "estimator a2q needs scale real"},
        {"{accumulator_bits: 16, weights: {estimator: <>a2q}, dampening: 0.1}",
         "estimator a2q normalizes its weights: quant.dampening and quant.freeze_threshold are not "
         "for it"},
        {"{accumulator_bits: <>7}", "quant.accumulator_bits is 7, out of range: 8..31, or 32"},
        {"{reestimate_batchnorm: <>5}", "quant.reestimate_batchnorm: no layer has batchnorm"},
        {"{progressive: <>8}",
         "quant.progressive must be a list of widths, such as [8, 4], found '8'"},
        {"{progressive: [8, <>9]}", "quant.progressive.width is 9, out of range: 1..8"},
        {"{progressive: [8, <>x]}", "quant.progressive.width must be a whole number, found 'x'"},
        {"{progressive: [4, <>8]}", "quant.progressive goes down: 8 after 4"},
        {"{progressive: [4, <>4]}", "quant.progressive goes down: 4 after 4"},
        {"{weights: {bits: 2, estimator: parq}, progressive: [<>8]}",
         "quant.progressive is not for an estimator that is annealed: that goes over the whole "
         "training"},
        {"{weights: {bits: 2}, progressive: [<>8, 4], start_epoch: 18}",
         "quant.progressive makes 3 stages, but there are 2 quantized epochs"},
        {"{weights: {softness: <>1}}", "quant.weights.softness is 1, out of range: > 0 and < 1"},
        {"{layers: {last: {weights: {estimator: <>pact}}}}",
         "estimator pact is for activations only: it clips at 0"},
        {"{output: {bits: 4, rounding: <>flor}}",
         "quant.output.rounding is 'flor', not one of: "
         "nearest_even, floor, stochastic (did you mean 'floor'?)"},
        {"{layers: <>[first]}",
         "quant.layers must be a map, such as {first: {weights: {bits: 8}}}, found a list"},
        {"{layers: {first: <>8}}",
         "quant.layers.first must be a map with weights or activations, found '8'"},
        {"{layers: {first: {<>weight: {bits: 8}}}}",
         "unknown key 'weight' in quant.layers.first (did you mean 'weights'?)"},
        {"{layers: {<>frist: {weights: {bits: 8}}}}",
         "unknown layer 'frist' in quant.layers (did you mean 'first'?)"},
        {"{layers: {<>dense3: {weights: {bits: 8}}}}",
         "unknown layer 'dense3' in quant.layers (did you mean 'dense1'?)"},
        {"{layers: {<>hidden: {weights: {bits: 8}}}}",
         "unknown layer 'hidden' in quant.layers; allowed: first, last, dense1, dense2"},
        {"{layers: {last: {weights: {bits: <>32}}}}",
         "a float32 layer inside a quantized network is not supported: use 8, or 16 where "
         "activations are float"},
        {"{layers: {last: {weights: {grid: <>zero_free}}}}", "grid zero_free has 1..4 bits, not 8"},
        {"{weights: {bits: 2, grid: full}, layers: {last: {weights: {bits: <>8}}}}",
         "8-bit weights are narrow by contract, without -128: use grid narrow"},
        {"{layers: {last: {activations: {granularity: <>channel}}}}",
         "granularity channel is for weights only: activations have one scale a tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, TANH_BASE "quant: %s\n", cases[i].quant);
        expect_at_mark(text, cases[i].message);
    }
}

#define ADAROUND_GRIDS                                                                             \
    "quant.adaround chooses between the two levels next to a weight: not with grid ternary or "    \
    "codebook, granularity group, estimator dorefa or rounding floor"

/* Post-training quantization, and what is done to a network before it. */
/* No quantizer is narrower than the stage; grids that lack the width make way. */
Test(quant, stages)
{
    static const char text[] =
        HEAD "model: {layers: [{dense: 9}, {dense: 8}, {dense: 7}, {dense: 3}]}\n"
             "train: {epochs: 11}\n"
             "quant:\n  progressive: [8, 5, 2]\n  start_epoch: 1\n"
             "  weights: {bits: 2, grid: ternary}\n  activations: {bits: 4}\n"
             "  layers: {first: {weights: {bits: 6, grid: full}}, dense2: {weights: {bits: 1}}, "
             "dense3: {activations: {bits: 2}}}\n";
    static const struct {
        int start, weights, activations, first, second, third;
        const char *grid, *range, *second_grid;
    } expected[] = {{0, 8, 8, 8, 8, 8, "narrow", "learned", "narrow"},
                    {4, 5, 5, 6, 5, 5, "narrow", "learned", "narrow"},
                    {7, 2, 4, 6, 1, 2, "ternary", "twn", "binary"}};
    struct ht_config *c = load(text, NULL, 0);
    const struct ht_experiment *e = ht_config_experiment(c);
    struct ht_experiment *stage = malloc(sizeof *stage);
    struct ht_error err = {0};
    struct ht_text printed = {0};
    cr_assert_eq(ht_experiment_stages(e), 3); /* 2 is what it has itself */
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(ht_experiment_stage(stage, e, i, &err), HT_OK, "%s", err.msg);
        cr_assert_eq(ht_experiment_stage_start(e, i), expected[i].start);
        cr_assert_eq(stage->quant.weights.bits, expected[i].weights);
        cr_assert_eq(stage->quant.activations.bits, expected[i].activations);
        cr_assert_str_eq(stage->quant.weights.grid, expected[i].grid);
        cr_assert_str_eq(stage->quant.weights.range, expected[i].range);
        cr_assert_eq(ht_experiment_weights(stage, 0)->bits, expected[i].first);
        cr_assert_str_eq(ht_experiment_weights(stage, 0)->grid, i == 0 ? "narrow" : "full");
        cr_assert_eq(ht_experiment_weights(stage, 1)->bits, expected[i].second);
        cr_assert_str_eq(ht_experiment_weights(stage, 1)->grid, expected[i].second_grid);
        cr_assert_eq(ht_experiment_activations(stage, 2)->bits, expected[i].third);
        cr_assert_eq(ht_experiment_stage_at(e, expected[i].start), i);
        cr_assert(i == 0 || ht_experiment_stage_at(e, expected[i].start - 1) == i - 1);
    }
    cr_assert_eq(ht_experiment_stage_start(e, 3), 11);
    ht_experiment_print(e, &printed);
    cr_assert_not_null(strstr(ht_text_str(&printed), "  progressive: [8, 5, 2]\n"));
    ht_text_finish(&printed);
    /* A sweep over widths has the stages that are wider. */
    *stage = *e;
    cr_assert_eq(ht_experiment_set(stage, "quant.weights.bits", "8", &err), HT_OK, "%s", err.msg);
    cr_assert_eq(ht_experiment_stages(stage), 3); /* of the activations, 4 */
    cr_assert_eq(ht_experiment_set(stage, "quant.activations.bits", "8", &err), HT_OK);
    cr_assert_eq(ht_experiment_stages(stage), 1);
    cr_assert_eq(ht_experiment_set(stage, "quant.weights.bits", "32", &err), HT_OK);
    cr_assert_eq(ht_experiment_stages(stage), 1);
    free(stage);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Weights know of narrow accumulators wherever that is possible and nothing else was asked for. */
Test(quant, accumulators_choose_the_estimator)
{
    static const struct {
        const char *quant, *estimator;
    } cases[] = {
        {"{weights: {bits: 4}}", "lsq"},
        {"{accumulator_bits: 16, weights: {bits: 4}}", "a2q"},
        {"{accumulator_bits: 16, weights: {bits: 4, grid: full}}", "a2q"},
        {"{accumulator_bits: 16, weights: {bits: 4, estimator: lsq}}", "lsq"},
        {"{accumulator_bits: 16, weights: {bits: 4, granularity: tensor}}", "lsq"},
        {"{accumulator_bits: 16, weights: {bits: 1}}", "lsq"},
        {"{accumulator_bits: 16, weights: {bits: 4, range: ema}}", "clipped_ste"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        struct ht_experiment e;
        struct ht_error err = {0};
        snprintf(text, sizeof text, TANH_BASE "quant: %s\n", cases[i].quant);
        struct ht_config *c = load(text, NULL, 0);
        e = *ht_config_experiment(c);
        cr_assert_str_eq(e.quant.weights.estimator, cases[i].estimator, "%s", cases[i].quant);
        if (i == 1) { /* widths that it does not have, and back */
            cr_assert_eq(ht_experiment_set(&e, "quant.weights.bits", "1", &err), HT_OK, "%s",
                         err.msg);
            cr_assert_str_eq(e.quant.weights.estimator, "lsq");
            cr_assert_eq(ht_experiment_set(&e, "quant.weights.bits", "8", &err), HT_OK);
            cr_assert_str_eq(e.quant.weights.estimator, "a2q");
        }
        ht_config_destroy(c);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(quant, calibration)
{
    static const struct {
        const char *layers, *rest, *message;
    } cases[] = {
        {"[{dense: 8}, relu, {dense: 3}]", "train: {epochs: <>0}\n",
         "train.epochs 0 takes a network that is trained: train.from must say which"},
        {"[{dense: 8}, relu, {dense: 3}]",
         "quant: {calibration_batches: 8}\ntrain: {epochs: <>0}\n",
         "train.epochs 0 takes a network that is trained: train.from must say which"},
        {"[{dense: 8}, relu, {dense: 3}]", "quant: {}\ntrain: {epochs: <>0, from: runs/a}\n",
         "train.epochs 0 finds all ranges by calibration: quant.calibration_batches must be at "
         "least 1"},
        {"[{dense: 8}, relu, {dense: 3}]", "quant: {equalize: <>true}\n",
         "quant.equalize is for a trained network that is quantized from the start: it needs "
         "train.from, and quant.start_epoch 0"},
        {"[{dense: 8}, relu, {dense: 3}]",
         "quant: {equalize: <>true, start_epoch: 2}\ntrain: {from: runs/a}\n",
         "quant.equalize is for a trained network that is quantized from the start: it needs "
         "train.from, and quant.start_epoch 0"},
        {"[{dense: 8}, relu, {dense: 3}]",
         "quant: {bias_correction: <>true, calibration_batches: 4}\n",
         "quant.bias_correction is for a trained network that is quantized from the start: it "
         "needs train.from, and quant.start_epoch 0"},
        {"[{dense: 8}, relu, {dense: 3}]",
         "quant: {bias_correction: <>true}\ntrain: {from: runs/a}\n",
         "quant.bias_correction measures on the calibration batches: quant.calibration_batches "
         "must be at least 1"},
        {"[{dense: 8, bias: false, name: h}, relu, {dense: 3}]",
         "quant: {bias_correction: <>true, calibration_batches: 4}\ntrain: {from: runs/a}\n",
         "quant.bias_correction: layer h has no bias"},
        {"[{dense: 8}, relu, {dense: 3}]", "quant: {adaround: <>true, calibration_batches: 4}\n",
         "quant.adaround is for a trained network that is quantized from the start: it needs "
         "train.from, and quant.start_epoch 0"},
        {"[{dense: 8}, relu, {dense: 3}]", "quant: {adaround: <>true}\ntrain: {from: runs/a}\n",
         "quant.adaround measures on the calibration batches: quant.calibration_batches must be "
         "at least 1"},
        {"[{dense: 8}, relu, {dense: 3}]",
         "quant: {adaround: true, calibration_batches: 4, weights: {grid: <>codebook, bits: 2}}\n"
         "train: {from: runs/a}\n",
         ADAROUND_GRIDS},
        {"[{dense: 8}, relu, {dense: 3}]",
         "quant: {adaround: true, calibration_batches: 4, layers: {last: {weights: {grid: "
         "<>ternary}}}}\ntrain: {from: runs/a}\n",
         ADAROUND_GRIDS},
        {"[{dense: 8}, relu, {dense: 3}]",
         "quant: {adaround: true, calibration_batches: 4, weights: {range: min_max, estimator: "
         "<>dorefa}}\ntrain: {from: runs/a}\n",
         ADAROUND_GRIDS},
        {"[{dense: 8}, relu, {dense: 3}]",
         "quant: {adaround: true, calibration_batches: 4, weights: {rounding: floor, grid: "
         "<>full, bits: 4}}\ntrain: {from: runs/a}\n",
         ADAROUND_GRIDS},
        {"[{dense: 8}, tanh, dropout, {dense: 3}]",
         "quant: {equalize: <>true}\ntrain: {from: runs/a}\n",
         "quant.equalize moves factors through activations, which tanh does not let pass: only "
         "relu, leaky_relu or nothing between layers"},
        {"[{dense: 3}]", "quant: {equalize: <>true}\ntrain: {from: runs/a}\n",
         "quant.equalize needs two dense layers or more"},
    };
    char text[1024];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, HEAD "model: {layers: %s}\n%s", cases[i].layers, cases[i].rest);
        expect_at_mark(text, cases[i].message);
    }
    struct ht_config *c = load(
        HEAD "model: {layers: [{dropout: 0.1}, {dense: 8, bias: false}, batchnorm, leaky_relu, "
             "{dense: 4}, {dense: 3}]}\n"
             "quant: {calibration_batches: 9, equalize: true, bias_correction: true, "
             "adaround: true, adaround_iterations: 77, "
             "activations: {range: percentile, percentile: 99.9}}\n"
             "train: {epochs: 0, from: runs/a}\n",
        NULL, 0);
    const struct ht_experiment *e = ht_config_experiment(c);
    cr_assert_eq(e->train.epochs, 0);
    cr_assert_eq(e->quant.calibration_batches, 9);
    cr_assert(e->quant.equalize && e->quant.bias_correction && e->quant.adaround);
    cr_assert_eq(e->quant.adaround_iterations, 77);
    cr_assert_eq(e->quant.activations.percentile, 99.9);
    cr_assert_eq(e->quant.weights.percentile, 99.99);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* What a quant map makes of input and activations; bits of the weights, and that it survives
 * printing. */
static void check_modes(const char *quant, int weight_bits, int bits, const char *range,
                        int input_bits, const char *input_range)
{
    char text[512];
    snprintf(text, sizeof text, TANH_BASE "quant: %s\n", quant);
    struct ht_config *c = load(text, NULL, 0);
    const struct ht_experiment *e = ht_config_experiment(c);
    cr_assert_eq(e->quant.weights.bits, weight_bits, "%s", quant);
    cr_assert_eq(e->quant.activations.bits, bits, "%s", quant);
    cr_assert_eq(e->quant.input.bits, input_bits, "%s: %d", quant, e->quant.input.bits);
    cr_assert_str_eq(e->quant.activations.range, range, "%s", quant);
    cr_assert_str_eq(e->quant.input.range, input_range, "%s", quant);
    check_round_trip(e);
    ht_config_destroy(c);
}

Test(quant, modes)
{
    check_modes("{}", 8, 8, "ema", 8, "min_max");
    check_modes("{activations: {bits: 32}}", 8, 32, "ema", 32, "min_max");
    check_modes("{weights: {bits: 2}, input: {bits: 32}, activations: {bits: 32}}", 2, 32, "ema",
                32, "min_max");
    check_modes("{weights: {bits: 16}}", 16, 32, "ema", 32, "min_max");
    check_modes("{weights: {bits: 16}, activations: {bits: 8}, input: {bits: 8}}", 16, 32, "ema",
                32, "min_max");
    check_modes("{activations: {range: dynamic, bits: 4}}", 8, 4, "dynamic", 8, "dynamic");
    check_modes("{activations: {range: dynamic}, input: {range: min_max}}", 8, 8, "dynamic", 8,
                "min_max");
    check_modes("{input: {range: dynamic}}", 8, 8, "ema", 8, "dynamic");
    check_modes("{activations: {range: dynamic, estimator: clipped_ste}}", 8, 8, "dynamic", 8,
                "dynamic");
    /* A sweep over the weights changes nothing else, but to 16 bits and back. */
    struct ht_config *c = load(
        TANH_BASE "quant: {activations: {range: dynamic}, input: {range: min_max}}\n", NULL, 0);
    struct ht_experiment *e = copy_experiment(ht_config_experiment(c));
    struct ht_error err = {0};
    ASSERT_OK(ht_experiment_set(e, "quant.weights.bits", "4", &err), err);
    cr_assert_str_eq(e->quant.input.range, "min_max");
    cr_assert_str_eq(e->quant.activations.range, "dynamic");
    ASSERT_OK(ht_experiment_set(e, "quant.weights.bits", "16", &err), err);
    cr_assert_eq(e->quant.input.bits, 32);
    cr_assert_eq(e->quant.activations.bits, 32);
    ht_free(e);
    ht_config_destroy(c);
    /* Layers of several modes, told one by one. */
    c = load(TANH_BASE "quant: {activations: {bits: 32}, layers: {first: {weights: {bits: 16}, "
                       "activations: {bits: 4, range: dynamic}}}}\n",
             NULL, 0);
    cr_assert_eq(ht_experiment_weights(ht_config_experiment(c), 0)->bits, 16);
    cr_assert_str_eq(ht_experiment_activations(ht_config_experiment(c), 0)->range, "dynamic");
    ht_config_destroy(c);
    /* There is nothing to calibrate. */
    for (int i = 0; i < 3; i++) {
        static const char *const quants[] = {"{activations: {bits: 32}}", "{weights: {bits: 16}}",
                                             "{activations: {range: dynamic}}"};
        char text[512];
        snprintf(text, sizeof text, TANH_BASE "quant: %s\ntrain: {epochs: 0, from: runs/a}\n",
                 quants[i]);
        ht_config_destroy(load(text, NULL, 0));
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(quant, relu_on_symmetric_levels)
{
    expect_at_mark(BASE "quant: {activations: {bits: 2, grid: <>zero_free}}\n",
                   "activations on grid zero_free after relu: relu leaves the negative levels "
                   "unused: use grid affine, or remove relu");
    expect_at_mark(BASE "quant: {activations: {bits: <>1}}\n",
                   "activations on grid binary after relu: relu leaves the negative levels unused: "
                   "use grid affine, or remove relu");
    expect_at_mark(HEAD "model: {layers: [{dense: 3}, batchnorm, relu6, {dense: 3}]}\n"
                        "quant: {layers: {dense1: {activations: {bits: <>1}}}}\n",
                   "activations on grid binary after relu6: relu6 leaves the negative levels "
                   "unused: use grid affine, or remove relu6");
    /* The last layer has no activation; a float32 network has no levels. */
    ht_config_destroy(load(BASE "quant: {layers: {last: {activations: {bits: 1}}}}\n", NULL, 0));
    ht_config_destroy(load(BASE "quant: {weights: {bits: 32}, activations: {bits: 1}}\n", NULL, 0));
}

Test(quant, overrides_inherit)
{
    struct ht_config *c =
        load(TANH_BASE "quant:\n  weights: {bits: 3, grid: full, rounding: floor}\n"
                       "  activations: {bits: 5, momentum: 0.5}\n"
                       "  layers:\n    dense1: {weights: {range: ema}, activations: {bits: 1}}\n"
                       "    first: {weights: {bits: 7}}\n"
                       "    last: {weights: {bits: 4}}\n",
             NULL, 0);
    const struct ht_experiment *e = ht_config_experiment(c);
    const struct ht_quant_override *o = &e->quant.layers[0];
    cr_assert_str_eq(o->layer, "dense1");
    cr_assert_eq(o->weights.bits, 3);
    cr_assert_str_eq(o->weights.grid, "full");
    cr_assert_str_eq(o->weights.rounding, "floor");
    cr_assert_str_eq(o->weights.range, "ema");
    cr_assert_str_eq(o->weights.estimator, "clipped_ste");
    cr_assert_eq(o->weights_set, 1u << 2 | 1u << 3); /* range given, estimator chosen for it */
    cr_assert_eq(o->activations.bits, 1);
    cr_assert_str_eq(o->activations.grid, "binary");
    cr_assert_eq(o->activations.momentum, 0.5);
    cr_assert_eq(o->activations_set, 1u << 0 | 1u << 1);
    cr_assert_eq(e->quant.layers[1].activations_set, 0);
    /* By name before `first`; what a name does not have comes from `first`. */
    cr_assert_eq(ht_experiment_weights(e, 0)->bits, 3);
    cr_assert_eq(ht_experiment_weights(e, 1)->bits, 4);
    cr_assert_eq(ht_experiment_activations(e, 0)->bits, 1);
    cr_assert_eq(ht_experiment_activations(e, 1)->bits, 5);
    check_round_trip(e);
    ht_config_destroy(c);
    /* A base of 1 bit, and a layer with 8: the layer does not inherit the binary grid. */
    c = load(TANH_BASE "quant: {weights: {bits: 1}, layers: {first: {weights: {bits: 8}}}}\n", NULL,
             0);
    cr_assert_str_eq(ht_experiment_weights(ht_config_experiment(c), 0)->grid, "narrow");
    cr_assert_str_eq(ht_experiment_weights(ht_config_experiment(c), 1)->grid, "binary");
    ht_config_destroy(c);
    /* Nor a table, and its own range goes with it. */
    c = load(TANH_BASE
             "quant: {weights: {grid: ternary}, layers: {first: {weights: {bits: 8}}, last: "
             "{weights: {grid: codebook, bits: 4}}}}\n",
             NULL, 0);
    const struct ht_quantizer_config *first = ht_experiment_weights(ht_config_experiment(c), 0);
    const struct ht_quantizer_config *second = ht_experiment_weights(ht_config_experiment(c), 1);
    cr_assert_str_eq(first->grid, "narrow");
    cr_assert_str_eq(first->range, "learned");
    cr_assert_str_eq(first->estimator, "lsq");
    cr_assert_str_eq(second->range, "kmeans");
    cr_assert_str_eq(second->granularity, "tensor");
    check_round_trip(ht_config_experiment(c));
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Groups end where a layer's bits leave no room for their scales, and with the bits of a sweep. */
Test(quant, groups_are_inherited_where_there_is_room)
{
    struct ht_error err = {0};
    struct ht_config *c =
        load(TANH_BASE "quant: {weights: {bits: 4, group: 32}, layers: {first: {weights: {bits: "
                       "8}}, last: {weights: {bits: 6, group: 128}}}}\n",
             NULL, 0);
    struct ht_experiment e = *ht_config_experiment(c);
    cr_assert_str_eq(e.quant.weights.granularity, "group");
    cr_assert_eq(e.quant.weights.group, 32);
    cr_assert_str_eq(ht_experiment_weights(&e, 0)->granularity, "channel");
    cr_assert_str_eq(ht_experiment_weights(&e, 1)->granularity, "group");
    cr_assert_eq(ht_experiment_weights(&e, 1)->group, 128);
    check_round_trip(&e);
    ASSERT_OK(ht_experiment_set(&e, "quant.weights.bits", "8", &err), err);
    cr_assert_str_eq(e.quant.weights.granularity, "channel");
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(variants, merge)
{
    struct ht_config *c = load(
        BASE
        "quant: {weights: {bits: 1}, layers: {first: {weights: {bits: 8}}}}\n"
        "variants:\n"
        "  - {name: four, quant: {weights: {bits: 4}}, seed: 7}\n"
        "  - {name: float, quant: null}\n"
        "  - {name: small, model: {layers: [{dense: 3}]}, train: {epochs: 1}}\n"
        "  - {name: plain, quant: {layers: null, weights: {grid: affine, bits: 3}}}\n"
        "  - {name: more, quant: {layers: {last: {weights: {bits: 2}}}}, data: {name: wine}}\n",
        NULL, 0);
    const struct ht_experiment *e = ht_config_experiment(c);
    struct ht_experiment *v = copy_experiment(e);
    cr_assert_eq(e->n_variants, 5);
    cr_assert_str_eq(e->variants[4].name, "more");
    cr_assert_eq(e->variants[1].at.line, 7);
    cr_assert_str_eq(e->quant.weights.grid, "binary");
    ht_config_variant(c, 0, v);
    cr_assert_eq(v->quant.weights.bits, 4);
    cr_assert_str_eq(v->quant.weights.grid, "narrow"); /* not the base's automatic binary */
    cr_assert_eq(v->seed, 7);
    check_round_trip(v);
    ht_config_variant(c, 1, v);
    cr_assert_not(v->quant.given);
    cr_assert_eq(v->quant.weights.bits, 8);
    cr_assert_eq(v->quant.n_layers, 0);
    check_round_trip(v);
    ht_config_variant(c, 2, v);
    cr_assert_eq(v->model.n_layers, 1);
    cr_assert_eq(v->train.epochs, 1);
    cr_assert_str_empty(v->model.layers[1].kind);
    check_round_trip(v);
    ht_config_variant(c, 3, v);
    cr_assert_eq(v->quant.n_layers, 0);
    cr_assert_str_eq(v->quant.weights.grid, "affine");
    check_round_trip(v);
    ht_config_variant(c, 4, v);
    cr_assert_eq(v->quant.n_layers, 2);
    cr_assert_str_eq(v->data.name, "wine");
    cr_assert_eq(ht_experiment_weights(v, 1)->bits, 2);
    check_round_trip(v);
    ht_free(v);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* What base or another variant chose automatically, or wrote, must not stick. */
Test(variants, are_independent)
{
    const char *argument = "quant.weights.bits=1";
    struct ht_config *c =
        load(TANH_BASE "quant: {weights: {grid: binary}}\n"
                       "variants:\n"
                       "  - {name: a, quant: {weights: {grid: narrow}}}\n"
                       "  - {name: b, quant: {weights: {grid: affine, bits: 3}}}\n"
                       "  - {name: c}\n",
             NULL, 0);
    struct ht_experiment *v = copy_experiment(ht_config_experiment(c));
    cr_assert_eq(v->quant.weights.bits, 1);
    ht_config_variant(c, 0, v);
    cr_assert_eq(v->quant.weights.bits, 8);
    ht_config_variant(c, 2, v);
    cr_assert_eq(v->quant.weights.bits, 1);
    cr_assert_str_eq(v->quant.weights.grid, "binary");
    ht_config_destroy(c);
    /* `quant: null` also takes back that a grid was written. */
    c = load(TANH_BASE "variants:\n  - {name: a, quant: {weights: {grid: zero_free, bits: 2}}}\n"
                       "  - {name: b, quant: null}\n",
             &argument, 1);
    ht_config_variant(c, 0, v);
    cr_assert_str_eq(v->quant.weights.grid, "zero_free");
    ht_config_variant(c, 1, v);
    cr_assert_str_eq(v->quant.weights.grid, "binary");
    ht_config_destroy(c);
    c = load(TANH_BASE "quant: {weights: {grid: zero_free, bits: 2}}\n"
                       "variants: [{name: b, quant: null}]\n",
             &argument, 1);
    ht_config_variant(c, 0, v);
    cr_assert_str_eq(v->quant.weights.grid, "binary");
    ht_config_destroy(c);
    ht_free(v);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(variants, errors)
{
    static const struct {
        const char *variants, *message;
    } cases[] = {
        {"<>3", "variants must be a list of maps, such as [{name: small, ...}], found '3'"},
        {"[<>x]", "variants must be a list of maps, each with a name, found 'x'"},
        {"[<>{seed: 3}]", "a variant needs a name"},
        {"[{name: <>a/b}]", "variants.name is 'a/b': only letters, digits and ._- are allowed"},
        {"[{name: a}, {name: <>a}]", "two variants are named 'a' (the first at line 4)"},
        {"[{name: a, <>run: {}}]", "'run' cannot be changed by a variant, in variant 'a'"},
        {"[{name: a, <>variants: []}]",
         "'variants' cannot be changed by a variant, in variant 'a'"},
        {"[{name: a, <>tarin: {}}]", "unknown key 'tarin' (did you mean 'train'?), in variant 'a'"},
        {"[{name: a, quant: {weights: {bits: <>1, grid: full}}}]",
         "grid full has 2..8 bits, not 1 (grid binary has 1), in variant 'a'"},
        {"[{name: a, model: {layers: [<>relu, {dense: 3}]}}]",
         "the first layer must be dense (only dropout may come before it), in variant 'a'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, BASE "variants: %s\n", cases[i].variants);
        expect_at_mark(text, cases[i].message);
    }
    /* A fault of the base is said once, not once more for each variant. */
    expect_at_mark(BASE "quant: {weights: {bits: <>1, grid: full}}\n"
                        "variants: [{name: a}, {name: b, seed: 3}]\n",
                   "grid full has 2..8 bits, not 1 (grid binary has 1)");
    /* A variant that takes away the layer an override is for: at the override. */
    expect_at_mark(BASE "quant: {layers: {<>dense2: {weights: {bits: 4}}}}\n"
                        "variants: [{name: a, model: {layers: [{dense: 3}]}}]\n",
                   "unknown layer 'dense2' in quant.layers (did you mean 'dense1'?), in variant "
                   "'a'");
}

/* Sets one field of a copy, as `compare --bits` does. */
static void set(struct ht_experiment *e, const char *key, const char *value)
{
    struct ht_error err = {0};
    ASSERT_OK(ht_experiment_set(e, key, value, &err), err);
    check_round_trip(e);
}

Test(set, sweep_over_widths)
{
    struct ht_config *c = load(good, NULL, 0);
    struct ht_experiment *e = copy_experiment(ht_config_experiment(c));
    set(e, "quant.weights.bits", "1");
    cr_assert_str_eq(e->quant.weights.grid, "binary"); /* although narrow was explicit */
    cr_assert_eq(e->quant.layers[0].weights.bits, 8);
    cr_assert_str_eq(e->quant.layers[0].weights.grid, "narrow");
    set(e, "quant.weights.bits", "4");
    cr_assert_str_eq(e->quant.weights.grid, "narrow");
    set(e, "quant.weights.bits", "32");
    set(e, "quant.weights.bits", "2");
    cr_assert_eq(e->quant.weights.bits, 2);
    set(e, "quant.weights.grid", "binary");
    cr_assert_eq(e->quant.weights.bits, 1);
    set(e, "quant.layers.dense2.weights.bits", "3");
    cr_assert_eq(ht_experiment_weights(e, 1)->bits, 3);
    set(e, "train.epochs", "7");
    cr_assert_eq(e->train.epochs, 7);
    set(e, "quant", "null");
    cr_assert_not(e->quant.given);
    set(e, "quant.weights.bits", "3"); /* makes a quant map */
    cr_assert(e->quant.given);
    cr_assert_eq(e->quant.weights.bits, 3);
    ht_free(e);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(set, failure_changes_nothing)
{
    struct ht_config *c = load(good, NULL, 0);
    struct ht_experiment *e = copy_experiment(ht_config_experiment(c));
    static const struct {
        const char *key, *value, *message;
    } cases[] = {
        {"quant.weights.bits", "9",
         "argument 'quant.weights.bits=9': quant.weights.bits is 9, out of range: 1..8, 16, or 32"},
        {"quant.activations.bits", "1",
         "argument 'quant.activations.bits=1': activations on grid binary after relu: relu leaves "
         "the negative levels unused: use grid affine, or remove relu"},
        {"quant.weights.grid", "full",
         "argument 'quant.weights.grid=full': 8-bit weights are narrow by contract, without -128: "
         "use grid narrow"},
        {"train.epoch", "9",
         "argument 'train.epoch=9': unknown key 'epoch' in train (did you mean 'epochs'?)"},
        {"model.layers", "relu",
         "argument 'model.layers=relu': model.layers is a list: lists cannot be set by an "
         "argument, edit the file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ht_error err = {0};
        cr_assert_eq(ht_experiment_set(e, cases[i].key, cases[i].value, &err), HT_ERR_CONFIG);
        cr_assert_str_eq(err.msg, cases[i].message);
        cr_assert_eq(memcmp(e, ht_config_experiment(c), sizeof *e), 0);
    }
    ht_free(e);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}
