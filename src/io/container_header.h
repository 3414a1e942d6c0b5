/* The 512 bytes in front of the HDF5 content. All numbers little endian.
 *
 *   offset  bytes
 *        0      8  magic: 0x89 'H' 'T' 'N' '\r' '\n' 0x1a '\n' (shows damage by text transfer)
 *        8     16  kind, NUL-padded: "model", "checkpoint"
 *       24      4  schema version of that kind, from 1
 *       28      4  bytes of this header: 512
 *       32      8  bytes that follow this header
 *       40     32  SHA-256 of the bytes that follow
 *       72    408  zero
 *      480     32  SHA-256 of the bytes 0..479 of this header
 */
#ifndef HT_IO_CONTAINER_HEADER_H
#define HT_IO_CONTAINER_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define HT_HEADER_BYTES 512

struct ht_container_header {
    char kind[16];
    uint32_t version;
    uint64_t length;
    uint8_t digest[32];
};

/* image: header and content; fills the header's bytes. */
void ht_header_write(uint8_t *image, size_t size, const char *kind, uint32_t version);

/* Checks everything there is to check without looking at the content's meaning. label: for
 * messages. kind NULL = any. */
enum ht_status ht_header_check(struct ht_container_header *ret, const uint8_t *image, size_t size,
                               const char *label, const char *kind, uint32_t max_version,
                               struct ht_error *err);

#endif
