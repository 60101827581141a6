/* test_bench_util.c - what the benchmark says that other processes took. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/unit/runner.h"

#define WORK 20e-3 /* s of CPU time */

static double clock_of(clockid_t clock)
{
    struct timespec t;
    ck_assert_int_eq(clock_gettime(clock, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *compute(void *arg)
{
    while (clock_of(CLOCK_THREAD_CPUTIME_ID) < WORK)
        ;
    return arg;
}

/* Computes in a thread that has ended by the time that it says how long that took; then it waits to be
 * killed. */
static void child(int to)
{
    pthread_t thread;
    pthread_create(&thread, NULL, compute, NULL);
    pthread_join(thread, NULL);
    double own = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    _exit(write(to, &own, sizeof own) == sizeof own ? poll(NULL, 0, -1) : 1);
}

START_TEST(threads_that_have_ended_count)
{
    int p[2];
    double own = 0;
    ck_assert_int_eq(pipe(p), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        child(p[1]);
    close(p[1]);
    ck_assert_int_eq((int)read(p[0], &own, sizeof own), (int)sizeof own);
    double seen = bench_cpu_of(pid), children = bench_cpu_of_children(getpid());
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(p[0]);
    ck_assert_double_ge(own, WORK);
    ck_assert_double_ge(seen, own);
    ck_assert_double_ge(children, seen);
    ck_assert_double_eq(bench_cpu_of(pid), 0); /* it is gone */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bench util");
    TCase *t = tcase_create("processes");
    tcase_add_test(t, threads_that_have_ended_count);
    suite_add_tcase(s, t);
    return run_suite(s);
}
