#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

#define MAX_PATH 4096

bool ht_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static enum ht_status read_all(int fd, char *data, size_t size, const char *path,
                               struct ht_error *err)
{
    size_t at = 0;
    while (at < size) {
        ssize_t n = read(fd, data + at, size - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ht_fail_errno(err, "cannot read", path);
        if (n == 0)
            return ht_fail(err, HT_ERR_IO, "%s became shorter while it was read", path);
        at += (size_t)n;
    }
    return HT_OK;
}

enum ht_status ht_file_read(const char *path, size_t max_size, char **ret, size_t *size,
                            struct ht_error *err)
{
    struct stat s;
    char *data = NULL;
    enum ht_status status = HT_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a fifo must not block */
    if (fd < 0)
        return ht_fail_errno(err, "cannot open", path);
    if (fstat(fd, &s) != 0)
        status = ht_fail_errno(err, "cannot read", path);
    else if (!S_ISREG(s.st_mode))
        status = ht_fail(err, HT_ERR_IO, "%s is not a regular file", path);
    else if ((uintmax_t)s.st_size > max_size)
        status = ht_fail(err, HT_ERR_IO, "%s has %ju bytes, more than the %zu allowed here", path,
                         (uintmax_t)s.st_size, max_size);
    if (status == HT_OK && !(data = ht_calloc((size_t)s.st_size + 1, 1)))
        status = ht_fail_memory(err);
    if (status == HT_OK)
        status = read_all(fd, data, (size_t)s.st_size, path, err);
    close(fd);
    if (status == HT_OK) {
        *ret = data;
        *size = (size_t)s.st_size;
    } else {
        ht_free(data);
    }
    return status;
}

/* --- atomic writing --- */

static void folder_of(const char *path, char folder[MAX_PATH])
{
    snprintf(folder, MAX_PATH, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash)
        snprintf(folder, MAX_PATH, ".");
    else
        slash[slash == folder ? 1 : 0] = '\0';
}

/* The two errors whose own words would mislead get others. */
static enum ht_status fail_write(struct ht_error *err, const char *path)
{
    char folder[MAX_PATH];
    const int saved = errno;
    folder_of(path, folder);
    if (saved == ENOENT)
        return ht_fail(err, HT_ERR_IO, "cannot write %s: there is no folder %s", path, folder);
    if (saved == ENOTDIR)
        return ht_fail(err, HT_ERR_IO, "cannot write %s: %s is not a folder", path, folder);
    errno = saved;
    return ht_fail_errno(err, "cannot write", path);
}

static enum ht_status write_and_sync(int fd, const char *data, size_t size, const char *path,
                                     struct ht_error *err)
{
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ht_fail_errno(err, "cannot write", path);
        data += n;
        size -= (size_t)n;
    }
    return fsync(fd) == 0 ? HT_OK : ht_fail_errno(err, "cannot write", path);
}

/* Reads the file back and compares, so that what replaces the old file is known to be whole. */
static enum ht_status verify(int fd, const char *data, size_t size, const char *path,
                             struct ht_error *err)
{
    char buffer[16384];
    size_t at = 0;
    while (at < size) {
        const size_t want = size - at < sizeof buffer ? size - at : sizeof buffer;
        ssize_t n = pread(fd, buffer, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ht_fail_errno(err, "cannot read back", path);
        if (n == 0 || memcmp(buffer, data + at, (size_t)n) != 0)
            return ht_fail(err, HT_ERR_IO, "cannot write %s: other bytes come back", path);
        at += (size_t)n;
    }
    return HT_OK;
}

/* So that the new name itself survives a power cut. Some file systems cannot; that is no error. */
static void sync_folder(const char *path)
{
    char folder[MAX_PATH];
    folder_of(path, folder);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

enum ht_status ht_file_write_atomic(const char *path, const void *data, size_t size,
                                    struct ht_error *err)
{
    char temporary[MAX_PATH];
    int fd = -1;
    if (strlen(path) > MAX_PATH - 64)
        return ht_fail(err, HT_ERR_IO, "the path is too long: %.200s...", path);
    for (int i = 0; i < 1000 && fd < 0; i++) {
        snprintf(temporary, sizeof temporary, "%s.tmp-%ld-%d", path, (long)getpid(), i);
        fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd < 0)
        return fail_write(err, path);
    enum ht_status status = write_and_sync(fd, data, size, path, err);
    if (status == HT_OK)
        status = verify(fd, data, size, path, err);
    if (close(fd) != 0 && status == HT_OK)
        status = ht_fail_errno(err, "cannot write", path);
    if (status == HT_OK && rename(temporary, path) != 0)
        status = ht_fail_errno(err, "cannot write", path);
    if (status != HT_OK)
        unlink(temporary);
    else
        sync_folder(path);
    return status;
}

enum ht_status ht_make_directories(const char *path, struct ht_error *err)
{
    char part[MAX_PATH];
    size_t length = strlen(path);
    struct stat s;
    if (length >= sizeof part)
        return ht_fail(err, HT_ERR_IO, "the path is too long: %.200s...", path);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 &&
            (errno != EEXIST || stat(part, &s) != 0 || !S_ISDIR(s.st_mode)))
            return ht_fail(err, HT_ERR_IO, "cannot make folder %s: %s", part,
                           errno == EEXIST ? "a file of that name is in the way" : strerror(errno));
    }
    return HT_OK;
}
