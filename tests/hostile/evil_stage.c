/*
 * evil_stage.c - a compromised pwc-stage, to be given to pwcd by --stage. It stands between the supervisor
 * and a real stage, so it gets as deep into every conversation as an honest one, and then lies.
 *
 *   evil_stage --nursery    makes stages as the nursery does: each is a relay of ours with a real stage
 * behind it evil_stage --stage      one relay, its real stage executed
 *
 * A relay that is told (Enter) that it serves domain PWC_EVIL_FROM or above turns evil: of the frames that
 * pass, one in PWC_EVIL_ONE_IN is lied about, sent twice, held back, followed by something else, and so on
 * (`actions`). Below that domain every byte passes unchanged. PWC_EVIL_EARLY=1: evil from birth.
 * PWC_EVIL_RIGHTS: whoever is told that his domain has one of these rights dies of it.
 * PWC_EVIL_SEED and the stage's number decide. PWC_EVIL_COUNTS: a file of u64, how often each was done.
 * PWC_REAL_STAGE: the program behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/channel.h"
#include "ipc/fds.h"
#include "ipc/log.h"
#include "ipc/segment.h"
#include "tests/hostile/evil.h"
#include "tests/hostile/fill.h"

#define CHANNEL 3
#define FLOOD   3000
#define DEAF    4000 /* reports of somebody who does not hear */

struct relay {
    int up, down; /* to the supervisor; to the real stage */
    struct chan *from_up, *from_down;
    struct source source;
    uint64_t state;
    bool evil, mute;
    struct segment *segment;
    uint8_t *arena; /* the last one it was given */
    size_t arena_bytes;
    uint8_t held[PWC_FRAME_MAX]; /* a frame that is sent behind the next one */
    size_t held_len;
};

static _Atomic uint64_t *counts;
static uint64_t one_in, evil_from, only, rights;

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *v = getenv(name);
    return v != NULL ? strtoull(v, NULL, 0) : otherwise;
}

static void configure(void)
{
    const char *path = getenv("PWC_EVIL_COUNTS");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd >= 0 ? mmap(NULL, EVIL_WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    static _Atomic uint64_t none[EVIL_WORDS];
    counts = p != MAP_FAILED ? p : none;
    fd_close_(&fd);
    one_in = number_of("PWC_EVIL_ONE_IN", 10);
    evil_from = number_of("PWC_EVIL_FROM", 2);
    only = number_of("PWC_EVIL_ONLY", EVIL_ACTIONS);
    rights = number_of("PWC_EVIL_RIGHTS", 0);
    struct rlimit none_of_ours = {0, 0};
    setrlimit(RLIMIT_CORE, &none_of_ours);
}

/* ---- sending as one likes ---- */

static bool send_raw(int fd, const uint8_t *bytes, size_t len, const int *fds, unsigned nfds)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * 64)];
    } control = {0};
    while (len > 0) {
        struct iovec iov = {(void *)(uintptr_t)bytes, len};
        struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
        if (nfds > 0) {
            mh.msg_control = &control;
            mh.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
            struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
            *cm = (struct cmsghdr){CMSG_LEN(sizeof(int) * nfds), SOL_SOCKET, SCM_RIGHTS};
            memcpy(CMSG_DATA(cm), fds, sizeof(int) * nfds);
        }
        ssize_t n = sendmsg(fd, &mh, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
        nfds = 0;
    }
    return true;
}

static size_t put_frame(uint8_t *to, uint16_t type, uint64_t tag, unsigned nfds, const uint8_t *body,
                        size_t len, const uint8_t *tail, size_t tail_len)
{
    const struct frame_head h = {(uint32_t)(PWC_HEADER_BYTES - 4 + len + tail_len), type, (uint16_t)nfds, tag,
                                 (uint32_t)len};
    frame_put(to, &h);
    if (len > 0)
        memmove(to + PWC_HEADER_BYTES, body, len);
    if (tail_len > 0)
        memcpy(to + PWC_HEADER_BYTES + len, tail, tail_len);
    return PWC_HEADER_BYTES + len + tail_len;
}

static void pass(int to, const struct frame *f)
{
    static uint8_t bytes[PWC_FRAME_MAX];
    size_t len = put_frame(bytes, f->type, f->tag, f->nfds, f->body, f->body_len, f->tail, f->tail_len);
    if (!send_raw(to, bytes, len, f->fds, f->nfds))
        _exit(0);
}

/* ---- lies ---- */

static void send_body(struct relay *r, uint16_t type, const uint8_t *body, size_t len, const int *fds,
                      unsigned nfds)
{
    static uint8_t bytes[PWC_FRAME_MAX];
    size_t n = put_frame(bytes, type, r->source.next(r->source.state), nfds, body, len, NULL, 0);
    (void)send_raw(r->up, bytes, n, fds, nfds);
}

static void say_filled(struct relay *r, const struct msg_desc *d, const int *fds, unsigned nfds)
{
    uint8_t body[PWC_BODY_MAX];
    size_t len = fill_body(d->proto, &r->source, body, d->body_max);
    send_body(r, d->type, body, len, fds, nfds);
}

static const struct msg_desc *some_type(struct relay *r, unsigned senders)
{
    const struct msg_desc *d;
    do
        d = &msg_table[source_below(&r->source, (uint32_t)msg_table_len)];
    while ((d->sender & senders) == 0);
    return d;
}

/* One number of the body is another: the frame is as right in form as before. */
static size_t change_number(struct relay *r, const uint8_t *body, size_t len, uint8_t *to)
{
    size_t starts[64], n = 0, at = 0;
    while (at < len && n < ARRAY_LEN(starts)) {
        uint8_t key = body[at++];
        if ((key & 7) == 0) {
            starts[n++] = at;
            while (at < len && (body[at++] & 128) != 0)
                ;
        } else if ((key & 7) == 2 && at < len) {
            at += 1u + body[at];
        } else {
            break;
        }
    }
    memcpy(to, body, len);
    if (n == 0)
        return len;
    size_t from = starts[source_below(&r->source, (uint32_t)n)], end = from;
    uint64_t v = 0;
    for (unsigned shift = 0; end < len && shift < 64; shift += 7) {
        v |= (uint64_t)(body[end] & 127) << shift;
        if ((body[end++] & 128) == 0)
            break;
    }
    uint64_t lie = source_below(&r->source, 3) == 0 ? source_number(&r->source)
                                                    : v + (uint64_t)source_below(&r->source, 5) - 2;
    size_t out = from;
    for (; lie > 127; lie >>= 7)
        to[out++] = (uint8_t)(lie | 128);
    to[out++] = (uint8_t)lie;
    memcpy(to + out, body + end, len - end);
    return out + len - end;
}

static void scribble_arena(struct relay *r)
{
    for (int i = 0; i < 200 && r->arena_bytes > 0; i++)
        r->arena[r->source.next(r->source.state) % r->arena_bytes] = (uint8_t)source_below(&r->source, 256);
}

static bool scribble(struct relay *r, const struct frame *f)
{
    (void)f;
    struct segment *g = r->segment;
    scribble_arena(r);
    if (g == NULL)
        return true;
    for (int i = 0; i < 20; i++) {
        struct segment_slot *s = &g->slots[i % 2];
        uint64_t *words[] = {(uint64_t *)&s->lease, (uint64_t *)&s->chunk, (uint64_t *)&s->done,
                             (uint64_t *)&s->fresh};
        *(volatile uint64_t *)words[source_below(&r->source, 4)] = source_number(&r->source);
    }
    if (source_below(&r->source, 2) == 0)
        for (size_t i = 0; i < sizeof g->obituary / 8; i++)
            ((volatile uint64_t *)&g->obituary)[i] = r->source.next(r->source.state);
    atomic_store(&g->obituary.ready, source_below(&r->source, 3));
    for (uint64_t i = 0, n = source_below(&r->source, TRACE_RECORDS); i < n; i++) {
        struct trace_record *t = &g->trace[source_below(&r->source, TRACE_RECORDS)];
        _Atomic uint64_t *words[] = {&t->lease, &t->first, &t->n, &t->start_ns, &t->end_ns};
        atomic_store(words[source_below(&r->source, 5)], source_number(&r->source));
        atomic_store(&t->lease, r->source.like[1]);
    }
    atomic_store(&g->trace_next, source_number(&r->source));
    return true;
}

static bool descriptors(struct relay *r, const struct frame *f)
{
    int fds[64];
    unsigned n = 1 + source_below(&r->source, 20);
    for (unsigned i = 0; i < n; i++)
        fds[i] = i % 2 == 0 ? r->up : STDERR_FILENO;
    uint8_t bytes[64];
    if (source_below(&r->source, 2) == 0)
        send_body(r, f->type, f->body, f->body_len, fds, n);
    else /* more or fewer than the header says, or in the middle of something */
        (void)send_raw(r->up, bytes, put_frame(bytes, PWC_MSG_ANNOUNCE, 0, 1, NULL, 0, NULL, 0), fds, n);
    return true;
}

static bool die(struct relay *r, const struct frame *f)
{
    (void)f;
    static const int signals[] = {SIGKILL, SIGSEGV, SIGABRT, SIGSYS, SIGBUS};
    uint32_t how = source_below(&r->source, ARRAY_LEN(signals) + 2);
    if (how < ARRAY_LEN(signals)) {
        signal(signals[how], SIG_DFL);
        raise(signals[how]);
    }
    _exit(how == ARRAY_LEN(signals) ? 0 : (int)source_below(&r->source, 256));
}

static bool flood(struct relay *r, const struct frame *f)
{
    const struct msg_desc *d = source_below(&r->source, 2) == 0 ? f->desc : some_type(r, MSG_FROM_STAGE);
    uint8_t body[PWC_BODY_MAX];
    size_t len = d == f->desc ? f->body_len : fill_body(d->proto, &r->source, body, d->body_max);
    if (d == f->desc)
        memcpy(body, f->body, len);
    for (int i = 0; i < FLOOD; i++)
        send_body(r, d->type, body, len, NULL, 0);
    return true;
}

/* The other end has taken all, or is gone. */
static void until_taken(int fd)
{
    int left = 0;
    struct pollfd p = {.fd = fd};
    while (ioctl(fd, SIOCOUTQ, &left) == 0 && left > 0 && poll(&p, 1, 0) == 0)
        sched_yield();
}

/* ---- actions: true when the frame itself shall pass too ---- */

static bool drop(struct relay *r, const struct frame *f)
{
    (void)r, (void)f;
    return false;
}

static bool twice(struct relay *r, const struct frame *f)
{
    pass(r->up, f);
    return true;
}

static bool spoil(struct relay *r, const struct frame *f)
{
    uint8_t body[PWC_BODY_MAX];
    memcpy(body, f->body, f->body_len);
    size_t len = spoil_body(&r->source, body, f->body_len, PWC_BODY_MAX);
    send_body(r, f->type, body, len, f->fds, f->nfds);
    return false;
}

static bool refill(struct relay *r, const struct frame *f)
{
    say_filled(r, f->desc, f->fds, f->nfds);
    return false;
}

static bool number(struct relay *r, const struct frame *f)
{
    uint8_t body[PWC_BODY_MAX + 64], bytes[PWC_FRAME_MAX];
    size_t len = MIN(change_number(r, f->body, f->body_len, body), (size_t)PWC_BODY_MAX);
    len = put_frame(bytes, f->type, f->tag, f->nfds, body, len, NULL, 0);
    (void)send_raw(r->up, bytes, len, f->fds, f->nfds);
    return false;
}

static bool other(struct relay *r, const struct frame *f)
{
    (void)f;
    say_filled(r, some_type(r, MSG_FROM_STAGE), NULL, 0);
    return true;
}

static bool foreign(struct relay *r, const struct frame *f)
{
    (void)f;
    say_filled(r, some_type(r, ~0u), NULL, 0);
    return true;
}

static bool garbage(struct relay *r, const struct frame *f)
{
    (void)f;
    uint8_t bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)r->source.next(r->source.state);
    (void)send_raw(r->up, bytes, 1 + source_below(&r->source, 255), NULL, 0);
    return true;
}

static bool close_channel(struct relay *r, const struct frame *f)
{
    (void)f;
    shutdown(r->up, (int)source_below(&r->source, 3));
    return true;
}

static bool stop(struct relay *r, const struct frame *f)
{
    (void)r, (void)f;
    raise(SIGSTOP);
    return true;
}

static bool partial(struct relay *r, const struct frame *f)
{
    uint8_t head[PWC_HEADER_BYTES];
    size_t len = put_frame(head, f->type, 0, 0, NULL, 0, NULL, 0);
    (void)send_raw(r->up, head, source_below(&r->source, (uint32_t)len), NULL, 0);
    r->mute = true;
    return false;
}

static bool later(struct relay *r, const struct frame *f)
{
    if (r->held_len > 0 || f->nfds > 0)
        return true;
    r->held_len = put_frame(r->held, f->type, f->tag, 0, f->body, f->body_len, f->tail, f->tail_len);
    return false;
}

static bool ready(struct relay *r, const struct frame *f)
{
    (void)f;
    static const uint8_t no_cgroup[] = {(60 << 3 & 0x7f) | 0x80, 60 >> 4, 2}; /* cgroup_error: 1 */
    send_body(r, PWC_MSG_READY, no_cgroup, sizeof no_cgroup, NULL, 0);
    return true;
}

/* Leases are numbered one after the other: who is the only one that gets any need not read them to report
 * them. What it is sent, with the states it has sent itself, piles up. The first one alone does so: somebody
 * has to do the work. */
static bool deaf(struct relay *r, const struct frame *f)
{
    static uint8_t body[PWC_BODY_MAX], bytes[PWC_FRAME_MAX];
    if (f->type != PWC_MSG_REPORT || f->tail_len == 0 || atomic_fetch_add(&counts[EVIL_ACTIONS], 1) > 0)
        return true;
    Stage__Report *m = (Stage__Report *)msg_unpack(f->desc, f->body, f->body_len);
    m->ns = 1000000000; /* so slow that a lease is one chunk, as this one was */
    for (int i = 0; i < DEAF; i++, m->lease++) {
        size_t len = stage__report__pack(m, body);
        len = put_frame(bytes, f->type, 0, 0, body, len, f->tail, f->tail_len);
        if (!send_raw(r->up, bytes, len, NULL, 0))
            _exit(0);
        until_taken(r->up);
    }
    for (;;)
        pause();
}

static bool act(struct relay *r, const struct frame *f, enum evil_action a)
{
    static bool (*const actions[])(struct relay *, const struct frame *) = {
        [EVIL_DROP] = drop,       [EVIL_TWICE] = twice,       [EVIL_SPOIL] = spoil,
        [EVIL_REFILL] = refill,   [EVIL_NUMBER] = number,     [EVIL_OTHER] = other,
        [EVIL_FOREIGN] = foreign, [EVIL_GARBAGE] = garbage,   [EVIL_DESCRIPTORS] = descriptors,
        [EVIL_FLOOD] = flood,     [EVIL_SCRIBBLE] = scribble, [EVIL_CLOSE] = close_channel,
        [EVIL_STOP] = stop,       [EVIL_DIE] = die,           [EVIL_PARTIAL] = partial,
        [EVIL_LATER] = later,     [EVIL_READY] = ready,       [EVIL_DEAF] = deaf,
    };
    _Static_assert(ARRAY_LEN(actions) == EVIL_ACTIONS, "every action does something");
    atomic_fetch_add(&counts[a], 1);
    return actions[a](r, f);
}

static bool tempted(struct relay *r)
{
    return r->evil && one_in > 0 && source_below(&r->source, (uint32_t)one_in) == 0;
}

static enum evil_action choose(struct relay *r)
{
    return only < EVIL_ACTIONS ? (enum evil_action)only
                               : (enum evil_action)source_below(&r->source, EVIL_ACTIONS);
}

/* ---- what passes ---- */

static void learn_arena(struct relay *r, const Stage__Arena *m, const struct frame *f)
{
    if (r->arena_bytes > 0)
        munmap(r->arena, r->arena_bytes);
    void *p =
        f->nfds == 1 ? mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f->fds[0], 0) : MAP_FAILED;
    r->arena = p;
    r->arena_bytes = p != MAP_FAILED ? m->bytes : 0;
}

/* Numbers that a lie could use: this lease's, this job's, and others' near by. */
static void learn(struct relay *r, const struct frame *f)
{
    ProtobufCMessage *m = msg_unpack(f->desc, f->body, f->body_len);
    uint64_t *like = r->source.like;
    if (m == NULL)
        return;
    if (f->type == PWC_MSG_ENTER) {
        const Stage__Enter *e = (Stage__Enter *)m;
        if ((e->needs & rights) != 0)
            _exit(9);
        r->evil = r->evil || e->domain >= evil_from;
        like[0] = e->stage;
        r->segment = f->nfds > 1 ? segment_map(f->fds[1], SEGMENT_BYTES, true) : NULL;
    } else if (f->type == PWC_MSG_ARENA) {
        learn_arena(r, (Stage__Arena *)m, f);
    } else if (f->type == PWC_MSG_LEASE) {
        const Stage__Lease *l = (Stage__Lease *)m;
        like[1] = l->lease, like[2] = l->job, like[3] = l->first, like[4] = l->first + l->n, like[5] = l->n;
    } else if (f->type == PWC_MSG_SMALL) {
        const Stage__Small *l = (Stage__Small *)m;
        like[1] = l->lease, like[2] = l->job, like[3] = 0, like[4] = like[5] = 1;
    } else if (f->type == PWC_MSG_PLAN || f->type == PWC_MSG_PRODUCE || f->type == PWC_MSG_CONSUME) {
        const Stage__Plan *p = (Stage__Plan *)m; /* job and lease come first in all of them */
        like[1] = p->lease, like[2] = p->job;
    } else if (f->type == PWC_MSG_ABSORB) {
        const Stage__Absorb *a = (Stage__Absorb *)m;
        like[3] = a->first, like[4] = a->first + a->n, like[6] = a->arena;
    } else if (f->type == PWC_MSG_JOB_OPEN) {
        like[7] = ((Stage__JobOpen *)m)->chunks;
    }
    msg_free(m);
}

static void downwards(struct relay *r, struct frame *f)
{
    learn(r, f);
    pass(r->down, f);
    static const enum evil_action unasked[] = {EVIL_OTHER, EVIL_SCRIBBLE, EVIL_FOREIGN};
    if (!r->mute && tempted(r) && only == EVIL_ACTIONS)
        act(r, f, unasked[source_below(&r->source, ARRAY_LEN(unasked))]);
}

/* Seldom about Entered: six in a row that never get so far mean that no stage can be started, and jobs of its
 * user end of it. Nobody is compromised as early, before he has seen a byte of anybody's. */
static bool lies_now(struct relay *r, const struct frame *f)
{
    return tempted(r) && (f->type != PWC_MSG_ENTERED || tempted(r));
}

static void upwards(struct relay *r, struct frame *f)
{
    if (r->mute)
        return;
    if (!lies_now(r, f) || act(r, f, choose(r)))
        pass(r->up, f);
    if (r->held_len > 0 && source_below(&r->source, 2) == 0) {
        (void)send_raw(r->up, r->held, r->held_len, NULL, 0);
        r->held_len = 0;
    }
}

/* False: that side has ended. */
static bool take(struct relay *r, struct chan *c, void (*handle)(struct relay *, struct frame *))
{
    struct frame f;
    int n = chan_fill(c);
    if (n == 0 || (n < 0 && n != -EAGAIN))
        return false;
    while ((n = chan_next(c, &f)) > 0) {
        handle(r, &f);
        frame_close(c, &f);
    }
    return n == 0;
}

static _Noreturn void relay(int up, int down, uint64_t stage)
{
    static struct relay r;
    r = (struct relay){
        .up = up, .down = down, .state = number_of("PWC_EVIL_SEED", 1) ^ stage * 0x9e3779b97f4a7c15ull};
    r.source = (struct source){seeded_next, &r.state, {stage, 0, 0, 0, 0, 0, 0, 0}};
    r.evil = number_of("PWC_EVIL_EARLY", 0) != 0;
    r.from_up = chan_new(up, MSG_FROM_SUPER, NULL);
    r.from_down = chan_new(down, MSG_FROM_STAGE, NULL);
    for (;;) {
        struct pollfd p[2] = {{.fd = up, .events = POLLIN}, {.fd = down, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            _exit(1);
        if (p[0].revents != 0 && !take(&r, r.from_up, downwards))
            _exit(0);
        if (p[1].revents != 0 && !take(&r, r.from_down, upwards))
            _exit(0);
    }
}

/* ---- making them ---- */

static int start_real(const char *mode, pid_t *ret_pid)
{
    int sv[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        return -errno;
    *ret_pid = fork();
    if (*ret_pid == 0) {
        const char *real = getenv("PWC_REAL_STAGE");
        if (sv[1] == CHANNEL)
            fcntl(CHANNEL, F_SETFD, 0);
        else
            dup2(sv[1], CHANNEL);
        execl(real, "pwc-stage", mode, NULL);
        _exit(127);
    }
    close(sv[1]);
    return sv[0];
}

static bool await(struct chan *c, struct frame *f)
{
    int r;
    while ((r = chan_next(c, f)) == 0)
        if (chan_wait(c, -1) < 0 || ((r = chan_fill(c)) <= 0 && r != -EAGAIN))
            return false;
    return r > 0;
}

/* A real stage, made by the real nursery; ret: our end of its channel. */
static bool real_stage(struct chan *real, uint64_t stage, int *ret_fd)
{
    int sv[2];
    struct frame f;
    Stage__Spawn m = STAGE__SPAWN__INIT;
    m.stage = stage;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        return false;
    bool ok = chan_send_full(real, PWC_MSG_SPAWN, 0, &m.base, NULL, 0, &sv[1], 1) == 0 && await(real, &f);
    close(sv[1]);
    if (ok)
        frame_close(real, &f);
    *ret_fd = sv[0];
    return ok;
}

static void spawn(struct chan *super, struct chan *real, struct frame *f)
{
    Stage__Spawn *m = (Stage__Spawn *)msg_unpack(f->desc, f->body, f->body_len);
    int down = -1, pidfd = -1;
    if (m == NULL || f->nfds != 1 || !real_stage(real, m->stage, &down))
        _exit(1);
    struct clone_args args = {.flags = CLONE_PARENT | CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) {
        int up = fcntl(f->fds[0], F_DUPFD_CLOEXEC, 100), dn = fcntl(down, F_DUPFD_CLOEXEC, 100);
        close_range(3, 99, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        relay(up, dn, m->stage);
    }
    Stage__Spawned answer = STAGE__SPAWNED__INIT;
    answer.stage = m->stage;
    answer.pid = pid > 0 ? (uint32_t)pid : 0;
    answer.error = pid < 0 ? errno : 0;
    (void)chan_send_full(super, PWC_MSG_SPAWNED, 0, &answer.base, NULL, 0, &pidfd, pid > 0);
    close(down);
    fd_close_(&pidfd);
    msg_free(&m->base);
}

static int nursery(void)
{
    pid_t pid;
    struct frame f;
    signal(SIGCHLD, SIG_IGN); /* real stages are our children */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = start_real("--nursery", &pid);
    struct chan *super = chan_new(CHANNEL, MSG_FROM_SUPER, NULL),
                *real = chan_new(fd, MSG_FROM_NURSERY, NULL);
    if (fd < 0 || !await(real, &f))
        return 1;
    pass(CHANNEL, &f);
    while (await(super, &f)) {
        spawn(super, real, &f);
        frame_close(super, &f);
    }
    return 0;
}

int main(int argc, char **argv)
{
    log_open("evil-stage", LOG_INFO, false);
    configure();
    fcntl(CHANNEL, F_SETFD, FD_CLOEXEC);
    if (argc > 1 && strcmp(argv[1], "--nursery") == 0)
        return nursery();
    pid_t pid;
    int down = start_real("--stage", &pid);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    relay(CHANNEL, down, (uint64_t)pid);
}
