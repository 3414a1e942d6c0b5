/* The 16 lanes of real.h as two AVX2 registers. */
#ifndef HT_KERNELS_X86_REAL_YMM_H
#define HT_KERNELS_X86_REAL_YMM_H

#include <immintrin.h>

#include "kernels/inline.h"

#define REAL_ROWS 4 /* rows times outputs of a tile: 8 accumulators of 16 registers */
#define REAL_OUTS 1
#define REAL_ONES 4 /* outputs of a tile of one row */

typedef struct {
    __m256 low, high;
} real16;

typedef __m128i real_table; /* 16 levels */

HT_INLINE real16 real16_zero(void)
{
    return (real16){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

HT_INLINE real16 real16_load(const float *p)
{
    return (real16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

/* sum + a * b, two roundings. */
HT_INLINE real16 real16_add_product(real16 sum, real16 a, real16 b)
{
    return (real16){_mm256_add_ps(sum.low, _mm256_mul_ps(a.low, b.low)),
                    _mm256_add_ps(sum.high, _mm256_mul_ps(a.high, b.high))};
}

HT_INLINE real16 real16_of_int8(__m128i bytes)
{
    return (real16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes)))};
}

HT_INLINE real_table real_table_of(const void *p)
{
    return _mm_loadu_si128(p);
}

/* The entries that the 4 bits from `shift` on of each of 16 bytes say. */
HT_INLINE real16 real16_lookup(const void *p, int shift, real_table table)
{
    const __m128i index = _mm_srli_epi16(_mm_loadu_si128(p), shift);
    return real16_of_int8(_mm_shuffle_epi8(table, _mm_and_si128(index, _mm_set1_epi8(15))));
}

HT_INLINE real16 real16_of_int16(const void *p)
{
    const __m128i *words = p;
    return (real16){_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(words))),
                    _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(words + 1)))};
}

HT_INLINE real16 real16_of_half(const void *p)
{
    const __m128i *words = p;
    return (real16){_mm256_cvtph_ps(_mm_loadu_si128(words)),
                    _mm256_cvtph_ps(_mm_loadu_si128(words + 1))};
}

HT_INLINE __m256 real16_fold(real16 a)
{
    return _mm256_add_ps(a.low, a.high);
}

#endif
