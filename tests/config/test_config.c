/* Syntax, keys, types, ranges, arguments, files. */
#include "config_support.h"

#include <math.h>

Test(config, contract_example)
{
    struct ht_config *c = load(good, NULL, 0);
    const struct ht_experiment *e = ht_config_experiment(c);
    cr_assert_str_eq(e->path, "e.yaml");
    cr_assert_str_eq(e->name, "fashion-mnist");
    cr_assert_eq(e->seed, 1);
    cr_assert_eq(e->data.validation, 5000);
    cr_assert_eq(e->model.n_layers, 7);
    cr_assert_str_eq(e->model.layers[0].kind, "dense");
    cr_assert_eq(e->model.layers[0].units, 256);
    cr_assert(e->model.layers[0].bias);
    cr_assert_str_eq(e->model.layers[0].name, "dense1");
    cr_assert_str_eq(e->model.layers[6].name, "dense3");
    cr_assert_eq(e->model.layers[1].momentum, 0.1);
    cr_assert_eq(e->model.layers[1].epsilon, 1e-5);
    cr_assert_eq(e->model.layers[1].at.line, 4);
    cr_assert_eq(e->model.layers[1].at.column, 32);
    cr_assert(e->quant.given);
    cr_assert_eq(e->quant.weights.bits, 4);
    cr_assert_str_eq(e->quant.input.range, "min_max");
    cr_assert_str_eq(e->quant.activations.estimator, "ste");
    cr_assert_eq(e->quant.weights.at.line, 7);
    cr_assert_eq(e->quant.weights.at.column, 12);
    cr_assert_eq(e->quant.n_layers, 1);
    cr_assert_str_eq(e->quant.layers[0].layer, "first");
    cr_assert_eq(e->quant.layers[0].weights_set, 1);
    cr_assert_eq(e->quant.layers[0].weights.bits, 8);
    cr_assert_str_eq(e->quant.layers[0].weights.grid, "narrow");
    cr_assert_eq(e->quant.layers[0].activations_set, 0);
    cr_assert_eq(e->train.learning_rate, 1e-3);
    cr_assert_str_eq(e->run.dir, "runs");
    cr_assert_eq(e->n_variants, 1);
    struct ht_experiment *v = copy_experiment(e);
    ht_config_variant(c, 0, v);
    cr_assert_eq(v->quant.weights.bits, 2);
    cr_assert_eq(v->quant.activations.bits, 2);
    cr_assert_eq(v->quant.layers[0].weights.bits, 8);
    cr_assert_eq(v->train.epochs, 20);
    ht_free(v);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(config, defaults)
{
    struct ht_config *c = load(BASE, NULL, 0);
    const struct ht_experiment *e = ht_config_experiment(c);
    cr_assert_eq(e->data.validation, 0.1);
    cr_assert_eq(e->data.test, 0.2);
    cr_assert(e->data.standardize);
    cr_assert_str_eq(e->data.pixels, "unit");
    cr_assert_str_eq(e->data.target, "labels");
    cr_assert_not(e->quant.given);
    cr_assert_str_eq(e->quant.weights.granularity, "channel");
    cr_assert_eq(e->quant.output.bits, 32);
    cr_assert_eq(e->train.epochs, 20);
    cr_assert_eq(e->train.batch, 64);
    cr_assert_str_eq(e->train.optimizer, "adamw");
    cr_assert_eq(e->train.epsilon, 1e-8);
    cr_assert_eq(e->run.checkpoint_minutes, 5);
    cr_assert_str_eq(e->model.init, "he");
    cr_assert_str_empty(e->model.layers[0].init);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(config, numbers_as_written)
{
    struct ht_config *c = load(BASE "train: {momentum: -0, learning_rate: +1.E-3, beta1: .5, "
                                    "warmup: 1e1, epochs: +3, from: 123}\n",
                               NULL, 0);
    const struct ht_experiment *e = ht_config_experiment(c);
    cr_assert(e->train.momentum == 0 && !signbit(e->train.momentum));
    cr_assert_eq(e->train.learning_rate, 1e-3);
    cr_assert_eq(e->train.beta1, 0.5);
    cr_assert_eq(e->train.warmup, 10);
    cr_assert_eq(e->train.epochs, 3);
    cr_assert_str_eq(e->train.from, "123");
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* The form of config.h, to the letter. */
Test(config, whole_report)
{
    expect_report(BASE "seed: 3\ntrain: {epoch: 3}\n", NULL, 0,
                  "e.yaml:5:9: error: unknown key 'epoch' in train (did you mean 'epochs'?)\n"
                  "    train: {epoch: 3}\n"
                  "            ^\n"
                  "1 error\n");
}

Test(config, several_errors_in_file_order)
{
    const char *arguments[] = {"train.epoch=3"};
    expect_report("model: {layers: [{dense: 0}]}\n"
                  "quant: {weights: {bits: 1, grid: narrow}}\n"
                  "train: {batch: x}\n"
                  "data: {name: iris}\n"
                  "data: {}\n",
                  arguments, 1,
                  "e.yaml:1:1: error: the required key 'name' is missing\n"
                  "    model: {layers: [{dense: 0}]}\n"
                  "    ^\n"
                  "e.yaml:1:26: error: dense.units is 0, out of range: 1..65536\n"
                  "    model: {layers: [{dense: 0}]}\n"
                  "                             ^\n"
                  "e.yaml:2:25: error: grid narrow has 2..8 bits, not 1 (grid binary has 1)\n"
                  "    quant: {weights: {bits: 1, grid: narrow}}\n"
                  "                            ^\n"
                  "e.yaml:3:16: error: train.batch must be a whole number, found 'x'\n"
                  "    train: {batch: x}\n"
                  "                   ^\n"
                  "e.yaml:5:1: error: duplicate key 'data' (first at line 4, column 1)\n"
                  "    data: {}\n"
                  "    ^\n"
                  "argument 'train.epoch=3': error: unknown key 'epoch' in train (did you mean "
                  "'epochs'?)\n"
                  "6 errors\n");
}

Test(config, each_error_has_its_place)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        /* keys */
        {BASE "<>tarin: {}\n", "unknown key 'tarin' (did you mean 'train'?)"},
        {BASE "run: {<>xyzzy: 1}\n",
         "unknown key 'xyzzy' in run; allowed: dir, max_minutes, checkpoint_minutes, threads"},
        {BASE "train: {batch: 1, <>batch: 2}\n",
         "duplicate key 'batch' (first at line 4, column 9)"},
        {BASE "train:\n  batch: 1\n  <>batch: 2\n",
         "duplicate key 'batch' (first at line 5, column 3)"},
        {"<>data: {name: iris}\nmodel: {layers: [{dense: 3}]}\n",
         "the required key 'name' is missing"},
        {"name: a\ndata: <>{dir: x}\nmodel: {layers: [{dense: 3}]}\n",
         "the required key 'data.name' is missing"},
        {"name: a\ndata: {name: iris}\nmodel: <>{init: he}\n",
         "the required key 'model.layers' is missing"},
        /* types */
        {BASE "train: <>3\n", "train must be a map, found '3'"},
        {BASE "train: <>[epochs]\n", "train must be a map, found a list"},
        {BASE "quant: <>none\n", "quant must be a map, or null, found 'none'"},
        {BASE "train: {batch: <>{a: 1}}\n", "train.batch must be a whole number, found a map"},
        {BASE "train: {batch: <>1.5}\n", "train.batch must be a whole number, found '1.5'"},
        {BASE "train: {batch: <>010}\n", "train.batch must be a whole number, found '010'"},
        {BASE "train: {batch: <>\"8\"}\n",
         "train.batch must be a whole number, found the quoted text \"8\""},
        {BASE "train: {batch: <>~}\n", "train.batch must be a whole number, found nothing"},
        {BASE "train: {nesterov: <>2}\n", "train.nesterov must be true or false, found '2'"},
        {BASE "train: {momentum: <>0x1p3}\n", "train.momentum must be a number, found '0x1p3'"},
        {BASE "train: {momentum: <>.nan}\n",
         "train.momentum must be a finite number, found '.nan'"},
        {BASE "train: {momentum: <>-inf}\n",
         "train.momentum must be a finite number, found '-inf'"},
        /* ranges */
        {BASE "train: {epochs: <>100001}\n", "train.epochs is 100001, out of range: 0..100000"},
        {BASE "train: {epochs: <>-1}\n", "train.epochs is -1, out of range: 0..100000"},
        {BASE "train: {epochs: <>99999999999999999999999}\n",
         "train.epochs is 99999999999999999999999, out of range: 0..100000"},
        {BASE "train: {batch: <>0}\n", "train.batch is 0, out of range: 1..65536"},
        {BASE "train: {learning_rate: <>0}\n",
         "train.learning_rate is 0, out of range: > 0 and <= 100"},
        {BASE "train: {learning_rate: <>1e999}\n",
         "train.learning_rate is 1e999, out of range: > 0 and <= 100"},
        {BASE "train: {momentum: <>1}\n", "train.momentum is 1, out of range: >= 0 and < 1"},
        {BASE "train: {label_smoothing: <>1.0}\n",
         "train.label_smoothing is 1.0, out of range: >= 0 and < 1"},
        {BASE "seed: <>18446744073709551616\n",
         "seed is 18446744073709551616, out of range: 0..18446744073709551615"},
        {BASE "seed: <>-1\n", "seed is -1, out of range: 0..18446744073709551615"},
        {BASE "quant: {weights: {bits: <>9}}\n",
         "quant.weights.bits is 9, out of range: 1..8, 16, or 32"},
        {"name: a\ndata: {name: iris, validation: <>1.5}\nmodel: {layers: [{dense: 3}]}\n",
         "data.validation must be a share below 1 or a whole number, found '1.5'"},
        {"name: a\ndata: {name: iris, test: <>-1}\nmodel: {layers: [{dense: 3}]}\n",
         "data.test is -1, out of range: >= 0 and <= 1000000000, whole from 1 on"},
        /* names */
        {BASE "train: {optimizer: <>adm}\n",
         "train.optimizer is 'adm', not one of: sgd, adam, adamw (did you mean 'adam'?)"},
        {BASE "train: {optimizer: <>lbfgs}\n",
         "train.optimizer is 'lbfgs', not one of: sgd, adam, adamw"},
        {BASE "quant: {activations: {range: <>emma}}\n",
         "quant.activations.range is 'emma', not one of: min_max, ema, percentile, kl, mse, octav, "
         "learned, twn, kmeans, dynamic (did you mean "
         "'ema'?)"},
        {"name: <>a b\ndata: {name: iris}\nmodel: {layers: [{dense: 3}]}\n",
         "name is 'a b': only letters, digits and ._- are allowed"},
        {"name: <>..\ndata: {name: iris}\nmodel: {layers: [{dense: 3}]}\n",
         "name is '..': only letters, digits and ._- are allowed, and no '.' at the start"},
        {"name: <>\"\"\ndata: {name: iris}\nmodel: {layers: [{dense: 3}]}\n", "name is empty"},
        {"name: <>a23456789012345678901234567890123456789012345678901234567890123x\n"
         "data: {name: iris}\nmodel: {layers: [{dense: 3}]}\n",
         "name is longer than 63 bytes"},
        {BASE "run: {dir: <>\"a\\nb\"}\n", "run.dir has a control character or line break in it"},
        /* YAML that is refused */
        {BASE "train: <>&a {batch: 3}\n", "anchors (&name) are not supported"},
        {BASE "train: <>*a\n", "aliases (*name) are not supported"},
        {BASE "train: <>!!map {}\n", "tags (!name) are not supported"},
        {BASE "train: {batch: <>!!int 3}\n", "tags (!name) are not supported"},
        {BASE "train: {<>[a]: 3}\n", "a key must be a single word, not a map or list"},
        {BASE "run: {dir: <>\"a\\0b\"}\n", "a NUL character"},
        {BASE "<>---\nname: b\n", "only one document is allowed in a file"},
        {"<>", "the file is empty"},
        {"<># only a comment\n", "the file is empty"},
        {"<>- a\n- b\n", "expected keys and values, such as 'name: test'"},
        {"<>just text\n", "expected keys and values, such as 'name: test'"},
        {BASE "train: {batch: 3\nrun<>: {}\n",
         "did not find expected ',' or '}' (while parsing a flow mapping that began at line 4, "
         "column 8)"},
        {BASE "train:\n  batch: 3\n <>epochs: 4\n",
         "did not find expected key (while parsing a block mapping that began at line 1, column "
         "1)"},
        {BASE "train: \"x<>", "found unexpected end of stream (while scanning a quoted scalar that "
                              "began at line 4, column 8)"},
        {BASE "train: {batch:<>\xff}\n", "not UTF-8 text: invalid leading UTF-8 octet"},
        {BASE "train: {batch:<>\x01}\n", "not UTF-8 text: control characters are not allowed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_at_mark(cases[i].text, cases[i].message);
}

Test(config, columns_count_characters)
{
    expect_report(BASE "run: {dir: \"gr\xc3\xbc\xc3\x9f\x65\", dri: 1}\n", NULL, 0,
                  "e.yaml:4:21: error: unknown key 'dri' in run (did you mean 'dir'?)\n"
                  "    run: {dir: \"gr\xc3\xbc\xc3\x9f\x65\", dri: 1}\n"
                  "                        ^\n"
                  "1 error\n");
}

Test(config, long_lines_are_cut)
{
    char text[2048];
    int n = snprintf(text, sizeof text, "%srun: {dir: ", BASE);
    memset(text + n, 'x', 500);
    snprintf(text + n + 500, sizeof text - (size_t)n - 500, ", dri: 1}\n");
    struct ht_config *c = NULL;
    struct ht_text report = {0};
    cr_assert_eq(ht_config_parse(&c, "e", text, strlen(text), NULL, 0, &report, NULL),
                 HT_ERR_CONFIG);
    const char *s = ht_text_str(&report);
    cr_assert_eq(strncmp(s, "e:4:514: error: unknown key 'dri'", 33), 0, "%s", s);
    const char *line = strstr(s, "\n    ...x") + 1, *caret = strchr(line, '\n') + 1;
    cr_assert_lt(caret - line, 150);
    size_t column = strspn(caret, " ");
    cr_assert_eq(strncmp(line + column, "dri: 1}\n", 8), 0, "%s", s);
    ht_text_finish(&report);
    cr_assert_eq(ht_alloc_live(), 0);
}

static char *append_many(const char *head, const char *item, size_t n, const char *tail)
{
    struct ht_text t = {0};
    ht_text_printf(&t, "%s", head);
    for (size_t i = 0; i < n; i++)
        ht_text_printf(&t, "%s", item);
    ht_text_printf(&t, "%s", tail);
    return t.s;
}

static void expect_start(const char *text, size_t length, const char *start)
{
    struct ht_config *c = NULL;
    struct ht_text report = {0};
    struct ht_error err = {0};
    cr_assert_eq(ht_config_parse(&c, "e", text, length, NULL, 0, &report, &err), HT_ERR_CONFIG);
    cr_assert_eq(strncmp(ht_text_str(&report), start, strlen(start)), 0, "%.300s",
                 ht_text_str(&report));
    ht_text_finish(&report);
}

Test(config, limits)
{
    char *deep = append_many(BASE "run: ", "[", 40, "\n");
    expect_start(deep, strlen(deep), "e:4:37: error: nested deeper than 32 levels\n");
    ht_free(deep);
    char *wide = append_many(BASE "run: [", "1,", 20001, "]\n");
    expect_start(wide, strlen(wide), "e:4:");
    cr_assert_not_null(wide);
    ht_free(wide);
    char *large = append_many(BASE "#", "0123456789abcde\n#", 65536, "\n");
    expect_start(large, strlen(large), "e: error: larger than 1 MiB\n");
    ht_free(large);
    char *layers =
        append_many("name: a\ndata: {name: b}\nmodel: {layers: [", "{dense: 1}, ", 129, "]}\n");
    expect_start(layers, strlen(layers), "e:3:1554: error: more than 128 layers\n");
    ht_free(layers);
    const char nul[] = BASE "run: {dir: a\0b}\n";
    expect_start(nul, sizeof nul - 1, "e:4:13: error: not UTF-8 text: control characters");
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(config, at_most_fifty_are_shown)
{
    struct ht_text text = {0}, report = {0};
    ht_text_printf(&text, "%strain:\n", BASE);
    for (int i = 0; i < 1500; i++)
        ht_text_printf(&text, "  zzzzzzzz%d: 1\n", i);
    struct ht_config *c = NULL;
    cr_assert_eq(ht_config_parse(&c, "e", text.s, text.len, NULL, 0, &report, NULL), HT_ERR_CONFIG);
    const char *s = ht_text_str(&report);
    cr_assert_not_null(strstr(s, "zzzzzzzz49'"));
    cr_assert_null(strstr(s, "zzzzzzzz50'"));
    cr_assert_not_null(strstr(s, "... and 1450 more\n1500 errors\n"));
    ht_text_finish(&text);
    ht_text_finish(&report);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(config, arguments)
{
    const char *arguments[] = {"train.epochs=3",   "quant.layers.dense2.weights.bits=8",
                               "name=other",       "seed=18446744073709551615",
                               "data.dir=/a = b/", "run.dir="};
    struct ht_config *c = load(good, arguments, 6);
    const struct ht_experiment *e = ht_config_experiment(c);
    cr_assert_eq(e->train.epochs, 3);
    cr_assert_str_eq(e->name, "other");
    cr_assert_eq(e->seed, UINT64_MAX);
    cr_assert_str_eq(e->data.dir, "/a = b/");
    cr_assert_str_empty(e->run.dir);
    cr_assert_eq(e->quant.n_layers, 2);
    cr_assert_str_eq(e->quant.layers[1].layer, "dense2");
    cr_assert_eq(e->quant.layers[1].weights.bits, 8);
    cr_assert_eq(e->quant.layers[1].at.line, 0);
    cr_assert_eq(e->train.at.line, 10); /* the file's map, not the argument */
    struct ht_experiment *v = copy_experiment(e);
    ht_config_variant(c, 0, v);
    cr_assert_eq(v->train.epochs, 3);
    cr_assert_eq(v->quant.weights.bits, 2);
    cr_assert_eq(v->quant.layers[1].weights.bits, 8);
    ht_free(v);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(config, bad_arguments)
{
    static const struct {
        const char *argument, *message;
    } cases[] = {
        {"train", "expected key=value, such as train.epochs=3"},
        {"=3", "expected key=value, such as train.epochs=3"},
        {"train..epochs=3", "a part of the key is empty"},
        {".=3", "a part of the key is empty"},
        {"train.epoch=3", "unknown key 'epoch' in train (did you mean 'epochs'?)"},
        {"trian.epochs=3", "unknown key 'trian' (did you mean 'train'?)"},
        {"train.epochs=x", "train.epochs must be a whole number, found 'x'"},
        {"train.epochs=-1", "train.epochs is -1, out of range: 0..100000"},
        {"train=3", "train must be a map, found '3'"},
        {"train.epochs.x=3", "train.epochs must be a whole number, found a map"},
        {"model.layers=3",
         "model.layers is a list: lists cannot be set by an argument, edit the file"},
        {"model.layers.0.dense=128",
         "model.layers is a list: lists cannot be set by an argument, edit the file"},
        {"variants.0.name=x",
         "variants is a list: lists cannot be set by an argument, edit the file"},
        {"model.layers=[relu]", "lists and maps cannot be set by an argument: edit the file"},
        {"quant.layers.lst.weights.bits=8",
         "unknown layer 'lst' in quant.layers (did you mean 'last'?)"},
        {"quant.layers.dense1.weights.bits=32",
         "a float32 layer inside a quantized network is not supported: use 8, or 16 where "
         "activations are float"},
        {"quant.weights.bits=1", "grid narrow has 2..8 bits, not 1 (grid binary has 1)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[256];
        snprintf(expected, sizeof expected, "argument '%s': error: %s\n1 error\n",
                 cases[i].argument, cases[i].message);
        expect_report(good, &cases[i].argument, 1, expected);
    }
}

Test(config, first_error_in_one_line)
{
    struct ht_config *c = NULL;
    struct ht_error err = {0};
    const char *text = BASE "train: {batch: 0, epochs: x}\n";
    cr_assert_eq(ht_config_parse(&c, "a/e.yaml", text, strlen(text), NULL, 0, NULL, &err),
                 HT_ERR_CONFIG);
    cr_assert_str_eq(err.msg, "a/e.yaml:4:16: train.batch is 0, out of range: 1..65536");
    cr_assert_eq(err.code, HT_ERR_CONFIG);
    cr_assert_eq(ht_config_parse(&c, "e", text, strlen(text), NULL, 0, NULL, NULL), HT_ERR_CONFIG);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(config, files)
{
    char dir[64], path[128];
    struct ht_config *c = NULL;
    struct ht_error err = {0};
    struct ht_text report = {0};
    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/e.yaml", dir);
    cr_assert_eq(ht_config_load(&c, path, NULL, 0, &report, &err), HT_ERR_IO);
    cr_assert_not_null(strstr(err.msg, "No such file"));
    cr_assert_not_null(strstr(ht_text_str(&report), "No such file"));
    cr_assert_eq(ht_config_load(&c, dir, NULL, 0, NULL, &err), HT_ERR_IO); /* a folder */
    write_file(path, "\xef\xbb\xbf" BASE, sizeof BASE + 2);                /* with BOM */
    ASSERT_OK(ht_config_load(&c, path, NULL, 0, NULL, &err), err);
    cr_assert_str_eq(ht_config_experiment(c)->path, path);
    ht_config_destroy(c);
    cr_assert_not_null(freopen(path, "r", stdin));
    ASSERT_OK(ht_config_load(&c, "-", NULL, 0, NULL, &err), err);
    cr_assert_str_eq(ht_config_experiment(c)->name, "a");
    ht_config_destroy(c);
    write_file(path, "\xef\xbb\xbfnmae: 1\n" BASE, sizeof BASE + 10);
    cr_assert_eq(ht_config_load(&c, path, NULL, 0, NULL, &err), HT_ERR_CONFIG);
    cr_assert_not_null(strstr(err.msg, "e.yaml:1:1: unknown key 'nmae'"), "%s", err.msg);
    char *large = append_many(BASE, "# 45678901234\n", 80000, "");
    write_file(path, large, strlen(large));
    cr_assert_eq(ht_config_load(&c, path, NULL, 0, NULL, &err), HT_ERR_CONFIG);
    cr_assert_not_null(strstr(err.msg, "larger than 1 MiB"));
    ht_free(large);
    ht_text_finish(&report);
    remove_temp_dir(dir);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(config, report_at)
{
    struct ht_config *c = load(good, NULL, 0);
    struct ht_text t = {0};
    ht_config_report_at(c, ht_config_experiment(c)->quant.activations.at, "too narrow", &t);
    cr_assert_str_eq(ht_text_str(&t),
                     "e.yaml:8:16: error: too narrow\n"
                     "      activations: {bits: 8, grid: affine, range: ema, estimator: ste}\n"
                     "                   ^\n");
    ht_config_report_at(NULL, (struct ht_source_position){3, 4}, "no", &t);
    ht_config_report_at(c, (struct ht_source_position){0, 0}, "no", &t);
    ht_config_report_at(c, (struct ht_source_position){900, 4}, "no", &t);
    ht_text_finish(&t);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(config, reference_names_every_key)
{
    struct ht_config *c = load(good, NULL, 0);
    struct ht_text reference = {0}, yaml = {0};
    ht_config_print_reference(&reference);
    ht_experiment_print(ht_config_experiment(c), &yaml);
    cr_assert_not_null(
        strstr(reference.s, "| `learning_rate` | number | `0.001` | > 0 and <= 100 |"));
    cr_assert_not_null(strstr(reference.s, "## quant.weights\n"));
    cr_assert_not_null(strstr(reference.s, "## leaky_relu\n"));
    /* Every `key:` at a line's start of a printed experiment is a row. */
    for (char *line = strtok(yaml.s, "\n"); line; line = strtok(NULL, "\n")) {
        char row[80];
        line += strspn(line, " ");
        size_t n = strcspn(line, ":");
        if (*line == '-' || !line[n] || strncmp(line, "first", 5) == 0)
            continue;
        snprintf(row, sizeof row, "| `%.*s` |", (int)n, line);
        cr_assert_not_null(strstr(reference.s, row), "%s", row);
    }
    ht_text_finish(&reference);
    ht_text_finish(&yaml);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}
