/* result.json */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "io/file.h"
#include "train/result.h"

/* OPTIONAL: a REAL that is left out when it is NAN. */
enum kind { TEXT, INT, INT64, UINT64, SIZE, REAL, OPTIONAL };

static const struct field {
    const char *name;
    enum kind kind;
    size_t offset, size;
} fields[] = {
#define FIELD(name, kind)                                                                          \
    {                                                                                              \
#name, kind, offsetof(struct ht_run_result, name),                                         \
            sizeof(((struct ht_run_result *)0)->name)                                              \
    }
    FIELD(name, TEXT),
    FIELD(run_dir, TEXT),
    FIELD(model_path, TEXT),
    FIELD(score_name, TEXT),
    FIELD(split, TEXT),
    FIELD(seed, UINT64),
    FIELD(weight_bits, INT),
    FIELD(activation_bits, INT),
    FIELD(score, REAL),
    FIELD(integer_score, REAL),
    FIELD(validation_score, REAL),
    FIELD(best_epoch, INT64),
    FIELD(epochs, INT64),
    FIELD(outputs_compared, SIZE),
    FIELD(mismatched_outputs, SIZE),
    FIELD(model_bytes, SIZE),
    FIELD(float_bytes, SIZE),
    FIELD(accumulator_bits, INT),
    FIELD(product_bits, INT),
    FIELD(train_seconds, REAL),
    FIELD(samples_per_s, REAL),
    FIELD(reconstruction_error, OPTIONAL),
    FIELD(anomaly_auc, OPTIONAL),
    FIELD(flip_rate, OPTIONAL),
    FIELD(frozen, OPTIONAL),
#undef FIELD
};
#define N_FIELDS (sizeof fields / sizeof *fields)

static json_t *field_value(const struct ht_run_result *r, const struct field *f)
{
    const void *p = (const char *)r + f->offset;
    switch (f->kind) {
    case TEXT:
        return json_string(p);
    case INT:
        return json_integer(*(const int *)p);
    case INT64:
        return json_integer(*(const int64_t *)p);
    case UINT64:
        return json_integer((json_int_t) * (const uint64_t *)p);
    case SIZE:
        return json_integer((json_int_t) * (const size_t *)p);
    case REAL:
    case OPTIONAL:
        break;
    }
    return isfinite(*(const double *)p) ? json_real(*(const double *)p) : json_null();
}

static json_t *warnings_value(const struct ht_run_result *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_warnings; i++) {
        const struct ht_warning *w = &r->warnings[i];
        json_t *o = json_object();
        json_object_set_new(o, "check", json_string(w->check));
        json_object_set_new(o, "where", json_string(w->where));
        json_object_set_new(o, "value", isfinite(w->value) ? json_real(w->value) : json_null());
        json_object_set_new(o, "first_epoch", json_integer(w->first_epoch));
        json_object_set_new(o, "last_epoch", json_integer(w->last_epoch));
        json_object_set_new(o, "message", json_string(w->message));
        json_array_append_new(list, o);
    }
    return list;
}

static bool take_text(char *to, size_t size, const json_t *v)
{
    if (!json_is_string(v))
        return false;
    snprintf(to, size, "%s", json_string_value(v));
    return true;
}

/* False when the list is of another form; none is none. */
static bool take_warnings(struct ht_run_result *r, const json_t *list)
{
    size_t i;
    const json_t *o;
    if (list && (!json_is_array(list) || json_array_size(list) > HT_MAX_WARNINGS))
        return false;
    json_array_foreach(list, i, o)
    {
        struct ht_warning *w = &r->warnings[r->n_warnings++];
        if (!take_text(w->check, sizeof w->check, json_object_get(o, "check")) ||
            !take_text(w->where, sizeof w->where, json_object_get(o, "where")) ||
            !take_text(w->message, sizeof w->message, json_object_get(o, "message")))
            return false;
        w->value = json_number_value(json_object_get(o, "value"));
        w->first_epoch = json_integer_value(json_object_get(o, "first_epoch"));
        w->last_epoch = json_integer_value(json_object_get(o, "last_epoch"));
    }
    return true;
}

enum ht_status ht_run_result_write(const struct ht_run_result *r, struct ht_error *err)
{
    char path[HT_PATH_LENGTH + 64];
    json_t *o = json_object();
    for (size_t i = 0; i < N_FIELDS; i++)
        if (fields[i].kind != OPTIONAL ||
            isfinite(*(const double *)(const void *)((const char *)r + fields[i].offset)))
            json_object_set_new(o, fields[i].name, field_value(r, &fields[i]));
    json_object_set_new(o, "warnings", warnings_value(r));
    char *text = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    if (!text)
        return ht_fail_memory(err);
    snprintf(path, sizeof path, "%s/result.json", r->run_dir);
    enum ht_status status = ht_file_write_atomic(path, text, strlen(text), err);
    free(text);
    return status;
}

/* False when the value has the wrong type. */
static bool take_field(struct ht_run_result *r, const struct field *f, const json_t *v)
{
    void *p = (char *)r + f->offset;
    const bool real = f->kind == REAL || f->kind == OPTIONAL;
    if (f->kind == OPTIONAL && !v) {
        *(double *)p = (double)NAN;
        return true;
    }
    if (f->kind == TEXT ? !json_is_string(v)
        : real          ? !json_is_number(v) && !json_is_null(v)
                        : !json_is_integer(v))
        return false;
    switch (f->kind) {
    case TEXT:
        snprintf(p, f->size, "%s", json_string_value(v));
        break;
    case INT:
        *(int *)p = (int)json_integer_value(v);
        break;
    case INT64:
        *(int64_t *)p = (int64_t)json_integer_value(v);
        break;
    case UINT64:
        *(uint64_t *)p = (uint64_t)json_integer_value(v);
        break;
    case SIZE:
        *(size_t *)p = (size_t)json_integer_value(v);
        break;
    case REAL:
    case OPTIONAL:
        *(double *)p = json_is_null(v) ? (double)NAN : json_number_value(v);
        break;
    }
    return true;
}

enum ht_status ht_run_result_read(struct ht_run_result *ret, const char *run_dir,
                                  struct ht_error *err)
{
    char path[HT_PATH_LENGTH + 64], *text;
    size_t size;
    json_error_t why;
    snprintf(path, sizeof path, "%s/result.json", run_dir);
    enum ht_status status = ht_file_read(path, 1 << 20, &text, &size, err);
    if (status != HT_OK)
        return status;
    json_t *o = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    ht_free(text);
    if (!json_is_object(o)) {
        json_decref(o);
        return ht_fail(err, HT_ERR_DATA, "%s:%d:%d: %s", path, o ? 1 : why.line, o ? 1 : why.column,
                       o ? "expected an object" : why.text);
    }
    memset(ret, 0, sizeof *ret);
    for (size_t i = 0; i < N_FIELDS && status == HT_OK; i++)
        if (!take_field(ret, &fields[i], json_object_get(o, fields[i].name)))
            status = ht_fail(err, HT_ERR_DATA, "%s: '%s' is missing or of the wrong type", path,
                             fields[i].name);
    if (status == HT_OK && !take_warnings(ret, json_object_get(o, "warnings")))
        status = ht_fail(err, HT_ERR_DATA, "%s: 'warnings' is of the wrong form", path);
    json_decref(o);
    return status;
}
