/* A result of net_scale as the float32 that it is. */
static float net_float(int32_t u)
{
    union {
        uint32_t bits;
        float value;
    } as;
    as.bits = (u < 0) ? ((0u - (uint32_t)u) | 0x80000000u) : (uint32_t)u;
    return as.value;
}
