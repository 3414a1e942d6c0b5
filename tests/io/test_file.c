/* Whole files and SHA-256. */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "io/file.h"
#include "io/hash.h"

static struct ht_error err;
static char folder[64], path[128];

static void start(void)
{
    make_temp_dir(folder);
    snprintf(path, sizeof path, "%s/file", folder);
}

static void finish(void)
{
    remove_temp_dir(folder);
    cr_assert_eq(ht_alloc_live(), 0);
}

static int files_in(const char *name)
{
    int n = 0;
    DIR *d = opendir(name);
    cr_assert_not_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void assert_holds(const char *name, const char *expected)
{
    char *data;
    size_t size;
    ASSERT_OK(ht_file_read(name, 1 << 20, &data, &size, &err), err);
    cr_assert_eq(size, strlen(expected));
    cr_assert_str_eq(data, expected); /* the NUL that follows too */
    ht_free(data);
}

Test(hash, published_vectors)
{
    static const struct {
        const char *text, *hex;
    } vectors[] = {/* FIPS 180-2, appendix B, and the empty message */
                   {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                   {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
                   {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
    uint8_t digest[32];
    char hex[65];
    start();
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        ht_sha256(vectors[i].text, strlen(vectors[i].text), digest);
        ht_sha256_hex(digest, hex);
        cr_assert_str_eq(hex, vectors[i].hex);
        write_file(path, vectors[i].text, strlen(vectors[i].text));
        ASSERT_OK(ht_sha256_file(path, hex, &err), err);
        cr_assert_str_eq(hex, vectors[i].hex);
    }
    cr_assert_eq(ht_sha256_file("/no/such/file", hex, &err), HT_ERR_IO);
    cr_assert_not_null(strstr(err.msg, "/no/such/file"));
    cr_assert_eq(ht_sha256_file(folder, hex, &err), HT_ERR_IO);
    finish();
}

Test(hash, file_longer_than_the_buffer)
{
    static char million[1000000];
    char hex[65];
    start();
    memset(million, 'a', sizeof million); /* FIPS 180-2, B.3 */
    write_file(path, million, sizeof million);
    ASSERT_OK(ht_sha256_file(path, hex, &err), err);
    cr_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    finish();
}

Test(file, read)
{
    char *data = NULL, fifo[128];
    size_t size;
    start();
    write_file(path, "a\0b", 3);
    ASSERT_OK(ht_file_read(path, 3, &data, &size, &err), err);
    cr_assert(size == 3 && memcmp(data, "a\0b", 4) == 0);
    ht_free(data);
    cr_assert_eq(ht_file_read(path, 2, &data, &size, &err), HT_ERR_IO);
    cr_assert_not_null(strstr(err.msg, "3 bytes"), "%s", err.msg);
    cr_assert_eq(ht_file_read(folder, 100, &data, &size, &err), HT_ERR_IO);
    cr_assert_not_null(strstr(err.msg, "not a regular file"), "%s", err.msg);
    cr_assert_eq(ht_file_read("/no/such", 100, &data, &size, &err), HT_ERR_IO);
    cr_assert_not_null(strstr(err.msg, "No such file"), "%s", err.msg);
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    cr_assert_eq(ht_file_read(fifo, 100, &data, &size, &err), HT_ERR_IO); /* and returns */
    ht_alloc_fail_at(1);
    cr_assert_eq(ht_file_read(path, 100, &data, &size, &err), HT_ERR_MEMORY);
    write_file(path, "", 0);
    ASSERT_OK(ht_file_read(path, 0, &data, &size, &err), err);
    cr_assert(size == 0 && *data == '\0');
    ht_free(data);
    finish();
}

Test(file, write)
{
    start();
    ASSERT_OK(ht_file_write_atomic(path, "first", 5, &err), err);
    assert_holds(path, "first");
    ASSERT_OK(ht_file_write_atomic(path, "2", 1, &err), err);
    assert_holds(path, "2");
    ASSERT_OK(ht_file_write_atomic(path, "", 0, &err), err);
    assert_holds(path, "");
    cr_assert_eq(files_in(folder), 1);
    cr_assert_eq(chdir(folder), 0);
    ASSERT_OK(ht_file_write_atomic("plain", "x", 1, &err), err);
    assert_holds("plain", "x");
    cr_assert_eq(chdir("/"), 0);
    finish();
}

/* A temp file that a killed process left is in nobody's way. */
Test(file, write_beside_a_left_over)
{
    char left[160];
    start();
    snprintf(left, sizeof left, "%s.tmp-%ld-0", path, (long)getpid());
    write_file(left, "left", 4);
    ASSERT_OK(ht_file_write_atomic(path, "new", 3, &err), err);
    assert_holds(path, "new");
    assert_holds(left, "left");
    finish();
}

Test(file, write_failures)
{
    static const struct {
        const char *name, *words;
    } cases[] = {{"missing/file", "there is no folder"},
                 {"file/below", "is not a folder"},
                 {"sub", "Is a directory"}};
    char name[160], sub[128];
    start();
    write_file(path, "old", 3);
    snprintf(sub, sizeof sub, "%s/sub", folder);
    cr_assert_eq(mkdir(sub, 0700), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, cases[i].name);
        cr_assert_eq(ht_file_write_atomic(name, "new", 3, &err), HT_ERR_IO);
        cr_assert(strstr(err.msg, cases[i].words) && strstr(err.msg, name), "%s", err.msg);
    }
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    char *longest = ht_calloc(5000, 1);
    memset(longest, 'x', 4999);
    cr_assert_eq(ht_file_write_atomic(longest, "new", 3, &err), HT_ERR_IO);
    ht_free(longest);
    cr_assert_eq(files_in(folder), 2);
    assert_holds(path, "old");
    finish();
}

/* The write breaks off in the middle, as on a full disk. */
Test(file, write_that_breaks_off)
{
    static char large[200000];
    const struct rlimit limit = {100000, 100000};
    start();
    write_file(path, "old", 3);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_eq(ht_file_write_atomic(path, large, sizeof large, &err), HT_ERR_IO);
    cr_assert_not_null(strstr(err.msg, strerror(EFBIG)), "%s", err.msg);
    assert_holds(path, "old");
    cr_assert_eq(files_in(folder), 1);
    ASSERT_OK(ht_file_write_atomic(path, large, 50000, &err), err);
    finish();
}

Test(file, write_to_a_full_disk)
{
    static char large[200000];
    char command[160];
    start();
    snprintf(command, sizeof command, "mount -t tmpfs -o size=64k none '%s' 2>/dev/null", folder);
    if (system(command) != 0) {
        remove_temp_dir(folder);
        cr_skip_test("skipped: a small disk cannot be mounted here");
    }
    FILE *f = fopen(path, "w");
    const bool made = f && fputs("old", f) >= 0 && fclose(f) == 0;
    const enum ht_status status = ht_file_write_atomic(path, large, sizeof large, &err);
    const int n = files_in(folder);
    char *data = NULL;
    size_t size = 0;
    const enum ht_status reading = ht_file_read(path, 100, &data, &size, NULL);
    snprintf(command, sizeof command, "umount '%s'", folder);
    cr_assert_eq(system(command), 0);
    cr_assert(made && status == HT_ERR_IO && n == 1);
    cr_assert_not_null(strstr(err.msg, strerror(ENOSPC)), "%s", err.msg);
    cr_assert(reading == HT_OK && size == 3 && strcmp(data, "old") == 0);
    ht_free(data);
    finish();
}

/* Permissions do not bind root, so a child gives that up first. Its exit code tells. */
Test(file, write_without_permission)
{
    int result = -1;
    start();
    write_file(path, "old", 3);
    cr_assert_eq(chmod(folder, 0555), 0);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        if (getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(2);
        const bool refused = ht_file_write_atomic(path, "new", 3, &err) == HT_ERR_IO &&
                             strstr(err.msg, strerror(EACCES)) != NULL;
        _exit(refused ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &result, 0), child);
    cr_assert_eq(chmod(folder, 0755), 0);
    cr_assert(WIFEXITED(result));
    cr_assert_eq(WEXITSTATUS(result), 0);
    assert_holds(path, "old");
    cr_assert_eq(files_in(folder), 1);
    finish();
}

Test(file, directories)
{
    char name[160];
    start();
    snprintf(name, sizeof name, "%s/a/b//c/", folder);
    ASSERT_OK(ht_make_directories(name, &err), err);
    ASSERT_OK(ht_make_directories(name, &err), err);
    cr_assert(ht_file_exists(name) && !ht_file_exists(path));
    write_file(path, "x", 1);
    cr_assert(ht_file_exists(path));
    snprintf(name, sizeof name, "%s/below", path);
    cr_assert_eq(ht_make_directories(name, &err), HT_ERR_IO);
    cr_assert_not_null(strstr(err.msg, "is in the way"), "%s", err.msg);
    finish();
}
