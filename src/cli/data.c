#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "data/dataset.h"

static const struct ht_column list_columns[] = {
    {.key = "name", .title = "dataset", .kind = HT_COLUMN_TEXT},
    {.key = "here", .kind = HT_COLUMN_BOOL},
    {.key = "task", .kind = HT_COLUMN_TEXT},
    {.key = "samples", .kind = HT_COLUMN_INTEGER},
    {.key = "test_samples", .title = "test\nsamples", .kind = HT_COLUMN_INTEGER},
    {.key = "features", .kind = HT_COLUMN_INTEGER},
    {.key = "classes", .kind = HT_COLUMN_INTEGER},
    {.key = "package", .title = "package", .kind = HT_COLUMN_TEXT},
    {.key = "title", .kind = HT_COLUMN_TEXT},
    {.key = "licence", .kind = HT_COLUMN_TEXT, .flags = HT_COLUMN_MACHINE_ONLY},
    {.key = "source", .kind = HT_COLUMN_TEXT, .flags = HT_COLUMN_MACHINE_ONLY},
};

static bool is_here(const struct ht_descriptor *d)
{
    char path[HT_PATH_LENGTH];
    for (size_t i = 0; i < d->n_files; i++)
        if (ht_dataset_find_file(d, NULL, &d->files[i], path, NULL) != HT_OK)
            return false;
    return true;
}

static void add_descriptor(struct ht_table *t, const struct ht_descriptor *d)
{
    ht_table_add_row(t);
    ht_table_set_text(t, "name", d->name);
    ht_table_set_bool(t, "here", is_here(d));
    ht_table_set_text(t, "task", d->task);
    if (d->samples)
        ht_table_set_integer(t, "samples", d->samples);
    if (d->test_samples)
        ht_table_set_integer(t, "test_samples", d->test_samples);
    if (d->features)
        ht_table_set_integer(t, "features", d->features);
    if (d->n_classes)
        ht_table_set_integer(t, "classes", (int64_t)d->n_classes);
    if (d->fetch.apt[0] || d->fetch.npm[0])
        ht_table_set_text(t, "package", d->fetch.apt[0] ? d->fetch.apt : d->fetch.npm);
    ht_table_set_text(t, "title", d->title);
    ht_table_set_text(t, "licence", d->licence);
    ht_table_set_text(t, "source", d->source);
}

static enum ht_status list(const struct ht_cli *cli, struct ht_error *err)
{
    size_t n;
    const char *const *names = ht_descriptor_names(&n);
    struct ht_table *t;
    enum ht_status status =
        ht_table_create(&t, list_columns, sizeof list_columns / sizeof *list_columns, err);
    if (status != HT_OK)
        return status;
    for (size_t i = 0; i < n && status == HT_OK; i++) {
        struct ht_descriptor *d;
        status = ht_descriptor_load(&d, names[i], NULL, NULL, err);
        if (status != HT_OK)
            break;
        add_descriptor(t, d);
        ht_descriptor_destroy(d);
    }
    if (status == HT_OK)
        status = ht_table_write(t, cli->format, stdout, err);
    ht_table_destroy(t);
    return status;
}

static const struct ht_column check_columns[] = {
    {.key = "name", .title = "dataset", .kind = HT_COLUMN_TEXT},
    {.key = "samples", .kind = HT_COLUMN_INTEGER},
    {.key = "train", .kind = HT_COLUMN_INTEGER},
    {.key = "test", .kind = HT_COLUMN_INTEGER},
    {.key = "features", .kind = HT_COLUMN_INTEGER},
    {.key = "classes", .kind = HT_COLUMN_INTEGER},
    {.key = "targets", .kind = HT_COLUMN_INTEGER},
    {.key = "bytes", .title = "in\nmemory", .kind = HT_COLUMN_BYTES},
    {.key = "sha256", .kind = HT_COLUMN_TEXT, .flags = HT_COLUMN_MACHINE_ONLY},
};

/* Reads everything, with the digests, as training would. */
static enum ht_status check(const struct ht_cli *cli, const struct ht_descriptor *descriptor,
                            struct ht_error *err)
{
    struct ht_dataset *d;
    struct ht_table *t;
    const struct ht_dataset_options options = {
        .test = 0.2, .standardize = true, .seed = 1, .verify_hashes = true};
    enum ht_status status = ht_dataset_load(&d, descriptor, &options, err);
    if (status != HT_OK)
        return status;
    status = ht_table_create(&t, check_columns, sizeof check_columns / sizeof *check_columns, err);
    if (status == HT_OK) {
        ht_table_add_row(t);
        ht_table_set_text(t, "name", d->name);
        ht_table_set_integer(t, "samples", (int64_t)d->n);
        ht_table_set_integer(t, "train", (int64_t)d->count[HT_TRAIN]);
        ht_table_set_integer(t, "test", (int64_t)d->count[HT_TEST]);
        ht_table_set_integer(t, "features", (int64_t)d->features);
        if (d->labels)
            ht_table_set_integer(t, "classes", (int64_t)d->n_classes);
        else
            ht_table_set_integer(t, "targets", (int64_t)d->target_columns);
        ht_table_set_integer(t, "bytes", (int64_t)ht_dataset_bytes(d));
        ht_table_set_text(t, "sha256", d->hash);
        status = ht_table_write(t, cli->format, stdout, err);
        ht_table_destroy(t);
    }
    ht_dataset_destroy(d);
    return status;
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    struct ht_descriptor *descriptor;
    struct ht_text report = {0};
    const char *action = cli->args[0];
    const bool fetches = strcmp(action, "fetch") == 0;
    if (strcmp(action, "list") == 0)
        return list(cli, err);
    if (!fetches && strcmp(action, "check") != 0)
        return ht_fail(err, HT_ERR_CONFIG, "data: expected list, fetch or check, not '%s'", action);
    if (cli->n_args < 2)
        return ht_fail(err, HT_ERR_CONFIG, "usage: halftone data %s NAME", action);
    enum ht_status status = ht_descriptor_load(&descriptor, cli->args[1], NULL, &report, err);
    if (status != HT_OK && report.len) {
        fputs(ht_text_str(&report), stderr);
        err->msg[0] = '\0';
    }
    ht_text_finish(&report);
    if (status != HT_OK)
        return status;
    if (fetches) {
        status = ht_dataset_fetch(descriptor, err);
        if (status == HT_OK)
            ht_cli_say(cli, "%s is here and good", descriptor->name);
    }
    if (status == HT_OK)
        status = check(cli, descriptor, err);
    ht_descriptor_destroy(descriptor);
    return status;
}

const struct ht_command ht_command_data = {
    .name = "data",
    .arguments = "list|fetch|check [NAME]",
    .summary = "list the built-in datasets, get one, or check one (also a descriptor's path)",
    .min_args = 1,
    .max_args = 2,
    .run = run,
};
