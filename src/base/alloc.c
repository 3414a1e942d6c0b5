#define _DEFAULT_SOURCE /* madvise */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#define LINE       ((size_t)64)
#define HUGE_PAGE  ((size_t)2 << 20)
#define HUGE_BLOCK ((size_t)1 << 20) /* from here on blocks are whole huge pages */

/* The only mutable state of the library outside objects: two counters for tests. */
static atomic_long live_blocks;
static atomic_long fail_countdown;

static bool should_fail(void)
{
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) == 0)
        return false;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

bool ht_mul_size(size_t a, size_t b, size_t *ret)
{
    if (b != 0 && a > SIZE_MAX / b)
        return false;
    *ret = a * b;
    return true;
}

bool ht_add_size(size_t a, size_t b, size_t *ret)
{
    if (a > SIZE_MAX - b)
        return false;
    *ret = a + b;
    return true;
}

/* Weights and moments are streamed through in every step: with small pages, looking up addresses
 * takes a share of that. Only advice; where it is not taken, nothing is lost. */
static void ask_for_huge_pages(void *p, size_t bytes)
{
#if defined(__linux__)
    if (bytes >= HUGE_PAGE)
        madvise(p, bytes, MADV_HUGEPAGE);
#endif
}

void *ht_calloc(size_t n, size_t size)
{
    size_t bytes;
    if (!ht_mul_size(n, size, &bytes) || bytes > PTRDIFF_MAX - HUGE_PAGE || should_fail())
        return NULL;
    const size_t alignment = bytes >= HUGE_BLOCK ? HUGE_PAGE : LINE;
    bytes = bytes ? (bytes + alignment - 1) / alignment * alignment : LINE;
    void *p = aligned_alloc(alignment, bytes);
    if (!p)
        return NULL;
    ask_for_huge_pages(p, bytes);
    memset(p, 0, bytes);
    atomic_fetch_add(&live_blocks, 1);
    return p;
}

void *ht_grow(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (!ht_mul_size(n, size, &bytes) || bytes > PTRDIFF_MAX - 128 || should_fail())
        return NULL;
    void *q = realloc(p, bytes ? bytes : 1);
    if (q && !p)
        atomic_fetch_add(&live_blocks, 1);
    return q;
}

char *ht_strndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = ht_calloc(len + 1, 1);
    if (p)
        memcpy(p, s, len);
    return p;
}

char *ht_strdup(const char *s)
{
    return ht_strndup(s, strlen(s));
}

void ht_free(void *p)
{
    if (!p)
        return;
    atomic_fetch_sub(&live_blocks, 1);
    free(p);
}

long ht_alloc_live(void)
{
    return atomic_load(&live_blocks);
}

void ht_alloc_fail_at(long n)
{
    atomic_store(&fail_countdown, n);
}
