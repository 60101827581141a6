/* victim.c - see victim.h. Nothing sleeps: readiness comes through $NOTIFY_SOCKET, deaths through pidfds. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "tests/hostile/peer.h"
#include "tests/hostile/victim.h"

#define ARGS_MAX 32
#define FDS_SLACK                                                                                            \
    64u /* stages come and go: 16 at most, each with a channel, a pidfd, a pipe and an arena                 \
         */

int64_t now_ms(void)
{
    return clock_now().ns / NS_PER_MS;
}

bool poll_again(int64_t until)
{
    poll(NULL, 0, 5);
    return now_ms() < until;
}

const char *built(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *p = path[next++ % ARRAY_LEN(path)];
    const char *build = getenv("PWC_BUILD");
    snprintf(p, sizeof path[0], "%s/%s", build != NULL ? build : ".", name);
    return p;
}

/* ---- starting ---- */

static int notify_socket(char *ret_name, size_t size)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    static unsigned count;
    int n = snprintf(ret_name, size, "@pwc-hostile-%d-%u", (int)getpid(), count++);
    memcpy(sa.sun_path + 1, ret_name + 1, (size_t)n - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(
        bind(fd, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)), 0);
    return fd;
}

static void become_pwcd(const struct victim *v, const char *stage, const char *notify,
                        const char *const *args)
{
    const char *argv[ARGS_MAX] = {"pwcd", "--socket",  v->socket,         "--stage",
                                  stage,  "--scratch", v->scratch,        "--workers",
                                  "2",    "--set",     "socket_mode=0666"};
    size_t n = 11;
    for (; args != NULL && *args != NULL && n < ARGS_MAX - 1; args++)
        argv[n++] = *args;
    int log = open(v->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(log, STDERR_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("NOTIFY_SOCKET", notify, 1);
    execv(built("pwcd"), (char *const *)(uintptr_t)argv);
    _exit(127);
}

static void await_ready(struct victim *v, int notify)
{
    char words[512];
    for (int64_t until = now_ms() + PATIENCE_MS;;) {
        struct pollfd p[2] = {{.fd = notify, .events = POLLIN}, {.fd = v->pidfd, .events = POLLIN}};
        int64_t left = until - now_ms();
        ck_assert_msg(left > 0 && poll(p, 2, (int)left) > 0, "pwcd did not get ready");
        ck_assert_msg(p[1].revents == 0, "pwcd ended at its start; see %s", v->log);
        ssize_t n = recv(notify, words, sizeof words - 1, MSG_DONTWAIT);
        words[n > 0 ? n : 0] = '\0';
        if (strstr(words, "READY=1") != NULL)
            return;
    }
}

void victim_start_with(struct victim *v, const char *stage_program, const char *const *args)
{
    char notify[64];
    *v = (struct victim){.pidfd = -1};
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const char *tmp = getenv("TMPDIR");
    snprintf(v->dir, sizeof v->dir, "%s/pwc-hostile-XXXXXX", tmp != NULL && strlen(tmp) < 30 ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(v->dir));
    ck_assert_int_eq(chmod(v->dir, 0755), 0);
    snprintf(v->socket, sizeof v->socket, "%s/s", v->dir);
    snprintf(v->log, sizeof v->log, "%s/log", v->dir);
    snprintf(v->scratch, sizeof v->scratch, "%s/scratch", v->dir);
    ck_assert_int_eq(mkdir(v->scratch, 0700), 0);
    int fd = notify_socket(notify, sizeof notify);
    v->pid = fork();
    ck_assert_int_ge(v->pid, 0);
    if (v->pid == 0)
        become_pwcd(v, stage_program, notify, args);
    v->pidfd = (int)syscall(SYS_pidfd_open, v->pid, 0);
    await_ready(v, fd);
    close(fd);
    for (int i = 0; i < 3; i++)
        ordinary_client(v);
    v->fds = victim_fds(v);
    v->rss_kib = victim_rss_kib(v);
}

void victim_start(struct victim *v, const char *const *args)
{
    const char *stage = getenv("PWC_STAGE");
    victim_start_with(v, stage != NULL ? stage : built("pwc-stage-test"), args);
}

/* ---- looking ---- */

size_t victim_fds(const struct victim *v)
{
    char path[64];
    size_t n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)v->pid);
    DIR *dir = opendir(path);
    ck_assert_msg(dir != NULL, "pwcd is gone; see %s", v->log);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n - 2;
}

static size_t status_kib(const struct victim *v, const char *name)
{
    char path[64], line[256];
    size_t kib = 0, n = strlen(name);
    snprintf(path, sizeof path, "/proc/%d/status", (int)v->pid);
    FILE *f = fopen(path, "re");
    ck_assert_msg(f != NULL, "pwcd is gone; see %s", v->log);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, n) == 0)
            kib = strtoul(line + n, NULL, 10);
    fclose(f);
    return kib;
}

size_t victim_rss_kib(const struct victim *v)
{
    return status_kib(v, "VmRSS:");
}

size_t victim_most_kib(const struct victim *v)
{
    return status_kib(v, "VmHWM:");
}

size_t victim_logged(const struct victim *v, const char *text)
{
    char line[4096];
    size_t n = 0;
    FILE *f = fopen(v->log, "re");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f) != NULL)
        n += strstr(line, text) != NULL;
    fclose(f);
    return n;
}

static void descriptors_come_back(const struct victim *v)
{
    int64_t until = now_ms() + PATIENCE_MS;
    size_t n;
    while ((n = victim_fds(v)) > v->fds + FDS_SLACK && poll_again(until))
        ;
    ck_assert_msg(n <= v->fds + FDS_SLACK, "pwcd holds %zu descriptors, %zu before the attack", n, v->fds);
}

void victim_serves(const struct victim *v)
{
    int64_t began = now_ms();
    ordinary_client(v);
    int64_t took = now_ms() - began;
    ck_assert_msg(took <= PROMPT_MS, "an ordinary client waited %ld ms", (long)took);
}

void victim_is_well(const struct victim *v, size_t more_kib)
{
    victim_serves(v);
    descriptors_come_back(v);
#ifndef PWC_SANITIZED                       /* whose quarantine grows */
    int64_t until = now_ms() + PATIENCE_MS; /* it gives memory back when it has time */
    size_t rss;
    while ((rss = victim_rss_kib(v)) > v->rss_kib + more_kib && poll_again(until))
        ;
    ck_assert_msg(rss <= v->rss_kib + more_kib, "pwcd grew from %zu to %zu KiB", v->rss_kib, rss);
#else
    (void)more_kib;
#endif
}

/* ---- the end ---- */

static const char *const own_faults[] = {"bug: ", "fatal: ", "runtime error: ", "Sanitizer", "assert"};

static void show_log(const struct victim *v, const char *text)
{
    char line[4096];
    FILE *f = fopen(v->log, "re");
    for (int n = 0; f != NULL && n < 40 && fgets(line, sizeof line, f) != NULL;)
        if (n > 0 || strstr(line, text) != NULL) {
            fputs(line, stderr);
            n++;
        }
    if (f != NULL)
        fclose(f);
}

/* Orphans come to us; they must end by themselves, for their supervisor is gone. */
static void nobody_is_left(void)
{
    int64_t until = now_ms() + PATIENCE_MS;
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL) < 0)
            return;
        ck_assert_msg(info.si_pid != 0 || poll_again(until), "a process outlived pwcd");
    }
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

void victim_stop(struct victim *v)
{
    siginfo_t info = {0};
    struct pollfd p = {.fd = v->pidfd, .events = POLLIN};
    ck_assert_int_eq(kill(v->pid, SIGTERM), 0);
    ck_assert_msg(poll(&p, 1, PATIENCE_MS + 30000) == 1, "pwcd does not end");
    ck_assert_int_eq(waitid(P_PIDFD, (id_t)v->pidfd, &info, WEXITED), 0);
    if (info.si_code != CLD_EXITED || info.si_status != 0)
        show_log(v, "");
    ck_assert_msg(info.si_code == CLD_EXITED && info.si_status == 0, "pwcd ended with %s %d; see %s",
                  info.si_code == CLD_EXITED ? "status" : "signal", info.si_status, v->log);
    for (size_t i = 0; i < ARRAY_LEN(own_faults); i++) {
        if (victim_logged(v, own_faults[i]) > 0)
            show_log(v, own_faults[i]);
        ck_assert_msg(victim_logged(v, own_faults[i]) == 0, "the log says \"%s\"; see %s", own_faults[i],
                      v->log);
    }
    nobody_is_left();
    ck_assert_msg(rmdir(v->scratch) == 0, "scratch files are left in %s", v->scratch);
    nftw(v->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    close(v->pidfd);
    v->pid = 0;
}
