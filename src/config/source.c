#include "config/source.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "config/tree.h"

/* The rest of the file, NUL-terminated; too much is noticed without reading it all. */
static enum ht_status read_all(FILE *file, const char *path, char **text, size_t *length,
                               struct ht_error *err)
{
    char *buffer = NULL;
    size_t n = 0;
    enum ht_status status = HT_OK;
    for (size_t size = 16384; status == HT_OK; size *= 2) {
        char *grown = ht_grow(buffer, size + 1, 1);
        if (!grown) {
            status = ht_fail_memory(err);
            break;
        }
        buffer = grown;
        n += fread(buffer + n, 1, size - n, file);
        if (ferror(file))
            status = ht_fail_errno(err, "cannot read", path);
        else if (n > HT_TREE_MAX_BYTES)
            status = ht_fail(err, HT_ERR_CONFIG, "%s: larger than 1 MiB", path);
        else if (n < size)
            break;
    }
    if (status) {
        ht_free(buffer);
        return status;
    }
    buffer[n] = 0;
    *text = buffer;
    *length = n;
    return HT_OK;
}

enum ht_status ht_source_read(const char *path, char **text, size_t *length, struct ht_error *err)
{
    if (strcmp(path, "-") == 0)
        return read_all(stdin, "<stdin>", text, length, err);
    FILE *file = fopen(path, "rb");
    if (!file)
        return ht_fail_errno(err, "cannot open", path);
    enum ht_status status = read_all(file, path, text, length, err);
    fclose(file);
    return status;
}

void ht_source_skip_mark(const char **text, size_t *length)
{
    if (*length >= 3 && memcmp(*text, "\xef\xbb\xbf", 3) == 0) {
        *text += 3;
        *length -= 3;
    }
}
