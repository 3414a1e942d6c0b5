/* Inside of a table, shared by its builder and its printers. */
#ifndef HT_REPORT_TABLE_INTERNAL_H
#define HT_REPORT_TABLE_INTERNAL_H

#include "report/table.h"

struct ht_cell {
    bool set;
    char *text;       /* owned; HT_COLUMN_TEXT */
    int64_t integer;  /* also bool and bytes */
    double real, std; /* real is the mean of a stat */
    size_t n;
};

struct ht_table {
    const struct ht_column *columns; /* [n_columns] */
    size_t n_columns, n_rows;
    struct ht_cell *cells; /* [n_rows, n_columns] */
    enum ht_status status; /* first failure of the building */
    char wrong_key[64];
};

/* The text of a cell for people; HT_COLUMN_TEXT is copied with control characters replaced. */
void ht_cell_print_human(const struct ht_column *column, const struct ht_cell *cell,
                         struct ht_text *out);

bool ht_column_is_stat(const struct ht_column *column);
bool ht_column_is_real(const struct ht_column *column);
bool ht_column_is_right(const struct ht_column *column);

/* The printers; they trust the table and report through out->failed. */
void ht_table_print_text(const struct ht_table *t, const struct ht_table_style *style,
                         struct ht_text *out);
void ht_table_print_md(const struct ht_table *t, struct ht_text *out);
void ht_table_print_json(const struct ht_table *t, struct ht_text *out);
void ht_table_print_jsonl(const struct ht_table *t, struct ht_text *out);
void ht_table_print_csv(const struct ht_table *t, struct ht_text *out);

#endif
