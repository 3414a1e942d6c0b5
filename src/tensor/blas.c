#include "tensor/blas.h"

#include <cblas.h>

#ifdef HT_REAL_IS_DOUBLE
#define GEMM cblas_dgemm
#else
#define GEMM cblas_sgemm
#endif

void ht_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, ht_real alpha,
             const ht_real *a, size_t lda, const ht_real *b, size_t ldb, ht_real beta, ht_real *c,
             size_t ldc)
{
    GEMM(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
         transpose_b ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, alpha, a,
         (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}

void ht_blas_init(void)
{
    openblas_set_num_threads(1);
}

bool ht_blas_thread_safe(void)
{
    return openblas_get_parallel() != OPENBLAS_SEQUENTIAL;
}

const char *ht_blas_core(void)
{
    return openblas_get_corename();
}

const char *ht_blas_version(void)
{
    return openblas_get_config();
}
