/* A small dataset and experiment in a temporary folder. */
#ifndef HT_TESTS_TRAIN_SUPPORT_H
#define HT_TESTS_TRAIN_SUPPORT_H

#include "support.h"

#include "config/config.h"
#include "train/run.h"
#include "train/setup.h"

struct fixture {
    char dir[64];
    struct ht_config *config;
    const struct ht_experiment *e;
    struct ht_error err;
};

/* 90 rows of two features; class = which third the first is in, "value" = a line through both. */
static inline void write_rows(const char *dir, bool regression)
{
    char path[128];
    snprintf(path, sizeof path, "%s/rows.csv", dir);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fprintf(f, "a,b,target\n");
    for (int i = 0; i < 90; i++) {
        double a = i % 30 / 10.0, b = (i * 7 % 11) / 5.0;
        if (regression)
            fprintf(f, "%.2f,%.2f,%.4f\n", a, b, 100 + 3 * a - b);
        else
            fprintf(f, "%.2f,%.2f,%c\n", a, b, "xyz"[(int)a]);
    }
    cr_assert_eq(fclose(f), 0);
    snprintf(path, sizeof path, "%s/rows.yaml", dir);
    f = fopen(path, "w");
    cr_assert_not_null(f);
    fprintf(f, "name: rows\nformat: csv\ntask: %s\nfiles: [{role: table, path: rows.csv}]\n",
            regression ? "regression" : "classification");
    cr_assert_eq(fclose(f), 0);
}

/* overrides[n]: key=value on top of a small quantized classification. */
static inline void fixture_init(struct fixture *f, bool regression, const char *layers,
                                const char *const *overrides, size_t n)
{
    char label[128], text[1024];
    memset(f, 0, sizeof *f);
    make_temp_dir(f->dir);
    write_rows(f->dir, regression);
    snprintf(label, sizeof label, "%s/test.yaml", f->dir);
    snprintf(text, sizeof text,
             "name: test\nseed: 3\ndata: {name: rows.yaml, validation: 0.2, test: 0.2}\n"
             "model: {layers: %s}\nquant: {weights: {bits: 4}}\n"
             "train: {epochs: 3, batch: 16, learning_rate: 0.01}\nrun: {dir: '%s/runs'}\n",
             layers, f->dir);
    ASSERT_OK(ht_config_parse(&f->config, label, text, strlen(text), overrides, n, NULL, &f->err),
              f->err);
    f->e = ht_config_experiment(f->config);
}

static inline void fixture_finish(struct fixture *f)
{
    ht_config_destroy(f->config);
    remove_temp_dir(f->dir);
    cr_assert_eq(ht_alloc_live(), 0, "%ld blocks leak", ht_alloc_live());
}

#endif
