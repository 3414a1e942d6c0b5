#define _GNU_SOURCE /* syscall */
#include "kernels/x86/detect.h"

#include <cpuid.h>
#include <stdint.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Bits of CPUID (Intel SDM, volume 2A) and of XCR0. */
#define LEAF1_ECX_OSXSAVE         (1u << 27)
#define LEAF1_ECX_AVX             (1u << 28)
#define LEAF1_ECX_F16C            (1u << 29) /* every CPU with AVX2 has it */
#define LEAF7_EBX_AVX2            (1u << 5)
#define LEAF7_EBX_AVX512F         (1u << 16)
#define LEAF7_EBX_AVX512BW        (1u << 30)
#define LEAF7_EBX_AVX512VL        (1u << 31)
#define LEAF7_ECX_AVX512VNNI      (1u << 11)
#define LEAF7_ECX_AVX512VPOPCNTDQ (1u << 14)
#define LEAF7_EDX_AMX_TILE        (1u << 24)
#define LEAF7_EDX_AMX_INT8        (1u << 25)
#define LEAF7_1_EAX_AVXVNNI       (1u << 4)
#define XCR0_YMM                  0x06u
#define XCR0_ZMM                  0xe6u
#define XCR0_TILES                0x60000u

struct registers {
    unsigned a, b, c, d;
};

/* All zero for a leaf that the CPU does not have. */
static struct registers cpuid(unsigned leaf, unsigned subleaf)
{
    struct registers r = {0};
    __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
    return r;
}

/* Does the operating system save these registers? */
static bool saves(unsigned state)
{
    if (!(cpuid(1, 0).c & LEAF1_ECX_OSXSAVE))
        return false;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & state) == state;
}

bool ht_x86_has_avx2(void)
{
    const unsigned ecx = LEAF1_ECX_AVX | LEAF1_ECX_F16C;
    return saves(XCR0_YMM) && (cpuid(1, 0).c & ecx) == ecx && (cpuid(7, 0).b & LEAF7_EBX_AVX2);
}

bool ht_x86_has_avxvnni(void)
{
    return ht_x86_has_avx2() && cpuid(7, 0).a >= 1 && (cpuid(7, 1).a & LEAF7_1_EAX_AVXVNNI);
}

bool ht_x86_has_avx512vnni(void)
{
    const unsigned ebx = LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL;
    const struct registers r = cpuid(7, 0);
    return ht_x86_has_avx2() && saves(XCR0_ZMM) && (r.b & ebx) == ebx &&
           (r.c & LEAF7_ECX_AVX512VNNI);
}

bool ht_x86_has_avx512vpopcntdq(void)
{
    return (cpuid(7, 0).c & LEAF7_ECX_AVX512VPOPCNTDQ) != 0;
}

/* Linux saves tiles only for processes that have asked for it (Documentation/arch/x86/xstate.rst):
 * a permission of the process, for all its threads, also those that run already, and for what it
 * forks. Asking again is cheap. Refused when a thread's alternate signal stack is too small for
 * them. */
static bool may_use_tiles(void)
{
#if defined(__linux__)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 }; /* <asm/prctl.h>, if new */
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}

bool ht_x86_has_amx(void)
{
    const unsigned edx = LEAF7_EDX_AMX_TILE | LEAF7_EDX_AMX_INT8;
    return ht_x86_has_avx512vnni() && (cpuid(7, 0).d & edx) == edx && saves(XCR0_TILES) &&
           may_use_tiles();
}
