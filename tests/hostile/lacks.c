/*
 * lacks.c - a kernel that lacks something, for the tests of what is said then:
 *
 *   lacks SYSCALL[,SYSCALL...] COMMAND [ARGUMENT...]
 *
 * The command and its children get ENOSYS from these system calls, by a seccomp filter.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base.h"

static int forbid(scmp_filter_ctx ctx, const char *name)
{
    int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) {
        fprintf(stderr, "lacks: there is no system call %s\n", name);
        return -EINVAL;
    }
    return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), number, 0);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return fputs("usage: lacks SYSCALL[,SYSCALL...] COMMAND [ARGUMENT...]\n", stderr), 64;
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int r = ctx == NULL ? -ENOMEM : 0;
    char *save = NULL;
    for (char *name = strtok_r(argv[1], ",", &save); r == 0 && name != NULL;
         name = strtok_r(NULL, ",", &save))
        r = forbid(ctx, name);
    if (r == 0)
        r = seccomp_load(ctx);
    if (r < 0)
        return fprintf(stderr, "lacks: %s\n", strerror(-r)), 70;
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return 127;
}
