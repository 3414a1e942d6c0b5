/* One model, several threads, under the thread sanitizer, which makes a race exit code 66. With the
 * C kernels: what the others write is the same, and no instrument sees them. */
#include "kernels/bundles.h"

#include "infer/concurrent.h"

int main(void)
{
    struct ht_kernels kernels;
    ht_kernels_install_c(&kernels);
    const char *wrong = concurrent_callers(&kernels);
    if (wrong)
        fprintf(stderr, "%s\n", wrong);
    return wrong != NULL;
}
