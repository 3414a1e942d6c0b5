/* qmodel -> file. The layout is described in docs/file-format.md. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "io/container.h"
#include "qmodel/file.h"

static void put_vector(struct ht_container_writer *w, const char *path, enum ht_container_type type,
                       const void *data, size_t n)
{
    if (data)
        ht_container_put(w, path, type, data, 1, &n);
}

static void put_activation(struct ht_container_writer *w, const char *path,
                           const struct ht_qactivation *q)
{
    ht_container_attr_text(w, path, "grid", q->grid.name);
    ht_container_attr_i64(w, path, "bits", q->grid.bits);
    ht_container_attr_i64(w, path, "signed", q->is_signed);
    ht_container_attr_f64(w, path, "scale", (double)q->scale);
    ht_container_attr_i64(w, path, "zero_point", q->zero_point);
    ht_container_attr_i64(w, path, "lo", q->lo);
    ht_container_attr_i64(w, path, "hi", q->hi);
    ht_container_attr_text(w, path, "rounding",
                           q->rounding == HT_ROUND_FLOOR ? HT_FILE_FLOOR : HT_FILE_NEAREST_EVEN);
}

static void put_input(struct ht_container_writer *w, const struct ht_qinput *in, uint32_t version)
{
    if (version > 1)
        ht_container_attr_text(w, "/input", "kind", ht_file_kinds[in->kind]);
    if (in->kind != HT_QOUTPUT_REAL)
        put_activation(w, "/input", &in->quant);
    ht_container_attr_i64(w, "/input", "features", (int64_t)in->features);
    ht_container_attr_i64(w, "/input", "pixel_range", in->pixel_range);
    ht_container_attr_i64(w, "/input", "image_rows", (int64_t)in->image_rows);
    ht_container_attr_i64(w, "/input", "image_columns", (int64_t)in->image_columns);
    put_vector(w, "/input/mean", HT_F32, in->mean, in->features);
    put_vector(w, "/input/std", HT_F32, in->std, in->features);
}

static void put_weights(struct ht_container_writer *w, const char *group, const struct ht_qlayer *l,
                        uint32_t version)
{
    const struct ht_qweights *q = &l->weights;
    char path[HT_FILE_PATH], shape[48];
    int32_t level[256];
    const int n_codes = ht_file_level_table(&q->grid, level);
    snprintf(shape, sizeof shape, "%zux%zu", l->out, l->in);
    put_vector(w, ht_file_path(path, group, "weight"), HT_U8, q->packed,
               ht_packed_size(l->out * l->in, q->grid.bits));
    ht_container_attr_text(w, path, "grid", q->grid.name);
    ht_container_attr_i64(w, path, "bits", q->grid.bits);
    ht_container_attr_i64(w, path, "signed", ht_grid_is_signed(&q->grid));
    ht_container_attr_text(w, path, "shape", shape);
    ht_container_attr_i64(w, path, "axis", q->channels == l->out ? 0 : -1);
    ht_container_attr_text(w, path, "order", "lsb");
    if (version > 1)
        ht_container_attr_i64(w, path, "group", (int64_t)q->group);
    if (n_codes > 0)
        put_vector(w, ht_file_path(path, group, "level"), HT_I32, level, (size_t)n_codes);
    put_vector(w, ht_file_path(path, group, "scale"), HT_F32, q->scale, q->channels);
    put_vector(w, ht_file_path(path, group, "zero_point"), HT_I32, q->zero_point, q->channels);
    put_vector(w, ht_file_path(path, group, "group_scale"), HT_U8, q->group_scale,
               l->out * ht_qlayer_groups(l));
}

static void put_layer(struct ht_container_writer *w, const struct ht_qlayer *l, size_t index,
                      uint32_t version)
{
    char group[HT_FILE_GROUP], path[HT_FILE_PATH];
    snprintf(group, sizeof group, HT_FILE_LAYER, index, l->name);
    ht_container_attr_i64(w, group, "inputs", (int64_t)l->in);
    ht_container_attr_i64(w, group, "outputs", (int64_t)l->out);
    put_weights(w, group, l, version);
    put_vector(w, ht_file_path(path, group, "bias"), HT_I32, l->bias, l->out);
    put_vector(w, ht_file_path(path, group, "real_bias"), HT_F32, l->real_bias, l->out);
    ht_file_path(path, group, "output");
    ht_container_attr_text(w, path, "kind", ht_file_kinds[l->output]);
    ht_container_attr_text(w, path, "activation", l->activation);
    if (version > 1)
        ht_container_attr_f64(w, path, "slope", (double)l->slope);
    if (l->output != HT_QOUTPUT_REAL)
        put_activation(w, path, &l->quant);
    if (l->has_table) {
        int32_t table[256];
        const int n = l->quant.grid.hi - l->quant.grid.lo + 1;
        for (int i = 0; i < n; i++) /* between levels there is nothing: zero, for equal bytes */
            table[i] = i % l->quant.grid.step == 0 ? l->table[i] : 0;
        put_vector(w, ht_file_path(path, group, "table"), HT_I32, table, (size_t)n);
        put_activation(w, path, &l->table_quant);
    }
}

static void put_texts(struct ht_container_writer *w, const struct ht_qmodel *m)
{
    ht_container_attr_text(w, "/", "format", HT_FILE_FORMAT);
    ht_container_attr_text(w, "/", "name", m->name);
    ht_container_attr_text(w, "/", "task", m->task);
    ht_container_attr_text(w, "/", "loss", m->loss);
    ht_container_attr_text(w, "/", "data_hash", m->data_hash);
    ht_container_attr_text(w, "/", "score_name", m->score_name);
    ht_container_attr_f64(w, "/", "validation_score", m->validation_score);
    ht_container_attr_i64(w, "/", "n_layers", (int64_t)m->n_layers);
    ht_container_attr_i64(w, "/", "n_classes", (int64_t)m->n_classes);
    ht_container_attr_i64(w, "/", "has_experiment", m->experiment && *m->experiment);
    if (m->experiment && *m->experiment)
        ht_container_put_text(w, "/experiment", m->experiment);
}

/* The oldest version that has what this model needs: readers of version 1 know no groups and no
 * modes. */
static uint32_t version_of(const struct ht_qmodel *m)
{
    for (size_t i = 0; i < m->n_layers; i++)
        if (m->layers[i].weights.group)
            return HT_QMODEL_VERSION;
    return strcmp(ht_qmodel_mode(m), "integer") == 0 ? 1 : HT_QMODEL_VERSION;
}

enum ht_status ht_qmodel_save(const struct ht_qmodel *m, const char *path, struct ht_error *err)
{
    struct ht_container_writer *w;
    struct ht_text classes = {0};
    const uint32_t version = version_of(m);
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
    for (size_t i = 0; i < m->n_classes; i++)
        ht_text_printf(&classes, "%s\n", m->classes[i]);
    if (classes.failed) {
        status = ht_fail_memory(err);
        goto done;
    }
    status = ht_container_create(&w, HT_FILE_KIND, version, err);
    if (status)
        goto done;
    put_texts(w, m);
    if (m->n_classes)
        ht_container_put_text(w, "/classes", ht_text_str(&classes));
    put_input(w, &m->input, version);
    for (size_t i = 0; i < m->n_layers; i++)
        put_layer(w, &m->layers[i], i, version);
    put_vector(w, "/target/mean", HT_F32, m->target_mean, m->outputs);
    put_vector(w, "/target/std", HT_F32, m->target_std, m->outputs);
    status = ht_container_finish(w, path, err);
done:
    ht_text_finish(&classes);
    return status;
}
