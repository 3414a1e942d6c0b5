#include "io/container_header.h"

#include <string.h>

#include "io/hash.h"

static const uint8_t magic[8] = {0x89, 'H', 'T', 'N', '\r', '\n', 0x1a, '\n'};
static const uint8_t hdf5_magic[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

enum {
    KIND = 8,
    VERSION = 24,
    HEADER_LENGTH = 28,
    LENGTH = 32,
    DIGEST = 40,
    HEADER_DIGEST = 72,
    REST = 104
};

static void put_le(uint8_t *p, uint64_t value, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_le(const uint8_t *p, int n)
{
    uint64_t value = 0;
    for (int i = 0; i < n; i++)
        value |= (uint64_t)p[i] << 8 * i;
    return value;
}

void ht_header_write(uint8_t *file, size_t size, const char *kind, uint32_t version)
{
    memset(file, 0, HT_HEADER_SIZE);
    memcpy(file, magic, sizeof magic);
    memcpy(file + KIND, kind, strlen(kind));
    put_le(file + VERSION, version, 4);
    put_le(file + HEADER_LENGTH, HT_HEADER_SIZE, 4);
    put_le(file + LENGTH, size - HT_HEADER_SIZE, 8);
    ht_sha256(file + HT_HEADER_SIZE, size - HT_HEADER_SIZE, file + DIGEST);
    ht_sha256(file, HEADER_DIGEST, file + HEADER_DIGEST);
}

/* A known kind needs no quotes, another may be any bytes that the digest agrees with. */
static enum ht_status check_kind(const struct ht_container_header *h, const char *label,
                                 const char *kind, struct ht_error *err)
{
    size_t n = strnlen(h->kind, HT_HEADER_KIND);
    for (size_t i = 0; i < n; i++)
        if (h->kind[i] < 'a' || h->kind[i] > 'z')
            n = 0;
    if (n == 0 || n == HT_HEADER_KIND)
        return ht_fail(err, HT_ERR_MODEL, "%s: damaged: the header names no kind", label);
    if (kind && strcmp(h->kind, kind) != 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: a %s, not a %s", label, h->kind, kind);
    return HT_OK;
}

static enum ht_status check_version(const struct ht_container_header *h, const char *label,
                                    uint32_t max_version, struct ht_error *err)
{
    if (h->version > max_version)
        return ht_fail(err, HT_ERR_MODEL,
                       "%s: schema version %lu is newer than this halftone reads (%lu)", label,
                       (unsigned long)h->version, (unsigned long)max_version);
    if (h->version == 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: damaged: schema version 0", label);
    return HT_OK;
}

static enum ht_status check_magic(const uint8_t *file, size_t size, const char *label,
                                  struct ht_error *err)
{
    const size_t n = size < sizeof magic ? size : sizeof magic;
    if (size == 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: not a halftone file: it is empty", label);
    if (size >= sizeof hdf5_magic && memcmp(file, hdf5_magic, sizeof hdf5_magic) == 0)
        return ht_fail(err, HT_ERR_MODEL,
                       "%s: not a halftone file: an HDF5 file that halftone did not write", label);
    if (memcmp(file, magic, n) != 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: not a halftone file", label);
    if (size < HT_HEADER_SIZE)
        return ht_fail(err, HT_ERR_MODEL, "%s: truncated: %zu of at least %d bytes", label, size,
                       HT_HEADER_SIZE);
    return HT_OK;
}

/* The header's own digest, so that no later message repeats a damaged field. */
static enum ht_status check_header(const uint8_t *file, const char *label, struct ht_error *err)
{
    uint8_t digest[32];
    ht_sha256(file, HEADER_DIGEST, digest);
    size_t rest = REST;
    while (rest < HT_HEADER_SIZE && file[rest] == 0)
        rest++;
    if (memcmp(digest, file + HEADER_DIGEST, sizeof digest) != 0 || rest < HT_HEADER_SIZE ||
        get_le(file + HEADER_LENGTH, 4) != HT_HEADER_SIZE)
        return ht_fail(err, HT_ERR_MODEL, "%s: damaged: the header's SHA-256 differs", label);
    return HT_OK;
}

static enum ht_status check_content(const uint8_t *file, size_t size, const char *label,
                                    uint8_t digest[32], struct ht_error *err)
{
    const uint64_t length = get_le(file + LENGTH, 8), found = size - HT_HEADER_SIZE;
    if (found < length)
        return ht_fail(err, HT_ERR_MODEL, "%s: truncated: %zu of %llu bytes", label, size,
                       (unsigned long long)(length + HT_HEADER_SIZE));
    if (found > length)
        return ht_fail(err, HT_ERR_MODEL, "%s: damaged: %zu bytes instead of %llu", label, size,
                       (unsigned long long)(length + HT_HEADER_SIZE));
    ht_sha256(file + HT_HEADER_SIZE, size - HT_HEADER_SIZE, digest);
    if (memcmp(digest, file + DIGEST, 32) != 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: damaged: SHA-256 differs", label);
    if (length < HT_HDF5_SUPERBLOCK ||
        memcmp(file + HT_HEADER_SIZE, hdf5_magic, sizeof hdf5_magic) != 0)
        return ht_fail(err, HT_ERR_MODEL, "%s: damaged: no HDF5 data after the header", label);
    return HT_OK;
}

enum ht_status ht_header_verify(struct ht_container_header *ret, const uint8_t *file, size_t size,
                                const char *label, const char *kind, uint32_t max_version,
                                struct ht_error *err)
{
    struct ht_container_header h;
    enum ht_status status = check_magic(file, size, label, err);
    if (status == HT_OK)
        status = check_header(file, label, err);
    if (status == HT_OK)
        status = check_content(file, size, label, h.digest, err);
    if (status != HT_OK)
        return status;
    memcpy(h.kind, file + KIND, sizeof h.kind);
    h.version = (uint32_t)get_le(file + VERSION, 4);
    status = check_kind(&h, label, kind, err);
    if (status == HT_OK)
        status = check_version(&h, label, max_version, err);
    if (status == HT_OK)
        *ret = h;
    return status;
}
