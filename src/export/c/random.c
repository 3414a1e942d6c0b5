/* Numbers that are the same everywhere: xorshift (Marsaglia 2003). The state is not 0. */
static uint32_t net_random(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13u;
    x ^= x >> 17u;
    x ^= x << 5u;
    *state = x;
    return x >> 8u;
}

/* FNV-1a of the bytes of a number, the lowest first. */
static uint32_t net_mix(uint32_t hash, int32_t value)
{
    uint32_t left = (uint32_t)value;
    uint32_t mixed = hash;
    for (uint32_t i = 0u; i < 4u; i++) {
        mixed = (mixed ^ (left & 255u)) * 16777619u;
        left >>= 8u;
    }
    return mixed;
}

/* Level i of vector 0 (all lowest), 1 (all highest), 2 (either), and others (any). */
static int32_t net_test_level(uint32_t vector, uint32_t *state, int32_t lo, int32_t step,
                              uint32_t count)
{
    const uint32_t number = net_random(state);
    uint32_t place = number % count;
    if (vector == 0u) {
        place = 0u;
    }
    if ((vector == 1u) || ((vector == 2u) && ((number & 1u) == 0u))) {
        place = count - 1u;
    }
    if ((vector == 2u) && ((number & 1u) != 0u)) {
        place = 0u;
    }
    return lo + (step * (int32_t)place);
}
