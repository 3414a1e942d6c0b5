/* Private to src/export: the writer of safetensors (struct ht_export_format). */
#ifndef HT_EXPORT_SAFETENSORS_H
#define HT_EXPORT_SAFETENSORS_H

#include "export/export.h"

/* Integer models, and float32 networks with PyTorch's names. */
enum ht_status ht_export_safetensors(const struct ht_export_source *source,
                                     const struct ht_export_options *options, const char *path,
                                     struct ht_error *err);

#endif
