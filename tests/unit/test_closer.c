/*
 * test_closer.c - the closer, with closes that really hang: a TCP socket that lingers over data nobody reads
 * blocks in close(2) until its peer goes away.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/closer.h"
#include "ipc/clock.h"
#include "ipc/fds.h"
#include "tests/unit/runner.h"

#define DEADLINE_MS 10000

/* Waits for a condition of the closer's threads, which give no event; fails at the deadline. */
#define WAIT_FOR(cond)                                                                                       \
    do {                                                                                                     \
        struct mono end_ = mono_add(clock_now(), DEADLINE_MS * NS_PER_MS);                                   \
        while (!(cond)) {                                                                                    \
            ck_assert_msg(mono_since(end_, clock_now()) > 0, "never: %s", #cond);                            \
            poll(NULL, 0, 2);                                                                                \
        }                                                                                                    \
    } while (0)

struct trap {
    int fd;   /* close(2) of it hangs ... */
    int peer; /* ... until this one is closed */
};

static struct trap trap_new(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof sa;
    struct linger linger = {1, 600};
    struct trap t = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -1};
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(l, (struct sockaddr *)&sa, sizeof sa), 0);
    ck_assert_int_eq(listen(l, 1), 0);
    ck_assert_int_eq(getsockname(l, (struct sockaddr *)&sa, &len), 0);
    ck_assert_int_eq(connect(t.fd, (struct sockaddr *)&sa, len), 0);
    t.peer = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(t.peer, 0);
    close(l);
    static char data[65536];
    while (send(t.fd, data, sizeof data, MSG_DONTWAIT) > 0)
        continue;
    ck_assert_int_eq(setsockopt(t.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    return t;
}

/* True when the pipe's write end was closed within the time. */
static bool at_end(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1 && (p.revents & POLLHUP) != 0;
}

static void pipe_new(int *ret_read, int *ret_write)
{
    int p[2];
    ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
    *ret_read = p[0];
    *ret_write = p[1];
}

static void setup(void)
{
    closer_stuck_ns = 300 * NS_PER_MS;
    ck_assert_int_eq(closer_start(), 0);
}

START_TEST(closes)
{
    int r, w;
    pipe_new(&r, &w);
    closer_close_for(w, 7);
    ck_assert(at_end(r, DEADLINE_MS));
    closer_close_for(-1, 7);
    pipe_new(&r, &w);
    closer_close(w);
    ck_assert(at_end(r, DEADLINE_MS));
    ck_assert(closer_stop(DEADLINE_MS));
    ck_assert_uint_eq(closer_pending(), 0);
}
END_TEST

START_TEST(before_start_nothing_is_lost)
{
    int r, w;
    pipe_new(&r, &w);
    closer_close_for(w, 7);
    ck_assert_uint_eq(closer_pending(), 1);
    ck_assert(!at_end(r, 0));
    ck_assert_int_eq(closer_start(), 0);
    ck_assert(at_end(r, DEADLINE_MS));
}
END_TEST

START_TEST(a_stuck_user_holds_up_nobody_else)
{
    struct trap t = trap_new();
    int r, w, own_r, own_w;
    closer_close_for(t.fd, 1000);
    pipe_new(&own_r, &own_w);
    closer_close_for(own_w, 1000);
    for (uid_t uid = 1001; uid < 1100; uid++) {
        pipe_new(&r, &w);
        closer_close_for(w, uid);
        ck_assert(at_end(r, DEADLINE_MS));
        close(r);
    }
    WAIT_FOR(closer_pending() == 2);
    ck_assert(!at_end(own_r, 0)); /* behind his own */
    close(t.peer);
    ck_assert(at_end(own_r, DEADLINE_MS));
    ck_assert(closer_stop(DEADLINE_MS));
}
END_TEST

START_TEST(stuck_is_counted_for_who_is_stuck)
{
    struct trap t = trap_new();
    int r, w, other_r, other_w;
    closer_stuck_ns = 10 * NS_PER_S;
    closer_close_for(t.fd, 1000);
    pipe_new(&r, &w);
    closer_close_for(w, 1000);
    ck_assert_uint_eq(closer_stuck(1000), 0); /* not for long enough */
    closer_stuck_ns = 300 * NS_PER_MS;
    pipe_new(&other_r, &other_w);
    closer_close_for(other_w, 1001);
    WAIT_FOR(closer_stuck(1000) == 2);
    ck_assert_uint_eq(closer_stuck(1001), 0);
    ck_assert(at_end(other_r, DEADLINE_MS));
    close(t.peer);
    WAIT_FOR(closer_pending() == 0);
    ck_assert_uint_eq(closer_stuck(1000), 0);
}
END_TEST

START_TEST(all_threads_stuck_then_free)
{
    struct trap t[CLOSER_THREADS];
    int r, w;
    for (unsigned i = 0; i < CLOSER_THREADS; i++) {
        t[i] = trap_new();
        closer_close_for(t[i].fd, 1000 + i);
    }
    pipe_new(&r, &w);
    closer_close_for(w, 5000);
    WAIT_FOR(closer_stuck(1000 + CLOSER_THREADS - 1) == 1);
    ck_assert(!at_end(r, 0));
    ck_assert_uint_eq(closer_stuck(5000), 0); /* he waits for others: not his fault */
    close(t[3].peer);
    ck_assert(at_end(r, DEADLINE_MS));
    WAIT_FOR(closer_pending() == CLOSER_THREADS - 1);
}
END_TEST

START_TEST(account)
{
    struct trap t = trap_new();
    int r, w;
    ck_assert_uint_eq(closer_as(1000), CLOSER_NOBODY);
    closer_close(t.fd);
    ck_assert_uint_eq(closer_as(CLOSER_NOBODY), 1000);
    pipe_new(&r, &w);
    closer_close(w);
    ck_assert(at_end(r, DEADLINE_MS));
    WAIT_FOR(closer_stuck(1000) == 1);
}
END_TEST

START_TEST(stop_does_not_wait_for_ever)
{
    struct trap t = trap_new();
    closer_close_for(t.fd, 1000);
    struct mono before = clock_now();
    ck_assert(!closer_stop(50));
    int64_t took = mono_since(clock_now(), before);
    ck_assert(took >= 50 * NS_PER_MS && took < 5 * NS_PER_S);
    ck_assert_uint_eq(closer_pending(), 1);
}
END_TEST

static unsigned open_fds(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

START_TEST(many_users_many_descriptors)
{
    unsigned before = open_fds();
    for (int i = 0; i < 20000; i++) {
        int fd = fd_dup(STDERR_FILENO);
        if (fd < 0) {
            ck_assert_int_eq(fd, -EMFILE); /* faster than the closer: let it catch up */
            WAIT_FOR(closer_pending() == 0);
            continue;
        }
        closer_close_for(fd, (uid_t)(i % 13));
    }
    WAIT_FOR(closer_pending() == 0);
    ck_assert_uint_eq(open_fds(), before);
    ck_assert(closer_stop(DEADLINE_MS));
}
END_TEST

/* A signal for the process must reach the main thread's loop, never a closer. */
START_TEST(threads_take_no_signals)
{
    int r, w, seen = 0;
    pipe_new(&r, &w);
    closer_close_for(w, 1);
    ck_assert(at_end(r, DEADLINE_MS));
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[300], line[200];
        unsigned long long blocked = 0;
        if (e->d_name[0] == '.' || atoi(e->d_name) == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
        FILE *f = fopen(path, "re");
        ck_assert_ptr_nonnull(f);
        while (fgets(line, sizeof line, f) != NULL)
            if (strncmp(line, "SigBlk:", 7) == 0)
                blocked = strtoull(line + 7, NULL, 16);
        fclose(f);
        for (int sig = 1; sig < 32; sig++)
            if (sig != SIGKILL && sig != SIGSTOP)
                ck_assert_msg((blocked >> (sig - 1) & 1) != 0, "signal %d is not blocked", sig);
        seen++;
    }
    closedir(d);
    ck_assert_int_eq(seen, 1);
    sigset_t now;
    ck_assert_int_eq(sigprocmask(SIG_SETMASK, NULL, &now), 0);
    ck_assert_int_eq(sigismember(&now, SIGTERM), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("closer");
    TCase *t = tcase_create("started");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, closes);
    tcase_add_test(t, a_stuck_user_holds_up_nobody_else);
    tcase_add_test(t, stuck_is_counted_for_who_is_stuck);
    tcase_add_test(t, all_threads_stuck_then_free);
    tcase_add_test(t, account);
    tcase_add_test(t, stop_does_not_wait_for_ever);
    tcase_add_test(t, many_users_many_descriptors);
    tcase_add_test(t, threads_take_no_signals);
    suite_add_tcase(s, t);
    t = tcase_create("not started");
    tcase_add_test(t, before_start_nothing_is_lost);
    suite_add_tcase(s, t);
    return run_suite(s);
}
