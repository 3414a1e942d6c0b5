/* Finding and fetching files. The package programs are played by scripts in a folder of their own.
 */
#include "data_support.h"

#include <dirent.h>
#include <sys/stat.h>

#include "io/hash.h"

static const char content[] = "1,2,x\n3,4,y\n";

struct stage {
    struct fixture f;
    char bin[96], home[96], old_path[4096];
};

static void add_program(const struct stage *s, const char *name, const char *script)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", s->bin, name);
    write_file(path, script, strlen(script));
    cr_assert_eq(chmod(path, 0700), 0);
}

static const char download_deb[] = "#!/bin/sh\n"
                                   "[ \"$1 $2\" = 'download some-data' ] || exit 3\n"
                                   "echo run >> \"$HALFTONE_DATA/runs\"\n"
                                   "echo deb > some-data_1_all.deb\n";
static const char unpack_deb[] =
    "#!/bin/sh\n"
    "[ \"$1 $2 $3\" = '-x ./some-data_1_all.deb unpacked' ] || exit 3\n"
    "mkdir -p unpacked/usr/share/x\n"
    "printf '1,2,x\\n3,4,y\\n' > unpacked/usr/share/x/t.csv\n"
    "echo other > unpacked/usr/share/x/readme\n";

static void stage_init(struct stage *s)
{
    fixture_init(&s->f, "csv", "classification");
    snprintf(s->bin, sizeof s->bin, "%s/bin", s->f.dir);
    snprintf(s->home, sizeof s->home, "%s/da ta", s->f.dir);
    cr_assert_eq(mkdir(s->bin, 0700), 0);
    cr_assert_eq(mkdir(s->home, 0700), 0);
    snprintf(s->old_path, sizeof s->old_path, "%s:%s", s->bin, getenv("PATH"));
    setenv("PATH", s->old_path, 1);
    setenv("HALFTONE_DATA", s->home, 1);
    add_program(s, "apt-get", download_deb);
    add_program(s, "dpkg-deb", unpack_deb);
    struct ht_descriptor *d = &s->f.d;
    strcpy(d->path, "built-in:test");
    strcpy(d->files[0].role, "table");
    strcpy(d->files[0].path, "t.csv");
    d->n_files = 1;
    strcpy(d->fetch.apt, "some-data");
    strcpy(d->fetch.folder, "usr/share/x");
    uint8_t digest[32];
    ht_sha256(content, sizeof content - 1, digest);
    ht_sha256_hex(digest, d->files[0].sha256);
    s->f.options.dir = NULL;
}

/* Entries in the data folder, "runs" left out: the dataset, and temporary folders that stayed. */
static size_t count_entries(const struct stage *s)
{
    DIR *dir = opendir(s->home);
    cr_assert_not_null(dir);
    size_t n = 0;
    for (struct dirent *e; (e = readdir(dir));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
             strcmp(e->d_name, "runs") != 0;
    closedir(dir);
    return n;
}

#define ASSERT_FETCH_FAILS(s, status, part)                                                        \
    do {                                                                                           \
        enum ht_status got_ = ht_dataset_fetch(&(s)->f.d, &(s)->f.err);                            \
        cr_assert_eq(got_, status, "status %d: %s", (int)got_, (s)->f.err.msg);                    \
        cr_assert(strstr((s)->f.err.msg, part), "\"%s\" is not in: %s", part, (s)->f.err.msg);     \
        cr_assert_eq(count_entries(s), 0, "something stayed");                                     \
    } while (0)

Test(fetch, gets_checks_and_keeps_the_files)
{
    static struct stage s;
    char path[HT_PATH_LENGTH], runs[256];
    stage_init(&s);
    ASSERT_LOAD_FAILS(&s.f, HT_ERR_DATA,
                      "halftone data fetch test\nor, as root: apt-get install "
                      "some-data");
    ASSERT_OK(ht_dataset_fetch(&s.f.d, &s.f.err), s.f.err);
    ASSERT_OK(ht_dataset_find_file(&s.f.d, NULL, &s.f.d.files[0], path, &s.f.err), s.f.err);
    cr_assert(strstr(path, "/da ta/test/t.csv"), "%s", path);
    cr_assert_eq(count_entries(&s), 1);
    ASSERT_OK(fixture_load(&s.f), s.f.err);
    cr_assert_eq(s.f.data->n, 2);

    /* All is there: nothing runs. Damaged: fetched again. */
    ASSERT_OK(ht_dataset_fetch(&s.f.d, &s.f.err), s.f.err);
    snprintf(runs, sizeof runs, "%s/runs", s.home);
    struct stat st;
    cr_assert(stat(runs, &st) == 0 && st.st_size == 4);
    write_file(path, "damaged", 7);
    ASSERT_LOAD_FAILS(&s.f, HT_ERR_DATA, s.f.d.files[0].sha256);
    ASSERT_OK(ht_dataset_fetch(&s.f.d, &s.f.err), s.f.err);
    cr_assert(stat(runs, &st) == 0 && st.st_size == 8);
    ASSERT_OK(fixture_load(&s.f), s.f.err);
    fixture_finish(&s.f);
}

Test(fetch, takes_npm_packages)
{
    static struct stage s;
    stage_init(&s);
    s.f.d.fetch.apt[0] = '\0';
    strcpy(s.f.d.fetch.npm, "@some/data@1.2.3");
    strcpy(s.f.d.fetch.folder, "package/data");
    add_program(&s, "npm",
                "#!/bin/sh\n[ \"$1 $2\" = 'pack @some/data@1.2.3' ] || exit 3\n"
                "mkdir -p package/data && printf '1,2,x\\n3,4,y\\n' > package/data/t.csv\n"
                "tar -czf data.tgz package && rm -r package\n");
    ASSERT_OK(ht_dataset_fetch(&s.f.d, &s.f.err), s.f.err);
    cr_assert_eq(count_entries(&s), 1);
    ASSERT_OK(fixture_load(&s.f), s.f.err);
    fixture_finish(&s.f);
}

Test(fetch, explains_failures_and_leaves_nothing)
{
    static struct stage s;
    stage_init(&s);
    add_program(&s, "dpkg-deb",
                "#!/bin/sh\nmkdir -p unpacked/usr/share/x\n"
                "echo 1,2,z > unpacked/usr/share/x/t.csv\n");
    ASSERT_FETCH_FAILS(&s, HT_ERR_DATA, s.f.d.files[0].sha256);
    add_program(&s, "dpkg-deb",
                "#!/bin/sh\nmkdir -p unpacked/usr/share/x\n"
                "ln -s /etc/passwd unpacked/usr/share/x/t.csv\n");
    ASSERT_FETCH_FAILS(&s, HT_ERR_DATA, "has no file usr/share/x/t.csv");
    add_program(&s, "apt-get", "#!/bin/sh\nexit 0\n");
    ASSERT_FETCH_FAILS(&s, HT_ERR_IO, "left no .deb file");
    add_program(&s, "apt-get", "#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n");
    ASSERT_FETCH_FAILS(&s, HT_ERR_IO,
                       "apt-get download some-data failed; its last words:\nE: Unable to locate");
    setenv("PATH", s.home, 1);
    ASSERT_FETCH_FAILS(&s, HT_ERR_IO, "apt-get is needed, but not installed");
    setenv("PATH", s.old_path, 1);

    static const char *const names[] = {"-o", "a b", "../a", "./a", "A", "a/b", "", "a;b", "/a"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        s.f.d.fetch.npm[0] = '\0';
        strcpy(s.f.d.fetch.apt, names[i]);
        ASSERT_FETCH_FAILS(&s, HT_ERR_CONFIG,
                           *names[i] ? "is not the name of a package" : "names no");
        s.f.d.fetch.apt[0] = '\0';
        strcpy(s.f.d.fetch.npm, names[i]);
        ASSERT_FETCH_FAILS(&s, HT_ERR_CONFIG, *names[i] ? "is not NAME@VERSION" : "names no");
    }
    strcpy(s.f.d.name, "../x");
    ASSERT_FETCH_FAILS(&s, HT_ERR_CONFIG, "cannot be the name of a dataset");
    fixture_finish(&s.f);
}

Test(find, looks_into_the_folders_in_order)
{
    static struct stage s;
    char path[HT_PATH_LENGTH], folder[256], file[512];
    stage_init(&s);
    struct ht_descriptor *d = &s.f.d;
    snprintf(d->path, sizeof d->path, "%s/own/test.yaml", s.f.dir);
    strcpy(d->search[0], "../near");
    snprintf(d->search[1], sizeof d->search[1], "%s/far", s.f.dir);
    d->n_search = 2;
    static const char *const folders[] = {"far", "near", "da ta/test", "own"};
    static const char *const found[] = {"far/t.csv", "own/../near/t.csv", "da ta/test/t.csv",
                                        "own/t.csv"};
    enum ht_status status = ht_dataset_find_file(d, NULL, &d->files[0], path, &s.f.err);
    cr_assert_eq(status, HT_ERR_DATA);
    const char *last = s.f.err.msg;
    for (int i = 3; i >= 0; i--) { /* every place is named, in order */
        const char *at = strstr(last, found[i]);
        cr_assert(at, "%s is not named in: %s", found[i], s.f.err.msg);
        last = at;
    }
    for (size_t i = 0; i < 4; i++) {
        snprintf(folder, sizeof folder, "%s/%s", s.f.dir, folders[i]);
        cr_assert_eq(mkdir(folder, 0700), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        snprintf(file, sizeof file, "%s/%s/t.csv", s.f.dir, folders[i]);
        write_file(file, content, sizeof content - 1);
        ASSERT_OK(ht_dataset_find_file(d, NULL, &d->files[0], path, &s.f.err), s.f.err);
        snprintf(file, sizeof file, "%s/%s", s.f.dir, found[i]);
        cr_assert_str_eq(path, file);
    }
    /* A folder that the user names is the only one. */
    snprintf(folder, sizeof folder, "%s/bin", s.f.dir);
    cr_assert_eq(ht_dataset_find_file(d, folder, &d->files[0], path, &s.f.err), HT_ERR_DATA);
    cr_assert_null(strstr(s.f.err.msg, "/own/"));
    fixture_finish(&s.f);
}

Test(find, knows_the_data_folder)
{
    struct ht_error err;
    char path[HT_PATH_LENGTH];
    setenv("HALFTONE_DATA", "/a/b", 1);
    ASSERT_OK(ht_dataset_fetch_dir("iris", path, &err), err);
    cr_assert_str_eq(path, "/a/b/iris");
    setenv("HALFTONE_DATA", "", 1);
    setenv("XDG_DATA_HOME", "/x/", 1);
    ASSERT_OK(ht_dataset_fetch_dir("iris", path, &err), err);
    cr_assert_str_eq(path, "/x/halftone/iris");
    unsetenv("XDG_DATA_HOME");
    setenv("HOME", "/home/me", 1);
    ASSERT_OK(ht_dataset_fetch_dir("iris", path, &err), err);
    cr_assert_str_eq(path, "/home/me/.local/share/halftone/iris");
    unsetenv("HOME");
    cr_assert_eq(ht_dataset_fetch_dir("iris", path, &err), HT_ERR_CONFIG);
}
