#include "io/container_header.h"

#include <stdio.h>
#include <string.h>

#include "io/hash.h"

static const uint8_t magic[8] = {0x89, 'H', 'T', 'N', '\r', '\n', 0x1a, '\n'};

enum {
    KIND = 8,
    VERSION = 24,
    HEADER_SIZE = 28,
    LENGTH = 32,
    DIGEST = 40,
    HEADER_DIGEST = 480
};

static void put(uint8_t *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

void ht_header_write(uint8_t *image, size_t size, const char *kind, uint32_t version)
{
    memset(image, 0, HT_HEADER_BYTES);
    memcpy(image, magic, sizeof magic);
    snprintf((char *)image + KIND, 16, "%s", kind);
    put(image + VERSION, version, 4);
    put(image + HEADER_SIZE, HT_HEADER_BYTES, 4);
    put(image + LENGTH, size - HT_HEADER_BYTES, 8);
    ht_sha256(image + HT_HEADER_BYTES, size - HT_HEADER_BYTES, image + DIGEST);
    ht_sha256(image, HEADER_DIGEST, image + HEADER_DIGEST);
}

enum ht_status ht_header_check(struct ht_container_header *ret, const uint8_t *image, size_t size,
                               const char *label, const char *kind, uint32_t max_version,
                               struct ht_error *err)
{
    uint8_t digest[32];
    if (size < sizeof magic || memcmp(image, magic, sizeof magic) != 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: not a halftone file", label);
    if (size < HT_HEADER_BYTES)
        return ht_fail(err, HT_ERR_MODEL, "%s: truncated: %zu bytes, less than its header", label,
                       size);
    ht_sha256(image, HEADER_DIGEST, digest);
    if (memcmp(digest, image + HEADER_DIGEST, 32) != 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: damaged: the SHA-256 of its header differs", label);
    memcpy(ret->kind, image + KIND, sizeof ret->kind);
    ret->kind[sizeof ret->kind - 1] = '\0';
    ret->version = (uint32_t)get(image + VERSION, 4);
    ret->length = get(image + LENGTH, 8);
    memcpy(ret->digest, image + DIGEST, 32);
    if (get(image + HEADER_SIZE, 4) != HT_HEADER_BYTES)
        return ht_fail(err, HT_ERR_MODEL, "%s: its header has an unknown size", label);
    if (kind && strcmp(kind, ret->kind) != 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: a %s, not a %s", label, ret->kind, kind);
    if (ret->version < 1 || ret->version > max_version)
        return ht_fail(err, HT_ERR_MODEL,
                       "%s: schema version %u, but this halftone reads 1 to %u; a newer one may "
                       "read it",
                       label, ret->version, max_version);
    if (ret->length != size - HT_HEADER_BYTES)
        return ht_fail(err, HT_ERR_MODEL, "%s: %s: %zu bytes of %llu", label,
                       ret->length > size - HT_HEADER_BYTES ? "truncated" : "too long", size,
                       (unsigned long long)ret->length + HT_HEADER_BYTES);
    ht_sha256(image + HT_HEADER_BYTES, size - HT_HEADER_BYTES, digest);
    if (memcmp(digest, ret->digest, 32) != 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: damaged: the SHA-256 of its content differs", label);
    return HT_OK;
}
