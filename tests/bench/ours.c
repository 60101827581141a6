/* ours.c - see bench.h: the daemon under test, through libpwc. */
#include <stdio.h>

#include "tests/bench/bench.h"

struct pwc *bench_connect(void)
{
    struct pwc *c;
    if (pwc_connect(NULL, PWC_TIMEOUT_DEFAULT, &c) != PWC_OK)
        bench_fail("%s", pwc_error());
    return c;
}

static void take_pid(const struct pwc_status *status, void *user)
{
    *(pid_t *)user = (pid_t)status->pid;
}

pid_t bench_daemon(struct pwc *c)
{
    pid_t pid = 0;
    if (pwc_get_status(c, PWC_TIMEOUT_DEFAULT, take_pid, &pid) != PWC_OK)
        bench_fail("%s", pwc_error());
    return pid;
}

struct pwc_spec *bench_chunks_spec(const char *op, uint64_t n, uint64_t steps)
{
    struct pwc_spec *spec = pwc_spec_new(op);
    pwc_spec_i64(spec, "n", (int64_t)n);
    if (steps > 0)
        pwc_spec_i64(spec, "steps", (int64_t)steps);
    return spec;
}

struct pwc_job *bench_run(struct pwc *c, struct pwc_spec *spec)
{
    struct pwc_job *job;
    struct pwc_counts counts;
    if (pwc_submit(c, spec, &job) != PWC_OK || pwc_wait(job, PWC_FOREVER) != PWC_OK)
        bench_fail("%s", pwc_error());
    pwc_job_counts(job, &counts);
    if (counts.done != counts.total || counts.failed != 0)
        bench_fail("%lu of %lu chunks were done", (unsigned long)counts.done, (unsigned long)counts.total);
    return job;
}
