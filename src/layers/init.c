#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "layers/model.h"

void ht_initialize(const char *init, uint64_t seed, uint32_t stream, size_t in, size_t out,
                   ht_real *w)
{
    const uint64_t key = HT_RNG_STREAM(HT_RNG_INIT, stream);
    const bool normal = strcmp(init, "he") == 0;
    double width = 1 / sqrt((double)in);
    if (normal)
        width = sqrt(2 / (double)in);
    else if (strcmp(init, "xavier") == 0)
        width = sqrt(6 / (double)(in + out));
    for (size_t i = 0; i < in * out; i++)
        w[i] = (ht_real)(width * (normal ? ht_rng_normal(seed, key, i)
                                         : 2 * ht_rng_uniform(seed, key, i) - 1));
}
