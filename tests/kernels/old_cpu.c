/* Run under an emulator of an old CPU: the bundle named by the argument must be chosen, and nothing
 * may execute that the CPU does not have. Not with Criterion, whose workers are new processes that
 * would run outside of the emulator. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

enum { M = 13, N = 37, K = 70 };

static uint8_t a[M * K], codes[N * K];
static int16_t level[256], level8[256], sign[2] = {-1, 1};
static int8_t signs[M * K];
static int32_t init[N];
static float multiplier[N], x[2000];

static void dense(const struct ht_kernels *k, size_t m, int bits, bool binary,
                  uint8_t levels[M * N])
{
    const struct ht_kernel_weights w = {N, K, bits, codes, binary ? sign : level, NULL, binary};
    const struct ht_kernel_quantizer q = {-128, 127, 0, HT_KERNEL_NEAREST_EVEN};
    void *packed = malloc(k->packed_size(&w));
    if (!packed)
        abort();
    k->pack(&w, packed);
    const struct ht_kernel_dense d = {.m = m,
                                      .a = binary ? (const void *)signs : a,
                                      .a_signed = binary,
                                      .weights = &w,
                                      .packed = packed,
                                      .init = init,
                                      .multiplier = multiplier,
                                      .levels = levels,
                                      .quantizer = &q};
    k->dense(&d);
    free(packed);
}

/* Levels packed by pack_levels, here the bytes of `codes`, are what pack makes of them. */
static int packs_levels(const struct ht_kernels *k)
{
    int32_t sums[N];
    struct ht_kernel_weights w = {N, K, 8, codes, level8, NULL, false};
    const size_t size = k->packed_size(&w);
    uint8_t *packed[2] = {malloc(size), malloc(size)};
    if (!packed[0] || !packed[1])
        abort();
    k->pack(&w, packed[0]);
    w.codes = NULL;
    k->pack_levels(&w, 0, N, (const int8_t *)codes, packed[1], sums);
    const int same = memcmp(packed[0], packed[1], size) == 0;
    free(packed[0]);
    free(packed[1]);
    return same;
}

static int same_results(const struct ht_kernels *c, const struct ht_kernels *k)
{
    uint8_t got[2][M * N] = {{0}}, levels[2][2000];
    int same = packs_levels(k);
    for (int bits = 0; bits <= 8; bits++)
        for (size_t m = 1; m <= M; m += M - 1) {
            dense(c, m, bits ? bits : 1, bits == 0, got[0]);
            dense(k, m, bits ? bits : 1, bits == 0, got[1]);
            same = same && memcmp(got[0], got[1], sizeof got[0]) == 0;
        }
    const struct ht_kernel_quantizer q = {0, 255, 0, HT_KERNEL_NEAREST_EVEN};
    c->quantize(x, 2000, 0.37f, &q, levels[0]);
    k->quantize(x, 2000, 0.37f, &q, levels[1]);
    same = same && memcmp(levels[0], levels[1], sizeof levels[0]) == 0;
    c->lookup(levels[0], false, 2000, 0, level, levels[0]);
    k->lookup(levels[1], false, 2000, 0, level, levels[1]);
    return same && memcmp(levels[0], levels[1], sizeof levels[0]) == 0;
}

int main(int argc, char **argv)
{
    struct ht_kernels c, best;
    unsigned random = 1;
    const char *expected = argc > 1 ? argv[1] : "c";
    for (size_t i = 0; i < sizeof a; i++)
        a[i] = (uint8_t)((random = random * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < sizeof signs; i++)
        signs[i] = a[i] & 1 ? 1 : -1;
    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (uint8_t)((random = random * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < sizeof codes; i++)
        if (codes[i] == 0x80) /* the level that pack_levels never gets */
            codes[i] = 0x81;
    for (int i = 0; i < 256; i++)
        level[i] = (int16_t)(i - 128);
    for (int i = 0; i < 256; i++)
        level8[i] = (int8_t)i;
    for (int i = 0; i < N; i++) {
        init[i] = 100 * i;
        multiplier[i] = 0.001f * (float)(i + 1);
    }
    for (int i = 0; i < 2000; i++)
        x[i] = 0.1f * (float)i;
    ht_kernels_init(&c, HT_ISA_C);
    ht_kernels_init(&best, HT_ISA_ALL);
    const int chosen = strcmp(best.isa, expected) == 0, same = same_results(&c, &best);
    printf("1..2\n%s 1 - chose %s, expected %s\n%s 2 - equal to the C reference\n",
           chosen ? "ok" : "not ok", best.isa, expected, same ? "ok" : "not ok");
    return !(chosen && same);
}
