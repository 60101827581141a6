/* client_growth.c - how cost grows with jobs that wait and with clients that are connected. */
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>

#include "tests/bench/client.h"

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

static struct pwc_job **submit_many(struct pwc *c, size_t n)
{
    struct pwc_job **jobs = calloc(n, sizeof(struct pwc_job *));
    struct pwc_spec *spec = bench_chunks_spec("noop", 1, 0);
    for (size_t i = 0; i < n; i++)
        if (pwc_submit(c, spec, &jobs[i]) != PWC_OK)
            bench_fail("%s", pwc_error());
    for (size_t i = 0; i < n; i++)
        if (pwc_wait_accepted(jobs[i], 60000) != PWC_OK)
            bench_fail("job %zu: %s", i, pwc_error());
    pwc_spec_free(spec);
    return jobs;
}

int cmd_waiting(int argc, char **argv)
{
    size_t n = bench_number("jobs", argc > 1 ? argv[1] : NULL, 1, 1000000);
    struct pwc *c = bench_connect();
    pid_t daemon = bench_daemon(c);
    struct pwc_job *block = block_seats(c);
    uint64_t listed = 0, before = bench_rss_kib(daemon);
    double t0 = bench_now(), c0 = bench_cpu_of(daemon);
    struct pwc_job **jobs = submit_many(c, n);
    double t1 = bench_now(), c1 = bench_cpu_of(daemon);
    uint64_t after = bench_rss_kib(daemon);
    if (pwc_list_jobs(c, 0, 600000, count_one, &listed) != PWC_OK || listed < n)
        bench_fail("%lu of %zu jobs listed: %s", (unsigned long)listed, n, pwc_error());
    double t2 = bench_now(), c2 = bench_cpu_of(daemon);
    pwc_cancel(block);
    for (size_t i = 0; i < n; i++) {
        if (pwc_wait(jobs[i], 600000) != PWC_OK)
            bench_fail("job %zu: %s", i, pwc_error());
        pwc_job_free(jobs[i]);
    }
    double t3 = bench_now(), c3 = bench_cpu_of(daemon), per = 1e6 / (double)n;
    bench_print("submit_us", (t1 - t0) * per);
    bench_print("submit_daemon_us", (c1 - c0) * per);
    bench_print("list_us", (t2 - t1) * per);
    bench_print("list_daemon_us", (c2 - c1) * per);
    bench_print("dispatch_us", (t3 - t2) * per);
    bench_print("dispatch_daemon_us", (c3 - c2) * per);
    bench_print("bytes_job", (double)(after > before ? after - before : 0) * 1024 / (double)n);
    free(jobs);
    pwc_job_free(block);
    pwc_close(c);
    return 0;
}

/* ---- clients ---- */

static void raise_limit(void)
{
    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
}

int cmd_clients(int argc, char **argv)
{
    enum { JOBS = 500 };
    size_t n = bench_number("clients", argc > 1 ? argv[1] : NULL, 1, 100000);
    double took[JOBS];
    raise_limit();
    struct pwc **c = calloc(n, sizeof(struct pwc *));
    struct pwc *first = bench_connect();
    pid_t daemon = bench_daemon(first);
    uint64_t before = bench_rss_kib(daemon);
    double t0 = bench_now();
    for (size_t i = 0; i < n; i++)
        c[i] = bench_connect();
    double t1 = bench_now();
    uint64_t after = bench_rss_kib(daemon);
    struct pwc_spec *spec = bench_chunks_spec("noop", 1, 0);
    for (size_t i = 0; i < JOBS; i++) {
        double start = bench_now();
        pwc_job_free(bench_run(c[(i * 7919) % n], spec));
        took[i] = bench_now() - start;
    }
    double cpu = bench_cpu_of(daemon);
    uint64_t switches = bench_switches_of(daemon);
    poll(NULL, 0, 1000);
    bench_print("connect_us", (t1 - t0) * 1e6 / (double)n);
    bench_print("bytes_client", (double)(after > before ? after - before : 0) * 1024 / (double)n);
    bench_print_quantiles("job_", took, JOBS);
    bench_print("idle_wakeups", (double)(bench_switches_of(daemon) - switches));
    bench_print("idle_cpu_us", (bench_cpu_of(daemon) - cpu) * 1e6);
    for (size_t i = 0; i < n; i++)
        pwc_close(c[i]);
    pwc_spec_free(spec);
    pwc_close(first);
    free(c);
    return 0;
}
