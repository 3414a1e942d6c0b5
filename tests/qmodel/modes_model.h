/* A model with a layer of each mode, written out: 5 values, dynamic -> 4 (narrow, 3 bits,
 * leaky_relu), dynamic -> 3 (affine with zero points, 5 bits, tanh), real -> 2 (float16), real. */
#ifndef HT_TESTS_QMODEL_MODES_MODEL_H
#define HT_TESTS_QMODEL_MODES_MODEL_H

#include "qmodel/random_model.h"
#include "quant/half.h"

static inline void real_weights(struct ht_qlayer *l, const char *grid, int bits, size_t out,
                                size_t in)
{
    set_weights(l, grid, bits, out, in);
    ht_free(l->bias);
    l->bias = NULL;
    l->real_bias = ht_calloc(out, sizeof *l->real_bias);
    for (size_t n = 0; n < out; n++)
        l->real_bias[n] = 0.25f * (float)n;
}

static inline struct ht_qmodel *modes_model(void)
{
    struct ht_qmodel *m = ht_qmodel_create(3);
    struct ht_qlayer *l = m->layers;
    m->input.features = 5;
    m->input.kind = HT_QOUTPUT_DYNAMIC;
    m->input.quant = activation("affine", 8, 1, 0);
    real_weights(&l[0], "narrow", 3, 4, 5);
    strcpy(l[0].name, "first");
    strcpy(l[0].activation, "leaky_relu");
    l[0].slope = 0.125f;
    l[0].output = HT_QOUTPUT_DYNAMIC;
    l[0].quant = activation("full", 4, 1, 0);
    real_weights(&l[1], "affine", 5, 3, 4);
    l[1].weights.zero_point = ht_calloc(3, sizeof(int32_t));
    l[1].weights.zero_point[2] = 31;
    strcpy(l[1].name, "second");
    strcpy(l[1].activation, "tanh");
    l[1].output = HT_QOUTPUT_REAL;
    real_weights(&l[2], "narrow", 3, 2, 3);
    cr_assert_eq(ht_grid_init(&l[2].weights.grid, HT_GRID_FLOAT16, 16, NULL), HT_OK);
    ht_free(l[2].weights.packed);
    l[2].weights.packed = ht_calloc(2 * 6, 1);
    for (size_t i = 0; i < 6; i++)
        ht_pack_code(l[2].weights.packed, i, 16, ht_half_of_float(0.3f * (float)i - 1));
    strcpy(l[2].name, "last");
    strcpy(l[2].activation, "none");
    l[2].output = HT_QOUTPUT_REAL;
    m->outputs = 2;
    strcpy(m->name, "modes");
    strcpy(m->task, "classification");
    cr_assert_eq(ht_qmodel_derive(m, NULL), HT_OK);
    return m;
}

#endif
