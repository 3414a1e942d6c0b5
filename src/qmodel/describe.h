/* A model as named numbers and vectors, told item by item. Files in HDF5 and in safetensors hold
 * the same items under the same names (docs/file-format.md). */
#ifndef HT_QMODEL_DESCRIBE_H
#define HT_QMODEL_DESCRIBE_H

#include "io/container.h"
#include "qmodel/qmodel.h"

/* Whoever listens. Paths are absolute: "/layers/00_dense1/weight"; an attribute is of the group or
 * vector at its path. Nothing that is passed lives longer than the call. */
struct ht_qmodel_sink {
    void (*put)(void *user, const char *path, enum ht_container_type type, const void *data,
                size_t n);
    void (*put_text)(void *user, const char *path, const char *text);
    void (*attr_i64)(void *user, const char *path, const char *name, int64_t value);
    void (*attr_f64)(void *user, const char *path, const char *name, double value);
    void (*attr_text)(void *user, const char *path, const char *name, const char *value);
    void *user;
};

/* m: one that ht_qmodel_check accepts. The order is always the same. */
enum ht_status ht_qmodel_describe(const struct ht_qmodel *m, const struct ht_qmodel_sink *sink,
                                  struct ht_error *err);

/* The oldest version that has what this model needs: readers of version 1 know no groups and no
 * modes. */
uint32_t ht_qmodel_version(const struct ht_qmodel *m);

#endif
