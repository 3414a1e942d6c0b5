#include "data/loading.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *skip_digits(const char *p)
{
    while (*p >= '0' && *p <= '9')
        p++;
    return p;
}

/* [+-] digits [. digits] [e [+-] digits], with at least one digit in front of the exponent. */
static bool is_decimal(const char *p)
{
    if (*p == '+' || *p == '-')
        p++;
    const char *whole = p;
    p = skip_digits(p);
    size_t digits = (size_t)(p - whole);
    if (*p == '.') {
        const char *fraction = ++p;
        p = skip_digits(p);
        digits += (size_t)(p - fraction);
    }
    if (digits == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-')
            p++;
        const char *exponent = p;
        p = skip_digits(p);
        if (p == exponent)
            return false;
    }
    return *p == '\0';
}

/* strtod rounds correctly but wants the locale's decimal point, which a program that uses the
 * library may have changed. */
static double parse_slowly(const char *text)
{
    const char *point = localeconv()->decimal_point, *dot = strchr(text, '.');
    if (!dot || strcmp(point, ".") == 0)
        return strtod(text, NULL);
    char buffer[512];
    int n = snprintf(buffer, sizeof buffer, "%.*s%s%s", (int)(dot - text), text, point, dot + 1);
    return n > 0 && (size_t)n < sizeof buffer ? strtod(buffer, NULL) : NAN;
}

bool ht_parse_number(const char *text, double *ret)
{
    if (!is_decimal(text))
        return false;
    /* Up to 15 digits fit a double exactly, and so does 10^k for k <= 22: one division of exact
     * numbers is correctly rounded (Clinger 1990). Everything else goes the slow way. */
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const char *p = text + (*text == '+' || *text == '-');
    uint64_t digits = 0;
    size_t n = 0, fraction = 0;
    bool after_point = false;
    for (; *p == '.' || (*p >= '0' && *p <= '9'); p++) {
        if (*p == '.') {
            after_point = true;
            continue;
        }
        if (++n > 15)
            break;
        digits = digits * 10 + (uint64_t)(*p - '0');
        fraction += after_point;
    }
    if (*p != '\0') {
        *ret = parse_slowly(text);
        return isfinite(*ret);
    }
    double value = (double)digits / powers[fraction];
    *ret = *text == '-' ? -value : value;
    return true;
}

bool ht_is_missing_text(const char *text)
{
    static const char *const words[] = {"", "na", "n/a", "nan", "?"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(text, words[i]) == 0)
            return true;
    return false;
}

bool ht_is_utf8(const char *text)
{
    for (const uint8_t *p = (const uint8_t *)text; *p;) {
        size_t more = *p < 0x80                 ? 0
                      : *p >= 0xc2 && *p < 0xe0 ? 1
                      : (*p & 0xf0) == 0xe0     ? 2
                      : *p >= 0xf0 && *p < 0xf5 ? 3
                                                : 4;
        if (more == 4 || (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] >= 0xa0) ||
            (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] >= 0x90))
            return false;
        for (p++; more > 0; more--, p++)
            if ((*p & 0xc0) != 0x80)
                return false;
    }
    return true;
}
