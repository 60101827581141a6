/*
 * kernel.c - what the supervisor asks the kernel for: descriptors, memory objects, processes and their
 * deaths.
 *
 * Descriptors are numbers that are never used twice in a world: one that is closed twice, or used after it
 * was closed, fails the seed. Calls are wrapped at link time (see sim.am); numbers below SIM_FD_BASE are real
 * ones and go through. Any call that can fail does so now and then (W.p_kernel).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/closer.h"
#include "daemon/pressure.h"
#include "daemon/tail.h"
#include "ipc/fds.h"
#include "tests/sim/sim.h"

#define MAX_FDS    65536
#define TICK_LEAST (50 * NS_PER_MS) /* half of one */

bool event_fire(struct event *ev);

static struct file *table[MAX_FDS];
static uint32_t used, open_count, maps;
static int spawn_channel = -1;

/* ---- files ---- */

static void on_wake(struct due *d)
{
    struct file *f = (struct file *)(void *)((char *)d - offsetof(struct file, wake));
    struct file *held = file_ref(f);
    bool readable = false;
    if (f->kind == FILE_PIDFD)
        readable = f->proc != NULL && f->proc->state == PROC_ZOMBIE;
    else if (f->kind == FILE_DYING)
        readable = f->proc != NULL && f->proc->state != PROC_RUNS;
    else if (f->kind == FILE_SOCKET)
        readable = f->end->head != NULL || f->end->eof;
    bool told = readable && event_fire(f->events[0]);
    if (f->kind == FILE_SOCKET && f->events[1] != NULL && f->end != NULL &&
        (f->end->other == NULL || !f->end->other->stalled))
        told |= event_fire(f->events[1]);
    if (told && f->refs > 1)
        file_wake(f, sim_delay());
    file_drop(&held);
}

struct file *file_new(enum file_kind kind)
{
    struct file *f = xcalloc(1, sizeof *f);
    f->kind = kind;
    f->refs = 1;
    f->wake.fire = on_wake;
    return f;
}

/* Pages of control and segment are made once and serve all worlds. */
static struct page {
    struct page *next;
    alignas(64) char bytes[sizeof(struct segment)];
} * spare_pages;

static void *page_get(void)
{
    struct page *p = spare_pages;
    if (p != NULL) {
        spare_pages = p->next;
    } else {
        p = must(aligned_alloc(64, (sizeof *p + 63) & ~(size_t)63)); /* not wrapped: outlives the world */
        memset(p->bytes, 0, sizeof p->bytes);
    }
    memset(p->bytes, 0,
           offsetof(struct segment, obituary.text)); /* the rest is as some other world left it */
    return p->bytes;
}

static void page_put(void *bytes)
{
    struct page *p = (struct page *)(void *)((char *)bytes - offsetof(struct page, bytes));
    p->next = spare_pages;
    spare_pages = p;
}

struct file *file_memory(enum memory_kind kind, uint64_t bytes)
{
    struct file *f = file_new(FILE_MEMORY);
    f->mem.kind = kind;
    f->mem.bytes = bytes;
    if (kind == MEM_CONTROL || kind == MEM_SEGMENT)
        f->mem.pages = page_get();
    if (kind == MEM_ARENA || kind == MEM_SCRATCH)
        f->mem.values = xcalloc(SIM_CHUNKS_MAX, sizeof *f->mem.values);
    return f;
}

struct file *file_ref(struct file *f)
{
    f->refs++;
    return f;
}

void file_drop(struct file **at)
{
    struct file *f = TAKE_PTR(*at);
    if (f == NULL || --f->refs > 0)
        return;
    due_drop(&f->wake);
    if (f->kind == FILE_SOCKET)
        end_close(TAKE_PTR(f->end));
    if (f->proc != NULL && f->proc->pidfd == f)
        f->proc->pidfd = NULL;
    if (f->proc != NULL && f->proc->dying == f)
        f->proc->dying = NULL;
    if (f->mem.pages != NULL)
        page_put(f->mem.pages);
    free(f->mem.values);
    free(f);
}

void file_wake(struct file *f, int64_t delay)
{
    if (f->wake.place == 0)
        due_in(&f->wake, delay);
}

int fd_install(struct file *f)
{
    SIM_CHECK(used < MAX_FDS, "more than %d descriptors in one world", MAX_FDS);
    int fd = SIM_FD_BASE + (int)used;
    table[used++] = f;
    open_count++;
    f->fd = fd;
    return fd;
}

struct file *fd_file(int fd)
{
    SIM_CHECK(fd >= SIM_FD_BASE && fd < SIM_FD_BASE + (int)used && table[fd - SIM_FD_BASE] != NULL,
              "descriptor %d is used, but not open", fd);
    return table[fd - SIM_FD_BASE];
}

uint32_t kernel_open_fds(void)
{
    return open_count;
}

void kernel_reset(void)
{
    memset(table, 0, used * sizeof *table);
    used = open_count = maps = 0;
    spawn_channel = -1;
}

void kernel_check_empty(void)
{
    for (uint32_t i = 0; i < used; i++)
        SIM_CHECK(table[i] == NULL, "descriptor %u leaked: file of kind %d, memory of kind %d",
                  SIM_FD_BASE + i, (int)table[i]->kind, (int)table[i]->mem.kind);
    SIM_CHECK(maps == 0, "%u mappings leaked", maps);
}

/* ---- calls ---- */

int __real_close(int fd);
int __wrap_close(int fd);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_socketpair(int domain, int type, int protocol, int sv[2]);
int __real_poll(struct pollfd *p, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *p, nfds_t n, int timeout);
int __wrap_select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *tv);
long __real_syscall(long number, long a, long b, long c, long d, long e);
long __wrap_syscall(long number, ...);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
pid_t __wrap_waitpid(pid_t pid, int *status, int options);
int __wrap_kill(pid_t pid, int sig);
int __wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attr, char *const argv[], char *const envp[]);
int __wrap_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int newfd);

/* Then pwcd makes the processes itself, and there is none for the last thing that it needs for one. */
static void end_nursery(void)
{
    struct proc *p = proc_of_pid(W.d.pool->nursery_pid);
    if (p != NULL && p->state == PROC_RUNS)
        proc_signal(p, SIGKILL);
}

void kernel_scarce_begin(void)
{
    W.no_pidfds = sim_chance(300);
    W.fds_most = open_count + (W.no_pidfds ? 1000 : (uint32_t)sim_rnd(20));
    if (W.no_pidfds)
        end_nursery();
    sim_log("of descriptors %u are open, and %u may be", open_count, W.fds_most);
}

/* Would so many more be too many? */
static bool lacks_fds(uint32_t n)
{
    if (W.fds_most == 0 || open_count + n <= W.fds_most)
        return false;
    errno = EMFILE;
    W.kernel_failed = sim_now();
    sim_tally->failed_calls++;
    return true;
}

bool kernel_fails(void)
{
    if (!sim_fault(W.p_kernel))
        return false;
    errno = sim_chance(500) ? EMFILE : ENOMEM;
    W.kernel_failed = sim_now();
    sim_tally->failed_calls++;
    sim_log("a system call fails: %s", strerror(errno));
    return true;
}

bool kernel_no_room(uint32_t n)
{
    return lacks_fds(n) || kernel_fails();
}

int __wrap_close(int fd)
{
    if (fd < SIM_FD_BASE)
        return __real_close(fd);
    struct file *f = fd_file(fd);
    table[fd - SIM_FD_BASE] = NULL;
    open_count--;
    file_drop(&f);
    return 0;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    int mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, int) : 0;
    va_end(ap);
    if ((flags & O_TMPFILE) != O_TMPFILE)
        return __real_open(path, flags, mode);
    return lacks_fds(1) || kernel_fails() ? -1 : fd_install(file_memory(MEM_SCRATCH, 0));
}

int __wrap_socketpair(int domain, int type, int protocol, int sv[2])
{
    (void)domain, (void)type, (void)protocol;
    if (lacks_fds(2) || kernel_fails())
        return -1;
    struct file *ends[2];
    end_pair(ends);
    sv[0] = fd_install(ends[0]);
    sv[1] = fd_install(ends[1]);
    return 0;
}

/* The log looks whether the real descriptor takes what is to be written. */
int __wrap_poll(struct pollfd *p, nfds_t n, int timeout)
{
    SIM_CHECK(n == 1, "poll of several descriptors");
    if (p->fd < SIM_FD_BASE)
        return __real_poll(p, n, timeout);
    struct end *e = fd_file(p->fd)->end;
    p->revents = e->other == NULL ? POLLHUP : 0;
    return p->revents != 0;
}

/* Only pool_shutdown waits, for those it has killed. */
int __wrap_select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *tv)
{
    (void)n, (void)r, (void)w, (void)x, (void)tv;
    const struct stage *s;
    struct proc *p = proc_of_pid(W.d.pool->nursery_pid);
    if (p != NULL)
        proc_end_now(p);
    TAILQ_FOREACH(s, &W.d.pool->stages, link)
    {
        p = proc_of_pid(s->pid);
        if (p != NULL)
            proc_end_now(p);
    }
    return 0;
}

static long pidfd_open_(pid_t pid)
{
    struct proc *p = proc_of_pid(pid);
    SIM_CHECK(p != NULL && p->state != PROC_REAPED, "pidfd_open of nobody: %d", pid);
    if (lacks_fds(W.no_pidfds ? UINT16_MAX : 1) || kernel_fails())
        return -1;
    struct file *f = file_new(FILE_PIDFD);
    f->proc = p;
    p->pidfd = f;
    return fd_install(f);
}

long __wrap_syscall(long number, ...)
{
    va_list ap;
    va_start(ap, number);
    long a = va_arg(ap, long), b = va_arg(ap, long), c = va_arg(ap, long), d = va_arg(ap, long),
         e = va_arg(ap, long);
    va_end(ap);
    if (number == SYS_pidfd_open)
        return pidfd_open_((pid_t)a);
    if (number == SYS_waitid)
        return __wrap_waitid((idtype_t)a, (id_t)b, (siginfo_t *)(uintptr_t)c, (int)d);
    if (number == SYS_sched_getattr) { /* of a process that is none of this machine's */
        errno = ESRCH;
        return -1;
    }
    if (number != SYS_pidfd_send_signal)
        return __real_syscall(number, a, b, c, d, e);
    proc_signal(fd_file((int)a)->proc, (int)b);
    return 0;
}

int __wrap_kill(pid_t pid, int sig)
{
    struct proc *p = proc_of_pid(pid);
    SIM_CHECK(p != NULL && p->state != PROC_REAPED, "signal %d to nobody: %d", sig, pid);
    proc_signal(p, sig);
    return 0;
}

int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    if ((options & WSTOPPED) != 0) {
        proc_stop_news(info);
        return 0;
    }
    struct proc *p = type == P_PIDFD ? fd_file((int)id)->proc
                     : type == P_PID ? proc_of_pid((pid_t)id)
                                     : proc_any_zombie();
    memset(info, 0, sizeof *info);
    if (p == NULL && type == P_ALL)
        return 0;
    if (p == NULL || p->state == PROC_REAPED) {
        errno = ECHILD;
        return -1;
    }
    if ((options & WNOHANG) == 0)
        proc_end_now(p);
    if (p->state != PROC_ZOMBIE)
        return 0;
    *info = p->info;
    if ((options & WNOWAIT) == 0)
        proc_reaped(p);
    return 0;
}

pid_t __wrap_waitpid(pid_t pid, int *status, int options)
{
    siginfo_t info;
    (void)status;
    return __wrap_waitid(P_PID, (id_t)pid, &info, options | WEXITED) < 0 ? -1 : pid;
}

int __wrap_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int newfd)
{
    (void)actions, (void)newfd;
    spawn_channel = fd;
    return 0;
}

int __wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
    (void)path, (void)actions, (void)attr, (void)envp;
    if (sim_fault(W.p_kernel + W.p_start)) {
        W.start_troubles++;
        sim_log("a program cannot be executed");
        return EAGAIN;
    }
    proc_spawn(strcmp(argv[1], "--nursery") == 0, file_ref(fd_file(spawn_channel)), pid);
    return 0;
}

/* Between two worlds, not in them. */
int __wrap_malloc_trim(size_t pad);
int __wrap_malloc_trim(size_t pad)
{
    (void)pad;
    return 0;
}

/* ---- ipc/fds.c, ipc/segment.c ---- */

/* For nobody is a segment tried again before the next tick, which may come soon after the first time. */
static void check_patience(void)
{
    SIM_CHECK(W.no_segment[1] == 0 || sim_now() - W.no_segment[1] > TICK_LEAST,
              "a segment is tried a third time in %ld us", (long)((sim_now() - W.no_segment[1]) / NS_PER_US));
    W.no_segment[1] = W.no_segment[0];
    W.no_segment[0] = sim_now();
}

int __wrap_memfd_sized(const char *name, uint64_t bytes, int *ret_fd);
int __wrap_memfd_blank(const char *name, uint64_t most, int *ret_fd);
int __wrap_fd_reopen_ro(int fd, int *ret_fd);
int __wrap_memfd_sized(const char *name, uint64_t bytes, int *ret_fd)
{
    enum memory_kind kind = strcmp(name, "pwc-control") == 0   ? MEM_CONTROL
                            : strcmp(name, "pwc-segment") == 0 ? MEM_SEGMENT
                                                               : MEM_ARENA;
    bool lacks = lacks_fds(1);
    if (lacks && kind != MEM_ARENA)
        check_patience();
    if (lacks || kernel_fails())
        return -errno;
    *ret_fd = fd_install(file_memory(kind, bytes));
    return 0;
}

int __wrap_memfd_blank(const char *name, uint64_t most, int *ret_fd)
{
    (void)name;
    if (lacks_fds(1) || kernel_fails())
        return -errno;
    *ret_fd = fd_install(file_memory(MEM_PLAN, most));
    return 0;
}

int __wrap_fd_reopen_ro(int fd, int *ret_fd)
{
    struct file *f = fd_file(fd);
    if (lacks_fds(1) || kernel_fails())
        return -errno;
    *ret_fd = fd_install(file_ref(f));
    return 0;
}

void *segment_map(int fd, size_t bytes, bool writable)
{
    struct file *f = fd_file(fd);
    (void)bytes, (void)writable;
    if (kernel_fails())
        return NULL;
    maps++;
    /* A mapping holds the object; which one, its page tells. */
    struct page *p = (struct page *)(void *)((char *)f->mem.pages - offsetof(struct page, bytes));
    p->next = (struct page *)(void *)file_ref(f);
    return f->mem.pages;
}

void segment_unmap(void *bytes, size_t size)
{
    (void)size;
    if (bytes == NULL)
        return;
    struct page *p = (struct page *)(void *)((char *)bytes - offsetof(struct page, bytes));
    struct file *f = (struct file *)(void *)p->next;
    maps--;
    file_drop(&f);
}

/* ---- daemon/tail.c, daemon/pressure.c: what they read is not simulated ---- */

struct tail *tail_new(struct event_base *base, const struct segment_slot *slot, int *ret_fd)
{
    (void)base, (void)slot, (void)ret_fd;
    return NULL;
}

void tail_free(struct tail *t)
{
    (void)t;
}

void tail_tick(struct tail *t)
{
    (void)t;
}

void tail_mark(struct tail *t)
{
    (void)t;
}

void tail_text(struct tail *t, uint64_t lease, uint64_t chunk, char *text, size_t size)
{
    (void)t, (void)lease, (void)chunk, (void)size;
    text[0] = '\0';
}

enum pressure pressure_now(void)
{
    if (!sim_fault(W.p_memory))
        return PRESSURE_NONE;
    return sim_fault(W.p_memory) ? PRESSURE_LAST : PRESSURE_SHORT;
}

uint64_t pressure_worth_now(void)
{
    return 1;
}

bool pressure_oom_kills(uint64_t *ret)
{
    *ret = W.oom_kills;
    return true;
}

uint64_t pressure_threads(pid_t pid)
{
    (void)pid;
    return 1;
}

bool pressure_of(pid_t pid, bool shared, uint64_t *ret_bytes)
{
    (void)shared;
    const struct proc *p = proc_of_pid(pid);
    *ret_bytes = 0;
    if (p == NULL || p->job == NULL || !sim_fault(W.p_memory))
        return true;
    p->job->spec->trouble++;
    *ret_bytes = UINT64_MAX;
    return true;
}

/* ---- the closer ---- */

void closer_close_for(int fd, uid_t uid)
{
    (void)uid;
    if (fd >= 0)
        __wrap_close(fd);
}

void closer_close(int fd)
{
    closer_close_for(fd, 0);
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

size_t closer_pending(void)
{
    return 0;
}

size_t closer_pending_of(uid_t uid)
{
    (void)uid;
    return 0;
}
