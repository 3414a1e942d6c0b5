/* The vectors of dense.h and stream.h as AVX2 registers; v_dot by AVX-VNNI where the file is
 * compiled for it (HT_AVXVNNI), else by exact 16-bit products. */
#ifndef HT_KERNELS_X86_YMM_H
#define HT_KERNELS_X86_YMM_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/inline.h"

#define LANES 8 /* of 32 bits */
#ifdef HT_AVXVNNI
#define TILE_ROWS 6 /* 12 accumulators, 2 lines of weights, 1 of activations */
#else
#define SMALL_IS_FASTER   /* v_dot_small than v_dot */
#define TILE_ROWS       4 /* 8 accumulators, 2 lines of weights in two halves, activations too */
#endif

#define BINARY_ROWS 4 /* counting takes a table and a mask too */

typedef __m256i vint;
typedef __m256 vfloat;

HT_INLINE vint v_load(const void *p)
{
    return _mm256_loadu_si256(p);
}

HT_INLINE void v_store(void *p, vint v)
{
    _mm256_storeu_si256(p, v);
}

HT_INLINE vint v_splat(int32_t x)
{
    return _mm256_set1_epi32(x);
}

/* The lowest `count` lanes, all of them when count >= LANES. */
HT_INLINE vint v_mask(size_t count)
{
    const vint lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(v_splat(count > LANES ? LANES : (int)count), lane);
}

/* Lanes from `count` on are not read and zero. */
HT_INLINE vint v_load_first(const void *p, size_t count)
{
    return count >= LANES ? v_load(p) : _mm256_maskload_epi32(p, v_mask(count));
}

HT_INLINE void v_store_first(void *p, vint v, size_t count)
{
    if (count >= LANES)
        v_store(p, v);
    else
        _mm256_maskstore_epi32(p, v_mask(count), v);
}

/* The lowest byte of each lane. */
HT_INLINE void v_store_bytes(uint8_t *p, vint v, size_t count)
{
    const vint pick = _mm256_setr_epi32(0x0c080400, -1, -1, -1, 0x0c080400, -1, -1, -1);
    const vint fours = _mm256_shuffle_epi8(v, pick);
    const vint bytes =
        _mm256_permutevar8x32_epi32(fours, _mm256_setr_epi32(0, 4, 1, 1, 1, 1, 1, 1));
    uint8_t all[16];
    _mm_storeu_si128((__m128i *)(void *)all, _mm256_castsi256_si128(bytes));
    memcpy(p, all, count >= LANES ? LANES : count);
}

HT_INLINE vint v_splat_byte(int x)
{
    return _mm256_set1_epi8((char)x);
}

/* The 16 bytes at p and p + stride side by side. */
HT_INLINE vint v_load_quads(const uint8_t *p, size_t stride)
{
    const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(p + stride));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* Of each 16 bytes the first (last) two words of a and b, in turn. */
HT_INLINE vint v_interleave_low32(vint a, vint b)
{
    return _mm256_unpacklo_epi32(a, b);
}

HT_INLINE vint v_interleave_high32(vint a, vint b)
{
    return _mm256_unpackhi_epi32(a, b);
}

HT_INLINE vint v_interleave_low64(vint a, vint b)
{
    return _mm256_unpacklo_epi64(a, b);
}

HT_INLINE vint v_interleave_high64(vint a, vint b)
{
    return _mm256_unpackhi_epi64(a, b);
}

HT_INLINE vint v_splat16(int x)
{
    return _mm256_set1_epi16((short)x);
}

/* 4 bytes to all lanes. */
HT_INLINE vint v_splat4(const uint8_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm256_set1_epi32(x);
}

HT_INLINE vint v_add(vint a, vint b)
{
    return _mm256_add_epi32(a, b);
}

HT_INLINE vint v_sub(vint a, vint b)
{
    return _mm256_sub_epi32(a, b);
}

HT_INLINE vint v_mul(vint a, vint b)
{
    return _mm256_mullo_epi32(a, b);
}

HT_INLINE vint v_and(vint a, vint b)
{
    return _mm256_and_si256(a, b);
}

HT_INLINE vint v_or(vint a, vint b)
{
    return _mm256_or_si256(a, b);
}

HT_INLINE vint v_sub_bytes(vint a, vint b)
{
    return _mm256_sub_epi8(a, b);
}

/* Unsigned bytes, saturating. */
HT_INLINE vint v_add_saturated(vint a, vint b)
{
    return _mm256_adds_epu8(a, b);
}

HT_INLINE vint v_xor(vint a, vint b)
{
    return _mm256_xor_si256(a, b);
}

HT_INLINE vint v_shift_right(vint a, vint count)
{
    return _mm256_srlv_epi32(a, count);
}

HT_INLINE vint v_shift_right_signed(vint a, vint count)
{
    return _mm256_srav_epi32(a, count);
}

/* A table of 16 bytes, ready for v_lookup16: its entry (index & 15), 0 where the index is 128 or
 * more. */
HT_INLINE vint v_table16(const void *p)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(p));
}

HT_INLINE vint v_lookup16(vint table, vint indices)
{
    return _mm256_shuffle_epi8(table, indices);
}

/* The compiler must have v in a register here, and know nothing of its value: no merging of loads
 * into instructions twice, no sums of products in another order, which takes more registers. */
HT_INLINE void v_keep(vint *v)
{
    __asm__("" : "+x"(*v));
}

/* Each lane: sum + the dot product of 4 uint8 with 4 int8. */
HT_INLINE vint v_dot(vint sum, vint a, vint w)
{
#ifdef HT_AVXVNNI
    return _mm256_dpbusd_avx_epi32(sum, a, w);
#else
    /* Bytes 0 and 2, then 1 and 3, as 16-bit numbers; vpmaddubsw would saturate. */
    const vint a_even = _mm256_and_si256(a, _mm256_set1_epi16(255)),
               a_odd = _mm256_srli_epi16(a, 8);
    const vint w_even = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8);
    const vint w_odd = _mm256_srai_epi16(w, 8);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a_even, w_even));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a_odd, w_odd));
    v_keep(&sum);
    return sum;
#endif
}

/* The same for weights within +-64: pairs of products fit 16 bits. */
HT_INLINE vint v_dot_small(vint sum, vint a, vint w)
{
#ifdef HT_AVXVNNI
    return v_dot(sum, a, w);
#else
    const vint pairs = _mm256_maddubs_epi16(a, w);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    v_keep(&sum);
    return sum;
#endif
}

/* Each lane: sum + its 4 int8. */
HT_INLINE vint v_add_groups(vint sum, vint w)
{
    return v_dot_small(sum, v_splat_byte(1), w);
}

HT_INLINE vint v_add_bytes(vint a, vint b)
{
    return _mm256_add_epi8(a, b);
}

/* Each lane: sum + how many bits of a and b differ, counted by a table of 4 bits. */
HT_INLINE vint v_count(vint sum, vint a, vint b)
{
    const vint counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2,
                                         1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const vint bits = v_xor(a, b), low = v_splat_byte(15);
    const vint first = v_lookup16(counts, v_and(bits, low));
    const vint second = v_lookup16(counts, v_and(_mm256_srli_epi16(bits, 4), low));
    sum = v_add_groups(sum, v_add_bytes(first, second));
    v_keep(&sum);
    return sum;
}

/* The top bits of LANES * 4 bytes. */
HT_INLINE void v_store_signs(uint8_t *to, vint bytes)
{
    const int signs = _mm256_movemask_epi8(bytes);
    memcpy(to, &signs, sizeof signs);
}

HT_INLINE int32_t v_sum(vint a)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

HT_INLINE vfloat v_to_float(vint a)
{
    return _mm256_cvtepi32_ps(a);
}

/* Half to even; the least int32 where a is NaN or out of range. */
HT_INLINE vint v_to_int(vfloat a)
{
    return _mm256_cvtps_epi32(a);
}

HT_INLINE vint v_bits(vfloat a)
{
    return _mm256_castps_si256(a);
}

HT_INLINE vfloat v_floats(vint a)
{
    return _mm256_castsi256_ps(a);
}

HT_INLINE vfloat v_splat_float(float x)
{
    return _mm256_set1_ps(x);
}

HT_INLINE vfloat v_product(vfloat a, vfloat b)
{
    return _mm256_mul_ps(a, b);
}

HT_INLINE vfloat v_quotient(vfloat a, vfloat b)
{
    return _mm256_div_ps(a, b);
}

/* b where a or b is NaN. */
HT_INLINE vfloat v_max(vfloat a, vfloat b)
{
    return _mm256_max_ps(a, b);
}

HT_INLINE vfloat v_min(vfloat a, vfloat b)
{
    return _mm256_min_ps(a, b);
}

/* a * b + c; whether the product is rounded is open. */
HT_INLINE vfloat v_roughly(vfloat a, vfloat b, vfloat c)
{
    return _mm256_add_ps(_mm256_mul_ps(a, b), c);
}

/* Unsigned. */
HT_INLINE vint v_min_bytes(vint a, vint b)
{
    return _mm256_min_epu8(a, b);
}

/* sum | a ^ b */
HT_INLINE vint v_or_difference(vint sum, vint a, vint b)
{
    return _mm256_or_si256(sum, _mm256_xor_si256(a, b));
}

/* Are all lanes less than 1 in magnitude? Not when one is NaN. */
HT_INLINE bool v_all_below_1(vfloat a)
{
    const vfloat one = v_splat_float(1.0f);
    return _mm256_movemask_ps(_mm256_and_ps(_mm256_cmp_ps(a, one, _CMP_LT_OQ),
                                            _mm256_cmp_ps(a, v_splat_float(-1.0f), _CMP_GT_OQ))) ==
           0xff;
}

/* Half of v to each. */
HT_INLINE void v_store_halves(uint8_t *low, uint8_t *high, vint v)
{
    _mm_storeu_si128((__m128i *)(void *)low, _mm256_castsi256_si128(v));
    _mm_storeu_si128((__m128i *)(void *)high, _mm256_extracti128_si256(v, 1));
}

HT_INLINE bool v_any(vint a)
{
    return !_mm256_testz_si256(a, a);
}

/* The lanes of 4 vectors as bytes, clamped to 0..255; less *least, in all 16-bit numbers, if not
 * NULL. */
HT_INLINE vint v_pack_bytes(const vint v[4], const vint *least)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i first = _mm256_packs_epi32(v[0], v[1]), second = _mm256_packs_epi32(v[2], v[3]);
    if (least) {
        first = _mm256_subs_epi16(first, *least);
        second = _mm256_subs_epi16(second, *least);
    }
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(first, second), order);
}

HT_INLINE vfloat v_floor(vfloat a)
{
    return _mm256_floor_ps(a);
}

HT_INLINE vfloat v_ceil(vfloat a)
{
    return _mm256_ceil_ps(a);
}

/* v_keep, also where v is not used any more: for measuring. */
HT_INLINE void v_hide(vint *v)
{
    __asm__ volatile("" : "+x"(*v));
}

#endif
