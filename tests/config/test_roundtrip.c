/* Random experiments round-trip; damaged files and lack of memory are survived. */
#include "config_support.h"

#include "base/rng.h"

struct dice {
    uint64_t seed, n;
};

static size_t roll(struct dice *d, size_t n)
{
    return (size_t)ht_rng_below(d->seed, HT_RNG_TEST, d->n++, n);
}

static const char *pick(struct dice *d, const char *const *names, size_t n)
{
    return names[roll(d, n)];
}
#define PICK(d, ...)                                                                               \
    pick(d, (const char *const[]){__VA_ARGS__},                                                    \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static void random_quantizer(struct dice *d, bool weights, struct ht_text *t)
{
    ht_text_printf(t, "{");
    size_t shape = roll(d, weights ? 6 : 4);
    const bool own_range = shape == 5;
    if (shape == 0)
        ht_text_printf(t, "bits: %zu, ", 1 + roll(d, weights ? 8 : 7));
    else if (shape == 1)
        ht_text_printf(t, "grid: zero_free, bits: %zu, ", 1 + roll(d, 4));
    else if (shape == 2)
        ht_text_printf(t, "grid: %s, bits: %zu, ", PICK(d, "full", "narrow", "affine"),
                       2 + roll(d, 6));
    else if (shape == 4)
        ht_text_printf(t, "grid: %s, bits: 3, ", PICK(d, "pow2", "pow2_zero_free", "apot"));
    else if (own_range)
        ht_text_printf(t, "grid: %s, bits: 2, scale: power_of_two, ",
                       PICK(d, "ternary", "codebook"));
    if (!own_range && roll(d, 2))
        ht_text_printf(t, "range: %s, ", PICK(d, "ema", "min_max", "learned"));
    else if (!own_range && roll(d, 2))
        ht_text_printf(t, "estimator: lsq, range: learned, ");
    if (weights && !own_range && roll(d, 2))
        ht_text_printf(t, "granularity: %s, ", PICK(d, "tensor", "channel"));
    else if (weights && shape == 4 && roll(d, 2))
        ht_text_printf(t, "group: %zu, ", 8 + roll(d, 249));
    ht_text_printf(t, "momentum: %.17g}", ht_rng_uniform(d->seed, HT_RNG_TEST, d->n++) + 1e-9);
}

static void random_layers(struct dice *d, size_t hidden, struct ht_text *t)
{
    ht_text_printf(t, "model:\n  init: %s\n  layers:\n", PICK(d, "he", "xavier", "uniform"));
    if (roll(d, 3) == 0)
        ht_text_printf(t, "  - {dropout: %.17g}\n", ht_rng_uniform(d->seed, HT_RNG_TEST, d->n++));
    for (size_t i = 0; i <= hidden; i++) {
        ht_text_printf(t, "  - {dense: %zu", 1 + roll(d, 65536));
        if (roll(d, 2))
            ht_text_printf(t, ", name: layer_%zu", i);
        if (roll(d, 2))
            ht_text_printf(t, ", bias: %s", PICK(d, "yes", "no"));
        if (roll(d, 2))
            ht_text_printf(t, ", init: %s", PICK(d, "he", "uniform"));
        ht_text_printf(t, "}\n");
        if (roll(d, 2))
            ht_text_printf(t, "  - %s\n",
                           PICK(d, "batchnorm", "{batchnorm: {epsilon: 0.0123456789}}"));
        if (i == hidden)
            break;
        if (roll(d, 4))
            ht_text_printf(t, "  - %s\n",
                           PICK(d, "tanh", "sigmoid", "gelu", "leaky_relu", "{leaky_relu: 0.3}"));
        if (roll(d, 3) == 0)
            ht_text_printf(t, "  - dropout\n");
    }
}

/* A valid experiment; some part of all keys. */
static void random_experiment(struct dice *d, struct ht_text *t)
{
    ht_text_printf(t, "name: %s\n", PICK(d, "a", "\"null\"", "x.y-z_1", "123", "true"));
    ht_text_printf(t, "seed: %llu\n",
                   (unsigned long long)ht_rng_below(d->seed, HT_RNG_TEST, d->n++, UINT64_MAX));
    ht_text_printf(t, "data: {name: %s, dir: %s, validation: %s, standardize: %s%s}\n",
                   PICK(d, "iris", "a/b.yaml", "\"my data.yaml\""),
                   PICK(d, "\"\"", "\"null\"", "\"~\"", "\"a: b # c\"",
                        "\"\\\\ \\\" ' \\u2028\\N\"", "gr\xc3\xbc\xc3\x9f\x65", "'- x'",
                        "\"\\U0010FFFF\\uFFFE\\uFEFF\"", "'?'"),
                   PICK(d, "0", "0.3333333333333333", "17", "5000", "1e5"), PICK(d, "on", "off"),
                   PICK(d, "", ", target: input, anomaly_classes: [3, \"a b\", 'c: #']",
                        ", anomaly_classes: []"));
    size_t hidden = roll(d, 4);
    random_layers(d, hidden, t);
    if (roll(d, 5)) {
        ht_text_printf(t, "quant:\n  start_epoch: %zu\n  weights: ", roll(d, 9));
        random_quantizer(d, true, t);
        ht_text_printf(t, "\n  activations: ");
        random_quantizer(d, false, t);
        ht_text_printf(t, "\n  output: %s\n", PICK(d, "{}", "{bits: 8}", "{bits: 32}"));
        ht_text_printf(t, "  layers:\n    first: {weights: {bits: %zu}}\n", 1 + roll(d, 4));
        if (roll(d, 2))
            ht_text_printf(t, "    last: {activations: {bits: 1}, weights: {range: ema}}\n");
    }
    ht_text_printf(t, "train: {epochs: %zu, learning_rate: %.17g, epsilon: %.17g, optimizer: %s}\n",
                   roll(d, 100001), ht_rng_uniform(d->seed, HT_RNG_TEST, d->n++) + 1e-12,
                   1e-300 * (double)(1 + roll(d, 1000)), PICK(d, "sgd", "adam", "adamw"));
}

Test(roundtrip, random_experiments)
{
    size_t accepted = 0;
    for (uint64_t i = 0; i < 400; i++) {
        struct dice d = {1000 + i, 0};
        struct ht_text t = {0};
        struct ht_config *c = NULL;
        struct ht_error err = {0};
        random_experiment(&d, &t);
        enum ht_status status = ht_config_parse(&c, "r", t.s, t.len, NULL, 0, NULL, &err);
        if (status == HT_OK) {
            check_round_trip(ht_config_experiment(c));
            ht_config_destroy(c);
            accepted++;
        } else { /* full at 8 bits, or a grid inherited by what does not go with it */
            cr_assert(strstr(err.msg, "narrow by contract") || strstr(err.msg, "zero_free has") ||
                          strstr(err.msg, "finds its scale by") || strstr(err.msg, "one table for"),
                      "%s\n%s", err.msg, t.s);
        }
        ht_text_finish(&t);
    }
    cr_assert_gt(accepted, 300);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* Words that make damage interesting. */
static const char *const tokens[] = {
    "quant",    "bits",  "null",  "{",           "}",     "[",        "]",      ":",       ",",
    "- ",       "1",     "32",    "layers",      "dense", "relu",     "first",  "weights", "\n",
    "  ",       "\t",    "#",     "&a ",         "*a",    "!!int ",   "\"",     "'",       "|\n",
    "? ",       "---\n", "...\n", "%YAML 1.1\n", "\xff",  "\xc2\x85", "binary", "grid",    "1e999",
    "variants", "name",  "~"};

static void replace(struct ht_text *t, size_t at, size_t n, const char *with, size_t with_n)
{
    struct ht_text out = {0};
    ht_text_append(&out, t->s, at);
    ht_text_append(&out, with, with_n);
    ht_text_append(&out, t->s + at + n, t->len - at - n);
    ht_text_finish(t);
    *t = out;
}

static void mutate(struct dice *d, struct ht_text *t)
{
    size_t at = roll(d, t->len), left = t->len - at, n = 1 + roll(d, left < 30 ? left : 30);
    char copy[32];
    memcpy(copy, t->s + at, n < sizeof copy ? n : sizeof copy);
    switch (roll(d, 5)) {
    case 0: /* a bit */
        t->s[at] = (char)(t->s[at] ^ 1 << roll(d, 8));
        break;
    case 1: /* bytes taken away */
        replace(t, at, n, "", 0);
        break;
    case 2: /* bytes doubled */
        replace(t, roll(d, t->len), 0, copy, n < sizeof copy ? n : sizeof copy);
        break;
    case 3: { /* a word put in */
        const char *word = tokens[roll(d, sizeof tokens / sizeof *tokens)];
        replace(t, at, roll(d, 2) ? n : 0, word, strlen(word));
        break;
    }
    default: { /* two lines swapped: one moves to another line's start */
        char *line = memchr(t->s + at, '\n', left);
        if (line && (size_t)(line + 1 - t->s) < t->len) {
            const char *end = strchr(line + 1, '\n');
            size_t length = end ? (size_t)(end - line) : 0;
            char moved[256];
            if (length > 0 && length < sizeof moved) {
                memcpy(moved, line + 1, length);
                replace(t, (size_t)(line + 1 - t->s), length, "", 0);
                replace(t, 0, 0, moved, length);
            }
        }
    }
    }
}

Test(roundtrip, damaged_files)
{
    size_t valid = 0, errors = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        struct dice d = {77000 + i, 0};
        struct ht_text t = {0}, report = {0};
        struct ht_config *c = NULL;
        struct ht_error err = {0};
        ht_text_append(&t, good, sizeof good - 1);
        for (size_t n = 1 + roll(&d, 4); n > 0 && t.len > 0; n--)
            mutate(&d, &t);
        enum ht_status status =
            ht_config_parse(&c, "m", ht_text_str(&t), t.len, NULL, 0, &report, &err);
        if (status == HT_OK) {
            valid++;
            check_round_trip(ht_config_experiment(c));
            struct ht_experiment *v = copy_experiment(ht_config_experiment(c));
            for (size_t k = 0; k < ht_config_experiment(c)->n_variants; k++) {
                ht_config_variant(c, k, v);
                check_round_trip(v);
            }
            ht_free(v);
            ht_config_destroy(c);
        } else {
            errors++;
            cr_assert_eq(status, HT_ERR_CONFIG);
            cr_assert_not_null(strstr(ht_text_str(&report), ": error: "));
            cr_assert(*err.msg);
        }
        ht_text_finish(&t);
        ht_text_finish(&report);
        cr_assert_eq(ht_alloc_live(), 0);
    }
    cr_assert_gt(valid, 100);
    cr_assert_gt(errors, 1000);
}

Test(roundtrip, out_of_memory)
{
    const char *arguments[] = {"train.epochs=3", "quant.layers.dense2.weights.bits=8"};
    size_t failed = 0;
    for (long n = 1; n <= 300; n++) {
        struct ht_config *c = NULL;
        struct ht_error err = {0};
        ht_alloc_fail_at(n);
        enum ht_status status =
            ht_config_parse(&c, "m", good, sizeof good - 1, arguments, 2, NULL, &err);
        ht_alloc_fail_at(0);
        if (status == HT_OK)
            ht_config_destroy(c);
        else
            failed++;
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY, "%ld: %d %s", n, (int)status,
                  err.msg);
        cr_assert_eq(ht_alloc_live(), 0, "allocation %ld", n);
    }
    cr_assert_gt(failed, 5);
    cr_assert_lt(failed, 300);
}

/* With errors to report there are more allocations; a cut report is a failure too. */
Test(roundtrip, out_of_memory_in_reports)
{
    static const char text[] = "nmae: a\ntrain: {epoch: 3, optimizer: adm, batch: 0}\n"
                               "quant: {layers: {frist: {weights: {bits: 1}}}}\n";
    size_t failed = 0;
    for (long n = 1; n <= 300; n++) {
        struct ht_config *c = NULL;
        struct ht_text report = {0};
        ht_alloc_fail_at(n);
        enum ht_status status =
            ht_config_parse(&c, "m", text, sizeof text - 1, NULL, 0, &report, NULL);
        ht_alloc_fail_at(0);
        cr_assert(status == HT_ERR_CONFIG || status == HT_ERR_MEMORY, "%ld: %d", n, (int)status);
        failed += status == HT_ERR_MEMORY;
        ht_text_finish(&report);
        cr_assert_eq(ht_alloc_live(), 0, "allocation %ld", n);
    }
    cr_assert_gt(failed, 10);
    cr_assert_lt(failed, 300);
    struct ht_config *c = load(good, NULL, 0);
    struct ht_experiment *e = copy_experiment(ht_config_experiment(c));
    for (long n = 1; n <= 50; n++) {
        ht_alloc_fail_at(n);
        enum ht_status status = ht_experiment_set(e, "quant.layers.last.weights.bits", "3", NULL);
        ht_alloc_fail_at(0);
        cr_assert(status == HT_OK || status == HT_ERR_MEMORY);
        if (status)
            cr_assert_eq(memcmp(e, ht_config_experiment(c), sizeof *e), 0);
    }
    ht_free(e);
    ht_config_destroy(c);
    cr_assert_eq(ht_alloc_live(), 0);
}
