#include "config/values.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    bool value;
} booleans[] = {{"true", true}, {"false", false}, {"yes", true},  {"no", false},
                {"on", true},   {"off", false},   {"True", true}, {"False", false}};

static void print_limit(double x, struct ht_text *out)
{
    if (x >= 18446744073709551615.0)
        ht_text_printf(out, "18446744073709551615");
    else
        ht_value_print_double(x, out);
}

static void describe_range(const struct ht_field *f, struct ht_text *out)
{
    bool whole = f->type != HT_FIELD_DOUBLE;
    bool bounded = f->max < (f->type == HT_FIELD_INT ? (double)INT_MAX : HUGE_VAL);
    if (whole && bounded) {
        print_limit(f->min, out);
        ht_text_printf(out, "..");
        print_limit(f->max, out);
    } else {
        ht_text_printf(out, f->flags & HT_FIELD_OPEN_MIN ? "> " : ">= ");
        print_limit(f->min, out);
        if (bounded) {
            ht_text_printf(out, f->flags & HT_FIELD_OPEN_MAX ? " and < " : " and <= ");
            print_limit(f->max, out);
        }
    }
    for (int i = 0; i < 2 && f->also[i]; i++)
        ht_text_printf(out, "%s%d", i == 0 && f->also[1] ? ", " : ", or ", f->also[i]);
    if (f->flags & HT_FIELD_COUNT)
        ht_text_printf(out, ", whole from 1 on");
}

void ht_value_describe(const struct ht_field *f, struct ht_text *out)
{
    switch (f->type) {
    case HT_FIELD_INT:
    case HT_FIELD_UINT64:
    case HT_FIELD_DOUBLE:
        describe_range(f, out);
        break;
    case HT_FIELD_BOOL:
        ht_text_printf(out, "true, false");
        break;
    case HT_FIELD_CHOICE:
        for (size_t i = 0; f->choices[i]; i++)
            ht_text_printf(out, "%s%s", i ? ", " : "", f->choices[i]);
        break;
    case HT_FIELD_IDENTIFIER:
        ht_text_printf(out, "letters, digits and %s", f->alphabet);
        break;
    default:
        break;
    }
}

/* "must be WHAT, found ..." */
static bool wrong_type(const char *what, const char *text, bool plain, char *why, size_t size)
{
    if (plain)
        snprintf(why, size, "must be %s, found '%.60s'", what, text);
    else
        snprintf(why, size, "must be %s, found the quoted text \"%.60s\"", what, text);
    return false;
}

static bool out_of_range(const struct ht_field *f, const char *text, char *why, size_t size)
{
    struct ht_text range = {0};
    describe_range(f, &range);
    snprintf(why, size, "is %.60s, out of range: %s", text, ht_text_str(&range));
    ht_text_finish(&range);
    return false;
}

/* [+-] digits, without leading zeros (010 is 8 to some readers of YAML and 10 to others). */
static bool looks_whole(const char *s)
{
    s += *s == '+' || *s == '-';
    if (s[0] == '0' && s[1])
        return false;
    return *s && s[strspn(s, "0123456789")] == 0;
}

static bool parse_int(const struct ht_field *f, const char *text, bool plain, void *ret, char *why,
                      size_t size)
{
    if (!plain || !looks_whole(text))
        return wrong_type("a whole number", text, plain, why, size);
    errno = 0;
    long long x = strtoll(text, NULL, 10);
    bool also = x != 0 && (x == f->also[0] || x == f->also[1]);
    if (errno || (!also && ((double)x < f->min || (double)x > f->max)))
        return out_of_range(f, text, why, size);
    int value = (int)x;
    memcpy(ret, &value, sizeof value);
    return true;
}

static bool parse_uint64(const struct ht_field *f, const char *text, bool plain, void *ret,
                         char *why, size_t size)
{
    if (!plain || !looks_whole(text))
        return wrong_type("a whole number", text, plain, why, size);
    errno = 0;
    uint64_t value = strtoull(text, NULL, 10);
    if (errno || (*text == '-' && value != 0))
        return out_of_range(f, text, why, size);
    memcpy(ret, &value, sizeof value);
    return true;
}

/* [+-] digits [. digits] [e [+-] digits]: no hexadecimal, no names. */
static bool looks_number(const char *s)
{
    s += *s == '+' || *s == '-';
    size_t whole = strspn(s, "0123456789"), fraction = 0;
    s += whole;
    if (*s == '.') {
        fraction = strspn(++s, "0123456789");
        s += fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '+' || *s == '-';
        size_t n = strspn(s, "0123456789");
        if (n == 0)
            return false;
        s += n;
    }
    return *s == 0;
}

static bool looks_infinite(const char *s)
{
    static const char *const names[] = {"nan",      ".nan", ".NaN", ".NAN",    "NaN",
                                        "NAN",      "inf",  ".inf", ".Inf",    ".INF",
                                        "infinity", "Inf",  "INF",  "Infinity"};
    s += *s == '+' || *s == '-';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(s, names[i]) == 0)
            return true;
    return false;
}

static bool parse_double(const struct ht_field *f, const char *text, bool plain, void *ret,
                         char *why, size_t size)
{
    if (plain && looks_infinite(text))
        return wrong_type("a finite number", text, plain, why, size);
    if (!plain || !looks_number(text))
        return wrong_type("a number", text, plain, why, size);
    double x = strtod(text, NULL);
    bool below = f->flags & HT_FIELD_OPEN_MIN ? x <= f->min : x < f->min;
    bool above = f->flags & HT_FIELD_OPEN_MAX ? x >= f->max : x > f->max;
    if (!isfinite(x) || below || above)
        return out_of_range(f, text, why, size);
    if ((f->flags & HT_FIELD_COUNT) && x >= 1 && x != floor(x))
        return wrong_type("a share below 1 or a whole number", text, plain, why, size);
    x = x == 0 ? 0 : x; /* no -0: equal configs have equal bytes */
    memcpy(ret, &x, sizeof x);
    return true;
}

static bool parse_bool(const char *text, bool plain, void *ret, char *why, size_t size)
{
    for (size_t i = 0; plain && i < sizeof booleans / sizeof *booleans; i++)
        if (strcmp(text, booleans[i].text) == 0) {
            memcpy(ret, &booleans[i].value, sizeof(bool));
            return true;
        }
    return wrong_type("true or false", text, plain, why, size);
}

static bool parse_choice(const struct ht_field *f, const char *text, void *ret, char *why,
                         size_t size)
{
    size_t n = 0;
    for (; f->choices[n]; n++)
        if (strcmp(text, f->choices[n]) == 0) {
            ht_fields_copy_text(ret, HT_NAME_LENGTH, text);
            return true;
        }
    struct ht_text list = {0};
    ht_value_describe(f, &list);
    const char *near = ht_nearest_name(text, f->choices, n);
    snprintf(why, size, "is '%.60s', not one of: %s%s%s%s", text, ht_text_str(&list),
             near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    ht_text_finish(&list);
    return false;
}

static bool is_identifier(const char *s, const char *alphabet)
{
    for (; *s; s++) {
        bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');
        if (!letter && !(*s >= '0' && *s <= '9') && !strchr(alphabet, *s))
            return false;
    }
    return true;
}

static bool parse_text(const struct ht_field *f, const char *text, void *ret, char *why,
                       size_t size)
{
    if (strlen(text) >= f->size) {
        snprintf(why, size, "is longer than %zu bytes", f->size - 1);
        return false;
    }
    for (const char *s = text; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) {
            snprintf(why, size, "has a control character or line break in it");
            return false;
        }
    if (f->type == HT_FIELD_IDENTIFIER) {
        if (!*text) {
            snprintf(why, size, "is empty");
            return false;
        }
        if (!is_identifier(text, f->alphabet) || *text == '.') {
            snprintf(why, size, "is '%.60s': only letters, digits and %s are allowed%s", text,
                     f->alphabet, *text == '.' ? ", and no '.' at the start" : "");
            return false;
        }
    }
    ht_fields_copy_text(ret, f->size, text);
    return true;
}

bool ht_value_parse(const struct ht_field *f, const char *text, bool plain, void *ret, char *why,
                    size_t why_size)
{
    switch (f->type) {
    case HT_FIELD_INT:
        return parse_int(f, text, plain, ret, why, why_size);
    case HT_FIELD_UINT64:
        return parse_uint64(f, text, plain, ret, why, why_size);
    case HT_FIELD_DOUBLE:
        return parse_double(f, text, plain, ret, why, why_size);
    case HT_FIELD_BOOL:
        return parse_bool(text, plain, ret, why, why_size);
    case HT_FIELD_CHOICE:
        return parse_choice(f, text, ret, why, why_size);
    default:
        return parse_text(f, text, ret, why, why_size);
    }
}

void ht_value_print_double(double x, struct ht_text *out)
{
    char s[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, x);
        if (strtod(s, NULL) == x)
            break;
    }
    /* Whole numbers without an exponent: 5000, not 5e+03. */
    if (fabs(x) < 1e15 && x == floor(x))
        snprintf(s, sizeof s, "%.0f", x);
    ht_text_printf(out, "%s", s);
}
