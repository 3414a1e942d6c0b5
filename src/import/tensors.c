#include "import/tensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/file.h"
#include "quant/half.h"

static const struct ht_import_format *const formats[] = {&ht_import_safetensors, &ht_import_onnx};

const struct ht_import_format *ht_import_format_of(const char *path)
{
    const size_t n = strlen(path);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const size_t m = strlen(formats[i]->suffix);
        if (n > m && strcmp(path + n - m, formats[i]->suffix) == 0)
            return formats[i];
    }
    return NULL;
}

static enum ht_status parse(struct ht_import_file **ret, const struct ht_import_format *format,
                            const void *data, size_t size, bool layers, const char *label,
                            struct ht_error *err)
{
    struct ht_import_file *f = ht_calloc(1, sizeof *f);
    if (!f)
        return ht_fail_memory(err);
    f->label = label;
    const enum ht_status status = size ? format->parse(f, data, size, layers, err)
                                       : HT_IMPORT_BAD(f, err, "the file is empty");
    if (status == HT_OK)
        *ret = f;
    else
        ht_import_destroy(f);
    return status;
}

enum ht_status ht_import_parse(struct ht_import_file **ret, const struct ht_import_format *format,
                               const void *data, size_t size, const char *label,
                               struct ht_error *err)
{
    return parse(ret, format, data, size, true, label, err);
}

static enum ht_status read_file(struct ht_import_file **ret, const char *path, bool layers,
                                struct ht_error *err)
{
    const struct ht_import_format *format = ht_import_format_of(path);
    char *bytes;
    size_t size;
    if (!format)
        return ht_fail(err, HT_ERR_CONFIG,
                       "%s: expected a file .safetensors or .onnx; docs/import.md says how PyTorch "
                       "writes them",
                       path);
    enum ht_status status = ht_file_read(path, HT_IMPORT_MAX_FILE, &bytes, &size, err);
    if (status != HT_OK)
        return status;
    status = parse(ret, format, bytes, size, layers, path, err);
    if (status == HT_OK)
        (*ret)->bytes = bytes;
    else
        ht_free(bytes);
    return status;
}

enum ht_status ht_import_read(struct ht_import_file **ret, const char *path, struct ht_error *err)
{
    return read_file(ret, path, true, err);
}

enum ht_status ht_import_list(struct ht_import_file **ret, const char *path, struct ht_error *err)
{
    return read_file(ret, path, false, err);
}

void ht_import_destroy(struct ht_import_file *f)
{
    if (!f)
        return;
    ht_free(f->tensors);
    ht_free(f->layers);
    ht_free(f->bytes);
    ht_free(f);
}

int ht_import_find(const struct ht_import_file *f, const char *name)
{
    for (size_t i = 0; i < f->n_tensors; i++)
        if (strcmp(f->tensors[i].name, name) == 0)
            return (int)i;
    return -1;
}

bool ht_import_is_aside(const char *name)
{
    static const char *const own[] = {"input.mean", "input.std", "target.mean", "target.std"};
    static const char counter[] = "num_batches_tracked";
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(name, own[i]) == 0)
            return true;
    return n >= sizeof counter - 1 && strcmp(name + n - (sizeof counter - 1), counter) == 0;
}

void ht_import_print_shape(const struct ht_import_tensor *t, char text[96])
{
    size_t at = 0;
    snprintf(text, 96, "1");
    for (int i = 0; i < t->rank && at < 96; i++)
        at += (size_t)snprintf(text + at, 96 - at, "%s%zu", i ? "x" : "", t->shape[i]);
}

/* --- numbers --- */

static uint64_t little_endian(const uint8_t *p, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value |= (uint64_t)p[i] << 8 * i;
    return value;
}

static float of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float from_f32(const uint8_t *p)
{
    return of_bits((uint32_t)little_endian(p, 4));
}

static float from_f64(const uint8_t *p)
{
    const uint64_t bits = little_endian(p, 8);
    double x;
    memcpy(&x, &bits, sizeof x);
    return fabs(x) <= 3.4028234663852886e38 ? (float)x : INFINITY;
}

static float from_f16(const uint8_t *p)
{
    const uint16_t bits = (uint16_t)little_endian(p, 2);
    return ht_half_is_finite(bits) ? ht_half_to_float(bits) : INFINITY;
}

/* The upper half of a float32. */
static float from_bf16(const uint8_t *p)
{
    return of_bits((uint32_t)little_endian(p, 2) << 16);
}

static const struct {
    size_t size;
    float (*read)(const uint8_t *p);
} numbers[] = {
    [HT_IMPORT_F32] = {4, from_f32},
    [HT_IMPORT_F64] = {8, from_f64},
    [HT_IMPORT_F16] = {2, from_f16},
    [HT_IMPORT_BF16] = {2, from_bf16},
};

size_t ht_import_number_size(enum ht_import_number number)
{
    return number == HT_IMPORT_NONE ? 0 : numbers[number].size;
}

enum ht_status ht_import_values(const struct ht_import_file *f, const struct ht_import_tensor *t,
                                float *x, struct ht_error *err)
{
    if (t->number == HT_IMPORT_NONE || !t->data)
        return HT_IMPORT_BAD(f, err,
                             "%s is of type %s; only F32, F16, BF16 and F64 (float, float16, "
                             "bfloat16, double) can be taken",
                             t->name, t->type);
    for (size_t i = 0; i < t->n; i++) {
        x[i] = numbers[t->number].read(t->data + i * numbers[t->number].size);
        if (!isfinite(x[i]))
            return HT_IMPORT_BAD(f, err, "%s: element %zu is not finite in float32", t->name, i);
    }
    return HT_OK;
}

/* --- for the formats --- */

/* Names go to terminals: no control characters, also not those of two bytes. */
static bool is_sound(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && i + 1 < n && (unsigned char)name[i + 1] < 0xa0))
            return false;
    }
    return true;
}

enum ht_status ht_import_add(struct ht_import_file *f, struct ht_import_tensor **ret,
                             const char *name, size_t length, struct ht_error *err)
{
    struct ht_import_tensor *t;
    if (length >= sizeof t->name || !is_sound(name, length))
        return HT_IMPORT_BAD(
            f, err, "tensor %zu has a name of more than %d bytes, or with control characters",
            f->n_tensors, HT_IMPORT_NAME - 1);
    if (f->n_tensors == HT_IMPORT_MAX_TENSORS)
        return HT_IMPORT_BAD(f, err, "more than %d tensors", HT_IMPORT_MAX_TENSORS);
    if (f->n_tensors % 64 == 0) {
        t = ht_grow(f->tensors, f->n_tensors + 64, sizeof *t);
        if (!t)
            return ht_fail_memory(err);
        f->tensors = t;
    }
    t = &f->tensors[f->n_tensors++];
    memset(t, 0, sizeof *t);
    if (length)
        memcpy(t->name, name, length);
    t->number = HT_IMPORT_NONE;
    t->n = 1;
    *ret = t;
    return HT_OK;
}

enum ht_status ht_import_add_layer(struct ht_import_file *f, struct ht_import_layer **ret,
                                   const char *name, bool batchnorm, struct ht_error *err)
{
    if (f->n_layers == HT_IMPORT_MAX_LAYERS)
        return HT_IMPORT_BAD(f, err, "more than %d layers", HT_IMPORT_MAX_LAYERS);
    struct ht_import_layer *l = ht_grow(f->layers, f->n_layers + 1, sizeof *l);
    if (!l)
        return ht_fail_memory(err);
    f->layers = l;
    l += f->n_layers++;
    memset(l, 0, sizeof *l);
    snprintf(l->name, sizeof l->name, "%s", name);
    l->batchnorm = batchnorm;
    l->epsilon = NAN;
    for (int i = 0; i < HT_IMPORT_PARTS; i++)
        l->tensor[i] = -1;
    *ret = l;
    return HT_OK;
}

enum ht_status ht_import_add_dimension(struct ht_import_file *f, struct ht_import_tensor *t,
                                       uint64_t size, struct ht_error *err)
{
    if (t->rank == HT_IMPORT_RANK || size > HT_IMPORT_MAX_WIDTH)
        return HT_IMPORT_BAD(f, err, "%s has more than %d dimensions, or one above %zu", t->name,
                             HT_IMPORT_RANK, HT_IMPORT_MAX_WIDTH);
    t->shape[t->rank++] = (size_t)size;
    if (!ht_mul_size(t->n, (size_t)size, &t->n) || t->n > HT_IMPORT_MAX_FILE)
        return HT_IMPORT_BAD(f, err, "%s has too many elements", t->name);
    return HT_OK;
}

/* A vector of n elements, or a matrix of one row. */
static bool is_vector(const struct ht_import_tensor *t, size_t n)
{
    return t->n == n && (t->rank == 1 || (t->rank == 2 && t->shape[0] == 1));
}

enum ht_status ht_import_settle_layer(const struct ht_import_file *f, struct ht_import_layer *l,
                                      struct ht_error *err)
{
    char shape[96];
    const struct ht_import_tensor *t;
    if (l->batchnorm) {
        l->in = l->out = f->tensors[l->tensor[HT_IMPORT_MEAN]].n;
    } else {
        t = &f->tensors[l->tensor[HT_IMPORT_WEIGHT]];
        l->in = t->shape[l->transposed ? 0 : 1];
        l->out = t->shape[l->transposed ? 1 : 0];
    }
    for (int i = l->batchnorm ? HT_IMPORT_WEIGHT : HT_IMPORT_BIAS; i < HT_IMPORT_PARTS; i++) {
        if (l->tensor[i] < 0)
            continue;
        t = &f->tensors[l->tensor[i]];
        ht_import_print_shape(t, shape);
        if (!is_vector(t, l->out))
            return HT_IMPORT_BAD(f, err, "%s is %s, expected %zu, as many as %s has outputs",
                                 t->name, shape, l->out, l->name);
    }
    return l->out && l->in ? HT_OK : HT_IMPORT_BAD(f, err, "%s is empty", l->name);
}
