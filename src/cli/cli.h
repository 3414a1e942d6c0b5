/* What the commands share: options, output, errors, signals. */
#ifndef HT_CLI_CLI_H
#define HT_CLI_CLI_H

#include <signal.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/pool.h"
#include "config/config.h"
#include "report/progress.h"
#include "report/table.h"

#define HT_CLI_MAX_OPTIONS 12
#define HT_CLI_MAX_WIDTHS  16 /* of an option */

struct ht_cli_option {
    const char *name;  /* "resume"; NULL ends a list */
    char letter;       /* 'j', or 0 */
    const char *value; /* placeholder of its argument, NULL for a flag */
    const char *help;
};

struct ht_cli {
    enum ht_output_format format;
    bool quiet;
    const char *const *args; /* positional arguments after the command's name */
    int n_args;
    const char *values[HT_CLI_MAX_OPTIONS]; /* of the command's options, in its order: NULL = not
                                               given, "" = a flag that was given */
    const volatile sig_atomic_t *stop;      /* number of the signal that came, or 0 */
};

struct ht_command {
    const char *name, *arguments, *summary;
    const char *details; /* more lines of help; NULL = none */
    struct ht_cli_option options[HT_CLI_MAX_OPTIONS];
    int min_args, max_args; /* max -1 = any number */
    bool stops_softly; /* SIGINT and SIGTERM set ht_cli.stop, to be polled; else they kill as usual
                        */
    enum ht_status (*run)(const struct ht_cli *cli, struct ht_error *err);
};

/* A whole number in [min, max] from an option; `name` for the message. */
enum ht_status ht_cli_integer(const char *text, const char *name, long min, long max, long *ret,
                              struct ht_error *err);

/* Widths such as 8,4,2 from an option, each from 1 to max; bits[HT_CLI_MAX_WIDTHS]. */
enum ht_status ht_cli_widths(const char *text, const char *name, long max, int *bits, size_t *n,
                             struct ht_error *err);

/* Loads args[0] with the key=value arguments after it. Config errors are printed to stderr, all of
 * them; err then only counts them. */
enum ht_status ht_cli_config(const struct ht_cli *cli, struct ht_config **ret,
                             struct ht_error *err);

/* An error whose message has a place in the experiment's file (PATH:LINE:COLUMN: error: ...), found
 * after loading, is shown as loading shows its own: with the line and a caret. */
void ht_cli_show_place(const struct ht_config *config, struct ht_error *err);

/* The model file that an argument means: itself, or model.h5 of a run folder. */
void ht_cli_model_path(const char *argument, char path[HT_PATH_LENGTH + 64]);

/* As many threads as the process may use, or HALFTONE_THREADS; HT_ERR_CONFIG for a bad value. */
enum ht_status ht_cli_pool(struct ht_pool **ret, struct ht_error *err);

/* A line of talk on stderr, unless --quiet. */
void ht_cli_say(const struct ht_cli *cli, const char *format, ...) HT_PRINTF(2, 3);

double ht_cli_now(void);

/* A copy of columns[n] for a table of scores: accuracies are percentages, r2 is a plain number. The
 * titles' word "accuracy" becomes the score's name. Owned (ht_free); NULL when memory is out. */
struct ht_column *ht_cli_score_columns(const struct ht_column *columns, size_t n,
                                       const char *score_name);
/* Shows people, too, a column that is HT_COLUMN_MACHINE_ONLY. */
void ht_cli_show_column(struct ht_column *columns, size_t n, const char *key);

#define HT_COMMAND(name) extern const struct ht_command ht_command_##name;
#include "cli/commands.inc"
#undef HT_COMMAND

#endif
