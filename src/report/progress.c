#include "report/progress.h"

#include <string.h>

#include "report/human.h"

enum { BAR_WIDTH = 20, LINE_BYTES = 640 };
static const double redraw_every = 0.1; /* seconds, on a terminal */
static const double line_every = 10;    /* seconds, elsewhere */

/* Appends what fits; line is always NUL-terminated. */
static void append(char line[LINE_BYTES], const char *s)
{
    size_t used = strlen(line);
    snprintf(line + used, LINE_BYTES - used, "%s", s);
}

/* The same for text of unknown origin; `separator` goes before it when it is not the first part. */
static void append_part(char line[LINE_BYTES], const char *separator, const char *s)
{
    if (!s || !*s)
        return;
    append(line, *line ? separator : "");
    size_t used = strlen(line);
    while (*s) {
        struct ht_character c = ht_utf8_next(s);
        if (used + c.bytes >= LINE_BYTES)
            break;
        if (ht_utf8_is_control(c.code))
            line[used++] = ' ';
        else if (c.code == 0xfffd)
            line[used++] = '?';
        else {
            memcpy(line + used, s, c.bytes);
            used += c.bytes;
        }
        s += c.bytes;
    }
    line[used] = '\0';
}

static void append_bar(char line[LINE_BYTES], uint64_t done, uint64_t total)
{
    char bar[BAR_WIDTH + 3];
    unsigned filled = (unsigned)((double)done / (double)total * BAR_WIDTH);
    bar[0] = '[';
    for (unsigned i = 0; i < BAR_WIDTH; i++)
        bar[1 + i] = i < filled ? '=' : i == filled ? '>' : ' ';
    bar[BAR_WIDTH + 1] = ']';
    bar[BAR_WIDTH + 2] = '\0';
    append_part(line, " ", bar);
}

/* Seconds to go at the pace so far; negative while not known. */
static double time_left(const struct ht_progress *p, double now, uint64_t done, uint64_t total)
{
    if (!total || done <= p->first || now <= p->start)
        return -1;
    return (now - p->start) * (double)(total - done) / (double)(done - p->first);
}

static void compose(const struct ht_progress *p, double now, uint64_t done, uint64_t total,
                    const char *text, char line[LINE_BYTES])
{
    const char *separator = p->terminal.is_terminal ? "  " : ", ";
    char part[64];
    line[0] = '\0';
    append_part(line, "", p->label);
    if (*line)
        append(line, ":");
    const size_t lead = strlen(line);
    if (total) {
        if (p->terminal.is_terminal && p->terminal.width >= 60)
            append_bar(line, done, total);
        snprintf(part, sizeof part, "%3.0f%%", 100 * (double)done / (double)total);
        append_part(line, " ", part);
    } else if (done) {
        append_part(line, " ", ht_human_count((int64_t)done).s);
    }
    if (p->epochs) {
        snprintf(part, sizeof part, "epoch %u/%u", p->epoch, p->epochs);
        append_part(line, strlen(line) > lead ? separator : " ", part);
    }
    append_part(line, strlen(line) > lead ? separator : " ", text);
    double left = time_left(p, now, done, total);
    if (left >= 0 && done < total) {
        snprintf(part, sizeof part, "%s left", ht_human_seconds(left < 1 ? 1 : left).s);
        append_part(line, separator, part);
    }
}

/* Redraws in place: one write, so that the line never flickers half drawn. */
static void draw(struct ht_progress *p, char line[LINE_BYTES])
{
    char out[LINE_BYTES + 32];
    p->terminal = ht_terminal_of(p->file); /* it may have been resized */
    /* One column stays free: writing the last one wraps on some terminals. */
    line[ht_utf8_prefix(line, p->terminal.width > 1 ? p->terminal.width - 1 : 1)] = '\0';
    size_t lead = strlen(p->label);
    if (p->terminal.color && lead && strncmp(line, p->label, lead) == 0)
        snprintf(out, sizeof out, "\r\x1b[1m%s\x1b[0m%s\x1b[K", p->label, line + lead);
    else
        snprintf(out, sizeof out, "\r%s\x1b[K", line);
    fputs(out, p->file);
    fflush(p->file);
    p->on_screen = true;
}

static void clear(struct ht_progress *p)
{
    if (p->on_screen)
        fputs("\r\x1b[K", p->file);
    p->on_screen = false;
}

static void show(struct ht_progress *p, double now, uint64_t done, uint64_t total, const char *text,
                 bool always)
{
    char line[LINE_BYTES];
    if (!p->file)
        return;
    if (!p->updated) {
        p->updated = true;
        p->first = done;
    }
    done = total && done > total ? total : done;
    double every = p->terminal.is_terminal ? redraw_every : line_every;
    /* Elsewhere than on a terminal the first line waits as well: a short run says nothing. */
    double since = p->drawn || !p->terminal.is_terminal ? now - p->shown : every;
    if (!always && since < every)
        return;
    compose(p, now, done, total, text, line);
    if (p->terminal.is_terminal) {
        draw(p, line);
    } else {
        fprintf(p->file, "%s\n", line);
        fflush(p->file);
    }
    p->drawn = true;
    p->shown = now;
}

void ht_progress_begin(struct ht_progress *p, FILE *file, bool quiet, const char *label, double now)
{
    *p = (struct ht_progress){.file = quiet ? NULL : file, .start = now, .shown = now};
    if (p->file)
        p->terminal = ht_terminal_of(file);
    ht_progress_label(p, label);
}

void ht_progress_label(struct ht_progress *p, const char *label)
{
    char line[LINE_BYTES] = "";
    append_part(line, "", label);
    line[ht_utf8_prefix(line, 40)] = '\0';
    /* 40 columns can be more bytes than the label holds. */
    size_t n = 0;
    while (line[n]) {
        struct ht_character c = ht_utf8_next(line + n);
        if (n + c.bytes >= sizeof p->label)
            break;
        n += c.bytes;
    }
    memcpy(p->label, line, n);
    p->label[n] = '\0';
}

void ht_progress_epoch(struct ht_progress *p, unsigned epoch, unsigned epochs)
{
    p->epoch = epoch;
    p->epochs = epochs;
}

void ht_progress_update(struct ht_progress *p, double now, uint64_t done, uint64_t total,
                        const char *text)
{
    show(p, now, done, total, text, false);
}

void ht_progress_milestone(struct ht_progress *p, double now, uint64_t done, uint64_t total,
                           const char *text)
{
    show(p, now, done, total, text, true);
}

void ht_progress_say(struct ht_progress *p, const char *text)
{
    char line[LINE_BYTES] = "";
    if (!p->file)
        return;
    clear(p);
    append_part(line, "", text);
    fprintf(p->file, "%s\n", line);
    fflush(p->file);
    p->drawn = false; /* the next update draws the bar again */
}

void ht_progress_end(struct ht_progress *p, double now, const char *text)
{
    if (!p->file)
        return;
    clear(p);
    if (text) {
        char line[LINE_BYTES] = "";
        append_part(line, "", p->label);
        append_part(line, ": ", text);
        append_part(line, ", ", "took ");
        append(line, ht_human_seconds(now - p->start).s);
        fprintf(p->file, "%s\n", line);
    }
    fflush(p->file);
    p->file = NULL;
}
