/*
 * chaos.c - jobs while the processes under them die; see chaos.h. Usage:
 *
 *   chaos SOCKET PID INPUTS JOBS CLIENTS RATE_MIN RATE_MAX SEED
 *
 * Order: undisturbed runs, the daemon's level at rest, jobs under the killer, the daemon's level again. The
 * first thing that is wrong ends the program with 1 and one line.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/chaos/chaos.h"

#ifdef PWC_SANITIZED
#define SLOW_BUILD true /* whose stages take so long to be born that there is often nobody to hit */
#define RSS_SLACK                                                                                            \
    (512u << 20) /* what was freed is kept to see who uses it; what is lost, the sanitizer says */
#else
#define SLOW_BUILD false
#define RSS_SLACK  (3u << 20) /* the allocator's leavings, not a job's: those grow with the jobs */
#endif

static struct {
    struct options o;
    _Atomic unsigned next; /* job to be started */
    pthread_mutex_t lock;
    struct tally tally;
} chaos = {.lock = PTHREAD_MUTEX_INITIALIZER};

void give_up(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fflush(stdout);
    fputs("chaos: ", stderr);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, " (seed %lu)\n", (unsigned long)chaos.o.seed);
    va_end(ap);
    kill(chaos.o.pid, SIGUSR1); /* its tables go to its log */
    _exit(1);
}

static struct pwc *connect_to(const char *socket)
{
    struct pwc *c;
    if (pwc_connect(socket, PWC_TIMEOUT_DEFAULT, &c) != PWC_OK)
        give_up("%s", pwc_error());
    return c;
}

static void add_tally(const struct tally *t)
{
    pthread_mutex_lock(&chaos.lock);
    for (int k = 0; k < KINDS; k++)
        chaos.tally.jobs[k] += t->jobs[k];
    chaos.tally.deaths += t->deaths;
    chaos.tally.retried += t->retried;
    chaos.tally.redone += t->redone;
    pthread_mutex_unlock(&chaos.lock);
}

/* Most jobs share processes, as users' do. As many ways as have no factor in common with the kinds. */
static const struct apart ways[11] = {
    [2] = {PWC_ISOLATION_JOB, NULL}, [5] = {PWC_ISOLATION_CHUNK, NULL}, [8] = {PWC_ISOLATION_USER, "others"}};

/* A connection of its own; job after job until all have been started. */
static void *client_main(void *arg)
{
    (void)arg;
    struct tally mine = {0};
    struct pwc *c = connect_to(chaos.o.socket);
    unsigned i;
    while ((i = chaos.next++) < chaos.o.jobs) {
        int kind = (int)(i % KINDS);
        while (!kind_usable(kind))
            kind = (kind + 1) % KINDS;
        jobs_run(c, kind, &ways[i % ARRAY_LEN(ways)], &mine);
    }
    pwc_close(c);
    add_tally(&mine);
    return NULL;
}

static void disturbed(void)
{
    pthread_t clients[64];
    struct killer *k = killer_start(&chaos.o);
    for (unsigned i = 0; i < chaos.o.clients; i++)
        if (pthread_create(&clients[i], NULL, client_main, NULL) != 0)
            give_up("no thread");
    for (unsigned i = 0; i < chaos.o.clients; i++)
        pthread_join(clients[i], NULL);
    double rate = killer_stop(k);
    const struct tally *t = &chaos.tally;
    for (int i = 0; i < KINDS; i++)
        printf("chaos: %u jobs %s\n", t->jobs[i], kind_name(i));
    printf("counts: %lu deaths in jobs, %lu chunks retried, %lu done again\n", (unsigned long)t->deaths,
           (unsigned long)t->retried, (unsigned long)t->redone);
    if (t->deaths == 0)
        give_up("no job was hit: this proves nothing");
    if (rate < chaos.o.rate_min && !SLOW_BUILD)
        give_up("%.1f signals a second have hit where %u was the least: this proves little", rate,
                chaos.o.rate_min);
}

static void compare_levels(const struct level *before, const struct level *after)
{
    if (after->fds != before->fds)
        give_up("%u descriptors in pwcd, %u before", after->fds, before->fds);
    if (after->mappings != before->mappings)
        give_up("%u mappings of stages in pwcd, %u before", after->mappings, before->mappings);
    if (after->children != before->children)
        give_up("%u children of pwcd, %u before", after->children, before->children);
    if (after->rss > before->rss + RSS_SLACK)
        give_up("pwcd grew from %lu to %lu KiB", (unsigned long)(before->rss / 1024),
                (unsigned long)(after->rss / 1024));
}

static unsigned number(const char *text, unsigned least, unsigned most)
{
    unsigned long v = strtoul(text, NULL, 10);
    if (v < least || v > most)
        give_up("'%s' is no number from %u to %u", text, least, most);
    return (unsigned)v;
}

int main(int argc, char **argv)
{
    struct options *o = &chaos.o;
    if (argc != 9)
        return fputs("usage: chaos SOCKET PID INPUTS JOBS CLIENTS RATE_MIN RATE_MAX SEED\n", stderr), 64;
    setvbuf(stdout, NULL, _IOLBF, 0);
    o->socket = argv[1];
    o->inputs = argv[3];
    o->pid = (int)number(argv[2], 2, 1u << 22);
    o->jobs = number(argv[4], 1, 1000000);
    o->clients = number(argv[5], 1, 64);
    o->rate_min = number(argv[6], 1, 1000);
    o->rate_max = number(argv[7], o->rate_min, 1000);
    o->seed = strtoull(argv[8], NULL, 10);
    printf("chaos: seed %lu\n", (unsigned long)o->seed);

    jobs_prepare(o->inputs);
    struct pwc *c = connect_to(o->socket);
    jobs_reference(c);
    struct level before = level_at_rest(c, o->pid);
    level_print("before", &before);
    disturbed();
    struct level after = level_at_rest(c, o->pid);
    level_print("after", &after);
    compare_levels(&before, &after);
    pwc_close(c);
    return 0;
}
