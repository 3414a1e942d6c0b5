/* What a stream can show. */
#ifndef HT_REPORT_TERMINAL_H
#define HT_REPORT_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

struct ht_terminal {
    bool is_terminal; /* and one that can redraw a line: TERM=dumb does not count */
    bool color;       /* never with NO_COLOR set to something (https://no-color.org) */
    unsigned width;   /* columns; 80 when it does not tell; 0 when not a terminal */
};

struct ht_terminal ht_terminal_of(FILE *file);

#endif
