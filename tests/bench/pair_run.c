/*
 * pair_run.c - see pair.h: runs a row's rounds. Each command is a process group of its own, so that one that
 * hangs, with all that it has started, can be ended: by its limit of time, or when we are told to end.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/bench/pair.h"
#include "tests/bench/stats.h"

#define STATUS_LATE 1000 /* no exit status: it was killed because it took too long */

static volatile pid_t running;

static void end_all(int signal)
{
    if (running > 0)
        kill(-running, SIGKILL);
    _exit(128 + signal);
}

void side_add(struct side *s, const char *key, double value)
{
    struct metric *m = side_metric(s, key);
    if (m == NULL && s->nmetrics < METRICS_MAX) {
        m = &s->metrics[s->nmetrics++];
        snprintf(m->key, sizeof m->key, "%s", key);
        m->values = calloc(ROUNDS_MAX, sizeof *m->values);
    }
    if (m != NULL && m->n < ROUNDS_MAX)
        m->values[m->n++] = value;
}

static pid_t start(const char *command, int out)
{
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("fork: %m");
    if (pid > 0) {
        setpgid(pid, pid); /* here too: whoever comes first */
        running = pid;
        return pid;
    }
    setpgid(0, 0);
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (in < 0 || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
        _exit(126);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* Until its end of file; false: not within the limit. */
static bool read_all(int fd, char *out, size_t size, double until)
{
    size_t n = 0;
    char rest[4096];
    out[0] = '\0';
    for (;;) {
        double left = until - bench_now();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0)
            return false;
        if (poll(&p, 1, (int)(left * 1e3) + 1) <= 0)
            continue;
        bool room = n < size - 1;
        ssize_t got = read(fd, room ? out + n : rest, room ? size - 1 - n : sizeof rest);
        if (got == 0 || (got < 0 && errno != EINTR))
            return true;
        n += room && got > 0 ? (size_t)got : 0;
        out[n] = '\0';
    }
}

/* What it printed, and its status: 128 + the signal when it died of one. */
static int run_command(const char *command, double limit, char *out, size_t size, double *ret_wall)
{
    int p[2], status;
    if (pipe2(p, O_CLOEXEC) < 0)
        bench_fail("pipe: %m");
    double begun = bench_now();
    pid_t pid = start(command, p[1]);
    close(p[1]);
    bool ended = read_all(p[0], out, size, begun + limit);
    close(p[0]);
    if (!ended)
        kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            bench_fail("%s: %m", command);
    running = 0;
    *ret_wall = bench_now() - begun;
    if (!ended)
        return STATUS_LATE;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void side_failed(struct row *row, struct side *s, int status)
{
    bool late = status == STATUS_LATE;
    fprintf(stderr, "bench-pair: %s: %s: ", row->id, s->name);
    late ? fprintf(stderr, "not within %.0f s: %s\n", row->limit, s->command)
         : fprintf(stderr, "status %d: %s\n", status, s->command);
    if (s == &row->sides[0])
        row->failure = late ? "ours took too long" : "ours failed, or its result was wrong";
    else
        s->absent = late ? "took too long" : "failed, or its result was wrong";
}

static void run_side(struct row *row, struct side *s)
{
    char out[8192], key[32];
    double wall, value;
    int status = run_command(s->command, row->limit, out, sizeof out, &wall);
    if (status == BENCH_SKIP)
        s->absent = "cannot run here";
    else if (status != 0)
        side_failed(row, s, status);
    if (status != 0)
        return;
    side_add(s, "wall", wall);
    for (char *line = strtok(out, "\n"); line != NULL; line = strtok(NULL, "\n"))
        if (sscanf(line, "%31s %lf", key, &value) == 2 && isfinite(value))
            side_add(s, key, value);
}

static void check(struct row *row)
{
    char out[8192];
    double wall;
    if (row->check == NULL || run_command(row->check, row->limit, out, sizeof out, &wall) == 0)
        return;
    row->failure = "the results differ";
    fprintf(stderr, "bench-pair: %s: the check failed: %s\n%s", row->id, row->check, out);
}

/*
 * Every other round goes the other way round: in a circle alone each side would always come after the same
 * one, and have what that leaves behind (dirty pages, a clock that was throttled).
 */
static struct side *side_at(struct row *row, size_t round, size_t i)
{
    size_t place = round % 2 == 0 ? i : row->nsides - 1 - i;
    return &row->sides[(round / 2 + place) % row->nsides];
}

static void run_round(struct row *row, size_t round)
{
    for (size_t i = 0; i < row->nsides && row->failure == NULL; i++) {
        struct side *s = side_at(row, round, i);
        if (s->absent == NULL)
            run_side(row, s);
    }
    if (row->failure == NULL && row->sides[0].absent == NULL)
        check(row);
}

/* ---- which rounds there are ---- */

static bool going(const struct row *row)
{
    return row->failure == NULL && row->sides[0].absent == NULL;
}

static void mark(struct row *row)
{
    for (struct side *s = row->sides; s < row->sides + row->nsides; s++)
        for (size_t i = 0; i < s->nmetrics; i++)
            s->metrics[i].marked = s->metrics[i].n;
}

/* What was added since the mark; a key that was new is gone. */
static void forget(struct row *row)
{
    for (struct side *s = row->sides; s < row->sides + row->nsides; s++) {
        for (size_t i = 0; i < s->nmetrics; i++)
            s->metrics[i].n = s->metrics[i].marked;
        for (; s->nmetrics > 0 && s->metrics[s->nmetrics - 1].n == 0; s->nmetrics--) {
            free(s->metrics[s->nmetrics - 1].values);
            s->metrics[s->nmetrics - 1] = (struct metric){0};
        }
    }
}

static double timed_round(struct row *row)
{
    double start = bench_now();
    run_round(row, row->begun++);
    return bench_now() - start;
}

/*
 * Their time is not the row's: what is slow only once (a program that is read from the disk, a clock that
 * rises) says nothing about those that follow. Only if they took as long as all of the row should is the last
 * of them kept, and no other is begun.
 */
static bool warm_up(struct row *row)
{
    double spent = 0, last = 0;
    mark(row);
    for (size_t i = 0; i < row->warm && going(row) && spent <= row->budget; i++) {
        forget(row);
        spent += last = timed_round(row);
    }
    bool time_left = spent <= row->budget || row->done > 0;
    if (!going(row) || !time_left)
        row->took[row->done++] = last;
    else
        forget(row);
    return time_left;
}

/* What they usually take decides: one that was slow does not end the row. */
static bool another_fits(const struct row *row, double left)
{
    double copy[ROUNDS_MAX];
    if (row->done == 0)
        return true;
    memcpy(copy, row->took, row->done * sizeof *copy);
    return stats_of(copy, row->done).median <= left;
}

void row_run(struct row *row)
{
    struct sigaction end = {.sa_handler = end_all};
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    row->begun = row->done;
    if (row->done >= row->rounds || !warm_up(row))
        return;
    for (double until = bench_now() + row->budget; row->done < row->rounds && going(row);) {
        if (!another_fits(row, until - bench_now()))
            return;
        double took = timed_round(row);
        row->took[row->done++] = took;
    }
}
