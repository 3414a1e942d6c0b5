/* Measuring for `halftone bench`: what its parts share. */
#ifndef HT_CLI_BENCH_H
#define HT_CLI_BENCH_H

#include <stddef.h>
#include <stdint.h>

#include "cli/cli.h"
#include "kernels/kernels.h"

enum { HT_BENCH_ROUNDS, HT_BENCH_MODES }; /* options */

/* One call of what is measured. */
typedef void (*ht_bench_call)(void *user);

struct ht_bench_time {
    double seconds;       /* of one call: median over rounds */
    double peak_per_s;    /* products per second of kernels->peak: median; 0 without a peak */
    double peak_fraction; /* median of the rounds' own fractions: the clock moves between them */
};

/* Rounds of about a millisecond, each beside one of the peak. products: of one call. */
struct ht_bench_time ht_bench_measure(ht_bench_call call, void *user, double products,
                                      const struct ht_kernels *kernels, const struct ht_cli *cli);

/* The bundles that this CPU has and HALFTONE_ISA allows, the plainest first. */
#define HT_BENCH_MAX_KERNELS 33
enum ht_status ht_bench_kernels(struct ht_kernels *ret, size_t *n, struct ht_error *err);

/* HT_ERR_INTERRUPTED after a signal. */
enum ht_status ht_bench_stopped(const struct ht_cli *cli, struct ht_error *err);

enum ht_status ht_bench_run_kernels(const struct ht_cli *cli, struct ht_error *err);
enum ht_status ht_bench_run_infer(const struct ht_cli *cli, struct ht_error *err);
enum ht_status ht_bench_run_train(const struct ht_cli *cli, struct ht_error *err);

#endif
