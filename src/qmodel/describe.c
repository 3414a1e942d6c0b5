/* What the files of a model say: docs/file-format.md. */
#include "qmodel/describe.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "qmodel/file.h"

static void put_vector(const struct ht_qmodel_sink *w, const char *path,
                       enum ht_container_type type, const void *data, size_t n)
{
    if (data)
        w->put(w->user, path, type, data, n);
}

static void put_activation(const struct ht_qmodel_sink *w, const char *path,
                           const struct ht_qactivation *q)
{
    w->attr_text(w->user, path, "grid", q->grid.name);
    w->attr_i64(w->user, path, "bits", q->grid.bits);
    w->attr_i64(w->user, path, "signed", q->is_signed);
    w->attr_f64(w->user, path, "scale", (double)q->scale);
    w->attr_i64(w->user, path, "zero_point", q->zero_point);
    w->attr_i64(w->user, path, "lo", q->lo);
    w->attr_i64(w->user, path, "hi", q->hi);
    w->attr_text(w->user, path, "rounding",
                 q->rounding == HT_ROUND_FLOOR ? HT_FILE_FLOOR : HT_FILE_NEAREST_EVEN);
}

static void put_input(const struct ht_qmodel_sink *w, const struct ht_qinput *in, uint32_t version)
{
    if (version > 1)
        w->attr_text(w->user, "/input", "kind", ht_file_kinds[in->kind]);
    if (in->kind != HT_QOUTPUT_REAL)
        put_activation(w, "/input", &in->quant);
    w->attr_i64(w->user, "/input", "features", (int64_t)in->features);
    w->attr_i64(w->user, "/input", "pixel_range", in->pixel_range);
    w->attr_i64(w->user, "/input", "image_rows", (int64_t)in->image_rows);
    w->attr_i64(w->user, "/input", "image_columns", (int64_t)in->image_columns);
    put_vector(w, "/input/mean", HT_F32, in->mean, in->features);
    put_vector(w, "/input/std", HT_F32, in->std, in->features);
}

static void put_weights(const struct ht_qmodel_sink *w, const char *group,
                        const struct ht_qlayer *l, uint32_t version)
{
    const struct ht_qweights *q = &l->weights;
    char path[HT_FILE_PATH], shape[48];
    int32_t level[256];
    const int n_codes = ht_file_level_table(&q->grid, level);
    snprintf(shape, sizeof shape, "%zux%zu", l->out, l->in);
    put_vector(w, ht_file_path(path, group, "weight"), HT_U8, q->packed,
               ht_packed_size(l->out * l->in, q->grid.bits));
    w->attr_text(w->user, path, "grid", q->grid.name);
    w->attr_i64(w->user, path, "bits", q->grid.bits);
    w->attr_i64(w->user, path, "signed", ht_grid_is_signed(&q->grid));
    w->attr_text(w->user, path, "shape", shape);
    w->attr_i64(w->user, path, "axis", q->channels == l->out ? 0 : -1);
    w->attr_text(w->user, path, "order", "lsb");
    if (version > 1)
        w->attr_i64(w->user, path, "group", (int64_t)q->group);
    if (n_codes > 0)
        put_vector(w, ht_file_path(path, group, "level"), HT_I32, level, (size_t)n_codes);
    put_vector(w, ht_file_path(path, group, "scale"), HT_F32, q->scale, q->channels);
    put_vector(w, ht_file_path(path, group, "zero_point"), HT_I32, q->zero_point, q->channels);
    put_vector(w, ht_file_path(path, group, "group_scale"), HT_U8, q->group_scale,
               l->out * ht_qlayer_groups(l));
}

static void put_layer(const struct ht_qmodel_sink *w, const struct ht_qlayer *l, size_t index,
                      uint32_t version)
{
    char group[HT_FILE_GROUP], path[HT_FILE_PATH];
    snprintf(group, sizeof group, HT_FILE_LAYER, index, l->name);
    w->attr_i64(w->user, group, "inputs", (int64_t)l->in);
    w->attr_i64(w->user, group, "outputs", (int64_t)l->out);
    put_weights(w, group, l, version);
    put_vector(w, ht_file_path(path, group, "bias"), HT_I32, l->bias, l->out);
    put_vector(w, ht_file_path(path, group, "real_bias"), HT_F32, l->real_bias, l->out);
    ht_file_path(path, group, "output");
    w->attr_text(w->user, path, "kind", ht_file_kinds[l->output]);
    w->attr_text(w->user, path, "activation", l->activation);
    if (version > 1)
        w->attr_f64(w->user, path, "slope", (double)l->slope);
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

static void put_texts(const struct ht_qmodel_sink *w, const struct ht_qmodel *m)
{
    w->attr_text(w->user, "/", "format", HT_FILE_FORMAT);
    w->attr_text(w->user, "/", "name", m->name);
    w->attr_text(w->user, "/", "task", m->task);
    w->attr_text(w->user, "/", "loss", m->loss);
    w->attr_text(w->user, "/", "data_hash", m->data_hash);
    w->attr_text(w->user, "/", "score_name", m->score_name);
    w->attr_f64(w->user, "/", "validation_score", m->validation_score);
    w->attr_i64(w->user, "/", "n_layers", (int64_t)m->n_layers);
    w->attr_i64(w->user, "/", "n_classes", (int64_t)m->n_classes);
    w->attr_i64(w->user, "/", "has_experiment", m->experiment && *m->experiment);
    if (m->experiment && *m->experiment)
        w->put_text(w->user, "/experiment", m->experiment);
}

uint32_t ht_qmodel_version(const struct ht_qmodel *m)
{
    for (size_t i = 0; i < m->n_layers; i++)
        if (m->layers[i].weights.group)
            return HT_QMODEL_VERSION;
    return strcmp(ht_qmodel_mode(m), "integer") == 0 ? 1 : HT_QMODEL_VERSION;
}

enum ht_status ht_qmodel_describe(const struct ht_qmodel *m, const struct ht_qmodel_sink *sink,
                                  struct ht_error *err)
{
    struct ht_text classes = {0};
    const uint32_t version = ht_qmodel_version(m);
    for (size_t i = 0; i < m->n_classes; i++)
        ht_text_printf(&classes, "%s\n", m->classes[i]);
    if (classes.failed) {
        ht_text_finish(&classes);
        return ht_fail_memory(err);
    }
    put_texts(sink, m);
    if (m->n_classes)
        sink->put_text(sink->user, "/classes", ht_text_str(&classes));
    put_input(sink, &m->input, version);
    for (size_t i = 0; i < m->n_layers; i++)
        put_layer(sink, &m->layers[i], i, version);
    put_vector(sink, "/target/mean", HT_F32, m->target_mean, m->outputs);
    put_vector(sink, "/target/std", HT_F32, m->target_std, m->outputs);
    ht_text_finish(&classes);
    return HT_OK;
}
