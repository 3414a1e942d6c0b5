#include "io/hdf5_table.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "io/file.h"
#include "io/hdf5_checks.h"

#define MAX_LISTED   64
#define HT_HDF5_NAME 128

void ht_hdf5_table_finish(struct ht_hdf5_table *t)
{
    ht_free(t->u8);
    ht_free(t->f32);
    memset(t, 0, sizeof *t);
}

/* Numeric datasets of a file by path. */
struct listing {
    char names[MAX_LISTED][HT_HDF5_NAME];
    size_t n;
};

static herr_t list_dataset(hid_t root, const char *name, const H5O_info_t *info, void *user)
{
    struct listing *l = user;
    if (info->type == H5O_TYPE_DATASET && l->n < MAX_LISTED && strlen(name) < HT_HDF5_NAME - 1)
        snprintf(l->names[l->n++], HT_HDF5_NAME, "%s", name);
    return 0;
}

static enum ht_status not_found(const struct listing *l, const char *path, const char *dataset,
                                struct ht_error *err)
{
    const char *names[MAX_LISTED];
    struct ht_text list = {0};
    for (size_t i = 0; i < l->n; i++) {
        names[i] = l->names[i];
        ht_text_printf(&list, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = dataset ? ht_nearest_name(dataset, names, l->n) : NULL;
    enum ht_status status;
    if (l->n == 0)
        status = ht_fail(err, HT_ERR_DATA, "%s: no dataset in this file", path);
    else if (!dataset)
        status = ht_fail(err, HT_ERR_DATA, "%s: which dataset? There are: %s", path,
                         ht_text_str(&list));
    else
        status = ht_fail(err, HT_ERR_DATA, "%s: no dataset '%s'%s%s%s; there are: %s", path,
                         dataset, near ? " (did you mean '" : "", near ? near : "",
                         near ? "'?)" : "", ht_text_str(&list));
    ht_text_finish(&list);
    return status;
}

static enum ht_status find_name(hid_t file, const char *path, const char *dataset,
                                char name[HT_HDF5_NAME], struct ht_error *err)
{
    struct listing *l = ht_calloc(1, sizeof *l);
    enum ht_status status = HT_OK;
    const bool given = dataset && dataset[0];
    const char *wanted = given && dataset[0] == '/' ? dataset + 1 : dataset;
    size_t found = 0;
    if (!l)
        return ht_fail_memory(err);
    if (H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, list_dataset, l, H5O_INFO_BASIC) < 0)
        status = ht_fail(err, HT_ERR_DATA, "%s: cannot be listed", path);
    while (given && found < l->n && strcmp(l->names[found], wanted) != 0)
        found++;
    if (status == HT_OK && (found >= l->n || (!given && l->n != 1)))
        status = not_found(l, path, given ? dataset : NULL, err);
    if (status == HT_OK)
        snprintf(name, HT_HDF5_NAME, "%s", l->names[found]);
    ht_free(l);
    return status;
}

static enum ht_status read_dataset(struct ht_hdf5_table *t, hid_t set, const char *path,
                                   const char *name, size_t max_bytes, struct ht_error *err)
{
    size_t shape[4], bytes;
    int rank = ht_hdf5_shape(set, shape);
    hid_t type = H5Dget_type(set);
    const bool byte = H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == 1 &&
                      H5Tget_sign(type) == H5T_SGN_NONE;
    H5Tclose(type);
    t->rows = shape[0];
    t->cols = 1;
    for (int i = 1; i < rank; i++)
        t->cols *= shape[i]; /* bounded by ht_hdf5_check */
    if (!ht_mul_size(t->rows, t->cols, &bytes) ||
        !ht_mul_size(bytes, byte ? 1 : sizeof(float), &bytes) || bytes > max_bytes)
        return ht_fail(err, HT_ERR_DATA, "%s: %s: larger than the %zu bytes allowed here", path,
                       name, max_bytes);
    void *data = ht_calloc(bytes, 1);
    if (!data)
        return ht_fail_memory(err);
    if (byte)
        t->u8 = data;
    else
        t->f32 = data;
    if (H5Dread(set, byte ? H5T_NATIVE_UINT8 : H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                data) < 0) {
        ht_hdf5_table_finish(t);
        return ht_fail(err, HT_ERR_DATA, "%s: %s: damaged, cannot be read", path, name);
    }
    return HT_OK;
}

enum ht_status ht_hdf5_table_read(struct ht_hdf5_table *ret, const char *path, const char *dataset,
                                  size_t max_bytes, struct ht_error *err)
{
    char *image, name[HT_HDF5_NAME];
    size_t size, limit;
    hid_t file = -1, set = -1;
    memset(ret, 0, sizeof *ret);
    if (!ht_mul_size(max_bytes, 2, &limit) || !ht_add_size(limit, (size_t)64 << 20, &limit))
        limit = (size_t)-1 / 2;
    enum ht_status status = ht_file_read(path, limit, &image, &size, err);
    if (status != HT_OK)
        return status;
    ht_hdf5_prepare();
    file = ht_hdf5_open_image(image, size);
    if (file < 0)
        status = ht_fail(err, HT_ERR_DATA, "%s: not an HDF5 file, or damaged", path);
    if (status == HT_OK)
        status = ht_hdf5_check(file, path, HT_ERR_DATA, err);
    if (status == HT_OK)
        status = find_name(file, path, dataset, name, err);
    if (status == HT_OK && (set = H5Dopen2(file, name, H5P_DEFAULT)) < 0)
        status = ht_fail(err, HT_ERR_DATA, "%s: %s: cannot be opened", path, name);
    if (status == HT_OK)
        status = read_dataset(ret, set, path, name, max_bytes, err);
    if (set >= 0)
        H5Dclose(set);
    if (file >= 0)
        H5Fclose(file);
    ht_free(image);
    return status;
}
