/* Reading containers: header and digest first, then one walk over everything in the file that
 * refuses what we do not write and keeps an index; data are read on demand. */
#include "io/container.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "io/container_header.h"
#include "io/container_types.h"
#include "io/file.h"
#include "io/hash.h"
#include "io/hdf5_checks.h"

struct entry {
    char *path; /* owned */
    bool is_group, is_text;
    enum ht_container_type type;
    int rank; /* 0: a group or a text */
    size_t shape[HT_HDF5_MAX_RANK];
    size_t elements; /* of a text: its bytes */
};

struct ht_container_reader {
    struct ht_hdf5_image image; /* owned */
    hid_t file;
    char *label; /* owned */
    struct ht_container_header header;
    char digest[65];
    struct entry *entries; /* sorted by path; the root is not among them; owned */
    size_t n_entries, capacity;
};

/* "FILE: /path: ..." */
HT_PRINTF(4, 5)
static enum ht_status fail_at(const struct ht_container_reader *r, const char *path,
                              struct ht_error *err, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return ht_fail(err, HT_ERR_MODEL, "%s: %s: %s", r->label, path, text);
}

/* --- the index --- */

static enum ht_status check_attribute(const struct ht_container_reader *r, const char *path,
                                      hid_t attribute, struct ht_error *err)
{
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    const H5T_class_t class = H5Tget_class(type);
    const bool sound = type >= 0 && space >= 0 && H5Sget_simple_extent_type(space) == H5S_SCALAR &&
                       ((class == H5T_STRING && H5Tis_variable_str(type) == 0) ||
                        class == H5T_INTEGER || class == H5T_FLOAT) &&
                       H5Tget_size(type) > 0 &&
                       H5Tget_size(type) <= (class == H5T_STRING ? 65536 : 8);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (sound)
        return HT_OK;
    return fail_at(r, path, err, "an attribute that is no number and no fixed-length text");
}

struct attributes {
    const struct ht_container_reader *r;
    const char *path;
    struct ht_error *err;
    enum ht_status status;
    int n;
};

static herr_t visit_attribute(hid_t object, const char *name, const H5A_info_t *info, void *user)
{
    struct attributes *a = user;
    hid_t attribute = -1;
    if (++a->n > HT_HDF5_MAX_OBJECTS)
        a->status = fail_at(a->r, a->path, a->err, "more than %d attributes", HT_HDF5_MAX_OBJECTS);
    else if ((attribute = H5Aopen(object, name, H5P_DEFAULT)) < 0)
        a->status = fail_at(a->r, a->path, a->err, "damaged: libhdf5 cannot open an attribute");
    else
        a->status = check_attribute(a->r, a->path, attribute, a->err);
    if (attribute >= 0)
        H5Aclose(attribute);
    return a->status == HT_OK ? 0 : -1;
}

static enum ht_status check_attributes(const struct ht_container_reader *r,
                                       const struct ht_hdf5_object *o, struct ht_error *err)
{
    struct attributes a = {.r = r, .path = o->path, .err = err};
    if (H5Aiterate2(o->id, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_attribute, &a) < 0 &&
        a.status == HT_OK)
        a.status = fail_at(r, o->path, err, "damaged: libhdf5 cannot list its attributes");
    return a.status;
}

/* Only what container_write.c writes: its six types, its one filter, texts without dimensions. */
static enum ht_status describe_dataset(const struct ht_container_reader *r,
                                       const struct ht_hdf5_object *o, struct entry *e,
                                       struct ht_error *err)
{
    hid_t list = H5Dget_create_plist(o->id);
    const int n_filters = H5Pget_nfilters(list);
    bool plain = n_filters == 0;
    if (n_filters == 1) {
        unsigned flags, config;
        size_t n_values = 0;
        plain = H5Pget_filter2(list, 0, &flags, &n_values, NULL, 0, NULL, &config) ==
                H5Z_FILTER_FLETCHER32;
    }
    H5Pclose(list);
    if (!plain)
        return fail_at(r, o->path, err, "a filter that halftone does not write");
    e->is_text = o->class == H5T_STRING;
    e->elements = e->is_text ? o->element_size : o->elements;
    if (e->is_text ? o->rank != 0 || o->element_size > HT_CONTAINER_MAX_TEXT : o->rank == 0)
        return fail_at(r, o->path, err, "%s", e->is_text ? "more than one text" : "a scalar");
    e->rank = o->rank;
    for (int i = 0; i < o->rank; i++)
        e->shape[i] = (size_t)o->shape[i];
    if (e->is_text)
        return HT_OK;
    for (int t = 0; t < HT_CONTAINER_TYPES; t++) {
        e->type = (enum ht_container_type)t;
        if (H5Tequal(o->type, ht_container_file_type(e->type)) > 0)
            return HT_OK;
    }
    return fail_at(r, o->path, err, "a type of number that halftone does not write");
}

static enum ht_status add_entry(struct ht_container_reader *r, const struct entry *e,
                                struct ht_error *err)
{
    if (r->n_entries == r->capacity) {
        const size_t capacity = r->capacity ? 2 * r->capacity : 64;
        struct entry *grown = ht_grow(r->entries, capacity, sizeof *grown);
        if (!grown)
            return ht_fail_memory(err);
        r->entries = grown;
        r->capacity = capacity;
    }
    r->entries[r->n_entries++] = *e;
    return HT_OK;
}

static enum ht_status visit_object(void *user, const struct ht_hdf5_object *o, struct ht_error *err)
{
    struct ht_container_reader *r = user;
    struct entry e = {.is_group = o->is_group};
    if (*o->refusal)
        return fail_at(r, o->path, err, "%s", o->refusal);
    enum ht_status status = check_attributes(r, o, err);
    if (status == HT_OK && !o->is_group)
        status = describe_dataset(r, o, &e, err);
    if (status != HT_OK || strcmp(o->path, "/") == 0)
        return status;
    e.path = ht_strdup(o->path);
    if (!e.path)
        return ht_fail_memory(err);
    status = add_entry(r, &e, err);
    if (status != HT_OK)
        ht_free(e.path);
    return status;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

/* --- opening --- */

void ht_container_close(struct ht_container_reader *r)
{
    if (!r)
        return;
    if (r->file >= 0)
        H5Fclose(r->file);
    for (size_t i = 0; i < r->n_entries; i++)
        ht_free(r->entries[i].path);
    ht_free(r->entries);
    ht_free(r->label);
    ht_free(r->image.bytes);
    ht_free(r);
}

static enum ht_status open_content(struct ht_container_reader *r, struct ht_error *err)
{
    /* Since version 3 every structure has a checksum; older ones are libhdf5's weakest part. */
    if (r->image.bytes[HT_HEADER_SIZE + 8] != 3)
        return ht_fail(err, HT_ERR_MODEL, "%s: an HDF5 superblock that halftone does not write",
                       r->label);
    ht_hdf5_prepare();
    r->file = ht_hdf5_open_image(&r->image);
    if (r->file < 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: damaged: libhdf5 cannot open its content", r->label);
    enum ht_status status = ht_hdf5_walk(r->file, &r->image, r->label, visit_object, r, err);
    if (status == HT_OK && r->n_entries)
        qsort(r->entries, r->n_entries, sizeof *r->entries, by_path);
    return status;
}

/* Takes over bytes in every case. */
static enum ht_status open_owned(struct ht_container_reader **ret, uint8_t *bytes, size_t size,
                                 const char *label, const char *kind, uint32_t max_version,
                                 struct ht_error *err)
{
    struct ht_container_header header;
    enum ht_status status = ht_header_verify(&header, bytes, size, label, kind, max_version, err);
    if (status != HT_OK) {
        ht_free(bytes);
        return status;
    }
    struct ht_container_reader *r = ht_calloc(1, sizeof *r);
    if (!r) {
        ht_free(bytes);
        return ht_fail_memory(err);
    }
    r->file = -1;
    r->header = header;
    r->image = (struct ht_hdf5_image){bytes, size};
    ht_sha256_hex(header.digest, r->digest);
    r->label = ht_strdup(label);
    status = r->label ? open_content(r, err) : ht_fail_memory(err);
    if (status == HT_OK)
        *ret = r;
    else
        ht_container_close(r);
    return status;
}

enum ht_status ht_container_open(struct ht_container_reader **ret, const char *path,
                                 const char *kind, uint32_t max_version, struct ht_error *err)
{
    char *bytes;
    size_t size;
    enum ht_status status = ht_file_read(path, HT_CONTAINER_MAX_FILE, &bytes, &size, err);
    if (status != HT_OK)
        return status;
    return open_owned(ret, (uint8_t *)bytes, size, path, kind, max_version, err);
}

enum ht_status ht_container_open_image(struct ht_container_reader **ret, const void *image,
                                       size_t size, const char *label, const char *kind,
                                       uint32_t max_version, struct ht_error *err)
{
    uint8_t *bytes = ht_calloc(size, 1);
    if (!bytes)
        return ht_fail_memory(err);
    if (size)
        memcpy(bytes, image, size);
    return open_owned(ret, bytes, size, label, kind, max_version, err);
}

const char *ht_container_kind(const struct ht_container_reader *r)
{
    return r->header.kind;
}

uint32_t ht_container_version(const struct ht_container_reader *r)
{
    return r->header.version;
}

const char *ht_container_digest(const struct ht_container_reader *r)
{
    return r->digest;
}

/* --- datasets --- */

static const struct entry *find(const struct ht_container_reader *r, const char *path)
{
    const struct entry key = {.path = (char *)(uintptr_t)path}; /* only compared */
    if (r->n_entries == 0)
        return NULL;
    return bsearch(&key, r->entries, r->n_entries, sizeof key, by_path);
}

enum ht_status ht_container_info(struct ht_container_reader *r, const char *path,
                                 enum ht_container_type *type, int *rank, size_t shape[4],
                                 struct ht_error *err)
{
    const struct entry *e = find(r, path);
    *rank = 0;
    *type = HT_U8;
    if (!e || e->is_group)
        return HT_OK;
    if (e->is_text) {
        *rank = 1;
        shape[0] = e->elements;
        return HT_OK;
    }
    *type = e->type;
    *rank = e->rank;
    memcpy(shape, e->shape, sizeof e->shape);
    return HT_OK;
}

/* All of a dataset, without conversion of more than byte order. */
static enum ht_status read_dataset(struct ht_container_reader *r, const char *path, hid_t type,
                                   void *data, struct ht_error *err)
{
    hid_t set = H5Dopen2(r->file, path, H5P_DEFAULT);
    const bool done = set >= 0 && ht_hdf5_chunks_are_sound(set, r->image.size) &&
                      H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    if (set >= 0)
        H5Dclose(set);
    return done ? HT_OK : fail_at(r, path, err, "damaged: libhdf5 cannot read it");
}

enum ht_status ht_container_get(struct ht_container_reader *r, const char *path,
                                enum ht_container_type type, void *data, size_t count,
                                struct ht_error *err)
{
    const struct entry *e = find(r, path);
    if (!e)
        return fail_at(r, path, err, "missing");
    if (e->is_group || e->is_text)
        return fail_at(r, path, err, "a %s, not %s", e->is_group ? "group" : "text",
                       ht_container_type_name(type));
    if (e->type != type)
        return fail_at(r, path, err, "%s, not %s", ht_container_type_name(e->type),
                       ht_container_type_name(type));
    if (e->elements != count)
        return fail_at(r, path, err, "%zu elements, not %zu", e->elements, count);
    return read_dataset(r, path, ht_container_memory_type(type), data, err);
}

enum ht_status ht_container_get_text(struct ht_container_reader *r, const char *path, char **ret,
                                     struct ht_error *err)
{
    const struct entry *e = find(r, path);
    if (!e || !e->is_text)
        return fail_at(r, path, err, e ? "not a text" : "missing");
    char *text = ht_calloc(e->elements + 1, 1);
    if (!text)
        return ht_fail_memory(err);
    hid_t set = H5Dopen2(r->file, path, H5P_DEFAULT), type = H5Dget_type(set);
    enum ht_status status = read_dataset(r, path, type, text, err);
    if (type >= 0)
        H5Tclose(type);
    if (set >= 0)
        H5Dclose(set);
    if (status == HT_OK)
        *ret = text;
    else
        ht_free(text);
    return status;
}

/* --- attributes --- */

/* Opens the attribute; *type is the type it has. */
static enum ht_status open_attribute(struct ht_container_reader *r, const char *path,
                                     const char *name, hid_t *attribute, hid_t *type,
                                     struct ht_error *err)
{
    if (strcmp(path, "/") != 0 && !find(r, path))
        return fail_at(r, path, err, "missing, so it has no attribute '%s'", name);
    if (H5Aexists_by_name(r->file, path, name, H5P_DEFAULT) <= 0)
        return fail_at(r, path, err, "no attribute '%s'", name);
    *attribute = H5Aopen_by_name(r->file, path, name, H5P_DEFAULT, H5P_DEFAULT);
    *type = H5Aget_type(*attribute);
    if (*type >= 0)
        return HT_OK;
    if (*attribute >= 0)
        H5Aclose(*attribute);
    return fail_at(r, path, err, "damaged: libhdf5 cannot open attribute '%s'", name);
}

static enum ht_status get_number(struct ht_container_reader *r, const char *path, const char *name,
                                 enum ht_container_type wanted, void *ret, struct ht_error *err)
{
    hid_t attribute, type;
    enum ht_status status = open_attribute(r, path, name, &attribute, &type, err);
    if (status != HT_OK)
        return status;
    if (H5Tequal(type, ht_container_file_type(wanted)) <= 0)
        status = fail_at(r, path, err, "attribute '%s' is not of type %s", name,
                         ht_container_type_name(wanted));
    else if (H5Aread(attribute, ht_container_memory_type(wanted), ret) < 0)
        status = fail_at(r, path, err, "damaged: libhdf5 cannot read attribute '%s'", name);
    H5Tclose(type);
    H5Aclose(attribute);
    return status;
}

enum ht_status ht_container_get_attr_i64(struct ht_container_reader *r, const char *path,
                                         const char *name, int64_t *ret, struct ht_error *err)
{
    return get_number(r, path, name, HT_I64, ret, err);
}

enum ht_status ht_container_get_attr_f64(struct ht_container_reader *r, const char *path,
                                         const char *name, double *ret, struct ht_error *err)
{
    return get_number(r, path, name, HT_F64, ret, err);
}

enum ht_status ht_container_get_attr_text(struct ht_container_reader *r, const char *path,
                                          const char *name, char *buffer, size_t capacity,
                                          struct ht_error *err)
{
    hid_t attribute, type;
    enum ht_status status = open_attribute(r, path, name, &attribute, &type, err);
    if (status != HT_OK)
        return status;
    char *text = NULL;
    if (H5Tget_class(type) != H5T_STRING)
        status = fail_at(r, path, err, "attribute '%s' is not a text", name);
    else if (!(text = ht_calloc(H5Tget_size(type) + 1, 1)))
        status = ht_fail_memory(err);
    else if (H5Aread(attribute, type, text) < 0)
        status = fail_at(r, path, err, "damaged: libhdf5 cannot read attribute '%s'", name);
    else if (strlen(text) >= capacity)
        status = fail_at(r, path, err, "attribute '%s' has %zu bytes, more than %zu", name,
                         strlen(text), capacity - 1);
    else
        memcpy(buffer, text, strlen(text) + 1);
    ht_free(text);
    H5Tclose(type);
    H5Aclose(attribute);
    return status;
}

/* --- listing --- */

enum ht_status ht_container_list(struct ht_container_reader *r, const char *group,
                                 enum ht_status (*visit)(void *user, const char *name,
                                                         int is_group),
                                 void *user, struct ht_error *err)
{
    const bool root = strcmp(group, "/") == 0;
    const struct entry *e = root ? NULL : find(r, group);
    const size_t length = root ? 0 : strlen(group);
    if (!root && (!e || !e->is_group))
        return fail_at(r, group, err, e ? "not a group" : "missing");
    for (size_t i = 0; i < r->n_entries; i++) {
        const char *path = r->entries[i].path;
        if (strncmp(path, group, length) != 0 || path[length] != '/' ||
            strchr(path + length + 1, '/'))
            continue;
        enum ht_status status = visit(user, path + length + 1, r->entries[i].is_group);
        if (status != HT_OK)
            return status;
    }
    return HT_OK;
}
