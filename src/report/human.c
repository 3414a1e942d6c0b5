#include "report/human.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ht_human ht_human_bytes(uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    const size_t n = sizeof units / sizeof *units;
    struct ht_human ret;
    if (bytes < 1024) {
        snprintf(ret.s, sizeof ret.s, "%u B", (unsigned)bytes);
        return ret;
    }
    double v = (double)bytes / 1024;
    size_t i = 0;
    /* 1023.95 would be printed as 1024.0 */
    for (; v >= 1023.95 && i + 1 < n; i++)
        v /= 1024;
    snprintf(ret.s, sizeof ret.s, "%.1f %s", v, units[i]);
    return ret;
}

/* Below a minute: one decimal of the largest unit that does not make it 1000.0. */
static void print_short_time(struct ht_human *ret, double seconds)
{
    static const char *const units[] = {"ns", "us", "ms"};
    double v = seconds * 1e9;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++, v /= 1000)
        if (v < 999.95) {
            snprintf(ret->s, sizeof ret->s, "%.1f %s", v, units[i]);
            return;
        }
    snprintf(ret->s, sizeof ret->s, "%.1f s", seconds);
}

struct ht_human ht_human_seconds(double seconds)
{
    struct ht_human ret;
    if (!(fabs(seconds) < 1e15)) {
        snprintf(ret.s, sizeof ret.s, "%s", isnan(seconds) ? "nan" : seconds < 0 ? "-inf" : "inf");
        return ret;
    }
    if (seconds == 0) {
        snprintf(ret.s, sizeof ret.s, "0 s");
        return ret;
    }
    if (seconds < 0) {
        struct ht_human positive = ht_human_seconds(-seconds);
        snprintf(ret.s, sizeof ret.s, "-%.40s", positive.s);
        return ret;
    }
    if (seconds < 59.95) {
        print_short_time(&ret, seconds);
        return ret;
    }
    unsigned long long t = (unsigned long long)(seconds + 0.5);
    if (t < 3600)
        snprintf(ret.s, sizeof ret.s, "%llu m %02llu s", t / 60, t % 60);
    else if (t < 86400)
        snprintf(ret.s, sizeof ret.s, "%llu h %02llu m", t / 3600, t / 60 % 60);
    else
        snprintf(ret.s, sizeof ret.s, "%llu d %02llu h", t / 86400, t / 3600 % 24);
    return ret;
}

struct ht_human ht_human_count(int64_t n)
{
    char digits[24];
    struct ht_human ret;
    int len = snprintf(digits, sizeof digits, "%llu",
                       n < 0 ? 0 - (unsigned long long)n : (unsigned long long)n);
    char *o = ret.s;
    if (n < 0)
        *o++ = '-';
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            *o++ = ',';
        *o++ = digits[i];
    }
    *o = '\0';
    return ret;
}

struct ht_human ht_human_exact(double v)
{
    struct ht_human ret;
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(ret.s, sizeof ret.s, "%.*g", digits, v);
        if (strtod(ret.s, NULL) == v)
            break;
    }
    if (strspn(ret.s, "-0123456789") == strlen(ret.s)) {
        size_t n = strlen(ret.s);
        memcpy(ret.s + n, ".0", 3);
        return ret;
    }
    /* A locale may write another decimal point. */
    char *point = ret.s + strspn(ret.s, "-0123456789");
    if (*point != 'e')
        *point = '.';
    return ret;
}

/* ---- UTF-8 ---- */

static const struct {
    uint32_t first, last;
} zero_width[] = {{0x300, 0x36f}, {0x200b, 0x200f}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}},
  double_width[] = {{0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xac00, 0xd7a3},
                    {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},
                    {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1faff}, {0x20000, 0x3fffd}};

static unsigned code_width(uint32_t code)
{
    for (size_t i = 0; i < sizeof zero_width / sizeof *zero_width; i++)
        if (code >= zero_width[i].first && code <= zero_width[i].last)
            return 0;
    for (size_t i = 0; i < sizeof double_width / sizeof *double_width; i++)
        if (code >= double_width[i].first && code <= double_width[i].last)
            return 2;
    return 1;
}

struct ht_character ht_utf8_next(const char *s)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const struct ht_character invalid = {.code = 0xfffd, .bytes = 1, .width = 1};
    const unsigned char *u = (const unsigned char *)s;
    unsigned n = u[0] < 0x80 ? 1 : u[0] < 0xc2 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
    if (n == 0 || u[0] > 0xf4)
        return invalid;
    uint32_t code = n == 1 ? u[0] : u[0] & (0x7fu >> n);
    for (unsigned i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80) /* also ends at the NUL */
            return invalid;
        code = code << 6 | (u[i] & 0x3fu);
    }
    if (code < smallest[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return invalid;
    return (struct ht_character){.code = code, .bytes = n, .width = code_width(code)};
}

size_t ht_utf8_width(const char *s)
{
    size_t width = 0;
    while (*s) {
        struct ht_character c = ht_utf8_next(s);
        width += c.width;
        s += c.bytes;
    }
    return width;
}

size_t ht_utf8_prefix(const char *s, size_t width)
{
    const char *p = s;
    while (*p) {
        struct ht_character c = ht_utf8_next(p);
        if (c.width > width)
            break;
        width -= c.width;
        p += c.bytes;
    }
    return (size_t)(p - s);
}

bool ht_utf8_is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0);
}
