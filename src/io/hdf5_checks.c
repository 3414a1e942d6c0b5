#include "io/hdf5_checks.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define MAX_RANK      4
#define MAX_DIMENSION ((hsize_t)1 << 24)
#define MAX_ELEMENTS  ((size_t)1 << 31)
#define MAX_OBJECTS   20000
#define MAX_DEPTH     16
#define MAX_ATTRIBUTE ((size_t)65536)
/* A small file must not ask for much memory: above 64 MiB the stored bytes must be near what deflate
 * can reach (about 1,032 to 1). */
#define BOMB_BYTES ((size_t)64 << 20)
#define BOMB_RATIO 1040

void ht_hdf5_prepare(void)
{
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
}

hid_t ht_hdf5_memory_type(enum ht_container_type type)
{
    const hid_t types[] = {H5T_NATIVE_UINT8, H5T_NATIVE_INT8,  H5T_NATIVE_INT32,
                           H5T_NATIVE_INT64, H5T_NATIVE_FLOAT, H5T_NATIVE_DOUBLE};
    return types[type];
}

hid_t ht_hdf5_open_image(const void *image, size_t size)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file = -1;
    /* The driver takes a name but no file of it may exist. */
    static const char name[] = "/nonexistent/halftone-image";
    if (access < 0)
        return -1;
    if (H5Pset_fapl_core(access, 65536, 0) >= 0 &&
        H5Pset_file_image(access, (void *)image, size) >= 0)
        file = H5Fopen(name, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    return file;
}

int ht_hdf5_shape(hid_t set, size_t shape[4])
{
    hsize_t dims[MAX_RANK] = {0};
    hid_t space = H5Dget_space(set);
    int rank = H5Sget_simple_extent_ndims(space);
    if (rank > 0 && rank <= MAX_RANK)
        H5Sget_simple_extent_dims(space, dims, NULL);
    H5Sclose(space);
    for (int i = 0; i < MAX_RANK; i++)
        shape[i] = (size_t)dims[i];
    return rank;
}

struct walk {
    const char *label;
    enum ht_status code;
    struct ht_error *err;
    char path[1024];
    int depth;
    size_t objects;
    enum ht_status status;
};

static enum ht_status refuse(struct walk *w, const char *why)
{
    if (w->status == HT_OK)
        w->status = ht_fail(w->err, w->code, "%s: %s: %s", w->label,
                            w->path[0] ? w->path : "/", why);
    return w->status;
}

static enum ht_status check_type(struct walk *w, hid_t type, bool text_allowed)
{
    switch (H5Tget_class(type)) {
    case H5T_INTEGER:
    case H5T_FLOAT:
        return H5Tget_size(type) <= 8 ? HT_OK : refuse(w, "numbers of more than 8 bytes");
    case H5T_STRING:
        if (!text_allowed)
            return refuse(w, "text instead of numbers");
        if (H5Tis_variable_str(type) != 0)
            return refuse(w, "text of variable length");
        return H5Tget_size(type) <= MAX_ATTRIBUTE ? HT_OK : refuse(w, "a text of over 64 KiB");
    default:
        return refuse(w, "a type that is neither number nor text");
    }
}

static enum ht_status check_filters(struct walk *w, hid_t create)
{
    for (int i = 0; i < H5Pget_nfilters(create); i++) {
        unsigned flags, config;
        size_t n = 0;
        H5Z_filter_t filter =
            H5Pget_filter2(create, (unsigned)i, &flags, &n, NULL, 0, NULL, &config);
        if (filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_DEFLATE &&
            filter != H5Z_FILTER_FLETCHER32)
            return refuse(w, "a filter other than shuffle, deflate and fletcher32");
    }
    return HT_OK;
}

static enum ht_status check_size(struct walk *w, hid_t set, hid_t type)
{
    hsize_t dims[H5S_MAX_RANK];
    size_t elements = 1, bytes;
    hid_t space = H5Dget_space(set);
    H5S_class_t kind = H5Sget_simple_extent_type(space);
    int rank = H5Sget_simple_extent_ndims(space);
    if (rank > 0)
        H5Sget_simple_extent_dims(space, dims, NULL);
    H5Sclose(space);
    if (kind != H5S_SIMPLE || rank < 1 || rank > MAX_RANK)
        return refuse(w, "not an array of 1 to 4 dimensions");
    for (int i = 0; i < rank; i++)
        if (dims[i] == 0 || dims[i] > MAX_DIMENSION ||
            !ht_mul_size(elements, (size_t)dims[i], &elements) || elements >= MAX_ELEMENTS)
            return refuse(w, "a dimension that is 0 or too large");
    bytes = elements * H5Tget_size(type);
    if (bytes > BOMB_BYTES && bytes / BOMB_RATIO > (size_t)H5Dget_storage_size(set))
        return refuse(w, "declares far more data than it stores");
    return HT_OK;
}

static enum ht_status check_dataset(struct walk *w, hid_t set)
{
    hid_t create = H5Dget_create_plist(set), type = H5Dget_type(set);
    enum ht_status status = HT_OK;
    if (create < 0 || type < 0)
        status = refuse(w, "unreadable");
    else if (H5Pget_layout(create) == H5D_VIRTUAL || H5Pget_layout(create) < 0)
        status = refuse(w, "a virtual dataset");
    else if (H5Pget_external_count(create) != 0)
        status = refuse(w, "data in another file");
    if (status == HT_OK)
        status = check_type(w, type, false);
    if (status == HT_OK)
        status = check_filters(w, create);
    if (status == HT_OK)
        status = check_size(w, set, type);
    H5Tclose(type);
    H5Pclose(create);
    return status;
}

static herr_t check_attribute(hid_t object, const char *name, const H5A_info_t *info, void *user)
{
    struct walk *w = user;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0)
        return refuse(w, "an attribute that cannot be read") ? -1 : 0;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    if (type < 0 || space < 0 || H5Sget_simple_extent_npoints(space) > (hssize_t)MAX_ATTRIBUTE)
        refuse(w, "an attribute that is too large");
    else
        check_type(w, type, true);
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return w->status == HT_OK ? 0 : -1;
}

static enum ht_status check_object(struct walk *w, hid_t object);

static herr_t check_link(hid_t group, const char *name, const H5L_info_t *info, void *user)
{
    struct walk *w = user;
    const size_t length = strlen(w->path);
    if (length + strlen(name) + 2 > sizeof w->path || w->depth >= MAX_DEPTH) {
        refuse(w, "groups too deep");
        return -1;
    }
    snprintf(w->path + length, sizeof w->path - length, "/%s", name);
    if (++w->objects > MAX_OBJECTS) {
        refuse(w, "too many objects");
    } else if (info->type != H5L_TYPE_HARD) {
        refuse(w, "a link that is not hard");
    } else {
        hid_t object = H5Oopen(group, name, H5P_DEFAULT);
        if (object < 0) {
            refuse(w, "cannot be read");
        } else {
            w->depth++;
            check_object(w, object);
            w->depth--;
            H5Oclose(object);
        }
    }
    w->path[length] = '\0';
    return w->status == HT_OK ? 0 : -1;
}

static enum ht_status check_object(struct walk *w, hid_t object)
{
    hsize_t at = 0;
    H5I_type_t kind = H5Iget_type(object);
    if (kind != H5I_GROUP && kind != H5I_DATASET)
        return refuse(w, "neither group nor dataset");
    if (H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, NULL, check_attribute, w) < 0)
        return refuse(w, "its attributes cannot be read");
    if (kind == H5I_DATASET)
        return check_dataset(w, object);
    if (H5Literate(object, H5_INDEX_NAME, H5_ITER_INC, &at, check_link, w) < 0)
        return refuse(w, "cannot be listed");
    return w->status;
}

enum ht_status ht_hdf5_check(hid_t file, const char *label, enum ht_status code,
                             struct ht_error *err)
{
    struct walk w = {.label = label, .code = code, .err = err, .status = HT_OK};
    hid_t root = H5Gopen2(file, "/", H5P_DEFAULT);
    if (root < 0)
        return refuse(&w, "cannot be read");
    check_object(&w, root);
    H5Gclose(root);
    return w.status;
}
