/*
 * sandbox.c - see sandbox.h. Layers are independent: one that the kernel lacks is named and the rest still
 * hold. The supervisor says which it insists on.
 *
 * Landlock is used through its numbers, because the build machine's headers may be older than the kernel.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/sandbox.h"

#define STAGE_NOFILE  64 /* 8 jobs with a few descriptors each; a leak is noticed early */
#define SYSCALL_NAMES 512

static struct {
    struct {
        struct sock_filter *program;
        size_t len;
    } filter[2]; /* without and with code that is made at run time */
    char *names[SYSCALL_NAMES];
} prepared;

int sandbox_prepare(void)
{
    for (int nr = 0; nr < SYSCALL_NAMES; nr++)
        prepared.names[nr] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);
    int r = 0;
    for (int code = 0; code < 2 && r == 0; code++)
        r = filter_build(code, &prepared.filter[code].program, &prepared.filter[code].len);
    return r;
}

const char *sandbox_syscall_name(int nr)
{
    return nr >= 0 && nr < SYSCALL_NAMES && prepared.names[nr] != NULL ? prepared.names[nr] : "?";
}

int sandbox_drop_root(void)
{
    if (geteuid() == 0) {
        const struct passwd *pw = getpwnam("pwcd");
        if (pw == NULL || pw->pw_uid == 0)
            pw = getpwnam("nobody");
        if (pw == NULL || pw->pw_uid == 0)
            return -ENOENT;
        if (setgroups(0, NULL) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
            setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
            return -errno;
    }
    /* Siblings of the same user must not read each other's memory through /proc or ptrace. */
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

/* ---- layers ---- */

#define LL_CREATE_VERSION 1u
#define LL_FS(bits)       ((1ull << (bits)) - 1)

struct landlock_rules {
    uint64_t fs, net, scoped;
};

/* Everything that this version of Landlock can forbid. */
static struct landlock_rules landlock_all(long abi)
{
    struct landlock_rules all = {.fs = LL_FS(13)};
    if (abi >= 2)
        all.fs = LL_FS(14); /* refer */
    if (abi >= 3)
        all.fs = LL_FS(15); /* truncate */
    if (abi >= 4)
        all.net = 3; /* bind and connect TCP */
    if (abi >= 5)
        all.fs = LL_FS(16); /* ioctl of devices */
    if (abi >= 6)
        all.scoped = 3; /* abstract sockets, signals */
    return all;
}

static int enter_landlock(char *ret_name, size_t room)
{
#ifdef PWC_SANITIZED
    return -ENOTSUP; /* see filter.c */
#endif
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LL_CREATE_VERSION);
    if (abi < 0)
        return -errno;
    struct landlock_rules all = landlock_all(abi);
    size_t size = abi >= 6 ? sizeof all : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
    AUTO_FD int fd = (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
    if (fd < 0)
        return -errno;
    if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        return -errno;
    snprintf(ret_name, room, "landlock-%ld", abi);
    return 0;
}

static int limit(__rlimit_resource_t what, rlim_t value)
{
    struct rlimit r = {value, value};
    return setrlimit(what, &r) < 0 ? -errno : 0;
}

/* A limit that is soft and hard at once (LimitCPU=, ulimit -t) ends a process without a word, as any SIGKILL
 * does: SIGXCPU comes a second before. */
static void announce_cpu_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_CPU, &r) < 0 || r.rlim_max == RLIM_INFINITY || r.rlim_cur < r.rlim_max ||
        r.rlim_max < 2)
        return;
    r.rlim_cur = r.rlim_max - 1;
    (void)setrlimit(RLIMIT_CPU, &r); /* without it the reason is poorer, nothing else */
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

static void append(char *text, const char *fmt, ...) PRINTF(2, 3);
static void append(char *text, const char *fmt, ...)
{
    size_t n = strlen(text);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text + n, SANDBOX_LAYERS_TEXT - n, fmt, ap);
    va_end(ap);
}

static void record(struct sandbox_result *ret, unsigned bit, const char *name, int r)
{
    if (r < 0) {
        append(ret->missing, "%s%s: %s", ret->missing[0] != 0 ? ", " : "", name, strerror(-r));
        return;
    }
    ret->bits |= bit;
    append(ret->layers, "%s%s", ret->layers[0] != 0 ? " " : "", name);
}

void sandbox_enter(uint64_t memory, bool code, struct sandbox_result *ret)
{
    char landlock[32] = "landlock";
    struct sandbox_result res = {.dying = -1};
    announce_cpu_limit();
    record(&res, LAYER_NO_NEW_PRIVS, "no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0);
    record(&res, LAYER_NOCAPS, "nocaps", drop_capabilities());
    record(&res, LAYER_NOFILE, "nofile", limit(RLIMIT_NOFILE, STAGE_NOFILE));
    record(&res, LAYER_NOCORE, "nocore", limit(RLIMIT_CORE, 0));
#ifndef PWC_SANITIZED /* sanitizers reserve terabytes */
    if (memory > 0)
        record(&res, LAYER_MEMORY, "memory", limit(RLIMIT_DATA, memory));
#else
    (void)memory;
#endif
    int r = enter_landlock(landlock, sizeof landlock);
    record(&res, LAYER_LANDLOCK, landlock, r);
    r = filter_load(prepared.filter[code].program, prepared.filter[code].len, &res.dying);
    record(&res, LAYER_SECCOMP, "seccomp", r);
    if (r == 0 && !code)
        record(&res, 0, "nocode", 0);
    *ret = res;
}
