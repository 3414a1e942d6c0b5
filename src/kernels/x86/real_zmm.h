/* The 16 lanes of real.h as an AVX-512 register. */
#ifndef HT_KERNELS_X86_REAL_ZMM_H
#define HT_KERNELS_X86_REAL_ZMM_H

#include <immintrin.h>

#include "kernels/inline.h"

#define REAL_ROWS 4 /* rows times outputs of a tile: 16 accumulators of 32 registers */
#define REAL_OUTS 4
#define REAL_ONES 8 /* outputs of a tile of one row */

typedef __m512 real16;
typedef __m512 real_table; /* 16 levels */

HT_INLINE real16 real16_zero(void)
{
    return _mm512_setzero_ps();
}

HT_INLINE real16 real16_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

/* sum + a * b, two roundings. */
HT_INLINE real16 real16_add_product(real16 sum, real16 a, real16 b)
{
    return _mm512_add_ps(sum, _mm512_mul_ps(a, b));
}

HT_INLINE real16 real16_of_int8(__m128i bytes)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

HT_INLINE real_table real_table_of(const void *p)
{
    return real16_of_int8(_mm_loadu_si128(p));
}

/* The entries that the 4 bits from `shift` on of each of 16 bytes say. */
HT_INLINE real16 real16_lookup(const void *p, int shift, real_table table)
{
    const __m512i index = _mm512_cvtepu8_epi32(_mm_loadu_si128(p));
    return _mm512_permutexvar_ps(_mm512_srli_epi32(index, (unsigned)shift), table);
}

HT_INLINE real16 real16_of_int16(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256(p)));
}

HT_INLINE real16 real16_of_half(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

HT_INLINE __m256 real16_fold(real16 a)
{
    const __m256d high = _mm512_extractf64x4_pd(_mm512_castps_pd(a), 1);
    return _mm256_add_ps(_mm512_castps512_ps256(a), _mm256_castpd_ps(high));
}

#endif
