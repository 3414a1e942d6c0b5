/* The vectors of dense.h and stream.h as AVX-512 registers (F, BW, VL, VNNI). */
#ifndef HT_KERNELS_X86_ZMM_H
#define HT_KERNELS_X86_ZMM_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/inline.h"

#define LANES       16 /* of 32 bits */
#define TILE_ROWS   12 /* 24 accumulators, 2 lines of weights, activations from memory */
#define BINARY_ROWS 12

typedef __m512i vint;
typedef __m512 vfloat;

HT_INLINE vint v_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

HT_INLINE void v_store(void *p, vint v)
{
    _mm512_storeu_si512(p, v);
}

/* The lowest `count` lanes, all of them when count >= LANES. */
HT_INLINE __mmask16 v_mask(size_t count)
{
    return count >= LANES ? (__mmask16)0xffff : (__mmask16)((1u << count) - 1);
}

/* Lanes from `count` on are not read and zero. */
HT_INLINE vint v_load_first(const void *p, size_t count)
{
    return _mm512_maskz_loadu_epi32(v_mask(count), p);
}

HT_INLINE void v_store_first(void *p, vint v, size_t count)
{
    _mm512_mask_storeu_epi32(p, v_mask(count), v);
}

/* The lowest byte of each lane. */
HT_INLINE void v_store_bytes(uint8_t *p, vint v, size_t count)
{
    const __m128i bytes = _mm512_cvtepi32_epi8(v);
    if (count >= LANES)
        _mm_storeu_si128((__m128i *)(void *)p, bytes);
    else
        _mm_mask_storeu_epi8(p, v_mask(count), bytes);
}

HT_INLINE vint v_splat(int32_t x)
{
    return _mm512_set1_epi32(x);
}

HT_INLINE vint v_splat_byte(int x)
{
    return _mm512_set1_epi8((char)x);
}

/* The 16 bytes at p, p + stride, ... side by side; by masks, which leaves the shuffles free. */
HT_INLINE vint v_load_quads(const uint8_t *p, size_t stride)
{
    const __m128i *q[4];
    for (size_t i = 0; i < 4; i++)
        q[i] = (const __m128i *)(const void *)(p + i * stride);
    vint v = _mm512_castsi128_si512(_mm_loadu_si128(q[0]));
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, _mm_loadu_si128(q[1]));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, _mm_loadu_si128(q[2]));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, _mm_loadu_si128(q[3]));
}

/* Of each 16 bytes the first (last) two words of a and b, in turn. */
HT_INLINE vint v_interleave_low32(vint a, vint b)
{
    return _mm512_unpacklo_epi32(a, b);
}

HT_INLINE vint v_interleave_high32(vint a, vint b)
{
    return _mm512_unpackhi_epi32(a, b);
}

HT_INLINE vint v_interleave_low64(vint a, vint b)
{
    return _mm512_unpacklo_epi64(a, b);
}

HT_INLINE vint v_interleave_high64(vint a, vint b)
{
    return _mm512_unpackhi_epi64(a, b);
}

HT_INLINE vint v_splat16(int x)
{
    return _mm512_set1_epi16((short)x);
}

/* 4 bytes to all lanes. */
HT_INLINE vint v_splat4(const uint8_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}

HT_INLINE vint v_add(vint a, vint b)
{
    return _mm512_add_epi32(a, b);
}

HT_INLINE vint v_sub(vint a, vint b)
{
    return _mm512_sub_epi32(a, b);
}

HT_INLINE vint v_mul(vint a, vint b)
{
    return _mm512_mullo_epi32(a, b);
}

HT_INLINE vint v_and(vint a, vint b)
{
    return _mm512_and_si512(a, b);
}

HT_INLINE vint v_or(vint a, vint b)
{
    return _mm512_or_si512(a, b);
}

HT_INLINE vint v_sub_bytes(vint a, vint b)
{
    return _mm512_sub_epi8(a, b);
}

/* Unsigned bytes, saturating. */
HT_INLINE vint v_add_saturated(vint a, vint b)
{
    return _mm512_adds_epu8(a, b);
}

HT_INLINE vint v_xor(vint a, vint b)
{
    return _mm512_xor_si512(a, b);
}

HT_INLINE vint v_shift_right(vint a, vint count)
{
    return _mm512_srlv_epi32(a, count);
}

HT_INLINE vint v_shift_right_signed(vint a, vint count)
{
    return _mm512_srav_epi32(a, count);
}

/* A table of 16 bytes, ready for v_lookup16: its entry (index & 15), 0 where the index is 128 or
 * more. */
HT_INLINE vint v_table16(const void *p)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128(p));
}

HT_INLINE vint v_lookup16(vint table, vint indices)
{
    return _mm512_shuffle_epi8(table, indices);
}

/* The compiler must have v in a register here, and know nothing of its value: no merging of loads
 * into instructions twice, no sums of products in another order, which takes more registers. */
HT_INLINE void v_keep(vint *v)
{
    __asm__("" : "+v"(*v));
}

/* Each lane: sum + the dot product of 4 uint8 with 4 int8. */
HT_INLINE vint v_dot(vint sum, vint a, vint w)
{
    return _mm512_dpbusd_epi32(sum, a, w);
}

HT_INLINE vint v_dot_small(vint sum, vint a, vint w)
{
    return v_dot(sum, a, w);
}

/* Each lane: sum + its 4 int8. */
HT_INLINE vint v_add_groups(vint sum, vint w)
{
    return v_dot(sum, v_splat_byte(1), w);
}

/* Each lane: sum + how many bits of a and b differ. Only where the CPU has AVX512_VPOPCNTDQ, for
 * which the file is not compiled. */
HT_INLINE vint v_count(vint sum, vint a, vint b)
{
    vint count;
    __asm__("vpopcntd %1, %0" : "=v"(count) : "v"(v_xor(a, b)));
    sum = v_add(sum, count);
    v_keep(&sum);
    return sum;
}

/* The top bits of LANES * 4 bytes. */
HT_INLINE void v_store_signs(uint8_t *to, vint bytes)
{
    const uint64_t signs = _mm512_movepi8_mask(bytes);
    memcpy(to, &signs, sizeof signs);
}

HT_INLINE int32_t v_sum(vint a)
{
    return _mm512_reduce_add_epi32(a);
}

HT_INLINE vfloat v_to_float(vint a)
{
    return _mm512_cvtepi32_ps(a);
}

/* Half to even; the least int32 where a is NaN or out of range. */
HT_INLINE vint v_to_int(vfloat a)
{
    return _mm512_cvtps_epi32(a);
}

HT_INLINE vint v_bits(vfloat a)
{
    return _mm512_castps_si512(a);
}

HT_INLINE vfloat v_floats(vint a)
{
    return _mm512_castsi512_ps(a);
}

HT_INLINE vfloat v_splat_float(float x)
{
    return _mm512_set1_ps(x);
}

HT_INLINE vfloat v_product(vfloat a, vfloat b)
{
    return _mm512_mul_ps(a, b);
}

HT_INLINE vfloat v_quotient(vfloat a, vfloat b)
{
    return _mm512_div_ps(a, b);
}

/* b where a or b is NaN. */
HT_INLINE vfloat v_max(vfloat a, vfloat b)
{
    return _mm512_max_ps(a, b);
}

HT_INLINE vfloat v_min(vfloat a, vfloat b)
{
    return _mm512_min_ps(a, b);
}

/* a * b + c; whether the product is rounded is open. */
HT_INLINE vfloat v_roughly(vfloat a, vfloat b, vfloat c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* Unsigned. */
HT_INLINE vint v_min_bytes(vint a, vint b)
{
    return _mm512_min_epu8(a, b);
}

/* sum | a ^ b */
HT_INLINE vint v_or_difference(vint sum, vint a, vint b)
{
    return _mm512_ternarylogic_epi32(sum, a, b, 0xf6);
}

/* Are all lanes less than 1 in magnitude? Not when one is NaN. */
HT_INLINE bool v_all_below_1(vfloat a)
{
    const vfloat one = v_splat_float(1.0f);
    return _mm512_cmp_ps_mask(_mm512_abs_ps(a), one, _CMP_LT_OQ) == 0xffff;
}

/* Half of v to each. */
HT_INLINE void v_store_halves(uint8_t *low, uint8_t *high, vint v)
{
    _mm256_storeu_si256((__m256i *)(void *)low, _mm512_castsi512_si256(v));
    _mm256_storeu_si256((__m256i *)(void *)high, _mm512_extracti64x4_epi64(v, 1));
}

HT_INLINE bool v_any(vint a)
{
    return _mm512_test_epi32_mask(a, a) != 0;
}

/* The lanes of 4 vectors as bytes, clamped to 0..255; less *least, in all 16-bit numbers, if not
 * NULL. */
HT_INLINE vint v_pack_bytes(const vint v[4], const vint *least)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i first = _mm512_packs_epi32(v[0], v[1]), second = _mm512_packs_epi32(v[2], v[3]);
    if (least) {
        first = _mm512_subs_epi16(first, *least);
        second = _mm512_subs_epi16(second, *least);
    }
    return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second));
}

HT_INLINE vint v_add_bytes(vint a, vint b)
{
    return _mm512_add_epi8(a, b);
}

HT_INLINE vfloat v_floor(vfloat a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

HT_INLINE vfloat v_ceil(vfloat a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
}

/* v_keep, also where v is not used any more: for measuring. */
HT_INLINE void v_hide(vint *v)
{
    __asm__ volatile("" : "+v"(*v));
}

#endif
