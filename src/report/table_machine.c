/* Tables for programs: JSON, JSON lines, CSV. Written by hand rather than through a JSON library so
 * that numbers are the shortest ones that read back exactly and columns keep their order. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report/human.h"
#include "report/table_internal.h"

bool ht_column_is_stat(const struct ht_column *c)
{
    return c->kind == HT_COLUMN_STAT || c->kind == HT_COLUMN_STAT_PERCENT;
}

bool ht_column_is_real(const struct ht_column *c)
{
    return c->kind == HT_COLUMN_REAL || c->kind == HT_COLUMN_PERCENT ||
           c->kind == HT_COLUMN_SECONDS;
}

static bool is_written(const struct ht_column *c)
{
    return !(c->flags & HT_COLUMN_HUMAN_ONLY);
}

static void print_real(struct ht_text *out, double v, const char *missing)
{
    ht_text_printf(out, "%s", isfinite(v) ? ht_human_exact(v).s : missing);
}

static void print_json_string(struct ht_text *out, const char *s)
{
    ht_text_append(out, "\"", 1);
    while (*s) {
        struct ht_character c = ht_utf8_next(s);
        if (c.code == '"' || c.code == '\\')
            ht_text_printf(out, "\\%c", (int)c.code);
        else if (c.code == '\n')
            ht_text_append(out, "\\n", 2);
        else if (c.code == '\t')
            ht_text_append(out, "\\t", 2);
        else if (ht_utf8_is_control(c.code) || c.code == 0xfffd)
            ht_text_printf(out, "\\u%04x", (unsigned)c.code);
        else
            ht_text_append(out, s, c.bytes);
        s += c.bytes;
    }
    ht_text_append(out, "\"", 1);
}

static void print_json_cell(struct ht_text *out, const struct ht_column *column,
                            const struct ht_cell *cell)
{
    if (!cell->set) {
        ht_text_printf(out, "null");
    } else if (ht_column_is_stat(column)) {
        ht_text_printf(out, "{\"mean\": ");
        print_real(out, cell->real, "null");
        ht_text_printf(out, ", \"std\": ");
        print_real(out, cell->std, "null");
        ht_text_printf(out, ", \"n\": %zu}", cell->n);
    } else if (ht_column_is_real(column)) {
        print_real(out, cell->real, "null");
    } else if (column->kind == HT_COLUMN_TEXT) {
        print_json_string(out, cell->text);
    } else if (column->kind == HT_COLUMN_BOOL) {
        ht_text_printf(out, "%s", cell->integer ? "true" : "false");
    } else {
        ht_text_printf(out, "%" PRId64, cell->integer);
    }
}

static void print_json_row(const struct ht_table *t, size_t row, struct ht_text *out)
{
    const char *comma = "";
    ht_text_printf(out, "{");
    for (size_t c = 0; c < t->n_columns; c++) {
        if (!is_written(&t->columns[c]))
            continue;
        ht_text_printf(out, "%s", comma);
        print_json_string(out, t->columns[c].key);
        ht_text_printf(out, ": ");
        print_json_cell(out, &t->columns[c], &t->cells[row * t->n_columns + c]);
        comma = ", ";
    }
    ht_text_printf(out, "}");
}

void ht_table_print_json(const struct ht_table *t, struct ht_text *out)
{
    ht_text_printf(out, "[");
    for (size_t r = 0; r < t->n_rows; r++) {
        ht_text_printf(out, "%s\n  ", r ? "," : "");
        print_json_row(t, r, out);
    }
    ht_text_printf(out, "%s]\n", t->n_rows ? "\n" : "");
}

void ht_table_print_jsonl(const struct ht_table *t, struct ht_text *out)
{
    for (size_t r = 0; r < t->n_rows; r++) {
        print_json_row(t, r, out);
        ht_text_printf(out, "\n");
    }
}

static void print_csv_string(struct ht_text *out, const char *s)
{
    if (!strpbrk(s, ",\"\r\n")) {
        ht_text_append(out, s, strlen(s));
        return;
    }
    ht_text_append(out, "\"", 1);
    for (; *s; s++)
        ht_text_append(out, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    ht_text_append(out, "\"", 1);
}

static void print_csv_cell(struct ht_text *out, const struct ht_column *column,
                           const struct ht_cell *cell)
{
    if (!cell->set) {
        ht_text_printf(out, "%s", ht_column_is_stat(column) ? ",," : "");
    } else if (ht_column_is_stat(column)) {
        print_real(out, cell->real, "");
        ht_text_printf(out, ",");
        print_real(out, cell->std, "");
        ht_text_printf(out, ",%zu", cell->n);
    } else if (column->kind == HT_COLUMN_TEXT) {
        print_csv_string(out, cell->text);
    } else if (ht_column_is_real(column)) {
        print_real(out, cell->real, "");
    } else {
        print_json_cell(out, column, cell);
    }
}

void ht_table_print_csv(const struct ht_table *t, struct ht_text *out)
{
    const char *comma = "";
    for (size_t c = 0; c < t->n_columns; c++) {
        const char *key = t->columns[c].key;
        if (!is_written(&t->columns[c]))
            continue;
        if (ht_column_is_stat(&t->columns[c]))
            ht_text_printf(out, "%s%s_mean,%s_std,%s_n", comma, key, key, key);
        else
            ht_text_printf(out, "%s%s", comma, key);
        comma = ",";
    }
    ht_text_printf(out, "\n");
    for (size_t r = 0; r < t->n_rows; r++) {
        comma = "";
        for (size_t c = 0; c < t->n_columns; c++) {
            if (!is_written(&t->columns[c]))
                continue;
            ht_text_printf(out, "%s", comma);
            print_csv_cell(out, &t->columns[c], &t->cells[r * t->n_columns + c]);
            comma = ",";
        }
        ht_text_printf(out, "\n");
    }
}
