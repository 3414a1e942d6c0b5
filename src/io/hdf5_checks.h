/* Private to src/io: how HDF5 files are opened and walked. libhdf5 follows links into other files,
 * loads plugins and believes what a file declares; here all of that is refused before any data is
 * read (docs/file-format.md). */
#ifndef HT_IO_HDF5_CHECKS_H
#define HT_IO_HDF5_CHECKS_H

#define H5_USE_110_API /* newer libraries: the names as of 1.10 */
#include <hdf5.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    HT_HDF5_MAX_OBJECTS = 10000,
    HT_HDF5_MAX_DEPTH = 16,
    HT_HDF5_MAX_PATH = 1024, /* bytes, with the NUL */
    HT_HDF5_REFUSAL = 160,
    HT_HDF5_MAX_RANK = 4,
    HT_HDF5_MAX_DIMENSION = 1 << 24,
    HT_HDF5_MAX_ELEMENTS = INT32_MAX
};

/* A whole HDF5 file in memory. libhdf5 reads from it directly: both the bytes and this struct
 * outlive the hid_t. */
struct ht_hdf5_image {
    uint8_t *bytes;
    size_t size;
};

/* One group, dataset or link, while ht_hdf5_walk visits it. */
struct ht_hdf5_object {
    const char *path;
    hid_t id; /* open; < 0 when refusal is set before it was opened */
    bool is_group;
    /* of a dataset that is not refused; rank 0 is a scalar */
    H5T_class_t class;
    hid_t type;
    int rank;
    hsize_t shape[HT_HDF5_MAX_RANK];
    size_t elements, element_size;
    const char *refusal; /* why this is not to be read, or "" */
};

typedef enum ht_status (*ht_hdf5_visit)(void *user, const struct ht_hdf5_object *o,
                                        struct ht_error *err);

/* Silences libhdf5's error printing and switches plugins off; before any other HDF5 call. */
void ht_hdf5_prepare(void);

/* Opens the image for reading only; < 0 when libhdf5 finds no HDF5 file in it. H5Fclose closes all
 * that was opened in it as well. */
hid_t ht_hdf5_open_image(struct ht_hdf5_image *image);

/* Visits the root group and all below it, parents first. Fails with HT_ERR_MODEL (label in front)
 * when the tree itself is unsound; what may be wrong with one object is left to visit. */
enum ht_status ht_hdf5_walk(hid_t file, const struct ht_hdf5_image *image, const char *label,
                            ht_hdf5_visit visit, void *user, struct ht_error *err);

/* Do the chunks of a dataset that was visited without refusal hold as many bytes as they should?
 * Before any H5Dread. */
bool ht_hdf5_chunks_are_sound(hid_t set, size_t file_size);

/* May `name` be one step of a path? (no control characters, no '/', not "." or empty) */
bool ht_hdf5_name_is_sound(const char *name, size_t length);

#endif
