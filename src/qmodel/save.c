/* qmodel -> HDF5. What is in it comes from ht_qmodel_describe. */
#include "io/container.h"
#include "qmodel/describe.h"
#include "qmodel/file.h"

static void put(void *user, const char *path, enum ht_container_type type, const void *data,
                size_t n)
{
    ht_container_put(user, path, type, data, 1, &n);
}

static void put_text(void *user, const char *path, const char *text)
{
    ht_container_put_text(user, path, text);
}

static void attr_i64(void *user, const char *path, const char *name, int64_t value)
{
    ht_container_attr_i64(user, path, name, value);
}

static void attr_f64(void *user, const char *path, const char *name, double value)
{
    ht_container_attr_f64(user, path, name, value);
}

static void attr_text(void *user, const char *path, const char *name, const char *value)
{
    ht_container_attr_text(user, path, name, value);
}

enum ht_status ht_qmodel_save(const struct ht_qmodel *m, const char *path, struct ht_error *err)
{
    struct ht_container_writer *w;
    enum ht_status status = ht_qmodel_check(m, err);
    if (status)
        return status;
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct ht_qlayer *l = &m->layers[i];
        if (ht_packed_size(l->out * l->in, l->weights.grid.bits) > HT_FILE_MAX_BYTES)
            return ht_fail(err, HT_ERR_CONFIG,
                           "layer %zu (%s): a file holds at most %d bytes of "
                           "codes for a layer: use fewer bits or a narrower layer",
                           i, l->name, HT_FILE_MAX_BYTES);
    }
    status = ht_container_create(&w, HT_FILE_KIND, ht_qmodel_version(m), err);
    if (status)
        return status;
    const struct ht_qmodel_sink sink = {put, put_text, attr_i64, attr_f64, attr_text, w};
    status = ht_qmodel_describe(m, &sink, err);
    if (status) {
        ht_container_abandon(w);
        return status;
    }
    return ht_container_finish(w, path, err);
}
