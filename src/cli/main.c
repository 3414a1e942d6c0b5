#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <halftone/version.h>

#include "base/alloc.h"
#include "base/text.h"
#include "cli/cli.h"

static const struct ht_command *const commands[] = {
#define HT_COMMAND(name) &ht_command_##name,
#include "cli/commands.inc"
#undef HT_COMMAND
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static const struct ht_cli_option common[] = {
    {"output", 'o', "FORMAT", "table, json, jsonl, csv or md (default: table)"},
    {"quiet", 'q', NULL, "no progress and no talk on stderr, only errors"},
    {"help", 'h', NULL, "this text"},
};
#define N_COMMON (sizeof common / sizeof *common)

/* The signal that asked us to stop; the first one stops softly, a second one kills as usual. */
static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    stop_signal = number;
    signal(number, SIG_DFL);
}

double ht_cli_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void ht_cli_say(const struct ht_cli *cli, const char *format, ...)
{
    va_list args;
    if (cli->quiet)
        return;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

enum ht_status ht_cli_integer(const char *text, const char *name, long min, long max, long *ret,
                              struct ht_error *err)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (end == text || *end || errno || v < min || v > max)
        return ht_fail(err, HT_ERR_CONFIG, "%s: expected a whole number from %ld to %ld, not '%s'",
                       name, min, max, text);
    *ret = v;
    return HT_OK;
}

enum ht_status ht_cli_widths(const char *text, const char *name, long max, int *bits, size_t *n,
                             struct ht_error *err)
{
    char word[8];
    *n = 0;
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, ",");
        long v = 0;
        snprintf(word, sizeof word, "%.*s", (int)(length < 7 ? length : 7), at);
        enum ht_status status = ht_cli_integer(word, name, 1, max, &v, err);
        if (status != HT_OK)
            return status;
        if (*n == HT_CLI_MAX_WIDTHS)
            return ht_fail(err, HT_ERR_CONFIG, "%s: at most %d widths", name, HT_CLI_MAX_WIDTHS);
        bits[(*n)++] = (int)v;
        at += length;
        if (*at == ',' && !*++at)
            return ht_fail(err, HT_ERR_CONFIG, "%s: a width is missing after the last comma", name);
    }
    return *n ? HT_OK : ht_fail(err, HT_ERR_CONFIG, "%s: expected widths such as 8,4,2", name);
}

enum ht_status ht_cli_config(const struct ht_cli *cli, struct ht_config **ret, struct ht_error *err)
{
    struct ht_text report = {0};
    enum ht_status status =
        ht_config_load(ret, cli->args[0], cli->args + 1, (size_t)cli->n_args - 1, &report, err);
    if (status == HT_ERR_CONFIG && report.len) {
        fputs(ht_text_str(&report), stderr);
        err->msg[0] = '\0'; /* said already */
    }
    ht_text_finish(&report);
    return status;
}

void ht_cli_show_place(const struct ht_config *config, struct ht_error *err)
{
    const char *path = ht_config_experiment(config)->path;
    const char *place = strstr(err->msg, path);
    struct ht_source_position at;
    struct ht_text message = {0}, report = {0};
    int used = 0;
    if (!place ||
        sscanf(place + strlen(path), ":%d:%d: error: %n", &at.line, &at.column, &used) != 2 ||
        used == 0 || at.line < 1)
        return;
    /* What stands in front of the place is the variant's name. */
    ht_text_append(&message, err->msg, (size_t)(place - err->msg));
    ht_text_printf(&message, "%s", place + strlen(path) + used);
    ht_config_report_at(config, at, ht_text_str(&message), &report);
    if (report.len && !message.failed && !report.failed) {
        fputs(ht_text_str(&report), stderr);
        err->msg[0] = '\0'; /* said */
    }
    ht_text_finish(&message);
    ht_text_finish(&report);
}

void ht_cli_model_path(const char *argument, char path[HT_PATH_LENGTH + 64])
{
    struct stat s;
    bool folder = stat(argument, &s) == 0 && S_ISDIR(s.st_mode);
    snprintf(path, HT_PATH_LENGTH + 64, "%s%s", argument, folder ? "/model.h5" : "");
}

struct ht_column *ht_cli_score_columns(const struct ht_column *columns, size_t n,
                                       const char *score_name)
{
    struct ht_column *copy = ht_calloc(n, sizeof *copy);
    if (!copy)
        return NULL;
    memcpy(copy, columns, n * sizeof *copy);
    for (size_t i = 0; i < n && strcmp(score_name, "accuracy") != 0; i++) {
        if (copy[i].kind == HT_COLUMN_PERCENT)
            copy[i].kind = HT_COLUMN_REAL;
        else if (copy[i].kind == HT_COLUMN_STAT_PERCENT)
            copy[i].kind = HT_COLUMN_STAT;
        else
            continue;
        copy[i].digits = 4;
        if (copy[i].title && strncmp(copy[i].title, "accuracy\n", 9) == 0)
            copy[i].title = "r2\nfloat32";
    }
    return copy;
}

void ht_cli_show_column(struct ht_column *columns, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(columns[i].key, key) == 0)
            columns[i].flags &= ~(unsigned)HT_COLUMN_MACHINE_ONLY;
}

/* --- help --- */

static void print_option(const struct ht_cli_option *o)
{
    char left[64], letter[8] = "    ";
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->value ? " " : "",
             o->value ? o->value : "");
    printf("  %-24s %s\n", left, o->help);
}

static void print_command_help(const struct ht_command *c)
{
    printf("usage: halftone %s%s%s\n\n%s\n\n", c->name, c->arguments[0] ? " " : "", c->arguments,
           c->summary);
    for (const struct ht_cli_option *o = c->options; o->name; o++)
        print_option(o);
    for (size_t i = 0; i < N_COMMON; i++)
        print_option(&common[i]);
    if (c->details)
        printf("\n%s\n", c->details);
}

static void print_help(FILE *f)
{
    fprintf(f, "halftone " HALFTONE_VERSION
               ": train small networks with quantization, ship integers\n\nusage: halftone COMMAND "
               "[arguments]\n\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(f, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(
        f,
        "\nhalftone COMMAND --help says more. Results go to stdout, talk to stderr.\n"
        "Exit codes: 0 ok, 1 internal, 2 usage or config, 3 data, 4 model file, 5 input/output,\n"
        "6 diverged, 7 a check failed, 75 stopped for time, 128 + n stopped by signal n.\n");
}

/* --- arguments --- */

static enum ht_status find_command(const char *name, const struct ht_command **ret,
                                   struct ht_error *err)
{
    const char *names[N_COMMANDS];
    for (size_t i = 0; i < N_COMMANDS; i++) {
        names[i] = commands[i]->name;
        if (strcmp(names[i], name) == 0) {
            *ret = commands[i];
            return HT_OK;
        }
    }
    const char *near = ht_nearest_name(name, names, N_COMMANDS);
    return ht_fail(err, HT_ERR_CONFIG, "unknown command '%s'%s%s%s; halftone --help lists them",
                   name, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* getopt's tables from ours: values above 255 name the command's options, those below the common
 * ones and letters. */
enum { FIRST_OPTION = 256, FIRST_COMMON = 512 };

struct getopt_tables {
    struct option longs[HT_CLI_MAX_OPTIONS + N_COMMON + 1];
    char letters[3 * (HT_CLI_MAX_OPTIONS + N_COMMON) + 2];
};

static void add_option(struct getopt_tables *t, size_t *n, const struct ht_cli_option *o, int value)
{
    struct option option = {o->name, o->value ? required_argument : no_argument, NULL, value};
    t->longs[(*n)++] = option;
    if (o->letter) {
        char letter[3] = {o->letter, o->value ? ':' : '\0', '\0'};
        strcat(t->letters, letter);
    }
}

/* The table entry of what getopt returned: a long option's value, or a letter. */
static int option_value(const struct ht_command *c, int got)
{
    if (got >= FIRST_OPTION)
        return got;
    for (int i = 0; c->options[i].name; i++)
        if (c->options[i].letter == got)
            return FIRST_OPTION + i;
    for (int i = 0; i < (int)N_COMMON; i++)
        if (common[i].letter == got)
            return FIRST_COMMON + i;
    return '?';
}

static enum ht_status bad_option(const struct ht_command *c, const struct getopt_tables *t, int got,
                                 char *const *argv, struct ht_error *err)
{
    const char *names[HT_CLI_MAX_OPTIONS + N_COMMON + 1];
    size_t n = 0;
    const char *given = argv[optind - 1];
    for (; t->longs[n].name; n++)
        names[n] = t->longs[n].name;
    if (got == ':')
        return ht_fail(err, HT_ERR_CONFIG, "%s needs a value", given);
    const char *near = strncmp(given, "--", 2) == 0 ? ht_nearest_name(given + 2, names, n) : NULL;
    return ht_fail(err, HT_ERR_CONFIG, "unknown option '%s'%s%s%s; halftone %s --help lists them",
                   given, near ? " (did you mean '--" : "", near ? near : "", near ? "'?)" : "",
                   c->name);
}

static enum ht_status parse_options(const struct ht_command *c, int argc, char **argv,
                                    struct ht_cli *cli, bool *help, struct ht_error *err)
{
    struct getopt_tables t = {.letters = ":"};
    size_t n = 0;
    for (int i = 0; c->options[i].name; i++)
        add_option(&t, &n, &c->options[i], FIRST_OPTION + i);
    for (int i = 0; i < (int)N_COMMON; i++)
        add_option(&t, &n, &common[i], FIRST_COMMON + i);
    opterr = 0;
    for (int got; (got = getopt_long(argc, argv, t.letters, t.longs, NULL)) != -1;) {
        int value = got == ':' ? ':' : option_value(c, got);
        if (value == ':' || value == '?')
            return bad_option(c, &t, value, argv, err);
        if (value < FIRST_COMMON) {
            cli->values[value - FIRST_OPTION] = optarg ? optarg : "";
        } else if (value == FIRST_COMMON) {
            enum ht_status status = ht_output_format_parse(optarg, &cli->format, err);
            if (status != HT_OK)
                return status;
        } else if (value == FIRST_COMMON + 1) {
            cli->quiet = true;
        } else {
            *help = true;
        }
    }
    cli->args = (const char *const *)argv + optind;
    cli->n_args = argc - optind;
    if (*help)
        return HT_OK;
    if (cli->n_args < c->min_args)
        return ht_fail(err, HT_ERR_CONFIG, "usage: halftone %s %s", c->name, c->arguments);
    if (c->max_args >= 0 && cli->n_args > c->max_args)
        return ht_fail(err, HT_ERR_CONFIG, "unexpected argument '%s'; usage: halftone %s %s",
                       cli->args[c->max_args], c->name, c->arguments);
    return HT_OK;
}

static enum ht_status run_command(int argc, char **argv, struct ht_error *err)
{
    const struct ht_command *c = NULL;
    struct ht_cli cli = {.format = HT_OUTPUT_TABLE, .stop = &stop_signal};
    bool help = false;
    enum ht_status status = find_command(argv[1], &c, err);
    if (status == HT_OK)
        status = parse_options(c, argc - 1, argv + 1, &cli, &help, err);
    if (status != HT_OK)
        return status;
    if (help) {
        print_command_help(c);
        return HT_OK;
    }
    if (c->stops_softly) {
        struct sigaction action = {.sa_handler = on_signal};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, exit 5, not a death */
    signal(SIGXFSZ, SIG_IGN); /* so is the largest size that a file may have */
    return c->run(&cli, err);
}

/* A stream that is closed would give its number to the next file that is opened, and talk would end
 * in a checkpoint. It gets a file that cannot be used instead, so that writing fails as it should.
 */
static void guard_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
            return;
}

int main(int argc, char **argv)
{
    struct ht_error err = {0};
    enum ht_status status = HT_OK;
    guard_streams();
    if (argc < 2) {
        print_help(stderr);
        return HT_ERR_CONFIG;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        print_help(stdout);
    else if (strcmp(argv[1], "--version") == 0)
        printf("halftone " HALFTONE_VERSION "\n");
    else
        status = run_command(argc, argv, &err);
    if (status == HT_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = ht_fail(&err, HT_ERR_IO, "cannot write to stdout: %s", strerror(errno));
    if (status == HT_OK)
        return 0;
    if (err.msg[0])
        fprintf(stderr, "halftone: %s\n", err.msg);
    err.code = status; /* a prefix may have changed the kind of failure */
    return ht_error_exit_code(&err);
}
