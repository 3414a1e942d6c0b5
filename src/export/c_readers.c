/* The code that reads weights: a sum of products for each way in which layers hold them. */
#include <stdio.h>
#include <string.h>

#include "export/c_parts.h"

struct ht_c_name ht_c_reader_name(const struct ht_c_reader *r)
{
    static const char *const names[] = {[HT_C_SIGNED] = "signed",
                                        [HT_C_UNSIGNED] = "unsigned",
                                        [HT_C_ODD] = "odd",
                                        [HT_C_TABLE] = "table"};
    struct ht_c_name name;
    const char *input = r->input_signed ? "s8" : "u8";
    if (r->decode == HT_C_BYTES)
        snprintf(name.s, sizeof name.s, "%s_%s", input, r->weight_signed ? "int8" : "uint8");
    else
        snprintf(name.s, sizeof name.s, "%s_%s%d%s", input, names[r->decode], r->bits,
                 r->aligned ? "" : "_any");
    return name;
}

const char *ht_c_code_type(const struct ht_c_reader *r)
{
    return r->decode == HT_C_BYTES && r->weight_signed ? "int8_t" : "uint8_t";
}

static const char *input_type(const struct ht_c_reader *r)
{
    return r->input_signed ? "int8_t" : "uint8_t";
}

/* The level of `code`. */
static struct ht_c_name level(const struct ht_c_reader *r)
{
    struct ht_c_name text;
    const unsigned sign = 1u << (r->bits - 1);
    switch (r->decode) {
    case HT_C_SIGNED:
        snprintf(text.s, sizeof text.s, "((int32_t)code - %u)", sign);
        break;
    case HT_C_ODD:
        snprintf(text.s, sizeof text.s, "((2 * (int32_t)code) - %d)", -r->lo);
        break;
    case HT_C_TABLE:
        snprintf(text.s, sizeof text.s, "(int32_t)levels[code]");
        break;
    case HT_C_BYTES:
    case HT_C_UNSIGNED:
        snprintf(text.s, sizeof text.s, "(int32_t)code");
        break;
    }
    return text;
}

/* What makes of a sign an offset; " ^ 8u" or nothing. */
static struct ht_c_name flip(const struct ht_c_reader *r)
{
    struct ht_c_name text = {""};
    if (r->decode == HT_C_SIGNED)
        snprintf(text.s, sizeof text.s, " ^ %uu", 1u << (r->bits - 1));
    return text;
}

static void write_bytes(struct ht_c *c, const struct ht_c_reader *r)
{
    ht_c_printf(c, &c->source,
                "    const %s *w = &codes[first];\n"
                "    uint32_t k = 0u;\n"
                "    int32_t sum = 0;\n",
                ht_c_code_type(r));
    ht_c_write_fast(c, r);
    ht_c_printf(c, &c->source,
                "    for (; k < n; k++) {\n"
                "        sum += (int32_t)a[k] * (int32_t)w[k];\n"
                "    }\n");
}

/* Whole bytes of codes. */
static void write_aligned(struct ht_c *c, const struct ht_c_reader *r)
{
    const unsigned per_byte = 8 / (unsigned)r->bits;
    ht_c_printf(c, &c->source,
                "    const uint8_t *packed = &codes[first / %uu];\n"
                "    uint32_t k = 0u;\n"
                "    int32_t sum = 0;\n",
                per_byte);
    ht_c_write_fast(c, r);
    ht_c_printf(c, &c->source,
                "    for (; k < n; k += %uu) {\n"
                "        uint32_t left = *packed;\n"
                "        packed++;\n"
                "        for (uint32_t i = 0u; i < %uu; i++) {\n"
                "            const uint32_t code = (left & %uu)%s;\n"
                "            left >>= %du;\n"
                "            sum += (int32_t)a[k + i] * %s;\n"
                "        }\n"
                "    }\n",
                per_byte, per_byte, (1u << r->bits) - 1, flip(r).s, r->bits, level(r).s);
}

/* Codes that begin anywhere, in two bytes at most. */
static void write_any(struct ht_c *c, const struct ht_c_reader *r)
{
    ht_c_printf(c, &c->source,
                "    uint32_t bit = first * %du;\n"
                "    int32_t sum = 0;\n"
                "    for (uint32_t k = 0u; k < n; k++) {\n"
                "        const uint8_t *at = &codes[bit / 8u];\n"
                "        const uint32_t pair = (uint32_t)at[0] | ((uint32_t)at[1] << 8u);\n"
                "        const uint32_t code = ((pair >> (bit %% 8u)) & %uu)%s;\n"
                "        bit += %du;\n"
                "        sum += (int32_t)a[k] * %s;\n"
                "    }\n",
                r->bits, (1u << r->bits) - 1, flip(r).s, r->bits, level(r).s);
}

static void write_reader(struct ht_c *c, const struct ht_c_reader *r)
{
    ht_c_printf(c, &c->source,
                "static int32_t net_dot_%s(const %s *codes, uint32_t first, const %s *a, uint32_t "
                "n%s)\n{\n",
                ht_c_reader_name(r).s, ht_c_code_type(r), input_type(r),
                r->decode == HT_C_TABLE ? ",\n    const int8_t *levels" : "");
    if (r->decode == HT_C_BYTES)
        write_bytes(c, r);
    else if (r->aligned)
        write_aligned(c, r);
    else
        write_any(c, r);
    ht_c_printf(c, &c->source, "    return sum;\n}\n\n");
}

static bool is_first(const struct ht_c *c, size_t i)
{
    const struct ht_c_name name = ht_c_reader_name(&c->layers[i].reader);
    for (size_t j = 0; j < i; j++)
        if (strcmp(name.s, ht_c_reader_name(&c->layers[j].reader).s) == 0 &&
            c->layers[i].reader.lo == c->layers[j].reader.lo)
            return false;
    return true;
}

/* For weights with zero points. */
static void write_sums(struct ht_c *c)
{
    bool done[2] = {false, false};
    for (size_t i = 0; i < c->model->n_layers; i++) {
        const struct ht_c_reader *r = &c->layers[i].reader;
        if (!c->layers[i].layer->weights.zero_point || done[r->input_signed])
            continue;
        done[r->input_signed] = true;
        ht_c_printf(c, &c->source,
                    "static int32_t net_sum_%s(const %s *a, uint32_t n)\n{\n"
                    "    int32_t sum = 0;\n"
                    "    for (uint32_t k = 0u; k < n; k++) {\n"
                    "        sum += (int32_t)a[k];\n"
                    "    }\n"
                    "    return sum;\n}\n\n",
                    r->input_signed ? "s8" : "u8", input_type(r));
    }
}

void ht_c_write_readers(struct ht_c *c)
{
    ht_c_printf(c, &c->source,
                "/* Sums of products. Codes are packed densely, least significant bits first; "
                "`first` is the\n * number of the first one. */\n");
    for (size_t i = 0; i < c->model->n_layers; i++)
        if (is_first(c, i))
            write_reader(c, &c->layers[i].reader);
    write_sums(c);
}
