/* What the tests of containers share. */
#ifndef HT_TESTS_IO_SUPPORT_H
#define HT_TESTS_IO_SUPPORT_H

#include "support.h"

#include <stdarg.h>

#include "io/container.h"
#include "io/file.h"

/* Every type and rank, a compact and a chunked dataset, texts and attributes. */
static inline void put_sample(struct ht_container_writer *w)
{
    static uint8_t u8[300 * 1000];
    int8_t i8[24];
    int32_t i32[12];
    int64_t i64[3] = {INT64_MIN, 0, INT64_MAX};
    float f32[30];
    double f64[5];
    for (size_t i = 0; i < sizeof u8; i++)
        u8[i] = (uint8_t)(i * 7 % 251);
    for (int i = 0; i < 24; i++)
        i8[i] = (int8_t)(i * 11 - 128);
    for (int i = 0; i < 12; i++)
        i32[i] = i * 178956970 - 1000000000;
    for (int i = 0; i < 30; i++)
        f32[i] = (float)i * 0.1f - 1.0f;
    for (int i = 0; i < 5; i++)
        f64[i] = 1.0 / (i + 3);
    ht_container_put(w, "/layers/a/weight", HT_U8, u8, 2, (const size_t[]){300, 1000});
    ht_container_put(w, "/layers/a/i8", HT_I8, i8, 4, (const size_t[]){2, 3, 2, 2});
    ht_container_put(w, "/layers/a.b/i32", HT_I32, i32, 3, (const size_t[]){2, 3, 2});
    ht_container_put(w, "/i64", HT_I64, i64, 1, (const size_t[]){3});
    ht_container_put(w, "/f32", HT_F32, f32, 2, (const size_t[]){5, 6});
    ht_container_put(w, "/f64", HT_F64, f64, 1, (const size_t[]){5});
    ht_container_put_text(w, "/text", "two\nlines, \xc3\xa9");
    ht_container_put_text(w, "/empty", "");
    ht_container_attr_i64(w, "/", "step", -1234567890123);
    ht_container_attr_f64(w, "/", "score", 0.1);
    ht_container_attr_text(w, "/layers/a/weight", "order", "lsb");
    ht_container_attr_text(w, "/layers/a/weight", "note", "");
    ht_container_attr_i64(w, "/made/by/attribute", "bits", 4);
}

/* A container of a few KiB, for tests that open it thousands of times. */
static inline void put_small(struct ht_container_writer *w)
{
    uint8_t codes[2000];
    float scale[20];
    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (uint8_t)(i * 13 % 256);
    for (int i = 0; i < 20; i++)
        scale[i] = (float)(i + 1) * 0.01f;
    ht_container_put(w, "/layers/a/weight", HT_U8, codes, 1, (const size_t[]){2000});
    ht_container_put(w, "/layers/a/scale", HT_F32, scale, 1, (const size_t[]){20});
    ht_container_put_text(w, "/experiment", "name: x\n");
    ht_container_attr_i64(w, "/layers/a/weight", "bits", 4);
    ht_container_attr_text(w, "/layers/a/weight", "order", "lsb");
}

static inline void make_image(void (*put)(struct ht_container_writer *w), uint8_t **image,
                              size_t *size)
{
    struct ht_error err;
    struct ht_container_writer *w;
    ASSERT_OK(ht_container_create(&w, "model", 1, &err), err);
    put(w);
    ASSERT_OK(ht_container_finish_image(w, image, size, &err), err);
}

/* Runs a command made like by printf and returns its output, NUL-terminated; freed with free. The
 * test fails when the command does. */
HT_PRINTF(1, 2)
static inline char *output_of(const char *format, ...)
{
    char command[1024];
    size_t size = 0;
    char *text = calloc(1, 1 << 20);
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    FILE *f = popen(command, "r");
    cr_assert(f && text, "%s", command);
    size = fread(text, 1, (1 << 20) - 1, f);
    text[size] = '\0';
    cr_assert_eq(pclose(f), 0, "%s:\n%s", command, text);
    return text;
}

#endif
