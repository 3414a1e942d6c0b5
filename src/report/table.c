#include "report/table.h"

#include <string.h>

#include "base/alloc.h"
#include "report/human.h"
#include "report/table_internal.h"
#include "report/terminal.h"

static const char *const format_names[] = {
    [HT_OUTPUT_TABLE] = "table", [HT_OUTPUT_JSON] = "json", [HT_OUTPUT_JSONL] = "jsonl",
    [HT_OUTPUT_CSV] = "csv",     [HT_OUTPUT_MD] = "md",
};

enum ht_status ht_output_format_parse(const char *name, enum ht_output_format *ret,
                                      struct ht_error *err)
{
    const size_t n = sizeof format_names / sizeof *format_names;
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, format_names[i]) == 0) {
            *ret = (enum ht_output_format)i;
            return HT_OK;
        }
    const char *near = ht_nearest_name(name, format_names, n);
    return ht_fail(err, HT_ERR_CONFIG,
                   "unknown output format \"%s\" (table, json, jsonl, csv or md)%s%s%s", name,
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

enum ht_status ht_table_create(struct ht_table **ret, const struct ht_column *columns, size_t n,
                               struct ht_error *err)
{
    struct ht_table *t = ht_calloc(1, sizeof *t);
    if (!t)
        return ht_fail_memory(err);
    t->columns = columns;
    t->n_columns = n;
    *ret = t;
    return HT_OK;
}

void ht_table_destroy(struct ht_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_rows * t->n_columns; i++)
        ht_free(t->cells[i].text);
    ht_free(t->cells);
    ht_free(t);
}

size_t ht_table_rows(const struct ht_table *t)
{
    return t->n_rows;
}

void ht_table_add_row(struct ht_table *t)
{
    size_t n;
    if (t->status)
        return;
    struct ht_cell *cells = NULL;
    if (ht_mul_size(t->n_rows + 1, t->n_columns, &n))
        cells = ht_grow(t->cells, n, sizeof *cells);
    if (!cells) {
        t->status = HT_ERR_MEMORY;
        return;
    }
    t->cells = cells;
    for (size_t i = n - t->n_columns; i < n; i++)
        cells[i] = (struct ht_cell){0};
    t->n_rows++;
}

/* The cell of the last row in a column of one of `kinds` (a set of bits); NULL and a sticky failure
 * when there is none: a slip of the caller. */
static struct ht_cell *find_cell(struct ht_table *t, const char *key, unsigned kinds)
{
    if (t->status)
        return NULL;
    for (size_t i = 0; t->n_rows && i < t->n_columns; i++)
        if (strcmp(t->columns[i].key, key) == 0 && (kinds >> t->columns[i].kind & 1)) {
            struct ht_cell *cell = &t->cells[(t->n_rows - 1) * t->n_columns + i];
            ht_free(cell->text);
            *cell = (struct ht_cell){.set = true};
            return cell;
        }
    t->status = HT_ERR_INTERNAL;
    snprintf(t->wrong_key, sizeof t->wrong_key, "%s", key);
    return NULL;
}

void ht_table_set_text(struct ht_table *t, const char *key, const char *text)
{
    struct ht_cell *cell = find_cell(t, key, 1u << HT_COLUMN_TEXT);
    if (!cell)
        return;
    cell->set = text != NULL;
    cell->text = text ? ht_strdup(text) : NULL;
    if (text && !cell->text)
        t->status = HT_ERR_MEMORY;
}

void ht_table_set_integer(struct ht_table *t, const char *key, int64_t value)
{
    struct ht_cell *cell = find_cell(t, key, 1u << HT_COLUMN_INTEGER | 1u << HT_COLUMN_BYTES);
    if (cell)
        cell->integer = value;
}

void ht_table_set_real(struct ht_table *t, const char *key, double value)
{
    struct ht_cell *cell =
        find_cell(t, key, 1u << HT_COLUMN_REAL | 1u << HT_COLUMN_PERCENT | 1u << HT_COLUMN_SECONDS);
    if (cell)
        cell->real = value;
}

void ht_table_set_bool(struct ht_table *t, const char *key, bool value)
{
    struct ht_cell *cell = find_cell(t, key, 1u << HT_COLUMN_BOOL);
    if (cell)
        cell->integer = value;
}

void ht_table_set_stat(struct ht_table *t, const char *key, double mean, double std, size_t n)
{
    struct ht_cell *cell = find_cell(t, key, 1u << HT_COLUMN_STAT | 1u << HT_COLUMN_STAT_PERCENT);
    if (!cell)
        return;
    cell->real = mean;
    cell->std = std;
    cell->n = n;
}

enum ht_status ht_table_print(const struct ht_table *t, enum ht_output_format format,
                              const struct ht_table_style *style, struct ht_text *out,
                              struct ht_error *err)
{
    if (t->status == HT_ERR_MEMORY)
        return ht_fail_memory(err);
    if (t->status)
        return ht_fail(err, t->status, "table: no cell \"%s\" of that kind", t->wrong_key);
    switch (format) {
    case HT_OUTPUT_TABLE:
        ht_table_print_text(t, style ? style : &(struct ht_table_style){0}, out);
        break;
    case HT_OUTPUT_JSON:
        ht_table_print_json(t, out);
        break;
    case HT_OUTPUT_JSONL:
        ht_table_print_jsonl(t, out);
        break;
    case HT_OUTPUT_CSV:
        ht_table_print_csv(t, out);
        break;
    case HT_OUTPUT_MD:
        ht_table_print_md(t, out);
        break;
    }
    return out->failed ? ht_fail_memory(err) : HT_OK;
}

enum ht_status ht_table_write(const struct ht_table *t, enum ht_output_format format, FILE *file,
                              struct ht_error *err)
{
    struct ht_terminal terminal = ht_terminal_of(file);
    struct ht_table_style style = {.bold = terminal.color, .width = terminal.width};
    struct ht_text text = {0};
    enum ht_status status = ht_table_print(t, format, &style, &text, err);
    if (status == HT_OK &&
        (fwrite(ht_text_str(&text), 1, text.len, file) != text.len || fflush(file) != 0))
        status = ht_fail_errno(err, "cannot write", "the output");
    ht_text_finish(&text);
    return status;
}
