/* What the readers share while a dataset is being loaded. Private to this room. */
#ifndef HT_DATA_LOADING_H
#define HT_DATA_LOADING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/dataset.h"

#define HT_MAX_SAMPLES INT32_MAX

/* --- stream.c: the bytes of a regular file, unpacked when it is gzip --- */
struct ht_stream;

enum ht_status ht_stream_open(struct ht_stream **ret, const char *path, struct ht_error *err);
void ht_stream_close(struct ht_stream *s);
/* Up to n bytes; *got < n only at the end of the content. Fails on truncated or damaged gzip. */
enum ht_status ht_stream_read(struct ht_stream *s, void *data, size_t n, size_t *got,
                              struct ht_error *err);
/* Size of the content: exact for a plain file, an upper bound for gzip (*exact tells). */
uint64_t ht_stream_size(const struct ht_stream *s, bool *exact);

/* --- number.c --- */
/* The whole of text as a decimal number, correctly rounded, whatever the locale. False for anything
 * else, also for inf, nan and hexadecimal. */
bool ht_parse_number(const char *text, double *ret);
/* Empty, NA, N/A, NaN or ?, in any case. */
bool ht_is_missing_text(const char *text);
bool ht_is_utf8(const char *text);

/* --- labels.c: the different labels met, numbered in the order of their first appearance --- */
struct ht_label {
    char text[HT_NAME_LENGTH];
    const char *path; /* where it was seen first; borrowed */
    size_t row;       /* 1-based: a CSV file's row, or a sample */
};

struct ht_label_set {
    struct ht_label *entries; /* [n] */
    size_t n, cap;
    int16_t slots[4096]; /* hash table: entry + 1, or 0 */
};

enum ht_status ht_labels_add(struct ht_label_set *set, const char *text, const char *path,
                             size_t row, int32_t *id, struct ht_error *err);
enum ht_status ht_labels_add_number(struct ht_label_set *set, double value, const char *path,
                                    size_t row, int32_t *id, struct ht_error *err);
/* Decides the classes (the descriptor's, or numbers in order, or text in alphabetical order) and
 * turns d->labels from numbers of entries into numbers of classes. */
enum ht_status ht_labels_resolve(struct ht_label_set *set, const struct ht_descriptor *descriptor,
                                 struct ht_dataset *d, struct ht_error *err);

/* --- the files of the training part and of the test part --- */
struct ht_part_file {
    const struct ht_data_file *file; /* NULL = not given */
    char path[HT_PATH_LENGTH];
};

struct ht_part {
    struct ht_part_file features, labels; /* or: */
    struct ht_part_file table;
    size_t n; /* samples */
};

struct ht_loading {
    const struct ht_descriptor *descriptor;
    struct ht_dataset *d;
    struct ht_part parts[2]; /* training (or everything), test */
    size_t n_parts;
    bool classification;
    bool labelled; /* else features only: no part has a table or labels */
    bool missing;  /* some of d->values are NaN, to be filled after the split */
    struct ht_label_set labels;
    size_t values_cap, targets_cap, labels_cap; /* elements allocated, for readers that grow */
};

/* Shape of one part against the descriptor, and of the test part against the training part.
 * rows 0: not known yet. */
enum ht_status ht_loading_check_features(const struct ht_loading *l, size_t part, size_t rows,
                                         size_t columns, struct ht_error *err);
enum ht_status ht_loading_check_labels(const struct ht_loading *l, size_t part, size_t rows,
                                       size_t columns, struct ht_error *err);
/* Label or target of sample `sample` of the whole dataset; d->labels or d->targets must have room.
 * values: [columns]; row: 1-based in its file. */
enum ht_status ht_loading_put_label(struct ht_loading *l, size_t sample, const double *values,
                                    size_t columns, const char *path, size_t row,
                                    struct ht_error *err);
/* d->labels or d->targets for d->n samples, for readers that know the sizes beforehand. */
enum ht_status ht_loading_make_labels(struct ht_loading *l, size_t columns, struct ht_error *err);

/* The readers: fill d->n, features, bytes or values, labels or targets, feature_names, parts[].n.
 */
enum ht_status ht_idx_read(struct ht_loading *l, struct ht_error *err);
enum ht_status ht_csv_read(struct ht_loading *l, struct ht_error *err);
enum ht_status ht_hdf5_read(struct ht_loading *l, struct ht_error *err);

/* --- split.c --- */
/* Fills d->index and d->count. n_test_files: samples at the end that came from test files. */
enum ht_status ht_split_make(struct ht_dataset *d, size_t n_test_files,
                             const struct ht_dataset_options *options, struct ht_error *err);

/* --- anomalies.c --- */
/* Marks the classes in d->anomaly, and takes them out of the training and validation parts. */
enum ht_status ht_anomalies_take_out(struct ht_dataset *d, const struct ht_dataset_options *options,
                                     struct ht_error *err);

/* --- transform.c --- */
/* Missing values become the training part's mean. */
enum ht_status ht_transform_fill_missing(struct ht_dataset *d, struct ht_error *err);
/* d->mean, std, target_mean, target_std from the training part. */
enum ht_status ht_transform_fit(struct ht_dataset *d, struct ht_error *err);

/* --- augment.c --- */
struct ht_motion {
    int dx, dy; /* pixels to the right and down */
    double sine, cosine;
    bool rotated;
};

void ht_augment_draw(struct ht_motion *m, const struct ht_augment *augment, uint64_t seed,
                     uint64_t epoch, uint32_t sample);
/* One picture [rows, columns] moved; bytes are rounded back to a byte level and looked up in
 * table[256]; values stay as they are. Outside is 0. */
void ht_augment_bytes(const struct ht_motion *m, const uint8_t *in, size_t rows, size_t columns,
                      const ht_real table[256], ht_real *out);
void ht_augment_values(const struct ht_motion *m, const float *in, size_t rows, size_t columns,
                       ht_real *out);

/* --- find.c --- */
/* Compares a file with the descriptor's SHA-256, when it has one and `verify`; hex: its digest. */
enum ht_status ht_data_file_hash(const char *path, const struct ht_data_file *file, bool verify,
                                 char hex[65], struct ht_error *err);

#endif
