/* test_stage_super.c - see test_stage_super.h. Nothing is freed: each test is a process of its own. */
#include <check.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/fds.h"
#include "tests/unit/test_stage_super.h"

#ifdef PWC_SANITIZED
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

const char *stage_program(void)
{
    const char *path = getenv("PWC_STAGE_TEST");
    return path != NULL ? path : "./pwc-stage-test";
}

pid_t start_program(const char *flag, struct chan **ret_chan)
{
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if (pair[1] != 3)
            dup2(pair[1], 3);
        else
            fcntl(3, F_SETFD, 0);
        execl(stage_program(), "pwc-stage", flag, NULL);
        _exit(127);
    }
    close(pair[1]);
    *ret_chan = chan_new(pair[0], MSG_FROM_STAGE | MSG_FROM_NURSERY, NULL);
    return pid;
}

struct nursery nursery_start(void)
{
    struct nursery n = {.next = 1};
    n.pid = start_program("--nursery", &n.chan);
    const Stage__NurseryReady *m = (const void *)expect(n.chan, PWC_MSG_NURSERY_READY)->msg;
    ck_assert_uint_gt(m->ops, 2);
    return n;
}

struct kid kid_spawn(struct nursery *n)
{
    int pair[2];
    struct kid k = {.pidfd = -1};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    Stage__Spawn m = STAGE__SPAWN__INIT;
    m.stage = n->next++;
    say_full(n->chan, PWC_MSG_SPAWN, &m, NULL, 0, &pair[1], 1);
    close(pair[1]);
    const struct answer *a = expect(n->chan, PWC_MSG_SPAWNED);
    const Stage__Spawned *s = (const void *)a->msg;
    ck_assert_int_eq(s->error, 0);
    ck_assert_uint_eq(s->stage, m.stage);
    ck_assert_uint_eq(a->nfds, 1);
    k.pid = (pid_t)s->pid;
    k.pidfd = a->fds[0];
    k.chan = chan_new(pair[0], MSG_FROM_STAGE, NULL);
    const Stage__Ready *r = (const void *)expect(k.chan, PWC_MSG_READY)->msg;
    ck_assert_uint_eq(r->pid, (uint32_t)k.pid);
    return k;
}

void kid_enter(struct kid *k, uint64_t memory)
{
    int fds[2], control;
    ck_assert_int_eq(memfd_sized("control", CONTROL_BYTES, &control), 0);
    ck_assert_int_eq(fd_reopen_ro(control, &fds[0]), 0);
    ck_assert_int_eq(memfd_sized("segment", SEGMENT_BYTES, &fds[1]), 0);
    k->control = segment_map(control, CONTROL_BYTES, true);
    k->segment = segment_map(fds[1], SEGMENT_BYTES, true);
    atomic_store(&k->control->limit, UINT64_MAX);
    Stage__Enter m = STAGE__ENTER__INIT;
    m.stage = 7;
    m.domain = 1;
    m.memory = memory;
    m.needs = k->needs;
    m.require = k->require;
    say_full(k->chan, PWC_MSG_ENTER, &m, NULL, 0, fds, 2);
    close(control);
    close(fds[0]);
    close(fds[1]);
    k->entered = (void *)expect(k->chan, PWC_MSG_ENTERED)->msg;
}

struct kid kid_ready_with(struct nursery *n, uint32_t needs)
{
    struct kid k = kid_spawn(n);
    k.needs = needs;
    kid_enter(&k, 0);
    return k;
}

struct kid kid_ready(struct nursery *n)
{
    return kid_ready_with(n, 0);
}

struct kid kid_executed(void)
{
    struct kid k = {0};
    k.pid = start_program("--stage", &k.chan);
    k.pidfd = (int)syscall(SYS_pidfd_open, k.pid, 0);
    const Stage__Ready *r = (const void *)expect(k.chan, PWC_MSG_READY)->msg;
    ck_assert_uint_eq(r->pid, (uint32_t)k.pid);
    kid_enter(&k, 0);
    return k;
}

void say_full(struct chan *c, uint16_t type, const void *msg, const void *tail, size_t len, const int *fds,
              unsigned nfds)
{
    ck_assert_int_eq(chan_send_full(c, type, 0, msg, tail, len, fds, nfds), 0);
}

void say(struct chan *c, uint16_t type, const void *msg)
{
    say_full(c, type, msg, NULL, 0, NULL, 0);
}

/* 1 a frame, 0 end of file. */
static int next_frame(struct chan *c, struct frame *f)
{
    struct mono until = mono_add(clock_now(), PATIENCE_MS * NS_PER_MS);
    for (;;) {
        int r = chan_next(c, f);
        ck_assert_msg(r >= 0, "%s", chan_error(c));
        if (r > 0)
            return 1;
        int64_t left = mono_since(until, clock_now()) / NS_PER_MS;
        ck_assert_msg(left > 0 && chan_wait(c, (int)left) > 0, "no answer within %d ms", PATIENCE_MS);
        r = chan_fill(c);
        if (r == 0 || r == -ECONNRESET)
            return 0;
        ck_assert_msg(r > 0 || r == -EAGAIN, "%s", strerror(-r));
    }
}

struct answer *expect(struct chan *c, uint16_t type)
{
    struct frame f;
    ck_assert_msg(next_frame(c, &f) == 1, "end of file instead of %s", msg_name(type));
    ck_assert_msg(f.type == type, "%s instead of %s", msg_name(f.type), msg_name(type));
    struct answer *a = xcalloc(1, sizeof *a);
    a->msg = msg_unpack(f.desc, f.body, f.body_len);
    ck_assert_ptr_nonnull(a->msg);
    memcpy(a->tail, f.tail, f.tail_len);
    a->tail_len = f.tail_len;
    a->nfds = f.nfds;
    for (unsigned i = 0; i < f.nfds; i++)
        a->fds[i] = frame_take_fd(&f, i);
    return a;
}

bool has_ended(struct chan *c)
{
    struct frame f;
    return next_frame(c, &f) == 0;
}

static Pwc__Param *param_of(const char *name, const char *text)
{
    Pwc__Param *p = xcalloc(1, sizeof *p);
    Pwc__Value *v = xcalloc(1, sizeof *v);
    pwc__param__init(p);
    pwc__value__init(v);
    p->name = xstrdup(name);
    p->value = v;
    if (isdigit((unsigned char)text[0])) {
        v->kind_case = PWC__VALUE__KIND_U64;
        v->u64 = strtoull(text, NULL, 10);
    } else {
        v->kind_case = PWC__VALUE__KIND_STR;
        v->str = xstrdup(text);
    }
    return p;
}

Pwc__Param **params_of(size_t *ret_n, va_list ap)
{
    Pwc__Param **all = NULL;
    const char *name;
    *ret_n = 0;
    while ((name = va_arg(ap, const char *)) != NULL) {
        all = xrealloc(all, *ret_n + 1, sizeof *all);
        all[(*ret_n)++] = param_of(name, va_arg(ap, const char *));
    }
    return all;
}

void kid_open(struct kid *k, uint64_t job, const char *op, ...)
{
    Stage__JobOpen m = STAGE__JOB_OPEN__INIT;
    va_list ap;
    va_start(ap, op);
    m.params = params_of(&m.n_params, ap);
    va_end(ap);
    m.job = job;
    m.op = xstrdup(op);
    m.role = STAGE__ROLE__ROLE_WORKER;
    bool folds = strncmp(op, "fault.", 6) == 0 && strcmp(op, "fault.probe") != 0;
    m.absorb = folds ? PWC__ABSORB__ABSORB_FOLDED : PWC__ABSORB__ABSORB_NONE;
    say(k->chan, PWC_MSG_JOB_OPEN, &m);
}

Stage__Lease lease_of(uint64_t lease, uint64_t job, uint64_t first, uint64_t n)
{
    Stage__Lease m = STAGE__LEASE__INIT;
    m.lease = lease;
    m.job = job;
    m.first = first;
    m.n = n;
    m.attempt = 1;
    return m;
}

const Stage__Report *kid_lease(struct kid *k, const Stage__Lease *lease)
{
    say(k->chan, PWC_MSG_LEASE, lease);
    return (const void *)expect(k->chan, PWC_MSG_REPORT)->msg;
}

siginfo_t death_of(pid_t pid, int pidfd)
{
    siginfo_t info = {0};
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    ck_assert_msg(poll(&p, 1, PATIENCE_MS) == 1, "process %d lives on", (int)pid);
    ck_assert_int_eq(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
    ck_assert_int_eq(info.si_pid, pid);
    return info;
}

siginfo_t kid_death(struct kid *k)
{
    return death_of(k->pid, k->pidfd);
}

int memfd_with(const void *data, size_t len)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write_all(fd, data, len), 0);
    return fd;
}

bool text_has(const struct kid *k, const char *needle)
{
    const struct obituary *o = &k->segment->obituary;
    char text[OBITUARY_TEXT + 1] = "";
    memcpy(text, o->text, MIN(o->text_len, OBITUARY_TEXT));
    if (strstr(text, needle) == NULL)
        fprintf(stderr, "not in the obituary: %s\n%s\n", needle, text);
    return strstr(text, needle) != NULL;
}
