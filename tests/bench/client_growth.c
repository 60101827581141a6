/* client_growth.c - how cost grows with waiting jobs and with clients, and what an idle daemon costs. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* ---- nothing to do ---- */

struct spares {
    pid_t pids[256];
    size_t n;
    uint64_t rss, switches, nursery_rss;
};

static void add_stage(const struct pwc_stage_info *s, void *user)
{
    struct spares *x = user;
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

/* The connection that asks is closed before the time begins. */
int cmd_idle(int argc, char **argv)
{
    uint64_t seconds = bench_number("seconds", argc > 1 ? argv[1] : NULL, 1, 3600);
    struct spares stages = {0};
    struct pwc *c = bench_connect();
    pid_t daemon = bench_daemon(c);
    if (pwc_list_stages(c, PWC_TIMEOUT_DEFAULT, add_stage, &stages) != PWC_OK)
        bench_fail("%s", pwc_error());
    pwc_close(c);
    poll(NULL, 0, 500);
    uint64_t own = bench_switches_of(daemon), theirs = switches_of_all(&stages);
    double cpu = bench_cpu_of(daemon);
    poll(NULL, 0, (int)seconds * 1000);
    bench_print("wakeups", (double)(bench_switches_of(daemon) - own));
    bench_print("stage_wakeups", (double)(switches_of_all(&stages) - theirs));
    bench_print("cpu_us", (bench_cpu_of(daemon) - cpu) * 1e6);
    bench_print("rss_mib", (double)bench_rss_kib(daemon) / 1024);
    bench_print("stage_rss_mib", (double)stages.rss / 1024);
    bench_print("nursery_rss_mib", (double)stages.nursery_rss / 1024);
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
    if (pid < 0 || status != 0)
        bench_fail("%s failed", argv[1]);
    bench_print("seconds", bench_now() - start);
    bench_print("anon_mib", (double)anon / 1024);
    bench_print("pss_mib", (double)all / 1024);
    bench_print("daemon_rss_mib", (double)bench_rss_kib(daemon) / 1024);
    return 0;
}
