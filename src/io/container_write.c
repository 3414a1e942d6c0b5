/* Containers are built by libhdf5 in memory (core driver), then get our header, then go to disk in
 * one atomic write. */
#include "io/container.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hdf5.h>

#include "base/alloc.h"
#include "io/container_header.h"
#include "io/file.h"
#include "io/hdf5_checks.h"

/* A dataset in a compact layout lives in its object header, whose messages end at 64 KiB. */
#define COMPACT_MAX_BYTES 60000
#define CHUNK_MAX_BYTES   ((size_t)1 << 20)
#define MAX_DEPTH_PATH    512

/* The memory that the core driver keeps the file in. We hand it out and keep it at the end:
 * H5Fget_file_image of 1.10.8 gives a superblock whose checksum is wrong under these bounds. */
struct image {
    uint8_t *data;
    size_t size; /* allocated */
    bool kept;
};

struct ht_container_writer {
    hid_t file;
    struct image *image; /* outlives the file: the driver calls back at close */
    char kind[16];
    uint32_t version;
    enum ht_status status;
    struct ht_error error;
};

static void *image_malloc(size_t size, H5FD_file_image_op_t op, void *user)
{
    struct image *image = user;
    image->data = calloc(1, size);
    image->size = image->data ? size : 0;
    return image->data;
}

static void *image_memcpy(void *to, const void *from, size_t size, H5FD_file_image_op_t op,
                          void *user)
{
    return memcpy(to, from, size);
}

static void *image_realloc(void *p, size_t size, H5FD_file_image_op_t op, void *user)
{
    struct image *image = user;
    uint8_t *data = realloc(p, size);
    if (!data)
        return NULL;
    if (size > image->size) /* equal content must give equal bytes, gaps included */
        memset(data + image->size, 0, size - image->size);
    image->data = data;
    image->size = size;
    return data;
}

static herr_t image_free(void *p, H5FD_file_image_op_t op, void *user)
{
    struct image *image = user;
    if (op == H5FD_FILE_IMAGE_OP_FILE_CLOSE)
        image->kept = true;
    else
        free(p);
    return 0;
}

static void *image_udata_copy(void *user)
{
    return user;
}

static herr_t image_udata_free(void *user)
{
    return 0;
}

static void fail(struct ht_container_writer *w, const char *what, const char *path)
{
    if (w->status == HT_OK)
        w->status = ht_fail(&w->error, HT_ERR_INTERNAL, "cannot %s %s in the container", what, path);
}

static hid_t memory_access(struct image *image)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5FD_file_image_callbacks_t callbacks = {image_malloc,  image_memcpy,     image_realloc,
                                             image_free,    image_udata_copy, image_udata_free,
                                             image};
    if (access < 0)
        return access;
    if (H5Pset_fapl_core(access, 1 << 20, 0) < 0 ||
        H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110) < 0 ||
        H5Pset_file_image_callbacks(access, &callbacks) < 0) {
        H5Pclose(access);
        return -1;
    }
    return access;
}

enum ht_status ht_container_create(struct ht_container_writer **ret, const char *kind,
                                   uint32_t version, struct ht_error *err)
{
    ht_hdf5_prepare();
    struct ht_container_writer *w = ht_calloc(1, sizeof *w);
    struct image *image = ht_calloc(1, sizeof *image);
    if (!w || !image) {
        ht_free(w);
        ht_free(image);
        return ht_fail_memory(err);
    }
    w->image = image;
    w->version = version;
    snprintf(w->kind, sizeof w->kind, "%s", kind);
    hid_t access = memory_access(image), create = H5Pcreate(H5P_FILE_CREATE);
    w->file = -1;
    if (access >= 0 && create >= 0 && H5Pset_userblock(create, HT_HEADER_BYTES) >= 0 &&
        H5Pset_obj_track_times(create, false) >= 0)
        w->file = H5Fcreate("halftone-memory", H5F_ACC_TRUNC, create, access);
    H5Pclose(create);
    H5Pclose(access);
    if (w->file < 0) {
        ht_container_abandon(w);
        return ht_fail(err, HT_ERR_INTERNAL, "libhdf5 cannot make a file in memory");
    }
    *ret = w;
    return HT_OK;
}

static hid_t file_type(enum ht_container_type type)
{
    const hid_t types[] = {H5T_STD_U8LE,  H5T_STD_I8LE,    H5T_STD_I32LE,
                           H5T_STD_I64LE, H5T_IEEE_F32LE, H5T_IEEE_F64LE};
    return types[type];
}

/* Makes the groups on the way to path (and path itself if `whole`). */
static void make_groups(struct ht_container_writer *w, const char *path, bool whole)
{
    char part[MAX_DEPTH_PATH];
    const size_t length = strlen(path);
    if (length >= sizeof part) {
        fail(w, "make", path);
        return;
    }
    for (size_t i = 1; i <= length && w->status == HT_OK; i++) {
        if (path[i] != '/' && !(path[i] == '\0' && whole))
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (i == 1 || H5Lexists(w->file, part, H5P_DEFAULT) > 0)
            continue;
        hid_t create = H5Pcreate(H5P_GROUP_CREATE);
        H5Pset_obj_track_times(create, false);
        hid_t group = H5Gcreate2(w->file, part, H5P_DEFAULT, create, H5P_DEFAULT);
        H5Pclose(create);
        if (group < 0)
            fail(w, "make group", part);
        else
            H5Gclose(group);
    }
}

static hid_t dataset_layout(int rank, const hsize_t *dims, size_t bytes)
{
    hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t chunk[4];
    if (create < 0)
        return create;
    H5Pset_obj_track_times(create, false);
    if (bytes <= COMPACT_MAX_BYTES) {
        H5Pset_layout(create, H5D_COMPACT);
        return create;
    }
    memcpy(chunk, dims, (size_t)rank * sizeof *chunk);
    size_t row = bytes / (size_t)dims[0];
    size_t rows = CHUNK_MAX_BYTES / (row ? row : 1);
    chunk[0] = rows < 1 ? 1 : rows < dims[0] ? rows : dims[0];
    H5Pset_chunk(create, rank, chunk);
    H5Pset_fletcher32(create);
    return create;
}

void ht_container_put(struct ht_container_writer *w, const char *path, enum ht_container_type type,
                      const void *data, int rank, const size_t *shape)
{
    hsize_t dims[4];
    size_t bytes = H5Tget_size(file_type(type));
    if (w->status != HT_OK)
        return;
    make_groups(w, path, false);
    for (int i = 0; i < rank; i++) {
        dims[i] = shape[i];
        if (shape[i] == 0 || !ht_mul_size(bytes, shape[i], &bytes))
            fail(w, "write", path);
    }
    if (w->status != HT_OK)
        return;
    hid_t space = H5Screate_simple(rank, dims, NULL);
    hid_t create = dataset_layout(rank, dims, bytes);
    hid_t set = H5Dcreate2(w->file, path, file_type(type), space, H5P_DEFAULT, create, H5P_DEFAULT);
    if (set < 0 ||
        H5Dwrite(set, ht_hdf5_memory_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        fail(w, "write", path);
    if (set >= 0)
        H5Dclose(set);
    H5Pclose(create);
    H5Sclose(space);
}

/* Text is an array of bytes with an attribute that says so: libhdf5's strings do not go through
 * filters and compact limits any better, and every tool can read this. */
void ht_container_put_text(struct ht_container_writer *w, const char *path, const char *text)
{
    const size_t length = strlen(text) + 1; /* with its NUL, so that "" has a shape too */
    ht_container_put(w, path, HT_U8, text, 1, &length);
    ht_container_attr_text(w, path, "encoding", "utf-8");
}

static void put_attribute(struct ht_container_writer *w, const char *path, const char *name,
                          hid_t stored, hid_t memory, const void *value)
{
    if (w->status != HT_OK)
        return;
    if (strcmp(path, "/") != 0 && H5Lexists(w->file, path, H5P_DEFAULT) <= 0)
        make_groups(w, path, true);
    if (w->status != HT_OK)
        return;
    hid_t object = H5Oopen(w->file, path, H5P_DEFAULT);
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute =
        object < 0 ? -1 : H5Acreate2(object, name, stored, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, memory, value) < 0)
        fail(w, "write an attribute of", path);
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Sclose(space);
    if (object >= 0)
        H5Oclose(object);
}

void ht_container_attr_i64(struct ht_container_writer *w, const char *path, const char *name,
                           int64_t value)
{
    put_attribute(w, path, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void ht_container_attr_f64(struct ht_container_writer *w, const char *path, const char *name,
                           double value)
{
    put_attribute(w, path, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

void ht_container_attr_text(struct ht_container_writer *w, const char *path, const char *name,
                            const char *value)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(value) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    put_attribute(w, path, name, type, type, value);
    H5Tclose(type);
}

void ht_container_abandon(struct ht_container_writer *w)
{
    if (!w)
        return;
    if (w->file >= 0)
        H5Fclose(w->file);
    if (w->image->kept)
        free(w->image->data);
    ht_free(w->image);
    ht_free(w);
}

/* Bytes of the file from its superblock (version 3): end of file address at 28, relative to base. */
static size_t content_end(const uint8_t *image, size_t size)
{
    const uint8_t *superblock = image + HT_HEADER_BYTES;
    uint64_t base = 0, end = 0;
    if (size < HT_HEADER_BYTES + 48)
        return 0;
    for (int i = 7; i >= 0; i--) {
        base = base << 8 | superblock[12 + i];
        end = end << 8 | superblock[28 + i];
    }
    return base == HT_HEADER_BYTES && end <= size - base ? (size_t)(base + end) : 0;
}

enum ht_status ht_container_finish_image(struct ht_container_writer *w, uint8_t **image,
                                         size_t *size, struct ht_error *err)
{
    enum ht_status status = w->status;
    size_t end = 0;
    if (status != HT_OK)
        ht_fail(err, status, "%s", w->error.msg);
    if (status == HT_OK) {
        herr_t closed = H5Fclose(w->file);
        w->file = -1;
        if (closed >= 0 && w->image->kept)
            end = content_end(w->image->data, w->image->size);
        if (end == 0)
            status = ht_fail(err, HT_ERR_INTERNAL, "libhdf5 cannot close a file in memory");
    }
    if (status == HT_OK) {
        *image = ht_calloc(end, 1);
        if (!*image) {
            status = ht_fail_memory(err);
        } else {
            memcpy(*image, w->image->data, end);
            *size = end;
            ht_header_write(*image, end, w->kind, w->version);
        }
    }
    ht_container_abandon(w);
    return status;
}

enum ht_status ht_container_finish(struct ht_container_writer *w, const char *path,
                                   struct ht_error *err)
{
    uint8_t *image;
    char *again = NULL;
    size_t size, read;
    enum ht_status status = ht_container_finish_image(w, &image, &size, err);
    if (status != HT_OK)
        return status;
    status = ht_file_write_atomic(path, image, size, err);
    if (status == HT_OK)
        status = ht_file_read(path, size, &again, &read, err);
    if (status == HT_OK && (read != size || memcmp(again, image, size) != 0))
        status = ht_fail(err, HT_ERR_IO, "%s reads back other bytes than were written", path);
    ht_free(image);
    ht_free(again);
    return status;
}
