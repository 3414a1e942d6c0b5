#include "data/loading.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "base/alloc.h"

#define INPUT_SIZE 65536
/* deflate cannot do better than 1032:1 (zlib technical details); a file that promises more lies. */
#define DEFLATE_RATIO 1040

struct ht_stream {
    int fd;
    bool gzip, ended;
    uint64_t file_size;
    char path[HT_PATH_LENGTH];
    z_stream z; /* next_in, avail_in: what of `in` is not used yet, also for plain files */
    uint8_t in[INPUT_SIZE];
};

/* Refills the input when it is empty; avail_in stays 0 at the end of the file. */
static enum ht_status fill(struct ht_stream *s, struct ht_error *err)
{
    if (s->z.avail_in > 0)
        return HT_OK;
    ssize_t n;
    do
        n = read(s->fd, s->in, sizeof s->in);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return ht_fail_errno(err, "cannot read", s->path);
    s->z.next_in = s->in;
    s->z.avail_in = (uInt)n;
    return HT_OK;
}

enum ht_status ht_stream_open(struct ht_stream **ret, const char *path, struct ht_error *err)
{
    struct stat st;
    struct ht_stream *s = ht_calloc(1, sizeof *s);
    if (!s)
        return ht_fail_memory(err);
    snprintf(s->path, sizeof s->path, "%s", path);
    /* O_NONBLOCK: opening a FIFO must not hang. */
    s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    enum ht_status status;
    if (s->fd < 0 || fstat(s->fd, &st) != 0) {
        status = ht_fail_errno(err, "cannot open", path);
        goto fail;
    }
    if (!S_ISREG(st.st_mode)) {
        status = ht_fail(err, HT_ERR_DATA, "%s: not a regular file", path);
        goto fail;
    }
    s->file_size = (uint64_t)st.st_size;
    if ((status = fill(s, err)) != HT_OK)
        goto fail;
    s->gzip = s->z.avail_in >= 2 && s->in[0] == 0x1f && s->in[1] == 0x8b;
    if (s->gzip && inflateInit2(&s->z, 15 + 16) != Z_OK) {
        s->gzip = false;
        status = ht_fail_memory(err);
        goto fail;
    }
    *ret = s;
    return HT_OK;
fail:
    ht_stream_close(s);
    return status;
}

void ht_stream_close(struct ht_stream *s)
{
    if (!s)
        return;
    if (s->gzip)
        inflateEnd(&s->z);
    if (s->fd >= 0)
        close(s->fd);
    ht_free(s);
}

uint64_t ht_stream_size(const struct ht_stream *s, bool *exact)
{
    *exact = !s->gzip;
    return s->gzip ? s->file_size * DEFLATE_RATIO : s->file_size;
}

static enum ht_status read_plain(struct ht_stream *s, uint8_t *data, size_t n, size_t *got,
                                 struct ht_error *err)
{
    for (*got = 0; *got < n;) {
        enum ht_status status = fill(s, err);
        if (status != HT_OK)
            return status;
        size_t step = s->z.avail_in < n - *got ? s->z.avail_in : n - *got;
        if (step == 0)
            break;
        memcpy(data + *got, s->z.next_in, step);
        s->z.next_in += step;
        s->z.avail_in -= (uInt)step;
        *got += step;
    }
    return HT_OK;
}

/* One inflate call; at the end of a member goes on with the next one, as gzip does. */
static enum ht_status inflate_step(struct ht_stream *s, struct ht_error *err)
{
    enum ht_status status = fill(s, err);
    if (status != HT_OK)
        return status;
    if (s->z.avail_in == 0)
        return ht_fail(err, HT_ERR_DATA, "%s: the gzip file ends too early (truncated)", s->path);
    int r = inflate(&s->z, Z_NO_FLUSH);
    if (r == Z_MEM_ERROR)
        return ht_fail_memory(err);
    if (r != Z_OK && r != Z_STREAM_END)
        return ht_fail(err, HT_ERR_DATA, "%s: damaged gzip data (%s)", s->path,
                       s->z.msg ? s->z.msg : "inflate failed");
    if (r == Z_OK)
        return HT_OK;
    if ((status = fill(s, err)) != HT_OK)
        return status;
    if (s->z.avail_in == 0)
        s->ended = true;
    else if (inflateReset(&s->z) != Z_OK)
        return ht_fail(err, HT_ERR_INTERNAL, "%s: inflateReset failed", s->path);
    return HT_OK;
}

static enum ht_status read_gzip(struct ht_stream *s, uint8_t *data, size_t n, size_t *got,
                                struct ht_error *err)
{
    for (*got = 0; *got < n && !s->ended;) {
        size_t room = n - *got < (1u << 30) ? n - *got : 1u << 30; /* uInt has 32 bits */
        s->z.next_out = data + *got;
        s->z.avail_out = (uInt)room;
        enum ht_status status = inflate_step(s, err);
        if (status != HT_OK)
            return status;
        *got += room - s->z.avail_out;
    }
    return HT_OK;
}

enum ht_status ht_stream_read(struct ht_stream *s, void *data, size_t n, size_t *got,
                              struct ht_error *err)
{
    return s->gzip ? read_gzip(s, data, n, got, err) : read_plain(s, data, n, got, err);
}
