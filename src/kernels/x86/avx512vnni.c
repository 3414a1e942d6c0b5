/* AVX-512 with VNNI (Ice Lake, Zen 4 and later): vpdpbusd on 64 bytes. */
#include "kernels/x86/detect.h"
#include "kernels/x86/zmm.h"

#define PEAK_DOT  v_dot
#define PEAK_MACS ((uint64_t)4 * LANES)
#include "kernels/x86/dense.h"
#include "kernels/x86/pack.h"
#include "kernels/x86/real_zmm.h"
#include "kernels/x86/real.h"

/* Without an instruction that counts bits, those of 1-bit weights are planes as others are. */
static size_t packed_size_in_planes(const struct ht_kernel_weights *w)
{
    return ht_x86_packed_size(w, LANES, false);
}

static void pack_in_planes(const struct ht_kernel_weights *w, void *packed)
{
    ht_x86_pack(w, LANES, false, packed);
}

void ht_x86_dense_avx512vnni(const struct ht_kernel_dense *d)
{
    dense(d);
}

void ht_kernels_install_avx512vnni(struct ht_kernels *k)
{
    k->isa = "avx512vnni";
    const bool counts = ht_x86_has_avx512vpopcntdq();
    k->packed_size = counts ? packed_size : packed_size_in_planes;
    k->pack = counts ? pack : pack_in_planes;
    k->pack_levels = pack_levels;
    k->dense = dense;
    k->quantize = quantize;
    k->lookup = lookup;
    k->peak = peak;
    install_real(k);
}
