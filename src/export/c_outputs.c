/* The arithmetic of requantization, net_run, and what is made of its outputs. */
#include <string.h>

#include "export/c_parts.h"

const char *const ht_c_roundings[HT_C_ROUNDINGS] = {"nearest", "floor", "odd"};

const char *ht_c_rounding(const struct ht_qactivation *q)
{
    if (q->grid.step == 2)
        return "odd";
    return q->rounding == HT_ROUND_FLOOR ? "floor" : "nearest";
}

bool ht_c_rounds(const struct ht_c *c, const char *rounding)
{
    for (size_t i = 0; i < c->model->n_layers; i++)
        if (c->layers[i].to && strcmp(ht_c_rounding(&c->layers[i].layer->quant), rounding) == 0)
            return true;
    return false;
}

static const struct ht_c_layer *last_layer(const struct ht_c *c)
{
    return &c->layers[c->model->n_layers - 1];
}

bool ht_c_classifies(const struct ht_c *c)
{
    return strcmp(c->model->task, "classification") == 0;
}

/* Is it used whatever is defined? */
static bool always_scales(const struct ht_c *c)
{
    return c->model->n_layers > 1 || last_layer(c)->to ||
           (ht_c_classifies(c) && c->model->outputs > 1);
}

void ht_c_write_arithmetic(struct ht_c *c)
{
    static const char *const pieces[HT_C_ROUNDINGS] = {ht_c_piece_nearest, ht_c_piece_floor,
                                                       ht_c_piece_odd};
    const bool always = always_scales(c);
    if (!always)
        ht_c_printf(c, &c->source,
                    "#if defined(HT_NET_FLOAT_OUTPUT) || defined(HT_NET_SELFTEST)\n");
    ht_c_piece(c, &c->source, ht_c_piece_scale);
    if (!always)
        ht_c_printf(c, &c->source, "#endif\n");
    ht_c_printf(c, &c->source, "\n");
    for (size_t i = 0; i < HT_C_ROUNDINGS; i++)
        if (ht_c_rounds(c, ht_c_roundings[i])) {
            ht_c_piece(c, &c->source, pieces[i]);
            ht_c_printf(c, &c->source, "\n");
        }
}

/* Levels in the arena; its bytes are int8 or uint8. */
static void write_place(struct ht_c *c, const struct ht_c_layer *l, bool constant)
{
    const bool cast = l->to->is_signed;
    ht_c_printf(c, &c->source, "%s&arena[%zu]",
                !cast      ? ""
                : constant ? "(const int8_t *)"
                           : "(int8_t *)",
                l->offset);
}

void ht_c_write_run(struct ht_c *c)
{
    const size_t n = c->model->n_layers;
    ht_c_printf(
        c, &c->source,
        "typedef char net_arena_is_large_enough[(HT_NET_ARENA_BYTES >= %zuu) ? 1 : -1];\n\n",
        c->arena);
    ht_c_printf(c, &c->source,
                "int net_run(const net_input *in, net_output *out, uint8_t *arena)\n{\n");
    if (n == 1)
        ht_c_printf(c, &c->source, "    (void)arena;\n");
    for (size_t i = 0; i < n; i++) {
        ht_c_printf(c, &c->source, "    net_layer%zu(", i + 1);
        if (i == 0)
            ht_c_printf(c, &c->source, "in");
        else
            write_place(c, &c->layers[i - 1], true);
        ht_c_printf(c, &c->source, ", ");
        if (i + 1 == n)
            ht_c_printf(c, &c->source, "out");
        else
            write_place(c, &c->layers[i], false);
        ht_c_printf(c, &c->source, ");\n");
    }
    ht_c_printf(c, &c->source, "    return 0;\n}\n");
}

/* What is compared, of output n. */
static void write_comparable(struct ht_c *c, const char *n)
{
    const struct ht_c_layer *l = last_layer(c);
    if (l->to)
        ht_c_printf(c, &c->source, "(int32_t)out[%s]", n);
    else
        ht_c_printf(c, &c->source, "net_scale(out[%s], net_multiplier%zu[%s])", n, l->number,
                    l->multipliers > 1 ? n : "0");
}

static void write_classify(struct ht_c *c)
{
    const struct ht_c_layer *l = last_layer(c);
    ht_c_printf(c, &c->source, "\nint32_t net_classify(const net_output *out)\n{\n");
    if (c->model->outputs == 1) {
        ht_c_printf(c, &c->source, "    return (out[0] > %d) ? 1 : 0;\n}\n",
                    l->to ? (int)l->to->zero_point : 0);
        return;
    }
    ht_c_printf(c, &c->source, "    int32_t best = 0;\n    int32_t most = ");
    write_comparable(c, "0");
    ht_c_printf(c, &c->source,
                ";\n    for (uint32_t n = 1u; n < HT_NET_OUTPUTS; n++) {\n"
                "        const int32_t y = ");
    write_comparable(c, "n");
    ht_c_printf(c, &c->source,
                ";\n"
                "        if (y > most) {\n"
                "            most = y;\n"
                "            best = (int32_t)n;\n"
                "        }\n"
                "    }\n"
                "    return best;\n"
                "}\n");
}

static void write_targets(struct ht_c *c)
{
    const struct ht_qmodel *m = c->model;
    ht_c_printf(c, &c->source, "\nstatic const float net_target_mean[%zu] HT_NET_SECTION = {",
                m->outputs);
    ht_c_floats(&c->source, m->target_mean, m->outputs);
    ht_c_printf(c, &c->source, "\n};\nstatic const float net_target_std[%zu] HT_NET_SECTION = {",
                m->outputs);
    ht_c_floats(&c->source, m->target_std, m->outputs);
    ht_c_printf(c, &c->source,
                "\n};\n\n"
                "void net_targets(const float *y, float *target)\n{\n"
                "    for (uint32_t n = 0u; n < HT_NET_OUTPUTS; n++) {\n"
                "        const float scaled = y[n] * net_target_std[n];\n"
                "        target[n] = scaled + net_target_mean[n];\n"
                "    }\n"
                "}\n");
}

void ht_c_write_outputs(struct ht_c *c)
{
    const struct ht_c_layer *l = last_layer(c);
    if (ht_c_classifies(c))
        write_classify(c);
    ht_c_printf(c, &c->source, "\n#ifdef HT_NET_FLOAT_OUTPUT\n");
    if (!l->to)
        ht_c_piece(c, &c->source, ht_c_piece_float);
    ht_c_printf(c, &c->source,
                "\nvoid net_dequantize(const net_output *out, float *y)\n{\n"
                "    for (uint32_t n = 0u; n < HT_NET_OUTPUTS; n++) {\n        ");
    if (l->to) {
        ht_c_printf(c, &c->source, "y[n] = HT_NET_OUTPUT_SCALE * (float)((int32_t)out[n]%s);\n",
                    ht_c_plus(-l->to->zero_point).s);
    } else {
        ht_c_printf(c, &c->source, "y[n] = net_float(");
        write_comparable(c, "n");
        ht_c_printf(c, &c->source, ");\n");
    }
    ht_c_printf(c, &c->source, "    }\n}\n");
    if (c->model->target_mean)
        write_targets(c);
    ht_c_printf(c, &c->source, "#endif\n");
}
