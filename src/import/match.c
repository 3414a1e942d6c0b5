#include "import/match.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"

#define MAX_LISTED 12

static const char *const slots[HT_SLOTS] = {"weight", "bias",         "gamma",
                                            "beta",   "running_mean", "running_var"};

const char *ht_import_slot_name(enum ht_import_slot slot)
{
    return slots[slot];
}

struct matching {
    const struct ht_import_file *file;
    const struct ht_model *model;
    struct ht_import_source *sources; /* [n_blocks] */
    bool *taken;                      /* [n_tensors] */
    struct ht_error *err;
};

/* --- what to say when it does not fit --- */

static void list_model(struct ht_text *t, const struct ht_model *m)
{
    ht_text_printf(t, "\nthe model wants:");
    for (size_t i = 0; i < m->n_blocks && i < MAX_LISTED; i++) {
        const struct ht_block *b = &m->blocks[i];
        ht_text_printf(t, "%s %s %zu -> %zu%s", i ? "," : "", b->name, b->in, b->out,
                       b->batchnorm ? " with batchnorm"
                       : b->bias    ? ""
                                    : " without bias");
    }
    if (m->n_blocks > MAX_LISTED)
        ht_text_printf(t, " and %zu more", m->n_blocks - MAX_LISTED);
}

static void list_file(struct ht_text *t, const struct ht_import_file *f)
{
    ht_text_printf(t, "\nthe file has:");
    for (size_t i = 0; i < f->n_tensors && i < 2 * MAX_LISTED; i++) {
        char shape[96];
        ht_import_print_shape(&f->tensors[i], shape);
        ht_text_printf(t, "%s %.80s %s", i ? "," : "", f->tensors[i].name, shape);
    }
    if (f->n_tensors > 2 * MAX_LISTED)
        ht_text_printf(t, " and %zu more", f->n_tensors - 2 * MAX_LISTED);
}

/* HT_ERR_CONFIG: why, then both sides. */
static enum ht_status misfit(const struct matching *s, const char *why)
{
    struct ht_text t = {0};
    list_model(&t, s->model);
    list_file(&t, s->file);
    ht_fail(s->err, HT_ERR_CONFIG, "%s: %s%s\n--map LAYER=NAME,... says what to take",
            s->file->label, why, ht_text_str(&t));
    ht_text_finish(&t);
    return HT_ERR_CONFIG;
}

#define MISFIT(s, ...) (snprintf(why, sizeof why, __VA_ARGS__), misfit(s, why))

/* --- taking --- */

static bool is_free(const struct matching *s, const struct ht_import_layer *l)
{
    for (int i = 0; i < HT_IMPORT_PARTS; i++)
        if (l->tensor[i] >= 0 && s->taken[l->tensor[i]])
            return false;
    return true;
}

static void take(const struct matching *s, size_t block, enum ht_import_slot slot, int tensor)
{
    s->sources[block].tensor[slot] = tensor;
    if (tensor >= 0)
        s->taken[tensor] = true;
}

static void take_layer(const struct matching *s, size_t block, const struct ht_import_layer *l)
{
    static const enum ht_import_slot to[2][HT_IMPORT_PARTS] = {
        {HT_SLOT_WEIGHT, HT_SLOT_BIAS, HT_SLOTS, HT_SLOTS},
        {HT_SLOT_GAMMA, HT_SLOT_BETA, HT_SLOT_MEAN, HT_SLOT_VARIANCE}};
    for (int i = 0; i < HT_IMPORT_PARTS; i++)
        if (to[l->batchnorm][i] != HT_SLOTS)
            take(s, block, to[l->batchnorm][i], l->tensor[i]);
    if (l->batchnorm)
        s->sources[block].epsilon = l->epsilon;
    else
        s->sources[block].transposed = l->transposed;
}

static bool is_missing(const struct matching *s, size_t block, bool batchnorm)
{
    const struct ht_import_source *source = &s->sources[block];
    if (batchnorm)
        return s->model->blocks[block].batchnorm && source->tensor[HT_SLOT_MEAN] < 0;
    return source->tensor[HT_SLOT_WEIGHT] < 0;
}

static bool has_shape(const struct ht_import_layer *l, const struct ht_block *b)
{
    return l->out == b->out && (l->batchnorm || l->in == b->in);
}

/* --- by name --- */

static const struct ht_import_layer *find_layer(const struct ht_import_file *f, const char *name,
                                                bool batchnorm)
{
    for (size_t i = 0; i < f->n_layers; i++) {
        const struct ht_import_layer *l = &f->layers[i];
        const int weight = l->tensor[HT_IMPORT_WEIGHT];
        if (l->batchnorm == batchnorm &&
            (strcmp(l->name, name) == 0 ||
             (weight >= 0 && strcmp(f->tensors[weight].name, name) == 0)))
            return l;
    }
    return NULL;
}

/* The file's layer with the block's own name, as halftone's export calls them. */
static const struct ht_import_layer *namesake(const struct matching *s, size_t block,
                                              bool batchnorm)
{
    char name[96];
    snprintf(name, sizeof name, "%s%s", s->model->blocks[block].name,
             batchnorm ? "_batchnorm" : "");
    return find_layer(s->file, name, batchnorm);
}

static bool all_have_namesakes(const struct matching *s, bool batchnorm)
{
    for (size_t i = 0; i < s->model->n_blocks; i++)
        if (is_missing(s, i, batchnorm) && !namesake(s, i, batchnorm))
            return false;
    return true;
}

/* --- by order and shape --- */

static const struct ht_import_layer *first_of_shape(const struct matching *s, size_t block,
                                                    bool batchnorm)
{
    for (size_t i = 0; i < s->file->n_layers; i++) {
        const struct ht_import_layer *l = &s->file->layers[i];
        if (l->batchnorm == batchnorm && is_free(s, l) && has_shape(l, &s->model->blocks[block]))
            return l;
    }
    return NULL;
}

static enum ht_status guess(const struct matching *s, bool batchnorm)
{
    char why[512];
    const bool by_name = all_have_namesakes(s, batchnorm);
    for (size_t i = 0; i < s->model->n_blocks; i++) {
        const struct ht_block *b = &s->model->blocks[i];
        if (!is_missing(s, i, batchnorm))
            continue;
        const struct ht_import_layer *l =
            by_name ? namesake(s, i, batchnorm) : first_of_shape(s, i, batchnorm);
        if (!l && batchnorm)
            return MISFIT(s, "no batch normalization of %zu values for %s", b->out, b->name);
        if (!l)
            return MISFIT(s, "no weights for %s, %zu -> %zu", b->name, b->in, b->out);
        take_layer(s, i, l);
    }
    return HT_OK;
}

/* --- by --map --- */

static enum ht_status unknown(const struct matching *s, const char *name)
{
    const size_t n = s->file->n_layers, all = n + s->file->n_tensors;
    const char **names = ht_calloc(all + 1, sizeof *names);
    char why[1024];
    for (size_t i = 0; names && i < all; i++)
        names[i] = i < n ? s->file->layers[i].name : s->file->tensors[i - n].name;
    const char *near = names ? ht_nearest_name(name, names, all) : NULL;
    ht_free(names);
    return MISFIT(s, "--map: it has no '%.256s'%s%.256s%s", name, near ? " (did you mean '" : "",
                  near ? near : "", near ? "'?)" : "");
}

/* LAYER or LAYER.batchnorm: a layer of the file with all its parts, or a lone matrix. */
static enum ht_status map_layer(const struct matching *s, size_t block, bool batchnorm,
                                const char *name)
{
    const struct ht_import_layer *l = find_layer(s->file, name, batchnorm);
    if (l) {
        take_layer(s, block, l);
        return HT_OK;
    }
    const int tensor = ht_import_find(s->file, name);
    if (tensor < 0 || batchnorm)
        return unknown(s, name);
    take(s, block, HT_SLOT_WEIGHT, tensor);
    return HT_OK;
}

static enum ht_status map_one(const struct matching *s, const char *layer, const char *name)
{
    char why[256];
    const char *names[HT_IMPORT_MAX_LAYERS];
    for (size_t i = 0; i < s->model->n_blocks; i++) {
        const struct ht_block *b = &s->model->blocks[i];
        const size_t n = strlen(b->name);
        names[i < HT_IMPORT_MAX_LAYERS ? i : 0] = b->name;
        if (strcmp(layer, b->name) == 0)
            return map_layer(s, i, false, name);
        if (strncmp(layer, b->name, n) != 0 || layer[n] != '.')
            continue;
        if (strcmp(layer + n, ".batchnorm") == 0 && b->batchnorm)
            return map_layer(s, i, true, name);
        for (int k = 0; k < (b->batchnorm ? HT_SLOTS : 2); k++) {
            if (strcmp(layer + n + 1, slots[k]) != 0)
                continue;
            const int tensor = ht_import_find(s->file, name);
            if (tensor < 0)
                return unknown(s, name);
            take(s, i, (enum ht_import_slot)k, tensor);
            return HT_OK;
        }
    }
    const char *near = ht_nearest_name(
        layer, names,
        s->model->n_blocks < HT_IMPORT_MAX_LAYERS ? s->model->n_blocks : HT_IMPORT_MAX_LAYERS);
    return MISFIT(s, "--map: the model has no '%.96s'%s%.64s%s", layer,
                  near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

static enum ht_status map_all(const struct matching *s, const char *map)
{
    char item[2 * HT_IMPORT_NAME];
    enum ht_status status = HT_OK;
    while (status == HT_OK && *map) {
        const size_t n = strcspn(map, ",");
        snprintf(item, sizeof item, "%.*s", n < sizeof item ? (int)n : 0, map);
        char *equals = strchr(item, '=');
        if (!equals)
            return ht_fail(s->err, HT_ERR_CONFIG,
                           "--map: expected LAYER=NAME,LAYER.PART=TENSOR..., not '%.200s'", map);
        *equals = '\0';
        status = map_one(s, item, equals + 1);
        map += n + (map[n] == ',');
    }
    return status;
}

/* --- checks --- */

static bool fits(const struct ht_import_tensor *t, const struct ht_block *b,
                 enum ht_import_slot slot, bool transposed)
{
    if (slot == HT_SLOT_WEIGHT)
        return t->rank == 2 && t->shape[transposed] == b->out && t->shape[!transposed] == b->in;
    return t->n == b->out && (t->rank == 1 || (t->rank == 2 && t->shape[0] == 1));
}

static enum ht_status check_shapes(const struct matching *s, size_t block)
{
    const struct ht_block *b = &s->model->blocks[block];
    const struct ht_import_source *source = &s->sources[block];
    char why[768], shape[96];
    for (int k = 0; k < HT_SLOTS; k++) {
        if (source->tensor[k] < 0)
            continue;
        const struct ht_import_tensor *t = &s->file->tensors[source->tensor[k]];
        ht_import_print_shape(t, shape);
        if (!fits(t, b, (enum ht_import_slot)k, source->transposed))
            return MISFIT(s, "%s is %s, which is not %s.%s of %zu -> %zu", t->name, shape, b->name,
                          slots[k], b->in, b->out);
    }
    return HT_OK;
}

static enum ht_status check_block(const struct matching *s, size_t block)
{
    const struct ht_block *b = &s->model->blocks[block];
    const struct ht_import_source *source = &s->sources[block];
    char why[256];
    const enum ht_status status = check_shapes(s, block);
    if (status != HT_OK)
        return status;
    if (source->tensor[HT_SLOT_BIAS] >= 0 && !b->bias && !b->batchnorm)
        return MISFIT(s, "it has a bias for %s, which has none in the experiment (bias: true)",
                      b->name);
    if (b->batchnorm && source->tensor[HT_SLOT_VARIANCE] < 0)
        return MISFIT(s, "no running_var for %s", b->name);
    if (b->batchnorm && fabs(source->epsilon - b->epsilon) > 1e-6 * b->epsilon)
        return ht_fail(s->err, HT_ERR_CONFIG,
                       "%s: its batch normalization for %s has epsilon %g, the experiment's %g; "
                       "write {batchnorm: {epsilon: %g}}",
                       s->file->label, b->name, source->epsilon, b->epsilon, source->epsilon);
    return HT_OK;
}

/* A network of which a part is left out would compute something else. */
static enum ht_status check_rest(const struct matching *s)
{
    char why[512], shape[96];
    for (size_t i = 0; i < s->file->n_tensors; i++) {
        const struct ht_import_tensor *t = &s->file->tensors[i];
        if (s->taken[i] || t->number == HT_IMPORT_NONE || t->n <= 1 || ht_import_is_aside(t->name))
            continue;
        ht_import_print_shape(t, shape);
        return MISFIT(s, "the model has no place for %s, %s", t->name, shape);
    }
    return HT_OK;
}

/* Does --map say where all weights come from? Then the rest of the file may be anything. */
static bool is_complete(const struct matching *s)
{
    for (size_t i = 0; i < s->model->n_blocks; i++)
        if (is_missing(s, i, false) || is_missing(s, i, true))
            return false;
    return true;
}

static enum ht_status match(const struct matching *s, const char *map)
{
    enum ht_status status = map ? map_all(s, map) : HT_OK;
    for (size_t i = 0; status == HT_OK && i < s->model->n_blocks; i++)
        status = check_shapes(s, i);
    if (status != HT_OK)
        return status;
    const bool complete = is_complete(s);
    status = guess(s, false);
    if (status == HT_OK)
        status = guess(s, true);
    for (size_t i = 0; status == HT_OK && i < s->model->n_blocks; i++)
        status = check_block(s, i);
    return status == HT_OK && !complete ? check_rest(s) : status;
}

enum ht_status ht_import_match(struct ht_import_source **ret, const struct ht_import_file *f,
                               const struct ht_model *m, const char *map, struct ht_error *err)
{
    struct matching s = {f, m, ht_calloc(m->n_blocks, sizeof *s.sources),
                         ht_calloc(f->n_tensors, sizeof *s.taken), err};
    enum ht_status status = s.sources && s.taken ? HT_OK : ht_fail_memory(err);
    for (size_t i = 0; status == HT_OK && i < m->n_blocks; i++) {
        s.sources[i].epsilon = NAN;
        for (int k = 0; k < HT_SLOTS; k++)
            s.sources[i].tensor[k] = -1;
    }
    if (status == HT_OK)
        status = match(&s, map);
    if (status == HT_OK)
        *ret = s.sources;
    else
        ht_free(s.sources);
    ht_free(s.taken);
    return status;
}

/* --- values --- */

static ht_real *values_of(struct ht_params *p, int span)
{
    return p->value + p->spans[span].offset;
}

static enum ht_status put_weights(struct ht_model *m, const struct ht_block *b,
                                  const struct ht_import_file *f,
                                  const struct ht_import_source *source, struct ht_error *err)
{
    const struct ht_import_tensor *t = &f->tensors[source->tensor[HT_SLOT_WEIGHT]];
    ht_real *w = values_of(&m->params, b->weight_span);
    float *x = ht_calloc(t->n, sizeof *x);
    enum ht_status status = x ? ht_import_values(f, t, x, err) : ht_fail_memory(err);
    for (size_t i = 0; status == HT_OK && i < t->n; i++)
        w[i] = x[source->transposed ? i % b->in * b->out + i / b->in : i];
    ht_free(x);
    return status;
}

/* A vector of the block, or what stands for one that is missing. */
static enum ht_status get_vector(float *x, const struct ht_block *b, const struct ht_import_file *f,
                                 int tensor, float otherwise, struct ht_error *err)
{
    if (tensor >= 0)
        return ht_import_values(f, &f->tensors[tensor], x, err);
    for (size_t i = 0; i < b->out; i++)
        x[i] = otherwise;
    return HT_OK;
}

/* gamma (w x + bias - mean) / d + beta. gamma is kept at or above a smallest value: what it lacks,
 * or its sign, goes into w and mean. Exact but for gains that are nearly 0. */
static void put_gain(struct ht_model *m, const struct ht_block *b, size_t row, float gamma)
{
    const float least = (float)m->params.spans[b->gamma_span].minimum;
    const float kept = fabsf(gamma) < least ? least : fabsf(gamma), factor = gamma / kept;
    ht_real *w = values_of(&m->params, b->weight_span) + row * b->in;
    values_of(&m->params, b->gamma_span)[row] = kept;
    if (gamma == kept)
        return;
    for (size_t i = 0; i < b->in; i++)
        w[i] *= factor;
    values_of(&m->state, b->mean_span)[row] *= factor;
}

static enum ht_status put_batchnorm(struct ht_model *m, const struct ht_block *b,
                                    const struct ht_import_file *f,
                                    const struct ht_import_source *source, float *x,
                                    struct ht_error *err)
{
    float *bias = x, *gamma = x + b->out, *beta = x + 2 * b->out, *mean = x + 3 * b->out,
          *variance = x + 4 * b->out;
    const struct {
        float *x;
        enum ht_import_slot slot;
        float otherwise;
    } vectors[] = {{bias, HT_SLOT_BIAS, 0},
                   {gamma, HT_SLOT_GAMMA, 1},
                   {beta, HT_SLOT_BETA, 0},
                   {mean, HT_SLOT_MEAN, 0},
                   {variance, HT_SLOT_VARIANCE, 1}};
    enum ht_status status = HT_OK;
    for (size_t i = 0; status == HT_OK && i < sizeof vectors / sizeof *vectors; i++)
        status = get_vector(vectors[i].x, b, f, source->tensor[vectors[i].slot],
                            vectors[i].otherwise, err);
    for (size_t n = 0; status == HT_OK && n < b->out; n++) {
        if (variance[n] < 0)
            return HT_IMPORT_BAD(f, err, "%s: variance %zu is negative",
                                 f->tensors[source->tensor[HT_SLOT_VARIANCE]].name, n);
        values_of(&m->params, b->beta_span)[n] = beta[n];
        values_of(&m->state, b->mean_span)[n] = mean[n] - bias[n];
        values_of(&m->state, b->var_span)[n] = variance[n];
        put_gain(m, b, n, gamma[n]);
    }
    return status;
}

enum ht_status ht_import_apply(struct ht_model *m, const struct ht_import_file *f,
                               const struct ht_import_source *sources, struct ht_error *err)
{
    enum ht_status status = HT_OK;
    for (size_t i = 0; status == HT_OK && i < m->n_blocks; i++) {
        const struct ht_block *b = &m->blocks[i];
        float *x = ht_calloc(5 * b->out, sizeof *x);
        status = x ? put_weights(m, b, f, &sources[i], err) : ht_fail_memory(err);
        if (status == HT_OK && b->batchnorm)
            status = put_batchnorm(m, b, f, &sources[i], x, err);
        else if (status == HT_OK && b->bias)
            status = get_vector(x, b, f, sources[i].tensor[HT_SLOT_BIAS], 0, err);
        for (size_t n = 0; status == HT_OK && b->bias && n < b->out; n++)
            values_of(&m->params, b->bias_span)[n] = x[n];
        ht_free(x);
    }
    m->params.version++;
    return status;
}
