/* The pool under the thread sanitizer, which makes a race exit code 66. Criterion does not start
 * under it. */
#include <stdio.h>

#include "base/pool_stress.h"

int main(void)
{
    for (unsigned threads = 2; threads <= 4; threads++) {
        const char *wrong = stress_pool(threads, 1500);
        if (wrong) {
            fprintf(stderr, "%u threads: %s\n", threads, wrong);
            return 1;
        }
    }
    return 0;
}
