/* client_jobs.c - jobs without files: empty and counted chunks, one-chunk jobs one by one and by the
 * thousand. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/client.h"

#define WARM_JOBS 200u /* so that pool, sockets and caches are as they are in use */

int cmd_ready(int argc, char **argv)
{
    (void)argc, (void)argv;
    struct pwc *c = bench_wait_ready();
    if (c == NULL)
        bench_fail("%s", pwc_error());
    bench_print("pid", bench_daemon(c));
    bench_print("seats", pwc_daemon(c)->workers);
    pwc_close(c);
    return 0;
}

int cmd_chunks(int argc, char **argv)
{
    const char *op = argc > 1 ? argv[1] : "noop";
    uint64_t n = bench_number("chunks", argc > 2 ? argv[2] : NULL, 1, UINT64_MAX >> 1);
    uint64_t steps = argc > 3 ? bench_number("steps", argv[3], 0, UINT64_MAX >> 1) : 0;
    struct pwc *c = bench_connect();
    pid_t daemon = bench_daemon(c);
    struct pwc_spec *warm = bench_chunks_spec(op, 1000, steps), *spec = bench_chunks_spec(op, n, steps);
    pwc_job_free(bench_run(c, warm));
    struct bench_cpu cpu;
    bench_cpu_begin(&cpu, daemon);
    double start = bench_now();
    struct pwc_job *job = bench_run(c, spec);
    double seconds = bench_now() - start;
    bench_cpu_end(&cpu);
    if (argc > 4 && bench_result(job, "sum") != bench_number("sum", argv[4], 0, UINT64_MAX))
        bench_fail("the sum is %lu, not %s", (unsigned long)bench_result(job, "sum"), argv[4]);
    struct pwc_counts counts;
    pwc_job_counts(job, &counts);
    bench_print("seconds", seconds);
    bench_print("ns_chunk", seconds * 1e9 / (double)n);
    bench_print("leases", (double)counts.leases);
    bench_cpu_print(&cpu);
    bench_print("daemon_peak_mib", (double)bench_peak_kib(daemon) / 1024);
    pwc_job_free(job);
    pwc_spec_free(warm);
    pwc_spec_free(spec);
    pwc_close(c);
    return 0;
}

int cmd_latency(int argc, char **argv)
{
    size_t n = bench_number("jobs", argc > 1 ? argv[1] : NULL, 1, 1 << 24);
    double *took = calloc(n, sizeof *took);
    struct pwc *c = bench_connect();
    struct pwc_spec *spec = bench_chunks_spec("noop", 1, 0);
    for (size_t i = 0; i < WARM_JOBS; i++)
        pwc_job_free(bench_run(c, spec));
    double before = bench_now();
    for (size_t i = 0; i < n; i++) {
        double start = bench_now();
        pwc_job_free(bench_run(c, spec));
        took[i] = bench_now() - start;
    }
    bench_print("rate", (double)n / (bench_now() - before));
    bench_print_quantiles("", took, n);
    pwc_spec_free(spec);
    pwc_close(c);
    free(took);
    return 0;
}

/* ---- many at a time ---- */

struct flood {
    size_t flying, done, bad;
};

static void flood_finished(struct pwc_job *job, void *user)
{
    struct flood *f = user;
    struct pwc_counts counts;
    pwc_job_counts(job, &counts);
    if (pwc_job_state(job) != PWC_JOB_DONE || counts.done != 1)
        f->bad++;
    f->flying--;
    f->done++;
    pwc_job_free(job);
}

static void flood_run(struct pwc *c, size_t n, size_t window)
{
    struct flood f = {0};
    const struct pwc_callbacks cb = {.finished = flood_finished};
    struct pwc_spec *spec = bench_chunks_spec("noop", 1, 0);
    struct pwc_job *job;
    pwc_spec_callbacks(spec, &cb, &f);
    for (size_t sent = 0; f.done < n;) {
        for (; sent < n && f.flying < window; sent++, f.flying++)
            if (pwc_submit(c, spec, &job) != PWC_OK)
                bench_fail("%s", pwc_error());
        if (pwc_dispatch(c, -1) != PWC_OK)
            bench_fail("%s", pwc_error());
    }
    pwc_spec_free(spec);
    if (f.bad > 0)
        bench_fail("%zu of %zu jobs were not done", f.bad, n);
}

/* A child says that it is warm, waits for the word, does its jobs. */
static int flood_child(size_t n, size_t window, int go, int ready)
{
    char byte = 0;
    struct pwc *c = bench_connect();
    flood_run(c, WARM_JOBS, window);
    if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
        return 1;
    flood_run(c, n, window);
    pwc_close(c);
    return 0;
}

int cmd_flood(int argc, char **argv)
{
    size_t n = bench_number("jobs", argc > 1 ? argv[1] : NULL, 1, 1 << 24);
    size_t window = bench_number("window", argc > 2 ? argv[2] : NULL, 1, 1 << 20);
    size_t clients = bench_number("clients", argc > 3 ? argv[3] : NULL, 1, 1024);
    int go[2], ready[2], status, bad = 0;
    char byte = 0;
    if (pipe(go) < 0 || pipe(ready) < 0)
        bench_fail("pipe: %m");
    for (size_t i = 0; i < clients; i++) {
        pid_t pid = fork();
        if (pid < 0)
            bench_fail("fork: %m");
        if (pid == 0)
            _exit(flood_child(n, window, go[0], ready[1]));
    }
    close(ready[1]); /* a child that fails must not leave us waiting */
    for (size_t i = 0; i < clients; i++)
        if (read(ready[0], &byte, 1) != 1)
            bench_fail("a client failed");
    struct pwc *c = bench_connect();
    pid_t daemon = bench_daemon(c);
    double cpu = bench_cpu_of(daemon), start = bench_now();
    for (size_t i = 0; i < clients; i++)
        if (write(go[1], &byte, 1) != 1)
            bench_fail("pipe: %m");
    for (size_t i = 0; i < clients; i++)
        if (wait(&status) < 0 || status != 0)
            bad++;
    double seconds = bench_now() - start;
    if (bad > 0)
        bench_fail("%d of %zu clients failed", bad, clients);
    bench_print("rate", (double)(n * clients) / seconds);
    bench_print("daemon_us_job", (bench_cpu_of(daemon) - cpu) * 1e6 / (double)(n * clients));
    pwc_close(c);
    return 0;
}
