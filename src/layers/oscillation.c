#include "layers/oscillation.h"

#include <math.h>

#define ROWS_OF_PART ((size_t)16)
#define BLOCK        ((size_t)256)
#define FROZEN       ((ht_real)2) /* in the place of a frequency, which is at most 1 */

struct job {
    struct ht_model *m;
    struct ht_block *b;
    ht_real threshold, momentum;
};

static ht_real *state(const struct ht_model *m, int span)
{
    return m->state.value + m->state.spans[span].offset;
}

/* A value that rounds to the level: on it, and with floor in the middle of its bin. */
static ht_real weight_of_level(const struct ht_quantizer *q, size_t c, ht_real level)
{
    const ht_real half = q->rounding == HT_ROUND_FLOOR ? (ht_real)0.5 : 0;
    return q->effective[c] * (level + half);
}

struct weight {
    ht_real *latent, *level, *direction, *frequency, *average;
};

/* Algorithm 1 for one weight whose level is now `level`. Returns 1 when it has changed. */
static ht_real follow(const struct job *j, size_t c, const struct weight *w, ht_real level)
{
    const struct ht_quantizer *q = &j->b->weights;
    const ht_real m = j->momentum, change = level - *w->level;
    if (*w->frequency >= FROZEN) {
        *w->latent = weight_of_level(q, c, *w->level);
        return 0;
    }
    const ht_real direction = change > 0 ? 1 : (change < 0 ? -1 : 0);
    const ht_real back = direction * *w->direction < 0 ? 1 : 0; /* against the last one */
    *w->frequency += m * (back - *w->frequency);
    *w->average += m * (level - *w->average);
    *w->level = level;
    if (direction != 0)
        *w->direction = direction;
    if (j->threshold > 0 && *w->frequency > j->threshold) {
        struct ht_rounder nearest = ht_quantizer_rounder(q, c);
        if (nearest.kind == HT_ROUNDER_FLOOR)
            nearest.kind = HT_ROUNDER_EVEN;
        *w->level = ht_round_one(&nearest, *w->average);
        *w->frequency = FROZEN;
        *w->latent = weight_of_level(q, c, *w->level);
    }
    return direction != 0 ? 1 : 0;
}

/* Weights of one scale, from `from` on; returns how many levels changed. */
static ht_real follow_part(const struct job *j, size_t c, size_t from, size_t length, bool first)
{
    const struct ht_block *b = j->b;
    struct ht_quantizer *q = &j->b->weights;
    const struct ht_place_in_run eval = {NULL, 0};
    ht_real *latent = j->m->params.value + j->m->params.spans[b->weight_span].offset;
    ht_real level[BLOCK], flips = 0;
    ht_quantizer_prepare(q, c, latent + from, length);
    for (size_t done = 0; done < length; done += BLOCK) {
        const size_t n = length - done < BLOCK ? length - done : BLOCK, at = from + done;
        ht_quantizer_levels(q, c, eval, latent + at, n, level);
        for (size_t i = 0; i < n; i++) {
            const struct weight w = {latent + at + i, state(j->m, b->level_span) + at + i,
                                     state(j->m, b->direction_span) + at + i,
                                     state(j->m, b->frequency_span) + at + i,
                                     state(j->m, b->average_span) + at + i};
            if (first)
                *w.level = *w.average = level[i];
            else
                flips += follow(j, c, &w, level[i]);
        }
    }
    return flips;
}

static void follow_row(const struct job *j, size_t row, bool first)
{
    const struct ht_block *b = j->b;
    ht_real flips = 0;
    for (size_t g = 0; g < b->weights.groups; g++) {
        const struct ht_row_part p = ht_quantizer_part(&b->weights, row, g, b->in);
        flips += follow_part(j, p.channel, row * b->in + p.at, p.n, first);
    }
    state(j->m, b->flips_span)[row] += flips / (ht_real)b->in;
}

static void follow_rows(void *user, size_t part)
{
    const struct job *j = user;
    const bool first = state(j->m, j->m->flips_span)[0] == 0;
    for (size_t row = part * ROWS_OF_PART; row < (part + 1) * ROWS_OF_PART; row++)
        if (row < j->b->out)
            follow_row(j, row, first);
}

void ht_oscillation_update(struct ht_model *m, double threshold, double momentum,
                           struct ht_pool *pool)
{
    for (size_t i = 0; i < m->n_blocks; i++) {
        struct job j = {m, &m->blocks[i], (ht_real)threshold, (ht_real)momentum};
        if (ht_grid_is_float16(&j.b->weights.grid))
            continue;
        ht_quantizer_refresh(&j.b->weights, HT_MODE_TRAIN); /* of the scales after the step */
        ht_pool_run(pool, (j.b->out + ROWS_OF_PART - 1) / ROWS_OF_PART, follow_rows, &j);
    }
    state(m, m->flips_span)[0] = 1;
    if (threshold > 0)
        m->params.version++; /* bytes of weights that are frozen now are stale */
}

/* flips_span of the model: has it begun; flip rate and frozen share of the last epoch. */
void ht_oscillation_end_epoch(struct ht_model *m, int64_t steps)
{
    double flips = 0, frozen = 0, weights = 0;
    for (size_t i = 0; i < m->n_blocks; i++) {
        const struct ht_block *b = &m->blocks[i];
        if (ht_grid_is_float16(&b->weights.grid))
            continue;
        ht_real *rate = state(m, b->flips_span);
        const ht_real *frequency = state(m, b->frequency_span);
        for (size_t row = 0; row < b->out; row++) {
            flips += (double)rate[row] * (double)b->in;
            rate[row] = 0;
        }
        for (size_t k = 0; k < b->in * b->out; k++)
            frozen += frequency[k] >= FROZEN;
        weights += (double)b->in * (double)b->out;
    }
    state(m, m->flips_span)[1] = weights > 0 ? (ht_real)(flips / weights / (double)steps) : 0;
    state(m, m->flips_span)[2] = weights > 0 ? (ht_real)(frozen / weights) : 0;
}

struct ht_oscillation ht_oscillation_last(const struct ht_model *m)
{
    if (m->flips_span < 0 || state(m, m->flips_span)[0] == 0)
        return (struct ht_oscillation){NAN, NAN};
    return (struct ht_oscillation){(double)state(m, m->flips_span)[1],
                                   (double)state(m, m->flips_span)[2]};
}
