#include "support.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>

#include "report/human.h"
#include "report/progress.h"

/* A stream whose output can be read back: a pseudo terminal of some width, or a pipe (width 0). */
struct screen {
    FILE *f;
    int fd;
    char got[8192];
};

static void open_screen(struct screen *s, unsigned short width)
{
    int fds[2];
    if (width) {
        struct winsize size = {.ws_row = 24, .ws_col = width};
        cr_assert_eq(openpty(&fds[0], &fds[1], NULL, NULL, &size), 0);
    } else {
        cr_assert_eq(pipe(fds), 0);
    }
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    s->fd = fds[0];
    s->f = fdopen(fds[1], "w");
    cr_assert_not_null(s->f);
    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", "1", 1);
}

/* What was written since the last call. */
static const char *seen(struct screen *s)
{
    fflush(s->f);
    ssize_t n = read(s->fd, s->got, sizeof s->got - 1);
    s->got[n > 0 ? n : 0] = '\0';
    return s->got;
}

static void close_screen(struct screen *s)
{
    fclose(s->f);
    close(s->fd);
}

Test(progress, terminal)
{
    struct screen s;
    struct ht_progress p;
    open_screen(&s, 100);
    ht_progress_begin(&p, s.f, false, "w4a8", 100);
    ht_progress_epoch(&p, 3, 20);
    ht_progress_update(&p, 100, 0, 1000, "loss 0.312");
    cr_assert_str_eq(seen(&s), "\rw4a8: [>                   ]   0%  epoch 3/20  loss 0.312\x1b[K");
    ht_progress_update(&p, 100.05, 100, 1000, "loss 0.312"); /* too soon */
    cr_assert_str_eq(seen(&s), "");
    ht_progress_update(&p, 110, 250, 1000, "loss 0.300");
    cr_assert_str_eq(
        seen(&s), "\rw4a8: [=====>              ]  25%  epoch 3/20  loss 0.300  30.0 s left\x1b[K");
    ht_progress_milestone(&p, 110.01, 1000, 1000, NULL); /* not too soon */
    cr_assert_str_eq(seen(&s), "\rw4a8: [====================] 100%  epoch 3/20\x1b[K");
    ht_progress_say(&p, "saved");
    cr_assert_str_eq(seen(&s), "\r\x1b[Ksaved\r\n");
    ht_progress_update(&p, 110.02, 1000, 1000, NULL); /* the bar comes back under it */
    cr_assert_eq(seen(&s)[0], '\r');
    ht_progress_end(&p, 183, "accuracy 88.4%");
    cr_assert_str_eq(seen(&s), "\r\x1b[Kw4a8: accuracy 88.4%, took 1 m 23 s\r\n");
    close_screen(&s);
}

Test(progress, redraws_at_most_ten_times_a_second)
{
    struct screen s;
    struct ht_progress p;
    open_screen(&s, 100);
    ht_progress_begin(&p, s.f, false, NULL, 0);
    unsigned drawn = 0;
    for (unsigned i = 0; i <= 2000; i++) {
        ht_progress_update(&p, i * 1e-3, i, 2000, NULL);
        drawn += *seen(&s) != '\0';
    }
    cr_assert(drawn >= 18 && drawn <= 21, "%u", drawn);
    close_screen(&s);
}

/* The line never reaches the last column, whatever is in it, also after the window shrinks. */
Test(progress, fits_the_width)
{
    struct screen s;
    struct ht_progress p;
    open_screen(&s, 80);
    ht_progress_begin(&p, s.f, false,
                      "a very long name of a variant, µµµµµµµµµµµµµµµµµµµµµµµµµµµµµµ", 0);
    for (unsigned short width = 80; width > 1; width--) {
        struct winsize size = {.ws_row = 24, .ws_col = width};
        ioctl(fileno(s.f), TIOCSWINSZ, &size);
        ht_progress_milestone(&p, 1, 1, 3, "\x1b[2J±±±±±±±±±±±±±±±± loss 0.3 accuracy 0.88");
        const char *line = seen(&s);
        size_t n = strlen(line);
        cr_assert(line[0] == '\r' && n > 4 && strcmp(line + n - 3, "\x1b[K") == 0);
        s.got[n - 3] = '\0';
        cr_assert(ht_utf8_width(line + 1) < width, "%u: %s", (unsigned)width, line + 1);
        cr_assert_null(strchr(line, '\x1b'), "control characters of the text came through");
    }
    close_screen(&s);
}

Test(progress, color)
{
    struct screen s;
    struct ht_progress p;
    open_screen(&s, 100);
    unsetenv("NO_COLOR");
    cr_assert(ht_terminal_of(s.f).color);
    ht_progress_begin(&p, s.f, false, "w4", 0);
    ht_progress_update(&p, 0, 0, 0, "loading");
    cr_assert_str_eq(seen(&s), "\r\x1b[1mw4\x1b[0m: loading\x1b[K");
    setenv("NO_COLOR", "", 1); /* empty does not count */
    cr_assert(ht_terminal_of(s.f).color);
    setenv("TERM", "dumb", 1);
    cr_assert_not(ht_terminal_of(s.f).is_terminal);
    close_screen(&s);
}

Test(progress, pipe_gets_plain_lines)
{
    struct screen s;
    struct ht_progress p;
    open_screen(&s, 0);
    unsetenv("NO_COLOR");
    ht_progress_begin(&p, s.f, false, "w4a8", 0);
    ht_progress_epoch(&p, 1, 2);
    for (unsigned i = 0; i <= 25; i++)
        ht_progress_update(&p, i, i, 50, "loss 0.5");
    cr_assert_str_eq(seen(&s), "w4a8:  20%, epoch 1/2, loss 0.5, 40.0 s left\n"
                               "w4a8:  40%, epoch 1/2, loss 0.5, 30.0 s left\n");
    ht_progress_milestone(&p, 25, 25, 50, "loss 0.4");
    cr_assert_str_eq(seen(&s), "w4a8:  50%, epoch 1/2, loss 0.4, 25.0 s left\n");
    ht_progress_say(&p, "a word");
    ht_progress_end(&p, 50, NULL);
    cr_assert_str_eq(seen(&s), "a word\n");
    close_screen(&s);
}

/* Work done before a resume does not make the rest look fast. */
Test(progress, resumed_run)
{
    struct screen s;
    struct ht_progress p;
    open_screen(&s, 0);
    ht_progress_begin(&p, s.f, false, NULL, 0);
    ht_progress_update(&p, 0, 900, 1000, NULL);
    ht_progress_milestone(&p, 10, 910, 1000, NULL);
    cr_assert_str_eq(seen(&s), " 91%, 1 m 30 s left\n");
    close_screen(&s);
}

Test(progress, quiet)
{
    struct screen s;
    struct ht_progress p;
    open_screen(&s, 100);
    ht_progress_begin(&p, s.f, true, "w4a8", 0);
    ht_progress_update(&p, 0, 1, 10, "x");
    ht_progress_milestone(&p, 1, 2, 10, "x");
    ht_progress_say(&p, "x");
    ht_progress_end(&p, 2, "x");
    cr_assert_str_eq(seen(&s), "");
    close_screen(&s);
}
