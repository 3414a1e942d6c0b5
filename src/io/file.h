/* Whole files: read with a size limit, write atomically. */
#ifndef HT_IO_FILE_H
#define HT_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Reads a regular file of at most max_size bytes into *ret (owned; freed with ht_free; one NUL byte
 * follows the data). Missing or unreadable: HT_ERR_IO. */
enum ht_status ht_file_read(const char *path, size_t max_size, char **ret, size_t *size,
                            struct ht_error *err);

/* Temp file in the same folder (O_EXCL), write all, fsync, read back and compare, rename over path,
 * fsync the folder. On any failure the old file is as it was and no temp file stays. */
enum ht_status ht_file_write_atomic(const char *path, const void *data, size_t size,
                                    struct ht_error *err);

/* mkdir -p. */
enum ht_status ht_make_directories(const char *path, struct ht_error *err);
bool ht_file_exists(const char *path);

#endif
