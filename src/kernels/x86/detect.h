/* What this CPU and its operating system can run. Private to src/kernels. */
#ifndef HT_KERNELS_X86_DETECT_H
#define HT_KERNELS_X86_DETECT_H

#include <stdbool.h>

bool ht_x86_has_avx2(void);
bool ht_x86_has_avxvnni(void);
bool ht_x86_has_avx512vnni(void);      /* F, BW, VL and VNNI */
bool ht_x86_has_avx512vpopcntdq(void); /* to be asked where those are */

bool ht_x86_has_amx(void); /* what avx512vnni needs, AMX-TILE and AMX-INT8 */

#endif
