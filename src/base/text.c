#include "base/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

static bool reserve(struct ht_text *t, size_t extra)
{
    size_t need;
    if (t->failed || !ht_add_size(t->len + 1, extra, &need))
        return false;
    if (need <= t->cap)
        return true;
    size_t cap = t->cap ? t->cap * 2 : 256;
    if (cap < need)
        cap = need;
    char *s = ht_grow(t->s, cap, 1);
    if (!s) {
        t->failed = true;
        return false;
    }
    t->s = s;
    t->cap = cap;
    return true;
}

void ht_text_append(struct ht_text *t, const char *s, size_t n)
{
    if (!reserve(t, n))
        return;
    memcpy(t->s + t->len, s, n);
    t->len += n;
    t->s[t->len] = '\0';
}

void ht_text_printf(struct ht_text *t, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n >= 0 && reserve(t, (size_t)n)) {
        vsnprintf(t->s + t->len, (size_t)n + 1, fmt, again);
        t->len += (size_t)n;
    }
    va_end(again);
}

const char *ht_text_str(const struct ht_text *t)
{
    return t->s ? t->s : "";
}

void ht_text_finish(struct ht_text *t)
{
    ht_free(t->s);
    memset(t, 0, sizeof *t);
}

#define MAX_NAME 63

static int lower(char c)
{
    return tolower((unsigned char)c);
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment distance; both lengths <= MAX_NAME. */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t row[3][MAX_NAME + 1];
    size_t *before = row[0], *last = row[1], *now = row[2];
    for (size_t j = 0; j <= nb; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= na; i++) {
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t cost = lower(a[i - 1]) != lower(b[j - 1]);
            size_t best = min_size(min_size(last[j], now[j - 1]) + 1, last[j - 1] + cost);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1]))
                best = min_size(best, before[j - 2] + 1);
            now[j] = best;
        }
        size_t *t = before;
        before = last;
        last = now;
        now = t;
    }
    return last[nb];
}

const char *ht_nearest_name(const char *name, const char *const *names, size_t n)
{
    size_t len = strlen(name);
    const char *best = NULL;
    size_t best_distance = len / 3 + 2; /* a third of the letters wrong is no slip any more */
    if (len == 0 || len > MAX_NAME)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t other = names[i] ? strlen(names[i]) : 0;
        if (other == 0 || other > MAX_NAME)
            continue;
        size_t d = edit_distance(name, len, names[i], other);
        if (d < best_distance && d < min_size(len, other)) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}
