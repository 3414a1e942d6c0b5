/* A layer: its constants, and its function. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "export/c_parts.h"

const char *ht_c_type(const struct ht_qactivation *levels)
{
    if (!levels)
        return "int32_t";
    return levels->is_signed ? "int8_t" : "uint8_t";
}

/* Entries of the activation's table, which begins with the lowest level that comes. */
static size_t table_size(const struct ht_qlayer *l)
{
    return l->has_table ? (size_t)(l->quant.hi - l->quant.lo + 1) : 0;
}

static size_t code_bytes(const struct ht_c_layer *c)
{
    const struct ht_qlayer *l = c->layer;
    const size_t bytes = ht_packed_size(l->in * l->out, c->reader.bits);
    return bytes + (c->reader.decode != HT_C_BYTES && !c->reader.aligned ? 1 : 0);
}

static size_t level_count(const struct ht_c_layer *c)
{
    return c->reader.decode == HT_C_TABLE ? (size_t)1 << c->reader.bits : 0;
}

size_t ht_c_constant_bytes(const struct ht_c_layer *c)
{
    const struct ht_qlayer *l = c->layer;
    return code_bytes(c) + level_count(c) + l->out * ht_qlayer_groups(l) +
           (l->weights.zero_point ? l->weights.channels : 0) + 4 * l->out +
           (c->float_only ? 0 : 4 * c->multipliers) + table_size(l);
}

/* --- constants --- */

static void begin_array(struct ht_c *c, const char *type, const char *what,
                        const struct ht_c_layer *l, size_t n)
{
    ht_c_printf(c, &c->source, "static const %s net_%s%zu[%zu] HT_NET_SECTION = {", type, what,
                l->number, n);
}

static void end_array(struct ht_c *c)
{
    ht_c_printf(c, &c->source, "\n};\n");
}

/* Levels of weights and tables are few, or whole bytes already: as int32. */
static void write_small(struct ht_c *c, const char *type, const char *what,
                        const struct ht_c_layer *l, const int32_t *value, size_t n)
{
    begin_array(c, type, what, l, n);
    ht_c_integers(&c->source, value, n);
    end_array(c);
}

static void write_codes(struct ht_c *c, const struct ht_c_layer *l)
{
    const size_t bytes = ht_packed_size(l->layer->in * l->layer->out, l->reader.bits);
    begin_array(c, ht_c_code_type(&l->reader), "codes", l, code_bytes(l));
    if (strcmp(ht_c_code_type(&l->reader), "int8_t") == 0)
        ht_c_signed_bytes(&c->source, (const int8_t *)l->layer->weights.packed, bytes);
    else
        ht_c_bytes(&c->source, l->layer->weights.packed, bytes);
    if (code_bytes(l) > bytes)
        ht_c_printf(c, &c->source, "\n    0 /* is read, and not used */");
    end_array(c);
}

static void write_tables(struct ht_c *c, const struct ht_c_layer *l)
{
    int32_t value[256];
    const struct ht_qlayer *q = l->layer;
    const struct ht_qweights *w = &q->weights;
    for (size_t i = 0; i < level_count(l); i++)
        value[i] = ht_grid_level(&w->grid, (unsigned)i);
    if (level_count(l))
        write_small(c, "int8_t", "levels", l, value, level_count(l));
    for (size_t i = 0; i < table_size(q); i++)
        value[i] = q->table[q->quant.lo - q->quant.grid.lo +
                            (int)i / q->quant.grid.step * q->quant.grid.step];
    if (table_size(q))
        write_small(c, ht_c_type(l->to), "table", l, value, table_size(q));
    if (w->group) {
        begin_array(c, "uint8_t", "group", l, q->out * ht_qlayer_groups(q));
        ht_c_bytes(&c->source, w->group_scale, q->out * ht_qlayer_groups(q));
        end_array(c);
    }
    if (w->zero_point)
        write_small(c, "uint8_t", "zero", l, w->zero_point, w->channels);
}

static void write_multipliers(struct ht_c *c, const struct ht_c_layer *l)
{
    uint32_t *bits = ht_calloc(l->multipliers, sizeof *bits);
    if (!bits) {
        c->failed = true;
        return;
    }
    for (size_t n = 0; n < l->multipliers; n++)
        bits[n] = ht_c_float_bits(l->layer->multiplier[n]);
    if (l->float_only)
        ht_c_printf(c, &c->source, "#ifdef HT_NET_FLOAT_OUTPUT\n");
    begin_array(c, "uint32_t", "multiplier", l, l->multipliers);
    ht_c_bits(&c->source, bits, l->multipliers);
    end_array(c);
    if (l->float_only)
        ht_c_printf(c, &c->source, "#endif\n");
    ht_free(bits);
}

static void write_constants(struct ht_c *c, const struct ht_c_layer *l)
{
    const struct ht_qlayer *q = l->layer;
    ht_c_printf(c, &c->source,
                "/* %s: %zu inputs, %zu outputs; weights: %d bits, grid %s%s; activation %s%s */\n",
                q->name, q->in, q->out, q->weights.grid.bits, q->weights.grid.name,
                q->weights.group ? ", with scales of groups" : "", q->activation,
                q->has_table ? " by table" : "");
    write_codes(c, l);
    write_tables(c, l);
    write_small(c, "int32_t", "start", l, l->start, q->out);
    write_multipliers(c, l);
    ht_c_printf(c, &c->source, "\n");
}

/* --- the function --- */

static void write_sum(struct ht_c *c, const struct ht_c_layer *l)
{
    const struct ht_qlayer *q = l->layer;
    const struct ht_c_name name = ht_c_reader_name(&l->reader);
    const size_t group = q->weights.group;
    char levels[48] = "";
    if (level_count(l))
        snprintf(levels, sizeof levels, ", net_levels%zu", l->number);
    if (!group) {
        ht_c_printf(c, &c->source,
                    "        int32_t acc = net_start%zu[n];\n"
                    "        acc += net_dot_%s(net_codes%zu, n * %zuu, a, %zuu%s);\n",
                    l->number, name.s, l->number, q->in, q->in, levels);
        return;
    }
    ht_c_printf(
        c, &c->source,
        "        int32_t acc = net_start%zu[n];\n"
        "        for (uint32_t g = 0u; g < %zuu; g++) {\n"
        "            const uint32_t k = g * %zuu;\n"
        "            const uint32_t left = %zuu - k;\n"
        "            acc += (int32_t)net_group%zu[(n * %zuu) + g] *\n"
        "                   net_dot_%s(net_codes%zu, (n * %zuu) + k, &a[k], (left < %zuu) ? left : "
        "%zuu%s);\n"
        "        }\n",
        l->number, ht_qlayer_groups(q), group, q->in, l->number, ht_qlayer_groups(q), name.s,
        l->number, q->in, group, group, levels);
}

/* Levels of sums: from the zero point on, or places in the table. */
static void write_level(struct ht_c *c, const struct ht_c_layer *l)
{
    const struct ht_qactivation *q = &l->layer->quant;
    const int lo = q->lo - q->zero_point, hi = q->hi - q->zero_point;
    ht_c_printf(c, &c->source,
                "        const int32_t level = net_%s(net_scale(acc, net_multiplier%zu[%s]), %d, "
                "%d)%s;\n",
                ht_c_rounding(q), l->number, l->multipliers > 1 ? "n" : "0", lo, hi,
                ht_c_plus(l->layer->has_table ? -lo : q->zero_point).s);
    if (l->layer->has_table)
        ht_c_printf(c, &c->source, "        y[n] = net_table%zu[level];\n", l->number);
    else
        ht_c_printf(c, &c->source, "        y[n] = (%s)level;\n", ht_c_type(l->to));
}

static void write_layer(struct ht_c *c, const struct ht_c_layer *l)
{
    const struct ht_qlayer *q = l->layer;
    const char *input = l->reader.input_signed ? "s8" : "u8";
    ht_c_printf(c, &c->source, "static void net_layer%zu(const %s *a, %s *y)\n{\n", l->number,
                ht_c_type(l->from), ht_c_type(l->to));
    if (q->weights.zero_point)
        ht_c_printf(c, &c->source, "    const int32_t total = net_sum_%s(a, %zuu);\n", input,
                    q->in);
    ht_c_printf(c, &c->source, "    for (uint32_t n = 0u; n < %zuu; n++) {\n", q->out);
    write_sum(c, l);
    if (q->weights.zero_point)
        ht_c_printf(c, &c->source, "        acc -= (int32_t)net_zero%zu[%s] * total;\n", l->number,
                    q->weights.channels > 1 ? "n" : "0");
    if (l->to)
        write_level(c, l);
    else
        ht_c_printf(c, &c->source, "        y[n] = acc;\n");
    ht_c_printf(c, &c->source, "    }\n}\n\n");
}

void ht_c_write_layers(struct ht_c *c)
{
    for (size_t i = 0; i < c->model->n_layers; i++) {
        write_constants(c, &c->layers[i]);
        write_layer(c, &c->layers[i]);
    }
}
