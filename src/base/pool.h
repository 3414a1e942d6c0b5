/* A pool of threads for work that is divided into parts. How it is divided never depends on the
 * number of threads, so that results do not either. */
#ifndef HT_BASE_POOL_H
#define HT_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct ht_pool;

#define HT_POOL_MAX_THREADS 64

/* `threads` in all, the calling one included: 1 makes none. 0: as many as this process may use
 * (its CPU affinity). HALFTONE_THREADS in the environment is for callers to read:
 * ht_pool_threads_wanted. */
enum ht_status ht_pool_create(struct ht_pool **ret, unsigned threads, struct ht_error *err);
/* NULL allowed. No run may be under way. */
void ht_pool_destroy(struct ht_pool *p);

/* CPUs that this process may use (its affinity), at least 1. */
unsigned ht_pool_cpus(void);

/* 1 for NULL. */
unsigned ht_pool_threads(const struct ht_pool *p);

/* Calls work(user, part) once for each part 0..parts - 1, the caller taking part in it, and returns
 * when all are done; what they wrote is then visible to the caller. Allocates nothing. Which thread
 * takes which part is not fixed. p NULL, one part, or a pool that is busy with another caller's
 * run: all parts in order on the calling thread. work must not run the same pool. */
typedef void (*ht_pool_work)(void *user, size_t part);
void ht_pool_run(struct ht_pool *p, size_t parts, ht_pool_work work, void *user);

/* What HALFTONE_THREADS asks for: 0 when it is not set. False and *ret untouched when it is not a
 * number from 1 to HT_POOL_MAX_THREADS. */
bool ht_pool_threads_wanted(const char *environment_value, unsigned *ret);

#endif
