/* A result of net_scale as an odd number in lo..hi, within +-511: the nearest, the lower of two. */
static int32_t net_odd(int32_t u, int32_t lo, int32_t hi)
{
    const uint32_t bits = (u < 0) ? (0u - (uint32_t)u) : (uint32_t)u;
    const uint32_t exponent = bits >> 23u;
    const uint32_t mantissa = (bits & 0x7FFFFFu) | 0x800000u;
    uint32_t half = 256u; /* what is larger still is clamped alike */
    int32_t level;
    if (u == 0) {
        half = 0u;
    } else if (exponent < 136u) { /* below 2^9 */
        const uint32_t down = (exponent < 124u) ? 27u : (151u - exponent);
        const uint32_t up = (u < 0) ? 0u : (((uint32_t)1 << down) - 1u);
        half = (mantissa + up) >> down;
    } else {
        /* half is what it was */
    }
    level = (u < 0) ? ((-2 * (int32_t)half) - 1) : ((2 * (int32_t)half) - 1);
    if (level < lo) {
        level = lo;
    }
    return (level > hi) ? hi : level;
}
