/* The version of these headers, and of the library that runs. */
#ifndef HALFTONE_VERSION_H
#define HALFTONE_VERSION_H

#ifdef __cplusplus
extern "C" {
#endif

#define HALFTONE_VERSION "0.1.0"

/* Static. Threads: any number, at any time. */
const char *ht_version(void);

#ifdef __cplusplus
}
#endif
#endif
