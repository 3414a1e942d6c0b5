#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_CASES     64
#define MAX_ARGUMENTS 8
#define WARM_SHARE    0.2 /* of the asked time, before it */

struct slot {
    struct worker_case c;
    int used;
};

double worker_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void *worker_noise(size_t size)
{
    const size_t words = (size + 63) / 64 * 8;
    uint64_t *p = aligned_alloc(64, 8 * words), x = 88172645463325252u;
    for (size_t i = 0; p && i < words; i++) { /* xorshift64 */
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = x;
    }
    return p;
}

float *worker_noise_floats(size_t n, float scale)
{
    float *f = worker_noise(n * sizeof *f);
    for (size_t i = 0; f && i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &f[i], sizeof bits);
        f[i] = ((float)(bits >> 8) / 16777216.0f - 0.5f) * scale;
    }
    return f;
}

/* Calls for about as long as asked, at least one. The clock is read after every `batch` of them. */
static size_t call_for(const struct worker_case *c, double seconds, size_t batch, double *elapsed)
{
    const double started = worker_now();
    size_t calls = 0;
    do {
        for (size_t i = 0; i < batch; i++)
            c->call(c->state);
        calls += batch;
        *elapsed = worker_now() - started;
    } while (*elapsed < seconds);
    return calls;
}

static void run(const struct worker_case *c, double seconds)
{
    double elapsed;
    size_t calls = call_for(c, WARM_SHARE * seconds, 1, &elapsed);
    const size_t in_a_hundredth = (size_t)(0.01 * seconds / (elapsed / (double)calls));
    calls = call_for(c, seconds, in_a_hundredth ? in_a_hundredth : 1, &elapsed);
    printf("ok %zu %.9f\n", calls, elapsed);
}

static void open_case(struct slot *slots, const struct worker_kind *kinds, size_t n,
                      const char *name, char *rest)
{
    long arguments[MAX_ARGUMENTS];
    int given = 0, at = 0;
    while (at < MAX_CASES && slots[at].used)
        at++;
    for (char *end; given < MAX_ARGUMENTS; given++, rest = end) {
        arguments[given] = strtol(rest, &end, 10);
        if (end == rest)
            break;
    }
    for (size_t i = 0; i < n && at < MAX_CASES; i++) {
        if (strcmp(kinds[i].name, name) != 0 || kinds[i].arguments != given)
            continue;
        const char *why = kinds[i].open(&slots[at].c, arguments);
        slots[at].used = !why;
        if (why)
            printf("error %s\n", why);
        else
            printf("ok %d %.0f\n", at, slots[at].c.work);
        return;
    }
    printf("error no such kind, or another number of arguments, or too many cases\n");
}

static void answer(struct slot *slots, const char *about, const struct worker_kind *kinds, size_t n,
                   char *line)
{
    char name[32];
    int slot, used = 0;
    double seconds;
    if (strcmp(line, "about\n") == 0) {
        printf("ok %s\n", about);
    } else if (sscanf(line, "open %31s%n", name, &used) == 1 && used) {
        open_case(slots, kinds, n, name, line + used);
    } else if (sscanf(line, "run %d %lf", &slot, &seconds) == 2 && slot >= 0 && slot < MAX_CASES &&
               slots[slot].used) {
        run(&slots[slot].c, seconds);
    } else if (sscanf(line, "close %d", &slot) == 1 && slot >= 0 && slot < MAX_CASES &&
               slots[slot].used) {
        slots[slot].c.close(slots[slot].c.state);
        slots[slot].used = 0;
        printf("ok\n");
    } else {
        printf("error not understood: %s", line);
    }
}

int worker_main(const char *about, const struct worker_kind *kinds, size_t n)
{
    static struct slot slots[MAX_CASES];
    char line[256];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin))
        answer(slots, about, kinds, n, line);
    return 0;
}
