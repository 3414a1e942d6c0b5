/* AVX2 (Haswell, Zen 1 and later): vpmaddwd on bytes widened to 16 bits. */
#include "kernels/x86/ymm.h"

/* The peak is that of vpmaddwd and vpaddd alone, on numbers that are 16 bits wide already. */
#define PEAK_DOT(sum, a, w) v_add(sum, _mm256_madd_epi16(a, w))
#define PEAK_MACS           ((uint64_t)2 * LANES)
#include "kernels/x86/dense.h"
#include "kernels/x86/pack.h"
#include "kernels/x86/real_ymm.h"
#include "kernels/x86/real.h"

void ht_kernels_install_avx2(struct ht_kernels *k)
{
    k->isa = "avx2";
    k->packed_size = packed_size;
    k->pack = pack;
    k->pack_levels = pack_levels;
    k->dense = dense;
    k->quantize = quantize;
    k->lookup = lookup;
    k->peak = peak;
    install_real(k);
}
