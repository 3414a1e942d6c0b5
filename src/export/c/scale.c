/* fl32(fl32(acc) * multiplier), the two rounded float32 operations of requantization, in integers.
 * The multiplier is the bits of a float32 above 0. So is the result, of its magnitude; negated
 * where acc is below 0, so that results compare as the real numbers do. */
static uint64_t net_half_even(uint64_t x, uint32_t bits)
{
    const uint64_t odd = (x >> bits) & 1u;
    const uint64_t one = 1u;
    const uint64_t half = (one << bits) >> 1u;
    return (x + (half - 1u) + odd) >> bits;
}

static int32_t net_scale(int32_t acc, uint32_t multiplier)
{
    const uint32_t mantissa = (multiplier & 0x7FFFFFu) | 0x800000u;
    uint32_t a = (acc < 0) ? (0u - (uint32_t)acc) : (uint32_t)acc;
    uint32_t exponent = 64u + (multiplier >> 23u);
    uint32_t bits = 0u;
    if (a != 0u) {
        uint32_t down = 0u; /* bits that do not fit a float32 */
        uint64_t product = mantissa;
        while ((a >> down) >= 0x1000000u) {
            down++;
        }
        if (down > 0u) {
            a = (uint32_t)net_half_even(a, down);
            exponent += down;
        }
        while (a < 0x800000u) {
            a <<= 1u;
            exponent--;
        }
        product *= a;
        down = 23u;
        if ((product >> 47u) != 0u) {
            down++;
        }
        product = net_half_even(product, down); /* 2^23 to 2^24 */
        exponent += down - 64u;
        bits = 0x7F800000u; /* infinite */
        if (exponent < 255u) {
            bits = (exponent << 23u) + ((uint32_t)product - 0x800000u);
        }
    }
    return (acc < 0) ? -(int32_t)bits : (int32_t)bits;
}
