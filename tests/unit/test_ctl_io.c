/* test_ctl_io.c - pwcctl where bytes come or go at the wrong moment, or not at all. Part of test-pwcctl. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/ctl_run.h"

static void contains(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "'%s' is not in '%s'", part, text);
}

/* Leaves it stopped at the first poll that ends without an event. False: tracing is not allowed here. */
static bool stop_after_poll(pid_t pid)
{
    struct __ptrace_syscall_info info;
    bool polls = false;
    int status, options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status))
        return false;
    ck_assert_int_eq(ptrace(PTRACE_SETOPTIONS, pid, NULL, options), 0);
    for (int sig = 0;;) {
        ck_assert_int_eq(ptrace(PTRACE_SYSCALL, pid, NULL, sig), 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSTOPPED(status));
        sig = WSTOPSIG(status);
        if (sig == SIGTRAP)
            sig = 0;
        if (sig != (SIGTRAP | 0x80))
            continue;
        sig = 0;
        ck_assert_int_gt(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info), 0);
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
            polls = info.entry.nr == SYS_ppoll;
#ifdef SYS_poll
            polls |= info.entry.nr == SYS_poll;
#endif
        } else if (polls && info.exit.rval == 0) {
            return true;
        }
    }
}

/* It has waited for a writer's first bytes in vain, and there they are. */
START_TEST(fifo_filled_late)
{
    int out, err;
    ck_assert_int_eq(mkfifo("pipe.raw", 0600), 0);
    int fd = open("pipe.raw", O_RDWR | O_CLOEXEC);
    char *const argv[] = {W("pwcctl"), W("run"), W("size"), W("pipe.raw"), NULL};
    traced = true;
    pid_t pid = start(argv, STDIN_FILENO, &out, &err);
    traced = false;
    if (!stop_after_poll(pid)) {
        printf("skip: fifo_filled_late: a process may not be traced here\n");
        return;
    }
    ck_assert_int_eq(write(fd, "12345", 5), 5);
    ck_assert_int_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
    int reader = open("pipe.raw", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    wait_empty(reader);
    close(fd);
    close(reader);
    collect(out, err, &ran);
    ck_assert_msg(finish(pid) == 0, "%s", ran.err);
    ck_assert_str_eq(ran.out, "bytes 5\n");
}
END_TEST

/* The job is there; its number would be lost. */
START_TEST(number_not_printed)
{
    char path[128];
    put("in", "x");
    script("full", "exec \"$REAL\" \"$@\" >/dev/full");
    setenv("REAL", pwcctl(), 1);
    snprintf(path, sizeof path, "%s/full", dir);
    setenv("PWCCTL", path, 1);
    ck_assert_int_eq(RUN(W("submit"), W("stall"), W("in"), W("-o"), W("out.raw")), 1);
    contains(ran.err, "pwcctl: job 1 goes on");
    contains(ran.err, "No space left on device");
    ck_assert_int_eq(RUN(W("submit"), W("tiny"), W("--json")), 1);
    contains(ran.err, "{\"error\":{\"status\":1,\"message\":\"job 2 goes on");
}
END_TEST

void add_io_tests(TCase *tc)
{
    tcase_add_test(tc, fifo_filled_late);
    tcase_add_test(tc, number_not_printed);
}
