/* Status codes and error reports. Every public call that can fail returns enum ht_status. */
#ifndef HALFTONE_ERROR_H
#define HALFTONE_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/* The values up to 75 are also the exit codes of the command; HT_ERR_MEMORY exits as 1. */
enum ht_status {
    HT_OK = 0,
    HT_ERR_INTERNAL = 1,     /* a bug in halftone */
    HT_ERR_CONFIG = 2,       /* usage, experiment file, or a feature that is not built */
    HT_ERR_DATA = 3,         /* dataset missing, damaged or not what its descriptor says */
    HT_ERR_MODEL = 4,        /* model or checkpoint file damaged or unsupported */
    HT_ERR_IO = 5,           /* the operating system refused to read or write */
    HT_ERR_DIVERGED = 6,     /* NaN or Inf in training */
    HT_ERR_THRESHOLD = 7,    /* a check against a threshold failed, e.g. outputs that differ */
    HT_ERR_MEMORY = 8,       /* out of memory */
    HT_ERR_STOPPED = 75,     /* stopped for time, state saved: resume me */
    HT_ERR_INTERRUPTED = 128 /* stopped by a signal, state saved; exit code is 128 + signal */
};

/* Owned by the caller; written only when a call fails. msg is one or more lines without a final
 * newline. Passing NULL where a struct ht_error * is expected is allowed everywhere. */
struct ht_error {
    enum ht_status code;
    int signal; /* with HT_ERR_INTERRUPTED: the signal's number */
    char msg[2048];
};

/* The process exit code that stands for this error (0 for HT_OK). */
int ht_error_exit_code(const struct ht_error *err);

#ifdef __cplusplus
}
#endif
#endif
