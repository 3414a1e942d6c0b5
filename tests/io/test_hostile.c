/* Containers with a right header around what halftone never writes, made by h5py: each is refused
 * with the reason. */
#include "io_support.h"

static struct ht_error err;

#ifdef HT_TEST_PYTHON
Test(hostile, refused)
{
    char folder[64], path[160], line[96];
    int n = 0;
    struct ht_container_reader *r;
    make_temp_dir(folder);
    free(output_of("'%s' '%s' hostile '%s' 2>&1", HT_TEST_PYTHON, HT_TEST_SCRIPT, folder));
    snprintf(path, sizeof path, "%s/list", folder);
    FILE *list = fopen(path, "r");
    cr_assert_not_null(list);
    for (; fgets(line, sizeof line, list); n++) {
        line[strcspn(line, "\n")] = '\0';
        char *words = strchr(line, '|');
        *words++ = '\0';
        snprintf(path, sizeof path, "%s/%s", folder, line);
        *err.msg = '\0';
        cr_expect_eq(ht_container_open(&r, path, "model", 1, &err), HT_ERR_MODEL, "%s", line);
        cr_expect(strncmp(err.msg, path, strlen(path)) == 0 && strstr(err.msg, words),
                  "%s: '%s', expected '%s'", line, err.msg, words);
        cr_assert_eq(ht_alloc_live(), 0);
    }
    fclose(list);
    cr_assert_gt(n, 40);
    snprintf(path, sizeof path, "%s/sound", folder);
    int32_t x[5];
    int64_t value;
    ASSERT_OK(ht_container_open(&r, path, "model", 1, &err), err);
    ASSERT_OK(ht_container_get(r, "/x", HT_I32, x, 5, &err), err);
    cr_assert(x[0] == 0 && x[4] == 4);
    ASSERT_OK(ht_container_get_attr_i64(r, "/", "n", &value, &err), err);
    cr_assert_eq(value, 1);
    ht_container_close(r);
    remove_temp_dir(folder);
    cr_assert_eq(ht_alloc_live(), 0);
}
#else
Test(hostile, refused)
{
    (void)err;
    cr_skip_test("skipped: no Python with h5py");
}
#endif
