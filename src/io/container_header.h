/* Private to src/io: the 512 bytes in front of a container's HDF5 data. All integers little-endian.
 *
 *   offset size
 *        0    8  magic: 89 48 54 4E 0D 0A 1A 0A ("\x89HTN\r\n\x1a\n")
 *        8   16  kind: "model" or "checkpoint", padded with zeros
 *       24    4  schema version of that kind
 *       28    4  512, the size of this header
 *       32    8  length of the content, which is all that follows this header
 *       40   32  SHA-256 of the content
 *       72   32  SHA-256 of the bytes 0..71
 *      104  408  zeros
 */
#ifndef HT_IO_CONTAINER_HEADER_H
#define HT_IO_CONTAINER_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { HT_HEADER_SIZE = 512, HT_HEADER_KIND = 16, HT_HDF5_SUPERBLOCK = 48 };

struct ht_container_header {
    char kind[HT_HEADER_KIND];
    uint32_t version;
    uint8_t digest[32];
};

/* Fills the first HT_HEADER_SIZE bytes of file[size]; the content is in place already. */
void ht_header_write(uint8_t *file, size_t size, const char *kind, uint32_t version);

/* Checks everything that can be checked without HDF5; the arguments are those of
 * ht_container_open_image. HT_ERR_MODEL says what is wrong. */
enum ht_status ht_header_verify(struct ht_container_header *ret, const uint8_t *file, size_t size,
                                const char *label, const char *kind, uint32_t max_version,
                                struct ht_error *err);

#endif
