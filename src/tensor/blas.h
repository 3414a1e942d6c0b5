/* Matrix products. blas.c is the only file that includes cblas.h. All matrices are row-major. */
#ifndef HT_TENSOR_BLAS_H
#define HT_TENSOR_BLAS_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/real.h"

/* c[m, n] = alpha * op(a)[m, k] * op(b)[k, n] + beta * c. op transposes where the flag says so;
 * lda, ldb, ldc are row strides of the matrices as stored. beta == 0 overwrites c whatever it
 * holds. Runs on the calling thread: OpenBLAS's bits change with its thread count. */
void ht_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, ht_real alpha,
             const ht_real *a, size_t lda, const ht_real *b, size_t ldb, ht_real beta, ht_real *c,
             size_t ldc);

/* Must be called once before ht_gemm: holds OpenBLAS to one thread. */
void ht_blas_init(void);

/* May several threads call ht_gemm at the same time? OpenBLAS built for one thread has no locks. */
bool ht_blas_thread_safe(void);

/* The core type OpenBLAS chose ("SkylakeX") and its version; static strings. */
const char *ht_blas_core(void);
const char *ht_blas_version(void);

#endif
