/* Marks a loop that the compiler should vectorize: it is compiled for the oldest CPU of the
 * architecture and once more for AVX2, and the program's loader picks what the CPU has. Both give
 * the same bits: no multiplication is fused with an addition (-ffp-contract=off), and no sum is
 * reordered. By gcc only: clang 14 gives equal names in different files one resolver. */
#ifndef HT_BASE_VECTORIZED_H
#define HT_BASE_VECTORIZED_H

#include <stddef.h> /* __GLIBC__ */

/* The choice is made before a sanitizer is ready to watch it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HT_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define HT_SANITIZED
#endif
#endif

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__) &&       \
    defined(__GLIBC__) && defined(__has_attribute) && !defined(HT_SANITIZED)
#if __has_attribute(target_clones)
#define HT_VECTORIZED __attribute__((target_clones("default", "avx2")))
#endif
#endif
#ifndef HT_VECTORIZED
#define HT_VECTORIZED
#endif

#endif
