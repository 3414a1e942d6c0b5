#include "train/links.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "variant:"

static const struct {
    const char *key;
    size_t offset, at;
} fields[] = {
    {"train.from", offsetof(struct ht_experiment, train.from),
     offsetof(struct ht_experiment, train.at)},
    {"train.teacher", offsetof(struct ht_experiment, train.teacher),
     offsetof(struct ht_experiment, train.at)},
};
_Static_assert(sizeof fields / sizeof *fields == HT_MAX_LINKS, "a link for each field");

size_t ht_links_list(const struct ht_experiment *e, struct ht_link ret[HT_MAX_LINKS])
{
    size_t n = 0;
    for (size_t i = 0; i < HT_MAX_LINKS; i++) {
        const char *value = (const char *)e + fields[i].offset;
        if (strncmp(value, PREFIX, strlen(PREFIX)) != 0)
            continue;
        ret[n] = (struct ht_link){fields[i].key, value + strlen(PREFIX), fields[i].offset, {0, 0}};
        memcpy(&ret[n++].at, (const char *)e + fields[i].at, sizeof ret->at);
    }
    return n;
}

enum ht_status ht_link_fail(const struct ht_experiment *e, const struct ht_link *link,
                            struct ht_error *err, const char *fmt, ...)
{
    char message[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    ht_fail(err, HT_ERR_CONFIG, "%s: %s", link->key, message);
    if (link->at.line < 1) /* an argument of the command line */
        return HT_ERR_CONFIG;
    return ht_error_prefix(err, HT_ERR_CONFIG, "%s:%d:%d: error", e->path, link->at.line,
                           link->at.column);
}

enum ht_status ht_links_refuse(const struct ht_experiment *e, struct ht_error *err)
{
    struct ht_link links[HT_MAX_LINKS];
    if (ht_links_list(e, links) == 0)
        return HT_OK;
    return ht_link_fail(e, &links[0], err,
                        "%s%.60s is a network that `halftone compare` trains; here it must be a "
                        "run folder or a checkpoint",
                        PREFIX, links[0].variant);
}
