/* Growing text, and the nearest name for did-you-mean. */
#ifndef HT_BASE_TEXT_H
#define HT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* A growing, always NUL-terminated string. Zero-initialize; ht_text_finish frees it. When memory
 * runs out the text stays as it was, `failed` is set, and later appends do nothing. */
struct ht_text {
    char *s; /* NULL while empty: use ht_text_str */
    size_t len, cap;
    bool failed;
};

void ht_text_append(struct ht_text *t, const char *s, size_t n);
void ht_text_printf(struct ht_text *t, const char *fmt, ...) HT_PRINTF(2, 3);
const char *ht_text_str(const struct ht_text *t);
void ht_text_finish(struct ht_text *t);

/* The entry of names[n] with the smallest edit distance to `name` (ASCII case ignored, a swap of
 * neighbours counts 1), or NULL when none is near enough to be a slip. Entries may be NULL. */
const char *ht_nearest_name(const char *name, const char *const *names, size_t n);

#endif
