/*
 * client_daemon.c - a daemon for one measurement, what an idle one costs, what memory a job takes, what an
 * option adds to it.
 *
 * $BENCH_PWCD is the program, $BENCH_STAGE its stages', $BENCH_TMP a folder for the socket and scratch files.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/client.h"

#define ARGS_MAX     32
#define SETTLE_MS    500
#define GONE_MS      3000 /* after its last client a daemon gives its memory back */
#define SETTLE_TRIES 20
/* A sign a second; pwcd.service has fifteen times that. */
#define WATCHDOG_USEC "2000000"

/* ---- fresh ---- */

static const char *setting(const char *name)
{
    const char *v = getenv(name);
    if (v == NULL)
        bench_fail("$%s is not set", name);
    return v;
}

/* `settings` are words between blanks. */
static pid_t start_daemon(const char *socket, const char *scratch, char *settings)
{
    const char *args[ARGS_MAX] = {
        "pwcd",      "--socket", socket,  "--stage",          setting("BENCH_STAGE"),
        "--scratch", scratch,    "--set", "log_level=warning"};
    size_t n = 9;
    for (char *word = strtok(settings, " "); word != NULL && n < ARGS_MAX - 1; word = strtok(NULL, " "))
        args[n++] = word;
    pid_t pid = fork();
    if (pid == 0) {
        execv(setting("BENCH_PWCD"), (char *const *)(uintptr_t)args);
        _exit(127);
    }
    return pid;
}

static int run_and_wait(char **argv)
{
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[0], argv);
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid < 0 || status != 0;
}

static void end_daemon(pid_t daemon)
{
    int status;
    if (daemon > 0)
        kill(daemon, SIGTERM);
    while (daemon > 0 && waitpid(daemon, &status, 0) < 0 && errno == EINTR)
        continue;
}

/* Until it computes; from then on $PWC_SOCKET is its own. It has no client. -1: it does not. */
static pid_t start_ready(char *settings)
{
    char socket[4096], scratch[4096];
    snprintf(socket, sizeof socket, "%s/fresh-%d", setting("BENCH_TMP"), (int)getpid());
    snprintf(scratch, sizeof scratch, "%s/scratch", setting("BENCH_TMP"));
    pid_t daemon = start_daemon(socket, scratch, settings);
    setenv("PWC_SOCKET", socket, 1);
    struct pwc *c = daemon > 0 ? bench_wait_ready() : NULL;
    if (c == NULL) {
        end_daemon(daemon);
        return -1;
    }
    pwc_close(c);
    return daemon;
}

int cmd_fresh(int argc, char **argv)
{
    if (argc < 3)
        bench_fail("fresh SETTINGS COMMAND...");
    pid_t daemon = start_ready(argv[1]);
    int r = daemon < 0 ? 1 : run_and_wait(argv + 2);
    end_daemon(daemon);
    return r;
}

/* ---- nothing to do ---- */

struct spares {
    bool unmade; /* a process that is being made has no number yet */
    pid_t pids[256];
    size_t n;
    uint64_t rss, switches, nursery_rss;
};

static void add_stage(const struct pwc_stage_info *s, void *user)
{
    struct spares *x = user;
    if (s->pid == 0) {
        x->unmade = true;
        return;
    }
    uint64_t rss = bench_rss_kib((pid_t)s->pid);
    if (strcmp(s->role, "nursery") == 0)
        x->nursery_rss = rss;
    else if (rss > x->rss)
        x->rss = rss;
    if (x->n < sizeof x->pids / sizeof x->pids[0])
        x->pids[x->n++] = (pid_t)s->pid;
}

static uint64_t switches_of_all(const struct spares *x)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < x->n; i++)
        sum += bench_switches_of(x->pids[i]);
    return sum;
}

/* strace sees each system call of all of them. One that was waiting all the time has not returned from its
 * call; the calls that being watched costs are not theirs. */
static bool counts(const char *line)
{
    static const char *const not_theirs[] = {"<detached", "<unfinished", "restart_syscall", "+++", "---"};
    for (size_t i = 0; i < sizeof not_theirs / sizeof not_theirs[0]; i++)
        if (strstr(line, not_theirs[i]) != NULL)
            return false;
    return true;
}

static FILE *start_strace(pid_t daemon, const struct spares *stages, uint64_t seconds)
{
    char command[8192];
    int n = snprintf(command, sizeof command, "exec timeout -s INT %lu strace -f -qq -o /dev/stdout -p %d",
                     (unsigned long)seconds, (int)daemon);
    for (size_t i = 0; i < stages->n && n < (int)sizeof command - 32; i++)
        n += snprintf(command + n, sizeof command - (size_t)n, " -p %d", (int)stages->pids[i]);
    return popen(command, "re");
}

/* -1: it could not watch them, which is not everywhere allowed. */
static int64_t calls_seen(pid_t daemon, const struct spares *stages, uint64_t seconds)
{
    char line[512];
    int64_t calls = 0;
    FILE *f = start_strace(daemon, stages, seconds);
    if (f == NULL)
        bench_fail("strace: %m");
    while (fgets(line, sizeof line, f) != NULL)
        calls += counts(line);
    int status = pclose(f);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 124) /* timeout's: it ran all the time */
        return -1;
    return calls;
}

/* What there is when all that were to be made are there. */
static void settle(struct pwc *c, struct spares *ret)
{
    for (int i = 0; i < SETTLE_TRIES; i++) {
        memset(ret, 0, sizeof *ret);
        if (pwc_list_stages(c, PWC_TIMEOUT_DEFAULT, add_stage, ret) != PWC_OK)
            bench_fail("%s", pwc_error());
        if (!ret->unmade)
            return;
        poll(NULL, 0, SETTLE_MS);
    }
    bench_fail("processes are still being made after %d s", SETTLE_TRIES * SETTLE_MS / 1000);
}

static bool told(char **argv, const char *word)
{
    for (; *argv != NULL; argv++)
        if (strcmp(*argv, word) == 0)
            return true;
    return false;
}

static void print_of(const char *prefix, const char *key, double value)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", prefix, key);
    bench_print(name, value);
}

/* The connection that asks is closed before the time begins. The second half of it is strace's. Used: other
 * commands have run jobs before. */
int cmd_idle(int argc, char **argv)
{
    uint64_t seconds = bench_number("seconds", argc > 1 ? argv[1] : NULL, 1, 3600);
    const char *prefix = told(argv, "used") ? "used_" : "";
    struct spares stages;
    struct pwc *c = bench_connect();
    pid_t daemon = bench_daemon(c);
    settle(c, &stages);
    pwc_close(c);
    poll(NULL, 0, GONE_MS);
    uint64_t own = bench_switches_of(daemon), theirs = switches_of_all(&stages);
    double cpu = bench_cpu_of(daemon);
    poll(NULL, 0, (int)seconds * 1000);
    print_of(prefix, "wakeups", (double)(bench_switches_of(daemon) - own));
    print_of(prefix, "stage_wakeups", (double)(switches_of_all(&stages) - theirs));
    print_of(prefix, "cpu_us", (bench_cpu_of(daemon) - cpu) * 1e6);
    print_of(prefix, "rss_mib", (double)bench_rss_kib(daemon) / 1024);
    print_of(prefix, "stage_rss_mib", (double)stages.rss / 1024);
    print_of(prefix, "nursery_rss_mib", (double)stages.nursery_rss / 1024);
    int64_t calls = told(argv, "strace") ? calls_seen(daemon, &stages, seconds) : -1;
    if (calls >= 0)
        print_of(prefix, "calls", (double)calls);
    return 0;
}

/* ---- nothing to do, and a watchdog ---- */

/* What systemd gives a service that has a watchdog. The signs of life come here. */
static int watch(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path, sizeof a.sun_path, "%s/notify-%d", setting("BENCH_TMP"), (int)getpid());
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (n >= (int)sizeof a.sun_path || fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) < 0)
        bench_fail("%s: %m", a.sun_path);
    setenv("NOTIFY_SOCKET", a.sun_path, 1);
    setenv("WATCHDOG_USEC", WATCHDOG_USEC, 1);
    unsetenv("WATCHDOG_PID"); /* systemd's, of whom runs us */
    return fd;
}

/* Those that have come since the last time; other news are taken, too. */
static size_t signs_of_life(int fd)
{
    char text[1024];
    size_t signs = 0;
    for (ssize_t n; (n = recv(fd, text, sizeof text - 1, 0)) >= 0;) {
        text[n] = '\0';
        signs += strstr(text, "WATCHDOG=1") != NULL;
    }
    return signs;
}

/* So many come meanwhile. They are taken as they come: few wait in a socket, and then the daemon does. */
static size_t hear(int fd, int64_t ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t signs = 0;
    double until = bench_now() + (double)ms * 1e-3;
    for (double left; (left = until - bench_now()) > 0; signs += signs_of_life(fd))
        poll(&p, 1, (int)(left * 1e3) + 1);
    return signs;
}

static void idle_watched(pid_t daemon, int signs, uint64_t seconds)
{
    struct spares stages;
    struct pwc *c = bench_connect();
    settle(c, &stages);
    pwc_close(c);
    (void)hear(signs, GONE_MS);
    uint64_t own = bench_switches_of(daemon), theirs = switches_of_all(&stages);
    size_t told = hear(signs, (int64_t)seconds * 1000);
    uint64_t wakeups = bench_switches_of(daemon) - own;
    if (told == 0)
        bench_fail("the watchdog has not heard of it in %lu s", (unsigned long)seconds);
    bench_print("watched_signs", (double)told);
    bench_print("watched_wakeups", (double)wakeups);
    bench_print("watched_beyond", wakeups > told ? (double)(wakeups - told) : 0);
    bench_print("watched_stage_wakeups", (double)(switches_of_all(&stages) - theirs));
}

/* A daemon that somebody watches says that it lives twice as often as it must. For that it wakes up, and for
 * nothing else. */
int cmd_watched(int argc, char **argv)
{
    char settings[] = "";
    uint64_t seconds = bench_number("seconds", argc > 1 ? argv[1] : NULL, 1, 3600);
    int signs = watch();
    pid_t daemon = start_ready(settings);
    if (daemon < 0)
        bench_fail("it does not start");
    idle_watched(daemon, signs, seconds);
    end_daemon(daemon);
    unlink(getenv("NOTIFY_SOCKET"));
    close(signs);
    return 0;
}

/* ---- memory of a job ---- */

static uint64_t pss_kib(pid_t pid, const char *field)
{
    char path[64], line[256];
    uint64_t v = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            v = strtoull(line + strlen(field), NULL, 10);
    fclose(f);
    return v;
}

/* Pages of files can be written out and dropped, so what counts is anonymous and shared memory. */
static void sample(pid_t daemon, uint64_t *anon, uint64_t *all)
{
    pid_t children[256];
    size_t n = bench_children(daemon, children, sizeof children / sizeof children[0]);
    uint64_t a = pss_kib(daemon, "Pss_Anon:") + pss_kib(daemon, "Pss_Shmem:"), p = pss_kib(daemon, "Pss:");
    for (size_t i = 0; i < n; i++) {
        a += pss_kib(children[i], "Pss_Anon:") + pss_kib(children[i], "Pss_Shmem:");
        p += pss_kib(children[i], "Pss:");
    }
    *anon = a > *anon ? a : *anon;
    *all = p > *all ? p : *all;
}

int cmd_memory(int argc, char **argv)
{
    uint64_t anon = 0, all = 0;
    int status = 0;
    if (argc < 2)
        bench_fail("memory COMMAND...");
    struct pwc *c = bench_connect();
    pid_t daemon = bench_daemon(c);
    pwc_close(c);
    struct bench_cpu cpu;
    bench_cpu_begin(&cpu, daemon);
    double start = bench_now();
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
        sample(daemon, &anon, &all);
        poll(NULL, 0, 50);
    }
    double seconds = bench_now() - start;
    bench_cpu_end(&cpu);
    if (pid < 0 || status != 0)
        bench_fail("%s failed", argv[1]);
    bench_print("seconds", seconds);
    bench_print("anon_mib", (double)anon / 1024);
    bench_print("pss_mib", (double)all / 1024);
    bench_cpu_print(&cpu);
    bench_print("daemon_rss_mib", (double)bench_rss_kib(daemon) / 1024);
    return 0;
}

/* ---- what something adds ---- */

static void must_run(char *command)
{
    char shell[] = "sh", option[] = "-c";
    if (run_and_wait((char *[]){shell, option, command, NULL}) != 0)
        bench_fail("failed, or its result was wrong: %s", command);
}

/* For names of files that only one run has. */
static void name_run(size_t i)
{
    char name[40];
    snprintf(name, sizeof name, "%d-%zu", (int)getpid(), i);
    setenv("RUN", name, 1);
}

/* There and back, so that a machine that becomes slower or faster meanwhile does the same to both. What the
 * second leaves is checked when the clock has been read. */
int cmd_added(int argc, char **argv)
{
    static const int order[] = {1, 2, 2, 1};
    double took[3] = {0};
    if (argc != 3 && argc != 4)
        bench_fail("added COMMAND LONGER [CHECK]");
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        name_run(i);
        double start = bench_now();
        must_run(argv[order[i]]);
        took[order[i]] += bench_now() - start;
        if (order[i] == 2 && argc == 4)
            must_run(argv[3]);
    }
    bench_print("without", took[1] / 2);
    bench_print("with", took[2] / 2);
    bench_print("added_percent", 100 * (took[2] / took[1] - 1));
    return 0;
}
