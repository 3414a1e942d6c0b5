/* A result of net_scale as a whole number in lo..hi, within +-511. */
static int32_t net_nearest(int32_t u, int32_t lo, int32_t hi)
{
    const uint32_t bits = (u < 0) ? (0u - (uint32_t)u) : (uint32_t)u;
    const uint32_t exponent = bits >> 23u;
    const uint32_t mantissa = (bits & 0x7FFFFFu) | 0x800000u;
    uint32_t whole = 512u; /* what is larger still is clamped alike */
    int32_t level;
    if (exponent < 136u) { /* below 2^9 */
        const uint32_t down = (exponent < 124u) ? 26u : (150u - exponent);
        whole = (uint32_t)net_half_even(mantissa, down);
    }
    level = (u < 0) ? -(int32_t)whole : (int32_t)whole;
    if (level < lo) {
        level = lo;
    }
    return (level > hi) ? hi : level;
}
