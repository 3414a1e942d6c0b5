/* The version of these headers. */
#ifndef HALFTONE_VERSION_H
#define HALFTONE_VERSION_H

#define HALFTONE_VERSION "0.1.0"

#endif
