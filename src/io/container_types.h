/* Private to src/io: the element types of a container, and the limits of both directions. */
#ifndef HT_IO_CONTAINER_TYPES_H
#define HT_IO_CONTAINER_TYPES_H

#include "io/container.h"
#include "io/hdf5_checks.h"

#define HT_CONTAINER_MAX_FILE ((uint64_t)1 << 31)
enum {
    HT_CONTAINER_TYPES = 6,
    HT_CONTAINER_MAX_TEXT = 1 << 24,
    HT_CONTAINER_MAX_ATTRIBUTE = 60000
};

size_t ht_container_type_size(enum ht_container_type type);
const char *ht_container_type_name(enum ht_container_type type);
/* Little-endian, whatever the machine; not to be closed. */
hid_t ht_container_file_type(enum ht_container_type type);
hid_t ht_container_memory_type(enum ht_container_type type);

#endif
