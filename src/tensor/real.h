/* The number type of training. The library is built with float; the gradient checks build the same
 * sources once more with double (-DHT_REAL_IS_DOUBLE), where finite differences can be trusted.
 * This header and blas.c are the only places that know. */
#ifndef HT_TENSOR_REAL_H
#define HT_TENSOR_REAL_H

#include <math.h>
#include <stdint.h>

#ifdef HT_REAL_IS_DOUBLE
typedef double ht_real;
/* Integer accumulators; in the surrogate forms of the double build they are not whole numbers. */
typedef double ht_acc;
#define HT_REAL_EPSILON 2.2204460492503131e-16
/* Integers up to this are exact in ht_real. */
#define HT_REAL_EXACT_MAX 9007199254740992.0
/* Adding and subtracting this rounds |x| < 2^51 to the nearest integer, ties to even. */
#define HT_REAL_ROUND_MAGIC 6755399441055744.0
#define ht_exp              exp
#define ht_log              log
#define ht_log1p            log1p
#define ht_tanh             tanh
#define ht_erf              erf
#define ht_sqrt             sqrt
#define ht_fabs             fabs
#define ht_floor            floor
#define ht_nextafter        nextafter
#else
typedef float ht_real;
typedef int32_t ht_acc;
#define HT_REAL_EPSILON     1.1920929e-07f
#define HT_REAL_EXACT_MAX   16777216.0
/* Adding and subtracting this rounds |x| < 2^22 to the nearest integer, ties to even. */
#define HT_REAL_ROUND_MAGIC 12582912.0f
#define ht_exp              expf
#define ht_log              logf
#define ht_log1p            log1pf
#define ht_tanh             tanhf
#define ht_erf              erff
#define ht_sqrt             sqrtf
#define ht_fabs             fabsf
#define ht_floor            floorf
#define ht_nextafter        nextafterf
#endif

#endif
