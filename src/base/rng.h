/* Counter-based random numbers (Philox 4x32-10, Salmon et al., SC 2011, via Random123).
 * A number depends only on (seed, stream, counter), never on what was drawn before it, so results
 * are equal for any number of threads and across a stop and resume. */
#ifndef HT_BASE_RNG_H
#define HT_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* One stream per purpose, so that adding a draw in one place moves no other. The upper 32 bits of
 * a stream are free for an index (layer, epoch...): HT_RNG_STREAM(purpose, index). */
enum ht_rng_purpose {
    HT_RNG_INIT = 1,    /* parameter initialization; index = span */
    HT_RNG_SHUFFLE = 2, /* order of samples; index = epoch */
    HT_RNG_SPLIT = 3,   /* train/validation/test split */
    HT_RNG_DROPOUT = 4, /* index = node */
    HT_RNG_AUGMENT = 5, /* index = epoch */
    HT_RNG_TEST = 6,
    HT_RNG_ROUNDING = 7, /* index = span of the quantizer's zero point */
    HT_RNG_PROBE = 8,    /* directions of Hutchinson's estimate; index = span */
    HT_RNG_ADAROUND = 9  /* index = layer */
};
#define HT_RNG_STREAM(purpose, index) ((uint64_t)(purpose) | (uint64_t)(uint32_t)(index) << 32)

struct ht_rng_block {
    uint32_t v[4];
};

struct ht_rng_block ht_rng_block(uint64_t seed, uint64_t stream, uint64_t counter);

/* Uniform in [0, 1) with 24 bits, exact in float. */
double ht_rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter);

/* Standard normal (Box-Muller on one block). */
double ht_rng_normal(uint64_t seed, uint64_t stream, uint64_t counter);

/* Uniform integer in [0, n), n >= 1, without modulo bias worth naming (multiply-shift of 64 bits).
 */
uint64_t ht_rng_below(uint64_t seed, uint64_t stream, uint64_t counter, uint64_t n);

/* Fills order[n] with a permutation of 0..n-1 (Fisher-Yates). */
void ht_rng_permutation(uint64_t seed, uint64_t stream, uint32_t *order, size_t n);

#endif
