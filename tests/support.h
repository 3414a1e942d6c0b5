/* What several test files share. */
#ifndef HT_TESTS_SUPPORT_H
#define HT_TESTS_SUPPORT_H

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

/* Asserts a call succeeded and shows the error's message when it did not. */
#define ASSERT_OK(call, err)                                                                       \
    do {                                                                                           \
        enum ht_status status_ = (call);                                                           \
        cr_assert_eq(status_, HT_OK, "%s: status %d: %s", #call, (int)status_, (err).msg);         \
    } while (0)

/* A fresh temporary folder, removed with all it holds by remove_temp_dir. Its name has a space in
 * it, as a user's may. */
static inline void make_temp_dir(char path[64])
{
    snprintf(path, 64, "/tmp/half tone-XXXXXX");
    cr_assert_not_null(mkdtemp(path));
}

static inline void remove_temp_dir(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf -- '%s'", path);
    cr_assert_eq(system(command), 0);
}

static inline void write_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f, "%s", path);
    cr_assert_eq(fwrite(data, 1, n, f), n);
    cr_assert_eq(fclose(f), 0);
}

#endif
