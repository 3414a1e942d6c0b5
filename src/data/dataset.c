#include "data/dataset.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "data/loading.h"
#include "io/hash.h"

struct role {
    const char *name;
    size_t part;
    size_t offset; /* of the struct ht_part_file in struct ht_part */
};

#define ROLE(name, part, member)                                                                   \
    {                                                                                              \
        name, part, offsetof(struct ht_part, member)                                               \
    }
static const struct role roles[] = {
    ROLE("train_features", 0, features),
    ROLE("train_labels", 0, labels),
    ROLE("features", 0, features),
    ROLE("labels", 0, labels),
    ROLE("test_features", 1, features),
    ROLE("test_labels", 1, labels),
    ROLE("table", 0, table),
    ROLE("train_table", 0, table),
    ROLE("test_table", 1, table),
};

static const struct reader {
    const char *format;
    enum ht_status (*read)(struct ht_loading *l, struct ht_error *err);
} readers[] = {{"idx", ht_idx_read}, {"csv", ht_csv_read}, {"hdf5", ht_hdf5_read}};

/* Sorts the descriptor's files into the parts. */
static enum ht_status assign_roles(struct ht_loading *l, struct ht_error *err)
{
    const struct ht_descriptor *d = l->descriptor;
    for (size_t i = 0; i < d->n_files; i++) {
        const struct role *role = NULL;
        for (size_t r = 0; r < sizeof roles / sizeof *roles; r++)
            if (strcmp(roles[r].name, d->files[i].role) == 0)
                role = &roles[r];
        if (!role)
            return ht_fail(err, HT_ERR_CONFIG, "%s: unknown role \"%s\" of the file %s", d->path,
                           d->files[i].role, d->files[i].path);
        struct ht_part *part = &l->parts[role->part];
        struct ht_part_file *slot = (struct ht_part_file *)((char *)part + role->offset);
        if (!l->labelled && slot == &part->table) /* a table without a label is features */
            slot = &part->features;
        if (slot->file)
            return ht_fail(err, HT_ERR_CONFIG, "%s: two files with the role \"%s\"", d->path,
                           d->files[i].role);
        slot->file = &d->files[i];
    }
    struct ht_part *train = &l->parts[0], *test = &l->parts[1];
    bool tables = train->table.file != NULL;
    l->n_parts = test->table.file || test->features.file || test->labels.file ? 2 : 1;
    for (size_t p = 0; p < l->n_parts; p++) {
        const struct ht_part *part = &l->parts[p];
        bool labels = part->labels.file != NULL;
        bool complete = tables ? part->table.file && !part->features.file && !labels
                               : part->features.file && labels == l->labelled && !part->table.file;
        if (!complete && !l->labelled)
            return ht_fail(err, HT_ERR_CONFIG,
                           "%s: with task none the files must be features or a table (for data "
                           "with a test part: train_features and test_features, or train_table "
                           "and test_table), and no labels",
                           d->path);
        if (!complete)
            return ht_fail(err, HT_ERR_CONFIG,
                           "%s: the files must be a table, or features and labels (for data with a "
                           "test part: train_table and test_table, or train_features, "
                           "train_labels, test_features and test_labels)",
                           d->path);
    }
    return HT_OK;
}

/* Finds and hashes every file; d->hash sums them up in the descriptor's order. */
static enum ht_status find_files(struct ht_loading *l, const struct ht_dataset_options *options,
                                 struct ht_error *err)
{
    const struct ht_descriptor *d = l->descriptor;
    char digests[HT_MAX_DATA_FILES * 64 + 1];
    enum ht_status status;
    for (size_t i = 0; i < d->n_files; i++) {
        char path[HT_PATH_LENGTH];
        const struct ht_data_file *file = &d->files[i];
        if ((status = ht_dataset_find_file(d, options->dir, file, path, err)) != HT_OK)
            return status;
        status = ht_data_file_hash(path, file, options->verify_hashes, digests + 64 * i, err);
        if (status != HT_OK)
            return status;
        for (size_t p = 0; p < l->n_parts; p++) {
            struct ht_part *part = &l->parts[p];
            struct ht_part_file *slots[] = {&part->features, &part->labels, &part->table};
            for (size_t s = 0; s < 3; s++)
                if (slots[s]->file == file)
                    memcpy(slots[s]->path, path, sizeof path);
        }
    }
    uint8_t digest[32];
    ht_sha256(digests, 64 * d->n_files, digest);
    ht_sha256_hex(digest, l->d->hash);
    return HT_OK;
}

/* What the descriptor says about images, once the number of features is known. */
static enum ht_status check_image(struct ht_loading *l, struct ht_error *err)
{
    struct ht_dataset *d = l->d;
    const struct ht_descriptor *descriptor = l->descriptor;
    size_t rows = (size_t)descriptor->image_rows, columns = (size_t)descriptor->image_columns;
    if (rows == 0 || columns == 0)
        return HT_OK;
    if (rows * columns != d->features || (d->image_rows != 0 && d->image_rows != rows))
        return ht_fail(err, HT_ERR_DATA,
                       "%s: samples have %zu features, but the descriptor says images of %zu x %zu",
                       descriptor->path, d->features, rows, columns);
    d->image_rows = rows;
    d->image_columns = columns;
    return HT_OK;
}

static enum ht_status read_files(struct ht_loading *l, struct ht_error *err)
{
    const struct reader *reader = NULL;
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (strcmp(readers[i].format, l->descriptor->format) == 0)
            reader = &readers[i];
    if (!reader)
        return ht_fail(err, HT_ERR_CONFIG, "%s: unknown format \"%s\"", l->descriptor->path,
                       l->descriptor->format);
    enum ht_status status = reader->read(l, err);
    if (status == HT_OK)
        status = check_image(l, err);
    if (status == HT_OK && l->classification)
        status = ht_labels_resolve(&l->labels, l->descriptor, l->d, err);
    return status;
}

enum ht_status ht_dataset_load(struct ht_dataset **ret, const struct ht_descriptor *descriptor,
                               const struct ht_dataset_options *options, struct ht_error *err)
{
    enum ht_status status;
    struct ht_loading *l = ht_calloc(1, sizeof *l);
    struct ht_dataset *d = ht_calloc(1, sizeof *d);
    if (!l || !d) {
        status = ht_fail_memory(err);
        goto done;
    }
    l->descriptor = descriptor;
    l->d = d;
    l->classification = strcmp(descriptor->task, "classification") == 0;
    l->labelled = strcmp(descriptor->task, "none") != 0;
    snprintf(d->name, sizeof d->name, "%s", descriptor->name);
    d->symmetric_pixels = options->symmetric_pixels;
    if ((status = assign_roles(l, err)) != HT_OK ||
        (status = find_files(l, options, err)) != HT_OK || (status = read_files(l, err)) != HT_OK)
        goto done;
    size_t n_test = l->n_parts > 1 ? l->parts[1].n : 0;
    if ((status = ht_split_make(d, n_test, options, err)) != HT_OK)
        goto done;
    if ((status = ht_anomalies_take_out(d, options, err)) != HT_OK)
        goto done;
    if (l->missing && (status = ht_transform_fill_missing(d, err)) != HT_OK)
        goto done;
    if (options->standardize)
        status = ht_transform_fit(d, err);
done:
    if (l)
        ht_free(l->labels.entries);
    ht_free(l);
    if (status == HT_OK)
        *ret = d;
    else
        ht_dataset_destroy(d);
    return status;
}

void ht_dataset_destroy(struct ht_dataset *d)
{
    if (!d)
        return;
    ht_free(d->bytes);
    ht_free(d->values);
    ht_free(d->labels);
    ht_free(d->targets);
    ht_free(d->classes);
    ht_free(d->anomaly);
    ht_free(d->feature_names);
    for (size_t s = 0; s < HT_N_SPLITS; s++)
        ht_free(d->index[s]);
    ht_free(d->mean);
    ht_free(d->std);
    ht_free(d->target_mean);
    ht_free(d->target_std);
    ht_free(d);
}

size_t ht_dataset_bytes(const struct ht_dataset *d)
{
    return d->n * (d->features * (d->bytes ? 1 : sizeof(float)) +
                   (d->labels ? sizeof(int32_t) : 0) + d->target_columns * sizeof(float));
}
