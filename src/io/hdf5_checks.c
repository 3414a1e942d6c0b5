#include "io/hdf5_checks.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define FREE_BYTES ((size_t)64 << 20) /* what a dataset may declare without proof */
#define MAX_RATIO  1040               /* deflate shrinks no more than this */
#define MAX_CHUNK  ((size_t)UINT32_MAX)

/* --- opening an image without copying it --- */

static void *image_malloc(size_t size, H5FD_file_image_op_t op, void *user)
{
    struct ht_hdf5_image *image = user;
    return size <= image->size ? image->bytes : NULL;
}

static void *image_memcpy(void *to, const void *from, size_t size, H5FD_file_image_op_t op,
                          void *user)
{
    return to; /* both are the one image */
}

static void *image_realloc(void *p, size_t size, H5FD_file_image_op_t op, void *user)
{
    return NULL; /* only writers need it */
}

static herr_t image_free(void *p, H5FD_file_image_op_t op, void *user)
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

void ht_hdf5_prepare(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
}

hid_t ht_hdf5_open_image(struct ht_hdf5_image *image)
{
    H5FD_file_image_callbacks_t callbacks = {image_malloc, image_memcpy, image_realloc, image_free,
                                             user_copy,    user_free,    NULL};
    char name[64];
    hid_t file = -1;
    /* libhdf5 refuses an image under the name of a file that exists, and takes two images of one
     * name for the same file: a name that cannot exist, and is one of a kind while the image lives.
     */
    snprintf(name, sizeof name, "/dev/null/halftone-%p", (void *)image->bytes);
    callbacks.udata = image;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access >= 0 && H5Pset_fapl_core(access, 65536, 0) >= 0 &&
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_file_image_callbacks(access, &callbacks) >= 0 &&
        H5Pset_file_image(access, image->bytes, image->size) >= 0)
        file = H5Fopen(name, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    return file;
}

/* --- one dataset --- */

#define REFUSE(text, ...) (snprintf(text, HT_HDF5_REFUSAL, __VA_ARGS__), false)

static bool check_filters(hid_t list, char *text)
{
    static const struct {
        H5Z_filter_t id;
        const char *name;
    } known[] = {{H5Z_FILTER_SHUFFLE, "shuffle"},
                 {H5Z_FILTER_DEFLATE, "deflate"},
                 {H5Z_FILTER_FLETCHER32, "fletcher32"}};
    const int n = H5Pget_nfilters(list);
    int last = -1;
    if (n < 0)
        return REFUSE(text, "damaged filters");
    for (int i = 0; i < n; i++) {
        unsigned flags, config;
        size_t n_values = 0;
        int found = 0;
        H5Z_filter_t id =
            H5Pget_filter2(list, (unsigned)i, &flags, &n_values, NULL, 0, NULL, &config);
        while (found < 3 && known[found].id != id)
            found++;
        if (found == 3)
            return REFUSE(text, "filter %d (only shuffle, deflate and fletcher32 are read)", id);
        if (found <= last)
            return REFUSE(text, "filter %s twice or out of order", known[found].name);
        last = found;
    }
    return true;
}

/* Before the dataspace is touched: asking a virtual dataset for its size opens other files. */
static bool check_layout(hid_t list, char *text)
{
    const H5D_layout_t layout = H5Pget_layout(list);
    if (layout == H5D_VIRTUAL)
        return REFUSE(text, "a virtual dataset, which reads other files");
    if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
        return REFUSE(text, "an unknown storage layout");
    if (H5Pget_external_count(list) != 0)
        return REFUSE(text, "external storage, which reads other files");
    return check_filters(list, text);
}

static bool check_type(struct ht_hdf5_object *o, char *text)
{
    static const struct {
        H5T_class_t class;
        const char *name;
    } refused[] = {{H5T_TIME, "a time"},
                   {H5T_BITFIELD, "a bit field"},
                   {H5T_OPAQUE, "an opaque"},
                   {H5T_COMPOUND, "a compound"},
                   {H5T_REFERENCE, "a reference"},
                   {H5T_ENUM, "an enumeration"},
                   {H5T_VLEN, "a variable-length"},
                   {H5T_ARRAY, "an array"}};
    o->class = H5Tget_class(o->type);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (o->class == refused[i].class)
            return REFUSE(text, "%s type", refused[i].name);
    if (o->class == H5T_STRING && H5Tis_variable_str(o->type) != 0)
        return REFUSE(text, "a variable-length type");
    if (o->class != H5T_INTEGER && o->class != H5T_FLOAT && o->class != H5T_STRING)
        return REFUSE(text, "an unknown type");
    o->element_size = H5Tget_size(o->type);
    if (o->element_size == 0 || (o->class != H5T_STRING && o->element_size > 8))
        return REFUSE(text, "numbers of %zu bytes", o->element_size);
    return true;
}

static bool check_space(struct ht_hdf5_object *o, hid_t space, char *text)
{
    const H5S_class_t class = H5Sget_simple_extent_type(space);
    if (class != H5S_SCALAR && class != H5S_SIMPLE)
        return REFUSE(text, "no elements");
    o->rank = class == H5S_SCALAR ? 0 : H5Sget_simple_extent_ndims(space);
    if (o->rank < 0 || o->rank > HT_HDF5_MAX_RANK)
        return REFUSE(text, "%d dimensions, more than %d", o->rank, HT_HDF5_MAX_RANK);
    if (o->rank > 0 && H5Sget_simple_extent_dims(space, o->shape, NULL) != o->rank)
        return REFUSE(text, "damaged dimensions");
    o->elements = 1;
    for (int i = 0; i < o->rank; i++) {
        if (o->shape[i] == 0 || o->shape[i] > HT_HDF5_MAX_DIMENSION)
            return REFUSE(text, "dimension %d is %llu, not 1 to %d", i + 1,
                          (unsigned long long)o->shape[i], HT_HDF5_MAX_DIMENSION);
        if (!ht_mul_size(o->elements, (size_t)o->shape[i], &o->elements) ||
            o->elements > HT_HDF5_MAX_ELEMENTS)
            return REFUSE(text, "more than 2^31 - 1 elements");
    }
    return true;
}

/* What the file declares must be there, within what compression can do: 1,400 bytes can declare
 * terabytes. The stored size is the file's word too, so the file's own size bounds it. */
static bool check_storage(struct ht_hdf5_object *o, hid_t list, size_t file_size, char *text)
{
    hsize_t chunk[HT_HDF5_MAX_RANK], stored = H5Dget_storage_size(o->id);
    size_t declared, chunk_bytes = o->element_size;
    const bool exact = H5Pget_layout(list) != H5D_CHUNKED; /* or nothing: never written */
    if (exact && stored != 0 &&
        (stored > file_size || stored != (hsize_t)o->elements * o->element_size))
        return REFUSE(text, "stores %llu bytes for %zu elements of %zu", (unsigned long long)stored,
                      o->elements, o->element_size);
    if (stored > file_size)
        stored = file_size;
    if (!ht_mul_size(o->elements, o->element_size, &declared) ||
        (declared > FREE_BYTES && declared / MAX_RATIO > stored))
        return REFUSE(text, "declares %zu elements of %zu bytes but stores %llu bytes", o->elements,
                      o->element_size, (unsigned long long)stored);
    if (exact)
        return true;
    if (H5Pget_chunk(list, HT_HDF5_MAX_RANK, chunk) != o->rank)
        return REFUSE(text, "damaged chunks");
    for (int i = 0; i < o->rank; i++)
        if (chunk[i] == 0 || !ht_mul_size(chunk_bytes, (size_t)chunk[i], &chunk_bytes) ||
            chunk_bytes > MAX_CHUNK)
            return REFUSE(text, "damaged chunks");
    if (chunk_bytes > FREE_BYTES && chunk_bytes / MAX_RATIO > stored)
        return REFUSE(text, "chunks of %zu bytes but only %llu bytes stored", chunk_bytes,
                      (unsigned long long)stored);
    return true;
}

static void check_dataset(struct ht_hdf5_object *o, size_t file_size, char *text)
{
    hid_t space = -1, list = H5Dget_create_plist(o->id);
    if (list < 0)
        (void)REFUSE(text, "damaged");
    else if (check_layout(list, text)) {
        o->type = H5Dget_type(o->id);
        space = H5Dget_space(o->id);
        if (o->type < 0 || space < 0)
            (void)REFUSE(text, "damaged");
        else if (check_type(o, text) && check_space(o, space, text))
            (void)check_storage(o, list, file_size, text);
    }
    if (space >= 0)
        H5Sclose(space);
    if (list >= 0)
        H5Pclose(list);
}

/* --- the walk --- */

struct walk {
    const struct ht_hdf5_image *image;
    const char *label;
    ht_hdf5_visit visit;
    void *user;
    struct ht_error *err;
    enum ht_status status;
    char path[HT_HDF5_MAX_PATH];
    size_t length; /* of path */
    int depth, objects;
};

bool ht_hdf5_name_is_sound(const char *name, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || name[i] == '/')
            return false;
    return length > 0 && !(length == 1 && name[0] == '.');
}

static herr_t enter(hid_t group, const char *name, const H5L_info_t *info, void *user);

/* Visits what is open as o->id and, in a group, all below. */
static void visit_object(struct walk *w, struct ht_hdf5_object *o)
{
    char text[HT_HDF5_REFUSAL] = "";
    const H5I_type_t kind = H5Iget_type(o->id);
    o->path = w->length ? w->path : "/";
    o->refusal = text;
    o->type = -1;
    o->is_group = kind == H5I_GROUP;
    if (kind == H5I_DATASET)
        check_dataset(o, w->image->size, text);
    else if (kind != H5I_GROUP)
        (void)REFUSE(text, "neither a group nor a dataset");
    w->status = w->visit(w->user, o, w->err);
    if (o->type >= 0)
        H5Tclose(o->type);
    if (w->status != HT_OK || !o->is_group)
        return;
    if (w->depth == HT_HDF5_MAX_DEPTH) {
        w->status = ht_fail(w->err, HT_ERR_MODEL, "%s: groups deeper than %d, or in a circle",
                            w->label, HT_HDF5_MAX_DEPTH);
        return;
    }
    w->depth++;
    if (H5Literate(o->id, H5_INDEX_NAME, H5_ITER_INC, NULL, enter, w) < 0 && w->status == HT_OK)
        w->status = ht_fail(w->err, HT_ERR_MODEL, "%s: %s: damaged: libhdf5 cannot list it",
                            w->label, o->path);
    w->depth--;
}

static void visit_link(struct walk *w, H5L_type_t type)
{
    char text[HT_HDF5_REFUSAL];
    struct ht_hdf5_object o = {.path = w->path, .id = -1, .type = -1, .refusal = text};
    (void)REFUSE(text, "%s link, which is not followed",
                 type == H5L_TYPE_SOFT       ? "a soft"
                 : type == H5L_TYPE_EXTERNAL ? "an external"
                                             : "a user-defined");
    w->status = w->visit(w->user, &o, w->err);
}

static herr_t enter(hid_t group, const char *name, const H5L_info_t *info, void *user)
{
    struct walk *w = user;
    const size_t n = strlen(name), length = w->length;
    if (!ht_hdf5_name_is_sound(name, n) || n + 2 > sizeof w->path - length)
        w->status = ht_fail(w->err, HT_ERR_MODEL, "%s: %s: a name that is too long or no name",
                            w->label, length ? w->path : "/");
    else if (++w->objects > HT_HDF5_MAX_OBJECTS)
        w->status = ht_fail(w->err, HT_ERR_MODEL, "%s: more than %d objects", w->label,
                            HT_HDF5_MAX_OBJECTS);
    if (w->status != HT_OK)
        return -1;
    w->path[length] = '/';
    memcpy(w->path + length + 1, name, n + 1);
    w->length = length + 1 + n;
    if (info->type != H5L_TYPE_HARD) {
        visit_link(w, info->type);
    } else {
        struct ht_hdf5_object o = {.id = H5Oopen(group, name, H5P_DEFAULT)};
        if (o.id < 0) {
            w->status = ht_fail(w->err, HT_ERR_MODEL, "%s: %s: damaged: libhdf5 cannot open it",
                                w->label, w->path);
        } else {
            visit_object(w, &o);
            H5Oclose(o.id);
        }
    }
    w->path[length] = '\0';
    w->length = length;
    return w->status == HT_OK ? 0 : -1;
}

enum ht_status ht_hdf5_walk(hid_t file, const struct ht_hdf5_image *image, const char *label,
                            ht_hdf5_visit visit, void *user, struct ht_error *err)
{
    struct walk w = {.image = image, .label = label, .visit = visit, .user = user, .err = err};
    struct ht_hdf5_object root = {.id = H5Oopen(file, "/", H5P_DEFAULT)};
    if (root.id < 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: damaged: libhdf5 cannot open the root group", label);
    visit_object(&w, &root);
    H5Oclose(root.id);
    return w.status;
}
