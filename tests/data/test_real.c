/* Fashion-MNIST as Debian's package dataset-fashion-mnist installs it. Skipped when it is not
 * there. */
#include "data_support.h"

#define FOLDER "/usr/share/datasets/fashion-mnist"

static const struct {
    const char *role, *path, *sha256;
} files[] = {
    {"train_features", "train-images-idx3-ubyte.gz",
     "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"},
    {"train_labels", "train-labels-idx1-ubyte.gz",
     "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"},
    {"test_features", "t10k-images-idx3-ubyte.gz",
     "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"},
    {"test_labels", "t10k-labels-idx1-ubyte.gz",
     "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"},
};

Test(real, fashion_mnist)
{
    if (access(FOLDER "/train-images-idx3-ubyte.gz", R_OK) != 0)
        cr_skip_test("%s is not installed", "dataset-fashion-mnist");
    static struct ht_descriptor d;
    struct ht_dataset_options options = {.validation = 5000, .seed = 1, .verify_hashes = true};
    struct ht_error err;
    struct ht_dataset *data;
    strcpy(d.path, "built-in:fashion-mnist");
    strcpy(d.name, "fashion-mnist");
    strcpy(d.format, "idx");
    strcpy(d.task, "classification");
    strcpy(d.search[0], FOLDER);
    d.n_search = 1;
    d.n_files = 4;
    for (size_t i = 0; i < 4; i++) {
        strcpy(d.files[i].role, files[i].role);
        strcpy(d.files[i].path, files[i].path);
        strcpy(d.files[i].sha256, files[i].sha256);
    }
    d.samples = 60000;
    d.test_samples = 10000;
    d.features = 784;
    d.image_rows = d.image_columns = 28;
    setenv("HALFTONE_DATA", "/nowhere", 1);
    ASSERT_OK(ht_dataset_load(&data, &d, &options, &err), err);
    static const int32_t first[] = {9, 0, 0, 3, 0}, first_test[] = {9, 2, 1, 1, 6};
    cr_assert_eq(memcmp(data->labels, first, sizeof first), 0);
    cr_assert_eq(memcmp(data->labels + 60000, first_test, sizeof first_test), 0);
    size_t counts[3][10] = {{0}};
    for (int s = 0; s < HT_N_SPLITS; s++)
        for (size_t i = 0; i < data->count[s]; i++)
            counts[s][data->labels[data->index[s][i]]]++;
    for (int c = 0; c < 10; c++) /* the whole set has 6000 + 1000 of each class */
        cr_assert(counts[HT_TRAIN][c] == 5500 && counts[HT_VALIDATION][c] == 500 &&
                  counts[HT_TEST][c] == 1000);
    double sum =
        0; /* mean pixel of the training files is 0.2860, as everyone who normalizes by it writes */
    for (size_t i = 0; i < (size_t)60000 * 784; i++)
        sum += data->bytes[i];
    cr_assert_float_eq(sum / 60000 / 784 / 255, 0.2860, 0.00005);
    ht_dataset_destroy(data);
    cr_assert_eq(ht_alloc_live(), 0);
}
