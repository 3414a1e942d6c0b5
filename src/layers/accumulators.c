#include "layers/accumulators.h"

#include "base/alloc.h"
#include "quant/a2q.h"

enum ht_status ht_model_fit_accumulators(struct ht_model *m, struct ht_error *err)
{
    size_t widest = 0;
    for (size_t i = 0; i < m->n_blocks; i++)
        widest = m->blocks[i].in > widest ? m->blocks[i].in : widest;
    ht_real *room = ht_calloc(widest, sizeof *room);
    if (!room)
        return ht_fail_memory(err);
    for (size_t i = 0; i < m->n_blocks; i++) {
        struct ht_block *b = &m->blocks[i];
        ht_real *w = m->params.value + m->params.spans[b->weight_span].offset;
        if (!b->weights.norm)
            continue;
        for (size_t row = 0; row < b->out; row++)
            ht_a2q_start(&b->weights, row, w + row * b->in, b->in, room);
        b->weights.ready[0] = 1;
    }
    m->params.version++;
    ht_free(room);
    return HT_OK;
}

bool ht_model_fits_accumulators(const struct ht_model *m)
{
    for (size_t i = 0; m->quantized && i < m->n_blocks; i++)
        if (m->blocks[i].weights.norm)
            return true;
    return false;
}
