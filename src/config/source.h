/* The text of a YAML file: at most 1 MiB; "-" is standard input. */
#ifndef HT_CONFIG_SOURCE_H
#define HT_CONFIG_SOURCE_H

#include <stddef.h>

#include "base/error.h"

/* *text is owned by the caller and NUL-terminated; HT_ERR_IO, HT_ERR_CONFIG when too large. */
enum ht_status ht_source_read(const char *path, char **text, size_t *length, struct ht_error *err);

/* Drops a byte order mark, which is no part of the text. */
void ht_source_skip_mark(const char **text, size_t *length);

#endif
