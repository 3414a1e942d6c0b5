/* What a quantizer does to the values it is given, counted for reports. A quantizer whose `tally`
 * is set counts in every forward; nothing else changes. */
#ifndef HT_QUANT_TALLY_H
#define HT_QUANT_TALLY_H

#include <stddef.h>

#include "tensor/real.h"

struct ht_quantizer;

struct ht_tally {
    size_t n;          /* values */
    size_t clipped;    /* of them more than half a step beyond the levels: what the clamp changed */
    size_t level[256]; /* values on each level, from the grid's lowest on */
};

/* From one thread. u[n] = x / scale of a channel, relative to its zero point. */
void ht_tally_units(struct ht_tally *t, const struct ht_quantizer *q, size_t channel,
                    const ht_real *u, size_t n);
/* What became of them. */
void ht_tally_levels(struct ht_tally *t, const struct ht_quantizer *q, size_t channel,
                     const ht_real *level, size_t n);

size_t ht_tally_codes_used(const struct ht_tally *t);

#endif
