#include "config/diagnostics.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define MAX_KEPT      400 /* errors held in memory */
#define MAX_SHOWN     50
#define EXCERPT_WIDTH 110

static int compare_places(const struct ht_place *a, const struct ht_place *b)
{
    if (a->source != b->source)
        return a->source < b->source ? -1 : 1;
    if (a->at.line != b->at.line)
        return a->at.line < b->at.line ? -1 : 1;
    return (a->at.column > b->at.column) - (a->at.column < b->at.column);
}

static int compare_diagnostics(const void *x, const void *y)
{
    const struct ht_diagnostic *a = x, *b = y;
    int order = compare_places(&a->place, &b->place);
    return order ? order : (a->sequence > b->sequence) - (a->sequence < b->sequence);
}

static bool already_said(const struct ht_diagnostics *d, const struct ht_place *place,
                         const char *message)
{
    for (size_t i = 0; i < d->n; i++)
        if (compare_places(&d->list[i].place, place) == 0 &&
            strcmp(d->list[i].message, message) == 0)
            return true;
    return false;
}

void ht_diagnostics_add(struct ht_diagnostics *d, struct ht_place place, const char *fmt, ...)
{
    char message[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    d->n_added++;
    if (already_said(d, &place, message))
        return;
    if (d->n == MAX_KEPT) {
        d->n_dropped++;
        return;
    }
    if (d->n == d->capacity) {
        size_t capacity = d->capacity ? d->capacity * 2 : 16;
        void *list = ht_grow(d->list, capacity, sizeof *d->list);
        if (!list) {
            d->out_of_memory = true;
            return;
        }
        d->list = list;
        d->capacity = capacity;
    }
    char *copy = ht_strdup(message);
    if (!copy) {
        d->out_of_memory = true;
        return;
    }
    d->list[d->n] = (struct ht_diagnostic){place, d->n, d->variant, copy};
    d->n++;
}

/* Bytes of the character at s: 1 also for a byte that is not UTF-8. */
static size_t character_length(const unsigned char *s, size_t left)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] > 0xf4 || n > left)
        return 1;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 1;
    return n;
}

/* Bytes of the line break at s, 0 when there is none. YAML 1.1 has five kinds. */
static size_t break_length(const unsigned char *s, size_t left)
{
    if (s[0] == '\n')
        return 1;
    if (s[0] == '\r')
        return left > 1 && s[1] == '\n' ? 2 : 1;
    if (left > 1 && s[0] == 0xc2 && s[1] == 0x85)
        return 2;
    if (left > 2 && s[0] == 0xe2 && s[1] == 0x80 && (s[2] == 0xa8 || s[2] == 0xa9))
        return 3;
    return 0;
}

struct ht_source_position ht_diagnostics_position(const char *text, size_t length, size_t offset)
{
    const unsigned char *s = (const unsigned char *)text;
    struct ht_source_position at = {1, 1};
    for (size_t i = 0; i < length && i < offset;) {
        size_t n = break_length(s + i, length - i);
        if (n) {
            at = (struct ht_source_position){at.line + 1, 1};
            i += n;
        } else {
            at.column++;
            i += character_length(s + i, length - i);
        }
    }
    return at;
}

void ht_diagnostics_excerpt(const char *text, size_t length, struct ht_source_position at,
                            struct ht_text *out)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    for (int line = 1; line < at.line && i < length;) {
        size_t n = break_length(s + i, length - i);
        i += n ? n : character_length(s + i, length - i);
        line += n > 0;
    }
    /* A long line is shown from a little before the position. */
    int first = at.column > EXCERPT_WIDTH ? at.column - EXCERPT_WIDTH / 2 : 1;
    ht_text_printf(out, "    %s", first > 1 ? "..." : "");
    for (int column = 1; i < length && !break_length(s + i, length - i); column++) {
        size_t n = character_length(s + i, length - i);
        if (column >= first + EXCERPT_WIDTH) {
            ht_text_printf(out, "...");
            break;
        }
        if (column >= first) {
            if (s[i] == '\t')
                ht_text_append(out, " ", 1);
            else if (s[i] < 0x20 || s[i] == 0x7f || (n == 1 && s[i] >= 0x80))
                ht_text_append(out, "?", 1);
            else
                ht_text_append(out, text + i, n);
        }
        i += n;
    }
    ht_text_printf(out, "\n    %s%*s^\n", first > 1 ? "   " : "", at.column - first, "");
}

/* The place in one word: "file:line:column" or "argument 'key=value'". */
static void append_place(const struct ht_diagnostics *d, const struct ht_place *place,
                         struct ht_text *out)
{
    if (place->source > 0)
        ht_text_printf(out, "argument '%s'", d->arguments[place->source - 1]);
    else if (place->at.line > 0)
        ht_text_printf(out, "%s:%d:%d", d->path, place->at.line, place->at.column);
    else
        ht_text_printf(out, "%s", d->path);
}

static void append_message(const struct ht_diagnostic *item, struct ht_text *out)
{
    ht_text_printf(out, "%s", item->message);
    if (item->variant)
        ht_text_printf(out, ", in variant '%s'", item->variant);
}

static void report_all(const struct ht_diagnostics *d, struct ht_text *report)
{
    size_t total = d->n + d->n_dropped, shown = d->n < MAX_SHOWN ? d->n : MAX_SHOWN;
    for (size_t i = 0; i < shown; i++) {
        append_place(d, &d->list[i].place, report);
        ht_text_printf(report, ": error: ");
        append_message(&d->list[i], report);
        ht_text_printf(report, "\n");
        if (d->list[i].place.source == 0 && d->list[i].place.at.line > 0)
            ht_diagnostics_excerpt(d->text, d->length, d->list[i].place.at, report);
    }
    if (total > shown)
        ht_text_printf(report, "... and %zu more\n", total - shown);
    ht_text_printf(report, "%zu error%s\n", total, total == 1 ? "" : "s");
}

enum ht_status ht_diagnostics_report(struct ht_diagnostics *d, struct ht_text *report,
                                     struct ht_error *err)
{
    if (d->out_of_memory)
        return ht_fail_memory(err);
    if (d->n == 0)
        return HT_OK;
    qsort(d->list, d->n, sizeof *d->list, compare_diagnostics);
    struct ht_text first = {0};
    append_place(d, &d->list[0].place, &first);
    ht_text_printf(&first, ": ");
    append_message(&d->list[0], &first);
    if (report)
        report_all(d, report);
    bool failed = first.failed || (report && report->failed);
    enum ht_status status =
        failed ? ht_fail_memory(err) : ht_fail(err, HT_ERR_CONFIG, "%s", ht_text_str(&first));
    ht_text_finish(&first);
    return status;
}

void ht_diagnostics_finish(struct ht_diagnostics *d)
{
    for (size_t i = 0; i < d->n; i++)
        ht_free(d->list[i].message);
    ht_free(d->list);
    d->list = NULL;
    d->n = d->capacity = 0;
}
