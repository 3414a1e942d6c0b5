#include "train/compare.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "io/file.h"
#include "train/jobs.h"
#include "train/latency.h"
#include "train/links.h"
#include "train/setup.h"

static const int default_bits[] = {32, 8, 4, 2};

/* --- variants to jobs --- */

struct plan {
    struct ht_experiment *variants; /* [n_variants]; the first may be a hidden float32 baseline */
    size_t n_variants;
    size_t baseline;     /* index of the float32 variant */
    bool hidden;         /* the baseline has no row */
    struct ht_job *jobs; /* [n_variants * seeds], by variant, then seed */
    size_t n_jobs;
};

static enum ht_status add_variant(struct plan *p, const struct ht_experiment *e, const char *name)
{
    struct ht_experiment *v = ht_grow(p->variants, p->n_variants + 1, sizeof *v);
    if (!v)
        return HT_ERR_MEMORY;
    p->variants = v;
    v[p->n_variants] = *e;
    snprintf(v[p->n_variants].name, HT_NAME_LENGTH, "%s", name);
    p->n_variants++;
    return HT_OK;
}

static enum ht_status add_width(struct plan *p, const struct ht_experiment *base, int bits,
                                struct ht_error *err)
{
    struct ht_experiment e = *base;
    char value[16], name[HT_NAME_LENGTH];
    snprintf(value, sizeof value, "%d", bits);
    enum ht_status status = ht_experiment_set(&e, "quant.weights.bits", value, err);
    if (status != HT_OK)
        return status;
    if (bits == 32)
        snprintf(name, sizeof name, "float32");
    else
        snprintf(name, sizeof name, "w%da%d", bits, e.quant.activations.bits);
    status = add_variant(p, &e, name);
    return status == HT_OK ? HT_OK : ht_fail_memory(err);
}

static enum ht_status list_variants(struct plan *p, const struct ht_config *config,
                                    const struct ht_compare_options *o, struct ht_error *err)
{
    const struct ht_experiment *base = ht_config_experiment(config);
    const int *bits = o->bits ? o->bits : default_bits;
    size_t n_bits = o->bits ? o->n_bits : sizeof default_bits / sizeof *default_bits;
    enum ht_status status = HT_OK;
    if (!o->bits && base->n_variants) {
        struct ht_experiment *e = ht_calloc(1, sizeof *e);
        if (!e)
            return ht_fail_memory(err);
        for (size_t i = 0; i < base->n_variants && status == HT_OK; i++) {
            ht_config_variant(config, i, e);
            if (add_variant(p, e, base->variants[i].name) != HT_OK)
                status = ht_fail_memory(err);
        }
        ht_free(e);
    } else {
        for (size_t i = 0; i < n_bits && status == HT_OK; i++)
            status = add_width(p, base, bits[i], err);
    }
    if (status != HT_OK)
        return status;
    for (p->baseline = 0; p->baseline < p->n_variants; p->baseline++)
        if (!ht_experiment_quantized(&p->variants[p->baseline]))
            return HT_OK;
    p->hidden = true;
    return add_width(p, base, 32, err);
}

static enum ht_status make_jobs(struct plan *p, const struct ht_experiment *base, int seeds,
                                struct ht_error *err)
{
    p->n_jobs = p->n_variants * (size_t)seeds;
    p->jobs = ht_calloc(p->n_jobs, sizeof *p->jobs);
    if (!p->jobs)
        return ht_fail_memory(err);
    for (size_t i = 0; i < p->n_jobs; i++) {
        struct ht_experiment *e = &p->jobs[i].experiment;
        int length;
        *e = p->variants[i / (size_t)seeds];
        e->seed = base->seed + i % (size_t)seeds;
        e->n_variants = 0;
        snprintf(e->name, HT_NAME_LENGTH, "%.37s-seed%llu", p->variants[i / (size_t)seeds].name,
                 (unsigned long long)e->seed);
        length = snprintf(e->run.dir, HT_PATH_LENGTH, "%s/%s", base->run.dir, base->name);
        if (length >= HT_PATH_LENGTH)
            return ht_fail(err, HT_ERR_CONFIG, "run.dir is too long");
    }
    return HT_OK;
}

/* Each job has its own folder, so no two may have one name: --bits 8,8, or names that only differ
 * where they are cut. */
static enum ht_status check_names(const struct plan *p, size_t seeds, struct ht_error *err)
{
    for (size_t i = 0; i < p->n_variants; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(p->jobs[i * seeds].experiment.name, p->jobs[k * seeds].experiment.name) == 0)
                return ht_fail(
                    err, HT_ERR_CONFIG, "variants %s and %s would share the run folder %s",
                    p->variants[k].name, p->variants[i].name, p->jobs[i * seeds].experiment.name);
    return HT_OK;
}

/* --- variants that start from others --- */

static enum ht_status find_variant(const struct plan *p, const struct ht_experiment *e,
                                   const struct ht_link *link, size_t *ret, struct ht_error *err)
{
    const char *names[HT_MAX_VARIANTS + 1];
    const size_t n = p->n_variants < HT_MAX_VARIANTS ? p->n_variants : HT_MAX_VARIANTS + 1;
    for (*ret = 0; *ret < p->n_variants; ++*ret)
        if (strcmp(p->variants[*ret].name, link->variant) == 0)
            return HT_OK;
    for (size_t i = 0; i < n; i++)
        names[i] = p->variants[i].name;
    const char *near = ht_nearest_name(link->variant, names, n);
    return ht_link_fail(e, link, err, "no variant is named '%.60s'%s%s%s", link->variant,
                        near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* Links of a variant become paths of run folders, seed by seed, and needs of its jobs. */
static enum ht_status link_variant(struct plan *p, size_t variant, size_t seeds,
                                   struct ht_error *err)
{
    struct ht_link links[HT_MAX_LINKS];
    const struct ht_experiment *e = &p->variants[variant];
    const size_t n = ht_links_list(e, links);
    for (size_t k = 0; k < n; k++) {
        size_t other;
        enum ht_status status = find_variant(p, e, &links[k], &other, err);
        if (status != HT_OK)
            return ht_error_prefix(err, status, "%s", e->name);
        for (size_t i = 0; i < seeds; i++) {
            struct ht_job *job = &p->jobs[variant * seeds + i];
            job->needs[job->n_needs++] = other * seeds + i;
            ht_run_folder(&p->jobs[other * seeds + i].experiment,
                          (char *)&job->experiment + links[k].offset);
        }
    }
    return HT_OK;
}

/* The first variant that this one waits for; n_variants: none is left. */
static size_t waits_for(const struct plan *p, size_t variant, size_t seeds, const bool *away)
{
    const struct ht_job *job = &p->jobs[variant * seeds];
    for (size_t k = 0; k < job->n_needs; k++)
        if (!away[job->needs[k] / seeds])
            return job->needs[k] / seeds;
    return p->n_variants;
}

static enum ht_status tell_circle(const struct plan *p, size_t seeds, const bool *away,
                                  struct ht_error *err)
{
    struct ht_link links[HT_MAX_LINKS];
    struct ht_text names = {0};
    size_t at = 0;
    while (away[at])
        at++;
    for (size_t i = 0; i < p->n_variants; i++) /* then it is in the circle, not just behind it */
        at = waits_for(p, at, seeds, away);
    const size_t first = at;
    do {
        ht_text_printf(&names, "%s needs ", p->variants[at].name);
        at = waits_for(p, at, seeds, away);
    } while (at != first);
    const struct ht_experiment *e = &p->variants[first];
    ht_links_list(e, links);
    ht_link_fail(e, &links[0], err, "a circle: %s%s", ht_text_str(&names), e->name);
    ht_text_finish(&names);
    return ht_error_prefix(err, HT_ERR_CONFIG, "%s", e->name);
}

/* Takes away, again and again, variants that wait for none; those of a circle are never one. */
static enum ht_status check_circles(const struct plan *p, size_t seeds, struct ht_error *err)
{
    bool *away = ht_calloc(p->n_variants, sizeof *away);
    size_t left = p->n_variants, before = left + 1;
    if (!away)
        return ht_fail_memory(err);
    while (left < before) {
        before = left;
        for (size_t i = 0; i < p->n_variants; i++)
            if (!away[i] && waits_for(p, i, seeds, away) == p->n_variants) {
                away[i] = true;
                left--;
            }
    }
    const enum ht_status status = left ? tell_circle(p, seeds, away, err) : HT_OK;
    ht_free(away);
    return status;
}

static enum ht_status link_variants(struct plan *p, size_t seeds, struct ht_error *err)
{
    enum ht_status status = HT_OK;
    for (size_t i = 0; status == HT_OK && i < p->n_variants; i++)
        status = link_variant(p, i, seeds, err);
    return status == HT_OK ? check_circles(p, seeds, err) : status;
}

static void plan_finish(struct plan *p)
{
    ht_free(p->variants);
    ht_free(p->jobs);
}

static enum ht_status make_plan(struct plan *p, const struct ht_config *config,
                                const struct ht_compare_options *o, struct ht_error *err)
{
    const size_t seeds = (size_t)o->seeds;
    enum ht_status status = list_variants(p, config, o, err);
    if (status == HT_OK)
        status = make_jobs(p, ht_config_experiment(config), o->seeds, err);
    if (status == HT_OK)
        status = check_names(p, seeds, err);
    return status == HT_OK ? link_variants(p, seeds, err) : status;
}

enum ht_status ht_compare_check(const struct ht_config *config, struct ht_error *err)
{
    const struct ht_compare_options options = {.seeds = 1};
    struct plan p = {0};
    enum ht_status status = make_plan(&p, config, &options, err);
    plan_finish(&p);
    return status;
}

/* --- results to rows --- */

static struct ht_stat stat_of(const double *x, size_t n)
{
    struct ht_stat s = {NAN, NAN, n};
    double sum = 0, square = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    if (n)
        s.mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        square += (x[i] - s.mean) * (x[i] - s.mean);
    if (n > 1)
        s.std = sqrt(square / (double)(n - 1));
    return s;
}

/* Over the seeds that have it, of a field of the results. x: [seeds] */
static struct ht_stat stat_of_field(const struct ht_job *jobs, size_t seeds, size_t offset,
                                    double *x)
{
    size_t n = 0;
    for (size_t i = 0; i < seeds; i++) {
        if (!jobs[i].lost)
            memcpy(&x[n], (const char *)&jobs[i].result + offset, sizeof *x);
        n += !jobs[i].lost && isfinite(x[n]);
    }
    return stat_of(x, n);
}

/* The first that is not lost; NULL: all are. */
static const struct ht_job *first_left(const struct ht_job *jobs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!jobs[i].lost)
            return &jobs[i];
    return NULL;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

static void add_result(struct ht_compare_row *row, const struct ht_run_result *r)
{
    row->seeds++;
    row->outputs_compared += r->outputs_compared;
    row->mismatched_outputs += r->mismatched_outputs;
    row->warnings += r->n_warnings;
    row->accumulator_bits = larger(row->accumulator_bits, r->accumulator_bits);
    row->product_bits = larger(row->product_bits, r->product_bits);
    row->train_seconds += r->train_seconds;
    row->samples_per_s += r->samples_per_s;
}

/* What all seeds have in common. */
static void describe(struct ht_compare_row *row, const struct ht_run_result *r)
{
    memcpy(row->score_name, r->score_name, sizeof row->score_name);
    memcpy(row->split, r->split, sizeof row->split);
    memcpy(row->run_dir, r->run_dir, sizeof row->run_dir);
    row->weight_bits = r->weight_bits;
    row->activation_bits = r->activation_bits;
    row->model_bytes = r->model_bytes;
    row->float_bytes = r->float_bytes;
}

/* Integer score minus float score of the seeds that have both. x: [seeds] */
static struct ht_stat differences(const struct ht_job *jobs, const struct ht_job *base,
                                  size_t seeds, double *x)
{
    size_t n = 0;
    for (size_t i = 0; i < seeds; i++) {
        if (jobs[i].lost || base[i].lost)
            continue;
        x[n] = jobs[i].result.integer_score - base[i].result.score;
        n += isfinite(x[n]);
    }
    return stat_of(x, n);
}

#define FIELD(member) offsetof(struct ht_run_result, member)

/* any: a result that is there, should this variant have none. */
static enum ht_status fill_row(struct ht_compare_row *row, const struct plan *p, size_t variant,
                               size_t seeds, const struct ht_run_result *any, struct ht_error *err)
{
    const struct ht_job *jobs = &p->jobs[variant * seeds], *base = &p->jobs[p->baseline * seeds];
    const struct ht_job *first = first_left(jobs, seeds);
    const bool quantized = first && isfinite(first->result.integer_score);
    double *x = ht_calloc(seeds, sizeof *x);
    if (!x)
        return ht_fail_memory(err);
    describe(row, first ? &first->result : any);
    snprintf(row->name, sizeof row->name, "%s", p->variants[variant].name);
    if (!first) {
        ht_run_folder(&jobs->experiment, row->run_dir);
        const struct ht_experiment *e = &p->variants[variant];
        const bool floats = !ht_experiment_quantized(e);
        row->weight_bits = floats ? 32 : e->quant.weights.bits;
        row->activation_bits = floats ? 32 : e->quant.activations.bits;
        row->model_bytes = 0;
    }
    for (size_t i = 0; i < seeds; i++)
        if (!jobs[i].lost)
            add_result(row, &jobs[i].result);
    row->train_seconds /= row->seeds;
    row->samples_per_s /= row->seeds;
    row->float_score = stat_of_field(base, seeds, FIELD(score), x);
    row->fake_quant_score = quantized ? stat_of_field(jobs, seeds, FIELD(score), x) : stat_of(x, 0);
    row->integer_score = stat_of_field(jobs, seeds, FIELD(integer_score), x);
    row->reconstruction_error = stat_of_field(jobs, seeds, FIELD(reconstruction_error), x);
    row->float_auc = stat_of_field(base, seeds, FIELD(anomaly_auc), x);
    row->integer_auc =
        quantized ? stat_of_field(jobs, seeds, FIELD(anomaly_auc), x) : stat_of(x, 0);
    const struct ht_stat s = differences(jobs, base, seeds, x);
    row->difference = s.mean;
    row->difference_error = s.std / sqrt((double)s.n);
    ht_free(x);
    return HT_OK;
}

/* After all training is done, so that nothing else runs beside. */
static enum ht_status measure_latency(struct ht_compare_row *row, const struct ht_job *job,
                                      const struct ht_dataset *d, struct ht_error *err)
{
    struct ht_qmodel *model = NULL;
    struct ht_kernels kernels;
    row->latency_us = NAN;
    if (!job)
        return HT_OK;
    enum ht_status status = ht_run_kernels(&kernels, err);
    if (status == HT_OK && !job->result.model_path[0])
        return ht_latency_float(&row->latency_us, &job->experiment, d, err);
    if (status == HT_OK)
        status = ht_qmodel_load(&model, job->result.model_path, err);
    if (status == HT_OK)
        status = ht_latency_integer(&row->latency_us, model, &kernels, err);
    ht_qmodel_destroy(model);
    return status;
}

/* HT_OK if no training was lost. */
static enum ht_status tell_lost(const struct plan *p, struct ht_error *err)
{
    size_t lost = 0;
    for (size_t i = 0; i < p->n_jobs; i++)
        lost += p->jobs[i].lost;
    if (lost == 0)
        return HT_OK;
    return ht_fail(err, HT_ERR_DIVERGED, "%zu of %zu trainings diverged or need one that did", lost,
                   p->n_jobs);
}

static enum ht_status make_rows(struct ht_compare_row **rows, size_t *n, const struct plan *p,
                                const struct ht_dataset *d, size_t seeds, struct ht_error *err)
{
    const struct ht_job *left = first_left(p->jobs, p->n_jobs);
    *n = p->n_variants - (p->hidden ? 1 : 0);
    *rows = left ? ht_calloc(*n, sizeof **rows) : NULL;
    if (!left)
        return tell_lost(p, err);
    if (!*rows)
        return ht_fail_memory(err);
    size_t mismatched = 0, compared = 0;
    enum ht_status status = HT_OK;
    for (size_t i = 0; i < *n && status == HT_OK; i++) {
        status = fill_row(&(*rows)[i], p, i, seeds, &left->result, err);
        if (status == HT_OK)
            status = measure_latency(&(*rows)[i], first_left(&p->jobs[i * seeds], seeds), d, err);
        mismatched += (*rows)[i].mismatched_outputs;
        compared += (*rows)[i].outputs_compared;
    }
    if (status != HT_OK) {
        ht_free(*rows);
        *rows = NULL;
        return status;
    }
    if (mismatched)
        return ht_fail(err, HT_ERR_THRESHOLD,
                       "%zu of %zu outputs differ between fake-quant and integer path", mismatched,
                       compared);
    return tell_lost(p, err);
}

/* Every variant against its data, so that what is wrong is told before any process is started. *d
 * is left with the first variant's data. */
static enum ht_status check_variants(struct plan *p, size_t seeds, struct ht_dataset **d,
                                     struct ht_error *err)
{
    enum ht_status status = ht_setup_dataset(d, &p->jobs[0].experiment, err);
    for (size_t v = 0; status == HT_OK && v < p->n_variants; v++) {
        const struct ht_experiment *first = &p->jobs[0].experiment;
        const struct ht_experiment *e = &p->jobs[v * seeds].experiment;
        struct ht_dataset *own = NULL;
        struct ht_objective objective;
        if (memcmp(&e->data, &first->data,
                   offsetof(struct ht_experiment, model) - offsetof(struct ht_experiment, data)) !=
            0)
            status = ht_setup_dataset(&own, e, err);
        if (status == HT_OK)
            status = ht_objective_init(&objective, e, own ? own : *d, err);
        if (status != HT_OK)
            status = ht_error_prefix(err, status, "%s", p->variants[v].name);
        for (size_t i = 0; status == HT_OK && i < seeds; i++) {
            int64_t batch = e->train.batch, samples = (int64_t)(own ? own : *d)->count[HT_TRAIN];
            p->jobs[v * seeds + i].steps =
                ht_experiment_rounding_steps(e) + e->train.epochs * ((samples + batch - 1) / batch);
        }
        ht_dataset_destroy(own);
    }
    return status;
}

enum ht_status ht_compare(struct ht_compare_row **rows, size_t *n, const struct ht_config *config,
                          const struct ht_compare_options *options, struct ht_error *err)
{
    struct plan p = {0};
    struct ht_dataset *d = NULL;
    const size_t seeds = (size_t)options->seeds;
    *rows = NULL;
    *n = 0;
    enum ht_status status = make_plan(&p, config, options, err);
    if (status == HT_OK)
        status = check_variants(&p, seeds, &d, err);
    if (status == HT_OK)
        status = ht_jobs_run(p.jobs, p.n_jobs, options, err);
    if (status == HT_OK)
        status = make_rows(rows, n, &p, d, seeds, err);
    ht_dataset_destroy(d);
    plan_finish(&p);
    return status;
}
