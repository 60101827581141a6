/*
 * inject.c - traces a command and all that it starts; see inject.h.
 *
 *   inject [-c ORDERS ANSWERS] [-a POINT] [-r RESULT] COMMAND [ARGUMENT...]
 *
 *   -c  two FIFOs, for a command that lives through many points
 *   -a  one point, armed from the start
 *   -r  where the counters, or "hit PID", are written at the end
 *
 * Ends when the command and all it started have ended, as the command did: with its status, or by its signal.
 * What outlives the command by more than a second is a fault of its own: killed, named on stderr, status 99.
 * With sanitizers a program that was just executed is not yet in its main by then, and cannot know.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/segment.h"
#include "tests/faults/inject.h"

#define TASKS 512
#ifdef PWC_SANITIZED
#define OUTLIVE_S 10
#else
#define OUTLIVE_S 1 /* what a supervisor's death may take to be known by all */
#endif
#define OPTIONS                                                                                              \
    (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |                \
     PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)

enum kind { KIND_UNKNOWN, KIND_MAIN, KIND_NURSERY, KIND_STAGE };

struct task {
    pid_t tid, tgid;
    enum kind kind;          /* of its process */
    bool loading;            /* executed, and its libraries are not there yet */
    bool aside, opening;     /* the sanitizers' run-time reads what it must know of the process */
    unsigned long segment;   /* where a stage has mapped it; kept with the process's first thread */
    bool inside;             /* between entry and exit of a call */
    unsigned long map_bytes; /* a mmap under way that may be the segment's */
    struct held held;
};

static struct task tasks[TASKS];
static unsigned ntasks;
static pid_t command;
static const char *result;

static _Noreturn void give_up(const char *what)
{
    perror(what);
    _exit(70);
}

/* ---- tasks ---- */

static struct task *task_of(pid_t tid)
{
    for (unsigned i = 0; i < ntasks; i++)
        if (tasks[i].tid == tid)
            return &tasks[i];
    return NULL;
}

static pid_t thread_group(pid_t tid)
{
    char path[40], line[128];
    pid_t tgid = tid;
    snprintf(path, sizeof path, "/proc/%d/status", tid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Tgid: %d", &tgid) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return tgid;
}

/* By the arguments it was executed with; a stage that the nursery made still has the nursery's. A script that
 * stands before pwc-stage is nobody yet. */
static enum kind kind_by_arguments(pid_t pid)
{
    char path[40], text[4096] = "";
    if (pid == command)
        return KIND_MAIN;
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
        close(fd);
    for (ssize_t i = 0; i < n && strstr(text, "pwc-stage") != NULL; i += (ssize_t)strlen(text + i) + 1) {
        if (strcmp(text + i, "--nursery") == 0)
            return KIND_NURSERY;
        if (strcmp(text + i, "--stage") == 0)
            return KIND_STAGE;
    }
    return KIND_UNKNOWN;
}

static struct task *task_add(pid_t tid)
{
    if (ntasks == TASKS) {
        errno = E2BIG;
        give_up("inject: tasks");
    }
    struct task *t = &tasks[ntasks++];
    *t = (struct task){.tid = tid, .tgid = thread_group(tid), .loading = tid == command};
    const struct task *first = t->tgid != tid ? task_of(t->tgid) : NULL;
    t->kind = first != NULL    ? first->kind
              : tid == command ? KIND_MAIN
                               : KIND_UNKNOWN; /* until it executes something */
    return t;
}

static void task_remove(pid_t tid)
{
    struct task *t = task_of(tid);
    if (t != NULL)
        *t = tasks[--ntasks];
}

/* Whoever was made by the nursery's clone is a stage, though its arguments say otherwise. */
static void task_born(const struct task *parent, pid_t tid)
{
    struct task *t = task_of(tid);
    enum kind kind = parent->kind; /* before the table moves */
    if (t == NULL)
        t = task_add(tid);
    if (t->tgid == tid && kind == KIND_NURSERY)
        t->kind = KIND_STAGE;
}

static enum role role_of(const struct task *t)
{
    if (t->loading)
        return ROLE_LOADER;
    if (t->kind == KIND_MAIN || t->kind == KIND_NURSERY)
        return t->kind == KIND_MAIN ? ROLE_MAIN : ROLE_NURSERY;
    const struct task *first = task_of(t->tgid);
    uint64_t chunk = SLOT_IDLE;
    if (first == NULL || first->segment == 0)
        return ROLE_SPARE;
    struct iovec here = {&chunk, sizeof chunk};
    struct iovec there = {(void *)(first->segment + offsetof(struct segment, slots[0].chunk)),
                          sizeof chunk}; /* NOLINT */
    if (process_vm_readv(t->tgid, &here, 1, &there, 1, 0) != (ssize_t)sizeof chunk || chunk == SLOT_IDLE)
        return ROLE_IDLE;
    return chunk == SLOT_PLAN || chunk == SLOT_WHOLE ? ROLE_PLANNER
           : chunk == SLOT_PRODUCE                   ? ROLE_PRODUCER
           : chunk == SLOT_CONSUME                   ? ROLE_CONSUMER
                                                     : ROLE_WORKER;
}

/* ---- calls ---- */

/* The options of sanitizers are in a file, too: without them they look for leaks. Nobody else uses the old
 * call to open one; where there is none (aarch64) nothing is spared. */
static bool of_run_time(struct task *t, long call)
{
    bool was = t->aside;
#ifdef SYS_open
    t->opening = call == SYS_open;
    t->aside = t->opening || (was && call != SYS_close);
#else
    (void)call;
#endif
    return was || t->aside;
}

static void at_entry(struct task *t, const struct __ptrace_syscall_info *info)
{
    long call = (long)info->entry.nr;
    t->map_bytes = call == SYS_mmap && info->entry.args[1] == SEGMENT_BYTES &&
                           info->entry.args[2] & PROT_WRITE && info->entry.args[3] & MAP_SHARED
                       ? SEGMENT_BYTES
                       : 0;
    if (t->kind == KIND_UNKNOWN)
        return; /* between fork and exec */
    enum role role = role_of(t);
    if (call == SYS_prlimit64) /* the loader's last work */
        t->loading = false;
    if (of_run_time(t, call) || (role == ROLE_LOADER && t->kind == KIND_MAIN))
        return; /* what fails before pwcd begins is not ours */
    int act = point_at(role, call, t->tgid);
    if (act == ACT_KILL)
        kill(t->tgid, SIGKILL);
    else if (act == ACT_SHORT)
        regs_shorten(t->tid, call, &t->held);
    else if (act != ACT_NONE)
        regs_fail(t->tid, act, &t->held);
}

static void at_exit(struct task *t, const struct __ptrace_syscall_info *info)
{
    struct task *first = task_of(t->tgid);
    if (t->map_bytes != 0 && !info->exit.is_error && t->kind == KIND_STAGE && first != NULL)
        first->segment = (unsigned long)info->exit.rval;
    t->map_bytes = 0;
    if (t->opening && info->exit.is_error)
        t->aside = false; /* there is nothing to close */
    t->opening = false;
    regs_settle(t->tid, &t->held);
}

static void on_call(struct task *t)
{
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, t->tid, sizeof info, &info) <= 0)
        return;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
        at_entry(t, &info);
    else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
        at_exit(t, &info);
}

/* ---- stops ---- */

/* The signal to go on with; -1: it shall stay stopped. */
static int on_stop(struct task *t, int status)
{
    int sig = WSTOPSIG(status), event = status >> 16;
    unsigned long born = 0;
    if (sig == (SIGTRAP | 0x80)) {
        on_call(t);
        return 0;
    }
    switch (event) {
    case PTRACE_EVENT_CLONE:
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
        if (ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &born) == 0)
            task_born(t, (pid_t)born);
        return 0;
    case PTRACE_EVENT_EXEC:
        t->tgid = thread_group(t->tid);
        t->kind = kind_by_arguments(t->tid);
        t->loading = true;
        t->aside = t->opening = false;
        t->segment = 0;
        return 0;
    case PTRACE_EVENT_STOP:
        return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU ? -1 : 0;
    default:
        return event == 0 ? sig : 0;
    }
}

static void take(pid_t tid, int status)
{
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
        task_remove(tid);
        return;
    }
    struct task *t = task_of(tid);
    if (t == NULL)
        t = task_add(tid); /* its stop came before its parent's word of it */
    int sig = on_stop(t, status);
    if (sig < 0)
        ptrace(PTRACE_LISTEN, tid, NULL, NULL);
    else
        ptrace(PTRACE_SYSCALL, tid, NULL, sig);
}

/* ---- the end ---- */

/* Whoever started us means the command. */
static void on_term(int sig)
{
    kill(command, sig);
}

static void on_alarm(int sig)
{
    (void)sig; /* waitpid returns EINTR */
}

static void write_result(void)
{
    int fd = result != NULL ? open(result, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
    if (fd < 0)
        return;
    if (point_hit() > 0)
        dprintf(fd, "hit %d\n", point_hit());
    else
        point_show(fd);
    close(fd);
}

static _Noreturn void end_like(int status, bool outlived)
{
    write_result();
    if (outlived) {
        fprintf(stderr, "inject: outlived the command by more than %d s:", OUTLIVE_S);
        for (unsigned i = 0; i < ntasks; i++)
            fprintf(stderr, " %d (%s)", tasks[i].tid, role_name(role_of(&tasks[i])));
        fputc('\n', stderr);
        _exit(99);
    }
    if (WIFEXITED(status))
        _exit(WEXITSTATUS(status));
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
    _exit(128 + WTERMSIG(status));
}

static _Noreturn void trace(void)
{
    struct sigaction alarmed = {.sa_handler = on_alarm};
    struct sigaction termed = {.sa_handler = on_term, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &alarmed, NULL);
    sigaction(SIGTERM, &termed, NULL);
    int last = 0;
    bool over = false;
    for (;;) {
        int status;
        pid_t tid = waitpid(-1, &status, __WALL);
        if (tid < 0)
            end_like(last, errno == EINTR);
        take(tid, status);
        if (tid == command && (WIFEXITED(status) || WIFSIGNALED(status)) && !over) {
            over = true;
            last = status;
            alarm(OUTLIVE_S);
        }
    }
}

/* ---- the beginning ---- */

static pid_t start(char **argv)
{
    int gate[2];
    if (pipe2(gate, O_CLOEXEC) < 0)
        give_up("inject: pipe");
    pid_t pid = fork();
    if (pid < 0)
        give_up("inject: fork");
    if (pid == 0) {
        char go;
        close(gate[1]);
        if (read(gate[0], &go, 1) == 1)
            execvp(argv[0], argv);
        _exit(127);
    }
    close(gate[0]);
    if (ptrace(PTRACE_SEIZE, pid, NULL, OPTIONS) < 0)
        give_up("inject: ptrace");
    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
    if (write(gate[1], "", 1) != 1)
        give_up("inject: gate");
    close(gate[1]);
    return pid;
}

int main(int argc, char **argv)
{
    const char *orders = NULL, *answers = NULL, *point = NULL;
    int i = 1;
    for (; i + 1 < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-c") == 0 && i + 2 < argc) {
            orders = argv[++i];
            answers = argv[++i];
        } else if (strcmp(argv[i], "-a") == 0) {
            point = argv[++i];
        } else if (strcmp(argv[i], "-r") == 0) {
            result = argv[++i];
        } else {
            break;
        }
    }
    if (i >= argc || argv[i][0] == '-' || (point != NULL && point_arm(point) < 0))
        return fputs(
                   "usage: inject [-c ORDERS ANSWERS] [-a 'ROLE CALL INDEX ACTION'] [-r RESULT] COMMAND...\n",
                   stderr),
               64;
    if (!regs_supported())
        return 77;
    command = start(argv + i);
    if (orders != NULL)
        point_serve(orders, answers, command);
    trace();
}
