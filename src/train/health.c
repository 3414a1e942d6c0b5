#include "train/health.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* A quantizer and what it did on the batch; no quantizer: the network as a whole. */
struct site {
    struct ht_quantizer *q;
    const char *layer, *part;
    struct ht_tally *tally;
};

struct look {
    const struct ht_health *h;
    const struct ht_health_input *in;
    size_t samples; /* in network->y */
};

struct finding {
    double value;
    char text[200];
};

static void found(struct finding *f, double value, const char *format, ...)
{
    va_list arguments;
    f->value = value;
    va_start(arguments, format);
    vsnprintf(f->text, sizeof f->text, format, arguments);
    va_end(arguments);
}

/* --- one quantizer --- */

static bool dead_scales(const struct look *l, const struct site *s, double limit, struct finding *f)
{
    size_t dead = 0;
    for (size_t c = 0; c < s->q->channels; c++)
        dead += s->q->effective[c] <= HT_MIN_SCALE;
    const double share = (double)dead / (double)s->q->channels;
    found(f, share, "%zu of %zu scale%s at the minimum, 2^-30", dead, s->q->channels,
          s->q->channels == 1 ? "" : "s");
    return share > limit;
}

static bool still_scales(const struct look *l, const struct site *s, double limit,
                         struct finding *f)
{
    const struct ht_quantizer *q = s->q;
    size_t still = 0;
    if (!q->seen || !l->in->learns)
        return false;
    for (size_t c = 0; c < q->channels; c++)
        still += q->scale[c] == q->seen[c];
    const double share = (double)still / (double)q->channels;
    found(f, share, "%zu of %zu learned scale%s did not move in an epoch: no gradient", still,
          q->channels, q->channels == 1 ? "" : "s");
    return share > limit;
}

static double clipped_share(const struct site *s)
{
    return s->tally->n ? (double)s->tally->clipped / (double)s->tally->n : 0;
}

static bool clipped(const struct site *s, double limit, struct finding *f)
{
    const double share = clipped_share(s);
    found(f, share, "%.1f %% of the values are clipped", 100 * share);
    return share > limit;
}

/* With few levels the best clip leaves many values outside. */
#define FEW_LEVELS 4

static bool clipped_few(const struct look *l, const struct site *s, double limit, struct finding *f)
{
    return s->q->grid.n_levels <= FEW_LEVELS && clipped(s, limit, f);
}

static bool clipped_many(const struct look *l, const struct site *s, double limit,
                         struct finding *f)
{
    return s->q->grid.n_levels > FEW_LEVELS && clipped(s, limit, f);
}

/* In bits, so that 16 of 256 codes count as half, and so do 4 of 16. n values cannot use more than
 * n codes. */
static bool unused_codes(const struct look *l, const struct site *s, double limit,
                         struct finding *f)
{
    const size_t levels = (size_t)s->q->grid.n_levels, used = ht_tally_codes_used(s->tally);
    const size_t possible = s->tally->n < levels ? s->tally->n : levels;
    if (possible < 2)
        return false;
    found(f, (double)used, "%zu of %zu codes used", used, levels);
    return log2((double)used) < limit * log2((double)possible);
}

static bool dead_layer(const struct look *l, const struct site *s, double limit, struct finding *f)
{
    const size_t zero = s->tally->level[(int)s->q->zero_point[0] - s->q->grid.lo];
    const double share = s->tally->n ? (double)zero / (double)s->tally->n : 0;
    found(f, share, "0 for every sample");
    return s->q->grid.step == 1 && share >= limit;
}

/* --- the network --- */

static bool constant_outputs(const struct look *l, const struct site *s, double limit,
                             struct finding *f)
{
    const ht_real *y = l->in->network->y->value;
    const size_t outputs = l->in->objective->outputs;
    size_t same = 1;
    while (same < l->samples && memcmp(y, y + same * outputs, outputs * sizeof *y) == 0)
        same++;
    found(f, 1, "the outputs are the same for every sample");
    return l->samples > 1 && same == l->samples;
}

/* What an answer that looks at nothing scores. */
static double chance(const struct look *l)
{
    const struct ht_dataset *d = l->in->data;
    size_t most = 0;
    if (l->in->objective->task != HT_CLASSIFICATION)
        return 0; /* r2 of the mean */
    for (size_t k = 0; k < d->n_classes; k++) {
        size_t n = 0;
        for (size_t i = 0; i < d->count[HT_VALIDATION]; i++)
            n += d->labels[d->index[HT_VALIDATION][i]] == (int32_t)k;
        most = n > most ? n : most;
    }
    return (double)most / (double)d->count[HT_VALIDATION];
}

struct score {
    char s[24];
};

/* "88.1 %", or r2 as it is. */
static struct score score_text(const struct look *l, double score)
{
    struct score t;
    const bool share = strcmp(l->in->objective->score, "accuracy") == 0;
    snprintf(t.s, sizeof t.s, share ? "%.1f %%" : "%.3f", share ? 100 * score : score);
    return t;
}

#define WORTH_LOSING 0.1 /* above chance */

static bool collapsed(const struct look *l, const struct site *s, double limit, struct finding *f)
{
    if (!isfinite(l->in->score) || l->h->best_epoch == 0)
        return false;
    const double base = chance(l), gained = l->h->best - base, left = l->in->score - base;
    found(f, l->in->score, "collapsed in epoch %lld: best %s (epoch %lld), now %s",
          (long long)l->in->epoch, score_text(l, l->h->best).s, (long long)l->h->best_epoch,
          score_text(l, l->in->score).s);
    return gained > WORTH_LOSING && left < limit * gained;
}

#define PATIENCE 3 /* epochs */

static bool not_learning(const struct look *l, const struct site *s, double limit,
                         struct finding *f)
{
    if (!isfinite(l->in->score) || l->in->epoch < PATIENCE)
        return false;
    const double base = chance(l);
    const double best = l->h->best > l->in->score ? l->h->best : l->in->score;
    found(f, l->in->score, "%s %s after %lld epochs, and %s needs no network",
          l->in->objective->score, score_text(l, l->in->score).s, (long long)l->in->epoch,
          score_text(l, base).s);
    return best < base + limit;
}

/* --- the table --- */

enum { WEIGHTS = 1, ACTIVATIONS = 2, NETWORK = 4 };

#define SLOWER "lower train.learning_rate, or begin with float epochs (quant.start_epoch)"

static const struct check {
    const char *name;
    unsigned of;
    double limit;
    bool (*find)(const struct look *l, const struct site *s, double limit, struct finding *f);
    const char *advice;
} checks[] = {
    {"dead_scales", WEIGHTS | ACTIVATIONS, 0, dead_scales, SLOWER},
    {"still_scales", WEIGHTS | ACTIVATIONS, 0.5, still_scales, SLOWER},
    {"clipped", WEIGHTS | ACTIVATIONS, 0.3, clipped_few,
     "lower train.learning_rate, use more bits, or find the range by mse or octav"},
    {"clipped", WEIGHTS | ACTIVATIONS, 0.2, clipped_many,
     "lower train.learning_rate, let the range follow faster (momentum), or use range learned"},
    {"unused_codes", WEIGHTS | ACTIVATIONS, 0.5, unused_codes,
     "use fewer bits, granularity channel, or a range that clips outliers (learned, mse, octav)"},
    {"dead_layer", ACTIVATIONS, 1, dead_layer, SLOWER},
    {"constant_outputs", NETWORK, 0, constant_outputs, SLOWER},
    {"collapsed", NETWORK, 0.2, collapsed, SLOWER ", or train.clip_norm"},
    {"not_learning", NETWORK, 0.02, not_learning,
     "try another train.learning_rate, more bits, or start from a float network (train.from)"},
};

/* --- what was found --- */

static struct ht_warning *warning_at(struct ht_health *h, const char *check, const char *where)
{
    for (size_t i = 0; i < h->n_warnings; i++)
        if (strcmp(h->warnings[i].check, check) == 0 && strcmp(h->warnings[i].where, where) == 0)
            return &h->warnings[i];
    return NULL;
}

void ht_health_recall(struct ht_health *h, const struct ht_warning *w)
{
    struct ht_warning *known = warning_at(h, w->check, w->where);
    if (known) {
        known->value = w->value;
        known->last_epoch = w->last_epoch;
    } else if (h->n_warnings < HT_MAX_WARNINGS) {
        h->warnings[h->n_warnings++] = *w;
    }
}

void ht_health_recall_score(struct ht_health *h, int64_t epoch, double score)
{
    if (!isfinite(score) || (h->best_epoch > 0 && score <= h->best))
        return;
    h->best = score;
    h->best_epoch = epoch;
}

static void warn(struct ht_health *h, const struct look *l, const struct check *c,
                 const struct site *s, const struct finding *f)
{
    struct ht_warning w = {
        .value = f->value, .first_epoch = l->in->epoch, .last_epoch = l->in->epoch};
    snprintf(w.check, sizeof w.check, "%s", c->name);
    if (s->q)
        snprintf(w.where, sizeof w.where, "%s %s", s->layer, s->part);
    else
        snprintf(w.where, sizeof w.where, "network");
    snprintf(w.message, sizeof w.message, "%s: %s; %s", w.where, f->text, c->advice);
    ht_health_recall(h, &w);
}

static void look_at(struct ht_health *h, const struct look *l, unsigned kind, const struct site *s)
{
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        struct finding f = {0};
        if ((checks[i].of & kind) && checks[i].find(l, s, checks[i].limit, &f))
            warn(h, l, &checks[i], s, &f);
    }
}

/* --- the batch --- */

#define SITES_OF_BLOCK 3
#define MOST_SAMPLES   ((size_t)256)

static size_t list_sites(const struct ht_model *m, struct site *sites)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_blocks; i++) {
        struct ht_block *b = &m->blocks[i];
        if (!ht_grid_is_float16(&b->weights.grid))
            sites[n++] = (struct site){&b->weights, b->name, "weights", NULL};
        if (ht_block_has_table(b))
            sites[n++] = (struct site){&b->before_table, b->name, "table input", NULL};
        if (b->has_output)
            sites[n++] = (struct site){&b->output, b->name, "activations", NULL};
    }
    return n;
}

/* Spread over the part: files may be sorted by class. */
static size_t run_batch(const struct ht_health_input *in)
{
    const struct ht_run run = {.mode = HT_MODE_EVAL};
    const enum ht_split split = in->data->count[HT_VALIDATION] ? HT_VALIDATION : HT_TRAIN;
    const size_t all = in->data->count[split], most = ht_graph_max_batch(in->network->graph);
    const size_t room = most < MOST_SAMPLES ? most : MOST_SAMPLES, n = all < room ? all : room;
    uint32_t samples[MOST_SAMPLES];
    for (size_t i = 0; i < n; i++)
        samples[i] = in->data->index[split][i * all / n];
    ht_network_load(in->network, in->objective, in->data, samples, n, NULL, 0, 0);
    ht_graph_forward(in->network->graph, &run);
    return n;
}

/* quantizers count while the batch runs through them. */
static void look_at_layers(struct ht_health *h, struct look *l, struct site *sites, size_t n,
                           struct ht_tally *tallies)
{
    for (size_t i = 0; i < n; i++)
        sites[i].q->tally = sites[i].tally = &tallies[i];
    l->samples = run_batch(l->in);
    for (size_t i = 0; i < n; i++)
        sites[i].q->tally = NULL;
    for (size_t i = 0; i < n; i++) {
        struct ht_quantizer *q = sites[i].q;
        look_at(h, l, q->of_weights ? WEIGHTS : ACTIVATIONS, &sites[i]);
        for (size_t c = 0; q->seen && c < q->channels; c++)
            q->seen[c] = q->scale[c];
    }
}

enum ht_status ht_health_check(struct ht_health *h, const struct ht_health_input *in,
                               struct ht_error *err)
{
    const size_t most = SITES_OF_BLOCK * in->model->n_blocks;
    const struct site network = {0};
    struct look l = {h, in, 0};
    struct site *sites = ht_calloc(most, sizeof *sites);
    struct ht_tally *tallies = ht_calloc(most, sizeof *tallies);
    enum ht_status status = sites && tallies ? HT_OK : ht_fail_memory(err);
    if (status == HT_OK && in->quantized)
        look_at_layers(h, &l, sites, list_sites(in->model, sites), tallies);
    else if (status == HT_OK)
        l.samples = run_batch(in);
    if (status == HT_OK)
        look_at(h, &l, NETWORK, &network);
    ht_health_recall_score(h, in->epoch, in->score);
    ht_free(sites);
    ht_free(tallies);
    return status;
}
