/*
 * nursery.c - see nursery.h.
 *
 * A child is made by clone3 without CLONE_VM, so it is a fork, and with CLONE_PARENT, so it is the
 * supervisor's child. glibc's own fork cannot do that, and what it does besides is done here: the kernel
 * writes the child's thread id where glibc keeps it (abort, mutexes and cancellation use it), clears it at
 * exit, and the robust list is registered again. This is sound only while there is one thread: libraries that
 * start threads (a pipeline of libvips does) never run here, and that is checked.
 *
 * The nursery has no children: nothing to reap. It ends when its channel does.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/channel.h"
#include "ipc/log.h"
#include "worker/nursery.h"
#include "worker/obituary.h"
#include "worker/sandbox.h"
#include "worker/stage.h"

/* ---- before anything else runs ---- */

/* A terminal's Ctrl-C or a service's stop are for the supervisor, which ends its stages itself. */
static void plain_signals(void)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE};
    sigset_t none;
    sigemptyset(&none);
    for (int sig = 1; sig < SIGRTMAX; sig++)
        signal(sig, SIG_DFL);
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        signal(ignored[i], SIG_IGN);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Strips of an image are allocated and freed all the time: below 16 MiB they stay in the heap, because a
 * fresh mapping costs a page fault for each of its pages. Few arenas: an op's threads come and go. */
static void tune_malloc(void)
{
    mallopt(M_MMAP_THRESHOLD, 16 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    mallopt(M_ARENA_MAX, 4);
}

/* Locale decides how numbers are read; the rest are places where libraries would look for files or, liborc,
 * make shared executable ones, which all stages would then have in common, and libvips' profile, a file that
 * it could not write, with locks that whoever is forked from us would wait for. */
static void plain_environment(void)
{
    static const char *const places[] = {"HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
                                         "VIPS_PROFILE"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        unsetenv(places[i]);
    setenv("TMPDIR", "/nonexistent", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
}

/* How many there are, or -errno. */
static int threads(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/task");
    if (dir == NULL)
        return -errno;
    errno = 0;
    for (const struct dirent *d; (d = readdir(dir)) != NULL && n < 1000; errno = 0)
        n += d->d_name[0] != '.';
    int r = errno != 0 ? -errno : n;
    closedir(dir);
    return r;
}

/*
 * When memory is short the kernel is to end a stage, whose work others do again, before anybody else's
 * process. To raise this needs no right. Stages have it from here: a process that cannot be dumped cannot
 * open the file of its own.
 */
static void offer_itself(void)
{
    static const char score[] = "500";
    char now[16] = "";
    AUTO_FD int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd >= 0 && pread(fd, now, sizeof now - 1, 0) > 0 && atoi(now) >= atoi(score))
        return;
    if (fd < 0 || pwrite(fd, score, sizeof score - 1, 0) < 0)
        log_warn("oom_score_adj cannot be set: %s; when memory is short the kernel may end others first",
                 strerror(errno));
}

static _Noreturn void give_up(const char *what, int r)
{
    log_fatal("%s: %s", what, strerror(-r));
    exit(71); /* EX_OSERR */
}

void process_prepare(struct optable *ops)
{
    offer_itself();
    plain_signals();
    tune_malloc();
    plain_environment();
#ifdef HAVE_VIPS
    ops_image_start();
#endif
    optable_load(ops);
    obituary_prepare();
    int r = sandbox_prepare();
    if (r < 0)
        give_up("the sandbox's filter cannot be made", r);
    int n = threads();
    if (n < 0)
        give_up("its own threads cannot be counted", n);
    if (n != 1) {
        log_bug("%d threads after the start of the libraries: stages made from here would hang", n);
        abort();
    }
    if ((r = sandbox_drop_root()) < 0)
        give_up("root's rights cannot be given up (is there a user pwcd or nobody?)", r);
}

/* The parent's end of the channel is gone with it, whatever happened before the kernel was asked. */
bool process_bind(void)
{
    struct pollfd p = {.fd = STAGE_CHANNEL}; /* a hang-up is told though there is something left to read */
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 &&
           (poll(&p, 1, 0) < 1 || (p.revents & POLLHUP) == 0);
}

/* ---- making a stage ---- */

struct nursery {
    struct chan *chan;
    const struct optable *ops;
    int *tid; /* where glibc keeps the thread id */
    void *robust;
    size_t robust_len;
};

#define THREAD_WORDS (1024 / sizeof(int)) /* glibc's description of a thread is longer on every machine */

/* In a child that glibc has made its thread id has come there: 1; 0: it has not; or -errno. */
static int is_thread_id(const int *word)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(*word == gettid() ? 0 : 1);
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return pid < 0 ? -errno : status == 0;
}

/* Kernels without CONFIG_CHECKPOINT_RESTORE do not tell where the thread id is kept. */
static int find_thread_id(int **ret)
{
    int *thread = (int *)pthread_self(); // NOLINT: glibc's handle is the description's address
    for (size_t i = 0; i < THREAD_WORDS; i++) {
        int r = thread[i] == gettid() ? is_thread_id(&thread[i]) : 0;
        if (r != 0) {
            *ret = &thread[i];
            return r < 0 ? r : 0;
        }
    }
    return -ENOTSUP;
}

static int find_glibc_words(struct nursery *n)
{
    int r = prctl(PR_GET_TID_ADDRESS, &n->tid, 0, 0, 0) < 0 ? find_thread_id(&n->tid) : 0;
    if (r < 0)
        return r;
    if (syscall(SYS_get_robust_list, 0, &n->robust, &n->robust_len) < 0)
        return -errno;
    return 0;
}

int process_join(int procs)
{
    return procs >= 0 && write(procs, "0", 1) < 0 ? errno : 0;
}

/* In the child. The nursery's channel is closed by putting the stage's own in its place. */
static _Noreturn void become_stage(const struct nursery *n, int fd, int procs)
{
    int cgroup_error = process_join(procs);
    syscall(SYS_set_robust_list, n->robust, n->robust_len);
    if (dup3(fd, STAGE_CHANNEL, O_CLOEXEC) < 0 || close_range(STAGE_CHANNEL + 1, ~0u, 0) < 0)
        _exit(71);
    if (!process_bind())
        _exit(EXIT_SUCCESS);
    stage_main(STAGE_CHANNEL, n->ops, cgroup_error);
}

/*
 * The older call, whose flags a filter can read: a service manager that restricts namespaces
 * (RestrictNamespaces=) has clone3 answer ENOSYS. The order of the last two arguments is the architecture's.
 */
static pid_t clone_by_registers(uint64_t flags, int *pidfd, void *tid)
{
#if defined(__x86_64__) || defined(__m68k__) || defined(__sparc__)
    return (pid_t)syscall(SYS_clone, flags, NULL, pidfd, tid, NULL);
#else
    return (pid_t)syscall(SYS_clone, flags, NULL, pidfd, NULL, tid);
#endif
}

static pid_t make_stage(const struct nursery *n, int *ret_pidfd)
{
    struct clone_args args = {
        .flags = CLONE_PARENT | CLONE_PIDFD | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID,
        .pidfd = (uintptr_t)ret_pidfd,
        .child_tid = (uintptr_t)n->tid,
    };
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    return pid < 0 && errno == ENOSYS ? clone_by_registers(args.flags, ret_pidfd, n->tid) : pid;
}

static int spawn(struct nursery *n, struct frame *f)
{
    Stage__Spawn *m = (Stage__Spawn *)msg_unpack(f->desc, f->body, f->body_len);
    AUTO_FD int fd = f->nfds >= 1 ? frame_take_fd(f, 0) : -1;
    AUTO_FD int procs = f->nfds >= 2 ? frame_take_fd(f, 1) : -1;
    AUTO_FD int pidfd = -1;
    if (m == NULL)
        return -EPROTO;
    Stage__Spawned answer = STAGE__SPAWNED__INIT;
    answer.stage = m->stage;
    msg_free((ProtobufCMessage *)m); /* now: the child would keep it for life */
    if (fd < 0)
        return -EPROTO;
    pid_t pid = make_stage(n, &pidfd);
    if (pid == 0)
        become_stage(n, fd, procs);
    answer.pid = pid > 0 ? (uint32_t)pid : 0;
    answer.error = pid < 0 ? errno : 0;
    return chan_send_full(n->chan, PWC_MSG_SPAWNED, 0, &answer.base, NULL, 0, &pidfd, pid > 0 ? 1 : 0);
}

static int take_messages(struct nursery *n)
{
    struct frame f;
    int r;
    while ((r = chan_next(n->chan, &f)) > 0) {
        r = f.type == PWC_MSG_SPAWN ? spawn(n, &f) : -EPROTO;
        frame_close(n->chan, &f);
        if (r < 0)
            return r;
    }
    return r;
}

static int serve(struct nursery *n)
{
    for (;;) {
        int r = chan_wait(n->chan, -1);
        if (r < 0)
            return r;
        r = chan_fill(n->chan);
        if (r == 0)
            return 0;
        if (r == -EAGAIN)
            continue;
        if (r < 0 || (r = take_messages(n)) < 0)
            return r;
    }
}

_Noreturn void nursery_main(int fd, const struct optable *ops)
{
    static char version[] = PACKAGE_VERSION;
    struct nursery n = {.chan = chan_new(fd, MSG_FROM_SUPER, NULL), .ops = ops};
    int r = find_glibc_words(&n);
    if (r < 0)
        give_up("it cannot be found out where the thread id is kept", r);
    Stage__NurseryReady ready = STAGE__NURSERY_READY__INIT;
    ready.ops = (uint32_t)ops->n;
    ready.version = version;
    r = chan_send(n.chan, PWC_MSG_NURSERY_READY, 0, &ready.base);
    if (r == 0)
        r = serve(&n);
    if (r < 0 && r != -EPIPE && r != -ECONNRESET)
        log_warn("nursery: %s, ending", r == -EPROTO ? chan_error(n.chan) : strerror(-r));
    _exit(r == -EPROTO ? STAGE_EXIT_PROTOCOL : EXIT_SUCCESS);
}
