/* Internal half of <halftone/error.h>: how modules report failures. */
#ifndef HT_BASE_ERROR_H
#define HT_BASE_ERROR_H

#include <halftone/error.h>

#if defined(__GNUC__)
#define HT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define HT_PRINTF(fmt, args)
#endif

/* Writes code and message into err (NULL allowed) and returns code, so that
 * `return ht_fail(err, HT_ERR_DATA, "...")` reads as one step. Long messages are cut. */
enum ht_status ht_fail(struct ht_error *err, enum ht_status code, const char *fmt, ...)
    HT_PRINTF(3, 4);

/* HT_ERR_IO with `what`, the path and strerror(errno). */
enum ht_status ht_fail_errno(struct ht_error *err, const char *what, const char *path);

enum ht_status ht_fail_memory(struct ht_error *err);

/* Puts `prefix: ` in front of the message of an error that is passed on; returns its code. */
enum ht_status ht_error_prefix(struct ht_error *err, enum ht_status code, const char *fmt, ...)
    HT_PRINTF(3, 4);

#endif
