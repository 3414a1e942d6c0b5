/* Private to src/qmodel: how large a layer's sums can become. */
#ifndef HT_QMODEL_BOUND_H
#define HT_QMODEL_BOUND_H

#include "qmodel/qmodel.h"

/* Over all inputs in range, one neuron. */
struct ht_neuron_bound {
    int64_t min, max;                 /* of the accumulator, bias included, exact */
    int64_t product_min, product_max; /* of any sum of some of its products, exact */
    int64_t accumulator;              /* largest |acc| */
    int64_t sums; /* largest magnitude of any sum on the way: the constant that kernels start
                     from, raw products in any order on top of it, row sums */
};

struct ht_neuron_bound ht_neuron_bound(const struct ht_qmodel *m, size_t layer, size_t neuron);

#endif
