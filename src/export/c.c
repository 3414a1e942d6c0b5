/* C code: the two files, and where they go. */
#include "export/c.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <halftone/version.h>

#include "base/alloc.h"
#include "export/c_parts.h"
#include "io/file.h"
#include "io/hash.h"

#define MAX_PATH 4096

/* An identifier that begins with a letter: also part of file names and, in capitals, of macros. */
static enum ht_status check_prefix(const char *prefix, struct ht_error *err)
{
    size_t n = 0;
    for (; prefix[n]; n++) {
        const char ch = prefix[n];
        const bool letter = ch >= 'a' && ch <= 'z';
        if (!letter && (n == 0 || (ch != '_' && !(ch >= '0' && ch <= '9'))))
            return ht_fail(err, HT_ERR_CONFIG,
                           "prefix '%s': it has lower case letters, digits and _, and begins with "
                           "a letter",
                           prefix);
    }
    if (n == 0 || n > 31)
        return ht_fail(err, HT_ERR_CONFIG, "prefix '%s': 1 to 31 characters", prefix);
    return HT_OK;
}

static void write_source(struct ht_c *c)
{
    struct ht_text *t = &c->source;
    ht_text_printf(t, HT_C_MARK " " HALFTONE_VERSION ": ");
    ht_c_comment(t, c->model->name);
    ht_c_printf(c, t, " */\n#include \"%s.h\"\n\n", c->prefix);
    ht_c_printf(c, t,
                "#ifndef HT_NET_SECTION /* an attribute of all constants */\n"
                "#define HT_NET_SECTION\n"
                "#endif\n\n");
    ht_c_write_fast_head(c);
    ht_c_write_arithmetic(c);
    ht_c_write_readers(c);
    ht_c_write_layers(c);
    ht_c_write_run(c);
    ht_c_write_outputs(c);
    ht_c_write_inputs(c);
    ht_c_write_selftest(c);
}

static void write_texts(struct ht_c *c)
{
    uint8_t digest[32];
    char hex[65];
    write_source(c);
    ht_sha256(ht_text_str(&c->source), c->source.len, digest);
    ht_sha256_hex(digest, hex);
    ht_c_write_header(c, hex);
    ht_c_write_guard(c, hex);
}

/* A file of that name that we have not written stays. */
static enum ht_status check_file(const char *path, struct ht_error *err)
{
    char begin[sizeof HT_C_MARK] = "";
    FILE *f = fopen(path, "rb");
    if (!f)
        return HT_OK;
    const size_t n = fread(begin, 1, sizeof begin - 1, f);
    fclose(f);
    if (n == sizeof begin - 1 && memcmp(begin, HT_C_MARK, n) == 0)
        return HT_OK;
    return ht_fail(err, HT_ERR_CONFIG, "%s was not written by this command; it is not overwritten",
                   path);
}

static enum ht_status write_files(struct ht_c *c, const char *folder, struct ht_error *err)
{
    static const char suffix[] = {'c', 'h'};
    const struct ht_text *const texts[] = {&c->source, &c->header};
    char path[2][MAX_PATH];
    if (strlen(folder) + strlen(c->prefix) + 4 > MAX_PATH)
        return ht_fail(err, HT_ERR_IO, "the path is too long: %.200s...", folder);
    enum ht_status status = HT_OK;
    for (int i = 0; status == HT_OK && i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/%s.%c", folder, c->prefix, suffix[i]);
        status = check_file(path[i], err);
    }
    if (status == HT_OK)
        status = ht_make_directories(folder, err);
    for (int i = 0; status == HT_OK && i < 2; i++)
        status = ht_file_write_atomic(path[i], ht_text_str(texts[i]), texts[i]->len, err);
    return status;
}

enum ht_status ht_export_c(const struct ht_export_source *source,
                           const struct ht_export_options *options, const char *path,
                           struct ht_error *err)
{
    struct ht_c c = {.model = source->model, .prefix = options->prefix ? options->prefix : "net"};
    enum ht_status status = check_prefix(c.prefix, err);
    if (status != HT_OK)
        return status;
    for (size_t i = 0; c.prefix[i]; i++)
        c.capitals[i] = (char)toupper((unsigned char)c.prefix[i]);
    status = ht_c_plan(&c, err);
    if (status == HT_OK) {
        write_texts(&c);
        if (c.failed || c.source.failed || c.header.failed)
            status = ht_fail_memory(err);
    }
    if (status == HT_OK)
        status = write_files(&c, path, err);
    ht_c_finish(&c);
    return status;
}

enum ht_status ht_export_costs(const struct ht_qmodel *model, struct ht_export_cost *cost,
                               struct ht_error *err)
{
    struct ht_c c = {.model = model, .prefix = "net"};
    enum ht_status status = ht_c_plan(&c, err);
    for (size_t i = 0; status == HT_OK && i <= model->n_layers; i++)
        cost[i] = ht_c_cost(&c, i);
    ht_c_finish(&c);
    return status;
}
