/* What container and table readers share: libhdf5 made quiet, and the features we refuse. */
#ifndef HT_IO_HDF5_CHECKS_H
#define HT_IO_HDF5_CHECKS_H

#include <stdbool.h>
#include <stddef.h>

#include <hdf5.h>

#include "base/error.h"
#include "io/container.h"

/* No plugins, no messages on stderr. Cheap to call again. */
void ht_hdf5_prepare(void);

hid_t ht_hdf5_memory_type(enum ht_container_type type);

/* Opens an image in memory; it must stay until the file is closed. -1 when libhdf5 refuses. */
hid_t ht_hdf5_open_image(const void *image, size_t size);

/* Walks all links and objects; fails with `code` and a message that starts with label for
 * everything that docs/file-format.md says is refused. */
enum ht_status ht_hdf5_check(hid_t file, const char *label, enum ht_status code,
                             struct ht_error *err);

/* Shape of an open dataset, checked already by ht_hdf5_check. */
int ht_hdf5_shape(hid_t set, size_t shape[4]);

#endif
