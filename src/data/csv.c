#include "data/csv.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define BUFFER_SIZE 65536
#define MAX_CONTENT ((uint64_t)2 << 30) /* unpacked bytes of a file */
#define MAX_RECORD  ((size_t)64 << 20)  /* bytes */
#define MAX_FIELDS  ((size_t)1 << 20)
#define END         (-1)

struct ht_csv {
    struct ht_stream *stream;
    char path[HT_PATH_LENGTH];
    char delimiter;
    bool blanks;           /* runs of spaces and tabs separate fields */
    size_t row, blank_row; /* blank_row: an empty line whose place is not known yet, or 0 */
    size_t pos, filled;
    uint64_t total;
    char *text; /* the current record: its fields one after the other, each with a NUL */
    size_t text_len, text_cap;
    size_t *starts; /* [n_fields] offsets into text */
    size_t n_fields, starts_cap;
    uint8_t buffer[BUFFER_SIZE];
};

enum ht_status ht_csv_open(struct ht_csv **ret, const char *path, const char *delimiter,
                           struct ht_error *err)
{
    static const struct {
        const char *name;
        char character;
    } names[] = {{"", ','}, {"tab", '\t'}, {"space", ' '}};
    char character = strlen(delimiter) == 1 ? *delimiter : '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(delimiter, names[i].name) == 0)
            character = names[i].character;
    if (!character || strchr("\"\r\n", character))
        return ht_fail(err, HT_ERR_CONFIG,
                       "csv.delimiter: \"%s\" is not one character, \"tab\" or \"space\"",
                       delimiter);
    struct ht_csv *c = ht_calloc(1, sizeof *c);
    if (!c)
        return ht_fail_memory(err);
    snprintf(c->path, sizeof c->path, "%s", path);
    c->delimiter = character;
    c->blanks = character == ' ';
    enum ht_status status = ht_stream_open(&c->stream, path, err);
    if (status == HT_OK) /* the byte order mark needs three bytes; a buffer has more */
        status = ht_stream_read(c->stream, c->buffer, sizeof c->buffer, &c->filled, err);
    if (status != HT_OK) {
        ht_csv_close(c);
        return status;
    }
    c->total = c->filled;
    if (c->filled >= 3 && memcmp(c->buffer, "\xef\xbb\xbf", 3) == 0)
        c->pos = 3;
    *ret = c;
    return HT_OK;
}

void ht_csv_close(struct ht_csv *c)
{
    if (!c)
        return;
    ht_stream_close(c->stream);
    ht_free(c->text);
    ht_free(c->starts);
    ht_free(c);
}

const char *ht_csv_field(const struct ht_csv *c, size_t i)
{
    return c->text + c->starts[i];
}

size_t ht_csv_row(const struct ht_csv *c)
{
    return c->row;
}

const char *ht_csv_path(const struct ht_csv *c)
{
    return c->path;
}

/* The next byte without taking it, or END. */
static enum ht_status peek(struct ht_csv *c, int *ret, struct ht_error *err)
{
    if (c->pos == c->filled) {
        c->pos = c->filled = 0;
        enum ht_status status = ht_stream_read(c->stream, c->buffer, BUFFER_SIZE, &c->filled, err);
        if (status != HT_OK)
            return status;
        c->total += c->filled;
        if (c->total > MAX_CONTENT)
            return ht_fail(err, HT_ERR_DATA, "%s: more than 2 GiB of text; use IDX or HDF5",
                           c->path);
    }
    *ret = c->filled ? c->buffer[c->pos] : END;
    return HT_OK;
}

static enum ht_status put(struct ht_csv *c, char byte, struct ht_error *err)
{
    if (c->text_len == c->text_cap) {
        size_t cap = c->text_cap ? 2 * c->text_cap : 1024;
        if (c->text_len >= MAX_RECORD)
            return ht_fail(err, HT_ERR_DATA,
                           "%s:row %zu is longer than 64 MiB; is a quote not closed?", c->path,
                           c->row);
        char *grown = ht_grow(c->text, cap, 1);
        if (!grown)
            return ht_fail_memory(err);
        c->text = grown;
        c->text_cap = cap;
    }
    c->text[c->text_len++] = byte;
    return HT_OK;
}

static enum ht_status start_field(struct ht_csv *c, struct ht_error *err)
{
    if (c->n_fields == c->starts_cap) {
        size_t cap = c->starts_cap ? 2 * c->starts_cap : 64;
        if (c->n_fields >= MAX_FIELDS)
            return ht_fail(err, HT_ERR_DATA, "%s:row %zu has more than %zu columns", c->path,
                           c->row, MAX_FIELDS);
        size_t *grown = ht_grow(c->starts, cap, sizeof *grown);
        if (!grown)
            return ht_fail_memory(err);
        c->starts = grown;
        c->starts_cap = cap;
    }
    c->starts[c->n_fields++] = c->text_len;
    return HT_OK;
}

static bool is_blank(int byte)
{
    return byte == ' ' || byte == '\t';
}

static bool is_line_end(int byte)
{
    return byte == '\n' || byte == '\r';
}

/* Takes "\n", "\r\n" or "\r". */
static enum ht_status take_line_end(struct ht_csv *c, struct ht_error *err)
{
    int byte = END;
    if (c->buffer[c->pos++] != '\r')
        return HT_OK;
    enum ht_status status = peek(c, &byte, err);
    if (status == HT_OK && byte == '\n')
        c->pos++;
    return status;
}

static enum ht_status skip_blanks(struct ht_csv *c, struct ht_error *err)
{
    int byte = END;
    enum ht_status status;
    while ((status = peek(c, &byte, err)) == HT_OK && is_blank(byte) &&
           (c->blanks || byte != c->delimiter))
        c->pos++;
    return status;
}

enum ht_status ht_csv_skip(struct ht_csv *c, size_t n, struct ht_error *err)
{
    int byte = 0;
    enum ht_status status;
    for (; n > 0; n--) {
        while ((status = peek(c, &byte, err)) == HT_OK && byte != END && !is_line_end(byte))
            c->pos++;
        if (status != HT_OK || byte == END)
            return status;
        if ((status = take_line_end(c, err)) != HT_OK)
            return status;
        c->row++;
    }
    return HT_OK;
}

static bool is_control(int byte)
{
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

static enum ht_status fail_control(const struct ht_csv *c, int byte, struct ht_error *err)
{
    return ht_fail(err, HT_ERR_DATA, "%s:row %zu, column %zu: byte 0x%02x; this is not a text file",
                   c->path, c->row, c->n_fields, (unsigned)byte);
}

/* The rest of a field that began with a quote, up to what follows the closing one. */
static enum ht_status read_quoted(struct ht_csv *c, struct ht_error *err)
{
    int byte = END;
    enum ht_status status;
    for (;;) {
        if ((status = peek(c, &byte, err)) != HT_OK)
            return status;
        if (byte == END)
            return ht_fail(err, HT_ERR_DATA, "%s:row %zu, column %zu: a quote that is never closed",
                           c->path, c->row, c->n_fields);
        if (is_control(byte) && !is_line_end(byte))
            return fail_control(c, byte, err);
        c->pos++;
        if (byte == '"') {
            if ((status = peek(c, &byte, err)) != HT_OK || byte != '"')
                break;
            c->pos++;
        }
        if ((status = put(c, (char)byte, err)) != HT_OK)
            return status;
    }
    if (status == HT_OK)
        status = skip_blanks(c, err);
    if (status == HT_OK)
        status = peek(c, &byte, err);
    bool ended = byte == END || is_line_end(byte) || byte == c->delimiter || c->blanks;
    if (status == HT_OK && !ended)
        return ht_fail(err, HT_ERR_DATA, "%s:row %zu, column %zu: text after the closing quote",
                       c->path, c->row, c->n_fields);
    return status;
}

static enum ht_status read_plain(struct ht_csv *c, struct ht_error *err)
{
    int byte = END;
    enum ht_status status;
    while ((status = peek(c, &byte, err)) == HT_OK && byte != END && !is_line_end(byte) &&
           byte != c->delimiter && !(c->blanks && is_blank(byte))) {
        if (is_control(byte))
            return fail_control(c, byte, err);
        if ((status = put(c, (char)byte, err)) != HT_OK)
            return status;
        c->pos++;
    }
    while (c->text_len > c->starts[c->n_fields - 1] && is_blank(c->text[c->text_len - 1]))
        c->text_len--;
    return status;
}

/* One field and the delimiter behind it; *more: another field follows. */
static enum ht_status read_field(struct ht_csv *c, bool *quoted, bool *more, struct ht_error *err)
{
    int byte = END;
    enum ht_status status = start_field(c, err);
    if (status == HT_OK)
        status = skip_blanks(c, err);
    if (status == HT_OK)
        status = peek(c, &byte, err);
    if (status != HT_OK)
        return status;
    *quoted = byte == '"';
    if (*quoted)
        c->pos++;
    status = *quoted ? read_quoted(c, err) : read_plain(c, err);
    if (status == HT_OK)
        status = put(c, '\0', err);
    if (status == HT_OK && c->blanks)
        status = skip_blanks(c, err);
    if (status == HT_OK)
        status = peek(c, &byte, err);
    if (status != HT_OK)
        return status;
    *more = byte != END && !is_line_end(byte);
    if (*more && !c->blanks)
        c->pos++; /* the delimiter */
    return !*more && byte != END ? take_line_end(c, err) : HT_OK;
}

enum ht_status ht_csv_next(struct ht_csv *c, size_t *n, struct ht_error *err)
{
    for (;;) {
        int byte = END;
        bool quoted = false, more = true;
        enum ht_status status = peek(c, &byte, err);
        c->n_fields = c->text_len = *n = 0;
        if (status != HT_OK || byte == END)
            return status;
        c->row++;
        while (status == HT_OK && more)
            status = read_field(c, &quoted, &more, err);
        if (status != HT_OK)
            return status;
        bool empty = c->n_fields == 1 && !quoted && c->text[0] == '\0';
        if (!empty && c->blank_row)
            return ht_fail(err, HT_ERR_DATA, "%s:row %zu is empty", c->path, c->blank_row);
        if (!empty) {
            *n = c->n_fields;
            return HT_OK;
        }
        if (!c->blank_row)
            c->blank_row = c->row;
    }
}
