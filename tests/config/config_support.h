/* Loads texts and compares reports. */
#ifndef HT_TESTS_CONFIG_SUPPORT_H
#define HT_TESTS_CONFIG_SUPPORT_H

#include "support.h"

#include "config/config.h"

#define BASE "name: a\ndata: {name: iris}\nmodel: {layers: [{dense: 8}, relu, {dense: 3}]}\n"

/* The experiment of the contract. */
static const char good[] =
    "name: fashion-mnist\n"
    "seed: 1\n"
    "data: {name: fashion-mnist, validation: 5000}\n"
    "model: {layers: [{dense: 256}, batchnorm, relu, {dense: 256}, batchnorm, relu, {dense: 10}]}\n"
    "quant:\n"
    "  input: {bits: 8}\n"
    "  weights: {bits: 4, grid: narrow, range: learned, estimator: lsq, granularity: channel}\n"
    "  activations: {bits: 8, grid: affine, range: ema, estimator: ste}\n"
    "  layers: {first: {weights: {bits: 8}}}          # overrides by first, last, or layer name\n"
    "train: {epochs: 20, batch: 64, optimizer: adamw, learning_rate: 1e-3, schedule: cosine}\n"
    "run: {dir: runs}\n"
    "variants: [{name: w2a2, quant: {weights: {bits: 2}, activations: {bits: 2}}}]\n";

static inline struct ht_config *load(const char *text, const char *const *arguments, size_t n)
{
    struct ht_config *config = NULL;
    struct ht_error err = {0};
    struct ht_text report = {0};
    enum ht_status status =
        ht_config_parse(&config, "e.yaml", text, strlen(text), arguments, n, &report, &err);
    cr_assert_eq(status, HT_OK, "%s", ht_text_str(&report));
    cr_assert_str_empty(ht_text_str(&report));
    ht_text_finish(&report);
    return config;
}

/* The text must fail with exactly this report. */
static inline void expect_report(const char *text, const char *const *arguments, size_t n,
                                 const char *expected)
{
    struct ht_config *config = NULL;
    struct ht_error err = {0};
    struct ht_text report = {0};
    enum ht_status status =
        ht_config_parse(&config, "e.yaml", text, strlen(text), arguments, n, &report, &err);
    cr_assert_eq(status, HT_ERR_CONFIG, "accepted:\n%s", text);
    cr_assert_null(config);
    cr_assert_str_eq(ht_text_str(&report), expected, "\n--- got\n%s--- expected\n%s",
                     ht_text_str(&report), expected);
    ht_text_finish(&report);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* The text must fail with one error, "line:column: error: message" in the report; where `text` has
 * the mark <> is where the caret must point. */
static inline void expect_at_mark(const char *marked, const char *message)
{
    char text[4096], expected[512];
    const char *mark = strstr(marked, "<>");
    cr_assert_not_null(mark, "%s", marked);
    snprintf(text, sizeof text, "%.*s%s", (int)(mark - marked), marked, mark + 2);
    int line = 1, column = 1;
    for (const char *s = marked; s < mark; s++) {
        line += *s == '\n';
        column = *s == '\n' ? 1 : column + 1;
    }
    snprintf(expected, sizeof expected, "e.yaml:%d:%d: error: %s\n", line, column, message);
    struct ht_config *config = NULL;
    struct ht_error err = {0};
    struct ht_text report = {0};
    enum ht_status status =
        ht_config_parse(&config, "e.yaml", text, strlen(text), NULL, 0, &report, &err);
    cr_assert_eq(status, HT_ERR_CONFIG, "accepted:\n%s", text);
    cr_assert_eq(strncmp(ht_text_str(&report), expected, strlen(expected)), 0,
                 "\n--- got\n%s--- expected\n%s", ht_text_str(&report), expected);
    /* The caret: under the same column of the excerpt, four spaces in. */
    const char *source = ht_text_str(&report) + strlen(expected);
    const char *caret = strchr(source, '\n') + 1;
    cr_assert_eq(strspn(caret, " "), (size_t)(column + 3), "%s", ht_text_str(&report));
    cr_assert_str_eq(caret + column + 3, "^\n1 error\n", "%s", ht_text_str(&report));
    ht_text_finish(&report);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Equal but for positions and the path? Structs are filled over zeroed memory: bytes compare. */
static inline void strip(struct ht_experiment *e)
{
    const struct ht_source_position none = {0, 0};
    memset(e->path, 0, sizeof e->path);
    memset(e->variants, 0, sizeof e->variants);
    e->n_variants = 0;
    e->data.at = e->model.at = e->quant.at = e->train.at = none;
    e->quant.input.at = e->quant.weights.at = e->quant.activations.at = e->quant.output.at = none;
    for (size_t i = 0; i < HT_MAX_LAYERS; i++)
        e->model.layers[i].at = none;
    for (size_t i = 0; i < HT_MAX_OVERRIDES; i++)
        e->quant.layers[i].at = e->quant.layers[i].weights.at = e->quant.layers[i].activations.at =
            none;
}

static inline struct ht_experiment *copy_experiment(const struct ht_experiment *e)
{
    struct ht_experiment *copy = ht_calloc(1, sizeof *copy);
    cr_assert_not_null(copy);
    memcpy(copy, e, sizeof *copy);
    return copy;
}

/* print -> parse -> equal, and printed again the same text. */
static inline void check_round_trip(const struct ht_experiment *e)
{
    struct ht_text first = {0}, second = {0};
    ht_experiment_print(e, &first);
    struct ht_config *again = load(ht_text_str(&first), NULL, 0);
    ht_experiment_print(ht_config_experiment(again), &second);
    cr_assert_str_eq(ht_text_str(&first), ht_text_str(&second));
    struct ht_experiment *a = copy_experiment(e), *b = copy_experiment(ht_config_experiment(again));
    strip(a);
    strip(b);
    cr_assert_eq(memcmp(a, b, sizeof *a), 0, "%s", ht_text_str(&first));
    ht_free(a);
    ht_free(b);
    ht_config_destroy(again);
    ht_text_finish(&first);
    ht_text_finish(&second);
}

#endif
