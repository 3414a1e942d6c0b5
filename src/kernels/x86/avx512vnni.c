/* AVX-512 with VNNI (Ice Lake, Zen 4 and later): vpdpbusd on 64 bytes. */
#include "kernels/x86/zmm.h"

#define PEAK_DOT  v_dot
#define PEAK_MACS ((uint64_t)4 * LANES)
#include "kernels/x86/dense.h"
#include "kernels/x86/pack.h"

void ht_kernels_install_avx512vnni(struct ht_kernels *k)
{
    k->isa = "avx512vnni";
    k->packed_size = packed_size;
    k->pack = pack;
    k->pack_levels = pack_levels;
    k->dense = dense;
    k->quantize = quantize;
    k->lookup = lookup;
    k->peak = peak;
}
