/* Dataset descriptors: a short YAML file that says where a dataset's files are and what is in them.
 * The built-in ones (datasets/ in the source tree) are part of the binary. */
#ifndef HT_CONFIG_DESCRIPTOR_H
#define HT_CONFIG_DESCRIPTOR_H

#include "base/error.h"
#include "base/text.h"
#include "config/experiment.h"

#define HT_MAX_DATA_FILES   8
#define HT_MAX_CLASSES      1024
#define HT_MAX_SEARCH_PATHS 8

struct ht_data_file {
    char role[HT_NAME_LENGTH];    /* train_features train_labels test_features test_labels, or
                                     features/labels for data without a test part, or table/
                                     train_table/test_table (CSV/HDF5 with features and label) */
    char path[HT_PATH_LENGTH];    /* relative to a search path */
    char sha256[65];              /* of the file as stored; empty = not checked */
    char dataset[HT_NAME_LENGTH]; /* hdf5: name of the dataset inside the file */
    struct ht_source_position at;
};

struct ht_descriptor {
    char path[HT_PATH_LENGTH]; /* of the descriptor itself; "built-in:iris" for built-in ones */
    char name[HT_NAME_LENGTH];
    char title[256], licence[256], source[256]; /* for people */
    char format[HT_NAME_LENGTH];                /* idx csv hdf5 */
    char task[HT_NAME_LENGTH];                  /* classification regression */
    struct ht_data_file files[HT_MAX_DATA_FILES];
    size_t n_files;
    char search[HT_MAX_SEARCH_PATHS][HT_PATH_LENGTH]; /* folders tried in order, after the fetch
                                                         folder; relative ones to the descriptor */
    size_t n_search;
    int samples, test_samples;       /* 0 = not checked */
    int features;                    /* 0 = not checked */
    int image_rows, image_columns;   /* 0 = not images */
    char (*classes)[HT_NAME_LENGTH]; /* [n_classes], owned; NULL when none are named */
    size_t n_classes;                /* 0: regression, or found in the data */
    struct {
        char label[HT_NAME_LENGTH];  /* column name or 1-based number; negative counts from the end;
                                        default -1 */
        char header[HT_NAME_LENGTH]; /* auto yes no */
        char delimiter[8];           /* one character, or "tab", "space"; default "," */
        int skip_rows;               /* lines before the header or data */
        char missing[HT_NAME_LENGTH]; /* error (default), or mean: the training part's mean */
    } csv;
    struct {
        char apt[HT_NAME_LENGTH];    /* Debian package that holds the files */
        char npm[HT_NAME_LENGTH];    /* or npm package, "name@version" */
        char folder[HT_PATH_LENGTH]; /* folder inside the unpacked package */
    } fetch;
};

/* By built-in name or by path of a .yaml file (relative to `base_dir` unless absolute; NULL = the
 * working directory). Unknown names get did-you-mean and the list. report as in ht_config_load. */
enum ht_status ht_descriptor_load(struct ht_descriptor **ret, const char *name_or_path,
                                  const char *base_dir, struct ht_text *report,
                                  struct ht_error *err);
void ht_descriptor_destroy(struct ht_descriptor *d);

/* Names of the built-in descriptors; static. */
const char *const *ht_descriptor_names(size_t *n);

/* The reference of all keys as Markdown (part of docs/config.md). */
void ht_descriptor_print_reference(struct ht_text *out);

#endif
