#include "cli/bench.h"

#include <stdlib.h>
#include <string.h>

#include "train/run.h"

#define ROUNDS        21
#define MIN_ROUNDS    7
#define ROUND_SECONDS 0.001
#define PEAK_ROUNDS   1000 /* of one call of the peak: some microseconds */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, ascending);
    return values[n / 2];
}

static double peak_per_s(const struct ht_kernels *kernels)
{
    const double started = ht_cli_now();
    uint64_t products = 0;
    double elapsed;
    do {
        products += kernels->peak(PEAK_ROUNDS);
        elapsed = ht_cli_now() - started;
    } while (elapsed < ROUND_SECONDS);
    return (double)products / elapsed;
}

/* Calls that fill a round, after a first one that warms up. */
static size_t calls_a_round(ht_bench_call call, void *user)
{
    size_t calls = 1;
    call(user);
    for (;; calls *= 2) {
        const double started = ht_cli_now();
        for (size_t i = 0; i < calls; i++)
            call(user);
        if (ht_cli_now() - started >= ROUND_SECONDS / 2)
            return calls;
    }
}

struct ht_bench_time ht_bench_measure(ht_bench_call call, void *user, double products,
                                      const struct ht_kernels *kernels, const struct ht_cli *cli)
{
    double seconds[ROUNDS], peaks[ROUNDS], fractions[ROUNDS];
    const size_t calls = calls_a_round(call, user);
    const double budget = ht_cli_now() + 100 * ROUND_SECONDS; /* slow ones: fewer rounds */
    size_t n = 0;
    do {
        const double peak = kernels->peak ? peak_per_s(kernels) : 0;
        const double started = ht_cli_now();
        for (size_t i = 0; i < calls; i++)
            call(user);
        seconds[n] = (ht_cli_now() - started) / (double)calls;
        peaks[n] = peak;
        fractions[n] = peak > 0 ? products / seconds[n] / peak : 0;
        n++;
    } while (n < ROUNDS && (n < MIN_ROUNDS || ht_cli_now() < budget) && !*cli->stop);
    return (struct ht_bench_time){median(seconds, n), median(peaks, n), median(fractions, n)};
}

enum ht_status ht_bench_kernels(struct ht_kernels *ret, size_t *n, struct ht_error *err)
{
    struct ht_kernels last;
    enum ht_status status = ht_run_kernels(&last, err);
    if (status != HT_OK)
        return status;
    unsigned mask = HT_ISA_C;
    ht_kernels_init(&ret[0], mask);
    *n = 1;
    for (unsigned bit = 1; bit < 32 && strcmp(ret[*n - 1].isa, last.isa) != 0; bit++) {
        mask |= 1u << bit;
        ht_kernels_init(&ret[*n], mask);
        *n += strcmp(ret[*n].isa, ret[*n - 1].isa) != 0;
    }
    return HT_OK;
}

enum ht_status ht_bench_stopped(const struct ht_cli *cli, struct ht_error *err)
{
    if (!*cli->stop)
        return HT_OK;
    err->signal = *cli->stop;
    return ht_fail(err, HT_ERR_INTERRUPTED, "bench: stopped by signal %d", err->signal);
}

static enum ht_status run(const struct ht_cli *cli, struct ht_error *err)
{
    static const struct {
        const char *name;
        enum ht_status (*run)(const struct ht_cli *cli, struct ht_error *err);
    } parts[] = {{"kernels", ht_bench_run_kernels},
                 {"infer", ht_bench_run_infer},
                 {"train", ht_bench_run_train}};
    if (cli->values[HT_BENCH_ROUNDS] && strcmp(cli->args[0], "train") != 0)
        return ht_fail(err, HT_ERR_CONFIG, "--rounds belongs to bench train");
    if (cli->values[HT_BENCH_MODES] && strcmp(cli->args[0], "infer") != 0)
        return ht_fail(err, HT_ERR_CONFIG, "--modes belongs to bench infer");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(cli->args[0], parts[i].name) == 0)
            return parts[i].run(cli, err);
    return ht_fail(err, HT_ERR_CONFIG, "bench: expected kernels, infer or train, not '%s'",
                   cli->args[0]);
}

const struct ht_command ht_command_bench = {
    .name = "bench",
    .arguments = "kernels|infer|train",
    .summary = "measure speed on this machine",
    .details =
        "kernels: every instruction set that the CPU has (HALFTONE_ISA=NAME: up to that one), in\n"
        "billions of multiply-adds a second and as a fraction of the peak: a loop of the same\n"
        "multiply instruction in registers, measured in the same milliseconds. The results are\n"
        "compared with the C reference; exit code 7 when a byte differs.\n"
        "infer: whole networks with random weights, in the fastest instruction set,\n"
        "on one thread and on all (HALFTONE_THREADS).\n"
        "train: steps of training on random data, at several widths of the weights. The networks "
        "of\n"
        "one shape alternate in rounds of about 60 ms; speed to float is the median of the ratios\n"
        "within rounds, with quartiles.",
    .options = {[HT_BENCH_ROUNDS] = {"rounds", 0, "N",
                                     "train: rounds of each network (default: 9)"},
                [HT_BENCH_MODES] = {"modes", 0, NULL,
                                    "infer: also modes dynamic, weight-only and float16"}},
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
