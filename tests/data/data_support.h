/* Datasets made by hand for the tests of this room. */
#ifndef HT_TESTS_DATA_SUPPORT_H
#define HT_TESTS_DATA_SUPPORT_H

#include "support.h"

#include <zlib.h>

#include "base/rng.h"
#include "data/dataset.h"

/* One test's folder, descriptor and options; files are looked for in the folder. */
struct fixture {
    char dir[64];
    struct ht_descriptor d;
    struct ht_dataset_options options;
    struct ht_error err;
    struct ht_dataset *data;
};

static inline void fixture_init(struct fixture *f, const char *format, const char *task)
{
    memset(f, 0, sizeof *f);
    make_temp_dir(f->dir);
    snprintf(f->d.path, sizeof f->d.path, "%s/test.yaml", f->dir);
    strcpy(f->d.name, "test");
    snprintf(f->d.format, sizeof f->d.format, "%s", format);
    snprintf(f->d.task, sizeof f->d.task, "%s", task);
    f->options.dir = f->dir;
    f->options.verify_hashes = true;
    f->options.seed = 1;
}

static inline void fixture_finish(struct fixture *f)
{
    ht_dataset_destroy(f->data);
    remove_temp_dir(f->dir);
    cr_assert_eq(ht_alloc_live(), 0, "%ld blocks leak", ht_alloc_live());
}

/* Writes the file and, the first time, lists it in the descriptor. */
static inline void fixture_file(struct fixture *f, const char *role, const char *name,
                                const void *data, size_t n)
{
    char path[HT_PATH_LENGTH];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    write_file(path, data, n);
    for (size_t i = 0; i < f->d.n_files; i++)
        if (strcmp(f->d.files[i].role, role) == 0)
            return;
    struct ht_data_file *file = &f->d.files[f->d.n_files++];
    snprintf(file->role, sizeof file->role, "%s", role);
    snprintf(file->path, sizeof file->path, "%s", name);
}

static inline void fixture_text(struct fixture *f, const char *role, const char *name,
                                const char *text)
{
    fixture_file(f, role, name, text, strlen(text));
}

static inline enum ht_status fixture_load(struct fixture *f)
{
    ht_dataset_destroy(f->data);
    f->data = NULL;
    memset(&f->err, 0, sizeof f->err);
    return ht_dataset_load(&f->data, &f->d, &f->options, &f->err);
}

/* Asserts that loading fails with this status and that the message has this in it. */
#define ASSERT_LOAD_FAILS(f, status, part)                                                         \
    do {                                                                                           \
        enum ht_status got_ = fixture_load(f);                                                     \
        cr_assert_eq(got_, status, "status %d, not %d: %s", (int)got_, (int)(status),              \
                     (f)->err.msg);                                                                \
        cr_assert(strstr((f)->err.msg, part), "\"%s\" is not in: %s", part, (f)->err.msg);         \
        cr_assert_null((f)->data);                                                                 \
    } while (0)

/* gzip into out[cap]; returns the size. */
static inline size_t gzip(const void *data, size_t n, uint8_t *out, size_t cap)
{
    z_stream z = {0};
    cr_assert_eq(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    uint8_t copy[65536];
    cr_assert(n <= sizeof copy);
    memcpy(copy, data, n);
    z.next_in = copy;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)cap;
    cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t size = cap - z.avail_out;
    deflateEnd(&z);
    return size;
}

/* An IDX file into out: header and n bytes of data. Returns its size. */
static inline size_t make_idx(uint8_t *out, uint8_t type, size_t rank, const uint32_t *sizes,
                              const void *data, size_t n)
{
    uint8_t head[4] = {0, 0, type, (uint8_t)rank};
    memcpy(out, head, 4);
    for (size_t i = 0; i < rank; i++)
        for (size_t b = 0; b < 4; b++)
            out[4 + 4 * i + b] = (uint8_t)(sizes[i] >> (24 - 8 * b));
    memcpy(out + 4 + 4 * rank, data, n);
    return 4 + 4 * rank + n;
}

static inline uint32_t test_random(uint64_t counter, uint32_t n)
{
    return (uint32_t)ht_rng_below(7, HT_RNG_TEST, counter, n);
}

#endif
