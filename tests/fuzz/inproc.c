/* inproc.c - see inproc.h. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/closer.h"
#include "daemon/dispatch.h"
#include "daemon/flow.h"
#include "daemon/job.h"
#include "daemon/peek.h"
#include "daemon/pool.h"
#include "daemon/pressure.h"
#include "daemon/session.h"
#include "daemon/tables.h"
#include "ipc/fds.h"
#include "ipc/log.h"
#include "tests/fuzz/catalogue.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inproc.h"

#define TURNS_MAX    400
#define TIMERS_MAX   1024u
#define MEMORY_FILES "/dev/shm"

struct daemon world;
struct fake fakes[WORLD_STAGES];
struct caller callers[WORLD_CLIENTS];
static int64_t now = NS_PER_S;
static int null_fd = -1;
static unsigned open_before;
static uint64_t leases_seen; /* the last there was when the tables were looked at */

/* ---- what is replaced: the clock, the closer, processes, the memory there is, main.c ---- */

struct mono clock_now(void)
{
    return (struct mono){now += 1000};
}
int64_t clock_real_ns(void)
{
    return now;
}
int64_t clock_cpu_ns(void)
{
    return now;
}

void closer_close(int fd)
{
    close(fd);
}
void closer_close_for(int fd, uid_t uid)
{
    (void)uid;
    if (fd >= 0)
        close(fd);
}
uid_t closer_as(uid_t uid)
{
    return uid;
}
size_t closer_stuck(uid_t uid)
{
    (void)uid;
    return 0;
}
size_t closer_pending_of(uid_t uid)
{
    (void)uid;
    return 0;
}
size_t closer_pending(void)
{
    return 0;
}

/* Nothing of this machine shall decide what an input does. */
void daemon_tell_status(struct daemon *d)
{
    (void)d;
}
enum pressure pressure_now(void)
{
    return PRESSURE_NONE;
}
uint64_t pressure_worth_now(void)
{
    return 0;
}
uint64_t pressure_threads(pid_t pid)
{
    (void)pid;
    return 1;
}
bool pressure_oom_kills(uint64_t *ret)
{
    *ret = 0;
    return true;
}
bool pressure_of(pid_t pid, bool shared, uint64_t *ret_bytes)
{
    (void)pid, (void)shared;
    *ret_bytes = 0;
    return true;
}

/* Whether a timer is due must not hang on how fast this machine is: for libevent they never are, and
 * world_tick fires those whose time has come by the clock above. */
static struct {
    const struct event *ev;
    int64_t due;
} timers[TIMERS_MAX];
static unsigned ntimers;

static unsigned timer_of(const struct event *ev)
{
    unsigned i = 0;
    while (i < ntimers && timers[i].ev != ev)
        i++;
    return i;
}

int __wrap_event_add(struct event *ev, const struct timeval *tv);
int __real_event_add(struct event *ev, const struct timeval *tv);
int __wrap_event_add(struct event *ev, const struct timeval *tv)
{
    static const struct timeval never = {1000000, 0};
    if (tv == NULL)
        return __real_event_add(ev, NULL);
    unsigned i = timer_of(ev);
    FUZZ_CHECK(i < TIMERS_MAX);
    ntimers = MAX(ntimers, i + 1);
    timers[i].ev = ev;
    timers[i].due = now + tv->tv_sec * NS_PER_S + tv->tv_usec * NS_PER_US;
    return __real_event_add(ev, &never);
}

static struct fake *fake_of(int pidfd)
{
    for (unsigned i = 0; i < WORLD_STAGES; i++)
        if (fakes[i].used && fakes[i].pidfd == pidfd)
            return &fakes[i];
    return NULL;
}

void fake_die(struct fake *f)
{
    uint64_t one = 1;
    if (f->killed)
        return;
    f->killed = true;
    FUZZ_CHECK(write(f->pidfd, &one, sizeof one) == sizeof one);
    chan_free(f->chan);
    f->chan = NULL;
    segment_unmap(f->segment, SEGMENT_BYTES);
    f->segment = NULL;
}

static int reap(int pidfd, siginfo_t *info)
{
    struct fake *f = fake_of(pidfd);
    memset(info, 0, sizeof *info);
    if (f == NULL || !f->killed)
        return 0;
    info->si_pid = 100000 + (pid_t)(f - fakes);
    info->si_code = CLD_KILLED;
    info->si_status = SIGKILL;
    f->used = false; /* pwcd closes the pidfd */
    return 0;
}

long __wrap_syscall(long number, ...);
long __real_syscall(long number, ...);
/* Takes all the arguments a call can have, though this one may have fewer. */
__attribute__((no_sanitize("address"))) long __wrap_syscall(long number, ...)
{
    long a[6];
    va_list ap;
    va_start(ap, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (number == SYS_pidfd_send_signal) {
        struct fake *f = fake_of((int)a[0]);
        if (f != NULL && a[1] == SIGKILL)
            fake_die(f);
        return 0;
    }
    if (number == SYS_waitid)
        return reap((int)a[1], (siginfo_t *)(uintptr_t)a[2]);
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int nursery_spawn(struct pool *p, struct stage *s, int child_fd)
{
    (void)p;
    for (unsigned i = 0; i < WORLD_STAGES; i++) {
        struct fake *f = &fakes[i];
        if (f->used)
            continue;
        *f = (struct fake){.used = true, .pidfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .stage = s->id};
        f->chan = chan_new(fd_dup(child_fd), MSG_FROM_SUPER, NULL);
        stage_got_process(s, 100000 + (pid_t)i, f->pidfd);
        Stage__Ready m = STAGE__READY__INIT;
        (void)chan_send(f->chan, PWC_MSG_READY, 0, &m.base);
        return 0;
    }
    return -EAGAIN;
}
void nursery_start(struct pool *p)
{
    (void)p;
}
void nursery_stop(struct pool *p, struct mono until)
{
    (void)p, (void)until;
}
void nursery_watch(struct pool *p)
{
    (void)p;
}
void nursery_kill(struct pool *p)
{
    (void)p;
}
void nursery_acquitted(struct pool *p, const struct stage *s)
{
    (void)p, (void)s;
}
bool nursery_blamed(struct pool *p, const struct stage *s)
{
    (void)p, (void)s;
    return false;
}

void daemon_turn(struct daemon *d)
{
    tables_turn(d);
}
void daemon_check_stop(struct daemon *d)
{
    (void)d;
}

/* ---- what must be true between two callbacks ---- */

/* Others have had the seat under this lease: when its stage goes on, one too many computes. */
static bool was_lent(const struct stage *s)
{
    struct fake *f = fake_of(s->pidfd);
    if (f != NULL && s->lent)
        f->lent = s->lease.id;
    return f != NULL && f->lent == s->lease.id;
}

/* Whoever has none is owed one where none comes free: it is a seat more than there are for as long as he has
 * that lease, or one small one after another. */
static bool is_on_top(const struct stage *s)
{
    struct fake *f = fake_of(s->pidfd);
    if (f == NULL || !s->seat || s->lent)
        return false;
    bool follows = s->lease.small && f->on_top != 0 && f->on_top_since == s->seat_since.ns;
    bool begins = s->lease.id > leases_seen && world.seats_busy > world.seats && world.seats_owed > 0 &&
                  s->job->user->running == 1 && dispatch_full_long(&world);
    if (follows || begins) {
        f->on_top = s->lease.id;
        f->on_top_since = s->seat_since.ns;
    }
    return f->on_top == s->lease.id;
}

static void check_stages(void)
{
    uint32_t seats = 0, lent = 0, late = 0, on_top = 0, n = 0;
    const struct stage *s;
    TAILQ_FOREACH(s, &world.pool->stages, link)
    {
        n++;
        FUZZ_CHECK(s->seat || !s->lent);
        seats += s->seat && !s->lent;
        lent += s->lent;
        late += s->seat && was_lent(s) && !s->lent;
        on_top += is_on_top(s);
        FUZZ_CHECK((s->job != NULL) == (s->lease.kind != LEASE_NONE));
        FUZZ_CHECK(s->state != STAGE_IDLE || s->lease.kind == LEASE_NONE);
        FUZZ_CHECK(s->state != STAGE_BUSY || s->lease.kind != LEASE_NONE);
        FUZZ_CHECK(s->job == NULL || !job_is_terminal(s->job));
        FUZZ_CHECK(s->lease.first <= s->lease.end);
        FUZZ_CHECK(s->nahead == 0 || (s->lease.small && s->job != NULL));
    }
    FUZZ_CHECK(n == world.pool->n && seats == world.seats_busy && lent == world.seats_lent);
    FUZZ_CHECK(seats <= world.seats + late + on_top);
    leases_seen = world.next_lease;
}

static void check_job(const struct job *j)
{
    uint32_t on = 0, workers = 0;
    uint64_t held = 0;
    const struct stage *s;
    TAILQ_FOREACH(s, &world.pool->stages, link)
    {
        on += s->job == j;
        workers += s->job == j && s->seat;
        held += s->job == j && s->lease.kind == LEASE_CHUNKS ? s->lease.end - s->lease.first : 0;
        for (unsigned i = 0; i < s->nahead; i++)
            if (s->ahead[i].job == j) {
                on++;
                held++;
            }
    }
    const struct ledger *l = &j->ledger;
    FUZZ_CHECK(on == j->stages_on && workers == j->workers_on && held == l->held.count);
    FUZZ_CHECK(!job_is_terminal(j));
    FUZZ_CHECK(l->done.count + l->bad.count + l->held.count <= l->total);
    FUZZ_CHECK(j->assembly.absorbed <= j->assembly.sent);
}

static void check_world(void)
{
    check_stages();
    const struct user *u;
    const struct job *j;
    TAILQ_FOREACH(u, &world.users, link)
    {
        uint32_t active = 0, flying = 0;
        TAILQ_FOREACH(j, &u->active, link)
        {
            check_job(j);
            active++;
        }
        TAILQ_FOREACH(j, &u->flying, link)
        {
            check_job(j);
            FUZZ_CHECK(j->flying && j->stages_on == 1);
            flying++;
        }
        FUZZ_CHECK(flying == u->nflying && active + flying == u->nactive);
    }
}

void world_turn(void)
{
    for (int i = 0; i < TURNS_MAX; i++) {
        int r = event_base_loop(world.base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
        FUZZ_CHECK(r >= 0);
        check_world();
        if (r == 1 || event_base_get_num_events(world.base, EVENT_BASE_COUNT_ACTIVE) == 0) {
            if (i > 2)
                return;
        }
    }
}

struct due {
    struct event *evs[TIMERS_MAX];
    unsigned n;
};

static int if_due(const struct event_base *base, const struct event *ev, void *arg)
{
    (void)base;
    struct due *due = arg;
    unsigned i = timer_of(ev);
    if (event_pending(ev, EV_TIMEOUT, NULL) && i < ntimers && timers[i].due <= now)
        due->evs[due->n++] = (struct event *)(uintptr_t)ev;
    return 0;
}

void world_tick(int64_t ns)
{
    struct due due = {.n = 0};
    now += ns;
    event_base_foreach_event(world.base, if_due, &due);
    for (unsigned i = 0; i < due.n; i++) {
        event_remove_timer(due.evs[i]);
        event_active(due.evs[i], EV_TIMEOUT, 0);
    }
    world_turn();
}

/* ---- begin and end ---- */

void world_begin(void)
{
    if (null_fd < 0) {
        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        log_open("fuzz", LOG_BUG, false);
        peek_done(); /* what it keeps, it keeps from now on */
    }
    open_before = fuzz_open_descriptors();
    ntimers = 0;
    leases_seen = 0;
    world = (struct daemon){.seats = 2, .seats_from = "fuzz", .listen_fd = -1};
    struct event_config *c = event_config_new();
    event_config_set_flag(c, EVENT_BASE_FLAG_IGNORE_ENV | EVENT_BASE_FLAG_NOLOCK);
    world.base = event_base_new_with_config(c);
    event_config_free(c);
    config_defaults(&world.cfg);
    if (access(MEMORY_FILES, W_OK) == 0) { /* files of a disk would take a tenth of the time */
        free(world.cfg.scratch);
        world.cfg.scratch = xstrdup(MEMORY_FILES);
    }
    world.cfg.stages_max = 12;
    world.cfg.jobs_per_user = 20;
    world.cfg.history = 4;
    world.cfg.deaths_kept = 8;
    world.cfg.quarantine_kept = 8;
    world.cfg.retries_crash = 3;
    world.catalogue = fuzz_catalogue();
    for (unsigned i = 0; i < WORLD_CLIENTS; i++)
        callers[i].fd = -1;
    tables_init(&world);
    world.pool = pool_new(&world);
    world.dirty = true;
    daemon_turn(&world);
    world_turn();
}

static void free_stages(void)
{
    struct stage *s;
    while ((s = TAILQ_FIRST(&world.pool->stages)) != NULL) {
        siginfo_t info;
        stage_kill(s, PWC__CODE__CODE_SHUTDOWN, "shutdown");
        stage_reap(s, &info);
        flow_stage_gone(s);
        TAILQ_REMOVE(&world.pool->stages, s, link);
        world.pool->n--;
        stage_free(s);
    }
}

void world_end(void)
{
    for (unsigned i = 0; i < WORLD_CLIENTS; i++)
        caller_close(i);
    tables_end_jobs(&world, false);
    free_stages();
    FUZZ_CHECK(world.seats_busy == 0);
    tables_free(&world);
    catalogue_free(world.catalogue);
    event_base_free(world.base);
    config_free(&world.cfg);
    FUZZ_CHECK(fuzz_open_descriptors() == open_before);
}

/* ---- clients ---- */

void caller_connect(unsigned i, uid_t uid)
{
    int sv[2];
    caller_close(i);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) == 0);
    callers[i] = (struct caller){sv[0], uid};
    session_accept(&world, sv[1], uid, 1);
}

void caller_close(unsigned i)
{
    if (callers[i].fd >= 0)
        close(TAKE_FD(callers[i].fd));
}

static void send_bytes(int fd, const uint8_t *bytes, size_t len, unsigned nfds)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * 40)];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    nfds = MIN(nfds, 40u);
    if (nfds > 0) {
        mh.msg_control = &control;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
        *cm = (struct cmsghdr){CMSG_LEN(sizeof(int) * nfds), SOL_SOCKET, SCM_RIGHTS};
        for (unsigned i = 0; i < nfds; i++)
            memcpy(CMSG_DATA(cm) + i * sizeof(int), &null_fd, sizeof(int));
    }
    (void)!sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void caller_send(unsigned i, const uint8_t *bytes, size_t len, unsigned nfds)
{
    if (callers[i].fd >= 0 && len > 0)
        send_bytes(callers[i].fd, bytes, len, nfds);
}

void caller_drain(unsigned i)
{
    char bytes[8192];
    while (callers[i].fd >= 0 && recv(callers[i].fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
}

void fake_send(struct fake *f, const uint8_t *bytes, size_t len, unsigned nfds)
{
    if (!f->killed && len > 0)
        send_bytes(chan_fd(f->chan), bytes, len, nfds);
}
