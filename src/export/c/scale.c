/* fl32(fl32(acc) * multiplier), the two rounded float32 operations of requantization, in integers.
 * The multiplier is the bits of a float32 above 0. So is the result, of its magnitude; negated
 * where acc is below 0, so that results compare as the real numbers do. */
static uint64_t net_half_even(uint64_t x, uint32_t bits)
{
    const uint64_t odd = (x >> bits) & 1u;
    return (x + (((uint64_t)1 << (bits - 1u)) - 1u) + odd) >> bits;
}

static int32_t net_scale(int32_t acc, uint32_t multiplier)
{
    uint32_t a = (acc < 0) ? (0u - (uint32_t)acc) : (uint32_t)acc;
    uint32_t down = 0u; /* bits that do not fit a float32 */
    int32_t exponent = (int32_t)(multiplier >> 23u);
    int32_t result;
    uint64_t product;
    if (acc == 0) {
        return 0;
    }
    while ((a >> down) >= 0x1000000u) {
        down++;
    }
    if (down > 0u) {
        a = (uint32_t)net_half_even(a, down);
        exponent += (int32_t)down;
    }
    while (a < 0x800000u) {
        a <<= 1u;
        exponent--;
    }
    product = (uint64_t)a * ((multiplier & 0x7FFFFFu) | 0x800000u);
    down = ((product >> 47u) != 0u) ? 24u : 23u;
    product = net_half_even(product, down); /* 2^23 to 2^24 */
    exponent += (int32_t)down;
    if (exponent > 254) {
        result = 0x7F800000; /* infinite */
    } else {
        result = (int32_t)(((uint32_t)exponent << 23u) + ((uint32_t)product - 0x800000u));
    }
    return (acc < 0) ? -result : result;
}
