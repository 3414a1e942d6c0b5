/* Datasets in memory: readers fill one, split and standardization work on it, batches come out.
 * Sources: IDX (plain, gzip), CSV (plain, gzip), HDF5, each described by a descriptor. */
#ifndef HT_DATA_DATASET_H
#define HT_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/descriptor.h"
#include "tensor/real.h"

enum ht_split { HT_TRAIN, HT_VALIDATION, HT_TEST, HT_N_SPLITS };

struct ht_dataset {
    char name[64];
    size_t n, features; /* all samples: those of the training files, then the test files' */
    uint8_t *bytes;     /* [n, features] images and other byte data, or NULL */
    float *values;      /* [n, features] as read, or NULL; exactly one of the two is there */
    int32_t *labels;    /* [n] classification, else NULL */
    float *targets;     /* [n, target_columns] regression, else NULL */
    size_t target_columns;
    char (*classes)[64]; /* [n_classes] */
    size_t n_classes;
    bool *anomaly;             /* [n_classes] classes that are in the test part only, or NULL */
    char (*feature_names)[64]; /* [features], or NULL */
    size_t image_rows, image_columns; /* 0 = not images */
    char hash[65];                    /* SHA-256 over the files' digests, in order */
    uint32_t *index[HT_N_SPLITS];     /* sample numbers of each part, ascending */
    size_t count[HT_N_SPLITS];

    /* Input transform: x = (raw - mean) / std, raw = byte / 255 or byte / 127.5 - 1 for bytes.
     * NULL = identity. Fitted on the training part only; a constant feature gets std 1. */
    float *mean, *std;               /* [features] */
    float *target_mean, *target_std; /* [target_columns], regression only, or NULL */
    bool symmetric_pixels;           /* byte / 127.5 - 1 instead of byte / 255 */
};

/* How to make one. Counts as in the experiment: >= 1 samples, < 1 a share (of the training part;
 * for test: of everything). test is used only when the files have no test part. */
struct ht_dataset_options {
    const char *dir; /* where the files are, or NULL/"" for the fetch folder and search paths */
    double validation, test;
    bool standardize; /* applies to `values`, never to `bytes` */
    bool symmetric_pixels;
    uint64_t seed; /* of the split: stratified by class for classification */
    const char (*anomaly_classes)[HT_NAME_LENGTH]; /* [n_anomaly_classes] names; NULL = none. Those
                           that the data does not have are ignored. */
    size_t n_anomaly_classes;
    bool verify_hashes; /* compare the files with the descriptor's SHA-256 */
};

/* Reads, checks and splits. HT_ERR_DATA with file, row and column for bad content; a missing file's
 * message says where it was looked for and `halftone data fetch NAME` where that helps. */
enum ht_status ht_dataset_load(struct ht_dataset **ret, const struct ht_descriptor *descriptor,
                               const struct ht_dataset_options *options, struct ht_error *err);
void ht_dataset_destroy(struct ht_dataset *d);

/* Does the sample belong to an anomalous class? */
bool ht_dataset_is_anomaly(const struct ht_dataset *d, uint32_t sample);

/* Bytes held by features, labels and targets. */
size_t ht_dataset_bytes(const struct ht_dataset *d);

struct ht_augment {
    int shift;       /* whole pixels, uniform in [-shift, shift] each way; outside is 0 */
    double rotation; /* degrees, uniform in [-rotation, rotation], bilinear, about the centre */
};

/* Features of samples[count] (numbers in the dataset), transformed, into x[count, features].
 * augment NULL, or for images: keyed by (seed, epoch, sample number), so a resumed run sees the
 * same pictures. */
void ht_dataset_features(const struct ht_dataset *d, const uint32_t *samples, size_t count,
                         const struct ht_augment *augment, uint64_t seed, uint64_t epoch,
                         ht_real *x);
/* y[count, outputs]: classification: one-hot is not made here, y[count, 1] gets the class number;
 * regression: standardized targets [count, target_columns]. */
void ht_dataset_targets(const struct ht_dataset *d, const uint32_t *samples, size_t count,
                        ht_real *y);

/* The order of the training samples in an epoch: order[count[HT_TRAIN]] gets sample numbers. */
void ht_dataset_shuffle(const struct ht_dataset *d, uint64_t seed, uint64_t epoch, uint32_t *order);

/* Where `fetch` puts files: $HALFTONE_DATA/NAME, else $XDG_DATA_HOME/halftone/NAME, else
 * ~/.local/share/halftone/NAME. */
enum ht_status ht_dataset_fetch_dir(const char *name, char path[HT_PATH_LENGTH],
                                    struct ht_error *err);
/* The path of one file of the descriptor, looked for in dir / fetch folder / search paths. */
enum ht_status ht_dataset_find_file(const struct ht_descriptor *d, const char *dir,
                                    const struct ht_data_file *file, char path[HT_PATH_LENGTH],
                                    struct ht_error *err);
/* Gets the package (apt-get download + dpkg-deb -x, or npm pack + tar: neither needs root) and
 * copies its files into the fetch folder. Nothing is done when all files are there and good. */
enum ht_status ht_dataset_fetch(const struct ht_descriptor *d, struct ht_error *err);

#endif
