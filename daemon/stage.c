/* stage.c - see stage.h. Frames go to flow.c, which knows jobs; here a stage is only a process with a
 * channel. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/cgroup.h"
#include "daemon/closer.h"
#include "daemon/flow.h"
#include "daemon/lack.h"
#include "daemon/pool.h"
#include "daemon/small.h"
#include "daemon/stage.h"
#include "daemon/tail.h"
#include "daemon/trace.h"
#include "ipc/fds.h"
#include "ipc/log.h"
#include "proto/layers.h"

/* One peer may not keep the loop busy: after so many frames or reads the others have their turn. */
#define FRAMES_A_TURN 64
#define LAST_READS    64

/* A consumer is told at once of all that waits for it, and of each chunk that was given up: a few megabytes
 * at the most. Where more waits to be sent, nobody reads. */
#define QUEUE_MOST (16u << 20)

static const char *const state_names[] = {
    [STAGE_SPAWNING] = "spawning", [STAGE_BOOTING] = "booting", [STAGE_SPARE] = "spare",
    [STAGE_ENTERING] = "entering", [STAGE_IDLE] = "idle",       [STAGE_BUSY] = "busy",
    [STAGE_DYING] = "dying",
};

#define TO(s) (1u << STAGE_##s)
static const unsigned edges[] = {
    [STAGE_SPAWNING] = TO(BOOTING) | TO(DYING),
    [STAGE_BOOTING] = TO(SPARE) | TO(DYING),
    [STAGE_SPARE] = TO(ENTERING) | TO(DYING),
    [STAGE_ENTERING] = TO(IDLE) | TO(DYING),
    [STAGE_IDLE] = TO(BUSY) | TO(DYING),
    [STAGE_BUSY] = TO(IDLE) | TO(DYING),
    [STAGE_DYING] = 0,
};
_Static_assert(ARRAY_LEN(edges) == ARRAY_LEN(state_names), "every state has a name and its edges");

const char *stage_state_name(enum stage_state s)
{
    return state_names[s];
}

const char *stage_role_name(const struct stage *s)
{
    static const char *const names[] = {
        [LEASE_NONE] = "parked",   [LEASE_PLAN] = "planner",     [LEASE_CHUNKS] = "worker",
        [LEASE_FINISH] = "worker", [LEASE_PRODUCE] = "producer", [LEASE_CONSUME] = "consumer",
    };
    return s->domain == 0 ? "spare" : names[s->lease.kind];
}

void stage_set_state(struct stage *s, enum stage_state to)
{
    if (s->state == to && to == STAGE_DYING)
        return;
    BUG_ON((edges[s->state] & (1u << to)) == 0);
    log_debug("stage %lu: %s -> %s", (unsigned long)s->id, state_names[s->state], state_names[to]);
    if (to == STAGE_SPARE || (s->state == STAGE_ENTERING && to == STAGE_IDLE))
        trace_stage_ready(s, to == STAGE_IDLE);
    if (to == STAGE_IDLE)
        tail_mark(s->tail);
    s->state = to;
    s->since = clock_now();
    daemon_touch(s->d);
}

/* ---- the channel ---- */

static void watch_writes(struct stage *s)
{
    if (chan_queued(s->chan) > 0)
        event_add(s->write_ev, NULL);
    else
        event_del(s->write_ev);
}

static void frames_in(struct stage *s, int most)
{
    for (int i = 0; i < most && s->state != STAGE_DYING; i++) {
        struct frame f;
        int r = chan_next(s->chan, &f);
        if (r == 0)
            return;
        if (r < 0) {
            stage_garbage(s, chan_error(s->chan));
            return;
        }
        flow_frame(s, &f);
        frame_close(s->chan, &f);
    }
    /* Whole frames are left in the buffer: the socket need not become readable again for them. */
    if (s->state != STAGE_DYING)
        event_active(s->read_ev, EV_READ, 0);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stage *s = arg;
    struct daemon *d = s->d;
    uid_t before = closer_as(s->uid);
    int r = chan_fill(s->chan);
    if (r == 0 || (r < 0 && r != -EAGAIN)) {
        /* The channel is gone: the process is dead or must be. Its pidfd tells the rest. */
        event_del(s->read_ev);
        if (r < 0 && r != -ECONNRESET)
            stage_garbage(s, chan_error(s->chan));
        else if (s->pidfd >= 0)
            syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
    } else {
        frames_in(s, FRAMES_A_TURN);
    }
    closer_as(before);
    daemon_turn(d);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stage *s = arg;
    struct daemon *d = s->d;
    uid_t before = closer_as(s->uid);
    if (chan_flush(s->chan) == 0)
        watch_writes(s);
    else
        event_del(s->write_ev);
    closer_as(before);
    daemon_turn(d);
}

static void cannot_send(struct stage *s, const char *what, int r)
{
    if (r == -EPIPE || r == -ECONNRESET)
        return; /* it is dead: its pidfd tells the rest */
    if (lack_passes(r)) {
        pool_lacks_for(s, "a message to a stage", r);
        return;
    }
    log_warn("stage %lu (pid %d): cannot send %s: %s", (unsigned long)s->id, s->pid, what, strerror(-r));
    stage_kill(s, PWC__CODE__CODE_INTERNAL, "cannot be sent to");
}

static void flush_out(void *arg)
{
    struct stage *s = arg;
    if (s->state == STAGE_DYING)
        return;
    int r = chan_flush(s->chan);
    if (r < 0)
        cannot_send(s, "what was gathered", r);
    else
        watch_writes(s);
}

/* Descriptors go at once, behind what was gathered: to keep them would mean to duplicate them. */
static int send_at_once(struct stage *s, uint16_t type, const ProtobufCMessage *msg, const void *tail,
                        size_t tail_len, const int *fds, unsigned nfds)
{
    int r = chan_flush(s->chan);
    if (r < 0)
        return r;
    chan_hold(s->chan, false);
    r = chan_send_full(s->chan, type, 0, msg, tail, tail_len, fds, nfds);
    chan_hold(s->chan, true);
    return r;
}

void stage_send_full(struct stage *s, uint16_t type, const ProtobufCMessage *msg, const void *tail,
                     size_t tail_len, const int *fds, unsigned nfds)
{
    if (s->state == STAGE_DYING)
        return;
    int r = nfds > 0 ? send_at_once(s, type, msg, tail, tail_len, fds, nfds)
                     : chan_send_full(s->chan, type, 0, msg, tail, tail_len, NULL, 0);
    if (r < 0)
        cannot_send(s, msg_name(type), r);
    else
        outbox_add(&s->d->outboxes, &s->out, true);
}

void stage_send(struct stage *s, uint16_t type, const ProtobufCMessage *msg)
{
    stage_send_full(s, type, msg, NULL, 0, NULL, 0);
}

/* ---- birth ---- */

struct stage *stage_new(struct daemon *d, uint64_t id, int channel_fd)
{
    struct stage *s = xcalloc(1, sizeof *s);
    s->d = d;
    s->id = id;
    s->pidfd = s->dying_fd = s->kept.fd = -1;
    s->born = s->since = clock_now();
    /* What waits to be sent to it are clients' descriptors, and those it sends back could be, too. */
    s->chan = chan_new(channel_fd, MSG_FROM_STAGE, closer_close);
    chan_tell_lost(s->chan);
    chan_set_queue_limit(s->chan, QUEUE_MOST);
    outbox_init(&s->out, s->chan, flush_out, s);
    STAILQ_INIT(&s->lease.handed);
    s->read_ev = event_new(d->base, channel_fd, EV_READ | EV_PERSIST, on_readable, s);
    s->write_ev = event_new(d->base, channel_fd, EV_WRITE | EV_PERSIST, on_writable, s);
    return s;
}

int stage_listen(struct stage *s)
{
    return event_add(s->read_ev, NULL) < 0 ? -ENOMEM : 0;
}

/* What the stage sent before it died still counts; so does only that. */
static void read_last_words(struct stage *s)
{
    uid_t before = closer_as(s->uid);
    for (int i = 0; i < LAST_READS && s->state != STAGE_DYING && chan_fill(s->chan) > 0; i++)
        frames_in(s, FRAMES_A_TURN);
    closer_as(before);
}

bool stage_reap(struct stage *s, siginfo_t *ret_info)
{
    struct rusage ru = {0};
    *ret_info = (siginfo_t){0};
    /* The raw call: glibc's has no place for the usage. */
    if (syscall(SYS_waitid, P_PIDFD, s->pidfd, ret_info, WEXITED | WNOHANG | __WALL, &ru) < 0 ||
        ret_info->si_pid == 0)
        return false;
    s->cpu_ns = (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * NS_PER_S +
                (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * NS_PER_US;
    s->rss_peak = (uint64_t)ru.ru_maxrss * 1024;
    return true;
}

static void on_exit_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stage *s = arg;
    struct daemon *d = s->d;
    siginfo_t info = {0};
    if (!stage_reap(s, &info))
        return;
    read_last_words(s);
    pool_stage_gone(d->pool, s, &info);
    daemon_turn(d);
}

void stage_got_process(struct stage *s, pid_t pid, int pidfd)
{
    s->pid = pid;
    s->pidfd = pidfd;
    s->d->pool->spawned++;
    s->exit_ev = event_new(s->d->base, pidfd, EV_READ | EV_PERSIST, on_exit_event, s);
    (void)event_add(s->exit_ev, NULL); /* else SIGCHLD tells */
    if (s->state == STAGE_DYING) {
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        return;
    }
    trace_stage_born(s);
    stage_set_state(s, STAGE_BOOTING);
    flow_maybe_spare(s);
}

/* Nothing it says counts any more. Left unread it would keep the loop busy for as long as the process lasts.
 */
static void silence(struct stage *s)
{
    stage_set_state(s, STAGE_DYING);
    s->d->pool->dying++;
    event_del(s->read_ev);
    event_del(s->write_ev);
    if (s->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
}

/*
 * It runs nothing of its own any more. To be taken apart takes the kernel a millisecond for a process with
 * large libraries, and then its pidfd tells why it died; what is the same whatever that will be is done now.
 */
static void on_dying(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stage *s = arg;
    struct daemon *d = s->d;
    if (s->state == STAGE_DYING)
        return;
    read_last_words(s);
    if (s->state != STAGE_DYING) {
        s->ends = true;
        silence(s); /* SIGKILL, too: whatever made that descriptor hang up, now it is true */
        flow_stage_ends(s);
    }
    daemon_turn(d);
}

void stage_watch_end(struct stage *s, int fd)
{
    s->dying_fd = fd;
    s->dying_ev = event_new(s->d->base, fd, EV_READ, on_dying, s);
    (void)event_add(s->dying_ev, NULL); /* else its pidfd tells, a moment later */
}

static int make_memory(struct stage *s, int fds[2])
{
    int control = -1, ro = -1, seg = -1;
    int r = memfd_sized("pwc-control", CONTROL_BYTES, &control);
    if (r == 0)
        r = fd_reopen_ro(control, &ro);
    if (r == 0)
        r = memfd_sized("pwc-segment", SEGMENT_BYTES, &seg);
    if (r == 0) {
        s->control = segment_map(control, CONTROL_BYTES, true);
        s->seg = segment_map(seg, SEGMENT_BYTES, false);
        if (s->control == NULL || s->seg == NULL)
            r = -errno;
    }
    fd_close_(&control);
    if (r < 0) {
        segment_unmap(TAKE_PTR(s->control), CONTROL_BYTES);
        segment_unmap((void *)(uintptr_t)TAKE_PTR(s->seg), SEGMENT_BYTES);
        fd_close_(&ro);
        fd_close_(&seg);
        return r;
    }
    fds[0] = ro;
    fds[1] = seg;
    return 0;
}

int stage_enter(struct stage *s, const struct job *j)
{
    int fds[3];
    int r = make_memory(s, fds);
    if (lack_passes(r))
        return r;
    if (r < 0) {
        stage_kill(s, PWC__CODE__CODE_NO_MEMORY, "no memory for its segment");
        return r;
    }
    s->domain = j->domain;
    s->uid = (uint32_t)j->user->uid;
    stage_set_state(s, STAGE_ENTERING);
    Stage__Enter m = STAGE__ENTER__INIT;
    m.stage = s->id;
    m.domain = j->domain;
    m.needs = s->needs = j->op->needs;
    m.memory = s->d->cfg.memory;
    m.require = s->required = s->d->cfg.require_sandbox ? LAYERS_ALL(m.memory) : 0;
    s->tail = tail_new(s->d->base, &s->seg->slots[0], &fds[2]);
    stage_send_full(s, PWC_MSG_ENTER, &m.base, NULL, 0, fds, s->tail != NULL ? 3 : 2);
    if (s->tail != NULL)
        close(fds[2]);
    close(fds[0]);
    close(fds[1]);
    return 0;
}

/* ---- death ---- */

void stage_kill(struct stage *s, Pwc__Code code, const char *reason)
{
    if (s->state == STAGE_DYING)
        return;
    s->kill_code = code;
    s->kill_reason = reason;
    trace_stage_killed(s, code);
    silence(s);
}

/* Its job and where it is in it, for the log. */
static void warn_of_doom(const struct stage *s, const char *reason)
{
    uint64_t chunk = s->lease.seen_chunk;
    char at[40] = "";
    if (chunk < SLOT_FINISH)
        snprintf(at, sizeof at, ", chunk %lu", (unsigned long)chunk);
    log_warn("job %lu%s: stage %lu (pid %d, %s): %s", (unsigned long)s->job->id, at, (unsigned long)s->id,
             s->pid, stage_role_name(s), reason);
}

static void ask_for_stack(struct stage *s)
{
    syscall(SYS_pidfd_send_signal, s->pidfd, SIGUSR1, NULL, 0);
}

/* A handler runs in no process that is stopped. This one is continued, and finds SIGUSR1 before it comes to
 * anything else. */
static void wake_for_stack(struct stage *s)
{
    siginfo_t how = {0};
    how.si_signo = SIGUSR1;
    how.si_code = SI_QUEUE;
    how.si_pid = getpid();
    how.si_uid = getuid();
    how.si_value.sival_int = OBITUARY_STAY;
    s->stays = true;
    small_take_back(s); /* what waits behind it */
    syscall(SYS_pidfd_send_signal, s->pidfd, SIGUSR1, &how, 0);
    syscall(SYS_pidfd_send_signal, s->pidfd, SIGCONT, NULL, 0);
}

static bool doomed(struct stage *s, Pwc__Code code, const char *reason)
{
    if (s->doom_code != PWC__CODE__CODE_OK || s->state == STAGE_DYING)
        return false;
    s->doom_code = code;
    s->doom_reason = reason;
    s->stopped.ns != 0 ? wake_for_stack(s) : ask_for_stack(s);
    return true;
}

void stage_doom(struct stage *s, Pwc__Code code, const char *reason)
{
    if (doomed(s, code, reason))
        warn_of_doom(s, reason);
}

static const char was_stopped[] = "it was stopped";

void stage_doom_stopped(struct stage *s)
{
    if (s->stays)
        return; /* stopped again: it is killed all the same */
    if (s->state == STAGE_BUSY)
        doomed(s, PWC__CODE__CODE_STALLED, was_stopped);
    else
        stage_kill(s, PWC__CODE__CODE_STALLED, was_stopped);
}

void stage_carry_out(struct stage *s)
{
    if (s->doom_code != PWC__CODE__CODE_OK)
        stage_kill(s, s->doom_code, s->doom_reason);
    else if (s->stays) /* its lease was over before it came to its stack */
        stage_kill(s, PWC__CODE__CODE_STALLED, was_stopped);
}

void stage_garbage(struct stage *s, const char *what)
{
    if (s->state == STAGE_DYING)
        return;
    log_warn("stage %lu (pid %d, %s): %s; killed", (unsigned long)s->id, s->pid, stage_role_name(s), what);
    stage_kill(s, PWC__CODE__CODE_PROTOCOL, what);
}

static void event_drop(struct event **ev)
{
    if (*ev != NULL)
        event_free(*ev);
    *ev = NULL;
}

void stage_free(struct stage *s)
{
    if (s == NULL)
        return;
    BUG_ON(s->lease.kind != LEASE_NONE);
    event_drop(&s->read_ev);
    event_drop(&s->write_ev);
    event_drop(&s->exit_ev);
    event_drop(&s->dying_ev);
    outbox_drop(&s->out);
    uid_t before = closer_as(s->uid);
    chan_free(s->chan);
    closer_as(before);
    fd_close_(&s->kept.fd);
    tail_free(s->tail);
    cgroup_give_back(s->cgroup);
    fd_close_(&s->pidfd);
    fd_close_(&s->dying_fd);
    free(s->handed);
    segment_unmap(s->control, CONTROL_BYTES);
    segment_unmap((void *)(uintptr_t)s->seg, SEGMENT_BYTES);
    free(s);
}

/* ---- looking ---- */

bool stage_retired(const struct stage *s)
{
    return s->state == STAGE_DYING && s->kill_code == PWC__CODE__CODE_OK && !s->ends;
}

bool stage_failed_to_start(const struct stage *s)
{
    return s->state == STAGE_DYING && !s->entered && s->kill_code != PWC__CODE__CODE_OK &&
           !stage_unkillable(s);
}

bool stage_unkillable(const struct stage *s)
{
    return s->state == STAGE_DYING && mono_since(clock_now(), s->since) > WRITE_OFF_NS;
}

bool stage_has_open(const struct stage *s, uint64_t job, Stage__Role role)
{
    for (int i = 0; i < STAGE_OPEN_JOBS; i++)
        if (s->open[i].job == job && s->open[i].role == role)
            return true;
    return false;
}

uint64_t stage_slot_chunk(const struct stage *s)
{
    return s->seg != NULL ? atomic_load(&s->seg->slots[0].chunk) : SLOT_IDLE;
}

uint64_t stage_slot_lease(const struct stage *s)
{
    return s->seg != NULL ? atomic_load(&s->seg->slots[0].lease) : 0;
}

uint64_t stage_slot_done(const struct stage *s)
{
    return s->seg != NULL ? atomic_load(&s->seg->slots[0].done) : 0;
}

/* Each chunk begins once and is done once, and a lease has a beginning and an end. Whoever writes to its slot
 * without end would otherwise have all the time in the world. */
static bool may_move(const struct stage *s)
{
    const struct lease *l = &s->lease;
    uint64_t n = l->kind == LEASE_CHUNKS || s->job == NULL ? l->given_end - l->first : s->job->ledger.total;
    return l->moves < 2 * n + 8;
}

bool stage_has_moved(const struct stage *s)
{
    const struct lease *l = &s->lease;
    return (stage_slot_chunk(s) != l->seen_chunk || stage_slot_done(s) != l->seen_done ||
            stage_slot_lease(s) != l->seen_lease) &&
           may_move(s);
}

/* What the tick saw last is what it was doomed for: it lives when that is over at the next look. */
bool stage_went_on(const struct stage *s)
{
    bool late = s->kill_code != PWC__CODE__CODE_OK && s->kill_code == s->doom_code &&
                s->kill_reason == s->doom_reason;
    return late && s->lease.kind == LEASE_CHUNKS && stage_has_moved(s);
}

bool stage_slot_finishes(const struct stage *s)
{
    return s->kill_code != PWC__CODE__CODE_PROTOCOL && stage_slot_lease(s) == s->lease.id &&
           stage_slot_chunk(s) == SLOT_FINISH;
}

bool stage_slot_past(const struct stage *s)
{
    uint64_t chunk = stage_slot_chunk(s);
    return stage_slot_lease(s) == s->lease.id && chunk >= s->lease.end && chunk < s->lease.given_end;
}
