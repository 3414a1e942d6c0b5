#include "support.h"

#include "base/rng.h"
#include "base/text.h"

/* Known answers of philox4x32-10 from the Random123 distribution (kat_vectors). */
Test(rng, philox_known_answers)
{
    struct ht_rng_block b = ht_rng_block(0, 0, 0);
    cr_assert_eq(b.v[0], 0x6627e8d5u);
    cr_assert_eq(b.v[1], 0xe169c58du);
    cr_assert_eq(b.v[2], 0xbc57ac4cu);
    cr_assert_eq(b.v[3], 0x9b00dbd8u);
    b = ht_rng_block(0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u);
    cr_assert_eq(b.v[0], 0xd16cfe09u);
    cr_assert_eq(b.v[1], 0x94fdccebu);
    cr_assert_eq(b.v[2], 0x5001e420u);
    cr_assert_eq(b.v[3], 0x24126ea1u);
}

Test(rng, permutation_is_one_and_depends_on_the_stream)
{
    uint32_t a[100], b[100];
    int seen[100] = {0}, equal = 0;
    ht_rng_permutation(7, HT_RNG_STREAM(HT_RNG_SHUFFLE, 0), a, 100);
    ht_rng_permutation(7, HT_RNG_STREAM(HT_RNG_SHUFFLE, 1), b, 100);
    for (int i = 0; i < 100; i++) {
        seen[a[i]]++;
        equal += a[i] == b[i];
    }
    for (int i = 0; i < 100; i++)
        cr_assert_eq(seen[i], 1);
    cr_assert_lt(equal, 10);
}

Test(rng, moments)
{
    double sum = 0, square = 0, uniform = 0;
    const int n = 200000;
    for (int i = 0; i < n; i++) {
        double x = ht_rng_normal(3, HT_RNG_TEST, (uint64_t)i);
        double u = ht_rng_uniform(4, HT_RNG_TEST, (uint64_t)i);
        cr_assert(u >= 0 && u < 1);
        sum += x;
        square += x * x;
        uniform += u;
    }
    /* 5 standard errors: 5 / sqrt(n), times sqrt(2) for the variance, sqrt(1/12) for the uniform.
     */
    cr_assert_float_eq(sum / n, 0, 0.0112);
    cr_assert_float_eq(square / n, 1, 0.0159);
    cr_assert_float_eq(uniform / n, 0.5, 0.0033);
}

Test(text, nearest_name)
{
    const char *names[] = {"epochs", "batch", "optimizer", NULL, "learning_rate"};
    cr_assert_str_eq(ht_nearest_name("epoch", names, 5), "epochs");
    cr_assert_str_eq(ht_nearest_name("Bacth", names, 5), "batch");
    cr_assert_str_eq(ht_nearest_name("learning-rate", names, 5), "learning_rate");
    cr_assert_null(ht_nearest_name("x", names, 5));
    cr_assert_null(ht_nearest_name("colour", names, 5));
    cr_assert_null(ht_nearest_name("", names, 5));
}

Test(text, grows_and_survives_memory_failure)
{
    struct ht_text t = {0};
    for (int i = 0; i < 1000; i++)
        ht_text_printf(&t, "%d,", i);
    cr_assert_eq(t.len, 3890);
    cr_assert_eq(strncmp(ht_text_str(&t), "0,1,2,", 6), 0);
    ht_alloc_fail_at(1);
    for (int i = 0; i < 10000; i++)
        ht_text_append(&t, "x", 1);
    cr_assert(t.failed);
    ht_text_finish(&t);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(alloc, refuses_overflow)
{
    size_t r;
    cr_assert_not(ht_mul_size((size_t)-1, 2, &r));
    cr_assert_not(ht_add_size((size_t)-1, 1, &r));
    cr_assert_null(ht_calloc((size_t)-1 / 2, 3));
    void *p = ht_calloc(3, 5);
    cr_assert_eq((size_t)p % 64, 0);
    ht_free(p);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(error, prefix_and_exit_codes)
{
    struct ht_error err = {0};
    ht_fail(&err, HT_ERR_DATA, "bad %d", 3);
    ht_error_prefix(&err, err.code, "file %s", "x");
    cr_assert_str_eq(err.msg, "file x: bad 3");
    cr_assert_eq(ht_error_exit_code(&err), 3);
    ht_fail_memory(&err);
    cr_assert_eq(ht_error_exit_code(&err), 1);
    err.code = HT_ERR_INTERRUPTED;
    err.signal = 15;
    cr_assert_eq(ht_error_exit_code(&err), 143);
}
