#include "base/rng.h"

#include <math.h>

#include <Random123/philox.h>

#define TWO_PI 6.283185307179586476925286766559

struct ht_rng_block ht_rng_block(uint64_t seed, uint64_t stream, uint64_t counter)
{
    philox4x32_ctr_t ctr = {
        {(uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    philox4x32_ctr_t r = philox4x32(ctr, key);
    struct ht_rng_block out = {{r.v[0], r.v[1], r.v[2], r.v[3]}};
    return out;
}

double ht_rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
    return (ht_rng_block(seed, stream, counter).v[0] >> 8) * (1.0 / 16777216.0);
}

double ht_rng_normal(uint64_t seed, uint64_t stream, uint64_t counter)
{
    struct ht_rng_block b = ht_rng_block(seed, stream, counter);
    double u = (b.v[0] + 0.5) * (1.0 / 4294967296.0); /* in (0, 1): log is finite */
    double v = b.v[1] * (1.0 / 4294967296.0);
    return sqrt(-2.0 * log(u)) * cos(TWO_PI * v);
}

/* High 64 bits of a * b, by halves. */
static uint64_t multiply_high(uint64_t a, uint64_t b)
{
    uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t mid = a1 * b0 + (a0 * b0 >> 32);
    uint64_t mid2 = a0 * b1 + (uint32_t)mid;
    return a1 * b1 + (mid >> 32) + (mid2 >> 32);
}

uint64_t ht_rng_below(uint64_t seed, uint64_t stream, uint64_t counter, uint64_t n)
{
    struct ht_rng_block b = ht_rng_block(seed, stream, counter);
    return multiply_high((uint64_t)b.v[0] << 32 | b.v[1], n);
}

void ht_rng_permutation(uint64_t seed, uint64_t stream, uint32_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)ht_rng_below(seed, stream, i, i);
        uint32_t t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}
