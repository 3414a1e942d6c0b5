/* Tables for people: aligned text and Markdown. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "report/human.h"
#include "report/table_internal.h"

static const char gap[] = "  ";

bool ht_column_is_right(const struct ht_column *c)
{
    if (c->align == HT_ALIGN_BY_KIND)
        return c->kind != HT_COLUMN_TEXT && c->kind != HT_COLUMN_BOOL;
    return c->align == HT_ALIGN_RIGHT;
}

static bool is_shown(const struct ht_column *c)
{
    return !(c->flags & HT_COLUMN_MACHINE_ONLY);
}

static const char *title_of(const struct ht_column *c)
{
    return c->title ? c->title : c->key;
}

/* Text from outside: control characters could move the cursor, invalid bytes upset terminals. */
static void append_clean(struct ht_text *out, const char *s)
{
    while (*s) {
        struct ht_character c = ht_utf8_next(s);
        if (ht_utf8_is_control(c.code))
            ht_text_append(out, " ", 1);
        else if (c.code == 0xfffd)
            ht_text_append(out, "\xef\xbf\xbd", 3);
        else
            ht_text_append(out, s, c.bytes);
        s += c.bytes;
    }
}

static void print_number(struct ht_text *out, double v, unsigned digits)
{
    if (isfinite(v))
        ht_text_printf(out, "%.*f", (int)digits, v);
    else
        ht_text_printf(out, "%s", isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
}

void ht_cell_print_human(const struct ht_column *column, const struct ht_cell *cell,
                         struct ht_text *out)
{
    double unit = column->unit > 0 ? column->unit : 1;
    bool percent = column->kind == HT_COLUMN_PERCENT || column->kind == HT_COLUMN_STAT_PERCENT;
    double factor = percent ? 100 : 1;
    /* A mean of nothing is no number to look at. */
    if (!cell->set || (ht_column_is_stat(column) && cell->n == 0)) {
        ht_text_append(out, "-", 1);
        return;
    }
    switch (column->kind) {
    case HT_COLUMN_TEXT:
        append_clean(out, cell->text);
        break;
    case HT_COLUMN_INTEGER:
        ht_text_printf(out, "%s", ht_human_count(cell->integer).s);
        break;
    case HT_COLUMN_BYTES:
        ht_text_printf(out, "%s", ht_human_bytes((uint64_t)cell->integer).s);
        break;
    case HT_COLUMN_SECONDS:
        ht_text_printf(out, "%s", ht_human_seconds(cell->real * unit).s);
        break;
    case HT_COLUMN_BOOL:
        ht_text_printf(out, "%s", cell->integer ? "yes" : "no");
        break;
    case HT_COLUMN_REAL:
    case HT_COLUMN_PERCENT:
    case HT_COLUMN_STAT:
    case HT_COLUMN_STAT_PERCENT:
        print_number(out, cell->real * factor, column->digits);
        if (ht_column_is_stat(column) && cell->n > 1) {
            ht_text_printf(out, " ± ");
            print_number(out, cell->std * factor, column->digits);
        }
        if (percent)
            ht_text_append(out, "%", 1);
        break;
    }
}

/* ---- aligned text ---- */

/* Line `line` of a title; false when it has fewer. */
static bool title_line(const char *title, size_t line, const char **s, size_t *len)
{
    for (; line > 0; line--) {
        title = strchr(title, '\n');
        if (!title)
            return false;
        title++;
    }
    *s = title;
    *len = strcspn(title, "\n");
    return true;
}

static size_t title_lines(const char *title)
{
    size_t n = 1;
    for (; (title = strchr(title, '\n')); title++)
        n++;
    return n;
}

/* Writes s[0..len) padded, or shortened with an ellipsis, to exactly `width` columns. The last
 * column of a line is not padded. */
static void print_field(struct ht_text *out, const char *s, size_t len, size_t width, bool right,
                        bool last)
{
    struct ht_text field = {0};
    ht_text_append(&field, s, len);
    size_t used = ht_utf8_width(ht_text_str(&field));
    if (used > width) {
        size_t n = ht_utf8_prefix(ht_text_str(&field), width - 1);
        char *end = field.s + n;
        *end = '\0';
        field.len = n;
        ht_text_append(&field, "…", strlen("…"));
        used = ht_utf8_width(ht_text_str(&field));
    }
    int pad = (int)(width - used);
    if (right)
        ht_text_printf(out, "%*s", pad, "");
    ht_text_append(out, ht_text_str(&field), field.len);
    if (!right && !last)
        ht_text_printf(out, "%*s", pad, "");
    out->failed |= field.failed;
    ht_text_finish(&field);
}

static void measure(const struct ht_table *t, size_t *widths, bool *failed)
{
    struct ht_text cell = {0};
    for (size_t c = 0; c < t->n_columns; c++) {
        const char *s;
        size_t len;
        widths[c] = 1;
        for (size_t line = 0; title_line(title_of(&t->columns[c]), line, &s, &len); line++) {
            cell.len = 0;
            ht_text_append(&cell, s, len);
            size_t w = ht_utf8_width(ht_text_str(&cell));
            widths[c] = w > widths[c] ? w : widths[c];
        }
        for (size_t r = 0; r < t->n_rows; r++) {
            cell.len = 0;
            ht_text_append(&cell, "", 0);
            ht_cell_print_human(&t->columns[c], &t->cells[r * t->n_columns + c], &cell);
            size_t w = ht_utf8_width(ht_text_str(&cell));
            widths[c] = w > widths[c] ? w : widths[c];
        }
    }
    *failed |= cell.failed;
    ht_text_finish(&cell);
}

/* Takes columns away from the widest text until the table fits or all texts are short. */
static void shrink(const struct ht_table *t, size_t *widths, size_t limit)
{
    enum { shortest = 8 };
    for (;;) {
        size_t total = 0, shown = 0, widest = t->n_columns;
        for (size_t c = 0; c < t->n_columns; c++) {
            if (!is_shown(&t->columns[c]))
                continue;
            total += widths[c] + (shown++ ? strlen(gap) : 0);
            if (t->columns[c].kind == HT_COLUMN_TEXT && widths[c] > shortest &&
                (widest == t->n_columns || widths[c] > widths[widest]))
                widest = c;
        }
        if (total <= limit || widest == t->n_columns)
            return;
        size_t room = widths[widest] - shortest, over = total - limit;
        size_t step = (over + 3) / 4; /* a part at a time, so that texts of equal width share */
        widths[widest] -= step < room ? step : room;
    }
}

static void print_heading(const struct ht_table *t, const struct ht_table_style *style,
                          const size_t *widths, size_t last, struct ht_text *out)
{
    size_t lines = 1;
    for (size_t c = 0; c < t->n_columns; c++)
        if (is_shown(&t->columns[c])) {
            size_t n = title_lines(title_of(&t->columns[c]));
            lines = n > lines ? n : lines;
        }
    for (size_t line = 0; line < lines; line++) {
        ht_text_printf(out, "%s", style->bold ? "\x1b[1m" : "");
        for (size_t c = 0; c <= last; c++) {
            const struct ht_column *column = &t->columns[c];
            const char *s = "";
            size_t len = 0, blank;
            if (!is_shown(column))
                continue;
            /* Short titles stand on the line above the rule. */
            blank = lines - title_lines(title_of(column));
            if (line >= blank)
                title_line(title_of(column), line - blank, &s, &len);
            print_field(out, s, len, widths[c], ht_column_is_right(column), c == last);
            ht_text_printf(out, "%s", c == last ? "" : gap);
        }
        while (out->len && out->s[out->len - 1] == ' ')
            out->s[--out->len] = '\0';
        ht_text_printf(out, "%s\n", style->bold ? "\x1b[0m" : "");
    }
    for (size_t c = 0; c <= last; c++) {
        if (!is_shown(&t->columns[c]))
            continue;
        for (size_t i = 0; i < widths[c]; i++)
            ht_text_append(out, "-", 1);
        ht_text_printf(out, "%s", c == last ? "\n" : gap);
    }
}

void ht_table_print_text(const struct ht_table *t, const struct ht_table_style *style,
                         struct ht_text *out)
{
    size_t last = t->n_columns;
    for (size_t c = 0; c < t->n_columns; c++)
        if (is_shown(&t->columns[c]))
            last = c;
    if (last == t->n_columns)
        return;
    size_t *widths = ht_calloc(t->n_columns, sizeof *widths);
    if (!widths) {
        out->failed = true;
        return;
    }
    measure(t, widths, &out->failed);
    if (style->width)
        shrink(t, widths, style->width);
    print_heading(t, style, widths, last, out);
    struct ht_text cell = {0};
    for (size_t r = 0; r < t->n_rows; r++)
        for (size_t c = 0; c <= last; c++) {
            const struct ht_column *column = &t->columns[c];
            if (!is_shown(column))
                continue;
            cell.len = 0;
            ht_text_append(&cell, "", 0);
            ht_cell_print_human(column, &t->cells[r * t->n_columns + c], &cell);
            print_field(out, ht_text_str(&cell), cell.len, widths[c], ht_column_is_right(column),
                        c == last);
            ht_text_printf(out, "%s", c == last ? "\n" : gap);
        }
    out->failed |= cell.failed;
    ht_text_finish(&cell);
    ht_free(widths);
}

/* ---- Markdown ---- */

static void append_md(struct ht_text *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '|' || *s == '\\')
            ht_text_append(out, "\\", 1);
        ht_text_append(out, *s == '\n' ? " " : s, 1);
    }
}

void ht_table_print_md(const struct ht_table *t, struct ht_text *out)
{
    struct ht_text cell = {0};
    for (size_t c = 0; c < t->n_columns; c++)
        if (is_shown(&t->columns[c])) {
            ht_text_printf(out, "| ");
            append_md(out, title_of(&t->columns[c]));
            ht_text_printf(out, " ");
        }
    ht_text_printf(out, "|\n");
    for (size_t c = 0; c < t->n_columns; c++)
        if (is_shown(&t->columns[c]))
            ht_text_printf(out, "| %s ", ht_column_is_right(&t->columns[c]) ? "--:" : ":--");
    ht_text_printf(out, "|\n");
    for (size_t r = 0; r < t->n_rows; r++) {
        for (size_t c = 0; c < t->n_columns; c++) {
            if (!is_shown(&t->columns[c]))
                continue;
            cell.len = 0;
            ht_text_append(&cell, "", 0);
            ht_cell_print_human(&t->columns[c], &t->cells[r * t->n_columns + c], &cell);
            ht_text_printf(out, "| ");
            append_md(out, ht_text_str(&cell));
            ht_text_printf(out, " ");
        }
        ht_text_printf(out, "|\n");
    }
    out->failed |= cell.failed;
    ht_text_finish(&cell);
}
