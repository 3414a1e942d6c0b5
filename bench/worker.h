/* A program that bench/run measures: it reads one request a line and answers each with one line.
 *
 *   about                 -> ok TEXT              versions
 *   open KIND ARGUMENTS   -> ok CASE WORK         WORK of one call: multiply-adds, or bytes
 *   run CASE SECONDS      -> ok CALLS SECONDS     after some calls that warm up
 *   close CASE            -> ok
 *
 * "error TEXT" answers what fails. The end of the input ends the program. bench/peer_torch.py and
 * bench/peer_onnxruntime.js speak the same. */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <stddef.h>
#include <stdint.h>

struct worker_case {
    void *state;
    void (*call)(void *state);
    void (*close)(void *state);
    double work;
};

struct worker_kind {
    const char *name;
    int arguments; /* how many numbers open gets */
    /* NULL, or why not; then nothing is left behind. */
    const char *(*open)(struct worker_case *c, const long *arguments);
};

int worker_main(const char *about, const struct worker_kind *kinds, size_t n);

double worker_now(void);
/* size bytes of noise, 64-byte aligned (free); NULL when memory is out. */
void *worker_noise(size_t size);
/* n floats in [-0.5, 0.5) times scale, likewise. */
float *worker_noise_floats(size_t n, float scale);

#endif
