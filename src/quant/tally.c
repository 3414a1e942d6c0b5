#include "quant/tally.h"

#include "quant/quantizer.h"

/* Half the distance of the two outermost levels at one end. */
static ht_real half_step(const struct ht_grid *g, bool top)
{
    if (g->step != 0 || g->n_levels < 2)
        return (ht_real)(g->step ? g->step : 1) / 2;
    const int8_t *l = top ? &g->level[g->n_levels - 2] : &g->level[0];
    return (ht_real)(l[1] - l[0]) / 2;
}

void ht_tally_units(struct ht_tally *t, const struct ht_quantizer *q, size_t c, const ht_real *u,
                    size_t n)
{
    const ht_real lo = (ht_real)q->grid.lo - q->zero_point[c] - half_step(&q->grid, false);
    const ht_real hi = (ht_real)q->grid.hi - q->zero_point[c] + half_step(&q->grid, true);
    t->n += n;
    for (size_t i = 0; i < n; i++)
        t->clipped += u[i] < lo || u[i] > hi;
}

void ht_tally_levels(struct ht_tally *t, const struct ht_quantizer *q, size_t c,
                     const ht_real *level, size_t n)
{
    const int shift = (int)q->zero_point[c] - q->grid.lo;
    for (size_t i = 0; i < n; i++)
        t->level[((int)level[i] + shift) & 255]++;
}

size_t ht_tally_codes_used(const struct ht_tally *t)
{
    size_t used = 0;
    for (size_t i = 0; i < 256; i++)
        used += t->level[i] > 0;
    return used;
}
