/*
 * client_deaths.c - what a death costs: until the chunk stands in another process's slot, and over a whole
 * job.
 *
 * Seen from outside, through the daemon's list of stages: the time from our SIGKILL until the list shows the
 * chunk in another process. A list costs some 100 us, in the same daemon that handles the death, so the
 * figure is an upper bound; the time between the two last looks is printed as the resolution.
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
#define TOLD_S    0.5

struct look {
    struct {
        pid_t pid;
        uint64_t chunk;
    } busy[LOOKS_MAX];
    size_t n;
    uint64_t job;
};

static size_t deaths_told;
static uint64_t chunk_told;

static void on_death(struct pwc_job *job, const struct pwc_death *death, int given_up, void *user)
{
    (void)job, (void)given_up, (void)user;
    chunk_told = death->chunk;
    deaths_told++;
}

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
    static const struct pwc_callbacks cb = {.death = on_death};
    struct pwc_policy policy;
    struct pwc_job *job;
    struct pwc_spec *spec = bench_chunks_spec("bench.mix", n, steps);
    pwc_policy_default(&policy);
    policy.retries_crash = 100;
    pwc_spec_policy(spec, &policy);
    pwc_spec_callbacks(spec, &cb, NULL);
    if (pwc_submit(c, spec, &job) != PWC_OK || pwc_wait_accepted(job, PWC_TIMEOUT_DEFAULT) != PWC_OK)
        bench_fail("%s", pwc_error());
    pwc_spec_free(spec);
    return job;
}

struct hit {
    double told, elsewhere, resolution; /* seconds; told: until the daemon says that it is dead */
};

static bool stands_elsewhere(const struct look *l, pid_t pid, uint64_t chunk)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->busy[i].pid != pid && l->busy[i].chunk == chunk)
            return true;
    return false;
}

/* Short chunks are over before we look: then the seat counts, filled again when as many are in chunks as
 * before. */
static size_t others(const struct look *l, pid_t pid)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += l->busy[i].pid != pid;
    return n;
}

/* false: it was between two chunks, so that no chunk is tried again and nothing is told. */
static bool await_death(struct pwc *c, size_t told)
{
    double start = bench_now();
    while (deaths_told == told && bench_now() - start < TOLD_S)
        if (pwc_dispatch(c, (int)(TOLD_S * 1e3)) != PWC_OK)
            bench_fail("%s", pwc_error());
    return deaths_told > told;
}

/* Kills the first worker that is in a chunk. Its obituary says which that was. */
static bool hit_one(struct pwc *c, struct look *l, bool seat, struct hit *ret)
{
    do
        look(c, l);
    while (l->n == 0);
    pid_t pid = l->busy[0].pid;
    size_t told = deaths_told, busy = l->n;
    double start = bench_now(), before, now;
    kill(pid, SIGKILL);
    if (!await_death(c, told))
        return false;
    now = bench_now();
    ret->told = now - start;
    do {
        before = now;
        look(c, l);
        now = bench_now();
        if (now - start > GIVE_UP_S)
            bench_fail("chunk %lu did not turn up elsewhere", (unsigned long)chunk_told);
    } while (seat ? others(l, pid) < busy : !stands_elsewhere(l, pid, chunk_told));
    ret->resolution = now - before;
    ret->elsewhere = now - start;
    return true;
}

int cmd_kill(int argc, char **argv)
{
    size_t n = bench_number("kills", argc > 1 ? argv[1] : NULL, 1, 1 << 20), got = 0;
    uint64_t steps = bench_number("steps", argc > 2 ? argv[2] : NULL, 1, UINT64_MAX >> 1);
    double *elsewhere = calloc(n, sizeof(double)), *resolution = calloc(n, sizeof(double));
    double *told = calloc(n, sizeof(double));
    struct pwc *c = bench_connect();
    struct pwc_job *job = start_job(c, 1u << 30, steps);
    struct look l = {.job = pwc_job_id(job)};
    while (got < n) {
        struct hit hit;
        if (!hit_one(c, &l, false, &hit))
            continue;
        told[got] = hit.told;
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
    bench_print_quantiles("told_", told, n);
    bench_print_quantiles("resolution_", resolution, n);
    pwc_job_free(job);
    pwc_close(c);
    free(told);
    free(elsewhere);
    free(resolution);
    return 0;
}

/* ---- a job under fire: what it lost ---- */

/* CPU that went into chunks, and into anything else. */
struct spent {
    double pool;  /* supervisor and nursery */
    double spare; /* starting and attaching a stage: the most that one which has computed nothing has used */
};

static void add_spent(const struct pwc_stage_info *s, void *user)
{
    struct spent *x = user;
    double cpu = bench_cpu_of((pid_t)s->pid);
    if (strcmp(s->role, "nursery") == 0)
        x->pool += cpu;
    else if (s->chunks == 0 && !s->in_chunk && cpu > x->spare)
        x->spare = cpu;
}

static struct spent spent_so_far(struct pwc *c, pid_t daemon)
{
    struct spent x = {.pool = bench_cpu_of(daemon)};
    if (pwc_list_stages(c, PWC_TIMEOUT_DEFAULT, add_spent, &x) != PWC_OK)
        bench_fail("%s", pwc_error());
    return x;
}

struct fire {
    size_t kills;
    double idle; /* seconds of a seat, from the kills until the chunks stood elsewhere */
};

static void shoot_until_done(struct pwc *c, struct pwc_job *job, double every, struct fire *ret)
{
    struct look l = {.job = pwc_job_id(job)};
    struct hit hit;
    double next = bench_now() + every;
    while (pwc_wait(job, (int)((next > bench_now() ? next - bench_now() : 0) * 1e3) + 1) == PWC_E_TIMEOUT) {
        if (bench_now() < next)
            continue;
        if (hit_one(c, &l, true, &hit)) {
            ret->kills++;
            ret->idle += hit.elsewhere;
        }
        next += every;
    }
}

int cmd_kills(int argc, char **argv)
{
    uint64_t n = bench_number("chunks", argc > 1 ? argv[1] : NULL, 1, UINT64_MAX >> 1);
    uint64_t steps = bench_number("steps", argc > 2 ? argv[2] : NULL, 1, UINT64_MAX >> 1);
    double every = strtod(argc > 3 ? argv[3] : "1", NULL);
    struct pwc *c = bench_connect();
    pid_t daemon = bench_daemon(c);
    struct fire fire = {0};
    struct pwc_counts counts;
    struct spent before = spent_so_far(c, daemon);
    double cpu = bench_cpu_of_family(daemon), start = bench_now();
    struct pwc_job *job = start_job(c, n, steps);
    shoot_until_done(c, job, every > 0 ? every : 1e9, &fire);
    if (pwc_wait(job, PWC_FOREVER) != PWC_OK)
        bench_fail("%s", pwc_error());
    double seconds = bench_now() - start, seats = pwc_daemon(c)->workers * seconds;
    struct spent after = spent_so_far(c, daemon);
    cpu = bench_cpu_of_family(daemon) - cpu;
    pwc_job_counts(job, &counts);
    if (bench_result(job, "chunks") != n)
        bench_fail("%lu chunks counted, not %lu", (unsigned long)bench_result(job, "chunks"),
                   (unsigned long)n);
    double again = (double)(counts.redone + counts.retried);
    double redone = cpu * again / ((double)n + again);
    double respawn = after.pool - before.pool + (double)fire.kills * after.spare;
    bench_print("seconds", seconds);
    bench_print("kills", (double)fire.kills);
    bench_print("redone_percent", 100 * redone / seats);
    bench_print("idle_percent", 100 * fire.idle / seats);
    bench_print("respawn_percent", 100 * respawn / seats);
    bench_print("lost_percent", 100 * (redone + fire.idle + respawn) / seats);
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
