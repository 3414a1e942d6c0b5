/* Damaged containers: whatever bytes change or are missing, the file is refused; and with a forged
 * digest, where libhdf5 does see the damage, nothing crashes. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "io_support.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/rng.h"
#include "io/container_header.h"

static struct ht_error err;
static uint64_t counter;

static size_t below(size_t n)
{
    return (size_t)ht_rng_below(1, HT_RNG_TEST, counter++, n);
}

static void assert_refused(const uint8_t *image, size_t size, const char *words)
{
    struct ht_container_reader *r;
    *err.msg = '\0';
    cr_assert_eq(ht_container_open_image(&r, image, size, "x.h5", NULL, UINT32_MAX, &err),
                 HT_ERR_MODEL);
    cr_assert(strncmp(err.msg, "x.h5: ", 6) == 0 && strstr(err.msg, words), "%s", err.msg);
}

Test(damage, truncated)
{
    uint8_t *image;
    size_t size;
    char words[64];
    make_image(put_small, &image, &size);
    assert_refused(image, 0, "it is empty");
    for (size_t n = 1; n < size; n += n < 600 ? 1 : 1 + below(5)) {
        if (n < HT_HEADER_SIZE)
            snprintf(words, sizeof words, "truncated: %zu of at least 512 bytes", n);
        else
            snprintf(words, sizeof words, "truncated: %zu of %zu bytes", n, size);
        assert_refused(image, n, words);
    }
    uint8_t *longer = ht_calloc(size + 1, 1);
    memcpy(longer, image, size);
    assert_refused(longer, size + 1, "bytes instead of");
    ht_free(longer);
    ht_free(image);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(damage, every_byte)
{
    uint8_t *image;
    size_t size;
    make_image(put_small, &image, &size);
    for (size_t i = 0; i < size; i += i < HT_HEADER_SIZE ? 1 : 1 + below(7)) {
        const uint8_t flip = (uint8_t)(1u << below(8));
        image[i] ^= flip;
        assert_refused(image, size, i < 8 ? "not a halftone file" : "SHA-256 differs");
        image[i] ^= flip;
    }
    struct ht_container_reader *r; /* and it was sound */
    ASSERT_OK(ht_container_open_image(&r, image, size, "x.h5", "model", 1, &err), err);
    ht_container_close(r);
    ht_free(image);
    cr_assert_eq(ht_alloc_live(), 0);
}

Test(damage, random_bytes)
{
    uint8_t *image, *copy;
    size_t size;
    make_image(put_small, &image, &size);
    copy = ht_calloc(size, 1);
    for (int i = 0; i < 2000; i++) {
        memcpy(copy, image, size);
        for (size_t k = 0, n = 1 + below(4); k < n; k++)
            copy[below(size)] = (uint8_t)below(256);
        if (memcmp(copy, image, size) != 0)
            assert_refused(copy, size, "");
    }
    for (int i = 0; i < 100; i++) { /* zeroed or swapped blocks, as from a bad disk */
        memcpy(copy, image, size);
        const size_t n = 1 + below(512), a = below(size - n), b = below(size - n);
        if (i % 2)
            memset(copy + a, 0, n);
        else
            memmove(copy + a, image + b, n);
        if (memcmp(copy, image, size) != 0)
            assert_refused(copy, size, "");
    }
    ht_free(copy);
    ht_free(image);
    cr_assert_eq(ht_alloc_live(), 0);
}

/* --- forged digests --- */

#define FORGED  3000
#define SECONDS 5 /* of a child for what takes milliseconds */

static enum ht_status read_all(void *user, const char *name, int is_group);

struct reading {
    struct ht_container_reader *r;
    char path[1200];
};

static enum ht_status read_group(struct reading *w)
{
    return ht_container_list(w->r, *w->path ? w->path : "/", read_all, w, NULL);
}

/* Reads everything there is, as an unsuspecting loader might. */
static enum ht_status read_all(void *user, const char *name, int is_group)
{
    struct reading *w = user;
    const size_t length = strlen(w->path);
    enum ht_container_type type;
    int rank;
    size_t shape[4], n = 8;
    snprintf(w->path + length, sizeof w->path - length, "/%s", name);
    if (is_group) {
        read_group(w);
    } else if (ht_container_info(w->r, w->path, &type, &rank, shape, NULL) == HT_OK) {
        for (int i = 0; i < rank; i++)
            n *= shape[i];
        void *data = ht_calloc(n, 1);
        char *text = NULL;
        if (data && ht_container_get(w->r, w->path, type, data, n / 8, NULL) != HT_OK)
            ht_container_get_text(w->r, w->path, &text, NULL);
        ht_free(text);
        ht_free(data);
    }
    w->path[length] = '\0';
    return HT_OK;
}

/* What the children did; in shared memory. */
struct tally {
    volatile int next;
    volatile int opened, refused;
};

static void forge(const uint8_t *image, size_t size, uint8_t *copy, uint64_t seed)
{
    memcpy(copy, image, size);
    const size_t n = 1 + (size_t)ht_rng_below(seed, HT_RNG_TEST, 0, 4);
    for (size_t k = 1; k <= n; k++) {
        const size_t at = (size_t)ht_rng_below(seed, HT_RNG_TEST, 2 * k, size - HT_HEADER_SIZE);
        copy[HT_HEADER_SIZE + at] = (uint8_t)ht_rng_below(seed, HT_RNG_TEST, 2 * k + 1, 256);
    }
    ht_header_write(copy, size, "model", 1);
}

static void run_forged(const uint8_t *image, size_t size, struct tally *tally)
{
    uint8_t *copy = ht_calloc(size, 1);
    while (tally->next < FORGED) {
        struct reading w = {.r = NULL};
        forge(image, size, copy, (uint64_t)tally->next);
        tally->next++; /* first, so that a crash is not repeated */
        alarm(SECONDS);
        if (ht_container_open_image(&w.r, copy, size, "x.h5", "model", 1, NULL) != HT_OK) {
            tally->refused++;
            continue;
        }
        tally->opened++;
        read_group(&w);
        ht_container_close(w.r);
    }
    _exit(ht_alloc_live() == 2 ? 0 : 3); /* image, copy */
}

/* The header is no protection against a forger: here libhdf5's own checksums and the checks of
 * hdf5_checks.c stand alone. */
Test(damage, forged_digest)
{
    uint8_t *image;
    size_t size;
    int crashes = 0, result = 0;
    make_image(put_small, &image, &size);
    struct tally *tally =
        mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(tally != MAP_FAILED);
    while (tally->next < FORGED) {
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0)
            run_forged(image, size, tally);
        cr_assert_eq(waitpid(child, &result, 0), child);
        if (!WIFEXITED(result) || WEXITSTATUS(result) != 0) {
            crashes++;
            cr_log_warn("forged file %d: wait status %d", tally->next - 1, result);
        }
    }
    cr_log_info("%d forged files: %d refused, %d opened, %d crashes", FORGED, tally->refused,
                tally->opened, crashes);
    cr_assert_eq(crashes, 0);
    cr_assert_gt(tally->refused, FORGED / 2);
    ht_free(image);
    cr_assert_eq(ht_alloc_live(), 0);
}
