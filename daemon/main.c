/*
 * main.c - pwcd: starts, turns the loop, ends.
 *
 * Order of start: configuration, descriptor limit, socket, closer, loop, nursery, spares, catalogue; only
 * then are clients accepted and readiness told. Order of the end: no new jobs, waiting ones are refused,
 * running ones, and clients that have yet to read, have shutdown_grace, then every child is killed and waited
 * for; nothing outlives pwcd.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/cgroup.h"
#include "daemon/children.h"
#include "daemon/closer.h"
#include "daemon/deaths.h"
#include "daemon/dump.h"
#include "daemon/job.h"
#include "daemon/lack.h"
#include "daemon/listener.h"
#include "daemon/looks.h"
#include "daemon/pool.h"
#include "daemon/posture.h"
#include "daemon/pressure.h"
#include "daemon/quarantine.h"
#include "daemon/service.h"
#include "daemon/session.h"
#include "daemon/tables.h"
#include "ipc/log.h"
#include "ipc/slice.h"

#define ACCEPTS_A_TURN 16
#define CLOSER_STOP_MS 500
/* What accepting lacks comes back when somebody closes something, and nobody tells us. */
#define ACCEPT_PAUSE_MS 100
#define TELL_AGAIN_MS   100

static struct daemon pwcd;
static struct listener listener;
static struct event *accept_evs[LISTENER_MAX], *signal_evs[6], *watchdog_ev;
static struct event *resume_ev; /* while accepting is paused */
static struct event *tell_ev;   /* while the service manager is owed a word */
static bool serving;
static int watchdog_fd = -1, exit_code = EXIT_SUCCESS;

/* Without either pwcd ends, so that nobody waits for a word or an answer that will not come: whoever started
 * it does so again. */
static int open_up(void)
{
    int r = 0;
    errno = ENOMEM; /* where libevent does not say */
    for (unsigned i = 0; i < listener.nfds && r == 0; i++)
        r = event_add(accept_evs[i], NULL) < 0 ? -errno : 0;
    if (r < 0)
        log_fatal("the socket cannot be watched: %s", strerror(-r));
    else if ((r = service_ready("ready")) < 0)
        log_fatal("the service manager cannot be told that all is ready: %s", strerror(-r));
    return r;
}

static void serve(struct daemon *d)
{
    if (serving || d->stopping || (d->catalogue == NULL && !pool_gives_up(d->pool)))
        return;
    serving = true;
    if (open_up() < 0) {
        exit_code = EX_OSERR;
        event_base_loopbreak(d->base);
        return;
    }
    log_info("ready: %u seats (%s), socket %s", d->seats, d->seats_from,
             listener.path != NULL ? listener.path : "from the service manager");
    log_info("memory of stages: %s", cgroups_posture());
}

/* Who comes while we stop is told so, and may look on. On a socket of the service manager's they wait for
 * whom it starts next. */
static bool still_accepts(const struct daemon *d)
{
    return !d->stopping || listener.path != NULL;
}

static uint32_t jobs_alive(const struct daemon *d)
{
    uint32_t n = 0;
    const struct user *u;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        n += u->jobs;
    }
    return n;
}

/* Who has not read yet how his jobs ended has until the end of the grace for it. */
void daemon_check_stop(struct daemon *d)
{
    bool over = jobs_alive(d) == 0 && tables_told(d);
    if (d->stopping && (over || mono_since(clock_now(), d->stop_by) >= 0))
        event_base_loopbreak(d->base);
}

/* Ten times a second at most: with the tick. */
void daemon_tell_status(struct daemon *d)
{
    if (!d->stopping)
        service_status("%u of %u seats busy, %u jobs, %lu done, %lu failed", d->seats_busy, d->seats,
                       jobs_alive(d), (unsigned long)d->totals.done, (unsigned long)d->totals.failed);
}

/* Work is handed out here and nowhere else. */
void daemon_turn(struct daemon *d)
{
    if (d->stopping)
        tables_end_jobs(d, true);
    tables_turn(d);
    serve(d);
    if (d->stopping)
        daemon_check_stop(d);
}

/* ---- signals ---- */

static void on_stop_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    event_base_loopbreak(((struct daemon *)arg)->base);
}

static void on_term(evutil_socket_t sig, short what, void *arg)
{
    (void)what;
    struct daemon *d = arg;
    if (d->stopping) {
        event_base_loopbreak(d->base);
        return;
    }
    log_info("SIG%s: stopping; %u jobs have %ld s to end", sigabbrev_np((int)sig), jobs_alive(d),
             (long)(d->cfg.shutdown_grace / NS_PER_S));
    service_stopping("stopping");
    d->stopping = d->room_made = true;
    d->stop_by = mono_add(clock_now(), d->cfg.shutdown_grace);
    for (unsigned i = 0; i < listener.nfds && !still_accepts(d); i++)
        event_del(accept_evs[i]);
    struct timeval tv = {d->cfg.shutdown_grace / NS_PER_S, d->cfg.shutdown_grace % NS_PER_S / NS_PER_US};
    evtimer_add(d->stop_ev, &tv);
    daemon_turn(d);
    daemon_check_stop(d);
}

/* What the service manager is owed of the last reload. Nobody's job ends because it cannot be told: most
 * often it is a descriptor that is lacking. */
static enum { OWED_NOTHING, OWED_RELOADING, OWED_READY } owed;

static int tell_owed(void)
{
    int r = owed == OWED_RELOADING ? service_reloading() : 0;
    if (r == 0 && owed == OWED_RELOADING)
        owed = OWED_READY;
    if (r == 0 && owed == OWED_READY)
        r = service_ready("ready");
    return r;
}

/* False: not yet. */
static bool tell_reloaded(void)
{
    struct timeval tv = {0, TELL_AGAIN_MS * 1000};
    int r = tell_owed();
    if (lack_passes(r) || r == -EAGAIN) {
        evtimer_add(tell_ev, &tv);
        return false;
    }
    if (r < 0)
        log_warn("the service manager cannot be told of the reload: %s", strerror(-r));
    owed = OWED_NOTHING;
    return true;
}

static void on_tell(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    const struct daemon *d = arg;
    if (!d->stopping && tell_reloaded()) /* one that waits for the end is told of that */
        log_info("the service manager knows of the reload now");
}

static void take_settings(struct daemon *d, const struct config *fresh)
{
    config_free(&d->cfg);
    d->cfg = *fresh;
    posture_scratch(d->cfg.scratch, d->scratch, sizeof d->scratch);
    log_set_level(d->cfg.log_level);
    jobs_forget_some(d);
    deaths_forget_some(d);
    quarantine_forget_some(d);
}

static void on_hup(evutil_socket_t sig, short what, void *arg)
{
    (void)sig, (void)what;
    struct daemon *d = arg;
    struct config fresh;
    char *error = NULL, *note = NULL;
    bool told = serving && !d->stopping; /* a manager that waits for the start, or the end, waits on */
    if (told)
        owed = service_reloading() == 0 ? OWED_READY : OWED_RELOADING;
    if (config_reload(&d->cfg, &fresh, &note, &error) < 0) {
        log_warn("configuration not reloaded: %s", error);
    } else {
        take_settings(d, &fresh);
        log_info("configuration reloaded%s%s", note != NULL && note[0] != '\0' ? "; " : "",
                 note != NULL ? note : "");
    }
    free(error);
    free(note);
    if (told && !tell_reloaded())
        log_warn("the service manager cannot be told of the reload yet");
    daemon_turn(d);
}

static void on_chld(evutil_socket_t sig, short what, void *arg)
{
    (void)sig, (void)what;
    struct daemon *d = arg;
    if (d->pool != NULL)
        children_changed(d);
}

static void on_usr1(evutil_socket_t sig, short what, void *arg)
{
    (void)sig, (void)what;
    dump_state(arg);
}

static void on_watchdog(evutil_socket_t fd, short what, void *arg)
{
    (void)what, (void)arg;
    service_watchdog(fd);
}

static void accept_later(void)
{
    struct timeval tv = {0, ACCEPT_PAUSE_MS * 1000};
    evtimer_add(resume_ev, &tv);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    const struct daemon *d = arg;
    bool all = true;
    for (unsigned i = 0; i < listener.nfds && still_accepts(d); i++)
        all &= event_add(accept_evs[i], NULL) == 0;
    if (!all)
        accept_later();
}

/* Whoever waits in the backlog keeps the socket readable: to go on trying would turn the loop at full speed.
 */
static void pause_accepting(struct daemon *d, int error)
{
    if (d->accept_pauses++ == d->accept_pauses_told) {
        log_warn("cannot accept clients (%s): trying again every %d ms", strerror(error), ACCEPT_PAUSE_MS);
        d->accept_pauses_told = UINT64_MAX; /* until it works again */
    }
    for (unsigned i = 0; i < listener.nfds; i++)
        event_del(accept_evs[i]);
    accept_later();
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct daemon *d = arg;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct peer peer;
        d->accept_tries++;
        int c = listener_accept(&listener, fd, &peer);
        if (c == -ECONNABORTED)
            continue;
        if (c == -EMFILE && d->turned_away++ % 100 == 0)
            log_warn("out of descriptors: a client was turned away");
        if (c < 0 && c != -EMFILE && c != -EAGAIN)
            pause_accepting(d, -c);
        if (c < 0)
            break;
        d->accept_pauses_told = d->accept_pauses;
        session_accept(d, c, peer.uid, peer.pid);
    }
    daemon_turn(d);
}

/* What whoever started us had blocked would stay blocked across exec: a SIGTERM would never come. Where a
 * file may not grow further (RLIMIT_FSIZE, memory files too) the system call says so; by default the signal
 * kills. */
static int watch_signals(struct daemon *d)
{
    sigset_t none;
    static const struct {
        int sig;
        void (*handle)(evutil_socket_t, short, void *);
    } table[] = {
        {SIGTERM, on_term}, {SIGINT, on_term}, {SIGHUP, on_hup}, {SIGUSR1, on_usr1}, {SIGCHLD, on_chld}};
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        signal_evs[i] = evsignal_new(d->base, table[i].sig, table[i].handle, d);
        errno = ENOMEM; /* where libevent does not say */
        if (signal_evs[i] == NULL || event_add(signal_evs[i], NULL) < 0)
            return -errno;
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return 0;
}

/* ---- start and end ---- */

/* libevent hands NULL on to whoever asked for an event: for us the same end as everywhere else. */
static void *loop_malloc(size_t n)
{
    return xcalloc(1, n);
}

static void *loop_realloc(void *p, size_t n)
{
    return xrealloc(p, 1, n);
}

static struct event_base *make_base(void)
{
    event_set_mem_functions(loop_malloc, loop_realloc, free);
    struct event_config *c = event_config_new();
    event_config_set_flag(c, EVENT_BASE_FLAG_IGNORE_ENV | EVENT_BASE_FLAG_NOLOCK);
    struct event_base *b = event_base_new_with_config(c);
    event_config_free(c);
    return b;
}

static int open_socket(struct daemon *d, char **error)
{
    listener = LISTENER_NONE;
    int n = listener_from_service(&listener, error);
    if (n == 0 && d->cfg.socket[0] != '\0')
        n = listener_bind(&listener, d->cfg.socket, d->cfg.socket_mode, d->cfg.socket_group, error);
    else if (n == 0)
        *error = xstrdup("no socket: none from the service manager, and none configured (--socket PATH)");
    if (n < 0 && *error == NULL)
        *error = xasprintf("the service manager's socket cannot be used: %s", strerror(-n));
    listener.turn_away = session_turn_away;
    return *error != NULL ? -EINVAL : n;
}

/* Whoever finds the socket's file waits for somebody to answer: it goes again. */
static int make_loop(struct daemon *d, char **error)
{
    const char *what = "the event loop";
    errno = ENOMEM;
    d->base = make_base();
    int r = d->base == NULL ? -errno : 0;
    if (r == 0) {
        what = "the thread that closes descriptors";
        r = closer_start();
    }
    if (r == 0) {
        what = "the handlers of signals";
        r = watch_signals(d);
    }
    if (r < 0) {
        *error = xasprintf("%s cannot be had: %s", what, strerror(-r));
        listener_close(&listener);
    }
    return r;
}

static void know_itself(struct daemon *d)
{
    struct cpus cpus = cpus_usable(d->cfg.workers, "");
    d->seats = cpus.count;
    d->seats_from = cpus.from;
    d->started = clock_now();
    if (getrandom(d->instance, sizeof d->instance, 0) != sizeof d->instance)
        memcpy(d->instance, &d->started, sizeof d->started);
}

static void raise_descriptor_limit(void)
{
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
}

static void drop_event(struct event *ev)
{
    if (ev != NULL)
        event_free(ev);
}

static bool watch_for_watchdog(struct daemon *d, short what, const struct timeval *each)
{
    watchdog_ev = event_new(d->base, watchdog_fd, what | EV_PERSIST, on_watchdog, d);
    return watchdog_ev != NULL && event_add(watchdog_ev, each) == 0;
}

/* Where the kernel has no timer for us, or none that can be waited for, the loop's own does. */
static void feed_watchdog(struct daemon *d)
{
    int64_t ns = service_watchdog_interval();
    struct timeval tv = {ns / NS_PER_S, ns % NS_PER_S / NS_PER_US};
    if (ns == 0)
        return;
    watchdog_fd = MAX(service_watchdog_timer(ns), -1);
    if (watchdog_fd >= 0 && watch_for_watchdog(d, EV_READ, NULL))
        return;
    drop_event(watchdog_ev);
    if (watchdog_fd >= 0)
        close(watchdog_fd);
    watchdog_fd = -1;
    if (!watch_for_watchdog(d, 0, &tv))
        log_warn("no timer for the watchdog: the service manager gets no signs of life");
}

static void begin(struct daemon *d)
{
    for (unsigned i = 0; i < listener.nfds; i++)
        accept_evs[i] = event_new(d->base, listener.fds[i], EV_READ | EV_PERSIST, on_accept, d);
    resume_ev = evtimer_new(d->base, on_resume, d);
    tell_ev = evtimer_new(d->base, on_tell, d);
    d->stop_ev = evtimer_new(d->base, on_stop_time, d);
    d->windows_most = pressure_memory() / 4;
    tables_init(d);
    d->pool = pool_new(d);
    nursery_start(d->pool);
    feed_watchdog(d);
    d->dirty = true;
    daemon_turn(d);
}

/* Without its event a signal would kill, with the socket's file still there: who asks once more to end gets
 * what he wants all the same. */
static void hear_no_more(void)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}; /* bugs, and they say so */
    sigset_t all;
    sigfillset(&all);
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        sigdelset(&all, own[i]);
    sigprocmask(SIG_SETMASK, &all, NULL);
}

static void finish(struct daemon *d)
{
    tables_end_jobs(d, false);
    pool_shutdown(d->pool);
    tables_free(d);
    for (size_t i = 0; i < ARRAY_LEN(accept_evs); i++)
        drop_event(accept_evs[i]);
    drop_event(resume_ev);
    drop_event(tell_ev);
    hear_no_more();
    for (size_t i = 0; i < ARRAY_LEN(signal_evs); i++)
        drop_event(signal_evs[i]);
    drop_event(watchdog_ev);
    if (watchdog_fd >= 0)
        close(watchdog_fd);
    drop_event(d->stop_ev);
    cgroups_stop();
    catalogue_free(d->catalogue);
    listener_close(&listener);
    event_base_free(d->base);
    if (!closer_stop(CLOSER_STOP_MS))
        log_warn("%zu descriptors of clients could not be closed in time", closer_pending());
    config_free(&d->cfg);
    log_info("stopped");
}

static int complain(char *error, int code)
{
    log_fatal("%s", error);
    free(error);
    return code;
}

/* Between two looks it yields to whom it waits for, who may be waiting for its processor. */
static void serve_events(struct daemon *d)
{
    struct looks l = looks_begin();
    bool look = false;
    while (event_base_loop(d->base, look ? EVLOOP_NONBLOCK : EVLOOP_ONCE) == 0 &&
           !event_base_got_break(d->base)) {
        if (look)
            sched_yield();
        look = looks_on(&l, d->nflown, d->nflying, d->seats, clock_now());
    }
}

/*
 * Descriptors 0 to 2 that were closed: else a socket would become stderr, and the log be sent to whoever is
 * at its other end. What takes their place cannot be written to, so that a list that was asked for is missed.
 */
static void fill_standard(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0 && fd <= STDERR_FILENO)
        continue;
    if (fd >= 0)
        close(fd);
}

/* Half a configuration is none: who keeps what was printed must hear of it. */
static int finish_stdout(void)
{
    int error = fflush(stdout) != 0 ? errno : 0;
    if (error == 0 && ferror(stdout) == 0)
        return EXIT_SUCCESS;
    log_fatal("cannot write to stdout%s%s", error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
    return EX_OSERR;
}

static int check_only(struct daemon *d)
{
    char *error = NULL;
    struct cpus cpus = cpus_usable(d->cfg.workers, "");
    config_print(&d->cfg, &cpus, stdout);
    int r = finish_stdout();
    return config_check_paths(&d->cfg, &error) < 0 ? complain(error, EX_CONFIG) : r;
}

int main(int argc, char **argv)
{
    struct daemon *d = &pwcd;
    char *error = NULL;
    fill_standard();
    log_open("pwcd", LOG_INFO, service_stderr_is_journal());
    int r = config_parse(&d->cfg, argc, argv, &error);
    if (r == CONFIG_EXIT)
        return finish_stdout();
    if (r < 0)
        return complain(error, EX_CONFIG);
    log_set_level(d->cfg.debug ? LOG_DBG : d->cfg.log_level);
    if (d->cfg.check_only)
        return check_only(d);
    if (config_check_paths(&d->cfg, &error) < 0)
        return complain(error, EX_CONFIG);
    log_never_wait();
    raise_descriptor_limit();
    posture_scratch(d->cfg.scratch, d->scratch, sizeof d->scratch);
    know_itself(d);
    cgroups_start(d->cfg.cgroups, 2 * (d->seats + 1)); /* at work, and as many spares */
    if (open_socket(d, &error) < 0)
        return complain(error, EX_UNAVAILABLE);
    if (make_loop(d, &error) < 0)
        return complain(error, EX_OSERR);
    slice_ask(0, SLICE_SHORT);
    begin(d);
    serve_events(d);
    finish(d);
    return exit_code;
}
