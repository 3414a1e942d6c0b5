/* The header: sizes, types, functions, and what the network is. */
#include <stdio.h>
#include <string.h>

#include <halftone/version.h>

#include "export/c_parts.h"

struct ht_export_cost ht_c_cost(const struct ht_c *c, size_t i)
{
    const struct ht_qmodel *m = c->model;
    struct ht_export_cost sum = {0};
    if (i == m->n_layers) {
        const size_t width = c->layers[i - 1].to ? 1 : 4;
        for (size_t j = 0; j < i; j++) {
            const struct ht_export_cost one = ht_c_cost(c, j);
            sum.flash += one.flash;
            sum.float_flash += one.float_flash;
            sum.multiplies += one.multiplies;
            sum.float_multiplies += one.float_multiplies;
        }
        sum.ram = c->arena + m->input.features + width * m->outputs;
        sum.float_ram = 4 * ((i > 1 ? c->arena : 0) + m->input.features + m->outputs);
        return sum;
    }
    const struct ht_c_layer *l = &c->layers[i];
    const size_t in = l->layer->in, out = l->layer->out;
    return (struct ht_export_cost){
        .flash = ht_c_constant_bytes(l),
        .float_flash = 4 * (in + 1) * out,
        .ram = in + (l->to ? 1 : 4) * out,
        .float_ram = 4 * (in + out),
        /* requantization is one; so is each group's scale, and each zero point */
        .multiplies = out * (in + (l->to ? 1 : 0) + ht_qlayer_groups(l->layer) +
                             (l->layer->weights.zero_point ? 1 : 0)),
        .float_multiplies = in * out,
    };
}

static void write_costs(struct ht_c *c)
{
    struct ht_text *t = &c->header;
    const size_t n = c->model->n_layers;
    ht_text_printf(
        t,
        " * Bytes of constants (flash) and of inputs and outputs (RAM), and multiplications;"
        "\n * in brackets those of the same network in float32:\n *\n"
        " * %-16s %8s %8s %5s %20s %18s %22s\n",
        "layer", "inputs", "outputs", "bits", "flash", "RAM", "multiplications");
    for (size_t i = 0; i <= n; i++) {
        const struct ht_export_cost cost = ht_c_cost(c, i);
        const struct ht_qlayer *l = i < n ? &c->model->layers[i] : NULL;
        if (l)
            ht_text_printf(t, " * %-16s %8zu %8zu %5d", l->name, l->in, l->out,
                           l->weights.grid.bits);
        else
            ht_text_printf(t, " * %-16s %8s %8s %5s", "all", "", "", "");
        ht_text_printf(t, " %9zu (%8zu) %8zu (%7zu) %10zu (%9zu)\n", cost.flash, cost.float_flash,
                       cost.ram, cost.float_ram, cost.multiplies, cost.float_multiplies);
    }
}

static void write_begin(struct ht_c *c)
{
    const struct ht_qmodel *m = c->model;
    struct ht_text *t = &c->header;
    ht_text_printf(t, HT_C_MARK " " HALFTONE_VERSION ": ");
    ht_c_comment(t, m->name);
    ht_text_printf(t,
                   "\n *\n * An integer network as C99, of no library: no float, no allocation, no "
                   "recursion.\n *\n");
    write_costs(c);
    ht_c_printf(c, t, " */\n#ifndef HT_NET_H\n#define HT_NET_H\n\n#include <stdint.h>\n\n");
}

static void write_sizes(struct ht_c *c, const char *digest)
{
    const struct ht_qmodel *m = c->model;
    struct ht_text *t = &c->header;
    const struct ht_export_cost cost = ht_c_cost(c, m->n_layers);
    size_t macs = 0;
    for (size_t i = 0; i < m->n_layers; i++)
        macs += m->layers[i].in * m->layers[i].out;
    ht_c_printf(c, t,
                "#define HT_NET_INPUTS %zuu\n"
                "#define HT_NET_OUTPUTS %zuu\n"
                "#define HT_NET_ARENA_BYTES %zuu\n"
                "#define HT_NET_MACS %zuu\n"
                "#define HT_NET_FLASH_BYTES %zuu /* constants, without code */\n"
                "#define HT_NET_RAM_BYTES %zuu /* arena, input and output, without stack */\n",
                m->input.features, m->outputs, c->arena, macs, cost.flash, cost.ram);
    ht_c_printf(c, t, "#define HT_NET_NAME ");
    ht_c_literal(t, m->name);
    ht_c_printf(c, t, "\n#define HT_NET_HASH \"%s\"\n#define HT_NET_ID 0x%.8su\n\n", digest,
                digest);
}

static void write_class_names(struct ht_c *c)
{
    const struct ht_qmodel *m = c->model;
    struct ht_text *t = &c->header;
    if (!m->classes)
        return;
    ht_c_printf(c, t,
                "/* static const char *const names[] = HT_NET_CLASSES; */\n"
                "#define HT_NET_CLASSES \\\n    { \\\n");
    for (size_t i = 0; i < m->n_classes; i++) {
        ht_text_printf(t, "        ");
        ht_c_literal(t, m->classes[i]);
        ht_text_printf(t, ", \\\n");
    }
    ht_text_printf(t, "    }\n\n");
}

static void write_input(struct ht_c *c)
{
    const struct ht_qinput *in = &c->model->input;
    const struct ht_qactivation *q = &in->quant;
    struct ht_text *t = &c->header;
    int32_t level[256];
    const bool bytes = ht_c_bytes_are_levels(in);
    ht_c_printf(c, t, "/* Inputs are levels from %d to %d%s of %s%s.\n", q->lo, q->hi,
                q->grid.step == 2 ? ", every second," : "",
                in->mean          ? "standardized values"
                : in->pixel_range ? "pixels"
                                  : "values",
                bytes ? ": image bytes as they are" : "");
    ht_c_printf(c, t,
                " * value = HT_NET_INPUT_SCALE * (level - HT_NET_INPUT_ZERO_POINT) */\n"
                "#define HT_NET_INPUT_SCALE ");
    ht_c_float(t, q->scale);
    ht_c_printf(c, t,
                "\n#define HT_NET_INPUT_ZERO_POINT (%d)\n"
                "typedef %s net_input;\n\n",
                (int)q->zero_point, ht_c_type(q));
    if (!bytes && ht_c_byte_levels(in, level))
        ht_c_printf(c, t,
                    "#ifdef HT_NET_BYTE_INPUT\n"
                    "/* Image bytes to levels: raw[HT_NET_INPUTS], in[HT_NET_INPUTS]. */\n"
                    "void net_quantize_bytes(const uint8_t *raw, net_input *in);\n"
                    "#endif\n");
    ht_c_printf(c, t,
                "#ifdef HT_NET_FLOAT_INPUT\n"
                "/* Values as in the training data%s to levels: raw[HT_NET_INPUTS], "
                "in[HT_NET_INPUTS]. */\n"
                "void net_quantize(const float *raw, net_input *in);\n"
                "#endif\n\n",
                in->pixel_range ? " (bytes, 0 to 255)" : "");
}

/* Of sums: a scale for each output. */
static void write_scales(struct ht_c *c, const struct ht_qlayer *last)
{
    ht_c_printf(c, &c->header,
                "/* Outputs are sums: output n stands for out[n] * scale[n], in float32, where\n"
                " * static const float scale[] = HT_NET_OUTPUT_SCALES; */\n"
                "#define HT_NET_OUTPUT_SCALES \\\n    { \\\n");
    for (size_t n = 0; n < last->out; n++) {
        ht_text_printf(&c->header, "        ");
        ht_c_float(&c->header, last->multiplier[n]);
        ht_text_printf(&c->header, ", \\\n");
    }
    ht_c_printf(c, &c->header, "    }\n");
}

static void write_output(struct ht_c *c)
{
    const struct ht_c_layer *last = &c->layers[c->model->n_layers - 1];
    struct ht_text *t = &c->header;
    if (last->to) {
        ht_c_printf(c, t,
                    "/* Outputs are levels from %d to %d.\n"
                    " * value = HT_NET_OUTPUT_SCALE * (level - HT_NET_OUTPUT_ZERO_POINT) */\n"
                    "#define HT_NET_OUTPUT_SCALE ",
                    last->to->lo, last->to->hi);
        ht_c_float(t, last->to->scale);
        ht_c_printf(c, t, "\n#define HT_NET_OUTPUT_ZERO_POINT (%d)\n", (int)last->to->zero_point);
    } else {
        write_scales(c, last->layer);
    }
    ht_c_printf(c, t, "typedef %s net_output;\n\n", ht_c_type(last->to));
}

static void write_functions(struct ht_c *c)
{
    const struct ht_qmodel *m = c->model;
    struct ht_text *t = &c->header;
    ht_c_printf(c, t,
                "/* in[HT_NET_INPUTS], out[HT_NET_OUTPUTS], arena[HT_NET_ARENA_BYTES]; three "
                "places that do not\n * overlap. Returns 0. */\n"
                "int net_run(const net_input *in, net_output *out, uint8_t *arena);\n\n");
    if (ht_c_classifies(c))
        ht_c_printf(c, t,
                    "/* The class that outputs stand for, from 0: that of the largest value%s. "
                    "*/\n"
                    "int32_t net_classify(const net_output *out);\n\n",
                    m->outputs == 1 ? "; of one output, 1 when it is above 0"
                                    : ", the first of equal ones");
    ht_c_printf(c, t,
                "#ifdef HT_NET_FLOAT_OUTPUT\n"
                "/* Outputs as the trained network has them, bit for bit: out[HT_NET_OUTPUTS], "
                "y[HT_NET_OUTPUTS]. */\n"
                "void net_dequantize(const net_output *out, float *y);\n");
    if (m->target_mean)
        ht_c_printf(c, t,
                    "/* These in the unit of the targets: y * std + mean. */\n"
                    "void net_targets(const float *y, float *target);\n");
    ht_c_printf(c, t,
                "#endif\n\n"
                "#ifdef HT_NET_SELFTEST\n"
                "/* Runs known cases in the buffers of net_run. 0: all is well. 1: products are "
                "wrong; 2: so is\n * rounding; 3: so are outputs of the network. */\n"
                "int net_selftest(net_input *in, net_output *out, uint8_t *arena);\n"
                "#endif\n\n"
                "#endif\n");
}

void ht_c_write_header(struct ht_c *c, const char *digest)
{
    write_begin(c);
    write_sizes(c, digest);
    write_class_names(c);
    write_input(c);
    write_output(c);
    write_functions(c);
}

void ht_c_write_guard(struct ht_c *c, const char *digest)
{
    ht_c_printf(c, &c->source,
                "\n#if HT_NET_ID != 0x%.8su\n"
                "#error \"header and source are of two exports\"\n"
                "#endif\n",
                digest);
}
