/* Tables of results: filled once, printed for people (table, md) or for programs (json, jsonl,
 * csv).
 *
 *     static const struct ht_column columns[] = {
 *         {.key = "name", .title = "variant", .kind = HT_COLUMN_TEXT},
 *         {.key = "integer_accuracy", .title = "integer\naccuracy", .kind = HT_COLUMN_STAT_PERCENT,
 *          .digits = 2},
 *         {.key = "latency_us_batch1", .title = "latency", .kind = HT_COLUMN_SECONDS, .unit =
 * 1e-6},
 *     };
 *     ht_table_create(&table, columns, 3, err);
 *     ht_table_add_row(table);
 *     ht_table_set_text(table, "name", "w4a8");
 *     ht_table_set_stat(table, "integer_accuracy", 0.8841, 0.0012, 3);
 *     ht_table_write(table, HT_OUTPUT_TABLE, stdout, err);
 *
 * Building is sticky: the first failure is reported by ht_table_print or ht_table_write. */
#ifndef HT_REPORT_TABLE_H
#define HT_REPORT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/text.h"

enum ht_output_format {
    HT_OUTPUT_TABLE, /* aligned text */
    HT_OUTPUT_JSON,  /* one array of objects */
    HT_OUTPUT_JSONL, /* one object a line */
    HT_OUTPUT_CSV, /* RFC 4180 with LF line ends; a stat is three columns key_mean,key_std,key_n */
    HT_OUTPUT_MD   /* a GitHub table */
};

/* HT_ERR_CONFIG with did-you-mean when there is no such format. */
enum ht_status ht_output_format_parse(const char *name, enum ht_output_format *ret,
                                      struct ht_error *err);

/* How a value is shown to people; programs get the plain number at full precision. */
enum ht_column_kind {
    HT_COLUMN_TEXT,
    HT_COLUMN_INTEGER,     /* 335,114 */
    HT_COLUMN_REAL,        /* `digits` after the point */
    HT_COLUMN_PERCENT,     /* set as a fraction: 0.8841 is shown as 88.41% */
    HT_COLUMN_BYTES,       /* an integer: 271.5 KiB */
    HT_COLUMN_SECONDS,     /* a real, in units of `unit` seconds: 1 m 23 s */
    HT_COLUMN_BOOL,        /* yes, no */
    HT_COLUMN_STAT,        /* mean ± std over n, `digits` after the point; std only when n > 1 */
    HT_COLUMN_STAT_PERCENT /* the same of fractions */
};

enum ht_column_align { HT_ALIGN_BY_KIND, HT_ALIGN_LEFT, HT_ALIGN_RIGHT };

enum ht_column_flags {
    HT_COLUMN_MACHINE_ONLY = 1, /* in json, jsonl and csv only */
    HT_COLUMN_HUMAN_ONLY = 2    /* in table and md only */
};

struct ht_column {
    const char *key;   /* lower_case name for programs */
    const char *title; /* for people; '\n' breaks the heading; NULL = key */
    enum ht_column_kind kind;
    unsigned digits;
    double unit; /* seconds in one unit of HT_COLUMN_SECONDS; 0 = 1 */
    enum ht_column_align align;
    unsigned flags; /* of enum ht_column_flags */
};

struct ht_table;

/* columns[n] is borrowed for the life of the table. *ret is owned by the caller. */
enum ht_status ht_table_create(struct ht_table **ret, const struct ht_column *columns, size_t n,
                               struct ht_error *err);
void ht_table_destroy(struct ht_table *table);

/* Cells of a new row are missing ("-", empty or null) until set. The setters fill the last row; the
 * kind of the column must fit. Text is copied; NULL leaves the cell missing. Reals that are not
 * finite become null for programs. */
void ht_table_add_row(struct ht_table *table);
void ht_table_set_text(struct ht_table *table, const char *key, const char *text);
void ht_table_set_integer(struct ht_table *table, const char *key, int64_t value);
void ht_table_set_real(struct ht_table *table, const char *key, double value);
void ht_table_set_bool(struct ht_table *table, const char *key, bool value);
void ht_table_set_stat(struct ht_table *table, const char *key, double mean, double std, size_t n);

size_t ht_table_rows(const struct ht_table *table);

struct ht_table_style {
    bool bold;      /* escape sequences around the heading */
    unsigned width; /* long texts are shortened to fit; numbers never are; 0 = no limit */
};

/* Appends the table to out. style may be NULL (plain, no limit) and matters for HT_OUTPUT_TABLE
 * only. Fails with HT_ERR_MEMORY, or HT_ERR_INTERNAL after a setter was called with a wrong key. */
enum ht_status ht_table_print(const struct ht_table *table, enum ht_output_format format,
                              const struct ht_table_style *style, struct ht_text *out,
                              struct ht_error *err);

/* Prints to a stream in the style that fits it, and flushes; HT_ERR_IO when it cannot be written.
 */
enum ht_status ht_table_write(const struct ht_table *table, enum ht_output_format format,
                              FILE *file, struct ht_error *err);

#endif
