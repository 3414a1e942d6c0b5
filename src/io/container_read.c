#include "io/container.h"

#include <stdio.h>
#include <string.h>

#include <hdf5.h>

#include "base/alloc.h"
#include "io/container_header.h"
#include "io/file.h"
#include "io/hash.h"
#include "io/hdf5_checks.h"

#define MAX_FILE_BYTES ((size_t)2 << 30)
#define MAX_TEXT_BYTES ((size_t)16 << 20)

struct ht_container_reader {
    char *label;
    char *owned; /* the file's bytes; NULL when the caller's image is used */
    struct ht_container_header header;
    char digest[65];
    hid_t file;
};

static enum ht_status fail(const struct ht_container_reader *r, const char *path, const char *what,
                           struct ht_error *err)
{
    return ht_fail(err, HT_ERR_MODEL, "%s: %s: %s", r->label, path, what);
}

static enum ht_status open_image(struct ht_container_reader *r, const void *image, size_t size,
                                 const char *kind, uint32_t max_version, struct ht_error *err)
{
    enum ht_status status =
        ht_header_check(&r->header, image, size, r->label, kind, max_version, err);
    if (status != HT_OK)
        return status;
    ht_sha256_hex(r->header.digest, r->digest);
    ht_hdf5_prepare();
    r->file = ht_hdf5_open_image(image, size);
    if (r->file < 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: its content is not an HDF5 file", r->label);
    return ht_hdf5_check(r->file, r->label, HT_ERR_MODEL, err);
}

enum ht_status ht_container_open_image(struct ht_container_reader **ret, const void *image,
                                       size_t size, const char *label, const char *kind,
                                       uint32_t max_version, struct ht_error *err)
{
    struct ht_container_reader *r = ht_calloc(1, sizeof *r);
    if (!r)
        return ht_fail_memory(err);
    r->file = -1;
    r->label = ht_strdup(label);
    enum ht_status status = r->label ? HT_OK : ht_fail_memory(err);
    if (status == HT_OK)
        status = open_image(r, image, size, kind, max_version, err);
    if (status == HT_OK)
        *ret = r;
    else
        ht_container_close(r);
    return status;
}

enum ht_status ht_container_open(struct ht_container_reader **ret, const char *path,
                                 const char *kind, uint32_t max_version, struct ht_error *err)
{
    char *image;
    size_t size;
    enum ht_status status = ht_file_read(path, MAX_FILE_BYTES, &image, &size, err);
    if (status != HT_OK)
        return status;
    status = ht_container_open_image(ret, image, size, path, kind, max_version, err);
    if (status == HT_OK)
        (*ret)->owned = image;
    else
        ht_free(image);
    return status;
}

void ht_container_close(struct ht_container_reader *r)
{
    if (!r)
        return;
    if (r->file >= 0)
        H5Fclose(r->file);
    ht_free(r->owned);
    ht_free(r->label);
    ht_free(r);
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

/* H5Lexists wants every step of the path to exist. */
static bool exists(const struct ht_container_reader *r, const char *path)
{
    char part[1024];
    const size_t length = strlen(path);
    if (length >= sizeof part || path[0] != '/')
        return false;
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (i > 1 && H5Lexists(r->file, part, H5P_DEFAULT) <= 0)
            return false;
    }
    return true;
}

/* Our type for a stored one, false when it is none of ours. */
static bool find_type(hid_t set, enum ht_container_type *ret)
{
    bool found = false;
    hid_t type = H5Dget_type(set), native = H5Tget_native_type(type, H5T_DIR_ASCEND);
    for (int t = HT_U8; t <= HT_F64 && !found; t++)
        if (H5Tequal(native, ht_hdf5_memory_type((enum ht_container_type)t)) > 0) {
            *ret = (enum ht_container_type)t;
            found = true;
        }
    H5Tclose(native);
    H5Tclose(type);
    return found;
}

static hid_t open_dataset(const struct ht_container_reader *r, const char *path)
{
    if (!exists(r, path))
        return -1;
    hid_t set = H5Oopen(r->file, path, H5P_DEFAULT);
    if (set >= 0 && H5Iget_type(set) != H5I_DATASET) {
        H5Oclose(set);
        return -1;
    }
    return set;
}

enum ht_status ht_container_info(struct ht_container_reader *r, const char *path,
                                 enum ht_container_type *type, int *rank, size_t shape[4],
                                 struct ht_error *err)
{
    hid_t set = open_dataset(r, path);
    *rank = 0;
    if (set < 0)
        return HT_OK;
    enum ht_status status = HT_OK;
    if (!find_type(set, type))
        status = fail(r, path, "numbers of an unexpected type", err);
    else
        *rank = ht_hdf5_shape(set, shape);
    H5Oclose(set);
    return status;
}

enum ht_status ht_container_get(struct ht_container_reader *r, const char *path,
                                enum ht_container_type type, void *data, size_t count,
                                struct ht_error *err)
{
    enum ht_container_type stored;
    int rank;
    size_t shape[4], n = 1;
    enum ht_status status = ht_container_info(r, path, &stored, &rank, shape, err);
    if (status != HT_OK)
        return status;
    if (rank == 0)
        return fail(r, path, "missing", err);
    for (int i = 0; i < rank; i++)
        n *= shape[i];
    if (stored != type)
        return fail(r, path, "numbers of an unexpected type", err);
    if (n != count)
        return ht_fail(err, HT_ERR_MODEL, "%s: %s: %zu elements, expected %zu", r->label, path, n,
                       count);
    hid_t set = open_dataset(r, path);
    if (set < 0 ||
        H5Dread(set, ht_hdf5_memory_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        status = fail(r, path, "cannot be read", err);
    if (set >= 0)
        H5Oclose(set);
    return status;
}

enum ht_status ht_container_get_text(struct ht_container_reader *r, const char *path, char **ret,
                                     struct ht_error *err)
{
    enum ht_container_type type;
    int rank;
    size_t shape[4];
    enum ht_status status = ht_container_info(r, path, &type, &rank, shape, err);
    if (status != HT_OK)
        return status;
    if (rank == 0)
        return fail(r, path, "missing", err);
    if (rank != 1 || type != HT_U8 || shape[0] > MAX_TEXT_BYTES)
        return fail(r, path, "not a text", err);
    char *text = ht_calloc(shape[0] + 1, 1);
    if (!text)
        return ht_fail_memory(err);
    status = ht_container_get(r, path, HT_U8, text, shape[0], err);
    if (status == HT_OK && strlen(text) + 1 != shape[0])
        status = fail(r, path, "a text with a NUL inside, or without one at its end", err);
    if (status == HT_OK)
        *ret = text;
    else
        ht_free(text);
    return status;
}

/* Opens a scalar attribute of the given class; -1 and an error when there is none. */
static hid_t open_attribute(struct ht_container_reader *r, const char *path, const char *name,
                            H5T_class_t type_class, struct ht_error *err)
{
    hid_t attribute = -1;
    if (exists(r, path) && H5Aexists_by_name(r->file, path, name, H5P_DEFAULT) > 0)
        attribute = H5Aopen_by_name(r->file, path, name, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0) {
        ht_fail(err, HT_ERR_MODEL, "%s: %s: attribute '%s' is missing", r->label, path, name);
        return -1;
    }
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    bool fits = H5Tget_class(type) == type_class && H5Sget_simple_extent_npoints(space) == 1;
    H5Sclose(space);
    H5Tclose(type);
    if (fits)
        return attribute;
    H5Aclose(attribute);
    ht_fail(err, HT_ERR_MODEL, "%s: %s: attribute '%s' has the wrong type", r->label, path, name);
    return -1;
}

static enum ht_status get_number(struct ht_container_reader *r, const char *path, const char *name,
                                 H5T_class_t type_class, hid_t memory, void *ret,
                                 struct ht_error *err)
{
    hid_t attribute = open_attribute(r, path, name, type_class, err);
    if (attribute < 0)
        return HT_ERR_MODEL;
    herr_t done = H5Aread(attribute, memory, ret);
    H5Aclose(attribute);
    return done < 0 ? fail(r, path, "an attribute cannot be read", err) : HT_OK;
}

enum ht_status ht_container_get_attr_i64(struct ht_container_reader *r, const char *path,
                                         const char *name, int64_t *ret, struct ht_error *err)
{
    return get_number(r, path, name, H5T_INTEGER, H5T_NATIVE_INT64, ret, err);
}

enum ht_status ht_container_get_attr_f64(struct ht_container_reader *r, const char *path,
                                         const char *name, double *ret, struct ht_error *err)
{
    return get_number(r, path, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, ret, err);
}

enum ht_status ht_container_get_attr_text(struct ht_container_reader *r, const char *path,
                                          const char *name, char *buffer, size_t capacity,
                                          struct ht_error *err)
{
    hid_t attribute = open_attribute(r, path, name, H5T_STRING, err);
    if (attribute < 0)
        return HT_ERR_MODEL;
    hid_t type = H5Aget_type(attribute);
    const size_t size = H5Tget_size(type); /* variable length was refused at opening */
    enum ht_status status = HT_OK;
    char *text = ht_calloc(size + 1, 1);
    if (!text)
        status = ht_fail_memory(err);
    else if (H5Aread(attribute, type, text) < 0)
        status = fail(r, path, "an attribute cannot be read", err);
    else if (strlen(text) >= capacity)
        status = ht_fail(err, HT_ERR_MODEL, "%s: %s: attribute '%s' is longer than %zu letters",
                         r->label, path, name, capacity - 1);
    else
        memcpy(buffer, text, strlen(text) + 1);
    ht_free(text);
    H5Tclose(type);
    H5Aclose(attribute);
    return status;
}

struct listing {
    enum ht_status (*visit)(void *user, const char *name, int is_group);
    void *user;
    enum ht_status status;
};

static herr_t visit_link(hid_t group, const char *name, const H5L_info_t *info, void *user)
{
    struct listing *l = user;
    hid_t object = H5Oopen(group, name, H5P_DEFAULT);
    if (object < 0)
        return -1;
    int is_group = H5Iget_type(object) == H5I_GROUP;
    H5Oclose(object);
    l->status = l->visit(l->user, name, is_group);
    return l->status == HT_OK ? 0 : 1;
}

enum ht_status ht_container_list(struct ht_container_reader *r, const char *group,
                                 enum ht_status (*visit)(void *user, const char *name,
                                                         int is_group),
                                 void *user, struct ht_error *err)
{
    struct listing l = {visit, user, HT_OK};
    hsize_t at = 0;
    hid_t id = exists(r, group) ? H5Gopen2(r->file, group, H5P_DEFAULT) : -1;
    if (id < 0)
        return fail(r, group, "no such group", err);
    herr_t done = H5Literate(id, H5_INDEX_NAME, H5_ITER_INC, &at, visit_link, &l);
    H5Gclose(id);
    if (done < 0)
        return fail(r, group, "cannot be listed", err);
    return l.status;
}
