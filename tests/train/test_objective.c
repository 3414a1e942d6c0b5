#include "train_support.h"

#include <math.h>

#include "train/metrics.h"
#include "train/objective.h"

#define LAYERS "[{dense: 6}, relu, {dense: 3}]"

static struct ht_objective make(enum ht_task task, const char *loss, size_t outputs)
{
    struct ht_objective o = {.task = task, .loss = loss, .outputs = outputs};
    bool elementwise = strcmp(loss, "mse") == 0 || strcmp(loss, "bce") == 0;
    o.one_hot = task == HT_CLASSIFICATION && elementwise && outputs > 1;
    o.target_columns = elementwise ? outputs : 1;
    return o;
}

/* --- what is chosen, what is refused --- */

struct choice {
    const char *layers, *override;
    bool regression;
    const char *loss; /* NULL: refused */
    bool one_hot;
    size_t target_columns;
};

static const struct choice choices[] = {
    {LAYERS, "train.loss=auto", false, "cross_entropy", false, 1},
    {LAYERS, "train.loss=mse", false, "mse", true, 3},
    {LAYERS, "train.loss=bce", false, "bce", true, 3},
    {LAYERS, "train.loss=squared_hinge", false, "squared_hinge", false, 1},
    {"[{dense: 4}]", "train.loss=auto", false, NULL, false, 0},
    {"[{dense: 1}]", "train.loss=bce", false, NULL, false, 0}, /* three classes, one output */
    {"[{dense: 1}]", "train.loss=auto", true, "mse", false, 1},
    {"[{dense: 1}]", "train.loss=cross_entropy", true, NULL, false, 0},
    {"[{dense: 2}]", "train.loss=auto", true, NULL, false, 0},
    {"[{dense: 2}]", "data.target=input", false, "mse", false, 2},
    {"[{dense: 3}]", "data.target=input", false, NULL, false, 0},
};

Test(objective, choices)
{
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        const struct choice *c = &choices[i];
        struct fixture f;
        struct ht_dataset *d;
        struct ht_objective o;
        fixture_init(&f, c->regression, c->layers, &c->override, 1);
        ASSERT_OK(ht_setup_dataset(&d, f.e, &f.err), f.err);
        enum ht_status status = ht_objective_init(&o, f.e, d, &f.err);
        if (c->loss) {
            cr_expect_eq(status, HT_OK, "%zu: %s", i, f.err.msg);
            cr_expect_str_eq(o.loss, c->loss, "%zu", i);
            cr_expect_eq(o.one_hot, c->one_hot, "%zu", i);
            cr_expect_eq(o.target_columns, c->target_columns, "%zu", i);
            cr_expect_str_eq(o.score, o.task == HT_CLASSIFICATION ? "accuracy" : "r2");
        } else {
            cr_expect_eq(status, HT_ERR_CONFIG, "%zu", i);
            cr_expect(strstr(f.err.msg, "test.yaml:"), "%zu: %s", i, f.err.msg);
        }
        ht_dataset_destroy(d);
        fixture_finish(&f);
    }
}

/* --- scores, against sums written out here --- */

Test(scorer, accuracy_by_class_and_one_hot)
{
    const ht_real y[5 * 3] = {1, 0, 0, /**/ 0, 2, 1, /**/ 3, 3, 1, /**/ -5, -4, -3, /**/ 0, 0, 0};
    const ht_real classes[5] = {0, 2, 0, 2, 1};
    const ht_real hot[5 * 3] = {1, 0, 0, /**/ 0, 0, 1, /**/ 1, 0, 0, /**/ 0, 0, 1, /**/ 0, 1, 0};
    struct ht_objective by_class = make(HT_CLASSIFICATION, "cross_entropy", 3);
    struct ht_objective one_hot = make(HT_CLASSIFICATION, "mse", 3);
    struct ht_scorer a = {0}, b = {0};
    /* Rows 0, 2 (a tie goes to the lowest) and 3 are right; in two calls as in two batches. */
    ht_scorer_add(&a, &by_class, y, classes, 2);
    ht_scorer_add(&a, &by_class, y + 6, classes + 2, 3);
    ht_scorer_add(&b, &one_hot, y, hot, 5);
    cr_assert_eq(ht_scorer_result(&a, &by_class), 3.0 / 5);
    cr_assert_eq(ht_scorer_result(&b, &one_hot), 3.0 / 5);
}

Test(scorer, one_output_is_the_sign)
{
    const ht_real y[4] = {(ht_real)0.1, 0, -1, 5}, target[4] = {1, 1, 0, 0};
    struct ht_objective o = make(HT_CLASSIFICATION, "bce", 1);
    struct ht_scorer s = {0};
    ht_scorer_add(&s, &o, y, target, 4);
    cr_assert_eq(ht_scorer_result(&s, &o), 2.0 / 4);
}

Test(scorer, r2)
{
    const ht_real y[6] = {1, 2, 3, 4, 5, 7}, t[6] = {1, 3, 2, 5, 4, 6};
    double mean = 0, residual = 0, variance = 0;
    struct ht_objective o = make(HT_REGRESSION, "mse", 2);
    struct ht_scorer s = {0}, perfect = {0}, constant = {0};
    for (int i = 0; i < 6; i++)
        mean += (double)t[i] / 6;
    for (int i = 0; i < 6; i++) {
        residual += ((double)y[i] - (double)t[i]) * ((double)y[i] - (double)t[i]);
        variance += ((double)t[i] - mean) * ((double)t[i] - mean);
    }
    ht_scorer_add(&s, &o, y, t, 3);
    cr_assert_float_eq(ht_scorer_result(&s, &o), 1 - residual / variance, 1e-14);
    ht_scorer_add(&perfect, &o, t, t, 3);
    cr_assert_eq(ht_scorer_result(&perfect, &o), 1);
    const ht_real same[4] = {2, 2, 2, 2};
    ht_scorer_add(&constant, &o, y, same, 2);
    cr_assert_eq(ht_scorer_result(&constant, &o), 0); /* no variance: no NaN */
}

Test(scorer, nothing_gives_zero)
{
    struct ht_objective c = make(HT_CLASSIFICATION, "cross_entropy", 3);
    struct ht_objective r = make(HT_REGRESSION, "mse", 1);
    struct ht_scorer s = {0};
    cr_assert_eq(ht_scorer_result(&s, &c), 0);
    cr_assert_eq(ht_scorer_result(&s, &r), 0);
}

/* --- metrics.jsonl --- */

static char *read_metrics(const char *dir, size_t *size)
{
    static char text[4096];
    char path[128];
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f);
    *size = fread(text, 1, sizeof text - 1, f);
    text[*size] = '\0';
    fclose(f);
    return text;
}

Test(metrics, append_and_truncate)
{
    char dir[64];
    struct ht_error err;
    size_t size, three;
    make_temp_dir(dir);
    ASSERT_OK(ht_metrics_truncate(dir, 0, &err), err); /* no file yet */
    for (int i = 1; i <= 3; i++) {
        struct ht_progress_state s = {.epoch = i, .step = 10 * i};
        struct ht_train_event e = {.train_loss = 0.5,
                                   .validation_loss = NAN,
                                   .validation_score = INFINITY,
                                   .quantized = i > 1};
        ASSERT_OK(ht_metrics_append(dir, "accuracy", &s, &e, &err), err);
    }
    char *text = read_metrics(dir, &three);
    cr_assert(strstr(text, "\"epoch\":3"));
    cr_assert(strstr(text, "\"validation_accuracy\":null"), "%s", text);
    cr_assert_null(strstr(text, "nan"));
    ASSERT_OK(ht_metrics_truncate(dir, 5, &err), err); /* more than there are: all stay */
    read_metrics(dir, &size);
    cr_assert_eq(size, three);

    char path[128]; /* a line that a kill has cut */
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    FILE *f = fopen(path, "ab");
    fputs("{\"epoch\":4,\"st", f);
    fclose(f);
    ASSERT_OK(ht_metrics_truncate(dir, 3, &err), err);
    text = read_metrics(dir, &size);
    cr_assert_eq(size, three);
    ASSERT_OK(ht_metrics_truncate(dir, 1, &err), err);
    text = read_metrics(dir, &size);
    cr_assert(strstr(text, "\"epoch\":1") && !strstr(text, "\"epoch\":2"));
    ASSERT_OK(ht_metrics_truncate(dir, 0, &err), err);
    read_metrics(dir, &size);
    cr_assert_eq(size, 0);
    remove_temp_dir(dir);
    cr_assert_eq(ht_alloc_live(), 0);
}
