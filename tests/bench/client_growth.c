/* client_growth.c - how cost grows with jobs that wait and with clients that are connected. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/client.h"

#define MORE 1000u /* jobs, of which each is asked what it costs while others wait */

/* ---- jobs that wait ---- */

static void count_one(const struct pwc_job_info *info, void *user)
{
    (void)info;
    ++*(uint64_t *)user;
}

/* Every seat sleeps meanwhile, so that what is submitted waits. */
static struct pwc_job *block_seats(struct pwc *c)
{
    struct pwc_spec *spec = bench_chunks_spec("sleep", pwc_daemon(c)->workers * 8, 0);
    struct pwc_job *job;
    pwc_spec_i64(spec, "ms", 3600 * 1000);
    pwc_spec_priority(spec, -20);
    if (pwc_submit(c, spec, &job) != PWC_OK || pwc_wait_accepted(job, PWC_TIMEOUT_DEFAULT) != PWC_OK)
        bench_fail("%s", pwc_error());
    pwc_spec_free(spec);
    return job;
}

static void submit_many(struct pwc *c, struct pwc_job **jobs, size_t n)
{
    struct pwc_spec *spec = bench_chunks_spec("noop", 1, 0);
    for (size_t i = 0; i < n; i++)
        if (pwc_submit(c, spec, &jobs[i]) != PWC_OK)
            bench_fail("%s", pwc_error());
    for (size_t i = 0; i < n; i++)
        if (pwc_wait_accepted(jobs[i], 60000) != PWC_OK)
            bench_fail("job %zu: %s", i, pwc_error());
    pwc_spec_free(spec);
}

/* With few jobs alone what they cost would be lost in what happens but once. */
int cmd_waiting(int argc, char **argv)
{
    size_t n = bench_number("jobs", argc > 1 ? argv[1] : NULL, 1, 1000000), all = n + MORE;
    struct pwc *c = bench_connect();
    pid_t daemon = bench_daemon(c);
    struct pwc_job *block = block_seats(c), **jobs = calloc(all, sizeof(struct pwc_job *));
    uint64_t listed = 0, before = bench_rss_kib(daemon);
    submit_many(c, jobs, n);
    double t0 = bench_now(), c0 = bench_cpu_of(daemon);
    submit_many(c, jobs + n, MORE);
    double t1 = bench_now(), c1 = bench_cpu_of(daemon);
    uint64_t after = bench_rss_kib(daemon);
    if (pwc_list_jobs(c, 0, 600000, count_one, &listed) != PWC_OK || listed < all)
        bench_fail("%lu of %zu jobs listed: %s", (unsigned long)listed, all, pwc_error());
    double t2 = bench_now(), c2 = bench_cpu_of(daemon);
    struct bench_cpu running;
    bench_cpu_begin(&running, daemon);
    pwc_cancel(block);
    for (size_t i = 0; i < all; i++) {
        if (pwc_wait(jobs[i], 600000) != PWC_OK)
            bench_fail("job %zu: %s", i, pwc_error());
        pwc_job_free(jobs[i]);
    }
    bench_cpu_end(&running);
    double t3 = bench_now(), c3 = bench_cpu_of(daemon), per = 1e6 / (double)all;
    bench_print("submit_us", (t1 - t0) * 1e6 / MORE);
    bench_print("submit_daemon_us", (c1 - c0) * 1e6 / MORE);
    bench_print("list_us", (t2 - t1) * per);
    bench_print("list_daemon_us", (c2 - c1) * per);
    bench_print("dispatch_us", (t3 - t2) * per);
    bench_print("dispatch_daemon_us", (c3 - c2) * per);
    bench_cpu_print(&running);
    bench_print("bytes_job", (double)(after > before ? after - before : 0) * 1024 / (double)all);
    free(jobs);
    pwc_job_free(block);
    pwc_close(c);
    return 0;
}

/* ---- clients ---- */

/* As many as this process may have: a client of libpwc has two descriptors. */
static size_t clients_a_process(void)
{
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
        bench_fail("getrlimit: %m");
    rl.rlim_cur = rl.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur < 200)
        bench_fail("%lu descriptors are too few", (unsigned long)rl.rlim_max);
    return (rl.rlim_cur - 100) / 2;
}

static struct pwc **connect_many(size_t n)
{
    struct pwc **c = calloc(n, sizeof(struct pwc *));
    for (size_t i = 0; i < n; i++)
        c[i] = bench_connect();
    return c;
}

/* Those that are too many for one process: a child connects them, says so, and holds them until `held` ends.
 */
static void hold_elsewhere(size_t n, const int held[2])
{
    int ready[2];
    char byte = 0;
    if (pipe2(ready, O_CLOEXEC) < 0)
        bench_fail("pipe: %m");
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("fork: %m");
    if (pid == 0) {
        close(held[1]);
        close(ready[0]);
        connect_many(n);
        bool told = write(ready[1], &byte, 1) == 1;
        _exit(told && read(held[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        bench_fail("a process with %zu clients failed", n);
    close(ready[0]);
}

static void run_jobs(struct pwc **c, size_t n, double *took, size_t jobs)
{
    struct pwc_spec *spec = bench_chunks_spec("noop", 1, 0);
    for (size_t i = 0; i < jobs; i++) {
        double start = bench_now();
        pwc_job_free(bench_run(c[(i * 7919) % n], spec));
        took[i] = bench_now() - start;
    }
    pwc_spec_free(spec);
}

int cmd_clients(int argc, char **argv)
{
    enum { WARM = 200, JOBS = 2000 };
    size_t n = bench_number("clients", argc > 1 ? argv[1] : NULL, 1, 100000), most = clients_a_process() - 1;
    double took[JOBS];
    int held[2], status;
    if (pipe2(held, O_CLOEXEC) < 0)
        bench_fail("pipe: %m");
    struct pwc *first = bench_connect();
    pid_t daemon = bench_daemon(first);
    uint64_t before = bench_rss_kib(daemon);
    size_t own = n < most ? n : most;
    double t0 = bench_now();
    for (size_t left = n - own; left > 0; left -= left < most ? left : most)
        hold_elsewhere(left < most ? left : most, held);
    struct pwc **c = connect_many(own);
    double t1 = bench_now();
    uint64_t after = bench_rss_kib(daemon);
    run_jobs(c, own, took, WARM);
    struct bench_cpu running;
    bench_cpu_begin(&running, daemon);
    run_jobs(c, own, took, JOBS);
    bench_cpu_end(&running);
    double cpu = bench_cpu_of(daemon);
    uint64_t switches = bench_switches_of(daemon);
    poll(NULL, 0, 1000);
    bench_print("connect_us", (t1 - t0) * 1e6 / (double)n);
    bench_print("bytes_client", (double)(after > before ? after - before : 0) * 1024 / (double)n);
    bench_print_quantiles("job_", took, JOBS);
    bench_cpu_print(&running);
    bench_print("idle_wakeups", (double)(bench_switches_of(daemon) - switches));
    bench_print("idle_cpu_us", (bench_cpu_of(daemon) - cpu) * 1e6);
    close(held[1]);
    while (wait(&status) > 0)
        if (status != 0)
            bench_fail("a process with clients failed");
    for (size_t i = 0; i < own; i++)
        pwc_close(c[i]);
    pwc_close(first);
    free(c);
    return 0;
}
