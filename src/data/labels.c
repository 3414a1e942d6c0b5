#include "data/loading.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define N_SLOTS (sizeof((struct ht_label_set *)0)->slots / sizeof(int16_t))

static size_t hash_text(const char *text)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 16777619u;
    return h % N_SLOTS;
}

enum ht_status ht_labels_add(struct ht_label_set *set, const char *text, const char *path,
                             size_t row, int32_t *id, struct ht_error *err)
{
    size_t slot = hash_text(text);
    for (; set->slots[slot]; slot = (slot + 1) % N_SLOTS)
        if (strcmp(set->entries[set->slots[slot] - 1].text, text) == 0) {
            *id = set->slots[slot] - 1;
            return HT_OK;
        }
    if (strlen(text) >= HT_NAME_LENGTH)
        return ht_fail(err, HT_ERR_DATA, "%s:row %zu: label \"%.40s...\" is longer than %d bytes",
                       path, row, text, HT_NAME_LENGTH - 1);
    bool readable = ht_is_utf8(text);
    for (const char *p = text; *p; p++)
        readable = readable && (unsigned char)*p >= 0x20 && *p != 0x7f;
    if (!readable)
        return ht_fail(
            err, HT_ERR_DATA,
            "%s:row %zu: the label is not valid UTF-8 text, or has control characters in it", path,
            row);
    if (set->n == HT_MAX_CLASSES)
        return ht_fail(err, HT_ERR_DATA,
                       "%s:row %zu: more than %d different labels; is this column the label, and "
                       "is the task really classification?",
                       path, row, HT_MAX_CLASSES);
    if (set->n == set->cap) {
        size_t cap = set->cap ? set->cap * 2 : 16;
        struct ht_label *grown = ht_grow(set->entries, cap, sizeof *grown);
        if (!grown)
            return ht_fail_memory(err);
        set->entries = grown;
        set->cap = cap;
    }
    struct ht_label *entry = &set->entries[set->n];
    snprintf(entry->text, sizeof entry->text, "%s", text);
    entry->path = path;
    entry->row = row;
    set->slots[slot] = (int16_t)(set->n + 1);
    *id = (int32_t)set->n++;
    return HT_OK;
}

enum ht_status ht_labels_add_number(struct ht_label_set *set, double value, const char *path,
                                    size_t row, int32_t *id, struct ht_error *err)
{
    char text[HT_NAME_LENGTH];
    snprintf(text, sizeof text, "%.17g", value == 0 ? 0.0 : value); /* -0 is 0 */
    return ht_labels_add(set, text, path, row, id, err);
}

/* The descriptor's class that this label names, or -1. */
static int32_t class_by_name(const struct ht_descriptor *d, const char *text)
{
    for (size_t c = 0; c < d->n_classes; c++)
        if (strcmp(d->classes[c], text) == 0)
            return (int32_t)c;
    return -1;
}

static int32_t class_by_number(const struct ht_descriptor *d, const char *text)
{
    double value;
    if (!ht_parse_number(text, &value) || value != floor(value) || value < 0 ||
        value >= (double)d->n_classes)
        return -1;
    return (int32_t)value;
}

/* Labels are names of classes, all of them, or else numbers 0..n-1, all of them. */
static enum ht_status map_to_listed(const struct ht_label_set *set,
                                    const struct ht_descriptor *descriptor, int32_t *map,
                                    struct ht_error *err)
{
    int32_t (*const ways[])(const struct ht_descriptor *, const char *) = {class_by_name,
                                                                           class_by_number};
    for (size_t way = 0; way < 2; way++) {
        size_t i = 0;
        while (i < set->n && (map[i] = ways[way](descriptor, set->entries[i].text)) >= 0)
            i++;
        if (i == set->n)
            return HT_OK;
    }
    for (size_t i = 0; i < set->n; i++) {
        const struct ht_label *e = &set->entries[i];
        if (class_by_name(descriptor, e->text) < 0 && class_by_number(descriptor, e->text) < 0)
            return ht_fail(err, HT_ERR_DATA,
                           "%s:row %zu: label \"%s\" is none of the %zu classes of the descriptor "
                           "(%s%s), nor a number from 0 to %zu",
                           e->path, e->row, e->text, descriptor->n_classes, descriptor->classes[0],
                           descriptor->n_classes > 1 ? ", ..." : "", descriptor->n_classes - 1);
    }
    return ht_fail(err, HT_ERR_DATA,
                   "%s: labels are names of classes in some rows and numbers in "
                   "others",
                   set->entries[0].path);
}

struct sorted_label {
    const char *text;
    double number;
    int32_t entry;
};

static int compare_numbers(const void *a, const void *b)
{
    double x = ((const struct sorted_label *)a)->number,
           y = ((const struct sorted_label *)b)->number;
    return (x > y) - (x < y);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(((const struct sorted_label *)a)->text, ((const struct sorted_label *)b)->text);
}

/* No classes are listed: sort what was found. "1" and "1.0" are one class. */
static enum ht_status map_to_found(const struct ht_label_set *set, struct ht_dataset *d,
                                   int32_t *map, struct ht_error *err)
{
    struct sorted_label *sorted = ht_calloc(set->n, sizeof *sorted);
    d->classes = ht_calloc(set->n, sizeof *d->classes);
    if (!sorted || !d->classes) {
        ht_free(sorted);
        return ht_fail_memory(err);
    }
    bool numbers = true;
    for (size_t i = 0; i < set->n; i++) {
        sorted[i].text = set->entries[i].text;
        sorted[i].entry = (int32_t)i;
        numbers = ht_parse_number(sorted[i].text, &sorted[i].number) && numbers;
    }
    qsort(sorted, set->n, sizeof *sorted, numbers ? compare_numbers : compare_texts);
    for (size_t i = 0; i < set->n; i++) {
        if (i == 0 || !numbers || sorted[i].number != sorted[i - 1].number) {
            bool whole = numbers && sorted[i].number == floor(sorted[i].number) &&
                         fabs(sorted[i].number) < 1e15;
            if (whole)
                snprintf(d->classes[d->n_classes], 64, "%.0f", sorted[i].number + 0.0);
            else
                snprintf(d->classes[d->n_classes], 64, "%s", sorted[i].text);
            d->n_classes++;
        }
        map[sorted[i].entry] = (int32_t)d->n_classes - 1;
    }
    ht_free(sorted);
    return HT_OK;
}

enum ht_status ht_labels_resolve(struct ht_label_set *set, const struct ht_descriptor *descriptor,
                                 struct ht_dataset *d, struct ht_error *err)
{
    int32_t *map = ht_calloc(set->n, sizeof *map);
    if (!map)
        return ht_fail_memory(err);
    enum ht_status status;
    if (descriptor->n_classes > 0) {
        status = map_to_listed(set, descriptor, map, err);
        if (status == HT_OK && !(d->classes = ht_calloc(descriptor->n_classes, sizeof *d->classes)))
            status = ht_fail_memory(err);
        if (status == HT_OK) {
            memcpy(d->classes, descriptor->classes, descriptor->n_classes * sizeof *d->classes);
            d->n_classes = descriptor->n_classes;
        }
    } else {
        status = map_to_found(set, d, map, err);
    }
    if (status == HT_OK && d->n_classes < 2)
        status = ht_fail(err, HT_ERR_DATA, "%s: there is only one class (%s)", set->entries[0].path,
                         d->classes[0]);
    for (size_t i = 0; status == HT_OK && i < d->n; i++)
        d->labels[i] = map[d->labels[i]];
    ht_free(map);
    return status;
}
