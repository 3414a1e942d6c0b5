/* x^p for loops over weights: + - * / and bit patterns only, so that it vectorizes. */
#ifndef HT_QUANT_POWER_H
#define HT_QUANT_POWER_H

#include <string.h>

#include "tensor/real.h"

#ifdef HT_REAL_IS_DOUBLE
#define ht_vector_power pow
#else
/* 2^(p log2 x) for x in 0..1 and p in 1..32, off by at most 3e-5 of itself; 0 becomes 2^-126. */
static inline float ht_vector_power(float x, float p)
{
    uint32_t bits;
    float m, power;
    memcpy(&bits, &x, sizeof bits);
    const float exponent = (float)((int32_t)(bits >> 23) - 127);
    bits = (bits & 0x7fffffu) | 0x3f800000u;
    memcpy(&m, &bits, sizeof m); /* 1 <= m < 2; ln m = 2 artanh s */
    const float s = (m - 1) / (m + 1), s2 = s * s;
    const float ln =
        2 * s * (1 + s2 * (1 / 3.0f + s2 * (1 / 5.0f + s2 * (1 / 7.0f + s2 * (1 / 9.0f)))));
    float y = p * (exponent + ln * 1.44269504f);
    y = y < -126 ? -126.0f : y;
    const float whole = (y + HT_REAL_ROUND_MAGIC) - HT_REAL_ROUND_MAGIC;
    const float t = (y - whole) * 0.69314718f; /* e^t, |t| < 0.35 */
    const float e =
        1 + t * (1 + t * (1 / 2.0f +
                          t * (1 / 6.0f + t * (1 / 24.0f + t * (1 / 120.0f + t * (1 / 720.0f))))));
    bits = (uint32_t)((int32_t)whole + 127) << 23;
    memcpy(&power, &bits, sizeof power);
    return e * power;
}
#endif

#endif
