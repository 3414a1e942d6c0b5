#include <math.h>
#include <string.h>

#include "autograd/op.h"
#include "layers/model.h"

static const struct ht_activation_layer activations[] = {
    {"none", NULL, false, -INFINITY, INFINITY},
    {"relu", &ht_op_relu, false, 0, INFINITY},
    {"relu6", &ht_op_relu6, false, 0, 6},
    {"leaky_relu", &ht_op_leaky_relu, true, -INFINITY, INFINITY},
    {"tanh", &ht_op_tanh, true, -INFINITY, INFINITY},
    {"sigmoid", &ht_op_sigmoid, true, -INFINITY, INFINITY},
    {"gelu", &ht_op_gelu, true, -INFINITY, INFINITY},
};

const struct ht_activation_layer *ht_activation_layer_find(const char *name)
{
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (strcmp(activations[i].name, name) == 0)
            return &activations[i];
    return NULL;
}
