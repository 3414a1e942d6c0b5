/* Private to src/kernels: what each instruction set's file offers to dispatch.c. An install
 * function overrides the members that it has; the others stay as they were. */
#ifndef HT_KERNELS_BUNDLES_H
#define HT_KERNELS_BUNDLES_H

#include "kernels/kernels.h"

void ht_kernels_install_c(struct ht_kernels *k);
void ht_kernels_install_real_c(struct ht_kernels *k); /* its packed_real_size, pack_real, real */
void ht_kernels_install_avx2(struct ht_kernels *k);
void ht_kernels_install_avxvnni(struct ht_kernels *k);
void ht_kernels_install_avx512vnni(struct ht_kernels *k);
void ht_kernels_install_amx(struct ht_kernels *k);
void ht_kernels_install_neon(struct ht_kernels *k);
void ht_kernels_install_dotprod(struct ht_kernels *k);

/* The `dense` of avx512vnni, for what amx leaves to it. */
void ht_x86_dense_avx512vnni(const struct ht_kernel_dense *d);

#endif
