/* The integer arithmetic of exported C code against the engine's float arithmetic, bit for bit; and
 * what the writer of C code refuses. */
#include "qmodel/modes_model.h"

#include "export/export.h"
#include "io/file.h"
#include "kernels/round.h"

#include "export/c/scale.c"

#include "export/c/floor.c"
#include "export/c/nearest.c"
#include "export/c/odd.c"

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* As net_scale gives it. */
static int32_t ordered(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? -(int32_t)(bits & 0x7fffffffu) : (int32_t)bits;
}

static void check_levels(float u, int lo, int hi)
{
    const struct {
        enum ht_kernel_rounding rounding;
        int32_t (*round)(int32_t u, int32_t lo, int32_t hi);
    } ways[] = {{HT_KERNEL_NEAREST_EVEN, net_nearest},
                {HT_KERNEL_FLOOR, net_floor},
                {HT_KERNEL_NEAREST_ODD, net_odd}};
    for (size_t i = 0; i < 3; i++) {
        const bool odd = ways[i].rounding == HT_KERNEL_NEAREST_ODD;
        const struct ht_kernel_quantizer q = {odd ? lo | 1 : lo, odd ? hi | 1 : hi, 0,
                                              ways[i].rounding};
        const int32_t expected = ht_round_to_level(u, &q);
        const int32_t got = ways[i].round(ordered(u), q.lo, q.hi);
        if (got != expected)
            cr_assert_fail("rounding %zu of %a in %d..%d: %d, not %d", i, (double)u, q.lo, q.hi,
                           got, expected);
    }
}

static void check(int32_t acc, uint32_t multiplier)
{
    const float u = ht_scale_accumulator(acc, from_bits(multiplier));
    const int32_t got = net_scale(acc, multiplier);
    if (got != ordered(u))
        cr_assert_fail("%d times %a: %08x, not %a", acc, (double)from_bits(multiplier),
                       (unsigned)got, (double)u);
    check_levels(u, -127, 127);
    check_levels(u, 0, 255);
    check_levels(u, -255, 0);
    check_levels(u, -1, 1);
    check_levels(u, -3, 6);
}

static uint32_t random_bits(uint64_t i)
{
    return (uint32_t)ht_rng_below(1, HT_RNG_TEST, i, UINT64_C(1) << 32);
}

/* All exponents of a float32, with accumulators around powers of two: ties of the accumulator, of
 * the product and of the level, overflow, and the smallest numbers. */
Test(code, scaling_at_edges)
{
    static const uint32_t mantissas[] = {0,        1,        2,        0x7fffff, 0x7ffffe,
                                         0x400000, 0x3fffff, 0x400001, 0x2aaaaa};
    static const int32_t offsets[] = {-3, -2, -1, 0, 1, 2, 3};
    for (uint32_t exponent = 1; exponent < 255; exponent++)
        for (size_t m = 0; m < sizeof mantissas / sizeof *mantissas; m++)
            for (int power = 0; power < 32; power++)
                for (size_t o = 0; o < 7; o++) {
                    const int64_t acc = (INT64_C(1) << power) + offsets[o];
                    const uint32_t multiplier = exponent << 23 | mantissas[m];
                    if (acc <= INT32_MAX)
                        check((int32_t)acc, multiplier);
                    if (acc <= INT64_C(1) << 31)
                        check((int32_t)-acc, multiplier);
                }
}

/* Halves and their neighbours between all levels that there are. */
Test(code, every_level_and_tie)
{
    for (int32_t twice = -1200; twice <= 1200; twice++)
        for (int32_t factor = 1; factor <= 1001; factor += 50) {
            const float multiplier = 0.5f / (float)factor;
            uint32_t bits;
            memcpy(&bits, &multiplier, sizeof bits);
            for (int32_t near = -1; near <= 1; near++)
                check(twice * factor, bits + (uint32_t)near);
        }
}

Test(code, random_scaling)
{
    for (uint64_t i = 0; i < 300000; i++) {
        const uint32_t a = random_bits(3 * i), bits = random_bits(3 * i + 1);
        const int32_t acc = (int32_t)(a >> 1) >> bits % 31;
        /* around what brings acc to a level */
        const uint32_t exponent = 127 + bits % 31 - 31 + random_bits(3 * i + 2) % 12;
        check(a & 1 ? -acc : acc, exponent << 23 | bits >> 9);
    }
}

/* --- files --- */

static char folder[64];

static void setup(void)
{
    make_temp_dir(folder);
}

static void teardown(void)
{
    remove_temp_dir(folder);
}

static enum ht_status write_code(const struct ht_qmodel *m, const char *prefix, const char *path,
                                 struct ht_error *err)
{
    const struct ht_export_format *format;
    const struct ht_export_source source = {m, NULL};
    const struct ht_export_options options = {.prefix = prefix};
    cr_assert_eq(ht_export_format_find(&format, "c", NULL), HT_OK);
    return format->write(&source, &options, path, err);
}

Test(code, a_model_with_floats_in_it_is_refused, .init = setup, .fini = teardown)
{
    static const char *const modes[] = {"first: its mode is dynamic",
                                        "first: its mode is weight-only",
                                        "first: its mode is float16"};
    struct ht_error err;
    struct ht_qmodel *m = modes_model();
    for (size_t i = 0; i < 3; i++) {
        if (i > 0)
            m->input.kind = HT_QOUTPUT_REAL;
        if (i > 1)
            m->layers[0].weights.grid = m->layers[2].weights.grid;
        cr_assert_eq(write_code(m, NULL, folder, &err), HT_ERR_CONFIG);
        cr_assert(strstr(err.msg, modes[i]), "%s", err.msg);
    }
    ht_qmodel_destroy(m);
}

Test(code, prefixes, .init = setup, .fini = teardown)
{
    static const char *const wrong[] = {"",    "Net", "1st", "_net",
                                        "a-b", "a/b", "..",  "abcdefghijklmnopqrstuvwxyz_abcdef"};
    struct ht_qmodel *m = plain_model();
    struct ht_error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_assert_eq(write_code(m, wrong[i], folder, &err), HT_ERR_CONFIG, "%s", wrong[i]);
        cr_assert(strstr(err.msg, "prefix"), "%s", err.msg);
    }
    ASSERT_OK(write_code(m, "abcdefghijklmnopqrstuvwxyz_1234", folder, &err), err);
    ht_qmodel_destroy(m);
}

Test(code, files_of_others_stay, .init = setup, .fini = teardown)
{
    struct ht_qmodel *m = plain_model();
    struct ht_error err;
    char path[128], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/net.h", folder);
    write_file(path, "#define MINE\n", 13);
    cr_assert_eq(write_code(m, NULL, folder, &err), HT_ERR_CONFIG);
    cr_assert(strstr(err.msg, "net.h was not written"), "%s", err.msg);
    ASSERT_OK(ht_file_read(path, 100, &text, &size, &err), err);
    cr_assert_str_eq(text, "#define MINE\n");
    ht_free(text);
    snprintf(path, sizeof path, "%s/net.c", folder);
    cr_assert_neq(access(path, F_OK), 0);
    ASSERT_OK(write_code(m, "mine", folder, &err), err);
    ASSERT_OK(write_code(m, "mine", folder, &err), err);  /* ours are written anew */
    cr_assert_eq(write_code(m, NULL, path, &err), HT_OK); /* a folder of that name is made */
    snprintf(path, sizeof path, "%s/mine.c", folder);
    cr_assert_eq(write_code(m, NULL, path, &err), HT_ERR_IO); /* a file is in the way */
    ht_qmodel_destroy(m);
}
