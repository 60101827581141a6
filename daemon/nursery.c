/*
 * nursery.c - the nursery process seen from the supervisor, and direct execution when it is away.
 *
 * The nursery makes stages by clone3(CLONE_PARENT), so they are our children and outlive it. While it is
 * away, `pwc-stage --stage` is executed directly: 40 ms instead of 0.65, but nothing waits for anything.
 */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/cgroup.h"
#include "daemon/lack.h"
#include "daemon/pool.h"
#include "ipc/log.h"

extern char **environ;

/* What stages may see of our environment: paths of libraries, their own switches, nothing of the caller's. */
static char **clean_environment(void)
{
    static const char *const allowed[] = {
        "PATH=", "LD_LIBRARY_PATH=", "LANG=",          "LC_ALL=",       "TZ=",  "PWC_",
        "VIPS_", "ASAN_OPTIONS=",    "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "GCOV_"};
    size_t n = 0;
    while (environ[n] != NULL)
        n++;
    char **env = xcalloc(n + 1, sizeof *env);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_LEN(allowed); k++)
            if (strncmp(environ[i], allowed[k], strlen(allowed[k])) == 0) {
                env[kept++] = environ[i];
                break;
            }
    return env;
}

/* posix_spawn is vfork underneath: flat in our size. The child is ours and not reaped yet, so its pidfd is
 * right. */
/* procs: of the cgroup to join; -1: none. */
static int execute(const char *program, const char *mode, int channel, int procs, pid_t *ret_pid,
                   int *ret_pidfd)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_adddup2(&actions, channel, 3);
    if (procs >= 0)
        posix_spawn_file_actions_adddup2(&actions, procs, 4);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    char *argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)mode,
                    procs >= 0 ? (char *)(uintptr_t) "--cgroup" : NULL, NULL};
    AUTO_FREE char **env = clean_environment();
    int r = -posix_spawn(ret_pid, program, &actions, &attr, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    if (r < 0)
        return r;
    int pidfd = (int)syscall(SYS_pidfd_open, *ret_pid, 0);
    if (pidfd < 0) {
        r = -errno;
        kill(*ret_pid, SIGKILL);
        waitpid(*ret_pid, NULL, 0);
        return r;
    }
    *ret_pidfd = pidfd;
    return 0;
}

static void event_drop(struct event **ev)
{
    if (*ev != NULL)
        event_free(*ev);
    *ev = NULL;
}

static void nursery_forget(struct pool *p)
{
    event_drop(&p->nursery_ev);
    event_drop(&p->nursery_write_ev);
    event_drop(&p->nursery_exit_ev);
    chan_free(TAKE_PTR(p->nursery));
    if (p->nursery_pidfd >= 0)
        close(TAKE_FD(p->nursery_pidfd));
    p->nursery_ready = p->nursery_made = p->nursery_sick = false;
    p->nursery_killed = (struct mono){0};
    p->nursery_pid = 0;
    p->nursery_stopped = (struct mono){0};
}

/* Stages it was asked for and had not named: whether they exist or not, their channel closes and they end. */
static void drop_unborn(struct pool *p)
{
    struct stage *s, *next;
    for (s = TAILQ_FIRST(&p->stages); s != NULL; s = next) {
        next = TAILQ_NEXT(s, link);
        if (s->pidfd >= 0)
            continue;
        stage_kill(s, PWC__CODE__CODE_OK,
                   "its nursery died"); /* says nothing about whether stages can start */
        pool_stage_gone(p, s, NULL);
    }
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pool *p = arg;
    if (p->nursery == NULL)
        nursery_start(p);
    daemon_turn(p->d);
}

static void retry_after(struct pool *p, int64_t ns)
{
    struct timeval tv = {ns / NS_PER_S, ns % NS_PER_S / NS_PER_US};
    event_add(p->nursery_retry_ev, &tv);
}

static void nursery_lost(struct pool *p, const siginfo_t *info)
{
    bool by_us =
        p->nursery_killed.ns != 0 && p->nursery_stopped.ns == 0; /* who stopped it is not we either */
    bool killed = info->si_code != CLD_EXITED && info->si_status == SIGKILL && !by_us;
    enum restart_event why = p->nursery_sick   ? RESTART_DIED_BEFORE_READY
                             : p->nursery_made ? RESTART_DIED_LATER
                             : killed          ? RESTART_KILLED
                                               : RESTART_DIED_BEFORE_READY;
    if (p->nursery_made)
        restart_next(&p->nursery_restart, RESTART_HEALTHY, clock_now()); /* until now */
    int64_t delay = restart_next(&p->nursery_restart, why, clock_now());
    if (!p->nursery_sick)
        log_warn("nursery (pid %d) died; stages are executed directly until it is back", p->nursery_pid);
    nursery_forget(p);
    drop_unborn(p);
    retry_after(p, MAX(delay, 1 * NS_PER_MS));
}

static void on_exit_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pool *p = arg;
    siginfo_t info = {0};
    if (waitid(P_PIDFD, (id_t)p->nursery_pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
        return;
    nursery_lost(p, &info);
    daemon_turn(p->d);
}

static void cannot_spawn(struct pool *p, struct stage *s, int error)
{
    if (lack_passes(-error)) {
        pool_not_made(p, s, -error);
        return;
    }
    log_warn("nursery cannot make a stage: %s", strerror(error));
    snprintf(p->last_words, sizeof p->last_words, "the nursery cannot make a process: %s", strerror(error));
    pool_stage_gone(p, s, NULL);
}

/* One whose descriptor is lost ends with its channel, like one whose nursery died before it was named. */
static void spawned(struct pool *p, struct frame *f, const Stage__Spawned *m)
{
    struct stage *s = pool_find(p, m->stage);
    int pidfd = f->nfds > 0 ? frame_take_fd(f, 0) : -1;
    if (s != NULL && s->pidfd < 0 && pidfd >= 0 && m->pid > 0) {
        if (!p->nursery_made) /* what it says of itself is no proof */
            restart_next(&p->nursery_restart, RESTART_READY, clock_now());
        p->nursery_made = true;
        stage_got_process(s, (pid_t)m->pid, pidfd);
        return;
    }
    if (s != NULL && s->pidfd < 0)
        cannot_spawn(p, s, f->lost ? EMFILE : m->error);
    else if (pidfd >= 0)
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    fd_close_(&pidfd);
}

void nursery_kill(struct pool *p)
{
    if (p->nursery_killed.ns == 0)
        p->nursery_killed = clock_now();
    if (p->nursery_pidfd >= 0)
        syscall(SYS_pidfd_send_signal, p->nursery_pidfd, SIGKILL, NULL, 0);
}

/* One that waits in the kernel for what may never come. It is reaped when it ends after all. */
void nursery_watch(struct pool *p)
{
    struct mono now = clock_now();
    if (p->nursery_killed.ns == 0 || mono_since(now, p->nursery_killed) <= WRITE_OFF_NS)
        return;
    log_warn("nursery (pid %d) survives SIGKILL: written off", p->nursery_pid);
    nursery_forget(p);
    drop_unborn(p);
    retry_after(p, MAX(restart_next(&p->nursery_restart, RESTART_DIED_BEFORE_READY, now), NS_PER_MS));
}

/* What it has made and has not begun would most likely die as the others did. */
static void retire_brood(struct pool *p, const struct stage *like)
{
    struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (s != like && s->nursery == like->nursery && s->state <= STAGE_SPARE)
            stage_kill(s, PWC__CODE__CODE_OK, "its nursery is sick");
    }
}

static void end_sick(struct pool *p)
{
    log_warn(
        "nursery (pid %d) makes only stages that die before they are ready (%s): ended; they are executed "
        "directly until there is another one",
        p->nursery_pid, p->last_words);
    p->nursery_sick = p->untried = true;
    nursery_kill(p);
}

void nursery_acquitted(struct pool *p, const struct stage *s)
{
    if (s->nursery == 0)
        return;
    p->brood_of = s->nursery;
    p->brood = 0;
}

/* It may be gone, and what it has made be there still. */
bool nursery_blamed(struct pool *p, const struct stage *s)
{
    if (s->nursery == 0)
        return false;
    p->brood = s->nursery == p->brood_of ? p->brood + 1 : 1;
    p->brood_of = s->nursery;
    if (p->brood < RESTART_SICK)
        return false;
    if (s->nursery == p->nurseries && p->nursery != NULL && p->nursery_killed.ns == 0)
        end_sick(p);
    retire_brood(p, s);
    p->brood = 0;
    return true;
}

static void on_frame(struct pool *p, struct frame *f)
{
    if (f->type == PWC_MSG_NURSERY_READY) {
        p->nursery_ready = true;
        log_info("nursery ready (pid %d)", p->nursery_pid);
        return;
    }
    ProtobufCMessage *m = f->type == PWC_MSG_SPAWNED ? msg_unpack(f->desc, f->body, f->body_len) : NULL;
    if (m == NULL) {
        log_warn("nursery sent garbage (%s); killed", msg_name(f->type));
        nursery_kill(p);
        return;
    }
    spawned(p, f, (Stage__Spawned *)m);
    msg_free(m);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pool *p = arg;
    int r = chan_fill(p->nursery);
    if (r == 0 || (r < 0 && r != -EAGAIN))
        event_del(p->nursery_ev);
    struct frame f;
    while (r > 0 && (r = chan_next(p->nursery, &f)) > 0) {
        on_frame(p, &f);
        frame_close(p->nursery, &f);
    }
    if (r == -EPROTO || lack_passes(r)) /* it would not be heard again */
        nursery_kill(p);
    daemon_touch(p->d);
    daemon_turn(p->d);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pool *p = arg;
    if (chan_flush(p->nursery) < 0 || chan_queued(p->nursery) == 0)
        event_del(p->nursery_write_ev);
}

/* It says nothing of the nursery itself. */
static void lacking(struct pool *p, const char *what, int error)
{
    if (!p->nursery_waits)
        log_warn("no %s for the nursery: %s; stages are executed directly until there is one", what,
                 strerror(error));
    p->nursery_waits = true;
    retry_after(p, RESTART_FIRST_NS);
}

/* Who could not be heard is not started. */
static int listen_to(struct pool *p, int fd)
{
    p->nursery = chan_new(fd, MSG_FROM_NURSERY, NULL);
    chan_tell_lost(p->nursery);
    p->nursery_ev = event_new(p->d->base, fd, EV_READ | EV_PERSIST, on_readable, p);
    p->nursery_write_ev = event_new(p->d->base, fd, EV_WRITE | EV_PERSIST, on_writable, p);
    return event_add(p->nursery_ev, NULL) < 0 ? -ENOMEM : 0;
}

void nursery_start(struct pool *p)
{
    if (p->nursery_retry_ev == NULL)
        p->nursery_retry_ev = evtimer_new(p->d->base, on_retry, p);
    p->nurseries++;
    int sv[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0) {
        lacking(p, "channel", errno);
        return;
    }
    int r = listen_to(p, sv[0]);
    if (r == 0)
        r = execute(p->d->cfg.stage_program, "--nursery", sv[1], -1, &p->nursery_pid, &p->nursery_pidfd);
    close(sv[1]);
    if (r < 0)
        nursery_forget(p);
    if (lack_passes(r)) {
        lacking(p, "process", -r);
        return;
    }
    p->nursery_waits = false;
    if (r < 0) {
        log_warn("cannot execute %s: %s", p->d->cfg.stage_program, strerror(-r));
        retry_after(p, restart_next(&p->nursery_restart, RESTART_DIED_BEFORE_READY, clock_now()));
        return;
    }
    p->nursery_born = clock_now();
    p->nursery_exit_ev = event_new(p->d->base, p->nursery_pidfd, EV_READ | EV_PERSIST, on_exit_event, p);
    (void)event_add(p->nursery_exit_ev, NULL); /* else SIGCHLD tells */
}

void nursery_stop(struct pool *p, struct mono until)
{
    if (p->nursery_pidfd >= 0 && !pool_await_end(p->nursery_pidfd, until))
        log_warn("nursery (pid %d) survives SIGKILL: left behind", p->nursery_pid);
    nursery_forget(p);
    event_drop(&p->nursery_retry_ev);
}

int nursery_spawn(struct pool *p, struct stage *s, int child_fd)
{
    int procs = s->cgroup != NULL ? cgroup_procs(s->cgroup) : -1;
    if (p->nursery != NULL && p->nursery_killed.ns == 0) {
        int fds[] = {child_fd, procs};
        Stage__Spawn m = STAGE__SPAWN__INIT;
        m.stage = s->id;
        int r = chan_send_full(p->nursery, PWC_MSG_SPAWN, 0, &m.base, NULL, 0, fds, procs >= 0 ? 2 : 1);
        if (r == 0 && chan_queued(p->nursery) > 0)
            event_add(p->nursery_write_ev, NULL);
        if (r == 0) {
            s->nursery = p->nurseries;
            return 0;
        }
    }
    pid_t pid;
    int pidfd;
    int r = execute(p->d->cfg.stage_program, "--stage", child_fd, procs, &pid, &pidfd);
    if (r < 0)
        return r;
    stage_got_process(s, pid, pidfd);
    return 0;
}
