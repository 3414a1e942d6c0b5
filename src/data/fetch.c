/* Getting a dataset out of a package, as an ordinary user: the package manager's own client
 * downloads it, its files are unpacked into a temporary folder, and only what the descriptor names
 * is kept. */
#include "data/loading.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/file.h"

#define LOG_NAME  "log"
#define SHOWN_LOG 1000 /* bytes of a program's last words in the error */
#define NOT_FOUND 127  /* exit code of the child when the program is not there */

/* A path below a folder; false when it is too long. */
static bool below(char path[HT_PATH_LENGTH], const char *folder, const char *name)
{
    int n = snprintf(path, HT_PATH_LENGTH, "%s/%s", folder, name);
    return n > 0 && n < HT_PATH_LENGTH;
}

static enum ht_status too_long(const char *path, struct ht_error *err)
{
    return ht_fail(err, HT_ERR_CONFIG, "paths below %.200s... become too long", path);
}

/* rm -r; never follows symbolic links. Best effort. */
static void remove_tree(int parent, const char *name, int depth)
{
    if (unlinkat(parent, name, 0) == 0 || depth > 64)
        return;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            remove_tree(fd, entry->d_name, depth + 1);
    closedir(dir);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* In the child: only calls that are safe between fork and exec. */
static void become(const char *const *argv, const char *folder)
{
    int null = open("/dev/null", O_RDONLY);
    if (chdir(folder) != 0 || null < 0 || dup2(null, 0) < 0)
        _exit(126);
    int log = open(LOG_NAME, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (log < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        _exit(126);
    union {
        const char *const *in;
        char *const *out; /* execvp does not write to them */
    } arguments = {argv};
    execvp(argv[0], arguments.out);
    _exit(errno == ENOENT ? NOT_FOUND : 126);
}

/* The end of the log, without control characters but line ends. */
static void read_log(const char *folder, char text[SHOWN_LOG + 1])
{
    char path[HT_PATH_LENGTH];
    FILE *f = below(path, folder, LOG_NAME) ? fopen(path, "rb") : NULL;
    size_t n = 0;
    if (f && fseek(f, 0, SEEK_END) == 0) {
        long size = ftell(f);
        if (size >= 0 && fseek(f, size > SHOWN_LOG ? size - SHOWN_LOG : 0, SEEK_SET) == 0)
            n = fread(text, 1, SHOWN_LOG, f);
    }
    if (f)
        fclose(f);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    text[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 && text[i] != '\n')
            text[i] = ' ';
}

/* Runs a program in `folder`, its output going to a file there. */
static enum ht_status run(const char *const *argv, const char *folder, struct ht_error *err)
{
    int state;
    pid_t child = fork();
    if (child < 0)
        return ht_fail(err, HT_ERR_IO, "cannot start %s: %s", argv[0], strerror(errno));
    if (child == 0)
        become(argv, folder);
    while (waitpid(child, &state, 0) < 0)
        if (errno != EINTR)
            return ht_fail(err, HT_ERR_IO, "cannot wait for %s: %s", argv[0], strerror(errno));
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return HT_OK;
    if (WIFEXITED(state) && WEXITSTATUS(state) == NOT_FOUND)
        return ht_fail(err, HT_ERR_IO, "%s is needed, but not installed", argv[0]);
    if (WIFSIGNALED(state) && WTERMSIG(state) == SIGINT) {
        ht_fail(err, HT_ERR_INTERRUPTED, "%s was interrupted", argv[0]);
        if (err)
            err->signal = SIGINT;
        return HT_ERR_INTERRUPTED;
    }
    char log[SHOWN_LOG + 1];
    read_log(folder, log);
    return ht_fail(err, HT_ERR_IO, "%s %s %s failed%s%s", argv[0], argv[1], argv[2],
                   *log ? "; its last words:\n" : "", log);
}

/* The one file in `folder` whose name ends so. */
static enum ht_status find_package(const char *folder, const char *ending, char name[256],
                                   struct ht_error *err)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return ht_fail_errno(err, "cannot read", folder);
    struct dirent *entry;
    bool found = false;
    while (!found && (entry = readdir(dir))) {
        size_t n = strlen(entry->d_name), m = strlen(ending);
        found = n > m && n < 256 && strcmp(entry->d_name + n - m, ending) == 0;
        if (found)
            memcpy(name, entry->d_name, n + 1);
    }
    closedir(dir);
    return found ? HT_OK : ht_fail(err, HT_ERR_IO, "the download left no %s file", ending);
}

/* Names go to other programs as arguments: nothing that they could take for an option, a path or an
 * address. */
static bool is_package_name(const char *name, bool npm)
{
    const char *p = name;
    if (npm && *p == '@')
        p++;
    bool word_starts = true;
    for (; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9');
        bool other = strchr(npm ? "-._@/" : "-.+", *p) != NULL;
        if (!letter && (word_starts || !other))
            return false;
        word_starts = *p == '/' || *p == '@';
    }
    const char *slash = strchr(name, '/');
    return !word_starts && (!slash || (*name == '@' && !strchr(slash + 1, '/')));
}

static enum ht_status unpack_apt(const char *package, const char *folder, struct ht_error *err)
{
    char file[256 + 2] = "./";
    enum ht_status status;
    if (!is_package_name(package, false))
        return ht_fail(err, HT_ERR_CONFIG, "fetch.apt: \"%s\" is not the name of a package",
                       package);
    const char *const download[] = {"apt-get", "download", package, NULL};
    const char *const unpack[] = {"dpkg-deb", "-x", file, "unpacked", NULL};
    if ((status = run(download, folder, err)) != HT_OK ||
        (status = find_package(folder, ".deb", file + 2, err)) != HT_OK)
        return status;
    return run(unpack, folder, err);
}

static enum ht_status unpack_npm(const char *package, const char *folder, struct ht_error *err)
{
    char file[256 + 2] = "./";
    enum ht_status status;
    if (!is_package_name(package, true))
        return ht_fail(err, HT_ERR_CONFIG, "fetch.npm: \"%s\" is not NAME@VERSION", package);
    const char *const download[] = {"npm", "pack", package, "--ignore-scripts", NULL};
    const char *const unpack[] = {"tar", "-xzf", file, "-C", "unpacked", "--no-same-owner", NULL};
    if ((status = run(download, folder, err)) != HT_OK ||
        (status = find_package(folder, ".tgz", file + 2, err)) != HT_OK)
        return status;
    return run(unpack, folder, err);
}

/* Checks one unpacked file and moves it to its place; rename within a file system is atomic. */
static enum ht_status keep_file(const struct ht_descriptor *d, const struct ht_data_file *file,
                                const char *unpacked, const char *target, struct ht_error *err)
{
    char folder[HT_PATH_LENGTH], from[HT_PATH_LENGTH], to[HT_PATH_LENGTH], hex[65];
    struct stat st;
    enum ht_status status;
    if (*file->path == '/' || strstr(file->path, ".."))
        return ht_fail(err, HT_ERR_CONFIG, "%s: the path %s cannot be fetched", d->path,
                       file->path);
    if (!below(folder, unpacked, d->fetch.folder) || !below(from, folder, file->path) ||
        !below(to, target, file->path))
        return too_long(target, err);
    if (lstat(from, &st) != 0 || !S_ISREG(st.st_mode))
        return ht_fail(err, HT_ERR_DATA, "the package %s%s has no file %s/%s", d->fetch.apt,
                       *d->fetch.apt ? "" : d->fetch.npm, d->fetch.folder, file->path);
    if ((status = ht_data_file_hash(from, file, true, hex, err)) != HT_OK)
        return status;
    memcpy(folder, to, sizeof to);
    *strrchr(folder, '/') = '\0';
    if ((status = ht_make_directories(folder, err)) != HT_OK)
        return status;
    return rename(from, to) == 0 ? HT_OK : ht_fail_errno(err, "cannot write", to);
}

/* Every file is found, and those with a SHA-256 are good. */
static bool all_good(const struct ht_descriptor *d)
{
    char path[HT_PATH_LENGTH], hex[65];
    struct ht_error ignored;
    for (size_t i = 0; i < d->n_files; i++)
        if (ht_dataset_find_file(d, NULL, &d->files[i], path, &ignored) != HT_OK ||
            ht_data_file_hash(path, &d->files[i], true, hex, &ignored) != HT_OK)
            return false;
    return true;
}

static enum ht_status fetch_into(const struct ht_descriptor *d, const char *temp,
                                 const char *target, struct ht_error *err)
{
    char unpacked[HT_PATH_LENGTH];
    if (!below(unpacked, temp, "unpacked"))
        return too_long(temp, err);
    if (mkdir(unpacked, 0777) != 0)
        return ht_fail_errno(err, "cannot make the folder", unpacked);
    enum ht_status status =
        *d->fetch.apt ? unpack_apt(d->fetch.apt, temp, err) : unpack_npm(d->fetch.npm, temp, err);
    for (size_t i = 0; i < d->n_files && status == HT_OK; i++)
        status = keep_file(d, &d->files[i], unpacked, target, err);
    return status;
}

enum ht_status ht_dataset_fetch(const struct ht_descriptor *d, struct ht_error *err)
{
    char target[HT_PATH_LENGTH], parent[HT_PATH_LENGTH], temp[HT_PATH_LENGTH];
    enum ht_status status = ht_dataset_fetch_dir(d->name, target, err);
    if (status != HT_OK || all_good(d))
        return status;
    if (!*d->fetch.apt && !*d->fetch.npm)
        return ht_fail(err, HT_ERR_CONFIG,
                       "%s names no package to fetch the files from; put them into %s yourself",
                       d->path, target);
    if (strstr(d->fetch.folder, ".."))
        return ht_fail(err, HT_ERR_CONFIG, "%s: fetch.folder must be inside the package", d->path);
    memcpy(parent, target, sizeof target);
    *strrchr(parent, '/') = '\0'; /* the temporary folder: on the same file system, beside it */
    if (!below(temp, parent, ".fetch-XXXXXX"))
        return too_long(target, err);
    if ((status = ht_make_directories(parent, err)) != HT_OK)
        return status;
    if (!mkdtemp(temp))
        return ht_fail_errno(err, "cannot make the folder", temp);
    status = fetch_into(d, temp, target, err);
    remove_tree(AT_FDCWD, temp, 0);
    return status == HT_OK ? HT_OK : ht_error_prefix(err, status, "dataset %s", d->name);
}
