/* slice.c - see slice.h. */
#include <sched.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/slice.h"

/* sched_setattr(2) has neither function nor header in the C library of Debian 12. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

#define RESET_ON_FORK 1u

static bool get(pid_t pid, struct attributes *a)
{
    *a = (struct attributes){.size = sizeof *a};
    return syscall(SYS_sched_getattr, pid, a, sizeof *a, 0) == 0 && a->policy == SCHED_OTHER;
}

/* Resetting takes away a negative nice value, too: then children ask for themselves. */
void slice_ask(pid_t pid, uint64_t ns)
{
    struct attributes a;
    if (!get(pid, &a))
        return;
    a.flags &= RESET_ON_FORK;
    if (pid == 0 && a.nice >= 0)
        a.flags |= RESET_ON_FORK;
    a.runtime = ns;
    (void)syscall(SYS_sched_setattr, pid, &a, 0);
}

uint64_t slice_of(pid_t pid)
{
    struct attributes a;
    return get(pid, &a) ? a.runtime : 0;
}
