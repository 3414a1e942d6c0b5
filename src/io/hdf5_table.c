#include "io/hdf5_table.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "io/file.h"
#include "io/hdf5_checks.h"

#define FILE_SLACK ((size_t)64 << 20)

struct candidate {
    char *path; /* owned */
    bool is_u8;
    char refusal[HT_HDF5_REFUSAL]; /* why it cannot be read, or "" */
    int rank;
    hsize_t shape[HT_HDF5_MAX_RANK];
    size_t elements;
};

struct search {
    struct candidate *candidates;
    size_t n, capacity;
};

/* --- what the file holds --- */

/* IEEE 754 half precision, which libhdf5 1.10 has no name for. */
static hid_t half_type(void)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type >= 0 && (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_size(type, 2) < 0 ||
                      H5Tset_ebias(type, 15) < 0)) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

/* Only the types that machines have: odd bit fields go through seldom used code of libhdf5. */
static bool is_number(hid_t type)
{
    const hid_t known[] = {H5T_STD_U8LE,   H5T_STD_I8LE,   H5T_STD_U16LE,  H5T_STD_U16BE,
                           H5T_STD_I16LE,  H5T_STD_I16BE,  H5T_STD_U32LE,  H5T_STD_U32BE,
                           H5T_STD_I32LE,  H5T_STD_I32BE,  H5T_STD_U64LE,  H5T_STD_U64BE,
                           H5T_STD_I64LE,  H5T_STD_I64BE,  H5T_IEEE_F32LE, H5T_IEEE_F32BE,
                           H5T_IEEE_F64LE, H5T_IEEE_F64BE, H5T_STD_U8BE,   H5T_STD_I8BE};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (H5Tequal(type, known[i]) > 0)
            return true;
    hid_t half = half_type();
    const bool equal = half >= 0 && H5Tequal(type, half) > 0;
    if (half >= 0)
        H5Tclose(half);
    return equal;
}

static void describe(struct candidate *c, const struct ht_hdf5_object *o)
{
    snprintf(c->refusal, sizeof c->refusal, "%s", o->refusal);
    if (*c->refusal)
        return;
    if (o->class == H5T_STRING)
        snprintf(c->refusal, sizeof c->refusal, "text, not numbers");
    else if (!is_number(o->type))
        snprintf(c->refusal, sizeof c->refusal, "numbers of an unusual type");
    else if (o->rank == 0)
        snprintf(c->refusal, sizeof c->refusal, "a single number");
    c->is_u8 = H5Tequal(o->type, H5T_STD_U8LE) > 0 || H5Tequal(o->type, H5T_STD_U8BE) > 0;
    c->rank = o->rank;
    memcpy(c->shape, o->shape, sizeof c->shape);
    c->elements = o->elements;
}

static enum ht_status visit(void *user, const struct ht_hdf5_object *o, struct ht_error *err)
{
    struct search *s = user;
    if (o->is_group)
        return HT_OK;
    if (s->n == s->capacity) {
        const size_t capacity = s->capacity ? 2 * s->capacity : 16;
        struct candidate *grown = ht_grow(s->candidates, capacity, sizeof *grown);
        if (!grown)
            return ht_fail_memory(err);
        s->candidates = grown;
        s->capacity = capacity;
    }
    struct candidate c = {.path = ht_strdup(o->path + 1)}; /* without the slash, as people say it */
    if (!c.path)
        return ht_fail_memory(err);
    describe(&c, o);
    s->candidates[s->n++] = c;
    return HT_OK;
}

/* --- which one to read --- */

static void list_candidates(const struct search *s, struct ht_text *t)
{
    const size_t shown = s->n < 20 ? s->n : 20;
    ht_text_printf(t, s->n ? "; it holds:" : "; it holds no dataset");
    for (size_t i = 0; i < shown; i++)
        ht_text_printf(t, "%s %s%s%s%s", i ? "," : "", s->candidates[i].path,
                       *s->candidates[i].refusal ? " (" : "", s->candidates[i].refusal,
                       *s->candidates[i].refusal ? ")" : "");
    if (shown < s->n)
        ht_text_printf(t, " and %zu more", s->n - shown);
}

static const char *nearest(const struct search *s, const char *name)
{
    const char **names = ht_calloc(s->n, sizeof *names);
    if (!names)
        return NULL;
    for (size_t i = 0; i < s->n; i++)
        names[i] = s->candidates[i].path;
    const char *found = ht_nearest_name(name, names, s->n);
    ht_free(names);
    return found;
}

static enum ht_status fail_choice(const struct search *s, const char *path, const char *dataset,
                                  size_t n_readable, struct ht_error *err)
{
    struct ht_text list = {0};
    enum ht_status status;
    list_candidates(s, &list);
    if (dataset) {
        const char *meant = nearest(s, dataset);
        status = ht_fail(err, HT_ERR_DATA, "%s: no dataset '%s'%s%s%s%s", path, dataset,
                         meant ? ", did you mean '" : "", meant ? meant : "", meant ? "'?" : "",
                         ht_text_str(&list));
    } else {
        status =
            ht_fail(err, HT_ERR_DATA, "%s: %s%s", path,
                    n_readable ? "more than one numeric dataset, say which" : "no numeric dataset",
                    ht_text_str(&list));
    }
    ht_text_finish(&list);
    return status;
}

static enum ht_status choose(const struct search *s, const char *path, const char *dataset,
                             const struct candidate **ret, struct ht_error *err)
{
    const struct candidate *found = NULL;
    size_t n_readable = 0;
    if (dataset && *dataset == '/')
        dataset++;
    if (dataset && !*dataset)
        dataset = NULL;
    for (size_t i = 0; i < s->n; i++) {
        const struct candidate *c = &s->candidates[i];
        if (dataset ? strcmp(c->path, dataset) == 0 : !*c->refusal) {
            found = c;
            n_readable++;
        }
    }
    if (n_readable != 1)
        return fail_choice(s, path, dataset, n_readable, err);
    if (*found->refusal)
        return ht_fail(err, HT_ERR_DATA, "%s: %s: %s", path, found->path, found->refusal);
    *ret = found;
    return HT_OK;
}

/* --- reading it --- */

static enum ht_status read_candidate(struct ht_hdf5_table *ret, hid_t file, size_t file_size,
                                     const struct candidate *c, const char *path, size_t max_bytes,
                                     struct ht_error *err)
{
    const size_t size = c->is_u8 ? sizeof(uint8_t) : sizeof(float);
    struct ht_hdf5_table t = {.rows = (size_t)c->shape[0]};
    enum ht_status status = HT_OK;
    t.cols = c->elements / t.rows;
    if (c->elements > max_bytes / size)
        return ht_fail(err, HT_ERR_DATA,
                       "%s: %s: %zu elements need more than the %zu bytes allowed", path, c->path,
                       c->elements, max_bytes);
    hid_t set = H5Dopen2(file, c->path, H5P_DEFAULT);
    if (set < 0 || !ht_hdf5_chunks_are_sound(set, file_size)) {
        status = ht_fail(err, HT_ERR_DATA, "%s: %s: damaged chunks", path, c->path);
        goto done;
    }
    void *data = ht_calloc(c->elements, size);
    if (!data) {
        status = ht_fail_memory(err);
        goto done;
    }
    if (c->is_u8)
        t.u8 = data;
    else
        t.f32 = data;
    if (H5Dread(set, c->is_u8 ? H5T_NATIVE_UINT8 : H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                data) < 0) {
        status =
            ht_fail(err, HT_ERR_DATA, "%s: %s: damaged: libhdf5 cannot read it", path, c->path);
        ht_hdf5_table_finish(&t);
    } else {
        *ret = t;
    }
done:
    if (set >= 0)
        H5Dclose(set);
    return status;
}

/* The walk speaks of models; this file is data. */
static enum ht_status as_data(enum ht_status status, struct ht_error *err)
{
    if (status != HT_ERR_MODEL)
        return status;
    if (err)
        err->code = HT_ERR_DATA;
    return HT_ERR_DATA;
}

enum ht_status ht_hdf5_table_read(struct ht_hdf5_table *ret, const char *path, const char *dataset,
                                  size_t max_bytes, struct ht_error *err)
{
    struct search s = {0};
    struct ht_hdf5_image image;
    const struct candidate *chosen = NULL;
    size_t limit = max_bytes;
    char *bytes;
    if (!ht_mul_size(limit, 2, &limit) || !ht_add_size(limit, FILE_SLACK, &limit))
        limit = SIZE_MAX;
    enum ht_status status = ht_file_read(path, limit, &bytes, &image.size, err);
    if (status != HT_OK)
        return status;
    image.bytes = (uint8_t *)bytes;
    ht_hdf5_prepare();
    hid_t file = image.size ? ht_hdf5_open_image(&image) : -1;
    if (file < 0)
        status = ht_fail(err, HT_ERR_DATA, "%s: not an HDF5 file, or damaged", path);
    else
        status = as_data(ht_hdf5_walk(file, &image, path, visit, &s, err), err);
    if (status == HT_OK)
        status = choose(&s, path, dataset, &chosen, err);
    if (status == HT_OK)
        status = read_candidate(ret, file, image.size, chosen, path, max_bytes, err);
    if (file >= 0)
        H5Fclose(file);
    for (size_t i = 0; i < s.n; i++)
        ht_free(s.candidates[i].path);
    ht_free(s.candidates);
    ht_free(bytes);
    return status;
}

void ht_hdf5_table_finish(struct ht_hdf5_table *t)
{
    ht_free(t->u8);
    ht_free(t->f32);
    t->u8 = NULL;
    t->f32 = NULL;
}
