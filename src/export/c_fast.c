/* Inner loops for ARM cores with vectors (MVE) or pairs of 16 bits (DSP). They do most of a row, in
 * steps of 8 or 4 inputs; the plain loop behind them does what is left. */
#include "export/c_parts.h"

/* Levels that are int8, or two's complement within bytes. */
static bool is_fast(const struct ht_c_reader *r)
{
    if (r->decode == HT_C_BYTES)
        return r->weight_signed;
    return r->decode == HT_C_SIGNED && r->aligned;
}

void ht_c_write_fast_head(struct ht_c *c)
{
    bool any = false;
    for (size_t i = 0; i < c->model->n_layers; i++)
        any |= is_fast(&c->layers[i].reader);
    if (!any)
        return;
    ht_c_printf(c, &c->source,
                "#if defined(__ARM_FEATURE_MVE) && !defined(HT_NET_PLAIN)\n"
                "#include <arm_mve.h>\n"
                "#define HT_NET_MVE\n"
                "#elif defined(__ARM_FEATURE_DSP) && !defined(__ARM_BIG_ENDIAN) && "
                "!defined(HT_NET_PLAIN)\n"
                "#include <arm_acle.h>\n"
                "#define HT_NET_DSP\n"
                "static uint32_t net_word(const void *bytes)\n"
                "{\n"
                "    uint32_t word;\n"
                "    __builtin_memcpy(&word, bytes, 4);\n"
                "    return word;\n"
                "}\n"
                "#endif\n\n");
}

/* Weights k to k + 7 as int16; codes of 8 inputs are `bits` bytes. */
static void write_vector(struct ht_c *c, const struct ht_c_reader *r)
{
    struct ht_text *t = &c->source;
    const int bits = r->bits, sign = 1 << (bits - 1);
    ht_c_printf(c, t, "#ifdef HT_NET_MVE\n");
    if (r->decode == HT_C_SIGNED) {
        ht_c_printf(c, t, "    static const uint16_t place[8] = {");
        for (int i = 0; i < 8; i++)
            ht_text_printf(t, "%s%d", i ? ", " : "", i * bits / 8);
        ht_c_printf(c, t, "};\n    static const int16_t down[8] = {");
        for (int i = 0; i < 8; i++)
            ht_text_printf(t, "%s%d", i ? ", " : "", -(i * bits % 8));
        ht_c_printf(c, t, "};\n");
    }
    ht_c_printf(c, t, "    for (; (n - k) >= 8u; k += 8u) {\n");
    if (r->decode == HT_C_SIGNED)
        ht_c_printf(c, t,
                    "        uint16x8_t code = vldrbq_gather_offset_u16(packed, "
                    "vld1q_u16(place));\n"
                    "        code = vandq_u16(vshlq_u16(code, vld1q_s16(down)), "
                    "vdupq_n_u16(%du));\n"
                    "        code = veorq_u16(code, vdupq_n_u16(%du));\n"
                    "        const int16x8_t v = vsubq_n_s16(vreinterpretq_s16_u16(code), %d);\n"
                    "        packed = &packed[%d];\n",
                    2 * sign - 1, sign, sign, bits);
    else
        ht_c_printf(c, t, "        const int16x8_t v = vldrbq_s16(&w[k]);\n");
    ht_c_printf(c, t, "        sum = vmladavaq_s16(sum, %s, v);\n    }\n",
                r->input_signed ? "vldrbq_s16(&a[k])" : "vreinterpretq_s16_u16(vldrbq_u16(&a[k]))");
}

/* Weights k and k + 2, k + 1 and k + 3 as pairs of int16; packed codes of 4 inputs are bits / 2
 * bytes. */
static void write_pairs(struct ht_c *c, const struct ht_c_reader *r)
{
    struct ht_text *t = &c->source;
    const char *first = r->input_signed ? "__sxtb16((int8x4_t)x)" : "(x & 0xff00ffu)";
    const char *second =
        r->input_signed ? "__sxtb16((int8x4_t)(x >> 8u))" : "((x >> 8u) & 0xff00ffu)";
    const unsigned sign = 0x00010001u << (r->bits - 1), mask = 0x00010001u * ((1u << r->bits) - 1);
    ht_c_printf(c, t,
                "#elif defined(HT_NET_DSP)\n    for (; (n - k) >= 4u; k += 4u) {\n"
                "        const uint32_t x = net_word(&a[k]);\n");
    if (r->decode == HT_C_BYTES)
        ht_c_printf(c, t,
                    "        const uint32_t y = net_word(&w[k]);\n"
                    "        const int16x2_t even = __sxtb16((int8x4_t)y);\n"
                    "        const int16x2_t odd = __sxtb16((int8x4_t)(y >> 8u));\n");
    else
        ht_c_printf(c, t,
                    "        const uint32_t y = %s;\n"
                    "        const uint32_t low = (y | (y << %du)) & 0x%xu;\n"
                    "        const uint32_t high = ((y >> %du) | (y << %du)) & 0x%xu;\n"
                    "        const int16x2_t even = __ssub16((int16x2_t)(low ^ 0x%xu), 0x%x);\n"
                    "        const int16x2_t odd = __ssub16((int16x2_t)(high ^ 0x%xu), 0x%x);\n"
                    "        packed = &packed[%d];\n",
                    r->bits == 4 ? "(uint32_t)packed[0] | ((uint32_t)packed[1] << 8u)"
                                 : "packed[0]",
                    16 - 2 * r->bits, mask, r->bits, 16 - 3 * r->bits, mask, sign, sign, sign, sign,
                    r->bits / 2);
    ht_c_printf(c, t,
                "        sum = __smlad((int16x2_t)%s, even, sum);\n"
                "        sum = __smlad((int16x2_t)%s, odd, sum);\n"
                "    }\n#endif\n",
                first, second);
}

void ht_c_write_fast(struct ht_c *c, const struct ht_c_reader *r)
{
    if (!is_fast(r))
        return;
    write_vector(c, r);
    write_pairs(c, r);
}
