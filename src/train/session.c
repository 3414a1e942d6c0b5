#include "train/session.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "io/file.h"
#include "train/checkpoint.h"
#include "train/setup.h"

/* --- where a user's descriptor is: its path in the experiment is relative to the experiment's
 * file, and a run folder or a model may lie anywhere --- */

static bool holds(const char *folder, const char *name)
{
    char path[2 * HT_PATH_LENGTH + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return ht_file_exists(path);
}

static void cut_last_name(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash)
        slash[slash == path] = '\0';
    else
        snprintf(path, HT_PATH_LENGTH, ".");
}

/* The experiment's folder as the environment.json in `folder` tells it; false without. */
static bool recorded_folder(const char *folder, char found[HT_PATH_LENGTH])
{
    char path[HT_PATH_LENGTH + 64], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/environment.json", folder);
    if (ht_file_read(path, 1 << 20, &text, &size, NULL) != HT_OK)
        return false;
    json_t *o = json_loadb(text, size, 0, NULL);
    const char *file = json_string_value(json_object_get(o, "experiment_file"));
    bool ok = file && *file == '/' && strlen(file) < HT_PATH_LENGTH;
    if (ok) {
        snprintf(found, HT_PATH_LENGTH, "%s", file);
        cut_last_name(found);
    }
    json_decref(o);
    ht_free(text);
    return ok;
}

/* Tried in order: what the run folder says, the working directory, the folders above the file. */
static void find_base(const char *file, const char *name, char base[HT_PATH_LENGTH])
{
    char folder[HT_PATH_LENGTH];
    snprintf(folder, sizeof folder, "%s", file);
    for (int level = 0; level < 2; level++) {
        cut_last_name(folder);
        if (recorded_folder(folder, base) && holds(base, name))
            return;
    }
    snprintf(base, HT_PATH_LENGTH, ".");
    if (holds(base, name))
        return;
    snprintf(folder, sizeof folder, "%s", file);
    while (strcmp(folder, "/") != 0 && strcmp(folder, ".") != 0) {
        cut_last_name(folder);
        if (holds(folder, name)) {
            snprintf(base, HT_PATH_LENGTH, "%s", folder);
            return;
        }
    }
}

static bool is_relative_path(const char *name)
{
    size_t n = strlen(name);
    return name[0] != '/' && n > 5 && strcmp(name + n - 5, ".yaml") == 0;
}

/* --- */

static enum ht_status parse_experiment(struct ht_session *s, const char *text, const char *label,
                                       const char *data, struct ht_error *err)
{
    char override[HT_PATH_LENGTH + 16];
    const char *overrides[] = {override};
    snprintf(override, sizeof override, "data.name=%s", data ? data : "");
    ht_config_destroy(s->config);
    s->config = NULL;
    enum ht_status status =
        ht_config_parse(&s->config, label, text, strlen(text), overrides, data ? 1 : 0, NULL, err);
    if (status != HT_OK)
        return ht_error_prefix(err, data ? HT_ERR_CONFIG : HT_ERR_MODEL,
                               "%s: the experiment inside does not load", label);
    s->experiment = ht_config_experiment(s->config);
    return HT_OK;
}

/* data: another dataset's name, or a path from the working directory; NULL: the model's own. */
static enum ht_status open_experiment(struct ht_session *s, const char *text, const char *file,
                                      const char *data, struct ht_error *err)
{
    char base[HT_PATH_LENGTH] = ".", label[2 * HT_PATH_LENGTH];
    enum ht_status status = parse_experiment(s, text, file, data, err);
    if (status != HT_OK)
        return status;
    if (data || is_relative_path(s->experiment->data.name)) {
        /* The label's folder is what the descriptor's path starts from. */
        if (!data)
            find_base(file, s->experiment->data.name, base);
        snprintf(label, sizeof label, "%s/experiment", base);
        status = parse_experiment(s, text, label, data, err);
    }
    if (status == HT_OK)
        status = ht_setup_dataset(&s->dataset, s->experiment, err);
    if (status != HT_OK && !data && is_relative_path(s->experiment ? s->experiment->data.name : ""))
        return ht_error_prefix(
            err, status, "%s: its dataset is not here; eval takes another place by --data", file);
    return status;
}

enum ht_status ht_session_from_checkpoint(struct ht_session *s, const char *path,
                                          struct ht_error *err)
{
    char checkpoint[HT_PATH_LENGTH + 64], *text = NULL;
    struct ht_progress_state state;
    memset(s, 0, sizeof *s);
    enum ht_status status = ht_checkpoint_find(path, checkpoint, err);
    if (status == HT_OK)
        status = ht_checkpoint_experiment(checkpoint, &text, err);
    if (status == HT_OK)
        status = open_experiment(s, text, checkpoint, NULL, err);
    if (status == HT_OK)
        status = ht_objective_init(&s->objective, s->experiment, s->dataset, err);
    if (status == HT_OK)
        status = ht_setup_model(&s->model, s->experiment, s->dataset->features, err);
    if (status == HT_OK)
        status = ht_checkpoint_load_parameters(checkpoint, s->model, true, err);
    if (status == HT_OK)
        status = ht_checkpoint_progress(checkpoint, &state, err);
    if (status == HT_OK)
        s->float_stage = s->experiment->train.epochs > 0 &&
                         state.epoch + (state.batch > 0) <= s->experiment->quant.start_epoch;
    if (status == HT_OK) {
        const size_t stage = ht_checkpoint_stage(s->experiment, &state);
        if (stage + 1 < ht_experiment_stages(s->experiment))
            s->stage_bits = s->experiment->quant.progressive[stage];
    }
    ht_free(text);
    if (status != HT_OK)
        ht_session_finish(s);
    return status;
}

static enum ht_status copy_floats(float **to, const float *from, size_t n, struct ht_error *err)
{
    ht_free(*to);
    *to = NULL;
    if (!from)
        return HT_OK;
    *to = ht_calloc(n, sizeof **to);
    if (!*to)
        return ht_fail_memory(err);
    memcpy(*to, from, n * sizeof **to);
    return HT_OK;
}

/* Classes go by name: another dataset may number them otherwise. */
static enum ht_status map_classes(struct ht_dataset *d, const struct ht_qmodel *m,
                                  struct ht_error *err)
{
    if (!d->labels || !m->n_classes)
        return HT_OK;
    int32_t *map = ht_calloc(d->n_classes, sizeof *map);
    enum ht_status status = map ? HT_OK : ht_fail_memory(err);
    for (size_t i = 0; status == HT_OK && i < d->n_classes; i++) {
        size_t j = 0;
        while (j < m->n_classes && strcmp(m->classes[j], d->classes[i]) != 0)
            j++;
        map[i] = (int32_t)j;
        if (j == m->n_classes)
            status = ht_fail(err, HT_ERR_DATA, "%s has a class '%s' that the model does not know",
                             d->name, d->classes[i]);
    }
    for (size_t i = 0; status == HT_OK && i < d->n; i++)
        d->labels[i] = map[d->labels[i]];
    ht_free(map);
    char(*classes)[HT_NAME_LENGTH] = ht_calloc(m->n_classes, sizeof *classes);
    if (!classes)
        return ht_fail_memory(err);
    memcpy(classes, m->classes, m->n_classes * sizeof *classes);
    ht_free(d->classes);
    d->classes = classes;
    d->n_classes = m->n_classes;
    return status;
}

/* The data as the model sees them: its own standardization and class numbers, whatever those of
 * this dataset would be. */
static enum ht_status adapt_dataset(struct ht_dataset *d, const struct ht_qmodel *m,
                                    struct ht_error *err)
{
    const size_t targets = d->target_columns;
    if (d->features != m->input.features)
        return ht_fail(err, HT_ERR_DATA, "%s has %zu features, the model takes %zu", d->name,
                       d->features, m->input.features);
    if (m->target_mean && targets != m->outputs)
        return ht_fail(err, HT_ERR_DATA, "%s has %zu targets, the model gives %zu", d->name,
                       targets, m->outputs);
    enum ht_status status = copy_floats(&d->mean, m->input.mean, d->features, err);
    if (status == HT_OK)
        status = copy_floats(&d->std, m->input.std, d->features, err);
    if (status == HT_OK)
        status = copy_floats(&d->target_mean, m->target_mean, targets, err);
    if (status == HT_OK)
        status = copy_floats(&d->target_std, m->target_std, targets, err);
    return status == HT_OK ? map_classes(d, m, err) : status;
}

enum ht_status ht_session_from_model(struct ht_session *s, const struct ht_qmodel *model,
                                     const char *path, const char *data, struct ht_error *err)
{
    memset(s, 0, sizeof *s);
    enum ht_status status = open_experiment(s, model->experiment, path, data, err);
    if (status == HT_OK)
        status = adapt_dataset(s->dataset, model, err);
    if (status == HT_OK)
        status = ht_objective_init(&s->objective, s->experiment, s->dataset, err);
    s->other_data = status == HT_OK && strcmp(s->dataset->hash, model->data_hash) != 0;
    if (status != HT_OK)
        ht_session_finish(s);
    return status;
}

void ht_session_finish(struct ht_session *s)
{
    ht_model_destroy(s->model);
    ht_dataset_destroy(s->dataset);
    ht_config_destroy(s->config);
    memset(s, 0, sizeof *s);
}
