/* safetensors: 8 bytes of length, a JSON header with types, shapes and places, the data. Layers
 * follow from PyTorch's names: MODULE.weight, .bias, .running_mean, .running_var. */
#include "import/tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"

#define MAX_HEADER ((size_t)1 << 22) /* 4096 tensors take less than a quarter of it */

static const struct {
    const char *name;
    size_t size;
    enum ht_import_number number;
} types[] = {
    {"F32", 4, HT_IMPORT_F32},     {"F64", 8, HT_IMPORT_F64},  {"F16", 2, HT_IMPORT_F16},
    {"BF16", 2, HT_IMPORT_BF16},   {"I64", 8, HT_IMPORT_NONE}, {"I32", 4, HT_IMPORT_NONE},
    {"I16", 2, HT_IMPORT_NONE},    {"I8", 1, HT_IMPORT_NONE},  {"U64", 8, HT_IMPORT_NONE},
    {"U32", 4, HT_IMPORT_NONE},    {"U16", 2, HT_IMPORT_NONE}, {"U8", 1, HT_IMPORT_NONE},
    {"BOOL", 1, HT_IMPORT_NONE},   {"C64", 8, HT_IMPORT_NONE}, {"F8_E4M3", 1, HT_IMPORT_NONE},
    {"F8_E5M2", 1, HT_IMPORT_NONE}};
#define N_TYPES (sizeof types / sizeof *types)

struct body {
    const uint8_t *data;
    size_t size;
};

/* --- tensors --- */

/* Element i of an array of whole numbers from 0 to max. */
static bool get_number(const json_t *array, size_t i, uint64_t max, uint64_t *ret)
{
    const json_t *value = json_array_get(array, i);
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > max)
        return false;
    *ret = (uint64_t)json_integer_value(value);
    return true;
}

static enum ht_status get_shape(struct ht_import_file *f, struct ht_import_tensor *t,
                                const json_t *shape, struct ht_error *err)
{
    if (!json_is_array(shape))
        return HT_IMPORT_BAD(f, err, "%s: shape is no list", t->name);
    for (size_t i = 0; i < json_array_size(shape); i++) {
        uint64_t size;
        if (!get_number(shape, i, INT64_MAX, &size))
            return HT_IMPORT_BAD(f, err, "%s: shape is no list of whole numbers", t->name);
        const enum ht_status status = ht_import_add_dimension(f, t, size, err);
        if (status != HT_OK)
            return status;
    }
    return HT_OK;
}

static enum ht_status get_tensor(struct ht_import_file *f, const struct body *body,
                                 const char *name, const json_t *about, struct ht_error *err)
{
    const char *type = json_string_value(json_object_get(about, "dtype"));
    const json_t *offsets = json_object_get(about, "data_offsets");
    uint64_t begin, end;
    size_t k = 0;
    struct ht_import_tensor *t;
    enum ht_status status = ht_import_add(f, &t, name, strlen(name), err);
    if (status != HT_OK)
        return status;
    while (type && k < N_TYPES && strcmp(types[k].name, type) != 0)
        k++;
    if (!type || k == N_TYPES)
        return HT_IMPORT_BAD(f, err, "%s: dtype is missing or unknown", t->name);
    snprintf(t->type, sizeof t->type, "%s", type);
    t->number = types[k].number;
    status = get_shape(f, t, json_object_get(about, "shape"), err);
    if (status != HT_OK)
        return status;
    if (json_array_size(offsets) != 2 || !get_number(offsets, 0, body->size, &begin) ||
        !get_number(offsets, 1, body->size, &end) || begin > end)
        return HT_IMPORT_BAD(f, err, "%s: data_offsets are not in the %zu bytes of data", t->name,
                             body->size);
    if (end - begin != (uint64_t)t->n * types[k].size)
        return HT_IMPORT_BAD(f, err, "%s: %llu bytes of data for %zu elements of %s", t->name,
                             (unsigned long long)(end - begin), t->n, type);
    t->data = body->data + begin;
    t->bytes = (size_t)(end - begin);
    return HT_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct ht_import_tensor *s = a, *t = b;
    if (s->data != t->data)
        return s->data < t->data ? -1 : 1;
    return s->bytes < t->bytes ? -1 : s->bytes > t->bytes;
}

/* The format forbids holes and overlaps. */
static enum ht_status check_places(struct ht_import_file *f, const struct body *body,
                                   struct ht_error *err)
{
    size_t at = 0;
    if (f->n_tensors)
        qsort(f->tensors, f->n_tensors, sizeof *f->tensors, by_place);
    for (size_t i = 0; i < f->n_tensors; i++) {
        if (f->tensors[i].data != body->data + at)
            return HT_IMPORT_BAD(f, err, "%s: its data does not begin where that before it ends",
                                 f->tensors[i].name);
        at += f->tensors[i].bytes;
    }
    return at == body->size
               ? HT_OK
               : HT_IMPORT_BAD(f, err, "%zu bytes of data belong to no tensor", body->size - at);
}

/* --- layers --- */

static size_t digits(const char *s)
{
    return strspn(s, "0123456789");
}

/* Runs of digits compare as numbers: "net.2" comes before "net.10". */
static int natural(const char *a, const char *b)
{
    while (*a && *b) {
        size_t n = digits(a), m = digits(b);
        if (n && m) {
            for (; n > 1 && *a == '0'; n--)
                a++;
            for (; m > 1 && *b == '0'; m--)
                b++;
            const int order = n != m ? (n < m ? -1 : 1) : strncmp(a, b, n);
            if (order)
                return order;
            a += n;
            b += m;
        } else if (*a != *b) {
            break;
        } else {
            a++;
            b++;
        }
    }
    return (unsigned char)*a - (unsigned char)*b;
}

static int by_name(const void *a, const void *b)
{
    const struct ht_import_tensor *s = a, *t = b;
    const int order = natural(s->name, t->name);
    return order ? order : strcmp(s->name, t->name);
}

/* MODULE.PART, or PART alone where there is but one module. */
static int find_part(const struct ht_import_file *f, const char *module, const char *part)
{
    char name[HT_IMPORT_NAME + 16];
    snprintf(name, sizeof name, "%s%s%s", module, *module ? "." : "", part);
    return ht_import_find(f, name);
}

/* The module that `name` is the `part` of. ".weight" is of none. */
static bool is_part(const char *name, const char *part, char module[HT_IMPORT_NAME])
{
    const size_t n = strlen(name), m = strlen(part);
    if (n < m || n == m + 1 || strcmp(name + n - m, part) != 0 || (n > m && name[n - m - 1] != '.'))
        return false;
    memcpy(module, name, n);
    module[n > m ? n - m - 1 : 0] = '\0';
    return true;
}

static enum ht_status add_layer(struct ht_import_file *f, size_t index, struct ht_error *err)
{
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    char module[HT_IMPORT_NAME];
    const struct ht_import_tensor *t = &f->tensors[index];
    const bool dense = t->rank == 2 && is_part(t->name, "weight", module);
    const bool batchnorm = !dense && is_part(t->name, "running_mean", module);
    if ((!dense && !batchnorm) || ht_import_is_aside(t->name))
        return HT_OK;
    struct ht_import_layer *l;
    const enum ht_status status = ht_import_add_layer(f, &l, module, batchnorm, err);
    if (status != HT_OK)
        return status;
    for (int i = 0; i < (dense ? 2 : HT_IMPORT_PARTS); i++)
        l->tensor[i] = find_part(f, module, parts[i]);
    l->tensor[dense ? HT_IMPORT_WEIGHT : HT_IMPORT_MEAN] = (int)index;
    if (batchnorm && l->tensor[HT_IMPORT_VARIANCE] < 0)
        return HT_IMPORT_BAD(f, err, "%s has no running_var beside it", t->name);
    return ht_import_settle_layer(f, l, err);
}

/* --- the file --- */

/* TENSOR:bits and TENSOR:grid, for those who look at the file. */
static void read_metadata(struct ht_import_file *f, const json_t *metadata)
{
    char key[HT_IMPORT_NAME + 8];
    for (size_t i = 0; i < f->n_tensors; i++) {
        struct ht_import_tensor *t = &f->tensors[i];
        snprintf(key, sizeof key, "%s:bits", t->name);
        const char *bits = json_string_value(json_object_get(metadata, key));
        snprintf(key, sizeof key, "%s:grid", t->name);
        const char *grid = json_string_value(json_object_get(metadata, key));
        if (!bits || !grid || strlen(bits) > 2 || digits(bits) != strlen(bits))
            continue;
        t->bits = atoi(bits);
        snprintf(t->grid, sizeof t->grid, "%s", grid);
    }
}

static enum ht_status parse_header(struct ht_import_file *f, const char *text, size_t length,
                                   const struct body *body, struct ht_error *err)
{
    json_error_t why;
    const char *name;
    json_t *about, *header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
    enum ht_status status = HT_OK;
    if (!json_is_object(header)) {
        json_decref(header);
        return HT_IMPORT_BAD(f, err, "its header is no JSON object: is it safetensors?");
    }
    json_object_foreach(header, name, about)
    {
        if (status == HT_OK && strcmp(name, "__metadata__") != 0)
            status = get_tensor(f, body, name, about, err);
    }
    if (status == HT_OK)
        read_metadata(f, json_object_get(header, "__metadata__"));
    json_decref(header);
    return status;
}

static enum ht_status parse(struct ht_import_file *f, const void *data, size_t size, bool layers,
                            struct ht_error *err)
{
    const uint8_t *bytes = data;
    uint64_t length = 0;
    if (size < 8)
        return HT_IMPORT_BAD(f, err, "%zu bytes are no safetensors file", size);
    for (int i = 0; i < 8; i++)
        length |= (uint64_t)bytes[i] << 8 * i;
    if (length > size - 8 || length > MAX_HEADER)
        return HT_IMPORT_BAD(f, err,
                             "its header would have %llu bytes, of %zu in the file and %zu that "
                             "are allowed: is it safetensors?",
                             (unsigned long long)length, size - 8, MAX_HEADER);
    const struct body body = {bytes + 8 + length, size - 8 - (size_t)length};
    enum ht_status status = parse_header(f, (const char *)bytes + 8, (size_t)length, &body, err);
    if (status == HT_OK)
        status = check_places(f, &body, err);
    if (status == HT_OK && f->n_tensors)
        qsort(f->tensors, f->n_tensors, sizeof *f->tensors, by_name);
    for (size_t i = 0; status == HT_OK && layers && i < f->n_tensors; i++)
        status = add_layer(f, i, err);
    return status;
}

const struct ht_import_format ht_import_safetensors = {"safetensors", ".safetensors", parse};
