/* IEEE half precision numbers (binary16) as bits. Written out: the same on every machine. */
#ifndef HT_QUANT_HALF_H
#define HT_QUANT_HALF_H

#include <stdbool.h>
#include <stdint.h>

#define HT_HALF_MAX 65504.0f

/* Half to even. Beyond +-65504: +-65504, not infinity. NaN stays NaN. */
uint16_t ht_half_of_float(float x);
float ht_half_to_float(uint16_t bits); /* exact */

static inline bool ht_half_is_finite(uint16_t bits)
{
    return (bits & 0x7c00) != 0x7c00;
}

#endif
