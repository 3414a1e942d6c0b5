/* Where the files of a dataset are. */
#include "data/loading.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "io/file.h"
#include "io/hash.h"

#define BUILT_IN "built-in:"

static enum ht_status join(char path[HT_PATH_LENGTH], struct ht_error *err, const char *a,
                           const char *b)
{
    int n =
        snprintf(path, HT_PATH_LENGTH, "%s%s%s", a, *a && a[strlen(a) - 1] != '/' ? "/" : "", b);
    if (n < 0 || n >= HT_PATH_LENGTH)
        return ht_fail(err, HT_ERR_CONFIG, "the path %.200s.../%.200s is too long", a, b);
    return HT_OK;
}

enum ht_status ht_dataset_fetch_dir(const char *name, char path[HT_PATH_LENGTH],
                                    struct ht_error *err)
{
    static const struct {
        const char *variable, *below;
    } bases[] = {
        {"HALFTONE_DATA", ""}, {"XDG_DATA_HOME", "halftone"}, {"HOME", ".local/share/halftone"}};
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return ht_fail(err, HT_ERR_CONFIG, "\"%s\" cannot be the name of a dataset", name);
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        const char *base = getenv(bases[i].variable);
        if (!base || !*base)
            continue;
        char folder[HT_PATH_LENGTH];
        enum ht_status status = join(folder, err, base, bases[i].below);
        return status == HT_OK ? join(path, err, folder, name) : status;
    }
    return ht_fail(
        err, HT_ERR_CONFIG,
        "none of HALFTONE_DATA, XDG_DATA_HOME and HOME is set: there is no folder for data");
}

/* The folder of a user's descriptor; false for a built-in one. */
static bool descriptor_folder(const struct ht_descriptor *d, char folder[HT_PATH_LENGTH])
{
    if (strncmp(d->path, BUILT_IN, strlen(BUILT_IN)) == 0)
        return false;
    snprintf(folder, HT_PATH_LENGTH, "%s", d->path);
    char *slash = strrchr(folder, '/');
    if (slash == folder)
        slash++;
    if (slash)
        *slash = '\0';
    else
        strcpy(folder, ".");
    return true;
}

/* The i-th folder to look into; false after the last. An empty folder is to be left out. */
static bool place(const struct ht_descriptor *d, const char *dir, size_t i,
                  char folder[HT_PATH_LENGTH])
{
    struct ht_error ignored;
    folder[0] = '\0';
    if (dir && *dir) {
        snprintf(folder, HT_PATH_LENGTH, "%s", dir);
        return i == 0;
    }
    if (i == 0) {
        descriptor_folder(d, folder);
    } else if (i == 1) {
        if (ht_dataset_fetch_dir(d->name, folder, &ignored) != HT_OK)
            folder[0] = '\0';
    } else if (i - 2 < d->n_search) {
        const char *search = d->search[i - 2];
        char own[HT_PATH_LENGTH];
        if (*search == '/' || !descriptor_folder(d, own) || join(folder, &ignored, own, search))
            snprintf(folder, HT_PATH_LENGTH, "%s", search);
    } else {
        return false;
    }
    return true;
}

enum ht_status ht_dataset_find_file(const struct ht_descriptor *d, const char *dir,
                                    const struct ht_data_file *file, char path[HT_PATH_LENGTH],
                                    struct ht_error *err)
{
    char folder[HT_PATH_LENGTH], candidate[HT_PATH_LENGTH];
    struct ht_text tried = {0};
    enum ht_status status = HT_OK;
    for (size_t i = 0; place(d, dir, i, folder); i++) {
        bool absolute = *file->path == '/';
        if (!*folder && !absolute)
            continue;
        if ((status = join(candidate, err, absolute ? "" : folder, file->path)) != HT_OK)
            goto done;
        if (ht_file_exists(candidate)) {
            memcpy(path, candidate, sizeof candidate);
            goto done;
        }
        ht_text_printf(&tried, "\n  %s", candidate);
        if (absolute)
            break;
    }
    bool fetchable = *d->fetch.apt || *d->fetch.npm;
    if (fetchable)
        ht_text_printf(&tried, "\nget it with: halftone data fetch %s", d->name);
    if (*d->fetch.apt)
        ht_text_printf(&tried, "\nor, as root: apt-get install %s", d->fetch.apt);
    status = ht_fail(err, HT_ERR_DATA, "dataset %s: %s was not found; looked for it at:%s", d->name,
                     file->path, ht_text_str(&tried));
done:
    ht_text_finish(&tried);
    return status;
}

enum ht_status ht_data_file_hash(const char *path, const struct ht_data_file *file, bool verify,
                                 char hex[65], struct ht_error *err)
{
    enum ht_status status = ht_sha256_file(path, hex, err);
    if (status == HT_OK && verify && *file->sha256 && strcmp(hex, file->sha256) != 0)
        return ht_fail(
            err, HT_ERR_DATA,
            "%s: not the file that the descriptor means\n  its SHA-256:  %s\n  expected: "
            "    %s",
            path, hex, file->sha256);
    return status;
}
