/* IEEE half precision: bits to a float, exactly. The kernels' own (quant/half.h is training's). */
#ifndef HT_KERNELS_HALF_H
#define HT_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

static inline float ht_kernel_half(unsigned bits)
{
    /* As a float with these 15 bits the number is 2^-112 of what it should be. */
    const uint32_t small = (bits & 0x7fff) << 13, sign = (bits & 0x8000u) << 16;
    float value;
    uint32_t result;
    memcpy(&value, &small, sizeof value);
    value *= 0x1p112f;
    memcpy(&result, &value, sizeof result);
    result |= sign;
    memcpy(&value, &result, sizeof value);
    return value;
}

#endif
