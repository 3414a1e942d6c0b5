#include "kernels/kernels.h"

#include <string.h>

#include "kernels/bundles.h"
#if defined(__x86_64__)
#include "kernels/x86/detect.h"
#elif defined(__aarch64__)
#include "kernels/arm/detect.h"
#endif

struct bundle {
    enum ht_isa isa;
    const char *name;
    bool (*available)(void); /* does this CPU have it? NULL = always */
    void (*install)(struct ht_kernels *k);
};

/* From the plainest to the fastest: later ones override. docs/adding-a-kernel.md */
static const struct bundle bundles[] = {
    {HT_ISA_C, "c", NULL, ht_kernels_install_c},
#if defined(__x86_64__)
    {HT_ISA_AVX2, "avx2", ht_x86_has_avx2, ht_kernels_install_avx2},
    {HT_ISA_AVXVNNI, "avxvnni", ht_x86_has_avxvnni, ht_kernels_install_avxvnni},
    {HT_ISA_AVX512VNNI, "avx512vnni", ht_x86_has_avx512vnni, ht_kernels_install_avx512vnni},
    {HT_ISA_AMX, "amx", ht_x86_has_amx, ht_kernels_install_amx},
#elif defined(__aarch64__)
    {HT_ISA_NEON, "neon", NULL, ht_kernels_install_neon},
    {HT_ISA_DOTPROD, "dotprod", ht_arm_has_dotprod, ht_kernels_install_dotprod},
#endif
};
#define N_BUNDLES (sizeof bundles / sizeof bundles[0])

void ht_kernels_init(struct ht_kernels *ret, unsigned isa_mask)
{
    bundles[0].install(ret);
    for (size_t i = 1; i < N_BUNDLES; i++) {
        const struct bundle *b = &bundles[i];
        if ((isa_mask & (unsigned)b->isa) && (!b->available || b->available()))
            b->install(ret);
    }
}

bool ht_kernels_isa_mask(const char *environment_value, unsigned *ret)
{
    if (!environment_value || !*environment_value) {
        *ret = HT_ISA_ALL;
        return true;
    }
    /* A name allows its instruction set and the plainer ones before it. */
    unsigned mask = 0;
    for (size_t i = 0; i < N_BUNDLES; i++) {
        mask |= (unsigned)bundles[i].isa;
        if (strcmp(environment_value, bundles[i].name) == 0) {
            *ret = mask;
            return true;
        }
    }
    return false;
}
