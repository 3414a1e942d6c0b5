/* The container of models and checkpoints: an HDF5 file behind a 512-byte header of our own (HDF5
 * user block: magic, kind, schema version, length and SHA-256 of what follows). Any HDF5 tool opens
 * it. hdf5_checks.h includes hdf5.h, and with it container_types.h, container_write.c,
 * container_read.c, hdf5_checks.c, hdf5_chunks.c and hdf5_table.c; no other file does.
 *
 * A container is a tree of groups; groups and datasets carry attributes. Paths are absolute:
 * "/layers/dense1/weight". Writing collects into memory and ends in one atomic file write; equal
 * content gives equal bytes. Reading verifies the header and the digest before libhdf5 sees a
 * byte, then refuses every HDF5 feature that we do not write (see docs/file-format.md).
 *
 * libhdf5 is usually built without locks: one thread at a time may be in these calls, and in those
 * of hdf5_table.h, whatever object they work on.
 */
#ifndef HT_IO_CONTAINER_H
#define HT_IO_CONTAINER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum ht_container_type { HT_U8, HT_I8, HT_I32, HT_I64, HT_F32, HT_F64 };

/* --- writing --- */
struct ht_container_writer;

/* kind: "model" or "checkpoint" (<= 15 letters), stored in the header. */
enum ht_status ht_container_create(struct ht_container_writer **ret, const char *kind,
                                   uint32_t version, struct ht_error *err);
/* Sticky: after the first failure the calls below do nothing; finish reports it. Groups on the way
 * are made as needed, 16 deep at most. shape: [rank], rank 1..4, each 1..2^24, product < 2^31. */
void ht_container_put(struct ht_container_writer *w, const char *path, enum ht_container_type type,
                      const void *data, int rank, const size_t *shape);
void ht_container_put_text(struct ht_container_writer *w, const char *path, const char *text);
/* Attributes of a group or dataset that exists ("/" is the root); group made when missing. A text
 * has less than 60,000 bytes, those of ht_container_put_text less than 16 MiB. */
void ht_container_attr_i64(struct ht_container_writer *w, const char *path, const char *name,
                           int64_t value);
void ht_container_attr_f64(struct ht_container_writer *w, const char *path, const char *name,
                           double value);
void ht_container_attr_text(struct ht_container_writer *w, const char *path, const char *name,
                            const char *value);
/* Writes path atomically (what is on the disk is read back and compared before it replaces an old
 * file), and destroys w in every case. */
enum ht_status ht_container_finish(struct ht_container_writer *w, const char *path,
                                   struct ht_error *err);
/* Like finish, but into memory: *image owned (ht_free). For tests and equal-bytes checks. */
enum ht_status ht_container_finish_image(struct ht_container_writer *w, uint8_t **image,
                                         size_t *size, struct ht_error *err);
void ht_container_abandon(struct ht_container_writer *w);

/* --- reading: every failure is HT_ERR_MODEL (HT_ERR_IO when the file cannot be read at all) and
 * names the file, and the path inside it where there is one --- */
struct ht_container_reader;

/* kind NULL accepts any; the version must be 1..max_version. */
enum ht_status ht_container_open(struct ht_container_reader **ret, const char *path,
                                 const char *kind, uint32_t max_version, struct ht_error *err);
/* The image is copied. */
enum ht_status ht_container_open_image(struct ht_container_reader **ret, const void *image,
                                       size_t size, const char *label, const char *kind,
                                       uint32_t max_version, struct ht_error *err);
void ht_container_close(struct ht_container_reader *r);
const char *ht_container_kind(const struct ht_container_reader *r);
uint32_t ht_container_version(const struct ht_container_reader *r);
/* SHA-256 of the content, as in the header, in hex. */
const char *ht_container_digest(const struct ht_container_reader *r);

/* A dataset's type and shape; rank 0 in *rank means there is no such dataset. A text shows as its
 * bytes (HT_U8, rank 1), but only ht_container_get_text reads it. */
enum ht_status ht_container_info(struct ht_container_reader *r, const char *path,
                                 enum ht_container_type *type, int *rank, size_t shape[4],
                                 struct ht_error *err);
/* Exactly `count` elements of exactly this type into data[count]. */
enum ht_status ht_container_get(struct ht_container_reader *r, const char *path,
                                enum ht_container_type type, void *data, size_t count,
                                struct ht_error *err);
/* *ret owned, NUL-terminated. */
enum ht_status ht_container_get_text(struct ht_container_reader *r, const char *path, char **ret,
                                     struct ht_error *err);
enum ht_status ht_container_get_attr_i64(struct ht_container_reader *r, const char *path,
                                         const char *name, int64_t *ret, struct ht_error *err);
enum ht_status ht_container_get_attr_f64(struct ht_container_reader *r, const char *path,
                                         const char *name, double *ret, struct ht_error *err);
/* Into buffer[capacity], NUL-terminated; longer text is an error. */
enum ht_status ht_container_get_attr_text(struct ht_container_reader *r, const char *path,
                                          const char *name, char *buffer, size_t capacity,
                                          struct ht_error *err);
/* Names in a group, in alphabetical order: calls visit for each; is_group tells groups from
 * datasets. A non-OK return of visit ends the walk and is returned. */
enum ht_status ht_container_list(struct ht_container_reader *r, const char *group,
                                 enum ht_status (*visit)(void *user, const char *name,
                                                         int is_group),
                                 void *user, struct ht_error *err);

#endif
