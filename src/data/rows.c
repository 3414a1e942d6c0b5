#include "data/rows.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "data/csv.h"
#include "data/loading.h"
#include "io/hdf5_table.h"

#define MAX_BYTES ((size_t)4 << 30)

static enum ht_status wrong_width(const char *path, size_t found, size_t features,
                                  struct ht_error *err)
{
    return ht_fail(err, HT_ERR_DATA, "%s: rows of %zu values, but the model takes %zu features",
                   path, found, features);
}

static enum ht_status read_idx(float **rows, size_t *n, struct ht_stream *s, const char *path,
                               size_t features, struct ht_error *err)
{
    uint8_t head[4], size[4], buffer[4096];
    size_t got, columns = 1, total;
    enum ht_status status = ht_stream_read(s, head, 4, &got, err);
    if (status != HT_OK)
        return status;
    if (head[2] != 0x08 || head[3] < 1 || head[3] > 4)
        return ht_fail(err, HT_ERR_DATA, "%s: expected an IDX file of bytes with 1 to 4 dimensions",
                       path);
    for (int i = 0; i < head[3]; i++) {
        status = ht_stream_read(s, size, 4, &got, err);
        if (status != HT_OK)
            return status;
        size_t v = (size_t)size[0] << 24 | (size_t)size[1] << 16 | (size_t)size[2] << 8 | size[3];
        if (got < 4 || v == 0 || (i > 0 && !ht_mul_size(columns, v, &columns)))
            return ht_fail(err, HT_ERR_DATA, "%s: damaged IDX header", path);
        if (i == 0)
            *n = v;
    }
    if (columns != features)
        return wrong_width(path, columns, features, err);
    bool exact;
    if (!ht_mul_size(*n, columns, &total) || total > MAX_BYTES / sizeof(float) ||
        total > ht_stream_size(s, &exact))
        return ht_fail(err, HT_ERR_DATA, "%s: its IDX header promises more than the file holds",
                       path);
    *rows = ht_calloc(total, sizeof **rows);
    if (!*rows)
        return ht_fail_memory(err);
    for (size_t at = 0; at < total;) {
        size_t want = total - at < sizeof buffer ? total - at : sizeof buffer;
        status = ht_stream_read(s, buffer, want, &got, err);
        if (status == HT_OK && got < want)
            status = ht_fail(err, HT_ERR_DATA, "%s: truncated", path);
        if (status != HT_OK)
            return status;
        for (size_t i = 0; i < got; i++)
            (*rows)[at + i] = buffer[i];
        at += got;
    }
    /* One read past the end: it also makes gzip check its sum. */
    status = ht_stream_read(s, buffer, 1, &got, err);
    if (status == HT_OK && got)
        status = ht_fail(err, HT_ERR_DATA, "%s: bytes after the end of the IDX data", path);
    return status;
}

/* One CSV row into out[features]; false (with err) for anything that is no finite number. */
static enum ht_status parse_row(const struct ht_csv *c, size_t features, float *out,
                                struct ht_error *err)
{
    for (size_t i = 0; i < features; i++) {
        double v;
        if (!ht_parse_number(ht_csv_field(c, i), &v) || !isfinite((float)v))
            return ht_fail(err, HT_ERR_DATA, "%s:row %zu, column %zu: '%.40s' is not a number",
                           ht_csv_path(c), ht_csv_row(c), i + 1, ht_csv_field(c, i));
        out[i] = (float)v;
    }
    return HT_OK;
}

static enum ht_status read_csv_rows(float **rows, size_t *n, struct ht_csv *c, size_t features,
                                    struct ht_error *err)
{
    size_t fields, cap = 0;
    for (;;) {
        enum ht_status status = ht_csv_next(c, &fields, err);
        if (status != HT_OK || fields == 0)
            return status;
        if (fields != features)
            return ht_fail(
                err, HT_ERR_DATA,
                "%s:row %zu has %zu columns, but the model takes %zu features (and no label)",
                ht_csv_path(c), ht_csv_row(c), fields, features);
        if (*n == cap) {
            cap = cap ? 2 * cap : 64;
            size_t elements;
            float *more = ht_mul_size(cap, features, &elements)
                              ? ht_grow(*rows, elements, sizeof *more)
                              : NULL;
            if (!more)
                return ht_fail_memory(err);
            *rows = more;
        }
        status = parse_row(c, features, *rows + *n * features, err);
        /* A first row without a single number is a header. */
        double v;
        bool header = status != HT_OK && *n == 0;
        for (size_t i = 0; header && i < features; i++)
            header = !ht_parse_number(ht_csv_field(c, i), &v);
        if (header && ht_csv_row(c) == 1)
            continue;
        if (status != HT_OK)
            return status;
        ++*n;
    }
}

static enum ht_status read_hdf5(float **rows, size_t *n, const char *path, size_t features,
                                struct ht_error *err)
{
    struct ht_hdf5_table t;
    enum ht_status status = ht_hdf5_table_read(&t, path, NULL, MAX_BYTES, err);
    if (status != HT_OK)
        return status;
    if (t.cols != features)
        status = wrong_width(path, t.cols, features, err);
    if (status == HT_OK && t.f32) {
        *rows = t.f32;
        t.f32 = NULL;
    } else if (status == HT_OK) {
        *rows = ht_calloc(t.rows * t.cols, sizeof **rows);
        if (!*rows)
            status = ht_fail_memory(err);
        for (size_t i = 0; status == HT_OK && i < t.rows * t.cols; i++)
            (*rows)[i] = t.u8[i];
    }
    *n = t.rows;
    for (size_t i = 0; status == HT_OK && i < *n * features; i++)
        if (!isfinite((*rows)[i]))
            status = ht_fail(err, HT_ERR_DATA, "%s: row %zu, column %zu is not finite", path,
                             i / features + 1, i % features + 1);
    ht_hdf5_table_finish(&t);
    return status;
}

/* The delimiter of a CSV file by its first line: a comma, unless there is none but a ; or a tab. */
static enum ht_status find_delimiter(struct ht_stream *s, const char **ret, struct ht_error *err)
{
    char line[4096];
    size_t got;
    enum ht_status status = ht_stream_read(s, line, sizeof line - 1, &got, err);
    if (status != HT_OK)
        return status;
    line[got] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    if (!strchr(line, ',') && strchr(line, ';'))
        *ret = ";";
    else if (!strchr(line, ',') && strchr(line, '\t'))
        *ret = "tab";
    return HT_OK;
}

enum ht_status ht_rows_read(float **rows, size_t *n, const char *path, size_t features,
                            struct ht_error *err)
{
    struct ht_stream *s;
    struct ht_csv *c;
    uint8_t head[4] = {0};
    size_t got;
    *rows = NULL;
    *n = 0;
    enum ht_status status = ht_stream_open(&s, path, err);
    if (status != HT_OK)
        return status;
    status = ht_stream_read(s, head, 4, &got, err);
    ht_stream_close(s);
    if (status != HT_OK)
        return status;
    if (got == 4 && memcmp(head, "\x89HDF", 4) == 0) {
        status = read_hdf5(rows, n, path, features, err);
    } else if (got == 4 && head[0] == 0 && head[1] == 0) {
        status = ht_stream_open(&s, path, err);
        if (status == HT_OK) {
            status = read_idx(rows, n, s, path, features, err);
            ht_stream_close(s);
        }
    } else {
        const char *delimiter = ",";
        status = ht_stream_open(&s, path, err);
        if (status == HT_OK) {
            status = find_delimiter(s, &delimiter, err);
            ht_stream_close(s);
        }
        if (status == HT_OK)
            status = ht_csv_open(&c, path, delimiter, err);
        if (status == HT_OK) {
            status = read_csv_rows(rows, n, c, features, err);
            ht_csv_close(c);
        }
    }
    if (status == HT_OK && *n == 0)
        status = ht_fail(err, HT_ERR_DATA, "%s: no rows in it", path);
    if (status != HT_OK) {
        ht_free(*rows);
        *rows = NULL;
    }
    return status;
}
