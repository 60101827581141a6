/* ctl_run.c - see ctl_run.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/ctl_run.h"
#include "tests/unit/runner.h"

bool as_nobody, no_tmpfile, traced;
char dir[64], sock[96];
struct fake *fake;
static char program[4096];

const char *pwcctl(void)
{
    const char *env = getenv("PWCCTL");
    return env != NULL ? env : program;
}

void ctl_setup(void)
{
    strcpy(dir, "/tmp/pwc-test-ctl-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(sock, sizeof sock, "%s/sock", dir);
    ck_assert_ptr_nonnull(getcwd(program, sizeof program - 16));
    strcat(program, "/pwcctl");
    ck_assert_int_eq(chdir(dir), 0);
    setenv("PWC_SOCKET", sock, 1);
    unsetenv("CLICOLOR_FORCE");
    fake = fake_start(sock, FAKE_WELCOME);
}

void ctl_teardown(void)
{
    fake_stop(fake);
    ck_assert_int_eq(chdir("/"), 0);
    DIR *d = opendir(dir);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        unlinkat(dirfd(d), e->d_name, 0);
        unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
    }
    closedir(d);
    rmdir(dir);
}

static void refuse_tmpfile(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_openat, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])), /* the low half */
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_TMPFILE & ~O_DIRECTORY, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
        _exit(CANNOT_EXEC);
}

pid_t start(char *const *argv, int in, int *ret_out, int *ret_err)
{
    int out[2], err[2];
    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(err, O_CLOEXEC), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if (as_nobody && (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0))
            _exit(CANNOT_EXEC);
        if (no_tmpfile)
            refuse_tmpfile();
        if (traced && ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(CANNOT_EXEC);
        dup2(in, 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        execv(pwcctl(), argv);
        _exit(CANNOT_EXEC);
    }
    close(out[1]);
    close(err[1]);
    *ret_out = out[0];
    *ret_err = err[0];
    return pid;
}

/* Both streams to their ends, whichever fills first. */
void collect(int out, int err, struct ran *r)
{
    struct pollfd p[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    char *buf[2] = {r->out, r->err};
    size_t len[2] = {0, 0};
    for (int open = 2; open > 0;) {
        ck_assert_int_gt(poll(p, 2, 60000), 0);
        for (int i = 0; i < 2; i++) {
            if (p[i].revents == 0)
                continue;
            ssize_t n = read(p[i].fd, buf[i] + len[i], sizeof r->out - 1 - len[i]);
            ck_assert_int_ge(n, 0);
            len[i] += (size_t)n;
            if (n == 0) {
                p[i].fd = -1;
                open--;
            }
        }
    }
    r->out[len[0]] = r->err[len[1]] = '\0';
    close(out);
    close(err);
}

int finish(pid_t pid)
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

struct ran ran;

int run_in(int in, char *const *argv)
{
    int out, err;
    pid_t pid = start(argv, in, &out, &err);
    collect(out, err, &ran);
    ran.status = finish(pid);
    return ran.status;
}

void wait_empty(int reader)
{
    struct pollfd p = {.fd = reader, .events = POLLIN};
    while (poll(&p, 1, 0) == 1)
        sched_yield();
}

void put(const char *name, const char *text)
{
    FILE *f = fopen(name, "we");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

const char *get(const char *name)
{
    static char buf[1024];
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    ssize_t n = read(fd, buf, sizeof buf - 1);
    close(fd);
    buf[n > 0 ? n : 0] = '\0';
    return buf;
}

void script(const char *name, const char *body)
{
    char *text = NULL;
    ck_assert_int_gt(asprintf(&text, "#!/bin/sh\n%s\n", body), 0);
    put(name, text);
    free(text);
    chmod(name, 0700);
}

/* Names in the directory, but for the socket. */
int count_files(const char *where)
{
    int n = 0;
    DIR *d = opendir(where);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.' || e->d_name[1] == 'p' || strlen(e->d_name) > 2;
    closedir(d);
    return n - (strcmp(where, ".") == 0);
}
