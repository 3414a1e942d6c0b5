/* IDX, the format of MNIST: 00 00 type rank, rank big-endian sizes, then the elements. */
#include "data/loading.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

#define MAX_RANK   4
#define CHUNK_SIZE 65536

static double from_u8(const uint8_t *p)
{
    return p[0];
}

static double from_i8(const uint8_t *p)
{
    return (int8_t)p[0];
}

static double from_i16(const uint8_t *p)
{
    return (int16_t)(p[0] << 8 | p[1]);
}

static uint32_t big_endian32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static double from_i32(const uint8_t *p)
{
    return (int32_t)big_endian32(p);
}

static double from_f32(const uint8_t *p)
{
    uint32_t bits = big_endian32(p);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double from_f64(const uint8_t *p)
{
    uint64_t bits = (uint64_t)big_endian32(p) << 32 | big_endian32(p + 4);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

struct element_type {
    uint8_t code;
    uint8_t size;
    const char *name;
    double (*convert)(const uint8_t *p);
};

static const struct element_type element_types[] = {
    {0x08, 1, "ubyte", from_u8},  {0x09, 1, "byte", from_i8},     {0x0b, 2, "short", from_i16},
    {0x0c, 4, "int32", from_i32}, {0x0d, 4, "float32", from_f32}, {0x0e, 8, "float64", from_f64},
};

struct idx_file {
    struct ht_stream *stream;
    const char *path;
    const struct element_type *type;
    size_t rank, sizes[MAX_RANK];
    size_t rows, columns; /* first size, product of the others */
};

static enum ht_status read_exactly(struct idx_file *f, void *data, size_t n, struct ht_error *err)
{
    size_t got;
    enum ht_status status = ht_stream_read(f->stream, data, n, &got, err);
    if (status == HT_OK && got < n)
        return ht_fail(err, HT_ERR_DATA, "%s: the file ends too early (truncated)", f->path);
    return status;
}

/* The sizes in the header against the size of the file, before anything is allocated. */
static enum ht_status check_size(struct idx_file *f, struct ht_error *err)
{
    size_t total;
    bool exact, fits = true;
    f->rows = f->sizes[0];
    f->columns = 1;
    for (size_t i = 0; i < f->rank; i++) {
        if (f->sizes[i] == 0)
            return ht_fail(err, HT_ERR_DATA, "%s: size %zu in the IDX header is 0", f->path, i + 1);
        if (i > 0)
            fits = fits && ht_mul_size(f->columns, f->sizes[i], &f->columns);
    }
    uint64_t size = ht_stream_size(f->stream, &exact);
    fits = fits && ht_mul_size(f->rows, f->columns, &total) &&
           ht_mul_size(total, f->type->size, &total) &&
           ht_add_size(total, 4 + 4 * f->rank, &total) && total <= size;
    if (!fits)
        return ht_fail(err, HT_ERR_DATA,
                       "%s: the IDX header promises %zu samples of %zu %s values, more than the "
                       "file can hold (truncated or damaged)",
                       f->path, f->rows, f->columns, f->type->name);
    if (exact && total != size)
        return ht_fail(err, HT_ERR_DATA, "%s: %llu bytes after the end of the IDX data", f->path,
                       (unsigned long long)(size - total));
    if (f->rows > HT_MAX_SAMPLES)
        return ht_fail(err, HT_ERR_DATA, "%s: %zu samples, more than %d", f->path, f->rows,
                       HT_MAX_SAMPLES);
    return HT_OK;
}

/* On failure the caller closes f->stream (NULL allowed). */
static enum ht_status open_idx(struct idx_file *f, const char *path, struct ht_error *err)
{
    uint8_t head[4], size[4];
    memset(f, 0, sizeof *f);
    f->path = path;
    enum ht_status status = ht_stream_open(&f->stream, path, err);
    if (status != HT_OK || (status = read_exactly(f, head, 4, err)) != HT_OK)
        return status;
    if (head[0] != 0 || head[1] != 0)
        return ht_fail(err, HT_ERR_DATA,
                       "%s: not an IDX file: it starts with %02x %02x %02x %02x, not with 00 00",
                       path, head[0], head[1], head[2], head[3]);
    for (size_t i = 0; i < sizeof element_types / sizeof *element_types; i++)
        if (element_types[i].code == head[2])
            f->type = &element_types[i];
    if (!f->type)
        return ht_fail(err, HT_ERR_DATA, "%s: unknown IDX element type 0x%02x", path, head[2]);
    f->rank = head[3];
    if (f->rank < 1 || f->rank > MAX_RANK)
        return ht_fail(err, HT_ERR_DATA,
                       "%s: %zu dimensions in the IDX header; 1 to %d are allowed", path, f->rank,
                       MAX_RANK);
    for (size_t i = 0; i < f->rank; i++) {
        if ((status = read_exactly(f, size, 4, err)) != HT_OK)
            return status;
        f->sizes[i] = big_endian32(size);
    }
    return check_size(f, err);
}

/* Nothing may follow; for gzip this also verifies the checksum. */
static enum ht_status expect_end(struct idx_file *f, struct ht_error *err)
{
    uint8_t extra;
    size_t got;
    enum ht_status status = ht_stream_read(f->stream, &extra, 1, &got, err);
    if (status == HT_OK && got > 0)
        return ht_fail(err, HT_ERR_DATA, "%s: there are bytes after the end of the IDX data",
                       f->path);
    return status;
}

static enum ht_status read_values(struct idx_file *f, float *values, struct ht_error *err)
{
    uint8_t *chunk = ht_calloc(CHUNK_SIZE, 1);
    if (!chunk)
        return ht_fail_memory(err);
    size_t total = f->rows * f->columns, per_chunk = CHUNK_SIZE / f->type->size;
    enum ht_status status = HT_OK;
    for (size_t done = 0; done < total && status == HT_OK;) {
        size_t n = total - done < per_chunk ? total - done : per_chunk;
        status = read_exactly(f, chunk, n * f->type->size, err);
        for (size_t i = 0; i < n && status == HT_OK; i++, done++) {
            values[done] = (float)f->type->convert(chunk + i * f->type->size);
            if (!isfinite(values[done]))
                status = ht_fail(err, HT_ERR_DATA,
                                 "%s: sample %zu, value %zu is not a finite number (%g)", f->path,
                                 done / f->columns + 1, done % f->columns + 1, values[done]);
        }
    }
    ht_free(chunk);
    return status;
}

static enum ht_status read_labels(struct ht_loading *l, struct idx_file *f, size_t first,
                                  struct ht_error *err)
{
    size_t row_size = f->columns * f->type->size;
    uint8_t *row = ht_calloc(row_size, 1);
    double *values = ht_calloc(f->columns, sizeof *values);
    enum ht_status status = row && values ? HT_OK : ht_fail_memory(err);
    for (size_t i = 0; i < f->rows && status == HT_OK; i++) {
        status = read_exactly(f, row, row_size, err);
        if (status != HT_OK)
            break;
        for (size_t j = 0; j < f->columns; j++)
            values[j] = f->type->convert(row + j * f->type->size);
        status = ht_loading_put_label(l, first + i, values, f->columns, f->path, i + 1, err);
    }
    ht_free(values);
    ht_free(row);
    return status == HT_OK ? expect_end(f, err) : status;
}

/* Room for the features of all parts, once their headers are known. */
static enum ht_status make_features(struct ht_dataset *d, const struct idx_file *f, size_t n_parts,
                                    struct ht_error *err)
{
    size_t total;
    d->features = f[0].columns;
    d->n = f[0].rows + (n_parts > 1 ? f[1].rows : 0);
    if (n_parts > 1 && f[0].type != f[1].type)
        return ht_fail(err, HT_ERR_DATA, "%s: elements are %s, but %s in %s", f[1].path,
                       f[1].type->name, f[0].type->name, f[0].path);
    if (d->n > HT_MAX_SAMPLES || !ht_mul_size(d->n, d->features, &total))
        return ht_fail(err, HT_ERR_DATA, "%s: too many samples", f[0].path);
    if (f[0].type->code == 0x08)
        d->bytes = ht_calloc(total, 1);
    else
        d->values = ht_calloc(total, sizeof(float));
    if (!d->bytes && !d->values)
        return ht_fail_memory(err);
    if (f[0].rank == 3) {
        d->image_rows = f[0].sizes[1];
        d->image_columns = f[0].sizes[2];
    }
    return HT_OK;
}

static enum ht_status read_features(struct ht_loading *l, struct ht_error *err)
{
    struct ht_dataset *d = l->d;
    struct idx_file files[2] = {{0}};
    enum ht_status status = HT_OK;
    for (size_t p = 0; p < l->n_parts && status == HT_OK; p++) {
        status = open_idx(&files[p], l->parts[p].features.path, err);
        if (status == HT_OK)
            status = ht_loading_check_features(l, p, files[p].rows, files[p].columns, err);
        l->parts[p].n = files[p].rows;
        if (status == HT_OK && p == 0)
            d->features = files[p].columns;
    }
    if (status == HT_OK)
        status = make_features(d, files, l->n_parts, err);
    size_t first = 0;
    for (size_t p = 0; p < l->n_parts && status == HT_OK; p++) {
        size_t at = first * d->features;
        status = d->bytes ? read_exactly(&files[p], d->bytes + at, files[p].rows * d->features, err)
                          : read_values(&files[p], d->values + at, err);
        if (status == HT_OK)
            status = expect_end(&files[p], err);
        first += files[p].rows;
    }
    for (size_t p = 0; p < 2; p++)
        ht_stream_close(files[p].stream);
    return status;
}

enum ht_status ht_idx_read(struct ht_loading *l, struct ht_error *err)
{
    if (l->parts[0].table.file)
        return ht_fail(err, HT_ERR_CONFIG, "%s: an IDX dataset needs separate features and labels",
                       l->descriptor->path);
    enum ht_status status = read_features(l, err);
    size_t first = 0;
    for (size_t p = 0; p < l->n_parts && l->labelled && status == HT_OK; p++) {
        struct idx_file f;
        status = open_idx(&f, l->parts[p].labels.path, err);
        if (status == HT_OK)
            status = ht_loading_check_labels(l, p, f.rows, f.columns, err);
        if (status == HT_OK && p == 0)
            status = ht_loading_make_labels(l, f.columns, err);
        if (status == HT_OK)
            status = read_labels(l, &f, first, err);
        ht_stream_close(f.stream);
        first += l->parts[p].n;
    }
    return status;
}
