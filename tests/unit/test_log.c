/* test_log.c - the log and who reads it: a terminal that stopped, one that goes on, a file. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ipc/log.h"
#include "tests/unit/runner.h"

enum { LINES = 3000, LONG = 600 };

static int saved = -1;

static void setup(void)
{
    saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    ck_assert_int_ge(saved, 0);
}

static void teardown(void)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
}

static void log_to(int fd)
{
    ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    log_open("log", LOG_INFO, false);
    log_never_wait();
}

static int terminal(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        return -1;
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(slave, 0);
    log_to(slave);
    close(slave);
    return master;
}

/* Lines until it has been told that some are lost. What was read makes room for the next, so that there
 * always is something to read. */
static char *read_until_told(int master)
{
    size_t size = 1 << 22, n = 0;
    char *text = xcalloc(size + 1, 1);
    while (strstr(text, "lines of the log are lost") == NULL) {
        ssize_t got = read(master, text + n, size - n);
        ck_assert_int_gt(got, 0);
        n += (size_t)got;
        log_info("it is read again");
    }
    return text;
}

/* It takes a part of a line before it is full: neither does that keep us, nor does the next line begin in
 * the middle of it. Others who write to the same stderr wait as before. */
START_TEST(terminal_that_nobody_reads)
{
    static char words[LONG + 1];
    memset(words, 'x', LONG);
    int master = terminal();
    if (master < 0)
        return; /* no terminals here */
    for (int i = 0; i < LINES; i++)
        log_info("%s", words);
    ck_assert_int_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
    char *text = read_until_told(master);
    for (const char *p = text + 1; (p = strstr(p, "log: ")) != NULL; p++)
        ck_assert_int_eq(p[-1], '\n');
    free(text);
    close(master);
}
END_TEST

/* What stands there already stays. */
START_TEST(file_is_written_on)
{
    static const char want[] = "before\nlog: warning: after\n";
    char path[] = "/tmp/pwc-log-XXXXXX", text[100] = "";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_assert_int_eq(write(fd, want, strlen("before\n")), strlen("before\n"));
    log_to(fd);
    log_warn("after");
    ck_assert_int_eq(pread(fd, text, sizeof text - 1, 0), sizeof want - 1);
    ck_assert_str_eq(text, want);
    close(fd);
}
END_TEST

/* A pipe takes whole lines or none. */
START_TEST(pipe_that_nobody_reads)
{
    int fds[2];
    char text[4096];
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    log_to(fds[1]);
    for (int i = 0; i < LINES; i++)
        log_info("a line of %d", i);
    ck_assert_int_eq(read(fds[0], text, sizeof text), sizeof text);
    ck_assert_int_eq(strncmp(text, "log: info: a line of 0\nlog: info: a line of 1\n", 46), 0);
    log_info("it is read again");
    close(fds[0]);
    close(fds[1]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log");
    TCase *t = tcase_create("log");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, terminal_that_nobody_reads);
    tcase_add_test(t, file_is_written_on);
    tcase_add_test(t, pipe_that_nobody_reads);
    suite_add_tcase(s, t);
    return run_suite(s);
}
