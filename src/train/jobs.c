#include "train/jobs.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/text.h"
#include "io/file.h"

/* What a child writes into the pipe that all share: at most PIPE_BUF bytes, so whole. */
struct message {
    size_t job;
    int64_t step;
    bool finished;
    struct ht_error error; /* finished: code HT_OK or the failure */
};

struct child {
    struct ht_job *job;
    size_t index;
    int out;
    const volatile sig_atomic_t *stop;
    int64_t told; /* step of the last message */
    int jobs;     /* at the same time */
};

struct pool {
    struct ht_job *jobs;
    size_t n, started, running, finished;
    pid_t *pids; /* [n], 0 = not running, -1 = not started */
    int in, out; /* the pipe */
    const struct ht_compare_options *options;
    enum ht_status status; /* the first failure */
    struct ht_error *err;
    bool stopping;
};

/* --- in the child --- */

static void tell(int out, const struct message *m)
{
    const char *p = (const char *)m;
    size_t left = sizeof *m;
    while (left) {
        ssize_t n = write(out, p, left);
        if (n < 0 && errno != EINTR) {
            raise(SIGTERM); /* the parent is gone: stop too, with a checkpoint, as it would ask */
            return;
        }
        if (n > 0) {
            p += n;
            left -= (size_t)n;
        }
    }
}

static void on_event(void *user, const struct ht_train_event *event)
{
    struct child *c = user;
    if (!event->epoch_end && event->step - c->told < 50)
        return;
    c->told = event->step;
    struct message m;
    memset(&m, 0, sizeof m);
    m.job = c->index;
    m.step = event->step;
    tell(c->out, &m);
}

/* Jobs that run side by side share the CPUs, unless the user said otherwise. */
static void share_cpus(int jobs)
{
    char threads[16];
    const unsigned share = ht_pool_cpus() / (unsigned)jobs;
    snprintf(threads, sizeof threads, "%u", share ? share : 1);
    setenv("HALFTONE_THREADS", threads, false);
}

static void run_child(struct child *c, bool resume)
{
    struct ht_train_hooks hooks = {on_event, c, c->stop, NULL};
    struct message m;
    memset(&m, 0, sizeof m);
    if (c->jobs > 1)
        share_cpus(c->jobs);
    m.job = c->index;
    m.finished = true;
    enum ht_status status =
        ht_run_train(&c->job->result, &c->job->experiment, resume, &hooks, NULL, &m.error);
    /* Outputs that differ are a result; compare adds them up and fails at its end. */
    m.error.code = status == HT_ERR_THRESHOLD ? HT_OK : status;
    tell(c->out, &m);
    _exit(0);
}

/* --- in the parent --- */

static void fail(struct pool *p, const struct ht_error *error)
{
    if (p->status != HT_OK)
        return;
    p->status = error->code;
    if (p->err)
        *p->err = *error;
}

static void stop_children(struct pool *p, int signal_number)
{
    p->stopping = true;
    for (size_t i = 0; i < p->n; i++)
        if (p->pids[i] > 0)
            kill(p->pids[i], signal_number);
}

/* A finished job of the same experiment is taken as it is. */
static bool already_done(struct ht_job *job)
{
    char folder[HT_PATH_LENGTH], path[HT_PATH_LENGTH + 64], *text = NULL;
    size_t size;
    struct ht_text config = {0};
    ht_run_folder(&job->experiment, folder);
    snprintf(path, sizeof path, "%s/config.yaml", folder);
    ht_experiment_print(&job->experiment, &config);
    bool same = ht_file_read(path, 1 << 20, &text, &size, NULL) == HT_OK && !config.failed &&
                strcmp(text, ht_text_str(&config)) == 0;
    ht_free(text);
    ht_text_finish(&config);
    return same && ht_run_result_read(&job->result, folder, NULL) == HT_OK;
}

static void lose(struct pool *p, struct ht_job *job, const char *why)
{
    job->done = job->lost = true;
    job->step = job->steps;
    p->finished++;
    if (p->options->lost)
        p->options->lost(p->options->user, why);
}

static void announce(const struct pool *p, const struct ht_job *finished)
{
    int64_t done = 0, all = 0;
    if (!p->options->event)
        return;
    for (size_t i = 0; i < p->n; i++) {
        done += p->jobs[i].step;
        all += p->jobs[i].steps;
    }
    p->options->event(p->options->user, done, all, (int)p->finished, (int)p->n,
                      finished ? finished->experiment.name : NULL,
                      finished ? &finished->result : NULL);
}

static void start_job(struct pool *p, size_t i)
{
    struct ht_job *job = &p->jobs[i];
    p->started++;
    p->pids[i] = 0;
    if (p->options->resume && already_done(job)) {
        job->done = true;
        job->step = job->steps;
        p->finished++;
        announce(p, job);
        return;
    }
    fflush(NULL); /* or the child would write the buffers a second time */
    pid_t pid = fork();
    if (pid == 0) {
        struct child c = {job, i, p->out, p->options->stop, 0, p->options->jobs};
        close(p->in);
        run_child(&c, p->options->resume);
    }
    if (pid < 0) {
        struct ht_error e;
        ht_fail(&e, HT_ERR_IO, "cannot start a process: %s", strerror(errno));
        fail(p, &e);
        return;
    }
    p->pids[i] = pid;
    p->running++;
}

/* The first job that may start now; n when there is none. */
static size_t next_job(const struct pool *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct ht_job *job = &p->jobs[i];
        size_t missing = 0;
        for (size_t k = 0; k < job->n_needs; k++)
            missing += !p->jobs[job->needs[k]].done;
        if (p->pids[i] < 0 && missing == 0)
            return i;
    }
    return p->n;
}

/* A job that needs a lost one is lost as well. */
static bool cannot_start(struct pool *p, size_t i)
{
    struct ht_job *job = &p->jobs[i];
    for (size_t k = 0; k < job->n_needs; k++) {
        const struct ht_job *needed = &p->jobs[job->needs[k]];
        char why[2 * HT_NAME_LENGTH + 64];
        if (!needed->lost)
            continue;
        snprintf(why, sizeof why, "%s: not trained: it needs %s", job->experiment.name,
                 needed->experiment.name);
        p->started++;
        p->pids[i] = 0;
        lose(p, job, why);
        return true;
    }
    return false;
}

static void start_jobs(struct pool *p)
{
    while (p->running < (size_t)p->options->jobs && p->status == HT_OK) {
        const size_t i = next_job(p);
        if (i == p->n)
            return;
        if (!cannot_start(p, i))
            start_job(p, i);
    }
}

static void handle(struct pool *p, const struct message *m)
{
    struct ht_job *job = &p->jobs[m->job];
    if (!m->finished) {
        job->step = m->step;
        announce(p, NULL);
        return;
    }
    struct ht_error e = m->error;
    char folder[HT_PATH_LENGTH];
    ht_run_folder(&job->experiment, folder);
    job->done = true;
    if (e.code == HT_OK)
        e.code = ht_run_result_read(&job->result, folder, &e);
    else
        ht_error_prefix(&e, e.code, "%s", job->experiment.name);
    if (e.code == HT_ERR_DIVERGED) {
        lose(p, job, e.msg);
        return;
    }
    if (e.code != HT_OK) {
        fail(p, &e);
        return;
    }
    job->step = job->steps;
    p->finished++;
    announce(p, job);
}

/* Reaps a child that has told its end, or has died without a word. */
static void reap(struct pool *p)
{
    for (size_t i = 0; i < p->n; i++) {
        int how;
        if (p->pids[i] <= 0 || waitpid(p->pids[i], &how, WNOHANG) != p->pids[i])
            continue;
        p->pids[i] = 0;
        p->running--;
        if (WIFEXITED(how) && WEXITSTATUS(how) == 0)
            continue;
        struct ht_error e;
        ht_fail(&e, HT_ERR_INTERNAL, "%s: its process ended by %s %d", p->jobs[i].experiment.name,
                WIFSIGNALED(how) ? "signal" : "exit code",
                WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
        fail(p, &e);
    }
}

/* True when a whole message was there. */
static bool receive(struct pool *p, struct message *m, int timeout_ms)
{
    struct pollfd fd = {p->in, POLLIN, 0};
    char *at = (char *)m;
    size_t left = sizeof *m;
    if (poll(&fd, 1, timeout_ms) <= 0 || !(fd.revents & POLLIN))
        return false;
    while (left) {
        ssize_t n = read(p->in, at, left);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        if (n > 0) {
            at += n;
            left -= (size_t)n;
        }
    }
    return true;
}

static void pump(struct pool *p)
{
    struct message m;
    const volatile sig_atomic_t *stop = p->options->stop;
    if (receive(p, &m, 100))
        handle(p, &m);
    reap(p);
    if (stop && *stop && !p->stopping) {
        struct ht_error e;
        ht_fail(&e, HT_ERR_INTERRUPTED, "stopped by signal %d; go on with --resume", (int)*stop);
        e.signal = (int)*stop;
        fail(p, &e);
    }
    if (p->status != HT_OK && !p->stopping)
        stop_children(p, SIGTERM);
}

enum ht_status ht_jobs_run(struct ht_job *jobs, size_t n, const struct ht_compare_options *options,
                           struct ht_error *err)
{
    struct pool p = {.jobs = jobs, .n = n, .options = options, .status = HT_OK, .err = err};
    struct message m;
    int ends[2];
    p.pids = ht_calloc(n, sizeof *p.pids);
    if (!p.pids)
        return ht_fail_memory(err);
    if (pipe(ends) != 0) {
        ht_free(p.pids);
        return ht_fail(err, HT_ERR_IO, "cannot make a pipe: %s", strerror(errno));
    }
    p.in = ends[0];
    p.out = ends[1];
    for (size_t i = 0; i < n; i++)
        p.pids[i] = -1;
    while (p.running || (p.started < n && p.status == HT_OK)) {
        start_jobs(&p);
        pump(&p);
    }
    while (receive(&p, &m, 0)) /* last words of children that were reaped first */
        handle(&p, &m);
    for (size_t i = 0; i < n && p.status == HT_OK; i++)
        if (!jobs[i].done)
            p.status = ht_fail(err, HT_ERR_INTERNAL, "%s: its process said nothing",
                               jobs[i].experiment.name);
    close(p.in);
    close(p.out);
    ht_free(p.pids);
    return p.status;
}
