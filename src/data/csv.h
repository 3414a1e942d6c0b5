/* Records of a CSV file (RFC 4180, plus other delimiters). Private to this room. */
#ifndef HT_DATA_CSV_H
#define HT_DATA_CSV_H

#include "data/loading.h"

struct ht_csv;

/* delimiter: as in the descriptor. */
enum ht_status ht_csv_open(struct ht_csv **ret, const char *path, const char *delimiter,
                           struct ht_error *err);
void ht_csv_close(struct ht_csv *c);
/* Leaves out n lines. */
enum ht_status ht_csv_skip(struct ht_csv *c, size_t n, struct ht_error *err);
/* The next record: *n fields, 0 at the end of the file. Empty lines at the end of the file are not
 * records; anywhere else they are an error. */
enum ht_status ht_csv_next(struct ht_csv *c, size_t *n, struct ht_error *err);
/* Field i of the current record, NUL-terminated, quotes and surrounding blanks removed; valid until
 * the next record. */
const char *ht_csv_field(const struct ht_csv *c, size_t i);
/* Number of the current record in the file, from 1, skipped lines and header included. */
size_t ht_csv_row(const struct ht_csv *c);
const char *ht_csv_path(const struct ht_csv *c);

#endif
