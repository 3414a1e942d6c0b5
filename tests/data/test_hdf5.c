/* Datasets out of HDF5 files, as a user's own program would write them. */
#include "data_support.h"

#include <hdf5.h>
#include <math.h>

static void write_hdf5(const struct fixture *f, const char *file, const char *name, hid_t type,
                       int rank, const hsize_t *shape, const void *data)
{
    char path[HT_PATH_LENGTH];
    snprintf(path, sizeof path, "%s/%s", f->dir, file);
    hid_t h = access(path, F_OK) == 0 ? H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT)
                                      : H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(rank, shape, NULL);
    if (H5Lexists(h, name, H5P_DEFAULT) > 0)
        H5Ldelete(h, name, H5P_DEFAULT);
    hid_t set = H5Dcreate2(h, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    cr_assert_geq(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Fclose(h);
}

static void add_file(struct fixture *f, const char *role, const char *path, const char *dataset)
{
    struct ht_data_file *file = &f->d.files[f->d.n_files++];
    strcpy(file->role, role);
    strcpy(file->path, path);
    strcpy(file->dataset, dataset);
}

Test(hdf5, reads_features_and_labels)
{
    static struct fixture f;
    uint8_t pixels[6 * 2 * 3];
    int64_t labels[6] = {3, 1, 3, 1, 2, 2};
    fixture_init(&f, "hdf5", "classification");
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(7 * i);
    write_hdf5(&f, "d.h5", "x", H5T_NATIVE_UINT8, 3, (hsize_t[]){6, 2, 3}, pixels);
    write_hdf5(&f, "d.h5", "y", H5T_NATIVE_INT64, 1, (hsize_t[]){6}, labels);
    add_file(&f, "features", "d.h5", "x");
    add_file(&f, "labels", "d.h5", "y");
    f.d.image_rows = 2;
    f.d.image_columns = 3;
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert(f.data->n == 6 && f.data->features == 6);
    cr_assert_eq(memcmp(f.data->bytes, pixels, sizeof pixels), 0);
    cr_assert_eq(f.data->n_classes, 3);
    for (size_t i = 0; i < 6; i++)
        cr_assert_eq(f.data->labels[i], labels[i] - 1);
    cr_assert_str_eq(f.data->classes[2], "3");
    strcpy(f.d.files[1].dataset, "z");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "z");
    write_hdf5(&f, "d.h5", "z", H5T_NATIVE_INT64, 1, (hsize_t[]){5}, labels);
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "5 labels, but 6 samples in");
    fixture_finish(&f);
}

Test(hdf5, reads_tables_in_parts)
{
    static struct fixture f;
    double train[3][3] = {{1, 0.5, 10}, {2, -1, 20}, {3, 0.25, 30}}, test[1][3] = {{4, 8, 40}};
    fixture_init(&f, "hdf5", "regression");
    write_hdf5(&f, "a.h5", "t", H5T_NATIVE_DOUBLE, 2, (hsize_t[]){3, 3}, train);
    write_hdf5(&f, "b.h5", "t", H5T_NATIVE_DOUBLE, 2, (hsize_t[]){1, 3}, test);
    add_file(&f, "train_table", "a.h5", "");
    add_file(&f, "test_table", "b.h5", "t");
    strcpy(f.d.csv.label, "2");
    static const float values[] = {1, 10, 2, 20, 3, 30, 4, 40}, targets[] = {0.5f, -1, 0.25f, 8};
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert_eq(memcmp(f.data->values, values, sizeof values), 0);
    cr_assert_eq(memcmp(f.data->targets, targets, sizeof targets), 0);
    cr_assert_eq(f.data->count[HT_TEST], 1);
    strcpy(f.d.csv.label, "price");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "a.h5: csv.label: \"price\" is not one of the 3 columns");
    strcpy(f.d.csv.label, "-1");
    train[2][1] = NAN;
    write_hdf5(&f, "a.h5", "t", H5T_NATIVE_DOUBLE, 2, (hsize_t[]){3, 3}, train);
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "a.h5: sample 3, value 2 is not a finite number");
    fixture_finish(&f);
}

Test(hdf5, reads_features_alone)
{
    static struct fixture f;
    float values[5 * 3];
    fixture_init(&f, "hdf5", "none");
    for (size_t i = 0; i < 15; i++)
        values[i] = (float)i;
    write_hdf5(&f, "d.h5", "x", H5T_NATIVE_FLOAT, 2, (hsize_t[]){5, 3}, values);
    add_file(&f, "table", "d.h5", "x");
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert(f.data->n == 5 && f.data->features == 3); /* no column is taken for a label */
    cr_assert(!f.data->labels && !f.data->targets);
    cr_assert_eq(memcmp(f.data->values, values, sizeof values), 0);
    fixture_finish(&f);
}
