/* Private to src/qmodel: what save and load agree on (docs/file-format.md). */
#ifndef HT_QMODEL_FILE_H
#define HT_QMODEL_FILE_H

#include "qmodel/qmodel.h"

#define HT_FILE_KIND         "model"
#define HT_FILE_FORMAT       "halftone model"
#define HT_FILE_LAYER        "/layers/%02zu_%s" /* index, name */
#define HT_FILE_NEAREST_EVEN "nearest_even"
#define HT_FILE_FLOOR        "floor"
#define HT_FILE_CODES        "codes"
#define HT_FILE_REAL         "real"
#define HT_FILE_DYNAMIC      "dynamic"
#define HT_FILE_GROUP        96 /* bytes of a layer's path */
#define HT_FILE_PATH         128

/* Of one layer's codes: containers refuse vectors longer than this. */
#define HT_FILE_MAX_BYTES (1 << 24)

/* group/name into path[HT_FILE_PATH]; returns path. */
const char *ht_file_path(char *path, const char *group, const char *name);

/* How an input or output is passed on: codes, real, dynamic. */
extern const char *const ht_file_kinds[3];

/* level[256] of every code of a grid; returns how many there are: none for float16. */
int ht_file_level_table(const struct ht_grid *g, int32_t *level);

#endif
