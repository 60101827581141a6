/*
 * client_deaths.c - what a death costs: until the chunk stands in another process's slot, and over a whole
 * job.
 *
 * Times are taken where they happen: from just before our SIGKILL until the moment that the other process has
 * put into its slot as the start of its lease (slots.h). Looking for it costs the daemon nothing, so it may
 * be done late. How long the daemon took to say that the worker is dead is printed beside it.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "tests/bench/client.h"
#include "tests/bench/slots.h"

#define GIVE_UP_S 10.0
#define TOLD_S    0.5
#define LOOK_MS   1 /* between two looks at the slots */

static size_t deaths_told;
static uint64_t chunk_told;

static void on_death(struct pwc_job *job, const struct pwc_death *death, int given_up, void *user)
{
    (void)job, (void)given_up, (void)user;
    chunk_told = death->chunk;
    deaths_told++;
}

struct target {
    pid_t pid;
    uint64_t job;
};

static void take_first(const struct pwc_stage_info *s, void *user)
{
    struct target *t = user;
    if (t->pid == 0 && s->in_chunk && s->job == t->job)
        t->pid = (pid_t)s->pid;
}

/* A worker that is in a chunk of the job; pid 0: none is just now. */
static struct target aim(struct pwc *c, uint64_t job)
{
    struct target t = {.job = job};
    if (pwc_list_stages(c, PWC_TIMEOUT_DEFAULT, take_first, &t) != PWC_OK)
        bench_fail("%s", pwc_error());
    return t;
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
    double told, elsewhere; /* seconds; told: until the daemon says that it is dead */
};

/* Who has begun something since? Short chunks are over before we look, so here the seat counts: it was filled
 * by one who was idle before, or, when the dead one's place in memory is used again, by then all of them. */
static const struct slot_seen *seat_filled(const struct slots *before, const struct slots *now,
                                           uint64_t killed_ns)
{
    size_t busy = 0, begun = 0;
    const struct slot_seen *last = NULL;
    for (size_t i = 0; i < before->n; i++)
        busy += before->seen[i].chunk != SLOT_IDLE;
    for (size_t i = 0; i < now->n; i++) {
        const struct slot_seen *s = &now->seen[i], *old = slots_at(before, s->at);
        if (s->since <= killed_ns)
            continue;
        if (old == NULL || old->chunk == SLOT_IDLE)
            return s;
        begun++;
        last = last == NULL || s->since > last->since ? s : last;
    }
    return begun >= busy ? last : NULL;
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

/* Kills a worker that is in a chunk. Its obituary says which that was. */
static bool hit_one(struct pwc *c, pid_t daemon, uint64_t job, bool seat, struct hit *ret)
{
    struct slots before, now;
    struct target t;
    const struct slot_seen *next;
    do
        t = aim(c, job);
    while (t.pid == 0);
    size_t told = deaths_told;
    slots_read(daemon, &before);
    double start = bench_now();
    uint64_t killed_ns = (uint64_t)(start * 1e9);
    kill(t.pid, SIGKILL);
    if (!await_death(c, told))
        return false;
    ret->told = bench_now() - start;
    for (;;) {
        slots_read(daemon, &now);
        next = seat ? seat_filled(&before, &now, killed_ns) : slots_begun(&now, chunk_told, killed_ns);
        if (next != NULL)
            break;
        if (bench_now() - start > GIVE_UP_S)
            bench_fail("chunk %lu did not turn up elsewhere", (unsigned long)chunk_told);
        poll(NULL, 0, LOOK_MS);
    }
    ret->elsewhere = (double)(next->since - killed_ns) * 1e-9;
    return true;
}

int cmd_kill(int argc, char **argv)
{
    size_t n = bench_number("kills", argc > 1 ? argv[1] : NULL, 1, 1 << 20), got = 0;
    uint64_t steps = bench_number("steps", argc > 2 ? argv[2] : NULL, 1, UINT64_MAX >> 1);
    double *elsewhere = calloc(n, sizeof(double)), *told = calloc(n, sizeof(double));
    struct pwc *c = bench_connect();
    pid_t daemon = bench_daemon(c);
    struct pwc_job *job = start_job(c, 1u << 30, steps);
    while (got < n) {
        struct hit hit;
        if (!hit_one(c, daemon, pwc_job_id(job), false, &hit))
            continue;
        told[got] = hit.told;
        elsewhere[got++] = hit.elsewhere;
        poll(NULL, 0, 20); /* the pool makes a new spare meanwhile, as it would between rare deaths */
    }
    pwc_cancel(job);
    pwc_wait(job, PWC_FOREVER);
    if (pwc_job_state(job) != PWC_JOB_CANCELLED)
        bench_fail("the job ended: %s", pwc_job_reason(job));
    bench_print("max", bench_quantile(elsewhere, n, 1) * 1e6);
    bench_print_quantiles("", elsewhere, n);
    bench_print_quantiles("told_", told, n);
    pwc_job_free(job);
    pwc_close(c);
    free(told);
    free(elsewhere);
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

static void shoot_until_done(struct pwc *c, pid_t daemon, struct pwc_job *job, double every, struct fire *ret)
{
    struct hit hit;
    double next = bench_now() + every;
    while (pwc_wait(job, (int)((next > bench_now() ? next - bench_now() : 0) * 1e3) + 1) == PWC_E_TIMEOUT) {
        if (bench_now() < next)
            continue;
        if (hit_one(c, daemon, pwc_job_id(job), true, &hit)) {
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
    shoot_until_done(c, daemon, job, every > 0 ? every : 1e9, &fire);
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
