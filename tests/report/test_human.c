#include "support.h"

#include <math.h>

#include "base/rng.h"
#include "report/human.h"

Test(human, bytes)
{
    static const struct {
        uint64_t bytes;
        const char *s;
    } cases[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {278016, "271.5 KiB"},
        {1048524, "1023.9 KiB"},
        {1048575, "1.0 MiB"},
        {5ull << 30, "5.0 GiB"},
        {UINT64_MAX, "16.0 EiB"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_assert_str_eq(ht_human_bytes(cases[i].bytes).s, cases[i].s);
}

Test(human, seconds)
{
    static const struct {
        double seconds;
        const char *s;
    } cases[] = {
        {0, "0 s"},
        {18.1e-6, "18.1 us"},
        {12.3e-3, "12.3 ms"},
        {999.96e-6, "1.0 ms"},
        {2e-9, "2.0 ns"},
        {4, "4.0 s"},
        {59.94, "59.9 s"},
        {59.96, "1 m 00 s"},
        {83, "1 m 23 s"},
        {3599.4, "59 m 59 s"},
        {3599.5, "1 h 00 m"},
        {2 * 3600 + 300, "2 h 05 m"},
        {86400 * 3 + 3600 * 4, "3 d 04 h"},
        {-83, "-1 m 23 s"},
        {(double)NAN, "nan"},
        {(double)INFINITY, "inf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_assert_str_eq(ht_human_seconds(cases[i].seconds).s, cases[i].s, "%g: %s",
                         cases[i].seconds, ht_human_seconds(cases[i].seconds).s);
}

Test(human, count)
{
    cr_assert_str_eq(ht_human_count(0).s, "0");
    cr_assert_str_eq(ht_human_count(999).s, "999");
    cr_assert_str_eq(ht_human_count(1000).s, "1,000");
    cr_assert_str_eq(ht_human_count(335114).s, "335,114");
    cr_assert_str_eq(ht_human_count(-1234567).s, "-1,234,567");
    cr_assert_str_eq(ht_human_count(INT64_MIN).s, "-9,223,372,036,854,775,808");
}

Test(human, exact)
{
    cr_assert_str_eq(ht_human_exact(0.1).s, "0.1");
    cr_assert_str_eq(ht_human_exact(3).s, "3.0");
    cr_assert_str_eq(ht_human_exact(-0.0).s, "-0.0");
    cr_assert_str_eq(ht_human_exact(1e300).s, "1e+300");
    cr_assert_str_eq(ht_human_exact(1.0 / 3).s, "0.3333333333333333");
    for (uint64_t i = 0; i < 2000; i++) {
        double v = ht_rng_normal(1, HT_RNG_TEST, i) * pow(10, (double)(i % 40) - 20);
        cr_assert_eq(strtod(ht_human_exact(v).s, NULL), v);
    }
}

Test(human, utf8)
{
    cr_assert_eq(ht_utf8_width("88.41 ± 0.12"), 12);
    cr_assert_eq(ht_utf8_width("e\xcc\x81"), 1);                /* e with a combining accent */
    cr_assert_eq(ht_utf8_width("\xe9\x9d\xb4\xe5\xad\x90"), 4); /* two wide characters */
    /* Broken, overlong, surrogate, beyond Unicode: every byte counts as one. */
    cr_assert_eq(ht_utf8_width("\xff"), 1);
    cr_assert_eq(ht_utf8_width("\xc0\xaf"), 2);
    cr_assert_eq(ht_utf8_width("\xe0\x80\xaf"), 3);
    cr_assert_eq(ht_utf8_width("\xe2\x82"), 2);
    cr_assert_eq(ht_utf8_width("\xed\xa0\x80"), 3);
    cr_assert_eq(ht_utf8_width("\xf4\x90\x80\x80"), 4);
    cr_assert_eq(ht_utf8_next("\xe2\x82\xac").code, 0x20ac);
    cr_assert_eq(ht_utf8_next("\xf0\x9f\x98\x80").code, 0x1f600);
    cr_assert_eq(ht_utf8_prefix("a±b", 2), 3);
    cr_assert_eq(ht_utf8_prefix("a\xe9\x9d\xb4z", 2), 1); /* never half of a wide one */
    cr_assert_eq(ht_utf8_prefix("abc", 10), 3);
}
