/* A writer that changes one thing: save.c once more, between it and the container a mutation. So
 * every mutated file is a valid container, and only the loader's own checks can refuse it. */
#ifndef HT_TESTS_QMODEL_MUTATE_H
#define HT_TESTS_QMODEL_MUTATE_H

#include "support.h"

#include "io/container.h"
#include "qmodel/qmodel.h"

enum change { NOTHING, DROP, SET, SHORTEN, RETYPE, SET_ELEMENT };

static struct mutation {
    enum change change;
    const char *path, *name; /* name NULL: the dataset itself */
    double number;           /* of an attribute or element */
    const char *text;
    size_t element;
    int hits;
} mutation;

static bool applies(enum change change, const char *path, const char *name)
{
    if (mutation.change != change || strcmp(mutation.path, path) != 0 || !name != !mutation.name ||
        (name && strcmp(name, mutation.name) != 0))
        return false;
    mutation.hits++;
    return true;
}

static void mutated_attr_i64(struct ht_container_writer *w, const char *path, const char *name,
                             int64_t value)
{
    if (applies(DROP, path, name))
        return;
    if (applies(RETYPE, path, name))
        ht_container_attr_text(w, path, name, "text");
    else
        ht_container_attr_i64(w, path, name,
                              applies(SET, path, name) ? (int64_t)mutation.number : value);
}

static void mutated_attr_f64(struct ht_container_writer *w, const char *path, const char *name,
                             double value)
{
    if (applies(DROP, path, name))
        return;
    if (applies(RETYPE, path, name))
        ht_container_attr_i64(w, path, name, 1);
    else
        ht_container_attr_f64(w, path, name, applies(SET, path, name) ? mutation.number : value);
}

static void mutated_attr_text(struct ht_container_writer *w, const char *path, const char *name,
                              const char *value)
{
    if (applies(DROP, path, name))
        return;
    if (applies(RETYPE, path, name))
        ht_container_attr_i64(w, path, name, 1);
    else
        ht_container_attr_text(w, path, name, applies(SET, path, name) ? mutation.text : value);
}

static void mutated_put(struct ht_container_writer *w, const char *path,
                        enum ht_container_type type, const void *data, int rank,
                        const size_t *shape)
{
    static const size_t sizes[] = {1, 1, 4, 8, 4, 8};
    const size_t count = shape[0], bytes = count * sizes[type];
    if (applies(DROP, path, NULL))
        return;
    uint8_t *copy = calloc(count + 1, sizes[type]);
    memcpy(copy, data, bytes);
    size_t n = count;
    if (applies(SHORTEN, path, NULL))
        n = count > 1 ? count - 1 : count + 1;
    if (applies(RETYPE, path, NULL))
        type = type == HT_I32 ? HT_F32 : type == HT_F32 ? HT_I32 : HT_I8;
    if (applies(SET_ELEMENT, path, NULL)) {
        if (type == HT_U8)
            copy[mutation.element] = (uint8_t)mutation.number;
        else if (type == HT_I32)
            ((int32_t *)(void *)copy)[mutation.element] = (int32_t)mutation.number;
        else
            ((float *)(void *)copy)[mutation.element] = (float)mutation.number;
    }
    ht_container_put(w, path, type, copy, rank, &n);
    free(copy);
}

static void mutated_put_text(struct ht_container_writer *w, const char *path, const char *text)
{
    if (applies(DROP, path, NULL))
        return;
    ht_container_put_text(w, path, applies(SET, path, NULL) ? mutation.text : text);
}

static enum ht_status no_check(const struct ht_qmodel *m, struct ht_error *err)
{
    return HT_OK;
}

#define ht_container_attr_i64  mutated_attr_i64
#define ht_container_attr_f64  mutated_attr_f64
#define ht_container_attr_text mutated_attr_text
#define ht_container_put       mutated_put
#define ht_container_put_text  mutated_put_text
#define ht_qmodel_check        no_check
#define ht_qmodel_save         save_mutated
enum ht_status save_mutated(const struct ht_qmodel *m, const char *path, struct ht_error *err);
#include "qmodel/save.c"
#undef ht_container_attr_i64
#undef ht_container_attr_f64
#undef ht_container_attr_text
#undef ht_container_put
#undef ht_container_put_text
#undef ht_qmodel_check
#undef ht_qmodel_save

#endif
