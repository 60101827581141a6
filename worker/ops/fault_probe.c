/*
 * fault_probe.c - fault.probe, in test builds only: what a taken-over op would try on the world around it.
 * `call` names the attempt, `target` the process it is aimed at. Each tells by its error text what came of
 * it: "openat: Permission denied", "ptrace: it worked", "descriptors: ccesf"; or the sandbox ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "worker/op.h"

#define CODE(name) PWC__CODE__CODE_##name
#define CHANNEL    3
#define FDS_MAX    1024

/* Called by number: some have no wrapper, and wrappers do more than call. */
#define RAW(name, ...)                                                                                       \
    static long try_##name(pid_t target)                                                                     \
    {                                                                                                        \
        (void)target;                                                                                        \
        return syscall(SYS_##name, __VA_ARGS__);                                                             \
    }

static char path[64] = "/etc/passwd";

static const char *memory_of(pid_t target)
{
    snprintf(path, sizeof path, "/proc/%d/mem", (int)target);
    return path;
}

/* ---- files ---- */
RAW(openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0)
RAW(openat2, AT_FDCWD, "/etc/passwd", NULL, 0)
RAW(creat, "/tmp/pwc-probe", 0600)
RAW(unlink, "/tmp/pwc-probe")
RAW(mknod, "/tmp/pwc-probe", S_IFIFO | 0600, 0)
RAW(chroot, "/")
RAW(mount, "none", "/", "tmpfs", 0, NULL)
RAW(umount2, "/", 0)
RAW(open_by_handle_at, CHANNEL, NULL, O_RDONLY)
/* With this flag and a name they are what stat is. */
static long try_newfstatat(pid_t target)
{
    struct stat st;
    (void)target;
    return syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", &st, AT_EMPTY_PATH);
}
static long try_statx(pid_t target)
{
    struct statx st;
    (void)target;
    return syscall(SYS_statx, AT_FDCWD, "/etc/passwd", AT_EMPTY_PATH, STATX_BASIC_STATS, &st);
}
static long try_procmem(pid_t target)
{
    return syscall(SYS_openat, AT_FDCWD, memory_of(target), O_RDWR, 0);
}
static long try_procfd(pid_t target)
{
    (void)target;
    return syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY, 0);
}

/* ---- memory that nobody counts ---- */
RAW(memfd_create, "pwc-probe", 0)
RAW(fallocate, CHANNEL, FALLOC_FL_KEEP_SIZE, 0L, 4096L)
static long try_shared(pid_t target)
{
    (void)target;
    return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}
static long try_validated(pid_t target)
{
    (void)target;
    return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0);
}
/* Code that is made at run time, in memory of its own or in some that it has. */
static long try_made(pid_t target)
{
    (void)target;
    return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                   0);
}
static long try_protect(pid_t target)
{
    (void)target;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return syscall(SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC);
}

/* ---- network ---- */
static long try_socket(pid_t target)
{
    (void)target;
    return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
}
static long try_unix(pid_t target)
{
    (void)target;
    return syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
}
static long try_netlink(pid_t target)
{
    (void)target;
    return syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0);
}
static long try_connect(pid_t target)
{
    (void)target;
    struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "/run/pwcd/pwcd.sock"};
    return syscall(SYS_connect, CHANNEL, &sa, sizeof sa);
}
/* A datagram names its receiver without connect; the channel is a stream. */
static long try_sendto(pid_t target)
{
    (void)target;
    struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/notify"};
    return syscall(SYS_sendto, CHANNEL, "x", 1, MSG_NOSIGNAL, &sa, sizeof sa);
}
RAW(bind, CHANNEL, NULL, 0)
RAW(accept4, CHANNEL, NULL, NULL, 0)
RAW(io_uring_setup, 8, NULL)

/* ---- processes ---- */
static char *const argv[] = {(char *)(uintptr_t) "/bin/true", NULL};
RAW(execve, "/bin/true", argv, NULL)
RAW(execveat, CHANNEL, "", argv, NULL, AT_EMPTY_PATH)
RAW(fork, 0)
RAW(vfork, 0)
RAW(clone, SIGCHLD, NULL, NULL, NULL, 0)
RAW(clone3, NULL, 0)
RAW(unshare, CLONE_NEWUSER)
RAW(setns, CHANNEL, 0)
static long try_newuser(pid_t target)
{
    (void)target;
    return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0);
}

/* ---- other processes ---- */
RAW(ptrace, PTRACE_ATTACH, target, NULL, NULL)
RAW(kill, target, SIGKILL)
RAW(tkill, target, SIGKILL)
RAW(tgkill, target, target, SIGKILL)
RAW(rt_sigqueueinfo, target, SIGKILL, NULL)
RAW(pidfd_open, target, 0)
RAW(pidfd_getfd, CHANNEL, 0, 0)
RAW(pidfd_send_signal, CHANNEL, SIGKILL, NULL, 0)
RAW(kcmp, target, target, 0, 0, 0)
RAW(process_vm_readv, target, NULL, 0, NULL, 0, 0)
RAW(process_vm_writev, target, NULL, 0, NULL, 0, 0)
RAW(process_madvise, CHANNEL, NULL, 0, 0, 0)
RAW(sched_setaffinity, target, 0, NULL)
RAW(setpriority, PRIO_PROCESS, target, 19)
RAW(perf_event_open, NULL, target, -1, -1, 0)
static long try_prlimit(pid_t target)
{
    struct rlimit none = {0, 0};
    return syscall(SYS_prlimit64, target, RLIMIT_CPU, &none, NULL);
}

/* ---- memory of others, and rights ---- */
RAW(shmget, 1, 4096, 0600)
RAW(shmat, 0, NULL, 0)
RAW(msgget, 1, 0600)
RAW(semget, 1, 1, 0600)
RAW(mq_open, "/pwc-probe", O_RDWR, 0, NULL)
RAW(userfaultfd, 0)
RAW(bpf, 0, NULL, 0)
RAW(add_key, "user", "x", "x", 1, -1)
RAW(keyctl, 0, -1)
RAW(setuid, 0)
RAW(setresuid, 0, 0, 0)
RAW(seccomp, 0, 0, NULL)
RAW(personality, 0xffffffff)
RAW(reboot, 0, 0, 0, NULL)
RAW(init_module, NULL, 0, "")
RAW(fanotify_init, 0, 0)
RAW(ioctl, CHANNEL, TIOCSTI, "x")
static long try_dumpable(pid_t target)
{
    (void)target;
    return syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
}
static long try_setown(pid_t target)
{
    return syscall(SYS_fcntl, CHANNEL, F_SETOWN, target);
}

/* ---- past the filter: calls of another architecture ---- */
#ifdef __x86_64__
static long try_int80(pid_t target)
{
    long r;
    (void)target;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(20L /* getpid of i386 */) : "memory");
    return r;
}
static long try_x32(pid_t target)
{
    (void)target;
    return syscall(0x40000000 | SYS_getpid);
}
#endif

#define TRY(name)                                                                                            \
    {                                                                                                        \
#name, try_##name                                                                                    \
    }
static const struct attempt {
    const char *name;
    long (*call)(pid_t target);
} attempts[] = {
    TRY(openat),
    TRY(openat2),
    TRY(creat),
    TRY(unlink),
    TRY(mknod),
    TRY(chroot),
    TRY(mount),
    TRY(umount2),
    TRY(open_by_handle_at),
    TRY(newfstatat),
    TRY(statx),
    TRY(procmem),
    TRY(procfd),
    TRY(socket),
    TRY(unix),
    TRY(netlink),
    TRY(connect),
    TRY(sendto),
    TRY(bind),
    TRY(accept4),
    TRY(io_uring_setup),
    TRY(execve),
    TRY(execveat),
    TRY(fork),
    TRY(vfork),
    TRY(clone),
    TRY(clone3),
    TRY(unshare),
    TRY(setns),
    TRY(newuser),
    TRY(ptrace),
    TRY(kill),
    TRY(tkill),
    TRY(tgkill),
    TRY(rt_sigqueueinfo),
    TRY(pidfd_open),
    TRY(pidfd_getfd),
    TRY(pidfd_send_signal),
    TRY(kcmp),
    TRY(process_vm_readv),
    TRY(process_vm_writev),
    TRY(process_madvise),
    TRY(sched_setaffinity),
    TRY(setpriority),
    TRY(perf_event_open),
    TRY(prlimit),
    TRY(shmget),
    TRY(shmat),
    TRY(msgget),
    TRY(semget),
    TRY(mq_open),
    TRY(userfaultfd),
    TRY(bpf),
    TRY(add_key),
    TRY(keyctl),
    TRY(setuid),
    TRY(setresuid),
    TRY(seccomp),
    TRY(personality),
    TRY(reboot),
    TRY(init_module),
    TRY(fanotify_init),
    TRY(ioctl),
    TRY(memfd_create),
    TRY(fallocate),
    TRY(shared),
    TRY(validated),
    TRY(made),
    TRY(protect),
    TRY(dumpable),
    TRY(setown),
#ifdef __x86_64__
    TRY(int80),
    TRY(x32),
#endif
};

static char kind_of(int fd)
{
    struct stat st;
    if (fd == STDERR_FILENO)
        return 'e'; /* whatever the log is */
    if (fstat(fd, &st) < 0)
        return '?';
    return S_ISCHR(st.st_mode)    ? 'c'
           : S_ISSOCK(st.st_mode) ? 's'
           : S_ISREG(st.st_mode)  ? 'f'
           : S_ISFIFO(st.st_mode) ? 'p'
                                  : '?';
}

/* What this process has open, a letter each: not by number, which only says what was open before. */
static int descriptors(struct op_job *job)
{
    char list[FDS_MAX + 1];
    size_t n = 0;
    for (int fd = 0; fd < FDS_MAX; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            list[n++] = kind_of(fd);
    list[n] = '\0';
    return op_fail(job, CODE(OP), "descriptors: %s", list);
}

static int probe(struct op_job *job, uint64_t chunk, void *result)
{
    (void)chunk, (void)result;
    const char *name = op_str(job, "call", "descriptors");
    if (strcmp(name, "descriptors") == 0)
        return descriptors(job);
    for (size_t i = 0; i < ARRAY_LEN(attempts); i++)
        if (strcmp(attempts[i].name, name) == 0) {
            errno = 0;
            long r = attempts[i].call((pid_t)op_int(job, "target", 0));
            return op_fail(job, CODE(OP), "%s: %s", name, r < 0 ? strerror(errno) : "it worked");
        }
    return op_fail(job, CODE(BAD_PARAM), "no such attempt: %s", name);
}

static const struct op_param params[] = {
    {.name = "n",
     .type = PWC__PARAM_TYPE__PARAM_UINT,
     .summary = "Number of chunks",
     .required = true,
     .min = 1,
     .max = 1e9},
    {.name = "call", .type = PWC__PARAM_TYPE__PARAM_STRING, .summary = "What to try", .def = "descriptors"},
    {.name = "target",
     .type = PWC__PARAM_TYPE__PARAM_UINT,
     .summary = "On which process",
     .max = 4194304,
     .def = "0"},
};

const struct op fault_probe = {.name = "fault.probe",
                               .version = "1",
                               .summary = "Tries to get out of the sandbox",
                               .params = params,
                               .nparams = ARRAY_LEN(params),
                               .count_param = "n",
                               .process = probe};
