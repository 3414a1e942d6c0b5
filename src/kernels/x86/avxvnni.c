/* AVX2 with AVX-VNNI (Alder Lake, Zen 5 and later): vpdpbusd on 32 bytes. */
#define HT_AVXVNNI
#include "kernels/x86/ymm.h"

#define PEAK_DOT  v_dot
#define PEAK_MACS ((uint64_t)4 * LANES)
#include "kernels/x86/dense.h"
#include "kernels/x86/pack.h"

void ht_kernels_install_avxvnni(struct ht_kernels *k)
{
    k->isa = "avxvnni";
    k->packed_size = packed_size;
    k->pack = pack;
    k->pack_levels = pack_levels;
    k->dense = dense;
    k->quantize = quantize;
    k->lookup = lookup;
    k->peak = peak;
}
