/* net_selftest: arithmetic where it is difficult, and the outputs of whole networks. */
#include <string.h>

#include "export/c_parts.h"
#include "kernels/round.h"

struct scaling {
    int32_t acc;
    uint32_t multiplier; /* bits of a float32 */
};

#define HALF    0x3f000000u /* 0.5 */
#define QUARTER 0x3e800000u
#define ONE     0x3f800000u
#define MORE    0x3f800001u /* the next number above 1 */
#define LARGE   0x7f7fffffu /* the largest float32 */
#define SMALL   0x00800000u /* the smallest normal one */

/* Ties to both sides, of accumulators that float32 does not hold and of products, too; all but
 * ties; saturation; overflow; the smallest. */
static const struct scaling scalings[] = {
    {0, ONE},
    {1, HALF},
    {3, HALF},
    {-1, HALF},
    {-3, HALF},
    {5, HALF},
    {2, QUARTER},
    {-6, QUARTER},
    {253, HALF},
    {-253, HALF},
    {127, ONE},
    {128, ONE},
    {-128, ONE},
    {1, MORE - 2},
    {3, HALF + 1},
    {3, HALF - 1},
    {-3, HALF + 1},
    {16777217, 0x35000000u}, /* 2^24 + 1: a tie in fl32(acc); times 2^-21 */
    {16777219, 0x35000000u},
    {-16777217, 0x35400000u},
    {50331651, 0x33800000u}, /* times 2^-24 */
    {8388609, MORE},
    {12582915, 0x34000001u},
    {-12582913, 0x34000003u},
    {2147483647, ONE},
    {-2147483647, 0x30000000u},
    {2147483647, LARGE},
    {-2147483647, LARGE},
    {1, SMALL},
    {-1, SMALL},
};
#define SCALINGS (sizeof scalings / sizeof *scalings)

static int32_t scaled(const struct scaling *s)
{
    float multiplier;
    memcpy(&multiplier, &s->multiplier, sizeof multiplier);
    const uint32_t bits = ht_c_float_bits(ht_scale_accumulator(s->acc, multiplier));
    return bits >> 31 ? -(int32_t)(bits & 0x7fffffffu) : (int32_t)bits;
}

static int32_t rounded(const struct scaling *s, const char *rounding)
{
    float multiplier;
    memcpy(&multiplier, &s->multiplier, sizeof multiplier);
    struct ht_kernel_quantizer q = {-127, 127, 0, HT_KERNEL_NEAREST_EVEN};
    if (strcmp(rounding, "floor") == 0)
        q.rounding = HT_KERNEL_FLOOR;
    else if (strcmp(rounding, "odd") == 0)
        q.rounding = HT_KERNEL_NEAREST_ODD;
    return ht_round_to_level(ht_scale_accumulator(s->acc, multiplier), &q);
}

/* One array for the products, and one for each rounding. */
static void write_expected(struct ht_c *c)
{
    int32_t acc[SCALINGS], value[SCALINGS];
    uint32_t multiplier[SCALINGS];
    for (size_t i = 0; i < SCALINGS; i++) {
        acc[i] = scalings[i].acc;
        multiplier[i] = scalings[i].multiplier;
        value[i] = scaled(&scalings[i]);
    }
    ht_c_printf(c, &c->source, "static const int32_t net_test_acc[%zu] = {", SCALINGS);
    ht_c_integers(&c->source, acc, SCALINGS);
    ht_c_printf(c, &c->source, "\n};\nstatic const uint32_t net_test_multiplier[%zu] = {",
                SCALINGS);
    ht_c_bits(&c->source, multiplier, SCALINGS);
    ht_c_printf(c, &c->source, "\n};\nstatic const int32_t net_test_scaled[%zu] = {", SCALINGS);
    ht_c_integers(&c->source, value, SCALINGS);
    ht_c_printf(c, &c->source, "\n};\n");
    for (size_t r = 0; r < HT_C_ROUNDINGS; r++) {
        if (!ht_c_rounds(c, ht_c_roundings[r]))
            continue;
        for (size_t i = 0; i < SCALINGS; i++)
            value[i] = rounded(&scalings[i], ht_c_roundings[r]);
        ht_c_printf(c, &c->source, "static const int32_t net_test_%s[%zu] = {", ht_c_roundings[r],
                    SCALINGS);
        ht_c_integers(&c->source, value, SCALINGS);
        ht_c_printf(c, &c->source, "\n};\n");
    }
}

static void write_function(struct ht_c *c)
{
    const struct ht_qactivation *q = &c->model->input.quant;
    ht_c_printf(c, &c->source,
                "int net_selftest(net_input *in, net_output *out, uint8_t *arena)\n{\n"
                "    int failed = 0;\n"
                "    for (uint32_t i = 0u; i < %zuu; i++) {\n"
                "        const int32_t u = net_scale(net_test_acc[i], net_test_multiplier[i]);\n"
                "        if (u != net_test_scaled[i]) {\n"
                "            failed = 1;\n"
                "        }\n",
                SCALINGS);
    for (size_t r = 0; r < HT_C_ROUNDINGS; r++)
        if (ht_c_rounds(c, ht_c_roundings[r]))
            ht_c_printf(c, &c->source,
                        "        if (net_%s(u, -127, 127) != net_test_%s[i]) {\n"
                        "            failed = 2;\n"
                        "        }\n",
                        ht_c_roundings[r], ht_c_roundings[r]);
    ht_c_printf(c, &c->source,
                "    }\n"
                "    for (uint32_t v = 0u; v < %uu; v++) {\n"
                "        uint32_t state = v + 1u;\n"
                "        uint32_t hash = 2166136261u;\n"
                "        for (uint32_t i = 0u; i < HT_NET_INPUTS; i++) {\n"
                "            in[i] = (net_input)net_test_level(v, &state, %d, %d, %zuu);\n"
                "        }\n"
                "        if (net_run(in, out, arena) != 0) {\n"
                "            failed = 3;\n"
                "        }\n"
                "        for (uint32_t i = 0u; i < HT_NET_OUTPUTS; i++) {\n"
                "            hash = net_mix(hash, (int32_t)out[i]);\n"
                "        }\n"
                "        if (hash != net_test_hash[v]) {\n"
                "            failed = 3;\n"
                "        }\n"
                "    }\n"
                "    return failed;\n"
                "}\n",
                (unsigned)HT_C_VECTORS, q->lo, q->grid.step, ht_c_level_count(q));
}

void ht_c_write_selftest(struct ht_c *c)
{
    uint32_t hash[HT_C_VECTORS];
    if (!ht_c_reference(c, hash)) {
        c->failed = true;
        return;
    }
    ht_c_printf(c, &c->source, "\n#ifdef HT_NET_SELFTEST\n");
    ht_c_piece(c, &c->source, ht_c_piece_random);
    ht_c_printf(c, &c->source, "\n");
    write_expected(c);
    ht_c_printf(c, &c->source,
                "/* Of the outputs of each vector. */\n"
                "static const uint32_t net_test_hash[%u] = {",
                (unsigned)HT_C_VECTORS);
    ht_c_bits(&c->source, hash, HT_C_VECTORS);
    ht_c_printf(c, &c->source, "\n};\n\n");
    write_function(c);
    ht_c_printf(c, &c->source, "#endif\n");
}
