#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/c_parts.h"

#define LINE 4096 /* of one ht_c_printf */

/* Does a name of ours begin at s, text before it being all of `start`..s? */
static bool begins_name(const char *start, const char *s, const char *word)
{
    if (strncmp(s, word, 4) != 0)
        return false;
    if (s == start || (!isalnum((unsigned char)s[-1]) && s[-1] != '_'))
        return true;
    return s - start >= 3 && memcmp(s - 3, "HT_", 3) == 0;
}

void ht_c_piece(struct ht_c *c, struct ht_text *t, const char *piece)
{
    const char *done = piece;
    for (const char *s = piece; *s; s++) {
        const bool small = begins_name(piece, s, "net_"), large = begins_name(piece, s, "NET_");
        if (!small && !large)
            continue;
        ht_text_append(t, done, (size_t)(s - done));
        const char *prefix = small ? c->prefix : c->capitals;
        ht_text_append(t, prefix, strlen(prefix));
        done = s + 3;
        s = done;
    }
    ht_text_append(t, done, strlen(done));
}

void ht_c_printf(struct ht_c *c, struct ht_text *t, const char *format, ...)
{
    char line[LINE];
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert(length >= 0 && length < LINE);
    (void)length;
    ht_c_piece(c, t, line);
}

void ht_c_literal(struct ht_text *t, const char *s)
{
    ht_text_append(t, "\"", 1);
    for (; *s; s++) {
        const unsigned char byte = (unsigned char)*s;
        if (byte == '"' || byte == '\\' || byte == '?') /* '?': trigraphs */
            ht_text_printf(t, "\\%c", byte);
        else if (byte < 0x20 || byte > 0x7e)
            ht_text_printf(t, "\\%03o", byte);
        else
            ht_text_append(t, s, 1);
    }
    ht_text_append(t, "\"", 1);
}

void ht_c_comment(struct ht_text *t, const char *s)
{
    for (; *s; s++) {
        const unsigned char byte = (unsigned char)*s;
        const bool plain = byte >= 0x20 && byte != 0x7f && !strchr("*?\\", byte);
        ht_text_append(t, plain ? s : "_", 1);
    }
}

/* A line break and an indent every `columns` numbers. */
static void separate(struct ht_text *t, size_t i, size_t columns)
{
    if (i % columns == 0)
        ht_text_append(t, "\n    ", 5);
    else
        ht_text_append(t, " ", 1);
}

/* Decimal, with a comma; as fast as megabytes of weights want it. */
static void put_integer(struct ht_text *t, int64_t value)
{
    char digits[24], *s = digits + sizeof digits;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    *--s = ',';
    do
        *--s = (char)('0' + left % 10);
    while (left /= 10);
    if (value < 0)
        *--s = '-';
    ht_text_append(t, s, (size_t)(digits + sizeof digits - s));
}

void ht_c_bytes(struct ht_text *t, const uint8_t *value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i % 24 == 0)
            ht_text_append(t, "\n    ", 5);
        put_integer(t, value[i]);
    }
}

void ht_c_signed_bytes(struct ht_text *t, const int8_t *value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i % 24 == 0)
            ht_text_append(t, "\n    ", 5);
        put_integer(t, value[i]);
    }
}

void ht_c_bits(struct ht_text *t, const uint32_t *value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        separate(t, i, 6);
        ht_text_printf(t, "0x%08xu,", (unsigned)value[i]);
    }
}

void ht_c_integers(struct ht_text *t, const int32_t *value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        separate(t, i, 10);
        if (value[i] == INT32_MIN)
            ht_text_printf(t, "(-2147483647 - 1),");
        else
            put_integer(t, value[i]);
    }
}

/* Exact, and without a point: locales have others. */
void ht_c_float(struct ht_text *t, float value)
{
    int exponent;
    const float mantissa = frexpf(fabsf(value), &exponent) * 0x1p24f;
    ht_text_printf(t, "%s0x%xp%df", value < 0 ? "-" : "", (unsigned)mantissa,
                   value == 0 ? 0 : exponent - 24);
}

void ht_c_floats(struct ht_text *t, const float *value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        separate(t, i, 5);
        ht_c_float(t, value[i]);
        ht_text_append(t, ",", 1);
    }
}

struct ht_c_name ht_c_plus(int value)
{
    struct ht_c_name text = {""};
    if (value)
        snprintf(text.s, sizeof text.s, " %c %d", value < 0 ? '-' : '+', abs(value));
    return text;
}

uint32_t ht_c_float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
