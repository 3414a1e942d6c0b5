/* Progress of a long run: one line redrawn on a terminal, plain lines now and then elsewhere (one a
 * milestone, or every 10 s). Time is passed in, in seconds of any monotonic clock. */
#ifndef HT_REPORT_PROGRESS_H
#define HT_REPORT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "report/terminal.h"

/* Fields are private. No memory is owned; there is nothing to destroy. */
struct ht_progress {
    FILE *file; /* NULL when quiet */
    struct ht_terminal terminal;
    char label[96];
    double start, shown; /* time of the begin and of the last drawing */
    uint64_t first;      /* `done` at the first update: work of an earlier run does not count */
    unsigned epoch, epochs;
    bool updated, drawn, on_screen;
};

/* file is borrowed; with quiet nothing is ever written. label (NULL allowed) leads every line. */
void ht_progress_begin(struct ht_progress *p, FILE *file, bool quiet, const char *label,
                       double now);

/* Changes the label, e.g. to the next variant. */
void ht_progress_label(struct ht_progress *p, const char *label);

/* Shows "epoch x/y" from now on; epochs = 0 hides it. */
void ht_progress_epoch(struct ht_progress *p, unsigned epoch, unsigned epochs);

/* done of total steps of the whole run; text (NULL allowed) is free, e.g. "loss 0.31". Cheap to
 * call often: a terminal is redrawn at most 10 times a second. total = 0: not known. */
void ht_progress_update(struct ht_progress *p, double now, uint64_t done, uint64_t total,
                        const char *text);

/* The same at the end of an epoch or variant: always shown. */
void ht_progress_milestone(struct ht_progress *p, double now, uint64_t done, uint64_t total,
                           const char *text);

/* A line of talk that stays, above the bar. */
void ht_progress_say(struct ht_progress *p, const char *text);

/* Removes the bar; says "label: text, took 1 m 23 s" unless text is NULL. */
void ht_progress_end(struct ht_progress *p, double now, const char *text);

#endif
