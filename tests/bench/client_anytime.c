/*
 * client_anytime.c - what a kill costs at a moment that nobody chose: until the chunk that the victim was in
 * was begun by another process, as the job's trace has it.
 *
 * Nobody is asked and nobody is woken meanwhile: which of the daemon's processes is at work the kernel says,
 * and who it was, in which chunk, and who began that again is looked up when the job is over. All times are
 * CLOCK_MONOTONIC. A kill after the last chunk of a lease, or of a process that is just being made, met no
 * chunk: such are missed.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/client.h"
#include "tests/bench/traced.h"

#define SHOTS_MAX   10000
#define MISSED_MOST 3 /* one in so many; a few of a hundred on a quiet machine */
#define NS_PER_S    1000000000u

/* Between two kills. The shortest is what a chunk takes, so that one that was hit is over by the next, but
 * where that is late; seventy kills are two and a half seconds. */
#define PAUSE_LEAST_NS 20000000.0
#define PAUSE_MOST_NS  50000000.0

struct shot {
    uint64_t at; /* ns */
    pid_t pid;
};

/* Who shoots, at what. */
struct hunt {
    pid_t daemon, nursery, command;
    unsigned short seed[3];
    struct shot *shots;
    size_t n, most;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- the kills ---- */

/* On a processor, or waiting for one. */
static bool at_work(pid_t pid)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    const char *name_end = f != NULL && fgets(line, sizeof line, f) != NULL ? strrchr(line, ')') : NULL;
    if (f != NULL)
        fclose(f);
    return name_end != NULL && strncmp(name_end, ") R", 3) == 0;
}

/* Who was shot is at work as well, until he is taken apart. */
static bool was_shot(const struct hunt *h, pid_t pid)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->shots[i].pid == pid)
            return true;
    return false;
}

static bool is_target(const struct hunt *h, pid_t pid)
{
    return pid != h->nursery && !was_shot(h, pid) && at_work(pid);
}

/* Any of them; 0: there is none just now. */
static pid_t choose(struct hunt *h)
{
    pid_t pids[256], chosen = 0;
    size_t n = bench_children(h->daemon, pids, sizeof pids / sizeof pids[0]), seen = 0;
    for (size_t i = 0; i < n; i++)
        if (is_target(h, pids[i]) && erand48(h->seed) * (double)++seen < 1)
            chosen = pids[i];
    return chosen;
}

static void pause_for_some_time(struct hunt *h)
{
    double ns = PAUSE_LEAST_NS + erand48(h->seed) * (PAUSE_MOST_NS - PAUSE_LEAST_NS);
    struct timespec t = {.tv_nsec = (long)ns};
    ppoll(NULL, 0, &t, NULL);
}

static void shoot_once(struct hunt *h)
{
    pid_t pid = choose(h);
    if (pid == 0)
        return;
    uint64_t at = now_ns();
    if (kill(pid, SIGKILL) == 0)
        h->shots[h->n++] = (struct shot){at, pid};
}

/* The job must end well, with its last chunks in peace or not. */
static void shoot(struct hunt *h)
{
    int status;
    pid_t over;
    pause_for_some_time(h);
    while ((over = waitpid(h->command, &status, WNOHANG)) == 0 && h->n < h->most) {
        shoot_once(h);
        pause_for_some_time(h);
    }
    if (over == 0)
        over = waitpid(h->command, &status, 0);
    if (over != h->command || status != 0)
        bench_fail("pwcctl run failed");
    if (h->n == 0)
        bench_fail("no worker was killed");
}

/* ---- what the trace says ---- */

/* A chunk, in a stage. One that was lost ends where the daemon took the stage for dead. */
struct span {
    uint64_t stage, chunk, from, to; /* ns since `base` */
    bool lost;
};

struct stage {
    uint64_t number;
    pid_t pid;
};

struct account {
    uint64_t base; /* ns: when the job was born */
    struct span *spans;
    struct stage *stages;
    size_t nspans, nstages;
};

/* Behind "key": in the line; -1: it has none. */
static double number(const char *line, const char *key)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(line, quoted);
    return at != NULL ? strtod(at + strlen(quoted), NULL) : -1;
}

/* Room for one more: it is doubled at each power of two. */
static void *room(void *array, size_t n, size_t size)
{
    if ((n & (n - 1)) != 0)
        return array;
    array = realloc(array, (n > 0 ? 2 * n : 1) * size);
    if (array == NULL)
        bench_fail("no memory");
    return array;
}

static void take_span(struct account *a, const char *line)
{
    double from = number(line, "ts"), us = number(line, "dur");
    if (number(line, "n") != 1)
        bench_fail("chunks that share a record: %s", line);
    a->spans = room(a->spans, a->nspans, sizeof *a->spans);
    a->spans[a->nspans++] = (struct span){.stage = (uint64_t)number(line, "tid"),
                                          .chunk = (uint64_t)number(line, "first"),
                                          .from = (uint64_t)(from * 1e3),
                                          .to = (uint64_t)((from + us) * 1e3),
                                          .lost = strstr(line, "\"chunk lost\"") != NULL};
}

static void take_stage(struct account *a, const char *line)
{
    double pid = number(line, "os_pid"), stage = number(line, "tid");
    if (pid <= 0 || number(line, "pid") != 2)
        return;
    for (size_t i = 0; i < a->nstages; i++)
        if (a->stages[i].number == (uint64_t)stage)
            return;
    a->stages = room(a->stages, a->nstages, sizeof *a->stages);
    a->stages[a->nstages++] = (struct stage){(uint64_t)stage, (pid_t)pid};
}

/* pwcctl writes an event a line, and last what concerns all of them. */
static void read_trace(const char *path, struct account *ret)
{
    char line[4096];
    double base = -1, dropped = -1;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        bench_fail("%s: %m", path);
    memset(ret, 0, sizeof *ret);
    while (fgets(line, sizeof line, f) != NULL) {
        if (strstr(line, "\"cat\":\"chunks\"") != NULL)
            take_span(ret, line);
        take_stage(ret, line);
        base = base < 0 ? number(line, "base_ns") : base;
        dropped = dropped < 0 ? number(line, "records_dropped") : dropped;
    }
    fclose(f);
    if (base < 0 || dropped != 0)
        bench_fail("%s: it has no base, or %g records were dropped", path, dropped);
    ret->base = (uint64_t)base;
}

static bool is_process(const struct account *a, uint64_t stage, pid_t pid)
{
    for (size_t i = 0; i < a->nstages; i++)
        if (a->stages[i].number == stage)
            return a->stages[i].pid == pid;
    return false;
}

/* The chunk that was lost with the victim; NULL: it was in none. */
static const struct span *lost_with(const struct account *a, pid_t pid, uint64_t at)
{
    for (const struct span *s = a->spans; s < a->spans + a->nspans; s++)
        if (s->lost && s->from <= at && at <= s->to && is_process(a, s->stage, pid))
            return s;
    return NULL;
}

static uint64_t begun_again(const struct account *a, const struct span *lost, uint64_t at)
{
    uint64_t first = UINT64_MAX;
    for (const struct span *s = a->spans; s < a->spans + a->nspans; s++)
        if (s->chunk == lost->chunk && s->stage != lost->stage && s->from > at && s->from < first)
            first = s->from;
    if (first == UINT64_MAX)
        bench_fail("chunk %lu was lost and not begun again, says the trace", (unsigned long)lost->chunk);
    return first;
}

static void print_hits(const struct hunt *h, const struct account *a)
{
    double *seen = calloc(h->n, sizeof *seen), *again = calloc(h->n, sizeof *again);
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++) {
        uint64_t at = h->shots[i].at - a->base;
        const struct span *lost = lost_with(a, h->shots[i].pid, at);
        if (lost == NULL)
            continue;
        seen[n] = (double)(lost->to - at) * 1e-9;
        again[n++] = (double)(begun_again(a, lost, at) - at) * 1e-9;
    }
    if (h->n - n > 1 + h->n / MISSED_MOST)
        bench_fail("%zu of %zu kills met no chunk", h->n - n, h->n);
    bench_print_quantiles("", again, n);
    bench_print("max", bench_quantile(again, n, 1) * 1e6);
    bench_print_quantiles("seen_", seen, n);
    bench_print("kills", (double)n);
    bench_print("missed", (double)(h->n - n));
    free(seen);
    free(again);
}

/* ---- the job ---- */

static void take_nursery(const struct pwc_stage_info *s, void *user)
{
    if (strcmp(s->role, "nursery") == 0)
        *(pid_t *)user = (pid_t)s->pid;
}

static void find_processes(struct hunt *h)
{
    struct pwc *c = bench_connect();
    h->daemon = bench_daemon(c);
    if (pwc_list_stages(c, PWC_TIMEOUT_DEFAULT, take_nursery, &h->nursery) != PWC_OK)
        bench_fail("%s", pwc_error());
    pwc_close(c);
}

/* The moments of each round are others; the seed is told. */
static void seed_with(struct hunt *h, const char *text)
{
    uint64_t seed = text != NULL ? bench_number("seed", text, 0, 0xffffff) : now_ns() / 1000 & 0xffffff;
    h->seed[0] = 0x330e; /* as srand48(3) has it */
    h->seed[1] = (unsigned short)seed;
    h->seed[2] = (unsigned short)(seed >> 16);
    bench_print("seed", (double)seed);
}

/* What it does and what it must give: N STEPS SUM. */
static void run_under_fire(struct hunt *h, char **argv, uint64_t n)
{
    uint64_t steps = bench_number("steps", argv[4], 1, UINT64_MAX >> 1);
    uint64_t sum = bench_number("sum", argv[5], 0, UINT64_MAX);
    int out[2];
    if (pipe2(out, O_CLOEXEC) < 0)
        bench_fail("pipe: %m");
    h->command = start_retried(argv[1], argv[2], n, steps, out[1], "crash=100");
    shoot(h);
    check_result(out[0], n, sum);
    close(out[0]);
}

int cmd_anytime(int argc, char **argv)
{
    struct hunt h = {0};
    struct account a;
    if (argc < 7)
        bench_fail("anytime PWCCTL TRACE N STEPS SUM KILLS [SEED]");
    h.most = bench_number("kills", argv[6], 1, SHOTS_MAX);
    h.shots = calloc(h.most, sizeof *h.shots);
    seed_with(&h, argv[7]);
    find_processes(&h);
    run_under_fire(&h, argv, bench_number("chunks", argv[3], 1, UINT64_MAX >> 1));
    read_trace(argv[2], &a);
    print_hits(&h, &a);
    free(a.spans);
    free(a.stages);
    free(h.shots);
    return 0;
}
