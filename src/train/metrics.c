#include "train/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "io/file.h"

#define MAX_METRICS_BYTES ((size_t)1 << 30)

static void metrics_path(const char *run_dir, char path[HT_PATH_LENGTH + 64])
{
    snprintf(path, HT_PATH_LENGTH + 64, "%s/metrics.jsonl", run_dir);
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

/* Those of this epoch, or NULL: healthy ones have no such key. */
static json_t *warnings_of(const struct ht_train_event *event)
{
    json_t *list = NULL;
    for (size_t i = 0; i < event->n_warnings; i++) {
        const struct ht_warning *w = &event->warnings[i];
        if (w->last_epoch != event->epoch)
            continue;
        json_t *o = json_object();
        json_object_set_new(o, "check", json_string(w->check));
        json_object_set_new(o, "where", json_string(w->where));
        json_object_set_new(o, "value", number(w->value));
        if (w->first_epoch == w->last_epoch)
            json_object_set_new(o, "message", json_string(w->message));
        list = list ? list : json_array();
        json_array_append_new(list, o);
    }
    return list;
}

static char *metrics_line(const char *score_name, const struct ht_progress_state *state,
                          const struct ht_train_event *event)
{
    char key[64];
    snprintf(key, sizeof key, "validation_%s", score_name);
    json_t *o = json_object();
    json_object_set_new(o, "epoch", json_integer(state->epoch));
    json_object_set_new(o, "step", json_integer(state->step));
    json_object_set_new(o, "quantized", json_boolean(event->quantized));
    json_object_set_new(o, "weight_bits", json_integer(event->weight_bits));
    json_object_set_new(o, "activation_bits", json_integer(event->activation_bits));
    json_object_set_new(o, "learning_rate", number(event->learning_rate));
    json_object_set_new(o, "train_loss", number(event->train_loss));
    json_object_set_new(o, "validation_loss", number(event->validation_loss));
    json_object_set_new(o, key, number(event->validation_score));
    json_object_set_new(o, "gradient_norm", number(event->gradient_norm));
    if (isfinite(event->flip_rate)) {
        json_object_set_new(o, "flip_rate", number(event->flip_rate));
        json_object_set_new(o, "frozen", number(event->frozen));
    }
    json_object_set_new(o, "best", json_boolean(event->improved));
    json_t *warnings = warnings_of(event);
    if (warnings)
        json_object_set_new(o, "warnings", warnings);
    char *line = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return line;
}

enum ht_status ht_metrics_append(const char *run_dir, const char *score_name,
                                 const struct ht_progress_state *state,
                                 const struct ht_train_event *event, struct ht_error *err)
{
    char path[HT_PATH_LENGTH + 64];
    metrics_path(run_dir, path);
    char *line = metrics_line(score_name, state, event);
    if (!line)
        return ht_fail_memory(err);
    enum ht_status status = HT_OK;
    FILE *f = fopen(path, "ab");
    if (!f)
        status = ht_fail_errno(err, "cannot open", path);
    if (f && (fprintf(f, "%s\n", line) < 0 || fflush(f) != 0))
        status = ht_fail_errno(err, "cannot write", path);
    if (f && fclose(f) != 0 && status == HT_OK)
        status = ht_fail_errno(err, "cannot write", path);
    free(line);
    return status;
}

enum ht_status ht_metrics_truncate(const char *run_dir, int64_t epochs, struct ht_error *err)
{
    char path[HT_PATH_LENGTH + 64], *text;
    size_t size, keep = 0;
    metrics_path(run_dir, path);
    if (!ht_file_exists(path))
        return HT_OK;
    enum ht_status status = ht_file_read(path, MAX_METRICS_BYTES, &text, &size, err);
    if (status != HT_OK)
        return status;
    for (int64_t line = 0; line < epochs && keep < size; line++) {
        const char *end = memchr(text + keep, '\n', size - keep);
        if (!end)
            break;
        keep = (size_t)(end - text) + 1;
    }
    if (keep < size)
        status = ht_file_write_atomic(path, text, keep, err);
    ht_free(text);
    return status;
}

static void copy_text(char *to, size_t size, const json_t *text)
{
    snprintf(to, size, "%s", json_is_string(text) ? json_string_value(text) : "");
}

/* A line of any shape: what is not there is not recalled. */
static void recall_line(struct ht_health *health, const char *score_key, const json_t *line)
{
    const json_t *score = json_object_get(line, score_key);
    const json_t *list = json_object_get(line, "warnings"), *o;
    const int64_t epoch = json_integer_value(json_object_get(line, "epoch"));
    size_t i;
    if (json_is_number(score))
        ht_health_recall_score(health, epoch, json_number_value(score));
    json_array_foreach(list, i, o)
    {
        struct ht_warning w = {.first_epoch = epoch, .last_epoch = epoch};
        copy_text(w.check, sizeof w.check, json_object_get(o, "check"));
        copy_text(w.where, sizeof w.where, json_object_get(o, "where"));
        copy_text(w.message, sizeof w.message, json_object_get(o, "message"));
        w.value = json_number_value(json_object_get(o, "value"));
        ht_health_recall(health, &w);
    }
}

enum ht_status ht_metrics_recall(const char *run_dir, const char *score_name,
                                 struct ht_health *health, struct ht_error *err)
{
    char path[HT_PATH_LENGTH + 64], key[64], *text;
    size_t size;
    metrics_path(run_dir, path);
    snprintf(key, sizeof key, "validation_%s", score_name);
    if (!ht_file_exists(path))
        return HT_OK;
    enum ht_status status = ht_file_read(path, MAX_METRICS_BYTES, &text, &size, err);
    if (status != HT_OK)
        return status;
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        const size_t length = end ? (size_t)(end - (text + at)) : size - at;
        json_t *line = json_loadb(text + at, length, 0, NULL);
        recall_line(health, key, line);
        json_decref(line);
        at += length + 1;
    }
    ht_free(text);
    return HT_OK;
}
