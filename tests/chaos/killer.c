/*
 * killer.c - picks a role, then one of its processes, then a signal, some 10 to 100 times a second.
 *
 * Roles are weighted, and some have peace for a while after each strike: killed as often as workers, the one
 * consumer of a job, which starts from nothing, would never get to its end, and six stages that die in a row
 * before they are ready mean to the daemon, rightly, that none can be started. However slow the machine is, a
 * job whose planner, producer and consumer were struck often is left alone by and by: it must not give up. A
 * pid is only as good as the list it stands in; so it is opened first, then checked to be a child of the
 * daemon still, and only then signalled.
 */
#include <poll.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/chaos/chaos.h"

#define CANDIDATES 256
#define JOBS_KNOWN 4096u
#define LEFT_ALONE 12 /* strikes at a job's roles: it bears 100 (jobs.c), but each begins it anew */

/* Peace: five new ones that are struck with none ready between them are a pool that cannot start, and jobs
 * fail. */
static const struct {
    const char *name;
    unsigned weight, peace_ms;
    bool one; /* of a job, which bears only so many deaths of them */
} roles[] = {{"worker", 60, 0, false},    {"parked", 15, 0, false},   {"spare", 12, 150, false},
             {"nursery", 4, 2000, false}, {"planner", 30, 300, true}, {"producer", 30, 300, true},
             {"consumer", 6, 200, true},  {"booting", 3, 1000, false}};
enum { BOOTING = ARRAY_LEN(roles) - 1 }; /* of any role, before it is ready */
/* All that end a process or stop it, and one to which a stage is deaf: Ctrl-C's kin must cost nothing. */
static const struct {
    int signal;
    unsigned weight;
} signals[] = {{SIGKILL, 50}, {SIGSEGV, 12}, {SIGSTOP, 10}, {SIGABRT, 6}, {SIGBUS, 6},
               {SIGFPE, 4},   {SIGILL, 4},   {SIGTRAP, 2},  {SIGXCPU, 2}, {SIGTERM, 4}}; /* 100 */

struct candidate {
    int pid;
    unsigned role;
    uint64_t job;
};

struct killer {
    pthread_t thread;
    const struct options *o;
    struct pwc *c;
    uint64_t random;
    _Atomic bool stop;
    struct candidate list[CANDIDATES];
    unsigned n;
    struct mono struck[ARRAY_LEN(roles)];
    uint64_t hits[ARRAY_LEN(roles)][ARRAY_LEN(signals)];
    uint8_t strikes[JOBS_KNOWN]; /* at planner, producer and consumer of a job */
    struct mono since;
};

/* xorshift64*: the same numbers on every machine. */
uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dull;
}

static unsigned below(struct killer *k, unsigned n)
{
    return (unsigned)(random_next(&k->random) >> 33) % n;
}

static bool is_up(const struct pwc_stage_info *info)
{
    return strcmp(info->state, "booting") != 0 && strcmp(info->state, "entering") != 0;
}

static uint8_t *strikes_at(struct killer *k, uint64_t job)
{
    return &k->strikes[job % JOBS_KNOWN];
}

static void note_stage(const struct pwc_stage_info *info, void *user)
{
    struct killer *k = user;
    for (unsigned i = 0; i < ARRAY_LEN(roles) && k->n < CANDIDATES; i++)
        if (strcmp(info->role, roles[i].name) == 0 && info->pid != 0 &&
            !(roles[i].one && *strikes_at(k, info->job) >= LEFT_ALONE))
            k->list[k->n++] = (struct candidate){(int)info->pid, is_up(info) ? i : BOOTING, info->job};
}

/* A role that is there, by weight; then one of its processes. -1: nobody is there. */
static int choose(struct killer *k)
{
    unsigned there[ARRAY_LEN(roles)] = {0}, sum = 0, role = 0;
    for (unsigned i = 0; i < k->n; i++)
        if (mono_since(clock_now(), k->struck[k->list[i].role]) > roles[k->list[i].role].peace_ms * NS_PER_MS)
            there[k->list[i].role]++;
    for (unsigned i = 0; i < ARRAY_LEN(roles); i++)
        sum += there[i] > 0 ? roles[i].weight : 0;
    if (sum == 0)
        return -1;
    unsigned at = below(k, sum);
    for (;; role++) {
        unsigned w = there[role] > 0 ? roles[role].weight : 0;
        if (at < w)
            break;
        at -= w;
    }
    unsigned which = below(k, there[role]);
    for (unsigned i = 0; i < k->n; i++)
        if (k->list[i].role == role && which-- == 0)
            return (int)i;
    return -1;
}

static int parent_of(int pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f != NULL)
        fclose(f);
    text[n] = '\0';
    const char *after = strrchr(text, ')');
    int parent = -1;
    return after != NULL && sscanf(after, ") %*c %d", &parent) == 1 ? parent : -1;
}

static unsigned choose_signal(struct killer *k)
{
    unsigned at = below(k, 100), i = 0;
    while (at >= signals[i].weight)
        at -= signals[i++].weight;
    return i;
}

static void note_hit(struct killer *k, const struct candidate *c, unsigned sig)
{
    k->hits[c->role][sig]++;
    k->struck[c->role] = clock_now();
    if (roles[c->role].one)
        ++*strikes_at(k, c->job);
}

static void strike(struct killer *k)
{
    k->n = 0;
    if (pwc_list_stages(k->c, 30000, note_stage, k) != PWC_OK)
        give_up("pwcd does not list its stages: %s", pwc_error());
    int at = choose(k);
    if (at < 0)
        return;
    int fd = (int)syscall(SYS_pidfd_open, k->list[at].pid, 0);
    unsigned sig = choose_signal(k);
    if (fd >= 0 && parent_of(k->list[at].pid) == k->o->pid &&
        syscall(SYS_pidfd_send_signal, fd, signals[sig].signal, NULL, 0) == 0)
        note_hit(k, &k->list[at], sig);
    if (fd >= 0)
        close(fd);
}

/* With sanitizers a stage takes several times as long to come to its chunk: at the full rate the workers of a
 * single job that is left would all die before they do. */
#ifdef PWC_SANITIZED
#define SLOWER 3u
#else
#define SLOWER 1u
#endif

/* Every second another rate. */
static void *killer_main(void *arg)
{
    struct killer *k = arg;
    unsigned rate = 0;
    for (struct mono second = {0}; !k->stop;) {
        if (rate == 0 || mono_since(clock_now(), second) > NS_PER_S) {
            rate = k->o->rate_min + below(k, (k->o->rate_max - k->o->rate_min) / SLOWER + 1);
            second = clock_now();
        }
        int64_t ns = NS_PER_S / rate;
        struct timespec pace = {ns / NS_PER_S, ns % NS_PER_S};
        ppoll(NULL, 0, &pace, NULL); /* the rate of strikes, not a wait for anything */
        strike(k);
    }
    return NULL;
}

struct killer *killer_start(const struct options *o)
{
    struct killer *k = xcalloc(1, sizeof *k);
    k->o = o;
    k->random = o->seed * 2 + 1;
    k->since = clock_now();
    if (pwc_connect(o->socket, PWC_TIMEOUT_DEFAULT, &k->c) != PWC_OK)
        give_up("killer: %s", pwc_error());
    if (pthread_create(&k->thread, NULL, killer_main, k) != 0)
        give_up("no thread");
    return k;
}

double killer_stop(struct killer *k)
{
    uint64_t total = 0;
    k->stop = true;
    pthread_join(k->thread, NULL);
    for (unsigned r = 0; r < ARRAY_LEN(roles); r++) {
        printf("chaos: %-8s", roles[r].name);
        for (unsigned s = 0; s < ARRAY_LEN(signals); s++) {
            printf("  SIG%s %4lu", sigabbrev_np(signals[s].signal), (unsigned long)k->hits[r][s]);
            total += k->hits[r][s];
        }
        putchar('\n');
    }
    double seconds = (double)mono_since(clock_now(), k->since) / 1e9, rate = (double)total / seconds;
    printf("counts: %lu signals in %.1f s, %.1f a second\n", (unsigned long)total, seconds, rate);
    pwc_close(k->c);
    free(k);
    return rate;
}
