/* Private to src/export: the writer of C code (struct ht_export_format). */
#ifndef HT_EXPORT_C_H
#define HT_EXPORT_C_H

#include "export/export.h"

/* docs/c-export.md: PREFIX.h and PREFIX.c in the folder `path`, made if it is missing. Each is
 * written whole or not at all; files of these names that are not of ours are left alone. */
enum ht_status ht_export_c(const struct ht_export_source *source,
                           const struct ht_export_options *options, const char *path,
                           struct ht_error *err);

#endif
