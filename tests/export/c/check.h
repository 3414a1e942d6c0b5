/* Runs exported networks on known inputs and counts what differs. No library: programs for bare
 * machines include it, too. */
#ifndef HT_TESTS_EXPORT_C_CHECK_H
#define HT_TESTS_EXPORT_C_CHECK_H

#include <stdint.h>

static uint32_t compared, differ;

static void check(int32_t got, int32_t expected)
{
    compared++;
    if (got != expected) {
        differ++;
    }
}

static int32_t bits_of(float value)
{
    union {
        float value;
        uint32_t bits;
    } as;
    as.value = value;
    return (as.bits > 0x7fffffffu) ? (-(int32_t)(0xffffffffu - as.bits) - 1) : (int32_t)as.bits;
}

/* For one exported network with prefix `net`: levels[rows][inputs], expected[rows][outputs] (bits
 * of the float outputs), class[rows], and raw[] (floats that give the levels) or NULL. */
#define DEFINE_CHECK(net, NET)                                                                     \
    static void check_##net(uint32_t rows, const float *raw, const net##_input *levels,            \
                            const int32_t *expected, const int32_t *class)                         \
    {                                                                                              \
        static net##_input in[HT_##NET##_INPUTS];                                                  \
        static net##_output out[HT_##NET##_OUTPUTS];                                               \
        static uint8_t arena[HT_##NET##_ARENA_BYTES];                                              \
        static float y[HT_##NET##_OUTPUTS];                                                        \
        check(net##_selftest(in, out, arena), 0);                                                  \
        for (uint32_t row = 0; row < rows; row++) {                                                \
            const net##_input *a = &levels[row * HT_##NET##_INPUTS];                               \
            if (raw) {                                                                             \
                net##_quantize(&raw[row * HT_##NET##_INPUTS], in);                                 \
                for (uint32_t i = 0; i < HT_##NET##_INPUTS; i++) {                                 \
                    check(in[i], a[i]);                                                            \
                }                                                                                  \
            }                                                                                      \
            check(net##_run(a, out, arena), 0);                                                    \
            net##_dequantize(out, y);                                                              \
            for (uint32_t n = 0; n < HT_##NET##_OUTPUTS; n++) {                                    \
                check(bits_of(y[n]), expected[row * HT_##NET##_OUTPUTS + n]);                      \
            }                                                                                      \
            check(CLASSIFY_##net(out), class[row]);                                                \
        }                                                                                          \
    }

/* The level of each byte. */
#define DEFINE_BYTES(net, NET)                                                                     \
    static void check_bytes_##net(const int32_t *expected)                                         \
    {                                                                                              \
        static net##_input in[HT_##NET##_INPUTS];                                                  \
        static uint8_t raw[HT_##NET##_INPUTS];                                                     \
        for (uint32_t byte = 0; byte < 256u; byte++) {                                             \
            for (uint32_t i = 0; i < HT_##NET##_INPUTS; i++) {                                     \
                raw[i] = (uint8_t)byte;                                                            \
            }                                                                                      \
            net##_quantize_bytes(raw, in);                                                         \
            check(in[0], expected[byte]);                                                          \
            check(in[HT_##NET##_INPUTS - 1u], expected[byte]);                                     \
        }                                                                                          \
    }

/* The unit of the targets. */
#define DEFINE_TARGETS(net, NET)                                                                   \
    static void check_targets_##net(const float *y, const int32_t *expected)                       \
    {                                                                                              \
        static float target[HT_##NET##_OUTPUTS];                                                   \
        net##_targets(y, target);                                                                  \
        for (uint32_t n = 0; n < HT_##NET##_OUTPUTS; n++) {                                        \
            check(bits_of(target[n]), expected[n]);                                                \
        }                                                                                          \
    }

/* "N compared, N differ" */
static const char *result(char text[64])
{
    static const char *const words[] = {" compared, ", " differ"};
    const uint32_t numbers[] = {compared, differ};
    char *to = text;
    for (int i = 0; i < 2; i++) {
        uint32_t unit = 1000000000u;
        while (unit > 1u && numbers[i] / unit == 0u) {
            unit /= 10u;
        }
        for (; unit > 0u; unit /= 10u) {
            *to++ = (char)('0' + (char)(numbers[i] / unit % 10u));
        }
        for (const char *s = words[i]; *s; s++) {
            *to++ = *s;
        }
    }
    *to = '\0';
    return text;
}

#endif
