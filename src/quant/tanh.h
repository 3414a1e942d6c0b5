/* tanh for loops over weights: only + - * /, so that it vectorizes, and has the same bits
 * everywhere.
 */
#ifndef HT_QUANT_TANH_H
#define HT_QUANT_TANH_H

#include "tensor/real.h"

#ifdef HT_REAL_IS_DOUBLE
#define ht_vector_tanh tanh
#else
/* Lambert's continued fraction of tanh(x / 8), then tanh(2y) = 2 tanh(y) / (1 + tanh(y)^2) three
 * times; beyond 9 it is 1 in float32. Off by at most 4e-7. */
static inline float ht_vector_tanh(float x)
{
    float y = x < -9 ? -9.0f : (x > 9 ? 9.0f : x);
    y *= 0.125f;
    const float s = y * y;
    /* y / (1 + s / (3 + s / (5 + s / (7 + s / 9)))) as one fraction */
    float t = y * (945 + s * (105 + s)) / (945 + s * (420 + s * 15));
    t = 2 * t / (1 + t * t);
    t = 2 * t / (1 + t * t);
    return 2 * t / (1 + t * t);
}
#endif

#endif
