#include "quant/half.h"

#include <string.h>

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* float32: 8 bits of exponent, bias 127, 23 of fraction; float16: 5, 15 and 10. */
uint16_t ht_half_of_float(float x)
{
    const uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffff;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7f800000)
        return sign | 0x7e00;
    if (magnitude >= 0x477ff000) /* from 65520 on the nearest would be infinity */
        return sign | 0x7bff;
    if (magnitude < 0x38800000) { /* below 2^-14: multiples of 2^-24, which the sum rounds to */
        const float sum = float_of(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(sum) - bits_of(0.5f)));
    }
    /* 13 bits of fraction go: half of their weight, less one unless the last that stays is odd. */
    const uint32_t odd = magnitude >> 13 & 1;
    const uint32_t rounded = magnitude - ((uint32_t)(127 - 15) << 23) + 0xfff + odd;
    return (uint16_t)(sign | rounded >> 13);
}

float ht_half_to_float(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7fff;
    if (magnitude >= 0x7c00)
        return float_of(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    if (magnitude < 0x400) { /* subnormal: a multiple of 2^-24, and -0 */
        const float value = (float)magnitude * 5.9604644775390625e-8f;
        return float_of(sign | bits_of(value));
    }
    return float_of(sign | ((magnitude << 13) + ((uint32_t)(127 - 15) << 23)));
}
