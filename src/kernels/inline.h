/* For code that is generic in its constant arguments: tiles of n rows, planes of b bits. */
#ifndef HT_KERNELS_INLINE_H
#define HT_KERNELS_INLINE_H

#define HT_INLINE static inline __attribute__((always_inline, unused))

/* The loop that follows has a small constant count and vanishes: its arrays live in registers. */
#if defined(__clang__)
#define HT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define HT_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
