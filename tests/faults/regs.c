/* regs.c - see inject.h. The one part that knows an architecture. */
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "tests/faults/inject.h"

#if defined(__x86_64__)

bool regs_supported(void)
{
    return true;
}

static bool set_args(pid_t tid, struct user_regs_struct *r, const unsigned long now[3], struct held *h)
{
    h->held = true;
    memcpy(h->args, (unsigned long[]){r->rdi, r->rsi, r->rdx}, sizeof h->args);
    r->rdi = now[0];
    r->rsi = now[1];
    r->rdx = now[2];
    return ptrace(PTRACE_SETREGS, tid, NULL, r) == 0;
}

/*
 * getpid in place of the call: a stage's filter lets it pass, as it does not a number of no call. The one
 * call that has no errors is brk: refused, it tells the old end of the heap, as it does when asked for it
 * with a 0.
 */
bool regs_fail(pid_t tid, int error, struct held *h)
{
    struct user_regs_struct r;
    if (ptrace(PTRACE_GETREGS, tid, NULL, &r) < 0)
        return false;
    if (r.orig_rax == SYS_brk)
        return set_args(tid, &r, (unsigned long[]){0, r.rsi, r.rdx}, h);
    r.orig_rax = SYS_getpid;
    h->error = error;
    return ptrace(PTRACE_SETREGS, tid, NULL, &r) == 0;
}

static bool peek(pid_t tid, unsigned long at, void *to, size_t n)
{
    struct iovec here = {to, n}, there = {(void *)at, n}; /* NOLINT(performance-no-int-to-ptr) */
    return process_vm_readv(tid, &here, 1, &there, 1, 0) == (ssize_t)n;
}

static bool poke(pid_t tid, unsigned long at, unsigned long value)
{
    return ptrace(PTRACE_POKEDATA, tid, at, value) == 0;
}

/* The first piece of a message, and of that half. */
static bool shorten_message(pid_t tid, const struct user_regs_struct *r, struct held *h)
{
    struct msghdr m;
    struct iovec v;
    if (!peek(tid, r->rsi, &m, sizeof m) || m.msg_iovlen != 1 ||
        !peek(tid, (unsigned long)m.msg_iov, &v, sizeof v) || v.iov_len < 2)
        return false;
    h->iov_at = (unsigned long)m.msg_iov + offsetof(struct iovec, iov_len);
    h->iov_len = v.iov_len;
    return poke(tid, h->iov_at, v.iov_len / 2);
}

bool regs_shorten(pid_t tid, long call, struct held *h)
{
    struct user_regs_struct r;
    if (ptrace(PTRACE_GETREGS, tid, NULL, &r) < 0)
        return false;
    switch (call) {
    case SYS_sendmsg:
    case SYS_recvmsg:
        return shorten_message(tid, &r, h);
    case SYS_read:
    case SYS_write:
    case SYS_pread64:
    case SYS_pwrite64:
        return r.rdx >= 2 && set_args(tid, &r, (unsigned long[]){r.rdi, r.rsi, r.rdx / 2}, h);
    case SYS_getrandom:
        return set_args(tid, &r, (unsigned long[]){r.rdi, r.rsi / 2, r.rdx}, h);
    default:
        return false;
    }
}

void regs_settle(pid_t tid, struct held *h)
{
    struct user_regs_struct r;
    if (h->iov_at != 0)
        poke(tid, h->iov_at, h->iov_len);
    if ((h->error != 0 || h->held) && ptrace(PTRACE_GETREGS, tid, NULL, &r) == 0) {
        if (h->error != 0)
            r.rax = (unsigned long)-(long)h->error;
        if (h->held)
            r.rdi = h->args[0], r.rsi = h->args[1], r.rdx = h->args[2];
        ptrace(PTRACE_SETREGS, tid, NULL, &r);
    }
    *h = (struct held){0};
}

#else

bool regs_supported(void)
{
    return false;
}
bool regs_fail(pid_t tid, int error, struct held *h)
{
    (void)tid, (void)error, (void)h;
    return false;
}
bool regs_shorten(pid_t tid, long call, struct held *h)
{
    (void)tid, (void)call, (void)h;
    return false;
}
void regs_settle(pid_t tid, struct held *h)
{
    (void)tid, (void)h;
}

#endif
