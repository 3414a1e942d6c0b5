/* File -> qmodel. The file is hostile: sizes are limited before anything is allocated, every field
 * is checked as it is read, and ht_qmodel_check sees the whole before the caller does. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/container.h"
#include "qmodel/file.h"

const char *ht_file_path(char *path, const char *group, const char *name)
{
    snprintf(path, HT_FILE_PATH, "%s/%s", group, name);
    return path;
}

const char *const ht_file_kinds[3] = {[HT_QOUTPUT_CODES] = HT_FILE_CODES,
                                      [HT_QOUTPUT_REAL] = HT_FILE_REAL,
                                      [HT_QOUTPUT_DYNAMIC] = HT_FILE_DYNAMIC};

int ht_file_level_table(const struct ht_grid *g, int32_t *level)
{
    const int n = ht_grid_is_float16(g) ? 0 : 1 << g->bits;
    for (int code = 0; code < n; code++)
        level[code] = ht_grid_level(g, (unsigned)code);
    return n;
}

/* Sticky: after the first failure the readers below do nothing and return 0 or NULL. */
struct input {
    struct ht_container_reader *reader;
    const char *file;
    struct ht_error *err;
    enum ht_status status;
    uint32_t version; /* of the file */
};

#define BAD(in, where, ...) bad(in, ht_fail((in)->err, HT_ERR_MODEL, __VA_ARGS__), where)

static void bad(struct input *in, enum ht_status status, const char *where)
{
    in->status = ht_error_prefix(in->err, status, "%s: %s", in->file, where);
}

static int64_t get_integer(struct input *in, const char *path, const char *name, int64_t lo,
                           int64_t hi)
{
    int64_t value = 0;
    if (in->status)
        return 0;
    in->status = ht_container_get_attr_i64(in->reader, path, name, &value, in->err);
    if (in->status)
        return 0;
    if (value < lo || value > hi) {
        BAD(in, path, "%s is %lld, not in %lld to %lld", name, (long long)value, (long long)lo,
            (long long)hi);
        return 0;
    }
    return value;
}

static double get_number(struct input *in, const char *path, const char *name)
{
    double value = 0;
    if (!in->status)
        in->status = ht_container_get_attr_f64(in->reader, path, name, &value, in->err);
    return in->status ? 0 : value;
}

static void get_text(struct input *in, const char *path, const char *name, char *buffer,
                     size_t capacity)
{
    if (!in->status)
        in->status = ht_container_get_attr_text(in->reader, path, name, buffer, capacity, in->err);
}

/* An attribute that is one of two words: false for `no`, true for `yes`. */
static bool get_choice(struct input *in, const char *path, const char *name, const char *no,
                       const char *yes)
{
    char word[32] = "";
    get_text(in, path, name, word, sizeof word);
    if (in->status || strcmp(word, no) == 0)
        return false;
    if (strcmp(word, yes) != 0)
        BAD(in, path, "%s is neither %s nor %s", name, no, yes);
    return true;
}

/* Files of version 1 know no dynamic ones. */
static enum ht_qoutput_kind get_kind(struct input *in, const char *path)
{
    char word[32] = "";
    const int n = in->version > 1 ? 3 : 2;
    get_text(in, path, "kind", word, sizeof word);
    for (int i = 0; !in->status && i < n; i++)
        if (strcmp(word, ht_file_kinds[i]) == 0)
            return (enum ht_qoutput_kind)i;
    if (!in->status)
        BAD(in, path, "kind is neither codes nor real%s", n > 2 ? " nor dynamic" : "");
    return HT_QOUTPUT_CODES;
}

static bool exists(struct input *in, const char *path)
{
    enum ht_container_type type;
    size_t shape[4];
    int rank = 0;
    if (!in->status)
        in->status = ht_container_info(in->reader, path, &type, &rank, shape, in->err);
    return !in->status && rank > 0;
}

/* A vector of exactly n elements; memory is taken only when the file has them. */
static void *get_vector(struct input *in, const char *path, enum ht_container_type type, size_t n)
{
    static const size_t sizes[] = {
        [HT_U8] = 1, [HT_I8] = 1, [HT_I32] = 4, [HT_I64] = 8, [HT_F32] = 4, [HT_F64] = 8};
    enum ht_container_type found;
    size_t shape[4];
    int rank = 0;
    if (in->status)
        return NULL;
    in->status = ht_container_info(in->reader, path, &found, &rank, shape, in->err);
    if (in->status)
        return NULL;
    if (rank != 1 || shape[0] != n || found != type) {
        if (rank == 0)
            BAD(in, path, "missing");
        else
            BAD(in, path, "not a vector of %zu elements of the right type", n);
        return NULL;
    }
    void *data = ht_calloc(n, sizes[type]);
    if (!data) {
        in->status = ht_fail_memory(in->err);
        return NULL;
    }
    in->status = ht_container_get(in->reader, path, type, data, n, in->err);
    if (in->status) {
        ht_free(data);
        return NULL;
    }
    return data;
}

static void *get_optional_vector(struct input *in, const char *path, enum ht_container_type type,
                                 size_t n)
{
    return exists(in, path) ? get_vector(in, path, type, n) : NULL;
}

static void get_grid(struct input *in, const char *path, struct ht_grid *g)
{
    char name[HT_GRID_NAME] = "";
    get_text(in, path, "grid", name, sizeof name);
    const bool is_float16 = in->version > 1 && strcmp(name, HT_GRID_FLOAT16) == 0;
    const int bits = (int)get_integer(in, path, "bits", 1, is_float16 ? 16 : 8);
    const int64_t is_signed = get_integer(in, path, "signed", 0, 1);
    if (in->status)
        return;
    if (ht_grid_init(g, name, bits, in->err) != HT_OK) {
        if (in->err)
            in->err->code = HT_ERR_MODEL;
        bad(in, HT_ERR_MODEL, path);
    } else if (ht_grid_is_signed(g) != is_signed) {
        BAD(in, path, "signed is %d, which grid %s is not", (int)is_signed, name);
    }
}

static void get_activation(struct input *in, const char *path, struct ht_qactivation *q)
{
    get_grid(in, path, &q->grid);
    if (!in->status && ht_grid_is_float16(&q->grid))
        BAD(in, path, "grid %s is for weights only", q->grid.name);
    const double scale = get_number(in, path, "scale");
    q->zero_point = (int32_t)get_integer(in, path, "zero_point", -255, 255);
    q->lo = (int)get_integer(in, path, "lo", -255, 255);
    q->hi = (int)get_integer(in, path, "hi", -255, 255);
    q->rounding = get_choice(in, path, "rounding", HT_FILE_NEAREST_EVEN, HT_FILE_FLOOR)
                      ? HT_ROUND_FLOOR
                      : HT_ROUND_NEAREST_EVEN;
    if (in->status)
        return;
    q->is_signed = ht_grid_is_signed(&q->grid);
    if (!(scale >= (double)1e-45f && scale <= 3.4028234663852886e38) ||
        (double)(float)scale != scale)
        BAD(in, path, "scale %g is not a float32 above 0", scale);
    else
        q->scale = (float)scale;
}

static void get_input(struct input *in, struct ht_qinput *q)
{
    q->kind = in->version > 1 ? get_kind(in, "/input") : HT_QOUTPUT_CODES;
    if (q->kind != HT_QOUTPUT_REAL)
        get_activation(in, "/input", &q->quant);
    q->features = (size_t)get_integer(in, "/input", "features", 1, HT_QMODEL_MAX_WIDTH);
    q->pixel_range = (int)get_integer(in, "/input", "pixel_range", -1, 255);
    q->image_rows = (size_t)get_integer(in, "/input", "image_rows", 0, HT_QMODEL_MAX_WIDTH);
    q->image_columns = (size_t)get_integer(in, "/input", "image_columns", 0, HT_QMODEL_MAX_WIDTH);
    q->mean = get_optional_vector(in, "/input/mean", HT_F32, q->features);
    q->std = get_optional_vector(in, "/input/std", HT_F32, q->features);
}

/* A codebook's levels: ascending, the last one repeated for codes that are not used. */
static void get_levels(struct input *in, const char *path, struct ht_grid *g)
{
    const int n = 1 << g->bits;
    int level[HT_GRID_TABLE], n_levels = 1;
    int32_t *stored = get_vector(in, path, HT_I32, (size_t)n);
    if (!stored)
        return;
    level[0] = stored[0];
    while (n_levels < n && stored[n_levels] > stored[n_levels - 1]) {
        level[n_levels] = stored[n_levels];
        n_levels++;
    }
    if (!ht_grid_set_levels(g, level, n_levels))
        BAD(in, path, "levels outside of -127 to 127");
    ht_free(stored);
}

/* What a reader needs to make sense of the codes must be what this library means by the grid. */
static void check_description(struct input *in, const char *group, const struct ht_qlayer *l)
{
    const struct ht_grid *g = &l->weights.grid;
    char path[HT_FILE_PATH], shape[48] = "", found[48] = "", order[8] = "";
    int32_t level[256];
    get_text(in, ht_file_path(path, group, "weight"), "shape", found, sizeof found);
    get_text(in, path, "order", order, sizeof order);
    if (in->status)
        return;
    snprintf(shape, sizeof shape, "%zux%zu", l->out, l->in);
    if (strcmp(found, shape) != 0)
        BAD(in, path, "shape is not %s", shape);
    else if (strcmp(order, "lsb") != 0)
        BAD(in, path, "order of bits is not lsb");
    const int n = ht_file_level_table(g, level);
    if (n == 0)
        return;
    int32_t *stored = get_vector(in, ht_file_path(path, group, "level"), HT_I32, (size_t)n);
    if (stored && memcmp(stored, level, (size_t)n * sizeof *level) != 0)
        BAD(in, path, "not the levels of grid %s with %d bits", g->name, g->bits);
    ht_free(stored);
}

/* Since version 2. */
static void get_groups(struct input *in, const char *group, struct ht_qlayer *l)
{
    char path[HT_FILE_PATH];
    if (in->status || ht_container_version(in->reader) < 2)
        return;
    l->weights.group = (size_t)get_integer(in, ht_file_path(path, group, "weight"), "group", 0,
                                           HT_QMODEL_MAX_WIDTH);
    if (l->weights.group)
        l->weights.group_scale = get_vector(in, ht_file_path(path, group, "group_scale"), HT_U8,
                                            l->out * ht_qlayer_groups(l));
}

static void get_weights(struct input *in, const char *group, struct ht_qlayer *l)
{
    struct ht_qweights *w = &l->weights;
    char path[HT_FILE_PATH], levels[HT_FILE_PATH];
    get_grid(in, ht_file_path(path, group, "weight"), &w->grid);
    const bool per_tensor = get_integer(in, path, "axis", -1, 0) == -1;
    if (in->status)
        return;
    if (w->grid.learned)
        get_levels(in, ht_file_path(levels, group, "level"), &w->grid);
    w->packed = get_vector(in, path, HT_U8, ht_packed_size(l->out * l->in, w->grid.bits));
    check_description(in, group, l);
    get_groups(in, group, l);
    w->channels = per_tensor ? 1 : l->out;
    w->scale = get_vector(in, ht_file_path(path, group, "scale"), HT_F32, w->channels);
    w->zero_point =
        get_optional_vector(in, ht_file_path(path, group, "zero_point"), HT_I32, w->channels);
}

static void get_table(struct input *in, const char *path, struct ht_qlayer *l)
{
    const int n = l->quant.grid.hi - l->quant.grid.lo + 1;
    int32_t *table = get_vector(in, path, HT_I32, (size_t)n);
    for (int i = 0; table && i < n; i++) {
        if (table[i] < -128 || table[i] > 255) {
            BAD(in, path, "entry %d is %d, no level", i, table[i]);
            break;
        }
        l->table[i] = (int16_t)table[i];
    }
    ht_free(table);
    get_activation(in, path, &l->table_quant);
}

static float get_slope(struct input *in, const char *path)
{
    const double slope = in->version > 1 ? get_number(in, path, "slope") : 0;
    if (in->status)
        return 0;
    if (!(fabs(slope) <= 1e9) || (double)(float)slope != slope) {
        BAD(in, path, "slope %g is not a float32 within +-1e9", slope);
        return 0;
    }
    return (float)slope;
}

static void get_layer(struct input *in, const char *group, struct ht_qlayer *l,
                      enum ht_qoutput_kind input_kind)
{
    char path[HT_FILE_PATH];
    l->in = (size_t)get_integer(in, group, "inputs", 1, HT_QMODEL_MAX_WIDTH);
    l->out = (size_t)get_integer(in, group, "outputs", 1, HT_QMODEL_MAX_WIDTH);
    if (!in->status && l->out > INT32_MAX / l->in)
        BAD(in, group, "%zu x %zu weights are too many", l->out, l->in);
    get_weights(in, group, l);
    if (input_kind == HT_QOUTPUT_CODES)
        l->bias = get_vector(in, ht_file_path(path, group, "bias"), HT_I32, l->out);
    else
        l->real_bias = get_vector(in, ht_file_path(path, group, "real_bias"), HT_F32, l->out);
    ht_file_path(path, group, "output");
    l->output = get_kind(in, path);
    get_text(in, path, "activation", l->activation, sizeof l->activation);
    l->slope = get_slope(in, path);
    if (l->output != HT_QOUTPUT_REAL)
        get_activation(in, path, &l->quant);
    l->has_table = l->output == HT_QOUTPUT_CODES && exists(in, ht_file_path(path, group, "table"));
    if (l->has_table && !in->status)
        get_table(in, path, l);
}

/* --- the names of the layers --- */
struct names {
    struct ht_qmodel *model;
    size_t seen;
};

/* "03_dense4" names layer 3; every layer has one group. */
static enum ht_status visit_layer(void *user, const char *group, int is_group)
{
    struct names *names = user;
    struct ht_qmodel *m = names->model;
    const char *name = strchr(group, '_');
    for (size_t i = 0; name && is_group && i < m->n_layers; i++) {
        char expected[HT_FILE_PATH];
        snprintf(expected, sizeof expected, "%02zu_", i);
        if (strncmp(group, expected, strlen(expected)) != 0)
            continue;
        const size_t n = strlen(name + 1);
        if (n == 0 || n >= sizeof m->layers[i].name || m->layers[i].name[0])
            return HT_ERR_MODEL;
        memcpy(m->layers[i].name, name + 1, n + 1);
        names->seen++;
        return HT_OK;
    }
    return HT_ERR_MODEL;
}

static void get_layers(struct input *in, struct ht_qmodel *m)
{
    struct names names = {m, 0};
    char group[HT_FILE_GROUP];
    if (in->status)
        return;
    enum ht_status status = ht_container_list(in->reader, "/layers", visit_layer, &names, in->err);
    if (status == HT_ERR_MEMORY) {
        in->status = status;
        return;
    }
    if (status || names.seen != m->n_layers) {
        BAD(in, "/layers", "not %zu groups named <index>_<name>", m->n_layers);
        return;
    }
    for (size_t i = 0; i < m->n_layers && !in->status; i++) {
        snprintf(group, sizeof group, HT_FILE_LAYER, i, m->layers[i].name);
        get_layer(in, group, &m->layers[i], ht_qlayer_input_kind(m, i));
    }
    if (!in->status)
        m->outputs = m->layers[m->n_layers - 1].out;
}

/* One class a line. */
static void split_classes(struct input *in, struct ht_qmodel *m, const char *text)
{
    m->classes = ht_calloc(m->n_classes, sizeof *m->classes);
    if (!m->classes) {
        in->status = ht_fail_memory(in->err);
        return;
    }
    for (size_t i = 0; i < m->n_classes; i++) {
        const char *end = strchr(text, '\n');
        if (!end || (size_t)(end - text) >= sizeof m->classes[i]) {
            BAD(in, "/classes", "not %zu lines of at most 63 bytes", m->n_classes);
            return;
        }
        memcpy(m->classes[i], text, (size_t)(end - text));
        text = end + 1;
    }
    if (*text)
        BAD(in, "/classes", "more than %zu lines", m->n_classes);
}

static void get_texts(struct input *in, struct ht_qmodel *m)
{
    get_text(in, "/", "name", m->name, sizeof m->name);
    get_text(in, "/", "task", m->task, sizeof m->task);
    get_text(in, "/", "loss", m->loss, sizeof m->loss);
    get_text(in, "/", "data_hash", m->data_hash, sizeof m->data_hash);
    get_text(in, "/", "score_name", m->score_name, sizeof m->score_name);
    m->validation_score = get_number(in, "/", "validation_score");
    if (get_integer(in, "/", "has_experiment", 0, 1) && !in->status)
        in->status = ht_container_get_text(in->reader, "/experiment", &m->experiment, in->err);
    m->n_classes = (size_t)get_integer(in, "/", "n_classes", 0, HT_QMODEL_MAX_CLASSES);
    if (in->status || m->n_classes == 0)
        return;
    char *text = NULL;
    in->status = ht_container_get_text(in->reader, "/classes", &text, in->err);
    if (!in->status)
        split_classes(in, m, text);
    ht_free(text);
}

static void get_model(struct input *in, struct ht_qmodel *m)
{
    get_texts(in, m);
    get_input(in, &m->input);
    get_layers(in, m);
    m->target_mean = get_optional_vector(in, "/target/mean", HT_F32, m->outputs);
    m->target_std = get_optional_vector(in, "/target/std", HT_F32, m->outputs);
    if (in->status)
        return;
    in->status = ht_qmodel_derive(m, in->err);
    if (in->status)
        return;
    in->status = ht_qmodel_check(m, in->err);
    if (in->status)
        ht_error_prefix(in->err, in->status, "%s", in->file);
}

enum ht_status ht_qmodel_load(struct ht_qmodel **ret, const char *path, struct ht_error *err)
{
    struct input in = {.file = path, .err = err};
    char format[32] = "";
    struct ht_qmodel *m = NULL;
    enum ht_status status =
        ht_container_open(&in.reader, path, HT_FILE_KIND, HT_QMODEL_VERSION, err);
    if (status)
        return status;
    in.version = ht_container_version(in.reader);
    get_text(&in, "/", "format", format, sizeof format);
    if (!in.status && strcmp(format, HT_FILE_FORMAT) != 0)
        BAD(&in, "/", "format is not '%s'", HT_FILE_FORMAT);
    const int64_t n_layers = get_integer(&in, "/", "n_layers", 1, HT_QMODEL_MAX_LAYERS);
    if (!in.status) {
        m = ht_qmodel_create((size_t)n_layers);
        if (m)
            get_model(&in, m);
        else
            in.status = ht_fail_memory(err);
    }
    if (in.status)
        ht_qmodel_destroy(m);
    else
        *ret = m;
    ht_container_close(in.reader);
    return in.status;
}
