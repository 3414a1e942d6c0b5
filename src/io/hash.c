#include "io/hash.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

void ht_sha256(const void *data, size_t size, uint8_t digest[32])
{
    if (!EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL))
        memset(digest, 0, 32); /* out of memory inside libcrypto: a digest that nothing matches */
}

void ht_sha256_hex(const uint8_t digest[32], char hex[65])
{
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

enum ht_status ht_sha256_file(const char *path, char hex[65], struct ht_error *err)
{
    uint8_t buffer[65536], digest[32];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f)
        return ht_fail_errno(err, "cannot open", path);
    enum ht_status status = HT_OK;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || !EVP_DigestInit_ex(context, EVP_sha256(), NULL))
        status = ht_fail_memory(err);
    while (status == HT_OK && (n = fread(buffer, 1, sizeof buffer, f)) > 0)
        if (!EVP_DigestUpdate(context, buffer, n))
            status = ht_fail(err, HT_ERR_INTERNAL, "SHA-256 of %s failed", path);
    if (status == HT_OK && ferror(f))
        status = ht_fail_errno(err, "cannot read", path);
    if (status == HT_OK && !EVP_DigestFinal_ex(context, digest, NULL))
        status = ht_fail(err, HT_ERR_INTERNAL, "SHA-256 of %s failed", path);
    if (status == HT_OK)
        ht_sha256_hex(digest, hex);
    EVP_MD_CTX_free(context);
    fclose(f);
    return status;
}
