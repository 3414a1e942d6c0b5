/* The one place memory comes from. Blocks are counted so that tests can assert that none leaks,
 * and the n-th allocation can be made to fail so that tests reach the out-of-memory paths. */
#ifndef HT_BASE_ALLOC_H
#define HT_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* Zeroed memory for n elements of the given size, aligned to 64 bytes (a cache line, and the widest
 * vector register). NULL on overflow or when out of memory. n == 0 gives a valid pointer. */
void *ht_calloc(size_t n, size_t size);

/* Like realloc(p, n * size) with overflow check; new bytes are not zeroed; alignment 16. Only for
 * blocks that came from ht_grow, or NULL. Free with ht_free as well. */
void *ht_grow(void *p, size_t n, size_t size);

char *ht_strdup(const char *s);
char *ht_strndup(const char *s, size_t n);

/* NULL allowed. */
void ht_free(void *p);

/* Blocks allocated and not freed, in the whole process. */
long ht_alloc_live(void);

/* Makes the n-th allocation from now (1 = the next) fail once; 0 switches this off. */
void ht_alloc_fail_at(long n);

/* a * b or a + b into *ret; false on overflow. */
bool ht_mul_size(size_t a, size_t b, size_t *ret);
bool ht_add_size(size_t a, size_t b, size_t *ret);

#endif
