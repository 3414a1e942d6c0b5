/* Plain rows of features from a user's file, for predictions: no labels, no descriptor. */
#ifndef HT_DATA_ROWS_H
#define HT_DATA_ROWS_H

#include <stddef.h>

#include "base/error.h"

/* Rows with `features` numbers each: CSV (header or not, plain or .gz; every column a feature), IDX
 * (plain or .gz, bytes) or HDF5, told by their first bytes. *rows: [n, features] raw values as
 * stored (bytes 0..255 for images), owned (ht_free). HT_ERR_DATA names file, row and column. */
enum ht_status ht_rows_read(float **rows, size_t *n, const char *path, size_t features,
                            struct ht_error *err);

#endif
