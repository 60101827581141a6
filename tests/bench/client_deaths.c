/*
 * client_deaths.c - what a death costs: until the chunk stands in another process's slot, and over a whole job.
 *
 * Seen from outside, through the daemon's list of stages: the time from our SIGKILL until the list shows the
 * chunk in another process. A list costs some 100 us, in the same daemon that handles the death, so the figure
 * is an upper bound; the time between the two last looks is printed as the resolution.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/client.h"

#define LOOKS_MAX 64
#define GIVE_UP_S 10.0

struct look {
    struct {
        pid_t pid;
        uint64_t chunk;
    } busy[LOOKS_MAX];
    size_t n;
    uint64_t job;
};

static void look_at(const struct pwc_stage_info *s, void *user)
{
    struct look *l = user;
    if (!s->in_chunk || s->job != l->job || l->n == LOOKS_MAX)
        return;
    l->busy[l->n].pid = (pid_t)s->pid;
    l->busy[l->n++].chunk = s->chunk;
}

static void look(struct pwc *c, struct look *l)
{
    l->n = 0;
    if (pwc_list_stages(c, PWC_TIMEOUT_DEFAULT, look_at, l) != PWC_OK)
        bench_fail("%s", pwc_error());
}

static struct pwc_job *start_job(struct pwc *c, uint64_t n, uint64_t steps)
{
    struct pwc_policy policy;
    struct pwc_job *job;
    struct pwc_spec *spec = bench_chunks_spec("bench.mix", n, steps);
    pwc_policy_default(&policy);
    policy.retries_crash = 100;
    pwc_spec_policy(spec, &policy);
    if (pwc_submit(c, spec, &job) != PWC_OK || pwc_wait_accepted(job, PWC_TIMEOUT_DEFAULT) != PWC_OK)
        bench_fail("%s", pwc_error());
    pwc_spec_free(spec);
    return job;
}

/* Kills the first worker that is in a chunk. The chunk is the one it was in after it died: it may have gone on. */
struct hit {
    double elsewhere, resolution;
};

static bool stands_elsewhere(const struct look *l, pid_t pid, uint64_t chunk)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->busy[i].pid != pid && l->busy[i].chunk == chunk)
            return true;
    return false;
}

static bool hit_one(struct pwc *c, struct look *l, struct hit *ret)
{
    do
        look(c, l);
    while (l->n == 0);
    pid_t pid = l->busy[0].pid;
    uint64_t chunk = l->busy[0].chunk;
    kill(pid, SIGSTOP); /* so that it stays where we see it */
    look(c, l);
    bool there = false;
    for (size_t i = 0; i < l->n; i++) {
        if (l->busy[i].pid != pid)
            continue;
        chunk = l->busy[i].chunk;
        there = true;
    }
    double start = bench_now(), before = start, now;
    kill(pid, SIGKILL);
    if (!there)
        return false;
    do {
        look(c, l);
        now = bench_now();
        ret->resolution = now - before;
        before = now;
        if (now - start > GIVE_UP_S)
            bench_fail("chunk %lu did not turn up elsewhere", (unsigned long)chunk);
    } while (!stands_elsewhere(l, pid, chunk));
    ret->elsewhere = now - start;
    return true;
}

int cmd_kill(int argc, char **argv)
{
    size_t n = bench_number("kills", argc > 1 ? argv[1] : NULL, 1, 1 << 20), got = 0;
    uint64_t steps = bench_number("steps", argc > 2 ? argv[2] : NULL, 1, UINT64_MAX >> 1);
    double *elsewhere = calloc(n, sizeof *elsewhere), *resolution = calloc(n, sizeof *resolution);
    struct pwc *c = bench_connect();
    struct pwc_job *job = start_job(c, 1u << 30, steps);
    struct look l = {.job = pwc_job_id(job)};
    while (got < n) {
        struct hit hit;
        if (!hit_one(c, &l, &hit))
            continue;
        elsewhere[got] = hit.elsewhere;
        resolution[got++] = hit.resolution;
        poll(NULL, 0, 20); /* the pool makes a new spare meanwhile, as it would between rare deaths */
    }
    pwc_cancel(job);
    pwc_wait(job, PWC_FOREVER);
    if (pwc_job_state(job) != PWC_JOB_CANCELLED)
        bench_fail("the job ended: %s", pwc_job_reason(job));
    bench_print("max", bench_quantile(elsewhere, n, 1) * 1e6);
    bench_print_quantiles("", elsewhere, n);
    bench_print_quantiles("resolution_", resolution, n);
    pwc_job_free(job);
    pwc_close(c);
    free(elsewhere);
    free(resolution);
    return 0;
}

/* ---- a job under fire ---- */

static uint64_t mix_result(struct pwc_job *job, const char *name)
{
    struct pwc_value v;
    if (pwc_result_value(job, name, &v) != PWC_OK || v.type != PWC_U64)
        bench_fail("no result %s", name);
    return v.u.u64;
}

static size_t shoot_until_done(struct pwc *c, struct pwc_job *job, double every)
{
    struct look l = {.job = pwc_job_id(job)};
    size_t kills = 0;
    double next = bench_now() + every;
    while (pwc_wait(job, (int)((next - bench_now() > 0 ? next - bench_now() : 0) * 1e3) + 1) == PWC_E_TIMEOUT) {
        if (bench_now() < next)
            continue;
        look(c, &l);
        if (l.n > 0 && kill(l.busy[kills % l.n].pid, SIGKILL) == 0)
            kills++;
        next += every;
    }
    return kills;
}

int cmd_kills(int argc, char **argv)
{
    uint64_t n = bench_number("chunks", argc > 1 ? argv[1] : NULL, 1, UINT64_MAX >> 1);
    uint64_t steps = bench_number("steps", argc > 2 ? argv[2] : NULL, 1, UINT64_MAX >> 1);
    double every = strtod(argc > 3 ? argv[3] : "1", NULL);
    struct pwc *c = bench_connect();
    pid_t daemon = bench_daemon(c);
    double cpu = bench_cpu_of_family(daemon), start = bench_now();
    struct pwc_job *job = start_job(c, n, steps);
    size_t kills = every > 0 ? shoot_until_done(c, job, every) : 0;
    if (pwc_wait(job, PWC_FOREVER) != PWC_OK)
        bench_fail("%s", pwc_error());
    double seconds = bench_now() - start;
    if (mix_result(job, "chunks") != n)
        bench_fail("%lu chunks counted, not %lu", (unsigned long)mix_result(job, "chunks"), (unsigned long)n);
    struct pwc_counts counts;
    pwc_job_counts(job, &counts);
    bench_print("seconds", seconds);
    bench_print("cpu", bench_cpu_of_family(daemon) - cpu);
    bench_print("kills", (double)kills);
    bench_print("deaths", (double)counts.deaths);
    bench_print("redone_percent", 100.0 * (double)(counts.redone + counts.retried) / (double)n);
    printf("sum %lu\n", (unsigned long)mix_result(job, "sum"));
    pwc_job_free(job);
    pwc_close(c);
    return 0;
}

/* ---- the peer: fork and exec of the same program ---- */

/* Until the first message, which is Ready. The stage finds its channel as descriptor 3 and ends with it. */
static double exec_once(const char *program)
{
    int sv[2];
    char byte;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        bench_fail("socketpair: %m");
    double start = bench_now();
    pid_t pid = fork();
    if (pid == 0) {
        if (dup3(sv[1], 3, 0) < 0 && sv[1] != 3)
            _exit(126);
        execl(program, program, "--stage", (char *)NULL);
        _exit(127);
    }
    close(sv[1]);
    if (pid < 0 || recv(sv[0], &byte, 1, 0) != 1)
        bench_fail("%s says nothing", program);
    double took = bench_now() - start;
    close(sv[0]);
    waitpid(pid, NULL, 0);
    return took;
}

int cmd_exec(int argc, char **argv)
{
    size_t n = bench_number("times", argc > 2 ? argv[2] : NULL, 1, 1 << 20);
    double *took = calloc(n, sizeof *took);
    for (size_t i = 0; i < n; i++)
        took[i] = exec_once(argv[1]);
    bench_print_quantiles("", took, n);
    free(took);
    return 0;
}
