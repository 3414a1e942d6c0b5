#include "support.h"

#include <jansson.h>
#include <math.h>

#include "report/human.h"
#include "report/table.h"

static const struct ht_column columns[] = {
    {.key = "name", .title = "variant", .kind = HT_COLUMN_TEXT},
    {.key = "weight_bits", .title = "bits", .kind = HT_COLUMN_INTEGER},
    {.key = "seed", .kind = HT_COLUMN_INTEGER, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "integer_accuracy",
     .title = "integer\naccuracy",
     .kind = HT_COLUMN_STAT_PERCENT,
     .digits = 2},
    {.key = "model_bytes", .title = "size", .kind = HT_COLUMN_BYTES},
    {.key = "latency_us", .title = "latency", .kind = HT_COLUMN_SECONDS, .unit = 1e-6},
    {.key = "ratio", .title = "ratio", .kind = HT_COLUMN_REAL, .digits = 1},
    {.key = "checked", .title = "checked", .kind = HT_COLUMN_BOOL},
    {.key = "note", .title = "note", .kind = HT_COLUMN_TEXT, .flags = HT_COLUMN_HUMAN_ONLY},
};
enum { N_COLUMNS = sizeof columns / sizeof *columns };

static struct ht_table *example(void)
{
    struct ht_error err;
    struct ht_table *t;
    ASSERT_OK(ht_table_create(&t, columns, N_COLUMNS, &err), err);
    ht_table_add_row(t);
    ht_table_set_text(t, "name", "float");
    ht_table_set_integer(t, "weight_bits", 32);
    ht_table_set_integer(t, "seed", 7);
    ht_table_set_stat(t, "integer_accuracy", 0.8875, 0.0008, 3);
    ht_table_set_integer(t, "model_bytes", 1340456);
    ht_table_set_real(t, "latency_us", 18.1);
    ht_table_set_real(t, "ratio", 1);
    ht_table_set_bool(t, "checked", true);
    ht_table_set_text(t, "note", "as trained");
    ht_table_add_row(t);
    ht_table_set_text(t, "name", "w4, \"narrow\" | µ");
    ht_table_set_integer(t, "weight_bits", 4);
    ht_table_set_stat(t, "integer_accuracy", 0.1 + 0.2, (double)NAN, 1);
    ht_table_set_real(t, "ratio", (double)INFINITY);
    ht_table_set_bool(t, "checked", false);
    cr_assert_eq(ht_table_rows(t), 2);
    return t;
}

static void expect(enum ht_output_format format, const struct ht_table_style *style,
                   const char *expected)
{
    struct ht_error err;
    struct ht_text out = {0};
    struct ht_table *t = example();
    ASSERT_OK(ht_table_print(t, format, style, &out, &err), err);
    cr_assert_str_eq(ht_text_str(&out), expected, "got:\n%s", ht_text_str(&out));
    ht_text_finish(&out);
    ht_table_destroy(t);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(table, text)
{
    expect(HT_OUTPUT_TABLE, NULL,
           "                              integer\n"
           "variant           bits       accuracy     size  latency  ratio  checked  note\n"
           "----------------  ----  -------------  -------  -------  -----  -------  ----------\n"
           "float               32  88.75 ± 0.08%  1.3 MiB  18.1 us    1.0  yes      as trained\n"
           "w4, \"narrow\" | µ     4         30.00%        -        -    inf  no       -\n");
}

Test(table, markdown)
{
    expect(HT_OUTPUT_MD, NULL,
           "| variant | bits | integer accuracy | size | latency | ratio | checked | note |\n"
           "| :-- | --: | --: | --: | --: | --: | :-- | :-- |\n"
           "| float | 32 | 88.75 ± 0.08% | 1.3 MiB | 18.1 us | 1.0 | yes | as trained |\n"
           "| w4, \"narrow\" \\| µ | 4 | 30.00% | - | - | inf | no | - |\n");
}

Test(table, csv)
{
    expect(HT_OUTPUT_CSV, NULL,
           "name,weight_bits,seed,integer_accuracy_mean,integer_accuracy_std,integer_accuracy_n,"
           "model_bytes,latency_us,ratio,checked\n"
           "float,32,7,0.8875,0.0008,3,1340456,18.1,1.0,true\n"
           "\"w4, \"\"narrow\"\" | µ\",4,,0.30000000000000004,,1,,,,false\n");
}

#define ROW_1                                                                                      \
    "{\"name\": \"float\", \"weight_bits\": 32, \"seed\": 7, \"integer_accuracy\": "               \
    "{\"mean\": 0.8875, \"std\": 0.0008, \"n\": 3}, \"model_bytes\": 1340456, "                    \
    "\"latency_us\": 18.1, \"ratio\": 1.0, \"checked\": true}"
#define ROW_2                                                                                      \
    "{\"name\": \"w4, \\\"narrow\\\" | µ\", \"weight_bits\": 4, \"seed\": null, "                 \
    "\"integer_accuracy\": {\"mean\": 0.30000000000000004, \"std\": null, \"n\": 1}, "             \
    "\"model_bytes\": null, \"latency_us\": null, \"ratio\": null, \"checked\": false}"

Test(table, json)
{
    expect(HT_OUTPUT_JSON, NULL, "[\n  " ROW_1 ",\n  " ROW_2 "\n]\n");
}

Test(table, json_lines)
{
    expect(HT_OUTPUT_JSONL, NULL, ROW_1 "\n" ROW_2 "\n");
}

/* Every byte there is, read back by a JSON library and by the rules of CSV. */
Test(table, hostile_text)
{
    static const struct ht_column one[] = {{.key = "s", .kind = HT_COLUMN_TEXT}};
    char s[260], *o = s;
    for (int c = 1; c < 0x80; c++)
        *o++ = (char)c;
    strcpy(o, "\xc2\x9b" /* a control sequence introducer */ "\xff");
    struct ht_error err;
    struct ht_table *t;
    struct ht_text out = {0};
    ASSERT_OK(ht_table_create(&t, one, 1, &err), err);
    ht_table_add_row(t);
    ht_table_set_text(t, "s", s);

    ASSERT_OK(ht_table_print(t, HT_OUTPUT_JSON, NULL, &out, &err), err);
    json_error_t why;
    json_t *root = json_loads(ht_text_str(&out), 0, &why);
    cr_assert_not_null(root, "%s", why.text);
    const char *back = json_string_value(json_object_get(json_array_get(root, 0), "s"));
    strcpy(o, "\xc2\x9b\xef\xbf\xbd");
    cr_assert_str_eq(back, s);
    json_decref(root);
    out.len = 0;

    ASSERT_OK(ht_table_print(t, HT_OUTPUT_CSV, NULL, &out, &err), err);
    strcpy(o, "\xc2\x9b\xff");
    const char *p = ht_text_str(&out) + strlen("s\n");
    cr_assert_eq(*p++, '"');
    for (const char *q = s; *q; q++, p++) {
        cr_assert_eq(*p, *q);
        if (*p == '"')
            cr_assert_eq(*++p, '"');
    }
    cr_assert_str_eq(p, "\"\n");
    out.len = 0;

    /* Nothing in a table for people may steer the terminal. */
    ASSERT_OK(ht_table_print(t, HT_OUTPUT_TABLE, NULL, &out, &err), err);
    size_t lines = 0;
    for (p = ht_text_str(&out); *p; p += ht_utf8_next(p).bytes)
        if (*p == '\n')
            lines++;
        else
            cr_assert_not(ht_utf8_is_control(ht_utf8_next(p).code));
    cr_assert_eq(lines, 3);
    ht_text_finish(&out);
    ht_table_destroy(t);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(table, empty)
{
    static const struct ht_column two[] = {{.key = "a", .kind = HT_COLUMN_TEXT},
                                           {.key = "b", .kind = HT_COLUMN_STAT}};
    static const char *const expected[] = {
        [HT_OUTPUT_TABLE] = "a  b\n-  -\n",
        [HT_OUTPUT_JSON] = "[]\n",
        [HT_OUTPUT_JSONL] = "",
        [HT_OUTPUT_CSV] = "a,b_mean,b_std,b_n\n",
        [HT_OUTPUT_MD] = "| a | b |\n| :-- | --: |\n",
    };
    for (int f = HT_OUTPUT_TABLE; f <= HT_OUTPUT_MD; f++) {
        struct ht_error err;
        struct ht_table *t;
        struct ht_text out = {0};
        ASSERT_OK(ht_table_create(&t, two, 2, &err), err);
        ASSERT_OK(ht_table_print(t, (enum ht_output_format)f, NULL, &out, &err), err);
        cr_assert_str_eq(ht_text_str(&out), expected[f]);
        ht_text_finish(&out);
        ht_table_destroy(t);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(table, missing_and_set_twice)
{
    static const struct ht_column three[] = {{.key = "a", .kind = HT_COLUMN_STAT},
                                             {.key = "b", .kind = HT_COLUMN_TEXT},
                                             {.key = "c", .kind = HT_COLUMN_TEXT}};
    struct ht_error err;
    struct ht_table *t;
    struct ht_text out = {0};
    ASSERT_OK(ht_table_create(&t, three, 3, &err), err);
    ht_table_add_row(t);
    ht_table_set_text(t, "b", "first");
    ht_table_set_text(t, "b", "second");
    ht_table_set_text(t, "c", "third");
    ht_table_set_text(t, "c", NULL);
    ASSERT_OK(ht_table_print(t, HT_OUTPUT_CSV, NULL, &out, &err), err);
    ASSERT_OK(ht_table_print(t, HT_OUTPUT_JSONL, NULL, &out, &err), err);
    cr_assert_str_eq(ht_text_str(&out), "a_mean,a_std,a_n,b,c\n,,,second,\n"
                                        "{\"a\": null, \"b\": \"second\", \"c\": null}\n");
    ht_text_finish(&out);
    ht_table_destroy(t);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Long texts give way, numbers do not; every line fits and the columns stay aligned. */
Test(table, narrow_terminal)
{
    static const struct ht_column three[] = {
        {.key = "path", .kind = HT_COLUMN_TEXT},
        {.key = "note", .kind = HT_COLUMN_TEXT},
        {.key = "n", .kind = HT_COLUMN_INTEGER},
    };
    struct ht_error err;
    struct ht_table *t;
    struct ht_text out = {0};
    char *text = ht_calloc(20001, 1);
    memset(text, 'x', 20000);
    ASSERT_OK(ht_table_create(&t, three, 3, &err), err);
    ht_table_add_row(t);
    ht_table_set_text(t, "path", text);
    ht_table_set_text(t, "note", "a note of some length, µµµµµµµµµµµµµµµµµµµµ");
    ht_table_set_integer(t, "n", 1234567);
    struct ht_table_style style = {.width = 60};
    ASSERT_OK(ht_table_print(t, HT_OUTPUT_TABLE, &style, &out, &err), err);
    cr_assert(strstr(ht_text_str(&out), "1,234,567\n"));
    cr_assert(strstr(ht_text_str(&out), "xx…  a note"));
    for (char *line = strtok(out.s, "\n"); line; line = strtok(NULL, "\n"))
        cr_assert(ht_utf8_width(line) == 60, "%s", line);
    out.len = 0;
    /* Without a limit nothing is cut. */
    ASSERT_OK(ht_table_print(t, HT_OUTPUT_TABLE, NULL, &out, &err), err);
    cr_assert(strstr(ht_text_str(&out), text));
    ht_text_finish(&out);
    ht_free(text);
    ht_table_destroy(t);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(table, bold_heading)
{
    static const struct ht_column one[] = {{.key = "n", .kind = HT_COLUMN_INTEGER}};
    struct ht_error err;
    struct ht_table *t;
    struct ht_text out = {0};
    ASSERT_OK(ht_table_create(&t, one, 1, &err), err);
    ASSERT_OK(
        ht_table_print(t, HT_OUTPUT_TABLE, &(struct ht_table_style){.bold = true}, &out, &err),
        err);
    cr_assert_str_eq(ht_text_str(&out), "\x1b[1mn\x1b[0m\n-\n");
    ht_text_finish(&out);
    ht_table_destroy(t);
}

/* A misspelled key or a wrong kind is reported, not ignored. */
Test(table, sticky_failure)
{
    for (int wrong_kind = 0; wrong_kind < 2; wrong_kind++) {
        struct ht_error err;
        struct ht_text out = {0};
        struct ht_table *t = example();
        if (wrong_kind)
            ht_table_set_real(t, "weight_bits", 4);
        else
            ht_table_set_integer(t, "weight_bit", 4);
        ht_table_set_text(t, "name", "later");
        cr_assert_eq(ht_table_print(t, HT_OUTPUT_JSON, NULL, &out, &err), HT_ERR_INTERNAL);
        cr_assert(strstr(err.msg, "weight_bit"));
        cr_assert_eq(out.len, 0);
        ht_table_destroy(t);
    }
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(table, out_of_memory)
{
    for (long n = 1;; n++) {
        struct ht_error err;
        struct ht_text out = {0};
        struct ht_table *t;
        ht_alloc_fail_at(n);
        enum ht_status status = ht_table_create(&t, columns, N_COLUMNS, &err);
        if (status == HT_OK) {
            ht_table_add_row(t);
            ht_table_set_text(t, "name", "w4");
            status = ht_table_print(t, HT_OUTPUT_TABLE, NULL, &out, &err);
            ht_table_destroy(t);
        }
        ht_text_finish(&out);
        ht_alloc_fail_at(0);
        cr_assert_eq(ht_alloc_live(), 0);
        if (status == HT_OK) {
            cr_assert_gt(n, 5);
            break;
        }
        cr_assert_eq(status, HT_ERR_MEMORY, "allocation %ld", n);
    }
}

Test(table, write)
{
    struct ht_error err;
    struct ht_table *t = example();
    FILE *f = tmpfile();
    ASSERT_OK(ht_table_write(t, HT_OUTPUT_JSONL, f, &err), err);
    char got[2000];
    rewind(f);
    got[fread(got, 1, sizeof got - 1, f)] = '\0';
    cr_assert_str_eq(got, ROW_1 "\n" ROW_2 "\n");
    fclose(f);
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        cr_assert_eq(ht_table_write(t, HT_OUTPUT_JSON, full, &err), HT_ERR_IO);
        fclose(full);
    }
    ht_table_destroy(t);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(table, format_names)
{
    struct ht_error err;
    enum ht_output_format format = HT_OUTPUT_MD;
    ASSERT_OK(ht_output_format_parse("table", &format, &err), err);
    cr_assert_eq(format, HT_OUTPUT_TABLE);
    ASSERT_OK(ht_output_format_parse("csv", &format, &err), err);
    cr_assert_eq(format, HT_OUTPUT_CSV);
    cr_assert_eq(ht_output_format_parse("jsno", &format, &err), HT_ERR_CONFIG);
    cr_assert(strstr(err.msg, "did you mean \"json\"?"), "%s", err.msg);
    cr_assert_eq(format, HT_OUTPUT_CSV);
    cr_assert_eq(ht_output_format_parse("spreadsheet", &format, &err), HT_ERR_CONFIG);
    cr_assert_null(strstr(err.msg, "did you mean"));
}
