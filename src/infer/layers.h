/* Private to src/infer: a model made ready for the kernels. */
#ifndef HT_INFER_LAYERS_H
#define HT_INFER_LAYERS_H

#include "autograd/activation.h"
#include "infer/runtime.h"

struct ht_runtime_layer {
    struct ht_kernel_weights weights;
    int16_t level[256];  /* of each code */
    int32_t *zero_point; /* [out] or NULL: one for each output, as kernels want it */
    void *packed;
    size_t bytes;  /* of packed */
    int32_t *init; /* [out]: bias - z_a * sum_k (w - z_w) */
    struct ht_kernel_quantizer quantizer;
    enum ht_qoutput_kind input;
    struct ht_kernel_dense dense; /* all but rows, activations and outputs */
    struct ht_kernel_real real;   /* the same, of real inputs */
    float *scale;                 /* [out], of inputs other than codes; else NULL */
    int32_t *weight_sum;          /* [out] sum_k (w - z_w), of dynamic inputs; else NULL */
    /* Computed of real values; NULL: none of them, or nothing to compute. */
    const struct ht_activation *activation;
};

struct ht_runtime {
    const struct ht_qmodel *model;
    struct ht_kernels kernels;
    struct ht_kernel_quantizer input_quantizer;
    struct ht_runtime_layer *layers; /* [model->n_layers] */
    double products;                 /* of one row */
};

/* As the kernels want it, for its zero point. */
struct ht_kernel_quantizer ht_runtime_quantizer(const struct ht_qactivation *q);

#endif
