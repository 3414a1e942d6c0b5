/* What goes into a container comes out again, for us and for h5py and h5dump. */
#include "io_support.h"

#include <malloc.h>
#include <stdbool.h>

static struct ht_error err;

static enum ht_status collect(void *user, const char *name, int is_group)
{
    char *text = user;
    snprintf(text + strlen(text), 200 - strlen(text), "%s%s ", name, is_group ? "/" : "");
    return HT_OK;
}

static void assert_sample(struct ht_container_reader *r)
{
    static uint8_t u8[300000];
    int8_t i8[24];
    int32_t i32[12];
    int64_t i64[3];
    float f32[30];
    double f64[5], score;
    char *text, small[4], names[200] = "";
    ASSERT_OK(ht_container_get(r, "/layers/a/weight", HT_U8, u8, sizeof u8, &err), err);
    for (size_t i = 0; i < sizeof u8; i++)
        cr_assert_eq(u8[i], i * 7 % 251);
    ASSERT_OK(ht_container_get(r, "/layers/a/i8", HT_I8, i8, 24, &err), err);
    for (int i = 0; i < 24; i++)
        cr_assert_eq(i8[i], (int8_t)(i * 11 - 128));
    ASSERT_OK(ht_container_get(r, "/layers/a.b/i32", HT_I32, i32, 12, &err), err);
    for (int i = 0; i < 12; i++)
        cr_assert_eq(i32[i], i * 178956970 - 1000000000);
    ASSERT_OK(ht_container_get(r, "/i64", HT_I64, i64, 3, &err), err);
    cr_assert(i64[0] == INT64_MIN && i64[1] == 0 && i64[2] == INT64_MAX);
    ASSERT_OK(ht_container_get(r, "/f32", HT_F32, f32, 30, &err), err);
    for (int i = 0; i < 30; i++)
        cr_assert_eq(f32[i], (float)i * 0.1f - 1.0f);
    ASSERT_OK(ht_container_get(r, "/f64", HT_F64, f64, 5, &err), err);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(f64[i], 1.0 / (i + 3));
    ASSERT_OK(ht_container_get_text(r, "/text", &text, &err), err);
    cr_assert_str_eq(text, "two\nlines, \xc3\xa9");
    ht_free(text);
    ASSERT_OK(ht_container_get_text(r, "/empty", &text, &err), err);
    cr_assert_str_eq(text, "");
    ht_free(text);
    ASSERT_OK(ht_container_get_attr_i64(r, "/", "step", i64, &err), err);
    cr_assert_eq(i64[0], -1234567890123);
    ASSERT_OK(ht_container_get_attr_i64(r, "/made/by/attribute", "bits", i64, &err), err);
    cr_assert_eq(i64[0], 4);
    ASSERT_OK(ht_container_get_attr_f64(r, "/", "score", &score, &err), err);
    cr_assert_eq(score, 0.1);
    ASSERT_OK(ht_container_get_attr_text(r, "/layers/a/weight", "order", small, 4, &err), err);
    cr_assert_str_eq(small, "lsb");
    ASSERT_OK(ht_container_get_attr_text(r, "/layers/a/weight", "note", small, 1, &err), err);
    cr_assert_str_eq(small, "");
    ASSERT_OK(ht_container_list(r, "/", collect, names, &err), err);
    cr_assert_str_eq(names, "empty f32 f64 i64 layers/ made/ text ");
    names[0] = '\0';
    ASSERT_OK(ht_container_list(r, "/layers", collect, names, &err), err);
    cr_assert_str_eq(names, "a/ a.b/ ");
}

static void assert_info(struct ht_container_reader *r, const char *path,
                        enum ht_container_type type, int rank, const size_t *shape)
{
    enum ht_container_type found;
    int found_rank;
    size_t found_shape[4];
    ASSERT_OK(ht_container_info(r, path, &found, &found_rank, found_shape, &err), err);
    cr_assert_eq(found, type);
    cr_assert_eq(found_rank, rank);
    for (int i = 0; i < rank; i++)
        cr_assert_eq(found_shape[i], shape[i]);
}

Test(container, round_trip)
{
    char folder[64], path[128];
    struct ht_container_writer *w;
    struct ht_container_reader *r, *second;
    make_temp_dir(folder);
    snprintf(path, sizeof path, "%s/file", folder);
    ASSERT_OK(ht_container_create(&w, "checkpoint", 7, &err), err);
    put_sample(w);
    ASSERT_OK(ht_container_finish(w, path, &err), err);
    ASSERT_OK(ht_container_open(&r, path, "checkpoint", 7, &err), err);
    ASSERT_OK(ht_container_open(&second, path, NULL, 9, &err), err); /* two at a time */
    cr_assert_str_eq(ht_container_kind(r), "checkpoint");
    cr_assert_eq(ht_container_version(r), 7);
    cr_assert_eq(strlen(ht_container_digest(r)), 64);
    assert_sample(r);
    ht_container_close(r);
    assert_sample(second);
    assert_info(second, "/layers/a/weight", HT_U8, 2, (const size_t[]){300, 1000});
    assert_info(second, "/layers/a/i8", HT_I8, 4, (const size_t[]){2, 3, 2, 2});
    assert_info(second, "/layers/a.b/i32", HT_I32, 3, (const size_t[]){2, 3, 2});
    assert_info(second, "/i64", HT_I64, 1, (const size_t[]){3});
    assert_info(second, "/f32", HT_F32, 2, (const size_t[]){5, 6});
    assert_info(second, "/f64", HT_F64, 1, (const size_t[]){5});
    assert_info(second, "/empty", HT_U8, 1, (const size_t[]){1});
    assert_info(second, "/layers", HT_U8, 0, NULL);
    assert_info(second, "/no such", HT_U8, 0, NULL);
    ht_container_close(second);
    ht_container_close(NULL);
    ht_container_abandon(NULL);
    remove_temp_dir(folder);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* The boundaries of the compact layout and of chunks: all sizes come back. */
Test(container, sizes)
{
    static const size_t sizes[] = {1,     65471,   65472,   65473,   65535,          65536,
                                   65537, 1048575, 1048576, 1048577, 3 * 1048576 + 5};
    uint8_t *image, *data = ht_calloc(4 << 20, 1);
    size_t size;
    struct ht_container_writer *w;
    struct ht_container_reader *r;
    char path[32];
    for (size_t i = 0; i < 4 << 20; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    ASSERT_OK(ht_container_create(&w, "model", 1, &err), err);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(path, sizeof path, "/n%zu", sizes[i]);
        ht_container_put(w, path, HT_U8, data, 1, &sizes[i]);
        ht_container_attr_i64(w, path, "bits", 8);
    }
    ht_container_put(w, "/wide", HT_U8, data, 2, (const size_t[]){2, 2000000});
    ht_container_put(w, "/thin", HT_I32, data, 2, (const size_t[]){1000000, 1});
    memset(data, 'x', 100000);
    data[100000] = '\0';
    ht_container_put_text(w, "/long", (char *)data);
    ASSERT_OK(ht_container_finish_image(w, &image, &size, &err), err);
    ASSERT_OK(ht_container_open_image(&r, image, size, "image", "model", 1, &err), err);
    uint8_t *back = ht_calloc(4 << 20, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(path, sizeof path, "/n%zu", sizes[i]);
        ASSERT_OK(ht_container_get(r, path, HT_U8, back, sizes[i], &err), err);
        for (size_t k = 0; k < sizes[i]; k++)
            cr_assert(back[k] == (uint8_t)(k * 2654435761u >> 13), "%s: %zu", path, k);
    }
    ASSERT_OK(ht_container_get(r, "/wide", HT_U8, back, 4000000, &err), err);
    cr_assert(memcmp(back + 200000, data + 200000, 3800000) == 0);
    ASSERT_OK(ht_container_get(r, "/thin", HT_I32, back, 1000000, &err), err);
    cr_assert(memcmp(back + 200000, data + 200000, 3800000) == 0);
    char *text;
    ASSERT_OK(ht_container_get_text(r, "/long", &text, &err), err);
    cr_assert_str_eq(text, (char *)data);
    ht_free(text);
    ht_container_close(r);
    ht_free(image);
    ht_free(back);
    ht_free(data);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(container, equal_saves_have_equal_bytes)
{
    uint8_t *a, *b;
    size_t size_a, size_b;
    make_image(put_sample, &a, &size_a);
    mallopt(M_PERTURB, 0x5a); /* other bytes in the memory that libhdf5 gets the second time */
    sleep(1);                 /* a time stamp would differ */
    make_image(put_sample, &b, &size_b);
    cr_assert_eq(size_a, size_b);
    cr_assert(memcmp(a, b, size_a) == 0);
    ht_free(a);
    ht_free(b);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(container, mistakes_of_the_reader)
{
    uint8_t *image;
    size_t size;
    struct ht_container_reader *r;
    int64_t i64[4];
    double f64;
    char *text, small[4];
    make_image(put_sample, &image, &size);
    ASSERT_OK(ht_container_open_image(&r, image, size, "x.h5", "model", 1, &err), err);
    ht_free(image);
#define ASSERT_FAILS(call, words)                                                                  \
    do {                                                                                           \
        cr_assert_eq(call, HT_ERR_MODEL);                                                          \
        cr_assert_str_eq(err.msg, words);                                                          \
    } while (0)
    ASSERT_FAILS(ht_container_get(r, "/i64", HT_I64, i64, 2, &err),
                 "x.h5: /i64: 3 elements, not 2");
    ASSERT_FAILS(ht_container_get(r, "/i64", HT_F64, i64, 3, &err),
                 "x.h5: /i64: int64, not float64");
    ASSERT_FAILS(ht_container_get(r, "/j64", HT_I64, i64, 3, &err), "x.h5: /j64: missing");
    ASSERT_FAILS(ht_container_get(r, "/layers", HT_I64, i64, 3, &err),
                 "x.h5: /layers: a group, not int64");
    ASSERT_FAILS(ht_container_get(r, "/empty", HT_U8, i64, 1, &err),
                 "x.h5: /empty: a text, not uint8");
    ASSERT_FAILS(ht_container_get_text(r, "/i64", &text, &err), "x.h5: /i64: not a text");
    ASSERT_FAILS(ht_container_get_text(r, "/t", &text, &err), "x.h5: /t: missing");
    ASSERT_FAILS(ht_container_get_attr_i64(r, "/", "score", i64, &err),
                 "x.h5: /: attribute 'score' is not of type int64");
    ASSERT_FAILS(ht_container_get_attr_f64(r, "/", "step", &f64, &err),
                 "x.h5: /: attribute 'step' is not of type float64");
    ASSERT_FAILS(ht_container_get_attr_f64(r, "/i64", "x", &f64, &err),
                 "x.h5: /i64: no attribute 'x'");
    ASSERT_FAILS(ht_container_get_attr_f64(r, "/i65", "x", &f64, &err),
                 "x.h5: /i65: missing, so it has no attribute 'x'");
    ASSERT_FAILS(ht_container_get_attr_text(r, "/", "step", small, 4, &err),
                 "x.h5: /: attribute 'step' is not a text");
    ASSERT_FAILS(ht_container_get_attr_text(r, "/layers/a/weight", "order", small, 3, &err),
                 "x.h5: /layers/a/weight: attribute 'order' has 3 bytes, more than 2");
    ASSERT_FAILS(ht_container_list(r, "/i64", collect, NULL, &err), "x.h5: /i64: not a group");
    ASSERT_FAILS(ht_container_list(r, "/none", collect, NULL, &err), "x.h5: /none: missing");
    ht_container_close(r);
    cr_assert_eq(ht_container_open(&r, "/no/such", NULL, 1, &err), HT_ERR_IO);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* The first mistake sticks, and nothing is written. */
Test(container, mistakes_of_the_writer)
{
    static const struct {
        const char *path;
        int rank;
        size_t shape[2];
    } cases[] = {{"relative", 1, {1}},
                 {"/", 1, {1}},
                 {"/a//b", 1, {1}},
                 {"/a/", 1, {1}},
                 {"/a/./b", 1, {1}},
                 {"/a\nb", 1, {1}},
                 {"/a", 0, {1}},
                 {"/a", 5, {1}},
                 {"/a", 1, {0}},
                 {"/a", 2, {1, 1 << 25}},
                 {"/a", 2, {1 << 16, 1 << 16}},
                 {"/data", 1, {1}},
                 {"/data/below", 1, {1}},
                 {"/1/2/3/4/5/6/7/8/9/1/2/3/4/5/6/7/8", 1, {1}}};
    const uint8_t data[1] = {5};
    char folder[64], path[128];
    make_temp_dir(folder);
    snprintf(path, sizeof path, "%s/file", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ht_container_writer *w;
        ASSERT_OK(ht_container_create(&w, "model", 1, &err), err);
        ht_container_put(w, "/data", HT_U8, data, 1, (const size_t[]){1});
        ht_container_put(w, cases[i].path, HT_U8, data, cases[i].rank, cases[i].shape);
        ht_container_attr_i64(w, "/", "n", 1);
        cr_assert_eq(ht_container_finish(w, path, &err), HT_ERR_INTERNAL, "case %zu", i);
        cr_assert(strstr(err.msg, path) && strstr(err.msg, cases[i].path), "%s", err.msg);
        cr_assert(!ht_file_exists(path));
    }
    struct ht_container_writer *w;
    cr_assert_eq(ht_container_create(&w, "Model", 1, &err), HT_ERR_INTERNAL);
    cr_assert_eq(ht_container_create(&w, "averylongkindofname", 1, &err), HT_ERR_INTERNAL);
    cr_assert_eq(ht_container_create(&w, "model", 0, &err), HT_ERR_INTERNAL);
    ASSERT_OK(ht_container_create(&w, "model", 1, &err), err);
    put_sample(w);
    ht_container_attr_i64(w, "/", "step", 2); /* twice */
    ht_container_abandon(w);
    ASSERT_OK(ht_container_create(&w, "model", 1, &err), err);
    put_sample(w);
    cr_assert_eq(ht_container_finish(w, "/no/such/folder", &err), HT_ERR_IO);
    remove_temp_dir(folder);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(container, out_of_memory)
{
    uint8_t *image = NULL;
    size_t size = 0;
    struct ht_container_writer *w;
    struct ht_container_reader *r;
    enum ht_status status = HT_ERR_MEMORY;
    long n;
    for (n = 1; status != HT_OK; n++) {
        ht_alloc_fail_at(n);
        status = ht_container_create(&w, "model", 1, &err);
        if (status == HT_OK) {
            put_sample(w);
            status = ht_container_finish_image(w, &image, &size, &err);
        }
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY, "%ld: %s", n, err.msg);
        cr_assert_eq(ht_alloc_live(), status == HT_OK);
        cr_assert_lt(n, 1000);
    }
    cr_assert_gt(n, 4);
    status = HT_ERR_MEMORY;
    for (n = 1; status != HT_OK; n++) {
        char *text, order[4];
        ht_alloc_fail_at(n);
        status = ht_container_open_image(&r, image, size, "image", "model", 1, &err);
        if (status == HT_OK) {
            status = ht_container_get_text(r, "/text", &text, &err);
            if (status == HT_OK) {
                ht_free(text);
                status = ht_container_get_attr_text(r, "/layers/a/weight", "order", order, 4, &err);
            }
            ht_container_close(r);
        }
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY, "%ld: %s", n, err.msg);
        cr_assert_eq(ht_alloc_live(), 1);
        cr_assert_lt(n, 1000);
    }
    cr_assert_gt(n, 10);
    ht_alloc_fail_at(0);
    ht_free(image);
    cr_assert_eq(ht_alloc_live(), 0);
}

static void write_sample(char folder[64], char path[128])
{
    struct ht_container_writer *w;
    make_temp_dir(folder);
    snprintf(path, 128, "%s/file", folder);
    ASSERT_OK(ht_container_create(&w, "model", 1, &err), err);
    put_sample(w);
    ASSERT_OK(ht_container_finish(w, path, &err), err);
}

Test(container, h5py_sees_the_same)
{
#ifndef HT_TEST_PYTHON
    cr_skip_test("skipped: no Python with h5py");
#else
    char folder[64], path[128], expected[256];
    struct ht_container_reader *r;
    double total = 0;
    write_sample(folder, path);
    char *text = output_of("'%s' '%s' show '%s' 2>&1", HT_TEST_PYTHON, HT_TEST_SCRIPT, path);
    ASSERT_OK(ht_container_open(&r, path, "model", 1, &err), err);
    snprintf(expected, sizeof expected, "header model 1 %s\n", ht_container_digest(r));
    ht_container_close(r);
    cr_assert_not_null(strstr(text, expected), "%s", text);
#define ASSERT_LINE(...)                                                                           \
    do {                                                                                           \
        snprintf(expected, sizeof expected, __VA_ARGS__);                                          \
        cr_assert_not_null(strstr(text, expected), "no line '%s' in\n%s", expected, text);         \
    } while (0)
    for (size_t i = 0; i < 300000; i++)
        total += (double)(i * 7 % 251) * (double)(i % 97);
    ASSERT_LINE("dataset /layers/a/weight uint8 300x1000 %.17g\n", total);
    total = 0;
    for (int i = 0; i < 24; i++)
        total += (i * 11 - 128) * i;
    ASSERT_LINE("dataset /layers/a/i8 int8 2x3x2x2 %.17g\n", total);
    total = 0;
    for (int i = 0; i < 12; i++)
        total += (double)(i * 178956970 - 1000000000) * i;
    ASSERT_LINE("dataset /layers/a.b/i32 int32 2x3x2 %.17g\n", total);
    total = 0;
    for (int i = 0; i < 30; i++)
        total += (double)((float)i * 0.1f - 1.0f) * i;
    ASSERT_LINE("dataset /f32 float32 5x6 %.17g\n", total);
    total = 0;
    for (int i = 0; i < 5; i++)
        total += 1.0 / (i + 3) * i;
    ASSERT_LINE("dataset /f64 float64 5 %.17g\n", total);
    ASSERT_LINE("dataset /i64 int64 3 %.17g\n", 2 * 9223372036854775808.0);
    ASSERT_LINE("text /text two\nlines, \xc3\xa9\n");
    ASSERT_LINE("text /empty \n");
    ASSERT_LINE("attribute / score %.17g\n", 0.1);
    ASSERT_LINE("attribute / step -1234567890123\n");
    ASSERT_LINE("attribute /layers/a/weight order lsb\n");
    ASSERT_LINE("attribute /layers/a/weight note \n");
    ASSERT_LINE("attribute /made/by/attribute bits 4\n");
    free(text);
    remove_temp_dir(folder);
    cr_assert_eq(ht_alloc_live(), 0);
#endif
}

Test(container, h5dump_sees_the_same)
{
#ifndef HT_TEST_H5DUMP
    cr_skip_test("skipped: no h5dump");
#else
    char folder[64], path[128];
    write_sample(folder, path);
    char *text =
        output_of("'%s' -w 200 -d /i64 -d /layers/a.b/i32 -a /layers/a/weight/order '%s' 2>&1",
                  HT_TEST_H5DUMP, path);
    cr_assert_not_null(strstr(text, "(0): -9223372036854775808, 0, 9223372036854775807"), "%s",
                       text);
    cr_assert_not_null(strstr(text, "(0,0,0): -1000000000, -821043030,"), "%s", text);
    cr_assert_not_null(strstr(text, "(0): \"lsb\""), "%s", text);
    free(text);
    free(output_of("'%s' '%s' 2>&1 >/dev/null", HT_TEST_H5DUMP, path)); /* all of it */
    remove_temp_dir(folder);
    cr_assert_eq(ht_alloc_live(), 0);
#endif
}
