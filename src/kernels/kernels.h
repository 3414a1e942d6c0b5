/* Integer kernels: a bundle {pack, dense, quantize, lookup} per instruction set, all equal bit for
 * bit to the C reference. Levels of activations are bytes: uint8 or int8. */
#ifndef HT_KERNELS_KERNELS_H
#define HT_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bits of the isa_mask; the C reference is always there. */
enum ht_isa {
    HT_ISA_C = 1,
    HT_ISA_AVX2 = 2,
    HT_ISA_AVXVNNI = 4,
    HT_ISA_AVX512VNNI = 8,
    HT_ISA_NEON = 16,
    HT_ISA_DOTPROD = 32,
    HT_ISA_AMX = 64
};
#define HT_ISA_ALL 0xffffffffu

enum ht_kernel_rounding {
    HT_KERNEL_NEAREST_EVEN,
    HT_KERNEL_FLOOR,
    HT_KERNEL_NEAREST_ODD /* levels are odd numbers; a midpoint goes to the lower one */
};

/* Float to level: level = clamp(round(u), lo, hi) + zero_point, lo and hi relative to zero_point;
 * clamped before rounding, in float. */
struct ht_kernel_quantizer {
    int32_t lo, hi, zero_point;
    enum ht_kernel_rounding rounding;
};

/* Weights as a file holds them. */
struct ht_kernel_weights {
    size_t n, k;               /* [n, k]: n outputs, k inputs */
    int bits;                  /* of a code: 1..8 */
    const uint8_t *codes;      /* dense, least significant bits first, rows not padded */
    const int16_t *level;      /* [1 << bits]: level of each code */
    const int32_t *zero_point; /* [n], or NULL = 0 */
    bool a_binary;             /* all levels of activations are -1 or +1, int8 */
};

/* Outputs are divided among threads at multiples of this. */
#define HT_KERNEL_COLUMN_STEP 128

struct ht_kernel_dense {
    size_t m;      /* rows of activations */
    const void *a; /* [m, k] levels, uint8 or int8 */
    bool a_signed;
    const struct ht_kernel_weights *weights;
    const void *packed; /* what pack made of the weights */
    /* Which outputs: columns == 0 means all from `column` on. Both are multiples of
     * HT_KERNEL_COLUMN_STEP, but for the end. Arrays below are whole: indexed by n as ever. */
    size_t column, columns;
    const int32_t *init;     /* [n]: bias - z_a * sum_k (w - z_w) */
    const float *multiplier; /* [n] */
    /* Exactly one of the three is not NULL. */
    int32_t *acc; /* [m, n] raw accumulators */
    float *real;  /* [m, n] fl32(fl32(acc) * multiplier) */
    void *levels; /* [m, n] quantizer(fl32(fl32(acc) * multiplier)), uint8 or int8 */
    const struct ht_kernel_quantizer *quantizer; /* for levels */
};

/* Sums of products of real activations, in the one order of docs/numerics.md, section 11. Weights
 * may also have 16 bits: float16, without level and zero_point. */
struct ht_kernel_real {
    size_t m;
    const float *x; /* [m, k] */
    const struct ht_kernel_weights *weights;
    const void *packed;     /* what pack_real made of the weights */
    size_t column, columns; /* which outputs, as ht_kernel_dense has it */
    float *sum;             /* [m, n] sum_k x * (w - z_w) */
};

struct ht_kernels {
    const char *isa; /* "c" */
    /* Bytes pack needs, and packing itself; done once per layer. Equal for equal weights. */
    size_t (*packed_size)(const struct ht_kernel_weights *w);
    void (*pack)(const struct ht_kernel_weights *w, void *packed);
    /* Packs levels[rows, k], the outputs row.. of w, which has bits 8, no codes, no zero points,
     * and level[code] = (int8_t)code, never -128: the bytes that pack makes of the same weights.
     * row is a multiple of HT_KERNEL_COLUMN_STEP, and rows too, but for the end; parts may be
     * packed by different threads. sums[rows] gets the sum over k of each output's levels. For
     * training, where weights change in every step. */
    void (*pack_levels)(const struct ht_kernel_weights *w, size_t row, size_t rows,
                        const int8_t *levels, void *packed, int32_t *sums);
    /* acc[m, n] = init[n] + sum_k a * w - z_w[n] * sum_k a, int32; then what is asked for. */
    void (*dense)(const struct ht_kernel_dense *d);
    /* The same three for real activations. */
    size_t (*packed_real_size)(const struct ht_kernel_weights *w);
    void (*pack_real)(const struct ht_kernel_weights *w, void *packed);
    void (*real)(const struct ht_kernel_real *d);
    /* levels[n] = quantizer(x[n] / scale): a true division. */
    void (*quantize)(const float *x, size_t n, float scale, const struct ht_kernel_quantizer *q,
                     void *levels);
    /* out[i] = table[in[i] - lo]; bytes in and out. */
    void (*lookup)(const void *in, bool in_signed, size_t n, int lo, const int16_t *table,
                   void *out);
    /* For measurements: multiplies and adds in registers only, as fast as the instruction set can.
     * Returns how many products; NULL for the C reference. */
    uint64_t (*peak)(uint64_t rounds);
};

/* Installs the C reference, then each instruction set that the CPU has and the mask allows. */
void ht_kernels_init(struct ht_kernels *ret, unsigned isa_mask);

/* The mask that HALFTONE_ISA asks for ("c", ...); HT_ISA_ALL when it is not set. False and *ret
 * untouched for an unknown name. */
bool ht_kernels_isa_mask(const char *environment_value, unsigned *ret);

#endif
