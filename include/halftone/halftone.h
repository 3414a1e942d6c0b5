/* The whole public API. */
#ifndef HALFTONE_HALFTONE_H
#define HALFTONE_HALFTONE_H

#include <halftone/error.h>
#include <halftone/predictor.h>
#include <halftone/train.h>
#include <halftone/version.h>

#endif
