#include "data_support.h"

#include "io/hash.h"

#define N_TRAIN 12
#define N_TEST  6
#define ROWS    3
#define COLUMNS 4
#define PIXELS  (ROWS * COLUMNS)

static uint8_t pixels[(N_TRAIN + N_TEST) * PIXELS], labels[N_TRAIN + N_TEST];

/* The four files of a small set of pictures with 3 classes, plain or gzip. */
static void make_pictures(struct fixture *f, bool packed)
{
    static const char *const roles[] = {"train_features", "train_labels", "test_features",
                                        "test_labels"};
    uint8_t raw[4096], zipped[4096];
    fixture_init(f, "idx", "classification");
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)test_random(i, 256);
    for (size_t i = 0; i < sizeof labels; i++)
        labels[i] = (uint8_t)(i % 3);
    for (size_t k = 0; k < 4; k++) {
        size_t first = k < 2 ? 0 : N_TRAIN, count = k < 2 ? N_TRAIN : N_TEST;
        uint32_t sizes[3] = {(uint32_t)count, ROWS, COLUMNS};
        size_t n = k % 2 == 0 ? make_idx(raw, 8, 3, sizes, pixels + first * PIXELS, count * PIXELS)
                              : make_idx(raw, 8, 1, sizes, labels + first, count);
        size_t n_zipped = gzip(raw, n, zipped, sizeof zipped);
        fixture_file(f, roles[k], roles[k], packed ? zipped : raw, packed ? n_zipped : n);
    }
}

static void check_pictures(const struct ht_dataset *d)
{
    cr_assert_eq(d->n, N_TRAIN + N_TEST);
    cr_assert_eq(d->features, PIXELS);
    cr_assert_eq(d->image_rows, ROWS);
    cr_assert_eq(d->image_columns, COLUMNS);
    cr_assert_null(d->values);
    cr_assert_null(d->targets);
    cr_assert_eq(memcmp(d->bytes, pixels, sizeof pixels), 0);
    for (size_t i = 0; i < d->n; i++)
        cr_assert_eq(d->labels[i], labels[i]);
    cr_assert_eq(d->n_classes, 3);
    cr_assert_str_eq(d->classes[2], "2");
    cr_assert_eq(d->count[HT_TEST], N_TEST);
    for (size_t i = 0; i < N_TEST; i++)
        cr_assert_eq(d->index[HT_TEST][i], N_TRAIN + i);
    cr_assert_eq(ht_dataset_bytes(d), sizeof pixels + 4 * sizeof labels);
}

Test(idx, reads_plain_and_gzip)
{
    static struct fixture f;
    for (int packed = 0; packed < 2; packed++) {
        make_pictures(&f, packed);
        f.options.validation = 3;
        ASSERT_OK(fixture_load(&f), f.err);
        check_pictures(f.data);
        cr_assert_eq(f.data->count[HT_TRAIN], N_TRAIN - 3);
        cr_assert_eq(f.data->count[HT_VALIDATION], 3);
        fixture_finish(&f);
    }
}

Test(idx, converts_bytes)
{
    static struct fixture f;
    float x[PIXELS], y[1];
    uint32_t sample = 5;
    make_pictures(&f, false);
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        f.options.symmetric_pixels = symmetric;
        f.options.standardize = true; /* has no effect on bytes */
        ASSERT_OK(fixture_load(&f), f.err);
        cr_assert_null(f.data->mean);
        ht_dataset_features(f.data, &sample, 1, NULL, 0, 0, x);
        for (size_t j = 0; j < PIXELS; j++) {
            float b = pixels[5 * PIXELS + j];
            cr_assert_eq(x[j], symmetric ? b / 127.5f - 1.0f : b / 255.0f);
        }
        ht_dataset_targets(f.data, &sample, 1, y);
        cr_assert_eq(y[0], 2.0f);
    }
    fixture_finish(&f);
}

Test(idx, every_byte_is_divided)
{
    uint8_t bytes[256];
    float x[256];
    const uint32_t sample = 0;
    for (int b = 0; b < 256; b++)
        bytes[b] = (uint8_t)b;
    struct ht_dataset d = {.n = 1, .features = 256, .bytes = bytes};
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        d.symmetric_pixels = symmetric;
        ht_dataset_features(&d, &sample, 1, NULL, 0, 0, x);
        for (int b = 0; b < 256; b++)
            cr_assert_eq(x[b], symmetric ? (float)b / 127.5f - 1.0f : (float)b / 255.0f, "%d", b);
    }
}

Test(idx, reads_other_types)
{
    static struct fixture f;
    /* 4 samples: float32 features 0.5, -2; int32 targets 70000, -1 (two for each sample). */
    static const uint8_t features[] = {0x3f, 0, 0, 0, 0xc0, 0, 0, 0, 0x3f, 0, 0, 0, 0xc0, 0, 0, 0,
                                       0x3f, 0, 0, 0, 0xc0, 0, 0, 0, 0x3f, 0, 0, 0, 0xc0, 0, 0, 0};
    static const uint8_t targets[] = {
        0, 1, 0x11, 0x70, 0xff, 0xff, 0xff, 0xff, 0, 1, 0x11, 0x70, 0xff, 0xff, 0xff, 0xff,
        0, 1, 0x11, 0x70, 0xff, 0xff, 0xff, 0xff, 0, 1, 0x11, 0x70, 0xff, 0xff, 0xff, 0xff};
    uint8_t raw[256];
    uint32_t sizes[2] = {4, 2};
    fixture_init(&f, "idx", "regression");
    fixture_file(&f, "features", "x", raw, make_idx(raw, 0x0d, 2, sizes, features, 32));
    fixture_file(&f, "labels", "y", raw, make_idx(raw, 0x0c, 2, sizes, targets, 32));
    f.options.test = 1;
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert_null(f.data->bytes);
    cr_assert_null(f.data->labels);
    cr_assert_eq(f.data->values[6], 0.5f);
    cr_assert_eq(f.data->values[7], -2.0f);
    cr_assert_eq(f.data->target_columns, 2);
    cr_assert_eq(f.data->targets[6], 70000.0f);
    cr_assert_eq(f.data->targets[7], -1.0f);
    cr_assert_eq(f.data->n_classes, 0);

    uint8_t nan[32];
    memcpy(nan, features, 32);
    nan[20] = 0x7f, nan[21] = 0xc0;
    fixture_file(&f, "features", "x", raw, make_idx(raw, 0x0d, 2, sizes, nan, 32));
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "sample 3, value 2 is not a finite number");
    fixture_finish(&f);
}

/* Reads a file of the fixture; returns its size. */
static size_t slurp(const struct fixture *f, const char *name, uint8_t *out, size_t cap)
{
    char path[HT_PATH_LENGTH];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    FILE *in = fopen(path, "rb");
    cr_assert_not_null(in);
    size_t n = fread(out, 1, cap, in);
    fclose(in);
    return n;
}

static const char *const damaged[] = {"train_features", "test_labels"};

Test(idx, refuses_every_truncation_and_trailing_bytes)
{
    static struct fixture f;
    uint8_t file[4096];
    for (int packed = 0; packed < 2; packed++) {
        make_pictures(&f, packed);
        for (size_t k = 0; k < 2; k++) {
            size_t n = slurp(&f, damaged[k], file, sizeof file - 1);
            for (size_t cut = 0; cut < n; cut++) {
                fixture_file(&f, damaged[k], damaged[k], file, cut);
                ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, damaged[k]);
                cr_assert(cut < 20 || strstr(f.err.msg, "truncated"), "%zu: %s", cut, f.err.msg);
            }
            for (int byte = 0; byte < 256; byte += 51) {
                file[n] = (uint8_t)byte;
                fixture_file(&f, damaged[k], damaged[k], file, n + 1);
                ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, damaged[k]);
            }
            fixture_file(&f, damaged[k], damaged[k], file, n);
            ASSERT_OK(fixture_load(&f), f.err);
        }
        fixture_finish(&f);
    }
}

/* A flipped bit is refused, or it was one that carries no content (the time in a gzip header). */
Test(idx, survives_bit_flips)
{
    static struct fixture f;
    uint8_t file[4096];
    for (int packed = 0; packed < 2; packed++) {
        size_t accepted = 0, tried = 0;
        make_pictures(&f, packed);
        for (size_t k = 0; k < 2; k++) {
            size_t n = slurp(&f, damaged[k], file, sizeof file);
            size_t bits = 8 * (packed ? n : k == 0 ? 16 : 8); /* plain: the header */
            for (size_t bit = 0; bit < bits; bit++, tried++) {
                file[bit / 8] ^= (uint8_t)(1 << bit % 8);
                fixture_file(&f, damaged[k], damaged[k], file, n);
                if (fixture_load(&f) == HT_OK) {
                    accepted++;
                    if (packed)
                        check_pictures(f.data);
                    else if (k == 0) /* type byte 8 -> 9: the same size, signed */
                        cr_assert_not_null(f.data->values);
                }
                file[bit / 8] ^= (uint8_t)(1 << bit % 8);
            }
            fixture_file(&f, damaged[k], damaged[k], file, n);
        }
        cr_assert(accepted < (packed ? 160 : 4), "%zu of %zu accepted", accepted, tried);
        fixture_finish(&f);
    }
}

Test(idx, survives_random_damage_and_the_hash_finds_it)
{
    static struct fixture f;
    uint8_t file[4096], bad[4096];
    make_pictures(&f, true);
    size_t n = slurp(&f, damaged[0], file, sizeof file);
    for (int hashed = 0; hashed < 2; hashed++) {
        uint8_t digest[32];
        ht_sha256(file, n, digest);
        if (hashed)
            ht_sha256_hex(digest, f.d.files[0].sha256);
        for (uint64_t round = 0; round < 1200; round++) {
            memcpy(bad, file, n);
            uint32_t changes = 1 + test_random(9000 + 8 * round, 4);
            for (uint32_t c = 0; c < changes; c++)
                bad[test_random(9001 + 8 * round + c, (uint32_t)n)] ^=
                    (uint8_t)(1 + test_random(50000 + 8 * round + c, 255));
            if (memcmp(bad, file, n) == 0)
                continue;
            fixture_file(&f, damaged[0], damaged[0], bad, n);
            if (hashed)
                ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, f.d.files[0].sha256);
            else if (fixture_load(&f) == HT_OK)
                check_pictures(f.data);
        }
    }
    fixture_file(&f, damaged[0], damaged[0], file, n);
    ASSERT_OK(fixture_load(&f), f.err);
    f.d.files[0].sha256[0] ^= 1;
    f.options.verify_hashes = false;
    ASSERT_OK(fixture_load(&f), f.err);
    fixture_finish(&f);
}

Test(idx, refuses_sizes_that_do_not_fit)
{
    static struct fixture f;
    uint8_t raw[64], zipped[128];
    make_pictures(&f, false);
    static const struct {
        uint32_t sizes[3];
        const char *message;
    } cases[] = {{{0x7fffffff, 28, 28}, "promises 2147483647 samples of 784"},
                 {{0xffffffff, 0xffffffff, 0xffffffff}, "promises"},
                 {{0, 28, 28}, "size 1 in the IDX header is 0"},
                 {{60000, 0, 28}, "size 2 in the IDX header is 0"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = make_idx(raw, 8, 3, cases[i].sizes, "abc", 3);
        fixture_file(&f, "train_features", "train_features", raw, n);
        ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, cases[i].message);
        fixture_file(&f, "train_features", "train_features", zipped,
                     gzip(raw, n, zipped, sizeof zipped));
        ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, cases[i].message);
    }
    fixture_file(&f, "train_features", "train_features", "\x89PNG....", 8);
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "not an IDX file");
    fixture_file(&f, "train_features", "train_features", "\0\0\x0a\x01\0\0\0\1a", 9);
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "unknown IDX element type 0x0a");
    fixture_finish(&f);
}

Test(idx, compares_counts)
{
    static struct fixture f;
    uint8_t raw[64];
    uint32_t sizes[1] = {N_TRAIN - 1};
    make_pictures(&f, false);
    f.d.samples = N_TRAIN + 1;
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "12 samples, but the descriptor says 13");
    f.d.samples = N_TRAIN;
    f.d.test_samples = 5;
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "6 samples, but the descriptor says 5");
    f.d.test_samples = N_TEST;
    f.d.features = 13;
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "12 features, but the descriptor says 13");
    f.d.features = PIXELS;
    f.d.image_rows = 4;
    f.d.image_columns = 3;
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "images of 4 x 3");
    f.d.image_rows = 3;
    f.d.image_columns = 4;
    ASSERT_OK(fixture_load(&f), f.err);

    f.d.classes = ht_calloc(2, sizeof *f.d.classes);
    strcpy(f.d.classes[0], "yes");
    strcpy(f.d.classes[1], "no");
    f.d.n_classes = 2;
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "row 3: label \"2\" is none of the 2 classes");
    ht_free(f.d.classes);
    f.d.classes = NULL;
    f.d.n_classes = 0;

    fixture_file(&f, "train_labels", "train_labels", raw,
                 make_idx(raw, 8, 1, sizes, labels, N_TRAIN - 1));
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "11 labels, but 12 samples in");
    fixture_finish(&f);
}

Test(idx, survives_missing_memory)
{
    static struct fixture f;
    make_pictures(&f, true);
    f.options.validation = 3;
    long n = 1;
    enum ht_status status;
    do {
        ht_alloc_fail_at(n++);
        status = fixture_load(&f);
        ht_alloc_fail_at(0);
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY, "%d: %s", (int)status, f.err.msg);
        cr_assert(status == HT_OK || ht_alloc_live() == 0, "a leak after failure %ld", n - 1);
    } while (status != HT_OK && n < 200);
    cr_assert(n > 10 && status == HT_OK);
    fixture_finish(&f);
}
