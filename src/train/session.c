#include "train/session.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "io/file.h"
#include "train/checkpoint.h"
#include "train/setup.h"

static bool is_folder(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

static enum ht_status find_checkpoint(const char *path, char found[HT_PATH_LENGTH + 64],
                                      struct ht_error *err)
{
    static const char *const names[] = {"best", "last", "previous"};
    snprintf(found, HT_PATH_LENGTH + 64, "%s", path);
    if (!is_folder(path))
        return HT_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(found, HT_PATH_LENGTH + 64, "%s/checkpoints/%s.h5", path, names[i]);
        if (ht_file_exists(found))
            return HT_OK;
    }
    return ht_fail(err, HT_ERR_MODEL, "%s: no checkpoint in this folder", path);
}

static enum ht_status open_experiment(struct ht_session *s, const char *text, const char *label,
                                      const char *data, struct ht_error *err)
{
    char override[HT_PATH_LENGTH + 16];
    const char *overrides[] = {override};
    snprintf(override, sizeof override, "data.name=%s", data ? data : "");
    enum ht_status status = ht_config_parse(&s->config, label, text, strlen(text), overrides,
                                            data ? 1 : 0, NULL, err);
    if (status != HT_OK)
        return ht_error_prefix(err, HT_ERR_MODEL, "%s: the experiment inside does not load", label);
    s->experiment = ht_config_experiment(s->config);
    status = ht_setup_dataset(&s->dataset, s->experiment, err);
    if (status == HT_OK)
        status = ht_objective_init(&s->objective, s->experiment, s->dataset, err);
    return status;
}

enum ht_status ht_session_from_checkpoint(struct ht_session *s, const char *path,
                                          struct ht_error *err)
{
    char checkpoint[HT_PATH_LENGTH + 64], *text = NULL;
    memset(s, 0, sizeof *s);
    enum ht_status status = find_checkpoint(path, checkpoint, err);
    if (status == HT_OK)
        status = ht_checkpoint_experiment(checkpoint, &text, err);
    if (status == HT_OK)
        status = open_experiment(s, text, checkpoint, NULL, err);
    if (status == HT_OK)
        status = ht_setup_model(&s->model, s->experiment, s->dataset->features, err);
    if (status == HT_OK)
        status = ht_checkpoint_load_parameters(checkpoint, s->model, true, err);
    ht_free(text);
    if (status != HT_OK)
        ht_session_finish(s);
    return status;
}

enum ht_status ht_session_from_model(struct ht_session *s, const struct ht_qmodel *model,
                                     const char *data, struct ht_error *err)
{
    memset(s, 0, sizeof *s);
    enum ht_status status = open_experiment(s, model->experiment, model->name, data, err);
    if (status == HT_OK && (s->dataset->features != model->input.features ||
                            s->objective.outputs != model->outputs))
        status = ht_fail(err, HT_ERR_DATA, "%s has %zu features and %zu outputs, the model %zu and %zu",
                         s->dataset->name, s->dataset->features, s->objective.outputs,
                         model->input.features, model->outputs);
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
