#include "data_support.h"

#include <locale.h>
#include <math.h>

#include "data/loading.h"

/* A table of 3 columns with 4 good rows as the test expects them. */
static void check_flowers(const struct fixture *f)
{
    const struct ht_dataset *d = f->data;
    static const float values[] = {1.5f, 2, -3, 40, 0.125f, 6e3f, 7, 8};
    cr_assert_eq(d->n, 4);
    cr_assert_eq(d->features, 2);
    cr_assert_eq(memcmp(d->values, values, sizeof values), 0);
    cr_assert_eq(d->n_classes, 2);
    cr_assert_str_eq(d->classes[0], "rose");
    cr_assert_str_eq(d->classes[1], "tulip");
    cr_assert(d->labels[0] == 1 && d->labels[1] == 0 && d->labels[2] == 1 && d->labels[3] == 0);
}

Test(csv, reads_the_variants_of_the_format)
{
    static const struct {
        const char *text, *delimiter, *header, *label;
        int skip;
    } cases[] = {
        {"1.5,2,tulip\n-3,40,rose\n.125,6e3,tulip\n7,8,rose\n", "", "", "", 0},
        {"1.5,2,tulip\n-3,40,rose\n.125,6e3,tulip\n7,8,rose", ",", "auto", "-1", 0},
        {"a,b,kind\r\n1.5,2,tulip\r\n-3,40,rose\r\n.125,6e3,tulip\r\n7,8,rose\r\n\r\n", ",", "auto",
         "kind", 0},
        {"\xef\xbb\xbf\"a\",\"b\",\"kind\"\n\"1.5\",\"2\",\"tulip\"\n-3,40,\"rose\"\n"
         ".125,6e3,tulip\n7,8,rose\n\n\n",
         ",", "auto", "3", 0},
        {"kind;a;b\ntulip;1.5;2\nrose;-3;40\ntulip;.125;6e3\nrose;7;8\n", ";", "yes", "1", 0},
        {"a\tkind\tb\n1.5\ttulip\t2\n-3\trose\t40\n.125\ttulip\t6e3\n7\trose\t8\n", "tab", "auto",
         "-2", 0},
        {"  1.5  2 tulip \n-3 40\trose\n.125 6e3 tulip\n 7 8 rose", "space", "no", "-1", 0},
        {"# \"made by hand\n\n1.5 , 2 , tulip\n-3 ,40 , rose\n.125,6e3, \"tulip\" \n7,8,rose\n",
         ",", "no", "-1", 2},
        {"a,b,kind\r1.5,2,tulip\r-3,40,rose\r.125,6e3,tulip\r7,8,rose\r", ",", "auto", "-1", 0},
    };
    static struct fixture f;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_init(&f, "csv", "classification");
        strcpy(f.d.csv.delimiter, cases[i].delimiter);
        strcpy(f.d.csv.header, cases[i].header);
        strcpy(f.d.csv.label, cases[i].label);
        f.d.csv.skip_rows = cases[i].skip;
        fixture_text(&f, "table", "flowers.csv", cases[i].text);
        cr_assert_eq(fixture_load(&f), HT_OK, "case %zu: %s", i, f.err.msg);
        check_flowers(&f);
        uint8_t zipped[1024];
        fixture_file(&f, "table", "flowers.csv", zipped,
                     gzip(cases[i].text, strlen(cases[i].text), zipped, sizeof zipped));
        cr_assert_eq(fixture_load(&f), HT_OK, "case %zu, gzip: %s", i, f.err.msg);
        check_flowers(&f);
        fixture_finish(&f);
    }
}

Test(csv, keeps_quotes_and_names)
{
    static struct fixture f;
    fixture_init(&f, "csv", "classification");
    fixture_text(&f, "table", "q.csv",
                 "\"height, cm\",\"the \"\"kind\"\"\"\n1,\"a \"\"b\"\"\"\n2,\"c\n d\"\n");
    strcpy(f.d.csv.label, "the \"kind\"");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "q.csv:row 3: the label is not valid UTF-8");
    fixture_text(&f, "table", "q.csv",
                 "\"height, cm\",\"the \"\"kind\"\"\"\n1,\"a \"\"b\"\"\"\n2,\"c, d\"\n");
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert_str_eq(f.data->feature_names[0], "height, cm");
    cr_assert_str_eq(f.data->classes[0], "a \"b\"");
    cr_assert_str_eq(f.data->classes[1], "c, d");
    fixture_text(&f, "table", "q.csv",
                 "\xef\xbb\xbf"
                 "a,the \"kind\"\n1,x\n2,y\n");
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert_str_eq(f.data->feature_names[0], "a", "the byte order mark is no part of a name");
    fixture_finish(&f);
}

Test(csv, names_the_row_and_the_column)
{
    static const struct {
        const char *text, *label, *header, *message;
    } cases[] = {
        {"a,b,k\n1,2,x\n3,four,y\n", "", "", "t.csv:row 3, column 2 (b): \"four\" is not a finite"},
        {"1,2,x\n3,,y\n", "", "",
         "t.csv:row 2, column 2: an empty cell is not a number; csv.missing"},
        {"1,2,x\n3,NaN,y\n", "", "", "t.csv:row 2, column 2: \"NaN\" is not a number"},
        {"1,2,x\ninf,2,y\n", "", "", "t.csv:row 2, column 1: \"inf\" is not a finite"},
        {"1,2,x\n3,1e39,y\n", "", "", "t.csv:row 2, column 2: \"1e39\" is not a finite"},
        {"1,2,x\n3,0x10,y\n", "", "", "row 2, column 2: \"0x10\""},
        {"1,2,x\n3,1 000,y\n", "", "", "row 2, column 2: \"1 000\""},
        {"1,2,x\n3,\x1b[31m,y\n", "", "", "row 2, column 2: byte 0x1b"},
        {"1,2,x\n3,4\n", "", "", "t.csv:row 2 has 2 columns, but the first row has 3"},
        {"1,2,x\n3,4,y,5\n", "", "", "t.csv:row 2 has 4 columns"},
        {"1,2,x\n\n3,4,y\n", "", "", "t.csv:row 2 is empty"},
        {"1,2,x\n3,4,\n", "", "", "t.csv:row 2, column 3: an empty cell is not a label"},
        {"1,2,x\n3,4,\"y\n", "", "", "t.csv:row 2, column 3: a quote that is never closed"},
        {"1,2,x\n3,\"4\"5,y\n", "", "", "t.csv:row 2, column 2: text after the closing quote"},
        {"1,2,x\n3,4,x\n", "", "", "there is only one class (x)"},
        {"", "", "", "t.csv: the file is empty"},
        {"\n\n\n", "", "", "t.csv: the file is empty"},
        {"a,b,kind\n", "", "", "t.csv: there is a header, but no data"},
        {"a,b,kind\n1,2,x\n", "kint", "", "no column \"kint\" (csv.label); did you mean \"kind\"?"},
        {"a,b,kind\n1,2,x\n", "4", "", "csv.label is 4, but there are 3 columns"},
        {"a,b,kind\n1,2,x\n", "-4", "", "csv.label is -4, but there are 3 columns"},
        {"a,b,kind\n1,2,x\n", "0", "", "csv.label is 0"},
        {"1;2;x\n3;4;y\n", "", "", "one column only"},
        {"0,1,2,kind\n5,6,7,x\n1,2,3,y\n", "", "", "is it a header or data"},
    };
    static struct fixture f;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_init(&f, "csv", "classification");
        strcpy(f.d.csv.label, cases[i].label);
        strcpy(f.d.csv.header, cases[i].header);
        fixture_text(&f, "table", "t.csv", cases[i].text);
        ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, cases[i].message);
        fixture_finish(&f);
    }
    fixture_init(&f, "csv", "classification");
    fixture_file(&f, "table", "t.csv", "1,2,x\n\0,4,y\n", 12);
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "t.csv:row 2, column 1: byte 0x00");
    strcpy(f.d.csv.label, "kind");
    strcpy(f.d.csv.header, "no");
    fixture_text(&f, "table", "t.csv", "1,2,x\n3,4,y\n");
    ASSERT_LOAD_FAILS(&f, HT_ERR_CONFIG, "the file has no header");
    fixture_finish(&f);
}

Test(csv, decides_the_classes)
{
    static const struct {
        const char *labels[4];
        const char *listed[3];
        int expected[4];
        const char *names[3];
    } cases[] = {
        {{"b", "a", "c", "b"}, {NULL}, {1, 0, 2, 1}, {"a", "b", "c"}},
        {{"10", "9", "-1", "9"}, {NULL}, {2, 1, 0, 1}, {"-1", "9", "10"}},
        {{"1.0", "0", "1", "2"}, {NULL}, {1, 0, 1, 2}, {"0", "1", "2"}},
        {{"2", "0", "1", "0"}, {"z", "y", "x"}, {2, 0, 1, 0}, {"z", "y", "x"}},
        {{"y", "z", "x", "x"}, {"z", "y", "x"}, {1, 0, 2, 2}, {"z", "y", "x"}},
        {{"2", "1", "0", "0"}, {"0", "2", "1"}, {1, 2, 0, 0}, {"0", "2", "1"}},
    };
    static struct fixture f;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256] = "";
        fixture_init(&f, "csv", "classification");
        for (size_t r = 0; r < 4; r++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%zu.5,%s\n", r,
                     cases[i].labels[r]);
        fixture_text(&f, "table", "t.csv", text);
        char listed[3][HT_NAME_LENGTH] = {""};
        for (size_t c = 0; c < 3 && cases[i].listed[0]; c++)
            strcpy(listed[c], cases[i].listed[c]);
        f.d.classes = listed;
        f.d.n_classes = cases[i].listed[0] ? 3 : 0;
        cr_assert_eq(fixture_load(&f), HT_OK, "case %zu: %s", i, f.err.msg);
        cr_assert_eq(f.data->n_classes, 3, "case %zu", i);
        for (size_t r = 0; r < 4; r++)
            cr_assert_eq(f.data->labels[r], cases[i].expected[r], "case %zu, row %zu", i, r);
        for (size_t c = 0; c < 3; c++)
            cr_assert_str_eq(f.data->classes[c], cases[i].names[c]);
        f.d.classes = NULL;
        fixture_finish(&f);
    }
    fixture_init(&f, "csv", "classification");
    char listed[2][HT_NAME_LENGTH] = {"no", "yes"};
    f.d.classes = listed;
    f.d.n_classes = 2;
    fixture_text(&f, "table", "t.csv", "a,k\n1,yes\n2,no\n3,yse\n");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "t.csv:row 4: label \"yse\" is none of the 2 classes");
    fixture_text(&f, "table", "t.csv", "a,k\n1,0\n2,2\n3,1\n");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "t.csv:row 3: label \"2\" is none of the 2 classes");
    fixture_finish(&f);
}

Test(csv, reads_separate_files_and_parts)
{
    static struct fixture f;
    fixture_init(&f, "csv", "regression");
    strcpy(f.d.csv.delimiter, "space");
    fixture_text(&f, "train_features", "x.csv", "1 2\n3 4\n5 6\n");
    fixture_text(&f, "train_labels", "y.csv", "1.510000000000000000e+02 -1\n75 0\n0.5 1\n");
    fixture_text(&f, "test_features", "tx.csv", "7 8\n");
    fixture_text(&f, "test_labels", "ty.csv", "9 10\n");
    ASSERT_OK(fixture_load(&f), f.err);
    static const float targets[] = {151, -1, 75, 0, 0.5f, 1, 9, 10};
    cr_assert_eq(f.data->n, 4);
    cr_assert_eq(f.data->target_columns, 2);
    cr_assert_eq(memcmp(f.data->targets, targets, sizeof targets), 0);
    cr_assert_eq(f.data->count[HT_TEST], 1);
    cr_assert_eq(f.data->index[HT_TEST][0], 3);
    cr_assert_eq(f.data->values[7], 8.0f);

    fixture_text(&f, "test_features", "tx.csv", "7 8 9\n");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "tx.csv: 3 features, but 2 in");
    fixture_text(&f, "test_features", "tx.csv", "7 8\n");
    fixture_text(&f, "test_labels", "ty.csv", "9\n");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "ty.csv: 1 targets for each sample, but 2 in");
    fixture_text(&f, "test_labels", "ty.csv", "9 10\n9 10\n");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "ty.csv: 2 labels, but 1 samples in");
    fixture_text(&f, "test_labels", "ty.csv", "9 ?\n");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "ty.csv:row 1, column 2: \"?\" is not a number");
    f.d.samples = 7;
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "x.csv: 3 samples, but the descriptor says 7");
    fixture_finish(&f);

    fixture_init(&f, "csv", "classification");
    fixture_text(&f, "train_table", "a.csv", "a,b,k\n1,2,x\n3,4,y\n");
    fixture_text(&f, "test_table", "b.csv", "a,c,k\n1,2,x\n");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "column 2 is \"c\", but \"b\" in the training file");
    fixture_text(&f, "test_table", "b.csv", "a,b,c,d,e,k\n1,2,3,4,5,x\n");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "b.csv: 5 features, but 2 in");
    fixture_text(&f, "test_table", "b.csv", "a,b,k\n1,2,y\n");
    ASSERT_OK(fixture_load(&f), f.err);
    cr_assert_eq(f.data->labels[2], 1);
    fixture_finish(&f);
}

Test(csv, fills_missing_cells_with_the_training_mean)
{
    static struct fixture f;
    fixture_init(&f, "csv", "regression");
    strcpy(f.d.csv.missing, "mean");
    fixture_text(&f, "train_table", "a.csv", "a,b,y\n1,NA,5\n?,4,6\n3,nan,7\n8,6,9\n");
    fixture_text(&f, "test_table", "b.csv", "a,b,y\n,,1\n100,200,1\n");
    ASSERT_OK(fixture_load(&f), f.err);
    const float *v = f.data->values;
    cr_assert_eq(v[1], 5.0f);
    cr_assert_eq(v[2], 4.0f);
    cr_assert_eq(v[5], 5.0f);
    cr_assert(v[8] == 4.0f && v[9] == 5.0f);
    fixture_text(&f, "train_table", "a.csv", "a,b,y\n1,NA,5\n?,,6\n");
    ASSERT_LOAD_FAILS(&f, HT_ERR_DATA, "feature 2 (b) has no value at all in the training part");
    fixture_finish(&f);
}

Test(csv, parses_numbers_exactly_in_any_locale)
{
    static const char *const texts[] = {"0",
                                        "-0",
                                        "1",
                                        "+7.25",
                                        "0.1",
                                        ".5",
                                        "5.",
                                        "123456789012345",
                                        "0.3",
                                        "1e22",
                                        "1e-5",
                                        "2.2250738585072014e-308",
                                        "1.7976931348623157e308",
                                        "9007199254740993",
                                        "0.1234567890123456789",
                                        "-12.000000000000001",
                                        "3.14159",
                                        "1234.5678",
                                        "1e400",
                                        "4.9e-324"};
    static const char *const bad[] = {"",    ".",  "-",  "1e",  "1e+",   "0x1", "inf", "nan",
                                      "1,5", "1 ", " 1", "--1", "1.2.3", "e5",  "1f"};
    double value;
    /* Some machine may have no locale with a comma; the fast way at least must not care. */
    const char *locale = setlocale(LC_NUMERIC, "de_DE.UTF-8");
    if (!locale)
        locale = setlocale(LC_NUMERIC, "fr_FR.UTF-8");
    bool ok[sizeof texts / sizeof *texts];
    double got[sizeof texts / sizeof *texts];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        ok[i] = ht_parse_number(texts[i], &got[i]);
    setlocale(LC_NUMERIC, "C");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        double expected = strtod(texts[i], NULL);
        cr_assert_eq(ok[i], isfinite(expected) != 0, "%s", texts[i]);
        cr_assert(!ok[i] || memcmp(&got[i], &expected, sizeof expected) == 0, "%s", texts[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_not(ht_parse_number(bad[i], &value), "\"%s\"", bad[i]);
    for (uint64_t i = 0; i < 20000; i++) { /* against the C library */
        char text[64];
        double x = ht_rng_normal(3, HT_RNG_TEST, i) * pow(10, (double)test_random(i, 40) - 20);
        snprintf(text, sizeof text, i % 2 ? "%.17g" : "%.6f", x);
        cr_assert(ht_parse_number(text, &value));
        cr_assert_eq(value, strtod(text, NULL), "%s", text);
    }
}

Test(csv, survives_mutations)
{
    static struct fixture f;
    static const char good[] = "a,\"b\",c,k\n1.5,2,3e2,x\n-4,\"5\",6,y\r\n7,8,9,\"x\"\n1,2,3,y\n";
    static const char bytes[] = ",;\"\n\r\t .x0e-?\0\x80\xff";
    fixture_init(&f, "csv", "classification");
    fixture_text(&f, "table", "t.csv", good);
    size_t accepted = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        char text[sizeof good];
        size_t n = sizeof good - 1;
        memcpy(text, good, sizeof good);
        uint32_t changes = 1 + test_random(4 * i, 3);
        for (uint32_t c = 0; c < changes; c++)
            text[test_random(100000 + 4 * i + c, (uint32_t)n)] =
                bytes[test_random(200000 + 4 * i + c, sizeof bytes - 1)];
        if (i % 5 == 0)
            n = test_random(300000 + i, (uint32_t)n);
        strcpy(f.d.csv.missing, i % 2 ? "mean" : "error");
        strcpy(f.d.csv.delimiter, i % 3 ? "," : "space");
        fixture_file(&f, "table", "t.csv", text, n);
        enum ht_status status = fixture_load(&f);
        cr_assert(status == HT_OK || status == HT_ERR_DATA, "%d: %s", (int)status, f.err.msg);
        accepted += status == HT_OK;
        for (size_t j = 0; status == HT_OK && j < f.data->n * f.data->features; j++)
            cr_assert(isfinite(f.data->values[j]));
    }
    cr_assert(accepted > 100 && accepted < 2900, "%zu accepted", accepted);
    fixture_finish(&f);
}

Test(csv, survives_missing_memory)
{
    static struct fixture f;
    fixture_init(&f, "csv", "classification");
    fixture_text(&f, "table", "t.csv", "a,b,k\n1,?,x\n3,4,y\n5,6,x\n7,8,y\n");
    strcpy(f.d.csv.missing, "mean");
    f.options.standardize = true;
    f.options.test = 1;
    long n = 1;
    enum ht_status status;
    do {
        ht_alloc_fail_at(n++);
        status = fixture_load(&f);
        ht_alloc_fail_at(0);
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY, "%d: %s", (int)status, f.err.msg);
        cr_assert(status == HT_OK || ht_alloc_live() == 0, "a leak after failure %ld", n - 1);
    } while (n < 60); /* the last ones may only have failed to shrink */
    cr_assert_eq(status, HT_OK);
    fixture_finish(&f);
}
