/* Users' own HDF5 files, made by h5py. */
#include "io_support.h"

#include "io/hdf5_table.h"

#ifndef HT_TEST_PYTHON
Test(hdf5_table, h5py)
{
    cr_skip_test("skipped: no Python with h5py");
}
#else
static struct ht_error err;
static char folder[64];

static void start(void)
{
    make_temp_dir(folder);
    free(output_of("'%s' '%s' tables '%s' 2>&1", HT_TEST_PYTHON, HT_TEST_SCRIPT, folder));
}

static void finish(void)
{
    remove_temp_dir(folder);
    cr_assert_eq(ht_alloc_live(), 0);
}

static enum ht_status read_file(struct ht_hdf5_table *t, const char *name, const char *dataset,
                                size_t max_bytes)
{
    char path[160];
    memset(t, 0, sizeof *t);
    *err.msg = '\0';
    snprintf(path, sizeof path, "%s/%s", folder, name);
    enum ht_status status = ht_hdf5_table_read(t, path, dataset, max_bytes, &err);
    if (status != HT_OK)
        cr_assert(!t->u8 && !t->f32 && (status == HT_ERR_MEMORY || strstr(err.msg, path)), "%s",
                  err.msg);
    return status;
}

Test(hdf5_table, types)
{
    static const struct {
        const char *name, *dataset;
        size_t rows, cols;
        double factor, shift;
    } cases[] = {{"i1", NULL, 20, 3, 1, -30},
                 {"u2", "", 20, 3, 1, 0},
                 {"i4", "group/values", 20, 3, 1, -30},
                 {"i8", "/group/values", 20, 3, 1, -30},
                 {"u8", NULL, 20, 3, 1, 0},
                 {"f2", NULL, 20, 3, 1, -30},
                 {"f4", NULL, 20, 3, 1, -30},
                 {"f8", NULL, 20, 3, 1, -30},
                 {"big_i2", NULL, 20, 3, 1, -30},
                 {"big_f8", NULL, 20, 3, 1, -30},
                 {"packed", "x", 5, 12, 0.25, -1},
                 {"old_style", NULL, 60, 1, 0.25, -1},
                 {"user_block", NULL, 60, 1, 1, 0}};
    struct ht_hdf5_table t;
    start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ASSERT_OK(read_file(&t, cases[i].name, cases[i].dataset, 240), err);
        cr_assert(t.rows == cases[i].rows && t.cols == cases[i].cols && t.f32 && !t.u8);
        for (int k = 0; k < 60; k++)
            cr_assert_eq(t.f32[k], (float)(k * cases[i].factor + cases[i].shift), "%s: %d",
                         cases[i].name, k);
        ht_hdf5_table_finish(&t);
    }
    finish();
}

Test(hdf5_table, bytes)
{
    struct ht_hdf5_table t;
    start();
    ASSERT_OK(read_file(&t, "bytes", "images", 60), err);
    cr_assert(t.rows == 5 && t.cols == 12 && t.u8 && !t.f32);
    for (int k = 0; k < 60; k++)
        cr_assert_eq(t.u8[k], k * 7 % 251);
    ht_hdf5_table_finish(&t);
    ASSERT_OK(read_file(&t, "mixed", NULL, 60), err); /* the one numeric dataset */
    cr_assert(t.rows == 60 && t.cols == 1 && t.u8);
    ht_hdf5_table_finish(&t);
    ASSERT_OK(read_file(&t, "skipped", NULL, 60), err);
    for (int k = 0; k < 60; k++)
        cr_assert_eq(t.u8[k], k);
    ht_hdf5_table_finish(&t);
    ASSERT_OK(read_file(&t, "no_filter", NULL, 60), err);
    for (int k = 0; k < 60; k++)
        cr_assert_eq(t.u8[k], k);
    ht_hdf5_table_finish(&t);
    finish();
}

/* Chunks that were never written hold the fill value. */
Test(hdf5_table, sparse)
{
    struct ht_hdf5_table t;
    start();
    ASSERT_OK(read_file(&t, "sparse", NULL, 240), err);
    cr_assert(t.rows == 60 && t.f32);
    for (int k = 0; k < 60; k++)
        cr_assert_eq(t.f32[k], k >= 10 && k < 20 ? 3 : 7);
    ht_hdf5_table_finish(&t);
    finish();
}

Test(hdf5_table, refused)
{
    static const struct {
        const char *name, *dataset, *words;
    } cases[] = {
        {"several", NULL,
         "more than one numeric dataset, say which; it holds: names (a "
         "variable-length type), train_images, train_labels"},
        {"several", "train_image", "no dataset 'train_image', did you mean 'train_images'?"},
        {"several", "names", "names: a variable-length type"},
        {"several", "q", "no dataset 'q'; it holds: names"},
        {"mixed", "scalar", "scalar: a single number"},
        {"mixed", "link", "link: a soft link"},
        {"none", NULL, "no numeric dataset; it holds: names"},
        {"external", NULL, "x (external storage"},
        {"external", "x", "x: external storage"},
        {"external_link", "x", "x: an external link"},
        {"external_link", "x/images", "no dataset 'x/images'"},
        {"virtual", "x", "x: a virtual dataset"},
        {"bomb", "x", "x: damaged chunks"},
        {"short", "x", "x: damaged chunks"},
        {"index", "x", "x: damaged chunks"},
        {"balanced_index", "x", "x: damaged chunks"},
        {"large_index", "x", "x: damaged chunks"},
        {"short_plain", "x", "x: damaged chunks"},
        {"declared", "x", "x: declares 1677721600 elements"},
        {"checksum", "x", "x: damaged: libhdf5 cannot read it"},
        {"bytes", "images", "60 elements need more than the 59 bytes"},
        {"f8", NULL, "60 elements need more than the 59 bytes"},
    };
    struct ht_hdf5_table t;
    char path[160];
    start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_eq(read_file(&t, cases[i].name, cases[i].dataset, i < 20 ? 1 << 20 : 59),
                     HT_ERR_DATA, "%s", cases[i].name);
        cr_expect(err.code == HT_ERR_DATA && strstr(err.msg, cases[i].words),
                  "%s: '%s', expected '%s'", cases[i].name, err.msg, cases[i].words);
    }
    cr_assert_eq(read_file(&t, "missing", NULL, 100), HT_ERR_IO);
    snprintf(path, sizeof path, "%s/text", folder);
    write_file(path, "text", 4);
    cr_assert_eq(read_file(&t, "text", NULL, 100), HT_ERR_DATA);
    cr_assert_not_null(strstr(err.msg, "not an HDF5 file"));
    write_file(path, "", 0);
    cr_assert_eq(read_file(&t, "text", NULL, 100), HT_ERR_DATA);
    finish();
}

Test(hdf5_table, truncated)
{
    char *data, path[160];
    size_t size;
    struct ht_hdf5_table t;
    start();
    snprintf(path, sizeof path, "%s/packed", folder);
    ASSERT_OK(ht_file_read(path, 1 << 20, &data, &size, &err), err);
    for (size_t n = 0; n < size; n += 1 + n / 20) {
        write_file(path, data, n);
        cr_assert_eq(read_file(&t, "packed", "x", 1000), HT_ERR_DATA);
    }
    ht_free(data);
    finish();
}

Test(hdf5_table, out_of_memory)
{
    struct ht_hdf5_table t;
    enum ht_status status = HT_ERR_MEMORY;
    long n;
    start();
    for (n = 1; status != HT_OK; n++) {
        ht_alloc_fail_at(n);
        status = read_file(&t, "bytes", NULL, 1000);
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY, "%ld: %s", n, err.msg);
        cr_assert_eq(ht_alloc_live(), status == HT_OK);
        cr_assert_lt(n, 100);
    }
    cr_assert_gt(n, 4);
    ht_alloc_fail_at(0);
    ht_hdf5_table_finish(&t);
    finish();
}
#endif
