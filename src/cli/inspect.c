#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "io/container.h"
#include "qmodel/qmodel.h"
#include "report/human.h"

/* --- integer models --- */

static const struct ht_column model_columns[] = {
    {.key = "layer", .kind = HT_COLUMN_TEXT},
    {.key = "shape", .kind = HT_COLUMN_TEXT, .align = HT_ALIGN_RIGHT},
    {.key = "weight_bits", .title = "weights\nbits", .kind = HT_COLUMN_INTEGER},
    {.key = "weight_grid", .title = "\ngrid", .kind = HT_COLUMN_TEXT},
    {.key = "scales", .title = "\nscales", .kind = HT_COLUMN_INTEGER},
    {.key = "group", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "scale_min", .kind = HT_COLUMN_REAL, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "scale_max", .kind = HT_COLUMN_REAL, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "zeros", .title = "\nzeros", .kind = HT_COLUMN_PERCENT, .digits = 1},
    {.key = "activation", .title = "\nactivation", .kind = HT_COLUMN_TEXT},
    {.key = "output_kind", .title = "output\nscale", .kind = HT_COLUMN_TEXT},
    {.key = "output_bits", .title = "\nbits", .kind = HT_COLUMN_INTEGER},
    {.key = "output_grid", .title = "\ngrid", .kind = HT_COLUMN_TEXT},
    {.key = "output_scale", .title = "\nscale", .kind = HT_COLUMN_REAL, .digits = 6},
    {.key = "output_zero_point", .title = "\nzero point", .kind = HT_COLUMN_INTEGER},
    {.key = "accumulator_min", .title = "accumulator\nmin", .kind = HT_COLUMN_INTEGER},
    {.key = "accumulator_max", .title = "\nmax", .kind = HT_COLUMN_INTEGER},
    {.key = "accumulator_bits", .title = "\nbits", .kind = HT_COLUMN_INTEGER},
    {.key = "product_min", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "product_max", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "product_bits", .title = "\nno bias", .kind = HT_COLUMN_INTEGER},
    {.key = "worst_accumulator", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "bytes", .title = "\nbytes", .kind = HT_COLUMN_BYTES},
};

static void set_activation(struct ht_table *t, enum ht_qoutput_kind kind,
                           const struct ht_qactivation *a)
{
    static const char *const kinds[] = {[HT_QOUTPUT_CODES] = "static",
                                        [HT_QOUTPUT_DYNAMIC] = "dynamic",
                                        [HT_QOUTPUT_REAL] = "float"};
    ht_table_set_text(t, "output_kind", kinds[kind]);
    ht_table_set_integer(t, "output_bits", kind == HT_QOUTPUT_REAL ? 32 : a->grid.bits);
    if (kind != HT_QOUTPUT_REAL)
        ht_table_set_text(t, "output_grid", a->grid.name);
    if (kind != HT_QOUTPUT_CODES)
        return;
    ht_table_set_real(t, "output_scale", (double)a->scale);
    ht_table_set_integer(t, "output_zero_point", a->zero_point);
}

/* Share of weights whose value is zero. */
static double zeros(const struct ht_qlayer *l)
{
    size_t n = l->in * l->out, count = 0;
    for (size_t i = 0; i < n; i++) {
        size_t channel = l->weights.channels == 1 ? 0 : i / l->in;
        int zero = l->weights.zero_point ? (int)l->weights.zero_point[channel] : 0;
        if (ht_grid_is_float16(&l->weights.grid))
            count += (ht_unpack_code(l->weights.packed, i, 16) & 0x7fff) == 0;
        else
            count += ht_qlayer_weight(l, i / l->in, i % l->in) == zero;
    }
    return (double)count / (double)n;
}

static void add_layer(struct ht_table *t, const struct ht_qmodel *m, size_t i)
{
    const struct ht_qlayer *l = &m->layers[i];
    char shape[64];
    float lo = l->weights.scale[0], hi = lo;
    for (size_t c = 1; c < l->weights.channels; c++) {
        lo = l->weights.scale[c] < lo ? l->weights.scale[c] : lo;
        hi = l->weights.scale[c] > hi ? l->weights.scale[c] : hi;
    }
    snprintf(shape, sizeof shape, "%zu -> %zu", l->in, l->out);
    ht_table_add_row(t);
    ht_table_set_text(t, "layer", l->name);
    ht_table_set_text(t, "shape", shape);
    ht_table_set_integer(t, "weight_bits", l->weights.grid.bits);
    ht_table_set_text(t, "weight_grid", l->weights.grid.name);
    ht_table_set_integer(
        t, "scales",
        (int64_t)(l->weights.group ? l->out * ht_qlayer_groups(l) : l->weights.channels));
    if (l->weights.group)
        ht_table_set_integer(t, "group", (int64_t)l->weights.group);
    ht_table_set_real(t, "scale_min", (double)lo);
    ht_table_set_real(t, "scale_max", (double)hi);
    ht_table_set_real(t, "zeros", zeros(l));
    ht_table_set_text(t, "activation", l->activation);
    set_activation(t, l->output, ht_qlayer_output_quant(l));
    if (ht_qlayer_input_kind(m, i) != HT_QOUTPUT_REAL) {
        const struct ht_accumulators a = ht_qlayer_accumulators(m, i);
        ht_table_set_integer(t, "accumulator_min", a.min);
        ht_table_set_integer(t, "accumulator_max", a.max);
        ht_table_set_integer(t, "accumulator_bits", a.bits);
        ht_table_set_integer(t, "product_min", a.product_min);
        ht_table_set_integer(t, "product_max", a.product_max);
        ht_table_set_integer(t, "product_bits", a.product_bits);
        ht_table_set_integer(t, "worst_accumulator", ht_qlayer_worst_accumulator(m, i));
    }
    ht_table_set_integer(t, "bytes", (int64_t)ht_qlayer_weight_bytes(l));
}

static enum ht_status inspect_model(const struct ht_cli *cli, const char *path,
                                    struct ht_error *err)
{
    struct ht_qmodel *m;
    struct ht_table *t = NULL;
    enum ht_status status = ht_qmodel_load(&m, path, err);
    if (status != HT_OK)
        return status;
    status = ht_table_create(&t, model_columns, sizeof model_columns / sizeof *model_columns, err);
    if (status == HT_OK) {
        char shape[64];
        snprintf(shape, sizeof shape, "%zu", m->input.features);
        ht_table_add_row(t);
        ht_table_set_text(t, "layer", "input");
        ht_table_set_text(t, "shape", shape);
        set_activation(t, m->input.kind, &m->input.quant);
        for (size_t i = 0; i < m->n_layers; i++)
            add_layer(t, m, i);
        status = ht_table_write(t, cli->format, stdout, err);
    }
    if (status == HT_OK)
        ht_cli_say(cli, "%s model %s: %s, %s (float32: %s), validation %s %.4f", ht_qmodel_mode(m),
                   m->name, m->task, ht_human_bytes(ht_qmodel_bytes(m)).s,
                   ht_human_bytes(ht_qmodel_float_bytes(m)).s, m->score_name, m->validation_score);
    ht_table_destroy(t);
    ht_qmodel_destroy(m);
    return status;
}

/* --- checkpoints: every tensor in them --- */

static const struct ht_column tensor_columns[] = {
    {.key = "tensor", .kind = HT_COLUMN_TEXT},
    {.key = "shape", .kind = HT_COLUMN_TEXT, .align = HT_ALIGN_RIGHT},
    {.key = "min", .kind = HT_COLUMN_REAL, .digits = 5},
    {.key = "mean", .kind = HT_COLUMN_REAL, .digits = 5},
    {.key = "max", .kind = HT_COLUMN_REAL, .digits = 5},
    {.key = "bytes", .kind = HT_COLUMN_BYTES},
};

struct walk {
    struct ht_container_reader *reader;
    struct ht_table *table;
    char folder[512];
    struct ht_error *err;
};

static enum ht_status add_tensor(struct walk *w, const char *path)
{
    enum ht_container_type type;
    size_t shape[4], n = 1;
    int rank;
    char text[64];
    enum ht_status status = ht_container_info(w->reader, path, &type, &rank, shape, w->err);
    if (status != HT_OK || type != HT_F32 || rank == 0)
        return status;
    for (int i = 0; i < rank; i++)
        n *= shape[i]; /* the container bounds the product */
    float *x = ht_calloc(n, sizeof *x);
    if (!x)
        return ht_fail_memory(w->err);
    status = ht_container_get(w->reader, path, HT_F32, x, n, w->err);
    if (status == HT_OK) {
        double lo = (double)x[0], hi = lo, sum = 0;
        for (size_t i = 0; i < n; i++) {
            lo = (double)x[i] < lo ? (double)x[i] : lo;
            hi = (double)x[i] > hi ? (double)x[i] : hi;
            sum += (double)x[i];
        }
        if (rank == 2 && shape[0] > 1)
            snprintf(text, sizeof text, "%zux%zu", shape[0], shape[1]);
        else
            snprintf(text, sizeof text, "%zu", n);
        ht_table_add_row(w->table);
        ht_table_set_text(w->table, "tensor", path + 1);
        ht_table_set_text(w->table, "shape", text);
        ht_table_set_real(w->table, "min", lo);
        ht_table_set_real(w->table, "mean", sum / (double)n);
        ht_table_set_real(w->table, "max", hi);
        ht_table_set_integer(w->table, "bytes", (int64_t)(n * sizeof *x));
    }
    ht_free(x);
    return status;
}

static enum ht_status visit(void *user, const char *name, int is_group)
{
    struct walk *w = user;
    size_t length = strlen(w->folder);
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", w->folder, name);
    if (!is_group)
        return add_tensor(w, path);
    snprintf(w->folder, sizeof w->folder, "%.511s", path);
    enum ht_status status = ht_container_list(w->reader, path, visit, w, w->err);
    w->folder[length] = '\0';
    return status;
}

static enum ht_status inspect_checkpoint(const struct ht_cli *cli, struct ht_container_reader *r,
                                         struct ht_error *err)
{
    struct walk w = {r, NULL, "", err};
    int64_t epoch = 0, step = 0;
    enum ht_status status = ht_table_create(&w.table, tensor_columns,
                                            sizeof tensor_columns / sizeof *tensor_columns, err);
    if (status == HT_OK)
        status = ht_container_list(r, "/", visit, &w, err);
    if (status == HT_OK)
        status = ht_container_get_attr_i64(r, "/", "epoch", &epoch, err);
    if (status == HT_OK)
        status = ht_container_get_attr_i64(r, "/", "step", &step, err);
    if (status == HT_OK)
        status = ht_table_write(w.table, cli->format, stdout, err);
    if (status == HT_OK)
        ht_cli_say(cli, "checkpoint after %lld epochs, step %lld", (long long)epoch,
                   (long long)step);
    ht_table_destroy(w.table);
    return status;
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_container_reader *r;
    char path[HT_PATH_LENGTH + 64];
    ht_cli_model_path(cli->args[0], path);
    enum ht_status status = ht_container_open(&r, path, NULL, 1u << 30, err);
    if (status != HT_OK)
        return status;
    if (strcmp(ht_container_kind(r), "model") == 0)
        status = inspect_model(cli, path, err);
    else
        status = inspect_checkpoint(cli, r, err);
    ht_container_close(r);
    return status;
}

const struct ht_command ht_command_inspect = {
    .name = "inspect",
    .arguments = "FILE",
    .summary = "show what is in a model or checkpoint: layers, bits, scales, sizes",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
