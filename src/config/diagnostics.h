/* Errors of one file and its key=value arguments: collected, put in order, shown with a caret. */
#ifndef HT_CONFIG_DIAGNOSTICS_H
#define HT_CONFIG_DIAGNOSTICS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"
#include "config/experiment.h"

/* Where something was written: source 0 is the file, source i is arguments[i - 1]. */
struct ht_place {
    int source;
    struct ht_source_position at;
};

struct ht_diagnostic {
    struct ht_place place;
    size_t sequence;     /* keeps errors of one place in the order they were found */
    const char *variant; /* borrowed; NULL = the base experiment */
    char *message;
};

/* Zero-initialize, then set the first four. */
struct ht_diagnostics {
    const char *path;
    const char *text; /* of the file, for the excerpts; [length] */
    size_t length;
    const char *const *arguments;
    const char *variant; /* the variant that is being read: named in its errors */
    struct ht_diagnostic *list;
    size_t n, capacity;
    size_t n_dropped; /* counted only, once the list is long */
    size_t n_added;   /* calls of add: `did anything go wrong since?` */
    bool out_of_memory;
};

/* Adds one error, unless the same was said of the same place before. */
void ht_diagnostics_add(struct ht_diagnostics *d, struct ht_place place, const char *fmt, ...)
    HT_PRINTF(3, 4);

/* HT_OK without errors. Otherwise the first into err and all of them, in order, into report (NULL
 * allowed). */
enum ht_status ht_diagnostics_report(struct ht_diagnostics *d, struct ht_text *report,
                                     struct ht_error *err);
void ht_diagnostics_finish(struct ht_diagnostics *d);

/* The source line of a position and a caret under its column, each indented by four spaces. */
void ht_diagnostics_excerpt(const char *text, size_t length, struct ht_source_position at,
                            struct ht_text *out);

/* Line and column (in characters) of a byte of the text. */
struct ht_source_position ht_diagnostics_position(const char *text, size_t length, size_t offset);

#endif
