/* Writing containers: libhdf5 writes into memory of ours, the header goes in front, and the whole
 * goes out in one atomic file write. */
#include "io/container.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/container_header.h"
#include "io/container_types.h"
#include "io/file.h"
#include "io/hdf5_checks.h"

/* A compact dataset lives in its object header, whose messages have less than 64 KiB. */
#define MAX_COMPACT ((size_t)65536 - 64)
#define CHUNK_BYTES ((size_t)1 << 20) /* aim; one row at least */
/* Generous sizes of what libhdf5 writes around the data. */
#define OBJECT_BYTES    4096
#define ATTRIBUTE_BYTES 512

struct ht_container_writer {
    hid_t file;
    uint8_t *memory; /* the file, as libhdf5 writes it; owned */
    size_t size, capacity;
    uint8_t *spare; /* the next memory: libhdf5 holds on to the present one until it asks; owned */
    size_t spare_capacity;
    size_t expected; /* size that suffices for what was put so far */
    char kind[HT_HEADER_KIND];
    uint32_t version;
    enum ht_status status; /* sticky */
    struct ht_error error;
};

#define FAIL(w, ...) ((w)->status = ht_fail(&(w)->error, __VA_ARGS__))

/* --- the memory that libhdf5 writes into --- */

/* libhdf5 is not safe when memory runs out, so memory is taken before it is called. */
static bool expect(struct ht_container_writer *w, size_t bytes)
{
    if (w->status != HT_OK)
        return false;
    size_t capacity = w->spare ? w->spare_capacity : w->capacity;
    if (ht_add_size(w->expected, bytes, &w->expected) && w->expected <= capacity)
        return true;
    capacity = w->expected > 2 * capacity ? w->expected : 2 * capacity;
    ht_free(w->spare);
    w->spare = ht_grow(NULL, capacity, 1);
    w->spare_capacity = capacity;
    if (!w->spare)
        w->status = ht_fail_memory(&w->error);
    return w->status == HT_OK;
}

static bool take_spare(struct ht_container_writer *w, size_t size)
{
    if (!w->spare || w->spare_capacity < size) /* more than expected */
        return false;
    if (w->size)
        memcpy(w->spare, w->memory, w->size);
    ht_free(w->memory);
    w->memory = w->spare;
    w->capacity = w->spare_capacity;
    w->spare = NULL;
    return true;
}

/* Memory is zeroed as it comes into use: gaps in the file are equal in every save. */
static void *memory_realloc(void *p, size_t size, H5FD_file_image_op_t op, void *user)
{
    struct ht_container_writer *w = user;
    if (size > w->capacity && !take_spare(w, size)) {
        uint8_t *grown = ht_grow(w->memory, size, 2);
        if (!grown)
            return NULL;
        w->memory = grown;
        w->capacity = 2 * size;
    }
    if (size > w->size)
        memset(w->memory + w->size, 0, size - w->size);
    w->size = size;
    return w->memory;
}

static void *memory_malloc(size_t size, H5FD_file_image_op_t op, void *user)
{
    return memory_realloc(NULL, size, op, user);
}

static void *memory_memcpy(void *to, const void *from, size_t size, H5FD_file_image_op_t op,
                           void *user)
{
    return memcpy(to, from, size);
}

/* At the close of the file: the bytes stay with the writer. (H5Fget_file_image would give a wrong
 * checksum of the superblock in 1.10.8.) */
static herr_t memory_free(void *p, H5FD_file_image_op_t op, void *user)
{
    return 0;
}

static void *user_copy(void *user)
{
    return user;
}

static herr_t user_free(void *user)
{
    return 0;
}

/* --- creating --- */

/* No times, and attributes and links inside the object header: fewer structures, equal bytes. */
static bool plain_group(hid_t list)
{
    return H5Pset_obj_track_times(list, 0) >= 0 &&
           H5Pset_attr_phase_change(list, 65535, 65535) >= 0 &&
           H5Pset_link_phase_change(list, 65535, 65535) >= 0;
}

static hid_t create_file(struct ht_container_writer *w)
{
    H5FD_file_image_callbacks_t callbacks = {
        memory_malloc, memory_memcpy, memory_realloc, memory_free, user_copy, user_free, w};
    char name[64];
    hid_t file = -1;
    snprintf(name, sizeof name, "/dev/null/halftone-%p", (void *)w); /* as in hdf5_checks.c */
    hid_t create = H5Pcreate(H5P_FILE_CREATE), access = H5Pcreate(H5P_FILE_ACCESS);
    if (create >= 0 && access >= 0 && plain_group(create) &&
        H5Pset_userblock(create, HT_HEADER_SIZE) >= 0 && H5Pset_fapl_core(access, 65536, 0) >= 0 &&
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0 &&
        H5Pset_file_image_callbacks(access, &callbacks) >= 0)
        file = H5Fcreate(name, H5F_ACC_TRUNC, create, access);
    if (create >= 0)
        H5Pclose(create);
    if (access >= 0)
        H5Pclose(access);
    return file;
}

static bool kind_is_sound(const char *kind)
{
    size_t n = strlen(kind);
    return n > 0 && n < HT_HEADER_KIND && strspn(kind, "abcdefghijklmnopqrstuvwxyz") == n;
}

enum ht_status ht_container_create(struct ht_container_writer **ret, const char *kind,
                                   uint32_t version, struct ht_error *err)
{
    if (!kind_is_sound(kind) || version == 0)
        return ht_fail(err, HT_ERR_INTERNAL, "container kind '%s', version %lu", kind,
                       (unsigned long)version);
    struct ht_container_writer *w = ht_calloc(1, sizeof *w);
    if (!w)
        return ht_fail_memory(err);
    snprintf(w->kind, sizeof w->kind, "%s", kind);
    w->version = version;
    w->file = -1;
    ht_hdf5_prepare();
    if (expect(w, 2 * 65536))
        w->file = create_file(w);
    if (w->file < 0) {
        if (w->status == HT_OK)
            FAIL(w, HT_ERR_INTERNAL, "libhdf5 cannot make a file in memory");
        enum ht_status status = ht_fail(err, w->status, "%s", w->error.msg);
        ht_free(w->spare);
        ht_free(w->memory);
        ht_free(w);
        return status;
    }
    *ret = w;
    return HT_OK;
}

/* --- putting --- */

static bool check_path(struct ht_container_writer *w, const char *path)
{
    int depth = 0;
    const char *step = path;
    bool sound = strlen(path) < HT_HDF5_MAX_PATH && *path == '/' && path[1];
    while (sound && *step) {
        const size_t n = strcspn(step + 1, "/");
        sound = ht_hdf5_name_is_sound(step + 1, n) && ++depth <= HT_HDF5_MAX_DEPTH;
        step += n + 1;
    }
    if (!sound)
        FAIL(w, HT_ERR_INTERNAL, "'%.200s' is no path in a container", path);
    return sound;
}

static void make_group(struct ht_container_writer *w, const char *path)
{
    htri_t exists = H5Lexists(w->file, path, H5P_DEFAULT);
    if (exists > 0 || !expect(w, OBJECT_BYTES))
        return;
    hid_t list = H5Pcreate(H5P_GROUP_CREATE), group = -1;
    if (list >= 0 && plain_group(list))
        group = H5Gcreate2(w->file, path, H5P_DEFAULT, list, H5P_DEFAULT);
    if (group < 0)
        FAIL(w, HT_ERR_INTERNAL, "cannot make group %s", path);
    else
        H5Gclose(group);
    if (list >= 0)
        H5Pclose(list);
}

/* Makes the groups that lead to path. */
static bool make_parents(struct ht_container_writer *w, const char *path)
{
    char part[HT_HDF5_MAX_PATH];
    if (!check_path(w, path))
        return false;
    for (const char *slash = strchr(path + 1, '/'); slash && w->status == HT_OK;
         slash = strchr(slash + 1, '/')) {
        memcpy(part, path, (size_t)(slash - path));
        part[slash - path] = '\0';
        make_group(w, part);
    }
    return w->status == HT_OK;
}

/* Compact, or chunks of whole rows with checksums. */
static bool set_layout(hid_t list, size_t bytes, int rank, const hsize_t *shape)
{
    hsize_t chunk[HT_HDF5_MAX_RANK] = {0};
    if (bytes <= MAX_COMPACT)
        return H5Pset_layout(list, H5D_COMPACT) >= 0;
    if (rank == 0)
        return true; /* a long text: contiguous, the one layout it can have */
    memcpy(chunk, shape, (size_t)rank * sizeof *chunk);
    const size_t row = bytes / (size_t)shape[0];
    const size_t rows = row < CHUNK_BYTES ? CHUNK_BYTES / row : 1;
    if (chunk[0] > rows)
        chunk[0] = rows;
    return H5Pset_chunk(list, rank, chunk) >= 0 && H5Pset_fletcher32(list) >= 0;
}

static void put_dataset(struct ht_container_writer *w, const char *path, hid_t file_type,
                        hid_t memory_type, const void *data, size_t bytes, int rank,
                        const hsize_t *shape)
{
    /* a last chunk may be padded to a whole one */
    if (!make_parents(w, path) || !expect(w, OBJECT_BYTES + bytes + bytes / 64 + CHUNK_BYTES))
        return;
    hid_t set = -1, list = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = rank ? H5Screate_simple(rank, shape, NULL) : H5Screate(H5S_SCALAR);
    bool done = list >= 0 && space >= 0 && H5Pset_obj_track_times(list, 0) >= 0 &&
                H5Pset_attr_phase_change(list, 65535, 65535) >= 0 &&
                set_layout(list, bytes, rank, shape);
    if (done)
        set = H5Dcreate2(w->file, path, file_type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    done = set >= 0 && H5Dwrite(set, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    if (set >= 0)
        done = H5Dclose(set) >= 0 && done;
    if (!done)
        FAIL(w, HT_ERR_INTERNAL, "cannot put %s into the container", path);
    if (space >= 0)
        H5Sclose(space);
    if (list >= 0)
        H5Pclose(list);
}

void ht_container_put(struct ht_container_writer *w, const char *path, enum ht_container_type type,
                      const void *data, int rank, const size_t *shape)
{
    hsize_t dims[HT_HDF5_MAX_RANK];
    size_t elements = 1;
    if (w->status != HT_OK)
        return;
    bool sound = rank >= 1 && rank <= HT_HDF5_MAX_RANK;
    for (int i = 0; sound && i < rank; i++) {
        dims[i] = shape[i];
        sound = shape[i] > 0 && shape[i] <= HT_HDF5_MAX_DIMENSION &&
                ht_mul_size(elements, shape[i], &elements) && elements <= HT_HDF5_MAX_ELEMENTS;
    }
    if (!sound) {
        FAIL(w, HT_ERR_INTERNAL, "%s: not a shape that a container holds", path);
        return;
    }
    put_dataset(w, path, ht_container_file_type(type), ht_container_memory_type(type), data,
                elements * ht_container_type_size(type), rank, dims);
}

/* A fixed-length UTF-8 type for the text and its NUL. */
static hid_t text_type(const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 &&
        (H5Tset_size(type, strlen(text) + 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        type = -1;
    }
    return type;
}

void ht_container_put_text(struct ht_container_writer *w, const char *path, const char *text)
{
    if (w->status != HT_OK)
        return;
    hid_t type = -1;
    if (strlen(text) >= HT_CONTAINER_MAX_TEXT)
        FAIL(w, HT_ERR_INTERNAL, "%s: a text of more than %d bytes", path, HT_CONTAINER_MAX_TEXT);
    else if ((type = text_type(text)) < 0)
        FAIL(w, HT_ERR_INTERNAL, "cannot put %s into the container", path);
    if (type < 0)
        return;
    put_dataset(w, path, type, type, text, strlen(text) + 1, 0, NULL);
    H5Tclose(type);
}

static void put_attribute(struct ht_container_writer *w, const char *path, const char *name,
                          hid_t file_type, hid_t memory_type, const void *value, size_t bytes)
{
    const bool root = strcmp(path, "/") == 0;
    if (!root && !make_parents(w, path))
        return;
    if (!root)
        make_group(w, path);
    if (w->status != HT_OK || !expect(w, ATTRIBUTE_BYTES + strlen(name) + bytes))
        return;
    hid_t attribute = -1, space = H5Screate(H5S_SCALAR);
    hid_t object = H5Oopen(w->file, path, H5P_DEFAULT);
    if (space >= 0 && object >= 0)
        attribute = H5Acreate2(object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, memory_type, value) < 0)
        FAIL(w, HT_ERR_INTERNAL, "cannot put attribute %s of %s into the container", name, path);
    if (attribute >= 0)
        H5Aclose(attribute);
    if (object >= 0)
        H5Oclose(object);
    if (space >= 0)
        H5Sclose(space);
}

void ht_container_attr_i64(struct ht_container_writer *w, const char *path, const char *name,
                           int64_t value)
{
    if (w->status == HT_OK)
        put_attribute(w, path, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value, sizeof value);
}

void ht_container_attr_f64(struct ht_container_writer *w, const char *path, const char *name,
                           double value)
{
    if (w->status == HT_OK)
        put_attribute(w, path, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value, sizeof value);
}

void ht_container_attr_text(struct ht_container_writer *w, const char *path, const char *name,
                            const char *value)
{
    if (w->status != HT_OK)
        return;
    hid_t type = -1;
    if (strlen(value) >= HT_CONTAINER_MAX_ATTRIBUTE)
        FAIL(w, HT_ERR_INTERNAL, "%s: attribute %s has more than %d bytes", path, name,
             HT_CONTAINER_MAX_ATTRIBUTE);
    else if ((type = text_type(value)) < 0)
        FAIL(w, HT_ERR_INTERNAL, "cannot put attribute %s of %s into the container", name, path);
    if (type < 0)
        return;
    put_attribute(w, path, name, type, type, value, strlen(value) + 1);
    H5Tclose(type);
}

/* --- finishing --- */

/* Closes the file and trims the memory to the file's size, which its superblock tells: 8 bytes at
 * offset 28, counted from the start of the header. */
static void close_file(struct ht_container_writer *w)
{
    uint64_t size = 0;
    const herr_t closed = H5Fclose(w->file);
    w->file = -1;
    if (closed < 0) {
        w->memory = NULL; /* libhdf5 may still use it: lost, but not freed under its hands */
        if (w->status == HT_OK)
            FAIL(w, HT_ERR_INTERNAL, "libhdf5 cannot finish the container");
        return;
    }
    for (int i = 7; i >= 0 && w->size >= HT_HEADER_SIZE + HT_HDF5_SUPERBLOCK; i--)
        size = size << 8 | w->memory[HT_HEADER_SIZE + 28 + i];
    if (w->status == HT_OK && (size <= HT_HEADER_SIZE || size > w->size))
        FAIL(w, HT_ERR_INTERNAL, "libhdf5 wrote an unknown superblock");
    else if (w->status == HT_OK && size > HT_CONTAINER_MAX_FILE)
        FAIL(w, HT_ERR_IO, "the file would have %llu bytes, more than the 2 GiB that are read back",
             (unsigned long long)size);
    w->size = (size_t)size;
}

void ht_container_abandon(struct ht_container_writer *w)
{
    if (!w)
        return;
    if (w->file >= 0)
        close_file(w);
    ht_free(w->spare);
    ht_free(w->memory);
    ht_free(w);
}

enum ht_status ht_container_finish_image(struct ht_container_writer *w, uint8_t **image,
                                         size_t *size, struct ht_error *err)
{
    close_file(w);
    enum ht_status status = w->status;
    if (status == HT_OK) {
        ht_header_write(w->memory, w->size, w->kind, w->version);
        *image = w->memory;
        *size = w->size;
        w->memory = NULL;
    } else {
        ht_fail(err, status, "%s", w->error.msg);
    }
    ht_container_abandon(w);
    return status;
}

enum ht_status ht_container_finish(struct ht_container_writer *w, const char *path,
                                   struct ht_error *err)
{
    uint8_t *image;
    size_t size;
    enum ht_status status = ht_container_finish_image(w, &image, &size, err);
    if (status != HT_OK)
        return ht_error_prefix(err, status, "cannot write %s", path);
    status = ht_file_write_atomic(path, image, size, err); /* reads it back and compares */
    ht_free(image);
    return status;
}
