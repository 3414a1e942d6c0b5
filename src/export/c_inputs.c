/* From bytes and real values to levels. */
#include "export/c_parts.h"
#include "kernels/round.h"

/* docs/numerics.md, section 2, of a raw value of the first feature. */
static int32_t level_of(const struct ht_qinput *in, float raw)
{
    const struct ht_kernel_quantizer q = ht_c_quantizer(&in->quant);
    float x = raw;
    if (in->pixel_range == 255)
        x = raw / 255.0f;
    else if (in->pixel_range == -1)
        x = raw / 127.5f - 1.0f;
    if (in->mean)
        x = (x - in->mean[0]) / in->std[0];
    return ht_round_to_level(x / in->quant.scale, &q);
}

bool ht_c_byte_levels(const struct ht_qinput *in, int32_t level[256])
{
    if (!in->pixel_range)
        return false;
    for (size_t i = 1; in->mean && i < in->features; i++)
        if (in->mean[i] != in->mean[0] || in->std[i] != in->std[0])
            return false;
    for (int byte = 0; byte < 256; byte++)
        level[byte] = level_of(in, (float)byte);
    return true;
}

bool ht_c_bytes_are_levels(const struct ht_qinput *in)
{
    int32_t level[256];
    if (in->quant.is_signed || !ht_c_byte_levels(in, level))
        return false;
    for (int byte = 0; byte < 256; byte++)
        if (level[byte] != byte)
            return false;
    return true;
}

static void write_bytes(struct ht_c *c, const int32_t level[256])
{
    ht_c_printf(c, &c->source,
                "\n#ifdef HT_NET_BYTE_INPUT\n"
                "/* The level of each byte. */\n"
                "static const net_input net_byte_levels[256] HT_NET_SECTION = {");
    ht_c_integers(&c->source, level, 256);
    ht_c_printf(c, &c->source,
                "\n};\n\n"
                "void net_quantize_bytes(const uint8_t *raw, net_input *in)\n{\n"
                "    for (uint32_t i = 0u; i < HT_NET_INPUTS; i++) {\n"
                "        in[i] = net_byte_levels[raw[i]];\n"
                "    }\n"
                "}\n"
                "#endif\n");
}

static void write_moments(struct ht_c *c, const struct ht_qinput *in)
{
    ht_c_printf(c, &c->source, "static const float net_input_mean[%zu] HT_NET_SECTION = {",
                in->features);
    ht_c_floats(&c->source, in->mean, in->features);
    ht_c_printf(c, &c->source, "\n};\nstatic const float net_input_std[%zu] HT_NET_SECTION = {",
                in->features);
    ht_c_floats(&c->source, in->std, in->features);
    ht_c_printf(c, &c->source, "\n};\n\n");
}

/* From the float x, in units of the scale and within the clamp, to `level`. */
static void write_rounding(struct ht_c *c, const struct ht_qactivation *q)
{
    if (q->grid.step == 2) {
        ht_c_printf(c, &c->source,
                    "        x = x * 0.5f;\n"
                    "        level = (int32_t)x;\n"
                    "        if (x > (float)level) {\n"
                    "            level++;\n"
                    "        }\n"
                    "        level = (2 * level) - 1;\n");
        return;
    }
    ht_c_printf(c, &c->source,
                "        level = (int32_t)x;\n"
                "        rest = x - (float)level;\n");
    if (q->rounding == HT_ROUND_FLOOR)
        ht_c_printf(c, &c->source,
                    "        if (rest < 0.0f) {\n"
                    "            level--;\n"
                    "        }\n");
    else
        ht_c_printf(c, &c->source,
                    "        odd = level %% 2;\n"
                    "        if ((rest > 0.5f) || ((odd != 0) && (rest >= 0.5f))) {\n"
                    "            level++;\n"
                    "        } else if ((rest < -0.5f) || ((odd != 0) && (rest <= -0.5f))) {\n"
                    "            level--;\n"
                    "        } else {\n"
                    "            /* it is the nearest */\n"
                    "        }\n");
}

static void write_floats(struct ht_c *c, const struct ht_qinput *in)
{
    const struct ht_qactivation *q = &in->quant;
    const int lo = q->lo - q->zero_point, hi = q->hi - q->zero_point;
    ht_c_printf(c, &c->source, "\n#ifdef HT_NET_FLOAT_INPUT\n");
    if (in->mean)
        write_moments(c, in);
    ht_c_printf(c, &c->source,
                "void net_quantize(const float *raw, net_input *in)\n{\n"
                "    for (uint32_t i = 0u; i < HT_NET_INPUTS; i++) {\n"
                "        float x = raw[i];\n"
                "        int32_t level;\n%s%s",
                q->grid.step == 2 ? "" : "        float rest;\n",
                q->grid.step == 2 || q->rounding == HT_ROUND_FLOOR ? "" : "        int32_t odd;\n");
    if (in->pixel_range)
        ht_c_printf(c, &c->source, "        x = x / %s;\n",
                    in->pixel_range == 255 ? "255.0f" : "127.5f");
    if (in->pixel_range == -1)
        ht_c_printf(c, &c->source, "        x = x - 1.0f;\n");
    if (in->mean)
        ht_c_printf(c, &c->source,
                    "        x = x - net_input_mean[i];\n"
                    "        x = x / net_input_std[i];\n");
    ht_c_printf(c, &c->source,
                "        x = x / HT_NET_INPUT_SCALE;\n"
                "        if (!(x > %d.0f)) { /* NaN, too */\n"
                "            x = %d.0f;\n"
                "        }\n"
                "        if (x > %d.0f) {\n"
                "            x = %d.0f;\n"
                "        }\n",
                lo, lo, hi, hi);
    write_rounding(c, q);
    if (q->zero_point)
        ht_c_printf(c, &c->source, "        level = level%s;\n", ht_c_plus(q->zero_point).s);
    ht_c_printf(c, &c->source,
                "        in[i] = (net_input)level;\n"
                "    }\n"
                "}\n"
                "#endif\n");
}

void ht_c_write_inputs(struct ht_c *c)
{
    int32_t level[256];
    const struct ht_qinput *in = &c->model->input;
    if (ht_c_byte_levels(in, level) && !ht_c_bytes_are_levels(in))
        write_bytes(c, level);
    write_floats(c, in);
}
