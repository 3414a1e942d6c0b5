/* What this CPU can run. Private to src/kernels. NEON is part of every aarch64. */
#ifndef HT_KERNELS_ARM_DETECT_H
#define HT_KERNELS_ARM_DETECT_H

#include <stdbool.h>

bool ht_arm_has_dotprod(void); /* FEAT_DotProd: sdot, udot */

#endif
