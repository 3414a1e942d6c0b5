#include "kernels/arm/detect.h"

#if defined(__linux__)
#include <sys/auxv.h>
#endif

#define HWCAP_BIT_ASIMDDP (1ul << 20) /* Linux, arch/arm64/include/uapi/asm/hwcap.h */

bool ht_arm_has_dotprod(void)
{
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_BIT_ASIMDDP) != 0;
#elif defined(__APPLE__)
    return true; /* every Mac with an ARM CPU */
#else
    return false;
#endif
}
