/*
 * mind.c - minds a daemon for a test: starts it, tells when it is ready and how it ended, lets no process
 * escape.
 *
 *   mind LOG COMMAND [ARGUMENT...]      MIND_NOTIFY=PATH: where $NOTIFY_SOCKET shall be, for commands that
 *                                       leave our network namespace; the default is an abstract address
 *
 * It speaks in lines on its standard output:
 *
 *   ready PID               the command sent READY=1 to $NOTIFY_SOCKET
 *   exit CODE | signal N    the command ended
 *   left N [PID:NAME]...    processes that outlived it, alive at the moment of its end
 *   stayed N [PID:NAME]...  those that still had not ended STAY_MS later, and were killed
 *
 * As a child subreaper it inherits whatever the command leaves behind, so nothing can hide. When its own
 * parent dies or it gets SIGTERM it kills the command: an aborted test leaves no daemon.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base.h"
#include "ipc/clock.h"

/* Stages learn of their supervisor's death by a signal: milliseconds, and a second is what is promised. A
 * sanitizer looks through a process before it lets it end. */
#ifdef PWC_SANITIZED
#define STAY_MS 5000
#else
#define STAY_MS 1000
#endif
#define KILLED_MS 5000

static void fatal(const char *what)
{
    perror(what);
    exit(70);
}

/* The default address is abstract: no file to remove, and unique by the pid in it. */
static int notify_socket(char *ret_name, size_t len)
{
    const char *path = getenv("MIND_NOTIFY");
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t n;
    if (path != NULL)
        n = (size_t)snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    else
        n = 1 + (size_t)snprintf(sa.sun_path + 1, sizeof sa.sun_path - 1, "pwc-mind-%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + MIN(n, sizeof sa.sun_path));
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, size) < 0)
        fatal("mind: notify socket");
    snprintf(ret_name, len, "%s%s", path != NULL ? "" : "@", sa.sun_path + (path == NULL));
    return fd;
}

static pid_t start(const char *log, const char *notify, char **argv)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* A shell starts background jobs with these ignored; the command shall be as in the foreground. */
    signal(SIGINT, SIG_DFL);
    signal(SIGQUIT, SIG_DFL);
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(126);
    setenv("NOTIFY_SOCKET", notify, 1);
    execvp(argv[0], argv);
    dprintf(2, "mind: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* Prints each READY=1 once; other notifications are dropped. */
static void read_notify(int fd, pid_t pid, bool *ready)
{
    char text[4096];
    ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
    if (n <= 0)
        return;
    text[n] = '\0';
    if (!*ready && (strncmp(text, "READY=1", 7) == 0 || strstr(text, "\nREADY=1") != NULL)) {
        printf("ready %d\n", (int)pid);
        *ready = true;
    }
}

/* True if the process exists and is not a zombie. Its name goes to ret_name (at least 32 bytes). */
static bool alive(pid_t pid, char *ret_name)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    size_t n = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[n] = '\0';
    char *open = strchr(line, '('), *close = strrchr(line, ')');
    if (open == NULL || close == NULL || close[1] != ' ')
        return false;
    snprintf(ret_name, 32, "%.*s", (int)(close - open - 1), open + 1);
    return strchr("ZX", close[2]) == NULL;
}

/* Calls each for every living child (with what was left behind, since we are the subreaper). */
static int each_child(void (*each)(pid_t pid, const char *name))
{
    char path[64], name[32];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "re");
    int pid, n = 0;
    while (f != NULL && fscanf(f, "%d", &pid) == 1) {
        if (!alive(pid, name))
            continue;
        n++;
        if (each != NULL)
            each(pid, name);
    }
    if (f != NULL)
        fclose(f);
    return n;
}

static void print_child(pid_t pid, const char *name)
{
    printf(" %d:%s", (int)pid, name);
}

static void kill_child(pid_t pid, const char *name)
{
    (void)name;
    kill(pid, SIGKILL);
}

static void report(const char *word)
{
    printf("%s %d", word, each_child(NULL));
    each_child(print_child);
    putchar('\n');
}

/* Waits until no child is left, or the time is over; new children of children come to us meanwhile. */
static void collect(int sigs, int ms)
{
    struct mono end = mono_add(clock_now(), ms * NS_PER_MS);
    for (;;) {
        siginfo_t info;
        while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL) == 0 && info.si_pid != 0)
            info.si_pid = 0;
        int64_t rest = mono_since(end, clock_now());
        if (errno == ECHILD || rest <= 0)
            return;
        struct pollfd p = {.fd = sigs, .events = POLLIN};
        struct signalfd_siginfo drop;
        if (poll(&p, 1, (int)(rest / NS_PER_MS) + 1) > 0)
            (void)!read(sigs, &drop, sizeof drop);
    }
}

static void bury(pid_t pid)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | __WALL) < 0)
        fatal("mind: waitid");
    printf("%s %d\n", info.si_code == CLD_EXITED ? "exit" : "signal", info.si_status);
}

static void watch(pid_t pid, int sigs, int notify)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0)
        fatal("mind: pidfd_open");
    struct pollfd p[] = {
        {.fd = notify, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}, {.fd = sigs, .events = POLLIN}};
    bool ready = false;
    for (;;) {
        if (poll(p, ARRAY_LEN(p), -1) < 0 && errno != EINTR)
            fatal("mind: poll");
        if (p[0].revents != 0)
            read_notify(notify, pid, &ready);
        if (p[1].revents != 0)
            break;
        struct signalfd_siginfo s;
        if (p[2].revents != 0 && read(sigs, &s, sizeof s) == (ssize_t)sizeof s && s.ssi_signo != SIGCHLD)
            kill(pid, SIGKILL);
    }
    close(pidfd);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return fputs("usage: mind LOG COMMAND [ARGUMENT...]\n", stderr), 64;
    setvbuf(stdout, NULL, _IOLBF, 0);
    close_range(3, ~0u, 0); /* the test's pipes are not the command's */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int sigs = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    pid_t parent = getppid();
    if (sigs < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        fatal("mind");
    if (getppid() != parent)
        return 70;

    char name[128];
    int notify = notify_socket(name, sizeof name);
    pid_t pid = start(argv[1], name, argv + 2);
    if (pid < 0)
        fatal("mind: fork");
    watch(pid, sigs, notify);
    bury(pid);
    report("left");
    collect(sigs, STAY_MS);
    report("stayed");
    each_child(kill_child);
    collect(sigs, KILLED_MS);
    return 0;
}
