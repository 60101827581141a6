/*
 * client_deaths.c - what a death costs: until the chunk stands in another process's slot, and over a whole
 * job, by the account that the job's trace gives and by the clock.
 *
 * Times of the first are taken where they happen: from just before our SIGKILL until the moment that the
 * other process has put into its slot as the start of its lease (slots.h). Looking for it costs the daemon
 * nothing. How long the daemon took to say that the worker is dead is printed beside
 * it.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/client.h"
#include "tests/bench/slots.h"
#include "tests/bench/traced.h"

#define SEEN_S      1.0
#define UNSEEN_MOST 50 /* one in so many */
#define MISSED_MOST 12 /* one in a hundred on a quiet machine: a lease ends between aiming and the kill */
#define LOOK_MS     2  /* between two looks at the slots: less than a chunk takes */

/* To aim wakes the daemon, to look takes a processor from a worker, whom the kernel then may leave waiting on
 * the other one for milliseconds: a killed process that is not on a processor does not begin to end. So there
 * is a pause between aiming and the kill, and another before the first look; both are less than a chunk
 * takes. */
#define SETTLE_MS 2
#define CALM_MS   10

static size_t deaths_told;
static uint64_t chunk_told, told_at;
static bool in_chunk_told;

static void on_death(struct pwc_job *job, const struct pwc_death *death, int given_up, void *user)
{
    (void)job, (void)given_up, (void)user;
    chunk_told = death->chunk;
    in_chunk_told = death->in_chunk;
    told_at = death->at_ns;
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
static struct target aim(struct pwc *c, struct pwc_job *job)
{
    struct target t = {.job = pwc_job_id(job)};
    if (pwc_job_state(job) >= PWC_JOB_DONE)
        bench_fail("the job ended: %s", pwc_job_reason(job));
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
    double told, elsewhere; /* seconds; told: until the daemon takes it for dead */
};

/* What was begun since the kill: a slot keeps that only until its stage begins with something else. */
static void look(pid_t daemon, uint64_t killed_ns, struct slots *begun)
{
    struct slots now;
    slots_read(daemon, &now);
    for (size_t i = 0; i < now.n; i++) {
        const struct slot_seen *x = &now.seen[i];
        if (x->since > killed_ns && slots_begun(begun, x->chunk, killed_ns) == NULL && begun->n < SLOTS_MAX)
            begun->seen[begun->n++] = *x;
    }
}

/*
 * Kills a worker that is in a chunk. Its obituary says which that was, or that it was between two by then:
 * only such a kill is missed, and how many there were is told with the result. Silence is none: a worker that
 * had no lease looks like a daemon that has not noticed, so both took as long as was waited. So did a chunk
 * that was not seen elsewhere: a machine that stands still for longer than one takes, as virtual ones do,
 * hides where it was begun.
 */
enum outcome { HIT, MISSED, UNSEEN };

/* What records of deaths are dated by. */
static uint64_t real_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static enum outcome hit_one(struct pwc *c, pid_t daemon, struct pwc_job *job, struct hit *ret)
{
    struct slots begun = {.n = 0};
    struct target t;
    const struct slot_seen *next = NULL;
    do
        t = aim(c, job);
    while (t.pid == 0);
    size_t told = deaths_told;
    poll(NULL, 0, SETTLE_MS);
    double start = bench_now();
    uint64_t killed_ns = (uint64_t)(start * 1e9), killed_at = real_ns();
    kill(t.pid, SIGKILL);
    poll(NULL, 0, CALM_MS);
    while (next == NULL) {
        if (pwc_dispatch(c, LOOK_MS) != PWC_OK)
            bench_fail("%s", pwc_error());
        double age = bench_now() - start;
        bool silent = deaths_told == told;
        if (!silent && !in_chunk_told)
            return MISSED;
        ret->told = silent ? SEEN_S : (double)(int64_t)(told_at - killed_at) * 1e-9;
        look(daemon, killed_ns, &begun);
        if (!silent)
            next = slots_begun(&begun, chunk_told, killed_ns);
        if (next == NULL && age > SEEN_S) {
            ret->elsewhere = SEEN_S;
            return UNSEEN;
        }
    }
    ret->elsewhere = (double)(next->since - killed_ns) * 1e-9;
    return HIT;
}

static void print_hits(const struct hit *hits, size_t n)
{
    double *elsewhere = calloc(n, sizeof(double)), *told = calloc(n, sizeof(double));
    for (size_t i = 0; i < n; i++) {
        elsewhere[i] = hits[i].elsewhere;
        told[i] = hits[i].told;
    }
    bench_print("max", bench_quantile(elsewhere, n, 1) * 1e6);
    bench_print_quantiles("", elsewhere, n);
    bench_print_quantiles("told_", told, n);
    free(told);
    free(elsewhere);
}

int cmd_kill(int argc, char **argv)
{
    size_t n = bench_number("kills", argc > 1 ? argv[1] : NULL, 1, 1 << 20), unseen = 0, missed = 0;
    uint64_t steps = bench_number("steps", argc > 2 ? argv[2] : NULL, 1, UINT64_MAX >> 1);
    struct hit *hits = calloc(n, sizeof *hits);
    struct pwc *c = bench_connect();
    pid_t daemon = bench_daemon(c);
    struct pwc_job *job = start_job(c, 1u << 30, steps);
    for (size_t got = 0; got < n;) {
        hits[got] = (struct hit){0};
        enum outcome o = hit_one(c, daemon, job, &hits[got]);
        unseen += o == UNSEEN;
        missed += o == MISSED;
        if (unseen > 1 + n / UNSEEN_MOST)
            bench_fail(
                "of %zu kills nothing was heard, or their chunk did not turn up elsewhere, within %g s",
                unseen, SEEN_S);
        if (missed > 1 + n / MISSED_MOST)
            bench_fail("%zu kills met no chunk", missed);
        got += o != MISSED;
        poll(NULL, 0, 20); /* the pool makes a new spare meanwhile, as it would between rare deaths */
    }
    pwc_cancel(job);
    pwc_wait(job, PWC_FOREVER);
    if (pwc_job_state(job) != PWC_JOB_CANCELLED)
        bench_fail("the job ended: %s", pwc_job_reason(job));
    print_hits(hits, n);
    bench_print("unseen", (double)unseen);
    bench_print("missed", (double)missed);
    pwc_job_free(job);
    pwc_close(c);
    free(hits);
    return 0;
}

/* ---- a job under fire: what it lost, by its own account ---- */

/* Any job: there is no other on this daemon. */
static void take_any(const struct pwc_stage_info *s, void *user)
{
    pid_t *pid = user;
    if (*pid == 0 && s->in_chunk)
        *pid = (pid_t)s->pid;
}

/* Until the command ends, which must be well; every: seconds, 0 for never, the first after half of that.
 * Returns the number of workers killed. */
static size_t shoot_until_done(struct pwc *c, pid_t command, double every)
{
    size_t kills = 0;
    int status;
    for (double next = bench_now() + every / 2; waitpid(command, &status, WNOHANG) == 0;) {
        pid_t pid = 0;
        poll(NULL, 0, LOOK_MS);
        if (every <= 0 || bench_now() < next)
            continue;
        if (pwc_list_stages(c, PWC_TIMEOUT_DEFAULT, take_any, &pid) != PWC_OK)
            bench_fail("%s", pwc_error());
        if (pid == 0 || kill(pid, SIGKILL) < 0)
            continue;
        kills++;
        next += every;
    }
    if (status != 0)
        bench_fail("pwcctl run failed");
    if (every > 0 && kills == 0)
        bench_fail("no worker was killed");
    return kills;
}

/* Of the jobs in which workers are killed; the sums of all. */
struct lost {
    double seconds, kills, deaths, redone, idle, respawn, together, again_p50, again_p99;
};

static void add_account(struct lost *l, const char *json)
{
    double p99 = account_number(json, "again_p99_ns");
    l->deaths += account_number(json, "count");
    l->redone += account_number(json, "redone_percent");
    l->idle += account_number(json, "idle_percent");
    l->respawn += account_number(json, "respawn_percent");
    l->together += account_number(json, "together_percent");
    l->again_p50 += account_number(json, "again_p50_ns");
    l->again_p99 = p99 > l->again_p99 ? p99 : l->again_p99;
}

static void print_lost(const struct lost *l)
{
    bench_print("seconds", l->seconds);
    bench_print("kills", l->kills);
    bench_print("deaths", l->deaths);
    bench_print("redone_percent", l->redone);
    bench_print("idle_percent", l->idle);
    bench_print("respawn_percent", l->respawn);
    bench_print("lost_percent", l->together);
    bench_print("again_p50", l->again_p50 * 1e-3);
    bench_print("again_p99", l->again_p99 * 1e-3);
}

/* What of cmd_kills' arguments is common to its jobs, and one job's size with the sum it must give. */
struct traced {
    const char *pwcctl, *trace;
    uint64_t steps;
};

struct size {
    uint64_t chunks, sum;
};

static struct size size_at(char **argv)
{
    return (struct size){bench_number("chunks", argv[0], 1, UINT64_MAX >> 1),
                         bench_number("sum", argv[1], 0, UINT64_MAX)};
}

static void check_account(const char *json, uint64_t n, size_t kills)
{
    if (account_number(json, "absorbed") != (double)n)
        bench_fail("%.0f chunks absorbed, not %lu", account_number(json, "absorbed"), (unsigned long)n);
    /* One that is hit between two leases costs the job nothing and is no death of it. */
    if (account_number(json, "count") > (double)kills)
        bench_fail("%.0f deaths, but only %zu kills", account_number(json, "count"), kills);
}

static void run_traced(const struct traced *t, struct size size, double every, struct lost *l)
{
    int out[2];
    char json[65536];
    struct pwc *c = bench_connect();
    if (pipe2(out, O_CLOEXEC) < 0)
        bench_fail("pipe: %m");
    double start = bench_now();
    size_t kills =
        shoot_until_done(c, start_traced(t->pwcctl, t->trace, size.chunks, t->steps, out[1]), every);
    l->seconds += bench_now() - start;
    pwc_close(c);
    check_result(out[0], size.chunks, size.sum);
    close(out[0]);
    read_account(t->pwcctl, t->trace, json, sizeof json);
    check_account(json, size.chunks, kills);
    l->kills += (double)kills;
    add_account(l, json);
}

/* The job under fire is long, the calm ones before and after it are short. What each command costs whatever
 * the job's size is known from those with a few chunks. */
int cmd_kills(int argc, char **argv)
{
    struct lost fire = {0}, calm = {0}, few = {0};
    if (argc < 11)
        bench_fail("kills PWCCTL TRACE STEPS SECONDS N SUM CALM-N CALM-SUM FEW-N FEW-SUM");
    struct traced t = {argv[1], argv[2], bench_number("steps", argv[3], 1, UINT64_MAX >> 1)};
    struct size long_one = size_at(argv + 5), short_one = size_at(argv + 7), least = size_at(argv + 9);
    for (int i = 0; i < 2; i++) {
        run_traced(&t, least, 0, &few);
        run_traced(&t, short_one, 0, &calm);
        if (i == 0)
            run_traced(&t, long_one, strtod(argv[4], NULL), &fire);
    }
    double per_chunk = (calm.seconds - few.seconds) / 2 / (double)(short_one.chunks - least.chunks);
    double without = few.seconds / 2 + per_chunk * (double)(long_one.chunks - least.chunks);
    print_lost(&fire);
    bench_print("without", without);
    bench_print("added_percent", 100 * (fire.seconds / without - 1));
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
