/* The built-in descriptors: datasets/NAME.yaml of the source tree, embedded by embed.py. */
#ifndef HT_CONFIG_BUILTIN_H
#define HT_CONFIG_BUILTIN_H

#include <stddef.h>

extern const size_t ht_builtin_count;
extern const char *const ht_builtin_names[]; /* [ht_builtin_count] */
extern const struct ht_builtin_text {
    const unsigned char *text;
    size_t length;
} ht_builtin_texts[]; /* [ht_builtin_count] */

#endif
