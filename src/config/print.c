/* Field tables -> YAML and Markdown. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config/fields.h"
#include "config/values.h"

static bool is_plain(const char *s)
{
    static const char *const special[] = {"null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (strcmp(s, special[i]) == 0)
            return false;
    bool start = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
                 *s == '/' || *s == '_';
    return start && s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789_./+-")] == 0;
}

/* Characters that YAML folds or refuses when they stand as they are: C1 controls (with NEL), line
 * and paragraph separators, the byte order mark, U+FFFE and U+FFFF. Returns the code point, or 0.
 */
static unsigned must_escape(const unsigned char *s)
{
    unsigned c = 0;
    if (s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0)
        c = s[1];
    else if (s[0] >= 0xe0 && s[0] <= 0xef && s[1] && s[2])
        c = (s[0] & 15u) << 12 | (s[1] & 63u) << 6 | (s[2] & 63u);
    bool found = c < 0xa0 || c == 0x2028 || c == 0x2029 || c == 0xfeff || c >= 0xfffe;
    return found ? c : 0;
}

void ht_fields_print_text(const char *text, struct ht_text *out)
{
    if (is_plain(text)) {
        ht_text_printf(out, "%s", text);
        return;
    }
    ht_text_append(out, "\"", 1);
    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        unsigned c = must_escape(s);
        if (c) {
            ht_text_printf(out, "\\u%04X", c);
            s += c < 0x800 ? 1 : 2;
        } else if (*s == '"' || *s == '\\') {
            ht_text_printf(out, "\\%c", *s);
        } else {
            ht_text_append(out, (const char *)s, 1);
        }
    }
    ht_text_append(out, "\"", 1);
}

void ht_fields_print_value(const struct ht_field *f, const void *table_struct, struct ht_text *out)
{
    const char *value = (const char *)table_struct + f->offset;
    switch (f->type) {
    case HT_FIELD_INT:
        ht_text_printf(out, "%d", *(const int *)(const void *)value);
        break;
    case HT_FIELD_UINT64:
        ht_text_printf(out, "%" PRIu64, *(const uint64_t *)(const void *)value);
        break;
    case HT_FIELD_DOUBLE:
        ht_value_print_double(*(const double *)(const void *)value, out);
        break;
    case HT_FIELD_BOOL:
        ht_text_printf(out, "%s", *(const bool *)(const void *)value ? "true" : "false");
        break;
    default:
        ht_fields_print_text(value, out);
    }
}

void ht_fields_print(const struct ht_field_table *table, const void *table_struct, int indent,
                     struct ht_text *out)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct ht_field *f = &table->fields[i];
        const char *base = table_struct;
        if (f->type == HT_FIELD_CUSTOM) {
            if (f->custom->print)
                f->custom->print(table_struct, indent, out);
            continue;
        }
        ht_text_printf(out, "%*s%s:", indent, "", f->name);
        if (f->type != HT_FIELD_MAP) {
            ht_text_printf(out, " ");
            ht_fields_print_value(f, table_struct, out);
            ht_text_printf(out, "\n");
        } else if (f->nullable && !*(const bool *)(const void *)(base + f->given)) {
            ht_text_printf(out, " null\n");
        } else {
            ht_text_printf(out, "\n");
            ht_fields_print(f->table, base + f->offset, indent + 2, out);
        }
    }
}

static const char *type_name(const struct ht_field *f)
{
    static const char *const names[] = {"whole number", "whole number", "number", "true/false",
                                        "name",         "text",         "name",   "map"};
    return f->type == HT_FIELD_CUSTOM ? f->custom->type : names[f->type];
}

void ht_fields_print_reference(const struct ht_field_table *table, const char *const *fallbacks,
                               const char *heading, const char *text, struct ht_text *out)
{
    ht_text_printf(out, "\n## %s\n\n", heading);
    if (*text)
        ht_text_printf(out, "%s\n\n", text);
    ht_text_printf(out, "| key | type | default | allowed | what it does |\n");
    ht_text_printf(out, "|---|---|---|---|---|\n");
    for (size_t i = 0; i < table->n; i++) {
        const struct ht_field *f = &table->fields[i];
        const char *fallback = fallbacks && fallbacks[i] ? fallbacks[i] : f->fallback;
        ht_text_printf(out, "| `%s` | %s | ", f->name, type_name(f));
        if (f->flags & HT_FIELD_REQUIRED)
            ht_text_printf(out, "required | ");
        else if (fallback && *fallback)
            ht_text_printf(out, "`%s` | ", fallback);
        else
            ht_text_printf(out, "| ");
        ht_value_describe(f, out);
        ht_text_printf(out, " | %s |\n", f->help);
    }
}
