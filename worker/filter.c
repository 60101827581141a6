/*
 * filter.c - the seccomp program of a stage: a list of what may be called, everything else traps, so that the
 * obituary names the call.
 *
 * Between "allowed" and "trap" there are calls that libraries make in passing and whose refusal they handle:
 * looking for a file (ICC profiles, locale, /proc, /sys), a terminal, a scheduling policy. They get an error.
 *
 * Executable memory: only stages of ops that say so (OP_NEEDS_CODE) get any, in anonymous private mappings;
 * files and shared memory never are, and no existing mapping may become so. libvips computes 8-bit
 * convolutions with code that liborc makes at run time, and without it the pixels differ from those of the
 * `vips` command. A stage that runs foreign code is in the same cage with or without it: the cage is the rest
 * of this list.
 *
 * Memory that a stage uses is its own and anonymous, or was made by the supervisor and has its size: who
 * watches (the supervisor, a cgroup's limit aside) sees what is mapped and private, and would not see a
 * memory file that nobody maps, nor what is left of shared anonymous memory whose pages were let go. So
 * neither can be made. Nor can blocks be reserved behind a file's end (fallocate with FALLOC_FL_KEEP_SIZE).
 *
 * Built with sanitizers, files may be opened for reading or for writing, because their run-time reads
 * /proc/self/maps whenever it likes and writes reports; for both at once they may not, as in the product:
 * liborc would make its code in a shared file instead of in anonymous memory. And what the search for leaks
 * needs may be called (sanitized.h).
 *
 * Nobody may ask about a name, not even whether it is there, which Landlock has no rule for. The calls that
 * could also ask about a descriptor (newfstatat and statx, with an empty name) are refused with the others: a
 * filter sees where a name lies, not what it is. But glibc (2.33 to 2.38) makes fstat of one of them, so
 * pwc-stage has an fstat of its own, below.
 *
 * Own pid: kill and tgkill compare with OWN_PID, which filter_load replaces, because the program is compiled
 * once in the nursery.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "worker/sandbox.h"

#define OWN_PID 0x7ead51deu /* above PID_MAX_LIMIT (2^22): no real pid looks like it */

#define SYS(name) SCMP_SYS(name)

/* What a computing process needs. Numbers below 0 do not exist on this architecture; libseccomp skips them.
 */
static const int allowed[] = {
#ifdef PWC_SANITIZED
    SYS(readlink), SYS(getdents), SYS(getdents64), SYS(wait4),
#endif
    /* memory */
    SYS(munmap), SYS(mremap), SYS(madvise), SYS(brk), SYS(msync), SYS(mincore), SYS(membarrier),
    /* descriptors it has */
    SYS(read), SYS(write), SYS(pread64), SYS(pwrite64), SYS(readv), SYS(writev), SYS(preadv), SYS(pwritev),
    SYS(preadv2), SYS(pwritev2), SYS(lseek), SYS(fstat), SYS(fstatfs), SYS(ftruncate), SYS(fsync),
    SYS(fdatasync), SYS(sync_file_range), SYS(fadvise64), SYS(readahead), SYS(close), SYS(dup), SYS(dup2),
    SYS(dup3), SYS(pipe2), SYS(eventfd2), SYS(poll), SYS(ppoll), SYS(recvmsg), SYS(sendmsg), SYS(recvfrom),
    SYS(sendto), SYS(shutdown),
    /* threads */
    SYS(futex), SYS(set_robust_list), SYS(get_robust_list), SYS(rseq), SYS(sched_yield),
    SYS(sched_getaffinity), SYS(sched_getparam), SYS(sched_getscheduler), SYS(sched_get_priority_max),
    SYS(sched_get_priority_min), SYS(sched_getattr), SYS(getpriority), SYS(getcpu), SYS(gettid), SYS(exit),
    SYS(exit_group),
    /* time */
    SYS(clock_gettime), SYS(clock_getres), SYS(clock_nanosleep), SYS(nanosleep), SYS(gettimeofday), SYS(time),
    SYS(times), SYS(alarm), SYS(setitimer), SYS(getitimer),
    /* signals to itself (kill, tgkill: below) */
    SYS(rt_sigaction), SYS(rt_sigprocmask), SYS(rt_sigreturn), SYS(rt_sigsuspend), SYS(rt_sigpending),
    SYS(rt_sigtimedwait), SYS(sigaltstack), SYS(pause), SYS(restart_syscall),
    /* what it is */
    SYS(getpid), SYS(getppid), SYS(getpgrp), SYS(getpgid), SYS(getsid), SYS(getuid), SYS(geteuid),
    SYS(getgid), SYS(getegid), SYS(getgroups), SYS(getresuid), SYS(getresgid), SYS(getrusage), SYS(getrlimit),
    SYS(sysinfo), SYS(uname), SYS(umask), SYS(getrandom)};

/* Names of files and sockets: looked up in passing, the answer is always no. */
static const int no_access[] = {
#ifndef PWC_SANITIZED
    SYS(open),          SYS(openat),      SYS(readlink),   SYS(getdents),  SYS(getdents64), SYS(newfstatat),
    SYS(statx),
#endif
    SYS(openat2),       SYS(creat),       SYS(stat),       SYS(lstat),     SYS(access),     SYS(faccessat),
    SYS(faccessat2),    SYS(readlinkat),  SYS(statfs),     SYS(getcwd),    SYS(chdir),      SYS(fchdir),
    SYS(mkdir),         SYS(mkdirat),     SYS(rmdir),      SYS(unlink),    SYS(unlinkat),   SYS(rename),
    SYS(renameat),      SYS(renameat2),   SYS(link),       SYS(linkat),    SYS(symlink),    SYS(symlinkat),
    SYS(chmod),         SYS(fchmod),      SYS(fchmodat),   SYS(chown),     SYS(fchown),     SYS(lchown),
    SYS(fchownat),      SYS(truncate),    SYS(utimensat),  SYS(getdents),  SYS(flock),      SYS(inotify_init),
    SYS(inotify_init1), SYS(getxattr),    SYS(fgetxattr),  SYS(lgetxattr), SYS(socket),     SYS(socketpair),
    SYS(connect),       SYS(bind),        SYS(listen),     SYS(accept),    SYS(accept4),    SYS(getsockopt),
    SYS(setsockopt),    SYS(getsockname), SYS(getpeername)};

/* Rights over itself that it has not got. */
static const int no_permission[] = {
    SYS(sched_setattr), SYS(sched_setscheduler), SYS(sched_setparam), SYS(sched_setaffinity),
    SYS(setpriority),   SYS(ioprio_set),         SYS(ioprio_get),     SYS(mlock),
    SYS(mlock2),        SYS(mlockall),           SYS(munlock),        SYS(munlockall),
    SYS(get_mempolicy), SYS(set_mempolicy),      SYS(mbind),          SYS(capget),
    SYS(capset),        SYS(setrlimit)};

/* Calls that depend on an argument; what no rule covers traps. */
static const struct rule {
    int call;
    uint32_t action;
    struct scmp_arg_cmp when;
} rules[] = {
#define IS(arg, value)                                                                                       \
    {                                                                                                        \
        arg, SCMP_CMP_EQ, value, 0                                                                           \
    }
#define BITS(arg, mask, value)                                                                               \
    {                                                                                                        \
        arg, SCMP_CMP_MASKED_EQ, mask, value                                                                 \
    }
    {SYS(mmap), SCMP_ACT_ERRNO(EPERM), BITS(3, MAP_SHARED | MAP_ANONYMOUS, MAP_SHARED | MAP_ANONYMOUS)},
    {SYS(fallocate), SCMP_ACT_ALLOW, IS(1, 0)},
    {SYS(fallocate), SCMP_ACT_ALLOW, IS(1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)},
    {SYS(mprotect), SCMP_ACT_ALLOW, BITS(2, PROT_EXEC, 0)},
    {SYS(clone), SCMP_ACT_ALLOW, BITS(0, CLONE_THREAD, CLONE_THREAD)},
#ifndef PWC_SANITIZED
    {SYS(clone), SCMP_ACT_ERRNO(EPERM), BITS(0, CLONE_THREAD, 0)},
#else /* the search for leaks: a helper process in the same memory stops all threads and reads their         \
         registers */
    {SYS(clone), SCMP_ACT_ALLOW, BITS(0, CLONE_THREAD | CLONE_UNTRACED, CLONE_UNTRACED)},
    {SYS(clone), SCMP_ACT_ERRNO(EPERM), BITS(0, CLONE_THREAD | CLONE_UNTRACED, 0)},
    {SYS(ptrace), SCMP_ACT_ALLOW, IS(0, PTRACE_ATTACH)},
    {SYS(ptrace), SCMP_ACT_ALLOW, IS(0, PTRACE_DETACH)},
    {SYS(ptrace), SCMP_ACT_ALLOW, IS(0, PTRACE_CONT)},
    {SYS(ptrace), SCMP_ACT_ALLOW, IS(0, PTRACE_GETREGS)},
    {SYS(ptrace), SCMP_ACT_ALLOW, IS(0, PTRACE_GETREGSET)},
    {SYS(prctl), SCMP_ACT_ALLOW, IS(0, PR_SET_DUMPABLE)},
    {SYS(prctl), SCMP_ACT_ALLOW, IS(0, PR_SET_PTRACER)},
    {SYS(prctl), SCMP_ACT_ALLOW, IS(0, PR_SET_PDEATHSIG)},
#endif
    {SYS(kill), SCMP_ACT_ALLOW, IS(0, OWN_PID)},
    {SYS(tgkill), SCMP_ACT_ALLOW, IS(0, OWN_PID)},
    /* Reading its own limits; with a new value (argument 2) it traps. */
    {SYS(prlimit64), SCMP_ACT_ALLOW, IS(2, 0)},
    /* F_SETFL would change the client's own file description, F_SETOWN send signals. */
    {SYS(fcntl), SCMP_ACT_ALLOW, IS(1, F_GETFD)},
    {SYS(fcntl), SCMP_ACT_ALLOW, IS(1, F_SETFD)},
    {SYS(fcntl), SCMP_ACT_ALLOW, IS(1, F_GETFL)},
    {SYS(fcntl), SCMP_ACT_ALLOW, IS(1, F_DUPFD)},
    {SYS(fcntl), SCMP_ACT_ALLOW, IS(1, F_DUPFD_CLOEXEC)},
    {SYS(fcntl), SCMP_ACT_ALLOW, IS(1, F_ADD_SEALS)},
    {SYS(fcntl), SCMP_ACT_ALLOW, IS(1, F_GET_SEALS)},
    {SYS(fcntl), SCMP_ACT_ERRNO(EPERM), IS(1, F_SETFL)},
    {SYS(fcntl), SCMP_ACT_ERRNO(EPERM), IS(1, F_SETLK)},
    {SYS(fcntl), SCMP_ACT_ERRNO(EPERM), IS(1, F_SETLKW)},
    {SYS(prctl), SCMP_ACT_ALLOW, IS(0, PR_SET_NAME)},
    {SYS(prctl), SCMP_ACT_ALLOW, IS(0, PR_GET_NAME)},
    {SYS(prctl), SCMP_ACT_ALLOW, IS(0, PR_GET_DUMPABLE)},
    {SYS(prctl), SCMP_ACT_ERRNO(EINVAL), IS(0, 0x53564d41 /* PR_SET_VMA: malloc names its arenas */)},
#ifdef PWC_SANITIZED
    {SYS(open), SCMP_ACT_ALLOW, BITS(1, O_ACCMODE, O_RDONLY)},
    {SYS(open), SCMP_ACT_ALLOW, BITS(1, O_ACCMODE, O_WRONLY)},
    {SYS(open), SCMP_ACT_ERRNO(EACCES), BITS(1, O_ACCMODE, O_RDWR)},
    {SYS(openat), SCMP_ACT_ALLOW, BITS(2, O_ACCMODE, O_RDONLY)},
    {SYS(openat), SCMP_ACT_ALLOW, BITS(2, O_ACCMODE, O_WRONLY)},
    {SYS(openat), SCMP_ACT_ERRNO(EACCES), BITS(2, O_ACCMODE, O_RDWR)},
    {SYS(newfstatat), SCMP_ACT_ALLOW, BITS(3, AT_EMPTY_PATH, AT_EMPTY_PATH)},
    {SYS(newfstatat), SCMP_ACT_ERRNO(EACCES), BITS(3, AT_EMPTY_PATH, 0)},
    {SYS(statx), SCMP_ACT_ALLOW, BITS(2, AT_EMPTY_PATH, AT_EMPTY_PATH)},
    {SYS(statx), SCMP_ACT_ERRNO(EACCES), BITS(2, AT_EMPTY_PATH, 0)},
#endif
};

#ifndef PWC_SANITIZED
/* Found before the C library's by all that is loaded. */
int fstat(int fd, struct stat *st)
{
    return (int)syscall(SYS_fstat, fd, st);
}

/* What libraries call that were built for large files everywhere. */
int fstat64(int fd, struct stat64 *st)
{
    return (int)syscall(SYS_fstat, fd, st);
}
_Static_assert(sizeof(struct stat64) == sizeof(struct stat) && sizeof(long) == 8,
               "both are what the kernel fills in");
#endif

static int add_calls(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int r = seccomp_rule_add(ctx, action, calls[i], 0);
        if (r < 0 && r != -EDOM && r != -EOPNOTSUPP) /* not on this architecture */
            return r;
    }
    return 0;
}

static int add_rules(scmp_filter_ctx ctx)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        int r = seccomp_rule_add_array(ctx, rules[i].action, rules[i].call, 1, &rules[i].when);
        if (r < 0 && r != -EDOM && r != -EOPNOTSUPP)
            return r;
    }
    return 0;
}

/* What is not executable: files, and private memory. What is: private memory, where an op needs that; else it
 * is refused as shared memory is (see the rules), which libraries can handle. */
static int add_mappings(scmp_filter_ctx ctx, bool code)
{
    const unsigned kind = MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS, own = MAP_PRIVATE | MAP_ANONYMOUS;
    const struct scmp_arg_cmp plain = BITS(2, PROT_EXEC, 0), made = BITS(2, PROT_EXEC, PROT_EXEC),
                              file = BITS(3, MAP_ANONYMOUS, 0), private = BITS(3, MAP_SHARED, 0),
                              memory = BITS(3, kind, own);
    int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SYS(mmap), 2, plain, file);
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SYS(mmap), 2, plain, private);
    return r < 0 ? r
                 : seccomp_rule_add(ctx, code ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM), SYS(mmap), 2, made,
                                    memory);
}

static int fill(scmp_filter_ctx ctx, bool code)
{
    static const int no_memory[] = {SYS(memfd_create)}; /* but its own */
    static const int no_processes[] = {SYS(clone3)}; /* its flags lie in memory: glibc falls back to clone */
    static const int no_terminal[] = {SYS(ioctl)};
    static const int no_children[] = {
#ifndef PWC_SANITIZED
        SYS(wait4),
#endif
        SYS(waitid)};
    const struct {
        uint32_t action;
        const int *calls;
        size_t n;
    } lists[] = {
        {SCMP_ACT_ALLOW, allowed, ARRAY_LEN(allowed)},
        {SCMP_ACT_ERRNO(EACCES), no_access, ARRAY_LEN(no_access)},
        {SCMP_ACT_ERRNO(EPERM), no_permission, ARRAY_LEN(no_permission)},
        {SCMP_ACT_ERRNO(EPERM), no_memory, ARRAY_LEN(no_memory)},
        {SCMP_ACT_ERRNO(ENOSYS), no_processes, ARRAY_LEN(no_processes)},
        {SCMP_ACT_ERRNO(ENOTTY), no_terminal, ARRAY_LEN(no_terminal)},
        {SCMP_ACT_ERRNO(ECHILD), no_children, ARRAY_LEN(no_children)},
    };
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        int r = add_calls(ctx, lists[i].action, lists[i].calls, lists[i].n);
        if (r < 0)
            return r;
    }
    int r = add_mappings(ctx, code);
    return r < 0 ? r : add_rules(ctx);
}

/* libseccomp writes programs to descriptors only (2.5). */
static int export(scmp_filter_ctx ctx, struct sock_filter **ret_program, size_t *ret_len)
{
    AUTO_FD int fd = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = seccomp_export_bpf(ctx, fd);
    if (r < 0)
        return r;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    struct sock_filter *program = xcalloc(1, (size_t)st.st_size);
    r = pread_all(fd, program, (size_t)st.st_size, 0);
    if (r < 0) {
        free(program);
        return r;
    }
    *ret_program = program;
    *ret_len = (size_t)st.st_size / sizeof *program;
    return 0;
}

static int build(bool code, struct sock_filter **ret_program, size_t *ret_len)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
    if (ctx == NULL)
        return -ENOMEM;
    int r = fill(ctx, code);
    /* A binary tree instead of a list: some tens of nanoseconds less for each call. */
    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r == 0)
        r = export(ctx, ret_program, ret_len);
    seccomp_release(ctx);
    return r;
}

/*
 * libseccomp (2.5) goes on where memory is lacking, and says nothing: what comes out is another filter, of
 * which all stages would die. What comes out twice is what was asked for.
 */
int filter_build(bool code, struct sock_filter **ret_program, size_t *ret_len)
{
    AUTO_FREE struct sock_filter *first = NULL, *second = NULL;
    size_t n = 0, m = 0;
    int r = build(code, &first, &n);
    if (r == 0)
        r = build(code, &second, &m);
    if (r < 0)
        return r;
    if (n != m || memcmp(first, second, n * sizeof *first) != 0)
        return -ENOMEM;
    *ret_program = TAKE_PTR(first);
    *ret_len = n;
    return 0;
}

int filter_load(const struct sock_filter *program, size_t len, int *ret_dying)
{
    AUTO_FREE struct sock_filter *own = xcalloc(len, sizeof *own);
    memcpy(own, program, len * sizeof *own);
    for (size_t i = 0; i < len; i++)
        if (BPF_CLASS(own[i].code) == BPF_JMP && own[i].k == OWN_PID)
            own[i].k = (uint32_t)getpid();
    struct sock_fprog prog = {(unsigned short)len, own};
    /* Refused where somebody has put a listener on us already: containers do. */
    *ret_dying = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
    if (*ret_dying >= 0)
        return 0;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0 ? -errno : 0;
}
