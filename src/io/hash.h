/* SHA-256 (libcrypto). */
#ifndef HT_IO_HASH_H
#define HT_IO_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

void ht_sha256(const void *data, size_t size, uint8_t digest[32]);
void ht_sha256_hex(const uint8_t digest[32], char hex[65]);
enum ht_status ht_sha256_file(const char *path, char hex[65], struct ht_error *err);

#endif
