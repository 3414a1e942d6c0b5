#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int ht_error_exit_code(const struct ht_error *err)
{
    switch (err->code) {
    case HT_ERR_MEMORY:
        return HT_ERR_INTERNAL;
    case HT_ERR_INTERRUPTED:
        return 128 + err->signal;
    default:
        return err->code;
    }
}

enum ht_status ht_fail(struct ht_error *err, enum ht_status code, const char *fmt, ...)
{
    if (!err)
        return code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    err->code = code;
    err->signal = 0;
    return code;
}

enum ht_status ht_fail_errno(struct ht_error *err, const char *what, const char *path)
{
    int saved = errno;
    return ht_fail(err, HT_ERR_IO, "%s %s: %s", what, path, strerror(saved));
}

enum ht_status ht_fail_memory(struct ht_error *err)
{
    return ht_fail(err, HT_ERR_MEMORY, "out of memory");
}

enum ht_status ht_error_prefix(struct ht_error *err, enum ht_status code, const char *fmt, ...)
{
    if (!err)
        return code;
    err->code = code;
    char rest[sizeof err->msg];
    memcpy(rest, err->msg, sizeof rest);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    size_t at = n > 0 ? (size_t)n : 0;
    if (at + 3 < sizeof err->msg) {
        size_t room = sizeof err->msg - at - 3, length = strnlen(rest, room);
        memcpy(err->msg + at, ": ", 2);
        memcpy(err->msg + at + 2, rest, length);
        err->msg[at + 2 + length] = '\0';
    }
    return code;
}
