/* safetensors: 8 bytes of length, a JSON header, the data. Integer models hold what their HDF5 file
 * holds, float32 networks what PyTorch's state_dict would (docs/file-format.md). */
#include "export/safetensors.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/text.h"
#include "io/file.h"
#include "qmodel/describe.h"

#define METADATA "__metadata__"

/* Data of four bytes an element come first, so that all of it is aligned. */
enum part { WIDE, NARROW };

static const struct {
    const char *name;
    size_t size;
    enum part part;
} types[] = {
    [HT_U8] = {"U8", 1, NARROW},
    [HT_I8] = {"I8", 1, NARROW},
    [HT_I32] = {"I32", 4, WIDE},
    [HT_F32] = {"F32", 4, WIDE}, /* no other is put */
};

struct writer {
    json_t *header, *metadata;
    struct ht_text data[2]; /* of each part */
    enum ht_status status;  /* sticky */
    struct ht_error *err;
};

/* A new value of an object; a name that is there already means two layers of one name. */
static void set(struct writer *w, json_t *object, const char *name, json_t *value)
{
    if (w->status == HT_OK && json_object_get(object, name)) {
        json_decref(value);
        w->status = ht_fail(w->err, HT_ERR_CONFIG,
                            "two tensors would be called '%s': give the layers other names", name);
    } else if (w->status == HT_OK) {
        if (json_object_set_new(object, name, value) != 0)
            w->status = ht_fail(w->err, HT_ERR_CONFIG,
                                "'%s' cannot go into a safetensors header (out of memory, or a "
                                "text that is not UTF-8)",
                                name);
    } else {
        json_decref(value);
    }
}

/* Offsets count from the start of the tensor's part until the header is printed. */
static void put_tensor(struct writer *w, const char *name, enum ht_container_type type,
                       const void *data, size_t rows, size_t columns, int rank)
{
    struct ht_text *part = &w->data[types[type].part];
    const size_t begin = part->len;
    ht_text_append(part, data, rows * columns * types[type].size);
    if (part->failed && w->status == HT_OK)
        w->status = ht_fail_memory(w->err);
    json_t *shape = rank == 2 ? json_pack("[I, I]", (json_int_t)rows, (json_int_t)columns)
                              : json_pack("[I]", (json_int_t)columns);
    set(w, w->header, name,
        json_pack("{s: s, s: o, s: [I, I]}", "dtype", types[type].name, "shape", shape,
                  "data_offsets", (json_int_t)begin, (json_int_t)part->len));
}

/* --- what ht_qmodel_describe tells: names without the slash in front --- */

static void put(void *user, const char *path, enum ht_container_type type, const void *data,
                size_t n)
{
    put_tensor(user, path + 1, type, data, 1, n, 1);
}

static void put_text(void *user, const char *path, const char *text)
{
    struct writer *w = user;
    set(w, w->metadata, path + 1, json_string(text));
}

static void attr_text(void *user, const char *path, const char *name, const char *value)
{
    struct writer *w = user;
    char key[256];
    snprintf(key, sizeof key, "%s%s%s", path + 1, path[1] ? ":" : "", name);
    set(w, w->metadata, key, json_string(value));
}

static void attr_i64(void *user, const char *path, const char *name, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    attr_text(user, path, name, text);
}

static void attr_f64(void *user, const char *path, const char *name, double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.17g", value);
    attr_text(user, path, name, text);
}

static const struct ht_qmodel_sink sink = {put, put_text, attr_i64, attr_f64, attr_text, NULL};

static void describe(struct writer *w, const struct ht_qmodel *m)
{
    struct ht_qmodel_sink to = sink;
    to.user = w;
    attr_i64(w, "/", "version", ht_qmodel_version(m));
    const enum ht_status status = ht_qmodel_describe(m, &to, w->err);
    if (w->status == HT_OK)
        w->status = status;
}

/* --- float32 networks --- */

static void put_span(struct writer *w, const struct ht_params *p, int span, const char *module,
                     const char *name)
{
    char full[192];
    if (span < 0)
        return;
    const struct ht_span *s = &p->spans[span];
    snprintf(full, sizeof full, "%s.%s", module, name);
    put_tensor(w, full, HT_F32, p->value + s->offset, s->rows, s->cols, s->rows > 1 ? 2 : 1);
}

static void put_block(struct writer *w, const struct ht_model *m, const struct ht_block *b)
{
    char module[96], path[128];
    const struct ht_span *s = &m->params.spans[b->weight_span];
    snprintf(path, sizeof path, "%s.weight", b->name);
    put_tensor(w, path, HT_F32, m->params.value + s->offset, s->rows, s->cols, 2);
    put_span(w, &m->params, b->bias_span, b->name, "bias");
    snprintf(path, sizeof path, "/%s", b->name);
    attr_text(w, path, "activation", b->activation->name);
    if (b->slope != 0)
        attr_f64(w, path, "slope", b->slope);
    if (!b->batchnorm)
        return;
    snprintf(module, sizeof module, "%s_batchnorm", b->name);
    put_span(w, &m->params, b->gamma_span, module, "weight");
    put_span(w, &m->params, b->beta_span, module, "bias");
    put_span(w, &m->state, b->mean_span, module, "running_mean");
    put_span(w, &m->state, b->var_span, module, "running_var");
    snprintf(path, sizeof path, "/%s", module);
    attr_f64(w, path, "epsilon", b->epsilon);
}

static void put_vector(struct writer *w, const char *name, const float *x, size_t n)
{
    if (x)
        put_tensor(w, name, HT_F32, x, 1, n, 1);
}

static void describe_float(struct writer *w, const struct ht_qmodel *m,
                           const struct ht_model *network)
{
    struct ht_text layers = {0};
    attr_text(w, "/", "format", "pt"); /* what PyTorch's users look for */
    attr_text(w, "/", "name", m->name);
    attr_text(w, "/", "task", m->task);
    attr_text(w, "/", "loss", m->loss);
    attr_i64(w, "/input", "pixel_range", m->input.pixel_range);
    for (size_t i = 0; i < network->n_blocks; i++) {
        ht_text_printf(&layers, "%s%s", i ? " " : "", network->blocks[i].name);
        put_block(w, network, &network->blocks[i]);
    }
    if (layers.failed)
        w->status = ht_fail_memory(w->err);
    attr_text(w, "/", "layers", ht_text_str(&layers));
    ht_text_finish(&layers);
    if (m->experiment && *m->experiment)
        attr_text(w, "/", "experiment", m->experiment);
    put_vector(w, "input.mean", m->input.mean, m->input.features);
    put_vector(w, "input.std", m->input.std, m->input.features);
    put_vector(w, "target.mean", m->target_mean, m->outputs);
    put_vector(w, "target.std", m->target_std, m->outputs);
}

/* --- the file --- */

/* Narrow data come behind the wide. */
static void settle_offsets(struct writer *w)
{
    const char *name;
    json_t *tensor;
    json_object_foreach(w->header, name, tensor)
    {
        json_t *offsets = json_object_get(tensor, "data_offsets");
        const char *type = json_string_value(json_object_get(tensor, "dtype"));
        if (!offsets || strcmp(type, types[HT_U8].name) != 0)
            continue;
        for (size_t i = 0; i < 2; i++) {
            json_t *at = json_array_get(offsets, i);
            json_integer_set(at, json_integer_value(at) + (json_int_t)w->data[WIDE].len);
        }
    }
}

/* The header's length is a multiple of 8; blanks may follow the JSON. */
static enum ht_status write_file(struct writer *w, const char *path)
{
    struct ht_text file = {0};
    unsigned char length[8];
    settle_offsets(w);
    char *json = json_dumps(w->header, JSON_COMPACT);
    if (!json)
        return ht_fail_memory(w->err);
    const size_t n = strlen(json), padded = (n + 7) / 8 * 8;
    for (size_t i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)padded >> 8 * i & 0xff);
    ht_text_append(&file, (const char *)length, sizeof length);
    ht_text_append(&file, json, n);
    ht_text_append(&file, "       ", padded - n);
    for (int part = WIDE; part <= NARROW; part++)
        if (w->data[part].len)
            ht_text_append(&file, w->data[part].s, w->data[part].len);
    free(json); /* jansson's */
    const enum ht_status status =
        file.failed ? ht_fail_memory(w->err) : ht_file_write_atomic(path, file.s, file.len, w->err);
    ht_text_finish(&file);
    return status;
}

enum ht_status ht_export_safetensors(const struct ht_export_source *source,
                                     const struct ht_export_options *options, const char *path,
                                     struct ht_error *err)
{
    struct writer w = {json_object(), json_object(), {{0}}, HT_OK, err};
    if (!w.header || !w.metadata || json_object_set(w.header, METADATA, w.metadata) != 0)
        w.status = ht_fail_memory(err);
    if (options->input == HT_EXPORT_U8)
        w.status = ht_fail(err, HT_ERR_CONFIG,
                           "--input: safetensors hold numbers, no program that "
                           "takes an input");
    if (w.status == HT_OK && source->network)
        describe_float(&w, source->model, source->network);
    else if (w.status == HT_OK)
        describe(&w, source->model);
    if (w.status == HT_OK)
        w.status = write_file(&w, path);
    json_decref(w.metadata);
    json_decref(w.header);
    ht_text_finish(&w.data[WIDE]);
    ht_text_finish(&w.data[NARROW]);
    return w.status;
}
