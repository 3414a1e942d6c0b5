#include "data_support.h"

#include <math.h>

/* A table with counts[c] rows of class c, two features; text grows as needed. */
static void make_table(struct fixture *f, const size_t *counts, size_t n_classes)
{
    static char text[1 << 18];
    size_t len = 0, row = 0;
    text[0] = '\0';
    for (size_t round = 0, more = 1; more; round++) {
        more = 0;
        for (size_t c = 0; c < n_classes; c++)
            if (round < counts[c]) {
                more = 1;
                len += (size_t)snprintf(text + len, sizeof text - len, "%.6f,%zu,%zu\n",
                                        ht_rng_normal(5, HT_RNG_TEST, row) * 3 + 10, row * row, c);
                row++;
            }
    }
    cr_assert(len < sizeof text - 100);
    fixture_text(f, "table", "t.csv", text);
}

/* Every sample is in exactly one part; parts are ascending. */
static void check_complete(const struct ht_dataset *d)
{
    uint8_t *seen = ht_calloc(d->n, 1);
    size_t total = 0;
    for (int s = 0; s < HT_N_SPLITS; s++) {
        total += d->count[s];
        for (size_t i = 0; i < d->count[s]; i++) {
            cr_assert_lt(d->index[s][i], d->n);
            cr_assert_eq(seen[d->index[s][i]]++, 0);
            cr_assert(i == 0 || d->index[s][i] > d->index[s][i - 1]);
        }
    }
    cr_assert_eq(total, d->n);
    ht_free(seen);
}

static size_t count_class(const struct ht_dataset *d, int split, int32_t c)
{
    size_t n = 0;
    for (size_t i = 0; i < d->count[split]; i++)
        n += d->labels[d->index[split][i]] == c;
    return n;
}

Test(split, is_stratified_complete_and_disjoint)
{
    static const size_t counts[] = {300, 150, 41, 9};
    static struct fixture f;
    fixture_init(&f, "csv", "classification");
    make_table(&f, counts, 4);
    f.options.test = 0.2;
    f.options.validation = 0.1;
    for (uint64_t seed = 0; seed < 5; seed++) {
        f.options.seed = seed;
        ASSERT_OK(fixture_load(&f), f.err);
        check_complete(f.data);
        cr_assert_eq(f.data->count[HT_TEST], 100);
        cr_assert_eq(f.data->count[HT_VALIDATION], 40);
        for (int32_t c = 0; c < 4; c++) {
            double test = (double)count_class(f.data, HT_TEST, c);
            double validation = (double)count_class(f.data, HT_VALIDATION, c);
            cr_assert_lt(fabs(test - 0.2 * (double)counts[c]), 1.0);
            cr_assert_lt(fabs(validation - 0.08 * (double)counts[c]), 1.0);
        }
    }
    fixture_finish(&f);
}

Test(split, gives_rare_classes_to_every_part)
{
    static const size_t counts[] = {90, 3, 2, 1};
    static struct fixture f;
    fixture_init(&f, "csv", "classification");
    make_table(&f, counts, 4);
    f.options.test = 10;
    f.options.validation = 10;
    ASSERT_OK(fixture_load(&f), f.err);
    check_complete(f.data);
    for (int s = 0; s < HT_N_SPLITS; s++)
        cr_assert_eq(count_class(f.data, s, 1), 1);
    cr_assert_eq(count_class(f.data, HT_TRAIN, 2), 1);
    cr_assert_eq(count_class(f.data, HT_TRAIN, 3), 1);
    f.options.validation = 85; /* all that is left but one: even rare samples are needed */
    ASSERT_OK(fixture_load(&f), f.err);
    check_complete(f.data);
    cr_assert_eq(f.data->count[HT_TRAIN], 1);
    fixture_finish(&f);
}

Test(split, works_for_any_sizes)
{
    static struct fixture f;
    fixture_init(&f, "csv", "classification");
    for (uint64_t round = 0; round < 300; round++) {
        size_t counts[12], n_classes = 2 + test_random(40 * round, 11), n = 0;
        for (size_t c = 0; c < n_classes; c++)
            n += counts[c] = 1 + test_random(40 * round + 1 + c, test_random(round, 2) ? 3 : 9);
        make_table(&f, counts, n_classes);
        size_t test = test_random(40 * round + 20, (uint32_t)n);
        size_t validation = test_random(40 * round + 21, (uint32_t)(n - test));
        f.options.test = (double)test;
        f.options.validation = (double)validation;
        f.options.seed = round;
        ASSERT_OK(fixture_load(&f), f.err);
        check_complete(f.data);
        cr_assert_eq(f.data->count[HT_TEST], test);
        cr_assert_eq(f.data->count[HT_VALIDATION], validation);
    }
    fixture_finish(&f);
}

static bool equal_part(const uint32_t *a, size_t n, const struct ht_dataset *d, int split)
{
    return d->count[split] == n && memcmp(a, d->index[split], n * sizeof *a) == 0;
}

Test(split, depends_on_the_seed_only)
{
    static const size_t counts[] = {100, 100};
    static struct fixture f;
    static uint32_t test[50], validation[30];
    fixture_init(&f, "csv", "classification");
    make_table(&f, counts, 2);
    f.options.test = 50;
    f.options.validation = 30;
    ASSERT_OK(fixture_load(&f), f.err);
    memcpy(test, f.data->index[HT_TEST], sizeof test);
    memcpy(validation, f.data->index[HT_VALIDATION], sizeof validation);
    f.options.standardize = f.options.symmetric_pixels = true;
    f.options.verify_hashes = false;
    strcpy(f.d.csv.missing, "mean");
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert(equal_part(test, 50, f.data, HT_TEST));
    cr_assert(equal_part(validation, 30, f.data, HT_VALIDATION));
    f.options.validation = 7; /* the test part stays */
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert(equal_part(test, 50, f.data, HT_TEST));
    f.options.validation = 30;
    f.options.seed = 2;
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert_not(equal_part(test, 50, f.data, HT_TEST));
    cr_assert_not(equal_part(validation, 30, f.data, HT_VALIDATION));
    fixture_finish(&f);
}

Test(split, refuses_impossible_sizes)
{
    static const size_t counts[] = {5, 5};
    static struct fixture f;
    static const struct {
        double test, validation;
        enum ht_status status;
        const char *message;
    } cases[] = {
        {10, 0, HT_ERR_DATA, "data.test: 10 samples are wanted, but there are 10"},
        {4, 6, HT_ERR_DATA, "data.validation: 6 samples are wanted, but there are 6"},
        {0.01, 0, HT_ERR_DATA, "data.test: a share of 0.01 of 10 samples is empty"},
        {2, 0.01, HT_ERR_DATA, "data.validation: a share of 0.01 of 8 samples is empty"},
        {-1, 0, HT_ERR_CONFIG, "data.test: -1 is neither"},
        {2.5, 0, HT_ERR_CONFIG, "data.test: 2.5 is neither"},
        {2, NAN, HT_ERR_CONFIG, "data.validation"},
        {0.99, 0, HT_ERR_DATA, "data.test: 10 samples are wanted"},
        {1e30, 0, HT_ERR_CONFIG, "data.test"},
    };
    fixture_init(&f, "csv", "classification");
    make_table(&f, counts, 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f.options.test = cases[i].test;
        f.options.validation = cases[i].validation;
        ASSERT_LOAD_FAILS(&f, cases[i].status, cases[i].message);
    }
    f.options.test = f.options.validation = 0; /* everything for training, when asked for */
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert_eq(f.data->count[HT_TRAIN], 10);
    fixture_finish(&f);
}

/* Mean and std by the plain definition, in long double. */
static void naive_statistics(const struct ht_dataset *d, const float *table, size_t columns,
                             size_t j, double *mean, double *std)
{
    long double sum = 0, squares = 0;
    size_t n = d->count[HT_TRAIN];
    for (size_t i = 0; i < n; i++)
        sum += table[d->index[HT_TRAIN][i] * columns + j];
    for (size_t i = 0; i < n; i++) {
        long double gap = table[d->index[HT_TRAIN][i] * columns + j] - sum / (long double)n;
        squares += gap * gap;
    }
    *mean = (double)(sum / (long double)n);
    *std = (double)sqrtl(squares / (long double)n);
}

Test(standardize, uses_mean_and_deviation_of_the_training_part)
{
    static const size_t counts[] = {80, 40};
    static struct fixture f;
    double mean, std;
    fixture_init(&f, "csv", "regression");
    make_table(&f, counts, 2);
    f.options.standardize = true;
    f.options.test = 0.25;
    f.options.validation = 0.1;
    ASSERT_OK(fixture_load(&f), f.err);
    const struct ht_dataset *d = f.data;
    for (size_t j = 0; j < 2; j++) {
        naive_statistics(d, d->values, 2, j, &mean, &std);
        cr_assert_float_eq(d->mean[j], mean, fabs(mean) * 1.2e-7); /* one rounding to float */
        cr_assert_float_eq(d->std[j], std, std * 1.2e-7);
    }
    naive_statistics(d, d->targets, 1, 0, &mean, &std);
    cr_assert_float_eq(d->target_mean[0], mean, 1.2e-7);
    cr_assert_float_eq(d->target_std[0], std, 1.2e-7);

    uint32_t samples[] = {3, 117};
    float x[4], y[2];
    ht_dataset_features(d, samples, 2, NULL, 0, 0, x);
    ht_dataset_targets(d, samples, 2, y);
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < 2; j++)
            cr_assert_eq(x[2 * i + j], (d->values[2 * samples[i] + j] - d->mean[j]) / d->std[j]);
        cr_assert_eq(y[i], (d->targets[samples[i]] - d->target_mean[0]) / d->target_std[0]);
    }
    fixture_finish(&f);
}

Test(standardize, knows_nothing_of_the_test_part)
{
    static struct fixture f;
    fixture_init(&f, "csv", "regression");
    f.options.standardize = true;
    f.options.validation = 2;
    strcpy(f.d.csv.missing, "mean");
    fixture_text(&f, "train_table", "a.csv", "1,.1,3\n4,.1,6\n7,?,9\n8,.1,7\n9,.1,6\n2,.1,3\n");
    fixture_text(&f, "test_table", "b.csv", "1,2,3\n");
    ASSERT_OK(fixture_load(&f), f.err);
    float mean = f.data->mean[0], std = f.data->std[0], target_mean = f.data->target_mean[0];
    cr_assert_eq(f.data->std[1], 1.0f, "a constant feature");
    cr_assert_eq(f.data->mean[1], 0.1f);
    fixture_text(&f, "test_table", "b.csv", "1000,-2000,1e6\n5,?,7\n");
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert(f.data->mean[0] == mean && f.data->std[0] == std);
    cr_assert_eq(f.data->target_mean[0], target_mean);
    cr_assert_eq(f.data->std[1], 1.0f);

    /* Nor of the validation part: change its rows and nothing moves. */
    char text[256] = "";
    static const char *const rows[] = {"1,.1,3", "4,.1,6", "7,?,9", "8,.1,7", "9,.1,6", "2,.1,3"};
    for (uint32_t i = 0; i < 6; i++) {
        const uint32_t *v = f.data->index[HT_VALIDATION];
        bool validation = v[0] == i || v[1] == i;
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\n",
                 validation ? "999,-999,999" : rows[i]);
    }
    fixture_text(&f, "train_table", "a.csv", text);
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert(f.data->mean[0] == mean && f.data->std[0] == std);
    cr_assert_eq(f.data->target_mean[0], target_mean);
    fixture_finish(&f);
}

Test(shuffle, is_a_permutation_that_differs_per_epoch)
{
    static const size_t counts[] = {120, 80};
    static struct fixture f;
    static uint32_t a[200], b[200], sorted[200];
    fixture_init(&f, "csv", "classification");
    make_table(&f, counts, 2);
    f.options.test = 40;
    ASSERT_OK(fixture_load(&f), f.err);
    size_t n = f.data->count[HT_TRAIN];
    cr_assert_eq(n, 160);
    ht_dataset_shuffle(f.data, 1, 0, a);
    memset(sorted, 0, sizeof sorted);
    for (size_t i = 0; i < n; i++)
        sorted[a[i]]++;
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(sorted[f.data->index[HT_TRAIN][i]], 1);
    ht_dataset_shuffle(f.data, 1, 0, b);
    cr_assert_eq(memcmp(a, b, n * sizeof *a), 0, "the same epoch, the same order");
    ht_dataset_shuffle(f.data, 1, 1, b);
    cr_assert_neq(memcmp(a, b, n * sizeof *a), 0, "another epoch");
    ht_dataset_shuffle(f.data, 2, 0, b);
    cr_assert_neq(memcmp(a, b, n * sizeof *a), 0, "another seed");
    fixture_finish(&f);
}
